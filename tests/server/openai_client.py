"""The server, asked by OpenAI's own Python package: what it sends, how it reads what comes back, its errors and retries.
Above all: one prompt with one seed has one answer, whatever endpoint, transport and company it is asked in.

python openai_client.py PROGRAM [NAME of a test …]
"""

import asyncio
import json
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

import openai
import pydantic
from openai import AsyncOpenAI, OpenAI
from openai_types import unknown_fields
from serving import CHAT, COMPLETIONS, Program, Server, run_all

MODEL = "nib"
RIVER = [{"role": "user", "content": "What is a river?"}]
PROMPTS = ["Once upon a time", "A hammer is", "In the morning, Sophie", "The little dog went", "A river is", "Ö"]
# What other servers have beyond the API, and qwill too.
EXTENSIONS = {"max_model_len", "reasoning_content"}


def client_of(server, **options):
    return OpenAI(**({"base_url": server.url + "/v1", "api_key": "none", "max_retries": 0} | options))


def async_client_of(server):
    return AsyncOpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=300)


def strict(checks, answer, chunk=False):
    """Holds the answer against its type, strictly: the client itself takes whatever comes. Returns the answer."""
    data = answer.to_dict(mode="python")
    if chunk and data["object"] == "text_completion":
        # The type is that of a whole answer, where no reason to finish is null.
        for choice in data["choices"]:
            choice["finish_reason"] = choice["finish_reason"] or "stop"
    try:
        type(answer).model_validate(data, strict=True)
    except pydantic.ValidationError as e:
        checks.that(False, f"{e}: {answer}")
    unknown = [name for name in unknown_fields(answer) if name not in EXTENSIONS]
    checks.equal(unknown, [], answer)
    return answer


# ---------------------------------------------------------------------------------------------------- answers


class Text:
    """One choice: text, log-probabilities and end, whichever endpoint it is of and however it came."""

    def __init__(self):
        self.text = self.reasoning = ""
        self.logprobs = []  # of each token: its log-probability, and those of the likeliest, in order
        self.finish = None

    def __eq__(self, other):
        return vars(self) == vars(other)

    def __repr__(self):
        return f"{vars(self)}"

    def add_completion(self, choice):
        self.text += choice.text
        self.finish = choice.finish_reason or self.finish
        if choice.logprobs:
            got = choice.logprobs
            tops = got.top_logprobs or [{}] * len(got.tokens)
            self.logprobs += [(p, sorted(top.values())) for p, top in zip(got.token_logprobs, tops, strict=True)]

    def add_chat(self, choice, message):
        self.text += message.content or ""
        self.reasoning += getattr(message, "reasoning_content", None) or ""
        self.finish = choice.finish_reason or self.finish
        if choice.logprobs:
            for token in choice.logprobs.content:
                top = {bytes(other.bytes): other.logprob for other in token.top_logprobs}
                top[bytes(token.bytes)] = token.logprob  # as the other endpoint has it
                self.logprobs.append((token.logprob, sorted(top.values()) if token.top_logprobs else []))

    def add(self, choice):
        if hasattr(choice, "text"):
            self.add_completion(choice)
        else:
            self.add_chat(choice, choice.message if hasattr(choice, "message") else choice.delta)


def texts_of(checks, answer):
    """The choices of a whole answer."""
    strict(checks, answer)
    checks.equal([choice.index for choice in answer.choices], list(range(len(answer.choices))))
    texts = []
    for choice in answer.choices:
        texts.append(Text())
        texts[-1].add(choice)
    return texts


class Gathered:
    """The choices of a stream, from its chunks."""

    def __init__(self, checks):
        self.checks = checks
        self.choices = {}
        self.ids = set()
        self.usage = None
        self.num_chunks = 0

    def add(self, chunk):
        strict(self.checks, chunk, chunk=True)
        self.num_chunks += 1
        self.ids.add((chunk.id, chunk.created, chunk.model))
        self.checks.that(self.usage is None, "nothing comes behind the usage")
        self.usage = chunk.usage
        for choice in chunk.choices:
            self.choices.setdefault(choice.index, Text()).add(choice)

    def texts(self):
        self.checks.equal(len(self.ids), 1, "the chunks of a stream have one id")
        texts = [self.choices[index] for index in sorted(self.choices)]
        self.checks.that(all(text.finish for text in texts), "every choice ends")
        return texts


def streamed(checks, chunks):
    gathered = Gathered(checks)
    for chunk in chunks:
        gathered.add(chunk)
    return gathered


