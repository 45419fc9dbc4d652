"""Every table of the pipeline: its columns with unit and range, its key, the stage that writes it.

Image, caption and annotation ids are strings, so that any data set's ids fit; COCO's numbers are their decimal text.
"""

from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class Table:
    """A table's pyarrow schema, the stage that writes it, its key columns, and rows per Parquet row group.

    per: "shard" where the files are split by image, "detector" where each trained detector has one, "run" where there is
    one file. row_group: what is read at once where a training asks for an image, so fewer where rows are large.
    """

    stage: str
    key: tuple[str, ...]
    schema: pa.Schema
    per: str = "shard"
    row_group: int = 4096


def _schema(*columns: tuple, nullable: tuple[str, ...] = ()) -> pa.Schema:
    return pa.schema(
        [pa.field(name, kind, nullable=name in nullable, metadata={"comment": note}) for name, kind, note in columns]
    )


_BOX_XYXY = pa.list_(pa.float32(), 4)
_BOX_XYWH = pa.list_(pa.float64(), 4)
_RLE = pa.struct([pa.field("size", pa.list_(pa.int32(), 2), False), pa.field("counts", pa.string(), False)])
# Parquet gives no null struct back that holds a list of fixed size.
_RLE_OR_NONE = pa.struct([pa.field("size", pa.list_(pa.int32()), False), pa.field("counts", pa.string(), False)])
_IMAGE = ("image_id", pa.string(), "the data set's own id")
_DETECTOR = (
    "detector",
    pa.string(),
    "the stage that trained it: train_detector, finetune_detector, train_teacher, train_student",
)
_CATEGORY = ("category", pa.string(), "a name of the vocabulary")
_SEGMENTATION = ("segmentation", _RLE, "COCO RLE: size [height, width] in pixels, compressed counts")

_PSEUDO_BOX = (
    _IMAGE,
    _CATEGORY,
    ("instance", pa.int32(), "0 for the first box of this category, then 1, 2 …"),
    ("box", _BOX_XYXY, "xyxy, pixels of the image"),
    ("score", pa.float32(), "sum of the activation inside over the square root of the area (Eq. 6), at least 0"),
    ("rank", pa.int32(), "place of the box among the image's proposals, 0 the most confident"),
    ("coverage", pa.float32(), "share of the whole activation that lies inside, 0 to 1"),
)
_DECIDED_BY = (
    "decided_by",
    pa.string(),
    "the person who looked at the label, as the decisions name them; empty: nobody",
)
_METRICS = (
    (
        "protocol",
        pa.string(),
        "constrained, generalized: detector; grounding, proposals, pseudo_labels, kept_labels: what precedes it, "
        "on training images; val_proposals: on validation images",
    ),
    ("kind", pa.string(), "bbox, segm, or the map or proposals measured"),
    ("group", pa.string(), "base, novel, all; a category where the protocol ends in _base or _novel"),
    ("metric", pa.string(), "AP, AP50, AP75, APs, APm, APl, AR100, recall, iou …"),
    ("value", pa.float64(), "AP and AR in percent; shares and IoU 0 to 1; -1 where nothing could be measured"),
)
_PROPOSALS = _schema(
    _IMAGE,
    ("boxes", pa.list_(_BOX_XYXY), "N boxes, xyxy, pixels, inside the image, at least one pixel wide and high"),
    ("scores", pa.list_(pa.float32()), "N scores, descending"),
)

