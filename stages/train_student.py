"""Train XPM's robust student, from the teacher's weights on, on noisy pseudo-masks and base annotations (3.2.3,
3.2.4)."""

import logging

from pipeline.conditions import has_annotations
from pipeline.stage import Stage

log = logging.getLogger("cap2mask")

STAGE = Stage(
    name="train_student",
    reads=("images", "annotations", "student_labels", "embeddings", "train_teacher"),
    writes=("train_student",),
    shares=("optimizer", "training"),
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
    from torch.utils.data import Subset

    from models.detector.mask_rcnn import STUDENT_ONLY
    from models.xpm.self_training import SELF_TRAINED, SelfTrained
    from models.xpm.student import RobustStudent
    from pipeline.checkpoint import read_safetensors
    from structures.tensors import take_over
    from training.detector import train_detector
    from training.tables import LOOKED_AT, LearnableImages, learnable_annotations, text_vectors
    from training.targets import detection_batches

    p = job.params
    captioned = _captioned(job)
    # Eq. 3's words: the base categories, and what captions name; no other name of the vocabulary is known to a student
    rows = [
        row for row in job.table("embeddings").to_pylist() if row["group"] == "base" or row["category"] in captioned
    ]
    rows.sort(key=lambda row: row["group"] != "base")
    names = [row["category"] for row in rows]
    base = [row["category"] for row in rows if row["group"] == "base"]
    images, labelled = LearnableImages(set(base)), 0

    def wanted(annotations: list[dict], labels: list[dict]) -> bool:
        nonlocal labelled
        weighs = any(row["weight"] > 0 for row in labels)
        labelled += weighs
        return images.learnable_in(annotations) | weighs

    def objects(annotations: list[dict], labels: list[dict]) -> tuple[list[dict], list[dict]]:
        return learnable_annotations(annotations, images.categories), [row for row in labels if row["weight"] > 0]

    columns = {"student_labels": ["image_id", "category", "source", "box", "weight", "segmentation"]}
    tables = "annotations", "student_labels"
    data = job.training_set(*tables, wanted=wanted, columns=columns, looked_at=LOOKED_AT)
    images.log()
    log.info("%d images with base annotations, %d with pseudo-masks", images.images, labelled)
    log.info("%d base categories and %d other words of captions compete", len(base), len(names) - len(base))
    tensors, settings = job.checkpoint("train_teacher")
    source = "the checkpoint of train_teacher"
    if "resume" in job.files:
        source = str(job.files["resume"])
        tensors, settings_of_student = read_safetensors(job.files["resume"])
        _check_vocabulary(settings_of_student.get("names", []), names, job.files["resume"])
        _check_network(settings_of_student.get("detector", {}), settings["detector"], job.files["resume"])
        tensors.pop("least_noise", None)  # of all that it was trained on; eta is the least of its own steps alone
    settings["detector"] |= {"background_weight": p.background_weight}
    supervision = settings["supervision"]
    self_trained = p.strategy in SELF_TRAINED
    of_strategy = dict(vars(getattr(p, p.strategy))) if hasattr(p, p.strategy) else {}
    noise_lr_factor = of_strategy.pop("noise_lr_factor", 1.0)
    eta_steps, eta_images = (of_strategy.pop(name, 0) for name in ("eta_steps", "eta_images"))
    student = {"strategy": p.strategy, "pseudo_weight": p.pseudo_weight, "base": len(base), "supervision": supervision}
    student |= of_strategy
    if not self_trained:
        student |= {"balanced": p.balanced, "pseudo_losses": p.losses}

    def new_student():
        torch.manual_seed(job.seed)
        model = (SelfTrained if self_trained else RobustStudent)(**student, **settings["detector"])
        take_over(model, tensors, source, passed_over=STUDENT_ONLY)
        model.freeze(p.frozen)
        model.to(job.device).train()
        model.set_vocabulary(text_vectors(rows, job.device))
        if self_trained:
            model.start_teaching()
        return model

    def learn(model, data, description: str, **changed) -> list[dict]:
        batches = detection_batches(job.root, data, names, objects=objects, **job.batching())
        options = {"lr_factors": {"noise_head": noise_lr_factor}, "description": description}
        return train_detector(model, batches, **job.schedule() | options | changed)

    if p.strategy == "robust" and not student["eta"]:
        model = new_student()
        model.eta = 1.0
        sample = Subset(data, range(0, len(data), max(1, len(data) // eta_images))[:eta_images])
        learn(model, sample, "looking for eta", steps=eta_steps, scratch=job.scratch / "eta")
        student["eta"] = float(model.least_noise)
        log.info(
            "eta is %.4g, the least average noise of %d steps on %d images", student["eta"], eta_steps, len(sample)
        )
    model = new_student()
    curve = learn(model, data, "training the student")
    if self_trained:  # what is used is the moving average
        job.save_checkpoint(model.teacher.state_dict(), settings | {"names": names})
        job.save_curve(curve)
        return
    for name, what in (("alpha_at_bound", "reliabilities were 1"), ("variance_at_bound", "variances at their bounds")):
        shares = [row["value"] for row in curve if row["name"] == name]
        log.info("%.1f %% of the %s at the end", 100 * shares[-1], what)
    job.save_checkpoint(model.state_dict(), settings | {"student": student, "names": names})
    job.save_curve(curve)


def _captioned(job) -> set[str]:
    """The categories of the labels that count, of training images."""
    from store.join import join_by_image

    images = job.rows("images", ["image_id", "split"])
    labels = job.rows("student_labels", ["image_id", "category", "weight"])
    return {
        row["category"]
        for _, ([image], of_image) in join_by_image(images, labels)
        for row in of_image
        if image["split"] == "train" and row["weight"] > 0
    }


def _check_vocabulary(before: list[str], now: list[str], path) -> None:
    from structures.errors import UserError

    if not isinstance(before, list) or not all(isinstance(name, str) for name in before):
        raise UserError(f"{path} holds no student: its names are no list of texts")
    if before != now:
        gone, new = sorted(set(before) - set(now)), sorted(set(now) - set(before))
        difference = "; ".join(
            f"{what}: {', '.join(words[:8])}{' …' * (len(words) > 8)}"
            for what, words in (("it lacks", new), ("it alone has", gone))
            if words
        )
        raise UserError(
            f"{path} is a student of another vocabulary ({difference or 'the names in another order'}); "
            "go on with the vocabulary it had, or empty train_student.resume to start from the teacher"
        )


def _check_network(before: dict, now: dict, path) -> None:
    """Refuse a student whose weights would be taken for something else, or passed over."""
    from structures.errors import UserError

    names = ("backbone", "dimension", "similarity", "temperature", "background", "prior")
    different = [f"{name} {before.get(name)}, not {now[name]}" for name in names if before.get(name) != now[name]]
    if different:
        raise UserError(
            f"{path} is a student of another network than this run's teacher ({'; '.join(different)}); name one of the "
            "same teacher_network, or empty train_student.resume to start from the teacher"
        )


if __name__ == "__main__":
    STAGE.main(run)
