#!/ usr / bin / env python3
"""GGUF files as the gguf package writes them (tools/make_gguf.py), through the program: the same bits as the checkpoints
that they were made from, whatever reads them.

    python gguf_files.py PROGRAM SOURCE_FOLDER

Needs the pinned gguf package (tests/requirements.txt).
"""

import json
import random
import sys
import tempfile
from pathlib import Path

SOURCE = Path(sys.argv[2]).resolve()
sys.path += [str(SOURCE / "tools"), str(SOURCE / "tests/cli")]
import numpy as np  # noqa: E402
from make_gguf import make_gguf  # noqa: E402
from program import Program, one_line, run_all  # noqa: E402

MODELS = ("nib", "nib-moe")
IDS = ",".join(str(i * 37 % 2500) for i in range(70))
TEXT = "Once upon a time, e\u0301 <|im_end|> in 1999 \u1100\u1161\n\n"
CHAT = b'{"messages": [{"role": "user", "content": "Hi"}]}'


def logits(qwill, model, dtype, out):
    done = qwill("logits", model, "--token-ids", IDS, "--dtype", dtype, "--device", "cpu", "--out", out)
    assert done.status == 0, done
    return out.read_bytes()


def same_bits(checks, qwill, folder):
    """Weights in the type that they had, or a wider one: equal logits, tokens and texts."""
    for model in MODELS:
        hub = SOURCE / "models" / model
        wanted = {dtype: logits(qwill, hub, dtype, folder / "logits.npy") for dtype in ("auto", "bf16", "f32")}
        for kind, dtypes in (("BF16", ("auto", "bf16", "f32")), ("F32", ("bf16", "f32"))):
            path = folder / f"{model}-{kind}.gguf"
            make_gguf(hub, path, kind, kind)
            for dtype in dtypes:
                found = logits(qwill, path, dtype, folder / "logits.npy")
                checks.that(found == wanted[dtype], f"{path.name}: logits differ with --dtype {dtype}")
        path = folder / f"{model}-BF16.gguf"
        for command, stdin in (
            (("generate", "-p", "Once upon a time", "--max-tokens", "100", "--device", "cpu"), b""),
            (("tokenize",), TEXT.encode()),
            (("tokenize", "--plain"), TEXT.encode()),
            (("detokenize",), IDS.encode()),
            (("render",), CHAT),
        ):
            name, *flags = command
            theirs, ours = qwill(name, hub, *flags, stdin=stdin), qwill(name, path, *flags, stdin=stdin)
            checks.equal(checks.good(ours).out, checks.good(theirs).out, f"{path.name}: {name}")


def what_it_says(checks, qwill, folder):
    for model in MODELS:
        hub, path = SOURCE / "models" / model, folder / f"{model}-BF16.gguf"
        theirs = json.loads(qwill("inspect", hub, "--output", "json").out)
        ours = json.loads(checks.good(qwill("inspect", path, "--output", "json")).out)
        theirs["config"].pop("dtype"), ours["config"].pop("dtype")  # one for all is not told
        for key in ("config", "parameters", "context", "template", "tokenizer"):
            checks.equal(ours[key], theirs[key], f"{path.name}: inspect: {key}")
        ends = "eos_token_ids"
        checks.equal(ours["generation_config"][ends], theirs["generation_config"][ends], f"{path.name}: {ends}")
        checks.equal([t["used"] for t in ours["tensors"]], [True] * len(theirs["tensors"]), f"{path.name}: tensors")
        checks.good(qwill("plan", path, "--device", "cpu"))
        golden = SOURCE / f"tests/data/goldens/{model}.safetensors"
        checks.good(qwill("verify", path, "--against", golden, "--device", "cpu"))
        checks.good(qwill("bench", path, "--prompt-len", "8", "--gen-len", "2", "--device", "cpu"))


