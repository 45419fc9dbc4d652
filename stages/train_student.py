"""Train XPM's robust student, from the teacher's weights on, on noisy pseudo-masks and base annotations (3.2.3, 3.2.4)."""

import logging

from pipeline.stage import Stage

log = logging.getLogger("cap2mask")

STAGE = Stage(
    name="train_student",
    reads=("images", "annotations", "student_labels", "embeddings", "train_teacher"),
    writes=("train_student",),
    team=True,
    files=("resume",),
    random=True,
)


def run(job) -> None:
    import torch

    from models.xpm.equations import NOISE_CEILING, NOISE_FLOOR
    from models.xpm.self_training import SELF_TRAINED, SelfTrained
    from models.xpm.student import RobustStudent
    from pipeline.job import read_safetensors
    from training.detector import drawn_objects, text_of, train_detector, training_paths
    from training.targets import by_image, student_batches

    p = job.params
    torch.set_num_threads(job.threads)
    rows = sorted(job.table("embeddings").to_pylist(), key=lambda row: row["split"] != "base")
    names = [row["category"] for row in rows]
    base = [row["category"] for row in rows if row["split"] == "base"]
    text, paths = text_of(job, rows), training_paths(job)
    drawn = by_image(drawn_objects(job, paths, set(base)))
    columns = ["image_id", "category", "source", "box", "trust", "segmentation"]
    trusted = (row for row in job.rows("student_labels", columns) if row["trust"] > 0)
    made = by_image([row for row in trusted if row["image_id"] in paths])
    log.info("%d images with base annotations, %d with pseudo-masks", len(drawn), len(made))
    data = [(paths[i], drawn.get(i, []), made.get(i, [])) for i in sorted(drawn.keys() | made.keys())]
    tensors, settings = job.checkpoint("train_teacher")
    if "resume" in job.files:
        tensors, its = read_safetensors(job.files["resume"])
        _check_vocabulary(its.get("names", []), names, job.files["resume"])
    settings["detector"] |= {"background_weight": p.background_weight}
    self_trained = p.strategy in SELF_TRAINED
    own = ("sure", "decay") if self_trained else ("noise_sees", "noise_loss", "samples", "eta", "balanced")
    student = {name: getattr(p, name) for name in ("strategy", "pseudo_weight", *own)} | {"base": len(base)}

    def fresh():
        torch.manual_seed(job.seed)
        model = (SelfTrained if self_trained else RobustStudent)(**student, **settings["detector"])
        model.load_state_dict(tensors, strict=False)
        model.freeze(p.frozen)
        model.to(job.device).train()
        if self_trained:
            model.start_teaching()
        return model

    def learn(model, data, description, **changed):
        batches = student_batches(job.root, data, names, **job.sharing())
        faster = {"noise_head": p.noise_lr}
        return train_detector(job, model, text, batches, description=description, faster=faster, **changed)

    if p.strategy == "robust" and not p.eta:
        model = fresh()
        model.eta = 1.0
        some = data[:: max(1, len(data) // p.eta_images)][: p.eta_images]
        scratch = job.scratch / "eta"
        learn(model, some, "looking for eta", steps=p.eta_steps, scratch=scratch)
        student["eta"] = job.team.least(float(model.least_noise))
        log.info(
            "eta is %.4g, the least average noise of %d steps on %d images", student["eta"], p.eta_steps, len(some)
        )
    model = fresh()
    curve = learn(model, data, "training the student")
    if self_trained:  # what is used is the moving average
        job.save_checkpoint(model.teacher.state_dict(), settings | {"names": names})
        job.save_curve(curve)
        return
    if model.clamped:
        bounds = f"{NOISE_FLOOR:g} and {NOISE_CEILING:g}"
        log.warning("%d values of the noise were kept between %s, which the estimate left", int(model.clamped), bounds)
    job.save_checkpoint(model.state_dict(), settings | {"student": student, "names": names})
    job.save_curve(curve)


def _check_vocabulary(before: list[str], now: list[str], path) -> None:
    from structures.errors import UserError

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


if __name__ == "__main__":
    STAGE.main(run)
