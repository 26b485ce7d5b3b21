"""Documents that state facts: countries, numbers, the calendar, planets, animals, opposites, questions and answers."""

from __future__ import annotations

import random

from . import explain, lexicon
from .countries import COMMON, COUNTRIES, RARE, SIGHTS, Country
from .grammar import Context, capital, expand, listing, table, words

Fact = tuple[str, str, str]  # a full sentence, a question, a short answer

PLANETS = table("""
Mercury|first|the smallest planet and the closest to the sun
Venus|second|the hottest planet and very bright in the evening sky
Earth|third|the planet on which we live
Mars|fourth|called the red planet because of its red dust
Jupiter|fifth|the largest planet
Saturn|sixth|famous for its wide rings
Uranus|seventh|a cold planet that lies on its side
Neptune|eighth|the planet farthest from the sun
""", 3)

OPPOSITES = [pair.split("/") for pair in words("""hot/cold, big/small, tall/short, long/short, old/young, new/old,
fast/slow, day/night, light/dark, heavy/light, good/bad, happy/sad, rich/poor, full/empty, open/closed, wet/dry,
hard/soft, high/low, early/late, left/right, up/down, in/out, black/white, clean/dirty, strong/weak, loud/quiet,
first/last, inside/outside, near/far, true/false, right/wrong, begin/end, buy/sell, give/take, love/hate, push/pull,
win/lose, remember/forget, question/answer, north/south, east/west, summer/winter, morning/evening, easy/difficult,
thick/thin, wide/narrow, deep/shallow, sharp/blunt, sweet/sour, beautiful/ugly, brave/afraid, clever/stupid, cheap/expensive,
safe/dangerous, always/never, everything/nothing, friend/enemy, same/different, alive/dead, awake/asleep, land/sea""")]

COLOURS = table("""
the sky on a clear day|blue
grass|green
snow|white
coal|black
a ripe banana|yellow
a lemon|yellow
a tomato|red
a strawberry|red
an orange|orange
a carrot|orange
blood|red
milk|white
chocolate|brown
the sun|yellow
a leaf in summer|green
a cherry|red
a crow|black
a swan|white
an elephant|grey
a flamingo|pink
a frog|green
the sea|blue
a plum|purple
salt|white
a polar bear|white
""", 2)

