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
    file = copied_project / "models" / "grounding" / "gradcam.py"
    text = file.read_text().replace("maps = []", "maps = [ ]  # changed")
    text = text.replace('"""Activation of every patch', '"""Activity of each patch', 1) + "\n\n# the end\n"
    assert text != file.read_text()
    file.write_text(text)
    assert fresh_print("stages.gradcam") == before


def test_a_changed_line_of_a_model_counts_for_those_that_import_it_alone(copied_project):
    before = {stage: fresh_print(f"stages.{stage}") for stage in ("train_wspn", "propose", "segment", "nouns")}
    file = copied_project / "models" / "proposals" / "wspn.py"
    text = file.read_text()
    assert "remove_small_boxes(proposals, 1.0)" in text
    file.write_text(text.replace("remove_small_boxes(proposals, 1.0)", "remove_small_boxes(proposals, 2.0)"))
    after = {stage: fresh_print(f"stages.{stage}") for stage in before}
    assert {stage for stage in before if before[stage] != after[stage]} == {"train_wspn", "propose"}


def test_a_page_counts_for_those_that_import_its_package_alone(copied_project):
    before = {stage: fresh_print(f"stages.{stage}") for stage in ("gallery", "report", "evaluate")}
    file = copied_project / "evaluation" / "gallery" / "page" / "style.css"
    file.write_text(file.read_text() + "/* another */\n")
    after = {stage: fresh_print(f"stages.{stage}") for stage in before}
    assert {stage for stage in before if before[stage] != after[stage]} == {"gallery"}


def test_several_modules_share_one_print_that_each_of_them_changes(copied_project):
    def prints():
        fp._parsed.cache_clear()
        return {name: fp.fingerprint("models.pixels", f"models.vision_language.{name}") for name in ("albef", "clip")}

    before = prints()
    file = copied_project / "models" / "vision_language" / "vit.py"
    text = file.read_text()
    assert "eps=1e-6" in text
    file.write_text(text.replace("eps=1e-6", "eps=1e-5"))
    after = prints()
    assert before["albef"] != after["albef"] and before["clip"] == after["clip"]


def test_imports_are_followed_through_functions():
    files = {str(file.relative_to(fp.ROOT)) for file in fp.imported_files("stages.gradcam")}
    assert {"models/grounding/grounder.py", "models/vision_language/interface.py", "sources/images.py"} <= files
    assert "models/detector/mask_rcnn.py" not in files
    albef = {str(file.relative_to(fp.ROOT)) for file in fp.imported_files("models.vision_language.albef")}
    assert {f"models/vision_language/{name}.py" for name in ("albef", "fusion_bert", "vit")} <= albef


def test_a_module_that_is_not_there_is_named():
    with pytest.raises(ModuleNotFoundError, match=r"no module models\.nothing"):
        fp.fingerprint("models.nothing.at_all")


def test_a_module_can_be_left_out_and_what_it_imports_not(copied_project):
    def prints():
        fp._parsed.cache_clear()
        return fp.fingerprint("stages.gradcam", without=("schemas.tables",)), fp.fingerprint("stages.gradcam")

    before = prints()
    file = copied_project / "schemas" / "tables.py"
    file.write_text(file.read_text() + "\nMORE = 1\n")
    after = prints()
    assert before[0] == after[0] and before[1] != after[1]


def test_relative_imports_are_followed(copied_project):
    package = copied_project / "models" / "proposals"
    (package / "wspn.py").write_text("from . import extra\nfrom ..pixels import square\nfrom .other import thing\n")
    for name in ("extra", "other"):
        (package / f"{name}.py").write_text("thing = 1\n")
    fp._parsed.cache_clear()
    files = {str(file.relative_to(copied_project)) for file in fp.imported_files("models.proposals.wspn")}
    assert {"models/proposals/extra.py", "models/proposals/other.py", "models/pixels.py"} <= files
    (package / "__init__.py").write_text("from .extra import thing\n")  # of a package the dot is itself
    fp._parsed.cache_clear()
    assert package / "extra.py" in fp.imported_files("models.proposals.selective_search")


def test_libraries_are_those_that_modules_and_what_they_import_import():
    libraries = fp.imported_libraries("models.proposals.selective_search")
    assert {"cv2", "numpy", "selectivesearch"} <= libraries and "torch" not in libraries
    assert not libraries & {"pathlib", "models", "structures"}
    assert "torch" in fp.imported_libraries("stages.nouns") - fp.imported_libraries(
        "stages.nouns", outside=("pipeline",)
    )
