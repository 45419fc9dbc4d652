"""A data set of several sources: annotations of one, captions of another, one vocabulary; as one folder each, of its own format."""

import csv
import json
from contextlib import closing

import pandas as pd
import pytest
import yaml

from exports.labelled import Labelled
from pipeline.config import checked
from pipeline.parameters import file_parameters, file_path
from pipeline.registry import stages
from sources.toy import scenes as toy
from structures.errors import UserError
from tests.bucket import Bucket
from tests.conftest import MINIATURE, Project
from tests.sources.tar_files import jpeg


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Drawn scenes, of which the first six are a COCO with masks and no captions, the others a folder with captions alone."""
    folder = tmp_path_factory.mktemp("drawn")
    toy.write_split(folder / "masks", "train", 10, 5)
    toy.write_split(folder / "masks", "val", 3, 5)
    annotations = folder / "masks" / "annotations"
    captions = json.loads((annotations / "captions_train.json").read_text())
    instances = json.loads((annotations / "instances_train.json").read_text())
    names = {image["id"]: image["file_name"] for image in captions["images"][6:]}
    (folder / "captions" / "pictures").mkdir(parents=True)
    for name in names.values():
        (folder / "masks" / "train" / name).rename(folder / "captions" / "pictures" / name)
    rows = [(names[row["image_id"]], row["caption"]) for row in captions["annotations"] if row["image_id"] in names]
    with (folder / "captions" / "all.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "caption"), *rows])
    for key, of_image in (("images", "id"), ("annotations", "image_id")):
        instances[key] = [row for row in instances[key] if row[of_image] not in names]
    (annotations / "instances_train.json").write_text(json.dumps(instances))
    return folder


MASKS = {
    "train": {"images": "train", "instances": "annotations/instances_train.json"},
    "val": {"images": "val", "instances": "annotations/instances_val.json"},
}
CAPTIONS = {"captioned": {"format": "folder", "images": "pictures", "captions": "all.csv"}}


def project_of(folder, *sources: dict, **changes) -> Project:
    config = yaml.safe_load(yaml.safe_dump(MINIATURE)) | {"toy": {"train": 0, "val": 0}, "sources": list(sources)}
    del config["root"], config["ingest"]
    return Project(folder, config | {"detectors": ["train_detector", "finetune_detector"]} | changes)


def table(project: Project, name: str) -> pd.DataFrame:
    return pd.read_parquet(project.run / name)


def test_masks_of_one_source_and_captions_of_another_become_labels(tmp_path, drawn):
    masks, captions = ({"name": name, "root": str(drawn / name)} for name in ("masks", "captions"))
    project = project_of(tmp_path, masks | MASKS, captions | CAPTIONS, export={"formats": ["coco"]})
    project.snakemake("--until", "export")
    images = table(project, "images")
    source, split = images.path.str.split("/").str[0], images.split
    assert {(a, b): len(rows) for (a, b), rows in images.groupby([source, split])} == {
        ("masks", "train"): 6, ("masks", "val"): 3, ("captions", "train"): 4,
    }  # fmt: skip
    assert (images.image_id.str.split("/").str[0] == source).all()
    annotations, texts = table(project, "annotations"), table(project, "captions")
    assert set(annotations.image_id.str.split("/").str[0]) == {"masks"} == set(annotations.annotation_id.str[:5])
    assert set(texts.image_id.str.split("/").str[0]) == {"captions"} and texts.caption_id.is_unique
    named = set(table(project, "nouns").image_id)
    labels = json.loads((project.run / "pseudo_labels" / "all.json").read_text())
    assert named and labels["annotations"] and all(image_id.startswith("captions/") for image_id in named)
    exported = json.loads((project.run / "export" / "coco" / "instances.json").read_text())
    own = {row["original_id"]: row["id"] for row in exported["images"]}
    assert set(own) == set(images.image_id[images.split == "train"])
    assert all(own[image_id] == int(image_id[6:]) for image_id in own if image_id.startswith("masks/"))
    assert len(set(own.values())) == 10, "those of the folder are no numbers, and come behind"
    judged = table(project, "judged")
    assert set(judged.image_id) == set(images.image_id[source == "captions"]), "nobody looked for anything there"
    assert "rule export" not in project.snakemake("--until", "export", "-n"), "nothing is to be done again"
    project.config["sources"][1]["root"] = str(tmp_path / "moved")
    (tmp_path / "moved").symlink_to(drawn / "captions")
    project.write_config()
    assert "nothing new, linked what is known" in project.stage("ingest"), (
        "where a source lies is no part of the result"
    )


def test_one_source_may_be_in_a_bucket_and_the_other_on_disk(tmp_path, drawn, monkeypatch):
    masks, captions = ({"name": name, "root": str(drawn / name)} for name in ("masks", "captions"))
    on_disk = project_of(tmp_path / "disk", masks | MASKS, captions | CAPTIONS)
    mixed = project_of(tmp_path / "mixed", masks | MASKS, captions | CAPTIONS | {"root": "s3://pictures/sets/captions"})
    with closing(Bucket()) as bucket:
        bucket.upload(drawn / "captions", "sets/captions")
        for name, value in bucket.environment.items():
            monkeypatch.setenv(name, value)
        mixed.snakemake("--until", "nouns", "selective_search")
        fetched = {request.path for request in bucket.read("jpg")}
    for stage in ("ingest", "categories", "nouns", "selective_search"):
        on_disk.stage(stage)
    assert len(fetched) == 4, "those of the other source are read on disk"
    for name in ("images", "captions", "annotations", "nouns", "proposals"):
        files = [sorted((project.run / name).glob("*.parquet")) for project in (on_disk, mixed)]
        assert [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[1]] != [], name


def test_a_picture_of_one_source_is_not_judged_for_what_only_another_one_annotates(tmp_path, drawn):
    """A pillow that a detector finds in a picture of COCO's is no error, though another source has pillows."""
    annotations = tmp_path / "other" / "annotations"
    annotations.mkdir(parents=True)
    content = json.loads((drawn / "masks" / "annotations" / "instances_val.json").read_text())
    [image] = content["images"] = content["images"][:1]
    content["annotations"] = [row for row in content["annotations"] if row["image_id"] == image["id"]]
    (tmp_path / "other" / "val").mkdir()
    picture = (drawn / "masks" / "val" / image["file_name"]).read_bytes() + b" "  # else it were the same
    (tmp_path / "other" / "val" / image["file_name"]).write_bytes(picture)
    own = {row["name"] for row in content["categories"]}
    content["categories"] = [row | {"name": f"other {row['name']}"} for row in content["categories"]]
    (annotations / "instances_val.json").write_text(json.dumps(content))
    masks, other = {"name": "masks", "root": str(drawn / "masks")}, {"name": "other", "root": str(tmp_path / "other")}
    project = project_of(tmp_path, other | {"val": MASKS["val"]}, masks | MASKS)
    project.stage("ingest")
    assert table(project, "judged").empty and len(table(project, "images")) == 6 + 3 + 1, (
        "each picture was looked through for all that its source names"
    )
    named = table(project, "source_categories").groupby("source").category.agg(set)
    assert dict(named) == {"masks": own, "other": {f"other {name}" for name in own}}


