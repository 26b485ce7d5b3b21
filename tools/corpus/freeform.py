"""Free scenes built sentence by sentence: somebody wants something, tries, meets an obstacle and gets on.

``s`` is the person; ``s`` on first mention may be "the boy", "Tom", "I", "we" or "the two friends", with
``he him his was has`` in the right form.
"""

from __future__ import annotations

import random

from . import lexicon, people
from .grammar import Context, expand, table
from .stories import cast

SUBJECTS = {
    "m": ["the boy", "the little boy", "the old man", "the young man", "the farmer", "the king", "the fisherman", "the baker", "my brother",
          "my father", "my grandfather", "my uncle", "the man", "the shepherd", "the sailor", "the teacher", "the prince", "his neighbour"],
    "f": ["the girl", "the little girl", "the old woman", "the young woman", "the queen", "my sister", "my mother", "my grandmother",
          "my aunt", "the woman", "the princess", "the doctor", "the nurse", "the shopkeeper"],
}
_FORMS = {
    "m": ("he", "him", "his", "was", "had", "himself"), "f": ("she", "her", "her", "was", "had", "herself"),
    "i": ("I", "me", "my", "was", "had", "myself"), "w": ("we", "us", "our", "were", "had", "ourselves"),
    "t": ("they", "them", "their", "were", "had", "themselves"),
}


def subject(context: Context, rng: random.Random) -> str:
    """Binds the person of the scene; returns the kind (m, f, i, w, t)."""
    draw = rng.random()
    if draw < 0.34:
        kind = rng.choice("mf")
        name = rng.choice(lexicon.BOYS if kind == "m" else lexicon.GIRLS)
    elif draw < 0.68:
        kind = rng.choice("mf")
        name = rng.choice(SUBJECTS[kind])
    elif draw < 0.8:
        kind, name = "i", "I"
    elif draw < 0.88:
        kind, name = "w", rng.choice(["we", "my sister and I", "my friend and I", "my brother and I"])
    else:
        kind = "t"
        name = rng.choice([f"{context['a']} and {context['b']}", "the two friends", "the children", "the two brothers", "the sisters", "the boys",
                           f"{context['b']} and {context['a']}", "the people", "the neighbours"])
    context["s"] = name
    for key, value in zip(("he", "him", "his", "was", "had", "self"), _FORMS[kind]):
        context[key] = value
    context["again"] = context["he"] if kind in "iw" or rng.random() < 0.6 else name
    return kind


