"""Requests that no client should send: each is answered with a status that fits or its connection ends, and the
server goes on as if nothing had been.

    python hostile.py PROGRAM SOURCES [TEST...]
"""

import json
import sys
import threading

from hostile_server import Answers, Probe, Server, completion, open_world, post, streamed_text, text_of
from program import run_all

MAX_BODY = 1 << 20
FLAGS = ("--quiet", "--max-body", "1MiB")
LAST = b"GET /health HTTP/1.1\r\nHost: test\r\nX-Request-Id: last\r\nConnection: close\r\n\r\n"
BODY = json.dumps(completion(max_tokens=1)).encode()


def head(*lines):
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def get(path="/health", *headers, version="1.1", method="GET"):
    return head(f"{method} {path} HTTP/{version}", "Host: test", *headers)


def sized(*headers, body=BODY):
    """A request for a completion whose framing is what the headers say."""
    return head("POST /v1/completions HTTP/1.1", "Host: test", *headers) + body


def chunked(body, *headers):
    return sized("Transfer-Encoding: chunked", *headers, body=body)


def in_chunks(data=BODY, size=7, extension=b"", trailers=b""):
    """The body in the chunked coding."""
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    chunks = b"".join(b"%X%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in pieces)
    return chunks + b"0\r\n" + trailers + b"\r\n"


def talk(server, data, methods=(), timeout=30):
    """Sends the bytes; all answers until the connection ends. A server that closes early may not take everything."""
    connection = server.connect(timeout=timeout)

    def send():
        try:
            connection.sendall(data)
        except OSError:
            pass

    sender = threading.Thread(target=send)
    sender.start()
    answers, reader, methods = [], Answers(connection), iter(methods)
    try:
        while answer := reader.next(next(methods, "GET")):
            answers.append(answer)
    except ConnectionResetError:
        answers.append(("reset", {}, b""))
    except TimeoutError:
        answers.append(("silence", {}, b""))
    connection.close()
    sender.join()
    return answers


class World:
    def __init__(self, checks, server):
        self.checks, self.server = checks, server

    def expect(self, name, data, *statuses, methods=(), then_closed=True):
        """The statuses of all answers, in order; of each one value or a set. An error is an object that says so."""
        answers = talk(self.server, data if then_closed else data + LAST, methods)
        statuses = statuses if then_closed else [*statuses, 200]
        got = [status for status, _, _ in answers]
        fits = len(got) == len(statuses) and all(
            one in wanted if isinstance(wanted, set) else one == wanted
            for one, wanted in zip(got, statuses, strict=False)
        )
        self.checks.that(fits, f"{name}: {got}, wanted {statuses}")
        for i, (status, headers, body) in enumerate(answers):
            if isinstance(status, str):
                continue
            if status >= 400 and "HEAD" not in methods:
                error = json.loads(body)["error"]
                self.checks.that(error["message"] and isinstance(error["type"], str), f"{name}: {body}")
            ends = headers.get("connection") == "close"
            self.checks.that(
                ends == (i == len(answers) - 1), f"{name}: answer {i} says that the connection ends: {ends}"
            )
        return answers

    def goes_on(self, name, data, *statuses, methods=()):
        """As expect, and the connection takes another request."""
        return self.expect(name, data, *statuses, methods=methods, then_closed=False)


# ---------------------------------------------------------------- heads


def test_targets(w):
    for target, status in {
        "/%68ealth": 200,
        "/health?a=b&c=%00": 200,
        "http://test/health": 200,
        "http://test:80/health?x": 200,
        "HTTP://test/health": {200, 400},
        "/health%00": 404,
        "/health/": 404,
        "//health": 404,
        "/../health": 404,
        "/%2e%2e/%2e%2e/etc/passwd": 404,
        "/v1/models/%2e%2e%2f": 404,
        "/v1/models/nib": 200,
        "/v1/models/%ff%fe": 404,
        "/\xff\xfe": {400, 404},
        "/%zz": 400,
        "/%4": 400,
        "/%": 400,
        "/%-1": 400,
        "/%+1": 400,
        "/% 1": 400,
        "health": 400,
        "": 400,
        "test:443": 400,
        "?": 400,
        "http://": {200, 400, 404},
        "/" + "a" * 12000: 404,
    }.items():
        answers = talk(w.server, get(target) + LAST) or [("closed", {}, b"")]
        statuses = status if isinstance(status, set) else {status}
        w.checks.that(answers and answers[0][0] in statuses, f"target {target[:40]!r}: {answers}")
        w.checks.that(len(answers) == (1 if answers[0][0] == 400 else 2), f"target {target[:40]!r}: then {answers[1:]}")
    answers = talk(w.server, get("*", "Connection: close", method="OPTIONS"))
    w.checks.that([a[0] for a in answers] in ([200], [204], [400]), f"asterisk-form: {answers}")


def test_heads(w):
    w.goes_on("a plain one", get(), 200)
    w.goes_on("empty lines before it", b"\r\n\r\n" + get(), 200)
    w.expect("no Host", head("GET /health HTTP/1.1", "Connection: close"), 400)
    w.expect("two Hosts", get("/health", "Host: other"), 400)
    for version in ("0.9", "1.2", "2.0", "3.0", "9.9", "1", "1.", "1.1.1", "11", "x.y", "\0"):
        w.expect(f"version {version}", get(version=version), {200, 400, 505} if version == "1.2" else {400, 505})
    w.expect("HTTP/0.9", b"GET /health\r\n\r\n", 400)
    w.expect("not HTTP", b"SSH-2.0-OpenSSH_9.2\r\n\r\n", 400)
    w.expect("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0", {400, 505})
    hello = bytes.fromhex("16030100c8010000c40303") + bytes(range(189))
    w.expect("TLS hello", hello, 400)
    w.expect("zeros", bytes(1000), 400)
    for name, line in {
        "a NUL in a name": "A\0b: c",
        "a NUL in a value": "A: b\0c",
        "no colon": "Abc",
        "a space before the colon": "Abc : d",
        "an empty name": ": d",
        "a space in a name": "A b: c",
        "a bare CR": "A: b\rC: d",
        "a control character": "A: b\x01c",
    }.items():
        w.expect(name, get("/health", line), 400)
    w.goes_on("bytes above ASCII in a value", get("/health", "A: \xff\xfe"), 200)
    w.goes_on("an empty value", get("/health", "A:"), 200)
    for folded in ("A: b\r\n c", "A: b\r\n\tc"):
        answers = talk(w.server, get("/health", folded) + LAST)
        w.checks.that([a[0] for a in answers] in ([200, 200], [400]), f"a folded line: {answers}")
    for ending in (b"\n\n", b"\r\r"):
        answers = talk(w.server, b"GET /health HTTP/1.1\r\nHost: test" + ending + LAST)
        w.checks.that([a[0] for a in answers] in ([200, 200], [400]), f"ends of lines {ending}: {answers}")


def test_sizes_of_heads(w):
    w.goes_on("15,000 bytes of small headers", get("/health", *(f"A{i:04}: b" for i in range(1500))), 200)
    w.goes_on("one long header", get("/health", "A: " + "b" * 15000), 200)
    w.expect("a header of 20,000 bytes", get("/health", "A: " + "b" * 20000), 431)
    w.expect("10,000 headers", get("/health", *(f"A{i}: b" for i in range(10000))), 431)
    w.expect("100,000 times the same header", get("/health", *["A: b"] * 100000), {431, "reset"})
    w.expect("a target of 20,000 bytes", get("/" + "a" * 20000), {414, 431})
    w.expect("a method of 20,000 bytes", get(method="A" * 20000), {400, 431})
    w.expect("a name of 20,000 bytes", get("/health", "A" * 20000 + ": b"), 431)
    w.expect("a line without an end", b"GET /health HTTP/1.1\r\nA: " + b"b" * (4 << 20), 431)
    w.expect("empty lines without an end", b"\r\n" * 200000, {400, 431})


def test_methods(w):
    answers = w.goes_on("HEAD", get(method="HEAD"), 200, methods=["HEAD"])
    w.checks.that(int(answers[0][1]["content-length"]) > 0, "a length that HEAD tells")
    w.goes_on("OPTIONS", get("/v1/completions", method="OPTIONS"), 204)
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "BREW", "get", "M-SEARCH", "GET"):
        answers = w.goes_on(method, get("/v1/completions", method=method), 405)
        w.checks.that("POST" in answers[0][1].get("allow", ""), f"{method}: {answers[0][1]}")
    w.goes_on("HEAD of a POST", get("/v1/completions", method="HEAD"), 405, methods=["HEAD"])
    w.expect("CONNECT", get("test:443", method="CONNECT"), {400, 405})
    w.expect("G@T", get(method="G(T"), {400, 405})
    w.expect("POST to GET", post(b"{}", "/health"), 405)