def test_one_source_is_the_same_as_root_and_ingest(tmp_path, drawn):
    one = project_of(tmp_path / "one", {"name": "masks", "root": str(drawn / "masks")} | MASKS)
    plain = project_of(tmp_path / "plain", sources=[], root=str(drawn / "masks"), ingest=MASKS)
    for project in (one, plain):
        project.stage("ingest")
    for name in ("images", "captions", "annotations", "labels", "judged", "source_categories", "category_counts"):
        files = [sorted((project.run / name).glob("*.parquet")) for project in (one, plain)]
        assert [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[1]], name


def folder_of(root, name: str, pictures: dict[str, bytes]) -> dict:
    """A source: a folder of pictures whose captions name their source and file."""
    (root / name).mkdir(parents=True)
    for file, content in pictures.items():
        (root / name / file).write_bytes(content)
    rows = "".join(f"{file},a cat of {name} {file}\n" for file in pictures)
    (root / name / "t.csv").write_text(f"image,caption\n{rows}")
    return {"name": name, "root": str(root / name)}


PART = {"format": "folder", "images": ".", "captions": "t.csv"}


def test_of_pictures_that_two_sources_share_one_is_kept_and_one_in_val_before_others(tmp_path):
    shared, held_out = jpeg((1, 2, 3)), jpeg((4, 5, 6))
    first = folder_of(
        tmp_path, "first", {"a.jpg": shared, "b.jpg": shared, "v.jpg": held_out, "own.jpg": jpeg((9, 9, 9))}
    )
    second = folder_of(tmp_path, "second", {"a.jpg": jpeg((7, 7, 7)), "other.jpg": shared})
    third = folder_of(tmp_path, "third", {"x.jpg": held_out})
    project = project_of(tmp_path, first | {"train": PART}, second | {"captioned": PART}, third | {"val": PART})
    project.stage("ingest")
    images = table(project, "images").set_index("image_id")
    kept = ["first/a.jpg", "first/b.jpg", "first/own.jpg", "second/a.jpg", "third/x.jpg"]
    assert list(images.index) == kept and list(images.split) == ["train"] * 4 + ["val"]
    captions = table(project, "captions")
    assert dict(zip(captions.image_id, captions.text)) == {i: f"a cat of {i.replace('/', ' ')}" for i in kept}
    rejects = pd.read_parquet(project.run / "ingest" / "_rejects")
    assert set(rejects.image_id) == {"first/v.jpg", "second/other.jpg"} and not rejects.counted.any()
    assert set(rejects.reason) == {"repeated_picture"}
    assert "the same picture as third/x.jpg, of another source" in rejects.detail[0]


