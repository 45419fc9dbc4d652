"""Train XPM's teacher on base annotations (Huynh et al., 2022, 3.2.1): class-agnostic boxes and masks, classes by text.

By its parameters it is also OVR, SB, BA-RPN and OVR + OMP of XPM's tables 1 and 2.
"""

import logging

from pipeline.stage import Stage

log = logging.getLogger("cap2mask")

STAGE = Stage(
    name="train_teacher",
    reads=("images", "annotations", "embeddings", "pretrain_captions"),
    writes=("train_teacher",),
    team=True,
    files=("weights",),
    random=True,
)


def run(job) -> None:
    import torch

    from models.backbones import read_backbone_weights
    from models.detector.mask_rcnn import OpenVocabularyMaskRCNN
    from structures.errors import UserError
    from training.detector import drawn_objects, text_of, train_detector, training_paths
    from training.targets import by_image, object_batches

    p = job.params
    torch.set_num_threads(job.threads)
    rows = [row for row in job.table("embeddings").to_pylist() if row["split"] == "base"]
    names, paths = [row["category"] for row in rows], training_paths(job)
    objects = by_image(drawn_objects(job, paths, set(names)))
    if not objects:
        raise UserError(
            "the training images have no annotation of a base category: a teacher has nothing to learn from"
        )
    log.info("%d images hold an object of a base category", len(objects))
    torch.manual_seed(job.seed)
    of_network = ("backbone", "min_size", "max_size", "similarity", "temperature")
    settings = {name: getattr(p, name) for name in (*of_network, "background", "background_weight", "prior")}
    settings["dimension"] = len(rows[0]["vector"])
    taught = None
    if job.has("pretrain_captions"):
        taught, its = job.checkpoint("pretrain_captions")
        settings |= {name: its["detector"][name] for name in of_network}
    weights = read_backbone_weights(job.files.get("weights"))
    model = OpenVocabularyMaskRCNN(weights=weights, frozen=weights is not None, **settings)
    if taught:
        model.start_from(taught)
    model.to(job.device).train()
    data = [(paths[image_id], objects[image_id]) for image_id in sorted(objects)]
    batches = object_batches(job.root, data, names, **job.sharing())
    curve = train_detector(job, model, text_of(job, rows), batches, description="training the teacher")
    job.save_checkpoint(model.state_dict(), {"detector": settings})
    job.save_curve(curve)


if __name__ == "__main__":
    STAGE.main(run)
