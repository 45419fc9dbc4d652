"""What a user can get wrong ends in a reject row or one line, and loses nothing that was made."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.conftest import ROOT


def write_coco(folder, captions=None, size=(64, 48)):
    """Two training pictures and one for validation, with captions, in the miniature's layout."""
    rng = np.random.default_rng(0)
    (folder / "annotations").mkdir(parents=True)
    for split, ids in (("train", (1, 2)), ("val", (3,))):
        (folder / split).mkdir()
        images = []
        for i in ids:
            picture = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
            Image.fromarray(picture).resize(size, Image.Resampling.NEAREST).save(folder / split / f"{i}.jpg")
            images.append({"id": i, "file_name": f"{i}.jpg", "width": size[0], "height": size[1]})
        rows = [{"id": 10 * i, "image_id": i, "caption": (captions or {}).get(i, "a cat and a cup")} for i in ids]
        truth = [
            {
                "id": i,
                "image_id": i,
                "category_id": 1,
                "bbox": [4, 4, 20, 20],
                "area": 400,
                "iscrowd": 0,
                "segmentation": [[4, 4, 24, 4, 24, 24, 4, 24]],
            }
            for i in ids
        ]
        save(folder, f"captions_{split}", {"images": images, "annotations": rows})
        save(
            folder,
            f"instances_{split}",
            {"images": images, "annotations": truth, "categories": [{"id": 1, "name": "cat"}]},
        )
    return folder


def save(folder, name, content):
    (folder / "annotations" / f"{name}.json").write_text(json.dumps(content))


def load(folder, name):
    return json.loads((folder / "annotations" / f"{name}.json").read_text())


def rejects(project, stage):
    return pd.read_parquet(project.run / stage / "_rejects").set_index("image_id").reason.to_dict()


@pytest.fixture()
def small(project):
    """The miniature's configuration over write_coco's folder; every share of rejects allowed."""
    project.config |= {"toy": {"train": 0, "val": 0}, "max_reject_fraction": 1.0}
    project.write_config()
    project.source = write_coco(project.folder / "data" / "toy")
    return project


