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
    before = {stage: fresh_print(f"stages.{stage}") for stage in ("train_wspn", "propose", "segment", "nouns")}
    file = copied_project / "models" / "wspn.py"
    file.write_text(file.read_text().replace("nms(boxes, weights[:, c], 0.3)", "nms(boxes, weights[:, c], 0.4)"))
    after = {stage: fresh_print(f"stages.{stage}") for stage in before}
    assert {stage for stage in before if before[stage] != after[stage]} == {"train_wspn", "propose"}


def test_the_file_of_the_model_that_is_configured_counts_and_no_other(copied_project):
    def prints():
        fp._parsed.cache_clear()
        return {model: fp.stage_fingerprint("gradcam", {"model": model}) for model in ("albef", "blip")}

    before = prints()
    file = copied_project / "models" / "vit.py"
    file.write_text(file.read_text().replace("eps=1e-6", "eps=1e-5"))
    after = prints()
    assert before["albef"] != after["albef"] and before["blip"] == after["blip"]


def test_imports_are_followed_through_functions():
    files = {file.name for file in fp.imported_files("stages.gradcam")}
    assert {"gradcam.py", "grounding.py", "vision_language.py", "images.py", "tables.py"} <= files
    assert "detector.py" not in files
    assert {"albef.py", "fusion_bert.py", "vit.py"} <= {
        file.name for file in fp.imported_files("models.vision_language.albef")
    }
    assert {"coco.py", "folder.py"} <= {file.name for file in fp.imported_files("stages.ingest")}
