"""What things are: short definitions, and openings about things, people and animals with a scene that follows."""

from __future__ import annotations

import random

from .grammar import expand, table
from .stories import cast

DEFINITIONS = dict(table("""
hammer|a tool for hitting nails
saw|a tool for cutting wood
needle|a thin piece of metal used for sewing
bridge|something that is built over a river or a road
island|a piece of land with water on every side
river|a long stream of water that flows to the sea
lake|a large area of water with land all around it
mountain|a very high hill
desert|a dry land where almost no rain falls
forest|a large area of land that is covered with trees
volcano|a mountain from which hot lava can come
city|a very large town
village|a small group of houses in the country
school|a place where children learn
hospital|a place where sick people get well
library|a place where you can borrow books
museum|a building where old and beautiful things are shown
bakery|a shop where bread and cakes are made
farm|a place where food is grown and animals are kept
harbour|a place where ships are safe
king|a man who rules a country
queen|a woman who rules a country or the wife of a king
teacher|a person who teaches
doctor|a person who helps sick people
baker|a person who bakes bread
pilot|a person who flies a plane
sailor|a person who works on a ship
thief|a person who steals
friend|a person whom you like and trust
neighbour|a person who lives next door
family|a group of people who belong together, such as parents and their children
clock|a thing that shows the time
compass|an instrument that shows where north is
telescope|an instrument for looking at things that are far away
thermometer|an instrument that measures how hot or cold it is
mirror|a piece of glass in which you can see yourself
candle|a stick of wax that gives light when it burns
key|a small thing that opens a lock
umbrella|a thing that keeps you dry in the rain
map|a picture of a place as it is seen from above
letter|a message on paper that is sent to somebody
book|a set of pages with words or pictures
kite|a toy that flies in the wind on a long string
violin|an instrument with four strings that is played with a bow
piano|a large instrument with black and white keys
drum|an instrument that is played by hitting it
boat|a small ship
train|a row of wagons that runs on rails
bicycle|a vehicle with two wheels that you ride with your legs
car|a vehicle with four wheels and an engine
plane|a machine with wings that flies
bread|a food that is made from flour and water
butter|a soft yellow food that is made from cream
cheese|a food that is made from milk
honey|a sweet food that is made by bees
fruit|the part of a plant that holds the seeds and is often sweet
apple|a round fruit that grows on a tree
lemon|a yellow fruit with a sour taste
potato|a vegetable that grows under the ground
water|a clear liquid that falls as rain and fills rivers and seas
ice|water that is frozen
snow|frozen water that falls from the sky in white flakes
rain|water that falls from the clouds
cloud|a mass of tiny drops of water in the sky
wind|air that moves
storm|very bad weather with strong wind and rain
rainbow|an arc of seven colours in the sky
star|a very large ball of hot gas far away in space
sun|the star that gives us light and warmth
moon|the round body that goes around the Earth
planet|a large round body that goes around a star
winter|the coldest season of the year
summer|the warmest season of the year
spring|the season between winter and summer
autumn|the season between summer and winter
bird|an animal with feathers and wings
fish|an animal that lives in the water and breathes with gills
insect|a small animal with six legs
spider|a small animal with eight legs
tree|a tall plant with a trunk and branches
flower|the colourful part of a plant
seed|the small part of a plant from which a new plant grows
root|the part of a plant that grows under the ground
leaf|one of the flat green parts of a plant
heart|the organ that pumps blood through the body
eye|the part of the body with which we see
ear|the part of the body with which we hear
hand|the part of the arm with five fingers
tooth|one of the hard white things in the mouth with which we bite
dream|what you see in your mind while you sleep
promise|something that you say you will surely do
secret|something that only a few people know
joke|something that is said to make people laugh
story|a telling of things that happened or could have happened
language|the words that people use to speak with each other
capital|the city where the government of a country sits
continent|one of the seven large areas of land on the Earth
ocean|a very large sea
week|a time of seven days
month|one of the twelve parts of a year
year|a time of twelve months
hour|a time of sixty minutes
minute|a time of sixty seconds
triangle|a shape with three sides
square|a shape with four equal sides
circle|a round shape
""", 2))
_NO_ARTICLE = {"bread", "butter", "cheese", "honey", "fruit", "water", "ice", "snow", "rain", "wind", "winter", "summer", "spring", "autumn"}
_THE = {"sun", "moon"}

