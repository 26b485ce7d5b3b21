"""A hub on 127.0.0.1: the part of its HTTP API that a download needs, its large files on another port (which is another
host), and a place to misbehave."""

import hashlib
import json
import random
import re
import struct
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def git_blob(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Repository:
    files: dict  # path -> bytes
    commit: str = "0123456789abcdef0123456789abcdef01234567"
    revisions: tuple = ("main",)
    token: str = ""  # without which its files are refused
    tells_sizes: bool = False  # in the list of files, too

    def is_large(self, path):
        return path.endswith(".safetensors")

    def hash(self, path):
        return (sha256 if self.is_large(path) else git_blob)(self.files[path])


@dataclass
class Asked:
    """A request as it came."""

    host: str  # "hub" or "store"
    method: str
    path: str
    range: tuple  # first and last byte; or None
    token: str


@dataclass
class Hub:
    repositories: dict = field(default_factory=dict)
    asked: list = field(default_factory=list)
    # Called with the handler before a request is answered; true: it has been.
    misbehave: object = None
    delay_s: float = 0  # before each 64 KiB of a body

    def __enter__(self):
        self.lock = threading.Lock()
        self.servers = [self.serve("hub"), self.serve("store")]
        self.url, self.store_url = (f"http://127.0.0.1:{server.server_port}" for server in self.servers)
        return self

    def __exit__(self, *_):
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def serve(self, host):
        hub = self

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *arguments):
                if not isinstance(sys.exception(), ConnectionError):  # a client that goes is no news
                    super().handle_error(*arguments)

        class BoundHandler(Handler):
            pass

        BoundHandler.hub, BoundHandler.host = hub, host
        server = Server(("127.0.0.1", 0), BoundHandler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return server

    def blob(self, digest):
        for repository in self.repositories.values():
            for path in repository.files:
                if repository.is_large(path) and repository.hash(path) == digest:
                    return repository.files[path]
        return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub
    host: str

    def log_message(self, *_):
        pass

    def do_GET(self):
        header = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        self.range = tuple(map(int, header.groups())) if header else None
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        with self.hub.lock:
            self.hub.asked.append(Asked(self.host, self.command, self.path, self.range, token))
        if self.hub.misbehave and self.hub.misbehave(self):
            return
        if self.host == "store":
            self.answer_file(self.hub.blob(self.path.split("?")[0].removeprefix("/blob/")))
        elif self.path.startswith("/api/models/"):
            self.answer_list()
        else:
            self.answer_resolve()

    do_HEAD = do_GET

    def send(self, status, body=b"", length=None, **headers):
        """Names of headers have _ for -."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command == "HEAD":
            return
        for at in range(0, len(body), 1 << 16):
            if self.hub.delay_s:
                time.sleep(self.hub.delay_s)
            self.wfile.write(body[at : at + (1 << 16)])

    def hang_up(self):
        self.wfile.flush()
        self.close_connection = True

    def refuse(self, status, code=""):
        self.send(status, b"no", **({"X_Error_Code": code} if code else {}))

    def answer_list(self):
        name, form, revision = re.fullmatch(r"/api/models/(.+)/(revision|tree)/([^/?]+)(\?.*)?", self.path).groups()[:3]
        repository = self.hub.repositories.get(name)
        if not repository:
            return self.refuse(401, "RepoNotFound")
        if revision not in (*repository.revisions, repository.commit):
            return self.refuse(404, "RevisionNotFound")
        if form == "tree":
            return self.answer_tree(repository)
        siblings = []
        for path, data in repository.files.items():
            siblings.append({"rfilename": path})
            if repository.tells_sizes:
                siblings[-1] |= {"size": len(data), "blobId": git_blob(data)}
                if repository.is_large(path):
                    siblings[-1]["lfs"] = {"sha256": sha256(data), "size": len(data), "pointerSize": 130}
        self.send(200, json.dumps({"id": name, "sha": repository.commit, "siblings": siblings}).encode())

    def answer_tree(self, repository):
        entries = []
        for path, data in repository.files.items():
            entries.append({"type": "file", "path": path, "size": len(data), "oid": git_blob(data)})
            if repository.is_large(path):
                entries[-1]["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": 130}
        self.send(200, json.dumps(entries).encode())

    def answer_resolve(self):
        found = re.fullmatch(r"/(.+)/resolve/([0-9a-zA-Z._-]+)/([^?]+)", self.path)
        if not found:
            return self.refuse(404)
        name, revision, path = found.groups()
        repository = self.hub.repositories.get(name)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not repository:
            return self.refuse(401, "RepoNotFound")
        if repository.token and token != repository.token:
            return self.refuse(401, "GatedRepo")
        if revision not in (*repository.revisions, repository.commit) or path not in repository.files:
            return self.refuse(404, "EntryNotFound")
        data, digest = repository.files[path], repository.hash(path)
        if repository.is_large(path):
            location = f"{self.hub.store_url}/blob/{digest}?signature=1"
            headers = {"X_Linked_Size": len(data), "X_Linked_Etag": f'"{digest}"'}
            return self.send(302, b"there", X_Repo_Commit=repository.commit, Location=location, **headers)
        self.answer_file(data, X_Repo_Commit=repository.commit, ETag=f'W/"{digest}"')

    def answer_file(self, data, **headers):
        if data is None:
            return self.refuse(404)
        if not self.range:
            return self.send(200, data, **headers)
        first, last = self.range[0], min(self.range[1], len(data) - 1)
        if first > last:
            return self.refuse(416)
        content_range = f"bytes {first}-{last}/{len(data)}"
        self.send(206, data[first : last + 1], Content_Range=content_range, **headers)


def model_files(folder):
    """A model folder's files."""
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}


def into_shards(files, shards, extra_bytes):
    """The same model in several files, with a tensor of random bytes in the last that it does not use."""
    data = files["model.safetensors"]
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    tensors = [
        (name, t["dtype"], t["shape"], data[8 + size :][slice(*t["data_offsets"])]) for name, t in header.items()
    ]
    noise = random.Random(1).randbytes(extra_bytes)
    tensors.append(("noise.weight", "BF16", [extra_bytes // 2], noise))
    out = {name: content for name, content in files.items() if name != "model.safetensors"}
    weight_map = {}
    for shard in range(shards):
        name = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = tensors[shard * len(tensors) // shards : (shard + 1) * len(tensors) // shards]
        entries, body = {}, b""
        for tensor, dtype, shape, content in part:
            entries[tensor] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(content)]}
            body += content
            weight_map[tensor] = name
        head = json.dumps(entries).encode()
        head += b" " * (-len(head) % 8)
        out[name] = struct.pack("<Q", len(head)) + head + body
    out["model.safetensors.index.json"] = json.dumps({"metadata": {}, "weight_map": weight_map}).encode()
    return out