# goal | first step / second step / third step | obstacle / obstacle | outcome / outcome
GOALS = [[cell.split(" / ") for cell in row] for row in table("""
bake a cake|mixed flour, sugar and eggs / put the dough into a round form / waited in front of the oven|there was no sugar left / the oven was too hot|the cake was golden and sweet / the cake was a little black, but it tasted good
catch a fish|sat down by the river / threw the line into the water / waited without a word|the line broke / no fish came for hours|at last a big silver fish hung on the line / there was no fish, only an old boot
build a tree house|carried boards and nails to the old oak / made a floor first / fixed a ladder to the trunk|it began to rain / the nails were too short|in the evening the house stood between the branches / the little house was crooked, but strong
write a letter|took a sheet of paper and a pen / thought for a long time / wrote one word after another|the ink ran dry / the right words did not come|the letter was finished before midnight / the letter was short, but it came from the heart
buy a present|counted the coins / went from shop to shop / looked at many things|everything was too expensive / the shops were already closed|a small music box was just right / in the end a handmade present was the best
repair the roof|fetched a ladder and a hammer / climbed up slowly / took away the broken tiles|the wind grew strong / the ladder was too short|when the next rain came, the house stayed dry / not a drop came through the roof any more
find the key|looked under the mat / emptied every pocket / searched the whole house|the lamp went out / it was not in its usual place|the key was in the door the whole time / the key lay at the bottom of the basket
climb the hill|set out before sunrise / followed a narrow path / rested on a flat stone|the path was steep / thick fog came down|from the top one could see the sea / the view from the top was worth every step
learn to ride a bicycle|sat on the saddle / held the handlebars tight / pushed off with one foot|the bicycle fell over again and again / the street was full of holes|by the end of the day the bicycle went straight / it was easier than it had looked
plant a tree|dug a deep hole / set the young tree into the ground / filled the hole with soil and water|the ground was hard as stone / there were roots everywhere|after ten years the tree was higher than the house / in spring the first leaves came out
see the sea|took the early train / walked over the dunes / listened to the wind|the train was late / clouds covered the sky|there it was, blue and endless / the waves were higher than in any picture
cross the river|looked for a bridge / took off both shoes / stepped from stone to stone|the water was deep and cold / one stone was loose|soon the other side was reached / both feet were wet, but that did not matter
make a fire|gathered dry wood / made a ring of stones / struck a match|the wood was wet / the wind blew out the match|small flames rose, and it became warm / soon the fire crackled and gave light
catch the train|packed a small bag / ran down the street / bought a ticket|the bag fell open / a crowd stood at the door|the doors closed just behind the last step / the train was gone, but another came in an hour
pick apples|took a ladder and two baskets / chose the reddest ones / put them down carefully|a branch broke / the best ones hung too high|both baskets were full by noon / there were enough for ten pies
open the old box|turned the rusty lock / pulled at the lid / brought a strong knife|the lid did not move / the lock was broken|inside lay letters tied with a ribbon / inside there was a coin, a ring and a map
cook soup|cut carrots and onions / put a pot on the stove / stirred and tasted|the pot boiled over / there was no salt|the soup was hot and good / everyone asked for a second bowl
wash the dog|filled a tub with warm water / took the soap / called the dog|the dog ran away / the dog shook itself|in the end everyone was wet and the dog was clean / the dog smelled of flowers for a week
paint the door|bought a pot of green paint / cleaned the wood / painted from top to bottom|the brush lost its hairs / a fly got stuck in the paint|the door shone in the sun / people stopped to look at the fine door
sleep|closed the window / put out the light / counted sheep|a dog barked in the street / the bed was too hard|at last there was nothing but dreams / the night passed, and the sun came up
find a new home|walked through many streets / asked everyone / looked at three houses|the rooms were too dark / the rent was too high|a small house with a garden stood empty / the house by the canal was just right
sell the cow|led the cow to the market / stood there all day / named a fair price|nobody wanted to buy an old cow / a thief came near|a kind farmer paid well / in the evening the cow went home again, and nobody was sad about it
visit the old castle|took a map and some bread / walked through the gate / climbed the stairs of the tower|the gate was locked / the stairs were dark|from the tower the river looked like a silver ribbon / an old guard told stories about knights
build a boat|cut the planks / bent the wood over steam / sewed a sail|the planks did not fit / water came in|the boat floated like a duck / the first trip went to the island and back
win the game|practised every morning / studied the other players / kept calm|the others were stronger / the ball flew over the fence|the game was lost, but it had been fun / with the last move the game was won
draw the bird|sat very still / took a sharp pencil / drew the wings first|the bird flew away / the paper was too small|the picture looked alive / the picture hung on the wall for years
clean the attic|opened the little window / carried down the old chairs / swept the floor|the dust made everyone cough / a mouse ran across the floor|behind the last box there was an old violin / one could see the wooden floor again
help the neighbour|knocked at the door / carried the wood inside / stayed for a cup of tea|the neighbour was hard of hearing / the stairs were icy|the neighbour said thank you many times / the work was done before dark
cross the desert|bought two camels / filled the skins with water / travelled by night|a storm covered the path / the water ran low|on the seventh day there were green palms / the stars had shown the way
grow tomatoes|put seeds into small pots / gave them water every day / tied the plants to sticks|snails ate the leaves / a cold night came|in August the tomatoes were red and sweet / there was a bowl of tomatoes on the table every day
save the cat|heard a thin cry from the roof / fetched a ladder / held out a piece of fish|the cat climbed higher / the ladder shook|the cat jumped down by itself / soon the cat sat by the stove and purred
read the old book|blew the dust from the cover / opened it in the middle / read aloud|some pages were missing / the letters were very small|the book told the history of the village / the last page held a surprise
go home|said goodbye to everyone / took the shortest way / walked faster and faster|the bridge was closed / it was already dark|there was a light in the window / the door opened, and it was warm inside
make music|tuned the old guitar / played a slow tune / sang with a soft voice|a string broke / the neighbours closed their windows|people stopped in the street to listen / soon everyone was dancing
take a photograph|cleaned the lens / waited for the right light / held the camera still|a cloud hid the sun / somebody walked into the picture|the picture showed the whole family, laughing / the picture won a small prize
ask for help|took a deep breath / went to the nearest house / explained everything|nobody was at home / it was hard to find the words|a friendly woman knew what to do / with many hands the work was easy
""", 4)]

