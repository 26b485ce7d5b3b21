"""The command line as a contract (docs/architecture.md): every command, every flag, every way to end.

python command_line.py PROGRAM SOURCE_FOLDER [NAME of a test …]
"""

import array
import json
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from program import Program, Terminal, one_line, run_all

RESULT_KEYS = ["text", "token_ids", "finish_reason", "stop", "seed", "logprobs", "usage", "timing"]
TIMING_KEYS = ["load_s", "ttft_s", "prefill_tok_s", "decode_tok_s", "total_s"]
COMMANDS = [
    *("generate", "chat", "batch", "tokenize", "detokenize", "render", "logits"),
    *("verify", "inspect", "bench", "plan", "quantize"),
]
PROMPT = "The little dog went"
INVALID = b"abc\xff\xfe"
LIGHT = ("--threads", "1")  # other tests run beside this one
LONG = ("--ignore-eos", "--max-tokens", "2000", *LIGHT)


class World:
    """The program, the models, and a folder to write to."""

    def __init__(self, program, source, folder):
        self.qwill = Program(program)
        self.source = Path(source)
        self.folder = Path(folder)
        self.nib = self.source / "models/nib"
        self.nib_moe = self.source / "models/nib-moe"
        self.checkpoints = self.source / "tests/data/checkpoints"
        self.bare = self.checkpoints / "06b"  # no tokenizer

    def generate(self, *arguments, **options):
        return self.qwill("generate", *LIGHT, *arguments, **options)

    def result(self, checks, *arguments, **options):
        """The JSON of a run that succeeds, its form checked."""
        done = checks.good(self.generate("--output", "json", *arguments, **options))
        return check_result(checks, done.out)

    def file(self, name, content):
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def tokens(self, text):
        done = self.qwill("tokenize", stdin=text.encode())
        return [int(word) for word in done.out.split()]

    def model_copy(self, name, model=None):
        path = self.folder / name
        shutil.copytree(model or self.nib, path)
        return path


def check_result(checks, out):
    """The object that --output json prints, its form checked."""
    result = json.loads(out.decode())
    checks.that(out.endswith(b"\n") and out.count(b"\n") == 1, f"JSON on one line: {out!r}")
    checks.equal(list(result), RESULT_KEYS, "keys")
    checks.equal(list(result["usage"]), ["prompt_tokens", "completion_tokens"], "usage")
    checks.equal(list(result["timing"]), TIMING_KEYS, "timing")
    checks.equal(len(result["token_ids"]), result["usage"]["completion_tokens"], "completion_tokens")
    checks.that(result["finish_reason"] in ("stop", "length", "cancelled"), result["finish_reason"])
    checks.that(isinstance(result["seed"], int) and result["seed"] >= 0, result["seed"])
    for key, value in result["timing"].items():
        checks.that(value is None or value >= 0, f"{key} {value}")
    return result


# ---------------------------------------------------------------- generate


def test_generate_text(checks, world):
    text = checks.good(world.generate("-p", PROMPT, "--max-tokens", "12")).out
    checks.that(text.endswith(b"\n") and len(text) > 5, text)
    checks.equal(
        world.generate(world.nib, "--prompt", PROMPT, "--max-tokens", "12").out, text, "the built-in model is nib"
    )
    prompt = world.file("prompt.txt", PROMPT)
    checks.equal(world.generate("--prompt-file", prompt, "--max-tokens", "12").out, text, "--prompt-file")
    checks.equal(world.generate("--max-tokens", "12", stdin=PROMPT.encode()).out, text, "stdin")
    checks.equal(world.generate("-p", PROMPT, "--max-tokens", "12", "--echo").out, PROMPT.encode() + text, "--echo")
    ids = ",".join(map(str, world.tokens(PROMPT)))
    checks.equal(world.generate("--token-ids", ids, "--max-tokens", "12").out, text, "--token-ids")
    moe = checks.good(world.generate(world.nib_moe, "-p", PROMPT, "--max-tokens", "12"))
    checks.that(len(moe.out) > 5, moe)


def test_generate_json(checks, world):
    text = world.generate("-p", PROMPT, "--max-tokens", "9").out.decode()
    result = world.result(checks, "-p", PROMPT, "--max-tokens", "9")
    checks.equal(result["text"] + "\n", text, "text")
    checks.equal(result["finish_reason"], "length")
    checks.equal(result["stop"], None)
    checks.equal(result["logprobs"], None)
    checks.equal(result["usage"], {"prompt_tokens": len(world.tokens(PROMPT)), "completion_tokens": 9})
    ids = " ".join(map(str, result["token_ids"])).encode()
    checks.equal(world.qwill("detokenize", stdin=ids).out.decode(), result["text"], "token_ids are of the text")
    checks.equal(
        world.result(checks, "-p", PROMPT, "--max-tokens", "9", "--echo")["text"], PROMPT + result["text"], "--echo"
    )
    one = world.result(checks, "-p", "a", "--max-tokens", "1")
    checks.equal(one["usage"], {"prompt_tokens": 1, "completion_tokens": 1}, "one token in, one out")
    checks.equal(one["timing"]["decode_tok_s"], None, "one token has no decode speed")


def test_generate_without_tokenizer(checks, world):
    result = world.result(checks, world.bare, "--token-ids", "1,2,3", "--max-tokens", "4", "--ignore-eos")
    checks.equal(result["text"], None)
    text = checks.good(world.generate(world.bare, "--token-ids", "1,2,3", "--max-tokens", "4", "--ignore-eos")).out
    checks.equal([int(word) for word in text.split()], result["token_ids"], "ids as text")
    echo = world.generate(world.bare, "--token-ids", "1,2,3", "--max-tokens", "4", "--ignore-eos", "--echo").out
    checks.equal(echo, b"1 2 3 " + text, "--echo")
    checks.refused(world.generate(world.bare, "-p", PROMPT), 1, str(world.bare), "--token-ids")
    checks.refused(world.generate(world.bare, "--token-ids", "1", "--stop", "x"), 1, str(world.bare))


def test_every_checkpoint_generates_and_inspects(checks, world):
    for folder in sorted(world.checkpoints.iterdir()):
        done = world.generate(folder, "--token-ids", "1,2,3", "--max-tokens", "2", "--ignore-eos")
        checks.that(done.status == 0 and len(done.out.split()) == 2, done)
        done = world.qwill("inspect", folder, "--output", "json")
        checks.that(done.status == 0 and json.loads(done.out)["model"] == str(folder), done)