OPENERS = """
The train [was late|stopped with a jerk|left the station|was full of people]. {a} [looked at the clock|sat by the window|held {a.his} ticket in {a.his} hand]. "[When will we arrive|Is it far|How long will it take]?" {a.he} asked. "[In an hour|It is not far|We are almost there]," said {a.his} {r}. Outside, [fields and villages went by|it began to rain|the sun was setting]. [At the station {b} was waiting and waved.|When the train stopped, it was already dark.|At last they saw the sea.]
The bus [was full|did not come|stopped in front of the {pl}]. {a} [had to stand|waited in the rain|got off]. [An old woman smiled at {a.him}.|Next to {a.him} stood {b}.] "[Where are you going|Are you going to the {pl} too]?" {a.he} asked. "[To the {pl}|Yes, I go there every <weekday>]." [They talked until the last stop.|So the way was not so long.]
The dog [barked|lay in front of the fire|sat at the door and waited|ran across the field]. {^p} was {p.his} name, and {p.he} belonged to {a}. [Every evening {p.he} waited for {a} to come home.|{^p.he} was old and did not hear well any more.] When {a} [opened the door|came up the path], {p} [jumped up|wagged {p.his} tail|was full of joy]. Then they [went for a walk|sat by the fire together|shared a piece of bread].
The cat [slept on the warm stove|sat on the wall|was looking at the birds|had climbed up a tree]. [It was <colour> and very <good3>.|Its name was {p}.] {a} [called it|brought it a bowl of milk|watched it], but the cat [did not move|only opened one eye|looked away]. [Cats do what they want.|"You are a lazy cat," said {a}, and laughed.] In the evening it came by itself and [purred|lay down on {a}'s bed].
The bird [sang in front of the window|sat on the roof|had built a nest in the old tree]. {a} [listened|put some seeds on the window sill|watched it every morning]. [There were three small eggs in the nest.|It was small and brown, but its song was beautiful.] After [two weeks|a while], [the young birds opened their eyes|it was not afraid of {a} any more]. In autumn [it flew to the south|the nest was empty], and in spring it came back.
The house [stood at the end of the street|was old and empty|had <smallnumber> windows and a <colour> door]. [Nobody had lived there for years.|Once a <job> had lived there.] The children said [that it was haunted|that there was a treasure in the cellar]. One day {a} [opened the gate|looked through the window]. Inside [there was only dust|stood a piano|a light was burning]. "[Come in|Do not be afraid]," said a friendly voice. It was {g}, who had just moved in.
The ship [left the harbour at dawn|had <colour> sails|was loaded with <fruits>]. The captain [stood at the wheel|looked at the sky]. "[We will have good wind|A storm is coming|Set the sails]," he said. For <number> days they saw nothing but water. Then [a sailor cried, "Land!"|the sea grew rough|gulls circled the mast]. [Before them lay a green island.|Everyone came on deck and looked.] They dropped the anchor and rowed to the beach.
The shop [was small and dark|opened at nine o'clock|stood at the corner]. {g} [stood behind the counter|knew every customer]. "[What would you like|Good morning, {a}]," said {g}. {a} [bought bread and <fruits>|needed a new <clothes>|looked at the toys]. "[That is <number> coins, please|Anything else]?" {a} [counted the money|put the coins on the table]. "Thank you, and goodbye."
The king [was old and tired|had <smallnumber> daughters|lived in a castle on a hill|was very rich, but not happy]. [Every day he looked out of the window.|He had everything, and still something was missing.] One day he [put on old clothes and left the castle|called for {a}, the gardener's child]. "[What makes you happy|What is the best thing in the world]?" he asked. "[To sit in the sun with a friend|A warm meal after a long day]," was the answer. The king [thought about it for a long time|smiled for the first time in years].
The queen [lived in a white castle|loved her garden more than her gold|could not sleep]. "[Bring me the best storyteller in the country|I am tired of feasts]," she said. {a} came, a poor {a.kind} from the mountains. {^a.he} told her [about the stars|of a shepherd and a wolf|how the sea got its salt]. When the story was over, the queen [slept like a child|was silent]. "Stay," she said in the morning, "and tell me another one."
The children [were playing in the yard|ran down the hill|sat around the fire]. [It was the last day of the holidays.|The sun was going down.] "[Let us play hide and seek|Who knows a story|I am hungry]!" <cried> {a}. {b} [hid behind the barn|began to tell one|had some {f} in the bag]. They [laughed and ran|played|talked] until [it was dark|their parents called them].
The teacher [came into the room|opened the book|wrote a word on the blackboard]. The children [stood up|stopped talking]. "[Today we will learn about <subject>|Who can read this]?" said the teacher. {a} [raised {a.his} hand|knew the answer|looked at {b}]. "[Very good|Well done]," said the teacher. When the bell rang, everyone ran into the yard.
The wind [blew all night|tore the leaves from the trees|was cold]. {a} [lay in bed and listened|pulled the <clothes> tighter|could not sleep]. [Somewhere a door banged.|The windows rattled.] In the morning [the whole garden was full of leaves|the old tree lay on the ground|everything was quiet again]. "[What a night!|Did you hear it?]" said {a.his} {r}.
The sun [was shining|went down behind the hills|came up over the sea]. {a} and {b} [sat on the beach|walked along the river]. "[Tomorrow will be a fine day|I wish the summer would never end|Look at the colours]," said {a}. [They threw flat stones into the water.|They ate {f} and watched the boats.] Then they [went home|walked back slowly], and the first stars came out.
The snow [fell all night|lay deep in the streets|was melting]. [All the roofs were white.|Everything was quiet.] {a} [took the sledge out of the shed|put on warm boots]. With {b}, {a.he} went [up the hill|to the frozen lake]. They [raced down again and again|built a snowman|threw snowballs], until [their noses were red|it grew dark]. At home there was <drink>.
The river [was wide and slow|had risen in the night|was frozen]. On the other side lay the {pl}. {a} [wanted to cross it|looked for the boat]. "[Can you take me across|Is the water deep]?" {a.he} asked the ferryman. "[For a song|Get in|It is deep, but I know the way]," said the old man. {a} [sang a song|sat down in the boat], and soon they were on the other side.
The letter [came on a <weekday>|lay on the table|had no stamp]. {a} [opened it with cold fingers|read it twice]. It was from {b}, who [had moved to <city>|was on a long journey]. "[I am well|I miss you]," wrote {b}. "[The people here are friendly|Every day I see new things|Come and visit me soon]." {a} [smiled|took a sheet of paper and wrote an answer at once].
The fire [burned low|crackled in the stove|gave light and warmth]. {g} [told a story|put another log on it|warmed {g.his} hands]. "[Long ago, when I was a child|Once, in a winter like this]," {g.he} began, "[the snow was higher than the house|a wolf came down to the village]." {a} [listened with big eyes|moved closer]. [When the story was over, only the embers were red.|Outside it was snowing.]
The baby [laughed|was asleep|cried all night]. {a} [was now a big {sis}|rocked the cradle|looked at the tiny hands]. "[When will it learn to talk|Can I hold it]?" {a.he} asked. "[You must be very careful|It will take some time]," said {a.his} {r}. The baby [held {a}'s finger|opened its eyes and smiled].
The door [opened slowly|was locked|stood open]. {a} [held {a.his} breath|looked inside|knocked three times]. "[Is anybody there|Hello]?" {a.he} called. [Nobody answered.|There was no answer.] [In the room stood a table with a {t.adj} {t} on it.|On the floor lay a {t.adj} {t}.] {a} [picked it up|did not touch it]. Then {a.he} heard a voice behind {a.him}. It was {b}. "[I have been looking for you|So this is where you are]," said {b}.
The window [was open|was dark|looked out on the {pl}]. {a} [stood there every evening|leaned out]. [Down in the street, people were going home.|One could hear {pl.hear}.] "What do you see?" asked {a.his} {r}. "[Only the rain|I see the first star]," said {a}.
The tree [in front of the house|by the river|behind the school] was [very old|taller than the roof]. [Under it stood a bench.|Its branches reached the window.] In spring it was full of flowers, and in autumn it was full of [nuts|apples|red leaves]. {a} [climbed it every day|read {a.his} books in its shade]. "[My grandfather planted it|It has seen many summers]," said {a.his} {r}.
The book [had a <colour> cover|was old and heavy|lay open on the table]. {a} [began to read|turned the first page]. It was about [a journey to the stars|a {p.kind} that could talk|a boy who lived on an island]. {a} [forgot the time|did not hear the bell|read until midnight]. "[Just one more page|It is so exciting]," {a.he} said.
""".strip().splitlines()


