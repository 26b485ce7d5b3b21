"""The end of a server under load: whoever was accepted is answered or told, in time.

python drain.py PROGRAM SOURCES [TEST...]
"""

import json
import signal
import sys
import threading
import time

from hostile_server import Answers, Server, completion, endless, events_of, open_world, post, streamed_text, text_of
from program import run_all

DRAIN_S = 30  # by default
ROOM_S = 10  # for a busy machine
TEXT = completion(max_tokens=12, ignore_eos=True)


class Client(threading.Thread):
    """Asks again and again on one connection, until it ends. What it saw: a list of answers, and how it ended."""

    def __init__(self, server, data, again=True):
        super().__init__()
        self.server, self.data, self.again = server, data, again
        self.answers, self.end, self.pending = [], None, False
        self.asked = threading.Event()

    def run(self):
        try:
            connection = self.server.connect()
            reader = Answers(connection)
            while True:
                self.pending = False
                connection.sendall(self.data)
                self.pending = True  # from here on it must be answered
                self.asked.set()
                answer = reader.next()
                if answer is None:
                    self.end = "closed"
                    break
                self.pending = False
                self.answers.append(answer)
                if not self.again or answer[1].get("connection") == "close":
                    break
            connection.close()
        except Exception as e:
            self.end = e


def told(status, headers, body):
    """Whether an answer that is none says why."""
    if status == 503:
        return json.loads(body)["error"]["code"] == "shutting_down" and "retry-after" in headers
    if headers["content-type"] != "text/event-stream":
        return False
    error = [event for event in events_of(body) if event != "[DONE]" and "error" in event]
    return len(error) == 1 and error[0]["error"]["code"] == "shutting_down"


def kind_of(answer, wanted):
    """ "answered" with the wanted text, "told", or what else came."""
    status, headers, body = answer
    if status == 200 and headers["content-type"] == "application/json":
        return "answered" if text_of(body) == wanted else f"another text: {body}"
    if status == 200 and b'"error"' not in body:
        return "answered" if streamed_text(body) == wanted else f"another text: {body}"
    return "told" if told(status, headers, body) else f"{status}: {body[-300:]}"


def check_drain(checks, qwill, number):
    with Server(qwill, "--quiet") as server:
        wanted = text_of(server.request("POST", "/v1/completions", TEXT)[2])
        clients = [Client(server, post(TEXT | {"stream": i % 2 == 0})) for i in range(60)]
        # And some that are slow enough for everything to be seen before they end.
        long = TEXT | {"max_tokens": 300}
        long_text = text_of(server.request("POST", "/v1/completions", long)[2])
        slow = [Client(server, post(long | {"stream": i % 2 == 0})) for i in range(4)]
        idle = [server.connect() for _ in range(20)]
        half = server.connect()
        half.sendall(post(TEXT)[:-5])
        for client in clients + slow:
            client.start()
        for client in clients + slow:
            client.asked.wait(60)
        checks.that(server.until(lambda: server.busy() >= len(slow)), "no load")
        server.signal(number)
        began = time.monotonic()
        checks.that(server.until(lambda: any("shutting down" in line for line in server.lines)), "no word of it")
        seen, late = [], []
        while server.process.poll() is None and len(seen) < 5:
            try:
                ready, health = server.request("GET", "/ready")[0], server.request("GET", "/health")[0]
                late.append(server.request("POST", "/v1/completions", TEXT))
                seen.append((ready, health))
            except OSError:  # it may have ended by now
                break
        checks.that(seen and set(seen) == {(503, 200)}, f"/ready and /health: {seen}")
        checks.that(late and all(told(*answer) for answer in late), f"requests during the drain: {late}")
        status = server.wait(DRAIN_S + ROOM_S)
        took = time.monotonic() - began
        checks.equal(status, 0, "its exit status")
        checks.that(took <= DRAIN_S + ROOM_S, f"{took:.1f} s")
        for client in clients + slow:
            client.join(60)
        kinds = [kind_of(a, wanted) for c in clients for a in c.answers]
        kinds += [kind_of(a, long_text) for c in slow for a in c.answers]
        checks.that(
            set(kinds) <= {"answered", "told"}, [kind for kind in kinds if kind not in ("answered", "told")][:5]
        )
        lost = [(type(c).__name__, c.end, len(c.answers)) for c in clients + slow if c.pending or not c.answers]
        checks.that(not lost, f"{len(lost)} requests were neither answered nor told: {lost[:3]}")
        firsts = [kind_of(c.answers[0], long_text) for c in slow if c.answers]
        checks.equal(firsts, ["answered"] * len(slow), "those that were under way")
        print(f"signal {number}: {kinds.count('answered')} answered, {kinds.count('told')} told, {took:.1f} s")
        for connection in idle:
            checks.equal(connection.recv(10), b"", "an idle connection ends in silence")
            connection.close()
        half.close()