def test_token_ids(checks, world):
    run = lambda ids: world.generate(world.bare, "--token-ids", ids, "--max-tokens", "3", "--ignore-eos")  # noqa: E731
    wanted = checks.good(run("1,2,3")).out
    for form in ("1 2 3", "1\n2\n3\n", " 1, 2,\t3 ", "@" + str(world.file("ids.txt", "1, 2\r\n3\n"))):
        checks.equal(checks.good(run(form)).out, wanted, f"--token-ids {form!r}")
    for form in ("-1", "1,-2", "1,x", "1.5", "99999999999", "0x10", "1;2"):
        checks.refused(run(form), 2, "--token-ids")
    bad = world.file("bad-ids.txt", "1 two")
    checks.refused(run(f"@{bad}"), 1, str(bad), "two")
    missing = world.folder / "none.txt"
    checks.refused(run(f"@{missing}"), 1, str(missing))
    checks.refused(run(""), 1, "empty")
    checks.refused(run(f"@{world.file('no-ids.txt', '')}"), 1, "empty")
    checks.refused(run("1,100000000"), 1, "100000000")
    checks.refused(world.qwill("logits", world.bare, "--token-ids", "x", "--out", world.folder / "x.npy"), 2)


def test_stdin_is_taken_as_it_is(checks, world):
    for text in ("a\n", "\n", " a \n\n"):
        result = world.result(checks, "--echo", "--max-tokens", "1", stdin=text.encode())
        checks.that(result["text"].startswith(text), repr(result["text"]))
        checks.equal(result["usage"]["prompt_tokens"], len(world.tokens(text)), repr(text))


def test_plain(checks, world):
    parsed = world.result(checks, "-p", "<|im_end|>", "--max-tokens", "1")
    plain = world.result(checks, "-p", "<|im_end|>", "--max-tokens", "1", "--plain")
    checks.equal(parsed["usage"]["prompt_tokens"], 1)
    checks.that(plain["usage"]["prompt_tokens"] > 1, plain["usage"])


def test_prompts_that_look_like_flags(checks, world):
    for text in ("--help", "-p", "--", "chat", "[a,b]", "@x"):
        result = world.result(checks, "-p", text, "--max-tokens", "1", "--echo")
        checks.that(result["text"].startswith(text), f"{text}: {result['text']!r}")


def test_render_into_generate(checks, world):
    chat = world.file("chat.json", json.dumps({"messages": [{"role": "user", "content": "Hello"}]}))
    done = world.qwill.shell('"$0" render < "$1" | "$0" generate --threads 1 --max-tokens 5', str(chat))
    checks.that(done.status == 0 and done.out, done)
    prompt = checks.good(world.qwill("render", stdin=chat.read_bytes())).out
    checks.equal(world.generate("--max-tokens", "5", stdin=prompt).out, done.out)


def token_texts(world, ids):
    lines = "".join(json.dumps({"token_ids": [i]}) + "\n" for i in ids)
    done = world.qwill("detokenize", "--jsonl", stdin=lines.encode())
    return [json.loads(line)["text"] for line in done.out.splitlines()]


def test_stop_strings(checks, world):
    whole = world.result(checks, "-p", PROMPT, "--max-tokens", "30")
    text, pieces = whole["text"], token_texts(world, whole["token_ids"])
    checks.equal("".join(pieces), text)
    for i in range(3, 9):
        stop = pieces[i][-1] + pieces[i + 1][:2]  # over the border of two tokens
        end = text.index(stop)
        result = world.result(checks, "-p", PROMPT, "--max-tokens", "30", "--stop", stop)
        checks.equal((result["text"], result["finish_reason"], result["stop"]), (text[:end], "stop", stop))
        streamed = world.generate("-p", PROMPT, "--max-tokens", "30", "--stop", stop).out.decode()
        checks.equal(streamed, text[:end] + "\n")
    first, second = pieces[6], pieces[2]
    result = world.result(checks, "-p", PROMPT, "--max-tokens", "30", "--stop", first, "--stop", second)
    checks.equal(result["stop"], min((first, second), key=lambda s: text.index(s)), "the earlier of two")
    checks.equal(
        world.result(checks, "-p", PROMPT, "--max-tokens", "30", "--stop", "[END]")["text"],
        text,
        "one that never comes",
    )
    # One value a flag: what follows is the model.
    checks.equal(world.result(checks, "-p", PROMPT, "--max-tokens", "30", "--stop", "[END]", world.nib)["text"], text)
    checks.refused(world.generate("-p", PROMPT, "--stop", ""), 2, "--stop")


def test_end_tokens(checks, world):
    end = json.loads((world.nib / "generation_config.json").read_bytes())["eos_token_id"][0]
    sure = ("--logit-bias", f"{end}=1000", "-p", PROMPT, "--max-tokens", "3")
    result = world.result(checks, *sure)
    checks.equal((result["token_ids"], result["finish_reason"], result["stop"]), ([], "stop", end))
    checks.equal(result["timing"]["ttft_s"], None)
    result = world.result(checks, *sure, "--ignore-eos")
    checks.equal((result["token_ids"], result["finish_reason"], result["stop"]), ([end] * 3, "length", None))


def test_logit_bias(checks, world):
    base = world.result(checks, "-p", PROMPT, "--max-tokens", "3")["token_ids"]
    banned = world.result(checks, "-p", PROMPT, "--max-tokens", "3", "--logit-bias", f"{base[0]}=-100")["token_ids"]
    checks.that(base[0] not in banned, banned)
    forced = world.result(checks, "-p", PROMPT, "--max-tokens", "3", "--logit-bias", "300=500", "--logit-bias", "1=2")
    checks.equal(forced["token_ids"], [300] * 3)
    for text in ("300", "300=", "=1", "-3=1", "a=1", "300=x", "300=nan", "300=1,4=2", ""):
        checks.refused(world.generate("-p", PROMPT, "--logit-bias", text), 2, "logit")