def test_pictures_with_captions_alone_are_not_held_out_for_val(tmp_path):
    """Nothing could be scored there; and a picture that another source annotates would be theirs."""
    same = {f"{i}.jpg": jpeg((i, 0, 0)) for i in range(8)}
    first, second = (folder_of(tmp_path, name, same) for name in ("first", "second"))
    third = folder_of(tmp_path, "third", {f"{i}.jpg": jpeg((i, 9, 9)) for i in range(8)})
    sources = first | {"train": PART}, second | {"captioned": PART}, third | {"captioned": PART}
    project = project_of(tmp_path, *sources, ingest={"holdout": 0.25})
    project.stage("ingest")
    images = table(project, "images")
    assert list(images.image_id[images.split == "val"]) == ["first/2.jpg", "first/6.jpg"]
    assert set(images.image_id.str.split("/").str[0]) == {"first", "third"}


def test_a_picture_is_looked_for_in_its_own_source_and_never_out_of_it(tmp_path):
    first = folder_of(tmp_path, "first", {"a.jpg": jpeg((1, 1, 1))})
    second = folder_of(tmp_path, "second", {"b.jpg": jpeg((2, 2, 2))})
    (tmp_path / "second" / "t.csv").write_text("image,caption\nb.jpg,a cat\n../first/a.jpg,a cat\na.jpg,a cat\n")
    project = project_of(tmp_path, first | {"train": PART}, second | {"train": PART}, max_reject_fraction=1)
    project.stage("ingest")
    assert list(table(project, "images").image_id) == ["first/a.jpg", "second/b.jpg"]
    rejects = pd.read_parquet(project.run / "ingest" / "_rejects")
    assert dict(zip(rejects.image_id, rejects.reason)) == {
        "second/../first/a.jpg": "outside_root",
        "second/a.jpg": "missing_image",
    }


SOURCE = {"name": "a", "root": "here", "train": PART}


@pytest.mark.parametrize(
    ("sources", "changes", "message"),
    [
        ([SOURCE, SOURCE], {}, "sources: 2 are called 'a'; give each its own name"),
        ([SOURCE, SOURCE | {"name": "b/c"}], {}, "sources.1.name is 'b/c', wanted like"),
        ([SOURCE | {"name": ".."}], {}, "sources.0.name is '..', wanted like"),
        ([{"name": "a", "root": "here"}], {}, "sources.0: the source 'a' has no part with images"),
        ([SOURCE | {"holdout": 0.1}], {}, "unknown key sources.0.holdout: there is ingest.holdout"),
        ([SOURCE], {"root": "x"}, "root is 'x', but each of sources has its own: leave root out"),
        ([SOURCE], {"ingest": {"train": PART}}, "ingest.train.images is set, but sources are, too"),
        ([SOURCE], {"toy": {"train": 4, "val": 1}}, "toy.train is set, but"),
        ([], {}, "'root' is a required property, or else 'sources'"),
        ([SOURCE, SOURCE | {"name": "b", "root": "gone"}], {}, "sources.1.root: gone is not there; point the config key"),
        ([SOURCE | {"train": PART | {"captions": "no.csv"}}], {}, "sources.0.train.captions: here/no.csv is not there"),
    ],
)  # fmt: skip
def test_sources_that_are_none_are_told_before_anything_starts(tmp_path, sources, changes, message):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "t.csv").write_text("image,caption\na.jpg,a cat\n")
    output = project_of(tmp_path, *sources, **changes).stage("ingest", check=False)
    assert message in output and "Traceback" not in output


def numbers(*image_ids: str, sources: tuple[str, ...]) -> list[int]:
    images = [({"image_id": image_id}, []) for image_id in sorted(image_ids)]
    return [number for number, *_ in Labelled("x", (), lambda: images, sources=sources).numbered()]


def test_exports_keep_ids_that_are_numbers_where_sources_have_none_in_common():
    assert numbers("a/7", "a/9", "b/x", "b/y", sources=("a", "b")) == [7, 9, 10, 11]
    assert numbers("a/7", "b/8", "c/9", sources=("a", "b", "c")) == [7, 8, 9]
    assert numbers("a/7", "a/9", "b/8", "b/9", sources=("b", "a")) == [10, 11, 8, 9], "the first of the configuration"
    assert numbers("a/x", "b/y/1", sources=("a", "b")) == [1, 2]
    assert numbers("3", "5", sources=()) == [3, 5] and numbers("3", "x/5", sources=()) == [1, 2]


def test_a_file_of_the_data_set_that_another_stage_reads_is_of_the_source_that_it_names(tmp_path):
    def path(config: dict) -> str:
        [file] = [p for p in file_parameters(stages()["evaluate"], config) if p.key == "evaluate.hierarchy"]
        return str(file_path(file, config))

    sources = [SOURCE, SOURCE | {"name": "b", "root": "there"}]
    config = {"run": "r", "evaluate": {"hierarchy": "b/h.json"}}
    assert path(checked(config | {"sources": sources})) == "there/h.json"
    assert (
        path(checked(config | {"root": "here"})) == path(checked(config | {"sources": sources[:1]})) == "here/b/h.json"
    )
    with pytest.raises(UserError, match=r"evaluate.hierarchy is c/h.json, wanted a source's name \(a, b\)"):
        path(checked(config | {"sources": sources, "evaluate": {"hierarchy": "c/h.json"}}))