async def gather_stream(checks, chunks):
    gathered = Gathered(checks)
    async for chunk in chunks:
        gathered.add(chunk)
    return gathered


class World:
    def __init__(self, program):
        self.qwill = Program(program)

    def tokens(self, text):
        return [int(word) for word in self.qwill("tokenize", stdin=text.encode()).out.split()]

    def render(self, **chat):
        return self.qwill("render", stdin=json.dumps(chat).encode()).out.decode()

    def generate(self, *arguments):
        """The answer of `qwill generate`, as a Text."""
        done = self.qwill("generate", "--output", "json", "--logprobs", "2", "--threads", "1", *map(str, arguments))
        result = json.loads(done.out)
        text = Text()
        text.text, text.finish = result["text"], result["finish_reason"]
        for draw in result["logprobs"]:
            top = {other["token_id"]: other["logprob"] for other in draw["top"]} | {draw["token_id"]: draw["logprob"]}
            text.logprobs.append((draw["logprob"], sorted(top.values())))
        return text

    def batch(self, checks, requests):
        """The answers of `qwill batch` to [(url, body)], each as a list of Text."""
        with tempfile.TemporaryDirectory(prefix="qwill-client-") as folder:
            lines, results = Path(folder) / "in.jsonl", Path(folder) / "out.jsonl"
            with lines.open("w") as file:
                for i, (url, body) in enumerate(requests):
                    line = {"custom_id": str(i), "method": "POST", "url": url, "body": {"model": MODEL} | body}
                    file.write(json.dumps(line) + "\n")
            checks.equal(self.qwill("batch", "-i", lines, "-o", results, "--threads", "1").status, 0)
            answers = {}
            for line in results.read_text().splitlines():
                result = json.loads(line)
                url = requests[int(result["custom_id"])][0]
                kind = openai.types.chat.ChatCompletion if url == CHAT else openai.types.Completion
                answer = kind.model_validate(result["response"]["body"], strict=True)
                answers[int(result["custom_id"])] = texts_of(checks, answer)
        return [answers[i] for i in range(len(requests))]


# ---------------------------------------------------------------------------------------------------- the same answer


def mixed_requests(count):
    """Many requests, no two alike: (url, body)."""
    rng = random.Random(5)
    requests = []
    for i in range(count):
        body = {"seed": rng.randrange(2**63), "temperature": 1.0, "max_tokens": rng.randrange(4, 28)}
        if rng.random() < 0.2:
            body |= {"n": rng.randrange(2, 4)}
        if rng.random() < 0.2:
            body |= {"top_p": 0.9, "frequency_penalty": 0.5, "presence_penalty": 0.25}
        if rng.random() < 0.2:
            body |= {"stop": ["e", ". "]}
        if rng.random() < 0.2:
            body |= {"logit_bias": {"265": 2.5, "300": -100}}
        # The first are those that are asked alone, too.
        if i % 3 != 0:
            requests.append((COMPLETIONS, body | {"prompt": f"{PROMPTS[i % 6]}{' and' * (i % 5)}", "logprobs": 2}))
        else:
            content = f"What is a {('river', 'hammer', 'harbour', 'book')[i % 4]}?"
            messages = [{"role": "user", "content": content}]
            requests.append((CHAT, body | {"messages": messages, "logprobs": True, "top_logprobs": 2}))
    return requests


def create(client, url):
    return client.chat.completions.create if url == CHAT else client.completions.create


def test_same_answer_everywhere(checks, world):
    requests = mixed_requests(256)
    wanted = world.batch(checks, requests)
    different = len({repr(texts) for texts in wanted})
    checks.that(different > 200, f"{different} different answers")

    async def ask_all(server):
        async def ask(client, i):
            url, body = requests[i]
            if i % 4 == 0:
                return texts_of(checks, await create(client, url)(model=MODEL, **body))
            return (await gather_stream(checks, await create(client, url)(model=MODEL, stream=True, **body))).texts()

        async with async_client_of(server) as client:
            return await asyncio.gather(*(ask(client, i) for i in range(len(requests))))

    with Server(world.qwill, "--max-seqs", "48") as server:
        for i, got in enumerate(asyncio.run(ask_all(server))):
            checks.equal(got, wanted[i], f"among the others {requests[i]}")
        client = client_of(server)
        for i in range(24):
            url, body = requests[i]
            checks.equal(texts_of(checks, create(client, url)(model=MODEL, **body)), wanted[i], f"alone {requests[i]}")
            chunks = create(client, url)(model=MODEL, stream=True, **body)
            checks.equal(streamed(checks, chunks).texts(), wanted[i], f"alone, streamed {requests[i]}")


