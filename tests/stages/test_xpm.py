"""XPM's stages as a user runs them: tables, refusals, variants."""

import json
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from pycocotools import mask as coco_mask

from pipeline.checkpoint import read_safetensors, write_safetensors
from store.blobs import Blobs
from store.manifest import Manifest


def test_the_teacher_labels_every_named_noun_once(miniature):
    masks = pd.read_parquet(miniature.run / "teacher_masks")
    named = pd.read_parquet(miniature.run / "nouns")[["image_id", "category"]].drop_duplicates()
    rejects = miniature.run / "teacher_labels" / "_rejects"
    lost = len(pd.read_parquet(rejects)) if rejects.exists() else 0
    assert len(masks) + lost == len(named) and not masks.duplicated(["image_id", "category"]).any()
    assert masks.score.between(0, 1).all() and (masks["rank"] >= 0).all()
    areas = [coco_mask.area({**s, "counts": s["counts"].encode()}) for s in masks.segmentation]
    assert areas == masks.area.tolist()


def test_labels_of_both_systems_say_where_they_come_from(miniature):
    labels = pd.read_parquet(miniature.run / "student_labels")
    assert set(labels.source) == {"ovis", "xpm"} and set(labels.corruption) >= {"", "shifted"}
    sources = len(pd.read_parquet(miniature.run / "teacher_masks")) + len(
        pd.read_parquet(miniature.run / "pseudo_masks")
    )
    assert sources - 3 <= len(labels) <= sources  # a mask that was shifted out of its picture is none
    pairs = labels.groupby(["image_id", "category"]).source.nunique()
    both = labels.set_index(["image_id", "category"]).index.map(pairs == 2)
    assert (labels.agreement[~both.to_numpy(bool)] == -1).all()
    assert labels.agreement[both.to_numpy(bool) & (labels.corruption == "")].between(0, 1).mean() > 0.9
    cases = [labels.agreement < 0, labels.agreement >= 0.1, labels.source == "ovis"]
    assert labels.weight.tolist() == np.select(cases, [1.0, 2.0, 1.0], 0.0).tolist()
    assert set(labels.weight) == {0.0, 1.0, 2.0}


def test_corrupted_labels_can_be_left_out(miniature):
    miniature.stage("student_labels", "--keep-corrupted", "false", "--into", "clean")
    clean = pd.read_parquet(miniature.run.parent / "clean" / "student_labels")
    labels = pd.read_parquet(miniature.run / "student_labels")
    assert (labels.corruption != "").any()
    key = ["image_id", "category", "source", "area"]
    pd.testing.assert_frame_equal(clean[key], labels[labels.corruption == ""][key].reset_index(drop=True))


def test_the_student_starts_from_the_teacher_and_finds_eta(miniature):
    teacher, _ = read_safetensors(miniature.run / "train_teacher" / "all.safetensors")
    student, settings = read_safetensors(miniature.run / "train_student" / "all.safetensors")
    assert settings["student"]["eta"] > 0 and len(settings["names"]) == len(set(settings["names"]))
    assert any(name.startswith("noise_head") for name in student)
    moved = max(
        float((student[name] - value).abs().max()) for name, value in teacher.items() if value.is_floating_point()
    )
    assert 0 < moved < 0.01  # three small steps


def test_a_student_chooses_among_base_names_and_what_captions_name(miniature):
    """XPM, Eq. 3: a target name that no caption names is unknown to the student."""
    embeddings = pd.read_parquet(miniature.run / "embeddings")
    labels = pd.read_parquet(miniature.run / "student_labels")
    base = embeddings.category[embeddings.group == "base"].tolist()
    captioned = set(labels.category[labels.weight > 0]) - set(base)
    unnamed = set(embeddings.category) - set(base) - captioned
    assert captioned and unnamed, "the miniature's captions name some of the novel categories"
    _, settings = read_safetensors(miniature.run / "train_student" / "all.safetensors")
    assert settings["names"][: len(base)] == base and set(settings["names"][len(base) :]) == captioned


def test_the_curve_says_how_many_reliabilities_and_variances_are_at_their_bounds(miniature):
    curve = pd.read_parquet(miniature.run / "train_student" / "_curve")
    for name in ("noise", "alpha_at_bound", "variance_at_bound"):
        assert curve.value[curve.name == name].between(0, 1).all() and (curve.name == name).any(), name


