"""Everyday texts: descriptions, diaries, portraits, dialogues, letters, instructions and loose scenes."""

from __future__ import annotations

import random

from . import lexicon, people
from .grammar import Context, expand, listing
from .stories import cast

SCENE = {
    "open": """
<oneday>, {a} went to the {pl}.
{^oneday}, {a} and {b} went to the {pl} together.
The {pl} was {pl.adj}.
There [is|was] a {pl.adj} {pl} near the town.
It was <weekday>, and {a} was on {a.his} way to the {pl}.
<^morning> {a} woke up early.
{a} had a <small> {p.kind} named {p}.
{a} had always wanted to see the {pl}.
{a} opened the door and looked outside.
{g} was sitting [in the garden|by the window|on a bench near the {pl}].
The {pl} lay in the morning light.
It was the first day of <season>.
The house stood near the {pl}.
{a} sat by the window and looked at the street.
{a} walked slowly down the street.
The bus was late again.
A <colour> bird sat on the roof.
Nobody was in the {pl}.
When {a} came home from school, the house was quiet.
{a} was looking for {a.his} {t}.
On the table there was a {t.adj} {t}.
It was {a}'s favourite time of the day.
{a} and {b} were good friends.
{a} could hardly believe it.
The door opened slowly.
The wind blew through the trees.
""",
    "see": """
There were {pl.see}.
One could see {pl.see}.
{a} could hear {pl.hear}.
From far away came the sound of {pl.hear}.
<warmweather>.
<coldweather>.
People came there to {pl.do}.
The air smelled of [flowers|rain|fresh bread|grass|the sea|smoke and apples].
It was so quiet that {a} could hear {a.his} own steps.
The {pl} looked {pl.adj} and [peaceful|empty|almost magical].
A {x} sat [under a tree|on the wall|in the shade] and did not move.
The leaves were <colour> and <colour>.
[Two|Three|Four] children were [playing with a ball|running around|laughing].
A <colour> <clothes> hung [on the door|over a chair|in the sun].
Somewhere a dog was barking.
""",
    "do": """
{a} took a deep breath and smiled.
{a} sat down and ate {f}.
{f.Cap} {f.is2} {f.taste}, and {a} ate {f.it} with pleasure.
{a} found a {t.adj} {t} and picked it up.
{a} looked around, but there was nobody.
{a} [read|thought|waited] for a while.
<then> {b} came along. "[Hello|Good morning|There you are], {a}!" {b.he} <cried>.
{g} walked by and [said hello|waved|smiled].
"What are you doing here?" <asked> {g}. "[I am looking for {p}|I am waiting for {b}|I am on my way home|Nothing special]," said {a}.
"[Do you like it here|Are you enjoying the day|Is it not lovely here]?" <asked> {g}. "[Yes, very much|Yes, I do|I could not be happier]," said {a}.
{p} the {p.kind} ran ahead and [barked at everything|looked at every corner|came back again].
{a} [drew a picture of it|wrote it down in {a.his} book|took a photograph].
"I like this place," said {a}. "[I could stay here all day|It is so quiet|It is so <nice>]."
{a} bought <fruits> and a glass of <drink>.
{b} told a joke, and both of them laughed.
{a} thought about {a.his} {r}, who [loved|had always liked] such days.
They talked about [school|the summer|the {pl}|their plans].
{a} picked some flowers for {a.his} {r}.
""",
    "turn": """
<suddenly> it began to rain.
<suddenly> there was a loud noise.
After a while, it grew [cold|dark|late].
The clock struck <number>.
<then> it was time to go home.
<suddenly> {p} began to [make a noise|run].
The sun went behind a cloud.
{a} looked at the clock. It was already late.
<then> a door opened, and {g} looked out.
""",
    "close": """
{a} went home [with a smile|slowly|happy and tired].
{^a.his} {r} was already waiting with {f}.
"How was your day?" asked {a.his} {r}. "[Wonderful|Very nice|Quiet, but good]," said {a}.
{^evening} {a} [told {a.his} {r} about it|lay in bed and thought about the day|looked at the stars|fell asleep at once].
It had been a good day.
Tomorrow {a} would come back.
{a} knew that {a.he} would come again.
{a} put {a.his} <clothes> on the hook and went to bed.
That night {a} slept well.
""",
}
_SCENE = {key: value.strip().splitlines() for key, value in SCENE.items()}