TIMES = """One morning|One evening|One day|Yesterday|Last night|Last week|Last summer|On <weekday>|On <weekday> morning|In the afternoon|
In the evening|In the morning|Early in the morning|At night|At noon|In <month>|In <season>|A few days ago|Many years ago|Once|That day|Today|
After breakfast|After school|Before dinner|During the holidays|On a cold day|On a warm evening|At the end of <month>|One fine morning"""
TIMES = [t.strip() for t in TIMES.replace("\n", "").split("|")]

WEATHER = """It was a <wadj> <season> [morning|evening|night|day].|It was a [cold|quiet|dark|stormy|clear] [night|evening|winter night].|<warmweather>.|<coldweather>.|
It was <weekday> [morning|evening].|It was [early|late].|It was [very |]quiet in the [house|street|village].|The [night|morning|evening] was [cold|quiet|clear|long].|
It was the [first|last] day of <month>.|It had rained all [day|night].|The stars were [out|shining].|The moon was [full|high]."""
WEATHER = [w.strip() for w in WEATHER.replace("\n", "").split("|I")]
WEATHER = [w if w.startswith(("I", "<", "T")) else "I" + w for w in "@".join(WEATHER).replace(".|", ".@").split("@")]

WANT = """
{s} wanted to {goal}.
{s} wanted to {goal}, so {he} {one}.
Because {s} wanted to {goal}, {he} {one}.
{s} had [always|long] wanted to {goal}.
{s} had promised to {goal}.
{s} [decided|tried] to {goal}.
{s} had to {goal}.
It was time to {goal}.
"[Today|Now] I [will|want to] {goal}," {s} {said}.
{s} {was} going to {goal}.
{s} did not know how to {goal}.
When {s} wanted to {goal}, everyone laughed.
There was only one thing to do: to {goal}.
""".strip().splitlines()
STEPS = """
{^he} {one}.
First {he} {one}.
{^he} {one} and {two}.
{^he} {one}, and then {he} {two}.
{^he} {one}. Then {he} {two}.
[So|And so] {he} {one}, {two} and {three}.
First {he} {one}, then {he} {two}, and at last {he} {three}.
After {he} {had} {one.pp}, {he} {two}.
Slowly {he} {two}.
Without a word, {he} {one} and {two}.
""".strip().splitlines()
OBSTACLE = """
But {ob}.
But {ob}, and {he} {was} <sad>.
Then {ob}.
<suddenly> {ob}.
Unfortunately, {ob}.
But it was not so easy, because {ob}.
"Oh no!" {he} <cried>, because {ob}.
Although {ob}, {he} did not give up.
At first {ob}, but {he} did not give up.
It was hard work, and {ob}.
""".strip().splitlines()
REACT = """
{^he} thought for a while and tried again.
{^he} did not lose heart.
"[It does not matter|I will try again|That is bad luck|What now]?" {he} thought.
{^he} laughed and went on.
{^he} sat down and [waited|rested] for a moment.
A friend came by and helped {him}.
{^he} {was} tired, but {he} went on.
Nobody said anything for a while.
"Do not worry," said {g}. "It will be all right."
{^he} asked {g} for advice, and {g} knew what to do.
""".strip().splitlines()
OUTCOME = """
<atlast>, {out}.
<atlast> it worked: {out}.
Then {out}.
{^out}.
{^out}, and {he} {was} <happy>.
But then {out}.
[To everyone's surprise|In the end], {out}.
""".strip().splitlines()
CLOSE = """
{^he} {was} <happy>.
{^he} [smiled|laughed] and went home.
It had been a good day.
{^he} never forgot that day.
"That was fun," {he} said. 
{^he} told everyone about it.
And {g} was proud of {him}.
Tired, but <happy>, {he} went to bed.
""".strip().splitlines()


