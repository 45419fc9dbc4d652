"""Files in a bucket, read as paths are: what networks do, what servers refuse, what may not be read."""

import hashlib
import http.server
import io
import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from sources import huggingface, tars
from sources.images import ImageError, inspect_image, read_content, read_image
from sources.tables import read_table
from sources.webdataset import read_part
from store.fingerprint import ROOT
from structures import addresses, remote
from structures.addresses import Address, open_root
from structures.remote import AddressError, Unreachable
from tests.bucket import SECRET, Bucket, Quiet
from tests.sources.listed import listed
from tests.sources.parquet_files import IMAGE, write_parquet
from tests.sources.tar_files import jpeg, write_tar


@pytest.fixture(scope="module")
def server():
    made = Bucket()
    yield made
    made.close()


@pytest.fixture()
def bucket(server, monkeypatch):
    server.clear()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(remote, "WAITS", (0.001,) * 5)
    fresh(monkeypatch)
    return server


def fresh(monkeypatch) -> None:
    """As in a new process."""
    for name in ("_listings", "_states"):
        monkeypatch.setattr(addresses, name, {})
    monkeypatch.setattr(addresses, "_warned", [])
    monkeypatch.setattr(remote, "_failures", [0])
    remote._filesystem.cache_clear()
    tars._index.cache_clear()


@pytest.fixture()
def root(bucket, tmp_path) -> Address:
    return open_root("s3://pictures/set", {"folder": str(tmp_path / "kept"), "bytes": 10**6})


def png(seed: int, side: int = 20) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (side, side, 3), np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_root_is_a_path_or_an_address_and_holds_no_credentials():
    cache = {"folder": "kept", "bytes": 1}
    assert str(open_root("data/toy", cache)) == "data/toy" and not isinstance(open_root("a:b//c", cache), Address)
    assert str(open_root("file:///data/toy", cache)) == "/data/toy"
    assert str(open_root("S3://bucket/a/b//", cache) / "x" / "./y.json") == "s3://bucket/a/b/x/y.json"
    for wrong in (
        f"s3://key:{SECRET}@b/x",
        f"simplecache::s3://key:{SECRET}@b/x",
        f"https://me:{SECRET}@host/x",
        f"s3://b/x?X-Amz-Signature={SECRET}",
    ):
        with pytest.raises(AddressError, match="put credentials into the environment") as error:
            open_root(wrong, cache)
        assert SECRET not in str(error.value)
    for wrong in ("s3://", "s3://b/../x", "simplecache::s3://b/x"):
        with pytest.raises(AddressError, match="no address of a folder"):
            open_root(wrong, cache)


@pytest.mark.parametrize("path", ["../other/x.png", "/other/x.png", "a/../../other/x.png", "a\0b"])
def test_nothing_outside_the_prefix_is_asked_for(bucket, root, path):
    bucket.put("other/x.png", png(1))
    found = inspect_image((root, path, 10**6))
    assert isinstance(found, ImageError) and found.reason == "outside_root"
    with pytest.raises(ImageError, match="leads out of"):
        read_image(root, path, "0" * 64)
    with pytest.raises(AddressError, match="leads out of s3://pictures/set"):
        (root / path).read_bytes()
    assert not bucket.requests
    web = open_root("https://host/set", {"folder": "kept", "bytes": 0})
    for path in ("%2e%2e/x.png", "a/%2E%2e/%2e./x.png", "..%2fx.png"):
        assert inspect_image((web, path, 10**6)).reason == "outside_root"


@pytest.mark.parametrize("how", [503, "late", "reset", "cut"])
def test_what_fails_is_tried_again_and_given_up_in_the_end(bucket, root, how, monkeypatch):
    if how == "late":
        monkeypatch.setattr(remote, "READ_TIMEOUT", 1)
    bucket.put("set/a.png", png(1))
    expected = 20, 20, digest(png(1))
    times = 1 if how == "late" else 5
    bucket.fail(how, times)
    assert inspect_image((root, "a.png", 10**6)) == expected
    assert len(bucket.read()) >= times + 1
    if how == "late":
        return
    bucket.put("set/b.png", png(2))
    bucket.fail(how, 100)
    found = inspect_image((root, "b.png", 10**6))
    assert isinstance(found, ImageError) and found.reason == "unreachable_image"
    assert "s3://pictures/set/b.png can't be read" in str(found) and "6 attempts" in str(found)
    bucket.forgive()
    assert inspect_image((root, "b.png", 10**6))[2] == digest(png(2))


