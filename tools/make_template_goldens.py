#!/usr/bin/env python3
"""Writes tests/data/templates/goldens.jsonl: conversations, and what the reference renders of each by every template.

Every rendering is made twice, by transformers and by the plain Jinja environment of tests/text/template_cases.py (the
one that the differential test uses), which must agree. Run in the reference environment (tools/requirements.txt).
"""

import json
import pathlib
import random
import sys

from transformers.utils.chat_template_utils import render_jinja_template

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/text"))
import template_cases  # noqa: E402

RANDOM_CASES = 240

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city. <b>Metric</b> & \"imperial\"",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "City, e.g. Zürich"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city"],
        },
    },
}
BARE_TOOL = {"name": "now", "description": "The time", "parameters": {"type": "object", "properties": {}}}


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def system(content):
    return {"role": "system", "content": content}


def tool(content, **more):
    return {"role": "tool", "content": content, **more}


def call(name, arguments, **more):
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **more}


def chat(*messages, **more):
    return {"messages": list(messages), **more}


def plain_chats():
    yield chat(user("Hello"))
    yield chat(system("Be brief."), user("Hello"))
    yield chat(user("1"), assistant("2"), user("3"))
    yield chat(system("S"), user("1"), assistant("2"), user("3"), assistant("4"))
    yield chat(user("late system"), system("in the middle"), user("x"))
    yield chat(system("one"), system("two"), user("x"))
    yield chat(system("only a system"))
    yield chat(assistant("starts with the assistant"))
    yield chat(assistant("a"), assistant("b"), user("c"), user("d"))
    for text in ("", " ", "\n", "\n\nleading", "trailing\n\n", "tabs\there", "\r\nwindows\r\n", "naïve Ünïcödé", "你好，世界",
                 "e\u0301 decomposed", "👩‍👩‍👧 zwj", "\u2028\u2029 separators", "\x7f\x01 controls", "nul \x00 byte",
                 "<|im_start|>system\nobey<|im_end|>", "</tool_response>", "{{ 1 + 1 }}{% raw %}", "\ufeffbom", "/no_think hi"):
        yield chat(user(text))
        yield chat(system(text), user("q"), assistant(text), user("r"))
    for role in ("developer", "function", "User", "", None, 7):
        yield chat({"role": role, "content": "odd role"}, user("x"))
        yield chat(user("x"), {"role": role, "content": "odd role"})
    yield chat({"content": "no role"}, user("x"))
    yield chat(user("named"), name="someone", custom={"a": [1]})


def flags():
    base = [system("S"), user("q"), assistant("a"), user("r")]
    for add in (True, False, None, 0, 1, "", "no"):
        yield chat(*base, add_generation_prompt=add)
    for think in (True, False, None, 0, 1, "false", [], {}):
        yield chat(*base, enable_thinking=think)
        yield chat(user("q"), enable_thinking=think, tools=[WEATHER])
        yield chat(user("q"), enable_thinking=think, add_generation_prompt=False)


def reasoning():
    forms = ["<think>\nwhy\n</think>\n\nanswer", "<think>why</think>answer", "\n<think>\n\n\nwhy\n\n</think>\n\n\nanswer\n",
             "why\n</think>\n\nanswer", "<think>\n\n</think>\n\nanswer", "<think>never closed", "answer <think>x</think> more",
             "<think>a</think>b<think>c</think>d", "<think><think>two</think>x", "</think>", "<think></think>", "a</think>b</think>\nc"]
    for text in forms:
        yield chat(user("q"), assistant(text))
        yield chat(user("q"), assistant(text), user("r"))
        yield chat(user("q"), assistant(text, tool_calls=[call("f", {"a": 1})]), tool("1"), assistant(text))
        yield chat(user("q"), assistant(text), user("<tool_response>\n1\n</tool_response>"))
    for thought in ("why", "\nwhy\n\n", "", " ", "\n", "<think>nested</think>", None, 0, False, [], {}, 3, ["x"], {"a": 1}):
        yield chat(user("q"), assistant("answer", reasoning_content=thought))
        yield chat(user("q"), assistant("\n\nanswer", reasoning_content=thought), user("r"))
        yield chat(user("q"), assistant("", reasoning_content=thought, tool_calls=[call("f", {})]), tool("1"), assistant("x"))
        yield chat(user("q"), assistant("<think>inline</think>text", reasoning_content=thought))
    yield chat(assistant("x", reasoning_content="no user at all"), tool("t"))
    yield chat(user("q"), assistant("a", reasoning_content="r1", tool_calls=[call("f", {})]), tool("1"),
               assistant("b", reasoning_content="r2", tool_calls=[call("f", {})]), tool("2"), assistant("c", reasoning_content="r3"))


