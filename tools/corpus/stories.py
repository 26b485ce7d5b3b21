"""Short stories about children, friends, pets and things. One line of a plot is one beat; ``?`` marks an optional one.

Names bound in every story: ``a`` and ``b`` children, ``r`` a relative of ``a``, ``g`` a grown-up, ``p`` a pet,
``pl`` a place, ``t`` a thing, ``f`` a food (see people.py for their forms).
"""

from __future__ import annotations

import random

from . import people
from .grammar import Context, expand

OPENINGS = """
Once upon a time[,|] there was a <childadj> {a.kind} [named|called] {a}.
Once upon a time, a <childadj> {a.kind} [named|called] {a} lived [{pl.in} a {pl.adj} {pl}|near a {pl.adj} {pl}|in a small house with {a.his} family|in a little town by the sea|in a village at the foot of a mountain].
There was once a <childadj> {a.kind} [named|called] {a} who loved <hobby>.
{a} was a <childadj> {a.kind} [who lived near a {pl.adj} {pl}|who liked <hobby>|with <nice> brown eyes|of <age> years|with a <nice> smile|who was never bored].
A <childadj> {a.kind} [named|called] {a} lived [with {a.his} {r}|near the {pl}|in a house with a <colour> door|on the edge of the town|in a <small> house on a hill].
{a} lived [with {a.his} {r} in a <small> house|in a <colour> house near the {pl}|next to a {pl.adj} {pl}|in the middle of a busy town|on a farm with many animals].
[Long ago|Many years ago|A long time ago|Not long ago|In a town by the sea], there lived a <childadj> {a.kind} [named|called] {a}.
In a <small> [town|village] [by the sea|in the mountains|near a forest|by a wide river] lived a {a.kind} [named|called] {a}.
{a} [was|had just turned] <age> years old[ and liked <hobby>| and very <good>|].
It was a [cold|warm|quiet|fine|dark|stormy] <season> [morning|evening|night|day], and {a} [was at home with {a.his} {r}|sat by the window|could not sit still].
It was a [cold|warm|quiet|fine|dark] [winter|autumn|summer|spring] [morning|evening|night]. {a} [sat in the kitchen|stood at the window] and [looked out|thought of {b}|waited].
The [little |]{a.kind} was called {a}, and {a.he} [lived near the {pl}|loved <hobby>|was afraid of nothing].
The {a.kind}'s name was {a}. {^a.he} lived with {a.his} {r} [near the {pl}|in a <small> house].
Everyone in the [village|street|town] knew {a}, the <childadj> {a.kind} [who loved <hobby>|from the house with the <colour> door|with the <colour> <clothes>].
{a} and {b} [were good friends|were friends|lived in the same street|went to the same school]. {a} was <childadj>, and {b} was [always hungry|never afraid|a little older].
When {a} was <age> years old, {a.he} lived [near a {pl.adj} {pl}|with {a.his} {r}|in a small town].
My friend {a} is a <childadj> {a.kind}. This happened [last year|last summer|when {a.he} was <age> years old].
This is the story of {a}, a <childadj> {a.kind} who lived [near a {pl.adj} {pl}|in a small house by the sea].
[There lived|Once there lived] a {a.kind} named {a} [in a village by the sea|near the {pl}|in a small house].
Nobody [in the village|in the school] was as <good> as {a}. {^a.he} lived with {a.his} {r}.
"{a}!" called {a.his} {r}. "[Where are you|Come down|Get up, it is late|Are you awake]?" {a} [opened {a.his} eyes|came down the stairs|put the book away].
"""

ENDINGS = """
<^fromthen>, {a} [never forgot|always remembered] what had happened.
{a} went to bed [that night |]with a smile.
"[This was|That was|It was] the best day of [the year|my life|the whole summer]," said {a}.
{a} was <happy>, and [so was|so was] {b}.
It was a day that {a} would [never forget|always remember].
{a} had learned <lesson>.
And {a} learned <lesson>.
<^fromthen>, {a} and {b} were [the best of friends|good friends].
They all laughed[ and went home| until it was dark|].
"I am [very |]proud of you," said {a.his} {r}.
Then they all went home [for dinner|together|to drink <drink>].
{a} could not stop smiling.
[And that was the end of it.|All was well again.|Everything was all right again.|It had been a long day, but a good one.]
"""

PLOTS: dict[str, str] = {}


def _plot(name: str, body: str) -> None:
    PLOTS[name] = body


