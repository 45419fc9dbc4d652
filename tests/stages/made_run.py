"""Tables of a small run made by hand, and the gallery of them: without a model, in a second."""

from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.config import checked
from pipeline.execute import Action
from pipeline.job import Job
from pipeline.registry import stages
from schemas.tables import CURVE, REJECTS, TABLES
from sources.vocabulary import Vocabulary
from store.blobs import Blobs, file_digest
from store.manifest import Output
from store.parquet import TableWriter
from structures.masks import encode

HEIGHT, WIDTH = 60, 80
VOCABULARY = Vocabulary(base=("cat", "dog"), novel=("kite",))
DETECTORS = ("train_detector", "train_student")


def mask(x: int) -> dict:
    """A square of 20 pixels from x on, as COCO RLE."""
    pixels = np.zeros((HEIGHT, WIDTH), bool)
    pixels[10:30, x : x + 20] = True
    return encode(pixels)


def made_tables(images: int = 6, name: str = "cat", text: str = "a {} on a mat") -> dict[str, list[dict]]:
    """Rows of every table that the gallery reads and of the rejects of three stages. Of each training image the noun
    `name` has a label of OVIS and one of XPM; every third of OVIS's was rejected. text: of the captions, {} for the name."""
    rng = np.random.default_rng(5)
    ids = [f"{i:03d}" for i in range(images)]
    rows: dict[str, list[dict]] = {table: [] for table in TABLES}
    rows |= {"pseudo_labels/_rejects": [], "nouns/_rejects": [], "ingest/_rejects": [], "train_detector/_curve": []}
    caption = text.replace("{}", name)
    start = text.index("{}")
    for i, image_id in enumerate(ids):
        split = "val" if i % 3 == 2 else "train"
        rows["images"].append(
            {
                "image_id": image_id,
                "path": f"{image_id}.png",
                "width": WIDTH,
                "height": HEIGHT,
                "split": split,
                "sha256": "",
            }
        )
        truth = {"bbox": [20.0, 10.0, 20.0, 20.0], "segmentation": mask(20), "area": 400.0, "iscrowd": False}
        rows["annotations"].append({"image_id": image_id, "annotation_id": f"a{i}", "category": name} | truth)
        key = {"image_id": image_id, "category": name}
        if split == "val":
            found = {"bbox": [22.0, 10.0, 20.0, 20.0], "segmentation": mask(22), "vocabulary": "all"}
            for detector in DETECTORS:
                scored = {"detector": detector, "rank": 0, "score": 0.9 - 0.01 * i}
                rows["detections"].append(scored | key | found)
            continue
        noun = {
            "caption_id": f"c{i}",
            "surface": name,
            "start": start,
            "end": start + len(name),
            "count": 1,
            "text": caption,
        }
        rows["nouns"].append(key | noun)
        maps = rng.random((3, 8, 8)).astype(np.float16)
        rows["gradcam"].append(
            key
            | {
                "caption_id": f"c{i}",
                "maps": maps.reshape(-1),
                "height": 8,
                "width": 8,
                "itm_logit": [1.0, 0.5, 0.1],
                "mirrored": 0.5,
            }
        )
        boxes = [[20.0, 10.0, 40.0, 30.0], [5.0, 5.0, 70.0, 50.0]]
        rows["wspn_proposals"].append({"image_id": image_id, "boxes": boxes, "scores": [0.8, 0.2]})
        label = key | {
            "instance": 0,
            "box": [20.0 + i, 10.0, 40.0 + i, 30.0],
            "segmentation": mask(20 + i),
            "area": 400.0,
        }
        rows["pseudo_masks"].append(label | {"score": 30.0 + i, "rank": i, "coverage": 0.5, "agreement": 0.1 * i})
        rows["teacher_masks"].append(label | {"score": 0.6, "rank": 1, "similarity": 2.0})
        for source in ("ovis", "xpm"):
            student = {"source": source, "score": 0.5, "agreement": 0.7, "weight": 1.0, "corruption": ""}
            rows["student_labels"].append(label | student)
            variance = rng.random(16).astype(np.float16)
            noise = {"source": source, "noise": 0.3, "alpha": 0.8, "variance": variance, "side": 4}
            rows["label_noise"].append(key | {"instance": 0} | noise)
        if i % 3 == 0:
            reject = {"stage": "pseudo_labels", "reason": "low_agreement", "detail": "agreement 0.00", "counted": False}
            rows["pseudo_labels/_rejects"].append({"image_id": image_id, "key": f"{name} 0"} | reject)
        reject = {"stage": "nouns", "reason": "no_known_noun", "detail": "nothing here", "counted": False}
        rows["nouns/_rejects"].append({"image_id": image_id, "key": f"d{i}"} | reject)
    broken = {"stage": "ingest", "reason": "broken_image", "detail": f"{text} can't be read", "counted": True}
    rows["ingest/_rejects"].append({"image_id": "gone", "key": ""} | broken)
    rows["train_detector/_curve"] += [{"step": step, "name": "loss", "value": 9.0 / step} for step in range(1, 500)]
    score = {"protocol": "generalized_base", "kind": "segm", "group": name, "metric": "AP50", "value": 42.0}
    rows["metrics"].append({"detector": "train_detector"} | score)
    return rows


