"""The papers' tables from scores."""

import json

import pandas as pd
import pytest

from pipeline.paper_tables import COLUMNS, check_variants, filled, markdown, read_layout, show
from pipeline.variants import run_name
from store.fingerprint import ROOT
from structures.errors import UserError

LAYOUT = [
    {
        "table": "T",
        "note": "paper on COCO",
        "columns": ["generalized segm novel", "pseudo_labels mask all iou"],
        "rows": [
            {"row": "labels", "variant": "a", "protocol": "pseudo_labels", "paper": [14.8, None]},
            {"row": "detector", "variant": "b", "detector": "train_detector"},
            {"row": "not run", "variant": "c", "detector": "train_detector"},
        ],
    }
]


def scores(novel, own):
    rows = [
        ("train_detector", "generalized", "segm", "novel", "AP50", novel),
        ("train_detector", "generalized", "segm", "novel", "AP", 1.0),
        ("", "pseudo_labels", "segm", "novel", "AP50", own),
        ("", "pseudo_labels", "mask", "all", "iou", 0.5),
    ]
    return pd.DataFrame(rows, columns=["detector", "protocol", "kind", "group", "metric", "value"])


def test_cells_are_the_scores_of_their_row_variant_and_seed():
    cells = filled(LAYOUT, {("a", 1): scores(0, 20.0), ("b", 1): scores(40.0, 0), ("b", 2): scores(44.0, 0)})
    assert tuple(cells.columns) == COLUMNS
    novel = cells[cells.measure == "generalized segm novel"]
    assert novel[["row", "seed", "value"]].to_numpy().tolist() == [
        ["labels", 1, 20.0], ["detector", 1, 40.0], ["detector", 2, 44.0],
    ]  # fmt: skip
    assert novel.paper_value.tolist()[0] == 14.8 and novel.paper_value.isna().sum() == 2
    text = " ".join(markdown(LAYOUT, cells, "drawn scenes").split())
    assert "| labels | 20.0 [14.8] | 0.500 |" in text and "| detector | 42.0 ± 2.8 | 0.500 ± 0.000 |" in text
    assert "not run" not in text and "drawn scenes" in text


def test_variants_that_no_row_shows_are_not_asked_for(tmp_path, capsys):
    (tmp_path / "layout.yaml").write_text(json.dumps(LAYOUT))
    for variant in "abc":
        folder = tmp_path / "runs" / run_name("toy", variant, 1) / "metrics"
        folder.mkdir(parents=True)
        scores(40.0, 20.0).to_parquet(folder / "all.parquet")
    show(tmp_path, "toy", tmp_path / "layout.yaml", [(variant, "1") for variant in "abcd"])
    assert set(pd.read_parquet(tmp_path / "tables.parquet").row) == {"labels", "detector", "not run"}
    assert "| detector" in capsys.readouterr().out


def test_rows_of_one_measure_may_be_of_several_kinds():
    table = {"table": "T", "note": "n", "columns": ["proposals any novel recall50"]}
    rows = [{"row": k, "variant": "a", "protocol": "proposals", "kind": k} for k in ("rpn", "wspn")]
    frame = pd.DataFrame(
        [("", "proposals", "rpn", "novel", "recall50", 0.3), ("", "proposals", "wspn", "novel", "recall50", 0.6)],
        columns=["detector", "protocol", "kind", "group", "metric", "value"],
    )
    cells = filled([table | {"rows": rows}], {("a", 1): frame})
    assert dict(zip(cells.row, cells.value)) == {"rpn": 0.3, "wspn": 0.6}


def test_a_row_must_have_one_number_a_column(tmp_path):
    file = tmp_path / "tables.yaml"
    file.write_text("- {table: T, note: n, columns: [a b c], rows: [{row: r, variant: v, paper: [1, 2]}]}")
    with pytest.raises(UserError, match="T, r: one number a column"):
        read_layout(file)
    with pytest.raises(UserError, match=r"none\.yaml: No such file"):
        read_layout(tmp_path / "none.yaml")
    assert len(read_layout(ROOT / "config" / "tables.yaml")) >= 8


def test_every_row_is_of_a_variant_that_exists_and_every_variant_has_a_row():
    file = ROOT / "config" / "tables.yaml"
    shipped = {path.stem for path in (ROOT / "config" / "variants").glob("*.yaml")}
    asked = check_variants(file, shipped) | check_variants(ROOT / "config" / "tables_steps.yaml", shipped)
    assert asked == shipped
    with pytest.raises(UserError, match="there is no variant ovis_g1; add its file"):
        check_variants(file, shipped - {"ovis_g1"})
    of_open_images = check_variants(ROOT / "config" / "tables_openimages.yaml", shipped)
    assert {"xpm", "ovis_image_labels", "xpm_none"} <= of_open_images < shipped