def _full_cast(rng: random.Random) -> Context:
    context = cast(rng)
    people.animal(context, "x", rng)
    context["oneday"] = rng.choice(lexicon.LISTS["oneday"])
    context["evening"] = rng.choice(lexicon.LISTS["evening"])
    context["f.Cap"] = context["f"][0].upper() + context["f"][1:]
    context["f.is2"] = "were" if context["f.is"] == "are" else "was"
    return context


def scene(rng: random.Random) -> tuple[str, str]:
    """A loose scene: an opening, things seen and done, a turn and an end."""
    context = _full_cast(rng)
    sentences = [expand(rng.choice(_SCENE["open"]), context, rng)]
    if context["pl"] not in sentences[0]:
        sentences.append(expand(rng.choice(["{a} was [at|on {a.his} way to|not far from|standing in front of] the {pl}[ with {b}| with {a.his} {r}|].",
                                            "From there {a} could see the {pl}.", "{a} [went|walked|had come] to the {pl}[ with {b}|]."]), context, rng))
    elif context["a"] not in sentences[0]:
        sentences.append(expand(rng.choice(["{a} was there [with {a.his} {r}|with {b}|alone].", "{a} [stood still|stopped] and looked.",
                                            "{a} had come there with {a.his} {r}."]), context, rng))
    sentences += [expand(line, context, rng) for line in rng.sample(_SCENE["see"], rng.randint(1, 2))]
    sentences += [expand(line, context, rng) for line in rng.sample(_SCENE["do"], rng.randint(1, 4))]
    if rng.random() < 0.6:
        sentences.append(expand(rng.choice(_SCENE["turn"]), context, rng))
    sentences += [expand(line, context, rng) for line in rng.sample(_SCENE["close"], rng.randint(1, 2))]
    return " ".join(sentences), f"scene/{context['a']}/{context['pl']}/{context['f']}"


DIARY = """
[My name is {a}|I am {a}], and I am <age> years old. I live [in a <small> house|in a flat|on a farm] near the {pl} with my {r} and my {p.kind} {p}. My favourite food is {f}, because {f.it2} {f.is} {f.taste}. My favourite colour is <colour>. In my free time I like <hobby> and <hobby>. My best friend is called {b}. When I grow up, I want to be a <job>.
Dear diary, today was a <nice> day. <^morning2> I went to the {pl} with {b}. We saw {pl.see}. We ate {f} and talked for hours. [Tomorrow we will go there again.|I hope that tomorrow will be just as good.|Now I am tired, and I am going to bed.]
Dear diary, today I was <sad>. I lost my {t}, and I looked for it everywhere. Then {b} came and helped me. We found it [at the {pl}|under the bed|in the garden]. Now I am <happy> again. It is good to have a friend like {b}.
My favourite food is {f}. {f.It2} {f.is} {f.taste}. {f.Cap} {f.made}. My {r} makes {f.it} every <weekday>. [I could eat {f.it} every day.|Sometimes I help in the kitchen.|We always eat {f.it} together.] {b} likes <fruits> more, but I think that nothing is better than {f}.
My favourite season is <season:ss>. [I like it because <hobby> is more fun then.|The days are <nice> then.] On weekends I go to the {pl} with my {r}. There one can hear {pl.hear}. My {r} likes <season> more, but I love {ss}.
My favourite animal is the {x}. It is {x.adj}, and it eats {x.food}. A {x} {x.sound}. A young {x} is called a {x.young}. I have a picture of a {x} on my wall. One day I want to see a real one.
My favourite colour is <colour:cc>. My <clothes> is {cc}, and my room is {cc} too. {b} says that <colour> is nicer, but I do not agree.
My {r} is a <job>. Every morning {r.he} gets up at <clock> o'clock and goes to work. In the evening {r.he} comes home and tells us about {r.his} day. On <weekday> {r.he} does not work, and then we go to the {pl} together. I love my {r} very much.
Every morning {a} gets up at <clock> o'clock. {^a.he} washes {a.his} face, puts on {a.his} <clothes> and eats breakfast. {^a.he} has {f} and a glass of <drink>. Then {a.he} goes to school with {b}. {a.His} favourite subject is <subject>. In the afternoon {a.he} likes <hobby>. In the evening {a} reads a book and goes to bed at <clock2> o'clock.
{g} is a <job>. {^g.he} lives near the {pl} and has a {p.kind} named {p}. Everyone in the village knows {g.him}. {^g.he} is <good> and always has time for a talk. In {g.his} free time {g.he} likes <hobby>. "[I have had a good life|I would not want to live anywhere else|Work is only half of life]," {g.he} says.
Our school is [old|small|large] and stands next to the {pl}. There are <number> classrooms and a big yard. My teacher is called {g}. {^g.he} teaches us <subject> and <subject:sub>. I like {sub} best. In the break we play <sport> or eat our sandwiches. After school I walk home with {b}.
I have a {p.kind}. {p.His} name is {p}, and {p.he} is <smallnumber> years old. {^p.he} is <colour> and very <good2>. In the morning {p.he} wakes me up. {^p.he} likes to [sleep in the sun|play with a ball|lie on my bed|eat]. When I come home from school, {p} is already waiting at the door. I would not give {p.him} away for anything in the world.
Last summer we went to the {pl}. We travelled by [train|car|bus] and stayed for <number> days. <warmweather> almost every day. I learned <hobby>, and my {r} read <smallnumber> books. The best thing was the {pl}: there were {pl.see}, and at night we heard {pl.hear}. I was sad when we had to go home.
Our house is [not big|old|near the {pl}]. It has <smallnumber> rooms and a <colour> door. In the kitchen there is a big table where we eat. My room is upstairs. From my window I can see the {pl}. In the living room there is a {t.adj} {t} that belonged to my {r}. I like our house very much.
""".strip().splitlines()


