"""Data sets of other kinds than the embedded one, from their files to what a run makes of them."""

import csv
import json
import re

import pandas as pd
import pytest
import yaml
from PIL import Image

from sources.toy import scenes as toy
from tests.conftest import MINIATURE, Project, as_in_a_clone
from tests.sources.test_openimages import PART
from tests.sources.test_openimages import root as openimages_root  # noqa: F401 (a fixture)
from tests.sources.test_wordnet import write as write_wordnet


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Ten pictures with their captions, as a user would have them."""
    folder = tmp_path_factory.mktemp("drawn") / "toy"
    toy.write_split(folder, "train", 10, 5)
    content = json.loads((folder / "annotations" / "captions_train.json").read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    return folder, [(names[row["image_id"]], row["caption"]) for row in content["annotations"]]


def write_folder(root, pictures, header=("image", "caption")):
    folder, captions = pictures
    (root / "images").mkdir(parents=True)
    for name in {name for name, _ in captions}:
        (root / "images" / name).write_bytes((folder / "train" / name).read_bytes())
    with (root / "captions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *captions])


def test_ten_pictures_and_a_csv_become_a_detector_and_pictures(tmp_path, pictures):
    project = as_in_a_clone(tmp_path)
    write_folder(tmp_path / "data" / "folder", pictures)
    output = project.snakemake(
        "--configfile", "config/folder.yaml", "config/small.yaml",
        "--config", "shards=1", "vocabulary=data/splits/toy.json", "train_wspn={steps: 2}", "train_detector={steps: 2}",
    )  # fmt: skip
    assert "no ground truth" in output and "evaluation is left out" in output
    run = tmp_path / "data" / "runs" / "folder"
    assert (run / "train_detector" / "all.safetensors").exists()
    labels = json.loads((run / "pseudo_labels" / "all.json").read_text())
    assert labels["annotations"] and len(labels["images"]) == 9
    assert {path.name for path in (run / "report").iterdir()} >= {"train_00.png", "val.png"}
    assert not (run / "metrics").exists()
    output = project.stage(
        "predict", "--weights", str(run / "train_detector" / "all.safetensors"), "--classes", "umbrella",
        "--images", str(tmp_path / "data" / "folder" / "images"), "--score", "0", configfile=False,
    )  # fmt: skip
    assert "in 10 pictures" in output, "the checkpoint knows how names become vectors"


def test_everything_that_is_missing_is_listed_before_anything_starts(tmp_path, pictures):
    project = as_in_a_clone(tmp_path)
    write_folder(tmp_path / "data" / "folder", pictures)
    output = project.snakemake("--configfile", "config/folder.yaml", "--config", "vocabulary=words.json", check=False)
    for line in (
        "vision_language.weights: weights/ALBEF.pth is not there; usually ALBEF.pth, the authors' checkpoint, 1.8 GB",
        "vision_language.tokens: weights/vocab.txt is not there; usually vocab.txt of bert-base-uncased, 232 kB",
        "text_embedder.weights: openai/clip-vit-base-patch32@3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268 is neither here nor could it be fetched",
        "weights: IMAGENET1K_V1 is neither here nor could it be fetched",
        "vocabulary: words.json is not there",
    ):
        assert line in output
    assert "Traceback" not in output
    assert not list((tmp_path / "data" / "runs").rglob("*.json"))


@pytest.fixture()
def folder(tmp_path, pictures):
    """The miniature's settings over a folder of pictures."""
    config = yaml.safe_load(yaml.safe_dump(MINIATURE))
    part = {"format": "folder", "images": "images", "captions": "captions.csv"}
    config |= {"toy": {"train": 0, "val": 0}, "ingest": {"train": part}, "vocabulary": ""}
    config["finetune_detector"] = {"steps": 0}
    project = Project(tmp_path, config)
    write_folder(tmp_path / "data" / "toy", pictures)
    return project


def categories(project):
    return json.loads((project.run / "categories" / "all.json").read_text())


