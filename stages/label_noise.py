"""How noisy the trained student takes each pseudo-mask to be, pixel by pixel, and its reliability (XPM, Eq. 7)."""

from pipeline.stage import Stage

STAGE = Stage(
    name="label_noise",
    reads=("images", "student_labels", "embeddings", "train_student"),
    writes=("label_noise",),
    gpu=1,
    mem_mb=16000,
    runtime=240,
)


def run(job) -> None:
    import torch

    from models.xpm.equations import average_noise, reliability
    from models.xpm.student import RobustStudent
    from structures.batches import batches
    from structures.pictures import float_on
    from training.tables import text_vectors
    from training.targets import detection_target, label_numbers

    tensors, settings = job.checkpoint("train_student")
    vectors = {row["category"]: row for row in job.table("embeddings").to_pylist()}
    numbers = label_numbers(settings["names"])
    text = text_vectors([vectors[name] for name in settings["names"]], job.device)
    model = RobustStudent(**settings["student"], **settings["detector"])
    model.load_state_dict(tensors)
    model.to(job.device, memory_format=torch.channels_last).eval()
    pictures = job.pictures(
        _known(
            job,
            job.by_image(
                "student_labels",
                columns={
                    "student_labels": ["image_id", "category", "instance", "source", "box", "weight", "segmentation"],
                },
            ),
            numbers,
        ),
        lambda picture, image, labels: detection_target(picture, [], numbers, labels),
        description="noise of the labels",
        total=job.count_images("student_labels"),
    )
    with job.writer("label_noise") as writer, torch.inference_mode():
        for batch in batches(pictures, job.params.batch):
            images = [float_on(job.device, picture) for *_, (picture, _) in batch]
            targets = [{key: value.to(job.device) for key, value in target.items()} for *_, (_, target) in batch]
            transformed, targets = model.transform(images, targets)
            regions = model.look(model.backbone(transformed.tensors), transformed.image_sizes, targets, text)
            noise, alpha = average_noise(regions["variance"]), reliability(regions["variance"], model.eta)
            side = regions["variance"].shape[-1]
            variances = regions["variance"].flatten(1).half().cpu().numpy()
            labels = (row for _, rows, _ in batch for row in rows)
            for row, label_noise, label_alpha, variance in zip(labels, noise.tolist(), alpha.tolist(), variances):
                key = {name: row[name] for name in ("image_id", "category", "instance", "source")}
                writer.add(**key, noise=label_noise, alpha=label_alpha, variance=variance, side=side)


def _known(job, labels_of_images, numbers: dict[str, int]):
    """(image, its labels) without those of a name that only labels of no weight have, so that the student never met it:
    ordinary rejects."""
    for image, labels in labels_of_images:
        known = [row for row in labels if row["category"] in numbers]
        for row in labels:
            if row["category"] not in numbers:
                detail = f"no label of {row['category']!r} has weight, so that the student learned nothing of the name"
                key = (row["category"], row["instance"], row["source"])
                job.reject(image["image_id"], "name_not_learned", detail, *key, counted=False)
        if known:
            yield image, known


if __name__ == "__main__":
    STAGE.main(run)
