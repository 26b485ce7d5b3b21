"""qwill pull, and names of the hub as MODEL: what arrives, that nothing is lost or asked for twice however it is ended,
and that no server can make it crash, hang, or write outside the cache.

python pull.py PROGRAM SOURCE_FOLDER [NAME of a test …]
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from fake_hub import Hub, Repository, git_blob, into_shards, model_files, sha256
from program import Done, Program, Terminal, one_line, run_all

NAME = "Org/Nib"
FOLDER = "models--Org--Nib"
PROMPT = ("-p", "Once upon a time", "--max-tokens", "8", "--threads", "1")
TOKEN = "hf_secret"


def without_progress(err):
    """stderr but for the lines that a slow download prints now and then."""
    return re.sub(rb"qwill: Org/[A-Za-z]+: (.* MB/s.*|[a-z, ]* waiting|checking)\n", b"", err)


class World:
    def __init__(self, program, source, folder, hub):
        self.qwill = Program(program)
        del self.qwill.environment["HF_HUB_OFFLINE"]
        self.nib = Path(source) / "models/nib"
        self.folder, self.hub = Path(folder), hub
        self.count = 0
        self.sharded = Repository(into_shards(model_files(self.nib), 3, 5 << 20))
        self.single = Repository(model_files(self.nib))

    def fresh(self, repository=None, name=NAME):
        """A hub that behaves, and an empty cache. Returns the cache's folder."""
        self.hub.repositories = {name: replace(repository or self.sharded)}
        self.hub.asked.clear()
        self.hub.misbehave, self.hub.delay_s = None, 0
        self.count += 1
        return self.folder / f"home{self.count}" / "hub"

    def environment(self, cache, **more):
        return {"HF_HOME": str(cache.parent), "HF_ENDPOINT": self.hub.url, "no_proxy": "*"} | more

    def pull(self, cache, *arguments, name=NAME, **more):
        done = self.qwill("pull", name, *arguments, environment=self.environment(cache, **more))
        return replace(done, err=without_progress(done.err))

    def start(self, cache, *arguments, **options):
        return subprocess.Popen(
            [self.qwill.path, *arguments],
            env=self.qwill.environment | self.environment(cache),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )

    def bytes_asked(self, since=0):
        """Of large files."""
        return sum(
            a.range[1] - a.range[0] + 1
            for a in self.hub.asked[since:]
            if a.host == "store" and a.method == "GET" and a.range
        )


def large_bytes(repository):
    return sum(len(data) for path, data in repository.files.items() if repository.is_large(path))


def check_snapshot(checks, done, cache, repository):
    """That a pull has printed its folder, and all of the model is in it."""
    if not (done.status == 0 and done.err == b""):
        checks.that(False, f"expected success in silence: {done}")
        return
    repository_folder = cache / FOLDER
    snapshot = repository_folder / "snapshots" / repository.commit
    checks.equal(done.out.decode(), f"{snapshot}\n", "what is printed")
    wanted = {path for path in repository.files if "/" not in path and path not in ("README.md", "unwanted.bin")}
    checks.equal({path.name for path in snapshot.iterdir()}, wanted, "files")
    for path in wanted:
        checks.equal(os.readlink(snapshot / path), f"../../blobs/{repository.hash(path)}", path)
        checks.that((snapshot / path).read_bytes() == repository.files[path], f"the content of {path}")
    left = [path.name for path in repository_folder.rglob("*") if "incomplete" in path.name]
    checks.equal(left, [], "nothing unfinished is left")


# ---------------------------------------------------------------- what arrives


def test_pull(checks, world):
    for repository in (world.sharded, world.single, replace(world.sharded, tells_sizes=True)):
        cache = world.fresh(repository)
        world.hub.repositories[NAME].files = repository.files | {
            "README.md": b"text",
            "unwanted.bin": b"\0" * 1000,
            "onnx/model.safetensors": b"no",
        }
        done = world.pull(cache)
        check_snapshot(checks, done, cache, repository)
        checks.equal((cache / FOLDER / "refs/main").read_text(), repository.commit)
        checks.equal(world.bytes_asked(), large_bytes(repository), "no byte is asked for twice")
        asked = len(world.hub.asked)
        checks.equal(world.pull(cache).out, done.out, "again")
        checks.equal([a.path.split("/")[1] for a in world.hub.asked[asked:]], ["api"], "one request if all is there")