def test_sampling(checks, world):
    greedy = world.generate("-p", PROMPT, "--max-tokens", "20").out
    checks.equal(
        world.generate("-p", PROMPT, "--max-tokens", "20", "--temperature", "0").out, greedy, "--temperature 0"
    )
    checks.equal(
        world.generate("-p", PROMPT, "--max-tokens", "20", "--temperature", "2", "--top-k", "1", "--seed", "3").out,
        greedy,
        "--top-k 1",
    )
    hot = ("-p", PROMPT, "--max-tokens", "20", "--temperature", "1")
    first = world.result(checks, *hot, "--seed", "7")
    checks.equal(first["seed"], 7)
    checks.equal(world.result(checks, *hot, "--seed", "7")["token_ids"], first["token_ids"], "the same seed")
    checks.that(world.result(checks, *hot, "--seed", "8")["token_ids"] != first["token_ids"], "another seed")
    largest = world.result(checks, *hot, "--seed", str(2**64 - 1))
    checks.equal(largest["seed"], 2**64 - 1)
    unseeded = world.result(checks, *hot)
    checks.equal(
        world.result(checks, *hot, "--seed", str(unseeded["seed"]))["token_ids"], unseeded["token_ids"], "its seed"
    )
    text = world.generate(*hot)
    checks.that(one_line(text.err) and text.err.startswith(b"qwill: seed "), text)
    again = checks.good(world.generate(*hot, "--seed", text.err.split()[-1]))
    checks.equal(again.out, text.out, "the seed that was reported")
    for flag, value in [
        ("--top-p", "0.5"),
        ("--min-p", "0.2"),
        ("--top-k", "5"),
        ("--repetition-penalty", "1.5"),
        ("--presence-penalty", "-2"),
        ("--frequency-penalty", "1.5"),
    ]:
        done = world.result(checks, *hot, "--seed", "7", flag, value)
        checks.equal(done["usage"]["completion_tokens"], 20, flag)


def test_logprobs(checks, world):
    result = world.result(checks, "-p", PROMPT, "--max-tokens", "4", "--logprobs", "3")
    plain = world.result(checks, "-p", PROMPT, "--max-tokens", "4", "--logprobs", "0")
    checks.equal(len(result["logprobs"]), 4)
    for entry, bare, token in zip(result["logprobs"], plain["logprobs"], result["token_ids"]):
        checks.equal(list(entry), ["token", "token_id", "logprob", "top"])
        checks.equal((entry["token_id"], entry["top"][0]["token_id"]), (token, token), "greedy draws the likeliest")
        checks.equal(len(entry["top"]), 3)
        checks.equal(entry["top"], sorted(entry["top"], key=lambda t: -t["logprob"]))
        checks.equal((bare["logprob"], bare["top"]), (entry["logprob"], []))
    bare = world.result(checks, world.bare, "--token-ids", "1", "--max-tokens", "1", "--logprobs", "1")
    checks.that(all(e["token"] is None for e in bare["logprobs"]), bare["logprobs"])


def test_results_do_not_depend_on_how_they_are_computed(checks, world):
    prompt = PROMPT + " to the river and back again"
    for model in (world.nib, world.nib_moe):
        run = lambda *flags: world.qwill("generate", model, "-p", prompt, "--max-tokens", "16", *flags).out  # noqa: E731
        wanted = run("--threads", "1")
        for flags in (
            ("--threads", "2"),
            ("--threads", "3"),
            ("--threads", "1", "--chunk-size", "1"),
            ("--threads", "2", "--chunk-size", "7"),
            ("--threads", "1", "--max-seq-len", "100"),
        ):
            checks.equal(run(*flags), wanted, flags)
    files = []
    for flags in (("--threads", "1"), ("--threads", "3"), ("--chunk-size", "1"), ("--chunk-size", "2")):
        files.append(world.folder / f"logits-{len(files)}.npy")
        checks.good(world.qwill("logits", world.bare, "--token-ids", "5,6,7,8,9", "--out", files[-1], *flags))
        checks.equal(files[-1].read_bytes(), files[0].read_bytes(), f"the bits of the logits with {flags}")


def test_lengths(checks, world):
    count = len(world.tokens(PROMPT))
    run = lambda n: world.generate("-p", PROMPT, "--max-seq-len", str(n), "--output", "json")  # noqa: E731
    result = check_result(checks, checks.good(run(count + 1)).out)
    checks.equal(
        (result["usage"]["completion_tokens"], result["finish_reason"]),
        (1, "length"),
        "a prompt that fills it but for one",
    )
    checks.refused(run(count), 1, "--max-seq-len")
    checks.refused(run(count - 1), 1, "--max-seq-len")
    checks.refused(world.generate("-p", "word " * 5000), 1, "--max-seq-len")
    checks.refused(world.generate("-p", ""), 1, "empty")
    checks.refused(world.generate(stdin=b""), 1, "empty")
    beyond = world.generate("-p", PROMPT, "--max-seq-len", "4096", "--max-tokens", "1")
    checks.that(beyond.status == 0 and one_line(beyond.err), beyond)
    checks.refused(world.generate("-p", PROMPT, "--max-tokens", "0"), 2, "max_tokens")


def test_dtypes_devices_and_paths(checks, world):
    run = lambda *flags: world.generate("-p", PROMPT, "--max-tokens", "3", *flags)  # noqa: E731
    for flags in (
        ("--device", "cpu"),
        ("--device", "auto"),
        ("--dtype", "f32"),
        ("--dtype", "bf16"),
        ("--dtype", "auto"),
        ("--cpu-path", "auto"),
    ):
        checks.good(run(*flags))
    for command in ("generate", "bench", "logits", "verify", "chat"):
        needs = {
            "logits": ("--token-ids", "1", "--out", world.folder / "o.npy"),
            "verify": ("--against", world.source / "tests/data/goldens/06b.safetensors"),
        }
        # A card that is not there: on a machine with one, a number beyond it.
        has_card = Path("/proc/driver/nvidia/version").exists()
        for device in ("cuda:99",) if has_card else ("cuda", "cuda:0"):
            checks.refused(world.qwill(command, *needs.get(command, ()), "--device", device), 1, device, "cpu")
        for device in ("foo", "", "CPU", "cuda:", "cuda:-1", "cuda:x", "cpu:0"):
            checks.refused(world.qwill(command, *needs.get(command, ()), "--device", device), 2, "--device")
    for kv_dtype in ("f32", "f16", "bf16", "int8"):
        checks.good(run("--device", "cpu", "--kv-dtype", kv_dtype))
    checks.refused(run("--device", "cuda", "--kv-dtype", "int8"), 1, "--kv-dtype", "CPU")
    checks.refused(run("--device", "cpu", "--kv-dtype", "fp8"), 1, "--kv-dtype fp8", "CUDA", "int8")
    checks.refused(run("--kv-dtype", "f64"), 2, "--kv-dtype")
    checks.refused(run("--cuda-path", "volta"), 2, "--cuda-path")
    for dtype in ("bf16", "int8", "int4"):
        checks.good(run("--device", "cpu", "--dtype", dtype))
    checks.refused(run("--device", "cpu", "--dtype", "fp8"), 1, "fp8", "int8")
    checks.refused(run("--device", "cuda", "--dtype", "int8"), 1, "int8", "CPU")
    for dtype in ("foo", "", "fp16"):
        checks.refused(run("--dtype", dtype), 2, "--dtype")
    checks.refused(run("--cpu-path", "abacus"), 1, "abacus")


