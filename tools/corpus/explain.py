"""Short explanations of how things are and why, each written by hand with alternative wordings."""

from __future__ import annotations

import random

from .grammar import expand

# The key is the topic as it stands in "Why ...?" or "How ...?"; every line is a sentence and may be left out if marked with ?.
TOPICS: dict[str, str] = {
    "water boils": """
Water boils [when it gets very hot|at one hundred degrees Celsius|when it is heated to one hundred degrees].
[At this temperature|Then] [bubbles rise from the bottom of the pot|the water begins to bubble] and steam goes up into the air.
?Steam is water that has become a gas.
?High up in the mountains, water boils at a lower temperature, because the air is thinner there.
We use boiling water to [cook pasta and rice|make tea|cook eggs].
[Be careful: boiling water can burn your skin.|When the steam meets a cold window, it turns back into small drops of water.]
""",
    "water freezes": """
Water freezes [at zero degrees Celsius|when it gets very cold].
[Then|At this temperature] it turns into ice.
Ice is [hard|solid] and takes up more space than water.
?That is why a full bottle can break in the freezer.
Ice is lighter than water, so it floats.
?In winter, lakes freeze from the top, and the fish live in the water below.
""",
    "it rains": """
The sun [warms|heats] the water in the seas and lakes.
Some of the water [rises into the air as vapour|becomes vapour and rises].
High in the sky the air is cold, and the vapour turns into tiny drops.
Many drops together [make|form] a cloud.
When the drops [become too heavy|grow too big], they fall to the ground as rain.
?The rain flows into rivers, and the rivers flow back into the sea.
?Then everything begins again. This is called the water cycle.
""",
    "there is day and night": """
The Earth turns around itself once every twenty-four hours.
When our side of the Earth [faces|looks toward] the sun, it is day.
When our side [is turned away from the sun|faces away from the sun], it is night.
?While it is day in Europe, it is night in [Australia|New Zealand].
That is why the sun seems to rise in the east and to set in the west.
""",
    "there are seasons": """
The Earth goes around the sun once a year.
Its axis is tilted.
For half of the year, the north gets more light and warmth, and it is summer there.
For the other half, the south gets more light, and it is winter in the north.
?That is why Christmas is in summer in Australia.
Between summer and winter come autumn and spring.
""",
    "the sky is blue": """
The light of the sun looks white, but it is made of many colours.
When the light comes through the air, the blue part is scattered more than the red part.
So blue light comes to our eyes from every side, and the sky looks blue.
?In the evening the light has a longer way through the air, and the sky turns red.
""",
    "leaves fall in autumn": """
In autumn the days grow shorter and colder.
The trees get less light, and they take the green colour out of their leaves.
[Then we see the yellow and red colours.|The leaves turn yellow, red and brown.]
At last the leaves fall to the ground.
Without leaves, the trees need less water in winter.
?In spring new leaves grow.
""",
    "plants grow": """
Plants need [water, light, air and soil|light, water and air].
[With their roots|Through their roots] they take water from the soil.
With their green leaves they catch the light of the sun.
From water, air and light they make sugar, and the sugar helps them to grow.
?At the same time they give us oxygen, which we need to breathe.
A seed can [sleep in the ground for a long time|wait for many months] before it starts to grow.
""",
    "bees make honey": """
Bees fly from flower to flower and collect nectar, a sweet juice.
They carry it back to the hive.
There they [store it in small cells made of wax|put it into the honeycomb].
The water in the nectar dries, and the nectar becomes honey.
The bees eat the honey in winter, when there are no flowers.
?While they collect nectar, bees also carry pollen from one flower to another, and so the plants can make fruit.
""",
    "birds fly": """
Birds have wings, feathers and light bones.
When a bird beats its wings, it pushes the air down, and the bird goes up.
With its tail it can [turn left and right|steer].
?Some birds, such as eagles, can glide for a long time without moving their wings.
?But not every bird can fly. Penguins swim, and ostriches run.
""",
    "birds fly south": """
In winter there are few insects and seeds in the north.
That is why many birds fly to the south in autumn.
They travel for thousands of kilometres.
They find their way by the sun, the stars and the shape of the land.
In spring they come back and build their nests.
""",
    "we sleep": """
When we sleep, our body rests.
The heart beats more slowly, and the muscles relax.
At the same time the brain is working: it puts the things that we have learned in order.
Children need about ten hours of sleep, and adults need about eight.
?Without enough sleep we are tired and cannot think well.
""",
    "we eat": """
Food gives us energy, just as wood gives energy to a fire.
Bread, rice and potatoes [give us energy|keep us going].
Meat, fish, eggs and beans help the body to grow.
Fruit and vegetables [contain vitamins|keep us healthy].
?In the stomach the food is broken into very small parts, and the blood carries them to every part of the body.
""",
    "the heart beats": """
The heart is a muscle, about as big as a fist.
It pumps blood through the whole body.
The blood carries oxygen and food to every part of the body.
When we run, the body needs more oxygen, and so the heart beats faster.
In a healthy adult the heart beats about seventy times a minute.
""",
    "we have two ears": """
With two ears we can hear where a sound comes from.
If a dog barks on our left side, the left ear hears it a little earlier than the right ear.
The brain notices the difference and tells us the direction.
?Many animals can also turn their ears.
""",
    "the moon changes": """
The moon has no light of its own.
We see only the part that is lit by the sun.
The moon goes around the Earth in about a month, and so we see a different part of it every night.
When we see the whole side, it is a full moon.
When we see nothing, it is a new moon.
""",
    "a rainbow appears": """
A rainbow appears when the sun shines while it is raining.
The light of the sun goes through the drops of water and is split into its colours.
The colours are red, orange, yellow, green, blue and violet.
To see a rainbow, you must have the sun behind you and the rain in front of you.
""",
    "thunder follows lightning": """
In a storm, lightning jumps from a cloud to the ground or to another cloud.
Lightning is a very big electric spark.
It makes the air so hot that the air expands at once, and we hear thunder.
We see the lightning first, because light is much faster than sound.
?If you count the seconds between the two, you can find out how far away the storm is.
""",
    "ships float": """
A heavy ship can float, although it is made of iron.
The ship is hollow and full of air.
It pushes a lot of water to the side, and the water pushes back.
As long as the ship is not heavier than the water that it pushes away, it floats.
""",
    "volcanoes erupt": """
Deep in the Earth it is so hot that the rocks melt.
The melted rock is called magma.
When the pressure becomes too high, the magma rises and breaks out of a volcano.
Outside we call it lava.
?When lava cools, it turns into hard, dark rock.
""",
    "bread rises": """
To make bread, a baker mixes flour, water, salt and yeast.
Yeast is made of tiny living things.
They eat the sugar in the dough and give off gas.
The gas makes many small bubbles, and the dough rises.
In the hot oven the bubbles grow, and the bread becomes light and soft.
""",
    "a magnet works": """
A magnet attracts things that are made of iron.
It has two ends, a north pole and a south pole.
Two different poles attract each other, and two equal poles push each other away.
The Earth itself is a big magnet.
That is why the needle of a compass points to the north.
""",
    "fish breathe": """
Fish cannot breathe air with lungs as we do.
They have gills on both sides of the head.
The water flows in through the mouth and out through the gills.
The gills take oxygen out of the water.
?Whales and dolphins are not fish. They have lungs and must come up to breathe.
""",
    "a caterpillar becomes a butterfly": """
A butterfly lays its eggs on a leaf.
After some days, small caterpillars come out of the eggs.
A caterpillar eats and eats and grows quickly.
Then it makes a hard case around itself. Now it is called a pupa.
After a few weeks the case opens, and a butterfly comes out.
It dries its wings in the sun and flies away.
""",
    "a frog grows": """
A frog lays its eggs in the water.
Small tadpoles come out of the eggs.
A tadpole has a tail and lives in the water like a fish.
After some weeks it gets legs, first at the back and then in front.
Its tail becomes shorter, and at last it is a little frog that can live on land.
""",
    "paper is made": """
Paper is made from wood.
The wood is cut into very small pieces and cooked with water.
The result is a soft, wet mass.
It is spread out in a thin layer, pressed and dried.
?Old paper can be used again to make new paper.
""",
    "glass is made": """
Glass is made from sand.
The sand is heated with other things until it melts.
The melted glass can be blown, pressed or poured.
When it cools, it becomes hard and clear.
""",
    "salt is in the sea": """
Rain falls on the mountains and runs over the rocks.
It takes a little salt from the rocks and carries it to the sea.
In the sea the water evaporates, but the salt stays.
Over millions of years the sea has become salty.
""",
    "we see colours": """
When light falls on a thing, some colours are swallowed and others are sent back.
A red apple sends back the red light and swallows the rest.
The red light comes into our eyes, and we see that the apple is red.
In the dark there is no light, and so we cannot see colours.
""",
    "trees are important": """
Trees clean the air and give us oxygen.
They give us wood, fruit and shade.
Birds build their nests in the branches, and squirrels live in the hollow trunks.
The roots hold the soil, so that the rain does not wash it away.
?A single old oak can be the home of hundreds of kinds of animals.
""",
    "people read books": """
A book can take us to places where we have never been.
Some books tell stories, and others explain how things work.
When we read, we learn new words and new ideas.
?A library lends books to everyone.
It is good to read a little every day.
""",
    "friends matter": """
A good friend listens when we are sad and laughs with us when we are happy.
Friends help each other and tell each other the truth.
Sometimes friends have a quarrel, but they can say sorry and begin again.
To find a friend, it is best to be one.
""",
    "the sea has tides": """
At the coast the water rises and falls twice a day.
When the water is high, we speak of high tide, and when it is low, we speak of low tide.
The moon pulls at the water of the sea.
Because the Earth turns, every coast passes through the high water.
""",
    "cats purr": """
Cats purr when they are content.
A cat also purrs when it is ill or afraid, because the sound calms it.
A cat sees well in the dark and hears the smallest sound.
It sleeps up to sixteen hours a day.
""",
    "dogs are loyal": """
Dogs have lived with people for thousands of years.
They can smell much better than we can.
Some dogs guard sheep, some find lost people, and others lead the blind.
A dog needs food, water, a walk every day and somebody who loves it.
""",
    "milk becomes cheese": """
Cheese is made from milk.
The milk is warmed and made sour, until it becomes thick.
The thick part is cut and pressed, and the water runs off.
Then the cheese lies in a cool cellar for weeks or months.
?There are hundreds of kinds of cheese in the world.
""",
    "money is used": """
Long ago people exchanged things: a hen for a sack of corn, or a knife for a coat.
That was not easy, because one did not always find the right partner.
So people began to use coins made of gold and silver.
Later they also used paper money.
Today many people pay with a card.
""",
    "a bicycle stays up": """
When a bicycle stands still, it falls over.
When it rolls, the rider can steer a little to the left or to the right and so keep it upright.
The faster it goes, the easier it is.
A bicycle needs no fuel, only strong legs.
""",
    "the desert is dry": """
In a desert it hardly ever rains.
By day it is very hot, and at night it can be very cold.
Only a few plants and animals can live there.
A cactus stores water in its stem, and a camel can go for many days without drinking.
The largest hot desert in the world is the Sahara in Africa.
""",
    "it snows": """
When it is very cold high in the clouds, the water freezes into tiny crystals of ice.
Many crystals hang together and make a snowflake.
Every snowflake has six arms, and no two of them are quite the same.
If the air near the ground is cold, the flakes fall as snow.
If it is warm, they melt and fall as rain.
""",
    "the wind blows": """
The sun warms the land more quickly than the sea.
Warm air is light and rises.
Cool air flows in to take its place, and we feel the wind.
?With the power of the wind, people sail ships, grind corn and make electricity.
""",
}

