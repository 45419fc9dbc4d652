"""Measure every step before the detector against the truth: maps, iterative masking, proposals, pseudo-masks."""

from collections.abc import Collection, Iterable, Iterator

from pipeline.conditions import later_round
from pipeline.stage import Input, Stage

STAGE = Stage(
    name="evaluate_labels",
    reads=(
        "images",
        "categories",
        "annotations",
        "judged",
        "source_categories",
        "nouns",
        "gradcam",
        "proposals",
        "wspn_proposals",
        "pseudo_boxes",
        "pseudo_masks",
        Input("round_masks", when=later_round),
    ),
    writes=("label_metrics",),
    shares=("vision_language", "propose.by"),
    gpu=1,
    mem_mb=16000,
    runtime=240,
)

LABELS = {"pseudo_masks": "pseudo_labels", "round_masks": "round_labels"}  # table: protocol


def run(job) -> None:
    from evaluation.average_precision import AveragePrecision
    from evaluation.ground_truth import annotations_by_category, categories_without_outline
    from evaluation.judged import Judges, of_judged
    from sources.vocabulary import read_vocabulary

    vocabulary = read_vocabulary(job.paths("categories")[0])
    groups = {"base": vocabulary.base, "novel": vocabulary.novel, "all": vocabulary.measured}
    known, judges = set(vocabulary.measured), Judges(None, job.rows("source_categories"))
    protocols = {table: protocol for table, protocol in LABELS.items() if job.has(table)}
    precision = {
        (protocol, kind): AveragePrecision(vocabulary.measured, kind, folder=job.scratch)
        for protocol in ("gradcam_labels", *protocols.values())
        for kind in ("bbox", "segm")
    }
    sums: dict[tuple[str, str, str, str], list[float]] = {}

    def note(protocol: str, kind: str, category: str, metric: str, value: float) -> None:
        for group in (vocabulary.group(category), "all"):
            total = sums.setdefault((protocol, kind, group, metric), [0.0, 0])
            total[0] += float(value)
            total[1] += 1

    for image, tables in _measured_images(job, protocols):
        size, judged = (image["height"], image["width"]), judges.judged(image["image_id"], tables["judged"])
        truth = [row for row in tables["annotations"] if row["category"] in known]
        not_exhaustive = judges.not_exhaustive(tables["judged"])
        partial = not_exhaustive | categories_without_outline(truth)  # of which not all masks are known
        objects = annotations_by_category(row for row in truth if row["category"] not in partial)
        labels = {"gradcam_labels": of_judged(_thresholded_maps(tables["gradcam"], size, objects, note), judged)}
        for table, protocol in protocols.items():
            rows = of_judged((row for row in tables[table] if row["category"] in known), judged)
            labels[protocol] = _measured_labels(protocol, rows, objects, partial, note)
            named = {row["category"] for row in tables["nouns"]} & objects.keys()
            _measure_instances(protocol, labels[protocol], {name: objects[name] for name in named}, note)
        _measure_proposals(job, tables, truth, note)
        for (protocol, _), measure in precision.items():
            measure.add(size, truth, labels[protocol], not_exhaustive)
    _measure_other_scores(job, known, note)
    with job.writer("label_metrics") as writer:
        for (protocol, kind, group, metric), (total, count) in sorted(sums.items()):
            writer.add(protocol=protocol, kind=kind, group=group, metric=metric, value=total / count)
        for (protocol, kind), measure in precision.items():
            for group, metrics in measure.scores(groups).items():
                for metric, value in metrics.items():
                    writer.add(protocol=protocol, kind=kind, group=group, metric=metric, value=value)