def test_truncated_missing_and_escaping_pictures_are_rejects(small):
    content = load(small.source, "captions_train")
    outside = small.folder / "secret.jpg"
    (small.source / "train" / "1.jpg").rename(outside)
    for i, name in ((5, "../../../secret.jpg"), (6, "link.jpg"), (7, "gone.jpg")):
        content["images"].append({"id": i, "file_name": name, "width": 64, "height": 48})
    (small.source / "train" / "link.jpg").symlink_to(outside)
    whole = (small.source / "train" / "2.jpg").read_bytes()
    (small.source / "train" / "2.jpg").write_bytes(whole[: len(whole) // 2])
    save(small.source, "captions_train", content)
    small.stage("ingest")
    assert rejects(small, "ingest") == {
        "1": "missing_image",
        "2": "broken_image",
        "5": "outside_root",
        "6": "outside_root",
        "7": "missing_image",
    }
    assert list(pd.read_parquet(small.run / "images").image_id) == ["3"]


def test_too_many_rejects_fail_the_stage_and_say_where_to_look(small):
    (small.source / "train" / "1.jpg").unlink()
    small.config["max_reject_fraction"] = 0.01
    small.write_config()
    output = small.stage("ingest", check=False)
    assert "1 missing_image" in output and "max_reject_fraction" in output and "_rejects" in output
    assert "Traceback" not in output
    assert rejects(small, "ingest") == {"1": "missing_image"}
    small.config["max_reject_fraction"] = 1.0
    small.write_config()
    assert "nothing new" in small.stage("ingest"), "what was made must not be made again"


def rewrite(file, size=(64, 48)):
    """Other pixels in the place of a picture, as old as it was, and as long where its size is the same."""
    status = file.stat()
    Image.new("RGB", size, (200, 30, 30)).save(file)
    content = file.read_bytes()
    file.write_bytes(content + bytes(max(0, status.st_size - len(content))))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("size", [(64, 48), (200, 120)])
def test_a_picture_that_changed_after_ingest_is_a_reject_and_the_result_is_not_remembered(small, size):
    small.config["selective_search"] = {"quick": {"base_k": 20}, "min_side": 4}
    small.write_config()
    small.stage("ingest")
    picture = small.source / "train" / "1.jpg"
    before = picture.read_bytes()
    rewrite(picture, size)
    small.stage("selective_search")
    assert rejects(small, "selective_search") == {"1": "changed_image"}
    [detail] = pd.read_parquet(small.run / "selective_search" / "_rejects").detail
    assert "1.jpg" in detail and "-R ingest" in detail
    assert list(pd.read_parquet(small.run / "proposals").image_id) == ["2"]
    picture.write_bytes(before)
    assert "nothing new" not in small.stage("selective_search")
    assert list(pd.read_parquet(small.run / "proposals").image_id) == ["1", "2"]
    assert "nothing new" in small.stage("selective_search")


def until_proposals(project, *base):
    """Names of base categories, and what a training of proposals reads."""
    (project.folder / "words.json").write_text(json.dumps({"base": base}))
    project.config["vocabulary"] = "words.json"
    project.config["selective_search"] = {"quick": {"base_k": 20}, "min_side": 4}
    project.write_config()
    for stage in ("ingest", "categories", "nouns", "selective_search"):
        project.stage(stage)


def test_a_picture_that_changed_before_a_training_is_one_line(small):
    until_proposals(small, "cat", "cup")
    rewrite(small.source / "train" / "2.jpg")
    output = small.stage("train_wspn", check=False)
    assert "2.jpg is not the picture that ingest read" in output and "Traceback" not in output
    assert "unexpected" not in output


def test_base_names_that_no_caption_uses_are_one_line_where_proposals_are_learned(small):
    until_proposals(small, "clock")
    output = small.stage("train_wspn", check=False)
    assert "give the vocabulary base names that captions use" in output and "unexpected" not in output


def test_snakemake_notices_pictures_that_changed_or_came(small):

    def reruns() -> bool:
        return re.search(r"^ingest +1$", small.snakemake("-n", "--until", "ingest"), re.M) is not None

    small.snakemake("--until", "ingest")
    assert not reruns()
    rewrite(small.source / "train" / "1.jpg")
    os.utime(small.source / "train" / "1.jpg")
    assert reruns()
    small.snakemake("--until", "ingest")
    assert not reruns()
    (small.source / "val" / "below").mkdir()
    assert not reruns()
    (small.source / "val" / "below" / "new.jpg").write_bytes(b"")
    assert reruns()


def test_an_annotation_of_an_absent_image_and_an_empty_caption_are_rejects(small):
    content = load(small.source, "instances_train")
    content["annotations"].append(content["annotations"][0] | {"id": 99, "image_id": 404})
    save(small.source, "instances_train", content)
    captions = load(small.source, "captions_train")
    captions["annotations"][0]["caption"] = "  "
    save(small.source, "captions_train", captions)
    small.stage("ingest")
    assert rejects(small, "ingest") == {"404": "absent_image", "1": "empty_caption"}


def test_a_caption_without_a_known_noun_is_an_uncounted_reject(small):
    captions = load(small.source, "captions_train")
    captions["annotations"][0]["caption"] = "a quiet evening"
    save(small.source, "captions_train", captions)
    small.config["max_reject_fraction"] = 0.0
    small.write_config()
    for stage in ("ingest", "categories", "nouns"):
        small.stage(stage)
    assert rejects(small, "nouns") == {"1": "no_known_noun"}


def test_a_noun_that_the_tokenizer_cuts_away_is_a_reject(small):
    captions = load(small.source, "captions_train")
    captions["annotations"][0]["caption"] = "a small " * 20 + "cat"
    save(small.source, "captions_train", captions)
    for stage in ("ingest", "categories", "nouns", "gradcam"):
        small.stage(stage)
    assert rejects(small, "gradcam")["1"] == "noun_cut_away"


def test_an_image_without_proposals_is_a_reject(small):
    plain = Image.new("RGB", (64, 48), (90, 90, 90))
    plain.save(small.source / "train" / "1.jpg")
    small.config["selective_search"]["min_side"] = 50
    small.write_config()
    small.stage("ingest")
    small.stage("selective_search")
    assert rejects(small, "selective_search")["1"] == "no_proposal"


def test_a_missing_file_names_the_config_key(small):
    for stage in ("ingest", "categories", "nouns"):
        small.stage(stage)
    output = small.stage("gradcam", "--vision-language.weights", "weights/ALBEF.pth", check=False)
    assert (
        "weights/ALBEF.pth is not there" in output and "vision_language.weights" in output and "Traceback" not in output
    )


def test_more_tokens_than_the_model_has_positions_is_one_line(small):
    for stage in ("ingest", "categories", "nouns"):
        small.stage(stage)
    output = small.stage("gradcam", "--vision-language.max-tokens", "64", check=False)
    assert "has positions for 32" in output and "Traceback" not in output


def test_damaged_json_is_one_line(small):
    (small.source / "annotations" / "captions_train.json").write_text("{")
    output = small.stage("ingest", check=False)
    assert "captions_train.json is no JSON" in output and "Traceback" not in output


def test_a_missing_input_names_the_rule_to_run(small):
    output = small.stage("gradcam", check=False)
    assert "--until ingest" in output and "Traceback" not in output


def test_wrong_keys_and_values_stop_before_anything_runs_and_are_all_told(project):
    wrong = {
        "gradcam={iteratons: 1, batch: three}": [
            "unknown key gradcam.iteratons: did you mean iterations?",
            "gradcam.batch is 'three', wanted of type integer",
        ],
        "segmnt={side: 3}": ["unknown key segmnt: did you mean segment?"],
        "propose={top_k: 0}": ["propose.top_k is 0, wanted at least 1"],
        "segment={steps: 3}": ["unknown key segment.steps: there is segment.network.steps"],
    }
    output = project.snakemake("--config", *wrong, check=False)
    for messages in wrong.values():
        for message in messages:
            assert message in output
    assert not (project.folder / "data" / "runs").exists()


def test_a_full_disk_is_one_line_and_keeps_what_was_made(miniature):
    before = {file.name for file in (miniature.folder / "data" / "store").rglob("*.parquet")}
    config = str(miniature.folder / "config" / "config.yaml")
    limited = "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)); "
    limited += "sys.argv = sys.argv[1:]; runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
    done = subprocess.run(
        [sys.executable, "-c", limited, "stages.segment", "--configfile", config, "--network.steps", "2"],
        cwd=miniature.folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "the disk is full" in done.stderr and "Traceback" not in done.stderr
    assert {file.name for file in (miniature.folder / "data" / "store").rglob("*.parquet")} == before
    assert not list((miniature.folder / "data" / "scratch").rglob("*.parquet"))


@pytest.mark.parametrize("wrong", ["log", "data", "scratch"])
def test_a_file_in_a_folders_place_and_a_folder_in_a_files_are_one_line(small, wrong):
    args = {"log": ["--log", "config"], "data": ["--data", "config/config.yaml"], "scratch": []}[wrong]
    if wrong == "scratch":
        (small.folder / "data" / "scratch").write_text("not a folder")
    said = small.stage("ingest", *args, check=False)
    assert "move it away and run again" in said and "Traceback" not in said and "unexpected" not in said


def test_a_folder_that_was_not_drawn_is_never_replaced(small):
    small.config["toy"] = {"train": 2, "val": 1}
    small.write_config()
    output = small.snakemake("--until", "toy", "--forcerun", "toy", check=False)
    assert "left alone" in output
    assert (small.source / "train" / "1.jpg").exists()


def test_another_configfile_takes_nothing_from_the_embedded_one(project):
    (project.folder / "mine.yaml").write_text("run: mine\nroot: somewhere\nvocabulary: words.json\n")
    project.config["toy"] = {"train": 3, "val": 3}
    project.write_config()
    project.snakemake("nouns_of_nothing", "-n", "--configfile", "mine.yaml", check=False)
    [written] = (project.folder / "data" / "configs").glob("*/*.json")
    config = json.loads(written.read_text())
    assert config["toy"]["train"] == 0 and config["vision_language"]["weights"] == "weights/ALBEF.pth"
