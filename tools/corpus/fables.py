"""Fables, fairy tales and short scenes with grown-ups. Same notation as stories.py.

``x`` and ``y`` are animals ("the {x}"), ``k`` and ``m`` people without a name ("the {k}").
"""

from __future__ import annotations

import random

from . import people
from .grammar import Context, expand
from .stories import cast

FABLES = {
    "thirsty": """
[Once upon a time|Long ago|One hot summer], [there was no rain for many weeks|the sun burned every day and no rain fell]. The river was dry, and a {x.adj} {x} was [very |]thirsty.
The {x} looked for water everywhere. [Behind a rock|Near an old farm|Under a tree] {x.he} found a deep well. But the water was [far down|too deep], and {x.he} could not reach it.
A {y.adj} {y} came by and laughed. "[You will never get that water|You are too small for that|Give up]," said the {y}.
But the {x} did not give up. {^x.he} [thought for a while|sat down and thought]. Then {x.he} [threw one stone after another into the well|rolled a long branch to the well], until the water [came up to the top|was easy to reach].
The {x} drank, and then {x.he} said to the {y}, "[Now you can drink too|There is enough for both of us]." The {y} was ashamed and said, "[Thank you. You are wiser than I am|I was wrong to laugh]."
[Moral: |The lesson of this story is: |]Where there is a will, there is a way.
""",
    "proud": """
In a [deep forest|green valley|far country] lived a {x.adj} {x}. {^x.he} was very proud. "[Nobody is as fast as I am|I am the cleverest of all animals|Look how beautiful I am]," the {x} said every day.
The other animals [were tired of it|said nothing|shook their heads]. Only the {y} said, "[We shall see|A proud heart comes before a fall|Everybody can do something well]."
One day, the {x} [fell into a deep hole|was caught in a net|got stuck in the mud]. {^x.he} called for help, but [nobody came|the forest was silent].
Then the {y} came along. "[Can you help me|Please get me out]," cried the {x}. The {y} [brought a long branch|bit through the rope|called all the other animals], and soon the {x} was free.
"Why did you help me?" asked the {x}. "I was never kind to you." "[Because you needed help|A friend does not ask why|Today I help you, and tomorrow you may help me]," said the {y}.
<^fromthen>, the {x} was not so proud any more. {^x.he} and the {y} became friends.
""",
    "big_small": """
A {x.adj} {x} was sleeping in the sun. A little mouse ran over {x.his} back and woke {x.him} up. The {x} was angry and caught the mouse.
"Please let me go," said the mouse. "[One day I will help you|I did not mean to wake you]." The {x} laughed. "How could a little mouse help me?" But {x.he} let the mouse go.
[A few days later|Not long after that|A week later], hunters came and caught the {x} in a net. The {x} pulled and pulled, but the ropes were too strong.
The mouse heard {x.his} cries and came at once. With its sharp teeth the mouse bit through the ropes, one after another, until the {x} was free.
"You were right," said the {x}. "[Even a small friend can be a great help|It is good to have small friends]."
""",
    "winter_store": """
All summer long, the {x} worked. {^x.he} gathered {x.food} and carried everything to {x.his} home. [The sun was hot, but {x.he} did not stop.|Every day {x.he} got up early.]
The {y} lay in the grass and sang. "Why do you work so hard?" {y.he} asked. "[Come and sing with me|The winter is far away|There is plenty of food]."
"Winter will come," said the {x}, "[and then there will be no food|and you should work too]." But the {y} only laughed.
Then the leaves fell, and it grew cold. Snow covered the fields. The {y} found nothing to eat. [Hungry and cold|Shaking with cold], {y.he} knocked at the {x}'s door.
"[Will you give me something to eat|Please help me|May I come in]?" asked the {y}. The {x} [looked at {y.him}|thought for a moment]. "[Come in|You may stay here]," {x.he} said, "but next summer we will work together."
And so it was. The next summer the {y} worked as hard as the {x}, and in the evening they sang together.
""",
    "race_fable": """
The {x} said to the {y}, "I am much faster than you." "[Then let us have a race|We will see]," said the {y}.
All the animals came to watch. The owl called, "Ready, steady, go!" The {x} ran ahead and was soon [far away|out of sight]. The {y} went slowly, step by step.
"[I have plenty of time|The {y} is so slow]," thought the {x}. {^x.he} lay down under a tree and fell asleep.
The {y} did not stop. {^y.he} passed the sleeping {x} and went on. When the {x} woke up, {x.he} ran as fast as {x.he} could, but it was too late. The {y} was already there.
[Slow and steady wins the race.|"Slow and steady wins the race," said the owl.|The {x} never laughed at the {y} again.]
""",
    "lost_young": """
A {x.adj} {x} had a {x.young}. One day, the {x.young} [went too far from home|followed a butterfly|wanted to see the world] and got lost.
"Have you seen my mother?" the {x.young} asked a {y}. "What does she look like?" asked the {y}. "[She is the most beautiful animal in the world|She is big and kind|She always smells of home]," said the {x.young}.
The {y} smiled. "Then we will find her," {y.he} said. They asked the owl, and the owl had seen nothing. They asked the frog, and the frog had heard someone calling.
They went [along the river|through the tall grass|over the hill], and there stood the mother. "My little one!" she cried. "[I looked for you everywhere|I was so worried]."
"Thank you," said the mother to the {y}. "[You will always have a friend|You may always share our food]." And the {x.young} never went too far from home again[, at least not without asking|].
""",
    "trick": """
A hungry fox saw a {x} with a piece of cheese. "[How can I get it|That is for me]," thought the fox.
"Good morning, {x}," said the fox. "[Everyone says that you have a wonderful voice|I have heard that nobody sings like you]. Will you sing for me?"
The {x} was [proud|pleased] and opened {x.his} mouth to sing. The cheese fell to the ground, and the fox ate it at once.
"Thank you for the meal," said the fox. "[Here is some advice in return: do not trust those who praise you too much|Next time, be careful with sweet words]."
""",
    "wish": """
A poor {k} lived in a small hut by the sea. One day {k.he} caught a golden fish. "[Let me go|Please do not eat me]," said the fish, "and I will give you three wishes."
The {k} thought for a long time. "[First, I wish for a warm house|First, I wish for enough to eat]," {k.he} said. At once there [stood a house with a red roof|was bread and soup on the table].
"Second, I wish that [my neighbours have enough too|it rains on the dry fields|the sick child next door gets well]." And so it happened.
"And your third wish?" asked the fish. The {k} smiled. "[I wish that you are free and never get caught again|I have everything I need. You may keep it]." 
The fish jumped three times out of the water and was gone. The {k} was never [rich|a king], but {k.he} was [always content|happy] to the end of {k.his} days.
""",
    "king_question": """
Once upon a time there was a king who [asked many questions|could not sleep at night|had everything and was never happy]. "Who can tell me what is the most valuable thing in the world?" he asked.
"Gold," said the first. "Power," said the second. "[A long life|Fame]," said the third. The king shook his head.
Then {a} came to the castle. {a} was only a poor {a.kind}, the child of a <job>. "[Time|Friendship|Water|Kindness|The truth]," said {a}. "Why?" asked the king.
"[Because nobody can buy it|Because without it everything else is worth nothing|Because you only notice it when it is gone]," said {a}. The king was silent for a long time.
"You are the wisest person in my kingdom," he said at last. He gave {a} [a horse and a bag of gold|a house for the whole family|a ring], and {a} gave half of everything to the poor.
""",
    "dragon": """
[In a country far away|On a mountain behind the seven hills|Long ago], there lived a dragon. Everyone was afraid of it, because at night they could see its fire.
The queen said, "Who will go and talk to the dragon?" [The knights looked at the floor.|Nobody answered.] Only {a}, a <childadj> {a.kind} from the village, said, "I will go."
{a} took [some bread and a lantern|a {t.adj} {t}|a basket of <fruits>] and climbed the mountain. The cave was dark and warm. "Who is there?" asked a deep voice.
"I am {a}," {a.he} said, although {a.his} knees were shaking. "Why do you frighten the people?" "[I do not want to frighten them|I am only trying to keep warm|Nobody has ever asked me that before]," said the dragon. "I am all alone up here."
They talked until the morning. Then {a} had an idea. "[You could light the fires in our houses in winter|You could work for the blacksmith|You could help the baker]," {a.he} said. "Everyone needs a fire."
And that is what happened. The dragon came to the village and [lit every stove|baked the bread|heated the iron]. <^fromthen>, [nobody was afraid any more|nobody in the village was ever cold again].
""",
    "stone_soup": """
A [poor soldier|tired traveller] came to a village. He was hungry, but the people said, "[We have nothing to give|There is no food here]."
"Then I will make soup from a stone," said the man. He put a pot of water on the fire and laid a round stone in it. [The people came closer to look.|Soon the whole village stood around the pot.]
"It is good," he said, "but it would be better with a carrot." A woman brought a carrot. "And with a potato it would be even better." A boy brought <number> potatoes. [Somebody brought salt, somebody brought meat.|A farmer brought an onion and some beans.]
In the end there was a big pot of soup, and everyone ate. "Wonderful!" they said. "And all from a stone!" The man smiled and put the stone back into his pocket.
""",
    "magic_seed": """
<oneday>, an old woman gave {a} a seed. "Plant it," the old woman said, "but only give it water with a kind heart."
{a} planted the seed behind the house. Every day {a.he} [gave it water and spoke to it|sang to it|told it a story]. After a week, a small green plant came out of the ground. After a month, it was taller than the house.
At the top hung a single golden <fruit:fr>. {a} climbed up and picked it. {^a.he} could [sell it for a lot of money|eat it alone|keep it].
But {a.his} {r} was ill, and nothing had helped. So {a} gave the {fr} to {a.his} {r}. The next morning, {a.his} {r} [stood in the kitchen and sang|was well again|got up and opened the window].
The plant was gone. Where it had stood lay a new seed.
""",
    "weaver": """
There once lived a {k} who had <smallnumber> [sons|daughters]. When {k.he} grew old, {k.he} called them together. "I will give my {t} to the one who can fill this room," {k.he} said.
The eldest filled the room with straw, but there was still space under the roof. The second filled it with [feathers|wool], but they sank to the floor.
The youngest came with empty hands and waited until it was dark. Then [he|she] lit a small candle, and the whole room was filled with light.
"[You have understood|That is the right answer]," said the {k}. "The {t} is yours. Use it well."
""",
    "two_friends_bear": """
Two friends were walking through the forest. They had promised to [help each other|share every danger]. <suddenly> a bear came out of the bushes.
One of them climbed up a tree and hid in the leaves. The other could not climb. She lay down on the ground and did not move, because a bear does not touch the dead.
The bear came close, smelled the traveller's ear and walked away. The first friend came down from the tree. "It looked as if the bear was whispering to you," he said with a laugh. "What did it say?"
"It told me not to travel with friends who run away from danger," said the other.
""",
    "hen_bread": """
The little red hen found [some seeds|a grain] of wheat. "Who will help me to plant the wheat?" she asked. "Not I," said the {x}. "Not I," said the {y}. "Then I will do it myself," said the hen. And she did.
When the wheat was tall, the hen asked, "Who will help me to cut the wheat?" "Not I," said the {x}. "Not I," said the {y}. "Then I will do it myself," said the hen. And she did.
She carried the wheat to the mill, and she baked the bread herself. [The whole farm smelled of fresh bread.|The bread was warm and brown.]
"And who will help me to eat the bread?" asked the hen. "I will," said the {x}. "I will," said the {y}. "No," said the hen. "[You did not help me with the work|Who does not work does not eat]. I will eat it with my chicks." And she did.
""",
    "moon_wish": """
Every night, a {x.adj} {x} looked at the moon. "[How beautiful it is|I would like to touch it|I wish I could have it]," said the {x}.
"That is impossible," said the {y}. "The moon is too far away." But the {x} climbed the highest hill and stretched as far as {x.he} could. The moon was still far away.
Then the {x} came to a lake. There, in the water, was the moon! The {x} [jumped into the water|put a foot into the water], and the moon broke into a thousand pieces. "[I have broken it|Oh no]!" cried the {x}.
"Wait," said the {y}. They sat down and waited. When the water was still again, the moon was whole and round. "[It belongs to nobody|It is there for everyone]," said the {y}, "and we can look at it every night."
""",
    "old_man_walk": """
The old man walked to the {pl} every [morning|day|evening]. He [carried a stick|wore a long grey coat|had a white beard], and his dog walked beside him.
[The children in the street knew him.|Everyone greeted him.] "Good morning," they said. "Good morning," said the old man.
<oneday>, he did not come. {a} [noticed it first|was worried]. {^a.he} went to his house and knocked at the door. "Come in," said a weak voice. The old man was in bed. "[I have a cold|I have hurt my foot|My legs are tired today]," he said.
{a} [made him tea|brought him soup|took the dog for a walk]. The next day {a.he} came again, and the day after that too.
After a week, the old man walked to the {pl} again. {a} walked with him, and the old man told {a.him} [about the sea|stories from his youth|the names of all the birds].
""",
    "old_woman_house": """
An old woman lived alone in a <small> house [near the {pl}|at the edge of the forest]. She had a <colour> [cat|goat|hen] and a garden full of <vegetables>.
One cold night, there was a knock at the door. A [stranger|young man|tired traveller] stood in the rain. "[May I sleep here|Can I come in]?" he asked. "Come in," said the old woman. "There is not much, but you can have [soup and bread|half of it]."
In the morning, the stranger was gone. On the table lay a {t.adj} {t} and a note. "[Whoever shares what is little will always have enough|For a warm heart on a cold night]," it said.
<^fromthen>, the old woman's [pot was never empty|bread was never gone|fire never went out].
""",
    "captain": """
Captain {a} had an old ship [with <colour> sails|named the Sea Star|with a crew of twelve]. For <number> years the ship had sailed [from <city:ci> to the islands|across every sea].
One night, the wind rose, and the waves were as high as houses. "Captain, we are [losing the mast|taking in water]!" <cried> the sailors. "[Stay calm|Cut the ropes|Take down the sails]," said the captain.
All night they worked. When the sun rose, the sea was quiet. In front of them lay an island that was on no map. There were [tall palm trees|white beaches|birds of every colour].
They repaired the ship and filled the barrels with fresh water. "What shall we call this island?" asked the youngest sailor. "[Morning Island|Hope|Let us call it Second Chance]," said the captain.
After <smallnumber> days they sailed home. Nobody believed their story, until the captain showed them [a feather as long as an arm|a blue shell as big as a plate].
""",
}

