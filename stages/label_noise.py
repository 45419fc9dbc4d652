"""How noisy the trained student takes each pseudo-mask to be, pixel by pixel, and the label's reliability (XPM, Eq. 7)."""

from pipeline.stage import Stage

STAGE = Stage(
    name="label_noise", reads=("images", "student_labels", "embeddings", "train_student"), writes=("label_noise",)
)


def run(job) -> None:
    import torch

    from models.xpm.equations import average_noise, reliability
    from models.xpm.student import RobustStudent
    from pipeline.prefetch import ahead
    from sources.images import ImageError
    from store.join import by_image
    from structures.batches import batches
    from structures.progress import progress
    from training.detector import text_of
    from training.targets import student_item

    p = job.params
    torch.set_num_threads(job.threads)
    tensors, settings = job.checkpoint("train_student")
    vectors = {row["category"]: row for row in job.table("embeddings").to_pylist()}
    number = {name: i for i, name in enumerate(settings["names"], start=1)}
    text = text_of(job, [vectors[name] for name in settings["names"]])
    model = RobustStudent(**settings["student"], **settings["detector"])
    model.load_state_dict(tensors)
    model.to(job.device, memory_format=torch.channels_last).eval()

    def read(image: tuple) -> tuple:
        image_id, (rows, [about]) = image
        try:
            return image_id, rows, student_item(job.root, about["path"], [], rows, number)
        except ImageError as error:
            return image_id, rows, error

    columns = ["image_id", "category", "instance", "source", "box", "trust", "segmentation"]
    images = by_image(job.rows("student_labels", columns), job.rows("images", ["image_id", "path"]))
    found = ahead(read, images, threads=job.threads)
    with job.writer("label_noise") as writer, torch.inference_mode():
        for batch in batches(progress(found, description="noise of the labels", unit="image"), p.batch):
            whole = []
            for image_id, rows, item in batch:
                if isinstance(item, ImageError):
                    job.reject(image_id, item.reason, str(item))
                else:
                    whole.append((rows, *item))
            if not whole:
                continue
            pictures = [picture.to(job.device) for _, picture, _ in whole]
            targets = [{key: value.to(job.device) for key, value in target.items()} for *_, target in whole]
            transformed, targets = model.transform(pictures, targets)
            seen = model.look(model.backbone(transformed.tensors), transformed.image_sizes, targets, text)
            noise, alpha = average_noise(seen["variance"]), reliability(seen["variance"], model.eta)
            side = seen["variance"].shape[-1]
            flat = seen["variance"].flatten(1).half().cpu().numpy()
            labels = (row for rows, *_ in whole for row in rows)
            for row, n, a, variance in zip(labels, noise.tolist(), alpha.tolist(), flat):
                key = {name: row[name] for name in ("image_id", "category", "instance", "source")}
                writer.add(**key, noise=n, alpha=a, variance=variance, side=side)


if __name__ == "__main__":
    STAGE.main(run)
