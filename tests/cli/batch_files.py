"""qwill batch: the same answers as alone, results in OpenAI's form, and no result lost or doubled however it is ended.

python batch_files.py PROGRAM SOURCE_FOLDER [NAME of a test …]
"""

import fcntl
import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from program import Program, Terminal, one_line, run_all

LIGHT = ("--threads", "1")  # other tests run beside this one
COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
PROMPTS = ["The little dog went", "Once upon a time", "A hammer is", "In the morning", "<|im_end|>\nSophie"]


def fnv1a(text):
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def request(custom_id, url=COMPLETIONS, **body):
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def user(text):
    return [{"role": "user", "content": text}]


def lines_of(requests):
    return "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in requests)


def stable(result):
    """A result without the time at which it was made."""
    if result["response"] and result["response"]["status_code"] == 200:
        result["response"]["body"].pop("created")
    return result


class World:
    def __init__(self, program, source, folder):
        self.qwill = Program(program)
        self.folder = Path(folder)
        self.count = 0

    def files(self, requests):
        """A new pair of paths: a file of these requests, and none."""
        self.count += 1
        paths = self.folder / f"in{self.count}.jsonl", self.folder / f"out{self.count}.jsonl"
        paths[0].write_text(lines_of(requests))
        return paths

    def arguments(self, paths, *more):
        return ("batch", "-i", paths[0], "-o", paths[1], *LIGHT, *more)

    def batch(self, requests, *more, status=0):
        """The results of a whole run, by custom_id; those without one in a list under None."""
        paths = self.files(requests)
        done = self.qwill(*self.arguments(paths, *more))
        assert done.status == status and done.out == b"" and one_line(done.err), done
        return self.results(paths[1])

    def results(self, path):
        results = {None: []}
        text = path.read_text()
        assert text.endswith("\n") or not text, text[-100:]
        for line in text.splitlines():
            result = json.loads(line)
            assert list(result) == ["id", "custom_id", "response", "error"], result
            assert re.fullmatch("batch_req_[0-9a-f]{32}", result["id"]), result
            if result["custom_id"] is None:
                results[None].append(result)
                continue
            assert result["custom_id"] not in results, result
            results[result["custom_id"]] = stable(result)
        return results

    def generate(self, *arguments):
        done = self.qwill("generate", *LIGHT, "--output", "json", *arguments)
        assert done.status == 0, done
        return json.loads(done.out)


def body(results, custom_id):
    assert results[custom_id]["error"] is None, results[custom_id]
    assert results[custom_id]["response"]["status_code"] == 200, results[custom_id]
    return results[custom_id]["response"]["body"]


# ---------------------------------------------------------------- answers


def test_equals_generate(checks, world):
    settings = [
        {},
        {"temperature": 0.9, "seed": 5},
        {"temperature": 1.1},
        {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "min_p": 0.01, "repetition_penalty": 1.2, "seed": 9},
        {"temperature": 1, "presence_penalty": 1.5, "frequency_penalty": -0.5, "logit_bias": {"258": 2.5}},
        {"stop": ["a", "the"], "ignore_eos": True, "temperature": 1},
    ]
    requests = [
        request(f"{i}-{j}", prompt=prompt, max_tokens=12, **setting)
        for i, prompt in enumerate(PROMPTS)
        for j, setting in enumerate(settings)
    ]
    results = world.batch(requests)
    for one in requests[:: len(settings) + 1] + requests[2:6]:
        wanted = dict(one["body"])
        flags = ["-p", wanted.pop("prompt"), "--seed", str(wanted.pop("seed", fnv1a(one["custom_id"])))]
        for name, value in wanted.items():
            flag = "--" + name.replace("_", "-")
            if name == "ignore_eos":
                flags.append(flag)
            elif name == "logit_bias":
                flags += [word for pair in value.items() for word in (flag, "{}={}".format(*pair))]
            else:
                flags += [
                    word for item in (value if isinstance(value, list) else [value]) for word in (flag, str(item))
                ]
        alone = world.generate(*flags)
        got = body(results, one["custom_id"])
        choice = got["choices"][0]
        checks.equal(choice["text"], alone["text"], one)
        checks.equal(choice["finish_reason"], alone["finish_reason"], one)
        usage = alone["usage"] | {"total_tokens": sum(alone["usage"].values())}
        checks.equal(got["usage"], usage, one)


