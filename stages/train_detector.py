"""Train the open-vocabulary Mask R-CNN on pseudo-labels alone (OVIS, Eq. 8)."""

from pipeline.stage import Stage

STAGE = Stage(
    name="train_detector",
    reads=("images", "pseudo_labels", "embeddings"),
    writes=("train_detector",),
    team=True,
    files=("weights",),
    random=True,
)


def run(job) -> None:
    import torch

    from models.backbones import read_backbone_weights
    from models.detector.mask_rcnn import OpenVocabularyMaskRCNN
    from sources.coco import read_split
    from structures.errors import UserError
    from training.detector import text_of, train_detector
    from training.targets import by_image, object_batches

    p = job.params
    torch.set_num_threads(job.threads)
    rows = job.table("embeddings").to_pylist()
    text = text_of(job, rows)
    [labels_file] = job.paths("pseudo_labels")
    labels = read_split(labels_file.parent, ".", labels_file.name)
    objects = by_image(labels.annotations)
    if not objects:
        raise UserError("there is no pseudo-label to learn from; look at the rejects of the stages before")
    torch.manual_seed(job.seed)
    sizes = {"backbone": p.backbone, "dimension": text.shape[1], "min_size": p.min_size, "max_size": p.max_size}
    sizes |= {"background_weight": p.background_weight, "temperature": p.temperature}
    weights = read_backbone_weights(job.files.get("weights"))
    model = OpenVocabularyMaskRCNN(weights=weights, frozen=weights is not None, **sizes)
    model.to(job.device).train()
    data = [(labels.images[image_id][0], objects[image_id]) for image_id in sorted(objects)]
    batches = object_batches(job.root, data, [row["category"] for row in rows], **job.sharing())
    curve = train_detector(job, model, text, batches, description="training the detector")
    job.save_checkpoint(model.state_dict(), {"detector": sizes})
    job.save_curve(curve)


if __name__ == "__main__":
    STAGE.main(run)
