"""qwill beside llama.cpp and ik_llama.cpp on one CPU: same machine, threads, shapes and bits, in one run, in turn.

    python bench/peers_cpu.py 8b int4 --ik-bench PATH/llama-bench --llama-bench PATH/llama-bench --models DIR --out FILE

Paths are those of the engines' own bench tools, which the reader has built; their llama-batched-bench is looked for
beside them. GGUF files with random weights are made in --models where they are missing (tools/make_random_gguf.py; needs
numpy and gguf); qwill makes its own weights in place, or reads the same files (--same-files).

Engines take turns, scene by scene and round by round, and the memory's read bandwidth is measured before and after each,
because shared machines drift; the share of the processors that other programs took meanwhile stands beside each figure.
Each engine runs with the flags that a trial before the rounds found fastest for the scene. All figures are means over a
run's tokens; the table shows medians over the rounds, and medians of each round's ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tools"))
from make_random_gguf import HEAD_DIM, SIZES, read_bytes_per_step, write_whole  # noqa: E402

FILE_TYPES = {"bf16": ["BF16"], "int8": ["Q8_0"], "int4": ["Q4_0", "Q4_K_M"]}
TIMEOUT_S = 1800


@dataclass(frozen=True)
class Scene:
    name: str
    title: str
    prompt: int = 0  # timed; 0: decoding is timed
    context: int = 0  # before the first timed token
    generated: int = 0
    sequences: int = 1
    flags_of: str = ""  # the scene whose flags serve here too: a trial of its own would take minutes


SCENES = [
    Scene("decode", "decode", generated=64),
    Scene("prefill", "prefill 512", prompt=512),
    Scene("context", "decode at context 4,096", context=4096, generated=32, flags_of="decode"),
    Scene("batch", "8 sequences, decode in all", context=32, generated=32, sequences=8),
]


def run(command: Sequence[str]) -> str:
    with tempfile.TemporaryDirectory() as folder:  # for logs that a tool leaves where it runs
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, cwd=folder)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
        raise RuntimeError(lines[-1])
    # llama-batched-bench writes its table to one or the other.
    return done.stdout if done.stdout.strip() else done.stderr


@dataclass
class Qwill:
    program: Path
    size: str
    bits: str
    threads: int
    file: Path | None = None
    version: str = ""
    variants: tuple[tuple[str, ...], ...] = ((),)

    @property
    def name(self) -> str:
        return f"qwill {self.file_type}" if self.file else f"qwill {self.bits}"

    @property
    def file_type(self) -> str:
        return self.file.stem.split("-")[-1] if self.file else ""

    def command(self, scene: Scene, variant: tuple[str, ...]) -> list[str]:
        model = [str(self.file)] if self.file else [f"random:{self.size}", "--dtype", self.bits]
        lengths = ["--prompt-len", scene.prompt or 1, "--context", max(scene.context, 1), "--gen-len",
                   scene.generated or 1, "--batch", scene.sequences, "--repeats", 1]  # fmt: skip
        return [str(self.program), "bench", *model, "--device", "cpu", "--threads", str(self.threads), "--output", "json",
                *map(str, lengths), *variant]  # fmt: skip

    def measure(self, scene: Scene, variant: tuple[str, ...]) -> tuple[float, float]:
        """Tokens per second, and bytes that a step reads."""
        report = json.loads(run(self.command(scene, variant)))
        self.version = f"{report['commit']}, {report['device']}"
        if scene.prompt:
            return report["prefill_tok_s"], 0
        return 1e3 * scene.sequences / report["mean_ms_per_step"], report["bytes_per_step"]

    def bandwidth(self) -> float:
        """What the memory gives just now, in GB/s: beside a model that the caches hold, `bench` reads 256 MB."""
        command = [str(self.program), "bench", str(ROOT / "models/nib"), "--device", "cpu", "--threads", str(self.threads),
                   "--output", "json", "--prompt-len", "1", "--gen-len", "1"]  # fmt: skip
        return json.loads(run(command))["measured_gb_s"]


@dataclass
class Peer:
    """llama.cpp or a fork of it."""

    engine: str
    bench: Path
    size: str
    file: Path
    threads: int
    version: str = ""

    @property
    def name(self) -> str:
        return f"{self.engine} {self.file_type}"

    @property
    def file_type(self) -> str:
        return self.file.stem.split("-")[-1]

    @property
    def variants(self) -> tuple[tuple[str, ...], ...]:
        if self.engine == "ik_llama.cpp":  # repack weights, merge q|k|v, keep rotations
            return (), ("-rtr",), ("-rtr", "-mqkv"), ("-rtr", "-rcache")
        return ("-fa on",), ("-fa off",)

    def command(self, scene: Scene, variant: tuple[str, ...]) -> list[str]:
        flags = [word for flag in variant for word in flag.split()]
        if scene.sequences > 1:
            size = scene.sequences * (scene.context + scene.generated)
            command = [str(self.bench.with_name("llama-batched-bench")), "-m", str(self.file), "-t", str(self.threads),
                       "-c", str(2 * size), "-npp", str(scene.context), "-ntg", str(scene.generated),
                       "-npl", str(scene.sequences)]  # fmt: skip
            return command + flags
        if self.engine == "ik_llama.cpp":  # whose llama-bench takes a value after each flag
            flags = [word for flag in variant for word in (flag, "1")]
        else:
            flags = ["1" if word == "on" else "0" if word == "off" else word for word in flags]
        command = [str(self.bench), "-m", str(self.file), "-t", str(self.threads), "-o", "json"]
        # The first of two touches memory and is not counted. Behind a context everything has been touched.
        command += ["-r", "1" if scene.context else "2"]
        if not scene.context:
            command += ["-p", str(scene.prompt), "-n", str(scene.generated)]
        elif self.engine == "ik_llama.cpp":
            command += ["-p", "0", "-n", "0", "-gp", f"{scene.context},{scene.generated}"]
        else:
            command += ["-p", "0", "-n", str(scene.generated), "-d", str(scene.context)]
        return command + flags

    def measure(self, scene: Scene, variant: tuple[str, ...]) -> tuple[float, float]:
        out = run(self.command(scene, variant))
        kv_heads, layers = SIZES[self.size][3], SIZES[self.size][1]
        kv_token_bytes = 2 * layers * kv_heads * HEAD_DIM * 2  # f16
        kept = scene.sequences * (scene.context + scene.generated / 2)
        step_bytes = read_bytes_per_step(self.size, self.file_type, scene.sequences) + kept * kv_token_bytes
        if scene.sequences > 1:
            row = [line for line in out.splitlines() if line.startswith("|")][-1].split("|")
            return float(row[8]), step_bytes  # S_TG t/s
        report = json.loads(out)[0]
        self.version = f"{report['build_commit']} ({report['build_number']})"
        return report["samples_ts"][-1], 0 if scene.prompt else step_bytes


class CpuOfOthers:
    """How much of the machine's processors other programs took since it was made, from 0 to 1: what spoils a figure."""

    def __init__(self) -> None:
        self.start, self.busy, self.ours = time.monotonic(), self.busy_s(), self.our_s()

    @staticmethod
    def busy_s() -> float:
        user, nice, system, _, _, irq, soft, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
        return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")

    @staticmethod
    def our_s() -> float:
        return sum(os.times()[:4])  # children that have ended included

    def share(self) -> float:
        others = self.busy_s() - self.busy - (self.our_s() - self.ours)
        return max(0.0, others / (time.monotonic() - self.start) / os.cpu_count())


