"""The empty workflow that `snakemake -n` is measured beside has the jobs of ours, also where half of them are done."""

from benchmarks.dry_run import Place
from store.fingerprint import ROOT


def test_ours_and_the_empty_workflow_have_the_same_jobs_left(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = Place(tmp_path, ROOT / "config" / "folder.yaml", 2)
    place.make_all()
    assert len(list((tmp_path / ".snakemake" / "metadata").iterdir())) > len(place.plan.inputs), "as of jobs that ended"
    place.forget_half()
    left = len(place.plan.inputs) - len(place.plan.inputs) // 2
    assert place.snakemake("ours", "-n")[2] == left + 2, "overview, which is no stage, and all"
    assert place.snakemake("empty", "-n")[2] == left + 1