def diary(rng: random.Random) -> str:
    """A first-person text, a portrait or a routine."""
    context = _full_cast(rng)
    context.update({"f.it2": "they" if context["f.is"] == "are" else "it", "f.It2": "They" if context["f.is"] == "are" else "It",
                    "a.His": context["a.his"].capitalize(), "p.His": context["p.his"].capitalize()})
    template = rng.choice(DIARY).replace("<^morning2>", rng.choice(["In the morning", "After breakfast", "At ten o'clock", "In the afternoon"]))
    template = template.replace("<clock>", rng.choice(["six", "seven", "half past six"])).replace("<clock2>", rng.choice(["eight", "nine"]))
    template = template.replace("half past six o'clock", "half past six").replace("<good2>", "<good>")
    template = template.replace("<good>", rng.choice(["friendly", "clever", "gentle", "curious", "patient"])) if "{p.His}" in template else template
    return expand(template, context, rng)


DESCRIPTIONS = """
{pl.The} {pl} is {pl.adj}. There are {pl.see}. You can hear {pl.hear}. People go there to {pl.do}. [In summer it is full of people.|In winter it is quiet.|Children love it.|It is best early in the morning.]
A {t} is a thing that people use to {t.use}. It is usually made of {t.of}. {a} has a {t.adj} {t}. It [stands|is kept] near the {t.at}. It once belonged to {a.his} {r}, and {a} takes good care of it.
In <season>, [the days are <nice>|the {pl} looks different|everything changes]. <warmweather>, and the people go to the {pl}. They {pl.do}. Children [play outside|run through the streets] until it is dark.
In winter the days are short and cold. Snow covers the roofs and the fields, and the lakes freeze. People wear warm coats, hats and gloves. In the evening they sit by the fire and drink <drink>.
In spring the snow melts and the days grow longer. The first flowers come out of the ground, and the birds build their nests. Farmers plough their fields and plant seeds. Everything turns green again.
In summer the sun is high in the sky, and the days are long and warm. Children have no school and swim in the lake. In the garden there are <fruits> and <vegetables>. In the evening people sit outside and talk.
In autumn the leaves turn red, yellow and brown. The wind blows them from the trees. Farmers bring in the harvest, and there are apples, pears and nuts. The days grow shorter, and many birds fly to the south.
{g} has a shop near the {pl}. In the window there are <fruits>, <vegetables> and bread. Inside it smells of [coffee|spices|fresh bread]. "What can I do for you?" asks {g}, whenever somebody comes in. {^g.he} knows every customer by name.
The {x} is a {x.adj} animal. It lives {x.homein}. In the morning it looks for food. It likes {x.food}. When it is [afraid|in danger], it [hides|runs away]. In <season> the {x} has its young, and each of them is called a {x.young}.
""".strip().splitlines()


