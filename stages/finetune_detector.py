"""Go on training the detector on base annotations (OVIS, experiments; Table 3), so that its base masks grow exact.

Only base names compete, so that no loss pushes a region away from a novel name; or, with keep_novel, all names, and the
pseudo-labels of the others stay among the targets. Which parts of the network stay as they are is a parameter.
"""

from pipeline.conditions import has_annotations
from pipeline.stage import Input, Stage

STAGE = Stage(
    name="finetune_detector",
    reads=(
        "images",
        "annotations",
        "embeddings",
        Input("kept_labels", when=lambda config: config["finetune_detector"]["keep_novel"]),
        "train_detector",
    ),
    writes=("finetune_detector",),
    shares=("optimizer", "training"),
    detector=lambda config: bool(has_annotations(config) and config["finetune_detector"]["steps"]),
    processes=True,
    random=True,
    gpu=1,
    threads=16,
    mem_mb=16000,
    runtime=2880,
)


def run(job) -> None:
    from models.detector.mask_rcnn import OpenVocabularyMaskRCNN
    from structures.errors import UserError
    from training.detector import train_detector
    from training.tables import LOOKED_AT, LearnableImages, learnable_annotations, text_vectors
    from training.targets import detection_batches

    p = job.params
    rows = [row for row in job.table("embeddings").to_pylist() if row["group"] == "base" or p.keep_novel]
    base = {row["category"] for row in rows if row["group"] == "base"}
    images = LearnableImages(base)

    def others(labels: list[dict]) -> list[dict]:
        """The pseudo-labels that stay among the targets."""
        return [row for row in labels if row["category"] not in base]

    def wanted(annotations: list[dict], labels: list[dict] = ()) -> bool:
        return images.learnable_in(annotations) | bool(others(labels))

    data = job.training_set("annotations", *["kept_labels"] * p.keep_novel, wanted=wanted, looked_at=LOOKED_AT)
    images.log()
    if not images.learnable:
        raise UserError("the training images have no annotation of a base category: set finetune_detector.steps to 0")
    tensors, settings = job.checkpoint("train_detector")
    settings["detector"] |= {"background_weight": p.background_weight}
    model = OpenVocabularyMaskRCNN(**settings["detector"])
    model.load_state_dict(tensors)
    model.freeze(p.frozen)
    model.to(job.device).train()
    model.set_vocabulary(text_vectors(rows, job.device))

    def objects(annotations: list[dict], labels: list[dict] = ()) -> tuple[list[dict]]:
        return (learnable_annotations(annotations, base) + others(labels),)

    categories = [row["category"] for row in rows]
    batches = detection_batches(job.root, data, categories, objects=objects, **job.batching())
    curve = train_detector(model, batches, **job.schedule(), description="fine-tuning the detector")
    job.save_checkpoint(model.state_dict(), settings)
    job.save_curve(curve)


if __name__ == "__main__":
    STAGE.main(run)
