"""Clients that send too slowly, or not at all: they are let go in time, and disturb nobody.

python slow_writers.py PROGRAM SOURCES [TEST...]
"""

import sys
import threading
import time

from hostile_server import Answers, Server, completion, open_world, post
from program import run_all

# What src/http/http_server.h gives a client, and room for a busy machine.
IDLE_S, HEAD_S, BODY_S, ROOM_S = 75, 10, 30, 15


class Drip(threading.Thread):
    """Sends a byte of the data each second, after a beginning, until the server ends it or `seconds` have passed."""

    def __init__(self, server, beginning, data, seconds):
        super().__init__()
        self.connection = server.connect(timeout=1)
        self.beginning, self.data, self.seconds = beginning, data, seconds
        self.received, self.took = b"", None

    def run(self):
        began = time.monotonic()
        self.connection.sendall(self.beginning)
        rest = iter(self.data)
        while time.monotonic() - began < self.seconds:
            try:
                piece = self.connection.recv(65536)
                if not piece:
                    break
                self.received += piece
            except TimeoutError:
                try:
                    self.connection.sendall(bytes([next(rest)]))
                except (OSError, StopIteration):
                    pass
            except OSError:
                break
        self.took = time.monotonic() - began
        self.connection.close()


def test_slow_writers(checks, qwill):
    request = post(completion())
    body = request.index(b"\r\n\r\n") + 4
    chunks = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    with Server(qwill, "--quiet") as server:
        drips = {
            "a head": (Drip(server, b"", request, 90), HEAD_S),
            "the rest of a head": (Drip(server, request[:20], request[20:], 90), HEAD_S),
            "empty lines": (Drip(server, b"", b"\r\n" * 50, 90), IDLE_S),
            "a body": (Drip(server, request[:body], b" " * 90, 90), BODY_S),
            "nothing after a head": (Drip(server, request[:body], b"", 90), BODY_S),
            "chunks": (Drip(server, chunks, b"1\r\n \r\n" * 20, 90), BODY_S),
            "an extension": (Drip(server, chunks + b"5;", b"a" * 90, 90), BODY_S),
            "trailers": (Drip(server, chunks + b"0\r\n", b"A: b\r\n" * 20, 90), BODY_S),
        }
        for drip, _ in drips.values():
            drip.start()
        # A hundred more that take part in nothing, and all the while others are answered.
        silent = [server.connect() for _ in range(100)]
        for connection in silent:
            connection.sendall(b"POST ")
        for name, (drip, limit) in drips.items():
            while drip.is_alive():
                checks.equal(server.request("POST", "/v1/completions", completion(max_tokens=1))[0], 200)
                drip.join(1)
            answered = drip.received.startswith((b"HTTP/1.1 408 ", b"HTTP/1.1 400 ")) or not drip.received
            checks.that(answered, f"{name}, a byte a second: {drip.received[:200]}")
            checks.that(drip.took <= limit + ROOM_S, f"{name}, a byte a second: {drip.took:.0f} s")
        for connection in silent:
            checks.equal(Answers(connection).next()[0], 408, "silent in the head")
            connection.close()
        checks.that(server.until(lambda: server.metrics()["qwill_http_connections"] == 1), server.metrics())


def test_slow_writer_in_time(checks, qwill):
    """Slow, but not too slow: answered."""
    with Server(qwill, "--quiet") as server:
        request = post(completion(max_tokens=3))
        connection = server.connect()
        for i in range(0, len(request), 40):
            connection.sendall(request[i : i + 40])
            time.sleep(0.1)
        checks.equal(Answers(connection).next()[0], 200)
        connection.close()


def main():
    qwill, _, tests = open_world(sys.argv[1:], globals())
    return run_all(tests, qwill)


if __name__ == "__main__":
    sys.exit(main())
