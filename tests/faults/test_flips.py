"""Flipped bits in every kind of file: found by whoever reads it, or harmless; never silently something else."""

import os
import random
import shutil
from pathlib import Path

import pytest

from pipeline.checkpoint import read_safetensors
from store.blobs import check_content
from store.check import blob_files, check_results, find_broken, memo_files, put_right, runs_in
from store.manifest import Damaged, read_sealed
from store.parquet import read_rows
from structures.errors import UserError
from tests.faults import chain
from tests.faults.test_crash_points import in_child, repair, undisturbed, work

pytestmark = pytest.mark.faults
__all__ = ["undisturbed"]


def flip(file: Path, rng: random.Random) -> None:
    """Flip one bit of a file, seldom several."""
    content = bytearray(file.read_bytes())
    for _ in range(rng.choice([1, 1, 1, 8])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    file.chmod(0o644)
    file.write_bytes(content)


def killed_training(data: Path) -> None:
    """A training that dies when it has kept its third checkpoint; all else was done, and is no more listed."""
    stage, learn = chain.STAGES["pretrain_backbone"]

    def dies(job) -> None:
        replace, kept = os.replace, []

        def count(source, target) -> None:
            replace(source, target)
            kept.append(target)
            if sum(Path(path).name.startswith("checkpoint") for path in kept) == 3:
                os._exit(9)

        os.replace = count
        learn(job)

    chain.STAGES["pretrain_backbone"] = (stage, dies)
    chain.do(data, "pretrain_backbone", recompute=True)


@pytest.fixture(scope="module")
def all_kinds(tmp_path_factory, undisturbed) -> Path:
    """A data folder with blobs, manifests, memos, and the checkpoint of a killed training whose results are gone."""
    data = tmp_path_factory.mktemp("kinds") / "data"
    shutil.copytree(undisturbed, data, symlinks=True)
    assert in_child(killed_training, data) == 9
    assert list((data / "scratch").rglob("checkpoint*"))
    return data


def test_no_flip_changes_a_result_silently(campaign, tmp_path, all_kinds, undisturbed):
    """Everything is computed again from what is there: each stage ends in the same bytes, or says what is broken. After
    verify --repair all of them end in the same bytes."""
    wanted = chain.results(undisturbed)

    def check(rng: random.Random) -> None:
        data = tmp_path / "data"
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(all_kinds, data, symlinks=True)
        files = sorted(
            file for file in data.rglob("*") if file.is_file() and not file.is_symlink() and file.stat().st_size
        )
        kinds = sorted({kind_of(data, file) for file in files})
        kind = rng.choice(kinds)
        flipped = rng.choice([file for file in files if kind_of(data, file) == kind])
        flip(flipped, rng)
        for name in chain.STAGES:
            try:
                chain.do(data, name, recompute=rng.random() < 0.5)
            except UserError as error:
                assert "verify --repair" in str(error), error
                continue
        check_only_lacking(data, wanted)
        repair(data)
        put_right(data, check_results(data, runs_in(data)).links)
        chain.do_all(data)
        assert chain.results(data) == wanted, f"a flip in {flipped.relative_to(data)}"

    campaign.run(check, each=2)


def kind_of(data: Path, file: Path) -> str:
    parts = file.relative_to(data).parts
    return f"{parts[0]} {'manifest' if 'manifests' in parts else file.suffix or file.name}"


def check_only_lacking(data: Path, wanted: dict[str, bytes]) -> None:
    """What reads whole is what it was: a result that differs is one that `verify` finds."""
    for name, content in wanted.items():
        file = data / "runs" / "r" / name
        try:
            if name.startswith("manifests/"):
                read_sealed(file)
            else:
                check_content(file)
        except (UserError, Damaged, FileNotFoundError):
            continue
        assert file.read_bytes() == content, name


def test_every_reader_of_a_real_run_finds_a_flip(campaign, tmp_path, miniature):
    """Of a whole run of the pipeline: tables, checkpoints, JSON and pictures, manifests and memos."""
    data = miniature.folder / "data"
    manifests = [file for run in runs_in(data) for file in run.manifest_files()]
    kinds: dict[str, list[Path]] = {"manifest": manifests, "memo": memo_files(data)}
    for file in blob_files(data):
        kinds.setdefault(file.suffix, []).append(file)
    assert {".parquet", ".safetensors", ".json", ".png"} <= kinds.keys()

    def check(rng: random.Random) -> None:
        kind = rng.choice(sorted(kinds))
        original = rng.choice(kinds[kind])
        blob = kind.startswith(".")
        file = tmp_path / "store" / original.name[:2] / original.name if blob else tmp_path / original.name
        shutil.rmtree(tmp_path / "store", ignore_errors=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(original, file)
        flip(file, rng)
        if file.read_bytes() == original.read_bytes():
            return
        if not blob:
            with pytest.raises(Damaged):
                read_sealed(file)
            return
        assert find_broken([file]) == [file]
        with pytest.raises(UserError, match="does not hold what its name says"):
            read_safetensors(file) if kind == ".safetensors" else check_content(file)

    campaign.run(check, each=20)


def test_a_flip_in_a_page_is_found_while_a_table_is_read(campaign, tmp_path, miniature):
    """Long after the file was checked whole: rows differ from those that were written only where the reader stops."""
    tables = [file for file in blob_files(miniature.folder / "data") if file.suffix == ".parquet"]
    found = []

    def check(rng: random.Random) -> None:
        original, file = rng.choice(tables), tmp_path / "table.parquet"
        content = bytearray(original.read_bytes())
        footer = int.from_bytes(content[-8:-4], "little") + 8
        if len(content) - footer <= 4:
            return  # a table without rows has no pages
        content[rng.randrange(4, len(content) - footer)] ^= 1 << rng.randrange(8)
        file.write_bytes(content)
        try:
            rows = [repr(row) for row in read_rows([file])]
        except UserError:
            found.append(1)
            return
        assert rows == [repr(row) for row in read_rows([original])]

    campaign.run(check, each=5)
    assert found


def test_work_is_the_same_again(undisturbed, tmp_path):
    """What all of this compares with."""
    assert in_child(work, tmp_path / "again") == 0
    assert chain.results(tmp_path / "again") == chain.results(undisturbed)
