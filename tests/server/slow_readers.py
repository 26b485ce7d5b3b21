"""Clients that read too slowly, or not at all: the former get everything, the latter are let go in time.

python slow_readers.py PROGRAM SOURCES [TEST...]
"""

import socket
import sys
import time

from hostile_server import MIB, Server, completion, endless, open_world, post, streamed_text, text_of
from program import run_all

WRITE_S, ROOM_S = 20, 15  # what src/http/http_server.h gives a client, and room for a busy machine
BIG = post({"prompt": "a b " * (100 << 10)}, "/tokenize")  # answered with a megabyte
ROOM = 64 * MIB  # for answers that nobody takes


def test_slow_reader_gets_all(checks, qwill):
    """A client that reads little by little gets the same as others."""
    with Server(qwill, "--quiet") as server:
        request = completion(max_tokens=100, ignore_eos=True, logprobs=5)
        wanted = text_of(server.request("POST", "/v1/completions", request)[2])
        slow = server.connect(receive_buffer=16384)
        slow.sendall(post(request | {"stream": True}, headers=["Connection: close"]))
        file = slow.makefile("rb", buffering=512)
        data = b""
        while piece := file.read(997):
            data += piece
            time.sleep(0.01)
        body = data[data.index(b"\r\n\r\n") + 4 :]
        text, at = b"", 0
        while size := int(body[at : body.index(b"\r\n", at)], 16):
            at = body.index(b"\r\n", at) + 2
            text += body[at : at + size]
            at += size + 2
        checks.equal(streamed_text(text), wanted, "read slowly")
        slow.close()


def test_readers_that_stop(checks, qwill):
    with Server(qwill, "--quiet") as server:
        resident, descriptors = server.filled()
        wanted = text_of(server.request("POST", "/v1/completions", completion(max_tokens=50, ignore_eos=True))[2])
        stuck = []
        for i in range(24):
            connection = server.connect(receive_buffer=2048)
            stream = post(endless(stream=True, n=2, logprobs=20))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall([stream, BIG, BIG + BIG[:9999]][i % 3])
            stuck.append(connection)
        began, most = time.monotonic(), 0
        while time.monotonic() - began < WRITE_S + 3 * ROOM_S:
            status, _, body = server.request(
                "POST", "/v1/completions", completion(max_tokens=50, ignore_eos=True, priority=-1)
            )
            checks.equal((status, text_of(body)), (200, wanted), "beside readers that stopped")
            most = max(most, server.resident())
            if server.metrics()["qwill_http_connections"] == 1:
                break
        took = time.monotonic() - began
        print(f"readers that stopped: {took:.0f} s; memory at most {(most - resident) / MIB:.0f} MiB more")
        checks.that(most - resident <= ROOM, f"memory: {most - resident} bytes more")
        for connection in stuck:
            connection.close()
        checks.that(server.until(lambda: server.metrics()["qwill_http_connections"] == 1), server.metrics())
        checks.that(server.until(lambda: server.busy() == 0), server.metrics())
        checks.that(server.until(lambda: server.descriptors() <= descriptors), "descriptors")


def main():
    qwill, _, tests = open_world(sys.argv[1:], globals())
    return run_all(tests, qwill)


if __name__ == "__main__":
    sys.exit(main())
