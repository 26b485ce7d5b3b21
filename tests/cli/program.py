"""The program under test: runs it, and counts what held and what did not."""

import fcntl
import os
import pty
import select
import subprocess
import sys
import termios
import traceback
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Done:
    """A finished run."""

    arguments: tuple
    status: int  # negative: ended by a signal that it did not catch
    out: bytes
    err: bytes

    def __str__(self):
        return f"{self.arguments}\n    status {self.status}\n    out {self.out[-400:]!r}\n    err {self.err[-400:]!r}"


class Program:
    def __init__(self, path):
        self.path = str(Path(path).resolve())
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        self.environment["HF_HUB_OFFLINE"] = "1"  # a test asks no hub but its own

    def __call__(self, *arguments, stdin=b"", environment=None, timeout=300, cwd=None):
        """Runs it to its end. The arguments are text, paths or bytes."""
        done = subprocess.run(
            [self.path, *arguments],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment | (environment or {}),
            timeout=timeout,
            cwd=cwd,
        )
        return Done(arguments, done.returncode, done.stdout, done.stderr)

    def start(self, *arguments, **options):
        """Starts it, with its streams as pipes unless told otherwise."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen([self.path, *arguments], env=self.environment, **(pipes | options))

    def shell(self, script, *arguments, timeout=300):
        """Runs a shell script in which "$0" is the program."""
        done = subprocess.run(
            ["sh", "-c", script, self.path, *arguments], capture_output=True, env=self.environment, timeout=timeout
        )
        return Done((script, *arguments), done.returncode, done.stdout, done.stderr)


class Terminal:
    """The program on a terminal of its own."""

    def __init__(self, qwill, *arguments):
        self.master, slave = pty.openpty()
        settings = termios.tcgetattr(slave)
        settings[3] &= ~termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, settings)

        def take_terminal():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = qwill.start(*arguments, stdin=slave, stdout=slave, stderr=slave, preexec_fn=take_terminal)
        os.close(slave)
        self.seen = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)

    def type(self, keys):
        self.seen = b""
        os.write(self.master, keys)

    def read(self, timeout=120):
        """What comes next; empty at the end."""
        if not select.select([self.master], [], [], timeout)[0]:
            raise TimeoutError(f"nothing more comes after {self.seen!r}")
        try:
            data = os.read(self.master, 4096)
        except OSError:  # the other side is closed
            return b""
        self.seen += data
        return data

    def until(self, text):
        while text not in self.seen:
            if not self.read():
                raise EOFError(f"{text!r} did not come: {self.seen!r}")

    def until_end(self):
        while self.read():
            pass
        return self.process.wait(timeout=60)


def one_line(err):
    """Whether err is what the contract says of an error: one line, "qwill: …", UTF-8."""
    try:
        text = err.decode()
    except UnicodeDecodeError:
        return False
    return text.startswith("qwill: ") and text.endswith("\n") and text.count("\n") == 1


class Checks:
    """Counts checks; a failed one is printed with its place, and the others go on."""

    def __init__(self):
        self.passed = self.failed = 0

    def that(self, condition, what):
        if condition:
            self.passed += 1
            return
        self.failed += 1
        frames = [f for f in traceback.extract_stack() if f.filename != __file__]
        print(f"FAILED line {frames[-1].lineno}: {what}", flush=True)

    def equal(self, got, wanted, what=""):
        self.that(got == wanted, f"{what}: got {got!r}, wanted {wanted!r}")

    def good(self, done):
        """Exit status 0 and a silent stderr."""
        self.that(done.status == 0 and done.err == b"", f"expected success in silence: {done}")
        return done

    def refused(self, done, status, *words):
        """This exit status, nothing on stdout, and one line on stderr with these words."""
        err = done.err.decode(errors="replace")
        ok = done.status == status and done.out == b"" and one_line(done.err) and all(w in err for w in words)
        self.that(ok, f"expected status {status} and one line with {words}: {done}")
        return done

    def report(self):
        """Prints the totals; the exit status."""
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed else 0


def run_all(functions, *arguments):
    """Calls each function with checks and the arguments; an exception fails it alone. Returns the exit status."""
    checks = Checks()
    for function in functions:
        try:
            function(checks, *arguments)
        except Exception:  # whatever it is, the other functions still run
            checks.failed += 1
            print(f"FAILED {function.__name__}:\n{traceback.format_exc()}", file=sys.stdout, flush=True)
    return checks.report()
