"""What a server refuses, by its limits and by who asks; and how it is told them: flags, environment, file.

python refusals.py PROGRAM SOURCES [TEST...]
"""

import json
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hostile_server import Answers, Server, completion, endless, open_world, post, streamed_text, text_of
from program import run_all

ONE = completion(max_tokens=1)
ROOM_S = 15  # for a busy machine


def ask(server, body=ONE, *headers, path="/v1/completions"):
    """Status, headers and the JSON of an answer."""
    headers = dict(header.split(": ", 1) for header in headers)
    status, got, data = server.request("POST", path, body, headers)
    return status, got, json.loads(data)


def error_of(answer):
    return answer[2]["error"]


# ---------------------------------------------------------------- too much at once


def test_queue(checks, qwill, _):
    with Server(qwill, "--quiet", "--max-seqs", 1, "--max-queued", 2) as server:
        held = []
        for wanted in (1, 2, 3):
            held.append(server.connect())
            held[-1].sendall(post(endless(stream=wanted % 2 == 0)))
            checks.that(server.until(lambda wanted=wanted: server.busy() == wanted), server.metrics())
        for stream in (False, True):
            answer = ask(server, ONE | {"stream": stream})
            checks.equal(answer[0], 429, f"stream {stream}")
            checks.that(int(answer[1]["retry-after"]) >= 1, answer)
            checks.that(error_of(answer)["message"] and error_of(answer)["code"], answer)
        checks.equal(ask(server, ONE | {"n": 3})[0], 429, "choices that fit only in part")
        checks.equal(server.busy(), 3, "what was refused leaves nothing")
        checks.equal(server.request("GET", "/ready")[0], 200, "a full queue is no trouble")
        for connection in held:
            connection.close()
        checks.that(server.until(lambda: server.busy() == 0), server.metrics())
        checks.equal(ask(server)[0], 200, "with room again")


def test_connections(checks, qwill, _):
    with Server(qwill, "--quiet", "--max-connections", 8) as server:
        held = [server.connect() for _ in range(8)]
        for connection in held:  # each is certainly there
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
            checks.equal(Answers(connection).next()[0], 200)
        answer = ask(server)
        checks.equal(answer[0], 503, "one too many")
        checks.that("retry-after" in answer[1] and answer[1]["connection"] == "close", answer)
        # Those that are turned away, and stay, keep nobody out once others have gone.
        turned_away = [server.connect() for _ in range(20)]
        for connection in turned_away:
            checks.equal(Answers(connection).next()[0], 503, "turned away")
        for connection in held:
            connection.close()
        time.sleep(1)
        checks.equal(ask(server)[0], 200, "when the first have gone")
        for connection in turned_away:
            connection.close()


def test_descriptors(checks, qwill, _):
    """Where the system gives too few descriptors, clients wait until others have gone."""

    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))

    with Server(qwill, "--quiet", preexec_fn=few) as server:
        server.idle()
        clients = [server.connect() for _ in range(100)]
        clients[0].sendall(post(ONE))
        checks.equal(Answers(clients[0]).next()[0], 200, "the first")
        checks.that(server.descriptors() <= 48, server.descriptors())
        for connection in clients[:90]:
            connection.close()
        clients[-1].sendall(post(ONE))
        checks.equal(Answers(clients[-1]).next()[0], 200, "the last, when others have gone")
        for connection in clients[90:]:
            connection.close()
        checks.equal(ask(server)[0], 200, "afterwards")


