"""Train XPM's teacher on base annotations (Huynh et al., 2022, 3.2.1): class-agnostic boxes and masks, classes by text.

By its parameters it is also OVR, SB, BA-RPN and OVR + OMP of XPM's tables 1 and 2, by masks or by boxes.
"""

from pipeline.conditions import has_annotations
from pipeline.stage import Input, Stage

STAGE = Stage(
    name="train_teacher",
    reads=(
        "images",
        "annotations",
        "embeddings",
        Input("pretrain_captions", when=lambda config: config["pretrain_captions"]["steps"] > 0),
    ),
    writes=("train_teacher",),
    shares=("teacher_network", "optimizer", "training"),
    records=("text_embedder",),
    detector=has_annotations,
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
    from models.xpm.teacher import Teacher
    from structures.errors import UserError
    from training.detector import train_detector
    from training.tables import LOOKED_AT, LearnableImages, learnable_annotations, text_vectors
    from training.targets import detection_batches

    p, network = job.params, job.shared.teacher_network
    rows = [row for row in job.table("embeddings").to_pylist() if row["group"] == "base"]
    categories = [row["category"] for row in rows]
    base = set(categories)
    images = LearnableImages(base)
    data = job.training_set("annotations", wanted=images.learnable_in, looked_at=LOOKED_AT)
    images.log()
    if not data:
        raise UserError(
            "the training images have no annotation of a base category: a teacher has nothing to learn from"
        )
    if p.supervision == "masks" and images.boxes == images.learnable:
        raise UserError(
            "the training images' annotations of base categories have boxes alone, from which a teacher learns no masks: set "
            "train_teacher.supervision to boxes, or annotate some pictures with outlines"
        )
    torch.manual_seed(job.seed)
    names = ("backbone", "trainable_layers", "positive_fraction", "min_size", "max_size", "similarity", "temperature")
    settings = {name: getattr(network, name) for name in names}
    settings |= {name: getattr(p, name) for name in ("background", "background_weight", "prior")}
    settings["dimension"] = len(rows[0]["vector"])
    weights = read_backbone_weights(job.files.get("teacher_network.weights"), network.trainable_layers)
    model = Teacher(supervision=p.supervision, weights=weights, frozen=weights is not None, **settings)
    if job.has("pretrain_captions"):
        tensors, _ = job.checkpoint("pretrain_captions")
        model.start_from(tensors)
    elif "embedding" in p.frozen:
        raise UserError(
            "train_teacher.frozen: the embedding head is what captions taught it, but pretrain_captions.steps is 0 and it "
            "would stay as it was drawn; take embedding out of train_teacher.frozen, or set pretrain_captions.steps"
        )
    model.freeze(p.frozen)
    model.to(job.device).train()
    model.set_vocabulary(text_vectors(rows, job.device))

    def objects(annotations: list[dict]) -> tuple[list[dict]]:
        return (learnable_annotations(annotations, base),)

    batches = detection_batches(job.root, data, categories, objects=objects, **job.batching())
    curve = train_detector(model, batches, **job.schedule(), description="training the teacher")
    job.save_checkpoint(model.state_dict(), {"detector": settings, "supervision": p.supervision})
    job.save_curve(curve)


if __name__ == "__main__":
    STAGE.main(run)
