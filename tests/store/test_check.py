"""What can't be believed is found, refused by who would read it, and removed so that it is made again."""

import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import execute as execution
from store.__main__ import main
from store.blobs import write_atomically
from store.manifest import Run
from structures.errors import UserError
from tests.faults import chain


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[str, bytes]:
    """What the chain makes."""
    data = tmp_path_factory.mktemp("undisturbed")
    chain.do_all(data)
    return chain.results(data)


@pytest.fixture()
def data(tmp_path) -> Path:
    """A data folder in which the chain was done."""
    chain.do_all(tmp_path)
    return tmp_path


@pytest.fixture()
def store(data, monkeypatch, capsys):
    """python -m store on that folder; what it says."""

    def call(*words: str, fails: str = "") -> str:
        monkeypatch.setattr(sys, "argv", ["store", "--data", str(data), *words])
        if fails:
            with pytest.raises(SystemExit, match=fails):
                main()
        else:
            main()
        return capsys.readouterr().out

    return call


def flip(file: Path, place: int = -10) -> None:
    """Flip a bit of a file, or of the blob that a link leads to."""
    file = file.resolve()
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.chmod(0o644)
    file.write_bytes(content)


def path(data: Path, name: str) -> Path:
    return data / "runs" / "r" / name


def test_a_broken_input_is_refused_before_anything_is_computed(data):
    flip(path(data, "pretrain_backbone/all.safetensors"))
    with pytest.raises(UserError, match=r"\.safetensors does not hold what its name says; run `python -m store verify"):
        chain.do(data, "embed_text", recompute=True)
    chain.do(data, "embed_text")  # what is remembered reads nothing
    with pytest.raises(UserError, match="does not hold"):
        chain.do(data, "embed_text", verify=True)


def test_a_broken_result_is_not_remembered_where_digests_are_asked_for(data, undisturbed):
    flip(path(data, "pseudo_labels/all.json"))
    chain.do(data, "pseudo_labels", verify=True)
    assert chain.results(data) == undisturbed


def test_what_was_made_of_a_broken_blob_is_forgotten_and_made_again(data, undisturbed, store, monkeypatch):
    """As it was once: the bit flips, and a stage computes with it."""
    flip(path(data, "pretrain_backbone/all.safetensors"))
    with monkeypatch.context() as patched:
        patched.setattr(execution, "_check", lambda *_, **__: None)
        chain.do(data, "embed_text", recompute=True)
        chain.do(data, "pseudo_labels")
    wrong = chain.results(data)
    assert wrong["embeddings/all.parquet"] != undisturbed["embeddings/all.parquet"]
    assert "broken: " in store("verify", fails="1 files are broken, missing or damaged; --repair")
    assert chain.results(data) == wrong, "without --repair nothing is changed"
    said = store("verify", "--repair")
    assert [line for line in said.splitlines() if line.startswith("to be made again")] == [
        f"to be made again: r {stage} all" for stage in ("embed_text", "pretrain_backbone", "pseudo_labels")
    ]
    chain.do_all(data)
    assert chain.results(data) == undisturbed
    assert "0 broken or missing" in store("verify")


def test_a_training_that_goes_on_from_a_broken_input_starts_anew(data, store, monkeypatch):
    """Its checkpoint may come of the broken bytes."""
    flip(path(data, "pretrain_backbone/all.safetensors"))
    of = Run(data, "r").read_manifest("embed_text", "all")
    scratch = data / "scratch" / of.key
    for name, inputs in ((of.key, of.inputs), ("0" * 64, [])):
        (data / "scratch" / name).mkdir(parents=True)
        (data / "scratch" / name / "checkpoint.pt").write_bytes(b"weights")
        write_atomically(data / "scratch" / name / "action.json", replace(of, inputs=inputs, outputs=[]).to_json())
    store("verify", "--repair")
    assert not scratch.exists() and (data / "scratch" / ("0" * 64) / "checkpoint.pt").exists()


@pytest.mark.parametrize("letter", [(b'"rows": 5', b'"rows": 4'), (b"embeddings/all", b"embeddings/a11")])
def test_a_manifest_in_which_a_letter_changed_is_refused_and_made_again(data, undisturbed, store, letter):
    manifest = path(data, "manifests/embed_text/all.json")
    assert letter[0] in manifest.read_bytes()
    manifest.write_bytes(manifest.read_bytes().replace(*letter, 1))
    with pytest.raises(UserError, match=r"embed_text/all\.json is damaged .*: run `python -m store verify --repair`"):
        chain.do(data, "pseudo_labels")
    assert "damaged: " in store("verify", fails="1 files are")
    store("verify", "--repair")
    assert not path(data, "manifests/pseudo_labels/all.json").exists(), "what depends on it goes, for Snakemake"
    chain.do_all(data)
    assert chain.results(data) == undisturbed


def test_a_manifest_in_anothers_place_is_refused(data):
    manifest = path(data, "manifests/embed_text/all.json")
    manifest.write_bytes(path(data, "manifests/pretrain_backbone/all.json").read_bytes())
    with pytest.raises(UserError, match=r"is in the place of another \(stage pretrain_backbone, not embed_text\)"):
        chain.do(data, "pseudo_labels")