def test_rope_flags(checks, world):
    folder = world.checkpoints / "yarn"
    prompt = ("--token-ids", "1,2,3,4,5", "--max-tokens", "8", "--ignore-eos")
    run = lambda *flags: checks.good(world.generate(folder, *prompt, *flags)).out  # noqa: E731
    checks.that(run("--rope-scaling", "none") != b"", "none")
    checks.equal(run("--rope-when", "needed"), run("--rope-scaling", "none"), "a short sequence does not need YaRN")
    checks.equal(run("--rope-when", "always"), run(), "always is the default")
    checks.that(run("--rope-scaling", "yarn", "--rope-factor", "2") != b"", "yarn")


# ---------------------------------------------------------------- wrong usage


def test_wrong_usage(checks, world):
    qwill = world.qwill
    for arguments in (
        (),
        ("foo",),
        ("--foo",),
        ("generate", "--foo"),
        ("generate", world.nib, world.nib),
        ("logits",),
        ("logits", "--token-ids", "1"),
        ("verify",),
        ("generate", "-p"),
        ("inspect", "--output", "xml"),
        ("generate", "-p", "a", "--token-ids", "1"),
        ("generate", "-p", "a", "--prompt-file", "b"),
        ("generate", "-p", "a", "--rope-factor", "2"),
        ("generate", "-p", "a", "--output", "yaml"),
        ("generate", "-p", "a", "--rope-when", "never"),
        ("generate", "-p", "a", "--rope-scaling", "x"),
        ("bench", "random:7b"),
        ("render", "--chat-template", "no-such"),
        ("foo\nbar",),
        ("generate", "--a\nb"),
        ("generate", b"--\xff"),
        ("tokenize", "--output", "json"),
        ("quantize", "--dtype", "int4"),
        ("quantize", "-o", world.folder / "q"),
        ("quantize", "--dtype", "fp8", "-o", world.folder / "q"),
    ):
        checks.refused(qwill(*arguments), 2)


def test_numbers_out_of_range(checks, world):
    words = ("", "x", "1x", " 1", "0x10", "1e", "nan")
    integers = {
        "--max-tokens": ("0", "-1"),
        "--top-k": ("-1",),
        "--threads": ("0", "-1", "1025"),
        "--max-seq-len": ("0", "-1", "16777217"),
        "--chunk-size": ("0", "-1", "1048577"),
        "--seed": ("-1", str(2**64)),
        "--logprobs": ("-1", "1001"),
    }
    numbers = {
        "--temperature": ("-0.1", "inf", "1e999"),
        "--top-p": ("0", "-0.1", "1.1"),
        "--min-p": ("-0.1", "1.1"),
        "--repetition-penalty": ("0", "-1", "inf"),
        "--presence-penalty": ("-101", "101"),
        "--frequency-penalty": ("-101", "101"),
        "--rope-factor": ("0.5", "0", "-1", "1025", "inf"),
    }
    for flag, values in {
        **{f: v + words + ("1.5", "1e3", "9" * 30) for f, v in integers.items()},
        **{f: v + words for f, v in numbers.items()},
    }.items():
        extra = ("--rope-scaling", "yarn") if flag == "--rope-factor" else ()
        for value in values:
            checks.refused(world.qwill("generate", "-p", "a", flag, value, *extra), 2)
    checks.refused(world.qwill("chat", "--temperature", "-1"), 2, "temperature")
    for flag in ("--prompt-len", "--gen-len", "--context", "--batch"):
        for value in ("0", "-1", "9" * 30, "x"):
            checks.refused(world.qwill("bench", flag, value), 2, flag)
    for value in ("0", "-1", "x"):
        checks.refused(
            world.qwill("logits", "--token-ids", "1", "--out", world.folder / "o.npy", "--last", value), 2, "--last"
        )
    for flag in ("--max-kl", "--layer-tolerance"):
        for value in ("-1", "nan", "x"):
            checks.refused(world.qwill("verify", "--against", "x", flag, value), 2, flag)


def test_help(checks, world):
    top = checks.good(world.qwill("--help")).out.decode()
    for command in COMMANDS:
        checks.that(command in top, f"{command} in --help")
        text = checks.good(world.qwill(command, "--help")).out.decode()
        checks.that(text.count(f"qwill {command}") >= 2, f"usage and an example in {command} --help")
    checks.that(checks.good(world.qwill("--version")).out.startswith(b"qwill "), "--version")


# ---------------------------------------------------------------- text that is no UTF-8


def test_invalid_utf8(checks, world):
    bad = world.file("bad.txt", INVALID)
    checks.refused(world.generate("-p", INVALID), 1, "UTF-8", "byte 3")
    checks.refused(world.generate("--prompt-file", bad), 1, "UTF-8", str(bad))
    checks.refused(world.generate(stdin=INVALID), 1, "UTF-8", "stdin")
    checks.refused(world.generate("-p", "a", "--stop", INVALID), 1, "UTF-8", "--stop")
    checks.refused(world.qwill("chat", "--system", INVALID, *LIGHT), 1, "UTF-8", "--system")
    checks.refused(world.qwill("chat", *LIGHT, stdin=INVALID + b"\n"), 1, "UTF-8")
    checks.refused(world.qwill("tokenize", stdin=INVALID), 1, "UTF-8", "stdin")
    checks.refused(world.qwill("tokenize", "--jsonl", stdin=b'{"text": "\xff"}\n'), 1, "stdin", "line 1")
    checks.refused(world.qwill("render", stdin=b'{"messages": [{"role": "user", "content": "\xff"}]}'), 1, "UTF-8")
    checks.refused(world.generate(b"no\xff\xfesuch", "-p", "a"), 1)
    odd = world.folder / os.fsdecode(b"od\xffd\nname")
    shutil.copytree(world.nib, odd)
    checks.good(world.generate(os.fsencode(odd), "-p", "a", "--max-tokens", "1"))
    done = checks.good(world.qwill("inspect", os.fsencode(odd), "--output", "json"))
    json.loads(done.out.decode())
    (odd / "config.json").write_bytes(b"{")
    checks.refused(world.generate(os.fsencode(odd), "-p", "a"), 1, "config.json")


# ---------------------------------------------------------------- the other commands