def test_a_process_stops_when_nothing_can_be_reached_any_more(bucket, root):
    bucket.put("set/a.png", png(1))
    bucket.fail(503, 10**6, "")
    found = [inspect_image((root, f"{i}.png", 10**6)) for i in range(remote.MOST_FAILURES - 1)]
    assert {picture.reason for picture in found} == {"unreachable_image"}
    with pytest.raises(AddressError, match="20 requests one after the other") as error:
        inspect_image((root, "a.png", 10**6))
    assert not isinstance(error.value, Unreachable)
    assert len(bucket.requests) < 3 * remote.MOST_FAILURES


def test_a_picture_is_what_its_digest_says_and_kept(bucket, root, monkeypatch):
    bucket.put("set/a.png", png(1))
    bucket.fail("wrong", 1)
    assert read_content(root, "a.png", digest(png(1))) == png(1)
    assert len(bucket.requests) == 2, "and nobody asks first whether it is there"
    fresh(monkeypatch)
    assert read_image(root, "a.png", digest(png(1))).shape == (20, 20, 3) and len(bucket.requests) == 2
    bucket.put("set/b.png", png(2))
    with pytest.raises(ImageError, match=r"s3://pictures/set/b.png is not the picture that ingest read") as error:
        read_content(root, "b.png", digest(png(3)))
    assert error.value.reason == "changed_image" and root.cache.read(digest(png(2))) is None
    for path in ("none.png", "none.tar#x.png"):
        with pytest.raises(ImageError) as error:
            read_content(root, path, digest(png(3)))
        assert error.value.reason == "missing_image"
    bucket.put("set/empty.png", b"")
    with pytest.raises(ImageError) as error:
        read_content(root, "empty.png", digest(png(3)))
    assert error.value.reason == "changed_image"


def test_wrong_credentials_and_buckets_stop_the_work_and_are_not_printed(bucket, root, monkeypatch):
    bucket.put("set/a.png", png(1))
    bucket.fail(403, 100, "")
    for ask in (
        lambda: inspect_image((root, "a.png", 10**6)),
        lambda: read_content(root, "a.png", "0" * 64),
        root.files,
    ):
        with pytest.raises(AddressError, match=r"s3://pictures/set.*AWS_ACCESS_KEY_ID.*FSSPEC_S3_ANON=true") as error:
            ask()
        assert SECRET not in str(error.value) and not isinstance(error.value, Unreachable)
    assert len(bucket.requests) < 6, "nothing is tried again"
    bucket.forgive()
    with pytest.raises(AddressError, match="there is no such bucket"):
        open_root("s3://other/set", {"folder": str(root.cache.folder), "bytes": 10}).files()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    fresh(monkeypatch)
    with pytest.raises(AddressError, match=r"credentials.*AWS_PROFILE"):
        (root / "a.png").read_bytes()
    with pytest.raises(AddressError, match="gcsfs"):
        open_root("gs://b/x", {"folder": "kept", "bytes": 1}).files()
    with pytest.raises(AddressError, match="foo:// is no address that can be read"):
        open_root("foo://b/x", {"folder": "kept", "bytes": 1}).files()


def test_a_folder_is_its_names_sizes_and_versions(bucket, root, monkeypatch):
    bucket.put("set/a/x.json", b"1")
    bucket.put("set/ab/y.json", b"22")
    bucket.put("set/a/b/z.json", b"333")
    assert list((root / "a").files()) == ["b/z.json", "x.json"]
    assert [str(file) for file in (root / "a").glob("*.json")] == ["s3://pictures/set/a/x.json"]
    assert [file.name for file in (root / "a").glob("**/*.json")] == ["z.json", "x.json"]
    assert [(item.name, item.is_dir(), item.is_file()) for item in (root / "a").iterdir()] == [
        ("b", True, False),
        ("x.json", False, True),
    ]
    assert [file.name for file in (root / "a").glob("b/z.json")] == ["z.json"] and not list((root / "a").glob("z.json"))
    before = (root / "a").digest()
    bucket.put("set/ab/y.json", b"changed")
    fresh(monkeypatch)
    assert (root / "a").digest() == before
    bucket.put("set/a/x.json", b"2")
    fresh(monkeypatch)
    assert (root / "a").digest() != before
    assert (root / "ab" / "y.json").digest() == digest(b"changed"), "of a file its content"
    bucket.put("set/" + quote("ü #1 +%2e?.png"), png(1))
    odd = inspect_image((open_root("s3://pictures", {"folder": "kept", "bytes": 0}), "set/ü #1 +%2e?.png", 10**6))
    assert odd == (20, 20, digest(png(1)))
    assert not (root / "none").exists() and (root / "a").exists()