def test_sigterm(checks, qwill, _):
    check_drain(checks, qwill, signal.SIGTERM)


def test_sigint(checks, qwill, _):
    check_drain(checks, qwill, signal.SIGINT)


def test_nothing_to_do(checks, qwill, _):
    with Server(qwill, "--quiet") as server:
        checks.equal(server.stop(), 0)


def test_drain_timeout(checks, qwill, _):
    """Answers that would take too long are told so: streams by an event, others by a body."""
    # On the CPU: a card is through with them in a second.
    with Server(qwill, "--quiet", "--device", "cpu", "--drain-timeout", 1, "--max-seqs", 2) as server:
        clients = [Client(server, post(endless(stream=i % 2 == 0, n=8 + i // 3)), again=False) for i in range(6)]
        for client in clients:
            client.start()
        checks.that(server.until(lambda: server.busy() == 51), server.metrics())
        began = time.monotonic()
        checks.equal(server.stop(), 0, "exit status")
        checks.that(time.monotonic() - began <= 1 + ROOM_S, f"{time.monotonic() - began:.1f} s")
        for client in clients:
            client.join(60)
        kinds = [told(*client.answers[0]) if client.answers else client.end for client in clients]
        checks.equal(kinds, [True] * len(clients), "told")
        statuses = [client.answers[0][0] for client in clients if client.answers]
        checks.that(statuses.count(503) >= 3, f"whole answers: {statuses}")


def test_readers_that_stop_do_not_hold_it(checks, qwill, _):
    with Server(qwill, "--quiet", "--drain-timeout", 2) as server:
        stuck = server.connect(receive_buffer=2048)
        stuck.sendall(post({"prompt": "a b " * (1 << 19)}, "/tokenize"))
        checks.that(server.until(lambda: server.metrics()["qwill_http_connections"] == 2), "no load")
        time.sleep(1)
        began = time.monotonic()
        checks.equal(server.stop(), 0, "exit status")
        checks.that(time.monotonic() - began <= 4 + ROOM_S, f"{time.monotonic() - began:.1f} s")
        stuck.close()


def test_second_signal(checks, qwill, _):
    for first, second in [
        (signal.SIGTERM, signal.SIGTERM),
        (signal.SIGINT, signal.SIGTERM),
        (signal.SIGTERM, signal.SIGINT),
    ]:
        with Server(qwill, "--quiet") as server:
            client = Client(server, post(endless(n=8)), again=False)
            client.start()
            checks.that(server.until(lambda: server.busy() == 8), "no load")
            server.signal(first)
            checks.that(server.until(lambda: any("shutting down" in line for line in server.lines)), "no word of it")
            server.signal(second)
            began = time.monotonic()
            checks.equal(server.wait(), 128 + second, f"{first}, then {second}")
            checks.that(time.monotonic() - began <= ROOM_S, "at once")
            client.join(60)


def main():
    qwill, source, tests = open_world(sys.argv[1:], globals())
    return run_all(tests, qwill, source)


if __name__ == "__main__":
    sys.exit(main())
