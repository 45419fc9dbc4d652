"""python -m store."""

import shutil

import pandas as pd
import pytest

from store.__main__ import main
from tests.conftest import MINIATURE, Project


def test_after_verify_repair_one_plain_snakemake_makes_it_again(miniature, tmp_path):
    """A blob in the middle, and one at the end; Snakemake makes nothing again that only a stage in the middle lacks."""
    shutil.copytree(miniature.folder, tmp_path / "copy", symlinks=True)
    copy = Project(tmp_path / "copy", MINIATURE)
    before = {file: file.read_bytes() for file in (copy.run / "manifests").rglob("*.json")}
    for name, cut in (("pseudo_boxes/0.parquet", -1), ("report/val.png", -5)):
        broken = (copy.run / name).resolve()
        broken.chmod(0o644)
        broken.write_bytes(broken.read_bytes()[:cut] + b"x" * -cut)
    assert "2 files are broken" in copy.store("verify", check=False)
    assert "to be made again: mini select_boxes 0" in copy.store("verify", "--repair")
    assert not (copy.run / "pseudo_boxes" / "0.parquet").exists()
    copy.snakemake()
    assert len(pd.read_parquet(copy.run / "pseudo_boxes")) > 0
    assert {file: file.read_bytes() for file in (copy.run / "manifests").rglob("*.json")} == before
    assert "0 broken or missing" in copy.store("verify")
    assert "Nothing to be done" in copy.snakemake()
    assert "pseudo_boxes" in copy.store("ls")
    assert '"instances": 1' in copy.store("show", "select_boxes")
    shutil.rmtree(copy.run / "manifests" / "segment")
    masks = (copy.run / "pseudo_masks" / "0.parquet").resolve()
    copy.store("gc")
    assert not masks.exists()
    assert (copy.run / "gradcam" / "0.parquet").exists()


@pytest.mark.parametrize("words", [["scores"], ["--data", "x", "tables", "--run", "toy", "--variants", "ovis:1"]])
def test_what_is_no_business_of_the_store_is_said_to_be_elsewhere(words, monkeypatch):
    monkeypatch.setattr("sys.argv", ["store", *words])
    with pytest.raises(SystemExit, match=rf"`python -m pipeline {'scores' if 'scores' in words else 'tables'}`$"):
        main()


def test_an_unknown_option_is_refused(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["store", "ls", "--verbose"])
    with pytest.raises(SystemExit):
        main()
    assert "unrecognized arguments: --verbose" in capsys.readouterr().err