@pytest.mark.parametrize(
    ("stage", "before", "frozen", "still", "moved"),
    [
        (
            "train_teacher",
            "pretrain_captions",
            ["embedding"],
            "roi_heads.box_predictor.embedding",
            "roi_heads.box_head",
        ),
        ("train_student", "train_teacher", ["backbone", "pyramid", "rpn"], ("backbone.", "rpn."), "roi_heads."),
    ],
)
def test_what_is_frozen_stays_as_it_was(miniature, stage, before, frozen, still, moved):
    run = f"frozen-{stage}"
    miniature.stage(stage, "--frozen", json.dumps(frozen), "--into", run)
    was, _ = read_safetensors(miniature.run / before / "all.safetensors")
    now, _ = read_safetensors(miniature.run.parent / run / stage / "all.safetensors")
    kept = [name for name in was if name.startswith(still)]
    assert kept and all((now[name] == was[name]).all() for name in kept)
    assert all((now[name] != was[name]).any() for name in was if name.startswith(moved) and name.endswith("weight"))


def test_an_embedding_head_that_nothing_taught_is_not_frozen(miniature):
    config = miniature.folder / "untaught.yaml"
    config.write_text(yaml.safe_dump(miniature.config | {"pretrain_captions": {"steps": 0}}))
    arguments = "--configfile", str(config), "--frozen", '["embedding"]', "--into", "untaught"
    output = miniature.stage("train_teacher", *arguments, check=False, configfile=False)
    assert "train_teacher.frozen: the embedding head" in output and "Traceback" not in output


def test_captions_can_teach_by_the_names_of_the_vocabulary_alone(miniature):
    """The miniature learns by all words; a run that asks for names has no use for these."""
    words = pd.read_parquet(miniature.run / "word_embeddings").word
    assert {"a", "and"} <= set(words) and words.is_unique
    curves = []
    for options in (["--words", "vocabulary"], ["--words", "vocabulary", "--align", '["words"]']):
        run = "-".join(["captions", *(option.strip('-"[]') for option in options)])
        miniature.stage("pretrain_captions", *options, "--into", run)
        curves.append(pd.read_parquet(miniature.run.parent / run / "pretrain_captions" / "_curve").value.iloc[0])
    by_all = pd.read_parquet(miniature.run / "pretrain_captions" / "_curve").value.iloc[0]
    assert len({by_all, *curves}) == 3 and curves[1] < curves[0]


def test_every_label_has_a_noise_map_and_a_reliability(miniature):
    labels = pd.read_parquet(miniature.run / "student_labels")
    noise = pd.read_parquet(miniature.run / "label_noise")
    key = ["image_id", "category", "instance", "source"]
    assert len(noise.merge(labels, on=key)) == len(noise) == len(labels)
    _, settings = read_safetensors(miniature.run / "train_student" / "all.safetensors")
    np.testing.assert_allclose(noise.alpha, np.minimum(settings["student"]["eta"] / noise.noise, 1), rtol=1e-4)
    assert [len(v) for v in noise.variance] == (noise.side**2).tolist()
    metrics = pd.read_parquet(miniature.run / "metrics")
    correlation = metrics[(metrics.protocol == "reliability") & (metrics.metric == "rank_correlation")]
    assert len(correlation) and correlation.value.between(-1, 1).all()
    assert (miniature.run / "report" / "noise.png").stat().st_size > 10_000


def test_the_student_sees_annotations_of_base_categories_alone(miniature):
    """Trained on annotations without the novel ones, the student is the same to the last byte."""
    embeddings = pd.read_parquet(miniature.run / "embeddings")
    novel = set(embeddings.category[embeddings.group == "novel"])
    with replaced(miniature, "ingest", "annotations", lambda row: row["category"] not in novel):
        miniature.stage("train_student", "--into", "blind")
    manifests = [
        json.loads((folder / "manifests" / "train_student" / "all.json").read_text())
        for folder in (miniature.run, miniature.run.parent / "blind")
    ]
    assert manifests[0]["key"] != manifests[1]["key"], "it did train on the other table"
    checkpoints = [
        (folder / "train_student" / "all.safetensors").resolve().name
        for folder in (miniature.run, miniature.run.parent / "blind")
    ]
    assert checkpoints[0] == checkpoints[1]


@contextmanager
def replaced(project, stage, table, keep):
    """A run whose table holds only the rows that `keep` keeps, in the store and in the manifest of its stage."""
    [link] = (project.run / table).glob("*.parquet")
    before = pq.read_table(link)
    rows = before.filter(pa.array([keep(row) for row in before.to_pylist()]))
    assert 0 < len(rows) < len(before)
    with replaced_output(project, stage, link.resolve(), lambda draft: pq.write_table(rows, draft), rows=len(rows)):
        yield


