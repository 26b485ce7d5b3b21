#!/usr/bin/env python3
"""Writes src/text/unicode_tables.inc from the behaviour of the pinned reference (tools/requirements.txt).

The tables hold what the reference build of `tokenizers` does, not what some version of Unicode says: its regular
expressions and its normaliser come from two libraries with two Unicode versions. Every fact is asked of the reference,
code point by code point: which ones \\p{L}, \\p{N} and \\s match, what NFD makes of each, in which order NFD puts two
marks, which pairs NFC composes. tests/text/sweep_tokenizer.py proves the result over every code point.

Combining classes are numbered 1, 2, 3, … in their order: normalisation only ever compares them.
"""

import pathlib

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

LETTER, NUMBER, SPACE = 1, 2, 3
HAS_COMBINING_CLASS, NOT_QUICK, DECOMPOSES = 4, 8, 16
BLOCK = 128
HANGUL = range(0xAC00, 0xAC00 + 11172)

CODES = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
NFC = normalizers.NFC().normalize_str
NFD = normalizers.NFD().normalize_str


def matched(pattern):
    """The code points that a pattern of one character matches."""
    text = "".join(map(chr, CODES))
    others = pre_tokenizers.Split(Regex(f"(?:{pattern})+"), "removed").pre_tokenize_str(text)
    found, end = set(), 0
    for _, (first, last) in others + [("", (len(text), len(text)))]:
        found.update(CODES[end:first])
        end = last
    return found


def combining_classes(decompositions):
    """{code point: rank of its combining class} for those that NFD moves."""
    lowest, highest = "\u0334", "\u0345"  # an overlay and the iota below: the ends of the order
    classes = []  # members of each class, in order

    def before(a, b):
        return NFD(b + a) == a + b

    for code in CODES:
        c = chr(code)
        if code in decompositions or code in HANGUL or not (before(lowest, c) or before(c, highest)):
            continue
        low, high = 0, len(classes)
        while low < high:
            middle = (low + high) // 2
            if before(classes[middle][0], c):
                low = middle + 1
            else:
                high = middle
        if low < len(classes) and not before(c, classes[low][0]):
            classes[low].append(c)
        else:
            classes.insert(low, [c])
    return {ord(c): rank for rank, members in enumerate(classes, 1) for c in members}


def compositions(decompositions):
    """{(first, second): composite}: the reference composes exactly the pairs that some decomposition ends in."""
    pairs = {}
    for code, parts in decompositions.items():
        if NFC(chr(code)) != chr(code):
            continue
        first, second = NFC(parts[:-1]), parts[-1]
        assert len(first) == 1 and NFC(first + second) == chr(code), hex(code)
        pairs[ord(first), ord(second)] = code
    return pairs


def two_stage(values):
    blocks, stage1 = {}, []
    for start in range(0, len(values), BLOCK):
        stage1.append(blocks.setdefault(bytes(values[start : start + BLOCK]), len(blocks)))
    assert len(blocks) <= 256
    return stage1, [value for block in blocks for value in block]


def array(declaration, words):
    lines, line = [f"{declaration} = {{"], ""
    for word in words:
        if len(line) + len(word) + 2 > 118:
            lines.append(line)
            line = ""
        line += (" " if line else "") + word + ","
    return "\n".join(lines + [line, "};"])


def main():
    letters, numbers, spaces = matched(r"\p{L}"), matched(r"\p{N}"), matched(r"\s")
    assert not (letters & numbers or letters & spaces or numbers & spaces)
    decompositions = {c: NFD(chr(c)) for c in CODES if c not in HANGUL and NFD(chr(c)) != chr(c)}
    classes = combining_classes(decompositions)
    pairs = compositions(decompositions)
    seconds = {second for _, second in pairs} | set(range(0x1161, 0x1176)) | set(range(0x11A8, 0x11C3))

    values = bytearray(0x110000)
    for c in CODES:
        first = ord(decompositions.get(c, chr(c))[0])
        values[c] = (
            (LETTER if c in letters else NUMBER if c in numbers else SPACE if c in spaces else 0)
            | (HAS_COMBINING_CLASS if c in classes else 0)
            | (NOT_QUICK if NFC(chr(c)) != chr(c) or first in seconds or (first in classes and first != c) else 0)
            | (DECOMPOSES if c in decompositions else 0)
        )
    stage1, stage2 = two_stage(values)

    ranges = []
    for c in sorted(classes):
        if ranges and ranges[-1][1] == c - 1 and ranges[-1][2] == classes[c]:
            ranges[-1][1] = c
        else:
            ranges.append([c, c, classes[c]])
    pool, starts = [], []
    for c, parts in sorted(decompositions.items()):
        starts.append((c, len(pool), len(parts)))
        pool += map(ord, parts)

    root = pathlib.Path(__file__).resolve().parent.parent
    (root / "src/text/unicode_tables.inc").write_text(
        "\n".join(
            [
                f"// Asked of tokenizers {tokenizers.__version__}; written by tools/make_unicode_tables.py.",
                array("const uint8_t kStage1[]", map(str, stage1)),
                array("const uint8_t kStage2[]", map(str, stage2)),
                array("const CombiningRange kCombining[]", (f"{{0x{a:x}, 0x{b:x}, {k}}}" for a, b, k in ranges)),
                array("const Decomposition kDecompositions[]", (f"{{0x{c:x}, {s}, {n}}}" for c, s, n in starts)),
                array("const char32_t kDecomposed[]", (f"0x{c:x}" for c in pool)),
                array(
                    "const Composition kCompositions[]",
                    (f"{{0x{a:x}, 0x{b:x}, 0x{c:x}}}" for (a, b), c in sorted(pairs.items())),
                ),
                "",
            ]
        )
    )
    print(
        f"{len(letters)} letters, {len(numbers)} numbers, {len(spaces)} spaces, {len(decompositions)} decompositions, "
        f"{len(set(classes.values()))} combining classes of {len(classes)}, {len(pairs)} compositions"
    )


if __name__ == "__main__":
    main()
