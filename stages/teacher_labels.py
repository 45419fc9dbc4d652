"""Label each noun of a caption with the region that the teacher finds most like it, and its mask (XPM, Eqs. 2, 4)."""

from pipeline.stage import Stage

STAGE = Stage(
    name="teacher_labels",
    reads=("images", "nouns", "embeddings", "train_teacher"),
    writes=("teacher_masks",),
    per="shard",
    gpu=1,
    mem_mb=16000,
    runtime=120,
)


def run(job) -> None:
    import torch

    from models.detector.mask_rcnn import load_detector
    from models.xpm.teacher import label_words
    from structures.batches import batches
    from structures.masks import encode
    from structures.pictures import float_on, uint8_tensor
    from training.tables import text_vectors

    rows = job.table("embeddings").to_pylist()
    number, text = {row["category"]: i for i, row in enumerate(rows)}, text_vectors(rows, job.device)
    tensors, settings = job.checkpoint("train_teacher")
    model = load_detector(tensors, settings).to(job.device, memory_format=torch.channels_last)
    has_masks = settings["supervision"] == "masks"

    def known_words(image_id: str, nouns: list[dict]) -> list[str]:
        words = sorted({row["category"] for row in nouns})
        for word in words:
            if word not in number:
                job.reject(image_id, "no_embedding", f"{word} has no vector: add it to embed_text.names", word)
        return [word for word in words if word in number]

    pictures = job.pictures(
        job.by_image("nouns"),
        lambda picture, *_: uint8_tensor(picture),
        description="teacher's labels",
        total=job.count_images("nouns"),
    )
    labelled = (
        (image["image_id"], known_words(image["image_id"], nouns), picture) for image, nouns, picture in pictures
    )
    usable = (item for item in labelled if item[1])
    with job.writer("teacher_masks") as writer:
        for batch in batches(usable, job.params.batch):
            asked = [torch.tensor([number[word] for word in words]) for _, words, _ in batch]
            images = [float_on(job.device, picture) for *_, picture in batch]
            for (image_id, words, _), regions in zip(batch, label_words(model, images, asked, text)):
                if regions is None:
                    job.reject(image_id, "no_region", "the teacher proposes no region in this picture")
                    continue
                for i, word in enumerate(words):
                    box = regions["boxes"][i].tolist()
                    # a teacher of boxes can't outline: its label is all of the box
                    mask = regions["masks"][i].cpu().numpy() if has_masks else _filled(box, regions["masks"][i])
                    if not mask.any():
                        job.reject(image_id, "empty_mask", "no pixel of the region is object", word, counted=False)
                        continue
                    writer.add(
                        image_id=image_id,
                        category=word,
                        instance=0,
                        box=box,
                        score=float(regions["score"][i]),
                        similarity=float(regions["similarity"][i]),
                        rank=int(regions["rank"][i]),
                        segmentation=encode(mask),
                        area=float(mask.sum()),
                    )


def _filled(box: list[float], mask):
    """The whole of a box [xyxy, pixels] as a mask of the size of another."""
    import numpy as np

    x0, y0, x1, y1 = box
    full = np.zeros(tuple(mask.shape), bool)
    full[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))] = True
    return full


if __name__ == "__main__":
    STAGE.main(run)
