"""The harness of a stage: arguments, memo, logging, errors, manifest. A stage declares itself and gives one function.

    STAGE = Stage(name="nouns", reads=("captions",), writes=("nouns",))

    def run(job): ...

    if __name__ == "__main__":
        STAGE.main(run)

Stages import torch and what needs it inside run, so that a memo hit takes a fraction of a second.
"""

import argparse
import errno
import hashlib
import logging
import os
import shutil
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pipeline.arguments import flatten, stage_arguments
from pipeline.config import detectors, leaves_out
from pipeline.files import file_parameters, find_file
from schemas.tables import TABLES
from store.blobs import Blobs, file_digest, write_atomically
from store.fingerprint import stage_fingerprint
from store.manifest import Manifest, Output, Run, action_key, outputs_among, producer
from structures.errors import UserError
from structures.progress import progress
from training.processes import Team, spread_out

log = logging.getLogger("cap2mask")


@dataclass(frozen=True)
class Stage:
    """What a stage reads and writes.

    reads, writes: tables, or checkpoints by the name of their stage; files: parameters
    (of its section, dotted, or shared) that name files, whose content and not name enters the memo's key; an empty
    one is left out; root_files: the same, relative to the data set's folder. per: "shard" for one job a shard, "run"
    for one job, "split" for one job that writes all shards, "detector" for one job a trained detector. team: several
    processes can share the work, one a GPU. random: it draws random numbers, so that the seed counts.
    """

    name: str
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    root_files: tuple[str, ...] = ()
    per: str = "run"
    team: bool = False
    random: bool = False

    def main(self, run) -> None:
        """Command line of the stage; exits 1 with one line on a user's mistake."""
        args = stage_arguments(self.name, self.reads, self.writes, self.per, self.team)
        if self.team:
            spread_out(args.gpus)
        team = Team.of_this_process()
        _start_log(args.log if team.leads else None, quiet=not team.leads)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        began = time.monotonic()
        try:
            self._execute(run, args)
        except Exception as error:
            log.debug("traceback", exc_info=True)
            sys.exit(f"{self.name}: {_message(error)}")
        log.info("%s %s: %.1f s", self.name, args.shard, time.monotonic() - began)

    def _execute(self, run, args: argparse.Namespace) -> None:
        config = args.config
        params = config.get(self.name, {})
        code = stage_fingerprint(self.name, params)
        shards = config["shards"]
        blobs, folder = Blobs(args.data), Run(args.data, args.into)
        parts = {"shard": [str(shard) for shard in range(shards)], "detector": detectors(config)}
        reads, wanted = [name for name in self.reads if not leaves_out(config, self.name, name)], args.shard
        if self.per == "detector":
            if wanted not in parts["detector"]:
                raise UserError(f"{wanted} trains no detector of this run: {', '.join(parts['detector'])}")
            reads, wanted = (*reads, wanted), "all"
        made = {}
        for name in reads:
            home = Run(args.data, config["homes"].get(producer(name)[0], config["run"]))
            made[name] = home.manifests_of(name, wanted, parts)
        inputs = {name: outputs_among(manifests, name, wanted) for name, manifests in made.items()}
        _check_images(made)
        for outputs in inputs.values():
            for output in outputs:
                blobs.check(output.digest, output.suffix, output.bytes, whole=args.verify)
        files = self._files(config, params)
        in_key = {name: [output.digest for output in outputs] for name, outputs in inputs.items()}
        digests = {name: content_digest(path) for name, path in files.items()}
        seed = config["seed"] if self.random else None
        about = {"section": self._params_in_key(params), "seed": seed}
        if self.per == "split":
            about["shards"] = shards
        key = action_key(self.name, code, about, {"tables": in_key, "files": digests})
        memo = args.data / "actions" / f"{key}.json"
        manifest = None if args.recompute else _recall(memo, blobs)
        if manifest is None:
            manifest = self._compute(run, args, params, inputs, files, blobs, key, code, in_key, digests)
            if not Team.of_this_process().leads:
                return
            write_atomically(memo, manifest.to_json())
        else:
            log.info("%s %s: nothing new, linked what is known", self.name, args.shard)
        manifest = Manifest(
            **{**manifest.__dict__, "shard": args.shard, "outputs": _renamed(manifest, self, args.shard)}
        )
        _publish(manifest, folder, blobs, shards)
        _check_rejects(manifest, config["max_reject_fraction"], folder)
        write_atomically(folder.manifest_path(self.name, args.shard), manifest.to_json())

    def _files(self, config: dict, params: dict) -> dict[str, Path]:
        files = {}
        usual = {name: words for name, _, words in file_parameters(self.name, params)}
        for name in (*self.files, *self.root_files):
            value = config if name in config else params
            for part in name.split("."):
                value = value.get(part) if isinstance(value, dict) else None
            if value:
                key = name if name in config else f"{self.name}.{name}"
                if name in self.root_files:
                    files[name] = Path(config["root"]) / value
                    if not files[name].exists():
                        raise UserError(f"{files[name]} is not there; point the config key {key} at it")
                else:
                    files[name] = find_file(value, key, usual.get(name, ""))
        return files

    def _params_in_key(self, params: dict) -> dict:
        """The section without the names of files, which count by content."""
        flat = dict(flatten(params))
        return {name: value for name, value in flat.items() if name not in (*self.files, *self.root_files)}

    def _compute(self, run, args, params, inputs, files, blobs, key, code, in_key, digests) -> Manifest:
        from pipeline.job import Job

        config = args.config
        scratch = args.data / "scratch" / key
        job = Job(
            stage=self.name,
            params=params,
            seed=config["seed"] if self.random else None,
            shard=args.shard,
            shards=config["shards"],
            threads=args.threads,
            device=config["device"],
            root=Path(config["root"]),
            files=files,
            inputs=inputs,
            scratch=scratch,
            blobs=blobs,
        )
        try:
            _use_threads(args.threads)
            job.team.join(job.device)
            run(job)
            counts = job.finish()
        finally:
            job.close()
            job.team.leave()
        if job.team.leads:
            shutil.rmtree(scratch, ignore_errors=True)
        return Manifest(
            stage=self.name,
            shard=args.shard,
            key=key,
            fingerprint=code,
            seed=config["seed"] if self.random else None,
            params=self._params_in_key(params),
            inputs=[{"artifact": name, "digests": found} for name, found in sorted(in_key.items())],
            files=digests,
            outputs=sorted(job.outputs, key=lambda output: output.path),
            counts=counts,
        )