def test_generate_fetches(checks, world):
    wanted = world.qwill("generate", world.nib, *PROMPT).out
    cache = world.fresh()
    environment = world.environment(cache)
    offline = environment | {"HF_HUB_OFFLINE": "1"}
    for command in (("generate", NAME, *PROMPT), ("tokenize", NAME), ("pull", NAME)):
        done = world.qwill(*command, environment=offline)
        checks.refused(done, 1, NAME, str(cache), "HF_HUB_OFFLINE")
    checks.equal(world.hub.asked, [], "nothing is asked for offline")
    done = checks.good(world.qwill("generate", NAME, *PROMPT, environment=environment))
    checks.equal(done.out, wanted)
    asked = len(world.hub.asked)
    for used in (environment, offline):
        checks.equal(checks.good(world.qwill("generate", NAME, *PROMPT, environment=used)).out, wanted)
    checks.good(world.qwill("pull", NAME, environment=offline))
    checks.equal(len(world.hub.asked), asked, "a name in the cache is not asked for")

    cache = world.fresh()
    checks.good(world.qwill("tokenize", NAME, stdin=b"a", environment=world.environment(cache)))
    # Only a part of it was fetched, by whatever: commands that run it get the rest.
    for shard in (cache / FOLDER / "snapshots").glob("*/*.safetensors"):
        shard.unlink()
    for blob in (cache / FOLDER / "blobs").iterdir():
        if len(blob.name) == 64:
            blob.unlink()
    asked = len(world.hub.asked)
    checks.good(world.qwill("tokenize", NAME, stdin=b"a", environment=world.environment(cache)))
    checks.equal(len(world.hub.asked), asked, "no weights for tokens")
    done = checks.good(world.qwill("generate", NAME, *PROMPT, environment=world.environment(cache)))
    checks.equal(done.out, wanted)

    cache = world.fresh()
    for name in ("None/Such", "nib", "./Org/Nib"):
        done = world.qwill("generate", name, *PROMPT, environment=world.environment(cache))
        checks.refused(done, 1, name)
    checks.equal({a.path.split("?")[0] for a in world.hub.asked}, {"/api/models/None/Such/revision/main"})


def test_revisions(checks, world):
    repository = replace(world.single, revisions=("main", "v1", "refs%2Fpr%2F1"))
    other = replace(world.single, commit="89" * 20)
    cache = world.fresh(repository)
    for arguments, name in (((), f"{NAME}@v1"), (("--revision", "v1"), NAME), (("--revision", "refs/pr/1"), NAME)):
        check_snapshot(checks, world.pull(cache, *arguments, name=name), cache, repository)
    checks.equal((cache / FOLDER / "refs/v1").read_text(), repository.commit)
    checks.equal((cache / FOLDER / "refs/refs/pr/1").read_text(), repository.commit)
    checks.that(not (cache / FOLDER / "refs/main").exists(), "another revision is not main")
    done = world.qwill("generate", f"{NAME}@v1", *PROMPT, environment=world.environment(cache, HF_HUB_OFFLINE="1"))
    checks.good(done)
    check_snapshot(checks, world.pull(cache, name=f"{NAME}@{repository.commit}"), cache, repository)
    done = world.qwill("inspect", f"{NAME}@{repository.commit}", environment={"HF_HUB_CACHE": str(cache)})
    checks.good(done)
    checks.refused(world.pull(cache, name=f"{NAME}@v2"), 1, NAME, '"v2"')
    # main has moved on: blobs that are there are not fetched again.
    world.pull(cache)
    world.hub.repositories[NAME] = other
    before = world.bytes_asked()
    check_snapshot(checks, world.pull(cache), cache, other)
    checks.equal(world.bytes_asked(), before)
    checks.equal((cache / FOLDER / "refs/main").read_text(), other.commit)


