"""Choices by name."""

from structures.modules import modules_with


def test_modules_that_define_the_function_are_named_and_none_is_imported(tmp_path):
    (tmp_path / "sharp.py").write_text("raise RuntimeError\n\ndef load(path):\n    pass\n")
    (tmp_path / "blunt.py").write_text("def load():\n    pass\n")
    (tmp_path / "helper.py").write_text("from blunt import load\n\nclass A:\n    def load(self):\n        pass\n")
    (tmp_path / "notes.txt").write_text("def load")
    assert modules_with("load", tmp_path) == ["blunt", "sharp"]