def _chosen(job) -> Iterator[dict]:
    """The training images that count: all, or so many as the parameter `images` says, evenly spread."""
    from itertools import islice

    every = max(1, job.count_split("train") // job.params.images) if job.params.images else 1
    return islice(job.images("train"), 0, None, every)


def _measured_images(job, labels: Iterable[str]) -> Iterator[tuple[dict, dict[str, list[dict]]]]:
    """(row of images, its rows by table) of every image that counts; labels: tables of pseudo-labels."""
    from store.join import join_by_image
    from structures.progress import progress

    tables = ("annotations", "judged", "nouns", "gradcam", "proposals", *labels)
    tables += ("wspn_proposals",) * (job.shared.propose.by == "wspn")
    rows = [job.rows(table, ["image_id", "category"] if table == "nouns" else None) for table in tables]
    images = join_by_image(_chosen(job), *rows)
    for _, ([image], *of_image) in progress(images, description="measuring labels", unit="image"):
        yield image, dict(zip(tables, of_image))


def _union(annotations: list[dict]):
    """All true masks of a category in an image as one, height x width bool."""
    import numpy as np

    from structures.masks import decode

    return np.any([decode(row["segmentation"]) for row in annotations], axis=0)


def _measure_instances(protocol: str, labels: list[dict], named: dict[str, list[dict]], note) -> None:
    """Of an image's true objects that captions name the share that a label of their own outlines, and of the labels of these
    nouns the share that outlines one. named: true objects by category; crowds are none."""
    from evaluation.label_quality import match_instances

    for category, annotations in named.items():
        truth = [row["segmentation"] for row in annotations if not row["iscrowd"]]
        found = [row["segmentation"] for row in labels if row["category"] == category]
        hits = match_instances(found, truth)
        for i in range(len(truth)):
            note(protocol, "instances", category, "recall50", i < hits)
        for i in range(len(found)):
            note(protocol, "instances", category, "precision50", i < hits)


def _thresholded_maps(pairs: list[dict], size: tuple[int, int], objects: dict, note) -> Iterator[dict]:
    """Measure an image's maps; thresholded they are labels of their own (OVIS, Table 3, GradCAM), scored by their match
    logit."""
    from pycocotools import mask as coco_mask

    from evaluation.label_quality import best_iou, coverage, pointing_chance, pointing_hit, threshold_map
    from models.grounding.maps import activation_maps
    from structures.masks import encode

    for row in pairs:
        category = row["category"]
        maps = activation_maps(row)
        mask = threshold_map(maps.max(0), size)
        segmentation = encode(mask)
        bbox = [float(v) for v in coco_mask.toBbox(segmentation)]
        if bbox[2]:
            label = {"bbox": bbox, "segmentation": segmentation, "score": float(row["itm_logit"][0])}
            yield {"image_id": row["image_id"], "category": category, **label}
        if category not in objects:
            continue
        annotations = objects[category]
        union = _union(annotations)
        note("grounding", "run", category, "pointing", pointing_hit(maps[0], union))
        note("grounding", "run", category, "pointing_chance", pointing_chance(maps[0].shape, union))
        for iterations in (1, len(maps)):
            activated = threshold_map(maps[:iterations].max(0), union.shape)
            note("grounding", f"G={iterations}", category, "coverage", coverage(activated, union))
        iou = best_iou(segmentation, [annotation["segmentation"] for annotation in annotations])
        note("pseudo_labels", "gradcam", category, "iou", iou)


def _measure_other_scores(job, known: set[str], note) -> None:
    """The pointing of each score that is asked for, on the first map of every pair of the measured images."""
    from evaluation.ground_truth import annotations_by_category, categories_without_outline
    from evaluation.judged import Judges
    from evaluation.label_quality import pointing_hit
    from models.grounding.grounder import Grounder
    from models.grounding.pairs import named_pairs
    from models.pixels import square
    from models.vision_language.interface import load_model
    from store.join import join_by_image

    p = job.params
    if not p.scores:
        return
    model, tokenizer = load_model(**job.model_options("vision_language"))
    for score in p.scores:
        grounder = Grounder(
            model,
            tokenizer,
            layers=job.shared.vision_language.layers,
            score=score,
            masking="pair",
            iterations=1,
            threshold=0.5,
            batch=p.batch,
            device=job.device,
        )
        images = join_by_image(_chosen(job), job.rows("nouns"), job.rows("annotations"), job.rows("judged"))
        pictures = job.pictures(
            ((image, nouns, truth, judged) for _, ([image], nouns, truth, judged) in images if nouns),
            lambda picture, *_: square(picture, model.image_size),
            description=f"maps with score {score}",
        )
        objects: dict[tuple[str, str], list[dict]] = {}  # of the pairs under way

        def pairs(pictures=pictures, grounder=grounder, objects=objects) -> Iterator[tuple]:
            for _, nouns, truth, judged, picture in pictures:
                partial = Judges().not_exhaustive(judged) | categories_without_outline(truth)
                of_image = annotations_by_category(row for row in truth if row["category"] in known - partial)
                for pair in named_pairs(nouns, picture):
                    tokens = grounder.tokens(pair)
                    if tokens is not None:
                        objects[pair.image_id, pair.category] = of_image.get(pair.category, [])
                        yield pair, tokens

        for pair, maps, _ in grounder.ground(pairs()):
            annotations = objects.pop((pair.image_id, pair.category))
            if annotations:
                note("grounding", score, pair.category, "pointing", pointing_hit(maps[0], _union(annotations)))


def _measure_proposals(job, tables: dict[str, list[dict]], truth: list[dict], note) -> None:
    """The recall of selective search and, where there is one, of WSPN, of their first 50 boxes and of all."""
    import numpy as np

    from evaluation.label_quality import box_recall

    for table, kind in (("proposals", "selective_search"), ("wspn_proposals", "wspn")):
        if table not in tables:
            continue
        boxes = tables[table][0]["boxes"] if tables[table] else np.zeros((0, 4))
        for row in truth:
            if not row["iscrowd"]:
                note("proposals", kind, row["category"], "recall50", box_recall(boxes[:50], row["bbox"]))
                note("proposals", kind, row["category"], "recall", box_recall(boxes, row["bbox"]))


def _measured_labels(
    protocol: str, pseudo_masks: list[dict], objects: dict, partial: Collection[str], note
) -> list[dict]:
    """Measure an image's pseudo-masks and their boxes, but those of partial categories; each as a label with an xywh box."""
    from evaluation.label_quality import best_iou, box_recall
    from structures.boxes import xyxy_to_xywh

    for row in pseudo_masks:
        if row["category"] in partial:
            continue
        annotations = objects.get(row["category"], [])
        segmentations = [annotation["segmentation"] for annotation in annotations]
        iou = best_iou(row["segmentation"], segmentations)
        note(protocol, "mask", row["category"], "iou", iou)
        note(protocol, "mask", row["category"], "share50", iou >= 0.5)
        if annotations:
            recall = max(box_recall(row["box"][None], annotation["bbox"]) for annotation in annotations)
            note(protocol, "box", row["category"], "recall50", recall)
    return [row | {"bbox": xyxy_to_xywh(row["box"]).tolist()} for row in pseudo_masks]


if __name__ == "__main__":
    STAGE.main(run)
