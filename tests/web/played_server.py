"""A server that plays prepared answers to the page: what the built-in model never says, at moments that the test chooses.

Serves the files of web/ under the policy that the program serves them with. Alone, to look at the page without a model:
    python tests/web/played_server.py web 8000
"""

import json
import math
import random
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

MARKDOWN = """A river is *water that goes somewhere*, and it does so **downhill**. See <https://example.org/rivers>.

## How one begins

1. Rain falls on a hill.
2. It gathers:
   - in the soil, where it is `held` for a while,
   - in a brook that grows.
3. The brook finds another.

| River | Length | Ends in |
|:------|-------:|---------|
| Rhine | 1,230 km | the North Sea |
| Danube | 2,850 km | the Black Sea |

> Nobody steps into the same river twice.

```python
def length(river: River) -> float:
    # the parts, and what flows into them
    total = sum(part.km for part in river.parts) * 1.0
    return max(total, *(length(other) for other in river.from_others), 0)  # "km"
```

That is ~~all~~ most of it.
"""


class Play:
    """What the server says next. A test replaces the parts that it is about."""

    def __init__(self):
        self.models = ["quill-8b"]
        self.key = None
        self.thinking = ""
        self.text = MARKDOWN
        self.piece = 4  # characters a chunk
        self.pause_s = 0.0  # between chunks
        self.hold_after = None  # chunks, after which the answer waits until the client is gone or `go_on` is set
        self.go_on = threading.Event()
        self.fail_after = None  # chunks, then an error event
        self.cut_after = None  # chunks, then the connection is closed
        self.refuse = None  # (status, body)
        self.bodies = []  # of the requests so far
        self.num_gone = 0  # clients that left in the middle
        self.counters = {"prompt": 0.0, "generation": 0.0, "cached": 0.0, "steps": 0.0, "requests": 0.0}


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    @property
    def play(self):
        return self.server.play

    def send(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", POLICY)
        self.end_headers()
        self.wfile.write(body)

    def send_json(self, status, value):
        self.send(status, "application/json", json.dumps(value).encode())

    def allowed(self):
        if self.play.key is None or self.headers.get("Authorization") == f"Bearer {self.play.key}":
            return True
        self.send_json(401, {"error": {"message": "this server wants an API key", "type": "invalid_request_error"}})
        return False

    def do_GET(self):
        path = self.path.split("?")[0]
        if path == "/v1/models":
            if self.allowed():
                self.send_json(200, {"object": "list", "data": [{"id": name} for name in self.play.models]})
        elif path == "/metrics":
            self.send(200, "text/plain; version=0.0.4", self.metrics().encode())
        else:
            file = self.server.folder / ("index.html" if path == "/" else path[1:])
            if file.parent == self.server.folder and file.suffix in TYPES and file.exists():
                self.send(200, TYPES[file.suffix], file.read_bytes())
            else:
                self.send(404, "text/plain", b"no such page")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.allowed():
            return
        self.play.bodies.append(body)
        if self.play.refuse:
            self.send_json(*self.play.refuse)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        try:
            self.stream(body)
        except (BrokenPipeError, ConnectionResetError):
            self.play.num_gone += 1

    def event(self, value):
        text = value if isinstance(value, str) else json.dumps(value)
        self.wfile.write(f"data: {text}\n\n".encode())
        self.wfile.flush()

    def stream(self, body):
        play, chat = self.play, "messages" in body
        thinking = play.thinking if body.get("chat_template_kwargs", {}).get("enable_thinking") else ""
        size = play.piece
        pieces = [("reasoning_content", thinking[i : i + size]) for i in range(0, len(thinking), size)]
        pieces += [("content", play.text[i : i + size]) for i in range(0, len(play.text), size)]
        for i, (name, piece) in enumerate(pieces):
            if i == play.hold_after:
                while not play.go_on.wait(0.05):
                    self.wfile.write(b": still here\n\n")
                    self.wfile.flush()
            if i == play.fail_after:
                self.event({"error": {"message": "the engine stopped in the middle", "type": "server_error"}})
                return
            if i == play.cut_after:
                return
            choice = {"index": 0, "finish_reason": None}
            choice |= {"delta": {name: piece}} if chat else {"text": piece}
            self.event({"object": "chunk", "choices": [choice], "usage": None})
            time.sleep(play.pause_s)
        end = {"index": 0, "finish_reason": "stop"} | ({"delta": {}} if chat else {"text": ""})
        self.event({"object": "chunk", "choices": [end], "usage": None})
        usage = {"prompt_tokens": 21, "completion_tokens": len(pieces), "total_tokens": 21 + len(pieces)}
        self.event({"object": "chunk", "choices": [], "usage": usage})
        self.event("[DONE]")

    def metrics(self):
        """Counters that go up a little whenever they are read, as of a server at work."""
        now, counters = time.time(), self.play.counters
        wave = 1 + 0.4 * math.sin(now / 20) + random.uniform(-0.05, 0.05)
        counters["prompt"] += 4100 * wave
        counters["cached"] += 2200 * wave
        counters["generation"] += 2500 * wave
        counters["steps"] += 100
        counters["requests"] += 9 * wave
        label = 'model="quill-8b"'
        lines = ["# HELP qwill_prompt_tokens_total Tokens of prompts.", "# TYPE qwill_prompt_tokens_total counter"]

        def put(name, value, labels=""):
            lines.append(f"{name}{{{label}{labels}}} {value:.6g}")

        put("qwill_prompt_tokens_total", counters["prompt"])
        put("qwill_generation_tokens_total", counters["generation"])
        put("qwill_prefix_cache_hit_tokens_total", counters["cached"])
        put("qwill_preemptions_total", counters["steps"] // 700)
        for status, share in (("200", 0.93), ("400", 0.05), ("503", 0.02)):
            labels = f',method="POST",path="/v1/chat/completions",status="{status}"'
            put("qwill_http_requests_total", counters["requests"] * share, labels)
        put("qwill_requests_running", round(40 + 22 * wave))
        put("qwill_requests_waiting", round(max(0, 12 * (wave - 1))))
        put("qwill_kv_pages_used", round(2300 + 1500 * wave))
        put("qwill_kv_pages_cached", round(1400 - 600 * wave))
        put("qwill_kv_pages_total", 6633)
        for name, median, count in (
            ("time_to_first_token", 0.04 * wave, counters["requests"]),
            ("inter_token_latency", 0.012 * wave, counters["generation"] / 10),
            ("e2e_request_latency", 2.0, counters["requests"]),
            ("step", 0.009 * wave, counters["steps"]),
        ):
            for bound in (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10):
                share = 1 / (1 + (median / bound) ** 3)
                put(f"qwill_{name}_seconds_bucket", count * share, f',le="{bound}"')
            put(f"qwill_{name}_seconds_bucket", count, ',le="+Inf"')
            put(f"qwill_{name}_seconds_sum", count * median * 1.2)
            put(f"qwill_{name}_seconds_count", count)
        return "\n".join(lines) + "\n"


class PlayedServer:
    """with PlayedServer(folder) as server: server.url, server.play"""

    def __init__(self, folder, port=0):
        self.http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.http.daemon_threads = True
        self.http.folder = Path(folder).resolve()
        self.http.play = Play()
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    @property
    def play(self):
        return self.http.play

    def __enter__(self):
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.play.go_on.set()
        self.http.shutdown()
        self.http.server_close()


if __name__ == "__main__":
    with PlayedServer(sys.argv[1], int(sys.argv[2])) as alone:
        alone.play.thinking = "The user asks about rivers. I should say what one is, and how it begins. " * 3
        alone.play.pause_s = 0.02
        print(alone.url)
        threading.Event().wait()