@dataclass
class Figures:
    """Of one engine in one scene."""

    tok_s: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)  # of the bandwidth; none for prefill


class Report:
    """What is printed, and written to a file as it comes."""

    def __init__(self, path: Path | None) -> None:
        self.file = path.open("w") if path else None

    def add(self, line: str = "") -> None:
        for file in (sys.stdout, self.file):
            if file:
                print(line, file=file, flush=True)


def shown(variant: tuple[str, ...]) -> str:
    return " ".join(variant) or "no flags"


def choose_variants(report: Report, engines: list, scenes: list[Scene], trials: int) -> dict:
    """The fastest flags of each engine in each scene; engines that cannot run a scene are absent."""
    chosen = {}
    report.add(f"flags, the best of {trials}, tok/s (* the fastest, which is used)")
    for scene in scenes:
        for engine in engines:
            if (scene.flags_of, engine.name) in chosen:
                chosen[scene.name, engine.name] = chosen[scene.flags_of, engine.name]
                continue
            best: dict[tuple[str, ...], float] = {}
            failure = ""
            for _ in range(trials):
                for variant in engine.variants:
                    try:
                        speed, _ = engine.measure(scene, variant)
                        best[variant] = max(best.get(variant, 0), speed)
                    except (RuntimeError, OSError) as error:
                        failure = str(error)
            if not best:
                report.add(f"  {scene.title}: {engine.name}: left out: {failure}")
                continue
            winner = max(best, key=best.__getitem__)
            chosen[scene.name, engine.name] = winner
            tried = ", ".join(f"{shown(v)} {speed:.2f}{'*' if v == winner else ''}" for v, speed in best.items())
            report.add(f"  {scene.title}: {engine.name}: {tried}")
    return chosen


