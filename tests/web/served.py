"""The program as a server: started, asked, ended."""

import json
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path


class Server:
    """with Server(program) as server: server.url is where it listens."""

    def __init__(self, program, *arguments):
        self.command = [str(Path(program).resolve()), "serve", "--host", "127.0.0.1", "--port", "0", *arguments]
        self.url = None
        self.log = []

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            self.log.append(line)
            if found := re.search(r"listening on (http://127\.0\.0\.1:\d+)", line):
                self.url = found[1] + "/"
                break
        if self.url is None:
            self.process.wait(timeout=60)
            raise RuntimeError(f"{self.command} did not listen: {''.join(self.log)}")
        # Read on, so that the server never waits for its log to be taken.
        threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            print("the server did not end in a minute", file=sys.stderr)
            self.process.kill()
            self.process.wait()

    def ask(self, path, body=None):
        """The status and the JSON of an answer."""
        request = urllib.request.Request(self.url + path, headers={"Content-Type": "application/json"})
        if body is not None:
            request.data = json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
