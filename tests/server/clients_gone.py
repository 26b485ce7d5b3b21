"""Clients that go away, at any moment and in any way: their sequences end at once and nothing of them is left.

python clients_gone.py PROGRAM SOURCES [TEST...]
"""

import ctypes
import os
import random
import select
import socket
import subprocess
import sys
import threading
import time

from hostile_server import MIB, Answers, Server, completion, endless, open_world, post, reset
from program import run_all

CLIENTS = 10000
FLAT = 32 * MIB  # what an allocator may still take; of each client no more than 5 KB could be left unseen
SILENT_S = 30  # in which a peer that has vanished is found
CHOICES = 16  # of a request: enough for a minute
ANSWER = post(endless(n=CHOICES))
STREAM = post(endless(stream=True, n=CHOICES))
LONG = post(endless(stream=True, n=CHOICES, prompt=list(range(2, 62)) * 30))  # 1,800 tokens of prefill


def leave(connection, by_reset):
    if by_reset:
        reset(connection)
    else:
        connection.close()


def gone_within(server, seconds=5):
    """Whether the server soon has neither sequences nor connections. Left alone, they would last for far longer."""

    def nothing():
        values = server.metrics()
        names = ["qwill_requests_running", "qwill_requests_waiting", "qwill_kv_pages_used"]
        return values["qwill_http_connections"] == 1 and not any(values[name] for name in names)

    return server.until(nothing, seconds)


def first_piece(connection):
    """Waits for the beginning of the answer."""
    assert connection.recv(16), "no answer"


# What a client does before it goes: given a server with one place, which is free.


def while_connecting(server):
    connection = socket.socket()
    connection.setblocking(False)
    connection.connect_ex((server.host, server.port))
    return [connection]


def sending(data):
    def act(server):
        connection = server.connect()
        connection.sendall(data)
        return [connection]

    return act


def while_queued(server):
    """The first takes the only place; the others wait."""
    connections = sending(STREAM)(server)
    first_piece(connections[0])
    for data in [STREAM, ANSWER, STREAM]:
        connections += sending(data)(server)
    assert server.until(lambda: server.busy() == 4 * CHOICES)
    return connections[::-1]


def in_a_stream(server):
    connections = sending(STREAM)(server)
    first_piece(connections[0])
    assert server.until(lambda: server.busy() == CHOICES)
    return connections


def in_an_answer(server):
    connections = sending(ANSWER)(server)
    assert server.until(lambda: server.busy() == CHOICES)
    return connections


def in_prefill(server):
    connections = sending(LONG)(server)
    assert server.until(lambda: server.busy() == CHOICES)
    return connections


MOMENTS = {
    "while connecting": while_connecting,
    "connected": sending(b""),
    "in the head": sending(STREAM[:40]),
    "in the body": sending(STREAM[:-10]),
    "while queued": while_queued,
    "in prefill": in_prefill,
    "in a stream": in_a_stream,
    "in an answer": in_an_answer,
    "after more than one": sending(STREAM + ANSWER + STREAM[:50]),
}


def test_every_moment(checks, qwill):
    with Server(qwill, "--quiet", "--max-seqs", 1, "--chunk-size", 16) as server:
        for name, act in MOMENTS.items():
            for by_reset in (False, True):
                for connection in act(server):
                    leave(connection, by_reset)
                what = f"gone {name}, by {'reset' if by_reset else 'close'}"
                checks.that(gone_within(server), f"{what}: {server.metrics()}")


def test_one_step(checks, qwill):
    """Steps of a long prefill take long: of those that are due, at most the one under way and one more are done."""
    with Server(qwill, "--quiet", "--threads", 1, "--chunk-size", 1024) as server:
        for by_reset in (False, True):
            prompts = [[2 + by_reset * 8 + i] + [3 + j % 50 for j in range(1900)] for i in range(8)]
            connections = [sending(post(endless(prompt=prompt)))(server)[0] for prompt in prompts]
            checks.that(server.until(lambda: server.busy() == 8), f"prefill is over too early: {server.metrics()}")
            for connection in connections:
                leave(connection, by_reset)
            first = server.metrics()["qwill_step_seconds_count"]
            checks.that(gone_within(server, 30), server.metrics())
            steps = server.metrics()["qwill_step_seconds_count"] - first
            checks.that(steps <= 2, f"{steps} steps for clients that had gone")
            time.sleep(0.5)
            checks.equal(server.metrics()["qwill_step_seconds_count"], first + steps, "steps for nobody")


def test_others_go_on(checks, qwill):
    """Whoever stays gets the same text as alone, whoever leaves beside it."""
    with Server(qwill, "--quiet") as server:
        request = completion(max_tokens=100, ignore_eos=True)
        _, _, alone = server.request("POST", "/v1/completions", request)
        stays = server.connect()
        stays.sendall(post(request))
        for i in range(20):
            leave(sending([STREAM, ANSWER, LONG, STREAM[:-5]][i % 4])(server)[0], i % 2)
        status, _, beside = Answers(stays).next()
        checks.equal(status, 200)
        choices = [body[body.index(b'"choices"') :] for body in (alone, beside)]
        checks.equal(choices[1], choices[0], "beside clients that leave")