def definition(rng: random.Random) -> str:
    """One definition, sometimes with its question, sometimes two."""
    out = []
    for word in rng.sample(list(DEFINITIONS), rng.choice([1, 1, 1, 2])):
        noun = word if word in _NO_ARTICLE else ("the " if word in _THE else "a ") + word
        meaning = DEFINITIONS[word]
        sentence = f"{noun[0].upper() + noun[1:]} is {meaning}."
        out.append(rng.choice([sentence, sentence, f"What is {noun}? {sentence}", f"Question: What is {noun}?\nAnswer: {sentence}",
                               f'"What is {noun}?" asked {rng.choice(["Anna", "Tom", "Mia", "Ben", "the child"])}. "{sentence[:-1]}," said {rng.choice(["the teacher", "Grandma", "Mr Hill", "Miss Clark"])}.']))
    return " ".join(out)


def thing_scene(rng: random.Random) -> tuple[str, str]:
    """A scene that begins with a thing, an animal or a person."""
    context = cast(rng)
    context["sis"] = "sister" if context["a.he"] == "she" else "brother"
    at = rng.randrange(len(OPENERS))
    template = OPENERS[at].replace("<good3>", rng.choice(["clever", "soft", "proud", "quiet"]))
    if "{p}" in template:  # the animal of the opening is the pet
        kind = "dog" if template.startswith("The dog") else "cat" if template.startswith("The cat") else context["p.kind"]
        context["p.kind"] = kind
    sentences = expand(template, context, rng)
    return sentences, f"thing/{at}/{context['a']}/{context['b']}/{context['pl']}"