def test_versions(w):
    old = get(version="1.0")
    answers = w.expect("HTTP/1.0", old + LAST, 200)
    w.goes_on("HTTP/1.0 kept alive", get("/health", "Connection: keep-alive", version="1.0"), 200)
    w.expect("HTTP/1.1 not kept alive", get("/health", "Connection: close") + LAST, 200)
    w.expect("one of several options", get("/health", "Connection: foo, Close") + LAST, 200)
    request = completion(max_tokens=5, ignore_eos=True)
    whole = text_of(talk(w.server, post(request, headers=["Connection: close"]))[0][2])
    stream = post(request | {"stream": True}).replace(b"HTTP/1.1", b"HTTP/1.0")
    answers = w.expect("a stream in HTTP/1.0", stream, 200)
    w.checks.that("transfer-encoding" not in answers[0][1], f"HTTP/1.0 knows no chunks: {answers[0][1]}")
    w.checks.equal(streamed_text(answers[0][2]), whole, "a stream in HTTP/1.0")


# ---------------------------------------------------------------- bodies and their framing


def test_lengths(w):
    n = len(BODY)
    w.goes_on("its length", sized(f"Content-Length: {n}"), 200)
    w.goes_on("a body with GET", get("/health", "Content-Length: 5") + b"hello", 200)
    for value in ("abc", "-1", f"+{n}", f"{n} {n}", "0x20", "", f"{n};", "1e1", "99999999999999999999999", f"{n}\x0b"):
        w.expect(f"length {value!r}", sized(f"Content-Length: {value}") + LAST, {400, 413})
    w.expect("two lengths", sized(f"Content-Length: {n}", f"Content-Length: {n + 1}") + LAST, 400)
    w.expect("a list of two lengths", sized(f"Content-Length: {n}, {n + 1}") + LAST, 400)
    for value in (MAX_BODY + 1, 1 << 40, (1 << 64) - 1):
        w.expect(f"length {value}", sized(f"Content-Length: {value}") + LAST, 413)
    w.expect("a body without length", sized(), 400, 400)
    w.expect("a length that lies low", sized(f"Content-Length: {n - 1}"), 400, 400)
    w.expect("a body that never ends", sized("Content-Length: 999999999999", body=b" " * (8 << 20)), 413)
    large = b" " * (MAX_BODY - n) + BODY
    w.goes_on("as large as allowed", sized(f"Content-Length: {MAX_BODY}", body=large), 200)