def goal_scene(rng: random.Random) -> tuple[str, str]:
    """Somebody wants something and tries to get it."""
    context = cast(rng)
    kind = subject(context, rng)
    goal, steps, obstacles, outcomes = rng.choice(GOALS)
    if goal[0] in ("sleep",) and kind in "t":
        kind = subject(context, rng)
    one, two, three = steps
    context.update(goal=goal[0], one=one, two=two, three=three, ob=rng.choice(obstacles), out=rng.choice(outcomes),
                   said="said", wadj=rng.choice(["cold", "warm", "fine", "grey", "bright", "windy", "beautiful"]))
    context["one.pp"] = one
    parts: list[str] = []

    def add(options: list[str]) -> None:
        text = expand(rng.choice(options), context, rng)
        parts.append(text[0].upper() + text[1:])

    if rng.random() < 0.4:
        add([w.replace("<wadj>", "{wadj}") for w in WEATHER])
    if rng.random() < 0.45:
        want = expand(rng.choice(WANT[:2] + WANT[5:7]), context, rng)
        parts.append(expand(rng.choice(TIMES), context, rng) + (", " if rng.random() < 0.6 else " ") + want)
    else:
        add(WANT)
    used = context["one"] in parts[-1]
    if context["s"].lower() not in parts[-1].lower():
        parts.append(expand("{^s} {was} [full of hope|a little nervous|ready].", context, rng))
    if used:
        parts.append(expand(rng.choice(["Then {he} {two}.", "{^he} {two} and {three}.", "After that {he} {two}."]), context, rng))
    else:
        add([s for s in STEPS if "one.pp" not in s])
    if rng.random() < 0.75:
        add(OBSTACLE)
        if rng.random() < 0.75:
            text = expand(rng.choice(REACT), context, rng)
            parts.append(text.replace("matter?", "matter,").replace("again?", "again,").replace("luck?", "luck,"))
    add(OUTCOME)
    if rng.random() < 0.6:
        add(CLOSE)
    text = " ".join(parts)
    return text, f"goal/{goal[0]}/{context['s']}/{context['out'][:12]}"