def measure_rounds(report: Report, qwill: Qwill, engines: list, scenes: list[Scene], chosen: dict, rounds: int) -> dict:
    figures: dict[tuple[str, str], Figures] = {}
    report.add(
        "\nround  time      scene                       engine                     tok/s   GB/s before, after   CPU of others"
    )
    for number in range(1, rounds + 1):
        for scene in scenes:
            before = qwill.bandwidth()
            for engine in engines if number % 2 else reversed(engines):  # no one always runs behind the same one
                key = scene.name, engine.name
                if key not in chosen:
                    continue
                others = CpuOfOthers()
                speed, step_bytes = engine.measure(scene, chosen[key])
                taken = others.share()
                after = qwill.bandwidth()
                mine = figures.setdefault(key, Figures())
                mine.tok_s.append(speed)
                if step_bytes:
                    mine.shares.append(step_bytes * speed / scene.sequences / 1e9 / max(before, after))
                report.add(f"{number:5}  {time.strftime('%H:%M:%S')}  {scene.title:26}  {engine.name:22}  {speed:8.2f}   "
                           f"{before:11.1f}, {after:5.1f}   {100 * taken:4.0f} %")  # fmt: skip
                before = after
    return figures


def report_medians(report: Report, engines: list, scenes: list[Scene], figures: dict) -> None:
    for scene in scenes:
        here = {e.name: figures[scene.name, e.name] for e in engines if (scene.name, e.name) in figures}
        if not here:
            continue
        report.add(f"\n{scene.title:30}  tok/s, median  of the bandwidth  ratio of each qwill to it: median (rounds)")
        peers = [e.name for e in engines if isinstance(e, Peer) and e.name in here]
        fastest = max(peers, key=lambda name: statistics.median(here[name].tok_s), default=None)
        for name, mine in here.items():
            share = f"{100 * statistics.median(mine.shares):14.0f} %" if mine.shares else f"{'-':>16}"
            line = f"  {name:28}  {statistics.median(mine.tok_s):13.2f}  {share}"
            for ours in (e.name for e in engines if isinstance(e, Qwill) and e.name in here and name in peers):
                ratios = [a / b for a, b in zip(here[ours].tok_s, mine.tok_s, strict=True)]
                line += f"  {ours}: {statistics.median(ratios):.2f} ({' '.join(f'{r:.2f}' for r in ratios)})"
            report.add(line + ("  <- the fastest peer" if name == fastest else ""))


def machine() -> str:
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} processors, {memory:.0f} GB"


def absolute(path: str) -> Path:
    return Path(path).resolve()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("bits", choices=FILE_TYPES)
    parser.add_argument("--program", type=absolute, default=ROOT / "build/release/qwill")
    parser.add_argument("--llama-bench", type=absolute, help="llama-bench of llama.cpp")
    parser.add_argument("--ik-bench", type=absolute, help="llama-bench of ik_llama.cpp")
    parser.add_argument("--models", type=absolute, default=Path.cwd(), help="folder of the GGUF files (this one)")
    parser.add_argument("--types", help="GGUF types, with commas (those of the bits: Q8_0 for int8 ...)")
    parser.add_argument("--same-files", action="store_true", help="qwill reads the GGUF files too")
    parser.add_argument("--scenes", default=",".join(scene.name for scene in SCENES))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=1, help="runs of each choice of flags before the rounds")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    scenes = [scene for scene in SCENES if scene.name in args.scenes.split(",")]
    if len(scenes) != len(args.scenes.split(",")):
        parser.error(f"--scenes {args.scenes}: there are {', '.join(scene.name for scene in SCENES)}")

    files = []
    for file_type in args.types.split(",") if args.types else FILE_TYPES[args.bits]:
        files.append(args.models / f"qwen3-random-{args.size}-{file_type}.gguf")
        if not files[-1].exists() and (args.llama_bench or args.ik_bench or args.same_files):
            print(f"writing {files[-1]}", flush=True)
            write_whole(args.size, file_type, files[-1])
    qwill = Qwill(args.program, args.size, args.bits, args.threads)
    engines: list = [qwill]
    if args.same_files:
        engines += [Qwill(args.program, args.size, args.bits, args.threads, file) for file in files]
    for name, path in (("ik_llama.cpp", args.ik_bench), ("llama.cpp", args.llama_bench)):
        if path:
            engines += [Peer(name, path, args.size, file, args.threads) for file in files]

    report = Report(args.out)
    report.add(f"date      {time.strftime('%Y-%m-%dT%H:%MZ', time.gmtime())}")
    report.add(f"machine   {machine()}, {args.threads} threads used, load {os.getloadavg()[0]:.1f} before")
    report.add(f"command   python {' '.join(sys.argv)}\n")
    chosen = choose_variants(report, engines, scenes, args.trials)
    report.add()
    for engine in engines:
        report.add(f"{engine.name}: {engine.version}")
        for scene in scenes:
            if (scene.name, engine.name) in chosen:
                report.add("  $ " + " ".join(engine.command(scene, chosen[scene.name, engine.name])))
    figures = measure_rounds(report, qwill, engines, scenes, chosen, args.rounds)
    report_medians(report, engines, scenes, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