def gallery_job(folder: Path, tables: dict[str, list[dict]], *, shards: int = 1, threads: int = 2, **changes) -> Job:
    """A job of the stage gallery over the tables, split into so many shards; pictures are made in the folder."""
    blobs, inputs = Blobs(folder / "data"), {}
    names = VOCABULARY.base + VOCABULARY.novel
    used = {row["category"] for row in tables["nouns"]} - set(names)
    vocabulary = Vocabulary(base=VOCABULARY.base + tuple(sorted(used)), novel=VOCABULARY.novel)
    for i, row in enumerate(tables["images"]):
        file = folder / row["path"]
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            Image.new("RGB", (row["width"], row["height"]), (40 * i % 255, 90, 120)).save(file, "PNG")
        row["sha256"] = file_digest(file)

    def kept(name: str, rows: list[dict], schema, shard: str) -> Output:
        with blobs.draft(".parquet") as draft:
            writer = TableWriter(draft, schema, 64)
            for row in rows:
                writer.add(**row)
            writer.close()
            digest, size = blobs.keep(draft)
        return Output(f"{name}/{shard}.parquet", digest, size, len(rows))

    shard_of = {row["image_id"]: i % shards for i, row in enumerate(tables["images"])}
    for name, rows in tables.items():
        if "/" in name:
            schema = CURVE if name.endswith("_curve") else REJECTS
            inputs[name] = [kept(name, rows, schema, "all")] if rows else []
        elif TABLES[name].per == "detector":
            of_each = {part: [row for row in rows if row["detector"] == part] for part in DETECTORS}
            inputs[name] = [kept(name, part_rows, TABLES[name].schema, part) for part, part_rows in of_each.items()]
        elif TABLES[name].per == "shard":
            parts = [[row for row in rows if shard_of[row["image_id"]] == shard] for shard in range(shards)]
            inputs[name] = [kept(name, part, TABLES[name].schema, str(i)) for i, part in enumerate(parts)]
        else:
            inputs[name] = [kept(name, rows, TABLES[name].schema, "all")]
    with blobs.draft(".json") as draft:
        draft.write_text(vocabulary.to_json())
        digest, size = blobs.keep(draft)
    inputs["categories"] = [Output("categories/all.json", digest, size)]
    chosen = {
        "detectors": list(DETECTORS),
        "student_labels": {"labels": "both"},
        "ingest": {part: {"images": part, "instances": f"{part}.json"} for part in ("train", "val")},
    }
    config = checked({"run": "made", "root": str(folder), "shards": shards} | chosen | changes)
    read = {name: inputs[name] for name in stages()["gallery"].inputs(config) if name in inputs}
    action = Action(stages()["gallery"], config, "all", {}, None, "code", read, {})
    return Job(action, blobs=blobs, scratch=folder / "scratch", threads=threads)


def made_gallery(folder: Path, tables: dict[str, list[dict]], **options) -> dict[str, bytes]:
    """{path in the gallery's folder: content} of what the stage makes of the tables."""
    from stages.gallery import run

    job = gallery_job(folder, tables, **options)
    run(job)
    job.close()
    blobs = Blobs(folder / "data")
    outputs = sorted(job.outputs, key=lambda output: output.path)
    return {out.path.removeprefix("gallery/"): blobs.path(out.digest, out.suffix).read_bytes() for out in outputs}


def written(folder: Path, files: dict[str, bytes]) -> Path:
    """The folder, with the files of a gallery in it."""
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder
