"""deploy/router/haproxy.cfg in front of two replicas: the shipped file, a real HAProxy and the real program.

python router.py PROGRAM SOURCE_FOLDER [NAME of a test …]

Exit status 77 where HAProxy is not installed.
"""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "cli"))
from program import Program, run_all  # noqa: E402

SKIPPED = 77
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
# Long enough to be acted upon while it runs, and bounded.
LONG = {"max_tokens": 900, "ignore_eos": True, "n": 4, "temperature": 1}
RUNNING = "qwill_requests_running"
ABORTED = "qwill_requests_aborted_total"


def haproxy():
    return shutil.which("haproxy", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"did not happen in {seconds} s: {what}")
        time.sleep(0.05)


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body
        self.replica = headers.get("X-Replica")

    def __str__(self):
        return f"{self.status} {dict(self.headers)} {self.body[:300]!r}"


def ask(address, method, path, body=None, headers=None, tls=None):
    """One request on a connection of its own."""
    kind = http.client.HTTPSConnection if tls else http.client.HTTPConnection
    connection = kind(*address, timeout=60, **({"context": tls} if tls else {}))
    try:
        data = None if body is None else json.dumps(body).encode()
        connection.request(method, path, data, {"Content-Type": "application/json"} | (headers or {}))
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


class Stream:
    """A streamed answer, read piece by piece."""

    def __init__(self, address, path, body):
        self.connection = http.client.HTTPConnection(*address, timeout=60)
        self.connection.request("POST", path, json.dumps(body | {"stream": True}).encode())
        self.response = self.connection.getresponse()
        self.status, self.replica = self.response.status, self.response.headers.get("X-Replica")

    def event(self):
        """The next event's data; nothing at the end."""
        while line := self.response.readline():
            if line.startswith(b"data: "):
                return line[6:].strip().decode()
        return None

    def close(self):
        self.response.close()
        self.connection.close()


