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
    from structures.rows import group_by_image
    from training.detector import train_detector
    from training.tables import learnable_annotations, text_vectors
    from training.targets import detection_batches

    p = job.params
    rows = [row for row in job.table("embeddings").to_pylist() if row["group"] == "base" or p.keep_novel]
    base = {row["category"] for row in rows if row["group"] == "base"}
    paths = job.picture_files("train")
    annotations = list(learnable_annotations(job.rows("annotations"), paths, base))
    if not annotations:
        raise UserError("the training images have no annotation of a base category: set finetune_detector.steps to 0")
    if p.keep_novel:
        annotations += [row for row in job.rows("kept_labels") if row["category"] not in base]
    of_image = group_by_image(annotations)
    tensors, settings = job.checkpoint("train_detector")
    settings["detector"] |= {"background_weight": p.background_weight}
    model = OpenVocabularyMaskRCNN(**settings["detector"])
    model.load_state_dict(tensors)
    model.freeze(p.frozen)
    model.to(job.device).train()
    model.set_vocabulary(text_vectors(rows, job.device))
    data = [(paths[image_id], of_image[image_id]) for image_id in sorted(of_image)]
    batches = detection_batches(job.root, data, [row["category"] for row in rows], **job.batching())
    curve = train_detector(model, batches, **job.schedule(), description="fine-tuning the detector")
    job.save_checkpoint(model.state_dict(), settings)
    job.save_curve(curve)


if __name__ == "__main__":
    STAGE.main(run)
