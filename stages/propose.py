"""Keep the best K proposals of every training image, moved and ranked by the trained WSPN, or as selective search ranks
them."""

from pipeline.stage import Stage

STAGE = Stage(name="propose", reads=("images", "proposals", "train_wspn"), writes=("wspn_proposals",), per="shard")


def run(job) -> None:
    import torch
    from torchvision.transforms.functional import to_tensor

    from models.proposals.wspn import WSPN, propose
    from pipeline.prefetch import ahead
    from sources.images import ImageError, picture_or_fault
    from store.join import by_image
    from structures.progress import progress

    if job.params.by == "selective_search":
        _take_first(job)
        return
    torch.set_num_threads(job.threads)
    tensors, settings = job.checkpoint("train_wspn")
    model = WSPN(**settings["wspn"])
    model.load_state_dict(tensors)
    model.to(job.device, memory_format=torch.channels_last).eval()

    def read(image: tuple) -> tuple:
        about, row = image
        return about, row, picture_or_fault(job.root, about["path"], to_tensor)

    def images():
        columns = ["image_id", "path", "height", "width"]
        for _, ([row], [about]) in by_image(job.rows("proposals"), job.rows("images", columns)):
            yield about, row

    shown = progress(
        ahead(read, images(), threads=job.threads), description="proposals", unit="image", total=job.count("proposals")
    )
    with job.writer("wspn_proposals") as writer, torch.inference_mode():
        for about, row, picture in shown:
            if isinstance(picture, ImageError):
                job.reject(row["image_id"], picture.reason, str(picture))
                continue
            boxes = torch.tensor(row["boxes"], device=job.device)
            [(_, detection, offsets)] = model([picture.to(job.device)], [boxes])
            kept, scores = propose(
                boxes,
                detection,
                offsets,
                height=about["height"],
                width=about["width"],
                nms_iou=job.params.nms,
                top_k=job.params.top_k,
            )
            if len(kept) == 0:
                job.reject(row["image_id"], "no_proposal", "every box fell outside the image")
                continue
            writer.add(image_id=row["image_id"], boxes=list(kept.cpu().numpy()), scores=scores.cpu().numpy())


def _take_first(job) -> None:
    """The first K boxes of selective search, as it ranks them."""
    with job.writer("wspn_proposals") as writer:
        for row in job.rows("proposals"):
            kept = row["boxes"][: job.params.top_k]
            writer.add(image_id=row["image_id"], boxes=list(kept), scores=row["scores"][: job.params.top_k])


if __name__ == "__main__":
    STAGE.main(run)