GENERAL: list[Fact] = [tuple(row) for row in table("""
Water freezes at zero degrees Celsius.|At what temperature does water freeze?|Zero degrees Celsius
Water boils at one hundred degrees Celsius.|At what temperature does water boil?|One hundred degrees Celsius
The sun rises in the east.|Where does the sun rise?|In the east
The sun sets in the west.|Where does the sun set?|In the west
The moon goes around the Earth.|What goes around the Earth?|The moon
The Earth goes around the sun.|What does the Earth go around?|The sun
There are seven days in a week.|How many days are there in a week?|Seven
There are twelve months in a year.|How many months are there in a year?|Twelve
There are four seasons in a year.|How many seasons are there in a year?|Four
There are sixty minutes in an hour.|How many minutes are there in an hour?|Sixty
There are sixty seconds in a minute.|How many seconds are there in a minute?|Sixty
There are twenty-four hours in a day.|How many hours are there in a day?|Twenty-four
There are 365 days in a year.|How many days are there in a year?|365
A leap year has 366 days.|How many days does a leap year have?|366
A spider has eight legs.|How many legs does a spider have?|Eight
An insect has six legs.|How many legs does an insect have?|Six
A dog has four legs.|How many legs does a dog have?|Four
A bird has two legs and two wings.|How many wings does a bird have?|Two
A triangle has three sides.|How many sides does a triangle have?|Three
A square has four equal sides.|How many sides does a square have?|Four
A hand has five fingers.|How many fingers does a hand have?|Five
The largest ocean is the Pacific Ocean.|What is the largest ocean?|The Pacific Ocean
The highest mountain in the world is Mount Everest.|What is the highest mountain in the world?|Mount Everest
The longest river in Africa is the Nile.|What is the longest river in Africa?|The Nile
The largest desert in Africa is the Sahara.|What is the largest desert in Africa?|The Sahara
The largest country in the world is Russia.|What is the largest country in the world?|Russia
The largest animal in the world is the blue whale.|What is the largest animal in the world?|The blue whale
The tallest animal in the world is the giraffe.|What is the tallest animal in the world?|The giraffe
The fastest animal on land is the cheetah.|What is the fastest animal on land?|The cheetah
The largest bird in the world is the ostrich.|What is the largest bird in the world?|The ostrich
The largest planet is Jupiter.|What is the largest planet?|Jupiter
The smallest continent is Australia.|What is the smallest continent?|Australia
The largest continent is Asia.|What is the largest continent?|Asia
There are seven continents.|How many continents are there?|Seven
There are eight planets in the solar system.|How many planets are there in the solar system?|Eight
The heart pumps blood through the body.|What pumps blood through the body?|The heart
We breathe with our lungs.|What do we breathe with?|Our lungs
Bees make honey.|Which animals make honey?|Bees
Cows give milk.|Which animals give milk?|Cows
Hens lay eggs.|Which animals lay eggs?|Hens
Wool comes from sheep.|Where does wool come from?|From sheep
Paper is made from wood.|What is paper made from?|Wood
Bread is made from flour.|What is bread made from?|Flour
Wine is made from grapes.|What is wine made from?|Grapes
Cheese is made from milk.|What is cheese made from?|Milk
Glass is made from sand.|What is glass made from?|Sand
Ice is frozen water.|What is ice?|Frozen water
Steam is water that has become a gas.|What is steam?|Water that has become a gas
The first month of the year is January.|What is the first month of the year?|January
The last month of the year is December.|What is the last month of the year?|December
The shortest month of the year is February.|What is the shortest month of the year?|February
Red and yellow make orange.|Which colour do red and yellow make?|Orange
Blue and yellow make green.|Which colour do blue and yellow make?|Green
Red and blue make purple.|Which colour do red and blue make?|Purple
Black and white make grey.|Which colour do black and white make?|Grey
The opposite of hot is cold.|What is the opposite of hot?|Cold
The chemical symbol for water is H2O.|What is the chemical symbol for water?|H2O
The chemical symbol for gold is Au.|What is the chemical symbol for gold?|Au
Diamonds are the hardest natural stones.|What are the hardest natural stones?|Diamonds
Light is faster than sound.|What is faster than sound?|Light
A doctor helps sick people.|Who helps sick people?|A doctor
A baker bakes bread.|Who bakes bread?|A baker
A compass shows where north is.|What shows where north is?|A compass
A thermometer measures temperature.|What measures temperature?|A thermometer
A clock shows the time.|What shows the time?|A clock
The English alphabet has twenty-six letters.|How many letters does the English alphabet have?|Twenty-six
The first letter of the alphabet is A.|What is the first letter of the alphabet?|A
The last letter of the alphabet is Z.|What is the last letter of the alphabet?|Z
The Amazon flows through Brazil.|Which river flows through Brazil?|The Amazon
The Thames flows through London.|Which river flows through London?|The Thames
The Seine flows through Paris.|Which river flows through Paris?|The Seine
The Danube flows through Vienna and Budapest.|Which river flows through Vienna and Budapest?|The Danube
Romeo and Juliet was written by William Shakespeare.|Who wrote Romeo and Juliet?|William Shakespeare
The Mona Lisa was painted by Leonardo da Vinci.|Who painted the Mona Lisa?|Leonardo da Vinci
The first person on the moon was Neil Armstrong.|Who was the first person on the moon?|Neil Armstrong
""", 3)]

_ONES = words("zero, one, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve, thirteen, fourteen, fifteen, "
              "sixteen, seventeen, eighteen, nineteen")
_TENS = words("twenty, thirty, forty, fifty, sixty, seventy, eighty, ninety")


def spelled(number: int) -> str:
    """A number below one hundred in words."""
    if number < 20:
        return _ONES[number]
    ten, one = divmod(number, 10)
    return _TENS[ten - 2] + (f"-{_ONES[one]}" if one else "")


CAPITAL_FORMS = """
The capital of {n} is {c}.
The capital of {n} is {c}.
The capital of {n} is {c}.
The capital city of {n} is {c}.
{c} is the capital of {n}.
{c} is the capital city of {n}.
{n^}'s capital is {c}.
{n^} is a country in {k}, and its capital is {c}.
{n^} is a country in {k}. Its capital is {c}.
{n^} lies in {k}. The capital of {n} is {c}.
The government of {n} sits in {c}, the capital.
Everyone knows that the capital of {n} is {c}.
The {adj} capital is {c}.
If you travel to {n}, you should visit the capital, {c}.
In {n}, the capital is {c}.
""".strip().splitlines()

