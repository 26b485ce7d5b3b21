"""Thousands of requests with random damage: whatever comes back is a whole answer or none, memory stays flat, and a
stream that runs all the while does not change.

    python mutations.py [--requests N] [--seed N] PROGRAM SOURCES
"""

import argparse
import collections
import json
import random
import re
import selectors
import sys
import time

from hostile_server import MIB, Probe, Server, completion, post, reset
from program import Checks, Program

AT_ONCE = 96  # connections
WAIT_S = 0.5  # for what may be an incomplete request
FLAT = 32 * MIB
STATUSES = {200, 204, 400, 403, 404, 405, 408, 413, 414, 417, 429, 431, 501, 505}
LAST = b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HEAD = re.compile(rb"HTTP/1\.1 ([0-9]{3}) [A-Za-z' -]*\r\n((?:[A-Za-z-]+: [^\r\n]*\r\n)+)\r\n")


def valid_requests():
    short = completion("a", max_tokens=2)
    chat = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 2}
    whole = json.dumps(short).encode()
    chunks = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks += b"".join(b"%x;a=b\r\n%s\r\n" % (len(whole[i : i + 9]), whole[i : i + 9]) for i in range(0, len(whole), 9))
    return [
        post(short),
        post(short | {"stream": True, "stream_options": {"include_usage": True}}),
        post(short | {"logprobs": 3, "n": 2, "echo": True, "stop": ["b", "c"], "seed": 1, "temperature": 0.5}),
        post(short | {"logit_bias": {"5": 1.5}, "top_p": 0.5, "top_k": 3, "prompt": [[1, 2], [3]]}),
        post(chat, "/v1/chat/completions", ["X-Request-Id: abc", "Accept: */*"]),
        post(chat | {"stream": True, "logprobs": True, "top_logprobs": 2}, "/v1/chat/completions"),
        post({"prompt": "a b \u00e9 \U0001f600"}, "/tokenize", ["Expect: 100-continue"]),
        post({"tokens": [1, 2, 3]}, "/detokenize", ["Origin: http://a"]),
        chunks + b"0\r\nA: b\r\n\r\n",
        b"GET /v1/models/nib?a=%20b HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
        b"GET /metrics HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"OPTIONS /v1/completions HTTP/1.1\r\nHost: a\r\nAccess-Control-Request-Method: POST\r\n\r\n",
        b"HEAD /health HTTP/1.1\r\nHost: a\r\n\r\n",
    ]


