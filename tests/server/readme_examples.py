"""The README's examples of the server, run as they stand there but for the port: each must succeed and print what the README
shows, as far as that is the same every time.

python readme_examples.py PROGRAM
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from serving import Program, Server, run_all

README = Path(__file__).resolve().parent.parent.parent / "README.md"
PORT = "8000"  # of the examples
VOLATILE = re.compile(r'"(id|created)":("[^"]*"|\d+)')  # differs from run to run


def examples_of(text):
    """[(command, what it prints)] of the indented blocks with commands, as far as they are about a server."""
    examples = []
    for block in re.findall(r"(?:^    .*\n|^\n)+", text, re.MULTILINE):
        lines = [line[4:] for line in block.splitlines()]
        first = next((i for i, line in enumerate(lines) if line), None)
        if first is None or not lines[first].startswith("$ "):
            continue
        commands = []
        for line in lines[first:]:
            if line.startswith("$ "):
                commands.append((line[2:], []))
            else:
                commands[-1][1].append(line)
        if any(":" + PORT in line for command, output in commands for line in [command, *output]):
            examples += [(command, "\n".join(output).strip("\n")) for command, output in commands]
    return examples


def events_of(text):
    """What a stream says, however its tokens were gathered into events: the forms of its events, and its text."""
    chunks = [json.loads(event.removeprefix("data: ")) for event in text.split("\n\n")[:-1]]
    assert text.endswith("\n\ndata: [DONE]"), text
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    finish = [choice.pop("finish_reason") for choice in choices]  # null but for the last
    return {json.dumps(form(chunk)) for chunk in chunks}, "".join(choice["text"] for choice in choices), finish[-1]


def form(value):
    """The names and types in a value."""
    if isinstance(value, dict):
        return {name: form(one) for name, one in value.items()}
    if isinstance(value, list):
        return [form(one) for one in value]
    return type(value).__name__


def test_examples(checks, qwill):
    examples = examples_of(README.read_text())
    commands = [command for command, _ in examples]
    checks.that(sum("curl " in command for command in commands) >= 4, f"the README has examples: {commands}")
    checks.that(any(command.startswith("python ") for command in commands), "one of them is in Python")
    with tempfile.TemporaryDirectory(prefix="qwill-readme-") as folder, Server(qwill, light=False) as server:
        for command, shown in examples:
            here = lambda text: text.replace(":" + PORT, f":{server.port}")  # noqa: E731
            if command == "qwill serve":
                told = [line for line in server.lines if line.startswith("qwill: ")]
                fixed = lambda line: re.sub(r"on cpu \(.*\)", "", line)  # noqa: E731
                checks.equal([fixed(line) for line in told], [fixed(line) for line in here(shown).splitlines()])
                continue
            if name := re.fullmatch(r"cat (\w+\.py)", command):
                Path(folder, name[1]).write_text(here(shown) + "\n")
                continue
            script = here(command).replace("curl ", "curl --show-error -w '%{stderr}%{http_code}\\n' ")
            script = re.sub(r"^python ", f"{sys.executable} ", script)
            done = subprocess.run(
                ["bash", "-o", "pipefail", "-c", script], cwd=folder, capture_output=True, text=True, timeout=120
            )
            checks.equal(done.returncode, 0, done)
            if "curl " in command:
                checks.equal(done.stderr.strip(), "400" if shown.startswith('{"error"') else "200", command)
            printed = done.stdout.strip("\n")
            if shown.startswith("data: "):
                checks.equal(events_of(printed), events_of(shown), command)
            else:
                checks.equal(VOLATILE.sub("", printed), VOLATILE.sub("", shown), command)


if __name__ == "__main__":
    sys.exit(run_all([test_examples], Program(sys.argv[1])))
