"""The miniature pipeline: its artifacts, what reruns when, and that neither shards nor a second run change a byte."""

import json
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from pycocotools.coco import COCO

from schemas.tables import TABLES
from sources.coco import read_coco
from store.manifest import Run
from tests.conftest import MINIATURE, Project


def test_every_table_can_be_read_and_has_its_schema(miniature):
    for name, table in TABLES.items():
        if name in ("round_masks", "label_quality", "reviewed_masks"):  # test_rounds; of decisions: test_review
            continue
        frame = pd.read_parquet(miniature.run / name)
        of_several = (
            "judged",
            "source_categories",
        )  # of one COCO, which was judged for all categories, they have no row
        assert len(frame) > 0 or name in of_several, name
        assert list(frame.columns) == table.schema.names
        for file in (miniature.run / name).glob("*.parquet"):
            assert pq.read_schema(file).equals(table.schema), name
        assert not frame.duplicated(list(table.key)).any(), name


def test_maps_are_scaled_and_of_the_models_grid(miniature):
    for row in pd.read_parquet(miniature.run / "gradcam").itertuples():
        maps = np.array(row.maps, np.float32).reshape(3, row.height, row.width)
        assert (row.height, row.width) == (8, 8)
        assert maps.min() >= 0
        assert maps[0].max() == 1
        assert len(row.itm_logit) == 3


def test_boxes_lie_inside_their_image(miniature):
    sizes = pd.read_parquet(miniature.run / "images").set_index("image_id")
    for row in pd.read_parquet(miniature.run / "wspn_proposals").itertuples():
        boxes, image = np.stack(row.boxes), sizes.loc[row.image_id]
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2] <= image.width).all() and (boxes[:, 3] <= image.height).all()
        assert (boxes[:, 2:] - boxes[:, :2] >= 1).all()
        assert len(boxes) <= 50
        assert (np.diff(row.scores) <= 0).all()


def test_only_training_images_are_labelled_and_only_others_detected(miniature):
    split = pd.read_parquet(miniature.run / "images").set_index("image_id").split
    for table, split_of_table in (("nouns", "train"), ("pseudo_masks", "train"), ("detections", "val")):
        ids = pd.read_parquet(miniature.run / table).image_id.unique()
        assert set(split[ids]) == {split_of_table}, table


def test_pseudo_labels_load_in_pycocotools_and_read_back_unchanged(miniature):
    file = miniature.run / "pseudo_labels" / "all.json"
    coco = COCO(str(file))
    masks = pd.read_parquet(miniature.run / "pseudo_masks")
    masks = masks[masks.area >= 16]
    assert len(coco.anns) == len(masks)
    back = read_coco(file.parent, ".", file.name)
    assert not back.faults
    written = {(r.image_id, r.category, r.segmentation["counts"], r.area) for r in masks.itertuples()}
    assert {(a["image_id"], a["category"], a["segmentation"]["counts"], a["area"]) for a in back.annotations} == written
    for annotation in back.annotations:
        assert coco.annToMask(coco.anns[int(annotation["annotation_id"])]).sum() == annotation["area"]


def test_manifests_count_rows_and_hold_no_time_host_or_path(miniature):
    for manifest in Run(miniature.folder / "data", "mini").manifests():
        text = manifest.to_json()
        assert str(miniature.folder) not in text
        for output in manifest.outputs:
            link = miniature.run / output.path
            assert link.is_symlink() and link.stat().st_size == output.bytes
            assert link.resolve().stat().st_mode & 0o222 == 0
            if output.rows is not None:
                assert pq.read_metadata(link).num_rows == output.rows


def test_contact_sheets_are_pictures(miniature):
    sheets = sorted((miniature.run / "report").glob("*.png"))
    assert [sheet.name for sheet in sheets] == ["noise.png", "train_00.png", "train_01.png", "val.png"]
    assert all(sheet.read_bytes().startswith(b"\x89PNG") for sheet in sheets)


def test_the_overview_holds_the_main_pictures_and_tables(miniature):
    folder = miniature.run / "overview"
    assert [sheet.name for sheet in sorted((folder / "pictures").glob("*.png"))] == [
        "noise.png",
        "train_00.png",
        "train_01.png",
        "val.png",
    ]
    labels = pd.read_csv(folder / "labels.csv")
    assert labels.labels.sum() == sum(
        len(pd.read_parquet(miniature.run / name)) for name in ("pseudo_masks", "teacher_masks")
    )
    costs = pd.read_csv(folder / "costs.csv").set_index("stage")
    assert costs.seconds["segment"] > 0 and "gallery" in costs.index
    assert len(pd.read_csv(folder / "scores.csv")) > 10
    assert (folder / "costs.js").read_text().startswith('gallery.take("../overview/costs", "[[')


