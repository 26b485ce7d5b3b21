"""Answers, as OpenAI's own Python package reads them: every field of the types that it makes from the API's description.

python openai_types.py PROGRAM
"""

import json
import sys
import tempfile
from pathlib import Path

from openai.types import Completion
from openai.types.chat import ChatCompletion

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "cli"))
from program import Program, run_all  # noqa: E402

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
USER = [{"role": "user", "content": "What is a river?"}]
BODIES = [
    (CHAT, {"messages": USER}),
    (CHAT, {"messages": USER, "logprobs": True, "max_tokens": 4}),
    (CHAT, {"messages": USER, "logprobs": True, "top_logprobs": 3, "n": 2, "temperature": 2, "max_tokens": 4}),
    (CHAT, {"messages": USER, "logprobs": True, "stop": "river"}),
    (COMPLETIONS, {"prompt": "A hammer is"}),
    (COMPLETIONS, {"prompt": "A hammer is", "logprobs": 0}),
    (COMPLETIONS, {"prompt": ["A hammer is", "Ö"], "logprobs": 3, "n": 2, "temperature": 2, "max_tokens": 4}),
    (COMPLETIONS, {"prompt": [5, 6], "logprobs": 1, "stop": ["e", "a"]}),
]


def test_bodies(checks, qwill):
    with tempfile.TemporaryDirectory(prefix="qwill-types-") as folder:
        requests, results = Path(folder) / "in.jsonl", Path(folder) / "out.jsonl"
        with requests.open("w") as file:
            for i, (url, body) in enumerate(BODIES):
                line = {"custom_id": str(i), "method": "POST", "url": url, "body": {"model": "m"} | body}
                file.write(json.dumps(line) + "\n")
        checks.equal(qwill("batch", "-i", requests, "-o", results, "--threads", "1").status, 0)
        lines = results.read_text().splitlines()
    checks.equal(len(lines), len(BODIES))
    for line in lines:
        result = json.loads(line)
        url, asked = BODIES[int(result["custom_id"])]
        body = result["response"]["body"]
        answer = (ChatCompletion if url == CHAT else Completion).model_validate(body, strict=True)
        # Nothing that the types do not know, and nothing lost.
        checks.equal(answer.model_dump(mode="json", exclude_unset=True), body, asked)
        checks.equal(unknown_fields(answer), [], asked)
        prompts = len(asked["prompt"]) if isinstance(asked.get("prompt", 0), list) and url == COMPLETIONS else 1
        prompts = 1 if asked.get("prompt") == [5, 6] else prompts
        checks.equal(len(answer.choices), prompts * asked.get("n", 1), asked)
        for choice in answer.choices:
            checks.equal(choice.logprobs is not None, asked.get("logprobs", False) is not False, asked)


def unknown_fields(model):
    """Names of what the answer has beyond its type, wherever it is."""
    names = list(model.model_extra or {})
    for name in type(model).model_fields:
        value = getattr(model, name)
        for item in value if isinstance(value, list) else [value]:
            if hasattr(item, "model_fields_set"):
                names += unknown_fields(item)
    return names


if __name__ == "__main__":
    sys.exit(run_all([test_bodies], Program(sys.argv[1])))