QUESTIONS = {
    "water boils": "When does water boil?",
    "water freezes": "When does water freeze?",
    "it rains": "Why does it rain?",
    "there is day and night": "Why is there day and night?",
    "there are seasons": "Why are there seasons?",
    "the sky is blue": "Why is the sky blue?",
    "leaves fall in autumn": "Why do leaves fall in autumn?",
    "plants grow": "How do plants grow?",
    "bees make honey": "How do bees make honey?",
    "birds fly": "How do birds fly?",
    "birds fly south": "Why do birds fly south?",
    "we sleep": "Why do we sleep?",
    "we eat": "Why do we eat?",
    "the heart beats": "Why does the heart beat?",
    "we have two ears": "Why do we have two ears?",
    "the moon changes": "Why does the moon change its shape?",
    "a rainbow appears": "When does a rainbow appear?",
    "thunder follows lightning": "Why does thunder follow lightning?",
    "ships float": "Why do ships float?",
    "volcanoes erupt": "Why do volcanoes erupt?",
    "bread rises": "Why does bread rise?",
    "a magnet works": "How does a magnet work?",
    "fish breathe": "How do fish breathe?",
    "a caterpillar becomes a butterfly": "How does a caterpillar become a butterfly?",
    "a frog grows": "How does a frog grow?",
    "paper is made": "How is paper made?",
    "glass is made": "How is glass made?",
    "salt is in the sea": "Why is the sea salty?",
    "we see colours": "How do we see colours?",
    "trees are important": "Why are trees important?",
    "people read books": "Why do people read books?",
    "friends matter": "Why do we need friends?",
    "the sea has tides": "Why does the sea have tides?",
    "cats purr": "Why do cats purr?",
    "dogs are loyal": "Why do people have dogs?",
    "milk becomes cheese": "How is cheese made?",
    "money is used": "Why do people use money?",
    "a bicycle stays up": "Why does a bicycle not fall over?",
    "the desert is dry": "What is a desert like?",
    "it snows": "Why does it snow?",
    "the wind blows": "Why does the wind blow?",
}