def test_tokenize_and_detokenize(checks, world):
    qwill = world.qwill
    for text in ("", "Hello", "Hello\n", "a\u00e9\U0001f600 <|im_end|>\n\n"):
        ids = checks.good(qwill("tokenize", stdin=text.encode())).out
        checks.that(ids.endswith(b"\n") and ids.count(b"\n") == 1, ids)
        checks.equal(checks.good(qwill("detokenize", stdin=ids)).out.decode(), text)
        checks.equal(qwill("tokenize", world.nib, stdin=text.encode()).out, ids, "MODEL")
    special = qwill("tokenize", stdin=b"<|im_end|>").out.split()
    checks.that(len(special) == 1 and len(qwill("tokenize", "--plain", stdin=b"<|im_end|>").out.split()) > 1, special)
    lines = "".join(json.dumps({"text": t}) + "\n" for t in ("Hello", "", "a\nb"))
    tokenized = checks.good(qwill("tokenize", "--jsonl", stdin=lines.encode())).out
    checks.equal(json.loads(tokenized.splitlines()[0]), {"token_ids": world.tokens("Hello")})
    back = checks.good(qwill("detokenize", "--jsonl", stdin=tokenized)).out
    checks.equal([json.loads(line)["text"] for line in back.splitlines()], ["Hello", "", "a\nb"])
    partial = qwill("tokenize", "--jsonl", stdin=b'{"text": "a"}\n{"text": 3}\n')
    checks.that(
        partial.status == 1 and partial.out.count(b"\n") == 1 and one_line(partial.err) and b"line 2" in partial.err,
        partial,
    )
    checks.equal(checks.good(qwill("detokenize", stdin=b"-1 2147483647")).out, b"", "ids that name nothing")
    checks.refused(qwill("detokenize", stdin=b"1 x"), 1, "stdin", "x")
    checks.refused(qwill("detokenize", stdin=b"99999999999"), 1)
    checks.refused(qwill("tokenize", world.bare, stdin=b"a"), 1, "tokenizer.json")


def test_tokenize_answers_each_line_at_once(checks, world):
    process = world.qwill.start("tokenize", "--jsonl")
    for text in ("Hello", "World"):
        process.stdin.write(json.dumps({"text": text}).encode() + b"\n")
        process.stdin.flush()
        ready = select.select([process.stdout], [], [], 60)[0]
        checks.that(ready, f"an answer to {text} while stdin is open")
        checks.equal(json.loads(os.read(process.stdout.fileno(), 1000)), {"token_ids": world.tokens(text)})
    out, err = process.communicate(timeout=60)
    checks.equal((process.returncode, out, err), (0, b"", b""))


def test_render(checks, world):
    chat = {"messages": [{"role": "user", "content": "Hi"}], "add_generation_prompt": False}
    done = checks.good(world.qwill("render", stdin=json.dumps(chat).encode()))
    checks.equal(done.out, b"<|im_start|>user\nHi<|im_end|>\n")
    named = checks.good(
        world.qwill("render", world.bare, "--chat-template", "qwen3-2504", stdin=json.dumps(chat).encode())
    )
    checks.equal(named.out, done.out)
    checks.refused(world.qwill("render", world.bare, stdin=json.dumps(chat).encode()), 1, "--chat-template")
    for text in (b"", b"{", b"[]", b'{"messages": 3}', b'{"messages": []}', b"\xff"):
        checks.refused(world.qwill("render", stdin=text), 1, "stdin")


def read_npy(path):
    """Rows of a float32 matrix."""
    data = path.read_bytes()
    assert data[:8] == b"\x93NUMPY\x01\x00", data[:8]
    length = struct.unpack("<H", data[8:10])[0]
    header = eval(data[10 : 10 + length], {"__builtins__": {}})  # a literal dictionary, by the format
    assert (10 + length) % 64 == 0 and header["descr"] == "<f4" and header["fortran_order"] is False, header
    rows, cols = header["shape"]
    values = array.array("f", data[10 + length :])
    assert len(values) == rows * cols, header
    return [values[r * cols : (r + 1) * cols] for r in range(rows)]


def test_logits(checks, world):
    out = world.folder / "l.npy"
    run = lambda *flags: world.qwill("logits", world.bare, *LIGHT, "--token-ids", "5,6,7", "--out", out, *flags)  # noqa: E731
    checks.equal(checks.good(run()).out, b"")
    rows = read_npy(out)
    vocab = json.loads((world.bare / "config.json").read_bytes())["vocab_size"]
    checks.equal((len(rows), len(rows[0])), (3, vocab))
    for last in (1, 2, 99):
        checks.good(run("--last", str(last)))
        checks.equal(read_npy(out), rows[-last:], f"--last {last}")
    first = world.result(checks, world.bare, "--token-ids", "5,6,7", "--max-tokens", "1", "--ignore-eos")["token_ids"][
        0
    ]
    checks.equal(first, max(range(vocab), key=lambda i: (rows[-1][i], -i)), "greedy is the largest logit")
    for path in (world.folder / "no/such/folder.npy", world.folder, Path("/dev/full")):
        done = world.qwill("logits", world.bare, "--token-ids", "1", "--out", path)
        checks.refused(done, 1, str(path))
    checks.refused(world.qwill("logits", world.bare, "--token-ids", "", "--out", out), 1, "empty")
    if os.geteuid() != 0:
        closed = world.folder / "closed"
        closed.mkdir(mode=0o500)
        checks.refused(world.qwill("logits", world.bare, "--token-ids", "1", "--out", closed / "l.npy"), 1, "closed")


def test_verify(checks, world):
    for name in ("06b", "moe-30b"):
        reference = world.source / f"tests/data/goldens/{name}.safetensors"
        model = world.checkpoints / name
        text = checks.good(world.qwill("verify", model, *LIGHT, "--against", reference))
        checks.that(b"mean KL" in text.out, text)
        report = json.loads(
            checks.good(
                world.qwill("verify", model, *LIGHT, "--against", reference, "--dtype", "f32", "--output", "json")
            ).out
        )
        checks.that(report["mean_kl"] < 1e-6 and report["first_divergent_layer"] is None, report)
        strict = world.qwill(
            "verify",
            model,
            *LIGHT,
            "--against",
            reference,
            "--max-kl",
            "0",
            "--layer-tolerance",
            "0",
            "--output",
            "json",
        )
        checks.that(
            strict.status == 1 and one_line(strict.err) and json.loads(strict.out)["first_divergent_layer"] is not None,
            strict,
        )
    checks.refused(world.qwill("verify", world.bare, "--against", world.folder / "none"), 1, "none")
    checks.refused(
        world.qwill("verify", world.bare, "--against", world.bare / "model.safetensors"), 1, "not a reference file"
    )
    checks.refused(world.qwill("verify", world.nib, "--against", reference), 1, "is it of this model")


