"""Train the proposal network on image labels alone: the base nouns of the captions (OVIS, Eq. 5)."""

from pipeline.stage import Stage

STAGE = Stage(
    name="train_wspn",
    reads=("images", "nouns", "proposals", "categories"),
    writes=("train_wspn",),
    files=("weights",),
    random=True,
)


def run(job) -> None:
    import torch
    from torchvision.transforms.functional import to_tensor

    from models.backbones import read_backbone_weights
    from models.proposals.wspn import WSPN, wspn_loss
    from sources.images import read_image
    from sources.vocabulary import read_vocabulary
    from training.loader import Rows, StepLoader
    from training.loop import make_optimizer, step_generator, train, warmup_cosine

    p = job.params
    torch.set_num_threads(job.threads)
    base = read_vocabulary(job.paths("categories")[0]).base
    named: dict[str, set[str]] = {}
    for row in job.rows("nouns", ["image_id", "category"]):
        named.setdefault(row["image_id"], set()).add(row["category"])
    paths = {row["image_id"]: row["path"] for row in job.rows("images", ["image_id", "path"])}
    data = [
        (
            paths[row["image_id"]],
            torch.tensor(row["boxes"]),
            torch.tensor([float(c in named[row["image_id"]]) for c in base]),
        )
        for row in job.rows("proposals", ["image_id", "boxes"])
        if named.get(row["image_id"], set()) & set(base)
    ]

    def load(row):
        path, boxes, labels = row
        return to_tensor(read_image(job.root, path)), boxes, labels

    torch.manual_seed(job.seed)
    weights = read_backbone_weights(job.files.get("weights"))
    sizes = {"backbone": p.backbone, "classes": len(base), "hidden": p.hidden, "min_size": p.min_size}
    model = WSPN(weights=weights, frozen=weights is not None, **sizes)
    model.to(job.device, memory_format=torch.channels_last).train()
    loader = StepLoader(Rows(data, load), batch=p.batch, seed=job.seed, workers=p.workers)

    def take_step(step: int) -> dict:
        generator = step_generator(job.seed, step)
        images, boxes, labels = zip(*loader(step))
        drawn = [b[torch.randperm(len(b), generator=generator)[: p.boxes]].to(job.device) for b in boxes]
        outputs = model([image.to(job.device) for image in images], drawn)
        labels = torch.stack(labels).to(job.device)
        first, second = wspn_loss(
            outputs, drawn, labels, targets=p.targets, overlap=p.overlap, regression_weight=p.regression_weight
        )
        return {"loss": first + second, "classification": first.detach(), "regression": second.detach()}

    curve = train(
        model,
        make_optimizer(p.optimizer, model, lr=p.lr, weight_decay=p.weight_decay),
        take_step,
        steps=p.steps,
        factor=lambda step: warmup_cosine(step, steps=p.steps, warmup=min(500, p.steps // 20 + 1)),
        scratch=job.scratch,
        description="training WSPN",
        save_every=p.save_every,
        clip=10.0,
    )
    job.save_checkpoint(model.state_dict(), {"wspn": sizes, "classes": base})
    job.save_curve(curve)


if __name__ == "__main__":
    STAGE.main(run)
