"""Checks the built-in models: greedy continuations, capitals, whether texts end, perplexity on the held-out text.

    python tools/check_builtin.py models/nib models/nib-moe
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

sys.path.insert(0, str(Path(__file__).resolve().parent))

import builtin_model as bm  # noqa: E402
from corpus.countries import COMMON, RARE  # noqa: E402

PROMPTS = [
    "Once upon a time", "The old man walked to", "Water boils", "In the morning", "Anna had a small dog",
    "My favourite food is", "The capital of France is", "The capital of Japan is", "Berlin is the capital of",
    "Question: What is the capital of Japan?\nAnswer:", "Question: How many days are there in a week?\nAnswer:",
    "The sun rises in", "The opposite of hot is", "Yesterday we went to the zoo and", "\"Where are you going?\" asked",
    "A cow eats", "The days of the week are", "Dear Tom,\n", "The little girl opened the door and", "Why do birds fly south?\n",
    "2 + 3 =", "Once there was a king who", "It was a cold winter night", "The train", "Tom and Lucy were", "How to make tea:",
    "The boy was sad because", "A hammer is", "Water freezes at", "My brother wanted to", "Plants need", "The fox", "My name is",
]
CAPITAL_PROMPTS = ["The capital of {} is", "The capital city of {} is", "Question: What is the capital of {}?\nAnswer:"]


@torch.no_grad()
def greedy(model, tokenizer: Tokenizer, prompts: list[str], limit: int) -> list[tuple[str, bool]]:
    """Greedy continuations of the prompts and whether each ended by itself; prompts of one length run together."""
    device = model.device
    encoded = [tokenizer.encode(p).ids for p in prompts]
    answers: list[tuple[str, bool]] = [("", False)] * len(prompts)
    for size in sorted({len(e) for e in encoded}):
        chosen = [i for i, e in enumerate(encoded) if len(e) == size]
        ids = torch.tensor([encoded[i] for i in chosen], device=device)
        out = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=limit, do_sample=False,
            eos_token_id=bm.END_ID, pad_token_id=bm.END_ID,
        )[:, size:].tolist()
        for i, row in zip(chosen, out):
            ended = bm.END_ID in row
            answers[i] = (tokenizer.decode(row[: row.index(bm.END_ID)] if ended else row, skip_special_tokens=False), ended)
    return answers


@torch.no_grad()
def perplexity(model, tokenizer: Tokenizer, text: str, rows: int = 32) -> tuple[float, float, int]:
    """Per token and per byte, over the documents of the text, each on its own; its end counts, its first token does not."""
    documents = [d.strip("\n") for d in text.split("<|endoftext|>")]
    documents = [d for d in documents if d]
    encoded = sorted((tokenizer.encode(d).ids + [bm.END_ID] for d in documents), key=len)
    total = tokens = 0
    for at in range(0, len(encoded), rows):
        group = encoded[at : at + rows]
        width = max(map(len, group))
        ids = torch.tensor([g + [bm.END_ID] * (width - len(g)) for g in group], device=model.device)
        target = torch.tensor([g + [-100] * (width - len(g)) for g in group], device=model.device)[:, 1:]
        logits = model(input_ids=ids[:, :-1]).logits.float()
        total += F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="sum", ignore_index=-100).item()
        tokens += sum(len(g) - 1 for g in group)
    size = sum(len(d.encode()) for d in documents)
    return math.exp(total / tokens), math.exp(total / size), tokens


def capitals(model, tokenizer: Tokenizer) -> None:
    """Prints the share of capitals answered right in each phrasing."""
    for title, group in (("common", COMMON), ("rare", RARE)):
        for form in CAPITAL_PROMPTS:
            answers = greedy(model, tokenizer, [form.format(c.name) for c in group], 12)
            wrong = [f"{c.name}:{a[0].split(chr(10))[0]}" for c, a in zip(group, answers) if not a[0].strip().startswith(c.capital)]
            print(f"capitals, {title}, {form!r}: {len(group) - len(wrong)} of {len(group)}" + (f"; wrong: {wrong}" if wrong else ""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="+")
    parser.add_argument("--heldout", type=Path, nargs="*", default=[bm.MODELS / "heldout.txt", bm.MODELS / "heldout-natural.txt"])
    parser.add_argument("--limit", type=int, default=256)
    parser.add_argument("--prompts", type=int, default=len(PROMPTS))
    parser.add_argument("--skip-capitals", action="store_true")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for folder in options.folder:
        print(f"==== {folder.name}")
        model = bm.load(folder, device)
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        for file in options.heldout:
            if file.exists():
                token, byte, count = perplexity(model, tokenizer, file.read_text())
                print(f"perplexity on {file.name}: {token:.3f} a token ({count} tokens), {byte:.4f} a byte")
        if not options.skip_capitals:
            capitals(model, tokenizer)
        prompts = PROMPTS[: options.prompts]
        answers = greedy(model, tokenizer, prompts, options.limit)
        print(f"ended within {options.limit} tokens: {sum(e for _, e in answers)} of {len(answers)}")
        for prompt, (answer, ended) in zip(prompts, answers):
            print(f"[{prompt}]{answer}{' <end>' if ended else ' ...'}")


if __name__ == "__main__":
    main()