def test_inspect(checks, world):
    text = checks.good(world.qwill("inspect", world.nib)).out.decode()
    checks.that("4.59 million" in text or "parameters" in text, text)
    report = json.loads(checks.good(world.qwill("inspect", "--output", "json")).out)
    checks.equal(
        (report["config"]["vocab_size"], report["tokenizer"], report["context"]["max_len"]), (2560, True, 2048)
    )
    moe = json.loads(checks.good(world.qwill("inspect", world.nib_moe, "--output", "json")).out)
    checks.that(moe["parameters"]["active"] < moe["parameters"]["total"], moe["parameters"])
    checks.equal(world.qwill("inspect", world.nib, "--output", "text").out.decode(), text)


def test_quantize(checks, world):
    cpu = ("--device", "cpu")
    for dtype in ("int8", "int4"):
        folder = world.folder / f"nib-{dtype}"
        done = checks.good(world.qwill("quantize", world.nib, "--dtype", dtype, "-o", folder, *LIGHT))
        checks.equal(done.out, os.fsencode(folder) + b"\n")
        ahead = world.result(checks, folder, "-p", PROMPT, *cpu)
        loading = world.result(checks, world.nib, "-p", PROMPT, "--dtype", dtype, *cpu)
        checks.equal((ahead["text"], ahead["token_ids"]), (loading["text"], loading["token_ids"]))
        report = json.loads(checks.good(world.qwill("inspect", folder, "--output", "json")).out)
        checks.that(f"panels of {dtype}" in report["dtypes"], f"dtypes {report['dtypes']}")
        text = checks.good(
            world.qwill("render", folder, stdin=b'{"messages": [{"role": "user", "content": "Hi"}]}')
        ).out
        checks.that(b"Hi" in text, "the template came along")
        again = world.qwill("quantize", folder, "--dtype", "int4", "-o", world.folder / "again", *LIGHT)
        checks.refused(again, 1, "is quantised already")
        checks.refused(world.qwill("quantize", "--dtype", dtype, "-o", folder), 1, "is there already")
        checks.equal([path.name for path in world.folder.glob(f"nib-{dtype}.*")], [])
    checks.refused(world.qwill("quantize", "--dtype", "int4", "-o", world.folder / "no/q"), 1, "cannot make a folder")


def test_bench(checks, world):
    keys = [
        "prefill_tok_s",
        "decode_tok_s",
        "ms_per_step",
        "mean_ms_per_step",
        "bytes_per_step",
        "achieved_gb_s",
        "measured_gb_s",
        "ratio",
        "device",
        "commit",
    ]
    small = ("--prompt-len", "8", "--gen-len", "3", "--context", "4", "--batch", "2", "--repeats", "2", *LIGHT)
    report = json.loads(checks.good(world.qwill("bench", world.bare, *small, "--output", "json")).out)
    checks.equal(list(report), keys)
    checks.that(all(report[k] > 0 for k in keys[:8]), report)
    checks.that(b"tok/s" in checks.good(world.qwill("bench", world.bare, *small)).out, "text")


def test_plan(checks, world):
    run = lambda *flags: world.qwill("plan", world.bare, "--device", "cpu", *LIGHT, *flags)  # noqa: E731
    plan = json.loads(checks.good(run("--memory", "1GB", "--output", "json")).out)
    checks.equal(plan["memory_bytes"], 10**9)
    checks.equal(plan["total_bytes"], sum(plan["pools"].values()))
    checks.equal(plan["pools"]["cache"], plan["num_pages"] * plan["page_bytes"])
    checks.equal(plan["cache_tokens"], plan["num_pages"] * plan["page_size"])
    checks.equal(plan["max_sequences"], 8)
    text = checks.good(run("--memory", "1GB")).out.decode()
    for bytes_ in (*plan["pools"].values(), plan["total_bytes"], plan["num_pages"], plan["cache_tokens"]):
        checks.that(f"{bytes_:,}" in text, f"{bytes_:,} in {text}")

    # As many pages as fit, and one more does not.
    pages = lambda n: json.loads(  # noqa: E731
        checks.good(run("--memory", str(n), "--max-seq-len", "100", "--max-seqs", "5", "--output", "json")).out
    )
    most = pages(10**9)
    checks.equal((most["num_pages"], most["sequences_at_full_length"]), (10, 5))
    checks.equal(pages(most["total_bytes"])["num_pages"], 10)
    less = pages(most["total_bytes"] - 1)
    checks.equal((less["num_pages"], less["sequences_at_full_length"]), (9, 4))

    for amount, count in {"1024KiB": 2**20, "0.001GB": 10**6, "1048576": 2**20, "1MiB": 2**20, "1e6B": 10**6}.items():
        refused = run("--memory", amount)
        checks.refused(refused, 1, f"{count / 1e9:.2f} GB are allowed")
    too_long = run("--memory", "150MB", "--max-seq-len", "1000000")
    checks.refused(too_long, 1, "1000000 tokens")
    checks.refused(too_long, 1, "--max-seq-len")
    for amount in ("", "x", "GB", "-1GB", "0", "1 GB", "1gb", "1XB", "nan", "inf", "1e30", "0.1"):
        checks.refused(run("--memory", amount), 2, "--memory")
    for count in ("0", "-1", "x", "4097"):
        checks.refused(run("--max-seqs", count), 2, "--max-seqs")
    checks.refused(world.qwill("plan", "random:9b"), 2, "9b")
    checks.refused(world.generate("-p", "a", "--memory", "1GB"), 2, "--memory")

    # A card need not be there.
    card = world.qwill("plan", "random:8b", "--device", "cuda", "--memory", "80GB", "--output", "json")
    if card.status == 0:
        card = json.loads(card.out)
        checks.that(16e9 < card["pools"]["weights"] < 17e9 and card["total_bytes"] <= 80e9, card)
        checks.equal(card["max_sequences"], 1024)
        checks.that(50e6 < card["pinned_bytes"] < 1e9, card)
        small = world.qwill("plan", "random:8b", "--device", "cuda", "--memory", "40GB", "--output", "json")
        checks.equal(json.loads(checks.good(small).out)["max_sequences"], 256)
        # Nobody asked for the whole context: it is shortened to what fits.
        short = world.qwill("plan", "random:8b", "--device", "cuda", "--memory", "20GB", "--output", "json")
        short = json.loads(checks.good(short).out)
        checks.that(10000 < short["max_seq_len"] < 32768 and short["total_bytes"] <= 20e9, short)
    else:
        checks.refused(card, 1, "this build has no CUDA")


# ---------------------------------------------------------------- files that are not what they should be


