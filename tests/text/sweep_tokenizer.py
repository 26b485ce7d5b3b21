#!/usr/bin/env python3
"""Every code point through the reference and through qwill: prints "N passed, N failed", exit 1 if any differ.

    python tests/text/sweep_tokenizer.py build/release/qwill [--record]

The tokenizer has the Qwen pipeline and a vocabulary that shows where pieces end: a space, "!" and "<" merge with
whatever byte follows them, and any byte merges with an "a" that follows it, unless they are in different pieces.
Swept are: the classes of every code point; what every code point does to the contractions; NFC of every code point, also
next to marks of the lowest and the highest combining class, which shows whether it is a mark; every pair of marks; every
canonical composition and everything like one; Hangul.

The reference takes most of a sweep's minutes, so what it answered is kept as a digest of each part
(tests/data/tokenizer/sweep.json, written with --record). Where qwill's answers have another digest, or the reference is
of another version than the recorded one, the reference is asked again and answers are compared one by one.
"""

import argparse
import array
import hashlib
import json
import tempfile

import tokenizers
from reference_tokenizer import DATA, Pair, Score, tokenizer_json
from tokenizers import normalizers
from tokenizers.pre_tokenizers import ByteLevel

NFC, NFD = normalizers.NFC().normalize_str, normalizers.NFD().normalize_str
CHARACTERS = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
RECORD = DATA / "sweep.json"
TOGETHER = 64  # cases in one text, parted by a digit, which is a piece of its own and takes no mark along
CONTEXTS = [
    "{}", " {}", "{}a", " {}a", "!{}", "!{}a", "  {}a", "{} a", "{}\na", "\n{}a", "{}'sa",
    "'{}a", "'{}ea", "'{}la", "'r{}a", "'v{}a", "'l{}a", "{}sa", "x{}a",
    "e{}", "e{}\u0334", "e\u0345{}", "<{}\u0338", "{}\u0301\u0323",
]  # fmt: skip


def boundary_tokenizer():
    alphabet = sorted(ByteLevel.alphabet())
    merges = [[first, byte] for first in ("Ġ", "!", "<") for byte in alphabet] + [[byte, "a"] for byte in alphabet]
    merges = list(dict.fromkeys(map(tuple, merges)))
    tokens = dict.fromkeys(alphabet + [a + b for a, b in merges])
    return tokenizer_json({token: i for i, token in enumerate(tokens)}, merges)


def marks():
    return [c for c in CHARACTERS if NFD(c + "\u0334") == "\u0334" + c or NFD("\u0345" + c) == c + "\u0345"]


def compositions():
    """Everything that a decomposition begins with, followed by everything that one ends in."""
    parts = [NFD(c) for c in CHARACTERS if NFD(c) != c and not 0xAC00 <= ord(c) <= 0xD7A3]
    firsts = sorted({NFC(p[:-1]) for p in parts if len(p) > 1} | {p[0] for p in parts} | set(map(NFC, parts)))
    seconds = sorted({p[-1] for p in parts})
    return [first + second for first in firsts for second in seconds]


def hangul():
    syllables = [chr(c) for c in range(0xAC00, 0xAC00 + 11172)]
    cases = [NFD(s) for s in syllables] + [s + "\u11a8" for s in syllables] + [s + "\u1161" for s in syllables]
    jamo = [chr(c) for c in range(0x1100, 0x1200)]
    return cases + [a + b for a in jamo + ["가", "각"] for b in jamo]


def parts():
    """(name, cases) of every part."""
    for context in CONTEXTS:
        yield context, [context.format(c) for c in CHARACTERS]
    every_mark = marks()
    yield "pairs of marks", ["e" + first + second for first in every_mark for second in every_mark]
    yield "compositions", compositions()
    yield "Hangul", hangul()


def digest(texts, answers):
    result = hashlib.sha256()
    for text, ids in zip(texts, answers):
        result.update(text.encode() + b"\0" + array.array("I", [len(ids), *ids]).tobytes())
    return result.hexdigest()


def recorded():
    """The digests of what this version of the reference answered."""
    record = json.loads(RECORD.read_text())
    return record["digests"] if record["tokenizers"] == tokenizers.__version__ else {}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the qwill program")
    parser.add_argument("--record", action="store_true", help="ask the reference about everything and keep its digests")
    options = parser.parse_args()
    score, known, record = Score(), {} if options.record else recorded(), {}
    with tempfile.TemporaryDirectory() as folder:
        pair = Pair(boundary_tokenizer(), folder, options.program)
        for name, cases in parts():
            texts = ["1".join(cases[i : i + TOGETHER]) for i in range(0, len(cases), TOGETHER)]
            ours = pair.ours(texts)
            if digest(texts, ours) == known.get(name):
                score.passed += len(cases)
                continue
            print(f"{name!r}: asking the reference")
            theirs = pair.theirs(texts)
            for text, mine, other in zip(texts, ours, theirs):
                score.add(text, mine, other, weight=text.count("1") + 1)
            record[name] = digest(texts, theirs)
    if options.record:
        RECORD.write_text(json.dumps({"tokenizers": tokenizers.__version__, "digests": record}, indent=1) + "\n")
    score.finish()


if __name__ == "__main__":
    main()