def test_a_table_larger_than_the_cache_is_read_in_parts(bucket, tmp_path, monkeypatch):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"image": f"{i:05d}.jpg", "caption": f"the {i}th of them"} for i in range(3000)]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink, row_group_size=500)
    bucket.put("set/c.parquet", sink.getvalue())
    bucket.put("set/c.csv", ("image,caption\n" + "".join(f"{r['image']},{r['caption']}\n" for r in rows)).encode())
    monkeypatch.setattr(remote, "BLOCK", 10_000)
    monkeypatch.setattr(addresses, "BLOCK", 10_000)
    for most, name in ((0, "parts"), (10**7, "whole")):
        fresh(monkeypatch)
        root = open_root("s3://pictures/set", {"folder": str(tmp_path / name), "bytes": most})
        for table in ("c.csv", "c.parquet"):
            assert [row for _, row in read_table(root / table).rows()] == rows
    asked = len(bucket.read())
    assert [row for _, row in read_table(root / "c.csv").rows()] == rows and len(bucket.read()) == asked
    bucket.put("set/c.csv", b"changed")
    monkeypatch.setattr(addresses, "_states", {})
    with pytest.raises(AddressError, match="was changed while it was read"):
        stream = open_root("s3://pictures/set", {"folder": str(tmp_path), "bytes": 0}) / "c.csv"
        with stream.open("rb") as opened:
            bucket.put("set/c.csv", b"altered")
            opened.read()


@pytest.mark.parametrize("most", [10**6, 2_000])  # the file is kept whole, or read in parts
def test_rows_of_a_parquet_file_are_read_where_they_lie(bucket, tmp_path, monkeypatch, most):
    rows = [{"image": {"bytes": jpeg((i, 0, 9)), "path": None}, "caption": f"cat {i}"} for i in range(9)]
    columns = {"image": IMAGE, "caption": pa.string()}
    content = write_parquet(tmp_path / "x.parquet", rows, columns, row_group_size=3).read_bytes()
    bucket.put("set/hub/x.parquet", content)
    root = open_root("s3://pictures/set", {"folder": str(tmp_path / "kept"), "bytes": most})
    own = {"images": "hub", "parquet": "*.parquet", "image_column": "", "caption_columns": ["caption"], "id_column": ""}
    part = huggingface.read_part(root, type("Part", (), own))
    assert [row["text"] for row in part.captions] == [f"cat {i}" for i in range(9)]
    paths = [path for path, _, _ in part.images.values()]
    assert paths[8] == "hub/x.parquet#000000008"
    for i in (8, 0, 4):
        width, height, digest = inspect_image((root, paths[i], 2000))
        assert (width, height) == (40, 30) and read_content(root, paths[i], digest) == jpeg((i, 0, 9))
    bucket.put("set/hub/x.parquet", write_parquet(tmp_path / "x.parquet", rows[::-1], columns).read_bytes())
    fresh(monkeypatch)
    with pytest.raises(ImageError, match=r"x.parquet#000000007 is not the picture that ingest read"):
        read_image(root, paths[7], hashlib.sha256(jpeg((7, 0, 9))).hexdigest())


@pytest.mark.parametrize("most", [10**6, 30_000])  # the tar is kept whole, or read in parts
def test_one_picture_of_a_tar_is_one_small_request_for_whoever_shares_the_cache(bucket, tmp_path, monkeypatch, most):
    pictures = {f"{i:03d}.png": png(i) for i in range(12)}
    write_tar(tmp_path / "00.tar", [m for n, c in pictures.items() for m in ((n, c), (f"{n[:3]}.txt", "a cat"))])
    content = (tmp_path / "00.tar").read_bytes()
    bucket.put("set/tars/00.tar", content)
    cache = {"folder": str(tmp_path / "kept"), "bytes": most}
    root = open_root("s3://pictures/set", cache)
    part = listed(read_part)(root, type("Part", (), {"images": "tars", "tars": "*.tar", "caption_key": ""}))
    assert [row["text"] for row in part.captions] == ["a cat"] * 12
    paths = [path for path, _, _ in part.images.values()]
    assert paths[0] == "tars/00.tar#000.png"
    with ProcessPoolExecutor(2) as pool:  # forked off a process that has made requests
        found = list(pool.map(inspect_image, [(root, path, 10**6) for path in paths]))
    assert [picture[2] for picture in found] == [digest(c) for c in pictures.values()]
    whole = [request for request in bucket.read() if request.range == f"bytes=0-{len(content) - 1}"]
    assert most < 10**6 or len(whole) == len(bucket.read()) == 1, "at ingest, once"

    known = root.cache.recall("s3://pictures/set/tars/00.tar")
    if known:  # a broken copy of the tar is found out and not taken
        kept = root.cache.find(known.sha256, known.size)
        kept.write_bytes(content.replace(pictures["003.png"], b"x" * len(pictures["003.png"])))
        assert read_content(root, paths[3], digest(pictures["003.png"])) == pictures["003.png"]
    for file in (tmp_path / "kept").glob("??/*"):
        if file.read_bytes() in (content, *pictures.values()):
            file.unlink()  # what others read since left no room for it
    fresh(monkeypatch)
    bucket.requests.clear()
    assert read_content(root, paths[7], digest(pictures["007.png"])) == pictures["007.png"]
    [request] = bucket.read()
    start, end = map(int, request.range.removeprefix("bytes=").split("-"))
    assert content[start : end + 1] == pictures["007.png"]

    altered = bytearray(content)
    altered[content.index(pictures["008.png"]) + 60] ^= 1
    bucket.put("set/tars/00.tar", bytes(altered))
    with pytest.raises(ImageError, match=r"00.tar#008.png is not the picture that ingest read"):
        read_content(root, paths[8], digest(pictures["008.png"]))
    assert read_content(root, paths[9], digest(pictures["009.png"])) == pictures["009.png"]


