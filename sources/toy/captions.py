"""Captions of the embedded world as people write them: not all objects, synonyms, plurals, a place, what is absent."""

import numpy as np

SYNONYMS: dict[str, tuple[str, ...]] = {
    "person": ("man", "woman", "boy", "girl", "child"),
    "car": ("automobile",),
    "boat": ("ship",),
    "bottle": ("flask",),
    "donut": ("doughnut",),
    "tv": ("television",),
    "vase": ("flowerpot",),
    "airplane": ("plane", "jet"),
    "cat": ("kitten",),
    "umbrella": ("parasol",),
    "cup": ("mug",),
}
IRREGULAR_PLURALS = {
    "person": "people",
    "man": "men",
    "woman": "women",
    "child": "children",
    "bus": "buses",
    "scissors": "scissors",
    "sandwich": "sandwiches",
}
PLACES = (
    "in a kitchen",
    "on a street",
    "in a park",
    "at the beach",
    "in a room",
    "on a table",
    "in a field",
    "in front of a wall",
    "near a house",
    "in the snow",
    "under the sky",
    "",
    "",
    "",
)
OPENINGS = ("", "", "", "a photo of ", "a picture of ", "there is ", "a view of ")
LINKS = (" and ", " next to ", " with ", " near ", " beside ", " behind ", ", ")
SIZES = ("small", "large", "little", "big", "old", "new")
NUMBERS = {2: "two", 3: "three", 4: "four"}


def plural(noun: str) -> str:
    """The plural of a noun that the captions use."""
    return IRREGULAR_PLURALS.get(noun, noun + "s")


def colour_word(hsv: np.ndarray) -> str:
    """The plain English word for an OpenCV HSV colour (hue 0 to 179, saturation and value 0 to 255)."""
    hue, saturation, value = (int(channel) for channel in hsv)
    if value < 60:
        return "black"
    if saturation < 60:
        return "white" if value > 190 else "grey"
    if value < 150 and 5 <= hue < 25:
        return "brown"
    bounds = ((8, "red"), (19, "orange"), (34, "yellow"), (85, "green"), (130, "blue"), (155, "purple"), (172, "pink"))
    return next((word for bound, word in bounds if hue < bound), "red")


def _phrase(category: str, colours: list[np.ndarray], rng: np.random.Generator) -> str:
    noun = category
    if category in SYNONYMS and rng.random() < 0.3:
        noun = SYNONYMS[category][rng.integers(len(SYNONYMS[category]))]
    count = len(colours)
    if count > 1:
        quantity = NUMBERS.get(count, "several") if rng.random() < 0.6 else ("some", "several")[rng.integers(2)]
        return f"{quantity} {plural(noun)}"
    words = [noun]
    if rng.random() < 0.25:
        words.insert(0, colour_word(colours[0]))
    elif rng.random() < 0.2:
        words.insert(0, SIZES[rng.integers(len(SIZES))])
    if noun == "scissors":
        article = "a pair of" if rng.random() < 0.5 else "some"
    else:
        article = "an" if words[0][0] in "aeiou" else "a"
    return " ".join([article, *words])


def write_caption(
    objects: list[tuple[str, np.ndarray]], rng: np.random.Generator, mention: float = 0.8
) -> tuple[str, set[str]]:
    """One caption and the categories that it names.

    objects: (category, main colour as OpenCV HSV) of each object drawn; mention: the chance of each category to be
    named (at least one is).
    """
    colours: dict[str, list[np.ndarray]] = {}
    for category, colour in objects:
        colours.setdefault(category, []).append(colour)
    names = list(colours)
    rng.shuffle(names)
    chosen = [name for name in names if rng.random() < mention] or names[:1]
    text = OPENINGS[rng.integers(len(OPENINGS))]
    for i, name in enumerate(chosen):
        text += (LINKS[rng.integers(len(LINKS))] if i else "") + _phrase(name, colours[name], rng)
    place = PLACES[rng.integers(len(PLACES))]
    return f"{text} {place}".strip() + ("." if rng.random() < 0.5 else ""), set(chosen)


def words() -> list[str]:
    """Every word and word piece that the captions can hold, sorted: the vocabulary of a WordPiece tokenizer."""
    from sources.toy.drawings import CATEGORIES

    nouns = {noun for name in CATEGORIES for noun in (name, *SYNONYMS.get(name, ()))}
    whole_words = set(nouns) | {IRREGULAR_PLURALS[noun] for noun in nouns if noun in IRREGULAR_PLURALS}
    colours = ["black", "white", "grey", "brown", "red", "orange", "yellow", "green", "blue", "purple", "pink"]
    whole_words |= {*colours, *SIZES, *NUMBERS.values(), "some", "several", "a", "an", "pair", "of"}
    for phrase in (*PLACES, *OPENINGS, *LINKS):
        whole_words |= set(phrase.replace(",", " ").split())
    letters = "abcdefghijklmnopqrstuvwxyz"
    word_pieces = {"##s", "##es", ",", ".", *letters, *(f"##{letter}" for letter in letters)}
    return sorted((whole_words - {"buses"}) | word_pieces)
