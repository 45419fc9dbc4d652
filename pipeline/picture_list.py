"""The list of a data set's pictures on disk, sorted by id: what ingest knows of each, in the memory of a few pages.

One SQLite table in a file of the job's scratch folder, which is nobody else's and is removed in the end, so that nothing of it
has to last through a kill. SQLite compares texts by their bytes in UTF-8, which is the order of Python's texts.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from structures.batches import batches
from structures.errors import UserError, one_line

_CACHE = 2048  # KiB of pages
_PAGE = 1000  # rows that are written, or read, at once
_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA locking_mode = EXCLUSIVE;
CREATE TABLE pictures (
    image_id TEXT PRIMARY KEY, part INTEGER, split TEXT, path TEXT, width INTEGER, height INTEGER, sha256 TEXT,
    packed BOOLEAN, shard INTEGER
) WITHOUT ROWID;
CREATE TABLE missing (fault TEXT, listed BOOLEAN);
"""


class Picture(NamedTuple):
    """A picture of the list. part: the number of its part; path: relative to the data set's folder; width, height: pixels,
    None where only the picture tells; sha256: of its bytes, None until it was looked at; packed: whether it is inside of a
    file that holds many."""

    image_id: str
    part: int
    split: str
    path: str
    width: int | None
    height: int | None
    sha256: str | None = None
    packed: bool = False


class ListedPart(NamedTuple):
    """A part whose pictures are on the list. number: in the data set; source: the number of its source; prefix: of its ids;
    label: for people; name: train, val or captioned; exhaustive: whether all its categories were judged in each of its
    pictures; rows: what its reader hands over."""

    number: int
    source: int
    prefix: str
    label: str
    name: str
    exhaustive: bool
    rows: Any