# feeling | reason => what happened next (both in the past tense)
FEELINGS = """
sad|{his} dog had run away => In the evening the dog stood at the door and wagged its tail.|{his} best friend had moved away => But then a letter came, and in it there was a photograph.|{he} had lost {his} {t} => {^he} looked everywhere and found it at last behind the sofa.|nobody wanted to play with {him} => Then {b} came and asked, "Do you want to play?"|it was raining and the trip was over => So {he} stayed at home and read a good book.|{his} kite was broken => {g} helped {him} to mend it, and it flew higher than before.|the summer was over => But autumn had its own joys: red leaves, apples and long evenings.
happy|it was {his} birthday => There was a cake with candles, and everyone sang.|the sun was shining again => {^he} ran outside without a coat.|{his} {r} had come home => They sat in the kitchen and talked until midnight.|the work was done => {^he} sat down under a tree and rested.|{he} had found a friend => From then on they met every day.|the exam was over => {^he} threw the books into a corner and went swimming.|school was over for the year => The long summer holidays lay before {him}.
angry|somebody had taken {his} {t} => It was {b}, who had only borrowed it and brought it back.|the bus had left too early => {^he} walked all the way, and it was a beautiful walk.|{his} {r} had forgotten the promise => "I am sorry," said {his} {r}. "We will do it tomorrow."|the dog had eaten the shoes => But the dog looked so sorry that {he} had to laugh.
afraid|it was dark in the forest => {^he} sang a song, and the fear went away.|there was a noise in the cellar => It was only the cat, which had knocked over a bottle.|{he} had to speak in front of everyone => But when {he} began, the words came by themselves.|a storm was coming => {^he} closed all the windows and lit a candle.|the dog was very big => But the dog was friendly and licked {his} hand.|the water was deep => {b} held {his} hand, and after a while it was fun.
tired|{he} had worked all day => {^he} ate some soup and fell asleep at the table.|the way had been long => {^he} sat down on a stone and took off {his} shoes.|{he} had not slept all night => {^he} drank a cup of tea and went to bed early.
hungry|{he} had not eaten since the morning => {b} gave {him} half of a sandwich.|the journey had been long => In a small inn there was hot soup and fresh bread.|lunch was late => Then the smell of {f} came from the kitchen.
surprised|there was a {t} in front of the door => There was no name on it, only a note: "For you."|the shop was closed => On the door was a sign: "Gone fishing."|{b} was already there => "I could not sleep," said {b}. "I was too excited."|it was snowing in April => The next day the snow was gone again.
proud|{he} had won a prize => {^he} hung it on the wall above the bed.|the garden was full of flowers => Everyone who passed by stopped to look.|{he} had done it alone => "You see, you can do it," said {g}.
thirsty|it was a very hot day => There was a well in the village, and the water was cold and clear.|the soup was too salty => {^he} drank three glasses of water.
late|the clock had stopped => {^he} ran all the way to school, but the door was already closed.|the train had broken down => {^he} called home and said, "Do not wait for me."|{he} had slept too long => {^he} ran out of the house without breakfast.
ill|{he} had stood in the rain => {^he} stayed in bed for three days and drank hot tea.|{he} had eaten too many cherries => The next day {he} felt better.
lonely|everyone had gone away => Then there was a knock at the door, and it was {b}.|{he} was new in the town => But after a week {he} knew everyone in the street.
""".strip().splitlines()
_FEEL = [(line.split("|")[0], [tuple(x.split(" => ")) for x in line.split("|")[1:]]) for line in FEELINGS]

FEEL_SHAPES = """
{s} {was} {feel} because {reason}. {next}
{s} {was} {feel}, because {reason}. {next}
{s} {was} very {feel} because {reason}. {next}
{s} felt {feel}, because {reason}. {next}
{time} {s} {was} {feel} because {reason}. {next}
{s} {was} {feel}. "What is the matter?" asked {g}. {Reason}. {next}
Why {was} {s} so {feel}? {Reason}. {next}
Everyone could see that {s} {was} {feel}. {Reason}. {next}
{Reason}, and {s} {was} {feel}. {next}
When {s} saw that {reason}, {he} {was} {feel}. {next}
""".strip().splitlines()


def feeling_scene(rng: random.Random) -> str:
    """Somebody feels something for a reason, and how it went on."""
    context = cast(rng)
    kind = subject(context, rng)
    feel, reasons = rng.choice(_FEEL)
    reason, following = rng.choice(reasons)
    context["feel"] = feel
    reason = expand(reason, context, rng)
    if kind in "wt":
        reason = reason.replace("they was", "they were").replace("we was", "we were")
    context.update(reason=reason, Reason=reason[0].upper() + reason[1:], next=expand(following, context, rng), time=expand(rng.choice(TIMES), context, rng))
    shape = rng.choice(FEEL_SHAPES)
    if shape.startswith("When") and ("had" in reason.split()[:2] or context["he"] in reason):
        shape = FEEL_SHAPES[0]
    if shape.startswith("{Reason}") and context["his"] in reason.split():
        shape = FEEL_SHAPES[1]
    text = expand(shape, context, rng)
    text = text[0].upper() + text[1:]
    for wrong, right in (("they was", "they were"), ("we was", "we were")):
        text = text.replace(wrong, right)
    return text + (expand(" " + rng.choice(CLOSE[:6]), context, rng) if rng.random() < 0.25 else "")


