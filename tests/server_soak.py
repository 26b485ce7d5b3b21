"""Random traffic against a server for some minutes: sound requests, damaged ones, slow clients and clients that leave.
Every sound request gets the text that it got the first time; memory and descriptors stay where they were.

    python server_soak.py [--minutes 10] [--seed N] PROGRAM
"""

import argparse
import collections
import json
import random
import statistics
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "server"))
from hostile_server import MIB, Answers, Server, endless, events_of, post, reset  # noqa: E402
from mutations import STATUSES, mutate, statuses_of, valid_requests  # noqa: E402
from program import Program  # noqa: E402

CLIENTS = 8
KINDS = 60  # of sound requests
GROWTH = 0.01  # of resident memory, after the warm-up
SPARE_DESCRIPTORS = 2 * CLIENTS  # of clients that have just come or gone
STARTS = [
    "Once upon a time",
    "The capital of France is",
    "A little dog",
    "1 + 1 =",
    "\u00e9\u4e2d\U0001f600",
    "def f(x):",
]


def sound_request(i):
    """Path and body of a request that has one right answer."""
    rng = random.Random(i)
    sampling = {"temperature": rng.choice([0, 0.7, 1.2]), "seed": i, "top_p": rng.choice([0.5, 1])}
    sampling |= {"max_tokens": rng.randint(1, 40), "n": rng.choice([1, 1, 1, 2, 3]), "ignore_eos": rng.random() < 0.5}
    text = " ".join(rng.choices(STARTS, k=rng.choice([1, 2, 5, 60])))
    match i % 4:
        case 0:
            return "/tokenize", {"prompt": text}
        case 1:
            return "/v1/chat/completions", sampling | {"messages": [{"role": "user", "content": text}]}
        case _:
            return "/v1/completions", sampling | {"prompt": text, "stop": rng.choice([None, ["the", "\n"]])}


def texts_of(status, headers, body):
    """What an answer says, whether it came whole or as a stream: the text and the end of each choice."""
    if status != 200:
        return status, body
    if headers["content-type"] != "text/event-stream":
        answer = json.loads(body)
        if "choices" not in answer:
            return answer
        return {
            choice["index"]: (
                choice["text"] if "text" in choice else message_text(choice["message"]),
                choice["finish_reason"],
            )
            for choice in answer["choices"]
        }
    texts, ends = collections.defaultdict(str), {}
    events = events_of(body)
    assert events[-1] == "[DONE]", body[-300:]
    for event in events[:-1]:
        for choice in event["choices"]:
            texts[choice["index"]] += choice["text"] if "text" in choice else message_text(choice["delta"])
            if choice["finish_reason"]:
                ends[choice["index"]] = choice["finish_reason"]
    return {index: (texts[index], ends.get(index)) for index in sorted(texts)}


def message_text(message):
    return (message.get("reasoning_content") or "") + (message.get("content") or "")


