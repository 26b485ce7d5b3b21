"""Word lists and small tables with meaning: who lives where, what tastes how, what a thing is used for."""

from __future__ import annotations

from .grammar import LISTS, table, words

GIRLS = words("""Anna, Lily, Emma, Mia, Sara, Lucy, Ella, Clara, Nina, Rosa, Maya, Grace, Julia, Alice, Ruby, Zoe, Eva,
Ida, Nora, Hannah, Sophie, Leah, Molly, Amy, Kate, Jane, Mary, Ruth, Olivia, Chloe, Daisy, Freya, Iris, Elsa, Tara, Priya,
Amina, Yuki, Lena, Marta, Vera, Holly, Poppy, Isabel, Beth, Laura, Emily, Susan, Helen, Sally""")
BOYS = words("""Tom, Ben, Jack, Sam, Max, Leo, Oscar, Peter, Paul, Adam, Noah, Luke, Henry, Theo, Felix, Hugo, Oliver,
Daniel, David, Simon, Mark, Finn, Jonas, Karl, Erik, Omar, Ali, Ravi, Kenji, Pedro, Carlos, Marco, Ivan, Anton, Jacob, Will,
Harry, George, Toby, Alfie, Robin, Nick, Tim, Joe, Billy, Charlie, James, John, Michael, Martin""")
WOMEN = words("""Mrs Brown, Mrs Green, Miss Clark, Mrs Hill, Aunt Rose, Aunt May, Grandma, Mrs Baker, Miss Lane,
Mrs Wood, Mrs Carter, Aunt Ellen, Miss Grey, Mrs Young, Mrs Stone, Aunt Clara, Miss Bell, Mrs Moore""")
MEN = words("""Mr Brown, Mr Green, Mr Clark, Mr Hill, Uncle Joe, Uncle Max, Grandpa, Mr Baker, Mr Lane, Mr Wood,
Mr Carter, Uncle Fred, Mr Grey, Mr Young, Mr Stone, Uncle Bill, Mr Bell, Mr Moore""")
PETNAMES = words("""Buddy, Spot, Max, Bella, Luna, Coco, Pip, Biscuit, Rusty, Snowy, Shadow, Pepper, Ginger, Patch, Rex,
Tiger, Misty, Bruno, Lucky, Nibbles, Smoky, Honey, Pixie, Rocky""")
OLDS = words("old man, old woman, old farmer, old sailor, old fisherman, old teacher, old shepherd, old baker, old queen, old king")
MALE_ROLES = {"old man", "old farmer", "old sailor", "old fisherman", "old shepherd", "old baker", "old king", "king",
              "prince", "farmer", "sailor", "fisherman", "baker", "miller", "woodcutter", "shepherd", "blacksmith", "tailor"}
ROLES = words("""king, queen, prince, princess, farmer, sailor, fisherman, baker, miller, woodcutter, shepherd, blacksmith,
tailor, weaver, old man, old woman, old farmer, old sailor, old fisherman, old shepherd, old queen, old king""")