OUTINGS = """
{time}, we went to the {pl} and [saw {see}|looked at {see}|heard {hear}]. {more} {end}
{time} we went to the {pl}. There were {see}. {more} {end}
{time}, I went to the {pl} with my {r}. We saw {see} and heard {hear}. {more} {end}
When I was <age> years old, my {r} took me to the {pl}. I still remember {see}. {more}
{time}, {a} and {b} went to the {pl} and [saw {see}|heard {hear}]. {more2} {end2}
{time}, {a} went to the {pl} and [saw {see}|met {g} there|met {b} there]. {more2} {end2}
There is a {pl.adj} {pl} in our town. {time}, we went there and saw {see}. {more} {end}
At the {pl}, there were {see}. {more} {end}
In the {pl} we saw {see}. {more} {end}
The {pl} was {pl.adj}, and there were {see}. People go there to {pl.do}. {more} {end}
""".strip().splitlines()


def outing(rng: random.Random) -> str:
    """A trip to a place."""
    context = cast(rng)
    context.update(see=context["pl.see"], hear=context["pl.hear"], time=expand(rng.choice(["Yesterday", "Last week", "On <weekday>", "Last <weekday>", "In the holidays", "Last summer", "In <month>", "One day", "Last <month>", "This morning", "In the afternoon"]), context, rng))
    context["more"] = expand(rng.choice(["We ate {f} and drank <drink>.", "My {r} took many photographs.", "It was [very |]<nice>.", "<warmweather>.", "I liked it very much.", "We talked and laughed a lot.", "My {r} told me how people {pl.do} there.", "We stayed for <smallnumber> hours."]), context, rng)
    context["end"] = expand(rng.choice(["In the evening we went home.", "I want to go there again.", "It was a <nice> day.", "On the way home I fell asleep.", "We came home when it was dark.", ""]), context, rng)
    context["more2"] = expand(rng.choice(["They ate {f} together.", "{g} showed them everything.", "\"It is so <nice> here,\" said {a}.", "<warmweather>.", "After an hour it began to rain.", "There they met {g}."]), context, rng)
    context["end2"] = expand(rng.choice(["In the evening they went home.", "They came home late, tired and <happy>.", "\"Let us come back tomorrow,\" said {b}.", ""]), context, rng)
    return expand(rng.choice(OUTINGS), context, rng).replace("In the beach", "At the beach").replace("In the bridge", "On the bridge").replace(
        "In the lake", "At the lake").replace("In the river", "At the river").replace("In the mountain", "On the mountain").replace("In the island", "On the island").replace("In the farm", "On the farm")