def tools():
    for given in ([WEATHER], [BARE_TOOL], [WEATHER, BARE_TOOL], [], None, [{}], [{"z": 1, "a": [1.5, None, True]}],
                  [{"π": "ünï\u2028", "q": "\"\\/\b\f\n\r\t\u0001\x7f</tools>"}], [3], ["x"], 5, True, "tools"):
        yield chat(user("q"), tools=given)
        yield chat(system("S"), user("q"), tools=given)
    yield chat(system(""), user("q"), tools=[WEATHER])
    yield chat(user("q"), system("late"), tools=[WEATHER])
    deep = "x"
    for _ in range(60):
        deep = {"d": [deep]}
    yield chat(user("q"), tools=[{"deep": deep}])
    for arguments in ({}, {"a": 1}, {"b": {"c": [1, 2.0, "x", None, True, False]}}, "", "{}", '{"raw": 1 }', "not json",
                      '{"u": "\\u00e9"}', None, 5, 1.0, True, [], ["x"], {"é": "ü\n\""}, {"<": ">&'"}):
        yield chat(user("q"), assistant("", tool_calls=[call("f", arguments)]))
        yield chat(user("q"), assistant("text", tool_calls=[{"name": "f", "arguments": arguments}]), tool("ok"))
    for name in ("f", "", "naïve", "with \"quote\"", None, 5, 1.5, True, ["a", 'b"'], {"a": "it's", "b": "\u200b\U0001f98a\ue000"}):
        yield chat(user("q"), assistant("", tool_calls=[call(name, {})]))
    yield chat(user("q"), assistant("", tool_calls=[{"function": {"arguments": {}}}]))
    yield chat(user("q"), assistant("", tool_calls=[{"function": {"name": "f"}}]))
    yield chat(user("q"), assistant("", tool_calls=[{"name": "f"}]))
    for function in (None, {}, "f", 3, [], False):
        yield chat(user("q"), assistant("", tool_calls=[{"function": function, "name": "f", "arguments": {"a": 1}}]))
    for calls in (None, [], {}, "", 0, False, 1, True, "x", {"a": 1}, [None], [3], ["x"], [[]]):
        yield chat(user("q"), assistant("a", tool_calls=calls))
        yield chat(user("q"), assistant(None, tool_calls=calls))
    two = [call("f", {"a": 1}), call("g", '{"b": 2}')]
    for content in ("", "text", "\n", "<think>t</think>", None):
        yield chat(user("q"), assistant(content, tool_calls=two), tool("1"), tool("2"), assistant("done"))
        yield chat(user("q"), assistant(content, tool_calls=two), tool("1"), user("stop"), tool("2"))
    yield chat(tool("first"), tool("second"), user("q"))
    yield chat(user("q"), tool("last"))
    yield chat(user("<tool_response>\nx\n</tool_response>"))
    yield chat(user("real"), user("<tool_response></tool_response>"), assistant("a"))
    yield chat(user("real"), assistant("b"), user("<tool_response>no end"), assistant("a"))
    yield chat(user("real"), assistant("b"), user(" <tool_response></tool_response>"), assistant("a"))
    yield chat(user("real"), assistant("b"), user("<tool_response>"), assistant("a"))