# animal | young | sound it makes | how it moves | home | food | two adjectives | covering
ANIMALS = table("""
dog|puppy|barks|runs|kennel|meat and bones|loyal,playful|fur
cat|kitten|meows|creeps|house|fish and mice|quiet,clever|fur
cow|calf|moos|walks|field|grass|calm,gentle|hair
horse|foal|neighs|gallops|stable|hay and oats|strong,fast|hair
pig|piglet|grunts|trots|sty|corn and potatoes|clever,pink|bristles
sheep|lamb|bleats|walks|meadow|grass|woolly,shy|wool
goat|kid|bleats|climbs|hill|leaves and grass|stubborn,curious|hair
hen|chick|clucks|struts|henhouse|seeds and worms|busy,brown|feathers
duck|duckling|quacks|swims|pond|water plants and insects|cheerful,plump|feathers
goose|gosling|honks|waddles|farmyard|grass|noisy,proud|feathers
mouse|baby mouse|squeaks|scurries|small hole|cheese and seeds|tiny,quick|fur
rabbit|kit|thumps its foot|hops|burrow|carrots and grass|soft,timid|fur
fox|cub|yelps|trots|den|mice and berries|sly,red|fur
wolf|pup|howls|runs|den|meat|wild,grey|fur
bear|cub|growls|lumbers|cave|honey, fish and berries|big,brown|fur
lion|cub|roars|prowls|grassland|meat|brave,golden|fur
tiger|cub|roars|prowls|jungle|meat|striped,powerful|fur
elephant|calf|trumpets|walks|savanna|leaves and fruit|huge,wise|grey skin
monkey|baby monkey|chatters|swings|jungle|fruit and nuts|funny,clever|hair
giraffe|calf|hums|walks|savanna|leaves|tall,graceful|spotted hair
zebra|foal|brays|gallops|savanna|grass|striped,wild|striped hair
camel|calf|grunts|walks|desert|dry plants|patient,tough|hair
kangaroo|joey|grunts|hops|grassland|grass|strong,bouncy|fur
frog|tadpole|croaks|jumps|pond|flies and insects|green,wet|smooth skin
snake|baby snake|hisses|slides|hole|mice and eggs|long,silent|scales
turtle|hatchling|hisses|crawls|beach|sea plants|slow,old|a hard shell
crocodile|hatchling|growls|swims|river|fish|dangerous,patient|scales
owl|owlet|hoots|flies|hollow tree|mice|wise,quiet|feathers
eagle|eaglet|screeches|soars|nest on a cliff|fish and small animals|proud,mighty|feathers
crow|chick|caws|flies|tall tree|seeds and scraps|black,clever|feathers
sparrow|chick|chirps|flutters|nest|seeds|small,brown|feathers
penguin|chick|squawks|waddles|icy coast|fish|funny,black and white|feathers
parrot|chick|squawks|flies|rainforest|fruit and seeds|colourful,talkative|feathers
swan|cygnet|hisses|glides|lake|water plants|white,graceful|feathers
bee|larva|buzzes|flies|hive|nectar|busy,striped|tiny hairs
ant|larva|makes no sound|marches|anthill|crumbs and seeds|hard-working,tiny|a hard shell
butterfly|caterpillar|makes no sound|flutters|garden|nectar|bright,delicate|tiny scales
spider|spiderling|makes no sound|crawls|web|flies|patient,eight-legged|tiny hairs
whale|calf|sings|swims|ocean|tiny sea animals|enormous,gentle|smooth skin
dolphin|calf|clicks|leaps|sea|fish|friendly,clever|smooth skin
shark|pup|makes no sound|swims|ocean|fish|fierce,fast|rough skin
squirrel|kit|chatters|leaps|tree|nuts|quick,bushy-tailed|fur
hedgehog|hoglet|snuffles|shuffles|pile of leaves|insects and worms|shy,prickly|spines
badger|cub|grunts|digs|sett|worms and roots|strong,shy|fur
deer|fawn|bellows|leaps|forest|leaves and grass|gentle,graceful|hair
otter|pup|whistles|swims|riverbank|fish|playful,sleek|fur
donkey|foal|brays|trots|stable|hay|patient,stubborn|hair
bat|pup|squeaks|flies|cave|insects|small,dark|fur
snail|baby snail|makes no sound|crawls|garden|leaves|slow,quiet|a shell
seal|pup|barks|swims|rocky coast|fish|sleek,lazy|fur
polar bear|cub|growls|swims|Arctic ice|seals|white,powerful|thick fur
""", 8)