def test_models_that_are_not_there(checks, world):
    run = lambda model: world.generate(model, "-p", "a")  # noqa: E731
    for model in (
        "no-such-model",
        "Qwen/No-Such",
        "./none",
        "/none/at/all",
        "a/b/c",
        "..",
        "x" * 5000,
        "/" + "x" * 300,
        "line\nbreak",
    ):
        checks.refused(run(model), 1)
    checks.refused(run(world.nib / "config.json"), 1, "not a folder")
    empty = world.folder / "empty"
    empty.mkdir()
    checks.refused(run(empty), 1, str(empty), "config.json")
    checks.refused(world.generate("--prompt-file", world.folder), 1, str(world.folder))
    checks.refused(world.generate("--prompt-file", world.folder / "none"), 1, "none")
    for name in ("config.json", "tokenizer.json", "model.safetensors", "generation_config.json"):
        folder = world.model_copy(f"folder-for-{name}")
        (folder / name).unlink()
        (folder / name).mkdir()
        checks.refused(run(folder), 1, name)
        (folder / name).rmdir()
        os.mkfifo(folder / name)
        checks.refused(run(folder), 1, name)
        (folder / name).unlink()
        (folder / name).symlink_to("nowhere")
        checks.refused(run(folder), 1, name)
        if os.geteuid() != 0:
            (folder / name).unlink()
            shutil.copy(world.nib / name, folder / name)
            (folder / name).chmod(0)
            checks.refused(run(folder), 1, name)
            folder.chmod(0)
            checks.refused(run(folder), 1, "ermission")
            folder.chmod(0o700)


def test_pipes_as_prompts(checks, world):
    done = world.qwill.shell(
        'printf %s "$1" | "$0" generate --threads 1 --max-tokens 5 --prompt-file /dev/stdin', PROMPT
    )
    checks.equal((done.status, done.err, done.out), (0, b"", world.generate("-p", PROMPT, "--max-tokens", "5").out))


def test_hub_cache(checks, world):
    hub = world.folder / "home" / "hub"
    repository = hub / "models--Some--Model"
    (repository / "refs").mkdir(parents=True)
    (repository / "snapshots").mkdir()
    (repository / "refs/main").write_text("abc123")
    checks.refused(world.generate("Some/Model", "-p", "a", environment={"HF_HUB_CACHE": str(hub)}), 1, "abc123")
    (repository / "snapshots/abc123").symlink_to(world.nib.resolve())
    wanted = world.generate("-p", PROMPT, "--max-tokens", "4").out
    for environment in ({"HF_HUB_CACHE": str(hub)}, {"HF_HOME": str(hub.parent)}):
        done = checks.good(world.generate("Some/Model", "-p", PROMPT, "--max-tokens", "4", environment=environment))
        checks.equal(done.out, wanted)
        checks.refused(world.generate("Other/Model", "-p", "a", environment=environment), 1, str(hub), "Other/Model")
    (repository / "refs/main").write_text("../../..")
    checks.refused(world.generate("Some/Model", "-p", "a", environment={"HF_HUB_CACHE": str(hub)}), 1)


def test_a_file_that_shrinks(checks, world):
    folder = world.model_copy("shrinks")
    process = world.qwill.start("generate", folder, "-p", PROMPT, *LONG, stdin=subprocess.DEVNULL)
    process.stdout.read(10)
    os.truncate(folder / "model.safetensors", 4096)
    _, err = process.communicate(timeout=300)
    checks.that(process.returncode == 1 and one_line(err), (process.returncode, err))


# ---------------------------------------------------------------- streams that fail


def test_closed_stdout(checks, world):
    process = world.qwill.start("generate", "-p", PROMPT, *LONG, stdin=subprocess.DEVNULL)
    process.stdout.read(10)
    process.stdout.close()
    checks.equal((process.stderr.read(), process.wait(timeout=300)), (b"", 0), "ends quietly")
    for script in (
        '"$0" generate --threads 1 --ignore-eos -p a | head -c 10',
        '"$0" inspect | head -c 1',
        '"$0" --help | head -c 1',
        'yes | head -c 2000000 | "$0" tokenize | head -c 10',
    ):
        done = world.qwill.shell(script)
        checks.equal((done.status, done.err), (0, b""), script)


def test_streams_that_fail(checks, world):
    commands = (
        "generate --threads 1 --max-tokens 2 -p a",
        "generate --threads 1 --max-tokens 2 -p a --output json",
        "inspect",
        "tokenize",
        "--help",
        "generate --help",
        "--version",
    )
    for arguments in commands:
        for target in (">/dev/full", ">&-"):
            checks.refused(world.qwill.shell(f'"$0" {arguments} {target} </dev/null'), 1, "stdout")
    for source in ("<&-", "</"):
        for arguments in ("generate", "tokenize", "tokenize --jsonl", "render", "detokenize", "chat --threads 1"):
            checks.refused(world.qwill.shell(f'"$0" {arguments} {source}'), 1, "stdin")
    out = world.folder / "closed.npy"
    done = world.qwill.shell('"$0" logits "$1" --token-ids 1,2 --out "$2" <&- >&- 2>&-', str(world.bare), str(out))
    checks.equal(done.status, 0, "all three closed")
    checks.equal(len(read_npy(out)), 2)


# ---------------------------------------------------------------- signals