@contextmanager
def replaced_output(project, stage, blob, write, **fields):
    """A run whose stage left what write(draft) writes in place of a blob, in the store and in its manifest."""
    blobs = Blobs(project.folder / "data")
    with blobs.draft(blob.suffix) as draft:
        write(draft)
        digest, size = blobs.keep(draft)
    with rewritten_manifest(project, stage) as (manifest, write_manifest):
        outputs = [
            replace(output, digest=digest, bytes=size, **fields) if output.digest == blob.stem else output
            for output in manifest.outputs
        ]
        assert outputs != manifest.outputs
        write_manifest(replace(manifest, outputs=outputs))
        yield


@contextmanager
def rewritten_manifest(project, stage):
    """(a stage's only manifest, a function that puts another in its place until the block ends)."""
    [path] = (project.run / "manifests" / stage).glob("*.json")
    text = path.read_text()
    try:
        yield Manifest.from_json(text), lambda manifest: path.write_text(manifest.to_json())
    finally:
        path.write_text(text)


def test_a_student_of_another_vocabulary_is_not_gone_on_with(miniature):
    checkpoint = miniature.run / "train_student" / "all.safetensors"
    names = read_safetensors(checkpoint)[1]["names"]
    other = miniature.folder / "other.safetensors"
    _with_names(checkpoint, other, [*names[1:], "unicorn"])
    output = miniature.stage("train_student", "--resume", str(other), "--into", "resumed", check=False)
    assert "another vocabulary" in output and f"it lacks: {names[0]}" in output and "it alone has: unicorn" in output
    assert "Traceback" not in output


def test_a_student_of_another_network_is_not_gone_on_with(miniature):
    """Its learned background would be passed over, and its temperature be another's."""
    tensors, settings = read_safetensors(miniature.run / "train_student" / "all.safetensors")
    settings["detector"] |= {"background": "learned", "temperature": 0.5}
    tensors["roi_heads.box_predictor.background"] = torch.ones(settings["detector"]["dimension"])
    other = miniature.folder / "network.safetensors"
    write_safetensors(other, tensors, settings)
    output = miniature.stage("train_student", "--resume", str(other), "--into", "resumed", check=False)
    assert "another network" in output and "background learned, not zero" in output and "Traceback" not in output
    assert "temperature 0.5" in output


def test_eta_is_the_least_noise_of_the_steps_that_look_for_it(miniature):
    """Not the least that a student saw that is gone on with."""
    tensors, settings = read_safetensors(miniature.run / "train_student" / "all.safetensors")
    before = miniature.folder / "quiet.safetensors"
    write_safetensors(before, tensors | {"least_noise": torch.tensor(0.002)}, settings)
    miniature.stage("train_student", "--resume", str(before), "--steps", "1", "--into", "quiet")
    _, settings = read_safetensors(miniature.run.parent / "quiet" / "train_student" / "all.safetensors")
    assert settings["student"]["eta"] > 0.01


def test_a_label_of_no_weight_whose_name_the_student_does_not_know_has_no_noise(miniature):
    checkpoint = miniature.run / "train_student" / "all.safetensors"
    tensors, settings = read_safetensors(checkpoint)
    *names, unknown = settings["names"]
    changed = settings | {"names": names}
    with replaced_output(
        miniature, "train_student", checkpoint.resolve(), lambda draft: write_safetensors(draft, tensors, changed)
    ):
        miniature.stage("label_noise", "--batch", "3", "--into", "unknown")
    noise = pd.read_parquet(miniature.run.parent / "unknown" / "label_noise")
    labels = pd.read_parquet(miniature.run / "student_labels")
    assert len(noise) == (labels.category != unknown).sum() < len(labels)


def test_a_student_can_be_gone_on_with(miniature):
    checkpoint = miniature.run / "train_student" / "all.safetensors"
    miniature.stage(
        "train_student", "--resume", str(checkpoint), "--robust.eta", "0.5", "--steps", "1", "--into", "further"
    )
    _, settings = read_safetensors(miniature.run.parent / "further" / "train_student" / "all.safetensors")
    assert settings["student"]["eta"] == 0.5


def _with_names(source, target, names):
    from safetensors.torch import save_file

    tensors, settings = read_safetensors(source)
    save_file(tensors, str(target), {"cap2mask": json.dumps(settings | {"names": names})})