# food | taste | where it comes from or how it is made | colour
FOODS = table("""
bread|fresh and warm|is made from flour and water|brown
cheese|rich and salty|is made from milk|yellow
apple pie|sweet and warm|is made from apples and pastry|golden
chocolate cake|sweet and soft|is made with cocoa, eggs and flour|brown
soup|hot and tasty|is made from vegetables|orange
rice|soft and plain|grows in wet fields|white
pasta|soft and filling|is made from flour and eggs|yellow
pizza|hot and cheesy|is baked in an oven|red and yellow
honey|very sweet|is made by bees|golden
ice cream|cold and sweet|is made from cream and sugar|white
pancakes|warm and sweet|are made from milk, eggs and flour|golden
potatoes|soft and filling|grow under the ground|brown
salad|fresh and crunchy|is made from lettuce and tomatoes|green
yoghurt|cool and creamy|is made from milk|white
fried eggs|hot and tasty|come from hens|white and yellow
fish|fresh and salty|comes from the sea|silver
strawberries|sweet and juicy|grow in the garden|red
cherries|sweet and juicy|grow on trees|red
oranges|sweet and juicy|grow on trees in warm countries|orange
grapes|sweet and fresh|grow on vines|purple
bananas|soft and sweet|grow in warm countries|yellow
carrots|sweet and crunchy|grow under the ground|orange
porridge|hot and creamy|is made from oats|white
noodles|long and soft|are made from flour and water|yellow
dumplings|hot and soft|are made from dough|white
lemon cake|sour and sweet|is made with lemons|yellow
mushroom soup|warm and creamy|is made from mushrooms|grey
tomato soup|warm and rich|is made from tomatoes|red
peanut butter|rich and salty|is made from peanuts|brown
""", 4)

# thing | material | what people do with it | where it is kept | adjectives
THINGS = table("""
key|iron|open a door|drawer|small,rusty,silver,old
clock|wood and brass|tell the time|wall|old,loud,tall,golden
lamp|glass|light a room|table|bright,little,green,old
basket|straw|carry food|kitchen|big,round,heavy,empty
kite|paper|play in the wind|cupboard|red,blue,yellow,big
ball|rubber|play games|garden|red,round,blue,new
book|paper|read stories|shelf|thick,old,blue,dusty
boat|wood|cross the water|harbour|little,white,wooden,blue
bicycle|metal|ride to school|shed|new,fast,green,old
umbrella|cloth|stay dry|hall|black,big,yellow,broken
violin|wood|play music|case|old,brown,beautiful,small
drum|wood and leather|play music|corner|loud,big,red,round
coat|wool|keep warm|hook|warm,long,blue,heavy
hat|felt|keep the sun away|hook|funny,tall,green,old
ring|gold|wear on a finger|box|shiny,thin,golden,tiny
map|paper|find the way|drawer|old,torn,large,folded
mirror|glass|look at yourself|wall|round,tall,clear,old
hammer|iron and wood|hit nails|toolbox|heavy,old,strong,new
ladder|wood|climb up high|shed|long,wooden,old,tall
bucket|tin|carry water|well|old,full,heavy,blue
blanket|wool|keep warm at night|bed|soft,red,thick,warm
cup|clay|drink tea|shelf|white,little,broken,blue
chair|wood|sit down|kitchen|old,wooden,soft,small
candle|wax|light a dark room|table|tall,white,short,thin
telescope|brass and glass|look at the stars|attic|long,old,shiny,heavy
compass|brass|find north|pocket|small,old,golden,round
lantern|tin and glass|see in the dark|hook|old,bright,little,red
bell|bronze|call people|tower|loud,big,old,little
rope|hemp|tie things together|barn|long,strong,thick,old
spade|iron and wood|dig holes|shed|sharp,new,old,strong
scarf|wool|keep warm|hook|red,long,soft,striped
teddy bear|cloth|hug at night|bed|soft,brown,old,little
coin|silver|buy things|pocket|shiny,old,little,heavy
letter|paper|send news|desk|short,long,secret,old
box|wood|keep things safe|attic|small,heavy,strange,old
camera|metal and glass|take pictures|bag|new,old,small,black
flute|wood|play music|case|thin,long,silver,little
""", 5)