_plot("lost_pet", """
{^a.he} had a [small|little|big|brown|white|black] {p.kind} [named|called] {p}. [Every day|Every afternoon|After school] they played together [in the garden|by the river|in the park].
<oneday>, {p} [ran away|was gone|did not come home|slipped out of the gate]. {a} [looked everywhere|looked under the bed, behind the sofa and in the garden|called and called], but {p.he} was not there. {a} was <sad>.
?"Don't [worry|cry]," said {a.his} {r}. "We will find {p.him}."
{a} [asked {g}|went to see {g}|met {g} in the street]. "Have you seen [a {p.kind}|my {p.kind}]?" {a.he} asked. "[Yes|I think so|I am not sure, but I think so]," said {g}. "I saw a {p.kind} [near|running to] the {pl}."
{a} ran to the {pl}. [There were {pl.see}.|{^a.he} could hear {pl.hear}.] {^a.he} called, "{p}! {p}!"
<suddenly> {a.he} heard a [soft|small|quiet] sound. [Behind a tree|Under a bench|In the long grass|Between two stones] sat {p}. {^p.he} was [wet and cold|tired and hungry|dirty but safe|safe and sound].
{a} [hugged {p.him}|picked {p.him} up|held {p.him} close] and carried {p.him} home. {p} got [some food and a warm blanket|a big bowl of food|a bath and a long sleep].
?<^fromthen>, {a} closed the gate whenever {a.he} went out.
""")
_plot("lost_thing", """
{a} had a {t.adj} {t}. It was made of {t.of}, and {a.his} {r} had given it to {a.him}. {a} [loved it|took it everywhere|kept it {pl.in} the {pl}|was very proud of it].
<oneday>, the {t} was gone. {a} looked [in the kitchen|under the bed|in every room], but {a.he} could not find it.
"[Where did you see it last|When did you last have it|Where were you yesterday]?" <asked> {a.his} {r}. {a} thought for a moment. "[At the {pl}|I was at the {pl}]," {a.he} said.
So {a} and {b} went back to the {pl}. They looked [for a long time|for an hour|everywhere]. [{b} looked on the left, and {a} looked on the right.|They saw {pl.see}, but no {t}.]
<suddenly> {b} <cried>, "Look! [There it is|I can see it|Here it is]!" The {t} was [under a bench|behind a big stone|lying in the grass|next to an old tree].
"Thank you[, {b}|]!" said {a}. "[You are a true friend|I would never have found it alone|You have very good eyes]."
?{a} gave {b} [half of {a.his} {f}|a big hug|one of {a.his} books] to say thank you.
""")
_plot("rainy_day", """
<coldweather>[, so|, and so] {a} could not [go outside|play in the garden|go to the {pl}]. {^a.he} sat at the window and [looked at the rain|watched the drops on the glass|felt bored].
"I am bored," said {a}. "[There is nothing to do.|What can I do?|I have nothing to play with.]"
{^a.his} {r} smiled. "[Why don't you|You could] [look in the attic|build something from paper|draw a picture of the {pl}|bake something with me|read a book]."
{a} [thought about it|went upstairs|got up slowly]. In an old box {a.he} found a {t.adj} {t}. "[What is this|Whose is this]?" {a.he} asked. "It was mine when I was young," said {a.his} {r}. "People use [it|such a thing] to {t.use}."
Together they cleaned it [with a soft cloth|until it shone|and put it on the table]. {a.his.cap} {r} told {a.him} [a long story about it|many stories about the old days|how {r.he} had found it at the {pl}].
When the story was over, the rain had stopped. [A rainbow stood over the houses.|The sun came out again.|The birds began to sing.] But {a} did not want to go outside any more. {^a.he} wanted [another story|to hear more].
""")
_plot("sharing", """
<oneday>, {a} had [a big bowl of|some] {f} [for lunch|in {a.his} bag]. {^a.he} loved {f}, because {f.it} {f.tastes} {f.taste}.
{a} sat down [on a bench|under a tree|in the garden|by the {pl}]. {b} came and sat down [next to {a.him}|beside {a.him}]. {b} looked <sad>.
"What is [wrong|the matter]?" <asked> {a}. "I [forgot my lunch at home|lost my lunch on the way|have nothing to eat]," said {b}.
?{a} looked at the food. There was not much, and {a.he} was [very |]hungry.
But then {a} [smiled|thought for a moment and smiled] and said, "[We can share|You can have half of mine|There is enough for both of us]." {^a.he} gave half of it to {b}.
{b} was <happy>. "Thank you," {b.he} said. "[You are very kind|That is very kind of you|It is delicious]."
?The next day, {b} brought [two apples|two pieces of cake|a bag of cherries] and gave one [half |]to {a}.
""")
_plot("new_friend", """
{a} had just moved to a new town. {^a.he} did not know anyone, and {a.he} felt <sad>.
On [the first day of school|<weekday>|the first morning], {a} [sat alone|stood alone in the yard|ate {a.his} lunch alone]. The other children were [playing|laughing|talking to each other].
<then> a {b.kind} came up to {a.him}. "Hello," said the {b.kind}. "My name is {b}. What is your name?" "I am {a}," <said> {a}[ shyly|].
"Do you like <hobby:h1>?" asked {b}. "[Yes, I do|Yes, very much|I love it]!" said {a}. [The two children smiled at each other.|{b} laughed. "Me too!"]
After school, {b} showed {a} the {pl}. There they [saw {pl.see}|heard {pl.hear}|sat down and talked for a long time].
When {a} came home, {a.his} {r} asked, "How was your day?" "[Wonderful|Very good|Much better than I thought]," said {a}. "I have a new friend."
""")
_plot("birthday", """
It was {a}'s birthday. {^a.he} [woke up early|jumped out of bed|could hardly wait] and ran to the kitchen. [There were balloons on every chair.|The table was full of flowers.|On the table stood a big cake.]
"Happy birthday, {a}!" <cried> {a.his} {r}. {^a.he} was now <age> years old.
In the afternoon, {a.his} friends came. {b} gave {a.him} <gift:gg>. "[Thank you|I love it|It is just what I wanted]!" said {a}.
They [played games in the garden|sang songs|danced and laughed] and ate {f}.
?But one present was still on the table. It was [very small|wrapped in <colour> paper|heavy and square]. {a} opened it slowly. Inside was a {t.adj} {t}. "It belonged to your {r}," said {g}.
In the evening, when everyone had gone home, {a} [lay in bed|sat by the window] and thought about the day.
""")
_plot("garden", """
In spring, {a} [wanted to grow|decided to plant] <vegetables:v> in the garden. {^a.his} {r} gave {a.him} some seeds and [a small spade|a watering can].
{a} dug [small holes|a long row] in the soil and put the seeds into the ground. Then {a.he} watered them[ carefully|].
Every morning {a} went out to look. On the first day there was nothing. On the second day there was nothing. "[Why is nothing happening|When will they grow|What did I do wrong]?" {a} <asked>. "[You must be patient|Plants need time|Wait a little longer]," said {a.his} {r}. "They need sun, water and time."
[After a week|One morning|Ten days later], {a} saw a tiny green leaf. "[They are growing|Come and look|It worked]!" {a.he} <cried>.
The plants grew [taller and taller|bigger every day]. In summer, {a} could pick the first {v}. {a.his.cap} {r} made [a soup|a salad|a pie] from them.
"These are the best {v} [I have ever eaten|in the world]," said {a}.
""")
_plot("snow", """
One morning in [December|January|February], {a} looked out of the window. [Everything was white.|The whole garden was covered with snow.|It had snowed all night.]
{a} put on {a.his} <clothes>, {a.his} <clothes> and {a.his} boots and ran outside. {b} was already there. "Let us build a snowman!" <cried> {b}.
They rolled a big ball of snow for the body and a smaller one for the head. {a} took [two stones|two buttons|two pieces of coal] for the eyes, and {b} brought a carrot for the nose.
"[He looks cold|Something is missing|He needs a hat]," said {a}. {^a.he} ran into the house and came back with an old hat and a <colour> scarf.
?Just then {p} the {p.kind} came out and [jumped into the snow|ran around the snowman|looked at the carrot].
In the evening their fingers were [cold|red and cold], and {a.his} {r} made them <drink>. [Through the window they could see the snowman.|The snowman stood in the garden and seemed to smile.]
When the sun came back, the snowman [became smaller every day|slowly melted]. "Goodbye," said {a}. "See you next winter."
""")
_plot("storm_at_sea", """
{^a.his} {r} had a [small|little|white|blue] boat. <oneday>, they [sailed|went] out to sea together. <warmweather>, and the water was calm.
{a} held the [rope|rudder] and watched the gulls. [They caught three fish.|They ate {f} and drank <drink>.|The harbour looked smaller and smaller.]
<suddenly> the wind grew stronger. Dark clouds came up, and the waves became higher. {a} was <afraid>.
"Hold on tight!" <cried> {a.his} {r}. "We are going back." The boat went up and down, and [water splashed over the side|the rain began to fall].
{a} [took the bucket and threw the water out of the boat|pulled the rope with both hands|looked for the light of the harbour]. "[Over there|I can see the lighthouse|That way]!" {a.he} <cried>.
{^a.his} {r} turned the boat toward the light. Slowly they came closer, and at last they reached the harbour. [They were wet and tired, but safe.|Both of them were cold, but nobody was hurt.]
"You were very brave," said {a.his} {r}. {a} [smiled|was proud]. "Next time we will look at the sky first," {a.he} said.
""")
_plot("old_map", """
<oneday>, {a} found an old map [in the attic|in a thick book|behind a picture|in a wooden box]. There was a red cross on it, near the {pl}.
"[Is it a treasure map|Maybe it shows a treasure|What do you think it is]?" {a} asked {b}. "[Let us find out|There is only one way to know|We have to look]," said {b}.
They took a spade, a lantern and some {f}, and walked to the {pl}. [They passed an old mill and crossed a bridge.|The way was long, and the sun was hot.|On the map they counted the steps: ten to the north and five to the east.]
Under [an oak tree|a big stone|an old wall] they began to dig. After an hour, the spade hit something hard. It was a {box.adj} box!
{a}'s heart beat fast. {^a.he} opened the box. There was no gold inside. There was [a letter|an old photograph|a {t.adj} {t}] and a note. The note said: "[The real treasure is a good friend|Well done, whoever you are|I hid this when I was ten years old|Look around you: this is the best place in the world]."
{a} and {b} looked at each other and laughed. [They put their own letter into the box and buried it again.|They sat down in the grass and ate their {f}.]
""")
_plot("train", """
{a} and {a.his} {r} were going to [<city:ci>|<city:ci>|the city] by train. They [got up very early|packed a small bag|took some {f} with them] and went to the station.
The train was [long and <colour>|very full|ten minutes late]. {a} sat by the window. Outside {a.he} saw [fields, rivers and small villages|cows and horses|hills and forests].
Next to them sat an old [man with a <colour> hat|woman with a big basket|man with a newspaper]. "Where are you going?" the old traveller asked. "We are going to visit my <relative>," said {a}.
?The traveller gave {a} [a sweet|an apple|a riddle]. "[When I was young, trains were much slower|I have taken this train for forty years|Always look out of the window]," the traveller said.
After <smallnumber> hours, the train stopped. The station was [big and noisy|full of people]. {a} held {a.his} {r}'s hand.
<then> a voice called {a}'s name. [It was {a.his} cousin|Their family was waiting for them], and everyone [laughed|was <happy>].
""")
_plot("cooking", """
{a} wanted to [make {f}|cook dinner|bake a cake] for {a.his} {r}. {^a.he} had never done it before.
{^a.he} found a recipe in an old book. "First I need [flour, eggs and milk|a big bowl|butter and sugar]," {a.he} read. {a} put everything on the table.
<then> {b} came to help. {b} [stirred the bowl|broke the eggs|washed the dishes], and {a} read the next step.
But [the milk boiled over|an egg fell on the floor|the flour went everywhere|they used salt instead of sugar]. "Oh no!" <cried> {a}. "[What shall we do now?|Everything is ruined.]"
"[It is not so bad|We can try again|Do not give up]," said {b}. They cleaned the kitchen and started again. This time they [were careful|read every word|did not hurry].
When {a.his} {r} came home, the table was ready. {^r.he} tasted the food and closed {r.his} eyes. "[Delicious|This is wonderful|I have never eaten anything better]!" {r.he} said.
""")
_plot("helping_old", """
On {a.his} way home, {a} saw {g}. {^g.he} was carrying [two heavy bags|a big basket|a heavy box] and walked very slowly.
"Can I help you?" <asked> {a}. "[That would be very kind|Oh yes, please|You are a good child]," said {g}. {a} took half of it, and they walked together.
{^g.his} house was [on the hill|near the {pl}|at the end of the street]. On the way, {g} told {a} about [the old days|{g.his} life as a <job>|a {t.adj} {t} that {g.he} once had].
At the door, {g} smiled. "Wait a moment," {g.he} said. {^g.he} came back with [a piece of cake|some {f}|a red apple|a cup of hot chocolate]. "This is for you."
?<^fromthen>, {a} visited {g} every <weekday>. {^g.he} always had a new story.
""")
_plot("race", """
Every year there was a big race [in the village|at the school|around the lake]. {a} wanted to win. {^a.he} practised every day[ before school| after school| in the rain and in the sun|].
On the day of the race, <smallnumber> children stood at the start. {b} was the fastest of them all. "[You cannot beat me|I will win again|Are you ready]," said {b}.
"One, two, three, go!" <cried> {g}. They all ran. {b} was first, and {a} was right behind.
<suddenly> {b} [fell over a stone|slipped in the mud|twisted a foot] and cried out. {a} could have [won easily|run on]. But {a.he} stopped and went back.
"Are you hurt?" <asked> {a}. {^a.he} helped {b} to stand up, and together they walked to the finish. They were the last to arrive, but everyone clapped.
"[You did not win the race|You came last], but you won [a friend|something better]," said {g}. {b} looked at {a} and said, "Thank you. [I am sorry that I was so proud|You are the real winner]."
""")
_plot("night_noise", """
One night, {a} woke up. There was a strange noise [under the bed|on the roof|behind the door|outside the window]. It went [tap, tap, tap|scratch, scratch|bump, bump, bump].
{a} was <afraid> and pulled the blanket over {a.his} head. "[What is that|Who is there]?" {a.he} whispered. Nobody answered.
Then {a} thought, "[I must be brave|I will look for myself|There are no monsters]." {^a.he} took a [lamp|candle|torch] and [went slowly to the window|looked under the bed|opened the door].
There sat [a little cat with wet fur|a small bird with a hurt wing|a hedgehog|an owl|a branch of the old tree, moving in the wind]. {a} laughed. "[So it was you|You gave me a fright]!" {a.he} said.
{^a.his} {r} came in. "Why are you awake?" {r.he} asked. {a} told {r.him} everything. "[You were very brave|Most noises have a simple reason|Things look different in the light]," said {a.his} {r}.
Then {a} [went back to bed|lay down again] and slept until the morning.
""")
_plot("broken", """
{^a.his} {r} had a {t.adj} {t}. It stood [on a shelf|in the living room|next to the door], and nobody was allowed to touch it.
<oneday>, {a} was [playing with a ball in the house|dancing in the room|alone at home]. <suddenly> there was a loud crash. The {t} lay on the floor, [broken|in two pieces].
{a} was <afraid>. "[I could hide it|Nobody saw me|I could say that {p} did it]," {a.he} thought. But {a.he} did not feel good.
When {a.his} {r} came home, {a} said, "I have to tell you something. I broke the {t}. I am [very |]sorry." {^a.his} {r} was quiet for a moment.
"[I am sad about the {t}|It was very old]," {r.he} said, "but I am glad that you told [me the truth|the truth]." Together they [repaired it with glue|put the pieces together|took it to a man who could mend it].
?You could still see a thin line, but {a.his} {r} liked it even more than before.
""")
_plot("bird", """
{a} found a small bird [in the garden|on the road|under a tree|by the {pl}]. One of its wings was hurt, and it could not fly.
{a} carried it home [carefully|in both hands|in {a.his} hat] and put it in a box with [soft grass|an old scarf|some wool]. {^a.he} gave it water and [seeds|crumbs|small worms].
"Will it [live|fly again|get better]?" {a} asked {g}. "[If it rests, it will|I think so|Give it time]," said {g}.
Every day {a} [talked to the bird|fed the bird|sat next to the box]. After a week, it began to [sing|hop around|move its wing]. After two weeks, it flew across the room.
{a} knew what {a.he} had to do. {^a.he} took the bird outside and opened {a.his} hands. The bird looked at {a.him} once and flew away, up into the <colour> sky.
{a} was sad and <happy> at the same time. But every morning, a bird sang in front of {a.his} window.
""")
_plot("music", """
{a} wanted to learn to play the <instrument:in>. {^a.his} {r} bought an old one [at the market|from {g}], and {g} became {a.his} teacher.
At first it [sounded terrible|was very hard|did not sound like music at all]. {p} the {p.kind} [ran out of the room|hid under the sofa]. "I [will never learn it|cannot do it|want to stop]," said {a}.
"[Everyone starts like that|Nobody learns it in a day|Play slowly, and listen]," said {g}. "Practise a little every day."
So {a} played every day [after school|before dinner]. After a month, {a.he} could play [a short song|an easy tune]. After a year, {a.he} could play [whole pieces|ten songs] by heart.
In <month>, there was a concert at the {pl}. {a} was <afraid>, and {a.his} hands were cold. But when {a.he} began to play, {a.he} forgot [the people|everything].
When the last note was over, everyone clapped. {^a.his} {r} had tears in {r.his} eyes.
""")
_plot("painting", """
{a} loved to paint. {^a.he} painted [trees, houses and animals|everything {a.he} saw|with every colour {a.he} had].
<oneday>, {g} said, "[There will be a painting contest in the town|Paint something that makes you happy|Bring me your best picture]." {a} thought about it for [days|a long time].
{^a.he} painted a <colour> [horse|ship|house|castle], but {a.he} did not like it. {^a.he} painted the {pl}, but that was not right either.
<then> {a} looked at {p}, who was sleeping [in the sun|on the carpet]. "[That is it|Of course]!" {a.he} said. {^a.he} painted {p} the {p.kind} with [big eyes|a <colour> background|{p.his} favourite ball].
Everyone liked the picture. "It looks [alive|just like {p.him}]," said {b}. {a} won [the first prize|a box of paints|the second prize], and the picture hung in the {pl} for a whole month.
""")
_plot("market_money", """
{a}'s {r} gave {a.him} some money. "Go to the market and buy <vegetables> and bread," {r.he} said.
At the market there were [many people|so many things to see]. A man was selling [sweets|toys|balloons|little boats]. {a} looked at them for a long time. "[Only one coin|They are very cheap|The best in town]!" <cried> the man.
{a} held the money in {a.his} hand. {^a.he} wanted [a toy|something sweet] very much. But {a.he} [remembered what {a.his} {r} had said|thought of the empty kitchen].
So {a.he} bought the vegetables and a loaf of bread. There was one coin left. In front of the bakery sat {g}, who had [lost {g.his} purse|no money for the bus]. {a} gave {g.him} the coin.
At home, {a} told the story. {^a.his} {r} [smiled|was <happy>] and said, "You did the right thing." The next <weekday>, there was a small <colour> boat on {a}'s bed.
""")
_plot("lost_in_forest", """
<oneday>, {a} and {b} went into the forest to [look for mushrooms|pick berries|find a special flower]. They walked [deeper and deeper|on and on] between the tall trees.
After a while, {b} stopped. "Which way is home?" {b.he} asked. {a} looked around. All the trees looked the same. They were lost.
?It was getting dark, and [the wind was cold|an owl called from a tree|they were hungry].
"[We must stay calm|Do not be afraid|Let us think]," said {a}. "[The sun goes down in the west, and our village is in the west|If we follow the stream, it will lead us to the village|Listen! I can hear the church bell]." 
So they [followed the stream|walked toward the setting sun|walked and listened]. [They held hands.|They sang a song, so that they would not be afraid.] At last they saw a light between the trees.
It was {g} with a lantern. "There you are!" {g.he} <cried>. "[Everyone is looking for you|We were so worried]." Soon they were home, and there was hot soup for both of them.
""")
_plot("invention", """
{a} liked to build things. {^a.his} room was full of [wheels, wires and wood|boxes and old clocks|screws and string].
<oneday>, {a.his} {r} said, "I wish I had something to {t.use}." {a} had an idea. "I will build a {t}!" {a.he} said.
First, {a.he} made a drawing. Then {a.he} looked for {t.of} and [some nails|glue|a pair of scissors]. {b} helped {a.him} to [cut and measure|hold the parts|paint it <colour>].
The first one [broke after a minute|fell apart|did not work at all]. The second one was [too big|too heavy|not much better]. "[Shall we stop|Are you tired]?" asked {b}. "No," said {a}. "Now I know [what was wrong|how to do it]."
The third one worked. It was not [pretty|perfect], but it was [strong|theirs]. {^a.his} {r} used it every day.
""")
_plot("picnic", """
<warmweather>. "Let us [have a picnic|eat outside today|go to the {pl}]," said {a.his} {r}. {a} [packed|put] {f}, <fruits> and a bottle of <drink> into a basket.
They walked to the {pl} and [spread a blanket on the ground|found a place in the shade|sat down under a tree]. There were {pl.see}, and they could hear {pl.hear}.
When they opened the basket, {a} <cried>, "[The food is gone|Where is the {f}|The basket is empty]!" They all looked at {p}. {p} the {p.kind} had crumbs [on {p.his} nose|all over {p.his} face].
First nobody said a word. Then {a.his} {r} began to laugh, and everyone laughed too. "[Then we will eat the fruit|At least somebody is full|There is still some fruit left]," {r.he} said.
They stayed until the sun went down. On the way home, {p} was [so full that {p.he} had to be carried|the slowest of all].
""")
_plot("stars", """
{a} could not sleep. {^a.he} went to the window and looked at the sky. There were [thousands of stars|so many stars that nobody could count them].
{^a.his} {r} came in. "Come with me," {r.he} said. They put on warm coats and [went into the garden|climbed the hill behind the house].
"What are the stars?" <asked> {a}. "They are suns, like our sun," said {a.his} {r}, "but they are very far away. That is why they look so small."
"And the moon?" asked {a}. "The moon goes around the earth," said {a.his} {r}. "It has no light of its own. It shines because the sun shines on it."
<suddenly> a bright line crossed the sky. "A shooting star!" <cried> {a}. "[Make a wish|Now you can make a wish]," said {a.his} {r}. {a} closed {a.his} eyes[ and thought of {p}| and smiled|].
"What did you wish for?" asked {a.his} {r}. "I cannot tell you," said {a}. "It is a secret."
""")
_plot("first_swim", """
{a} could not swim. All the other children jumped into the lake, but {a} stayed on the [grass|shore|wooden bridge].
"Come in, the water is warm!" <cried> {b}. {a} shook {a.his} head. {^a.he} was [afraid|scared] of the deep water.
"[I was afraid too|Nobody can swim at first]," said {b}. "[I will show you|Come, I will hold your hand]." They began where the water was not deep. {a} learned to [float on {a.his} back|move {a.his} arms and legs|breathe out under water].
Every day {a} tried again. On <weekday>, {a.he} swam <number> metres. The week after, {a.he} swam to the little island[ and back|].
"Look at me!" {a.he} <cried>. {^a.his} {r} waved from the shore.
""")
_plot("letter", """
<oneday>, a letter came for {a}. It was from {a.his} <relative:rel>, who lived [in <city:ci>|far away|on an island|on the other side of the mountains].
"Dear {a}," said the letter, "[I have not seen you for a long time|I think of you every day|the days are long here]. [Please come and visit me|Will you come in the summer|I would like to show you the {pl}]. With love."
{a} read the letter <smallnumber> times. "Can we go?" {a.he} asked {a.his} {r}. "[In the summer, when there is no school|Yes, as soon as the snow is gone|Of course we can]," said {a.his} {r}.
So {a} wrote back. {^a.he} wrote about [school|{p} the {p.kind}|{b}] and drew a picture of [the house|the {pl}|a {t.adj} {t}].
In <month> they made the long journey. {a.his.cap} {rel} stood at the [gate|station|harbour] and waved with both arms.
""")
_plot("lighthouse", """
{a}'s {r} worked in a lighthouse. Every evening {r.he} climbed the stairs and lit the big lamp, so that the ships could find their way.
<oneday>, {a.his} {r} was [ill|sick and had to stay in bed]. <coldweather>, and it was getting dark. "Who will light the lamp?" {r.he} asked.
"I will," said {a}. {^a.he} took [the key|a lantern|a box of matches] and climbed the stairs, step by step. There were two hundred steps. {^a.his} legs were [tired|heavy], but {a.he} did not stop.
At the top the wind [howled|shook the windows]. {a} lit the lamp, and the light went out over the [dark|black] sea.
Far away there was a small ship. When its captain saw the light, he turned away from the rocks. The next morning he came to the lighthouse. "Who lit the lamp?" he asked. "You saved [us all|<number> people]."
{a} [said nothing and smiled|looked at the floor], but {a.his} {r} put a hand on {a.his} shoulder and said, "It was {a}."
""")
_plot("library_book", """
{a} loved books. Every <weekday:wd> {a.he} went to the library and [borrowed|took home] a new one.
<oneday>, {a} found a [thin|thick|<colour>] book without a title. [The pages were empty.|There was only one sentence in it.|On the first page there was only a question.] "[This is strange|What kind of book is this]," {a.he} said to {g}, who worked in the library.
{g} smiled. "That book is for someone who has a story to tell," {g.he} said. "Take it home."
So {a} began to write. {^a.he} wrote about [a {t.adj} {t} that could talk|a {p.kind} named {p} who went to the moon|a {pl} where nobody was ever sad|a king who was afraid of mice]. {^a.he} wrote [every evening|for many weeks], until the last page was full.
Then {a} took the book back. {g} read it and put it on the shelf. A week later the book was gone. "[Somebody has borrowed it|A {b.kind} called {b} took it home]," said {g}, "[and wants to read the next one|and asked for more]."
""")
_plot("brave_tooth", """
{a} had a toothache. {^a.he} could not eat {a.his} {f}, although it was {a.his} favourite food. "You have to go to the dentist," said {a.his} {r}.
{a} was <afraid>. "[Will it hurt|Do I have to|Can we go tomorrow]?" {a.he} asked. "[Only a little|Not for long|I will be with you]," said {a.his} {r}.
The dentist was a friendly [woman|man] with [warm hands|a quiet voice|funny glasses]. "Open your mouth," the dentist said, "and think of something nice." {a} thought of [{p}|the {pl}|the sea|{a.his} birthday].
After a few minutes it was over. "That was all?" asked {a}. "That was all," said the dentist. "[Now brush your teeth every morning and every evening|You were very brave]."
""")
_plot("football", """
On <weekday>, {a}'s team played against [the team from the next village|a very strong team]. {^a.he} was the [smallest|youngest|newest] player.
In the first half, the other team scored a goal. {a} ran [as fast as {a.he} could|up and down], but {a.he} hardly touched the ball.
"[We can still do it|Do not give up|Play together]," said {g}, their trainer. In the second half, {b} scored. Now it was one to one.
There was only one minute left. {b} had the ball, but two players stood in front of {b.him}. {b} saw {a} and [passed the ball|kicked the ball to {a.him}]. {a} took a deep breath and kicked.
The ball flew [past the goalkeeper|into the corner of the goal]. "Goal!" everyone <cried>. They had won two to one. The others lifted {a} up [on their shoulders|into the air].
"It was a good pass," said {a}. "It was a good shot," said {b}.
""")
_plot("moving_house", """
The boxes were packed, and the rooms were empty. {a} walked through the old house one last time. [Here was the place where {a.he} had learned to walk.|There were still lines on the door that showed how much {a.he} had grown.]
"[I do not want to go,|Why can we not stay?]" said {a}. {^a.his} {r} sat down beside {a.him}. "[I know it is hard|I will miss it too]," {r.he} said. "But we take the most important things with us."
The new house was [near a {pl.adj} {pl}|in a street with many trees|smaller, but it had a garden]. In the first night {a} could not sleep. Everything [sounded|smelled] different.
In the morning, there was a knock at the door. A {b.kind} with [a football|a basket of <fruits>|a {p.kind}] stood there. "Hello, I am {b}. I live next door," said the {b.kind}. "Do you want to [play|see the {pl}|come with me]?"
{a} looked at {a.his} {r}, and {a.his} {r} nodded. By the evening, the new street did not look so strange any more.
""")
_plot("clock_stopped", """
In the {pl} stood an old clock. It had not [worked|moved] for <number> years. The hands always showed ten past three.
{a} walked past it every day. "Why does nobody repair it?" {a.he} asked {g}. "[Nobody knows how|Many people have tried|The old clockmaker moved away long ago]," said {g}.
{a} [was curious|could not stop thinking about it]. With {b} and a lamp, {a.he} climbed up inside. There were [wheels as big as a table|dust and spider webs everywhere]. Between two wheels was [an old nest|a small bone|a piece of cloth|a {t.adj} {t}].
{a} pulled it out carefully. For a moment nothing happened. Then there was a loud tick, and then a tock. The clock was working again!
[All over the town|In the streets], people stopped and looked up. "[The clock is going|Listen]!" they <cried>. {g} gave {a} and {b} [the key to the clock|a piece of cake|a small silver bell]. "[From now on, it is your clock|You did what nobody else could do]," {g.he} said.
""")