def test_labels_of_other_pictures_are_refused(miniature):
    [images] = [output.resolve() for output in (miniature.run / "images").glob("*.parquet")]
    with rewritten_manifest(miniature, "teacher_labels") as (manifest, write_manifest):
        inputs = json.loads(json.dumps(manifest.inputs).replace(images.stem, "0" * 64))
        assert inputs != manifest.inputs
        write_manifest(replace(manifest, inputs=inputs))
        output = miniature.stage("student_labels", "--into", "wrong", "--both.agree-weight", "3", check=False)
    assert "another set of images" in output and "--until teacher_labels" in output and "Traceback" not in output


def test_a_word_without_embedding_is_a_reject(miniature):
    name = pd.read_parquet(miniature.run / "teacher_masks").category.mode()[0]
    with replaced(miniature, "embed_text", "embeddings", lambda row: row["category"] != name):
        output = miniature.stage("teacher_labels", "--batch", "5", "--into", "short", check=False)
    assert "no_embedding" in output and "max_reject_fraction" in output
    rejects = pd.read_parquet(miniature.run.parent / "short" / "teacher_labels" / "_rejects")
    of_the_word = rejects.reason[rejects.key == name]
    assert len(of_the_word) and (of_the_word == "no_embedding").all()


@pytest.mark.parametrize(
    "options",
    [("unbiased_teacher", "--unbiased-teacher.confidence-threshold", "0.01"), ("dropout_entropy",)],
    ids=lambda options: options[0],
)
def test_the_other_students_train(miniature, options):
    run = f"other-{options[0]}"
    miniature.stage("train_student", "--steps", "2", "--into", run, "--strategy", *options)
    tensors, _ = read_safetensors(miniature.run.parent / run / "train_student" / "all.safetensors")
    assert all(np.isfinite(value.float().numpy()).all() for value in tensors.values() if value.is_floating_point())


def test_tables_run_their_variants_and_share_the_rest(miniature):
    """One variant of the student: what precedes it is the run's own; another from a teacher that learned boxes alone."""
    folder = miniature.folder / "variants"
    folder.mkdir()
    (folder / "plain.yaml").write_text("detectors: [train_student]\ntrain_student: {strategy: none}\n")
    (folder / "boxes.yaml").write_text(
        "detectors: [train_student]\ntrain_teacher: {supervision: boxes}\nstudent_labels: {labels: xpm}\n"
        "train_student: {strategy: none, losses: [cross_modal]}\n"
    )
    (miniature.folder / "layout.yaml").write_text(
        "- {table: T, note: of a test, columns: [generalized segm all],"
        " rows: [{row: plain, variant: plain, detector: train_student, paper: [42.0]},"
        " {row: boxes, variant: boxes, detector: train_student}]}"
    )
    section = f"{{seeds: [{miniature.config.get('seed', 1)}], variants: {folder}, layout: layout.yaml}}"
    output = miniature.snakemake("tables", "--config", f"tables={section}")
    cells = pd.read_parquet(miniature.folder / "data" / "tables.parquet")
    keys = cells[["table", "row", "measure"]].to_numpy().tolist()
    assert keys == [["T", "plain", "generalized segm all"], ["T", "boxes", "generalized segm all"]]
    assert cells.paper_value.iloc[0] == 42.0 and np.isnan(cells.paper_value.iloc[1])
    metrics = pd.read_parquet(miniature.run.parent / "mini.plain.1" / "metrics")
    assert cells.value.iloc[0] in set(metrics.value[metrics.metric == "AP50"])
    assert "| plain | " in output and "[42.0]" in output
    stages_run = {path.name for path in (miniature.run.parent / "mini.plain.1" / "manifests").iterdir()}
    assert stages_run == {"train_student", "detect", "evaluate"}
    boxes = miniature.run.parent / "mini.boxes.1"
    assert (pd.read_parquet(boxes / "metrics").kind == "bbox").any()
    labels = pd.read_parquet(boxes / "teacher_masks")
    sides = np.stack(labels.box.map(lambda box: np.ceil(box[2:]) - np.floor(box[:2])))
    assert labels.area.tolist() == sides.prod(1).tolist(), "a teacher of boxes labels the whole box"
    curve = pd.read_parquet(boxes / "train_student" / "_curve")
    assert (curve.value[curve.name.isin(["loss_mask", "loss_pseudo_mask"])] == 0).all()
    assert (curve.value[curve.name == "loss_cross_modal"] > 0).any()
    assert "Nothing to be done" in miniature.snakemake("tables", "--config", f"tables={section}")