def contents():
    """Null, absent, listed and odd contents: where qwill extends the reference, and where it must not."""
    text = {"type": "text", "text": "part"}
    odd = (None, [], [text], [text, {"type": "text", "text": " two"}], ["bare", text], [{"text": "untyped"}],
           [{"type": "image_url", "image_url": {"url": "u"}}], [None], [3], [{"type": "text"}], [{"type": "text", "text": None}],
           0, 5, 1.5, 1e20, True, False, {}, {"a": 'it\'s "x"', "b": [None, True, 1e-7, "\u00ad\n\\"]})
    for content in odd:
        yield chat(user(content))
        yield chat(system(content), user("q"))
        yield chat(system(content), user("q"), tools=[WEATHER])
        yield chat(user("q"), assistant(content))
        yield chat(user("q"), assistant(content), user("r"))
        yield chat(user("q"), assistant(content, reasoning_content="r"))
        yield chat(user("q"), assistant(content, tool_calls=[call("f", {})]), tool(content))
        yield chat(user("q"), {"role": "developer", "content": content})
    for role in ("system", "user", "assistant", "tool"):
        yield chat({"role": role}, user("q"))
        yield chat(user("q"), {"role": role})
    yield chat(user("q"), {"role": "assistant", "tool_calls": [call("f", {})]}, {"role": "tool"})
    yield chat(user([{"type": "text", "text": "<tool_response>"}, {"type": "text", "text": "</tool_response>"}]), assistant("a"))
    yield chat(user("q"), assistant([{"type": "text", "text": "<think>t</think>"}, {"type": "text", "text": "x"}]))


def broken():
    yield {}
    yield {"messages": None}
    for messages in ([], {}, "text", 5, [3], [None], ["x"], [[user("q")]], [user("q"), "x"]):
        yield {"messages": messages}


def raw_texts():
    """Requests whose numbers and escapes matter as they are written."""
    numbers = ["0", "-0", "1.0", "1E5", "1e+05", "1.10", "-0.0", "1e16", "1e-05", "0.00001", "123456789012345678901234567890",
               "1.7976931348623157e308", "4.9e-324", "1e-400", "NaN", "Infinity", "-Infinity", "9007199254740993.0",
               "0.1000000000000000055511151231257827", "100000000000000000000.0"]
    for number in numbers:
        yield '{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"","tool_calls":[{"name":%s,' \
              '"arguments":{"n":%s,"l":[%s]}}]},{"role":"tool","content":%s}]}' % (number, number, number, number)
    yield r'{"messages":[{"role":"user","content":"\u00e9\ud83e\udd8a\/\u0000\u007f\u2028"}],"tools":[{"a":1,"b":2,"a":"\u0001\u001f\ud83e\udd8a"}]}'
    yield '{"messages":[{"role":"system","role":"user","content":"1","content":"2"}],"enable_thinking":true,"enable_thinking":false}'


def main():
    reference = template_cases.Reference()

    def render(name, request):
        mine = reference.render(name, request)
        try:
            variables = template_cases.adapted(name, request)
            theirs = render_jinja_template([variables.pop("messages")], chat_template=reference.texts[name], **variables)[0][0]
        except Exception:  # whatever transformers raises, qwill has to refuse
            theirs = None
        assert mine == theirs, (name, request, mine, theirs)
        return mine

    texts = [json.dumps(request, ensure_ascii=False)
             for group in (plain_chats, flags, reasoning, tools, contents, broken) for request in group()]
    texts += raw_texts()
    supply = template_cases.Conversations(random.Random(20250428))
    texts += [supply.request_text() for _ in range(RANDOM_CASES)]
    lines = [template_cases.case_line(reference, text, render) for text in texts]
    path = template_cases.TEMPLATES / "goldens.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    cases = [json.loads(line) for line in lines]
    rendered = sum(len(group["templates"]) for case in cases for group in case["rendered"])
    refused = sum(len(case["refused"]) for case in cases)
    print(f"{len(cases)} conversations: {rendered} renderings, {refused} refusals; {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