def test_chat_equals_generate(checks, world):
    chat = {"messages": user("What is a <|im_end|>river?"), "enable_thinking": False}
    got = body(
        world.batch(
            [
                request(
                    "a",
                    CHAT,
                    messages=chat["messages"],
                    chat_template_kwargs={"enable_thinking": False},
                    model="some",
                    logprobs=True,
                    top_logprobs=3,
                    max_tokens=5,
                )
            ]
        ),
        "a",
    )
    # The user's own special token is text: so is the prompt of ids that generate gets.
    rendered = world.qwill("render", stdin=json.dumps(chat).encode()).out.decode()
    before, after = rendered.split("<|im_end|>river?")
    ids = []
    for piece, plain in (
        (before.removesuffix("What is a "), ()),
        ("What is a <|im_end|>river?", ("--plain",)),
        (after, ()),
    ):
        ids += world.qwill("tokenize", *plain, stdin=piece.encode()).out.decode().split()
    alone = world.generate("--token-ids", ",".join(ids), "--max-tokens", "5", "--logprobs", "3")
    choice = got["choices"][0]
    checks.equal(got["model"], "some")
    checks.equal(choice["message"], {"role": "assistant", "content": alone["text"], "refusal": None})
    checks.equal(got["usage"]["prompt_tokens"], alone["usage"]["prompt_tokens"])
    entry = lambda token: (token["token"], token["logprob"])  # noqa: E731
    content = choice["logprobs"]["content"]
    checks.equal([entry(t) for t in content], [entry(t) for t in alone["logprobs"]], "logprobs")
    checks.equal(
        [[entry(t) for t in token["top_logprobs"]] for token in content],
        [[entry(t) for t in token["top"]] for token in alone["logprobs"]],
        "top_logprobs",
    )
    checks.equal(bytes(b for token in content for b in token["bytes"]).decode(), alone["text"], "bytes")


def test_completion_logprobs(checks, world):
    alone = world.generate("-p", PROMPTS[0], "--max-tokens", "6", "--logprobs", "2")
    got = body(world.batch([request("a", prompt=PROMPTS[0], max_tokens=6, logprobs=2)]), "a")["choices"][0]
    logprobs = got["logprobs"]
    checks.equal(logprobs["tokens"], [token["token"] for token in alone["logprobs"]])
    checks.equal(logprobs["token_logprobs"], [token["logprob"] for token in alone["logprobs"]])
    wanted = [{token["token"]: token["logprob"] for token in entry["top"]} for entry in alone["logprobs"]]
    checks.equal(logprobs["top_logprobs"], wanted)
    for token, offset in zip(logprobs["tokens"], logprobs["text_offset"]):
        checks.that(got["text"][offset:].startswith(token), (token, offset))


def test_several_answers(checks, world):
    requests = [
        request("both", prompt=PROMPTS[:2], n=3, temperature=1.2, seed=4, max_tokens=8),
        request("first", prompt=PROMPTS[0], n=3, temperature=1.2, seed=4, max_tokens=8),
        request("one", prompt=PROMPTS[1], temperature=1.2, seed=4, max_tokens=8),
    ]
    results = world.batch(requests)
    texts = {name: [c["text"] for c in body(results, name)["choices"]] for name in ("both", "first", "one")}
    checks.equal([c["index"] for c in body(results, "both")["choices"]], list(range(6)))
    checks.equal(len(set(texts["both"])), 6, "answers differ")
    checks.equal(texts["both"][:3], texts["first"], "a prompt's answers do not depend on the others")
    checks.equal(texts["both"][3:4], texts["one"], "nor the first answer on how many there are")
    alone = world.generate("-p", PROMPTS[1], "--temperature", "1.2", "--seed", "4", "--max-tokens", "8")
    checks.equal(texts["one"], [alone["text"]])


def test_company_does_not_matter(checks, world):
    requests = [
        request(str(i), prompt=f"Number {i} is", temperature=1, max_tokens=6 + i % 5, logprobs=1) for i in range(40)
    ]
    wanted = world.batch(requests)
    for flags in (("--max-seqs", "1"), ("--max-seqs", "40", "--chunk-size", "7", "--max-seq-len", "64")):
        checks.equal(world.batch(reversed(requests), *flags), wanted, flags)


def test_requests_that_fail(checks, world):
    requests = [
        request("good", prompt="a", max_tokens=1),
        request("range", prompt="a", temperature=9),
        request("tools", CHAT, messages=user("a"), tools=[{}]),
        request("stream", CHAT, messages=user("a"), stream=True),
        request("long", prompt=[5] * 3000),
        request("url") | {"url": "/v1/embeddings"},
        "{\n",
        "\n",
        "{}\n",
    ]
    paths = world.files(requests)
    done = world.qwill(*world.arguments(paths))
    checks.refused(done, 1, "8 requests, 7 failed", str(paths[1]))
    results = world.results(paths[1])
    body(results, "good")
    for name, param, code in (
        ("range", "temperature", "invalid_value"),
        ("tools", "tools", "unsupported_value"),
        ("stream", "stream", "unsupported_value"),
        ("long", "prompt", "context_length_exceeded"),
    ):
        response = results[name]["response"]
        checks.equal((response["status_code"], results[name]["error"]), (400, None), name)
        error = response["body"]["error"]
        checks.equal(
            (error["type"], error["param"], error["code"], list(error)),
            ("invalid_request_error", param, code, ["message", "type", "param", "code"]),
        )
    flawed = [results["url"], *results[None]]
    checks.equal([r["response"] for r in flawed], [None] * 3)
    checks.equal(
        [r["error"]["code"] for r in flawed], ["invalid_url", "invalid_json_line", "missing_required_parameter"]
    )
    again = world.qwill(*world.arguments(paths))
    checks.refused(again, 1, "8 requests, 8 of them before, 7 failed; 0 tokens")


