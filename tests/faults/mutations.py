"""Files and JSON as bad tools, bad disks and bad people make them, of one random number generator."""

import copy
import random

SIZES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
TEXTS = (
    "", " ", "\0", "\n", "\r\n", "\ud800", "\udcff", "\ufeff", "\u202e", "\U0001f600", "é", "e\u0301", "猫", "-rf", "--help",
    "../../etc/passwd", "/etc/passwd", "a/../b.jpg", ".", "..", "x" * 300, "x" * 20_000, "9" * 5000, "NaN", "null", "1e999",
    "10000000000 cats", "a cat, two dogs", '"', "'", "{}", "%s", "{0}", "\\", "\t", ",", ";",
)  # fmt: skip
NUMBERS = (0, -1, 1, 2, 0.5, -0.0, 1e9, -1e9, 1e308, 2**31, 2**32, 2**63, 2**64, 10**30, float("nan"), float("inf"))


def mutated_bytes(content: bytes, rng: random.Random, most: int = 6) -> bytes:
    """A file's bytes with up to `most` changes: bits, numbers, spans that go, come, or stand twice, and a cut end."""
    data = bytearray(content)
    for _ in range(rng.randint(1, most)):
        place, span = rng.randrange(len(data) + 1), min(rng.choice((1, 2, 4, 16, 200)), len(data))
        kind = rng.randrange(7)
        if kind == 0 and place < len(data):
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1 and place < len(data):
            data[place] = rng.choice((0, 1, 0x0A, 0x20, 0x22, 0x2C, 0x7F, 0x80, 0xFF))
        elif kind == 2:
            size = rng.choice((1, 2, 4))
            number = rng.choice(SIZES) & ((1 << 8 * size) - 1)
            data[place : place + size] = number.to_bytes(size, rng.choice(("big", "little")))
        elif kind == 3:
            del data[place : place + span]
        elif kind == 4:
            data[place:place] = data[max(0, place - span) : place]
        elif kind == 5:
            data[place:place] = rng.randbytes(span)
        elif rng.random() < 0.3:
            del data[place:]
    return bytes(data)


def hostile(rng: random.Random) -> object:
    """A value that nobody expects."""
    kind = rng.randrange(6)
    if kind == 0:
        return rng.choice((None, True, False, [], {}, [[]], [None], {"": None}))
    if kind in (1, 2):
        return rng.choice(NUMBERS)
    if kind == 5:
        value: object = rng.choice(TEXTS)
        for _ in range(rng.choice((1, 3, 50))):
            value = [value] if rng.random() < 0.5 else {"counts": value}
        return value
    return rng.choice(TEXTS)


def mutated_tree(tree: object, rng: random.Random, most: int = 4) -> object:
    """A copy of a JSON value with up to `most` of its members replaced, left out, renamed, moved or put in twice."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.randint(1, most)):
        place, key = rng.choice(list(_places(tree)) or [(None, None)])
        if place is None:
            return hostile(rng)
        other, other_key = rng.choice(list(_places(tree)))
        kind = rng.randrange(6)
        if kind == 0:
            del place[key]
        elif kind == 1:
            place[key] = copy.deepcopy(other[other_key])
        elif kind == 2 and isinstance(place, list):
            place.insert(rng.randrange(len(place) + 1), copy.deepcopy(place[key]))
        elif kind == 3 and isinstance(place, dict):
            place[rng.choice(TEXTS[:20])] = place.pop(key)
        elif kind == 4 and isinstance(place[key], int | float) and not isinstance(place[key], bool):
            place[key] = rng.choice(
                (place[key] + 1, -place[key], place[key] * 1000, str(place[key]), float(place[key]))
            )
        else:
            place[key] = hostile(rng)
    return tree


def _places(tree: object):
    """(container, key or index) of every member of a JSON value."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict | list):
            keys = list(node) if isinstance(node, dict) else range(len(node))
            for key in keys:
                yield node, key
                waiting.append(node[key])