def test_same_answer_as_generate(checks, world):
    """Each setting of the API beside the flag that is the same, and that it changes something."""
    sampled = {"temperature": 1.0, "seed": 11, "max_tokens": 24}
    flags = ["--temperature", "1", "--seed", "11", "--max-tokens", "24"]
    settings = [
        ({}, []),
        ({"top_p": 0.3}, ["--top-p", "0.3"]),
        ({"frequency_penalty": 1.5}, ["--frequency-penalty", "1.5"]),
        ({"presence_penalty": 2}, ["--presence-penalty", "2"]),
        ({"logit_bias": {"265": 4, "13": -100}}, ["--logit-bias", "265=4", "--logit-bias", "13=-100"]),
        ({"stop": ["e"]}, ["--stop", "e"]),
        ({"extra_body": {"top_k": 2}}, ["--top-k", "2"]),
        ({"extra_body": {"min_p": 0.4}}, ["--min-p", "0.4"]),
        ({"extra_body": {"repetition_penalty": 1.5}}, ["--repetition-penalty", "1.5"]),
        ({"seed": 12}, ["--seed", "12"]),
        ({"max_tokens": 7}, ["--max-tokens", "7"]),
        ({"temperature": 0}, ["--temperature", "0"]),
    ]
    prompt = "Once upon a time"
    rendered = world.render(messages=RIVER)
    ids = ",".join(map(str, world.tokens(rendered)))
    with Server(world.qwill) as server:
        client = client_of(server)
        seen = []
        for settings_of_api, more in settings:
            asked = {"model": MODEL, "logprobs": 2} | sampled | settings_of_api
            got = texts_of(checks, client.completions.create(prompt=prompt, **asked))
            wanted = world.generate("--prompt", prompt, *without_twice(flags, more))
            checks.equal(got, [wanted], settings_of_api)
            checks.that(wanted not in seen, f"{settings_of_api} changes nothing")
            seen.append(wanted)
        # As token ids, and after its end.
        asked = {"model": MODEL, "logprobs": 2} | sampled
        checks.equal(texts_of(checks, client.completions.create(prompt=world.tokens(prompt), **asked)), [seen[0]])
        asked = asked | {"temperature": 0, "max_tokens": 60}
        hammer = texts_of(checks, client.completions.create(prompt="A hammer is", **asked))[0]
        checks.equal(hammer.finish, "stop")
        further = client.completions.create(prompt="A hammer is", extra_body={"ignore_eos": True}, **asked)
        checks.equal(further.usage.completion_tokens, 60)
        arguments = ("--prompt", "A hammer is", "--temperature", 0, "--max-tokens", 60, "--ignore-eos")
        checks.equal(texts_of(checks, further), [world.generate(*arguments)])
        checks.equal(further.choices[0].text[: len(hammer.text)], hammer.text)
        # A chat is its rendered prompt.
        chat = {"model": MODEL, "messages": RIVER, "logprobs": True, "top_logprobs": 2} | sampled
        got = texts_of(checks, client.chat.completions.create(**chat))[0]
        wanted = world.generate("--token-ids", ids, *flags)
        # Behind the tokens stands the end token that stopped it, which generate leaves out.
        checks.equal(len(got.logprobs) - len(wanted.logprobs), got.finish == "stop")
        checks.equal((got.logprobs[: len(wanted.logprobs)], got.finish), (wanted.logprobs, wanted.finish))
        tagged = f"<think>{got.reasoning}</think>{got.text}"
        checks.equal("".join(tagged.split()), "".join(wanted.text.split()))


def without_twice(flags, more):
    """flags and more, without those of flags that more has too."""
    kept = []
    for name, value in zip(flags[::2], flags[1::2], strict=True):
        if name not in more:
            kept += [name, value]
    return kept + more


# ---------------------------------------------------------------------------------------------------- forms of answers