def test_a_memo_in_which_a_letter_changed_is_not_believed(data, undisturbed, store):
    key = Run(data, "r").read_manifest("pseudo_labels", "all").key
    memo = data / "actions" / f"{key}.json"
    rows = Run(data, "r").read_manifest("embed_text", "all").outputs[0].digest.encode()
    own = Run(data, "r").read_manifest("pseudo_labels", "all").outputs[0].digest.encode()
    memo.write_bytes(memo.read_bytes().replace(own, rows))
    assert f"damaged: {memo}" in store("verify", fails="1 files are")
    chain.do(data, "pseudo_labels")
    assert chain.results(data) == undisturbed


def folder_in_place_of(file):
    file.unlink()
    (file / "mine").mkdir(parents=True)


@pytest.mark.parametrize("place", ["manifest", "memo"])
def test_a_folder_in_the_place_of_a_manifest_or_memo_is_set_aside(data, undisturbed, store, place):
    manifest = path(data, "manifests/embed_text/all.json")
    file = (
        manifest
        if place == "manifest"
        else data / "actions" / f"{Run(data, 'r').read_manifest('embed_text', 'all').key}.json"
    )
    folder_in_place_of(file)
    assert f"damaged: {file}" in store("verify", fails="1 files are")
    store("verify", "--repair")
    chain.do_all(data)
    assert chain.results(data) == undisturbed
    assert not file.is_dir() and (file.parent / f"{file.name}.in-the-way" / "mine").is_dir()


def test_a_result_that_names_no_file_of_what_is_read_is_refused(data):
    manifest = Run(data, "r").read_manifest("embed_text", "all")
    write_atomically(path(data, "manifests/embed_text/all.json"), replace(manifest, outputs=[]).to_json())
    with pytest.raises(UserError, match="embed_text all made no embeddings, which is read here: run `snakemake"):
        chain.do(data, "pseudo_labels")


def test_links_are_put_right_and_files_in_their_places_are_left(data, undisturbed, store):
    names = ("embeddings/all.parquet", "pretrain_backbone/all.safetensors", "pseudo_labels/all.json")
    lost, replaced, mine = (path(data, name) for name in names)
    lost.unlink()
    replaced.unlink()
    replaced.symlink_to("/etc/hostname")
    mine.unlink()
    mine.write_text("mine")
    said = store("verify", fails="3 files are")
    assert f"link: {lost}" in said and f"link: {replaced}" in said and f"in the way: {mine}" in said
    store("verify", "--repair", fails="1 files lie in the places of results: move them elsewhere")
    assert mine.read_text() == "mine"
    mine.unlink()
    assert "link: " in store("verify", "--repair")
    assert chain.results(data) == undisturbed


def test_gc_beside_a_stage_takes_nothing_that_it_reads_or_has_made(tmp_path, undisturbed, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["store", "--data", str(tmp_path), "gc"])
    chain.do(tmp_path, "pretrain_backbone")
    stage, work = chain.STAGES["pretrain_backbone"]
    made, go_on = threading.Event(), threading.Event()

    def slow(job) -> None:
        work(job)
        made.set()
        go_on.wait()

    # its checkpoint and curve are in the store, and no run names them
    for folder in ("actions", "runs"):
        execution.shutil.rmtree(tmp_path / folder)
    monkeypatch.setitem(chain.STAGES, "pretrain_backbone", (stage, slow))
    thread = threading.Thread(target=chain.do, args=(tmp_path, "pretrain_backbone"))
    thread.start()
    made.wait()
    main()
    go_on.set()
    thread.join()
    chain.do_all(tmp_path)
    assert chain.results(tmp_path) == undisturbed


def test_gc_spares_the_checkpoint_of_a_killed_training_unless_asked(data, store):
    killed, sorting = data / "scratch" / ("1" * 64), data / "scratch" / ("2" * 64)
    for scratch in (killed, sorting):
        (scratch / "drafts").mkdir(parents=True)
        (scratch / "drafts" / "x.parquet").write_bytes(b"half")
    (killed / "eta").mkdir()
    (killed / "eta" / "checkpoint.pt").write_bytes(b"weights")
    (data / "runs" / "r" / "manifests" / "x.draft").write_text("half")
    store("gc", "--dry-run")
    assert sorting.exists()
    store("gc")
    assert [file.name for file in killed.rglob("*") if file.is_file()] == ["checkpoint.pt"]
    assert not sorting.exists() and not list(data.rglob("*.draft"))
    store("gc", "--checkpoints")
    assert not killed.exists()


@pytest.mark.parametrize("missing", ["runs", "runs/r"])
def test_gc_takes_nothing_while_the_disk_of_the_runs_is_not_there(data, store, missing):
    before = sorted((data / "store").rglob("*"))
    (data / missing).rename(data / "away")
    (data / missing).symlink_to(data / "not mounted")
    assert store("gc", fails="leads nowhere: is its disk mounted") == ""
    assert sorted((data / "store").rglob("*")) == before
