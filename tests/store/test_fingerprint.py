"""What counts as changed code."""

import shutil

import pytest

from store import fingerprint as fp


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