_SPLIT = {
    name: [(line.startswith("?"), line.lstrip("?")) for line in body.strip().splitlines()] for name, body in FABLES.items()
}

_FABLE_ENDINGS = """
And if they have not moved away, they still live there today.
And they lived happily ever after.
And that is the end of the story.
The lesson is <lesson>.
That is how they learned <lesson>.
""".strip().splitlines()


def fable(rng: random.Random) -> tuple[str, str]:
    """One fable or fairy tale and the key of its combination."""
    context: Context = cast(rng)
    people.animal(context, "x", rng)
    people.animal(context, "y", rng, context["x"])
    people.role(context, "k", rng)
    name = rng.choice(list(_SPLIT))
    if name in ("big_small", "trick"):
        while context["x"] in ("mouse", "fox", "ant", "bee", "butterfly", "snail", "spider", "whale"):
            people.animal(context, "x", rng)
    if name == "hen_bread":
        while "hen" in (context["x"], context["y"]):
            people.animal(context, "x", rng)
            people.animal(context, "y", rng, context["x"])
    if name == "race_fable":
        x, y = rng.choice(["hare", "horse", "fox", "deer", "dog"]), rng.choice(["tortoise", "snail", "turtle", "duck", "hedgehog"])
        people.bind(context, "x", x, x, rng.choice("mf"))
        people.bind(context, "y", y, y, rng.choice("mf"))
    sentences = [expand(line, context, rng) for optional, line in _SPLIT[name] if not optional or rng.random() < 0.5]
    if rng.random() < 0.2:
        sentences.append(expand(rng.choice(_FABLE_ENDINGS), context, rng))
    text = ("\n" if rng.random() < 0.35 else " ").join(sentences)
    return text, f"{name}/{context['a']}/{context['x']}/{context['y']}"