_SPLIT = {key: [(s.startswith("?"), s.lstrip("?")) for s in body.strip().splitlines()] for key, body in TOPICS.items()}


def answer(rng: random.Random) -> tuple[str, str]:
    """A question and its explanation."""
    topic = rng.choice(list(_SPLIT))
    sentences = [expand(line, {}, rng) for optional, line in _SPLIT[topic] if not optional or rng.random() < 0.6]
    keep = len(sentences) if rng.random() < 0.7 else rng.randint(2, len(sentences))
    return QUESTIONS[topic], " ".join(sentences[:keep])


def explanation(rng: random.Random) -> str:
    """One explanation: bare, with its question, or told by somebody."""
    question, body = answer(rng)
    kind = rng.random()
    if kind < 0.45:
        return body
    if kind < 0.75:
        return rng.choice([f"{question}\n{body}", f"{question} {body}", f"Question: {question}\nAnswer: {body}"])
    name = rng.choice(["the teacher", "Grandpa", "Grandma", "Mr Hill", "Miss Clark", "my father", "my mother", "the old man"])
    if kind < 0.9:
        child = rng.choice(["Tom", "Anna", "the boy", "the girl", "Lucy", "Ben", "Mia", "Leo"])
        return f'"{question}" asked {child}. "{body}" {name} explained.' if rng.random() < 0.5 else f'"{question}" asked {child}. {name[0].upper() + name[1:]} explained: "{body}"'
    return f'{name[0].upper() + name[1:]} explained: "{body}"'