class Soak:
    def __init__(self, server, seed):
        self.server, self.seed = server, seed
        self.lock = threading.Lock()
        self.first = {}  # number of a request -> what it was answered the first time
        self.counts, self.failures = collections.Counter(), 0
        self.over = threading.Event()
        self.damaged = valid_requests()

    def fail(self, what):
        with self.lock:
            self.failures += 1
            print(f"FAILED {what}"[:2000], flush=True)

    def check(self, i, answer):
        got = texts_of(*answer)
        with self.lock:
            wanted = self.first.setdefault(i, got)
        if got != wanted or (isinstance(got, tuple) and got[0] != 200):
            self.fail(f"request {i}: {got}, the first time {wanted}")

    def data_of(self, rng, i, *headers):
        path, body = sound_request(i)
        if path != "/tokenize" and rng.random() < 0.5:
            body = body | {"stream": True}
        return post(body, path, headers)

    # ------------------------------------------------------------ what clients do

    def sound(self, rng):
        i = rng.randrange(KINDS)
        connection = self.server.connect()
        connection.sendall(self.data_of(rng, i))
        self.check(i, Answers(connection).next())
        connection.close()

    def pipeline(self, rng):
        numbers = [rng.randrange(KINDS) for _ in range(rng.randint(2, 6))]
        connection = self.server.connect()
        connection.sendall(b"".join(self.data_of(rng, i) for i in numbers))
        answers = Answers(connection)
        for i in numbers:
            self.check(i, answers.next())
        connection.close()

    def slow(self, rng):
        """Sends and reads in small pieces."""
        i = rng.randrange(KINDS)
        data = self.data_of(rng, i, "Connection: close")
        connection = self.server.connect(receive_buffer=4096)
        step = max(1, len(data) // 20)
        for at in range(0, len(data), step):
            connection.sendall(data[at : at + step])
            time.sleep(0.01)
        time.sleep(rng.random())
        self.check(i, Answers(connection).next())
        connection.close()

    def leave(self, rng):
        data = rng.choice([post(endless(stream=True)), post(endless(n=2)), self.data_of(rng, rng.randrange(KINDS))])
        connection = self.server.connect()
        connection.sendall(data[: rng.choice([rng.randrange(len(data)), len(data), len(data)])])
        connection.settimeout(rng.random() / 2)
        try:
            connection.recv(rng.choice([1, 1000, 100000]))
        except TimeoutError:
            pass
        if rng.random() < 0.5:
            reset(connection)
        else:
            connection.close()

    def damage(self, rng):
        data, got, ended = mutate(rng, self.damaged), b"", False
        connection = self.server.connect(timeout=0.5)
        try:
            connection.sendall(data)
            while piece := connection.recv(1 << 16):
                got += piece
            ended = True
        except OSError:  # refused before all was sent, or still waited for
            pass
        connection.close()
        try:
            bad = [status for status in statuses_of(got, ended) if status not in STATUSES]
        except ValueError as e:
            bad = str(e)
        if bad:
            self.fail(f"{bad}: sent {data[:600]!r}, got {got[:600]!r}")

    def watch(self, rng):
        path = rng.choice(["/health", "/ready", "/metrics", "/v1/models"])
        status = self.server.request("GET", path)[0]
        if status != 200:
            self.fail(f"{path}: {status}")

    def client(self, number):
        rng = random.Random(f"{self.seed} {number}")
        acts = (
            [self.sound] * 8 + [self.pipeline] * 2 + [self.slow] + [self.leave] * 5 + [self.damage] * 10 + [self.watch]
        )
        while not self.over.is_set():
            act = rng.choice(acts)
            try:
                act(rng)
            except Exception as e:
                self.fail(f"{act.__name__}: {e!r}")
            with self.lock:
                self.counts[act.__name__] += 1


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(10**9))
    parser.add_argument("program")
    options = parser.parse_args()
    total_s = 60 * options.minutes
    warm_up_s = max(total_s / 5, min(60, total_s / 2))
    print(f"seed {options.seed}", flush=True)
    with Server(Program(options.program), "--quiet") as server:
        _, descriptors = server.filled()
        soak = Soak(server, options.seed)
        clients = [threading.Thread(target=soak.client, args=(i,)) for i in range(CLIENTS)]
        for client in clients:
            client.start()
        began, memory = time.monotonic(), []
        while time.monotonic() - began < total_s and server.process.poll() is None:
            time.sleep(1)
            if time.monotonic() - began > warm_up_s:
                memory.append(server.resident())
                if server.descriptors() > descriptors + SPARE_DESCRIPTORS + CLIENTS:
                    soak.fail(f"descriptors: {server.descriptors()}, at first {descriptors}")
        soak.over.set()
        for client in clients:
            client.join()
        if not server.until(lambda: server.busy() == 0 and server.metrics()["qwill_http_connections"] == 1):
            soak.fail(f"something is left: {server.metrics()}")
        if not server.until(lambda: server.descriptors() <= descriptors):
            soak.fail(f"descriptors: {server.descriptors()}, at first {descriptors}")
        if server.metrics()["qwill_requests_failed_total"] > 0:
            soak.fail("requests failed inside")
        part = max(1, len(memory) // 8)
        before, after = statistics.median(memory[:part]), statistics.median(memory[-part:])
        growth = after / before - 1
        if growth > GROWTH:
            soak.fail(f"memory grew by {100 * growth:.2f} %")
        print(
            f"memory after the warm-up {before / MIB:.1f} MiB, at the end {after / MIB:.1f} MiB ({100 * growth:+.2f} %), "
            f"at most {max(memory) / MIB:.1f} MiB"
        )
        print(f"{sum(soak.counts.values())} acts {dict(soak.counts)}, {soak.failures} failures")
    return 1 if soak.failures else 0


if __name__ == "__main__":
    sys.exit(main())