class Replica:
    """A `qwill serve`. It can be ended and started again at its place."""

    def __init__(self, qwill, host, port):
        self.qwill, self.host, self.port = qwill, host, port
        self.start()

    def start(self):
        arguments = ("serve", "--host", self.host, "--port", str(self.port), "--threads", "1", "--drain-timeout", "60")
        self.process = self.qwill.start(*arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        for line in self.process.stderr:
            if found := re.search(rb"listening on http://[\d.]+:(\d+)", line):
                self.port = int(found[1])
                # The pipe must not fill.
                threading.Thread(target=self.process.stderr.read, daemon=True).start()
                wait_until(lambda: self.get("/ready").status == 200, "the replica is ready")
                return
        raise RuntimeError(f"qwill serve ended with {self.process.wait()}")

    def get(self, path):
        return ask((self.host, self.port), "GET", path)

    def metric(self, name):
        """The sum over a metric's labels."""
        text = self.get("/metrics").body.decode()
        values = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
        if not values:
            raise KeyError(f"no {name} in {text}")
        return sum(float(value) for value in values)

    def posts(self):
        """How many POST requests it has answered."""
        text = self.get("/metrics").body.decode()
        values = re.findall(r'^qwill_http_requests_total{method="POST".*} (\S+)$', text, re.MULTILINE)
        return sum(int(value) for value in values)

    def end(self, number):
        self.process.send_signal(number)
        return self.process.wait(timeout=90)


class Names:
    """A name server for one name, whose addresses change."""

    def __init__(self):
        self.addresses = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            query, client = self.socket.recvfrom(4096)
            end = 12
            while query[end]:
                end += query[end] + 1
            question = query[12 : end + 5]
            wanted = self.addresses if question[-4:-2] == b"\0\1" else []
            answers = b"".join(struct.pack("!HHHIH4s", 0xC00C, 1, 1, 1, 4, socket.inet_aton(a)) for a in wanted)
            header = query[:2] + struct.pack("!HHHHH", 0x8400, 1, len(wanted), 0, 0)
            self.socket.sendto(header + question + answers, client)


class World:
    def __init__(self, program, source, folder):
        self.config = Path(source) / "deploy/router/haproxy.cfg"
        self.folder = Path(folder)
        qwill = Program(program)
        qwill.environment = {k: v for k, v in qwill.environment.items() if not k.startswith("QWILL_")}
        self.environment = qwill.environment
        # One port at two addresses: named singly, or as the addresses of one name.
        first = Replica(qwill, "127.0.0.1", 0)
        self.replicas = {"replica1": first, "replica2": Replica(qwill, "127.0.0.2", first.port)}

    @contextmanager
    def router(self, **environment):
        """A running router, its replicas known to it as ready; yields its address."""
        port = free_port()
        settings = {
            "QWILL_ROUTER_LISTEN": f"127.0.0.1:{port}",
            "QWILL_ROUTER_METRICS": f"127.0.0.1:{free_port()}",
            "QWILL_REPLICA_1": "{0.host}:{0.port}".format(self.replicas["replica1"]),
            "QWILL_REPLICA_2": "{0.host}:{0.port}".format(self.replicas["replica2"]),
        } | environment
        log = (self.folder / "haproxy.log").open("ab")
        process = subprocess.Popen(
            [haproxy(), "-db", "-f", self.config], env=self.environment | settings, stdout=log, stderr=log
        )
        try:
            address = ("127.0.0.1", port)

            def listens():
                assert process.poll() is None, (self.folder / "haproxy.log").read_text()
                with socket.socket() as probe:
                    return probe.connect_ex(address) == 0

            wait_until(listens, "the router listens")
            yield address
        finally:
            process.kill()
            process.wait()
            log.close()

    def other(self, name):
        return {"replica1": "replica2", "replica2": "replica1"}[name]

    def stop(self):
        for replica in self.replicas.values():
            replica.process.kill()
            replica.process.wait()


def message(role, content):
    return {"role": role, "content": content}


def chat(*messages, **more):
    return {"model": "nib", "messages": list(messages), "max_tokens": 2} | more


def completion(prompt, **more):
    return {"model": "nib", "prompt": prompt, "max_tokens": 2} | more


def served_by(checks, address, path, bodies, headers=None):
    """Which replica answered each body."""
    answers = [ask(address, "POST", path, body, headers) for body in bodies]
    checks.that(all(a.status == 200 for a in answers), [str(a) for a in answers if a.status != 200][:1])
    return [a.replica for a in answers]


def prompt_for(checks, address, replica):
    """A prompt whose place is this replica."""
    for i in range(100):
        if served_by(checks, address, COMPLETIONS, [completion(f"To {replica}, {i}")]) == [replica]:
            return f"To {replica}, {i}"
    raise AssertionError(f"none of 100 prompts went to {replica}")


def settle(checks, world, address):
    """Waits until the router sends requests to both replicas."""

    def both():
        return len(set(served_by(checks, address, COMPLETIONS, [completion(f"Settle {i}") for i in range(12)]))) == 2

    wait_until(both, "both replicas get requests")


def counted(world):
    """What the replicas have counted, once it stays: a request is counted a moment after its answer."""
    counts = None
    while counts != (counts := {name: replica.posts() for name, replica in world.replicas.items()}):
        time.sleep(0.3)
    return counts


# ---------------------------------------------------------------- affinity


def test_both_are_used_and_counted(checks, world):
    """What the header says of who answered, the replicas' own counters say too."""
    with world.router() as address:
        settle(checks, world, address)
        before = counted(world)
        names = served_by(checks, address, COMPLETIONS, [completion(f"Story {i} begins") for i in range(40)])
        after = counted(world)
        for name in world.replicas:
            checks.equal(after[name] - before[name], names.count(name), name)
            checks.that(names.count(name) >= 8, f"{name} got {names.count(name)} of 40 beginnings")


def stays(checks, address, path, families, headers=None):
    """Each family of bodies has one replica; the families together have both."""
    homes = []
    for family in families:
        names = set(served_by(checks, address, path, family, headers))
        checks.equal(len(names), 1, f"replicas of {str(family[0])[:120]}")
        homes += names
    checks.equal(len(set(homes)), 2, "replicas of all families")


def test_conversations_stay(checks, world):
    system = message("system", "You answer in one sentence. " * 100)
    with world.router() as address:
        settle(checks, world, address)

        def turns(first, **more):
            talk = [system, message("user", first)]
            yield chat(*talk, **more)
            for _ in range(2):
                talk += [message("assistant", "It is."), message("user", "Why?")]
                yield chat(*talk, **more)

        # All behind one system prompt, and yet on both replicas.
        stays(checks, address, CHAT, [list(turns(f"What is number {i}?")) for i in range(16)])
        parts = [[{"type": "text", "text": f"What is the number {i}?"}] for i in range(16)]
        stays(checks, address, CHAT, [list(turns(part)) for part in parts])
        # Without a system prompt the first answer must not become part of the key.
        stays(
            checks,
            address,
            CHAT,
            [[{**b, "messages": b["messages"][1:]} for b in turns(f"No. {i}")] for i in range(16)],
        )
        # The order of a body's fields does not matter.
        stays(checks, address, CHAT, [[b, dict(reversed(b.items()))] for i in range(16) for b in turns(f"A {i}?")][::3])


def test_prefix_cache_is_hit(checks, world):
    """What it is all for: the second turn of each conversation finds the first in its replica's cache."""
    hits, counted = (
        "qwill_prefix_cache_hit_tokens_total",
        lambda name: sum(r.metric(name) for r in world.replicas.values()),
    )
    with world.router() as address:
        settle(checks, world, address)
        first = [[message("user", f"Conversation {i}. " + "Tell me of rivers and of hills. " * 12)] for i in range(7)]
        served_by(checks, address, CHAT, [chat(*talk) for talk in first])
        before = counted(hits)
        second = [talk + [message("assistant", "Yes."), message("user", "Why?")] for talk in first]
        served_by(checks, address, CHAT, [chat(*talk) for talk in second])
        # A page each, at least. An odd number: turn by turn would not find it by chance.
        checks.that(counted(hits) - before >= 7 * 64, f"{counted(hits) - before} tokens were found")


def test_long_prompts_stay(checks, world):
    """One document, many questions: half a kilobyte decides."""
    with world.router() as address:
        settle(checks, world, address)
        documents = [f"Document {i}. " + "It was a fine day. " * 40 for i in range(16)]
        stays(checks, address, COMPLETIONS, [[completion(d + q) for q in ("", " Who?", " Where?")] for d in documents])
        stays(checks, address, COMPLETIONS, [[completion([i, 5, 6]), completion([i, 5, 6])] for i in range(16)])
        stays(
            checks, address, COMPLETIONS, [[completion([f"Batch {i}"]), completion([f"Batch {i}"])] for i in range(16)]
        )


def test_beyond_the_buffer(checks, world):
    """Bodies larger than what the router looks at still reach a replica, and the same one."""
    with world.router() as address:
        settle(checks, world, address)
        late = [message("assistant", "word " * 40000), message("user", "And?")]
        families = []
        for i in range(8):
            short = chat(message("system", "Be brief."), message("user", f"Question {i}"))
            families.append([short, {**short, "messages": short["messages"] + late}])
        for family in families:
            answers = [ask(address, "POST", CHAT, body) for body in family]
            checks.equal(answers[0].status, 200, answers[0])
            # Far longer than the model's context: refused by the replica, whose word it is.
            checks.equal(answers[1].status, 400, answers[1])
            checks.equal(answers[1].replica, answers[0].replica, "replica")


def test_named_sessions(checks, world):
    with world.router() as address:
        settle(checks, world, address)
        for field in ("prompt_cache_key", "user"):
            families = [[chat(message("user", f"{j}"), **{field: f"u{i}"}) for j in range(4)] for i in range(12)]
            stays(checks, address, CHAT, families)
        homes = set()
        for i in range(12):
            bodies = [completion(f"{j}", user=f"u{j}") for j in range(4)]
            names = set(served_by(checks, address, COMPLETIONS, bodies, {"X-Session-Id": f"session {i}"}))
            checks.equal(len(names), 1, "replicas of a session")
            homes |= names
        checks.equal(len(homes), 2, "replicas of all sessions")


def test_none_is_overrun(checks, world):
    """Many requests of one key at once: what is too much for one replica goes to the other."""
    with world.router() as address:
        settle(checks, world, address)
        prompt = prompt_for(checks, address, "replica1")
        streams = [Stream(address, COMPLETIONS, completion(prompt, **LONG | {"n": 1})) for _ in range(8)]
        names = [stream.replica for stream in streams]
        for stream in streams:
            stream.close()
        checks.equal(names[:3], ["replica1"] * 3, "the first")
        checks.that("replica2" in names, names)


# ---------------------------------------------------------------- streams


def test_streams_in_pieces(checks, world):
    with world.router() as address:
        settle(checks, world, address)
        stream = Stream(address, COMPLETIONS, completion("Once upon a time", **LONG))
        checks.equal(stream.status, 200)
        first = stream.event()
        # The first piece is here while the replica still computes.
        checks.that(first and json.loads(first), first)
        checks.that(world.replicas[stream.replica].metric(RUNNING) > 0, "nothing runs")
        events = [first]
        while (event := stream.event()) is not None:
            events.append(event)
        checks.equal(events[-1], "[DONE]")
        checks.that(len(events) > 100, f"{len(events)} events")
        stream.close()


def test_client_gone(checks, world):
    """The replica stops when its client is gone, streamed or not."""
    with world.router() as address:
        settle(checks, world, address)
        stream = Stream(address, COMPLETIONS, completion("Once upon a time", **LONG))
        stream.event()
        replica = world.replicas[stream.replica]
        before = replica.metric(ABORTED)
        checks.that(replica.metric(RUNNING) > 0, "nothing runs")
        stream.close()
        wait_until(lambda: replica.metric(RUNNING) == 0, "the stream's computation stopped")
        checks.equal(replica.metric(ABORTED) - before, 1, "aborted")

        prompt = prompt_for(checks, address, "replica1")
        replica = world.replicas["replica1"]
        before = replica.metric(ABORTED)
        with socket.create_connection(address) as client:
            body = json.dumps(completion(prompt, **LONG)).encode()
            head = f"POST {COMPLETIONS} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            client.sendall(head.encode() + body)
            wait_until(lambda: replica.metric(RUNNING) > 0, "the request runs")
        wait_until(lambda: replica.metric(RUNNING) == 0, "the request's computation stopped")
        checks.equal(replica.metric(ABORTED) - before, 1, "aborted")


# ---------------------------------------------------------------- replicas that go and come


def test_drained(checks, world):
    """SIGTERM: answers under way end well, new requests find the other replica, and come back after a restart."""
    with world.router() as address:
        settle(checks, world, address)
        home = "replica1"
        prompt = prompt_for(checks, address, home)
        # As much at the other replica, or the bound on a replica's load would lead requests there anyway.
        aside = Stream(address, COMPLETIONS, completion(prompt_for(checks, address, world.other(home)), **LONG))
        stream = Stream(address, COMPLETIONS, completion(prompt, **LONG))
        checks.equal([aside.replica, stream.replica], [world.other(home), home])
        stream.event()
        world.replicas[home].process.send_signal(signal.SIGTERM)
        # From the first moment on, before any health check could tell.
        names = served_by(checks, address, COMPLETIONS, [completion(prompt)] * 20)
        checks.that(world.other(home) in names, names)
        aside.close()
        last = None
        while (event := stream.event()) is not None:
            last = event
        checks.equal(last, "[DONE]", "the end of the stream on the replica that drains")
        stream.close()
        checks.equal(world.replicas[home].process.wait(timeout=90), 0, "exit status")
        checks.equal(set(served_by(checks, address, COMPLETIONS, [completion(prompt)] * 5)), {world.other(home)})
        world.replicas[home].start()
        settle(checks, world, address)
        checks.equal(set(served_by(checks, address, COMPLETIONS, [completion(prompt)] * 5)), {home}, "back at home")


def test_killed(checks, world):
    """SIGKILL: what was begun fails and is not begun again elsewhere; every other request is answered."""
    with world.router() as address:
        settle(checks, world, address)
        home = "replica2"
        other = world.replicas[world.other(home)]
        prompt = prompt_for(checks, address, home)
        answers = []
        body = completion(prompt, **LONG)
        begun = threading.Thread(target=lambda: answers.append(ask(address, "POST", COMPLETIONS, body)))
        begun.start()
        wait_until(lambda: world.replicas[home].metric(RUNNING) > 0, "the request runs")
        before = other.posts()
        world.replicas[home].end(signal.SIGKILL)
        begun.join(60)
        checks.equal([a.status for a in answers], [502], "the request that was begun")
        checks.equal(json.loads(answers[0].body)["error"]["code"], "bad_gateway")
        checks.equal(other.posts(), before, "requests of the other replica")

        names = served_by(checks, address, COMPLETIONS, [completion(prompt)] * 20)
        checks.equal(set(names), {world.other(home)})
        world.replicas[home].start()
        settle(checks, world, address)
        checks.equal(set(served_by(checks, address, COMPLETIONS, [completion(prompt)] * 5)), {home}, "back at home")


def test_none_ready(checks, world):
    nobody = f"127.0.0.1:{free_port()}"
    with world.router(QWILL_REPLICA_1=nobody, QWILL_REPLICA_2=nobody) as address:
        wait_until(lambda: ask(address, "GET", "/ready").status == 503, "the router is not ready")
        checks.equal(ask(address, "GET", "/health").status, 200)
        answer = ask(address, "POST", COMPLETIONS, completion("a"))
        checks.equal(answer.status, 503)
        checks.equal(json.loads(answer.body)["error"]["code"], "service_unavailable")
        checks.equal(answer.headers["Retry-After"], "2")


# ---------------------------------------------------------------- the edge


def test_refusals(checks, world):
    with world.router(QWILL_ROUTER_MAX_BODY="100000") as address:
        settle(checks, world, address)
        before = [r.posts() for r in world.replicas.values()]
        # Refused by the announced length, before the body is sent.
        with socket.create_connection(address, timeout=60) as client:
            client.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: 100001\r\n\r\n".encode())
            response = http.client.HTTPResponse(client)
            response.begin()
            checks.equal(response.status, 413)
            checks.equal(json.loads(response.read())["error"]["code"], "request_too_large")
        checks.equal(ask(address, "GET", "/metrics").status, 404)
        checks.equal([r.posts() for r in world.replicas.values()], before)
        # Not JSON: the replica's word.
        with socket.create_connection(address, timeout=60) as client:
            client.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{{nope".encode())
            response = http.client.HTTPResponse(client)
            response.begin()
            checks.equal(response.status, 400)
            checks.that("X-Replica" in response.headers, dict(response.headers))


def test_own_metrics(checks, world):
    port = free_port()
    with world.router(QWILL_ROUTER_METRICS=f"127.0.0.1:{port}") as address:
        settle(checks, world, address)
        text = ask(("127.0.0.1", port), "GET", "/metrics").body.decode()
        checks.that('haproxy_server_status{proxy="replicas",server="replica1",state="UP"} 1' in text, text[:500])
        checks.equal(ask(("127.0.0.1", port), "GET", "/").status, 404)


def test_tls(checks, world):
    key, certificate, both = (world.folder / name for name in ("key.pem", "certificate.pem", "both.pem"))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        + ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    both.write_text(certificate.read_text() + key.read_text())
    context = ssl.create_default_context(cafile=certificate)
    with world.router(QWILL_ROUTER_CERTIFICATE=str(both)) as address:
        wait_until(lambda: ask(address, "GET", "/ready", tls=context).status == 200, "ready")
        checks.equal(ask(address, "POST", COMPLETIONS, completion("a"), tls=context).status, 200)


def test_found_by_name(checks, world):
    """Replicas that are the addresses of one name, as in Kubernetes and Compose, come and go with the name."""
    names = Names()
    first, second = world.replicas.values()
    names.addresses = [first.host]
    with world.router(
        QWILL_REPLICAS=f"replicas.test:{first.port}", QWILL_NAMESERVER=f"127.0.0.1:{names.port}"
    ) as address:
        wait_until(lambda: ask(address, "GET", "/ready").status == 200, "one address is found")
        bodies = [completion(f"Named {i}") for i in range(12)]
        checks.equal(len(set(served_by(checks, address, COMPLETIONS, bodies))), 1)
        names.addresses = [first.host, second.host]
        settle(checks, world, address)
        names.addresses = [second.host]
        wait_until(lambda: len(set(served_by(checks, address, COMPLETIONS, bodies))) == 1, "an address is gone")


def main():
    program, source, *names = sys.argv[1:]
    if not haproxy():
        print("skipped: haproxy is not installed (./dev test installs it)")
        return SKIPPED
    tests = [value for name, value in globals().items() if name.startswith("test_") and (not names or name in names)]
    with tempfile.TemporaryDirectory(prefix="qwill-router-") as folder:
        world = World(program, source, folder)
        try:
            status = run_all(tests, world)
        finally:
            world.stop()
        if status:
            print("".join((Path(folder) / "haproxy.log").read_text().splitlines(keepends=True)[-60:]))
        return status


if __name__ == "__main__":
    sys.exit(main())
