"""Natural prose for the corpus: Jane Austen's novels (public domain) and WordNet 3.0 (its own free licence).

Both come from Debian packages, unpacked with ``dpkg -x`` into one folder:
``r-cran-janeaustenr`` and ``wordnet-base``. Run as a script this writes the texts as gzipped JSON lines,
one document a line: ``python -m corpus.natural FOLDER OUT.json.gz``.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import struct
import zlib
from pathlib import Path

HELDOUT_BOOK = 5  # the place of Sense and Sensibility among the novels; its first pages are held out
_COARSE = re.compile(r"sex|whor|prostitut|genital|rape|penis|vagina|intercourse|pimp|excre|feces|urin|slur|negro|jew|nazi|drug|suicid|murder|breast|erotic|lewd|offensive", re.I)


def _chunks(blob: bytes) -> list[bytes]:
    """The decompressed objects of an R lazy-load database: a big-endian length, then a zlib stream, repeated."""
    out = []
    while len(blob) > 4:
        engine = zlib.decompressobj()
        out.append(engine.decompress(blob[4:]) + engine.flush())
        blob = engine.unused_data
    return out


def _lines(chunk: bytes) -> list[str] | None:
    """The character vector that starts a serialised R object, or None for another kind of object."""
    at = chunk.find(b"\x00\x00\x00\x10")
    if at < 0 or at > 64:
        return None
    count = struct.unpack(">i", chunk[at + 4 : at + 8])[0]
    at += 8
    lines = []
    for _ in range(count):
        flags, size = struct.unpack(">ii", chunk[at : at + 8])
        if flags & 0xFF != 9:
            return None
        at += 8
        if size >= 0:
            lines.append(chunk[at : at + size].decode("latin-1"))
            at += size
    return lines


def novels(root: Path) -> dict[str, list[str]]:
    """Title to paragraphs, for the six novels of the package."""
    blob = (root / "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb").read_bytes()
    books = {}
    for chunk in _chunks(blob):
        lines = _lines(chunk)
        if not lines or len(lines) < 1000:
            continue
        text = "\n".join(lines[10:])
        paragraphs = [re.sub(r"\s+", " ", part).strip().replace("_", "") for part in re.split(r"\n\s*\n", text)]
        good = [p for p in paragraphs if len(p) > 40 and p[-1] in '.!?"' and p.isascii()]
        books[lines[0].strip().title()] = good
    return books


def novel_documents(paragraphs: list[str], limit: int = 1100) -> list[str]:
    """Consecutive paragraphs joined into documents of about ``limit`` characters; long ones are cut at a sentence."""
    documents, current = [], ""
    for paragraph in paragraphs:
        if len(paragraph) > limit:
            cut = paragraph.rfind(". ", 0, limit)
            paragraph = paragraph[: cut + 1] if cut > 0 else ""
        if len(current) + len(paragraph) > limit and current:
            documents.append(current.strip())
            current = ""
        current += paragraph + "\n"
    return documents + [current.strip()] if current.strip() else documents


def wordnet_documents(root: Path, minimum: int = 4) -> list[str]:
    """Definitions and example sentences of words that WordNet counted at least ``minimum`` times."""
    base = root / "usr/share/wordnet"
    counts: dict[str, int] = {}
    for line in (base / "cntlist.rev").read_text().splitlines():
        key, _, count = line.split()
        lemma, _, rest = key.partition("%")
        counts[lemma + "%" + rest[0]] = max(counts.get(lemma + "%" + rest[0], 0), int(count))
    documents = []
    for digit, part in (("1", "noun"), ("2", "verb"), ("3", "adj"), ("4", "adv")):
        for line in (base / f"data.{part}").read_text().splitlines():
            if line.startswith("  ") or " | " not in line:
                continue
            word = line.split()[4].split("(")[0]
            if counts.get(f"{word}%{digit}", 0) < minimum or not word.isalpha() or not word.islower():
                continue
            gloss = line.split(" | ", 1)[1].strip()
            if not gloss.isascii():
                continue
            examples = [e for e in re.findall(r'"([^"]+)"', gloss) if len(e) > 25]
            meaning = re.sub(r"\([^)]*\)", "", gloss.split('; "')[0].split(";")[0]).strip(" ;:,")
            if not 12 <= len(meaning) <= 120 or '"' in meaning:
                continue
            if part == "noun":
                text = f"{word.capitalize()}: {meaning}."
            elif part == "verb":
                text = f"To {word} is to {meaning}."
            else:
                text = f'The word "{word}" means {meaning}.'
            for example in examples[:2]:
                text += " " + example[0].upper() + example[1:] + ("" if example[-1] in ".!?" else ".")
            if not _COARSE.search(text):
                documents.append(re.sub(r"\s+", " ", text))
    return documents


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--heldout", type=Path, help="write about 10 kB of the last novel here and leave it out")
    options = parser.parse_args()
    books = novels(options.folder)
    rows = []
    for index, (title, paragraphs) in enumerate(books.items()):
        documents = novel_documents(paragraphs)
        if index == HELDOUT_BOOK:
            held, documents = documents[:10], documents[12:]
            if options.heldout:
                options.heldout.write_text("\n\n".join(held) + "\n")
        print(title, len(documents))
        rows += [{"kind": "novel", "text": d} for d in documents]
    words = wordnet_documents(options.folder)
    random.Random(5).shuffle(words)
    rows += [{"kind": "words", "text": "\n".join(words[i : i + 4])} for i in range(0, len(words), 4)]
    print("word documents", len(rows), sum(len(r["text"]) for r in rows))
    with gzip.open(options.out, "wt", compresslevel=9) as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