_SPLIT = {
    name: [(line.startswith("?"), line.lstrip("?")) for line in body.strip().splitlines()] for name, body in PLOTS.items()
}
_OPEN = OPENINGS.strip().splitlines()
_END = ENDINGS.strip().splitlines()


def cast(rng: random.Random) -> Context:
    """A context with every name a story may use."""
    context: Context = {}
    people.child(context, "a", rng)
    people.child(context, "b", rng, context["a"])
    people.parent(context, "r", rng)
    people.adult(context, "g", rng)
    people.pet(context, "p", rng)
    if context["p"] in (context["a"], context["b"]):
        context["p"] = "Spot"
    people.place(context, "pl", rng)
    people.thing(context, "t", rng)
    people.food(context, "f", rng)
    context["f.tastes"] = "were" if context["f.is"] == "are" else "was"
    context["box.adj"] = rng.choice(["small", "heavy", "wooden", "rusty", "strange"])
    context["a.his.cap"] = context["a.his"].capitalize()
    return context


def story(rng: random.Random) -> tuple[str, str]:
    """One story and the key of its combination (plot, names and things), used to keep the held-out text apart."""
    context = cast(rng)
    name = rng.choice(list(_SPLIT))
    draw = rng.random
    sentences = [expand(_OPEN[int(draw() * len(_OPEN))], context, rng)] if draw() < 0.85 else []
    paragraphs = draw() < 0.35
    if not sentences:
        sentences.append(expand("{a} was a <childadj> {a.kind}.", context, rng))
    for optional, line in _SPLIT[name]:
        if optional and draw() < 0.5:
            continue
        sentences.append(expand(line, context, rng))
    if draw() < 0.8:
        ending = _END[int(draw() * len(_END))]
        if "{b}" not in ending or context["b"] in " ".join(sentences):
            sentences.append(expand(ending, context, rng))
    text = ("\n" if paragraphs else " ").join(sentences)
    return text, f"{name}/{context['a']}/{context['b']}/{context['pl']}"
