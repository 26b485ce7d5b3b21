"""`qwill serve` as a process: started on a free port, watched, ended."""

import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "cli"))
from program import Program, run_all  # noqa: E402, F401

PATIENCE_S = 120
LISTENING = re.compile(r"listening on http://.*:([0-9]+)$")


class ServerProcess:
    """`with` it: runs until the block ends, and must still run then unless it was told to end."""

    def __init__(self, qwill, *arguments, host="127.0.0.1", port=0, **options):
        self.qwill = qwill
        self.host = host
        self.arguments = ["serve", "--host", host, "--port", str(port), *map(str, arguments)]
        self.options = options  # of Program.start
        self.port = None
        self.lines = []  # of its stderr, all that came so far
        self.told_to_end = False

    def __enter__(self):
        self.process = self.qwill.start(
            *self.arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **self.options
        )
        listening = threading.Event()
        self.reader = threading.Thread(target=self.read_stderr, args=(listening,), daemon=True)
        self.reader.start()
        listening.wait(PATIENCE_S)
        if self.port is None:
            self.process.kill()
            raise RuntimeError(f"{self.arguments} does not listen: {self.lines}")
        return self

    def read_stderr(self, listening):
        for line in self.process.stderr:
            text = line.decode(errors="replace").rstrip("\n")
            self.lines.append(text)
            if self.port is None and (found := LISTENING.search(text)):
                self.port = int(found[1])
                listening.set()
        listening.set()

    def __exit__(self, kind, *_):
        died = self.process.poll()
        if died is None:
            self.process.kill()
        self.process.wait()
        self.reader.join(PATIENCE_S)
        self.process.stderr.close()
        if died is not None and not self.told_to_end:
            raise RuntimeError(f"{self.arguments} ended with status {died}: {self.lines[-5:]}") from None

    def signal(self, number):
        self.told_to_end = True
        self.process.send_signal(number)

    def wait(self, seconds=PATIENCE_S):
        """Waits until it has ended by itself; its exit status, negative for a signal that it did not catch."""
        self.told_to_end = True
        status = self.process.wait(seconds)
        self.reader.join(PATIENCE_S)
        return status

    def stop(self):
        """Ends it as an operator does; the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait()

    @property
    def pid(self):
        return self.process.pid

    @property
    def url(self):
        return f"http://{self.host}:{self.port}"
