#!/usr/bin/env python3
"""Makes tests/data/checkpoints/NAME (tiny random checkpoints) and tests/data/goldens/NAME.safetensors (what the
reference computes with them; docs/reference-file.md), and goldens for the built-in models where they are present.

    make_goldens.py [NAME ...]      default: all

Running it again on the same machine gives the same bytes. Takes half a minute on one core.
"""

from __future__ import annotations

import os

# One instruction set for every machine, set before torch is loaded: other CPUs should give the same bits.
os.environ["ATEN_CPU_CAPABILITY"] = "avx2"
os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX2"
os.environ["MKL_CBWR"] = "AVX2,STRICT"

import argparse
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

import golden_checkpoints
import safetensors_io
from golden_specs import SPECS, Spec
from make_reference import Reference, Request, be_exact, compute, spread

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "tests" / "data"
BUILT_IN = ("nib", "nib-moe")
GREEDY_STEPS = 48
GREEDY_MAX_LEN = 64
GREEDY_SEQS = 4


def random_request(spec: Spec) -> Request:
    """Sequences of random ids, of the lengths that the spec lists."""
    rng = np.random.Generator(np.random.PCG64([7, spec.seed, len(spec.name), *spec.name.encode()]))
    sequences = [rng.integers(0, spec.vocab, length).tolist() for length in spec.seq_lens]
    return make_request(sequences, spec.num_rows)


def text_request(model: Path, heldout: Path) -> Request:
    """Held-out text in sequences of growing length, and few rows: this vocabulary is larger."""
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    ids = tokenizer.encode(heldout.read_text(encoding="utf-8"), add_special_tokens=False).ids
    sequences, begin = [], 0
    for length in (1, 2, 7, 33, 150, 300, 400):
        sequences.append(ids[begin : begin + length])
        begin += length
    return make_request([s for s in sequences if s], num_rows=60)


def make_request(sequences: list[list[int]], num_rows: int | None) -> Request:
    total = sum(len(s) for s in sequences)
    return Request(
        sequences=sequences,
        logit_rows=None if num_rows is None else spread(num_rows, total),
        hidden_rows=spread(6, total),
        greedy_seqs=[i for i, s in enumerate(sequences) if len(s) <= GREEDY_MAX_LEN][:GREEDY_SEQS],
        greedy_steps=GREEDY_STEPS,
    )


def summary(name: str, reference: Reference, size: int) -> str:
    kl = reference.tensors["bf16_kl"]
    error = kl.std(ddof=1) / np.sqrt(len(kl))
    margin = reference.tensors["greedy_margins"].min()
    spread_of_logits = reference.tensors["logits"].std()
    return (
        f"{name:14} {len(kl):6} {kl.mean():9.2e} ±{error:8.1e} {reference.bf16_error:9.2e} "
        f"{margin:9.1e} {spread_of_logits:7.2f} {size / 1e3:8.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the tiny checkpoints and their reference files.")
    parser.add_argument("names", nargs="*", help=f"of: {' '.join(s.name for s in SPECS)} {' '.join(BUILT_IN)}")
    parser.add_argument("--data", type=Path, default=DATA, help="where to write (default: tests/data)")
    args = parser.parse_args()
    be_exact(threads=1)
    unknown = set(args.names) - {s.name for s in SPECS} - set(BUILT_IN)
    if unknown:
        raise SystemExit(f"no such golden: {' '.join(sorted(unknown))}")
    goldens = args.data / "goldens"
    goldens.mkdir(parents=True, exist_ok=True)

    jobs: list[tuple[str, Path, Request]] = []
    for spec in SPECS:
        if not args.names or spec.name in args.names:
            folder = args.data / "checkpoints" / spec.name
            golden_checkpoints.build(spec, folder)
            jobs.append((spec.name, folder, random_request(spec)))
    for name in BUILT_IN:
        folder = ROOT / "models" / name
        if (not args.names or name in args.names) and (folder / "config.json").exists():
            jobs.append((name, folder, text_request(folder, ROOT / "models" / "heldout.txt")))

    print(f"{'golden':14} {'rows':>6} {'bf16 KL':>9} {'s.e.':>9} {'bf16 err':>9} {'margin':>9} {'std':>7} {'kB':>8}")
    all_kl: list[np.ndarray] = []
    for name, folder, request in jobs:
        reference = compute(folder, request)
        path = goldens / f"{name}.safetensors"
        safetensors_io.write(path, reference.tensors, reference.metadata)
        all_kl.append(reference.tensors["bf16_kl"])
        print(summary(name, reference, path.stat().st_size), flush=True)
    kl = np.concatenate(all_kl)
    size = sum(f.stat().st_size for d in ("checkpoints", "goldens") for f in (args.data / d).rglob("*") if f.is_file())
    error = kl.std(ddof=1) / np.sqrt(len(kl))
    print(f"{'all':14} {len(kl):6} {kl.mean():9.2e} ±{error:8.1e}   checkpoints and goldens: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
