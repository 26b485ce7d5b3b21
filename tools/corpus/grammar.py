"""A small template language for generating text.

A template is a string with four constructs, which may be nested:

``[one|two|three]``  one alternative, drawn uniformly (an empty alternative is allowed);
``{key}``            the value bound to ``key`` in the context; ``{^key}`` capitalises it;
``<list>``           a random entry of the named word list; ``<^list>`` capitalises it;
``<list:key>``       the same, and binds it to ``key`` for the rest of the document.

After expansion ``finish`` turns "a" into "an" where the next word asks for it.
"""

from __future__ import annotations

import random
import re
from typing import Callable

Context = dict[str, str]
Node = tuple
LISTS: dict[str, list[str]] = {}
_CACHE: dict[str, list[Node]] = {}

_AN = re.compile(r"\b([Aa]) (?=[aeiouAEIOU])(?!uni|Uni|use|Use|usu|one\b|once|Eur|eur|ukul|Ukr|Uru|Uga|Uz|ewe)")
_AN_H = re.compile(r"\b([Aa]) (?=hour|honest|honou?r)")


def capital(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def _parse(source: str, at: int, closing: bool) -> tuple[list[list[Node]], int]:
    """Parses alternatives up to ``]`` (or the end when not ``closing``); returns them and the position after."""
    options: list[list[Node]] = [[]]
    text = ""

    def flush() -> None:
        nonlocal text
        if text:
            options[-1].append(("text", text))
            text = ""

    while at < len(source):
        char = source[at]
        if char == "[":
            flush()
            inner, at = _parse(source, at + 1, True)
            options[-1].append(("choice", inner))
            continue
        if closing and char == "]":
            flush()
            return options, at + 1
        if closing and char == "|":
            flush()
            options.append([])
            at += 1
            continue
        if char in "{<":
            end = source.find("}" if char == "{" else ">", at)
            body = source[at + 1 : end]
            # "<|" starts a control token such as <|im_start|>, which is plain text here
            if end > 0 and not body.startswith("|"):
                flush()
                upper = body.startswith("^")
                name, _, key = body.lstrip("^").partition(":")
                options[-1].append(("var" if char == "{" else "pick", name, key, upper))
                at = end + 1
                continue
        text += char
        at += 1
    if closing:
        raise ValueError(f"unclosed [ in template: {source}")
    flush()
    return options, at


def compiled(template: str) -> list[Node]:
    """The parsed form of a template, cached."""
    nodes = _CACHE.get(template)
    if nodes is None:
        nodes = _CACHE[template] = _parse(template, 0, False)[0][0]
    return nodes


def _walk(nodes: list[Node], context: Context, draw: Callable[[], float], out: list[str]) -> None:
    for node in nodes:
        kind = node[0]
        if kind == "text":
            out.append(node[1])
        elif kind == "choice":
            options = node[1]
            _walk(options[int(draw() * len(options))], context, draw, out)
        elif kind == "var":
            value = context[node[1]]
            out.append(capital(value) if node[3] else value)
        else:
            entries = LISTS[node[1]]
            value = entries[int(draw() * len(entries))]
            if node[2]:
                context[node[2]] = value
            out.append(capital(value) if node[3] else value)


def expand(template: str, context: Context, rng: random.Random) -> str:
    """Expands one template; picks with a key are added to ``context``."""
    out: list[str] = []
    _walk(compiled(template), context, rng.random, out)
    return "".join(out)


def finish(text: str) -> str:
    """The last touches to a document: articles and doubled spaces."""
    text = _AN_H.sub(r"\1n ", _AN.sub(r"\1n ", text))
    return re.sub(r"  +", " ", text).replace(" \n", "\n").strip()


def table(source: str, fields: int) -> list[list[str]]:
    """Rows of a ``|``-separated table written as a string; every row must have ``fields`` cells."""
    rows = [[cell.strip() for cell in line.split("|")] for line in source.strip().splitlines() if line.strip()]
    for row in rows:
        if len(row) != fields:
            raise ValueError(f"expected {fields} cells: {row}")
    return rows


def words(source: str) -> list[str]:
    """A comma-separated list written as a string."""
    return [part.strip() for part in source.replace("\n", " ").split(",") if part.strip()]


def listing(items: list[str], last: str = "and") -> str:
    """"a, b and c"."""
    if len(items) < 2:
        return "".join(items)
    return ", ".join(items[:-1]) + f" {last} " + items[-1]
