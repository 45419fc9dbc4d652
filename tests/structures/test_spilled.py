"""What is set aside by name, in memory and in a file."""

import random

from structures import spilled


def test_all_that_was_added_is_given_back_while_more_is_added(tmp_path, monkeypatch):
    monkeypatch.setattr(spilled, "_HELD", 50)
    monkeypatch.setattr(spilled, "_OF_NAME", 20)
    rng = random.Random(0)
    store, expected = spilled.Spilled(tmp_path / "scratch"), {name: b"" for name in range(5)}
    for _ in range(400):
        name, content = rng.randrange(5), rng.randbytes(rng.randrange(30))
        store.add(name, content)
        expected[name] += content
        if rng.random() < 0.1:
            other = rng.randrange(5)
            assert store[other] == expected[other]
            size = rng.choice([1, 7, 64])
            assert b"".join(parts := [bytes(part) for part in store.parts(other, size)]) == expected[other]
            assert {len(part) for part in parts[:-1]} <= {size}
    assert sum(map(len, expected.values())) > 50 and store["never"] == b"" and not list(store.parts("never", 8))


def test_what_is_added_while_parts_are_read_is_none_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr(spilled, "_HELD", 50)
    monkeypatch.setattr(spilled, "_OF_NAME", 20)
    store = spilled.Spilled()
    store.add("a", bytes(range(120)))
    store.add("a", b"and what still waits")
    read = b""
    for part in store.parts("a", 8):
        read += part
        store.add("b", bytes(part) * 3)
    assert read == bytes(range(120)) + b"and what still waits"
    assert len(store["b"]) == 3 * len(read)
