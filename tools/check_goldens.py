#!/usr/bin/env python3
"""Checks tests/data/goldens against an independent forward pass (tools/numpy_qwen3.py), with numpy alone.

    check_goldens.py [NAME ...]      default: every golden whose checkpoint is present

For each golden it prints the relative error of the logits rows and hidden states, mean and worst, the share of greedy
steps that agree (steps before the first one whose margin is too small to tell), and the smallest router margin met.
Exit status 1 if anything is off. Float32 rounding alone gives about 1e-6.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from numpy_qwen3 import NumpyQwen3
from safetensors_io import read

ROOT = Path(__file__).resolve().parent.parent
LIMIT_PER_LAYER = 1e-5  # worst row; rounding that enters one layer is amplified by those above it
TELLING_MARGIN = 1e-4  # greedy steps closer than this may differ


def row_errors(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    return np.linalg.norm(got - want, axis=-1) / np.linalg.norm(want, axis=-1)


def check_greedy(model: NumpyQwen3, sequences: list[np.ndarray], tensors: dict[str, np.ndarray], vocab: int) -> bool:
    """Feeds prompt and golden continuation, and asks at each step for the golden token and margin."""
    for s, ids, margins in zip(tensors["greedy_seqs"], tensors["greedy_ids"], tensors["greedy_margins"]):
        logits, _ = model.forward(np.concatenate([sequences[s], ids]))
        steps = logits[len(sequences[s]) - 1 : -1, :vocab]
        top = np.sort(steps, axis=-1)
        if np.abs(top[:, -1] - top[:, -2] - margins).max() > TELLING_MARGIN:
            return False
        if ((steps.argmax(-1) != ids) & (margins > TELLING_MARGIN)).any():
            return False
    return True


def check(name: str, golden: Path, checkpoint: Path) -> bool:
    model = NumpyQwen3(checkpoint)
    stored, metadata = read(golden)
    tensors = {key: np.asarray(value) for key, value in stored.items()}
    ends = np.cumsum(tensors["seq_lens"])
    sequences = np.split(tensors["token_ids"], ends[:-1])
    results = [model.forward(s) for s in sequences]
    logits = np.concatenate([r[0] for r in results])
    rows = tensors.get("logit_rows", np.arange(len(logits)))
    errors = row_errors(logits[rows], tensors["logits"])

    hidden_errors = [
        row_errors(np.concatenate([r[1][i] for r in results])[tensors["hidden_rows"]], tensors[f"hidden.{i}"])
        for i in range(model.config["num_hidden_layers"] + 1)
    ]
    hidden = np.concatenate(hidden_errors)
    greedy = check_greedy(model, sequences, tensors, int(metadata["greedy_vocab"]))
    good = len(rows) == len(tensors["logits"]) == len(tensors["bf16_kl"])
    limit = LIMIT_PER_LAYER * (model.config["num_hidden_layers"] + 1)
    good = good and errors.max() < limit and hidden.max() < limit and greedy
    margin = f"{model.router_margin:9.1e}" if model.moe else "        -"
    print(
        f"{name:14} {len(rows):6} {errors.mean():9.1e} {errors.max():9.1e} {hidden.max():9.1e} "
        f"{'agrees' if greedy else 'DIFFERS':8} {margin}  {'ok' if good else 'WRONG'}",
        flush=True,
    )
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description="Check goldens against plain numpy.")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--data", type=Path, default=ROOT / "tests" / "data")
    args = parser.parse_args()
    print(f"{'golden':14} {'rows':>6} {'mean':>9} {'worst':>9} {'hidden':>9} {'greedy':8} {'router':>9}")
    good = True
    for golden in sorted((args.data / "goldens").glob("*.safetensors")):
        name = golden.stem
        folders = (args.data / "checkpoints" / name, ROOT / "models" / name)
        checkpoint = next((f for f in folders if f.exists()), None)
        if checkpoint and (not args.names or name in args.names):
            good = check(name, golden, checkpoint) and good
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