def test_usage(checks, world):
    cache = world.fresh()
    for arguments in (
        (),
        ("",),
        ("../x",),
        ("a/b/c",),
        ("a b",),
        ("Org/Nib@",),
        ("Org/Nib@../x",),
        ("Org/Nib", "--revision", ".."),
    ):
        checks.refused(world.qwill("pull", *arguments, environment=world.environment(cache)), 2)
    checks.refused(world.pull(cache, "--revision", "v1", name=f"{NAME}@v1"), 2, "once")
    for endpoint in ("ftp://127.0.0.1", "file:///etc", "no address", "127.0.0.1:1"):
        checks.refused(world.pull(cache, HF_ENDPOINT=endpoint), 1)
    checks.refused(world.pull(cache, HF_TOKEN="a\r\nX: y"), 1, "HF_TOKEN")
    checks.equal(world.hub.asked, [])
    checks.refused(world.pull(cache, HF_ENDPOINT="http://127.0.0.1:9"), 1, "http://127.0.0.1:9")
    checks.that(not cache.exists(), "nothing is made for what fails")


def test_token(checks, world):
    gated = replace(world.sharded, token=TOKEN)
    cache = world.fresh(gated)
    checks.refused(world.pull(cache), 1, NAME, "HF_TOKEN", world.hub.url)
    check_snapshot(checks, world.pull(cache, HF_TOKEN=TOKEN + "\n"), cache, gated)
    tokens = {host: {a.token for a in world.hub.asked if a.host == host} for host in ("hub", "store")}
    checks.equal(tokens, {"hub": {"", TOKEN}, "store": {""}}, "the token goes to the hub alone")
    cache = world.fresh(gated)
    cache.parent.mkdir()
    (cache.parent / "token").write_text(TOKEN)
    check_snapshot(checks, world.pull(cache), cache, gated)
    for status, words in ((401, "HF_TOKEN"), (403, "terms"), (404, "spelling")):
        cache = world.fresh()
        world.hub.misbehave = lambda handler: handler.refuse(status) or True
        checks.refused(world.pull(cache), 1, NAME, words)


# ---------------------------------------------------------------- servers with troubles


def is_store(handler):
    return handler.host == "store"


def cut_at(size):
    """Ends each answer of the store after so many bytes."""

    def misbehave(handler):
        if not is_store(handler) or handler.command == "HEAD":
            return False
        data = handler.hub.blob(handler.path.split("?")[0].removeprefix("/blob/"))
        first, last = handler.range
        part = data[first : last + 1]
        content_range = f"bytes {first}-{last}/{len(data)}"
        handler.send(206, part[:size], length=len(part), Content_Range=content_range)
        handler.hang_up()
        return True

    return misbehave


def test_broken_connections(checks, world):
    cache = world.fresh()
    world.hub.misbehave = cut_at(300_000)
    check_snapshot(checks, world.pull(cache), cache, world.sharded)
    starts = [(a.path, a.range[0]) for a in world.hub.asked if a.host == "store" and a.range]
    checks.equal(len(starts), len(set(starts)), "each attempt begins where the last one ended")
    checks.that(len(starts) > 30, f"{len(starts)} requests")

    cache = world.fresh(world.single)
    count = iter(range(10**6))

    def drop(handler):  # every third connection is closed without a word
        if next(count) % 3:
            return False
        handler.hang_up()
        return True

    world.hub.misbehave = drop
    check_snapshot(checks, world.pull(cache), cache, world.single)


def test_truncated_answers(checks, world):
    cache = world.fresh(world.single)

    def truncate(handler):
        if not is_store(handler):
            return False
        data = world.single.files["model.safetensors"]
        first, last = handler.range
        part = data[first : first + 500_000][: last + 1 - first]
        handler.send(206, part, Content_Range=f"bytes {first}-{first + len(part) - 1}/{len(data)}")
        return True

    world.hub.misbehave = truncate
    check_snapshot(checks, world.pull(cache), cache, world.single)


