"""Shards on GPUs, as Snakemake starts them; the GPUs are pretended."""

from store import locks


def test_shards_that_run_at_once_sit_on_different_gpus(project, tmp_path, monkeypatch):
    project.config |= {"shards": 2, "propose": {"by": "selective_search"}, "toy": {"train": 4, "val": 1}}
    project.write_config()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "cap2mask-gpus").mkdir()
    other_run = locks.acquire(tmp_path / "cap2mask-gpus" / "5")
    project.snakemake_of_its_own("--until", "propose", "--resources", "gpu=2")  # which takes long enough
    logs = [(project.folder / f"logs/mini/propose/{shard}.log").read_text() for shard in (0, 1)]
    taken = [word for log in logs for word in log.split("DEBUG GPU ")[1:]]
    assert sorted(word[0] for word in taken) == ["4", "6"], "5 is another run's"
    locks.release(other_run)