def test_snakemake_makes_a_page_of_them(miniature):
    miniature.snakemake("--report", "page.html")
    page = (miniature.folder / "page.html").read_text()
    for name in ("train_00.png", "val.png", "scores.csv", "labels.csv", "costs.csv"):
        assert name in page, name


def test_nothing_is_done_twice(miniature):
    assert "Nothing to be done" in miniature.snakemake()


def test_what_a_kill_took_from_the_middle_is_made_again(miniature, tmp_path):
    """Snakemake removes the manifest that a job is to make anew; what was made of it is there, and as it will be."""
    shutil.copytree(miniature.folder, tmp_path / "copy", symlinks=True)
    copy = Project(tmp_path / "copy", MINIATURE)
    kept = {file: file.read_bytes() for file in (copy.run / "manifests").rglob("*.json")}
    for name in ("gradcam/0.json", "train_detector/all.json"):
        (copy.run / "manifests" / name).unlink()
    assert "train_detector all: nothing new" in copy.snakemake()
    assert {file: file.read_bytes() for file in (copy.run / "manifests").rglob("*.json")} == kept
    assert "Nothing to be done" in copy.snakemake()


def test_a_changed_parameter_reruns_its_stage_and_what_depends_on_it(miniature):
    plan = miniature.snakemake("-n", "--config", "gradcam={iterations: 1}")
    planned = {line.split()[-1].rstrip(":") for line in plan.splitlines() if line.startswith(("rule ", "localrule "))}
    dependent = {"select_boxes", "segment", "pseudo_labels", "train_detector", "finetune_detector", "detect"}
    dependent |= {"student_labels", "train_student", "label_noise"}  # the student learns from both systems' labels
    assert planned == dependent | {"gradcam", "evaluate_labels", "evaluate", "report", "gallery", "overview", "all"}


def test_parameters_of_methods_not_chosen_and_neutral_ones_rerun_nothing(miniature):
    changes = ("segment={grabcut: {rounds: 5}}", "training={workers: 2, save_every: 7}", "propose={by: wspn}")
    assert "Nothing to be done" in miniature.snakemake("-n", "--config", *changes)


def test_going_back_to_an_old_parameter_is_a_memo_hit(miniature):
    before = pd.read_parquet(miniature.run / "pseudo_boxes")
    other = miniature.snakemake("--config", "select_boxes={instances: 2}", "--until", "select_boxes")
    assert "nothing new" not in other
    back = miniature.snakemake("--until", "select_boxes")
    assert "select_boxes 0: nothing new" in back
    pd.testing.assert_frame_equal(before, pd.read_parquet(miniature.run / "pseudo_boxes"))
    stored = {file.name for file in (miniature.folder / "data" / "store").rglob("*.*")}
    miniature.snakemake()
    assert {file.name for file in (miniature.folder / "data" / "store").rglob("*.*")} == stored, "nothing is made again"
    assert "Nothing to be done" in miniature.snakemake()


def test_a_stage_by_hand_leaves_the_run_alone(miniature):
    before = (miniature.run / "manifests" / "gradcam" / "0.json").read_bytes()
    miniature.stage("gradcam", "--iterations", "1")
    assert (miniature.run / "manifests" / "gradcam" / "0.json").read_bytes() == before
    by_hand = pd.read_parquet(miniature.folder / "data/runs/mini-by-hand/gradcam")
    assert {len(maps) for maps in by_hand.maps} == {64}
    keys = [m.key for m in Run(miniature.folder / "data", "mini-by-hand").manifests()]
    old = json.loads(before)["key"]
    output = miniature.store("diff", old[:12], keys[0][:12])
    assert "iterations: 3 -> 1" in output and f"{len(by_hand)} changed" in output
    assert miniature.store("gc", "--keep-memo")
    assert "Nothing to be done" in miniature.snakemake()


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    """The miniature again from nothing, in two shards, up to the first trainings that see no shard."""
    from tests.conftest import MINIATURE, Project

    project = Project(tmp_path_factory.mktemp("sharded"), MINIATURE | {"shards": 2})
    project.snakemake("--until", "evaluate_labels", "train_detector", "student_labels")
    return project