def test_smuggling(w):
    n = len(BODY)
    hidden = b"0\r\n\r\n" + get("/v1/models", "X-Request-Id: hidden")
    for name, headers in {
        "length and chunks": [f"Content-Length: {len(hidden)}", "Transfer-Encoding: chunked"],
        "chunks and length": ["Transfer-Encoding: chunked", f"Content-Length: {len(hidden)}"],
        "chunked twice": ["Transfer-Encoding: chunked, chunked"],
        "two codings": ["Transfer-Encoding: chunked", "Transfer-Encoding: identity"],
        "not the last coding": ["Transfer-Encoding: chunked, gzip"],
        "another coding": ["Transfer-Encoding: gzip, chunked", "Content-Length: 5"],
        "identity": ["Transfer-Encoding: identity", f"Content-Length: {len(hidden)}"],
        "an unknown coding": ["Transfer-Encoding: xchunked", f"Content-Length: {len(hidden)}"],
        "a space before the colon": ["Transfer-Encoding : chunked", f"Content-Length: {len(hidden)}"],
        "a vertical tab": ["Transfer-Encoding: \x0bchunked", f"Content-Length: {len(hidden)}"],
        "a name with a NUL": ["Transfer-Encoding\0: chunked", f"Content-Length: {len(hidden)}"],
        "a parameter": ["Transfer-Encoding: chunked;a=b", f"Content-Length: {len(hidden)}"],
        "quoted": ['Transfer-Encoding: "chunked"', f"Content-Length: {len(hidden)}"],
        "empty": ["Transfer-Encoding:", f"Content-Length: {len(hidden)}"],
        "a folded name": ["A: b\r\n Transfer-Encoding: chunked", f"Content-Length: {len(hidden)}, 0"],
    }.items():
        answers = w.expect(f"smuggling: {name}", sized(*headers, body=hidden) + LAST, {400, 501})
        ids = [headers.get("x-request-id") for _, headers, _ in answers]
        w.checks.that("hidden" not in ids and "last" not in ids, f"{name}: {ids}")
    old = sized("Transfer-Encoding: chunked", body=in_chunks()).replace(b"HTTP/1.1", b"HTTP/1.0")
    w.expect("chunks in HTTP/1.0", old + LAST, {200, 400})
    w.goes_on("letters of any size", sized("tRANSFER-eNCODING: cHUNKED", body=in_chunks()), 200)
    w.goes_on("spaces around it", sized("Transfer-Encoding: \t chunked \t", body=in_chunks()), 200)
    answers = talk(w.server, sized(f"Content-Length: {n}", body=BODY + b"GET /hea") + LAST)
    w.checks.equal([a[0] for a in answers][:1], [200], "bytes that are left over")