def test_thousands(checks, qwill):
    rng = random.Random(1)
    requests = [STREAM, ANSWER, LONG, post(completion(n=3, max_tokens=50)), b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"]

    def go(count):
        held = []
        for _ in range(count):
            request = rng.choice(requests)
            part = rng.choice([0, rng.randrange(len(request)), len(request), len(request)])
            connection = while_connecting(server)[0] if part == 0 else sending(request[:part])(server)[0]
            held.append(connection)
            if len(held) >= 32:  # some go at once, some while others run
                leave(held.pop(rng.randrange(len(held))), rng.random() < 0.5)
        for connection in held:
            leave(connection, rng.random() < 0.5)

    with Server(qwill, "--quiet") as server:
        server.filled()
        go(CLIENTS * 3 // 10)
        checks.that(gone_within(server, 30), f"after the first part: {server.metrics()}")
        resident, descriptors = server.resident(), server.descriptors()
        go(CLIENTS * 7 // 10)
        checks.that(gone_within(server, 30), f"after all: {server.metrics()}")
        print(f"{CLIENTS} clients: {resident / MIB:.1f} MiB, then {server.resident() / MIB:.1f} MiB")
        checks.that(server.resident() - resident <= FLAT, f"from {resident} to {server.resident()} bytes")
        gone = server.until(lambda: server.descriptors() <= descriptors)
        checks.that(gone, f"descriptors: {descriptors}, then {server.descriptors()}")
        checks.equal(server.request("POST", "/v1/completions", completion())[0], 200, "afterwards")


# ---------------------------------------------------------------- peers that vanish


class Network:
    """Another host: a network namespace at the end of a cable that can be pulled out."""

    def __init__(self):
        name = f"qw{os.getpid() % 100000}"
        self.ours, self.theirs, self.space = f"{name}a", f"{name}b", name
        address = f"10.{os.getpid() % 199 + 31}.77"
        self.address = f"{address}.1"
        self.commands = [
            f"ip netns add {self.space}",
            f"ip link add {self.ours} type veth peer name {self.theirs} netns {self.space}",
            f"ip addr add {address}.1/24 dev {self.ours}",
            f"ip link set {self.ours} up",
            f"ip -n {self.space} addr add {address}.2/24 dev {self.theirs}",
            f"ip -n {self.space} link set {self.theirs} up",
        ]

    def __enter__(self):
        """None where it is not allowed."""
        try:
            for command in self.commands:
                subprocess.run(command.split(), check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as e:
            print(f"SKIPPED vanished peers: no network namespace: {getattr(e, 'stderr', e)}")
            self.remove()
            return None
        return self

    def __exit__(self, *_):
        self.remove()

    def remove(self):
        for command in (f"ip link del {self.ours}", f"ip netns del {self.space}"):
            try:
                subprocess.run(command.split(), capture_output=True)
            except OSError:
                return

    def pull_out(self):
        subprocess.run(f"ip -n {self.space} link set {self.theirs} down".split(), check=True)

    def connect(self, server, timeout=60):
        """A client on that host: a thread enters it to make the socket, which stays there."""
        made = []

        def make():
            with open(f"/var/run/netns/{self.space}") as space:
                if ctypes.CDLL(None, use_errno=True).setns(space.fileno(), 0) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            made.append(socket.create_connection((server.host, server.port), timeout))

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        assert made, "no connection from the other host"
        return made[0]


def test_vanished_peers(checks, qwill):
    """In a stream, in a wait for a whole answer, between requests, and with bytes that were never read."""
    with Network() as network:
        if network is None:
            return
        # More sequences than can end by themselves in the meantime.
        with Server(qwill, "--quiet", "--max-seqs", 4, host=network.address) as server:
            clients = {name: network.connect(server) for name in ["stream", "answer", "idle", "body"]}
            clients["idle"].sendall(post(completion(max_tokens=1)))
            checks.equal(Answers(clients["idle"]).next()[0], 200)
            clients["stream"].sendall(post(endless(stream=True, n=128)))
            clients["answer"].sendall(post(endless(n=128)))
            clients["body"].sendall(STREAM[:-5])
            first_piece(clients["stream"])
            checks.that(server.until(lambda: server.busy() == 256), server.metrics())
            network.pull_out()
            began = time.monotonic()
            found = server.until(lambda: server.busy() == 0, 4 * SILENT_S)
            took = time.monotonic() - began
            checks.that(found and took <= SILENT_S, f"sequences of vanished clients: {took:.1f} s, {server.metrics()}")
            checks.that(server.until(lambda: server.metrics()["qwill_http_connections"] == 1, SILENT_S), "connections")
            print(f"vanished clients were found after {took:.1f} s")
            for client in clients.values():
                client.close()


def test_half_closed(checks, qwill):
    """A client that says that it will send nothing more is answered, or its connection ends; it does not hang."""
    with Server(qwill, "--quiet") as server:
        for data in [post(completion()), STREAM[:50], b""]:
            connection = server.connect(timeout=30)
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            end = time.monotonic() + 30
            while time.monotonic() < end and select.select([connection], [], [], 30)[0] and connection.recv(65536):
                pass
            checks.that(time.monotonic() < end, f"half-closed after {data[:20]!r}…: no end")
            connection.close()
        checks.that(gone_within(server), server.metrics())


def main():
    qwill, _, tests = open_world(sys.argv[1:], globals())
    return run_all(tests, qwill)


if __name__ == "__main__":
    sys.exit(main())
