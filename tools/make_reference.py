#!/usr/bin/env python3
"""Runs the reference implementation on a Qwen3 checkpoint and writes what `qwill verify --against` reads.

    make_reference.py MODEL_DIR -o REF.safetensors [--tokens 1,2,3 | --tokens @FILE] [--text TEXT | --text @FILE] ...

The reference is Hugging Face transformers with eager attention, run in float32 on the checkpoint's weights (the truth)
and again in bfloat16 (the reference's own error). docs/reference-file.md is the format, a contract; in short:

    token_ids      I32 [T]       sequences one after another, each from position 0
    seq_lens       I32 [S]       their lengths
    logits         F32 [R, V]    of the float32 run
    logit_rows     I32 [R]       which of the T tokens the rows belong to (absent: all, R = T)
    bf16_kl        F64 [R]       KL(float32 || bfloat16) in nats, over all V
    hidden.{i}     F32 [P, C]    residual stream entering layer i = 0..L (L: before the final norm), with --hidden
    hidden_rows    I32 [P]
    greedy_seqs    I32 [GS]      continued sequences, with --greedy
    greedy_ids     I32 [GS, G]   end tokens not obeyed, ids unknown to the tokenizer left out
    greedy_margins F32 [GS, G]   best minus second-best logit
    __metadata__                 format, reference, model, rope, greedy_vocab
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import transformers

import safetensors_io

FORMAT = "qwill-reference 1"


@dataclass(frozen=True)
class Request:
    """What to run, and which of its results to keep. Rows are indices into all tokens of all sequences."""

    sequences: list[list[int]]
    logit_rows: list[int] | None = None  # None: all
    hidden_rows: list[int] = field(default_factory=list)
    greedy_seqs: list[int] = field(default_factory=list)
    greedy_steps: int = 0

    @property
    def num_tokens(self) -> int:
        return sum(len(s) for s in self.sequences)


@dataclass(frozen=True)
class Reference:
    """The file's contents, and what is worth printing about it."""

    tensors: dict[str, safetensors_io.Tensor]
    metadata: dict[str, str]
    bf16_error: float  # |bf16 logits - f32 logits| / |f32 logits| over each row, mean


def spread(count: int, total: int) -> list[int]:
    """`count` indices of `total`, evenly spread, ascending."""
    if count >= total:
        return list(range(total))
    return [(2 * i + 1) * total // (2 * count) for i in range(count)]


def load_model(folder: Path, dtype: torch.dtype, device: str) -> transformers.PreTrainedModel:
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation="eager", experts_implementation="eager", local_files_only=True
    )
    if model.config.model_type not in ("qwen3", "qwen3_moe"):
        raise SystemExit(f"{folder}: model_type is {model.config.model_type}, expected qwen3 or qwen3_moe")
    if model.config.tie_word_embeddings:
        # A tied checkpoint may store a head all the same. transformers 4 ignored it, 5 uses it if it differs; here
        # the configuration's word holds, as it does in qwill.
        model.lm_head.weight = model.get_input_embeddings().weight
    return model.eval().to(device)


def greedy_vocab(folder: Path, vocab_size: int) -> int:
    """Number of ids that greedy may take: those that the tokenizer knows, or all where there is no tokenizer."""
    path = folder / "tokenizer.json"
    if not path.exists():
        return vocab_size
    spec = json.loads(path.read_text(encoding="utf-8"))
    ids = [*spec["model"]["vocab"].values(), *(token["id"] for token in spec["added_tokens"])]
    return min(vocab_size, max(ids) + 1)


def rows_by_sequence(rows: list[int], sequences: list[list[int]]) -> list[list[int]]:
    """Global rows -> for each sequence, the positions within it."""
    result: list[list[int]] = []
    begin = 0
    for sequence in sequences:
        end = begin + len(sequence)
        result.append([row - begin for row in rows if begin <= row < end])
        begin = end
    return result


