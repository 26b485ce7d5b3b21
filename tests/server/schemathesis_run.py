"""The server against its own description (/openapi.json): requests made from it by schemathesis, good and bad ones, with
the same seed every time. What comes back must be described, what the description forbids must be refused, and nothing may be the server's fault.

python schemathesis_run.py PROGRAM
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from serving import Program, Server, run_all

CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "ignored_auth",
]
# Answers are short, and a request for many is told to come back: it is requests that are tested here, not patience.
SMALL = ("--max-seq-len", "256", "--max-queued", "24", "--chunk-size", "64")
VOCAB_SIZE = 2560  # of the built-in model
KEY = ("--api-key", "secret")
AUTHORIZATION = {"Authorization": "Bearer secret"}


def test_document(checks, qwill):
    with Server(qwill, *KEY) as server:
        answer = server.get("/openapi.json")
        checks.equal((answer.status, answer.headers["content-type"]), (200, "application/json"))
        document = answer.json
        errors = [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()]
        checks.equal(errors, [])
        checks.equal(document["info"]["version"], answer.headers["server"].removeprefix("qwill/"))
        # Every path that is described is there, with these methods and no other, and asks for a key where it says so.
        for path, methods in document["paths"].items():
            path = path.replace("{model}", "nib")
            allowed = {name.strip() for name in server.request("OPTIONS", path).headers["allow"].split(",")}
            checks.equal(
                allowed,
                {name.upper() for name in methods} | {"OPTIONS"} | ({"HEAD"} if "get" in methods else set()),
                path,
            )
            for method, operation in methods.items():
                closed = operation.get("security", document["security"]) != []
                status = server.request(method.upper(), path, headers={}).status
                checks.equal(status == 401, closed, f"{method} {path}: {status}")
                checks.equal("401" in operation["responses"], closed, f"{method} {path}")
        # The requests that it shows are answered; what streams consist of is as described, too.
        for path, methods in document["paths"].items():
            for operation in (o for o in methods.values() if "requestBody" in o):
                example = operation["requestBody"]["content"]["application/json"]["example"]
                answer = server.request("POST", path, example, AUTHORIZATION)
                checks.equal(answer.status, 200, example)
                types = operation["responses"]["200"]["content"]
                if "text/event-stream" not in types:
                    continue
                event = types["text/event-stream"]["schema"]["properties"]["data"]["anyOf"][1]["contentSchema"]
                validator = Draft202012Validator(event | {"components": document["components"]})
                for more in (
                    {"stream_options": {"include_usage": True}},
                    {"logprobs": 2 if "prompt" in example else True},
                ):
                    answer = server.request("POST", path, example | more | {"stream": True}, AUTHORIZATION)
                    checks.that(answer.chunks, answer.body)
                    for chunk in answer.chunks:
                        checks.equal([error.message for error in validator.iter_errors(chunk)], [], chunk)


def test_requests(checks, qwill):
    with tempfile.TemporaryDirectory(prefix="qwill-schemathesis-") as folder, Server(qwill, *SMALL, *KEY) as server:
        document = server.get("/openapi.json").json
        schemas = document["components"]["schemas"]
        # What the description cannot know: how large this model's vocabulary is. What the server does not insist on:
        # former calls and thoughts are read by the rules of the published templates, which take much for them.
        schemas["TokenId"]["maximum"] = VOCAB_SIZE - 1
        schemas["AssistantMessage"]["properties"] |= {"tool_calls": True, "reasoning_content": True}
        path = Path(folder) / "openapi.json"
        path.write_text(json.dumps(document))
        command = [sys.executable, "-m", "schemathesis.cli", "run", path, "--url", server.url]
        command += ["--header", "Authorization: Bearer secret", "--checks", ",".join(CHECKS)]
        command += ["--phases", "examples,coverage,fuzzing", "--max-examples", "40", "--seed", "20261126"]
        command += ["--generation-database", "none", "--no-color", "--no-shrink", "--max-failures", "20"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=500)
        told = "\n".join(line[:400] for line in (done.stdout + done.stderr).splitlines() if line)
        checks.that(done.returncode == 0, told)
        for path in ("/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize"):
            statuses = [event["status"] for event in server.log() if event["path"] == path]
            counts = {status: statuses.count(status) for status in set(statuses)}
            checks.that(counts.get(200, 0) >= 10 and counts.get(400, 0) >= 10, f"good and bad ones: {path} {counts}")


if __name__ == "__main__":
    sys.exit(run_all([test_document, test_requests], Program(sys.argv[1])))