def description(rng: random.Random) -> str:
    """A description of a place, a thing, a season or a shop."""
    context = _full_cast(rng)
    context["pl.The"] = "The"
    from .facts import living

    context["x.homein"] = living(["", "", "", "", context["x.home"]])
    return expand(rng.choice(DESCRIPTIONS), context, rng)


_TALK = [
    ("Good morning. What would you like?", "I would like some {v} and a loaf of bread, please.", "Here you are. Anything else?", "No, thank you. How much is it?", "That is {n} coins.", "Here is the money. Goodbye!", "Thank you. Have a nice day!"),
    ("Hello, {b}! How are you?", "I am fine, thank you. And you?", "I am a little tired. I went to bed late.", "Why?", "I was reading a book about {x}s.", "Was it good?", "Yes, I could not stop reading."),
    ("What are you doing, {b}?", "I am looking for my {t}.", "Where did you put it?", "I do not know. Maybe I left it at the {pl}.", "Come, I will help you to look for it.", "Thank you. You are a good friend."),
    ("Excuse me, how do I get to the {pl}?", "Go straight on and turn left at the church.", "Is it far?", "No, it takes about {n} minutes on foot.", "Thank you very much.", "You are welcome."),
    ("What is your favourite food?", "I like {f} best.", "Why?", "Because my {r} always makes {f.it} on Sundays. And you?", "I like {fr} more.", "Those are good too."),
    ("Shall we go to the {pl} tomorrow?", "That is a good idea. When shall we meet?", "At {n} o'clock in front of your house.", "What shall I bring?", "Bring something to drink. I will bring {f}.", "Good. See you tomorrow!"),
    ("Look at the sky! It is going to rain.", "Then we should go home.", "I have an umbrella with me.", "It is too small for two.", "We can share it. Come closer.", "All right. Let us run!"),
    ("Can you help me with my homework?", "Of course. What is it about?", "It is about {s}.", "Oh, I like {s}. Show me the first question.", "Here it is. I do not understand it.", "Let us read it again, slowly. You will see that it is not so hard."),
    ("Why are you so happy today?", "My {r} is coming to visit us.", "How long will {r.he} stay?", "For {n} days. We are going to the {pl} together.", "That sounds wonderful.", "Yes, I can hardly wait."),
    ("What do you want to be when you grow up?", "I want to be a {j}.", "Why?", "Because I like to work with my hands and to help people. And you?", "I do not know yet. Maybe a {j2}.", "There is still a lot of time."),
    ("I am afraid of the dark.", "You do not have to be afraid. I am here.", "Can you leave the light on?", "Yes, I will leave the small lamp on.", "Thank you. Good night, {b}.", "Good night, {a}. Sleep well."),
    ("Doctor, I do not feel well.", "What is the matter?", "My head hurts, and I am cold.", "You have a cold. Drink hot tea and stay in bed.", "For how long?", "For {n} days. Then you will be well again."),
]


def dialogue(rng: random.Random) -> str:
    """A short conversation, as a play or in prose."""
    context = _full_cast(rng)
    context.update(v=rng.choice(lexicon.LISTS["vegetables"]), n=rng.choice(["three", "five", "ten", "four", "six", "eight"]),
                   fr=rng.choice(lexicon.LISTS["fruits"]), s=rng.choice(lexicon.LISTS["subject"]),
                   j=rng.choice(lexicon.LISTS["job"]), j2=rng.choice(lexicon.LISTS["job"]))
    lines = [expand(line, context, rng) for line in rng.choice(_TALK)]
    first, second = context["a"], context["b"]
    if rng.random() < 0.6:
        return "\n".join(f"{(first, second)[i % 2]}: {line}" for i, line in enumerate(lines))
    text = expand("{a} and {b} met [in the street|at the {pl}|after school|in the kitchen].", context, rng) if rng.random() < 0.6 else ""
    for index, line in enumerate(lines):
        speaker = (first, second)[index % 2]
        if index < 2 or rng.random() < 0.3:
            if line.endswith("?"):
                text += f' "{line}" asked {speaker}.'
            elif line.endswith("!"):
                text += f' "{line}" cried {speaker}.'
            else:
                text += f' "{line[:-1]}," said {speaker}.'
        else:
            text += f' "{line}"'
    return text


