"""The card of a trained detector that leaves the project: README.md with the head that the Hugging Face hub reads."""

import yaml

_TAUGHT = {
    "train_detector": "It learned from pseudo-labels alone (Mask-free OVIS): outlines that captions and a vision-language model "
    "gave. Nobody drew a mask for it",
    "finetune_detector": "It learned from pseudo-labels (Mask-free OVIS: outlines that captions and a vision-language model "
    "gave), and then from masks of base categories that people drew. Nobody drew a mask of a novel category for it",
    "train_teacher": "It is XPM's teacher: it learned from captions, and from objects of base categories that people outlined. "
    "Nobody drew a mask of a novel category for it",
    "train_student": "It is XPM's student: it learned from objects of base categories that people outlined, and from "
    "pseudo-labels of what captions name. Nobody drew a mask of a novel category for it",
}
_GROUPS = {
    "base": "base (what people drew of these may have taught it, see above)",
    "novel": "novel (pseudo-labels and captions alone taught these)",
    "open": "others that captions name (never measured)",
}
_EXAMPLE = """\
import numpy as np
import onnxruntime
from PIL import Image, ImageOps
from safetensors.numpy import load_file

session = onnxruntime.InferenceSession("model.onnx")
vectors = load_file("vectors.safetensors")  # name: its vector
names = list(vectors)  # or some of them, or others with vectors of the same text model
picture = ImageOps.exif_transpose(Image.open("picture.jpg")).convert("RGB")
image = np.asarray(picture, np.float32).transpose(2, 0, 1) / 255
boxes, scores, labels, masks = session.run(None, {"image": image, "text": np.stack([vectors[name] for name in names])})
for box, score, label, mask in zip(boxes, scores, labels, masks):
    print(f"{names[label]} {score:.2f}, {mask.sum()} pixels in {box.round().tolist()}")
"""


def model_card(
    detector: str,
    *,
    settings: dict,
    properties: dict,
    counts: dict[str, int],
    decided: int,
    seed: int,
    vocabulary: dict[str, str],
    scores: list[dict],
) -> str:
    """README.md of a detector, the name of the stage that trained it.

    settings: of its network; properties: those of the ONNX file; counts: {what: how many} of the data that taught it;
    decided: pseudo-labels that people looked at; vocabulary: {name: base, novel or open} of what it was trained or measured
    with; scores: its rows of metrics.
    """
    head = {
        "library_name": "onnx",
        "pipeline_tag": "image-segmentation",
        "license": "unknown",
        "tags": ["instance-segmentation", "object-detection", "open-vocabulary", "onnx", "cap2mask"],
    }
    embedder = properties["text_embedder"]
    side = f"{settings['min_size']} pixels, its longer one to at most {settings['max_size']}"
    sentences = ", ".join(f"`{prompt}`" for prompt in embedder["prompts"])
    taught = "".join(f"| {what} | {count} |\n" for what, count in counts.items())
    taught += f"| pseudo-labels that people confirmed or corrected | {decided} |\n" * bool(decided)
    return (
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n"
        "# Objects of any names, found and outlined\n\n"
        f"An open-vocabulary Mask R-CNN (backbone {settings['backbone']}) as one ONNX file: an image and the vectors of names "
        f"go in, boxes, scores and masks come out. cap2mask trained it (`{detector}`). {_TAUGHT[detector]}"
        f"{', but for labels that people corrected, which are counted below' * bool(decided)}.\n\n"
        "## Use\n\n"
        f"`pip install onnxruntime pillow safetensors`, then\n\n```python\n{_EXAMPLE}```\n\n"
        "| | type | what it is |\n| --- | --- | --- |\n"
        "| `image` | float32 [3, height, width] | RGB in 0 to 1, upright, of any size |\n"
        f"| `text` | float32 [names, {settings['dimension']}] | a vector of unit length for each name, one or more |\n"
        "| `boxes` | float32 [objects, 4] | x0, y0, x1, y1 in pixels of the image |\n"
        "| `scores` | float32 [objects] | 0 to 1, the best first |\n"
        "| `labels` | int64 [objects] | rows of `text` |\n"
        f"| `masks` | bool [objects, height, width] | where a pixel is of the object with more than "
        f"{properties['mask_threshold']} |\n\n"
        f"Inside, the image's shorter side is resized to {side}. Detections below a score of {properties['score_threshold']} "
        f"are dropped, of two of a name whose boxes overlap by an IoU of more than {properties['nms_iou']} the weaker, and all "
        f"but the best {properties['max_detections']}. These numbers are fixed, and in the file's metadata; for a higher "
        "threshold drop what is below it.\n\n"
        f"Vectors are those of the text model `{embedder['model']}` ({embedder['weights']}): the mean over the sentences "
        f"{sentences}, of unit length. `vectors.safetensors` holds those of the names below; in a clone of cap2mask "
        "`python -m stages.embed_text --names '[dragon fruit]'` makes those of others.\n\n"
        f"## What taught it\n\n| | |\n| --- | --- |\n{taught}| seed | {seed} |\n\n"
        f"{_vocabulary(vocabulary)}{_scores(scores)}"
        "## Limits\n\n"
        "- Names compete: a region is given the name that fits best among those in `text`, or none. Where one name is asked "
        "for, things that look alike are taken for it more often.\n"
        "- Vectors of another text model, or made with other sentences, mean something else to it.\n"
        "- Captions leave things out, and labels made of them have mistakes, which it has learned, too. What it finds in "
        "pictures of another kind than those that taught it was not measured.\n"
        "- Masks are as large as the image: while they are made, each object takes five bytes for each pixel of the image.\n"
        "- The licence is not known here: it depends on the pictures, captions and pretrained weights that taught it.\n"
    )


def _vocabulary(vocabulary: dict[str, str]) -> str:
    """The names by group."""
    text = "## Names\n\n"
    for group, meaning in _GROUPS.items():
        names = [name for name in vocabulary if vocabulary[name] == group]
        text += f"- {meaning}: {', '.join(names)}\n" if names else ""
    return f"{text}\n"


def _scores(rows: list[dict]) -> str:
    """A table of average precision; nothing where there was no ground truth."""
    values = {(row["protocol"], row["group"], row["kind"], row["metric"]): row["value"] for row in rows}
    columns = [("segm", "AP"), ("segm", "AP50"), ("bbox", "AP"), ("bbox", "AP50")]
    lines = ""
    for protocol in ("generalized", "constrained"):
        for group in ("base", "novel", "all"):
            measured = [values.get((protocol, group, *column)) for column in columns]
            if None not in measured:
                lines += f"| {protocol}, {group} | {' | '.join(f'{value:.1f}' for value in measured)} |\n"
    if not lines:
        return ""
    return (
        "## Average precision\n\nOn the validation pictures, in per cent; generalized: all names compete; constrained: those "
        "of the group alone.\n\n| | mask AP | mask AP50 | box AP | box AP50 |\n| --- | --- | --- | --- | --- |\n"
        f"{lines}\n"
    )