class PictureList:
    """Pictures as they are listed, then looked at, then given to shards. A context manager."""

    def __init__(self, file: Path):
        self._file = file

    def __enter__(self) -> "PictureList":
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.unlink(missing_ok=True)  # of a job that was killed
        self._rows = sqlite3.connect(self._file, isolation_level=None)
        self._rows.executescript(f"PRAGMA cache_size = -{_CACHE};{_SCHEMA}BEGIN")
        return self

    def __exit__(self, *_) -> None:
        self._rows.close()
        self._file.unlink()

    def add(self, pictures: Iterable[Picture]) -> None:
        """List pictures; one that is listed already, at the same path of the same part, is passed over. Raises UserError
        where an id is of two."""
        insert = "INSERT OR IGNORE INTO pictures VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)"
        for batch in batches(pictures, _PAGE):
            before = self._rows.total_changes
            self._rows.executemany(insert, batch)
            if self._rows.total_changes - before < len(batch):
                self._check_repeated(batch)

    def _check_repeated(self, batch: list[Picture]) -> None:
        for picture in batch:
            found = "SELECT part, path FROM pictures WHERE image_id = ?"
            part, path = self._rows.execute(found, (picture.image_id,)).fetchone()
            if part != picture.part:
                told = f"image id {picture.image_id} is in two parts of the data set; ids must be unique in it"
                raise UserError(one_line(told))
            if path != picture.path:
                told = f"{picture.path}: the image id {picture.image_id} is another's, too ({path}); rename a tar or a folder"
                raise UserError(one_line(told))

    def count(self) -> int:
        """How many are listed."""
        return self._rows.execute("SELECT count(*) FROM pictures").fetchone()[0]

    def listed(self) -> Iterator[Picture]:
        """All of them, in the order of their ids. What was read may be changed meanwhile."""
        return self._sorted("TRUE")

    def usable(self) -> Iterator[Picture]:
        """Those that can be used, in the order of their ids."""
        return self._sorted("sha256 IS NOT NULL")

    def _sorted(self, condition: str) -> Iterator[Picture]:
        last, compare = "", ">="
        while True:
            query = (
                f"SELECT image_id, part, split, path, width, height, sha256, packed FROM pictures WHERE image_id {compare} ? AND {condition} "
                f"ORDER BY image_id LIMIT {_PAGE}"
            )
            page = self._rows.execute(query, (last,)).fetchall()
            yield from map(Picture._make, page)
            if len(page) < _PAGE:
                return
            last, compare = page[-1][0], ">"

    def looked_at(self, pictures: list[Picture]) -> None:
        """Keep the split, the size and the digest of pictures that can be used."""
        self._rows.executemany(
            "UPDATE pictures SET split = ?, width = ?, height = ?, sha256 = ? WHERE image_id = ?",
            [(row.split, row.width, row.height, row.sha256, row.image_id) for row in pictures],
        )

    def miss(self, image_id: str, reason: str, detail: str, *, listed: bool) -> None:
        """Keep that a picture is not there. listed: whether the list has it."""
        fault = json.dumps([image_id, reason, detail])  # ASCII: what a tar's name or a log holds may be no Unicode
        self._rows.execute("INSERT INTO missing VALUES (?, ?)", (fault, listed))

    def count_missing(self, *, listed: bool) -> int:
        """How many are not there."""
        return self._rows.execute("SELECT count(*) FROM missing WHERE listed = ?", (listed,)).fetchone()[0]

    def missing(self) -> Iterator[list[str]]:
        """[image_id, reason, detail] of those that are not there, first those that the list has."""
        for listed in (True, False):
            found = self._rows.execute("SELECT fault FROM missing WHERE listed = ? ORDER BY rowid", (listed,))
            yield from (json.loads(fault) for (fault,) in found)

    def drop_repeated(self, sources: dict[int, int]) -> Iterator[tuple[str, str]]:
        """Where pictures of several sources have the same bytes, keep those of one alone: of one that has it in val, else of
        the first. (image_id, that of one that is kept) of every picture that can't be used any more, in the order of their ids.

        sources: {part: its source}.
        """
        self._rows.create_function("source", 1, sources.__getitem__, deterministic=True)
        self._rows.execute("CREATE TABLE repeated (image_id TEXT PRIMARY KEY, kept TEXT) WITHOUT ROWID")
        order = "sha256, split DESC, part"
        self._rows.execute(f"CREATE INDEX by_content ON pictures ({order}) WHERE sha256 IS NOT NULL")
        alike = self._rows.execute(
            "SELECT sha256, source(part), image_id FROM pictures INDEXED BY by_content WHERE sha256 IS NOT NULL "
            f"ORDER BY {order}, image_id"
        )
        content = kept_source = kept = None
        for sha256, source, image_id in alike:
            if sha256 != content:
                content, kept_source, kept = sha256, source, image_id
            elif source != kept_source:
                self._rows.execute("INSERT INTO repeated VALUES (?, ?)", (image_id, kept))
        self._rows.execute("DROP INDEX by_content")
        self._rows.execute("UPDATE pictures SET sha256 = NULL WHERE image_id IN (SELECT image_id FROM repeated)")
        yield from self._rows.execute("SELECT image_id, kept FROM repeated ORDER BY image_id")

    def assign(self, shards: int, sources: bool = False) -> None:
        """Give those that can be used to shards, in runs of one length in the order of their ids, so that tables are read one
        file after the other; but those inside of files that hold many in the order of their paths, so that a job reads few such
        files, and each from its start to its end. sources: whether ids begin with a source's name and a slash."""
        place = f"{'substr(image_id, 1, instr(image_id, ?)) || ' if sources else ''}path"
        self._rows.execute(
            "UPDATE pictures SET shard = assigned.shard FROM (SELECT image_id, "
            f"(row_number() OVER (ORDER BY CASE WHEN packed THEN {place} ELSE image_id END, image_id) - 1) * ? / count(*) OVER () "
            "AS shard FROM pictures WHERE sha256 IS NOT NULL) AS assigned WHERE assigned.image_id = pictures.image_id",
            ("/", shards) if sources else (shards,),
        )

    def shard(self, image_id: str) -> int | None:
        """The shard of a picture; None of one that is not listed, or can't be used."""
        row = self._of("shard", image_id)
        return row and row[0]

    def size(self, image_id: str) -> tuple[int, int] | None:
        """(height, width), pixels, of a picture that can be used; None of another."""
        row = self._of("height, width, sha256", image_id)
        return row[:2] if row and row[2] else None

    def _of(self, columns: str, image_id: str) -> tuple | None:
        try:
            return self._rows.execute(f"SELECT {columns} FROM pictures WHERE image_id = ?", (image_id,)).fetchone()
        except UnicodeEncodeError:  # of a text that is none no picture is listed
            return None

    def of_part(self, part: int) -> Iterator[str]:
        """The ids of a part's pictures that can be used, in their order."""
        return (picture.image_id for picture in self._sorted(f"sha256 IS NOT NULL AND part = {int(part)}"))
