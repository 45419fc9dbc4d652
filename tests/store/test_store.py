"""Blobs, memo, fingerprints, tables, configuration and the training loop."""

import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from store import fingerprint as fp
from store.blobs import Blobs, file_digest
from store.config import ConfigError, checked, schema
from store.tables import SchemaError, TableWriter, read_rows
from store.training import TrainingError, train, warmup_cosine, warmup_steps


def test_a_blob_is_named_by_its_content_and_cannot_be_written(tmp_path):
    blobs = Blobs(tmp_path)
    with blobs.draft(".json") as draft:
        draft.write_text("hello")
        digest, size = blobs.keep(draft)
    path = blobs.path(digest, ".json")
    assert path.read_text() == "hello" and file_digest(path) == digest and size == 5
    assert path.stat().st_mode & 0o777 == 0o444
    assert not list((tmp_path / "store" / "drafts").iterdir())


def test_a_draft_that_fails_leaves_nothing(tmp_path):
    blobs = Blobs(tmp_path)
    with pytest.raises(RuntimeError), blobs.draft(".json") as draft:
        draft.write_text("half")
        raise RuntimeError
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_a_truncated_blob_is_noticed(tmp_path):
    blobs = Blobs(tmp_path)
    with blobs.draft(".json") as draft:
        draft.write_text("hello")
        digest, size = blobs.keep(draft)
    path = blobs.path(digest, ".json")
    path.chmod(0o644)
    path.write_text("jello")
    assert blobs.check(digest, ".json", size, whole=False) == path
    with pytest.raises(Exception, match="does not hold"):
        blobs.check(digest, ".json", size, whole=True)
    path.write_text("hell")
    with pytest.raises(Exception, match="cut short"):
        blobs.check(digest, ".json", size, whole=False)


@pytest.fixture()
def copied_project(tmp_path, monkeypatch):
    for room in fp.ROOMS:
        shutil.copytree(fp.ROOT / room, tmp_path / room)
    monkeypatch.setattr(fp, "ROOT", tmp_path)
    fp._parsed.cache_clear()
    yield tmp_path
    fp._parsed.cache_clear()


def fresh_print(module):
    fp._parsed.cache_clear()
    return fp.fingerprint(module)


def test_comments_docstrings_and_layout_do_not_count(copied_project):
    before = fresh_print("stages.gradcam")
    file = copied_project / "models" / "gradcam.py"
    text = file.read_text().replace("maps = []", "maps = [ ]  # changed")
    file.write_text(text.replace('"""Activation of every patch', '"""Activity of each patch', 1) + "\n\n# the end\n")
    assert fresh_print("stages.gradcam") == before


def test_a_changed_line_of_a_model_counts_for_those_that_import_it_alone(copied_project):
    before = {stage: fresh_print(f"stages.{stage}") for stage in ("gradcam", "evaluate_labels", "segment", "nouns")}
    file = copied_project / "models" / "bert.py"
    file.write_text(file.read_text().replace("MASKED_SCORE = -10000.0", "MASKED_SCORE = -9999.0"))
    after = {stage: fresh_print(f"stages.{stage}") for stage in before}
    assert {stage for stage in before if before[stage] != after[stage]} == {"gradcam", "evaluate_labels"}


def test_imports_are_followed_through_functions():
    files = {file.name for file in fp.imported_files("stages.gradcam")}
    assert {"gradcam.py", "grounding.py", "albef.py", "bert.py", "vit.py", "images.py", "tables.py"} <= files
    assert "detector.py" not in files


def test_rows_survive_the_round_trip(tmp_path):
    columns = {
        "name": pa.string(),
        "boxes": pa.list_(pa.list_(pa.float32(), 4)),
        "box": pa.list_(pa.float32(), 4),
        "map": pa.list_(pa.float16()),
    }
    schema_ = pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns.items()])
    rng = np.random.default_rng(0)
    rows = [
        {
            "name": str(i),
            "boxes": list(rng.random((i % 4, 4), dtype=np.float32)),
            "box": rng.random(4, dtype=np.float32),
            "map": rng.random(i % 3).astype(np.float16),
        }
        for i in range(11)
    ]
    writer = TableWriter(tmp_path / "t.parquet", schema_, row_group=4)
    for row in rows:
        writer.add(**row)
    writer.close()
    back = list(read_rows([tmp_path / "t.parquet"], batch=3))
    assert [row["name"] for row in back] == [row["name"] for row in rows]
    for wrote, read in zip(rows, back):
        np.testing.assert_array_equal(np.array(wrote["boxes"], np.float32).reshape(-1, 4), read["boxes"])
        np.testing.assert_array_equal(wrote["box"], read["box"])
        np.testing.assert_array_equal(wrote["map"], read["map"])
        assert read["map"].dtype == np.float16