def wait_until_it_catches(process, number, timeout=60):
    """Waits until the process has a handler for the signal."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("SigCgt:") and int(line.split()[1], 16) >> (number - 1) & 1:
                return
        time.sleep(0.01)
    raise TimeoutError("no handler")


def test_signals_while_generating(checks, world):
    lasting = world.model_copy("lasting")
    config = json.loads((lasting / "config.json").read_text())
    (lasting / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 32768}))
    for number in (signal.SIGINT, signal.SIGTERM):
        process = world.qwill.start("generate", "-p", PROMPT, *LONG, stdin=subprocess.DEVNULL)
        process.stdout.read(20)
        process.send_signal(number)
        out, err = process.communicate(timeout=300)
        checks.equal((process.returncode, err, out[-1:]), (128 + number, b"", b"\n"), "text")

        arguments = ("generate", lasting, "-p", PROMPT, "--ignore-eos", "--max-tokens", "30000", *LIGHT)
        process = world.qwill.start(*arguments, "--output", "json", stdin=subprocess.DEVNULL)
        wait_until_it_catches(process, number)
        time.sleep(0.1)  # some way into the many seconds that it takes
        process.send_signal(number)
        out, err = process.communicate(timeout=300)
        checks.equal((process.returncode, err), (128 + number, b""))
        checks.equal(check_result(checks, out)["finish_reason"], "cancelled")


def test_signals_before_generating(checks, world):
    for number in (signal.SIGINT, signal.SIGTERM):
        for arguments in (
            ("generate",),
            ("generate", "--output", "json"),
            ("tokenize",),
            ("tokenize", "--jsonl"),
            ("detokenize",),
            ("render",),
        ):
            process = world.qwill.start(*arguments)  # its stdin stays open
            wait_until_it_catches(process, number)
            time.sleep(0.3)
            process.send_signal(number)
            process.wait(timeout=60)
            out, err = process.communicate()
            checks.equal((process.returncode, err), (128 + number, b""), arguments)
            if "json" in arguments:
                checks.equal(check_result(checks, out)["finish_reason"], "cancelled")
            else:
                checks.equal(out, b"")


def large_model(world):
    """A model whose file is mostly a hole, so that loading takes a moment; None where memory is short."""
    hole = 2 << 30
    memory = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    available = int(memory["MemAvailable"].split()[0]) * 1024
    if available < 3 * hole:
        return None
    folder = world.model_copy("large", world.bare)
    path = folder / "model.safetensors"
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    end = len(data) - 8 - length
    header["unused"] = {"dtype": "U8", "shape": [hole], "data_offsets": [end, end + hole]}
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data[8 + length :])
        file.truncate(8 + len(text) + end + hole)
    return folder


def test_loading(checks, world):
    folder = large_model(world)
    if folder is None:
        print("test_loading: skipped, not enough memory")
        return
    arguments = (
        "generate",
        folder,
        "--token-ids",
        "1",
        "--max-tokens",
        "1",
        "--ignore-eos",
        "--output",
        "json",
        *LIGHT,
    )
    process = world.qwill.start(*arguments, stdin=subprocess.DEVNULL)
    wait_until_it_catches(process, signal.SIGINT)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    checks.equal((process.returncode, err), (130, b""))
    checks.equal(check_result(checks, out)["finish_reason"], "cancelled")
    checks.good(world.qwill(*arguments))  # stderr is no terminal: no progress
    with Terminal(world.qwill, *arguments) as terminal:
        terminal.until_end()
        load_s = json.loads(terminal.seen[terminal.seen.index(b"{") :])["timing"]["load_s"]
        checks.that(load_s < 1 or b"loading" in terminal.seen, f"progress on a terminal: {terminal.seen!r}")
    shutil.rmtree(folder)


# ---------------------------------------------------------------- chat


def test_chat_through_a_pipe(checks, world):
    chat = lambda text, *flags: world.qwill("chat", *LIGHT, "--max-tokens", "8", *flags, stdin=text)  # noqa: E731
    done = checks.good(chat(b"Hello\n"))
    checks.that(done.out.endswith(b"\n") and not done.out.startswith(b">"), done)
    checks.equal(checks.good(chat(b"Hello")).out, done.out, "a last line without newline")
    checks.equal(checks.good(chat(b"")).out, b"")
    checks.equal(checks.good(chat(b"\n\n/exit\nHello\n")).out, b"", "/exit")
    checks.that(b"/reset" in checks.good(chat(b"/help\n")).out, "/help")
    again = checks.good(chat(b"Hello\n/reset\nHello\n")).out
    checks.equal(again, done.out + b"(forgotten)\n" + done.out, "/reset")
    checks.good(chat(b"/think on\nHello\n/think off\nHello\n"))
    checks.good(
        chat(
            b"Hello\n",
            "--system",
            "You are kind.",
            "--stop",
            "zzz",
            "--seed",
            "1",
            "--temperature",
            "1",
            "--chat-template",
            "qwen3-2504",
        )
    )
    checks.refused(chat(b"word " * 5000 + b"\n"), 1, "--max-seq-len")
    checks.refused(chat(b"Hello \xc3\n"), 1, "UTF-8")
    checks.refused(chat(b"Hello\n", "--chat-template", "none"), 2, "none")
    checks.refused(chat(b"Hello\n", world.bare), 1, "tokenizer.json")
    folder = world.model_copy("unknown-template")
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    checks.refused(chat(b"Hello\n", folder), 1, "--chat-template")
    checks.equal(checks.good(chat(b"Hello\n", folder, "--chat-template", "qwen3-base")).out, done.out)


def test_chat_on_a_terminal(checks, world):
    with Terminal(world.qwill, "chat", *LONG) as terminal:
        terminal.until(b"> ")
        for line, answer in (
            (b"/help", b"/reset"),
            (b"/reset", b"(forgotten)"),
            (b"/think on", b"(thinking on)"),
            (b"/think off", b"(thinking off)"),
        ):
            terminal.type(line + b"\n")
            terminal.until(answer)
            terminal.until(b"> ")
        for _ in range(2):  # Ctrl-C ends the answer, and the conversation goes on
            terminal.type(b"Tell me a story\n")
            while len(terminal.seen) < 20:
                terminal.read()
            terminal.type(b"\x03")
            terminal.until(b"\n> ")
            checks.equal(terminal.process.poll(), None, "still there after Ctrl-C in an answer")
        terminal.type(b"\xff\xfe\n")
        terminal.until(b"UTF-8")
        terminal.until(b"> ")
        terminal.type(b"word " * 800 + b"\n")
        terminal.until(b"> ")
        terminal.type(b"\x04")
        checks.equal(terminal.until_end(), 0, "Ctrl-D")
    with Terminal(world.qwill, "chat", *LONG) as terminal:
        terminal.until(b"> ")
        terminal.type(b"\x03")
        checks.equal(terminal.until_end(), 130, "Ctrl-C at the prompt")
    with Terminal(world.qwill, "chat", *LONG) as terminal:
        terminal.until(b"> ")
        terminal.type(b"Tell me a story\n")
        while len(terminal.seen) < 20:
            terminal.read()
        terminal.process.send_signal(signal.SIGTERM)
        checks.equal(terminal.until_end(), 143, "SIGTERM during an answer")


def test_chat_interrupted_in_a_pipe(checks, world):
    process = world.qwill.start("chat", *LONG)
    process.stdin.write(b"Tell me a story\n")
    process.stdin.flush()
    process.stdout.read(20)
    process.send_signal(signal.SIGINT)
    checks.equal((process.wait(timeout=60), process.stderr.read()), (130, b""))
    process.communicate()


def main():
    program, source, *names = sys.argv[1:]
    tests = [f for name, f in globals().items() if name.startswith("test_") and (not names or name in names)]
    with tempfile.TemporaryDirectory(prefix="qwill-cli-") as folder:
        return run_all(tests, World(program, source, folder))


if __name__ == "__main__":
    sys.exit(main())
