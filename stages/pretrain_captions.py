"""Teach the teacher's network by captions alone: backbone, pyramid, box head and embedding head (OVR; XPM, 4.1).

A picture's text is one of its captions, word by word, or the names of the vocabulary in all of them.
"""

from collections.abc import Callable, Sequence

from pipeline.stage import Input, Stage

STAGE = Stage(
    name="pretrain_captions",
    reads=(
        "images",
        Input("captions", when=lambda config: config["pretrain_captions"]["words"] == "all"),
        Input("word_embeddings", when=lambda config: config["pretrain_captions"]["words"] == "all"),
        Input("nouns", when=lambda config: config["pretrain_captions"]["words"] == "vocabulary"),
        Input("embeddings", when=lambda config: config["pretrain_captions"]["words"] == "vocabulary"),
    ),
    writes=("pretrain_captions",),
    shares=("teacher_network", "optimizer", "training"),
    processes=True,
    random=True,
    gpu=1,
    threads=16,
    mem_mb=16000,
    runtime=2880,
)


def run(job) -> None:
    import torch

    from models.backbones import read_backbone_weights
    from models.xpm.caption_grounding import CaptionGroundedMaskRCNN
    from sources.images import read_image
    from structures.errors import UserError
    from structures.pictures import uint8_tensor
    from training.detector import train_detector
    from training.loader import Rows, StepLoader
    from training.tables import text_vectors

    p, network = job.params, job.shared.teacher_network
    rows, data, words_of = (_all_words if p.words == "all" else _names)(job)
    if not data:
        raise UserError("no caption names anything: there is nothing to learn from; set pretrain_captions.steps to 0")
    torch.manual_seed(job.seed)
    names = ("backbone", "trainable_layers", "min_size", "max_size", "similarity")
    settings = {name: getattr(network, name) for name in names} | {"temperature": p.temperature}
    settings |= {"dimension": len(rows[0]["vector"]), "background": "zero"}
    weights = read_backbone_weights(job.files.get("teacher_network.weights"), network.trainable_layers)
    model = CaptionGroundedMaskRCNN(align=p.align, weights=weights, frozen=weights is not None, **settings)
    model.to(job.device).train()
    model.set_vocabulary(text_vectors(rows, job.device))

    def load(item: tuple) -> tuple:
        [image], texts = item
        picture = uint8_tensor(read_image(job.root, image["path"], image["sha256"]))
        return picture, {"words": torch.tensor(words_of(texts))}

    loader = StepLoader(Rows(data, load), **job.batching())
    curve = train_detector(model, loader, **job.schedule(), description="learning from captions")
    job.save_checkpoint(model.state_dict(), {"detector": settings})
    job.save_curve(curve)


def _all_words(job) -> tuple[list[dict], Sequence, Callable]:
    """The rows of word_embeddings, every caption of a training picture with words, and a function from it to the numbers of
    its words."""
    from models.xpm.caption_grounding import caption_words
    from structures.errors import UserError

    rows = job.table("word_embeddings").to_pylist()
    if not rows:
        raise UserError(
            "embed_text has no word of a caption: it embeds them where there are captions and `detectors` names "
            "train_teacher or train_student; otherwise set pretrain_captions.words to vocabulary"
        )
    number = {row["word"]: i for i, row in enumerate(rows)}

    def words(captions: list[dict]) -> list[int]:
        return [number[word] for row in captions for word in caption_words(row["text"])]

    return rows, job.training_set("captions", wanted=words, each=True), words


def _names(job) -> tuple[list[dict], Sequence, Callable]:
    """The rows of embeddings, the nouns of every training picture whose captions name any, and a function from them to the
    numbers of their names."""
    rows = job.table("embeddings").to_pylist()
    number = {row["category"]: i for i, row in enumerate(rows)}

    def names(nouns: list[dict]) -> list[int]:
        return sorted({number[row["category"]] for row in nouns if row["category"] in number})

    columns = {"nouns": ["image_id", "category"]}
    return rows, job.training_set("nouns", wanted=names, columns=columns, looked_at=columns), names


if __name__ == "__main__":
    STAGE.main(run)