def test_labels_stand_for_captions(folder):
    table = folder.folder / "data" / "toy" / "captions.csv"
    names = sorted({row[0] for row in list(csv.reader(table.open()))[1:]})
    table.write_text("file,labels\n" + "".join(f'{name},"cat, traffic light"\n' for name in names))
    folder.config["nouns"] = {"source": "labels"}
    folder.write_config()
    for stage in ("ingest", "categories", "nouns"):
        folder.stage(stage)
    assert categories(folder)["base"] == ["cat", "traffic light"]
    nouns = pd.read_parquet(folder.run / "nouns")
    assert len(nouns) == 2 * len(names)
    assert set(nouns.text) == {"a photo of a cat.", "a photo of a traffic light."}
    for row in nouns.itertuples():
        assert row.text[row.start : row.end] == row.category == row.surface


def test_without_a_vocabulary_labels_or_wordnet_there_is_one_line(folder):
    folder.stage("ingest")
    output = folder.stage("categories", check=False)
    assert "name a vocabulary file" in output and "categories.wordnet" in output and "Traceback" not in output


def test_open_mode_takes_the_captions_nouns(folder):
    wordnet = folder.folder / "wordnet"
    wordnet.mkdir()
    write_wordnet(wordnet)
    table = folder.folder / "data" / "toy" / "captions.csv"
    rows = list(csv.reader(table.open()))[1:]
    table.write_text("image,caption\n" + "".join(f"{rows[i][0]},two umbrellas on a run\n" for i in range(4)))
    folder.config["categories"] = {"wordnet": str(wordnet), "min_count": 2}
    folder.write_config()
    for stage in ("ingest", "categories", "nouns"):
        folder.stage(stage)
    assert categories(folder)["open"] == ["umbrella"]
    assert set(pd.read_parquet(folder.run / "nouns").category) == {"umbrella"}


def test_a_name_without_synonyms_is_its_own_word_and_they_are_open_ones(folder):
    """XPM's target names: no other word leads to them, and such words are names of their own."""
    wordnet = folder.folder / "wordnet"
    wordnet.mkdir()
    write_wordnet(wordnet)
    table = folder.folder / "data" / "toy" / "captions.csv"
    names = sorted({row[0] for row in list(csv.reader(table.open()))[1:]})
    table.write_text("image,caption\n" + "".join(f"{name},an umbrella on a dog by a parasol\n" for name in names))
    words = {"base": ["hound"], "novel": ["parasol"], "synonyms": {"hound": ["dog"], "parasol": ["umbrella"]}}
    (folder.folder / "words.json").write_text(json.dumps(words))
    folder.config |= {"vocabulary": "words.json", "categories": {"wordnet": str(wordnet), "min_count": 2}}
    folder.write_config()
    folder.stage("ingest")
    named = {}
    for synonyms in (["base", "novel"], ["base"], []):
        folder.config["categories"]["synonyms"] = synonyms
        folder.write_config()
        for stage in ("categories", "nouns"):
            folder.stage(stage)
        nouns = pd.read_parquet(folder.run / "nouns")
        named[len(synonyms)] = set(zip(nouns.surface, nouns.category)), categories(folder)["open"]
    assert named[2] == ({("parasol", "parasol"), ("umbrella", "parasol"), ("dog", "hound")}, [])
    assert named[1] == ({("parasol", "parasol"), ("umbrella", "umbrella"), ("dog", "hound")}, ["umbrella"])
    assert named[0] == ({("parasol", "parasol"), ("umbrella", "umbrella"), ("dog", "dog")}, ["dog", "umbrella"])


def test_missing_pictures_up_to_the_allowed_share_are_not_held_against_the_stage(folder):
    source = folder.folder / "data" / "toy"
    rows = list(csv.reader((source / "captions.csv").open()))[1:]
    (source / "t.tsv").write_text(
        "".join(f"{caption}\thttp://x.example/{i}\n" for i, (_, caption) in enumerate(rows[:4]))
    )
    for i in (0, 1, 3):
        Image.new("RGB", (40, 30)).save(source / "images" / f"{i}.jpg")
    part = {"format": "conceptual_captions", "images": "images", "captions": "t.tsv", "file_name": "{row}.jpg"}
    folder.config["ingest"] = {"train": part, "max_missing_fraction": 0.2}
    folder.write_config()
    output = folder.stage("ingest", check=False)
    assert "1 missing_image" in output and "max_reject_fraction" in output
    folder.config["ingest"]["max_missing_fraction"] = 0.25
    folder.write_config()
    folder.stage("ingest")
    assert list(pd.read_parquet(folder.run / "images").image_id) == ["cc_0", "cc_1", "cc_3"]
    assert list(pd.read_parquet(folder.run / "ingest" / "_rejects").image_id) == ["cc_2"]
    assert set(pd.read_parquet(folder.run / "captions").image_id) == {"cc_0", "cc_1", "cc_3"}