TABLES: dict[str, Table] = {
    "images": Table(
        "ingest",
        ("image_id",),
        _schema(
            _IMAGE,
            (
                "path",
                pa.string(),
                "relative to the data set's folder, with forward slashes; of a tar's member tar#member",
            ),
            ("width", pa.int32(), "pixels"),
            ("height", pa.int32(), "pixels"),
            ("split", pa.string(), "train or val"),
            ("sha256", pa.string(), "of the file's, or member's, bytes"),
        ),
    ),
    "captions": Table(
        "ingest",
        ("image_id", "caption_id"),
        _schema(_IMAGE, ("caption_id", pa.string(), "unique in the data set"), ("text", pa.string(), "as published")),
    ),
    "annotations": Table(
        "ingest",
        ("image_id", "annotation_id"),
        _schema(
            _IMAGE,
            ("annotation_id", pa.string(), "unique in the data set"),
            _CATEGORY,
            ("bbox", _BOX_XYWH, "xywh, pixels"),
            ("segmentation", _RLE_OR_NONE, f"{_SEGMENTATION[2]}; null where the source has a box alone"),
            ("area", pa.float64(), "pixels"),
            ("iscrowd", pa.bool_(), "a region of many objects, never one"),
            nullable=("segmentation",),
        ),
        row_group=2048,
    ),
    "labels": Table("ingest", ("image_id", "category"), _schema(_IMAGE, _CATEGORY)),
    "judged": Table(
        "ingest",
        ("image_id", "category", "present", "exhaustive"),
        _schema(
            _IMAGE,
            (
                "category",
                pa.string(),
                "as the source names it; an image with rows here was judged for these categories alone, one without for "
                "all (of several sources for all of its source's, see source_categories); empty: of no category, in every image that was not judged for all",
            ),
            ("present", pa.bool_(), "whether an object of it is there"),
            (
                "exhaustive",
                pa.bool_(),
                "false: more objects of it may be there than are annotated, whatever other rows of the picture say",
            ),
        ),
    ),
    "source_categories": Table(
        "ingest",
        ("source", "category"),
        _schema(
            ("source", pa.string(), "of several sources the name of one, with which its image ids begin"),
            (
                "category",
                pa.string(),
                "that it annotates: its pictures without rows of `judged` were judged for these alone, as other sources "
                "have others",
            ),
        ),
        per="run",
    ),
    "category_counts": Table(
        "ingest",
        ("category",),
        _schema(
            ("category", pa.string(), "as the source names it"),
            (
                "objects",
                pa.int64(),
                "outlined objects of the training part, crowds left out; base and novel are counted from it",
            ),
        ),
        per="run",
    ),
    "nouns": Table(
        "nouns",
        ("image_id", "category", "caption_id", "start"),
        _schema(
            _IMAGE,
            _CATEGORY,
            ("caption_id", pa.string(), "the caption that names it"),
            ("surface", pa.string(), "the words as they stand in the caption"),
            ("start", pa.int32(), "first character"),
            ("end", pa.int32(), "one past the last character"),
            ("count", pa.int32(), "objects meant: singular 1, 'two dogs' 2, 0 for a plural without a number"),
            ("text", pa.string(), "the whole caption, or the sentence made of an image label"),
        ),
    ),
    "gradcam": Table(
        "gradcam",
        ("image_id", "category"),
        _schema(
            _IMAGE,
            _CATEGORY,
            ("caption_id", pa.string(), "the caption that the map was made with"),
            ("maps", pa.list_(pa.float16()), "G x height x width activations, row-major, each scaled to 0..1"),
            ("height", pa.int32(), "cells"),
            ("width", pa.int32(), "cells"),
            ("itm_logit", pa.list_(pa.float32()), "G match logits, one an iteration"),
            (
                "mirrored",
                pa.float32(),
                "intersection over union of the picture's maps and its mirror image's, 0 to 1; -1 where gradcam.mirrored is false",
            ),
        ),
        row_group=1024,
    ),
    "proposals": Table("selective_search", ("image_id",), _PROPOSALS, row_group=256),
    "wspn_proposals": Table("propose", ("image_id",), _PROPOSALS, row_group=1024),
    "pseudo_boxes": Table("select_boxes", ("image_id", "category", "instance"), _schema(*_PSEUDO_BOX)),
    "pseudo_masks": Table(
        "segment",
        ("image_id", "category", "instance"),
        _schema(
            *_PSEUDO_BOX,
            _SEGMENTATION,
            ("area", pa.float64(), "pixels of the mask"),
            ("agreement", pa.float32(), "mean activation inside the mask less outside it, within the box, -1 to 1"),
        ),
    ),
    "round_masks": Table(
        "relabel",
        ("image_id", "category", "instance"),
        _schema(
            _IMAGE,
            _CATEGORY,
            ("instance", pa.int32(), "0 for the best mask of this category, then 1, 2 …"),
            ("box", _BOX_XYXY, "xyxy, pixels of the image"),
            ("score", pa.float32(), "of the detector of the round before and the activation together, 0 to 1"),
            (
                "rank",
                pa.int32(),
                "place among the regions that were considered: proposals, and after them the detector's own",
            ),
            ("coverage", pa.float32(), "share of the whole activation that lies inside the box, 0 to 1"),
            _SEGMENTATION,
            ("area", pa.float64(), "pixels of the mask"),
            ("agreement", pa.float32(), "mean activation inside the mask less outside it, within the box, -1 to 1"),
        ),
    ),
    "reviewed_masks": Table(
        "review",
        ("image_id", "category", "instance"),
        _schema(
            _IMAGE,
            _CATEGORY,
            ("instance", pa.int32(), "as it was before anybody looked; one that was drawn anew counts on"),
            ("box", _BOX_XYXY, "xyxy, pixels of the image"),
            ("score", pa.float32(), "as in pseudo_masks or round_masks; 0 of what a person drew"),
            ("rank", pa.int32(), "as in pseudo_masks or round_masks; -1 of what a person drew"),
            ("coverage", pa.float32(), "as in pseudo_masks or round_masks; 0 of what a person drew"),
            _SEGMENTATION,
            ("area", pa.float64(), "pixels of the mask"),
            ("agreement", pa.float32(), "as in pseudo_masks or round_masks: of the mask before it was corrected"),
            ("decision", pa.string(), "keep, category, mask, box or add; empty where nobody decided"),
            _DECIDED_BY,
        ),
        per="run",
    ),
    "label_quality": Table(
        "label_quality",
        ("image_id", "category", "instance"),
        _schema(
            _IMAGE,
            _CATEGORY,
            ("instance", pa.int32(), "as in pseudo_masks or round_masks"),
            (
                "margin",
                pa.float32(),
                "how much better the box overlaps its activation than the best proposal elsewhere: 1 none does, 0 as well, "
                "-1 to 1",
            ),
            ("stability", pa.float32(), "least share of all iterations' maps that lies inside the box, 0 to 1"),
            ("mirrored", pa.float32(), "as in gradcam"),
            ("match", pa.float32(), "match logit of picture and caption, before anything is masked"),
            (
                "detector",
                pa.float32(),
                "largest score x IoU with what the detector of the round before finds of the noun, 0 to 1; 0 in the first round",
            ),
            ("detector_iou", pa.float32(), "largest IoU with what it finds of the noun, 0 to 1; 0 in the first round"),
        ),
    ),
    "kept_labels": Table(
        "pseudo_labels",
        ("image_id", "category", "instance"),
        _schema(
            _IMAGE,
            _CATEGORY,
            ("instance", pa.int32(), "as in pseudo_masks, round_masks or reviewed_masks"),
            ("bbox", _BOX_XYWH, "xywh, pixels: of the mask, or as a person drew it"),
            (
                "confidence",
                pa.float64(),
                "rank of what pseudo_labels.measures names among the run's labels, above 0, 1 the best; 1 where a person decided",
            ),
            _SEGMENTATION,
            ("area", pa.float64(), "pixels of the mask"),
            _DECIDED_BY,
        ),
        per="run",
        row_group=2048,
    ),
    "teacher_masks": Table(
        "teacher_labels",
        ("image_id", "category", "instance"),
        _schema(
            _IMAGE,
            _CATEGORY,
            ("instance", pa.int32(), "0: the teacher labels one region a noun (XPM, Eq. 2)"),
            ("box", _BOX_XYXY, "the aligned region, xyxy, pixels of the image"),
            ("score", pa.float32(), "probability of the noun among all names and the background, 0 to 1"),
            ("similarity", pa.float32(), "v . h(f), the largest of all regions (XPM, Eq. 2)"),
            ("rank", pa.int32(), "place of the region among the image's proposals, 0 the most confident"),
            _SEGMENTATION,
            ("area", pa.float64(), "pixels of the mask"),
        ),
    ),
    "student_labels": Table(
        "student_labels",
        ("image_id", "category", "instance", "source"),
        _schema(
            _IMAGE,
            _CATEGORY,
            ("instance", pa.int32(), "as its source counts"),
            ("source", pa.string(), "ovis or xpm: who made the mask"),
            ("box", _BOX_XYXY, "xyxy, pixels of the image"),
            ("score", pa.float32(), "as its source scores it"),
            (
                "agreement",
                pa.float32(),
                "IoU with the other source's mask of the same noun, 0 to 1; -1 where there is none",
            ),
            ("weight", pa.float32(), "factor on the label's reliability alpha, by agreement of the two sources"),
            ("corruption", pa.string(), "shifted, swapped or blown_up where corrupted on purpose, else empty"),
            _SEGMENTATION,
            ("area", pa.float64(), "pixels of the mask"),
        ),
        per="run",
        row_group=2048,
    ),
    "label_noise": Table(
        "label_noise",
        ("image_id", "category", "instance", "source"),
        _schema(
            _IMAGE,
            _CATEGORY,
            ("instance", pa.int32(), "as in student_labels"),
            ("source", pa.string(), "as in student_labels"),
            ("noise", pa.float32(), "average variance of the mask's pixels, above 0"),
            ("alpha", pa.float32(), "reliability (XPM, Eq. 7), above 0"),
            ("variance", pa.list_(pa.float16()), "side x side variances inside the box, row-major"),
            ("side", pa.int32(), "cells"),
        ),
        per="run",
    ),
    "embeddings": Table(
        "embed_text",
        ("category",),
        _schema(
            _CATEGORY,
            ("group", pa.string(), "base, novel or open"),
            ("vector", pa.list_(pa.float32()), "text embedding, unit length"),
        ),
        per="run",
    ),
    "background_embedding": Table(
        "embed_text",
        ("description",),
        _schema(
            ("description", pa.string(), "what describes the background"),
            ("vector", pa.list_(pa.float32()), "its text embedding, unit length"),
        ),
        per="run",
    ),
    "word_embeddings": Table(
        "embed_text",
        ("word",),
        _schema(
            ("word", pa.string(), "of a caption, in lower case"),
            ("vector", pa.list_(pa.float32()), "its text embedding, unit length"),
        ),
        per="run",
    ),
    "detections": Table(
        "detect",
        ("detector", "image_id", "vocabulary", "rank"),
        _schema(
            _DETECTOR,
            _IMAGE,
            ("vocabulary", pa.string(), "the names that competed: all, base or novel"),
            ("rank", pa.int32(), "place among the image's detections with these names, 0 the best"),
            _CATEGORY,
            ("score", pa.float32(), "probability (Eq. 8), 0 to 1"),
            ("bbox", _BOX_XYWH, "xywh, pixels"),
            _SEGMENTATION,
        ),
        per="detector",
    ),
    "label_metrics": Table("evaluate_labels", ("protocol", "kind", "group", "metric"), _schema(*_METRICS), per="run"),
    "proposal_metrics": Table(
        "evaluate_proposals", ("protocol", "kind", "group", "metric"), _schema(*_METRICS), per="run"
    ),
    "metrics": Table(
        "evaluate",
        ("detector", "protocol", "kind", "group", "metric"),
        _schema(("detector", pa.string(), "the checkpoint measured; empty for what precedes detectors"), *_METRICS),
        per="run",
    ),
}

REJECTS = _schema(
    ("stage", pa.string(), "the stage that could not use the row"),
    _IMAGE,
    ("key", pa.string(), "the rest of the row's key: caption id, category …, or empty"),
    ("reason", pa.string(), "one short name a kind of fault"),
    ("detail", pa.string(), "what was found, and the remedy where there is one"),
    ("counted", pa.bool_(), "False for what is ordinary (a caption without a known noun): not held against the stage"),
)

CURVE = _schema(
    ("step", pa.int64(), "steps taken"),
    ("name", pa.string(), "loss, or one of its parts"),
    ("value", pa.float64(), "mean since the row before"),
)