# place | preposition | what is seen there | what is heard | what people do there | adjectives
PLACES = table("""
forest|in|tall trees and soft moss|birds singing in the branches|walk and look for mushrooms|dark,green,quiet,deep
beach|on|white sand and small shells|the waves rolling in|swim and build sandcastles|long,sunny,windy,wide
village|in|small houses and a stone church|dogs barking and children laughing|work and talk to their neighbours|little,quiet,old,pretty
market|at|fruit, flowers and fish|people calling out their prices|buy and sell food|busy,noisy,colourful,large
garden|in|roses, beans and a little pond|bees buzzing around the flowers|plant seeds and pick fruit|small,sunny,lovely,wild
farm|on|cows, hens and a red barn|cows mooing and hens clucking|feed the animals and cut the hay|big,busy,old,green
river|by|clear water and smooth stones|water running over the stones|fish and throw stones|wide,cold,slow,clear
lake|by|still water and tall reeds|frogs croaking in the reeds|row boats and catch fish|blue,deep,calm,large
mountain|on|grey rocks and patches of snow|the wind blowing around the top|climb and look at the view|high,steep,snowy,grey
castle|in|thick walls and tall towers|footsteps on the stone stairs|look at old swords and paintings|old,huge,dark,grand
school|at|desks, books and a blackboard|children reading aloud|learn to read and write|old,small,friendly,new
library|in|shelves full of books|pages turning softly|read and borrow books|quiet,large,old,warm
park|in|green grass and wooden benches|children playing and birds singing|sit on benches and play games|green,large,pretty,sunny
harbour|in|ships, nets and barrels|gulls crying above the boats|load ships and mend nets|busy,old,windy,small
station|at|trains and people with bags|the whistle of a train|wait for trains|busy,old,cold,large
kitchen|in|pots, pans and a big table|the kettle boiling|cook and eat together|warm,small,bright,tidy
attic|in|old boxes and spider webs|the rain on the roof|keep old things|dusty,dark,small,cold
cave|in|wet walls and strange stones|water dripping from above|look for old bones|dark,cold,deep,narrow
island|on|palm trees and yellow sand|the sea on every side|fish and sleep in the shade|small,lonely,green,sunny
meadow|in|wild flowers and tall grass|crickets singing in the grass|lie in the sun and pick flowers|green,wide,sunny,soft
bakery|in|loaves, rolls and cakes|the oven door opening and closing|buy bread in the morning|warm,little,busy,sweet-smelling
workshop|in|tools, wood and paint|hammers and saws|build and mend things|busy,dusty,small,old
museum|in|paintings, statues and old coins|quiet voices and slow steps|look at old and beautiful things|large,quiet,famous,old
zoo|at|lions, monkeys and parrots|the monkeys chattering|look at animals from far away|big,busy,old,noisy
town square|in|a fountain and small shops|the church bell and the pigeons|meet friends and drink coffee|busy,wide,old,sunny
bridge|on|the river far below|the water rushing underneath|stop and look at the water|old,narrow,long,wooden
mill|at|a big wheel and sacks of flour|the wheel turning in the water|grind wheat into flour|old,white,wooden,busy
hospital|in|white beds and kind nurses|quiet steps in the long halls|get well again|large,clean,quiet,new
""", 6)