def test_open_images_becomes_tables_and_a_counted_split(folder, openimages_root):  # noqa: F811
    (openimages_root / "train").mkdir()
    for image_id in ("000a", "0b1c", "f00d"):
        Image.new("RGB", (80, 40), (90, 120, 60)).save(openimages_root / "train" / f"{image_id}.jpg")
    part = {key: value for key, value in vars(PART).items() if value} | {"format": "openimages"}
    folder.config |= {"root": str(openimages_root), "ingest": {"train": part}, "max_reject_fraction": 0.5, "shards": 2}
    folder.config["categories"] = {"base": 1, "novel": 1}
    folder.write_config()
    folder.stage("ingest")
    folder.stage("categories")
    assert categories(folder)["base"] == ["Coffee cup"] and categories(folder)["novel"] == ["Cat"]
    annotations = pd.read_parquet(folder.run / "annotations").sort_values("annotation_id")
    assert list(annotations.category) == ["Cat", "Coffee cup", "Coffee cup"]
    assert sorted(annotations.iscrowd) == [False, False, True]
    assert [len(pd.read_parquet(folder.run / "images" / f"{i}.parquet")) for i in (0, 1)] == [2, 1]
    labels = pd.read_parquet(folder.run / "labels")
    assert set(zip(labels.image_id, labels.category)) == {
        ("000a", "Cat"),
        ("0b1c", "Coffee cup"),
        ("f00d", "Human ear, left"),
    }


def test_runs_of_the_papers_data_sets_are_planned_without_their_files(tmp_path):
    """In three shards: of so many thousand jobs as are configured a plan takes long."""
    project = as_in_a_clone(tmp_path)

    def plan(*names: str) -> str:
        files = [f"config/{name}.yaml" for name in names]
        return project.snakemake("-n", "--quiet", "rules", "--configfile", *files, "--config", "shards=3")

    for name, shards in (("coco", 64), ("openimages", 512)):
        assert yaml.safe_load((tmp_path / "config" / f"{name}.yaml").read_text())["shards"] == shards
    jobs = {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", plan("coco"), re.M)}
    assert jobs["gradcam"] == jobs["segment"] == jobs["nouns"] == jobs["teacher_labels"] == 3
    assert jobs["train_detector"] == 2 and jobs["finetune_detector"] == 1 and jobs["relabel"] == 3, "two rounds"
    assert jobs["detect"] == 5, "of four detectors, and of the first round's"
    assert jobs["train_teacher"] == jobs["train_student"] == 1
    jobs_of_xpm = plan("coco", "xpm")
    assert "train_student" in jobs_of_xpm and "gradcam" not in jobs_of_xpm and "train_detector" not in jobs_of_xpm
    output = project.snakemake(
        "--configfile", "config/coco.yaml", "config/xpm.yaml", "--config", "categories={wordnet: nowhere}", "shards=3",
        check=False,
    )  # fmt: skip
    assert "categories.wordnet: nowhere is not there; usually /usr/share/wordnet (Debian's wordnet-base)" in output
    assert "text_embedder.weights: google-bert/bert-base-uncased@86b5e09" in output and "Traceback" not in output
    jobs_of_ovis = plan("openimages", "ovis")
    assert re.search(r"^segment +3$", jobs_of_ovis, re.M) and re.search(r"^detect +2$", jobs_of_ovis, re.M)
    assert "finetune_detector" in jobs_of_ovis
    assert "train_teacher" not in jobs_of_ovis and "pretrain_captions" not in jobs_of_ovis
    output = project.snakemake(
        "data/runs/coco/manifests/train_detector/all.json", "-n", "-p", "--configfile", "config/coco.yaml", "--config",
        "shards=1", "--set-resources", "train_detector:gpu=8",
    )  # fmt: skip
    assert "--gpus 8" in output
