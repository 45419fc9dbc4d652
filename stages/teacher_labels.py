"""Label each noun of a caption with the region that the teacher finds most like it, and its mask (XPM, Eqs. 2, 4)."""

from pipeline.stage import Stage

STAGE = Stage(
    name="teacher_labels",
    reads=("images", "nouns", "embeddings", "train_teacher"),
    writes=("teacher_masks",),
    per="shard",
)


def run(job) -> None:
    import torch
    from torchvision.transforms.functional import to_tensor

    from models.detector.mask_rcnn import load_detector
    from models.xpm.teacher import label_words
    from pipeline.prefetch import ahead
    from sources.images import ImageError, picture_or_fault
    from store.join import named_images
    from structures.batches import batches
    from structures.masks import encode
    from structures.progress import progress
    from training.detector import text_of

    p = job.params
    torch.set_num_threads(job.threads)
    rows = job.table("embeddings").to_pylist()
    number, text = {row["category"]: i for i, row in enumerate(rows)}, text_of(job, rows)
    model = load_detector(*job.checkpoint("train_teacher")).to(job.device, memory_format=torch.channels_last)

    def read(image: tuple) -> tuple:
        image_id, path, nouns = image
        return image_id, sorted({row["category"] for row in nouns}), picture_or_fault(job.root, path, to_tensor)

    pictures = ahead(read, named_images(job), threads=job.threads)
    with job.writer("teacher_masks") as writer:
        for batch in batches(progress(pictures, description="teacher's labels", unit="image"), p.batch):
            usable = []
            for image_id, words, picture in batch:
                if isinstance(picture, ImageError):
                    job.reject(image_id, picture.reason, str(picture))
                    continue
                for word in [word for word in words if word not in number]:
                    words.remove(word)
                    job.reject(image_id, "no_embedding", f"{word} has no vector: add it to embed_text.names", word)
                if words:
                    usable.append((image_id, words, picture.to(job.device)))
            asked = [torch.tensor([number[word] for word in words]) for _, words, _ in usable]
            for (image_id, words, _), found in zip(usable, label_words(model, [u[2] for u in usable], asked, text)):
                if found is None:
                    job.reject(image_id, "no_region", "the teacher proposes no region in this picture")
                    continue
                for i, word in enumerate(words):
                    mask = found["masks"][i].cpu().numpy()
                    if not mask.any():
                        job.reject(image_id, "empty_mask", "no pixel of the region is object", word, counted=False)
                        continue
                    numbers = {name: float(found[name][i]) for name in ("score", "similarity")}
                    writer.add(
                        image_id=image_id,
                        category=word,
                        instance=0,
                        box=found["boxes"][i].tolist(),
                        rank=int(found["rank"][i]),
                        segmentation=encode(mask),
                        area=float(mask.sum()),
                        **numbers,
                    )


if __name__ == "__main__":
    STAGE.main(run)