def shards(checks, qwill, folder):
    hub = SOURCE / "models/nib-moe"
    wanted = logits(qwill, hub, "auto", folder / "logits.npy")
    split = folder / "split"
    split.mkdir()
    make_gguf(hub, split / "m.gguf", "BF16", "BF16", max_tensors=7)
    files = sorted(split.iterdir())
    checks.that(len(files) > 2, f"shards: {files}")
    for model in (files[0], files[1], files[-1], split):
        checks.that(logits(qwill, model, "auto", folder / "logits.npy") == wanted, f"{model}: logits differ")
    files[1].rename(folder / "elsewhere.gguf")
    checks.refused(qwill("generate", files[0], "-p", "a"), 1, files[1].name, "not there")
    checks.refused(qwill("generate", folder / "elsewhere.gguf", "-p", "a"), 1, "its name does not end in")


def names(checks, qwill, folder):
    checks.refused(qwill("generate", folder, "-p", "a"), 1, "several GGUF models")
    checks.refused(qwill("generate", folder / "none.gguf", "-p", "a"), 1, "none.gguf: no such file")
    checks.refused(qwill("generate", "some/none.gguf", "-p", "a"), 1, "none.gguf: no such file")
    checks.refused(qwill("tokenize", "none.gguf", stdin=b"a"), 1, "none.gguf: no such file")


def rows(path, qwill, dtype, folder):
    logits(qwill, path, dtype, folder / "logits.npy")
    return np.load(folder / "logits.npy")


def blocks(checks, qwill, folder):
    """Weights in blocks: widened they are the numbers that the gguf package makes of them, bit for bit; as they are,
    they meet activations of eight bits and give nearly the same."""
    for kind in ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"):
        for model in MODELS:
            path, decoded = folder / f"{model}-{kind}.gguf", folder / "decoded.gguf"
            make_gguf(SOURCE / "models" / model, path, kind, kind)
            make_gguf(SOURCE / "models" / model, decoded, kind, kind, decoded=True)
            found = json.loads(checks.good(qwill("inspect", path, "--output", "json")).out)
            checks.equal(sorted(found["dtypes"]), sorted([kind, "f32"]), f"{path.name}: dtypes")
            wanted = rows(decoded, qwill, "f32", folder)
            checks.that(np.array_equal(rows(path, qwill, "f32", folder), wanted), f"{path.name}: logits differ in f32")
            got = rows(path, qwill, "auto", folder)
            errors = np.linalg.norm(got - wanted, axis=1) / np.linalg.norm(wanted, axis=1)
            error = np.median(errors)  # a row whose experts change differs more
            checks.that(error < 0.04, f"{path.name}: logits are off by {error:.4f} of their norm")
            decoded.unlink()


def damaged(checks, qwill, folder):
    """Cut anywhere, or with bytes changed: status 1 and one line with the file's name, or it did not matter."""
    whole = (folder / "nib-Q4_0.gguf").read_bytes()
    header = whole.index(b"output_norm.weight") + 64
    draw = random.Random(3)
    path = folder / "damaged.gguf"
    for place in [0, 3, 4, 8, 16, 24, *(header * i // 20 for i in range(1, 21)), len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:place])
        checks.refused(qwill("generate", path, "-p", "a"), 1, "damaged.gguf: ")
    for _ in range(40):
        data = bytearray(whole)
        for _ in range(draw.randint(1, 3)):
            data[draw.randrange(header if draw.random() < 0.5 else 4000)] = draw.choice((0, 1, 0x7F, 0x80, 0xFF))
        path.write_bytes(data)
        done = qwill("inspect", path)
        checks.that(
            done.status == 0 or done.status == 1 and one_line(done.err) and b"damaged.gguf: " in done.err, f"{done}"
        )
    path.unlink()


def main():
    with tempfile.TemporaryDirectory(prefix="qwill-gguf-") as folder:
        return run_all((same_bits, what_it_says, shards, names, blocks, damaged), Program(sys.argv[1]), Path(folder))


if __name__ == "__main__":
    sys.exit(main())
