"""Captions as people write them, with the categories of data/splits/coco.json that a reader would say are named there.

One a line: caption | categories, by commas; nothing after the bar where none is named.
"""

CAPTIONS = """
A man in a suit ties his tie in front of a mirror | person, tie
A woman trains her dog to catch a frisbee | person, dog, frisbee
Athletes train on a track in the rain | person
A red train pulls into the station at dusk | train
Two commuters wait at the train station | 
An old train station with an empty platform | 
Train tracks running through a green field | 
People are waiting at the bus stop | person
A yellow school bus parked next to a fire truck | bus, truck
The bus driver waves to the kids | person
A hot dog with mustard on a paper plate | 
Two hot dogs and a bottle of soda | bottle
A dog begging for a hot dog | dog
A teddy bear sitting on a bed | bed
Three teddy bears in a row on a shelf | 
A bear and her cub beside a stream | bear
A polar bear swims after a fish | bear
A black bear climbs a tree | bear
She could not bear the cold | 
A computer mouse beside a keyboard | mouse, keyboard
A mouse, a keyboard and two monitors on a desk | mouse, keyboard
A mouse pad with a picture of a kitten | cat
An orange cat sleeping on a laptop | cat, laptop
An orange and a banana in a bowl | orange, banana, bowl
Oranges piled in a wooden bowl | orange, bowl
A glass of orange juice next to a sandwich | sandwich
A man wearing an orange vest directs traffic | person
The sunset turned the sky orange | 
A black and orange butterfly on a flower | 
A woman dressed in orange rides a bicycle | person, bicycle
A peeled orange on a cutting board | orange
A slice of orange on the rim of a cup | orange, cup
Orange cones line the road beside a truck | truck
A bright orange kite in a blue sky | kite
A half eaten apple sitting on a book | apple, book
Apple juice in a small cup | cup
A pile of red apples and green pears | apple
A person using an old typewriter | person
Busy people boarding a plane | person, airplane
A keyboardist plays on a stage | 
A wooden board leaning against the wall | 
The carpet matches the curtains | 
A cart full of carrots at the market | carrot
A slice of carrot cake on a plate | cake
A birthday cake with candles shaped like cars | cake, car
A cupcake with pink frosting | cake
A wedding couple cutting their cake with a knife | person, cake, knife
Knives and forks laid out on a table | knife, fork
A pair of scissors and a ball of yarn | scissors
Two pairs of scissors on a desk | scissors
A man skis down a steep slope | person
A skier carrying his skis up the hill | person, skis
A person on skis in the snow | person, skis
A snowboarder jumps over a bench | person, bench
A young boy holding his snowboard | person, snowboard
Skateboards lined up against a wall | skateboard
A skateboarder grinds along a rail | person
A woman books a hotel room on her laptop | person, laptop
A stack of books beside a lamp | book
An open book on a bedside table | book
A man sinks the ball into the hole | person
A bathroom with a sink and a toilet | sink, toilet
A roll of toilet paper on the floor | 
A white toilet bowl with the lid up | toilet
A kitchen with a stove, an oven and a fridge | oven, refrigerator
A microwave oven above the stove | microwave
A toaster oven on the counter | toaster
A bowl of broccoli and carrots | bowl, broccoli, carrot
A boy bowls at a birthday party | person
Sheep graze in a meadow | sheep
A flock of sheep and two lambs | sheep
A horse drawn carriage on a busy street | horse
A horse pulling a cart along the beach | horse
Cattle standing in the shade of a tree | cow
A herd of cows crossing the road | cow
Elephants drinking at a water hole | elephant
Zebras and giraffes on the savanna | zebra, giraffe
A zebra crossing in a busy city | 
A bird feeder hanging from a branch | 
Seagulls on a pier looking for food | bird
A wooden bird house in the garden | 
Boats in a harbor at sunrise | boat
A sailboat passes under a bridge | boat
A boat dock at the lake | 
A jet flies over the mountains | airplane
An airliner on the runway | airplane
A man on a plane reading a newspaper | person, airplane
A bike lane painted on the road | 
Several bikes locked to a bike rack | bicycle
A motorcycle and its rider on a country road | motorcycle, person
A scooter parked by the curb | motorcycle
Cars in a car park | car
A taxi waits outside a hotel | car
A traffic light turning red | 
A television set on a wooden stand | tv
A TV remote on the arm of a sofa | remote, couch
A remote control lying on the couch | remote, couch
A remote village in the mountains | 
A girl with a remote in her hand | person, remote
A purse and an umbrella on a chair | handbag, umbrella, chair
People with umbrellas walking in the rain | person, umbrella
A backpack and a suitcase beside the door | backpack, suitcase
A clock on the wall of a kitchen | clock
A clock tower rises above the town | clock
A vase full of tulips | vase
A toothbrush in a cup by the sink | toothbrush, cup, sink
A slice of pizza on a pizza box | pizza
A donut with sprinkles and a cup of coffee | donut, cup
A dozen doughnuts in a box | donut
A spoon resting in a bowl of soup | spoon, bowl
A puppy chewing on a shoe | dog
A dog's leash hanging by the door | 
The cat's eyes glow in the dark | cat
A cat lying on top of a car | cat, car
A kite surfer far out at sea | person
Children flying kites in a park | person, kite
A surfer carries his surfboard to the water | person, surfboard
A book shelf filled with old toys | 
A quiet street in the early morning | 
A plate of food with meat and vegetables | 
A couple of zebras in a field | zebra
A baby elephant beside its mother | elephant
A baby on a blanket | person
A stuffed bear in a shop window | 
""".strip()


def cases() -> list[tuple[str, set[str]]]:
    """(caption, its categories)."""
    rows = [line.split("|") for line in CAPTIONS.splitlines()]
    return [(text.strip(), {name.strip() for name in names.split(",") if name.strip()}) for text, names in rows]
