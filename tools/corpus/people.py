"""Characters of a story and the pronouns that go with them."""

from __future__ import annotations

import random

from . import lexicon
from .grammar import Context

_PRONOUNS = {
    "f": ("she", "her", "her", "herself"),
    "m": ("he", "him", "his", "himself"),
    "n": ("it", "it", "its", "itself"),
}


def bind(context: Context, key: str, name: str, kind: str, sex: str) -> None:
    """Adds ``key`` (the name) and its forms ``key.he``, ``key.him``, ``key.his``, ``key.self``, ``key.kind``."""
    he, him, his, self_ = _PRONOUNS[sex]
    context[key] = name
    context[key + ".kind"] = kind
    context[key + ".he"] = he
    context[key + ".him"] = him
    context[key + ".his"] = his
    context[key + ".self"] = self_


def child(context: Context, key: str, rng: random.Random, avoid: str = "") -> None:
    """A boy or a girl with a first name."""
    girl = rng.random() < 0.5
    name = avoid
    while name == avoid:
        name = rng.choice(lexicon.GIRLS if girl else lexicon.BOYS)
    bind(context, key, name, "girl" if girl else "boy", "f" if girl else "m")


def adult(context: Context, key: str, rng: random.Random) -> None:
    """A grown-up known by title and name."""
    woman = rng.random() < 0.5
    bind(context, key, rng.choice(lexicon.WOMEN if woman else lexicon.MEN), "woman" if woman else "man", "f" if woman else "m")


def parent(context: Context, key: str, rng: random.Random) -> None:
    """A relative of the main child, named by relation: "her mother" is written ``{a.his} {key}``."""
    name, sex = rng.choice([("mother", "f"), ("father", "m"), ("grandmother", "f"), ("grandfather", "m"),
                            ("aunt", "f"), ("uncle", "m"), ("sister", "f"), ("brother", "m")])
    bind(context, key, name, name, sex)


def role(context: Context, key: str, rng: random.Random) -> None:
    """A fairy-tale person without a name: "the {key}"."""
    name = rng.choice(lexicon.ROLES)
    bind(context, key, name, name, "m" if name in lexicon.MALE_ROLES else "f")


def animal(context: Context, key: str, rng: random.Random, avoid: str = "") -> None:
    """An animal of a fable: "the {key}", with ``key.adj`` and ``key.home``, ``key.food``, ``key.moves``."""
    row = rng.choice(lexicon.ANIMALS)
    while row[0] == avoid:
        row = rng.choice(lexicon.ANIMALS)
    bind(context, key, row[0], row[0], rng.choice("mf"))
    context[key + ".young"] = row[1]
    context[key + ".sound"] = row[2]
    context[key + ".home"] = row[4]
    context[key + ".food"] = row[5]
    context[key + ".adj"] = rng.choice(row[6].split(","))


def pet(context: Context, key: str, rng: random.Random) -> None:
    """A pet with a name: ``key`` is the name and ``key.kind`` the animal."""
    kind = rng.choice(["dog", "dog", "dog", "cat", "cat", "rabbit", "parrot", "puppy", "kitten", "pony", "hamster", "tortoise"])
    bind(context, key, rng.choice(lexicon.PETNAMES), kind, rng.choice("mf"))


def place(context: Context, key: str, rng: random.Random) -> None:
    """A place with what is seen, heard and done there: ``key.in`` is its preposition."""
    row = rng.choice(lexicon.PLACES)
    context[key] = row[0]
    context[key + ".in"] = row[1]
    context[key + ".see"] = row[2]
    context[key + ".hear"] = row[3]
    context[key + ".do"] = row[4]
    context[key + ".adj"] = rng.choice(row[5].split(","))


def thing(context: Context, key: str, rng: random.Random) -> None:
    """A thing, its material, its use and an adjective."""
    row = rng.choice(lexicon.THINGS)
    context[key] = row[0]
    context[key + ".of"] = row[1]
    context[key + ".use"] = row[2]
    context[key + ".at"] = row[3]
    context[key + ".adj"] = rng.choice(row[4].split(","))


def food(context: Context, key: str, rng: random.Random) -> None:
    """A food, its taste and its origin."""
    row = rng.choice(lexicon.FOODS)
    context[key] = row[0]
    context[key + ".taste"] = row[1]
    context[key + ".made"] = row[2]
    context[key + ".is"] = "are" if row[2].startswith(("are ", "grow ", "come ")) else "is"
    context[key + ".it"] = "them" if context[key + ".is"] == "are" else "it"