def test_completions(checks, world):
    with Server(world.qwill) as server:
        client = client_of(server)
        ask = lambda **body: strict(checks, client.completions.create(model=MODEL, **body))  # noqa: E731
        answer = ask(prompt="A hammer is")
        checks.equal(answer.choices[0].text, " a tool for hitting nails.")
        checks.equal((answer.object, answer.model, answer.choices[0].logprobs), ("text_completion", MODEL, None))
        checks.that(abs(answer.created - time.time()) < 86400, "created is a time")
        checks.equal(ask(prompt="Once upon a time").usage.completion_tokens, 16, "the API's default of max_tokens")
        ids = world.tokens("A hammer is")
        checks.equal((answer.usage.prompt_tokens, answer.usage.total_tokens), (len(ids), len(ids) + 11))

        # Lists: prompt by prompt, n of each.
        alone = [ask(prompt=p, n=2, seed=3, temperature=1).choices for p in PROMPTS]
        alone = [choice.text for choices in alone for choice in choices]
        as_ids = [world.tokens(p) for p in PROMPTS]
        for prompts in (PROMPTS, as_ids):
            answer = ask(prompt=prompts, n=2, seed=3, temperature=1)
            checks.equal([choice.text for choice in answer.choices], alone)
            checks.equal([choice.index for choice in answer.choices], list(range(12)))
            checks.equal(answer.usage.prompt_tokens, sum(map(len, as_ids)))
            gathered = streamed(
                checks,
                client.completions.create(model=MODEL, prompt=prompts, n=2, seed=3, temperature=1, stream=True),
            )
            checks.equal([text.text for text in gathered.texts()], alone)
        checks.that(len(set(alone)) > 8, f"the choices of a prompt differ: {alone}")

        # Seeds.
        texts = [
            ask(prompt=PROMPTS[0], temperature=1, max_tokens=64, **seed).choices[0].text
            for seed in ({}, {}, {"seed": -1})
        ]
        checks.that(len(set(texts)) == 3, f"without a seed, answers differ: {texts}")
        checks.equal(ask(prompt=PROMPTS[0], temperature=1, max_tokens=64, seed=-1).choices[0].text, texts[2])

        # Echo.
        for stream in (False, True):
            for prompt in ("A hammer is", ids):
                asked = {"prompt": prompt, "echo": True, "logprobs": 3, "max_tokens": 4}
                if stream:
                    chunks = list(client.completions.create(model=MODEL, stream=True, **asked))
                    text = "".join(c.text for chunk in chunks for c in chunk.choices)
                    parts = [c.logprobs for chunk in chunks for c in chunk.choices if c.logprobs]
                    tokens, offsets, logprobs, tops = (
                        [one for part in parts for one in getattr(part, name)]
                        for name in ("tokens", "text_offset", "token_logprobs", "top_logprobs")
                    )
                else:
                    choice = client.completions.create(model=MODEL, **asked).choices[0]
                    text, got = choice.text, choice.logprobs
                    tokens, offsets = got.tokens, got.text_offset
                    logprobs, tops = got.token_logprobs, got.top_logprobs
                checks.equal("".join(tokens), text, asked)
                checks.that(text.startswith("A hammer is a"), text)
                checks.equal([text[offset:][: len(token)] for offset, token in zip(offsets, tokens)], tokens)
                checks.equal(len(tokens), len(ids) + 4)
                checks.equal((logprobs[0], tops[0]), (None, None), "nothing comes before the first token")
                checks.that(all(p <= 0 for p in logprobs[len(ids) :]), logprobs)
        only = ask(prompt="A hammer is", echo=True, max_tokens=0)
        checks.equal((only.choices[0].text, only.usage.completion_tokens), ("A hammer is", 0))

        # A bias as strong as the API allows decides.
        forced = ask(prompt="A hammer is", max_tokens=3, logit_bias={str(ids[1]): 100})
        checks.equal(forced.choices[0].text, " hammer" * 3)
        stopped = ask(prompt="A hammer is", stop=" for", max_tokens=11)
        checks.equal((stopped.choices[0].text, stopped.choices[0].finish_reason), (" a tool", "stop"))
        checks.equal(ask(prompt="A hammer is", max_tokens=2).choices[0].finish_reason, "length")


