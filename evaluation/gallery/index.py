"""The rows of the gallery, written in chunks: an index in columns of all of them, and the details of a few in one script."""

from collections.abc import Callable
from typing import Any

from evaluation.gallery.pictures import number
from evaluation.gallery.scripts import script

INDEX_ROWS = 8192  # of a chunk of the index
DETAIL_ROWS, DETAIL_IMAGES = 48, 24  # a chunk of details is closed behind the image that reaches either
COLUMNS = ("image", "caption", "category", "source", "state", "instance", "detail")

# (name, what it is called, which end is worst, what it says); rows that have none of it are sorted last
MEASURES = (
    ("score", "score", "low", "as the source scores its label: Eq. 6, a probability …"),
    ("coverage", "coverage", "low", "share of the whole activation that lies inside the box"),
    ("agreement", "agreement", "low", "mean activation inside the mask less outside it, within the box"),
    ("confidence", "confidence", "low", "rank of what pseudo_labels.measures names among the run's labels, 1 the best"),
    (
        "margin",
        "margin of the box",
        "low",
        "how much better it overlaps the activation than the best proposal elsewhere",
    ),
    ("stability", "stability", "low", "least share of all iterations' maps that lies inside the box"),
    (
        "mirrored",
        "the mirror image's maps",
        "low",
        "intersection over union of the picture's maps and its mirror image's",
    ),
    ("detector", "found again", "low", "score x IoU of what the detector of the round before finds of the noun"),
    (
        "detector_iou",
        "overlap with the detector",
        "low",
        "largest IoU with what the detector of the round before finds of the noun",
    ),
    ("rank", "rank of the box", "high", "place of the box among the image's proposals, 0 the most confident"),
    ("area", "area", "low", "pixels of the mask"),
    ("match", "match logit", "low", "of picture and caption, before anything is masked"),
    ("similarity", "similarity", "low", "of region and noun, to XPM's teacher"),
    ("systems", "agreement of systems", "low", "IoU with the mask of the other system"),
    ("alpha", "alpha", "low", "reliability, as XPM's student sees it"),
    ("noise", "noise", "high", "average variance of the mask's pixels, as XPM's student sees it"),
    ("iou", "IoU with the truth", "low", "with the most alike true mask of the category; 0 where there is none"),
)


class Index:
    """Takes images and their rows in order, and saves them in chunks; holds one chunk of each kind.

    save: takes a path in the gallery's folder and the bytes that belong there. categories: {name: group}.
    """

    def __init__(self, save: Callable[[str, bytes], None], categories: dict[str, str]):
        self._save = save
        self._categories = {name: i for i, name in enumerate(categories)}
        self._groups = list(categories.values())
        self._sources: dict[tuple[str, str], int] = {}
        self._states: dict[str, int] = {}
        self._chunks: list[int] = []
        self._details = 0
        self.rows = self.images = 0
        self._new_index_chunk()
        self._new_detail_chunk()

    def category(self, name: str) -> int:
        """The number of a category; -1 for a name that is none."""
        return self._categories.get(name, -1)

    def source(self, name: str, kind: str) -> int:
        """The number of a source of labels, rejects or detections (kind: "labels", "rejects", "detections")."""
        return self._sources.setdefault((name, kind), len(self._sources))

    def add(self, image: dict, rows: list[dict]) -> None:
        """Add an image and its rows.

        image: what details.js and label.js read of it: id, file, width, height … rows: of each `category`, `source`,
        `state` ("kept", or why not), `instance`, `caption` (its place among the image's captions, -1 without), `measures`
        ({name: number}), and `detail`, what is drawn and told of it.
        """
        self._detail["images"][self.images] = image
        texts = [self._text(caption["text"]) for caption in image["captions"]]
        here = len(self._index["images"])
        self._index["images"].append([image["id"], image["file"]])
        for row in rows:
            state = self._states.setdefault(row["state"], len(self._states))
            caption = texts[row["caption"]] if 0 <= row["caption"] < len(texts) else -1
            numbers = {"image": here, "caption": caption, "state": state, "detail": self._details}
            for name in COLUMNS:
                self._index[name].append(numbers[name] if name in numbers else row[name])
            for name, *_ in MEASURES:
                value = row["measures"].get(name)
                self._index["measures"][name].append(None if value is None else number(value))
            self._detail["rows"][self.rows] = row["detail"] | {"image": self.images}
            self.rows += 1
        self.images += 1
        if len(self._index["image"]) >= INDEX_ROWS:
            self._close_index_chunk()
        if len(self._detail["rows"]) >= DETAIL_ROWS or len(self._detail["images"]) >= DETAIL_IMAGES:
            self._close_detail_chunk()

    def finish(self) -> dict[str, Any]:
        """Save what is left; returns what the summary says of the rows."""
        if self._index["image"]:
            self._close_index_chunk()
        if self._detail["images"]:
            self._close_detail_chunk()
        return {
            "rows": self.rows,
            "images": self.images,
            "chunks": self._chunks,
            "details": self._details,
            "categories": [list(pair) for pair in zip(self._categories, self._groups)],
            "sources": [list(source) for source in self._sources],
            "states": list(self._states),
            "measures": [list(measure) for measure in MEASURES],
        }

    def _text(self, text: str) -> int:
        """The place of a caption among those of the index's chunk."""
        return self._texts.setdefault(text, len(self._texts))

    def _new_index_chunk(self) -> None:
        self._index = {name: [] for name in ("images", *COLUMNS)}
        self._index["measures"] = {name: [] for name, *_ in MEASURES}
        self._texts: dict[str, int] = {}

    def _close_index_chunk(self) -> None:
        measures = {
            name: values for name, values in self._index["measures"].items() if any(v is not None for v in values)
        }
        content = self._index | {"measures": measures, "captions": list(self._texts)}
        self._save(f"index/{len(self._chunks):05d}.js", script(f"index/{len(self._chunks):05d}", content))
        self._chunks.append(len(self._index["image"]))
        self._new_index_chunk()

    def _new_detail_chunk(self) -> None:
        self._detail: dict[str, dict] = {"images": {}, "rows": {}}

    def _close_detail_chunk(self) -> None:
        self._save(f"details/{self._details:05d}.js", script(f"details/{self._details:05d}", self._detail))
        self._details += 1
        self._new_detail_chunk()