def test_busy_server(checks, world):
    for status, headers in ((429, {"Retry_After": 1}), (503, {}), (500, {}), (504, {"Retry_After": "never"})):
        cache = world.fresh(world.single)
        seen = set()

        def busy(handler):
            key = (handler.command, handler.path)
            if key in seen:
                return False
            seen.add(key)
            handler.send(status, b"wait", **headers)
            return True

        world.hub.misbehave = busy
        started = time.monotonic()
        check_snapshot(checks, world.pull(cache), cache, world.single)
        if status == 429:
            checks.that(time.monotonic() - started >= 3, "it waits as long as it is asked to")
    cache = world.fresh()
    world.hub.misbehave = lambda handler: handler.send(429, b"", Retry_After=100000) or True
    checks.refused(world.pull(cache), 1, "429", "100000 s")


def test_slow_server(checks, world):
    cache = world.fresh(world.single)
    world.hub.delay_s = 0.05
    check_snapshot(checks, world.pull(cache), cache, world.single)


def test_silent_server(checks, world):
    cache = world.fresh(world.single)
    silent = []

    def fall_silent(handler):  # once, in the middle of an answer
        if not is_store(handler) or silent:
            return False
        silent.append(handler.range)
        data = world.single.files["model.safetensors"]
        first, last = handler.range
        length, content_range = last + 1 - first, f"bytes {first}-{last}/{len(data)}"
        handler.send(206, data[first : first + 1000], length=length, Content_Range=content_range)
        time.sleep(60)
        handler.hang_up()
        return True

    world.hub.misbehave = fall_silent
    process = world.start(cache, "pull", NAME)
    out, err = process.communicate(timeout=300)
    checks.that(b"MB/s" in err, "it says now and then how far it is")
    check_snapshot(checks, Done((), process.returncode, out, without_progress(err)), cache, world.single)
    begin, last = silent[0]
    checks.that((begin + 1000, last) in [a.range for a in world.hub.asked], "it is asked again for what is missing")


def test_no_ranges(checks, world):
    cache = world.fresh()

    def whole(handler):
        handler.range = None
        return False

    world.hub.misbehave = whole
    check_snapshot(checks, world.pull(cache), cache, world.sharded)
    # What an earlier run has got in pieces is of no use then, but does no harm.
    cache = world.fresh()
    world.hub.misbehave = (
        lambda handler: is_store(handler) and handler.range[0] > 3_000_000 and (handler.hang_up() or True)
    )
    world.hub.delay_s = 0.02
    process = world.start(cache, "pull", NAME)
    wait_for_bytes(cache, 1_500_000)
    process.kill()
    process.communicate()
    world.hub.misbehave, world.hub.delay_s = whole, 0
    check_snapshot(checks, world.pull(cache), cache, world.sharded)


def test_addresses_that_expire(checks, world):
    cache = world.fresh(world.single)
    signature, uses = [1], [0]

    def expire(handler):
        if is_store(handler):
            if f"signature={signature[0]}" in handler.path:
                uses[0] += 1
                signature[0] += uses[0] % 3 == 0  # each is good for three requests
                return False
            handler.refuse(403)
            return True
        if handler.path.endswith(".safetensors"):
            data = world.single.files["model.safetensors"]
            location = f"{world.hub.store_url}/blob/{sha256(data)}?signature={signature[0]}"
            handler.send(302, X_Linked_Size=len(data), X_Linked_Etag=f'"{sha256(data)}"', Location=location)
            return True
        return False

    world.hub.misbehave = expire
    check_snapshot(checks, world.pull(cache), cache, world.single)


