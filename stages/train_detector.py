"""Train the open-vocabulary Mask R-CNN on pseudo-labels alone (OVIS, Eq. 8)."""

from pipeline.stage import Input, Stage

STAGE = Stage(
    name="train_detector",
    reads=(
        "images",
        "kept_labels",
        "embeddings",
        Input("background_embedding", when=lambda config: config["train_detector"]["background"] == "text"),
    ),
    writes=("train_detector",),
    shares=("optimizer", "training"),
    records=("text_embedder",),
    detector=True,
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
    from models.detector.mask_rcnn import OpenVocabularyMaskRCNN
    from structures.errors import UserError
    from structures.rows import group_by_image
    from training.detector import train_detector
    from training.tables import text_vectors
    from training.targets import detection_batches

    p = job.params
    rows = job.table("embeddings").to_pylist()
    text = text_vectors(rows, job.device)
    labels = list(job.rows("kept_labels"))
    if p.label_weight == "confidence":
        mean = sum(row["confidence"] for row in labels) / max(1, len(labels))
        labels = [row | {"loss_weight": row["confidence"] / mean} for row in labels]
    annotations = group_by_image(labels)
    if not annotations:
        raise UserError("there is no pseudo-label to learn from; look at the rejects of the stages before")
    torch.manual_seed(job.seed)
    names = ("backbone", "trainable_layers", "positive_fraction", "min_size", "max_size", "similarity", "temperature")
    names = (*names, "background", "background_weight")
    settings = {name: getattr(p, name) for name in names} | {"dimension": text.shape[1]}
    weights = read_backbone_weights(job.files.get("weights"), p.trainable_layers)
    model = OpenVocabularyMaskRCNN(weights=weights, frozen=weights is not None, **settings)
    if job.has("background_embedding"):
        [background] = text_vectors(job.table("background_embedding").to_pylist(), "cpu")
        model.set_background(background)
    model.to(job.device).train()
    model.set_vocabulary(text)
    files = job.picture_files("train")
    data = [(files[image_id], annotations[image_id]) for image_id in sorted(annotations)]
    batches = detection_batches(job.root, data, [row["category"] for row in rows], **job.batching())
    curve = train_detector(model, batches, **job.schedule(), description="training the detector")
    job.save_checkpoint(model.state_dict(), {"detector": settings})
    job.save_curve(curve)


if __name__ == "__main__":
    STAGE.main(run)
