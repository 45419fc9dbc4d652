"""Go on training the detector on base annotations (OVIS, experiments; Table 3), so that its base masks grow exact.

Only base names compete, so that no loss pushes a region away from a novel name; or, with keep_novel, all names, and the
pseudo-labels of the others stay among the targets. Which parts of the network stay as they are is a parameter.
"""

import logging

from pipeline.stage import Stage

log = logging.getLogger("cap2mask")

STAGE = Stage(
    name="finetune_detector",
    reads=("images", "annotations", "embeddings", "pseudo_labels", "train_detector"),
    writes=("finetune_detector",),
    team=True,
    random=True,
)


def run(job) -> None:
    import torch

    from models.detector.mask_rcnn import OpenVocabularyMaskRCNN
    from sources.coco import read_split
    from structures.errors import UserError
    from training.detector import drawn_objects, text_of, train_detector, training_paths
    from training.targets import by_image, object_batches

    p = job.params
    torch.set_num_threads(job.threads)
    rows = [row for row in job.table("embeddings").to_pylist() if row["split"] == "base" or p.keep_novel]
    names = [row["category"] for row in rows]
    base = {row["category"] for row in rows if row["split"] == "base"}
    text, paths = text_of(job, rows), training_paths(job)
    drawn = drawn_objects(job, paths, base)
    if not drawn:
        raise UserError("the training images have no annotation of a base category: set finetune_detector.steps to 0")
    log.info("%d images hold an object of a base category", len({row["image_id"] for row in drawn}))
    if p.keep_novel:
        [labels_file] = job.paths("pseudo_labels")
        labelled = read_split(labels_file.parent, ".", labels_file.name).annotations
        drawn += [row for row in labelled if row["category"] not in base]
    objects = by_image(drawn)
    tensors, settings = job.checkpoint("train_detector")
    settings["detector"] |= {"background_weight": p.background_weight}
    model = OpenVocabularyMaskRCNN(**settings["detector"])
    model.load_state_dict(tensors)
    model.freeze(p.frozen)
    model.to(job.device).train()
    data = [(paths[image_id], objects[image_id]) for image_id in sorted(objects)]
    batches = object_batches(job.root, data, names, **job.sharing())
    curve = train_detector(job, model, text, batches, description="fine-tuning the detector")
    job.save_checkpoint(model.state_dict(), settings)
    job.save_curve(curve)


if __name__ == "__main__":
    STAGE.main(run)
