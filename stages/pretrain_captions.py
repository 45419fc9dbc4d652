"""Teach the teacher's network by captions alone: backbone, pyramid, box head and embedding head (OVR; XPM, 4.1)."""

from pipeline.stage import Stage

STAGE = Stage(
    name="pretrain_captions",
    reads=("images", "nouns", "embeddings"),
    writes=("pretrain_captions",),
    shares=("teacher_network", "optimizer", "training"),
    processes=True,
    random=True,
    gpu=1,
    threads=16,
    mem_mb=16000,
    runtime=2880,
)


def run(job) -> None:
    import torch

    from models.backbones import read_backbone_weights
    from models.xpm.caption_grounding import CaptionGroundedMaskRCNN
    from sources.images import read_image
    from structures.errors import UserError
    from structures.pictures import uint8_tensor
    from training.detector import train_detector
    from training.loader import Rows, StepLoader
    from training.tables import text_vectors

    network = job.shared.teacher_network
    rows = job.table("embeddings").to_pylist()
    number = {row["category"]: i for i, row in enumerate(rows)}
    paths = job.image_paths("train")
    data = []
    for image, nouns in job.by_image("nouns", columns={"nouns": ["image_id", "category"]}):
        words = sorted({number[row["category"]] for row in nouns if row["category"] in number})
        if image["image_id"] in paths and words:
            data.append((image["path"], words))
    if not data:
        raise UserError("no caption names anything: there is nothing to learn from; set pretrain_captions.steps to 0")
    torch.manual_seed(job.seed)
    names = ("backbone", "trainable_layers", "min_size", "max_size", "similarity", "temperature")
    settings = {name: getattr(network, name) for name in names}
    settings |= {"dimension": len(rows[0]["vector"]), "background": "zero"}
    weights = read_backbone_weights(job.files.get("teacher_network.weights"), network.trainable_layers)
    model = CaptionGroundedMaskRCNN(weights=weights, frozen=weights is not None, **settings)
    model.to(job.device).train()
    model.set_vocabulary(text_vectors(rows, job.device))

    def load(row: tuple) -> tuple:
        path, words = row
        return uint8_tensor(read_image(job.root, path)), {"words": torch.tensor(words)}

    loader = StepLoader(Rows(data, load), **job.batching())
    curve = train_detector(model, loader, **job.schedule(), description="learning from captions")
    job.save_checkpoint(model.state_dict(), {"detector": settings})
    job.save_curve(curve)


if __name__ == "__main__":
    STAGE.main(run)
