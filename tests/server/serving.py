"""`qwill serve` on a free port, for the tests that ask it over HTTP, and small requests with the standard library alone.

with Server(qwill, "--threads", "1") as server:
    server.post("/v1/completions", prompt="A hammer is").json
"""

import http.client
import json
from dataclasses import dataclass

from server_process import Program, ServerProcess, run_all  # noqa: F401

LIGHT = ("--threads", "1")  # other tests run beside this one
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


class Server(ServerProcess):
    """A server, and what one asks of it."""

    def __init__(self, qwill, *arguments, light=True, **options):
        super().__init__(qwill, *(LIGHT if light else ()), *arguments, **options)

    def request(self, method, path, body=None, headers=None, timeout=120):
        """One request on a connection of its own; a body that is not bytes is sent as JSON."""
        headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
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
        return [json.loads(line) for line in self.lines if line.startswith("{")]

    def metric(self, name, **labels):
        """The value of a sample of /metrics, 0 if there is none; all of its labels are given."""
        wanted = name + ("{" + ",".join(f'{k}="{v}"' for k, v in labels.items()) + "}" if labels else "")
        for line in self.get("/metrics").body.decode().splitlines():
            if line.startswith(wanted + " "):
                return float(line.rsplit(" ", 1)[1])
        return 0.0
