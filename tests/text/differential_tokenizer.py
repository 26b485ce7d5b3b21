#!/usr/bin/env python3
"""Random texts and ids through the reference and through qwill: prints "N passed, N failed", exit 1 if any differ.

    python tests/text/differential_tokenizer.py build/release/qwill [--count 100000] [--seed 1]

With the published tokenizer: every text is encoded, what came out is decoded, and so are as many random sequences of
ids (padding rows and half characters among them); a tenth of the texts are also encoded with special tokens as text.
Then small random vocabularies, whose tokens need not be what merging makes of their bytes.
"""

import argparse
import json
import random
import tempfile

from reference_tokenizer import Pair, Score, published_json, tokenizer_json
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel
from tokenizer_texts import Texts

BATCH = 10000


def batches(items):
    return (items[i : i + BATCH] for i in range(0, len(items), BATCH))


def random_ids(draw):
    limit = draw.choice([256, 151669, 151936])
    low = draw.choice([0, 0, 151600]) if limit > 256 else 0
    return [draw.randrange(low, limit) for _ in range(draw.randint(0, 10))]


def published(score, program, count, seed):
    text = published_json()
    supply, draw = Texts(seed), random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        pair = Pair(text, folder, program)
        for texts in batches([supply.text() for _ in range(count)]):
            encoded = pair.encoded(texts)
            for what, (ours, theirs) in zip(texts, encoded):
                score.add(what, ours, theirs)
            ids = [theirs for _, theirs in encoded]
            for what, (ours, theirs) in zip(ids, pair.decoded(ids)):
                score.add(what, ours, theirs)
        for ids in batches([random_ids(draw) for _ in range(count)]):
            for what, (ours, theirs) in zip(ids, pair.decoded(ids)):
                score.add(what, ours, theirs)
        pair.reference = Tokenizer.from_str(json.dumps({**json.loads(text), "added_tokens": []}))
        texts = [supply.text() for _ in range(count // 20)] + [supply.specials() for _ in range(count // 20)]
        for what, (ours, theirs) in zip(texts, pair.encoded(texts, "--plain")):
            score.add(what, ours, theirs)


def random_vocabulary(draw):
    """Random merges over few letters: many make a token that others make too, or that its own bytes never reach."""
    alphabet = sorted(ByteLevel.alphabet())
    vocab = {character: i for i, character in enumerate(draw.sample(alphabet, len(alphabet)))}
    merges, tokens = [], ["a", "b", "c", "Ġ"]
    for _ in range(draw.randint(0, 60)):
        left, right = draw.choice(tokens), draw.choice(tokens)
        if len(left + right) > 12:
            continue
        if left + right not in vocab:
            vocab[left + right] = len(vocab)
            tokens.append(left + right)
        if draw.random() < 0.9:
            merges.append([left, right])
    if draw.random() < 0.7:
        draw.shuffle(merges)
    return tokenizer_json(vocab, merges, added=random_added(draw, vocab))


def random_added(draw, vocab):
    # No token of white space: one that stands in white space which another takes along makes the reference panic.
    contents = draw.sample(["<", "<a", "<a>", "ab", "é", "e\u0301x", "\u212b", "世", "a b", "c"], draw.randint(0, 6))
    added = []
    for content in contents:
        number = vocab.get(content, len(vocab) + sum(token["content"] not in vocab for token in added))
        flags = {name: draw.random() < 0.3 for name in ("lstrip", "rstrip", "normalized", "special")}
        added.append({"id": number, "content": content, "single_word": False, **flags})
    return added


def small(score, program, count, seed):
    draw = random.Random(seed)
    pieces = ["a", "b", "c", "ab", "abc", " ", "  ", "<", "<a", "<a>", "e\u0301", "x", "é", "A\u030a", "\u212b", "世", "\n", "\u3000"]
    for _ in range(count):
        with tempfile.TemporaryDirectory() as folder:
            pair = Pair(random_vocabulary(draw), folder, program)
            texts = ["".join(draw.choice(pieces) for _ in range(draw.randint(0, 30))) for _ in range(100)]
            texts += ["".join(draw.choice("abc") for _ in range(draw.randint(40, 400))) for _ in range(20)]
            encoded = pair.encoded(texts)
            for what, (ours, theirs) in zip(texts, encoded):
                score.add(what, ours, theirs)
            ids = [theirs for _, theirs in encoded]
            for what, (ours, theirs) in zip(ids, pair.decoded(ids)):
                score.add(what, ours, theirs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the qwill program")
    parser.add_argument("--count", type=int, default=100000, help="texts (100000)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    score = Score()
    published(score, options.program, options.count, options.seed)
    small(score, options.program, options.count // 1000, options.seed)
    score.finish()


if __name__ == "__main__":
    main()