LETTERS = r"""
Dear {b},\nthank you for your letter. I am well, and {p} is well too. <^lastweek> we went to the {pl}, and I thought of you. There were {pl.see}. I would like to show it to you. Can you come and visit us in <month>?\n[Best wishes|Love|Your friend],\n{a}
Dear {g},\nthank you very much for <gift>. I was so <happy> when I opened the box. I will use it every day. I hope that you are well. My {r} sends you greetings.\n[Best wishes|Love],\n{a}
Dear {b},\nI am sorry that I could not come to your party. I was ill and had to stay in bed for <smallnumber> days. Now I am better. Shall we go to the {pl} on <weekday>? I will bring {f}.\nYour friend,\n{a}
Dear {b},\nhow are you? I am writing to you from <city>. The city is <nice>, and there is so much to see. Yesterday I visited a museum, and today I sat in a park and ate {f}. The weather is [good|not very good, but I do not mind]. I will be home on <weekday>.\nLove,\n{a}
""".strip().splitlines()

HOWTO = """
How to make tea: First, boil some water. Then put the tea into a pot and pour the hot water over it. Wait for [three|four|five] minutes. Pour the tea into a cup. You can add milk, sugar or a slice of lemon. [Be careful, the tea is hot.|Enjoy your tea.]
How to make pancakes: You need flour, milk, two eggs and a little salt. Mix everything in a bowl until it is smooth. Heat some butter in a pan. Pour a little of the mixture into the pan. When the pancake is golden on one side, turn it over. Eat it with [honey|jam|sugar|fruit].
How to plant a tree: Choose a sunny place. Dig a hole that is big enough for the roots. Put the tree into the hole and fill it with soil. Then give the tree plenty of water. [In the first year, water it every week.|Be patient, for a tree grows slowly.]
How to make a salad: Wash the lettuce and cut it. Cut <smallnumber> tomatoes and a cucumber. Put everything into a big bowl. Add oil, a little vinegar and some salt. Mix it well and eat it at once.
How to wash your hands: Turn on the water and make your hands wet. Take some soap and rub your hands for twenty seconds. Do not forget your thumbs. Then wash off the soap and dry your hands with a clean towel.
How to build a kite: Take two thin sticks and tie them together in the form of a cross. Cut a piece of paper and glue it to the sticks. Tie a long string to the middle. Make a tail from cloth. Then wait for a windy day and let it fly.
How to make soup: Cut <vegetables> and onions into small pieces. Fry them in a pot with a little oil. Add water and salt, and let the soup cook for half an hour. Taste it. [Serve it hot with bread.|Add some pepper, if you like.]
How to bake bread: Mix flour, water, salt and yeast. Knead the dough for ten minutes. Cover it with a cloth and let it rest in a warm place for an hour. Then put it into the hot oven. After forty minutes the bread is brown and ready. Let it cool before you cut it.
How to cook rice: Wash the rice with cold water. Take one cup of rice and two cups of water. Add a little salt and let it boil. Then turn down the heat and wait for fifteen minutes. Do not lift the lid. When all the water is gone, the rice is ready.
How to take care of a {p.kind}: Give it fresh water and food every day. Keep its place clean. Play with it, and speak to it in a friendly voice. If it is ill, take it to the vet. A {p.kind} is not a toy, but a friend.
How to stay healthy: Sleep enough, eat fruit and vegetables, and drink plenty of water. Move every day: walk, run or swim. Brush your teeth in the morning and in the evening. And laugh as often as you can.
How to find the way with a compass: Hold the compass flat in your hand. The needle turns and points to the north. Turn the map until its top points to the north too. Now you can see in which direction you have to go.
How to write a letter: Begin with "Dear" and the name. Then write what you want to say in short, clear sentences. End with a greeting and your name. Put the letter into an envelope, write the address on it and add a stamp.
""".strip().splitlines()


def letter(rng: random.Random) -> str:
    """A letter or a set of instructions."""
    context = _full_cast(rng)
    if rng.random() < 0.5:
        return expand(rng.choice(LETTERS).replace("\\n", "\n").replace("<^lastweek>", rng.choice(["Last week", "Yesterday", "On Sunday", "In the holidays"])), context, rng)
    text = expand(rng.choice(HOWTO), context, rng)
    if rng.random() < 0.3:
        title, _, body = text.partition(": ")
        steps = [s.strip().rstrip(".") for s in body.split(". ") if s.strip()]
        return title + ":\n" + "\n".join(f"{i}. {step}." for i, step in enumerate(steps, 1))
    return text


