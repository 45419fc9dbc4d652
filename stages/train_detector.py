"""Train the open-vocabulary Mask R-CNN on pseudo-labels alone (OVIS, Eq. 8)."""

from store.stage import Stage

STAGE = Stage(
    name="train_detector",
    reads=("images", "pseudo_labels", "embeddings"),
    writes=("train_detector",),
    files=("weights",),
)


def run(job) -> None:
    import numpy as np
    import torch
    from pycocotools import mask as coco_mask
    from torchvision.transforms.functional import to_tensor

    from models.backbones import read_backbone_weights
    from models.detector import OpenVocabularyMaskRCNN
    from sources.coco import read_split
    from sources.images import read_image
    from sources.loading import Rows, StepLoader
    from store.errors import UserError
    from store.training import make_optimizer, train, warmup_steps

    p = job.params
    torch.set_num_threads(job.threads)
    embeddings = job.table("embeddings").to_pydict()
    number = {name: i for i, name in enumerate(embeddings["category"], start=1)}
    text = torch.tensor(np.array(embeddings["vector"], np.float32)).to(job.device)
    [labels_file] = job.paths("pseudo_labels")
    labels = read_split(labels_file.parent, ".", labels_file.name)
    objects: dict[str, list[dict]] = {}
    for annotation in labels.annotations:
        objects.setdefault(annotation["image_id"], []).append(annotation)
    if not objects:
        raise UserError("there is no pseudo-label to learn from; look at the rejects of the stages before")
    data = [(labels.images[image_id][0], objects[image_id]) for image_id in sorted(objects)]

    def load(row):
        path, annotations = row
        picture = to_tensor(read_image(job.root, path))
        masks = torch.from_numpy(np.stack([coco_mask.decode(a["segmentation"]) for a in annotations]))
        boxes = torch.tensor([a["bbox"] for a in annotations], dtype=torch.float32)
        boxes[:, 2:] += boxes[:, :2]
        return picture, {
            "boxes": boxes,
            "labels": torch.tensor([number[a["category"]] for a in annotations]),
            "masks": masks,
        }

    def mirrored(picture, target):
        boxes = target["boxes"].clone()
        boxes[:, [0, 2]] = picture.shape[-1] - boxes[:, [2, 0]]
        return picture.flip(-1), target | {"boxes": boxes, "masks": target["masks"].flip(-1)}

    torch.manual_seed(job.seed)
    sizes = {"backbone": p.backbone, "dimension": text.shape[1], "min_size": p.min_size, "max_size": p.max_size}
    sizes |= {"background_weight": p.background_weight, "temperature": p.temperature}
    weights = read_backbone_weights(job.files["weights"]) if "weights" in job.files else None
    model = OpenVocabularyMaskRCNN(weights=weights, frozen=weights is not None, **sizes)
    model.to(job.device).train()
    loader = StepLoader(Rows(data, load), batch=p.batch, seed=job.seed)

    def take_step(step: int) -> dict:
        torch.manual_seed(job.seed * 1_000_003 + step)  # the samplers of torchvision draw from the global generator
        batch = [mirrored(*item) if torch.rand(()) < 0.5 else item for item in loader(step)]
        images = [picture.to(job.device) for picture, _ in batch]
        targets = [{name: value.to(job.device) for name, value in target.items()} for _, target in batch]
        losses = model.losses(images, targets, text)
        return {"loss": sum(losses.values()), **{name: value.detach() for name, value in losses.items()}}

    curve = train(
        model,
        make_optimizer(p.optimizer, model, lr=p.lr, weight_decay=p.weight_decay),
        take_step,
        steps=p.steps,
        factor=lambda step: warmup_steps(step, warmup=p.warmup, drops=tuple(p.drops)),
        scratch=job.scratch,
        description="training the detector",
        clip=10.0,
    )
    job.save_checkpoint(model.state_dict(), {"detector": sizes})
    job.save_curve(curve)


if __name__ == "__main__":
    STAGE.main(run)