def test_redirects(checks, world):
    cache = world.fresh()
    moved = "/Moved/Nib"
    world.hub.repositories["Moved/Nib"] = world.hub.repositories.pop(NAME)

    def redirect(handler):  # a model that was renamed: to another path of the same host
        if "Org/Nib" not in handler.path:
            return False
        handler.send(307, Location=handler.path.replace("/Org/Nib", moved))
        return True

    world.hub.misbehave = redirect
    check_snapshot(checks, world.pull(cache, HF_TOKEN=TOKEN), cache, world.sharded)
    checks.equal({a.token for a in world.hub.asked if a.host == "hub"}, {TOKEN}, "the same host")

    def to(location):
        return lambda handler: handler.send(302, Location=location(handler)) or True

    for name, location in (
        ("a loop", lambda h: h.path),
        ("an endless chain", lambda h: h.path + "0"),
        ("a file", lambda h: "file:///etc/passwd"),
        ("another protocol", lambda h: "gopher://127.0.0.1/"),
        ("nowhere", lambda h: "http://"),
    ):
        cache = world.fresh()
        world.hub.misbehave = to(location)
        done = world.pull(cache, HF_TOKEN=TOKEN)
        checks.refused(done, 1, "redirect" if name != "nowhere" else world.hub.url)
        checks.that(len(world.hub.asked) < 20, name)
    cache = world.fresh()
    world.hub.misbehave = lambda h: not is_store(h) and (h.send(302, Location=world.hub.store_url + h.path) or True)
    checks.refused(world.pull(cache, HF_TOKEN=TOKEN), 1)
    checks.that(all(a.token == "" for a in world.hub.asked if a.host == "store"), "no token for another host")


# ---------------------------------------------------------------- servers that lie


def with_headers(change):
    """The answer about large files, changed."""

    def misbehave(handler):
        if is_store(handler) or not handler.path.endswith(".safetensors"):
            return False
        data = handler.hub.repositories[NAME].files["model.safetensors"]
        headers = {
            "X_Repo_Commit": handler.hub.repositories[NAME].commit,
            "X_Linked_Size": len(data),
            "X_Linked_Etag": f'"{sha256(data)}"',
            "Location": f"{handler.hub.store_url}/blob/{sha256(data)}",
        }
        handler.send(302, **(headers | change))
        return True

    return misbehave


def test_lies_about_files(checks, world):
    size = len(world.single.files["model.safetensors"])
    for change, words in (
        ({"X_Linked_Size": size + 1}, ("model.safetensors",)),
        ({"X_Linked_Size": size - 1}, ("model.safetensors",)),
        ({"X_Linked_Size": 0}, ("model.safetensors", "hash")),
        ({"X_Linked_Size": -1}, ("size",)),
        ({"X_Linked_Size": 10**30}, ("size",)),
        ({"X_Linked_Size": 10**15}, ("GB", "free")),
        ({"X_Linked_Etag": '"../../../evil"'}, ("ETag", "evil")),
        ({"X_Linked_Etag": '"/tmp/evil"'}, ("ETag", "evil")),
        ({"X_Linked_Etag": ""}, ("ETag",)),
        ({"X_Linked_Etag": "0" * 64}, ("hash", "0" * 64)),
        ({"X_Repo_Commit": "0" * 40}, ("commit", "0" * 40)),
    ):
        cache = world.fresh(world.single)
        world.hub.misbehave = with_headers(change)
        checks.refused(world.pull(cache), 1, *words)
        checks.that(not list(cache.rglob("*evil*")) and not Path("/tmp/evil").exists(), change)
        checks.that(not (cache / FOLDER / "refs/main").exists(), "a model that is not whole has no name")
        world.hub.misbehave = None
        check_snapshot(checks, world.pull(cache), cache, world.single)


def test_wrong_bytes(checks, world):
    data = world.single.files["model.safetensors"]
    damaged = data[:100] + b"X" + data[101:]
    for times in (1, 2):
        cache = world.fresh(world.single)
        left = [times]

        def damage(handler):
            if not is_store(handler) or handler.range[0] > 100 or left[0] == 0:
                return False
            left[0] -= 1
            handler.answer_file(damaged)
            return True

        world.hub.misbehave = damage
        done = world.pull(cache)
        if times == 1:
            check_snapshot(checks, done, cache, world.single)
            checks.equal(world.bytes_asked(), 2 * len(data), "all of it is fetched again")
        else:
            checks.refused(done, 1, "model.safetensors", sha256(data), "twice")
            checks.equal([p.name for p in cache.rglob(sha256(data) + "*")], [], "and kept nowhere")
    cache = world.fresh(world.single)

    def damage_small(handler):
        if not handler.path.endswith("/config.json"):
            return False
        text = world.single.files["config.json"]
        handler.send(200, text[:-1] + b" ", ETag=f'"{git_blob(text)}"')
        return True

    world.hub.misbehave = damage_small
    checks.refused(world.pull(cache), 1, "config.json", "hash")