def test_chat(checks, world):
    with Server(world.qwill) as server:
        client = client_of(server)
        ask = lambda **body: strict(checks, client.chat.completions.create(model=MODEL, **body))  # noqa: E731
        answer = ask(messages=RIVER)
        checks.equal(answer.choices[0].message.content, "A river is a long stream of water that flows to the sea.")
        checks.equal((answer.object, answer.choices[0].message.role), ("chat.completion", "assistant"))
        parts = [{"type": "text", "text": "What is "}, {"type": "text", "text": "a river?"}]
        for messages in (
            [{"role": "user", "content": parts}],
            [{"role": "developer", "content": "Be brief."}, *RIVER],
            [{"role": "system", "content": "Be brief."}, *RIVER],
        ):
            checks.that("river" in ask(messages=messages).choices[0].message.content, messages)

        # The two names of one limit.
        for name in ("max_tokens", "max_completion_tokens"):
            cut = ask(messages=RIVER, **{name: 9})
            checks.equal((cut.choices[0].finish_reason, cut.usage.completion_tokens), ("length", 9), name)

        # Thinking, by both ways to say it.
        without = {"chat_template_kwargs": {"enable_thinking": False}}
        for extra in (without, {"enable_thinking": False}):
            brief = ask(messages=RIVER, extra_body=extra)
            rendered = world.tokens(world.render(messages=RIVER, enable_thinking=False))
            checks.equal(brief.usage.prompt_tokens, len(rendered), extra)
            checks.that(brief.usage.completion_tokens < answer.usage.completion_tokens, "it did not think")
            checks.equal(brief.choices[0].message.content, answer.choices[0].message.content)

        # Log-probabilities: the bytes of the tokens are the text.
        scored = ask(messages=RIVER, logprobs=True, top_logprobs=5, extra_body=without, stop=" stream")
        tokens = scored.choices[0].logprobs.content
        text = b"".join(bytes(token.bytes) for token in tokens).decode()
        checks.equal(text, scored.choices[0].message.content)
        checks.equal({len(token.top_logprobs) for token in tokens}, {5})
        for token in tokens:
            likeliest = token.top_logprobs[0]
            checks.equal((likeliest.token, likeliest.logprob), (token.token, token.logprob), "greedy")
        plain = ask(messages=RIVER, logprobs=True, max_tokens=3)
        checks.equal([token.top_logprobs for token in plain.choices[0].logprobs.content], [[], [], []])

        # Unknown fields are none of our business; those of the API that ask for nothing neither.
        same = ask(
            messages=RIVER,
            user="me",
            store=False,
            metadata={"a": "b"},
            service_tier="auto",
            tools=[],
            response_format={"type": "text"},
            extra_body={"unknown": [1], "top_k": None},
        )
        checks.equal(same.choices[0].message.content, answer.choices[0].message.content)

        # The client's own way to put a stream together.
        with client.chat.completions.stream(model=MODEL, messages=RIVER, logprobs=True) as stream:
            kinds = {event.type for event in stream}
            final = stream.get_final_completion()
        checks.that({"chunk", "content.delta", "content.done"} <= kinds, kinds)
        whole = ask(messages=RIVER, logprobs=True).choices[0]
        checks.equal(final.choices[0].message.content, whole.message.content)
        checks.equal(final.choices[0].logprobs.to_dict()["content"], whole.logprobs.to_dict()["content"])
        first = next(iter(client.chat.completions.create(model=MODEL, messages=RIVER, stream=True)))
        checks.equal(first.choices[0].delta.role, "assistant")


def test_reasoning(checks, world):
    """The built-in model thinks nothing; kept from line breaks, and drawn to "</think>", it writes something there."""
    bias = {str(world.tokens("\n")[0]): -25, str(world.tokens("</think>")[0]): 12}
    asked = {"model": MODEL, "temperature": 2, "seed": 3, "n": 128, "max_tokens": 40, "logit_bias": bias}
    with Server(world.qwill, "--max-seqs", "64") as server:
        client = client_of(server)
        whole = texts_of(checks, client.chat.completions.create(messages=RIVER, **asked))
        chunks = client.chat.completions.create(messages=RIVER, stream=True, **asked)
        checks.equal(streamed(checks, chunks).texts(), whole)
        prompt = world.tokens(world.render(messages=RIVER))
        raw = texts_of(checks, client.completions.create(prompt=prompt, **asked))
    checks.that(any(one.text and one.reasoning for one in whole), "some have both")
    checks.that(any(not one.text and one.reasoning for one in whole), "some end while they think")
    checks.that(any(one.text and not one.reasoning for one in whole), "some do not think")
    for got, plain in zip(whole, raw, strict=True):
        begin, tag, rest = plain.text.partition("<think>")
        reasoning, _, content = rest.partition("</think>")
        if not tag or begin.strip():
            reasoning, content = "", plain.text
        checks.equal(got.reasoning, reasoning.lstrip("\n").rstrip(), plain.text)
        checks.equal(got.text, content.lstrip("\n") if reasoning else content, plain.text)
        checks.equal(got.finish, plain.finish)