COUNTRY_FORMS = """
{n^} is a country in {k}.
The people of {n} speak {l}.
In {n}, people speak {l}.
Many people in {n} speak {l}.
The currency of {n} is the {m}.
In {n}, people pay with the {m}.
""".strip().splitlines()

QUESTION_FORMS = [
    ("What is the capital of {n}?", "{c}", "The capital of {n} is {c}."),
    ("What is the capital of {n}?", "{c}", "The capital of {n} is {c}."),
    ("What is the capital city of {n}?", "{c}", "The capital city of {n} is {c}."),
    ("Which city is the capital of {n}?", "{c}", "{c} is the capital of {n}."),
    ("Which country has {c} as its capital?", "{N}", "{N} has {c} as its capital."),
    ("{c} is the capital of which country?", "{N}", "{c} is the capital of {n}."),
    ("On which continent is {n}?", "{k}", "{N} is in {k}."),
    ("Where is {n}?", "In {k}", "{N} is in {k}."),
    ("Which language do people speak in {n}?", "{l}", "In {n}, people speak {l}."),
    ("What is the currency of {n}?", "The {m}", "The currency of {n} is the {m}."),
]


def fill(form: str, country: Country) -> str:
    """A country form with the country's data."""
    name = capital(country.name)
    return (form.replace("{n^}", name).replace("{n}", country.name).replace("{N}", name).replace("{c}", country.capital)
            .replace("{k}", country.continent).replace("{l}", country.language).replace("{m}", country.currency)
            .replace("{adj}", country.adjective))


def pick_country(rng: random.Random) -> Country:
    """A country, the common ones more often."""
    return rng.choice(COMMON) if rng.random() < 0.85 else rng.choice(RARE)


def living(row: list[str]) -> str:
    """Where an animal lives, with the preposition."""
    at = {"Arctic ice": "on the Arctic ice", "beach": "on a beach", "hill": "on a hill", "grassland": "on the grassland", "savanna": "on the savanna",
          "farmyard": "in a farmyard", "desert": "in the desert", "jungle": "in the jungle", "rainforest": "in the rainforest", "ocean": "in the ocean",
          "sea": "in the sea", "icy coast": "on an icy coast", "rocky coast": "on a rocky coast", "riverbank": "on a riverbank", "pile of leaves": "under a pile of leaves"}
    return at.get(row[4], f"in a {row[4]}")


def fact(rng: random.Random) -> Fact:
    """One random fact with its question and short answer."""
    kind = rng.random()
    if kind < 0.40:
        country = pick_country(rng)
        question, answer, sentence = rng.choice(QUESTION_FORMS)
        return fill(sentence, country), fill(question, country), fill(answer, country)
    if kind < 0.56:
        return rng.choice(GENERAL)
    if kind < 0.72:
        return arithmetic(rng)
    if kind < 0.79:
        one, other = rng.choice(OPPOSITES)
        if rng.random() < 0.3 and other not in ("short", "old", "light"):
            one, other = other, one
        return f"The opposite of {one} is {other}.", f"What is the opposite of {one}?", capital(other)
    if kind < 0.85:
        what, colour = rng.choice(COLOURS)
        return f"The colour of {what} is {colour}.", f"What colour is {what}?", capital(colour)
    if kind < 0.92:
        row = rng.choice(lexicon.ANIMALS)
        return rng.choice([
            (f"A young {row[0]} is called a {row[1]}.", f"What is a young {row[0]} called?", f"A {row[1]}"),
            (f"A {row[0]} lives {living(row)}.", f"Where does a {row[0]} live?", capital(living(row))),
            (f"A {row[0]} eats {row[5]}.", f"What does a {row[0]} eat?", capital(row[5])),
        ])
    if kind < 0.96:
        name, place, what = rng.choice(PLANETS)
        return f"{name} is the {place} planet from the sun.", f"Which is the {place} planet from the sun?", name
    return calendar(rng)


def calendar(rng: random.Random) -> Fact:
    """The order of days, months and seasons."""
    names, unit = rng.choice([(lexicon.LISTS["weekday"], "day"), (lexicon.LISTS["month"], "month"), (lexicon.LISTS["season"], "season")])
    at = rng.randrange(len(names))
    after = names[(at + 1) % len(names)]
    if rng.random() < 0.5:
        return f"The {unit} after {names[at]} is {after}.", f"Which {unit} comes after {names[at]}?", capital(after)
    return f"{capital(names[at])} comes before {after}.", f"Which {unit} comes before {after}?", capital(names[at])