@pytest.mark.parametrize("row", [{"a": "x"}, {"a": None, "b": 1}, {"a": "x", "b": "y"}, {"a": "x", "b": 1, "c": 2}])
def test_a_row_that_does_not_fit_is_refused(tmp_path, row):
    fields = [pa.field("a", pa.string(), nullable=False), pa.field("b", pa.int32(), nullable=False)]
    writer = TableWriter(tmp_path / "t.parquet", pa.schema(fields), row_group=1)
    with pytest.raises(SchemaError):
        writer.add(**row)


def test_every_parameter_has_type_default_and_the_papers_values_stand():
    filled = checked({"run": "r", "root": "d", "vocabulary": "v"})
    assert filled["gradcam"]["iterations"] == 3 and filled["gradcam"]["layers"] == [8]
    assert filled["propose"]["top_k"] == 50 and filled["segment"]["steps"] == 500
    for stage, rules in schema()["properties"].items():
        for name, rule in rules.get("properties", {}).items():
            if rule.get("type") != "object":
                assert "default" in rule and ("type" in rule or "enum" in rule), f"{stage}.{name}"


def test_several_mistakes_are_all_told():
    with pytest.raises(ConfigError) as caught:
        checked({"run": "r", "root": "d", "vocabulary": "v", "shards": 0, "gradcam": {"batchh": 1}})
    assert "shards is 0" in str(caught.value) and "did you mean batch?" in str(caught.value)


def fit(scratch, stop_at=None, bad_at=None):
    torch.manual_seed(0)
    module = torch.nn.Linear(3, 1)

    def step(i):
        if i == stop_at:
            raise KeyboardInterrupt
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(i))
        loss = (module(x) - x.sum(1, keepdim=True)).square().mean()
        return {"loss": loss * (float("nan") if i == bad_at else 1)}

    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1)
    options = {"steps": 40, "factor": lambda i: warmup_cosine(i, steps=40, warmup=5), "save_every": 10}
    curve = train(module, optimizer, step, scratch=scratch, description="fit", **options)
    return module.weight.detach().clone(), curve


def test_a_killed_training_resumes_to_the_same_weights_and_curve(tmp_path):
    whole, curve = fit(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "b", stop_at=27)
    resumed, curve_again = fit(tmp_path / "b")
    assert torch.equal(whole, resumed)
    assert curve == curve_again
    assert curve[-1]["value"] < curve[0]["value"]


def test_a_loss_that_is_no_number_stops_with_the_step_and_the_checkpoint(tmp_path):
    with pytest.raises(TrainingError, match=r"nan at step 23.*checkpoint\.pt"):
        fit(tmp_path, bad_at=23)


def test_learning_rates_fall_where_told():
    assert [warmup_steps(s, warmup=2, drops=(5, 8)) for s in (0, 1, 4, 5, 8)] == pytest.approx([0.5, 1, 1, 0.1, 0.01])


def test_verify_repairs_and_gc_frees(miniature, tmp_path):
    shutil.copytree(miniature.folder / "data", tmp_path / "data", symlinks=True)
    from tests.conftest import MINIATURE, Project

    copy = Project(tmp_path, MINIATURE)
    broken = (copy.run / "pseudo_boxes" / "0.parquet").resolve()
    broken.chmod(0o644)
    broken.write_bytes(broken.read_bytes()[:-1] + b"x")
    assert str(broken.name) in copy.store("verify", check=False)
    copy.store("verify", "--repair")
    assert not broken.exists()
    copy.stage("select_boxes")
    assert len(pd.read_parquet(copy.run / "pseudo_boxes")) > 0
    assert "0 broken or missing" in copy.store("verify")
    assert "pseudo_boxes" in copy.store("ls")
    assert '"instances": 1' in copy.store("show", "select_boxes")
    shutil.rmtree(copy.run / "manifests" / "segment")
    masks = (copy.run / "pseudo_masks" / "0.parquet").resolve()
    copy.store("gc")
    assert not masks.exists()
    assert (copy.run / "gradcam" / "0.parquet").exists()