def test_stream_options(checks, world):
    with Server(world.qwill) as server:
        client = client_of(server)
        for url, prompt in ((CHAT, {"messages": RIVER}), (COMPLETIONS, {"prompt": PROMPTS, "n": 2})):
            ask = create(client, url)
            usage = ask(model=MODEL, max_tokens=5, **prompt).usage
            for options in ({}, {"stream_options": {"include_usage": False}}):
                gathered = streamed(checks, ask(model=MODEL, max_tokens=5, stream=True, **prompt, **options))
                checks.equal(gathered.usage, None)
            chunks = list(ask(model=MODEL, max_tokens=5, stream=True, stream_options={"include_usage": True}, **prompt))
            checks.equal((chunks[-1].choices, chunks[-1].usage), ([], usage))
            checks.that(all(chunk.choices and chunk.usage is None for chunk in chunks[:-1]), "usage comes once")
            streamed(checks, chunks)


def test_models(checks, world):
    with Server(world.qwill, "--served-model-name", "some/name") as server:
        client = client_of(server)
        models = [strict(checks, model) for model in client.models.list()]
        checks.equal(
            [(model.id, model.owned_by, model.max_model_len) for model in models], [("some/name", "qwill", 2048)]
        )
        checks.equal(strict(checks, client.models.retrieve("some/name")), models[0])
        checks.equal(client.completions.create(model="some/name", prompt="A").model, "some/name")
        refused(checks, lambda: client.models.retrieve("other"), openai.NotFoundError, None, "model_not_found")


# ---------------------------------------------------------------------------------------------------- errors


def refused(checks, ask, kind, param, code=None):
    try:
        ask()
    except kind as e:
        checks.equal(e.param, param, e)
        checks.that(code is None or e.code == code, f"{code}: {e}")
        checks.that(e.body and e.body["message"] and e.request_id, f"{e.body} {e.request_id}")
        return
    except Exception as e:
        checks.that(False, f"{param} {code}: {e!r} is no {kind}")
        return
    checks.that(False, f"{param} {code}: it was not refused")