# job (person) | does | with | at | pronoun-free sentence about why it matters
JOBS = table("""
baker|bakes bread|an oven|a bakery|Without bakers there would be no fresh bread in the morning
teacher|teaches children|books and a blackboard|a school|A good teacher helps children to understand the world
doctor|helps sick people|medicine|a hospital|Doctors make people feel better
farmer|grows food|a tractor|a farm|Farmers grow the food that we eat
fisherman|catches fish|a net|the sea|Fishermen often get up before the sun rises
carpenter|builds things from wood|a saw and a hammer|a workshop|A carpenter can make a table, a chair or a whole roof
pilot|flies planes|instruments|an airport|Pilots bring people safely from one city to another
nurse|cares for patients|bandages|a hospital|Nurses work by day and by night
painter|paints pictures|brushes and colours|a studio|A painter sees colours that other people miss
musician|plays music|an instrument|a concert hall|Musicians practise for many hours every day
gardener|looks after plants|a spade and a watering can|a garden|A gardener must be patient, because plants grow slowly
tailor|makes clothes|a needle and thread|a small shop|A tailor measures twice and cuts once
blacksmith|shapes hot iron|a hammer and a fire|a forge|In the past every village needed a blacksmith
sailor|works on a ship|ropes and sails|the sea|Sailors can find their way by the stars
postman|brings letters|a bicycle and a bag|every street in the town|People wait for the postman every morning
shepherd|looks after sheep|a stick and a dog|the hills|A shepherd knows every sheep in the flock
librarian|lends books|shelves and lists|a library|A librarian can find the right book for anyone
cook|prepares meals|pots and pans|a restaurant|A good cook tastes the soup before serving it
firefighter|puts out fires|water and ladders|a fire station|Firefighters are brave and quick
mechanic|repairs cars|tools|a garage|A mechanic listens to the engine to find the fault
scientist|studies nature|instruments and notes|a laboratory|Scientists ask questions and test their ideas
dentist|looks after teeth|small mirrors|a clinic|A dentist tells us to brush our teeth every day
judge|decides what is fair|the law|a court|A judge must listen to both sides
writer|writes books|a pen and paper|a quiet room|A writer needs time, quiet and good ideas
clockmaker|repairs clocks|tiny tools|a small shop|A clockmaker needs steady hands and good eyes
miller|grinds wheat into flour|heavy stones|a mill|The baker buys flour from the miller
driver|drives a bus|a steering wheel|the city|A good driver is never in a hurry
""", 5)

