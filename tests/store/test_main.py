"""python -m store."""

import shutil

import pandas as pd
import pytest

from store.__main__ import main


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
