"""qwill beside what else is installed, on the same card and shapes, in one run, with random weights.

    python bench/peers_cuda.py [--size 8b] [--dtype bf16] [--program build/release/qwill] [--batches 1,64]
                               [--llama-bench PATH --gguf FILE]

Peers that are looked for: transformers (static cache, compiled, in a CUDA graph), vllm, sglang, and llama.cpp's own bench
tools where a path is given. What is not installed is named and left out. Prints tokens per second and qwill's ratio.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "tools"))
from make_random_checkpoint import SIZES, config  # noqa: E402

CONTEXT, GENERATED, PROMPT = 512, 64, 2048


def run_qwill(program: str, size: str, dtype: str, batch: int) -> dict:
    command = [program, "bench", f"random:{size}", "--device", "cuda", "--output", "json", "--dtype", dtype,
               "--batch", str(batch), "--context", str(CONTEXT), "--gen-len", str(GENERATED),
               "--prompt-len", str(PROMPT)]  # fmt: skip
    report = json.loads(run(command))
    return {"decode": report["decode_tok_s"], "prefill": report["prefill_tok_s"]}


def run_transformers(size: str, batch: int) -> dict:
    """One decode step with a static cache, compiled and replayed as a CUDA graph; a prefill without."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM, StaticCache

    torch.manual_seed(0)
    with torch.device("cuda"):
        torch.set_default_dtype(torch.bfloat16)
        model = Qwen3ForCausalLM(Qwen3Config(**config(size))).eval()
    step = torch.compile(model.forward, mode="max-autotune-no-cudagraphs", fullgraph=True)
    with torch.inference_mode():
        ids = torch.randint(0, 151936, (1, PROMPT), device="cuda")
        times = []
        for _ in range(4):
            torch.cuda.synchronize()
            start = time.monotonic()
            model(ids, logits_to_keep=1)
            torch.cuda.synchronize()
            times.append(time.monotonic() - start)
        prefill = PROMPT / statistics.median(times[1:])

        cache = StaticCache(config=model.config, max_cache_len=CONTEXT + GENERATED + 16)
        model(torch.randint(0, 151936, (batch, CONTEXT), device="cuda"), past_key_values=cache, logits_to_keep=1)
        token = torch.zeros((batch, 1), dtype=torch.long, device="cuda")
        position = torch.full((1,), CONTEXT, dtype=torch.long, device="cuda")

        def decode() -> None:
            logits = step(token, past_key_values=cache, cache_position=position, use_cache=True).logits
            token.copy_(logits[:, -1:].argmax(-1))

        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            for _ in range(3):
                decode()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            decode()
        times = []
        for _ in range(GENERATED):
            start = time.monotonic()
            graph.replay()
            torch.cuda.synchronize()
            times.append(time.monotonic() - start)
        return {"decode": batch / statistics.median(times), "prefill": prefill}


def run_vllm(size: str, batch: int) -> dict:
    from vllm import LLM, SamplingParams

    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "config.json").write_text(json.dumps(config(size)))
        llm = LLM(folder, load_format="dummy", skip_tokenizer_init=True, max_model_len=PROMPT + GENERATED, seed=0)
        return time_batches(
            lambda prompts, count: llm.generate(
                [{"prompt_token_ids": prompt} for prompt in prompts],
                SamplingParams(temperature=0, max_tokens=count, ignore_eos=True, detokenize=False),
                use_tqdm=False,
            ),
            batch,
        )


def run_sglang(size: str, batch: int) -> dict:
    import sglang

    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "config.json").write_text(json.dumps(config(size)))
        engine = sglang.Engine(model_path=folder, load_format="dummy", skip_tokenizer_init=True, random_seed=0)
        try:
            return time_batches(
                lambda prompts, count: engine.generate(
                    input_ids=prompts, sampling_params={"temperature": 0, "max_new_tokens": count, "ignore_eos": True}
                ),
                batch,
            )
        finally:
            engine.shutdown()