def job_entry(rng: random.Random) -> str:
    """What someone does for a living."""
    job, does, tool, where, why = rng.choice(lexicon.JOBS)
    context = _full_cast(rng)
    context.update(j=job, does=does, tool=tool, where=where, why=why)
    template = rng.choice([
        "A {j} {does}. For this work a {j} needs {tool}. {why}. [{a} wants to become a {j} one day.|{a}'s {r} is a {j}.|It is not an easy job, but {a} would like to do it.]",
        "{g} is a {j}. {^g.he} {does}. {^g.he} works with {tool}. {why}. \"[I like my work|It is hard work, but I love it|Every day is different]," "\" says {g}.",
        "What does a {j} do? A {j} {does}. {why}.",
    ])
    return expand(template, context, rng)


def opposites_text(rng: random.Random) -> str:
    """Sentences built on opposites and comparisons."""
    from .facts import OPPOSITES

    pairs = rng.sample(OPPOSITES, rng.randint(2, 5))
    lines = [rng.choice([f"The opposite of {a} is {b}.", f"{a.capitalize()} is the opposite of {b}.", f'"{a.capitalize()}" and "{b}" are opposites.'])
             for a, b in pairs]
    return " ".join(lines)


COMPARE = [("elephant", "bigger", "mouse"), ("horse", "faster", "cow"), ("stone", "heavier", "feather"), ("mountain", "higher", "hill"),
           ("summer", "warmer", "winter"), ("river", "longer", "stream"), ("lion", "stronger", "cat"), ("train", "faster", "bicycle"),
           ("giraffe", "taller", "dog"), ("whale", "larger", "dolphin"), ("fire", "hotter", "sun in spring"), ("lemon", "sourer", "apple"),
           ("snail", "slower", "dog"), ("ship", "bigger", "boat"), ("city", "larger", "village"), ("sea", "deeper", "lake")]


def comparison(rng: random.Random) -> str:
    """A few comparisons."""
    lines = []
    for one, more, other in rng.sample(COMPARE, rng.randint(2, 4)):
        lead = "" if one == "summer" else "a "
        tail = "" if other == "winter" else "a "
        lines.append(f"{(lead + one).capitalize()} is {more} than {tail}{other}.")
    return " ".join(lines)


def shopping(rng: random.Random) -> str:
    """A small sum told as a story, always worked out right."""
    from .facts import spelled

    context = _full_cast(rng)
    first, more = rng.randint(1, 12), rng.randint(1, 8)
    things = rng.choice(lexicon.LISTS["fruits"] + ["books", "coins", "stones", "shells", "marbles", "pencils"])
    one, two = (spelled(first), spelled(more)) if rng.random() < 0.6 else (str(first), str(more))
    say = spelled if one.isalpha() else str
    if rng.random() < 0.5:
        text = expand("{a} has " + f"{one} {things}. " + "{b} gives {a.him} " + f"{two} more. How many {things} does " + "{a} have now?", context, rng)
        text += expand(f" {say(first).capitalize()} plus {say(more)} is {say(first + more)}. " + "{a} has " + f"{say(first + more)} {things}.", context, rng)
    else:
        total = first + more
        text = expand("{a} has " + f"{say(total)} {things}. {{^a.he}} gives {two} of them to " + "{b}. How many are left?", context, rng)
        text += f" {say(total).capitalize()} minus {say(more)} is {say(total - more)}. There {'is' if total - more == 1 else 'are'} {say(total - more)} left."
    return text


def riddle(rng: random.Random) -> str:
    """A riddle about an animal."""
    from .facts import living

    name, young, sound, moves, home, food, adjectives, cover = rng.choice(lexicon.ANIMALS)
    hints = [f"I eat {food}.", f"My young is called a {young}.", f"I am {listing(adjectives.split(','))}.",
             f"I live {living([name, young, sound, moves, home])}."]
    rng.shuffle(hints)
    return " ".join(hints[: rng.randint(2, 4)]) + f" What am I? I am a {name}."