TOKENS = [b"\r\n", b"\r", b"\n", b"\0", b" ", b"\t", b":", b"%", b"%00", b"/", b"..", b"\xff", b"\xc3", b"\xed\xa0\x80"]
TOKENS += [b"[", b"{", b'"', b"\\", b"\\u0000", b"\\ud800", b"-", b"0", b"9" * 30, b"1e999", b"null", b"true", b","]
TOKENS += [b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n", b"Content-Length: 99999999999999999999\r\n"]
TOKENS += [
    b"Expect: 100-continue\r\n",
    b"Connection: close\r\n",
    b"HTTP/1.1",
    b"HTTP/2.0",
    b"POST ",
    b"0\r\n\r\n",
    b"-1\r\n",
]
TOKENS += [b"[" * 500, b"A: b\r\n" * 300, b"a" * 20000]


def mutate(rng, requests):
    data = bytearray(rng.choice(requests))
    for _ in range(rng.choice([1, 1, 1, 2, 3, 5])):
        place = rng.randrange(len(data) + 1)
        end = min(len(data), place + rng.choice([1, 1, 2, 8, 50]))
        match rng.randrange(9):
            case 0 if place < len(data):
                data[place] ^= 1 << rng.randrange(8)
            case 1 if place < len(data):
                data[place] = rng.randrange(256)
            case 2:
                data[place:place] = rng.choice(TOKENS)
            case 3:
                data[place:end] = rng.choice(TOKENS)
            case 4:
                del data[place:end]
            case 5:
                data[place:place] = data[place:end] * rng.choice([1, 2, 20])
            case 6:
                data[place:place] = rng.randbytes(end - place)
            case 7:
                other = rng.choice(requests)
                data[place:] = other[rng.randrange(len(other)) :]
            case 8:
                numbers = list(re.finditer(rb"[0-9]+", data))
                if numbers:
                    number = rng.choice(numbers)
                    data[number.start() : number.end()] = rng.choice([b"0", b"-1", b"1", b"77", b"4294967296", b"1.5"])
        if not data:
            break
    return bytes(data) + (LAST if rng.random() < 0.9 else b"")


def statuses_of(data, ended):
    """The statuses of what came back; raises ValueError where it is no row of whole answers. `ended`: by the server."""
    statuses, at = [], 0
    while at < len(data):
        if data.startswith(CONTINUE, at):
            at += len(CONTINUE)
            continue
        head = HEAD.match(data, at)
        if not head:
            if not ended and b"\r\n\r\n" not in data[at:]:
                break
            raise ValueError(f"no head at byte {at}")
        status, at = int(head[1]), head.end()
        statuses.append(status)
        headers = head[2].lower()
        length = re.search(rb"content-length: ([0-9]+)\r\n", headers)
        if status == 204 or data[at : at + 9] == b"HTTP/1.1 " or (length and at == len(data)):
            continue  # of a HEAD, say: no body is like that
        if length:
            at += int(length[1])
            if at > len(data) and ended:
                raise ValueError("a body that is cut off")
        elif b"transfer-encoding: chunked\r\n" in headers:
            while True:
                line = re.compile(rb"([0-9a-f]+)\r\n").match(data, at)
                if not line:
                    if ended or len(data) - at > 10:
                        raise ValueError(f"no chunk at byte {at}")
                    return statuses
                size = int(line[1], 16)
                at = line.end() + size + 2
                if size == 0 or at > len(data):
                    break
            if at > len(data) and ended:
                raise ValueError("chunks that are cut off")
        else:
            at = len(data)  # until the end
    return statuses


class Attack:
    def __init__(self, checks, server, seed):
        self.checks, self.server = checks, server
        self.rng = random.Random(seed)
        self.requests = valid_requests()
        self.selector = selectors.DefaultSelector()
        self.open = collections.OrderedDict()  # connection -> what was sent, what came, when
        self.seen = collections.Counter()

    def begin(self):
        data = mutate(self.rng, self.requests)
        connection = self.server.connect()
        try:
            connection.sendall(data)
        except OSError:  # refused before all was sent
            pass
        connection.setblocking(False)
        self.selector.register(connection, selectors.EVENT_READ)
        self.open[connection] = (data, bytearray(), time.monotonic())

    def end(self, connection, ended):
        data, got, _ = self.open.pop(connection)
        self.selector.unregister(connection)
        if ended or self.rng.random() < 0.5:
            connection.close()
        else:
            reset(connection)
        try:
            statuses = statuses_of(bytes(got), ended)
            bad = [status for status in statuses if status not in STATUSES]
        except ValueError as e:
            statuses, bad = [], str(e)
        if bad:
            self.checks.that(False, f"{bad}\n    sent {data[:3000]!r}\n    got {bytes(got[:3000])!r}")
        self.seen.update(statuses or ["closed" if ended else "still waited"])

    def run(self, count):
        begun = 0
        while begun < count or self.open:
            while begun < count and len(self.open) < AT_ONCE:
                self.begin()
                begun += 1
            for key, _ in self.selector.select(0.05):
                connection = key.fileobj
                try:
                    piece = connection.recv(1 << 16)
                except BlockingIOError:
                    continue
                except ConnectionResetError:  # what it got may be cut off then
                    self.end(connection, False)
                    continue
                if piece:
                    self.open[connection][1].extend(piece)
                else:
                    self.end(connection, True)
            now = time.monotonic()
            for connection in [c for c, (_, _, began) in self.open.items() if now - began > WAIT_S]:
                self.end(connection, False)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("program")
    parser.add_argument("source")
    options = parser.parse_args()
    checks = Checks()
    with Server(Program(options.program), "--quiet") as server:
        _, descriptors = server.filled()
        probe = Probe(server)
        probe.start()
        attack = Attack(checks, server, options.seed)
        began = time.monotonic()
        attack.run(options.requests * 3 // 10)
        before = server.resident()
        attack.run(options.requests * 7 // 10)
        took = time.monotonic() - began
        probe.finish(checks)
        checks.that(server.until(lambda: server.busy() == 0), f"sequences are left: {server.metrics()}")
        checks.that(server.until(lambda: server.metrics()["qwill_http_connections"] == 1), "connections are left")
        after = server.resident()
        print(
            f"{options.requests} requests in {took:.0f} s, {len(probe.texts)} streams beside them, {dict(attack.seen)}"
        )
        print(f"{before / MIB:.1f} MiB, then {after / MIB:.1f} MiB")
        checks.that(after - before <= FLAT, f"memory: from {before} to {after} bytes")
        checks.that(server.until(lambda: server.descriptors() <= descriptors), "descriptors are left")
        checks.that(attack.seen[200] > options.requests // 10, f"some requests were still valid: {attack.seen}")
        checks.equal(server.metrics()["qwill_requests_failed_total"], 0, "requests that failed inside")
    return checks.report()


if __name__ == "__main__":
    sys.exit(main())