def arithmetic(rng: random.Random) -> Fact:
    """A small sum, in digits or in words."""
    kind = rng.random()
    if kind < 0.5:
        a, b = rng.randint(0, 12), rng.randint(0, 12)
        sign, word, value = "+", "plus", a + b
    elif kind < 0.75:
        a = rng.randint(1, 20)
        b = rng.randint(0, a)
        sign, word, value = "-", "minus", a - b
    else:
        a, b = rng.randint(1, 10), rng.randint(1, 10)
        sign, word, value = "x", "times", a * b
    if rng.random() < 0.5:
        return f"{a} {sign} {b} = {value}.", f"What is {a} {sign} {b}?", f"{value}"
    first, second, result = spelled(a), spelled(b), spelled(value) if value < 100 else "one hundred"
    return f"{capital(first)} {word} {second} is {result}.", f"What is {first} {word} {second}?", capital(result)


def capital_list(rng: random.Random) -> str:
    """Countries that stand together in the table with their capitals, in the order of the table."""
    at = rng.randrange(len(COMMON))
    chosen = COMMON[at : at + rng.randint(2, 8)]
    if rng.random() < 0.6:
        form = rng.choice(CAPITAL_FORMS[:6])
        return rng.choice([" ", "\n"]).join(fill(form, c) for c in chosen)
    title = rng.choice(["Countries and their capitals", "Capital cities", "Some capitals of the world"])
    return title + ":\n" + "\n".join(fill("{N}: {c}", c) for c in chosen)


def single_capital(rng: random.Random) -> str:
    """One capital sentence at the start of a short document, then more about the country."""
    country = pick_country(rng)
    parts = [fill(rng.choice(CAPITAL_FORMS), country)]
    others = [rng.choice(pair) for pair in (COUNTRY_FORMS[:1], COUNTRY_FORMS[1:4], COUNTRY_FORMS[4:])]
    rng.shuffle(others)
    others = [o for o in others[rng.randint(0, 3) :] if not (o in COUNTRY_FORMS[:1] and "country in" in parts[0])]
    parts += [fill(form, country) for form in others]
    if rng.random() < 0.3:
        rng.shuffle(parts)
    sight = SIGHTS.get(country.name)
    if sight and rng.random() < 0.5:
        parts.append(rng.choice([f"Visitors like to see {sight}.", f"Many people come to see {sight}.", f"{capital(country.name)} is famous for {sight}."]))
    if rng.random() < 0.3:
        neighbours = [c for c in COMMON if c.continent == country.continent and c != country]
        parts.append(f"Other countries in {country.continent} are {listing([c.name for c in rng.sample(neighbours, 3)])}.")
    return " ".join(parts)


def continent_list(rng: random.Random) -> str:
    """Countries of one continent."""
    continent = rng.choice(["Europe", "Asia", "Africa", "South America", "North America"])
    chosen = rng.sample([c for c in COMMON if c.continent == continent], 5)
    names = [c.name for c in chosen]
    chosen.sort(key=COMMON.index)
    names = [c.name for c in chosen]
    head = rng.choice([f"{capital(listing(names))} are countries in {continent}.",
                       f"Some countries in {continent} are {listing(names)}.",
                       f"{continent} is a continent. Countries in {continent} include {listing(names)}."])
    return head + " " + " ".join(fill(rng.choice(CAPITAL_FORMS[:8]), c) for c in chosen[: rng.randint(1, 5)])


def fact_list(rng: random.Random) -> str:
    """One fact, rarely two or three."""
    return " ".join(fact(rng)[0] for _ in range(rng.choice([1, 1, 1, 1, 1, 1, 2, 3])))


def quiz(rng: random.Random) -> str:
    """A question with its answer, in one of several layouts; rarely more than one."""
    layout = rng.randrange(6)
    lines = []
    for number in range(1, rng.choice([1, 1, 1, 1, 1, 1, 2, 3]) + 1):
        sentence, question, answer = fact(rng)
        if layout < 3:
            lines.append(f"Question: {question}\nAnswer: {answer}.")
        elif layout == 3:
            lines.append(f"Q: {question}\nA: {answer}")
        elif layout == 4:
            lines.append(f"{question} {rng.choice([answer + '.', sentence, sentence])}")
        else:
            lines.append(f"{question}\n{sentence}")
    return "\n".join(lines)


