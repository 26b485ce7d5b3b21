"""Chat template cases: Jinja set up as transformers sets it up, and random conversations.

Needs only jinja2. tools/make_template_goldens.py proves that the environment equals that of transformers.
"""

import copy
import json
import pathlib

import jinja2
import jinja2.ext
import jinja2.sandbox

TEMPLATES = pathlib.Path(__file__).resolve().parent.parent / "data/templates"

# Templates that ask `content is string` first, so that null and absent content is theirs to render.
GUARDED = {"qwen3-2025", "qwen3-instruct-2507", "qwen3-instruct-2507-july", "qwen3-thinking-2507"}


class Refused(Exception):
    """What qwill and the reference both refuse."""


def environment():
    """The environment of transformers' render_jinja_template (less {% generation %}, which no text here uses)."""

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols]
    )
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    return env


def load_templates():
    """name -> text of every template under tests/data/templates."""
    return {path.stem: path.read_bytes().decode() for path in sorted(TEMPLATES.glob("*.jinja"))}


def flatten(parts):
    text = ""
    for part in parts:
        if isinstance(part, str):
            text += part
        elif isinstance(part, dict) and part.get("type") in (None, "text") and isinstance(part.get("text"), str):
            text += part["text"]
        else:
            raise Refused("a part that is no text")
    return text


def adapted(name, request):
    """The request as qwill reads it: its deliberate differences (src/text/chat_template.h) applied beforehand.

    Top-level nulls are absent and a generation prompt is wanted unless it is refused; lists of parts are flattened;
    null or absent content is empty wherever the published text would not do so itself; Qwen3-Coder's arguments may be
    JSON text.
    """
    request = {key: copy.deepcopy(value) for key, value in request.items() if value is not None}
    request.setdefault("add_generation_prompt", True)
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        raise Refused("messages")
    coder = name == "qwen3-coder"
    for i, message in enumerate(messages):
        role = message.get("role")
        if not coder and role not in ("system", "user", "assistant", "tool"):
            continue
        first_system = i == 0 and role == "system"
        content = message.get("content")
        if isinstance(content, list):
            message["content"] = flatten(content)
        elif content is None and (name not in GUARDED or first_system):
            if not (coder and first_system and "content" not in message):  # there it means: no system turn
                message["content"] = ""
        if coder and role == "assistant" and isinstance(message.get("tool_calls"), list):
            parse_arguments(message["tool_calls"])
    return request


def parse_arguments(calls):
    for call in calls:
        function = call.get("function", call) if isinstance(call, dict) else None
        if isinstance(function, dict) and isinstance(function.get("arguments"), str):
            function["arguments"] = json.loads(function["arguments"])


class Reference:
    def __init__(self):
        env = environment()
        self.texts = load_templates()
        self.compiled = {name: env.from_string(text) for name, text in self.texts.items()}

    def render(self, name, request):
        """The reference's text for the adapted request, or None where it raises."""
        try:
            variables = adapted(name, request)
            tools = variables.pop("tools", None)
            if tools is not None and not (isinstance(tools, list) and all(isinstance(t, dict) for t in tools)):
                raise Refused("tools")
            return self.compiled[name].render(tools=tools, documents=variables.pop("documents", None), **variables)
        except (Refused, jinja2.exceptions.TemplateError, TypeError, ValueError, AttributeError, KeyError):
            return None


def case_line(reference, request_text, render=None):
    """One line of a case file: the request as JSON text, and what each template makes of it."""
    render = render or reference.render
    request = json.loads(request_text)
    rendered, refused = {}, []
    for name in reference.texts:
        text = render(name, request)
        if text is None:
            refused.append(name)
        else:
            rendered.setdefault(text, []).append(name)
    groups = [{"templates": names, "text": text} for text, names in rendered.items()]
    return json.dumps({"request": request_text, "rendered": groups, "refused": refused}, ensure_ascii=False)


# --- random conversations -------------------------------------------------------------------------------------------

WORDS = (
    "the quick brown fox. Paris? 42 naïve Привет 你好 こんにちは 🦊 👩‍👩‍👧 e\u0301 \u00a0 \u2028 \u200b \ufeff \x7f \x85 \t "
    "<think> </think> <think>\n \n</think>\n\n <|im_start|> <|im_end|> <|endoftext|> <tool_call> </tool_call> "
    "<tool_response> </tool_response> {{ 7*7 }} {%- if x %} ' \" \\ \\n </tools> & < > %s {} null None"
).split(" ")
SPACES = ["", " ", "\n", "\n\n", " \n", "\r\n", "\t"]
KEYS = ["a", "b", "city", "unit", "名前", "x y", "type", "properties", "description", "enum", "name", "arguments", "é\n", ""]
NUMBERS = [0, 1, -1, 7, 2**31, 2**63, -(2**64), 10**30, 0.0, -0.0, 0.1, 1e-5, 1e16, 1e22, 123456.789, -2.5e-7, 1e300,
           5e-324, 1.7976931348623157e308, 3.0, float("nan"), float("inf"), float("-inf")]