# ---------------------------------------------------------------- ended at any moment


def long_batch():
    return [
        request(f"request-{i}", prompt=f"{PROMPTS[i % 5]} {i}", temperature=1, max_tokens=20 + i % 60, n=1 + i % 3)
        for i in range(60)
    ] + ["not JSON\n"]


def run_until(world, paths, size, *flags):
    """Starts a run and returns it once OUT has this size, or it has ended."""
    process = world.qwill.start(*world.arguments(paths, *flags), stdin=subprocess.DEVNULL)
    while process.poll() is None and not (paths[1].exists() and paths[1].stat().st_size >= size):
        time.sleep(0.001)
    return process


def test_killed_at_random_moments(checks, world):
    requests = long_batch()
    wanted = world.batch(requests, status=1)
    rng = random.Random(1)
    paths = world.files(requests)
    kills = 0
    for _ in range(7):
        before = paths[1].stat().st_size if paths[1].exists() else 0
        process = run_until(world, paths, before + rng.randrange(0, 4000))
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        if rng.random() < 0.5:  # as if the last write had not been whole
            text = paths[1].read_bytes()
            paths[1].write_bytes(text[: len(text) - rng.randrange(0, 300)] if len(text) > 300 else text)
    checks.that(kills >= 5, f"it ran through: {kills} kills")
    done = world.qwill(*world.arguments(paths))
    checks.refused(done, 1, "61 requests", "1 failed")
    checks.equal(world.results(paths[1]), wanted, "results of a run that was killed")


def test_interrupted(checks, world):
    requests = long_batch()
    wanted = world.batch(requests, status=1)
    paths = world.files(requests)
    process = run_until(world, paths, 2000, "--max-seqs", "1")  # slow enough to be caught
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    checks.that(process.returncode == 130 and out == b"" and one_line(err), (process.returncode, err))
    some = world.results(paths[1])
    checks.that(0 < len(some) < len(wanted), f"{len(some)} results after Ctrl-C")
    checks.that(f"61 requests, {len(some) - 1 + len(some[None])} answered".encode() in err, err)
    checks.equal(some, {name: wanted[name] for name in some if name} | {None: some[None]}, "what was finished is right")
    checks.refused(world.qwill(*world.arguments(paths)), 1, "61 requests")
    checks.equal(world.results(paths[1]), wanted, "results after Ctrl-C and another run")


# ---------------------------------------------------------------- files that do not do


def test_files_that_do_not_do(checks, world):
    requests = [request("a", prompt="a", max_tokens=1), request("b", prompt="b", max_tokens=1)]
    twins = world.files([*requests, requests[0]])
    checks.refused(world.qwill(*world.arguments(twins)), 1, str(twins[0]), "lines 1 and 3", "custom_id")
    checks.that(not twins[1].exists(), "nothing is made for a file that is refused")
    paths = world.files(requests)
    world.qwill(*world.arguments(paths))
    other = world.files([request("a", prompt="another", max_tokens=1)])
    results = paths[1].read_bytes()
    checks.refused(world.qwill(*world.arguments((other[0], paths[1]))), 1, str(paths[1]), "line 1")
    checks.equal(paths[1].read_bytes(), results, "untouched")
    checks.refused(world.qwill(*world.arguments(("-", paths[1]))), 2, "-")
    checks.refused(world.qwill(*world.arguments((paths[0], "-"))), 2, "-")
    checks.refused(world.qwill(*world.arguments((paths[0], paths[0]))), 1, "same file")
    checks.refused(world.qwill(*world.arguments(("/dev/stdin", paths[1])), stdin=b"{}\n"), 1, "/dev/stdin")
    checks.refused(world.qwill(*world.arguments((world.folder / "none", paths[1]))), 1, "none")
    checks.refused(world.qwill(*world.arguments((paths[0], world.folder))), 1, str(world.folder))
    checks.refused(world.qwill("batch", "-i", paths[0]), 2, "--output")
    empty = world.files([])
    done = world.qwill(*world.arguments(empty))
    checks.that(done.status == 0 and b"0 requests" in done.err, done)


def test_locked_output(checks, world):
    paths = world.files([request("a", prompt="a", max_tokens=1)])
    with paths[1].open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        checks.refused(world.qwill(*world.arguments(paths)), 1, str(paths[1]), "another process")
    checks.equal(world.qwill(*world.arguments(paths)).status, 0)


def test_progress_on_a_terminal(checks, world):
    paths = world.files(long_batch())
    with Terminal(world.qwill, *map(str, world.arguments(paths))) as terminal:
        terminal.until(b"of 61 requests")
        terminal.until(b"tok/s")
        terminal.until(b"left")
        checks.equal(terminal.until_end(), 1)
        checks.that(b"61 requests, 1 failed" in terminal.seen, terminal.seen)


def main():
    program, source, *names = sys.argv[1:]
    tests = [f for name, f in globals().items() if name.startswith("test_") and (not names or name in names)]
    with tempfile.TemporaryDirectory(prefix="qwill-batch-") as folder:
        return run_all(tests, World(program, source, folder))


if __name__ == "__main__":
    sys.exit(main())
