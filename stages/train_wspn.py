"""Train the proposal network on image labels alone: the base nouns of the captions (OVIS, Eq. 5)."""

from pipeline.stage import Stage

STAGE = Stage(
    name="train_wspn",
    reads=("images", "nouns", "proposals", "categories"),
    writes=("train_wspn",),
    shares=("optimizer", "training.workers", "training.save_every"),
    random=True,
    gpu=1,
    threads=8,
    mem_mb=24000,
    runtime=1440,
)


def run(job) -> None:
    import torch

    from models.backbones import read_backbone_weights
    from models.proposals.wspn import WSPN, wspn_loss
    from sources.images import read_image
    from sources.vocabulary import read_vocabulary
    from structures.errors import UserError
    from structures.pictures import float_on, uint8_tensor
    from training.loader import Rows, StepLoader
    from training.loop import make_optimizer, step_generator, train, warmup_cosine

    p = job.params
    base = read_vocabulary(job.paths("categories")[0]).base
    known = set(base)
    data = job.training_set(
        "proposals",
        "nouns",
        wanted=lambda proposals, nouns: bool(proposals) and not known.isdisjoint(row["category"] for row in nouns),
        columns={"proposals": ["boxes"], "nouns": ["category"]},
        looked_at={"proposals": ["image_id"], "nouns": ["image_id", "category"]},
    )
    if not data:
        raise UserError(
            "no training picture with a proposal is said to hold a base category, so there is nothing to learn from: give "
            "the vocabulary base names that captions use, or set propose.by to selective_search"
        )

    def load(row):
        [image], [proposals], nouns = row
        named = {row["category"] for row in nouns}
        picture = uint8_tensor(read_image(job.root, image["path"], image["sha256"]))
        labels = torch.tensor([float(category in named) for category in base])
        return picture, torch.tensor(proposals["boxes"]), labels

    torch.manual_seed(job.seed)
    weights = read_backbone_weights(job.files.get("weights"))
    sizes = {"backbone": p.backbone, "categories": len(base), "hidden": p.hidden, "min_size": p.min_size}
    model = WSPN(weights=weights, frozen=weights is not None, **sizes)
    model.to(job.device, memory_format=torch.channels_last).train()
    loader = StepLoader(Rows(data, load), batch=p.batch, seed=job.seed, workers=job.shared.training.workers)

    def take_step(step: int) -> dict:
        generator = step_generator(job.seed, step)
        images, boxes, labels = zip(*loader(step))
        sampled = [b[torch.randperm(len(b), generator=generator)[: p.boxes]].to(job.device) for b in boxes]
        outputs = model([float_on(job.device, image) for image in images], sampled)
        labels = torch.stack(labels).to(job.device)
        classification, regression = wspn_loss(
            outputs, sampled, labels, targets=p.targets, overlap=p.overlap, regression_weight=p.regression_weight
        )
        parts = {"classification": classification.detach(), "regression": regression.detach()}
        return {"loss": classification + regression, **parts}

    optimizer = job.shared.optimizer
    curve = train(
        model,
        make_optimizer(optimizer.method, model, lr=p.lr, weight_decay=optimizer.weight_decay),
        take_step,
        steps=p.steps,
        lr_factor=lambda step: warmup_cosine(step, steps=p.steps, warmup=min(500, p.steps // 20 + 1)),
        scratch=job.scratch,
        description="training WSPN",
        save_every=job.shared.training.save_every,
        clip=10.0,
    )
    job.save_checkpoint(model.state_dict(), {"wspn": sizes, "categories": base})
    job.save_curve(curve)


if __name__ == "__main__":
    STAGE.main(run)