# question | answer / answer | what follows
ASKED = [row for row in table("""
Where are you going|To the {pl} / I am going to the {pl} / Home|"May I come with you?" "Of course," said {x1}, and they went together.
Where have you been|At the {pl} / I was at the {pl} with {g} / In the garden|"I was worried," said {x2}. "Next time, tell me before you go."
What are you doing|I am looking for my {t} / I am reading / Nothing|{X2} sat down beside {x1h}, and for a while nobody spoke.
What is your name|My name is {x1} / I am {x1}|"That is a <nice> name," said {x2}. "I am {x2}."
How old are you|I am <age> years old / Almost <age>|"Then you are old enough to help me," said {x2}.
Can you help me|Of course / Yes, what shall I do / With pleasure|Together they carried the heavy box up the stairs.
What is that|It is a {t} / I think it is a {t} / It is an old {t}|"What is it for?" "People use it to {t.use}," said {x1}.
Why are you crying|I have lost my {t} / Because my friend has moved away / I have hurt my knee|"Do not cry," said {x2}. "Everything will be all right."
Why are you laughing|Because you have flour on your nose / {p} has stolen the sausage / I thought of a joke|Then {x2} had to laugh too.
What time is it|It is five o'clock / It is almost noon / It is very late|"Then I have to go," said {x2}. "Goodbye, and see you tomorrow!"
Are you hungry|Yes, very / A little / I could eat a horse|"There is {f} in the kitchen," said {x2}. They sat down and ate.
Are you afraid|No, not at all / A little / Yes, but I will go anyway|"You are brave," said {x2}, and took {x1h} by the hand.
Did you sleep well|Yes, thank you / No, the wind was too loud / Like a stone|"Then come and have breakfast," said {x2}. "There is {f}."
Who is there|It is only me, {x1} / It is me / A friend|The door opened, and {x1} came in out of the cold.
What do you want to be|A <job> / I want to be a <job> / I do not know yet|"You still have plenty of time," said {x2} with a smile.
Do you like {f}|Yes, I love {f.it} / Yes, very much / Not really|"There is enough for everyone," said {x2}.
Where is {p}|In the garden / Under the table / I have not seen {p.him} today|They called, and after a moment {p} the {p.kind} came running.
What did you see|{pl.see} / Nothing but {pl.see} / I saw {pl.see}|{X2} wanted to hear more, and {x1} told the whole story.
Is it far|No, it is just behind the hill / Yes, it takes a whole day / Not very far|They walked on, and soon they could see the {pl}.
May I sit here|Of course / Yes, please / If you like|They looked out of the window and began to talk.
Do you know the way|Yes, follow me / I think so / No, but I have a map|After an hour they stood in front of the {pl}.
When will you come back|On <weekday> / Tomorrow / Before it gets dark|"I will wait for you," said {x2}, and waved for a long time.
Shall we play|Yes, let us play / What shall we play / I have to do my homework first|They played until the sun went down.
Have you seen my {t}|It is on the table / No, where did you put it / Yes, {p} is sleeping on it|{X2} found it and was <happy>.
""", 3)]


def asked(rng: random.Random) -> str:
    """A text that begins with a question in quotation marks."""
    context = cast(rng)
    for key, source in (("x1", "a"), ("x2", rng.choice("bg"))):
        context[key] = context[source]
        context["X" + key[1:]] = context[source]
        context[key + "h"] = context[source + ".him"]
        context[key + "he"] = context[source + ".he"]
    question, answers, following = rng.choice(ASKED)
    answer = rng.choice(answers.split(" / "))
    context.update({"q": expand(question, context, rng), "n": expand(answer, context, rng), "w": expand(following, context, rng)})
    context["n"] = context["n"][0].upper() + context["n"][1:]
    if answer.startswith(("what shall", "Yes, what shall", "What shall", "No, where")):
        shape = '"{q}?" asked {x2}. "{n}?" said {x1}. {w}'
    else:
        shape = rng.choice(['"{q}?" asked {x2}. "{n}," said {x1}. {w}', '"{q}?" asked {x2}. "{n}," answered {x1}. {w}', '"{q}?" {x2} asked. "{n}," said {x1}. {w}',
                            '{x2} looked at {x1}. "{q}?" asked {x2}. "{n}," said {x1}. {w}', '"{q}?" asked {x2} [softly|with a smile|one morning]. "{n}," said {x1}. {w}',
                            '"{q}, {x1}?" asked {x2}. "{n}," said {x1}. {w}'])
        if "," in context["q"] or question.startswith("What is your name"):
            shape = '"{q}?" asked {x2}. "{n}," said {x1}. {w}'
    return expand(shape, context, rng) + (expand(" " + rng.choice(["That was the beginning of a friendship.", "<warmweather>.", "It was a day like any other.", "Outside it began to snow.", "They both smiled."]), context, rng) if rng.random() < 0.3 else "")
