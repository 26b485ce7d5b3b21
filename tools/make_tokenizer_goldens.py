#!/usr/bin/env python3
"""Writes tests/data/tokenizer/goldens.jsonl: what the pinned reference makes of texts and of ids.

    python tools/make_tokenizer_goldens.py

Lines are one of
    {"text", "ids"}                 encoded as the reference does by default: added tokens are parsed
    {"text", "ids", "as_text": true}   by the same tokenizer without its added tokens
    {"unit", "count", "num_ids", "hash"}   unit repeated count times; hash: FNV-1a (64 bits) of the ids in decimal, each
                                    followed by a space
    {"ids", "decoded", "skipped"}   decoded with special tokens kept, and skipped
Needs tools/requirements.txt and xz.
"""

import json
import pathlib
import random
import subprocess
import sys

import tokenizers

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATA = ROOT / "tests/data/tokenizer"
sys.path.insert(0, str(ROOT / "tests/text"))
from tokenizer_texts import CODE, CONTRACTIONS, EMOJI, LOOK_ALIKES, NONCHARACTERS, SPACES, SPECIALS, WORDS, Texts  # noqa: E402

RUNS = [
    ("a", 1000000), (" ", 1000000), ("0", 300000), ("\n", 300000), ("\t", 100000), ("!", 300000), ("é", 200000),
    ("\u0301", 100000), ("e\u0301", 100000), ("\u0323\u0301", 50000), ("字", 100000), ("😀", 50000), ("ab", 200000),
    ("a ", 200000), (" \n", 100000), ("\r\n", 100000), ("\u3000", 100000), ("\u1100\u1161\u11a8", 50000), ("'s", 100000),
    ("<|im_end|>", 20000), ("<|im_end", 20000), ("<", 100000), ("Zürich", 50000), ("=-", 100000), ("\x00", 100000),
]  # fmt: skip
NUM_RANDOM, NUM_AS_TEXT, NUM_DECODED = 5200, 300, 700


def fnv1a(ids):
    value = 0xCBF29CE484222325
    for byte in "".join(f"{i} " for i in ids).encode():
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def main():
    source = subprocess.run(["xz", "-dc", DATA / "qwen3-tokenizer.json.xz"], check=True, stdout=subprocess.PIPE).stdout
    reference = tokenizers.Tokenizer.from_str(source.decode())
    without_added = tokenizers.Tokenizer.from_str(json.dumps({**json.loads(source), "added_tokens": []}))
    texts = Texts(20250428)
    lines = []

    fixed = ["", *WORDS, *CODE, *EMOJI, *SPECIALS, *LOOK_ALIKES, *CONTRACTIONS, *SPACES, *map(chr, NONCHARACTERS)]
    for text in dict.fromkeys(fixed + [texts.text() for _ in range(NUM_RANDOM)]):
        lines.append({"text": text, "ids": reference.encode(text).ids})
    for text in SPECIALS + LOOK_ALIKES + [texts.specials() for _ in range(NUM_AS_TEXT)]:
        lines.append({"text": text, "ids": without_added.encode(text).ids, "as_text": True})
    for unit, count in RUNS:
        ids = reference.encode(unit * count).ids
        lines.append({"unit": unit, "count": count, "num_ids": len(ids), "hash": fnv1a(ids)})
    draw = random.Random(1)
    for _ in range(NUM_DECODED):
        limit = draw.choice([256, 151669, 151669, 151936])  # single bytes, all tokens, padding rows too
        low = draw.choice([0, 0, 0, 151600]) if limit > 256 else 0
        ids = [draw.randrange(low, limit) for _ in range(draw.randint(0, 12))]
        decoded, skipped = (reference.decode(ids, skip_special_tokens=skip) for skip in (False, True))
        lines.append({"ids": ids, "decoded": decoded, "skipped": skipped})

    text = "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)
    (DATA / "goldens.jsonl").write_text(text)
    print(f"{len(lines)} lines, {len(text.encode())} bytes")


if __name__ == "__main__":
    main()