def test_lies_about_ranges(checks, world):
    data = world.single.files["model.safetensors"]

    def answer(content_range, body):
        def misbehave(handler):
            if not is_store(handler):
                return False
            first, last = handler.range
            handler.send(206, body(first, last), Content_Range=content_range(first, last))
            return True

        return misbehave

    right = lambda first, last: f"bytes {first}-{last}/{len(data)}"  # noqa: E731
    for name, content_range, body in (
        ("other bytes", lambda f, e: f"bytes {f + 1}-{e}/{len(data)}", lambda f, e: data[f + 1 : e + 1]),
        ("another size", lambda f, e: f"bytes {f}-{e}/{len(data) + 5}", lambda f, e: data[f : e + 1]),
        ("more than asked", lambda f, e: f"bytes {f}-{e + 1}/{len(data)}", lambda f, e: data[f : e + 2]),
        ("no range", lambda f, e: "bytes */7", lambda f, e: data[f : e + 1]),
        ("nothing", lambda f, e: "", lambda f, e: data[f : e + 1]),
        ("nonsense", lambda f, e: "bytes 9223372036854775807-1/99999999999999999999", lambda f, e: data[f : e + 1]),
        ("a longer body", right, lambda f, e: data[f : e + 1] + b"X" * 100_000),
    ):
        cache = world.fresh(world.single)
        world.hub.misbehave = answer(content_range, body)
        checks.refused(world.pull(cache), 1, "model.safetensors")
        world.hub.misbehave = None
        check_snapshot(checks, world.pull(cache), cache, world.single)