def test_processes_that_open_one_file_fetch_it_once(bucket, root):
    bucket.put("set/a.json", b"[1, 2]")
    bucket.fail("slow", 1)

    def opened() -> None:
        os._exit(0 if (root / "a.json").read_bytes() == b"[1, 2]" else 1)

    processes = [multiprocessing.get_context("fork").Process(target=opened) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4 and len(bucket.read()) == 1


def test_without_a_network_what_was_fetched_before_is_there(bucket, root, monkeypatch, caplog):
    bucket.put("set/a/x.png", png(1))
    bucket.put("set/c.csv", b"image,caption\nx.png,a cat\n")
    before = (root / "a").digest(), (root / "c.csv").digest(), inspect_image((root, "a/x.png", 10**6))
    fresh(monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert ((root / "a").digest(), (root / "c.csv").digest(), inspect_image((root, "a/x.png", 10**6))) == before
    assert caplog.text.count("what is known of before is taken") == 1
    with pytest.raises(Unreachable, match=r"s3://pictures/set/d.csv can't be read"):
        (root / "d.csv").read_bytes()


def test_other_kinds_of_addresses(tmp_path, monkeypatch):
    import fsspec

    fresh(monkeypatch)
    cache = {"folder": str(tmp_path / "kept"), "bytes": 10**6}
    fsspec.filesystem("memory").pipe("/set/a/x.png", png(1))
    memory = open_root("memory://set", cache)
    assert list((memory / "a").files()) == ["x.png"] and inspect_image((memory, "a/x.png", 10**6))[2] == digest(png(1))

    (tmp_path / "web" / "a").mkdir(parents=True)
    (tmp_path / "web" / "a" / "x.png").write_bytes(png(2))
    (tmp_path / "web" / "c.csv").write_text("image,caption\nx.png,a cat\n")
    handler = partial(Quiet, directory=str(tmp_path / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        root = open_root(f"http://127.0.0.1:{web.server_port}", cache)
        assert inspect_image((root, "a/x.png", 10**6))[2] == digest(png(2))
        assert read_content(root, "a/x.png", digest(png(2))) == png(2)
        assert [row for _, row in read_table(root / "c.csv").rows()] == [{"image": "x.png", "caption": "a cat"}]
        assert inspect_image((root, "a/none.png", 10**6)).reason == "missing_image"
        assert not (root / "none.csv").is_file() and (root / "a").is_dir()
        assert [file.name for file in root.glob("c.csv")] == ["c.csv"] and not list(root.glob("d.csv"))
        with pytest.raises(AddressError, match="can't be listed; name the files"):
            list(root.glob("*.csv"))
        web.shutdown()


def test_names_of_files_on_the_web_may_hold_what_means_something_in_an_address(tmp_path, monkeypatch):
    fresh(monkeypatch)
    names = ("a b", "a%20b", "c#d", "e?f", "g+h&i=j", "100%", "ü")
    (tmp_path / "web").mkdir()
    for place, name in enumerate(names):
        (tmp_path / "web" / f"{name}.png").write_bytes(png(place))
    handler = partial(Quiet, directory=str(tmp_path / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        root = open_root(f"http://127.0.0.1:{web.server_port}", {"folder": str(tmp_path / "kept"), "bytes": 10**6})
        for place, name in enumerate(names):
            assert inspect_image((root, f"{name}.png", 10**6))[2] == digest(png(place)), name
        web.shutdown()


def test_nothing_of_it_is_loaded_where_no_address_is_given():
    code = (
        "import sys, pipeline.workflow, pipeline.execute, pipeline.job\n"
        "from structures.addresses import open_root\n"
        "open_root('data/toy', {'folder': 'x', 'bytes': 1}); open_root('s3://b/x', {'folder': 'x', 'bytes': 1})\n"
        "assert not {'s3fs', 'aiobotocore', 'botocore', 'aiohttp'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
