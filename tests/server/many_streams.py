"""A thousand streams at once: none is lost, none is mixed up with another, and memory stays within its plan.

python many_streams.py PROGRAM SOURCES [TEST...]
"""

import asyncio
import json
import sys

from hostile_server import MIB, Server, ask, completion, open_world, post, streamed_text, text_of
from program import run_all

STREAMS = 1000
KINDS = 100  # of requests among them
TOKENS = 20
ROOM = 150 * MIB  # beside weights and cache
STARTS = ["Once upon a time", "The capital of France is", "def f(x):", "A little dog", "1 + 1 =", "In the year"]


def kind(i, **fields):
    """A request that differs from those of other numbers in its prompt or its draws, and in its length."""
    return completion(
        f"{STARTS[i % len(STARTS)]} {i % 7}",
        max_tokens=TOKENS - i % 5,
        temperature=i % 3 / 2,
        seed=i,
        ignore_eos=i % 2 == 0,
        **fields,
    )


def planned(qwill, *flags):
    """Bytes of the model and of its cache, as planned."""
    done = qwill("plan", "--output", "json", *map(str, flags))
    assert done.status == 0, done
    pools = json.loads(done.out)["pools"]
    return pools["weight_files"] + pools["weight_copies"] + pools["cache"]


async def gather(server, requests, most):
    """The answers to all requests, asked at once when all have their connections. `most` gathers what the server says
    of itself meanwhile."""
    go = asyncio.Event()
    answers = asyncio.gather(*(ask(server, post(request), go) for request in requests))
    while not go.is_set():
        values = await asyncio.to_thread(server.metrics)
        if values["qwill_http_connections"] > len(requests):
            go.set()
        assert not answers.done(), answers
    while not answers.done():
        values = await asyncio.to_thread(server.metrics)
        for name in most:
            most[name] = max(most[name], values[name])
        await asyncio.wait([answers], timeout=0.2)
    return await answers


def check_streams(checks, qwill, *flags):
    flags = ("--device", "cpu", *flags)  # where the cache is resident memory
    plan = planned(qwill, *flags)
    with Server(qwill, "--quiet", *flags) as server:
        idle, idle_descriptors = server.idle()
        whole = asyncio.run(gather(server, [kind(i) for i in range(KINDS)], {}))
        checks.equal({status for status, _, _ in whole}, {200}, "statuses of whole answers")
        wanted = [text_of(body) for _, _, body in whole]
        checks.that(len(set(wanted)) > KINDS // 3, f"only {len(set(wanted))} of {KINDS} texts differ")

        most = {"qwill_http_connections": 0, "qwill_requests_running": 0, "qwill_requests_waiting": 0}
        requests = [kind(i % KINDS, stream=True) for i in range(STREAMS)]
        streams = asyncio.run(gather(server, requests, most))
        checks.equal([status for status, _, _ in streams].count(200), STREAMS, "streams that began")
        wrong = [i for i, (_, _, body) in enumerate(streams) if streamed_text(body) != wanted[i % KINDS]]
        checks.that(not wrong, f"{len(wrong)} streams differ from the whole answer: {wrong[:10]}")
        checks.that(most["qwill_http_connections"] >= STREAMS, f"so many connections at once: {most}")

        beyond = server.peak() - plan
        print(
            f"{' '.join(map(str, flags)) or 'as it comes'}: idle {idle / MIB:.0f} MiB, "
            f"peak {server.peak() / MIB:.0f} MiB, planned for weights and cache {plan / MIB:.0f} MiB, {most}"
        )
        checks.that(beyond <= ROOM, f"{beyond / MIB:.0f} MiB beyond the plan")
        checks.that(server.peak() - idle <= plan + ROOM, "what was added to an idle server")
        checks.that(server.until(lambda: server.metrics()["qwill_http_connections"] == 1), "connections are left")
        checks.equal(server.busy(), 0, "sequences left")
        checks.that(server.until(lambda: server.descriptors() <= idle_descriptors + 1), "descriptors are left")
    return most


def test_most_of_them_wait(checks, qwill):
    most = check_streams(checks, qwill)
    checks.that(most["qwill_requests_waiting"] >= STREAMS // 2, f"so many wait: {most}")


def test_many_of_them_run(checks, qwill):
    most = check_streams(checks, qwill, "--max-seqs", STREAMS, "--max-seq-len", 64, "--chunk-size", 2048)
    checks.that(most["qwill_requests_running"] >= STREAMS // 4, f"so many run: {most}")


def main():
    qwill, _, tests = open_world(sys.argv[1:], globals())
    return run_all(tests, qwill)


if __name__ == "__main__":
    sys.exit(main())
