"""The figures of one card: every row of the table that docs/performance.md keeps, by `qwill bench` on random weights.

    python bench/run_cuda.py [--program build/release/qwill] [--only decode] [--checkpoint DIR] [--quick]

Prints what was asked and measured, then each command's own report. --checkpoint: a folder of 8B shapes
(tools/make_random_checkpoint.py 8b), whose loading is timed as well. The floors are those of an H100 80GB.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import pathlib
import subprocess
import sys
import time


@dataclasses.dataclass
class Row:
    group: str
    what: str
    arguments: list[str]
    figure: str  # of the report
    floor: float
    aim: float
    scale: float = 1.0
    unit: str = ""


def rows(gen_len: int) -> list[Row]:
    gen = ["--gen-len", str(gen_len)]
    table = []
    shares = {"8b": (93, 97), "0.6b": (55, 70), "1.7b": (72, 85), "4b": (85, 92), "14b": (93, 96), "32b": (94, 97)}
    for size, (floor, aim) in shares.items():
        arguments = [f"random:{size}", "--context", "512", *gen]
        table.append(
            Row("decode", f"{size} bf16, 1 stream, context 512", arguments, "ratio", floor, aim, 100, "% of bandwidth")
        )
    arguments = ["random:30b-a3b", "--context", "512", *gen]
    table.append(Row("decode", "30b-a3b bf16, 1 stream", arguments, "ratio", 55, 75, 100, "% of bandwidth"))
    for streams, floor, aim in ((8, 1300, 1450), (64, 6600, 7400), (256, 12200, 13200)):
        arguments = ["random:8b", "--context", "1024", "--batch", str(streams), *gen]
        table.append(
            Row("batch", f"8b bf16, {streams} streams, context 1k", arguments, "decode_tok_s", floor, aim, unit="tok/s")
        )
    arguments = ["random:8b", "--context", "32768", "--prompt-len", "32768", *gen]
    table.append(Row("long", "8b bf16, 1 stream, context 32k", arguments, "ratio", 85, 93, 100, "% of bandwidth"))
    table.append(Row("long", "8b bf16, prefill of 32k", arguments, "prefill_tok_s", 22000, 28000, unit="tok/s"))
    for dtype, floor, aim in (("fp8", 330, 370), ("int4", 480, 560)):
        arguments = ["random:8b", "--dtype", dtype, "--context", "512", "--prompt-len", "2048", *gen]
        table.append(
            Row("quantised", f"8b {dtype}, 1 stream, context 512", arguments, "decode_tok_s", floor, aim, unit="tok/s")
        )
        if dtype == "fp8":
            table.append(
                Row("quantised", "8b fp8, prefill of 2048", arguments, "prefill_tok_s", 60000, 75000, unit="tok/s")
            )
    for length, floor, aim in ((512, 32000, 42000), (2048, 40000, 46000), (8192, 36000, 42000)):
        arguments = ["random:8b", "--prompt-len", str(length), "--context", "64", "--chunk-size", str(length), *gen]
        table.append(
            Row("prefill", f"8b bf16, prefill of {length}", arguments, "prefill_tok_s", floor, aim, unit="tok/s")
        )
    return table


def card() -> str:
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def time_loading(program: str, checkpoint: str) -> None:
    """Start of the process to the first token, and the program's own time of loading, from a warm page cache."""
    command = [program, "generate", checkpoint, "--device", "cuda", "--token-ids", "1,2,3,4", "--max-tokens", "1",
               "--max-seq-len", "4096", "--output", "json"]  # fmt: skip
    for path in sorted(pathlib.Path(checkpoint).glob("*.safetensors")):
        with path.open("rb") as file:
            while file.read(1 << 26):
                pass
    for _ in range(3):
        start = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True)
        seconds = time.monotonic() - start
        if done.returncode != 0:
            print(f"load: {done.stderr.strip()}")
            return
        load = json.loads(done.stdout)["timing"]["load_s"]
        print(f"load      {load:.2f} s by its own clock; process start to first token and exit {seconds:.2f} s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="build/release/qwill")
    parser.add_argument("--only", help="a group: decode, batch, long, quantised or prefill")
    parser.add_argument("--checkpoint")
    parser.add_argument("--quick", action="store_true", help="16 decode steps a row")
    options = parser.parse_args()

    print(f"date      {datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%MZ}")
    print(f"card      {card()}")
    reports: dict[tuple[str, ...], dict] = {}
    failed = 0
    for row in rows(16 if options.quick else 128):
        if options.only and row.group != options.only:
            continue
        key = tuple(row.arguments)
        if key not in reports:
            command = [options.program, "bench", *row.arguments, "--device", "cuda", "--output", "json"]
            done = subprocess.run(command, capture_output=True, text=True)
            reports[key] = json.loads(done.stdout) if done.returncode == 0 else {"error": done.stderr.strip()}
        report = reports[key]
        if "error" in report:
            failed += 1
            print(f"{row.what:<36} failed: {report['error']}")
            continue
        value = report[row.figure] * row.scale
        verdict = "aim" if value >= row.aim else "floor" if value >= row.floor else "MISSED"
        print(
            f"{row.what:<36} {value:>9.1f} {row.unit:<15} floor {row.floor:>7g}  aim {row.aim:>7g}  {verdict}",
            flush=True,
        )
    if options.checkpoint:
        time_loading(options.program, options.checkpoint)
    for arguments, report in reports.items():
        print(f"\nqwill bench {' '.join(arguments)} --device cuda --output json\n{json.dumps(report)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