def _check_images(made: dict[str, list[Manifest]]) -> None:
    """Refuse what was made of other pictures than this run's (a folder of runs put together by hand, say).

    made: the manifests of each artifact that is read; without images among them there is nothing to compare with.
    """
    if "images" not in made:
        return
    known = {output.digest for output in outputs_among(made["images"], "images", "all")}
    for artifact, manifests in made.items():
        for manifest in manifests:
            seen = {digest for row in manifest.inputs if row["artifact"] == "images" for digest in row["digests"]}
            other = sorted(seen - known)
            if other:
                raise UserError(
                    f"{artifact} was made by {manifest.stage} of another set of images ({other[0][:12]}…, not of this "
                    f"run's): run `snakemake --cores all --until {manifest.stage}` again, or name the run that it belongs to"
                )


def content_digest(path: Path) -> str:
    """The digest of a file, or of a folder's files by their names and contents."""
    if path.is_file():
        return file_digest(path)
    digest = hashlib.sha256()
    files = sorted(item for item in path.rglob("*") if item.is_file())
    with ThreadPoolExecutor() as pool:
        found = progress(
            pool.map(file_digest, files),
            description=f"reading {path}",
            unit="file",
            total=len(files),
            quiet=len(files) < 5000,
        )
        for file, its in zip(files, found):
            digest.update(f"{file.relative_to(path).as_posix()}\n{its}\n".encode())
    return digest.hexdigest()


def _recall(memo: Path, blobs: Blobs) -> Manifest | None:
    """The memo of an action, if it is there and all that it made still is."""
    try:
        manifest = Manifest.from_json(memo.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    whole = all(blobs.has(output.digest, output.suffix, output.bytes) for output in manifest.outputs)
    return manifest if whole else None


def _renamed(manifest: Manifest, stage: Stage, shard: str) -> list[Output]:
    """The memo's outputs under this shard's name: equal shards of different numbering share one memo."""
    if stage.per != "shard":
        return manifest.outputs
    return [
        Output(**{**output.__dict__, "path": str(Path(output.path).with_stem(shard).as_posix())})
        for output in manifest.outputs
    ]


def _publish(manifest: Manifest, folder: Run, blobs: Blobs, shards: int) -> None:
    """Link the outputs into the run, and drop links that this stage no longer makes."""
    made = {folder.root / output.path for output in manifest.outputs}
    for output in manifest.outputs:
        blobs.link(output.digest, folder.root / output.path)
    artifacts = {manifest.stage} | {name for name, table in TABLES.items() if table.stage == manifest.stage}
    for artifact in artifacts:
        for link in (folder.root / artifact).glob("**/*"):
            mine = manifest.shard == "all" or link.stem == manifest.shard
            gone = link.stem.isdigit() and int(link.stem) >= shards
            if link.is_symlink() and link not in made and (mine or gone):
                link.unlink()


def _check_rejects(manifest: Manifest, most: float, folder: Run) -> None:
    rejected = manifest.counts["rejects_counted"]
    total = rejected + max(manifest.counts["rows_out"].values(), default=0)
    if total and rejected / total > most:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(manifest.counts["rejects"].items()))
        raise UserError(
            f"{rejected} of {total} rows could not be used ({reasons}), more than max_reject_fraction {most}; "
            f"see pandas.read_parquet('{folder.root / manifest.stage / '_rejects'}')"
        )


def _use_threads(threads: int) -> None:
    """Bound the threads of the libraries that a stage loads."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _start_log(path: Path | None, quiet: bool = False) -> None:
    log.setLevel(logging.DEBUG)
    log.handlers.clear()
    shown = logging.StreamHandler(sys.stderr)
    shown.setLevel(logging.WARNING if quiet else logging.INFO)
    log.addHandler(shown)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = logging.FileHandler(path, mode="w", encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(file)


def _message(error: Exception) -> str:
    """An exception as one line for the user."""
    if isinstance(error, UserError):
        return str(error)
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if full or "os error 28" in str(error) or "os error 27" in str(error):
        return (
            "the disk is full (or a limit on file sizes reached) while writing below the data folder; free some space "
            "(`python -m store gc` removes what no run uses) and run again: all finished stages are kept"
        )
    return f"unexpected {type(error).__name__}: {error}; the log holds the traceback (please report it)"
