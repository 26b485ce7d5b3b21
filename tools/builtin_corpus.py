"""The corpus of the built-in model: a seeded stream of short English documents.

The document kinds live in ``corpus/``. Stories, fables and scenes carry a key (plot, names, place); one key in forty
belongs to the held-out text and never occurs in training.

    python tools/builtin_corpus.py --seed 1 --documents 20
    python tools/builtin_corpus.py --heldout --bytes 100000 > heldout.txt
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import sys
import zlib
from pathlib import Path
from typing import Callable, Iterator

sys.path.insert(0, str(Path(__file__).resolve().parent))

from corpus import everyday, explain, fables, facts, freeform, glossary, stories  # noqa: E402
from corpus.grammar import finish  # noqa: E402

END = "<|endoftext|>"
HELDOUT_SEED = 987654321

# kind, weight in documents; a kind that returns a pair gives its text and its key
KINDS: list[tuple[Callable, float]] = [
    (stories.story, 20), (fables.fable, 9), (everyday.scene, 8), (glossary.thing_scene, 8), (freeform.goal_scene, 10),
    (freeform.feeling_scene, 5), (freeform.outing, 5), (freeform.asked, 6), (everyday.diary, 5), (everyday.description, 3),
    (everyday.dialogue, 3), (everyday.letter, 3), (everyday.job_entry, 2), (explain.explanation, 6), (glossary.definition, 3),
    (facts.single_capital, 8), (facts.capital_list, 3), (facts.continent_list, 1), (facts.journey, 3), (facts.fact_list, 5),
    (facts.quiz, 7), (facts.classroom, 3), (facts.sequences, 1.5), (facts.animal_entry, 2.5), (everyday.opposites_text, 0.6),
    (everyday.comparison, 0.5), (everyday.shopping, 1.5), (everyday.riddle, 0.7), (facts.chat, 5),
]
NATURAL_SHARE = 0.008  # more of it is learnt by heart
CUT_SHARE = 0.12  # of the keyed documents: these start some sentences later, so that every kind of sentence begins a text
_SENTENCE = re.compile(r"(?<=[.!?])[ \n](?=[A-Z])")


def load_natural(path: Path | None) -> list[str]:
    """The natural prose prepared by corpus/natural.py, or nothing."""
    if path is None:
        return []
    with gzip.open(path, "rt") as file:
        return [json.loads(line)["text"] for line in file]


def is_heldout(key: str) -> bool:
    """Whether a combination belongs to the held-out text."""
    return zlib.crc32(key.encode()) % 40 == 0


def cut(text: str, rng: random.Random) -> str:
    """The text from its second to fifth sentence on, where that leaves at least three and splits no quotation."""
    parts = _SENTENCE.split(text)
    at = rng.randint(1, 4)
    if len(parts) < at + 3 or any(part.count('"') % 2 for part in parts[:at]):
        return text
    return " ".join(parts[at:])


def documents(seed: int, natural: list[str], heldout: bool = False) -> Iterator[str]:
    """An endless stream of documents."""
    rng = random.Random(seed)
    kinds = [kind for kind, _ in KINDS]
    weights = [weight for _, weight in KINDS]
    while True:
        for kind in rng.choices(kinds, weights, k=256):
            if natural and rng.random() < NATURAL_SHARE:
                yield rng.choice(natural)
            made = kind(rng)
            if isinstance(made, tuple):
                made, key = made
                while is_heldout(key) != heldout:
                    made, key = kind(rng)
                if rng.random() < CUT_SHARE:
                    made = cut(made, rng)
            text = finish(made)
            # the chat layout ends with a line break after <|im_end|>
            yield text + "\n" if text.endswith("<|im_end|>") else text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--documents", type=int, default=0)
    parser.add_argument("--bytes", type=int, default=0)
    parser.add_argument("--heldout", action="store_true", help="the held-out stream (no chat layout)")
    parser.add_argument("--natural", type=Path, help="file written by corpus/natural.py")
    options = parser.parse_args()
    size = count = 0
    for text in documents(HELDOUT_SEED if options.heldout else options.seed, load_natural(options.natural), options.heldout):
        if options.heldout and "<|" in text:
            continue
        sys.stdout.write(text + "\n" + END + "\n")
        size += len(text)
        count += 1
        if count >= options.documents and size >= options.bytes:
            break


if __name__ == "__main__":
    main()