def test_log_that_nobody_reads(checks, qwill, _):
    """A line is written for each request; where they are not taken, requests are answered all the same."""
    process = qwill.start("serve", "--port", "0", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        line = b""
        while b"listening on" not in line:
            line = process.stderr.readline()
            assert line, "it has ended"
        address = ("127.0.0.1", int(line.rsplit(b":", 1)[1]))
        connection = socket.create_connection(address, 60)
        answers = Answers(connection)
        for i in range(2000):  # far more than a pipe holds
            connection.sendall(b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n")
            checks.equal(answers.next()[0], 200, f"request {i}")
        connection.close()
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
        checks.equal(process.wait(60), 0, "its end")
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_request_timeout(checks, qwill, _):
    with Server(qwill, "--quiet", "--max-seqs", 1, "--request-timeout", 2) as server:
        began = time.monotonic()
        held = [server.connect() for _ in range(4)]
        for i, connection in enumerate(held):  # one runs, three wait
            connection.sendall(post(endless(stream=i % 2 == 0, n=16)))
        for i, connection in enumerate(held):
            status, headers, body = Answers(connection).next()
            if i % 2 == 0 and status == 200:
                body = body.decode().split("data: ")[-2 if body.endswith(b"data: [DONE]\n\n") else -1].encode()
            else:
                checks.equal(status, 504, f"request {i}")
            checks.equal(json.loads(body)["error"]["code"], "timeout", f"request {i}: {body}")
            connection.close()
        checks.that(time.monotonic() - began <= 2 + ROOM_S, f"{time.monotonic() - began:.1f} s")
        checks.that(server.until(lambda: server.busy() == 0), server.metrics())
        checks.equal(ask(server)[0], 200, "one that is quick enough")


# ---------------------------------------------------------------- who asks


def test_keys(checks, qwill, _):
    with tempfile.TemporaryDirectory(prefix="qwill-keys-") as folder:
        file = Path(folder) / "keys"
        file.write_text("# ours\nthird-key\n\n  \nfourth-key \n")
        with Server(
            qwill, "--quiet", "--api-key", "first-key", "--api-key", "second", "--api-key-file", file
        ) as server:
            for key in ("first-key", "second", "third-key", "fourth-key"):
                checks.equal(ask(server, ONE, f"Authorization: Bearer {key}")[0], 200, key)
                checks.equal(ask(server, ONE, f"Authorization: bearer {key}")[0], 200, f"{key}, another spelling")
            wrong = ["Bearer", "Bearer ", "Bearer first", "Bearer first-key2", "Bearer FIRST-KEY", "first-key"]
            wrong += [
                "Basic first-key",
                "Bearer # ours",
                "Bearer first-key second",
                "Bearer \xff",
                "Bearer " + "a" * 9000,
            ]
            for value in wrong:
                status, headers, data = server.request(
                    "POST", "/v1/completions", ONE, {"Authorization": value.encode("latin-1")}
                )
                checks.equal(status, 401, value)
                checks.equal(headers["www-authenticate"], "Bearer", value)
                checks.equal(json.loads(data)["error"]["code"], "invalid_api_key", value)
                checks.that(b"first-key" not in data, "a key is told to nobody")
            for method, path, status in [
                ("POST", "/v1/completions", 401),
                ("POST", "/v1/chat/completions", 401),
                ("POST", "/tokenize", 401),
                ("GET", "/v1/models", 401),
                ("GET", "/v1/models/nib", 401),
                ("GET", "/metrics", 401),
                ("GET", "/health", 200),
                ("GET", "/ready", 200),
            ]:
                checks.equal(server.request(method, path)[0], status, f"{method} {path} without a key")
            # Who has no key cannot make the server read a large body.
            connection = server.connect()
            connection.sendall(b"POST /tokenize HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
            checks.equal(Answers(connection).next()[0], 401, "before the body")
            connection.close()
        checks.that(not any("first-key" in line for line in server.lines), "nor to a log")


def test_origins(checks, qwill, _):
    ours, other = "Origin: https://a.example", "Origin: https://b.example"
    with Server(qwill, "--quiet", "--cors-origin", "https://a.example") as server:
        status, headers, _ = ask(server, ONE, ours)
        checks.equal((status, headers.get("access-control-allow-origin")), (200, "https://a.example"))
        for origin in ("https://b.example", "null", "https://a.example.evil", "http://a.example", "https://A.example"):
            answer = ask(server, ONE, f"Origin: {origin}")
            checks.equal(answer[0], 403, origin)
            checks.that("access-control-allow-origin" not in answer[1], answer)
        checks.equal(ask(server, ONE, f"Origin: http://127.0.0.1:{server.port}")[0], 200, "its own page")
        checks.equal(ask(server, ONE)[0], 200, "no page at all")
        asked = {
            "Origin": "https://a.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, content-type",
        }
        status, headers, _ = server.request("OPTIONS", "/v1/completions", None, asked)
        checks.equal(status, 204, "before the request")
        checks.equal(headers.get("access-control-allow-origin"), "https://a.example")
        checks.that("POST" in headers.get("access-control-allow-methods", ""), headers)
        checks.that("authorization" in headers.get("access-control-allow-headers", "").lower(), headers)
        status, headers, _ = server.request("OPTIONS", "/v1/completions", None, asked | {"Origin": "https://b.example"})
        checks.that("access-control-allow-origin" not in headers, f"another page is allowed nothing: {headers}")
    with Server(qwill, "--quiet", "--cors-origin", "*", "--api-key", "k") as server:
        asked = {"Origin": "https://b.example", "Access-Control-Request-Method": "POST"}
        checks.equal(server.request("OPTIONS", "/v1/completions", None, asked)[0], 204, "browsers ask without a key")
        status, headers, _ = ask(server, ONE, other)
        checks.equal((status, headers.get("access-control-allow-origin")), (401, "https://b.example"), "can be read")
        checks.equal(ask(server, ONE, other, "Authorization: Bearer k")[0], 200)


# ---------------------------------------------------------------- starting


def test_starts_that_fail(checks, qwill, _):
    with Server(qwill, "--quiet") as server, tempfile.TemporaryDirectory(prefix="qwill-start-") as folder:
        place = f"127.0.0.1:{server.port}"
        checks.refused(qwill("serve", "--port", str(server.port)), 1, place)
        checks.equal(ask(server)[0], 200, "the first one does not mind")
        checks.refused(qwill("serve", "--host", "host.invalid", "--port", "0"), 1, "host.invalid")
        checks.refused(qwill("serve", "--host", "192.0.2.1", "--port", "0"), 1, "192.0.2.1")
        checks.refused(qwill("serve", "--port", "65536"), 2, "--port")
        missing, empty = f"{folder}/none", Path(folder) / "empty"
        empty.write_text("\n# nothing\n")
        checks.refused(qwill("serve", "--port", "0", "--api-key-file", missing), 1, missing)
        checks.refused(qwill("serve", "--port", "0", "--api-key-file", folder), 1, folder)
        checks.refused(qwill("serve", "--port", "0", "--api-key-file", empty), 1, str(empty))
        checks.refused(qwill("serve", "--port", "0", f"{folder}/model"), 1, "model")
        checks.refused(qwill("serve", environment={"QWILL_PORT": "many"}), 2, "port")
        checks.refused(qwill("serve", environment={"QWILL_MAX_SEQS": "0"}), 2, "max-seqs")


def test_configurations_that_fail(checks, qwill, _):
    with tempfile.TemporaryDirectory(prefix="qwill-config-") as folder:
        file = Path(folder) / "serve.toml"
        for name, text in {
            "none.toml": None,
            "no-such-flag": "no-such-flag = 3\n",
            "port": "port = 99999999\n",
        }.items():
            if text:
                file.write_text(text)
            path = file if text else Path(folder) / name
            flags = () if name == "port" else ("--port", "0")
            try:
                done = qwill("serve", *flags, "--quiet", "--config", path, timeout=20)
            except subprocess.TimeoutExpired:
                checks.that(False, f"--config {name}: it serves")
                continue
            checks.that(done.status in (1, 2), done)
            checks.refused(done, done.status, name)


def test_settings(checks, qwill, _):
    """The command line comes before the environment, and both before the file."""
    with tempfile.TemporaryDirectory(prefix="qwill-config-") as folder:
        file = Path(folder) / "serve.toml"
        file.write_text(
            'served-model-name = "from-file"\napi-key = ["file-key"]\nmax-seq-len = 64\nmax-body = "2KiB"\nquiet = true\n'
        )

        def served(*flags, **variables):
            environment = qwill.environment | {f"QWILL_{name}": value for name, value in variables.items()}
            process = subprocess.Popen(
                [qwill.path, "serve", "--port", "0", *map(str, flags)],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            try:
                line = b""
                while b"listening on" not in line:
                    line = process.stderr.readline()
                    assert line, "it has ended"
                address = line.decode().rstrip().rsplit("/", 1)[1].split(":")
                connection = socket.create_connection((address[0], int(address[1])), 60)
                key = "Bearer file-key" if "--config" in flags else "Bearer variable-key"
                get = f"GET /v1/models HTTP/1.1\r\nHost: a\r\nAuthorization: {key}\r\n\r\n"
                connection.sendall(get.encode())
                status, _, body = Answers(connection).next()
                connection.close()
                return status, [(one["id"], one["max_model_len"]) for one in json.loads(body).get("data", [])]
            finally:
                process.kill()
                process.wait()
                process.stderr.close()

        variables = {"SERVED_MODEL_NAME": "from-variable", "API_KEY": "variable-key", "MAX_SEQ_LEN": "128"}
        checks.equal(served("--config", file), (200, [("from-file", 64)]), "a file")
        checks.equal(served(**variables), (200, [("from-variable", 128)]), "variables")
        checks.equal(served("--max-seq-len", 192, **variables), (200, [("from-variable", 192)]), "a flag, variables")
        checks.equal(
            served("--config", file, MAX_SEQ_LEN="128"), (200, [("from-file", 128)]), "a variable comes before a file"
        )
        checks.equal(
            served("--config", file, "--max-seq-len", 192, MAX_SEQ_LEN="128"),
            (200, [("from-file", 192)]),
            "a flag comes before both",
        )
        checks.equal(served("--config", file, API_KEY="other")[0], 401, "its key")


# ---------------------------------------------------------------- models


def test_two_models(checks, qwill, source):
    with Server(qwill, "--quiet", source / "models/nib", source / "models/nib-moe") as server:
        names = [one["id"] for one in json.loads(server.request("GET", "/v1/models")[2])["data"]]
        checks.equal(names, ["nib", "nib-moe"])
        request = completion(max_tokens=12, ignore_eos=True)
        texts = {}
        for name in names:
            checks.equal(json.loads(server.request("GET", f"/v1/models/{name}")[2])["id"], name)
            done = qwill("generate", source / "models" / name, "-p", request["prompt"], "--output", "json", "--temperature", "0", "--max-tokens", "12", "--ignore-eos")  # fmt: skip
            wanted = json.loads(done.out)
            answer = ask(server, request | {"model": name})
            checks.equal((answer[0], answer[2].get("model")), (200, name))
            texts[name] = answer[2]["choices"][0]["text"]
            checks.that(texts[name] in wanted["text"], f"{name}: {texts[name]!r}, alone {wanted}")
            stream = server.request("POST", "/v1/completions", request | {"model": name, "stream": True})
            checks.equal(streamed_text(stream[2]), texts[name], f"a stream of {name}")
        checks.that(texts["nib"] != texts["nib-moe"], "they differ")
        checks.equal(
            text_of(server.request("POST", "/v1/completions", request)[2]), texts["nib"], "by default the first"
        )
        for name in ("", "other", "nib ", "NIB", "../nib", "nib\0", "n" * 10000):
            answer = ask(server, request | {"model": name})
            wanted = 200 if name == "" else 404
            checks.equal(answer[0], wanted, f"model {name[:20]!r}")
            if wanted == 404:
                checks.equal(error_of(answer)["code"], "model_not_found", name[:20])
                checks.that(len(error_of(answer)["message"]) < 1000, "a long name is not told in full")
        checks.equal(ask(server, request | {"model": 3})[0], 400, "a model that is no text")
        checks.equal(server.request("GET", "/v1/models/other")[0], 404)
        values = server.metrics()
        checks.that('qwill_requests_running{model="nib-moe"}' in values, "metrics of each")
    checks.refused(qwill("serve", "--port", "0", source / "models/nib", source / "models/nib"), 2, "nib")
    with Server(qwill, "--quiet", "--served-model-name", "mine", "--", source / "models/nib") as server:
        checks.equal([ask(server, ONE | {"model": name})[0] for name in ("mine", "nib")], [200, 404])


def main():
    qwill, source, tests = open_world(sys.argv[1:], globals())
    return run_all(tests, qwill, source.resolve())


if __name__ == "__main__":
    sys.exit(main())
