"""The bounded folder of what was fetched: what stays, who shares it, what a kill, a full disk or a broken file leaves."""

import contextlib
import hashlib
import multiprocessing
import os
import random
import resource
import signal
import time

import pytest

from structures.cache import Cache

FORK = multiprocessing.get_context("fork")


def name(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def contents(folder) -> list:
    return [file for file in folder.glob("??/*") if file.is_file()]


def held(folder) -> int:
    total = 0
    for file in [*contents(folder), *folder.glob("drafts/*")]:
        with contextlib.suppress(FileNotFoundError):
            total += file.stat().st_size
    return total


def test_what_is_kept_is_found_by_its_content_and_its_address(tmp_path):
    cache = Cache(tmp_path / "kept", 10_000)
    file = cache.keep([b"some", b"thing"], 9, "s3://b/x", "v1")
    assert file.read_bytes() == b"something" and file.name == name(b"something")
    again = Cache(tmp_path / "kept", 10_000)
    assert (
        again.read(file.name) == b"something" and again.find(file.name, 9) == file and again.find(file.name, 8) is None
    )
    assert again.recall("s3://b/x") == ("v1", 9, file.name) and again.recall("s3://b/y") is None
    assert again.read(name(b"other")) is None
    with pytest.raises(ValueError, match="3 bytes, not 4"):
        again.keep([b"abc"], 4)
    assert held(tmp_path / "kept") == 9


def test_the_longest_unused_files_go_first_and_the_bound_holds(tmp_path):
    cache = Cache(tmp_path, 1000)
    wanted = cache.keep([b"w" * 100], 100, "wanted", "1")
    first = cache.keep([b"f" * 100], 100, "first", "1")
    for i in range(30):
        assert cache.keep([b"%100d" % i], 100)
        assert cache.read(wanted.name) and held(tmp_path) <= 1000
    assert not first.exists() and cache.recall("first") is None and cache.recall("wanted")
    assert cache.keep([b"l" * 251], 251) is None, "a file of more than a quarter of the bound"
    assert Cache(tmp_path / "none", 0).keep([b"x"], 1) is None and Cache(tmp_path / "none", 0).recall("first") is None
    assert not (tmp_path / "none").exists()


def test_a_broken_file_is_not_taken(tmp_path):
    cache = Cache(tmp_path, 1000)
    read, whole = (cache.keep([content], 5) for content in (b"first", b"other"))
    for file in (read, whole):
        file.write_bytes(b"wrong")
    assert cache.read(read.name) is None and not read.exists()
    assert not cache.is_whole(whole) and not whole.exists()
    (tmp_path / "known.sqlite").write_bytes(b"no table of anything" * 99)
    assert cache.recall("x") is None
    cache.keep([b"again"], 5, "x", "1")
    assert cache.recall("x").sha256 == name(b"again")


def test_many_processes_keep_within_the_bound_and_killed_ones_leave_nothing_that_stays(tmp_path):
    def work(seed: int) -> None:
        cache, rng = Cache(tmp_path, 20_000), random.Random(seed)
        for _ in range(60):
            content = rng.randbytes(rng.randrange(1, 3000))
            file = cache.keep([content[:9], content[9:]], len(content), f"{seed}", "1")
            kept = cache.read(name(content))
            assert kept in (None, content) and (file is None or file.name == name(content))
        os._exit(0)

    def hang() -> None:
        def blocks():
            yield b"half"
            os.kill(os.getpid(), signal.SIGKILL)

        Cache(tmp_path, 20_000).keep(blocks(), 4000)

    processes = [FORK.Process(target=work, args=(seed,)) for seed in range(4)]
    processes += [FORK.Process(target=hang) for _ in range(3)]
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes):
        assert held(tmp_path) <= 20_000
        time.sleep(0.01)
    assert [process.exitcode for process in processes] == [0] * 4 + [-signal.SIGKILL] * 3
    Cache(tmp_path, 20_000)._make_room(20_001)
    assert not list((tmp_path / "drafts").iterdir())
    assert held(tmp_path) == 0


def test_on_a_full_disk_nothing_is_kept_and_the_work_goes_on(tmp_path, caplog):
    cache = Cache(tmp_path / "kept", 10**6)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    cache.keep([b"small"], 5)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        assert cache.keep([b"x" * 9000], 9000) is None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert "can't be written (File too large)" in caplog.text and held(tmp_path / "kept") == 5
    (tmp_path / "file").write_text("no folder")
    assert Cache(tmp_path / "file", 10**6).keep([b"x"], 1) is None and Cache(tmp_path / "file", 10).recall("x") is None
