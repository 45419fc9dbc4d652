"""Keep the best K proposals of every training image, moved and ranked by the trained WSPN, or as selective search ranks
them."""

from pipeline.stage import Input, Stage

STAGE = Stage(
    name="propose",
    reads=("images", "proposals", Input("train_wspn", when=lambda config: config["propose"]["by"] == "wspn")),
    writes=("wspn_proposals",),
    per="shard",
    gpu=1,
    mem_mb=8000,
    runtime=60,
)


def run(job) -> None:
    import torch

    from models.proposals.wspn import WSPN, propose
    from structures.pictures import float_on, uint8_tensor

    p = job.params
    if p.by == "selective_search":
        _take_first(job)
        return
    tensors, settings = job.checkpoint("train_wspn")
    model = WSPN(**settings["wspn"])
    model.load_state_dict(tensors)
    model.to(job.device, memory_format=torch.channels_last).eval()
    pictures = job.pictures(
        job.by_image("proposals"),
        lambda picture, *_: uint8_tensor(picture),
        description="proposals",
        total=job.count("proposals"),
    )
    with job.writer("wspn_proposals") as writer, torch.inference_mode():
        for image, [row], picture in pictures:
            boxes = torch.tensor(row["boxes"], device=job.device)
            [(_, detection, offsets)] = model([float_on(job.device, picture)], [boxes])
            proposals, scores = propose(
                boxes,
                detection,
                offsets,
                height=image["height"],
                width=image["width"],
                rank=p.wspn.rank,
                nms_iou=p.wspn.nms,
                top_k=p.top_k,
            )
            if len(proposals) == 0:
                job.reject(image["image_id"], "no_proposal", "every box fell outside the image")
                continue
            writer.add(image_id=image["image_id"], boxes=list(proposals.cpu().numpy()), scores=scores.cpu().numpy())


def _take_first(job) -> None:
    """The first K boxes of selective search, as it ranks them."""
    top = job.params.top_k
    with job.writer("wspn_proposals") as writer:
        for row in job.rows("proposals"):
            writer.add(image_id=row["image_id"], boxes=list(row["boxes"][:top]), scores=row["scores"][:top])


if __name__ == "__main__":
    STAGE.main(run)
