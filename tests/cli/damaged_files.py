"""Damaged model folders through the program: each ends in success, where the damage does not matter, or in exit
status 1 with one line that names the file. Never a signal, never long, never much memory.

    python damaged_files.py PROGRAM SOURCE_FOLDER [PART of a case's name]
"""

import concurrent.futures
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path

from program import Checks, Program, one_line

MAX_CPU_S = 10
MAX_WALL_S = 120  # the machine may be busy
MAX_MEMORY_KIB = 1 << 20
NUM_CUTS = 50
NUM_FLIPS = 30
NAN = float("nan")

GENERATE = ("generate", "{folder}", "--token-ids", "1,2", "--max-tokens", "2", "--ignore-eos", "--threads", "1")
INSPECT = ("inspect", "{folder}", "--output", "json")
TOKENIZE = ("tokenize", "{folder}")
RENDER = ("render", "{folder}")
STDIN = {"tokenize": b"a dog <|im_end|>", "render": b'{"messages": [{"role": "user", "content": "Hi"}]}'}


@dataclass
class Case:
    name: str
    command: tuple
    files: dict = field(default_factory=dict)  # name -> its bytes, None: removed
    base: str = "single"
    fails: bool | None = None  # None: either
    words: tuple = ()  # what the message names besides the folder


# ---------------------------------------------------------------- sound folders


def small_tokenizer(nib):
    """The built-in model's tokenizer with 256 bytes, a few merges and two added tokens: enough of every field."""
    tokenizer = json.loads((nib / "tokenizer.json").read_bytes())
    model = tokenizer["model"]
    merges = model["merges"][:40]
    words = [token for token, _ in sorted(model["vocab"].items(), key=lambda item: item[1])[:256]]
    words += ["".join(m if isinstance(m, list) else m.split(" ")) for m in merges]
    model["vocab"] = {word: i for i, word in enumerate(words)}
    model["merges"] = merges
    tokenizer["added_tokens"] = [t | {"id": len(words) + i} for i, t in enumerate(tokenizer["added_tokens"][:3])]
    return json.dumps(tokenizer, ensure_ascii=False).encode()


