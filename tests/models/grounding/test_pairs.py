"""Pairs of an image: one a category, of the first caption that names it."""

from models.grounding.pairs import named_pairs


def noun(category, caption_id, start, text):
    row = {"image_id": "7", "category": category, "caption_id": caption_id, "text": text}
    return row | {"start": start, "end": start + len(category)}


def test_a_pair_is_of_the_first_caption_that_names_the_category_with_all_places_there():
    nouns = [
        noun("dog", "b", 2, "a dog"),
        noun("cat", "b", 10, "a dog and a cat"),
        noun("dog", "a", 0, "dog near dog"),
        noun("dog", "a", 9, "dog near dog"),
    ]
    picture = object()
    cat, dog = named_pairs(nouns, picture)
    assert (cat.category, cat.caption_id, dog.category, dog.caption_id) == ("cat", "b", "dog", "a")
    assert dog.text == "dog near dog" and dog.spans == ((0, 3), (9, 12))
    assert cat.image is dog.image is picture and cat.image_id == "7"