def time_batches(generate, batch: int) -> dict:
    """Decode by the difference of a long and a short answer; prefill by one token behind a long prompt."""

    def seconds(prompts: list[list[int]], count: int) -> float:
        start = time.monotonic()
        generate(prompts, count)
        return time.monotonic() - start

    def prompts(length: int, seed: int, count: int) -> list[list[int]]:
        return [[(seed * 7919 + b * 104729 + i * 31) % 150000 for i in range(length)] for b in range(count)]

    seconds(prompts(CONTEXT, 0, batch), GENERATED)
    decode, prefill = [], []
    for seed in range(1, 4):
        long = seconds(prompts(CONTEXT, 10 * seed, batch), GENERATED + 1)
        short = seconds(prompts(CONTEXT, 10 * seed + 1, batch), 1)
        decode.append(batch * GENERATED / (long - short))
        prefill.append(PROMPT / seconds(prompts(PROMPT, 10 * seed + 2, 1), 1))
    return {"decode": statistics.median(decode), "prefill": statistics.median(prefill)}


def run_llama(bench: str, gguf: str, batch: int) -> dict:
    """One stream by llama-bench; more by llama-batched-bench beside it, whose prompts are too short for a prefill."""
    on_card = ["-m", gguf, "-ngl", "99"]
    if batch == 1:
        scene = ["-fa", "1", "-p", str(PROMPT), "-n", str(GENERATED), "-d", f"0,{CONTEXT}", "-o", "json"]
        results = json.loads(run([bench, *on_card, *scene]))
        figures = {(bool(result["n_prompt"]), result["n_depth"]): result["avg_ts"] for result in results}
        return {"decode": figures[False, CONTEXT], "prefill": figures[True, 0]}
    scene = ["-fa", "on", "-npp", str(CONTEXT), "-ntg", str(GENERATED), "-npl", str(batch),
             "-c", str(batch * (CONTEXT + GENERATED)), "--output-format", "jsonl"]  # fmt: skip
    lines = run([str(pathlib.Path(bench).with_name("llama-batched-bench")), *on_card, *scene]).splitlines()
    return {"decode": next(json.loads(line)["speed_tg"] for line in lines if line.startswith("{"))}


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
        raise RuntimeError(f"{command[0]}: {last[0]}")
    return done.stdout


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="8b", choices=sorted(SIZES))
    parser.add_argument("--program", default="build/release/qwill")
    parser.add_argument("--dtype", default="bf16", help="qwill's; all peers but llama.cpp have bf16 alone here")
    parser.add_argument("--llama-bench", help="its path; llama-batched-bench lies beside it")
    parser.add_argument("--gguf", help="a file of these shapes in about as many bits (tools/make_random_gguf.py)")
    parser.add_argument("--batches", default="1,64")
    parser.add_argument("--peer", help=argparse.SUPPRESS)  # runs one peer in this process and prints its figures
    parser.add_argument("--batch", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()

    peers = {"transformers": run_transformers, "vllm": run_vllm, "sglang": run_sglang}
    if options.peer:
        print(json.dumps(peers[options.peer](options.size, options.batch)))
        return 0
    installed = [name for name in peers if importlib.util.find_spec(name)] if options.dtype == "bf16" else []
    missing = [name for name in peers if name not in installed] if options.dtype == "bf16" else []
    if missing:
        print(f"not installed: {', '.join(missing)}")
    for batch in (int(text) for text in options.batches.split(",")):
        ours = run_qwill(options.program, options.size, options.dtype, batch)
        print(f"{options.size} {options.dtype}, {batch} stream(s), context {CONTEXT}: "
              f"qwill decode {ours['decode']:.1f} tok/s, prefill of {PROMPT} {ours['prefill']:.0f} tok/s")  # fmt: skip
        for name in installed:
            # A process of its own: it gives all of its memory back.
            again = [sys.executable, __file__, "--peer", name, "--size", options.size, "--batch", str(batch)]
            report(name, lambda again=again: json.loads(run(again).strip().splitlines()[-1]), ours)
        if options.llama_bench and options.gguf:
            name = f"llama.cpp, {pathlib.Path(options.gguf).name}"
            report(name, lambda batch=batch: run_llama(options.llama_bench, options.gguf, batch), ours)
    return 0


def report(name: str, measure: Callable[[], dict], ours: dict) -> None:
    """Prints the figures, or why there are none: others are measured all the same."""
    try:
        theirs = measure()
    except RuntimeError as error:
        print(f"  {name}: failed: {error}", flush=True)
        return
    parts = [f"{what} {value:.1f} tok/s (qwill {ours[what] / value:.2f} x)" for what, value in sorted(theirs.items())]
    print(f"  {name}: {', '.join(parts)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