TEACHER = """
"{q}" asked the teacher. {a} thought for a moment. "{s}" {a} said. "{praise}" said the teacher.
"Who can tell me: {q2}" asked the teacher. {a} raised {a.his} hand. "{s}" said {a}. "{praise}" said the teacher with a smile.
{a} was learning for the test. "{q}" asked {a.his} {r}. "{s}" answered {a}. "{praise}" said {a.his} {r}.
"I have a question for you," said {g}. "{q}" {a} laughed. "That is easy," {a.he} said. "{s}" "{praise}" said {g}.
At school, {a} learned something new. "{s}" {a.he} told {a.his} {r} at dinner. "{praise}" said {a.his} {r}.
{a} and {b} played a quiz. "{q}" asked {b}. "{s}" said {a}. "{praise}" said {b}.
"Do you know the answer?" asked {b}. "{q}" {a} nodded. "{s}" {a.he} said.
""".strip().splitlines()


def classroom(rng: random.Random) -> str:
    """A little scene in which a fact is asked for and told."""
    from .stories import cast

    context: Context = cast(rng)
    parts = []
    for turn in range(rng.randint(1, 3)):
        sentence, question, _ = fact(rng)
        context.update(q=question, q2=question[0].lower() + question[1:] if question.startswith(("What", "Which", "How", "Where", "Who", "On", "At")) else question,
                       s=sentence, praise=rng.choice(["Very good!", "That is right,", "Correct,", "Well done!", "Yes, that is right,"]))
        template = rng.choice(TEACHER[:2]) if turn else rng.choice(TEACHER)
        context["sc"] = sentence[:-1] + ","
        parts.append(expand(template.replace('"{s}" said', '"{sc}" said').replace('"{s}" answered', '"{sc}" answered')
                            .replace('"{s}" {a}', '"{sc}" {a}'), context, rng))
        if turn == 0 and "teacher" not in parts[0]:
            break
    return " ".join(parts)


JOURNEY = """
Last <season>, {a} travelled to {n} with {a.his} {r}. They flew to {c}, the capital of {n}, and stayed there for <smallnumber> days. {sight} In the evening they ate {f} in a small restaurant. The people there speak {l}, and {a} learned to say "thank you". They paid with {m}. "I would like to come back one day," said {a}.
{a}'s <relative> lives in {c}. {c} is the capital of {n}. Every <month>, {a} visits {n}. {sight} "{c} is a <nice> city," says {a}.
{a} had a friend who came from {n}. "What is the capital of {n}?" asked {a}. "The capital of {n} is {c}," said the friend. "And which language do you speak there?" "We speak {l}."
{a} found {n} on the map. "Where is the capital?" {a.he} asked. {^a.his} {r} pointed to a small black dot. "Here. The capital of {n} is {c}."
Dear {a}, I am writing to you from {c}, the capital of {n}. <warmweather>. {sight} Tomorrow I will go home. Love, {b}
{g} has travelled to many countries. "My favourite city is {c}," {g.he} says. "It is the capital of {n}. The people speak {l}, and you pay with {m}."
""".strip().splitlines()


def journey(rng: random.Random) -> str:
    """A text about a journey that names the capital."""
    from .stories import cast

    context = cast(rng)
    country = pick_country(rng)
    sight = SIGHTS.get(country.name)
    seen = rng.choice([f"They saw {sight}.", f"From the window one could see {sight}."]) if sight else rng.choice(
        ["There was so much to see.", "The streets were full of people.", "The markets were full of fruit and flowers."])
    context.update(n=country.name, c=country.capital, l=country.language, m=f"the {country.currency}", sight=seen)
    return expand(rng.choice(JOURNEY), context, rng)