class Conversations:
    """An endless supply; the same seed gives the same ones."""

    def __init__(self, rng):
        self.rng = rng

    def chance(self, p):
        return self.rng.random() < p

    def words(self, most=6):
        rng = self.rng
        out = rng.choice(SPACES) if self.chance(0.2) else ""
        for _ in range(rng.randint(0, most)):
            out += rng.choice(WORDS) + rng.choice(SPACES)
        return out

    def text(self):
        rng, kind = self.rng, self.rng.random()
        if kind < 0.6:
            return self.words()
        if kind < 0.7:
            return ""
        if kind < 0.8:
            return "<tool_response>" + self.words(3) + "</tool_response>"
        newlines = lambda: "\n" * rng.randint(0, 3)
        return (
            rng.choice(["", "<think>", self.words(1) + "<think>"]) + newlines() + self.words(3) + newlines()
            + "</think>" + newlines() + self.words(2) + rng.choice(["", "", "</think>\n" + self.words(1)])
        )

    def value(self, depth=0):
        rng, kind = self.rng, self.rng.random()
        if depth < 4 and kind < 0.25:
            return {rng.choice(KEYS): self.value(depth + 1) for _ in range(rng.randint(0, 3))}
        if depth < 4 and kind < 0.4:
            return [self.value(depth + 1) for _ in range(rng.randint(0, 3))]
        if kind < 0.65:
            return self.words(2)
        if kind < 0.9:
            return rng.choice(NUMBERS)
        return rng.choice([None, True, False])

    def object(self):
        return {self.rng.choice(KEYS): self.value(1) for _ in range(self.rng.randint(0, 3))}

    def parts(self):
        out = []
        for _ in range(self.rng.randint(0, 3)):
            kind = self.rng.random()
            if kind < 0.85:
                out.append({"type": "text", "text": self.text()})
            elif kind < 0.93:
                out.append(self.rng.choice([self.text(), {"text": self.text()}]))
            else:
                out.append(self.rng.choice([{"type": "image_url", "image_url": {"url": "x"}}, 3, None, {"type": "text"}]))
        return out

    def tool(self):
        function = {
            "name": self.rng.choice(["get_weather", "f", "höhe", self.words(1)]),
            "description": self.text(),
            "parameters": {
                "type": "object",
                "properties": {self.rng.choice(KEYS): self.property() for _ in range(self.rng.randint(0, 3))},
                "required": [self.rng.choice(KEYS)] if self.chance(0.5) else [],
            },
        }
        for key in ("description", "parameters"):
            if self.chance(0.15):
                del function[key]
        if self.chance(0.2):
            function[self.rng.choice(KEYS)] = self.value(1)
        if self.chance(0.1):
            return self.object()
        return {"type": "function", "function": function} if self.chance(0.8) else function

    def property(self):
        out = {"type": self.rng.choice(["string", "number", ["string", "null"]]), "description": self.words(3)}
        for key in ("type", "description"):
            if self.chance(0.2):
                del out[key]
        if self.chance(0.3):
            out["enum"] = [self.value(3) for _ in range(self.rng.randint(0, 3))]
        if self.chance(0.3):
            out[self.rng.choice(KEYS + ["default", "items"])] = self.value(2)
        return out

    def tool_call(self):
        kind = self.rng.random()
        call = {"name": self.rng.choice(["get_weather", "f", self.words(1)]), "arguments": self.object()}
        if kind < 0.2:
            call["arguments"] = json.dumps(call["arguments"], ensure_ascii=self.chance(0.5))
        elif kind < 0.25:
            call["arguments"] = self.value()
        elif kind < 0.27:
            del call["arguments"]
        elif kind < 0.3:
            call["name"] = self.value()
        elif kind < 0.32:
            del call["name"]
        if self.chance(0.75):
            call = {"id": "call_1", "type": "function", "function": call}
        elif self.chance(0.05):
            call["function"] = self.rng.choice([None, {}, "f", 0])
        return self.value() if self.chance(0.01) else call

    def message(self, role):
        message = {"role": role, "content": self.text()}
        kind = self.rng.random()
        if kind < 0.05:
            message["content"] = None
        elif kind < 0.08:
            del message["content"]
        elif kind < 0.16:
            message["content"] = self.parts()
        elif kind < 0.18:
            message["content"] = self.rng.choice([self.object(), 3, 0, 0.5, True, False, {}])
        if role == "assistant":
            if self.chance(0.3):
                message["reasoning_content"] = self.text()
            elif self.chance(0.05):
                message["reasoning_content"] = self.rng.choice([None, 0, [], ["a"], {}, 3, True, False])
            if self.chance(0.4):
                message["tool_calls"] = [self.tool_call() for _ in range(self.rng.randint(0, 3))]
            elif self.chance(0.04):
                message["tool_calls"] = self.rng.choice([None, 0, "", {}, "x", {"a": 1}, 2, True])
        elif role == "tool":
            message["tool_call_id"] = "call_1"
        if self.chance(0.03):
            del message["role"]
        elif self.chance(0.02):
            message["role"] = self.rng.choice([None, 5, "User", "", ["user"]])
        return message

    def request(self):
        roles = []
        if self.chance(0.5):
            roles.append("system")
        while len(roles) < 8 and (not roles or self.chance(0.75)):
            last = roles[-1] if roles else ""
            likely = {"user": "assistant", "assistant": "user", "tool": "tool"}.get(last, "user")
            roles.append(likely if self.chance(0.5) else self.rng.choice(["user", "assistant", "tool", "tool", "system",
                                                                         "developer"]))
        request = {"messages": [self.message(role) for role in roles]}
        if self.chance(0.4):
            request["tools"] = [self.tool() for _ in range(self.rng.randint(0, 3))]
        elif self.chance(0.05):
            request["tools"] = self.rng.choice([None, [3], 5, True])
        if self.chance(0.4):
            request["add_generation_prompt"] = self.rng.choice([True, False, None, 0, 1, "", "x", [], {}, 0.0])
        if self.chance(0.5):
            request["enable_thinking"] = self.rng.choice([True, False, False, None, 0, "false", []])
        if self.chance(0.1):
            request[self.rng.choice(["documents_of", "system_message", "eos_token"])] = self.value(3)
        return request

    def request_text(self):
        return json.dumps(self.request(), ensure_ascii=self.chance(0.5), allow_nan=True)
