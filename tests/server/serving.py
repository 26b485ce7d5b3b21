"""`qwill serve` on a free port, for the tests that ask it over HTTP, and small requests with the standard library alone.

with Server(qwill, "--threads", "1") as server:
    server.post("/v1/completions", prompt="A hammer is").json
"""

import http.client
import json
import re
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "cli"))
from program import Program, run_all  # noqa: E402, F401

LIGHT = ("--threads", "1")  # other tests run beside this one
LISTENING = re.compile(rb"listening on http://127\.0\.0\.1:(\d+)\n")
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


@dataclass
class Answer:
    """What came back of one request."""

    status: int
    headers: dict  # names in lower case
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        """The error in it, as OpenAI's API has it."""
        return self.json["error"]

    @property
    def events(self):
        """The data of each event of a stream."""
        blocks = self.body.decode().split("\n\n")
        assert blocks.pop() == "", "a stream ends with an empty line"
        assert all(block.startswith("data: ") for block in blocks), blocks
        return [block.removeprefix("data: ") for block in blocks]

    @property
    def chunks(self):
        """The JSON of each event of a stream that came to its end."""
        assert self.events[-1] == "[DONE]", self.events[-1]
        return [json.loads(event) for event in self.events[:-1]]


class Server:
    """A server that runs inside a `with`; one that ended before its time fails the test."""

    def __init__(self, qwill, *arguments, environment=None, light=True):
        self.qwill = qwill
        self.arguments = (*(LIGHT if light else ()), *arguments)
        self.environment = environment or {}
        self.stderr = b""  # all that came so far
        self.port = None
        self.stopped = False

    def __enter__(self):
        self.process = self.qwill.start(
            "serve",
            *("--host", "127.0.0.1", "--port", "0"),
            *self.arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            environment=self.environment,
        )
        self.ready = threading.Event()
        self.reader = threading.Thread(target=self.read_stderr, daemon=True)
        self.reader.start()
        if not self.ready.wait(timeout=120) or self.port is None:
            self.process.kill()
            raise RuntimeError(f"qwill serve does not listen: {self.stderr!r}")
        return self

    def read_stderr(self):
        while data := self.process.stderr.read1():
            self.stderr += data
            if self.port is None and (found := LISTENING.search(self.stderr)):
                self.port = int(found[1])
                self.ready.set()
        self.ready.set()

    def __exit__(self, kind, *_):
        status = self.process.poll()
        if status is None:
            self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stderr.close()
        if status is not None and not self.stopped:
            raise AssertionError(f"the server ended with status {status}: {self.stderr[-2000:]!r}") from None

    def stop(self, timeout=60):
        """Ends it as an operator does; the exit status. Only then may it be gone at the end of the `with`."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=timeout)
        self.stopped = True
        self.reader.join()
        return status

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def request(self, method, path, body=None, headers=None, timeout=120):
        """One request on a connection of its own; a body that is not bytes is sent as JSON."""
        headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())
        finally:
            connection.close()

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def post(self, path, /, **body):
        return self.request("POST", path, body)

    def log(self):
        """The events it has told on stderr, in their order."""
        return [json.loads(line) for line in self.stderr.splitlines() if line.startswith(b"{")]

    def metric(self, name, **labels):
        """The value of a sample of /metrics, 0 if there is none; all of its labels are given."""
        wanted = name + ("{" + ",".join(f'{k}="{v}"' for k, v in labels.items()) + "}" if labels else "")
        for line in self.get("/metrics").body.decode().splitlines():
            if line.startswith(wanted + " "):
                return float(line.rsplit(" ", 1)[1])
        return 0.0