def test_errors(checks, world):
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    schema = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}
    bad_chats = [
        ({"messages": []}, "messages", None),
        ({"messages": "hello"}, "messages", "invalid_type"),
        ({"messages": [{"role": "robot", "content": ""}]}, "messages[0].role", "invalid_value"),
        ({"messages": [{"content": ""}]}, "messages[0].role", "missing_required_parameter"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", None),
        ({"tools": [tool]}, "tools", "unsupported_value"),
        ({"tool_choice": "required"}, "tool_choice", "unsupported_value"),
        ({"response_format": {"type": "json_object"}}, "response_format", "unsupported_value"),
        ({"response_format": schema}, "response_format", "unsupported_value"),
        ({"top_logprobs": 2}, "top_logprobs", "invalid_value"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "invalid_value"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens", "invalid_value"),
        ({"messages": [{"role": "user", "content": "river " * 3000}]}, "messages", "context_length_exceeded"),
        ({"extra_body": {"chat_template_kwargs": 1}}, "chat_template_kwargs", "invalid_type"),
        (
            {"extra_body": {"chat_template_kwargs": {"enable_thinking": 1}}},
            "chat_template_kwargs.enable_thinking",
            "invalid_type",
        ),
    ]
    bad_prompts = [
        ({"prompt": []}, "prompt", "invalid_value"),
        ({"prompt": ""}, "prompt", "invalid_value"),
        ({"prompt": [2560]}, "prompt", "invalid_value"),
        ({"prompt": [-1]}, "prompt", "invalid_value"),
        ({"prompt": [[1], "a", 3]}, "prompt[2]", "invalid_type"),
        ({"prompt": [5] * 2048}, "prompt", "context_length_exceeded"),
        ({"temperature": 2.1}, "temperature", "invalid_value"),
        ({"temperature": -0.1}, "temperature", "invalid_value"),
        ({"temperature": "hot"}, "temperature", "invalid_type"),
        ({"top_p": 0}, "top_p", "invalid_value"),
        ({"n": 0}, "n", "invalid_value"),
        ({"n": 129}, "n", "invalid_value"),
        ({"n": 1.5}, "n", "invalid_type"),
        ({"presence_penalty": 2.5}, "presence_penalty", "invalid_value"),
        ({"logit_bias": {"x": 1}}, "logit_bias", "invalid_value"),
        ({"logit_bias": {"1": 101}}, "logit_bias", "invalid_value"),
        ({"stop": ["1", "2", "3", "4", "5"]}, "stop", "invalid_value"),
        ({"stop": [""]}, "stop", "invalid_value"),
        ({"logprobs": 21}, "logprobs", "invalid_value"),
        ({"suffix": "end"}, "suffix", "unsupported_value"),
        ({"best_of": 2}, "best_of", "unsupported_value"),
        ({"extra_body": {"top_k": -2}}, "top_k", "invalid_value"),
        ({"extra_body": {"min_p": 1.5}}, "min_p", "invalid_value"),
        ({"extra_body": {"repetition_penalty": 0}}, "repetition_penalty", "invalid_value"),
        ({"extra_body": {"stream": "yes"}}, "stream", "invalid_type"),
        ({"extra_body": {"stream_options": {"include_usage": "yes"}}}, "stream_options.include_usage", "invalid_type"),
    ]
    with Server(world.qwill) as server:
        client = client_of(server)
        for stream in (False, True):
            for body, param, code in bad_chats:
                body = {"model": MODEL, "messages": RIVER, "stream": stream} | body
                refused(checks, lambda: client.chat.completions.create(**body), openai.BadRequestError, param, code)
            for body, param, code in bad_prompts:
                body = {"model": MODEL, "prompt": "A", "stream": stream} | body
                refused(checks, lambda: client.completions.create(**body), openai.BadRequestError, param, code)
        other = {"model": "other", "prompt": "A"}
        refused(checks, lambda: client.completions.create(**other), openai.NotFoundError, None, "model_not_found")
        # Parts of the API that are not there.
        for ask in (
            lambda: client.embeddings.create(model=MODEL, input="A"),
            lambda: client.responses.create(model=MODEL, input="A"),
            lambda: client.files.list(),
        ):
            refused(checks, ask, openai.NotFoundError, None, "not_found")
        checks.equal(client.completions.create(model=MODEL, prompt="A hammer is").choices[0].finish_reason, "stop")
        gone = client_of(server)
        checks.equal(server.stop(), 0)
        try:
            gone.models.list()
            checks.that(False, "a server that is gone answers")
        except openai.APIConnectionError:
            checks.that(True, "")


def test_api_key(checks, world):
    with Server(world.qwill, "--api-key", "one", environment={"QWILL_API_KEY": "not this"}) as server:
        for key in ("two", "on", "onee", "not this"):
            client = client_of(server, api_key=key)
            for ask in (client.models.list, lambda: client.completions.create(model=MODEL, prompt="A")):
                refused(checks, ask, openai.AuthenticationError, None, "invalid_api_key")
        client = client_of(server, api_key="one")
        checks.equal([model.id for model in client.models.list()], [MODEL])
        checks.that(client.completions.create(model=MODEL, prompt="A").choices, "the right key opens")
        checks.that("one" not in json.dumps([e for e in server.log() if "headers" in e]), "no key is told")
    with Server(world.qwill, environment={"QWILL_API_KEY": "one"}) as server:
        refused(checks, client_of(server).models.list, openai.AuthenticationError, None, "invalid_api_key")
        checks.equal([model.id for model in client_of(server, api_key="one").models.list()], [MODEL])


def wait_until(what, holds):
    """Until it holds; a minute is as good as never."""
    for _ in range(600):
        if holds():
            return
        time.sleep(0.1)
    raise TimeoutError(what)


# A context of 8,192 tokens: an answer that takes many seconds.
LONG = ("--rope-scaling", "yarn")


def long_stream(client):
    chunks = client.completions.create(
        model=MODEL, prompt="Once", max_tokens=8000, stream=True, extra_body={"ignore_eos": True}
    )
    next(iter(chunks))
    return chunks


def test_full(checks, world):
    """A full server says so; the client tries again by itself, and gets its answer once there is room."""
    with Server(world.qwill, "--max-seqs", "1", "--max-queued", "0", *LONG) as server:
        impatient = client_of(server)
        hammer = {"model": MODEL, "prompt": "A hammer is"}
        wanted = impatient.completions.create(**hammer).choices[0].text
        chunks = long_stream(impatient)
        refused(
            checks, lambda: impatient.completions.create(**hammer), openai.RateLimitError, None, "too_many_requests"
        )
        try:
            impatient.completions.create(stream=True, **hammer)
        except openai.RateLimitError as e:
            checks.that(float(e.response.headers["retry-after"]) > 0, e.response.headers)

        def count():
            labels = {"method": "POST", "path": COMPLETIONS, "status": "429"}
            return server.metric("qwill_http_requests_total", **labels)

        wait_until("both are counted", lambda: count() == 2)
        answers = []

        def ask_patiently():
            raw = client_of(server, max_retries=20).completions.with_raw_response.create(**hammer)
            answers.append((raw.retries_taken, raw.parse().choices[0].text))

        thread = threading.Thread(target=ask_patiently)
        thread.start()
        wait_until("the patient client is refused", lambda: count() > 2)
        chunks.close()
        thread.join()
        checks.equal([text for _, text in answers], [wanted])
        checks.equal(answers[0][0], count() - 2, "every refusal is followed by a retry")


def test_too_many(checks, world):
    """A request of which only a part finds room gets none, and leaves nothing behind; one that never will is wrong."""
    hammer = {"model": MODEL, "prompt": "A hammer is"}
    with Server(world.qwill, "--max-seqs", "2", "--max-queued", "8", *LONG) as server:
        client, patient = client_of(server), client_of(server, max_retries=20)
        wanted = client.completions.create(**hammer).choices[0].text
        never = hammer | {"prompt": ["Once upon a time"] * 11}
        refused(checks, lambda: client.completions.create(**never), openai.BadRequestError, "n", "invalid_value")
        running = long_stream(client)
        for i in range(40):
            asked = hammer | {"prompt": ["Once upon a time"] * 10, "max_tokens": 64, "stream": i % 2 == 0}
            refused(
                checks, lambda: client.completions.create(**asked), openai.RateLimitError, None, "too_many_requests"
            )
            if i % 10 == 0:
                checks.equal(patient.completions.create(**hammer).choices[0].text, wanted)
        running.close()
        for state in ("running", "waiting"):
            wait_until(f"none is {state}", lambda: server.metric(f"qwill_requests_{state}", model=MODEL) == 0)


def test_closed_early(checks, world):
    with Server(world.qwill, *LONG) as server:
        client = client_of(server)
        running = lambda: server.metric("qwill_requests_running", model=MODEL)  # noqa: E731
        streams = [long_stream(client) for _ in range(4)]
        wait_until("they run", lambda: running() == 4)
        for chunks in streams:
            chunks.close()
        wait_until("they end", lambda: running() == 0)
        checks.equal(server.metric("qwill_requests_aborted_total", model=MODEL), 4)
        try:
            client_of(server, timeout=1).completions.create(
                model=MODEL, prompt="Once", max_tokens=8000, extra_body={"ignore_eos": True}
            )
            checks.that(False, "8,000 tokens were answered at once")
        except openai.APITimeoutError:
            wait_until("it ends", lambda: running() == 0)
        wait_until("it is counted", lambda: server.metric("qwill_requests_aborted_total", model=MODEL) == 5)
        checks.that(client.completions.create(model=MODEL, prompt="A hammer is").choices[0].text, "it goes on")


def test_many_streams(checks, world):
    """64 streams at once, some of which are left by the client: the others have their answers all the same."""
    asked = {"model": MODEL, "messages": RIVER, "temperature": 1, "max_tokens": 40, "stream": True}

    async def ask(client, i, leave):
        chunks = await client.chat.completions.create(seed=i, **asked)
        if not leave:
            return (await gather_stream(checks, chunks)).texts()[0]
        async for _ in chunks:
            break
        await chunks.close()

    async def ask_all(server, leaving):
        async with async_client_of(server) as client:
            return await asyncio.gather(*(ask(client, i, leaving and i % 4 == 1) for i in range(64)))

    with Server(world.qwill, "--max-seqs", "16") as server:
        whole = asyncio.run(ask_all(server, False))
        left = asyncio.run(ask_all(server, True))
        checks.equal(
            [text for i, text in enumerate(left) if i % 4 != 1], [t for i, t in enumerate(whole) if i % 4 != 1]
        )
        checks.that(len({text.text for text in whole}) > 4, "the seeds differ")


TESTS = [
    test_same_answer_everywhere,
    test_same_answer_as_generate,
    test_completions,
    test_chat,
    test_reasoning,
    test_stream_options,
    test_models,
    test_errors,
    test_api_key,
    test_full,
    test_too_many,
    test_closed_early,
    test_many_streams,
]

if __name__ == "__main__":
    known = {test.__name__: test for test in TESTS}
    named = [known[name] for name in sys.argv[2:]]
    sys.exit(run_all(named or TESTS, World(sys.argv[1])))
