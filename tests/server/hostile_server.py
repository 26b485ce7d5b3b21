"""A server under attack: `qwill serve` as a process that is watched, and clients that speak to it byte by byte."""

import asyncio
import http.client
import json
import os
import re
import socket
import struct
import threading
import time
from pathlib import Path

from server_process import PATIENCE_S, Program, ServerProcess

MIB = 1 << 20


class Server(ServerProcess):
    """A server that is watched."""

    def resident(self):
        """Bytes of memory."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    def peak(self):
        """The most that resident() ever was."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+([0-9]+) kB", status)[1]) << 10

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def idle(self):
        """Memory and descriptors of a server that does nothing, but whose threads have all been needed."""
        for _ in range(8):
            self.request("POST", "/v1/completions", completion(max_tokens=1))
        return self.at_rest()

    def filled(self):
        """As idle(), when every page of the cache has been written: memory that is planned cannot grow any more."""
        pages = self.metrics()["qwill_kv_pages_total"]
        for i in range(1000):
            if self.metrics()["qwill_kv_pages_cached"] >= pages - 32:
                break
            prompt = [3 + i] + [3 + j % 50 for j in range(1900)]
            assert self.request("POST", "/v1/completions", completion(prompt, max_tokens=1))[0] == 200
        return self.at_rest()

    def at_rest(self):
        assert self.until(lambda: self.metrics()["qwill_http_connections"] == 1)
        return self.resident(), self.descriptors()

    def metrics(self):
        """{"qwill_requests_running": the sum over its labels, 'qwill_requests_running{model="nib"}': one value, ...}"""
        status, _, body = self.request("GET", "/metrics")
        assert status == 200, (status, body)
        values = {}
        for line in body.decode().splitlines():
            if line.startswith("#"):
                continue
            name, value = line.rsplit(" ", 1)
            values[name] = float(value)
            if "{" in name:
                bare = name.split("{")[0]
                values[bare] = values.get(bare, 0) + float(value)
        return values

    def busy(self):
        """How many sequences there are."""
        values = self.metrics()
        return int(values["qwill_requests_running"] + values["qwill_requests_waiting"])

    def until(self, condition, seconds=PATIENCE_S):
        """Waits until the condition holds; whether it did in time."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True

    def request(self, method, path, body=None, headers=None):
        """One request on a connection of its own: status, headers by their names in lower case, body."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE_S)
        try:
            data = json.dumps(body).encode() if isinstance(body, dict) else body
            connection.request(method, path, data, headers or {})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def connect(self, receive_buffer=None, timeout=PATIENCE_S):
        connection = socket.socket()
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(timeout)
        connection.connect((self.host, self.port))
        return connection


def completion(prompt="Once upon a time", **fields):
    return {"prompt": prompt, "max_tokens": 16, "temperature": 0, **fields}


def endless(**fields):
    """A request that takes as long as the model's context lets it."""
    return completion(max_tokens=2000, ignore_eos=True, **fields)


def post(body, path="/v1/completions", headers=()):
    """The bytes of a request."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: test", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, f"Content-Length: {len(data)}", "", ""]).encode() + data


def reset(connection):
    """Closes so that the other side sees a reset at once."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:  # it was never connected
        pass
    connection.close()


def text_of(body):
    """The text of a completion's body."""
    return json.loads(body)["choices"][0]["text"]


def events_of(body):
    """What the events of a stream's body carry, in order; "[DONE]" last where it is complete."""
    events = body.decode().split("\n\n")
    assert events.pop() == "", body[-100:]
    assert all(event.startswith("data: ") for event in events), body[:200]
    data = [event.removeprefix("data: ") for event in events]
    return [one if one == "[DONE]" else json.loads(one) for one in data]


def streamed_text(body):
    """The text of a complete stream of a completion, put together."""
    events = events_of(body)
    assert events and events[-1] == "[DONE]", body[-300:]
    choices = [event["choices"][0] for event in events[:-1] if event["choices"]]
    assert [c["finish_reason"] is not None for c in choices] == [False] * (len(choices) - 1) + [True], choices
    return "".join(choice["text"] for choice in choices)


class Answers:
    """Reads one answer after the other from a connection."""

    def __init__(self, connection):
        self.file = connection.makefile("rb")

    def next(self, method="GET"):
        """Status, headers and body; None at the connection's end. A body that is cut off raises."""
        while True:
            line = self.file.readline()
            if not line:
                return None
            found = re.fullmatch(rb"HTTP/1\.1 ([0-9]{3}) [ -~]*\r\n", line)
            assert found, line
            status, headers = int(found[1]), {}
            while (line := self.file.readline()) not in (b"\r\n", b""):
                name, value = line.decode("latin-1").rstrip("\r\n").split(":", 1)
                headers[name.lower()] = value.strip()
            assert line, "a head that is cut off"
            if status != 100:
                return status, headers, self.body(status, headers, method)

    def body(self, status, headers, method):
        if method == "HEAD" or status in (204, 304):
            return b""
        if "content-length" in headers:
            return self.exactly(int(headers["content-length"]))
        if headers.get("transfer-encoding") != "chunked":
            return self.file.read()
        body = b""
        while size := int(self.file.readline(), 16):
            body += self.exactly(size)
            self.exactly(2)
        self.exactly(2)
        return body

    def exactly(self, size):
        data = self.file.read(size)
        assert len(data) == size, f"{size} bytes were to come, {len(data)} came: {data[-200:]!r}"
        return data


async def ask(server, data, go=None):
    """Sends the bytes of a request on a connection of its own; status, headers and body. Where there is `go`, the
    connection is made first and then waits for it."""
    reader, writer = await asyncio.open_connection(server.host, server.port, limit=MIB)
    try:
        if go:
            await go.wait()
        writer.write(data)
        await writer.drain()
        status = int((await reader.readline()).split()[1])
        headers = {}
        while (line := await reader.readline()) != b"\r\n":
            name, value = line.decode().rstrip("\r\n").split(": ", 1)
            headers[name.lower()] = value
        if "content-length" in headers:
            return status, headers, await reader.readexactly(int(headers["content-length"]))
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        return status, headers, body
    finally:
        writer.close()


class Probe(threading.Thread):
    """The same stream again and again, beside everything else."""

    def __init__(self, server):
        super().__init__()
        self.server, self.over = server, threading.Event()
        self.request = post(completion(max_tokens=30, ignore_eos=True, stream=True, temperature=1, seed=7))
        self.wanted = self.once()
        self.texts = []

    def once(self):
        connection = self.server.connect()
        connection.sendall(self.request)
        status, _, body = Answers(connection).next()
        connection.close()
        return (status, streamed_text(body) if status == 200 else body)

    def run(self):
        while not self.over.is_set():
            try:
                self.texts.append(self.once())
            except Exception as e:  # told below: it is not the same text
                self.texts.append(repr(e))

    def finish(self, checks):
        self.over.set()
        self.join()
        wrong = [text for text in self.texts if text != self.wanted]
        checks.that(self.texts and not wrong, f"of {len(self.texts)} streams {len(wrong)} differ: {wrong[:3]}")


def open_world(arguments, module):
    """The program and the folder of the sources, from a test's command line, and the tests of the module to run."""
    program, source, *names = arguments
    tests = [f for name, f in module.items() if name.startswith("test_") and (not names or name in names)]
    return Program(program), Path(source), tests