def test_endless_answers(checks, world):
    def endless(where, head, piece):
        def misbehave(handler):
            if not where(handler):
                return False
            handler.wfile.write(head)
            while True:  # until the other side has had enough
                handler.wfile.write(piece)

        return misbehave

    ok = b"HTTP/1.1 200 OK\r\n"
    is_list = lambda handler: handler.path.startswith("/api/")  # noqa: E731
    for name, where, head, piece in (
        ("a list", is_list, ok + b"\r\n[", b'"a",' * 10000),
        ("deep", is_list, ok + b"\r\n", b"[" * 10000),
        ("headers", is_list, ok, b"X-Header: " + b"a" * 5000 + b"\r\n"),
        ("one header", is_list, ok + b"X-Header: ", b"a" * 10000),
        ("interim answers", is_list, b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
        ("an error", is_list, b"HTTP/1.1 400 Bad\r\n\r\n", b"a" * 10000),
        ("a redirect", is_list, b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\n\r\n", b"a" * 10000),
        ("a file", lambda h: h.command == "GET" and h.path.endswith("/config.json"), ok + b"\r\n", b"a" * 10000),
    ):
        cache = world.fresh()
        world.hub.misbehave = endless(where, head, piece)
        done = world.pull(cache)
        checks.that(done.status == 1 and one_line(done.err) and done.out == b"", f"{name}: {done}")


def test_lists_that_do_not_do(checks, world):
    def of(body):
        return lambda handler: handler.path.startswith("/api/") and (handler.send(200, body) or True)

    names = ["config.json", "model.safetensors"]
    good = {"sha": "0" * 40, "siblings": [{"rfilename": name} for name in names]}
    for body, words in (
        (b"", ("JSON",)),
        (b"{", ("JSON",)),
        (b"\xff\xfe", ("UTF-8",)),
        (b"[" * 100_000, ("JSON",)),
        (b"[]", ("sha",)),
        (b"null", ("sha",)),
        (json.dumps(good | {"sha": "../../x"}).encode(), ("sha",)),
        (json.dumps(good | {"sha": 5}).encode(), ("sha",)),
        (json.dumps(good | {"siblings": {}}).encode(), ("siblings",)),
        (json.dumps(good | {"siblings": [{}]}).encode(), ("rfilename",)),
        (json.dumps(good | {"siblings": []}).encode(), ("config.json",)),
        (json.dumps(good | {"siblings": [{"rfilename": "config.json"}]}).encode(), ("safetensors",)),
        (json.dumps(good | {"siblings": [{"rfilename": f"../{n}"} for n in names]}).encode(), ("config.json",)),
        (json.dumps(good).encode(), ("config.json",)),  # files that the hub has not
    ):
        cache = world.fresh()
        world.hub.misbehave = of(body)
        checks.refused(world.pull(cache), 1, *words)


def test_names_that_escape(checks, world):
    for bad in (
        "../../../../evil.safetensors",
        "/tmp/evil.safetensors",
        "a/../../evil.safetensors",
        "..",
        ".",
        "",
        "a\nb",
    ):
        files = dict(world.sharded.files)
        files["model.safetensors.index.json"] = json.dumps({"weight_map": {"a": bad}}).encode()
        files[bad] = b"evil"
        cache = world.fresh(Repository(files))
        checks.refused(world.pull(cache), 1, "model.safetensors.index.json")
        checks.that(not list(world.folder.rglob("*evil*")) and not Path("/tmp/evil.safetensors").exists(), bad)
    files = dict(world.sharded.files)
    files["model.safetensors.index.json"] = json.dumps({"weight_map": {"a": "other.safetensors"}}).encode()
    cache = world.fresh(Repository(files))
    checks.refused(world.pull(cache), 1, "other.safetensors")


# ---------------------------------------------------------------- ended at any moment


def bytes_on_disk(cache):
    """Of large files, whole or not."""
    total = 0
    for path in (cache / FOLDER / "blobs").glob("?" * 64 + "*"):
        with contextlib.suppress(FileNotFoundError):  # it has just been renamed
            status = path.stat()
            total += min(status.st_size, status.st_blocks * 512)
    return total


def wait_for_bytes(cache, size):
    deadline = time.monotonic() + 60
    while bytes_on_disk(cache) < size and time.monotonic() < deadline:
        time.sleep(0.01)


def test_killed_and_resumed(checks, world):
    cache = world.fresh()
    world.hub.delay_s = 0.02
    total = large_bytes(world.sharded)
    sent = 0
    for kill in range(4):
        process = world.start(cache, "pull", NAME)
        wait_for_bytes(cache, (kill + 1) * total // 6)
        process.kill()
        process.communicate()
        checks.equal(process.returncode, -signal.SIGKILL)
    on_disk = bytes_on_disk(cache)
    checks.that(total // 2 < on_disk < total, f"{on_disk} of {total} bytes were there")
    world.hub.delay_s = 0
    before = len(world.hub.asked)
    check_snapshot(checks, world.pull(cache), cache, world.sharded)
    sent = world.bytes_asked(before)
    checks.that(
        0 < sent <= total - on_disk + 100 * 4096, f"{sent} bytes were asked for, of {total} {on_disk} were there"
    )


def test_interrupted(checks, world):
    for number in (signal.SIGINT, signal.SIGTERM):
        cache = world.fresh()
        world.hub.delay_s = 0.05
        process = world.start(cache, "pull", NAME)
        wait_for_bytes(cache, 2_000_000)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        checks.that(bytes_on_disk(cache) < large_bytes(world.sharded), "it stops within a moment, not at the end")
        checks.that(process.returncode == 128 + number and out == b"" and one_line(err), (process.returncode, err))
        world.hub.delay_s = 0
        before = len(world.hub.asked)
        check_snapshot(checks, world.pull(cache), cache, world.sharded)
        checks.that(world.bytes_asked(before) < large_bytes(world.sharded) - 1_000_000, "it goes on where it was")


def test_two_at_once(checks, world):
    cache = world.fresh()
    world.hub.delay_s = 0.01
    processes = [world.start(cache, "pull", NAME) for _ in range(3)]
    results = []
    for process in processes:
        out, err = process.communicate(timeout=120)
        results.append((out, without_progress(err), process.returncode))
    wanted = f"{cache / FOLDER / 'snapshots' / world.sharded.commit}\n".encode()
    checks.equal(results, [(wanted, b"", 0)] * 3)
    checks.equal(world.bytes_asked(), large_bytes(world.sharded), "one fetches, the others wait")


def test_damaged_rests(checks, world):
    """Whatever an unfinished file holds, the result is right."""
    data = world.single.files["model.safetensors"]
    for rest in (b"", b"x" * 100, data[:-1], data + b"qwillpb1" + b"\xff" * 1000, b"\0" * (len(data) + 2000)):
        cache = world.fresh(world.single)
        blobs = cache / FOLDER / "blobs"
        blobs.mkdir(parents=True)
        (blobs / f"{sha256(data)}.qwill.incomplete").write_bytes(rest)
        (blobs / sha256(data)).write_bytes(data[:1000])  # and a blob that is cut off
        check_snapshot(checks, world.pull(cache), cache, world.single)


# ---------------------------------------------------------------- caches that do not do


def as_nobody():
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


def test_read_only_cache(checks, world):
    cache = world.fresh()
    world.pull(cache)

    def as_other(command, name=NAME):
        process = world.start(cache, command, name, preexec_fn=as_nobody)
        return (*process.communicate(timeout=60), process.returncode)

    # The program itself may lie where only its owner may look.
    folders = [p for p in (cache.parent, *cache.parent.rglob("*")) if p.is_dir() and not p.is_symlink()]
    for folder in folders:
        folder.chmod(0o555)
    world.folder.chmod(0o755)
    try:
        try:
            out, err, status = as_other("pull")
        except PermissionError:
            print("skipped: no other user can run the program")
            return
        checks.equal((out, err, status), (f"{cache / FOLDER / 'snapshots' / world.sharded.commit}\n".encode(), b"", 0))
        world.hub.repositories["Org/Other"] = world.single
        out, err, status = as_other("pull", "Org/Other")
        checks.that(status == 1 and one_line(err) and str(cache).encode() in err and b"HF_HUB_CACHE" in err, err)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    cache = world.fresh()
    cache.parent.mkdir()
    cache.write_text("a file")
    checks.refused(world.pull(cache), 1, str(cache))


def test_without_libcurl(checks, world):
    cache = world.fresh()
    broken = world.folder / "broken"
    broken.mkdir()
    for name in ("libcurl.so.4", "libcurl-gnutls.so.4"):
        (broken / name).write_bytes(b"no library")
    done = world.pull(cache, LD_LIBRARY_PATH=str(broken))
    checks.refused(done, 1, "libcurl4")
    done = world.qwill("generate", *PROMPT, environment={"LD_LIBRARY_PATH": str(broken)})
    checks.good(done)


def test_progress_on_a_terminal(checks, world):
    cache = world.fresh()
    world.hub.delay_s = 0.05
    world.qwill.environment |= world.environment(cache)
    try:
        with Terminal(world.qwill, "pull", NAME) as terminal:
            terminal.until(b"MB/s")
            terminal.until(b"left")
            checks.equal(terminal.until_end(), 0)
            checks.that(str(cache).encode() in terminal.seen, terminal.seen)
    finally:
        for name in world.environment(cache):
            world.qwill.environment.pop(name, None)


def main():
    program, source, *names = sys.argv[1:]
    tests = [f for name, f in globals().items() if name.startswith("test_") and (not names or name in names)]
    with tempfile.TemporaryDirectory(prefix="qwill-pull-") as folder, Hub() as hub:
        return run_all(tests, World(program, source, folder, hub))


if __name__ == "__main__":
    sys.exit(main())