LISTS.update(
    girl=GIRLS, boy=BOYS, woman=WOMEN, man=MEN, pet=PETNAMES,
    animal=[r[0] for r in ANIMALS], food=[r[0] for r in FOODS], thing=[r[0] for r in THINGS],
    place=[r[0] for r in PLACES], job=[r[0] for r in JOBS],
    colour=words("red, blue, green, yellow, orange, purple, pink, brown, black, white, grey, golden, silver"),
    weekday=words("Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday"),
    month=words("January, February, March, April, May, June, July, August, September, October, November, December"),
    season=words("spring, summer, autumn, winter"),
    number=words("two, three, four, five, six, seven, eight, nine, ten, twelve, twenty"),
    age=words("five, six, seven, eight, nine, ten, eleven, twelve"),
    smallnumber=words("two, three, four, five, six"),
    happy=words("happy, glad, pleased, delighted, cheerful, proud, full of joy, very happy, so happy"),
    sad=words("sad, unhappy, upset, disappointed, lonely, very sad, close to tears"),
    afraid=words("afraid, scared, frightened, nervous, worried, very scared"),
    good=words("good, kind, clever, brave, honest, patient, gentle, cheerful, helpful, curious, friendly, polite"),
    childadj=words("little, young, curious, clever, brave, shy, cheerful, kind, lively, quiet, patient, small"),
    nice=words("nice, lovely, beautiful, wonderful, pretty, fine, splendid, pleasant"),
    big=words("big, large, huge, great, enormous"),
    small=words("small, little, tiny"),
    flower=words("rose, tulip, daisy, sunflower, lily, violet, poppy, daffodil"),
    tree=words("oak tree, apple tree, pine tree, willow, cherry tree, birch, maple tree, pear tree, chestnut tree"),
    fruit=words("apple, pear, plum, peach, banana, orange, lemon, cherry, strawberry, grape, melon, apricot"),
    fruits=words("apples, pears, plums, peaches, bananas, oranges, lemons, cherries, strawberries, grapes, apricots, blueberries"),
    vegetables=words("carrots, potatoes, onions, beans, peas, cabbages, tomatoes, cucumbers, pumpkins, leeks, beetroots"),
    drink=words("tea, hot chocolate, milk, apple juice, lemonade, cold water, orange juice"),
    clothes=words("coat, hat, scarf, jumper, pair of boots, pair of gloves, shirt, dress, jacket, pair of shoes"),
    room=words("kitchen, bedroom, living room, hall, attic, cellar, bathroom"),
    furniture=words("table, chair, bed, cupboard, sofa, shelf, desk"),
    instrument=words("piano, violin, guitar, flute, drum, trumpet, cello, harp"),
    sport=words("football, tennis, basketball, swimming, running, skating, cycling, chess, volleyball, skiing"),
    hobby=words("""painting, reading, gardening, swimming, fishing, dancing, singing, cooking, drawing, cycling, running,
knitting, baking, hiking, sailing, skating, writing stories, playing chess, collecting stamps, building models,
taking photographs, watching birds, playing the piano, playing the guitar, climbing trees, flying kites"""),
    subject=words("mathematics, history, geography, music, art, biology, English, science, physics, chemistry"),
    relative=words("mother, father, sister, brother, grandmother, grandfather, aunt, uncle, cousin"),
    gift=words("""a book, a kite, a warm scarf, a box of paints, a puppy, a toy train, a silver watch, a red bicycle,
a wooden boat, a music box, a ball, a new coat, a little drum, a camera, a puzzle, a jar of honey, a pair of skates"""),
    warmweather=words("""The sun was shining, The sky was blue, It was a warm day, It was a bright and sunny day,
The air was warm and still, There was not a cloud in the sky, A soft wind was blowing, The sun was high in the sky,
It was a fine day, The weather was lovely"""),
    coldweather=words("""It was cold, It was raining, Snow was falling, The wind was strong, It was a grey day,
Dark clouds filled the sky, The rain was coming down hard, There was ice on the road, A thick fog lay over the fields,
It was a cold and windy day, Thunder rolled in the distance"""),
    morning=words("""In the morning, One morning, Early in the morning, One sunny morning, One cold morning, At sunrise,
Early one morning, Just after breakfast, When the sun came up, The next morning"""),
    evening=words("""In the evening, One evening, Late in the evening, After dinner, At sunset, When the sun went down,
That night, Before bed, When it grew dark, At the end of the day"""),
    oneday=words("""One day, One afternoon, One morning, One evening, One weekend, One Saturday, One Sunday, One spring day,
One summer day, One autumn morning, One winter evening, On a rainy afternoon, On a quiet Sunday, Early one morning,
Late one evening, One fine day, Last summer, Last week, One Monday, One warm day in May, One cold day in January"""),
    suddenly=words("Suddenly, Just then, At that moment, All at once, All of a sudden, A moment later, Then"),
    then=words("Then, After that, A little later, Soon, Next, After a while, A few minutes later, Before long"),
    atlast=words("Finally, At last, In the end, After a long time, Eventually"),
    fromthen=words("From that day on, After that day, From then on, Ever since that day, Since then, Every day after that"),
    said=words("said, said, answered, replied"),
    asked=words("asked, asked, asked, inquired"),
    cried=words("cried, shouted, called, exclaimed"),
    lesson=words("""that sharing makes everyone happy, that it is good to tell the truth, that patience pays off,
that small things can matter a lot, that a true friend is worth more than gold, that it is brave to ask for help,
that working together makes hard things easy, that kindness always comes back, that it is never too late to say sorry,
that practice makes things easier, that everyone makes mistakes, that it is wise to listen first,
that being different is not a bad thing, that the best gifts are not always the biggest, that courage grows when you use it,
that one should look before one leaps, that a promise must be kept, that help can come from the smallest friend"""),
    city=words("Paris, London, Rome, Berlin, Madrid, Vienna, Prague, Lisbon, Athens, Cairo, Tokyo, Oslo, Dublin, Moscow, Ottawa, Lima"),
)