def read_folder(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def sound_folders(source):
    nib = source / "models/nib"
    single = read_folder(source / "tests/data/checkpoints/06b")
    single["tokenizer.json"] = small_tokenizer(nib)
    sampling = {
        "do_sample": True,
        "temperature": 0.6,
        "top_k": 20,
        "top_p": 0.95,
        "min_p": 0.0,
        "repetition_penalty": 1.05,
        "max_new_tokens": 100,
    }
    single["generation_config.json"] = json.dumps(json.loads(single["generation_config.json"]) | sampling).encode()
    config = json.loads((nib / "tokenizer_config.json").read_bytes())
    template = config.pop("chat_template")
    single["tokenizer_config.json"] = json.dumps(config).encode()
    single["chat_template.jinja"] = template.encode()
    in_config = {k: v for k, v in single.items() if k != "chat_template.jinja"}
    in_config["tokenizer_config.json"] = json.dumps(config | {"chat_template": template}).encode()
    sharded = read_folder(source / "tests/data/checkpoints/32b")
    moe = read_folder(source / "tests/data/checkpoints/moe-30b")
    yarn = read_folder(source / "tests/data/checkpoints/yarn")
    return {"single": single, "in-config": in_config, "sharded": sharded, "moe": moe, "yarn": yarn}


# ---------------------------------------------------------------- damage


def cuts(size):
    """NUM_CUTS places to cut a file of this size: its first and last bytes, and evenly between."""
    places = {0, 1, 7, 8, 9, size - 1, size - 2} | {size * i // (NUM_CUTS - 6) for i in range(NUM_CUTS - 6)}
    return sorted(p for p in places if 0 <= p < size)


def is_json(data):
    try:
        json.loads(data.decode())
        return True
    except ValueError:
        return False


def truncated(folders):
    plan = [
        ("single", "config.json", (GENERATE,)),
        ("single", "generation_config.json", (GENERATE,)),
        ("single", "model.safetensors", (GENERATE,)),
        ("single", "tokenizer.json", (TOKENIZE,)),
        ("single", "chat_template.jinja", (RENDER,)),
        ("in-config", "tokenizer_config.json", (INSPECT,)),
        ("sharded", "model.safetensors.index.json", (INSPECT,)),
        ("sharded", "model-00002-of-00003.safetensors", (GENERATE,)),
    ]
    for base, name, commands in plan:
        data = folders[base][name]
        for place in cuts(len(data)):
            # The last newline of a template does not matter; a JSON file may lose the white space at its end.
            harmless = (
                data[place:] == b"\n" if name.endswith(".jinja") else name.endswith(".json") and is_json(data[:place])
            )
            word = "chat-template" if name.endswith(".jinja") else name
            for command in commands:
                yield Case(
                    f"{name} cut at {place}", command, {name: data[:place]}, base, fails=not harmless, words=(word,)
                )


def flipped(folders):
    rng = random.Random(1)
    for base, name, command in (
        ("single", "config.json", GENERATE),
        ("single", "generation_config.json", GENERATE),
        ("single", "tokenizer.json", TOKENIZE),
        ("in-config", "tokenizer_config.json", INSPECT),
        ("sharded", "model.safetensors.index.json", GENERATE),
        ("single", "model.safetensors", GENERATE),
    ):
        data = folders[base][name]
        reach = 8 + struct.unpack("<Q", data[:8])[0] if name.endswith("rs") else len(data)  # of safetensors the header
        for i in range(NUM_FLIPS):
            damaged = bytearray(data)
            for _ in range(rng.randint(1, 3)):
                damaged[rng.randrange(reach)] = rng.choice(
                    (0, 0x22, 0x2C, 0x30, 0x5C, 0x7B, 0x7D, 0xFF, rng.randrange(256))
                )
            yield Case(f"{name} flipped {i}", command, {name: bytes(damaged)}, base)


WRONG = {
    "missing": ...,
    "null": None,
    "a string": "text",
    "an empty string": "",
    "a list": [],
    "an object": {},
    "true": True,
    "negative": -1,
    "zero": 0,
    "huge": 10**30,
    "large": 2**31,
    "a fraction": 1.5,
    "a large float": 1e300,
    "NaN": NAN,
}
MISTYPED = ("a string", "a list", "an object")


def places(value, path=(), depth=4):
    """Paths to all members of a JSON value; of long containers the first and the last."""
    if depth == 0:
        return
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list):
        keys = list(range(len(value)))
    else:
        return
    for key in keys if len(keys) <= 40 else [keys[0], keys[-1]]:
        yield (*path, key)
        yield from places(value[key], (*path, key), depth - 1)


def replaced(value, path, new):
    """A copy of value with the member at path replaced, or removed if new is Ellipsis."""
    copy = value.copy()
    if len(path) > 1:
        copy[path[0]] = replaced(value[path[0]], path[1:], new)
    elif new is ...:
        del copy[path[0]]
    else:
        copy[path[0]] = new
    return copy


# Fields whose absence, or whose wrong type, must be told. The others may be read or not.
REQUIRED = {
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
    "intermediate_size",
    "weight_map",
    "num_experts",
    "num_experts_per_tok",
    "moe_intermediate_size",
    "factor",
}
TYPED = REQUIRED | {
    "head_dim",
    "rms_norm_eps",
    "rope_theta",
    "max_position_embeddings",
    "tie_word_embeddings",
    "model_type",
    "temperature",
    "top_p",
    "top_k",
    "do_sample",
    "added_tokens",
    "vocab",
    "merges",
}


def fields(folders):
    plan = [
        ("single", "config.json", GENERATE),
        ("single", "generation_config.json", GENERATE),
        ("single", "tokenizer.json", TOKENIZE),
        ("in-config", "tokenizer_config.json", RENDER),
        ("sharded", "model.safetensors.index.json", GENERATE),
        ("moe", "config.json", INSPECT),
        ("yarn", "config.json", GENERATE),
    ]
    for base, name, command in plan:
        whole = json.loads(folders[base][name])
        for path in places(whole):
            for what, new in WRONG.items():
                key = path[-1]
                same_type = isinstance(new, str) and key in ("model_type",)
                unread = base == "moe" and key == "intermediate_size"  # it has no dense layer
                fails = (
                    key in REQUIRED
                    and what == "missing"
                    and not unread
                    or key in TYPED
                    and what in MISTYPED
                    and not same_type
                    and type(new) is not type(value_at(whole, path))
                )
                data = json.dumps(replaced(whole, path, new), ensure_ascii=False).encode()
                # A number that is wrong may only come to light where it is used.
                words = (name,) if fails else ()
                yield Case(
                    f"{base}: {name}: {'.'.join(map(str, path))} {what}",
                    command,
                    {name: data},
                    base,
                    fails=fails or None,
                    words=words,
                )
        for what, new in WRONG.items():
            if new is not ...:
                fails = what != "an object"
                words = (name,) if fails else ()
                yield Case(
                    f"{base}: {name} is {what}", command, {name: json.dumps(new).encode()}, base, fails or None, words
                )
        yield Case(f"{base}: {name} nested", command, {name: b"[" * 100000}, base, fails=True, words=(name,))
        yield Case(
            f"{base}: {name} nested in a field", command, {name: b'{"a":' * 100000}, base, fails=True, words=(name,)
        )


def value_at(value, path):
    for key in path:
        value = value[key]
    return value


def safetensors(data):
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def with_header(header, body):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def headers(folders):
    data = folders["single"]["model.safetensors"]
    header, body = safetensors(data)
    # The head is tied to the embedding: one of the two is enough.
    names = [n for n in header if n not in ("__metadata__", "lm_head.weight", "model.embed_tokens.weight")]

    def case(name, content, fails=True):
        return Case(
            f"model.safetensors: {name}",
            GENERATE,
            {"model.safetensors": content},
            fails=fails,
            words=("model.safetensors",),
        )

    for length in (0, 1, len(data), len(data) - 7, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 2**64 - 8):
        yield case(f"header length {length}", struct.pack("<Q", length) + data[8:])
    for text in (
        b"",
        b"null",
        b"[]",
        b"3",
        b'"a"',
        b"{}",
        b"{" * 1000,
        b"[" * 100000,
        b"\xff\xfe",
        b'{"a":1}',
        b'{"a":{"dtype":"F32"}}',
    ):
        yield case(f"header {text[:20]!r}", with_header(text, body))
    yield case("more behind the data", data + b"\0")
    yield case("metadata that is no object", with_header(header | {"__metadata__": [1]}, body))
    yield case("metadata that is no text", with_header(header | {"__metadata__": {"a": 1}}, body))
    for name in (names[0], names[-1]):
        entry = header[name]
        begin, end = entry["data_offsets"]
        for offsets in (
            [],
            [0],
            [begin, end, end],
            [end, begin],
            [begin + 1, end + 1],
            [begin, end - 1],
            [begin, end + 1],
            [-1, end],
            [begin, 2**63],
            [2**64, 2**65],
            [begin, 10**30],
            [begin, begin],
            [0, len(body)],
            ["0", "1"],
            [0.5, 1.5],
            None,
            "x",
            {},
        ):
            yield case(f"{name} at {offsets}", with_header(header | {name: entry | {"data_offsets": offsets}}, body))
        for shape in (
            [],
            [-1],
            [2**62, 4],
            [2**32, 2**32],
            [0],
            [0, 2**63 - 1],
            [1] * 1000,
            ["1"],
            [1.5],
            [10**30],
            None,
            "x",
            3,
            entry["shape"] + [2],
            entry["shape"][::-1] + [1],
        ):
            yield case(
                f"{name} of shape {str(shape)[:40]}", with_header(header | {name: entry | {"shape": shape}}, body)
            )
        for dtype in (
            "F64",
            "I32",
            "BOOL",
            "F4",
            "bf16",
            "",
            "X" * 1000,
            None,
            3,
            ["BF16"],
            "F32" if entry["dtype"] != "F32" else "F16",
        ):
            yield case(
                f"{name} of dtype {str(dtype)[:40]}", with_header(header | {name: entry | {"dtype": dtype}}, body)
            )
        for key in entry:
            yield case(
                f"{name} without {key}",
                with_header(header | {name: {k: v for k, v in entry.items() if k != key}}, body),
            )
        yield case(f"no {name}", with_header({("other" if n == name else n): e for n, e in header.items()}, body))
    first, second = names[:2]
    yield case("two tensors at one place", with_header(header | {second: header[first]}, body))
    yield case(
        "names that are no text", with_header(json.dumps(header).encode().replace(first.encode(), b"\\ud800"), body)
    )
    yield case(
        "a name with a newline", with_header({(n + "\n" if n == first else n): e for n, e in header.items()}, body)
    )
    for fill in (b"\xff", b"\x7f\xc0", b"\x80\x7f", b"\0"):
        filled = (fill * len(body))[: len(body)]
        for temperature in ("0", "1"):
            yield Case(
                f"data of {fill!r} at temperature {temperature}",
                (
                    *GENERATE,
                    "--temperature",
                    temperature,
                    "--seed",
                    "1",
                    "--top-p",
                    "0.9",
                    "--logprobs",
                    "2",
                    "--output",
                    "json",
                ),
                {"model.safetensors": with_header(header, filled)},
                fails=False,
            )


def shards(folders):
    base = folders["sharded"]
    index_name = "model.safetensors.index.json"
    index = json.loads(base[index_name])
    files = sorted({*index["weight_map"].values()})
    map_ = index["weight_map"]
    tensor = next(iter(map_))

    def case(name, files, fails=True, words=(index_name,)):
        return Case(f"shards: {name}", GENERATE, files, "sharded", fails, words)

    def mapped(new):
        return {index_name: json.dumps(index | {"weight_map": new}).encode()}

    for file in files:
        yield case(f"no {file}", {file: None}, words=(file,))
        yield case(f"{file} empty", {file: b""}, words=(file,))
        yield case(f"{file} is text", {file: b"<html>not found</html>"}, words=(file,))
    yield case("two shards exchanged", {files[0]: base[files[1]], files[1]: base[files[0]]})
    yield case("a shard twice", {files[0]: base[files[1]]}, words=(files[0],))
    yield case("the index alone", {file: None for file in files}, words=(files[0],))
    yield case("no index", {index_name: None}, words=("model.safetensors",))
    yield case("a tensor in another shard", mapped(map_ | {tensor: next(f for f in files if f != map_[tensor])}))
    yield case("a tensor in no shard", mapped(map_ | {"model.no.such.weight": files[0]}))
    for name in (
        "",
        ".",
        "..",
        "../x.safetensors",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "a\nb",
        "x" * 300,
        "\0",
        "none.safetensors",
        "config.json",
    ):
        yield case(f"a tensor in {name[:20]!r}", mapped(map_ | {tensor: name}), words=())
    yield case("a name of 100 kB", mapped(map_ | {"x" * 100000: files[0]}))
    yield case("an empty map", mapped({}))
    yield case(
        "another total_size", {index_name: json.dumps(index | {"metadata": {"total_size": -5}}).encode()}, fails=None
    )
    header, body = safetensors(base[files[0]])
    other = next(t for t, f in map_.items() if f != files[0])
    end = len(body)
    yield case(
        "a tensor in two shards",
        {
            files[0]: with_header(
                header | {other: {"dtype": "BF16", "shape": [1], "data_offsets": [end, end + 2]}}, body + b"\0\0"
            )
        },
        words=(other,),
    )


def tokenizers(folders):
    whole = json.loads(folders["single"]["tokenizer.json"])
    model, added = whole["model"], whole["added_tokens"]
    vocab, merges = model["vocab"], model["merges"]
    words = list(vocab)

    def case(name, fails=None, **changes):
        data = json.dumps(whole | changes, ensure_ascii=False).encode()
        return Case(
            f"tokenizer.json: {name}",
            TOKENIZE,
            {"tokenizer.json": data},
            fails=fails,
            words=("tokenizer.json",) if fails else (),
        )

    def with_vocab(new):
        return {"model": model | {"vocab": new}}

    def with_merges(new):
        return {"model": model | {"merges": new}}

    pair = merges[0] if isinstance(merges[0], list) else merges[0].split(" ")
    for name, merge in (
        ("of unknown tokens", ["qq", "zz"]),
        ("of empty tokens", ["", ""]),
        ("of one", [pair[0]]),
        ("of three", [*pair, "a"]),
        ("of numbers", [1, 2]),
        ("that is no pair", "ab"),
        ("that is empty", ""),
        ("with two spaces", "a  b"),
        ("of many spaces", "a b c d"),
        ("that is null", None),
        ("that is an object", {}),
        ("whose result is no token", [words[0], words[1]]),
    ):
        yield case(f"a merge {name}", fails=True, **with_merges([*merges, merge]))
    yield case("a merge twice", **with_merges([*merges, merges[0]]))
    yield case("merges reversed", **with_merges(merges[::-1]))
    yield case("no merges", **with_merges([]))
    last = len(vocab) - 1
    for name, new in (
        ("twice", 0),
        ("negative", -1),
        ("far off", 2**31 - 2),
        ("2^31", 2**31),
        ("2^32", 2**32),
        ("2^63", 2**63),
        ("huge", 10**30),
        ("a fraction", 1.5),
        ("text", "1"),
        ("null", None),
    ):
        yield case(f"an id {name}", fails=True, **with_vocab(vocab | {words[-1]: new}))
    yield case("a hole in the ids", **with_vocab(vocab | {words[-1]: last + 5}))
    yield case("a byte missing", **with_vocab({w: i for w, i in vocab.items() if w != words[65]}))
    yield case("an empty vocabulary", fails=True, **with_vocab({}))
    yield case("an empty token", **with_vocab(vocab | {"": len(vocab)}))
    yield case("a token that is no byte text", **with_vocab(vocab | {"\u4e2d": len(vocab)}))
    for name, changes in (
        ("without content", {"content": ""}),
        ("negative", {"id": -1}),
        ("far off", {"id": 2**31 - 2}),
        ("huge", {"id": 10**30}),
        ("of another's id", {"id": added[1]["id"]}),
        ("of a word's id", {"id": 0}),
        ("with a hole before", {"id": added[-1]["id"] + 100}),
        ("long", {"content": "x" * 100000}),
        ("normalized", {"normalized": True}),
        ("lstrip", {"lstrip": True}),
        ("single_word", {"single_word": True}),
    ):
        yield case(f"an added token {name}", added_tokens=[added[0] | changes, *added[1:]])
        yield case(f"the last added token {name}", added_tokens=[*added[:-1], added[-1] | changes])
    yield case("an added token twice", added_tokens=[*added, added[0]])
    yield case("another model", fails=True, model=model | {"type": "WordPiece"})
    yield case("a normalizer that is unknown", fails=True, normalizer={"type": "Lowercase"})
    yield case("a pre-tokenizer that is unknown", fails=True, pre_tokenizer={"type": "Whitespace"})


# ---------------------------------------------------------------- running them


class Runner:
    def __init__(self, program, folders, folder, checks):
        self.program, self.folders, self.folder, self.checks = program, folders, folder, checks
        self.lock = threading.Lock()
        for name, files in folders.items():
            (folder / name).mkdir()
            for file, data in files.items():
                (folder / name / file).write_bytes(data)

    def run(self, number, case):
        """Runs the case in a folder of its own. Files that are not damaged are links to the sound ones."""
        folder = self.folder / f"case-{number}"
        folder.mkdir()
        for name in {*self.folders[case.base], *case.files}:
            data = case.files.get(name, ...)
            if data is ...:
                (folder / name).symlink_to(self.folder / case.base / name)
            elif data is not None:
                (folder / name).write_bytes(data)
        arguments = [str(folder) if a == "{folder}" else a for a in case.command]
        stdin = self.folder / f"in-{number}"
        stdin.write_bytes(STDIN.get(case.command[0], b""))
        with open(stdin, "rb") as source, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = subprocess.Popen(
                [self.program.path, *arguments], stdin=source, stdout=out, stderr=err, env=self.program.environment
            )
            watch = threading.Timer(MAX_WALL_S, process.kill)
            watch.start()
            _, status, usage = os.wait4(process.pid, 0)
            watch.cancel()
            process.returncode = os.waitstatus_to_exitcode(status)
            err.seek(0)
            message = err.read()
        self.judge(case, folder, process.returncode, message, usage)
        shutil.rmtree(folder)
        stdin.unlink()

    def judge(self, case, folder, status, message, usage):
        text = message.decode(errors="replace")
        if status == 0:
            ok = not case.fails and all(line.startswith("qwill: ") for line in text.splitlines())
        else:
            # A number may be sound, and too small for the prompt.
            placed = str(folder) in text or "--max-seq-len" in text or "--chat-template" in text
            ok = (
                status == 1
                and case.fails is not False
                and one_line(message)
                and placed
                and all(w in text for w in case.words)
            )
        with self.lock:
            self.checks.that(ok, f"{case.name}: status {status}: {text[:300]!r}")
            cpu = usage.ru_utime + usage.ru_stime
            self.checks.that(
                cpu < MAX_CPU_S and usage.ru_maxrss < MAX_MEMORY_KIB, f"{case.name}: {cpu:.1f} s, {usage.ru_maxrss} KiB"
            )


def main():
    program, source, *part = sys.argv[1:]
    folders = sound_folders(Path(source))
    cases = [
        Case(f"sound {base}", command, {}, base, fails=False) for base in folders for command in (GENERATE, INSPECT)
    ]
    cases += [Case("sound tokenizer", TOKENIZE, {}, fails=False), Case("sound template", RENDER, {}, fails=False)]
    for kind in (truncated, flipped, fields, headers, shards, tokenizers):
        cases += kind(folders)
    cases = [case for case in cases if not part or part[0] in case.name]
    checks = Checks()
    with tempfile.TemporaryDirectory(prefix="qwill-damaged-") as folder:
        runner = Runner(Program(program), folders, Path(folder), checks)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(runner.run, i, case) for i, case in enumerate(cases)]:
                done.result()
    return checks.report()


if __name__ == "__main__":
    sys.exit(main())
