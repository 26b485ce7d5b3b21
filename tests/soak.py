"""Random invocations of the program, valid and not, for some minutes: watches for wrong exit statuses, crashes, hangs,
errors that are not one line, and long sessions whose memory grows.

    python soak.py [--minutes 10] [--seed N] PROGRAM
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/cli"))
from program import Program, one_line  # noqa: E402

HANG_S = 300
GROWTH_KIB = 32 << 10  # of a session, after its first part
MODELS = [(), ("models/nib",), ("models/nib-moe",)]
BARE = sorted((ROOT / "tests/data/checkpoints").iterdir())  # without a tokenizer
WORDS = [
    "the",
    "little",
    "dog",
    " ",
    "\n",
    "<|im_end|>",
    "<think>",
    "é",
    "中文",
    "😀",
    "\u0301",
    "'s",
    "1234",
    "\t",
    "\r\n",
    "\0",
    "{}",
]


class Soak:
    def __init__(self, program, folder, seed):
        self.qwill = Program(program)
        self.folder = folder
        self.rng = random.Random(seed)
        self.failures = 0

    def fail(self, what):
        self.failures += 1
        print(f"FAILED {what}", flush=True)

    # ------------------------------------------------------------ random input

    def chance(self, probability):
        return self.rng.random() < probability

    def text(self, longest=30):
        return "".join(self.rng.choices(WORDS, k=self.rng.randint(0, longest)))

    def data(self):
        """Text, sometimes with bytes that are no UTF-8; and whether it is sound."""
        data = self.text().encode()
        if self.chance(0.8):
            return data, True
        return data + self.rng.choice([b"\xff", b"\xc3", b"\xed\xa0\x80"]), False

    def token_ids(self, sound=True):
        ids = [self.rng.randint(1, 60) for _ in range(self.rng.randint(1, 40))]
        if not sound:
            ids[self.rng.randrange(len(ids))] = self.rng.choice(["x", -1, "1.5", 10**12, ""])
        return self.rng.choice([",", " ", "\n"]).join(map(str, ids))

    def settings(self):
        """Flags in their ranges, in any combination."""
        rng = self.rng
        flags = {
            "--threads": rng.randint(1, 3),
            "--chunk-size": rng.choice([1, 7, 64, 512]),
            "--max-tokens": rng.randint(1, 20),
            "--temperature": rng.choice([0, 0.1, 1, 3]),
            "--top-k": rng.choice([0, 1, 5, 10**6]),
            "--top-p": rng.choice([1e-9, 0.5, 1]),
            "--min-p": rng.choice([0, 0.1, 1]),
            "--repetition-penalty": rng.choice([0.5, 1, 2]),
            "--presence-penalty": rng.choice([-100, 0, 2]),
            "--frequency-penalty": rng.choice([-100, 0, 2]),
            "--seed": rng.randrange(2**64),
            "--logprobs": rng.choice([0, 3, 1000]),
            "--dtype": rng.choice(["auto", "f32", "bf16"]),
            "--logit-bias": f"{rng.randrange(10**6)}={rng.choice([-100, 0, 1e30])}",
        }
        chosen = rng.sample(sorted(flags), rng.randint(0, 6))
        out = ["--threads", "1"] if "--threads" not in chosen else []
        for flag in chosen:
            out += [flag, str(flags[flag])]
        if "--max-tokens" not in chosen:
            out += ["--max-tokens", "5"]
        return out + self.rng.choice([[], ["--ignore-eos"], ["--output", "json"], ["--echo"]])

    # ------------------------------------------------------------ invocations: arguments, stdin, possible statuses

    def generate(self):
        model = self.rng.choice(MODELS)
        data, sound = self.data()
        statuses = {0} if sound and data else {1}
        return ["generate", *model, *self.settings()], data, statuses

    def generate_ids(self):
        sound = self.chance(0.8)
        ids = self.token_ids(sound)
        return (
            ["generate", self.rng.choice(BARE), "--token-ids", ids, *self.settings()],
            b"",
            {0} if sound else {0, 1, 2},
        )

    def logits(self):
        out = self.folder / self.rng.choice(["a.npy", "none/b.npy"])
        last = self.rng.choice([[], ["--last", "1"]])
        arguments = [
            "logits",
            self.rng.choice(BARE),
            "--threads",
            "1",
            "--token-ids",
            self.token_ids(),
            "--out",
            out,
            *last,
        ]
        return arguments, b"", {0} if out.parent == self.folder else {1}

    def tokenize(self):
        data, sound = self.data()
        return ["tokenize", *self.rng.choice(MODELS), *self.rng.choice([[], ["--plain"]])], data, {0} if sound else {1}

    def detokenize(self):
        sound = self.chance(0.8)
        return ["detokenize", *self.rng.choice(MODELS)], self.token_ids(sound).encode(), {0} if sound else {0, 1}

    def render(self):
        roles = self.rng.choices(["user", "assistant", "system", "tool", "other"], k=self.rng.randint(0, 5))
        chat = {"messages": [{"role": role, "content": self.rng.choice([self.text(5), None, 3, []])} for role in roles]}
        return ["render"], json.dumps(chat).encode(), {0, 1}

    def chat(self):
        lines = [
            self.rng.choice(["Hello", "/reset", "/think on", "/help", "", self.text(3).replace("\0", "")])
            for _ in range(3)
        ]
        seed = str(self.rng.randrange(100))
        return ["chat", "--threads", "1", "--max-tokens", "5", "--seed", seed], "\n".join(lines).encode(), {0}

    def inspect(self):
        return ["inspect", self.rng.choice(BARE), *self.rng.choice([[], ["--output", "json"]])], b"", {0}

    def verify(self):
        name = self.rng.choice(["06b", "moe-30b", "yarn"])
        model, other = ROOT / "tests/data/checkpoints" / name, self.rng.choice([name, name, "8b"])
        arguments = ["verify", model, "--threads", "1", "--against", ROOT / f"tests/data/goldens/{other}.safetensors"]
        return arguments, b"", {0} if name == other else {1}

    def wrong(self):
        flag = self.rng.choice(
            ["--max-tokens", "--top-p", "--threads", "--seed", "--temperature", "--output", "--no-such"]
        )
        command = self.rng.choice(["generate", "chat", "tokenise", ""])
        return [command, flag, self.rng.choice(["-1", "x", "", "1e999"])], b"", {2}

    def run_one(self):
        make = self.rng.choice(
            [
                self.generate,
                self.generate,
                self.generate_ids,
                self.logits,
                self.tokenize,
                self.detokenize,
                self.render,
                self.chat,
            ]
            + [self.inspect, self.verify, self.wrong]
        )
        arguments, stdin, statuses = make()
        try:
            done = self.qwill(*arguments, stdin=stdin, timeout=HANG_S, cwd=ROOT)
        except subprocess.TimeoutExpired:
            return self.fail(f"hangs: {arguments} {stdin!r}")
        if done.status not in statuses:
            self.fail(f"expected a status of {statuses} with stdin {stdin!r}: {done}")
        elif done.status != 0 and not one_line(b"".join(done.err.splitlines(True)[-1:])):  # warnings may come before it
            self.fail(f"expected one line with stdin {stdin!r}: {done}")
        elif done.status == 0 and "json" in map(str, arguments):
            json.loads(done.out.decode())

    def interrupt_one(self):
        number = self.rng.choice([signal.SIGINT, signal.SIGTERM])
        arguments = [
            "generate",
            "-p",
            "a",
            "--ignore-eos",
            "--max-tokens",
            "2000",
            "--threads",
            "2",
            "--output",
            "json",
        ]
        process = self.qwill.start(*arguments, stdin=subprocess.DEVNULL)
        time.sleep(self.rng.uniform(0.3, 1))
        process.send_signal(number)
        try:
            out, err = process.communicate(timeout=HANG_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return self.fail(f"goes on after signal {number}")
        # Before its first instructions the program cannot catch anything; at its end nothing is left to cancel.
        if process.returncode in (0, 128 + number):
            json.loads(out.decode())
        if process.returncode not in (0, 128 + number, -number) or err:
            self.fail(f"after signal {number}: status {process.returncode}, {err!r}")


class Session:
    """A long-running process that answers lines, and its memory over time."""

    def __init__(self, soak, arguments, line):
        self.soak, self.arguments, self.line = soak, arguments, line
        self.process = soak.qwill.start(*arguments)
        self.memory = []  # KiB after each round
        self.answers = threading.Thread(target=self.drain, daemon=True)
        self.answers.start()

    def drain(self):
        while self.process.stdout.read(1 << 16):
            pass

    def feed(self, lines):
        for _ in range(lines):
            self.process.stdin.write(self.line())
        self.process.stdin.flush()
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        self.memory += [int(row.split()[1]) for row in status.splitlines() if row.startswith("VmRSS:")]

    def finish(self):
        self.process.stdin.close()
        self.answers.join(HANG_S)
        status = self.process.wait(HANG_S)
        if status != 0:
            self.soak.fail(f"{self.arguments}: status {status}: {self.process.stderr.read()!r}")
        settled = self.memory[len(self.memory) // 4 :]
        if settled and settled[-1] - settled[0] > GROWTH_KIB:
            self.soak.fail(f"{self.arguments}: grew from {settled[0]} to {settled[-1]} KiB")
        print(f"{' '.join(self.arguments)}: {settled[0] if settled else 0} to {settled[-1] if settled else 0} KiB")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(10**9))
    parser.add_argument("program")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    end = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory(prefix="qwill-soak-") as folder:
        soak = Soak(options.program, Path(folder), options.seed)
        texts = Session(soak, ["tokenize", "--jsonl"], lambda: json.dumps({"text": soak.text(200)}).encode() + b"\n")
        turns = [b"Hello\n", b"Tell me more\n", b"/reset\n"]
        talk = Session(soak, ["chat", "--threads", "1", "--max-tokens", "8"], lambda: soak.rng.choice(turns))
        runs = 0
        while time.monotonic() < end:
            for _ in range(20):
                soak.run_one()
            soak.interrupt_one()
            texts.feed(200)
            talk.feed(4)
            runs += 21
        texts.finish()
        talk.finish()
        print(f"{runs} runs, {soak.failures} failures")
        return 1 if soak.failures else 0


if __name__ == "__main__":
    sys.exit(main())
