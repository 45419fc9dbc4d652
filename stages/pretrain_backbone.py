"""Train the small backbone as a classifier of single drawn objects: the embedded run's stand-in for ImageNet weights.

The objects are never those of a split or of the small ALBEF's scenes. Its weights are shipped in data/weights; this
stage makes them again.
"""

from pipeline.stage import Stage

STAGE = Stage(name="pretrain_backbone", writes=("pretrain_backbone",), random=True, gpu=1)


def draw(task: tuple[int, int, int]) -> tuple:
    """One drawn object, size x size x 3 uint8, and its category."""
    import cv2

    from sources.toy.scenes import draw_object, scene_rng

    seed, index, size = task
    cv2.setNumThreads(1)
    return draw_object(scene_rng(seed, "objects", index), size)


def run(job) -> None:
    from concurrent.futures import ProcessPoolExecutor

    import numpy as np
    import torch
    import torch.nn.functional as F

    from models.backbones import SmallClassifier
    from models.pixels import COLOUR_MEAN, COLOUR_STD, normalise_colours
    from sources.toy.drawings import CATEGORIES
    from structures.progress import progress
    from training.loop import step_generator, train, warmup_cosine

    p = job.params
    with ProcessPoolExecutor(job.threads) as pool:
        tasks = ((job.seed, index, p.size) for index in range(p.objects))
        pictures_and_categories = pool.map(draw, tasks, chunksize=64)
        objects = list(progress(pictures_and_categories, description="drawing objects", unit="object", total=p.objects))
    pictures = torch.from_numpy(np.stack([picture for picture, _ in objects])).permute(0, 3, 1, 2)
    number = {name: i for i, name in enumerate(CATEGORIES)}
    targets = torch.tensor([number[category] for _, category in objects])
    torch.manual_seed(job.seed)
    model = SmallClassifier(len(number)).to(job.device)

    def take_step(step: int) -> dict:
        generator = step_generator(job.seed, step)
        chosen = torch.randint(len(objects), (p.batch,), generator=generator)
        images = pictures[chosen]
        if torch.rand((), generator=generator) < 0.5:
            images = images.flip(-1)
        logits = model(normalise_colours(images.to(job.device), COLOUR_MEAN, COLOUR_STD))
        labels = targets[chosen].to(job.device)
        loss = F.cross_entropy(logits, labels, label_smoothing=0.1)
        return {"loss": loss, "accuracy": (logits.argmax(1) == labels).float().mean()}

    curve = train(
        model,
        torch.optim.AdamW(model.parameters(), lr=p.lr, weight_decay=p.weight_decay),
        take_step,
        steps=p.steps,
        lr_factor=lambda step: warmup_cosine(step, steps=p.steps, warmup=100),
        scratch=job.scratch,
        description="pretraining the backbone",
    )
    tensors = {name: tensor for name, tensor in model.backbone.state_dict().items() if "num_batches" not in name}
    job.save_checkpoint({name: tensor.half() for name, tensor in tensors.items()}, {"backbone": "small"})
    job.save_curve(curve)


if __name__ == "__main__":
    STAGE.main(run)