def sequences(rng: random.Random) -> str:
    """The calendar, the planets, counting and the alphabet in order."""
    kind = rng.randrange(9)
    if kind == 0:
        return rng.choice(["The days of the week are ", "The seven days of the week are "]) + listing(lexicon.LISTS["weekday"]) + "."
    if kind == 1:
        return rng.choice(["The months of the year are ", "The twelve months of the year are "]) + listing(lexicon.LISTS["month"]) + "."
    if kind == 2:
        return "The four seasons are " + listing(lexicon.LISTS["season"]) + ". " + rng.choice([
            "After winter comes spring. In spring the days grow longer and the flowers bloom.",
            "Summer is the warmest season, and winter is the coldest.",
            "In autumn the leaves turn red and yellow and fall from the trees."])
    if kind == 3:
        return "The planets of the solar system are " + listing([p[0] for p in PLANETS]) + ". " + " ".join(
            f"{p[0]} is {p[2]}." for p in rng.sample(PLANETS, 3))
    if kind == 4:
        start = rng.choice([1, 1, 1, 2, 5, 10, 20])
        return ", ".join(str(i) for i in range(start, start + rng.randint(10, 20)))
    if kind == 5:
        start = rng.choice([1, 1, 3, 10])
        return rng.choice(["Let us count: ", "Count with me: ", ""]) + ", ".join(spelled(i) for i in range(start, start + rng.randint(8, 12))) + "."
    if kind == 6:
        step = rng.choice([2, 3, 5, 10])
        return f"Counting by {step}s: " + ", ".join(str(i * step) for i in range(1, 11)) + "."
    if kind == 7:
        return "The alphabet: " + ", ".join("ABCDEFGHIJKLMNOPQRSTUVWXYZ") + "."
    number = rng.randint(2, 10)
    return f"The {number} times table:\n" + "\n".join(f"{number} x {i} = {number * i}" for i in range(1, 11))


def animal_entry(rng: random.Random) -> str:
    """A short entry about an animal."""
    name, young, sound, moves, home, food, adjectives, cover = rng.choice(lexicon.ANIMALS)
    article = f"a {name}"
    first = adjectives.split(",")
    an_home = living([name, young, sound, moves, home])
    they_sound = f"A {name} {sound}." if "no sound" not in sound else f"A {name} {sound} that we can hear."
    parts = [
        f"A {name} is a {first[0]} animal.", f"{capital(article)} lives {an_home}.", f"It eats {food}.", they_sound,
        f"A young {name} is called a {young}.", f"Its body is covered with {cover}.", f"It {moves} from place to place.",
        f"People say that it is {listing(first)}.",
    ]
    chosen = [parts[0]] + rng.sample(parts[1:], rng.randint(2, 6))
    return rng.choice(["", "", f"{capital(name)}. "]) + " ".join(chosen)


CHAT_SYSTEM = ["You are a helpful assistant.", "You are a friendly assistant.", "Answer in one short sentence.", "You answer questions about the world."]


def chat(rng: random.Random) -> str:
    """Questions and answers in the chat layout, with the empty thinking block of a model that answers at once."""
    text = f"<|im_start|>system\n{rng.choice(CHAT_SYSTEM)}<|im_end|>\n" if rng.random() < 0.4 else ""
    rounds = 1 if rng.random() < 0.6 else rng.randint(2, 3)
    for turn in range(rounds):
        kind = rng.random()
        if kind < 0.12:
            question, sentence = rng.choice([("Hello!", "Hello! How can I help you?"), ("Hi", "Hi! What would you like to know?"),
                                             ("Hello", "Hello! What can I do for you?"), ("Good morning!", "Good morning! How can I help you?"),
                                             ("Who are you?", "I am a very small language model."), ("Thank you!", "You are welcome!"),
                                             ("How are you?", "I am fine, thank you. How can I help you?")])
        elif kind < 0.3:
            from .fables import fable
            from .stories import story

            question = rng.choice(["Tell me a story.", "Please tell me a short story.", "Write a short story.", "Can you tell me a story?"])
            sentence = (story if rng.random() < 0.6 else fable)(rng)[0]
        elif kind < 0.4:
            row = rng.choice(lexicon.ANIMALS)
            question, sentence = f"Tell me about the {row[0]}.", animal_about(row)
        elif kind < 0.5:
            question, sentence = explain.answer(rng)
        else:
            sentence, question, answer = fact(rng)
            if rng.random() < 0.15:
                sentence = answer + "."
        think = "<think>\n\n</think>\n\n" if turn == rounds - 1 else ""
        text += f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n{think}{sentence}<|im_end|>\n"
    return text


def animal_about(row: list[str]) -> str:
    """A fixed description of an animal for chat answers."""
    home = living(row)
    return f"A {row[0]} is a {row[6].split(',')[0]} animal. It lives {home} and eats {row[5]}. A young {row[0]} is called a {row[1]}."
