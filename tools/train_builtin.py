"""Trains the built-in models on the generated corpus, within a budget of wall-clock minutes.

    python tools/train_builtin.py --model nib --minutes 5 --tokens 150e6 --natural natural.json.gz

The corpus is generated and tokenised by all cores, kept on the device as one row of 16-bit ids, and every training row
starts at the beginning of a document. Matrices are trained with Muon, the rest with AdamW.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from pathlib import Path

import numpy
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent))
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import builtin_model as bm  # noqa: E402
from builtin_corpus import documents, load_natural  # noqa: E402
from muon import Muon  # noqa: E402


def _produce(job: tuple[int, int, str, str]) -> numpy.ndarray:
    """Worker: at least ``count`` tokens of the stream with this seed."""
    from tokenizers import Tokenizer

    seed, count, tokenizer_file, natural = job
    tokenizer = Tokenizer.from_file(tokenizer_file)
    parts, total = [], 0
    batch: list[str] = []
    for text in documents(seed, load_natural(Path(natural) if natural else None)):
        batch.append(text)
        if len(batch) == 500:
            for encoded in tokenizer.encode_batch(batch):
                parts.append(numpy.array(encoded.ids + [bm.END_ID], dtype=numpy.uint16))
                total += len(parts[-1])
            batch = []
            if total >= count:
                return numpy.concatenate(parts)
    raise AssertionError("the stream is endless")


def corpus(tokens: int, natural: str, seed: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The token stream and the positions at which documents start, on the device."""
    workers = os.cpu_count() or 1
    file = str(bm.MODELS / "nib" / "tokenizer.json")
    jobs = [(seed * 1000 + i, tokens // workers, file, natural) for i in range(workers)]
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        stream = torch.from_numpy(numpy.concatenate(pool.map(_produce, jobs)).astype(numpy.int16))
    starts = (stream == bm.END_ID).nonzero().flatten()[:-1] + 1
    return stream.to(device), starts.to(device)


class Trainee(torch.nn.Module):
    """A model with its loss; mixture layers run all experts densely, which is faster at this size, and are balanced."""

    def __init__(self, model: torch.nn.Module, balance: float = 0.01) -> None:
        super().__init__()
        self.model, self.balance = model, balance
        self.blocks = [m for m in model.modules() if type(m).__name__ == "Qwen3MoeSparseMoeBlock"]
        for block in self.blocks:
            block.forward = dense_forward.__get__(block)

    def forward(self, ids: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self.model.model(input_ids=ids, use_cache=False).last_hidden_state
        logits = self.model.lm_head(hidden)
        loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())
        total = loss
        for block in self.blocks:
            total = total + self.balance * block.balance_loss
        return total, loss.detach()


def dense_forward(self: torch.nn.Module, hidden_states: torch.Tensor) -> torch.Tensor:
    """Qwen3's mixture block computed with every expert for every token; the unused ones get weight zero."""
    flat = hidden_states.reshape(-1, hidden_states.shape[-1])
    experts, gate = self.experts, self.gate
    probabilities = F.linear(flat, gate.weight).float().softmax(-1)
    top, index = probabilities.topk(gate.top_k, dim=-1)
    top = top / top.sum(-1, keepdim=True)
    weights = torch.zeros_like(probabilities).scatter(1, index, top)
    self.balance_loss = gate.num_experts * ((weights > 0).float().mean(0) * probabilities.mean(0)).sum() / gate.top_k
    inner = torch.einsum("th,eoh->teo", flat, experts.gate_up_proj)
    one, two = inner.chunk(2, dim=-1)
    mixed = F.silu(one) * two * weights.to(inner.dtype).unsqueeze(-1)
    return torch.einsum("tei,ehi->th", mixed, experts.down_proj).reshape(hidden_states.shape).to(hidden_states.dtype)


def train(name: str, stream: torch.Tensor, starts: torch.Tensor, options: argparse.Namespace, minutes: float) -> torch.nn.Module:
    """Trains one model until its minutes are over."""
    device = stream.device
    torch.manual_seed(options.seed)
    torch.set_float32_matmul_precision("high")
    model = bm.build(name)
    if options.init:
        model.load_state_dict(bm.load(options.init / name, "cpu").float().state_dict())
    model.to(device)
    print(f"{name}: {sum(p.numel() for p in model.parameters())} parameters", flush=True)
    matrices = [p for n, p in model.named_parameters() if p.ndim >= 2 and "embed" not in n and "mlp.gate.weight" not in n]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    muon = Muon(matrices, rate=options.rate, decay=options.decay)
    adam = torch.optim.AdamW(others, lr=options.embedding_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=device.type == "cuda")
    trainee: torch.nn.Module = Trainee(model)
    if options.compile:
        torch._dynamo.config.suppress_errors = True
        trainee = torch.compile(trainee, dynamic=False)
    long_row = torch.arange(options.length * options.stretch + 1, device=device)
    generator = torch.Generator(device=device).manual_seed(options.seed)
    begin = clock = None
    step, seen, average = 0, 0, 0.0
    budget = minutes * 60
    while True:
        # the first steps compile; the budget starts after them
        if step == 3:
            if device.type == "cuda":
                torch.cuda.synchronize()
            begin = time.monotonic()
        done = 0.0 if begin is None else (time.monotonic() - begin) / budget
        if done >= 1 or (options.steps and step >= options.steps):
            break
        # the last quarter trains on longer rows
        late = done > 0.75 or step == 1
        length, rows = options.length, options.batch
        if late:
            length, rows = length * options.stretch, rows // options.stretch
        at = starts[torch.randint(len(starts) - 2000, (rows,), device=device, generator=generator)]
        block = stream[at[:, None] + long_row[None, : length + 1]].long()
        scale = min(1.0, (step + 1) / options.warmup) * min(1.0, (1 - done) / 0.6)
        muon.scale = scale
        for group in adam.param_groups:
            group["lr"] = options.embedding_rate * scale
        with torch.autocast(device.type, dtype=torch.bfloat16):
            total, loss = trainee(block[:, :-1], block[:, 1:])
        total.backward()
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        muon.step()
        adam.step()
        model.zero_grad(set_to_none=True)
        step, seen = step + 1, seen + rows * length
        if step % options.report == 0 or step < 4:
            clock = time.monotonic() - (begin or time.monotonic())
            print(f"{name} step {step} tokens {seen / 1e6:.0f}M time {clock:.0f}s loss {loss.item():.4f}", flush=True)
    print(f"{name}: {step} steps, {seen / 1e6:.0f} million tokens", flush=True)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=["nib", "nib-moe"])
    parser.add_argument("--minutes", nargs="+", type=float, default=[5, 2], help="one number for each model")
    parser.add_argument("--tokens", type=float, default=150e6, help="size of the corpus")
    parser.add_argument("--natural", default="", help="file written by corpus/natural.py")
    parser.add_argument("--out", type=Path, default=bm.MODELS)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--init", type=Path, help="go on from the models in this folder")
    parser.add_argument("--stretch", type=int, default=4, help="how much longer the rows of the last quarter are")
    parser.add_argument("--decay", type=float, default=0.01, help="weight decay of the matrices")
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=0.02)
    parser.add_argument("--embedding-rate", type=float, default=0.004)
    parser.add_argument("--warmup", type=int, default=200)
    parser.add_argument("--steps", type=int, default=0, help="stop after this many steps (for a try)")
    parser.add_argument("--report", type=int, default=500)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    started = time.monotonic()
    stream, starts = corpus(int(options.tokens), options.natural, options.seed, device)
    print(f"corpus: {len(stream) / 1e6:.1f} million tokens, {len(starts)} documents, {time.monotonic() - started:.0f} s", flush=True)
    for name, minutes in zip(options.model, options.minutes):
        model = train(name, stream, starts, options, minutes)
        bm.save(name, model, options.out / name)
        print(f"saved {options.out / name} after {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
