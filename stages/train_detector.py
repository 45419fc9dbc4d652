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
    from training.detector import train_detector
    from training.tables import LOOKED_AT, text_vectors
    from training.targets import detection_batches

    p = job.params
    rows = job.table("embeddings").to_pylist()
    text = text_vectors(rows, job.device)
    data = job.training_set("kept_labels", wanted=bool, looked_at=LOOKED_AT)
    if not data:
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
    objects = {"objects": _weighted(job)} if p.label_weight == "confidence" else {}
    categories = [row["category"] for row in rows]
    batches = detection_batches(job.root, data, categories, **objects, **job.batching())
    curve = train_detector(model, batches, **job.schedule(), description="training the detector")
    job.save_checkpoint(model.state_dict(), {"detector": settings})
    job.save_curve(curve)


def _weighted(job):
    """A function of a picture's labels: a tuple of them, each with its loss's weight: its confidence over the mean of all."""
    total = sum(row["confidence"] for row in job.rows("kept_labels", ["image_id", "confidence"]))
    mean = total / max(1, job.count("kept_labels"))
    return lambda labels: ([row | {"loss_weight": row["confidence"] / mean} for row in labels],)


if __name__ == "__main__":
    STAGE.main(run)