class HiddenTap:
    """Records the residual stream as it enters each layer and the final norm."""

    def __init__(self, model: transformers.PreTrainedModel) -> None:
        self.states: dict[int, torch.Tensor] = {}
        points = [*model.model.layers[: model.config.num_hidden_layers], model.model.norm]
        self.num_points = len(points)
        for i, module in enumerate(points):
            module.register_forward_pre_hook(self._hook(i))

    def _hook(self, i: int):  # noqa: ANN202 - torch's hook type
        def record(_module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            self.states[i] = args[0][0]

        return record


def forward(model: transformers.PreTrainedModel, sequence: list[int], positions: list[int]) -> torch.Tensor:
    """Logits [len(positions), V] of one sequence, in the model's dtype."""
    ids = torch.tensor([sequence], device=model.device)
    keep = torch.tensor(positions, dtype=torch.long, device=model.device)
    return model(input_ids=ids, use_cache=False, logits_to_keep=keep).logits[0]


def kl_rows(truth: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """KL(truth || other) of each row, in nats, in float64."""
    p = torch.log_softmax(truth.double(), dim=-1)
    q = torch.log_softmax(other.double(), dim=-1)
    return (p.exp() * (p - q)).sum(dim=-1)


def continue_greedily(
    model: transformers.PreTrainedModel, sequence: list[int], steps: int, vocab: int
) -> tuple[list[int], list[float]]:
    """Greedy ids and their margins; never stops early."""
    out_ids: list[int] = []
    margins: list[float] = []
    inputs, cache = torch.tensor([sequence], device=model.device), None
    for _ in range(steps):
        output = model(input_ids=inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = output.past_key_values
        logits = output.logits[0, -1, :vocab]
        best = logits.max()
        token = int((logits == best).nonzero()[0])
        logits[token] = -torch.inf
        out_ids.append(token)
        margins.append(float(best - logits.max()))
        inputs = torch.tensor([[token]], device=model.device)
    return out_ids, margins


@torch.no_grad()
def compute(folder: Path, request: Request, device: str = "cpu") -> Reference:
    """Runs the reference in both dtypes, one after the other, so that only one copy of the model is in memory."""
    rows = list(range(request.num_tokens)) if request.logit_rows is None else request.logit_rows
    row_positions = rows_by_sequence(rows, request.sequences)
    hidden_positions = rows_by_sequence(request.hidden_rows, request.sequences)

    model = load_model(folder, torch.float32, device)
    vocab_size = model.config.vocab_size
    for i, sequence in enumerate(request.sequences):
        if not sequence or min(sequence) < 0 or max(sequence) >= vocab_size:
            raise SystemExit(f"sequence {i}: expected at least one id, each in 0..{vocab_size - 1}")

    vocab = greedy_vocab(folder, vocab_size)
    greedy = [
        continue_greedily(model, request.sequences[s], request.greedy_steps, vocab) for s in request.greedy_seqs
    ]
    tap = HiddenTap(model)
    logits: list[torch.Tensor] = []
    hidden: list[list[np.ndarray]] = [[] for _ in range(tap.num_points)]
    for sequence, wanted, wanted_hidden in zip(request.sequences, row_positions, hidden_positions):
        logits.append(forward(model, sequence, wanted).cpu())
        for i in range(tap.num_points):
            hidden[i].append(tap.states[i][wanted_hidden].cpu().numpy())
    del model, tap

    model = load_model(folder, torch.bfloat16, device)
    kl: list[torch.Tensor] = []
    errors: list[torch.Tensor] = []
    for sequence, wanted, truth in zip(request.sequences, row_positions, logits):
        other = forward(model, sequence, wanted).float().cpu()
        kl.append(kl_rows(truth, other))
        errors.append((other - truth).norm(dim=-1) / truth.norm(dim=-1))

    tensors: dict[str, safetensors_io.Tensor] = {
        "token_ids": np.concatenate([np.array(s, np.int32) for s in request.sequences]),
        "seq_lens": np.array([len(s) for s in request.sequences], np.int32),
        "logits": torch.cat(logits).numpy(),
        "bf16_kl": torch.cat(kl).numpy(),
    }
    if request.logit_rows is not None:
        tensors["logit_rows"] = np.array(rows, np.int32)
    if request.hidden_rows:
        tensors["hidden_rows"] = np.array(request.hidden_rows, np.int32)
        for i, states in enumerate(hidden):
            tensors[f"hidden.{i}"] = np.concatenate(states)
    if request.greedy_seqs:
        tensors["greedy_seqs"] = np.array(request.greedy_seqs, np.int32)
        tensors["greedy_ids"] = np.array([ids for ids, _ in greedy], np.int32)
        tensors["greedy_margins"] = np.array([margins for _, margins in greedy], np.float32)
    metadata = {
        "format": FORMAT,
        "reference": f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}, eager",
        "model": folder.resolve().name,
        "rope": "config",
        "greedy_vocab": str(vocab),
    }
    return Reference(tensors, metadata, float(torch.cat(errors).mean()))


def be_exact(threads: int | None) -> None:
    """No TF32, no nondeterministic kernels, no chatter; a fixed number of threads where one is given."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    if threads:
        torch.set_num_threads(threads)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()


def parse_sequences(args: argparse.Namespace, folder: Path) -> list[list[int]]:
    """The sequences that --tokens and --text name, in that order, cut to --seq-len."""
    sequences: list[list[int]] = []
    for spec in args.tokens:
        lines = Path(spec[1:]).read_text().splitlines() if spec.startswith("@") else [spec]
        sequences += [[int(x) for x in line.replace(",", " ").split()] for line in lines if line.strip()]
    if args.text:
        from tokenizers import Tokenizer

        if not (folder / "tokenizer.json").exists():
            raise SystemExit(f"{folder}: --text needs a tokenizer.json; give --tokens")
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        for spec in args.text:
            text = Path(spec[1:]).read_text(encoding="utf-8") if spec.startswith("@") else spec
            sequences.append(tokenizer.encode(text, add_special_tokens=False).ids)
    if args.seq_len:
        sequences = [s[i : i + args.seq_len] for s in sequences for i in range(0, len(s), args.seq_len)]
    return sequences


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Run the reference on a Qwen3 checkpoint; write a file for `qwill verify --against`."
    )
    parser.add_argument("model", type=Path, help="hub-format folder")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--tokens", action="append", default=[], help="1,2,3 or @FILE, a sequence a line; repeatable")
    parser.add_argument("--text", action="append", default=[], help="text or @FILE, needs tokenizer.json; repeatable")
    parser.add_argument("--seq-len", type=int, help="cut into independent sequences of at most this many tokens")
    parser.add_argument("--positions", type=int, help="keep logits of this many tokens, evenly spread (default: all)")
    parser.add_argument("--hidden", type=int, nargs="?", const=8, default=0, help="hidden states of N tokens (8)")
    parser.add_argument("--greedy", type=int, default=0, metavar="N", help="continue short sequences by N tokens")
    parser.add_argument("--greedy-max-len", type=int, default=64, help="longest sequence that --greedy continues (64)")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's choice)")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if not (args.model / "config.json").exists():
        raise SystemExit(f"{args.model}: not a checkpoint folder: no config.json")
    be_exact(args.threads)
    sequences = parse_sequences(args, args.model)
    if not sequences:
        raise SystemExit("nothing to run: give --tokens or --text")
    total = sum(len(s) for s in sequences)
    request = Request(
        sequences=sequences,
        logit_rows=spread(args.positions, total) if args.positions and args.positions < total else None,
        hidden_rows=spread(args.hidden, total) if args.hidden else [],
        greedy_seqs=[i for i, s in enumerate(sequences) if args.greedy and len(s) <= args.greedy_max_len],
        greedy_steps=args.greedy,
    )
    reference = compute(args.model, request, args.device)
    safetensors_io.write(args.out, reference.tensors, reference.metadata)
    kl = np.asarray(reference.tensors["bf16_kl"])
    print(
        f"{args.out}: {len(kl)} rows, reference bf16 KL {kl.mean():.3e} nats, row error {reference.bf16_error:.2e}",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