def test_chunks(w):
    w.goes_on("chunks", chunked(in_chunks()), 200)
    w.goes_on("chunks of one byte", chunked(in_chunks(size=1)), 200)
    w.goes_on("extensions", chunked(in_chunks(extension=b';name="value"')), 200)
    w.goes_on("trailers", chunked(in_chunks(trailers=b"A: b\r\nC: d\r\n")), 200)
    size = b"%x" % len(BODY)
    for name, body in {
        "no number": b"zz\r\n" + BODY,
        "a negative size": b"-5\r\nhello\r\n0\r\n\r\n",
        "a prefix": b"0x" + size + b"\r\n" + BODY + b"\r\n0\r\n\r\n",
        "a sign": b"+" + size + b"\r\n" + BODY + b"\r\n0\r\n\r\n",
        "too large for 64 bits": b"FFFFFFFFFFFFFFFFF\r\n" + BODY,
        "wraps around": b"1000000000000000" + size + b"\r\n" + BODY + b"\r\n0\r\n\r\n",
        "more than its size": b"5\r\nhelloworld\r\n0\r\n\r\n",
        "an empty size": b"\r\nhello\r\n",
        "an empty size with an extension": b";a=b\r\nhello\r\n0\r\n\r\n",
        "a NUL after the size": size + b"\0\r\n" + BODY + b"\r\n0\r\n\r\n",
    }.items():
        w.expect(f"chunks: {name}", chunked(body) + LAST, 400)
    w.expect("a huge size", chunked(b"FFFFFFFFFFFFFFFF\r\n" + BODY), {400, 413})
    w.expect("a chunk too large", chunked(b"%x\r\n" % (MAX_BODY + 1) + BODY), 413)
    w.expect(
        "chunks without an end",
        chunked(b"10000\r\n" + bytes(65536) + b"\r\n" + (b"10000\r\n" + bytes(65536) + b"\r\n") * 99),
        413,
    )
    w.expect("tiny chunks without an end", chunked(b"1\r\n \r\n" * (2 * MAX_BODY)), 413)
    w.expect("an extension without an end", chunked(b"1;" + b"a" * (4 << 20)), {400, 413, 431})
    w.expect("trailers without an end", chunked(b"0\r\n" + b"A: b\r\n" * 100000), {400, 413, 431})
    w.expect("a trailer without an end", chunked(b"0\r\nA: " + b"b" * (4 << 20)), {400, 413, 431})
    for trailer in (b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: other\r\n"):
        answers = talk(w.server, chunked(in_chunks(trailers=trailer)) + LAST)
        w.checks.that([a[0] for a in answers] in ([200, 200], [400]), f"trailer {trailer}: {answers}")


def test_expectations(w):
    connection = w.server.connect()
    answers = Answers(connection)
    connection.sendall(sized(f"Content-Length: {len(BODY)}", "Expect: 100-continue", body=b""))
    first = answers.file.readline()
    w.checks.equal(first, b"HTTP/1.1 100 Continue\r\n")
    w.checks.equal(answers.file.readline(), b"\r\n")
    connection.sendall(BODY)
    w.checks.equal(answers.next()[0], 200, "after 100")
    connection.close()
    w.goes_on("a body sent at once", sized(f"Content-Length: {len(BODY)}", "Expect: 100-Continue"), 200)
    w.expect("another expectation", sized(f"Content-Length: {len(BODY)}", "Expect: 200-ok") + LAST, 417)
    w.expect("too large a body", sized(f"Content-Length: {MAX_BODY + 1}", "Expect: 100-continue", body=b""), 413)
    w.expect("nobody there", head("POST /none HTTP/1.1", "Host: a", "Content-Length: 9", "Expect: 100-continue"), 404)
    old = sized(f"Content-Length: {len(BODY)}", "Expect: 100-continue").replace(b"HTTP/1.1", b"HTTP/1.0")
    w.expect("HTTP/1.0 expects nothing", old, 200)


def test_json(w):
    deep = 100000
    nested = {
        "arrays": b"[" * deep + b"]" * deep,
        "objects": b'{"a":' * deep + b"1" + b"}" * deep,
        "half of them": b'{"prompt":' + b"[" * deep,
        "in an ignored field": b'{"prompt":"a","user":' + b"[" * deep + b"]" * deep + b"}",
    }
    broken = {
        "nothing": b"",
        "spaces": b"   ",
        "two": b"{}{}",
        "a comma": b'{"prompt":"a",}',
        "single quotes": b"{'prompt':'a'}",
        "cut off": b'{"prompt":"a',
        "NaN": b'{"prompt":"a","temperature":NaN}',
        "infinite": b'{"prompt":"a","temperature":1e999}',
        "a byte order mark": b'\xef\xbb\xbf{"prompt":"a"}',
        "UTF-16": '{"prompt":"a"}'.encode("utf-16"),
        "invalid UTF-8": b'{"prompt":"\xff\xfe"}',
        "a surrogate's UTF-8": b'{"prompt":"\xed\xa0\x80"}',
        "overlong UTF-8": b'{"prompt":"\xc0\x80"}',
        "invalid UTF-8 in a name": b'{"prompt":"a","\xff":1}',
        "half a pair": b'{"prompt":"\\ud800"}',
        "a control character": b'{"prompt":"a\nb"}',
        "a NUL": b'{"prompt":"a"}\0',
        "only a NUL": b"\0",
    }
    wrong = {
        "no object": b"[]",
        "a number": b"17",
        "no prompt": b"{}",
        "a prompt of a wrong type": b'{"prompt":{}}',
        "an id too large": b'{"prompt":[1,99999999999]}',
        "a negative id": b'{"prompt":[-1]}',
        "too many choices": b'{"prompt":"a","n":1000000}',
        "max_tokens": b'{"prompt":"a","max_tokens":-1}',
        "an integer beyond 64 bits": b'{"prompt":"a","max_tokens":99999999999999999999999999}',
        "a million digits": b'{"prompt":"a","seed":' + b"9" * 1000000 + b"}",
        "stops": b'{"prompt":"a","stop":["a","b","c","d","e"]}',
        "a prompt too long": json.dumps({"prompt": "a b " * 5000}).encode(),
        "many prompts": json.dumps({"prompt": [[1]] * 10000}).encode(),
        "a bias of no token": b'{"prompt":"a","logit_bias":{"x":1}}',
        "a stream that is no boolean": b'{"prompt":"a","stream":"yes"}',
    }
    for name, body in {**nested, **broken, **wrong}.items():
        for path in ("/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize"):
            if path != "/v1/completions" and (name in wrong or name in ("infinite", "NaN")):
                continue  # those know other fields
            w.goes_on(f"{path}: {name}", post(body, path), 400)
    w.goes_on("a NUL in a prompt", post(b'{"prompt":"a\\u0000b","max_tokens":1}'), 200)
    w.goes_on("a field twice", post(b'{"prompt":"a","prompt":"b","max_tokens":1}'), {200, 400})
    w.goes_on(
        "40,000 fields",
        post(json.dumps({f"x{i}": i for i in range(40000)} | completion(max_tokens=1)).encode()),
        {200, 400},
    )


# ---------------------------------------------------------------- pipelines


def test_pipelines(w):
    requests, wanted = [], []
    for i in range(60):
        name = f"X-Request-Id: r{i}"
        kinds = [
            (get("/health", name), 200),
            (post(completion(max_tokens=1 + i % 3), headers=[name]), 200),
            (get("/none", name), 404),
            (post(completion(max_tokens=2, stream=True), headers=[name]), 200),
            (post({"prompt": 3}, headers=[name]), 400),
            (get("/v1/models", name), 200),
        ]
        data, status = kinds[i % len(kinds)]
        requests.append(data)
        wanted.append((status, f"r{i}"))
    answers = w.goes_on("sixty at once", b"".join(requests), *(status for status, _ in wanted))
    w.checks.equal([(s, h["x-request-id"]) for s, h, _ in answers], [*wanted, (200, "last")], "their order")
    w.expect("one, then garbage", get() + b"\x16\x03garbage\r\n\r\n" + LAST, 200, 400)
    w.expect("an answer, then garbage", post(completion()) + b"\0" * 100 + LAST, 200, 400)
    w.expect("a stream, then garbage", post(completion(stream=True)) + b"\r\n\0\r\n" + LAST, 200, 400)
    answers = talk(w.server, post(completion(max_tokens=200, ignore_eos=True)) + get("/health") * 100000)
    w.checks.that(all(status in (200, "reset") for status, _, _ in answers), "a pipeline without an end")


def main():
    qwill, _, tests = open_world(sys.argv[1:], globals())

    def on_a_server(test):
        def run(checks):
            with Server(qwill, *FLAGS) as server:
                probe = Probe(server)
                probe.start()
                try:
                    test(World(checks, server))
                finally:
                    probe.finish(checks)

        run.__name__ = test.__name__
        return run

    return run_all([on_a_server(test) for test in tests])


if __name__ == "__main__":
    sys.exit(main())