def sorted_rows(folder, key):
    return sorted(pq.read_table(folder).to_pylist(), key=lambda row: ([row[column] for column in key], str(row)))


def test_shards_give_the_same_rows_and_the_same_bytes_behind_them(miniature, sharded):
    later = {"detections", "proposal_metrics", "metrics", "label_noise"}
    later |= {"round_masks", "label_quality", "reviewed_masks"}  # test_rounds, test_review
    for name in TABLES.keys() - later:
        one, two = (sorted_rows(project.run / name, TABLES[name].key) for project in (miniature, sharded))
        assert one == two, name
        files = {"shard": 2, "run": 1}[TABLES[name].per]
        assert len(list((sharded.run / name).glob("*.parquet"))) == files
    trained = [
        f"{stage}/all.safetensors" for stage in ("train_wspn", "train_detector", "pretrain_captions", "train_teacher")
    ]
    for path in (*trained, "pseudo_labels/all.json", "categories/all.json"):
        assert (miniature.run / path).resolve().name == (sharded.run / path).resolve().name, path
    # Fewer shards again: the links of the others go.
    sharded.config["shards"] = 1
    sharded.write_config()
    sharded.snakemake("--until", "nouns")
    assert [file.name for file in (sharded.run / "nouns").glob("*.parquet")] == ["0.parquet"]
    first = (miniature.run / "manifests" / "nouns" / "0.json").read_bytes()
    assert (sharded.run / "manifests" / "nouns" / "0.json").read_bytes() == first


def test_proposals_are_compared_on_validation_images(miniature):
    metrics = pd.read_parquet(miniature.run / "metrics").query("protocol.str.startswith('val_proposals')")
    assert (metrics.detector == "").all() and metrics.value.between(0, 1).all()
    assert set(metrics.kind) == {"rpn", "wspn", "selective_search"}
    split = pd.read_parquet(miniature.run / "images").set_index("image_id").split
    annotations = pd.read_parquet(miniature.run / "annotations")
    objects = annotations[(annotations.image_id.map(split) == "val") & ~annotations.iscrowd]
    vocabulary = json.loads((miniature.run / "categories" / "all.json").read_text())
    for group in ("base", "novel"):
        counts = objects[objects.category.isin(vocabulary[group])].category.value_counts()
        each = metrics[(metrics.protocol == f"val_proposals_{group}") & (metrics.metric == "recall")]
        assert set(each.group) == set(counts.index) and len(each) == 3 * len(counts)
        whole = metrics[(metrics.protocol == "val_proposals") & (metrics.metric == "recall") & (metrics.group == group)]
        for kind, recall in whole.set_index("kind").value.items():
            shares = each[each.kind == kind].set_index("group").value
            assert recall == pytest.approx((shares * counts).sum() / counts.sum())
    found = metrics.pivot_table(index=["protocol", "kind", "group"], columns="metric", values="value")
    assert (found.recall50 <= found.recall).all()
    assert found.recall["val_proposals", "selective_search", "all"] > 0.5


def test_wspn_is_compared_only_where_it_proposes(miniature):
    changes = ("--propose.by", "selective_search", "--into", "compared")
    assert "propose.by is selective_search" in miniature.stage("evaluate_proposals", *changes, check=False)


def test_logs_say_how_many_images_count(miniature):
    images = pd.read_parquet(miniature.run / "images").set_index("image_id").split
    vocabulary = json.loads((miniature.run / "categories" / "all.json").read_text())
    annotations = pd.read_parquet(miniature.run / "annotations")
    split = annotations.image_id.map(images)
    base = annotations[(split == "train") & annotations.category.isin(vocabulary["base"])]
    for stage in ("train_teacher", "finetune_detector"):
        log = (miniature.folder / "logs" / "mini" / stage / "all.log").read_text()
        assert f"{base.image_id.nunique()} images hold {len(base)} annotations of base categories" in log
    log = (miniature.folder / "logs" / "mini" / "evaluate" / "all.log").read_text()
    for group in ("base", "novel"):
        of_group = annotations[(split == "val") & annotations.category.isin(vocabulary[group])]
        assert f"{group}: {len(of_group)} annotations, crowds counted, in {of_group.image_id.nunique()} images" in log
