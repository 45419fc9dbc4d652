"""One execution of a stage: what it is made of, whether the memo knows the result, else the work; its manifest.

Of one action (one key) one process works at a time. What it reads is checked whole before it computes; what it uses is
named in its scratch folder while it holds the key's lock, so that `python -m store gc` beside it spares that. Blobs last
before a memo names them, and memo and links are there before the manifest.
"""

import argparse
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline import gpus, orphans
from pipeline.arguments import stage_arguments
from pipeline.environment import OtherDevice, check_device, environment
from pipeline.files import content_digest, find_files
from pipeline.logs import message, start_log
from pipeline.numerics import configure_torch
from pipeline.parameters import code_fingerprint, draws_random_numbers, params_in_key
from pipeline.registry import detectors
from pipeline.rounds import round_before, source_key
from pipeline.stage import Stage
from schemas.tables import TABLES
from store import locks
from store.blobs import Blobs, make_folder, write_atomically
from store.manifest import (
    Damaged,
    Manifest,
    Output,
    Run,
    action_key,
    action_path,
    is_aside,
    memo_path,
    outputs_among,
    producer,
    read_sealed,
)
from structures.errors import UserError
from training import processes

log = logging.getLogger("cap2mask")


def main(stage: Stage, run: Callable) -> None:
    """Command line of a stage; exits 1 with one line on a user's mistake."""
    args = stage_arguments(stage)
    leads = processes.is_main_process()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    try:
        start_log(args.log if leads else None, quiet=not leads)
        orphans.end_with_snakemake()
        execute(stage, run, args)
    except Exception as error:
        log.debug("traceback", exc_info=True)
        sys.exit(f"{stage.name}: {message(error)}")
    log.info("%s %s: %.1f s", stage.name, args.shard, time.monotonic() - began)


@dataclass(frozen=True)
class Action:
    """All that a result is made of. inputs: the files of each artifact that is read; files: those that parameters name,
    by key; seed: None where no random number is drawn."""

    stage: Stage
    config: dict
    shard: str
    params: dict[str, Any]
    seed: int | None
    fingerprint: str
    inputs: dict[str, list[Output]]
    files: dict[str, Path]

    @cached_property
    def file_digests(self) -> dict[str, str]:
        return {key: content_digest(path) for key, path in self.files.items()}

    @property
    def input_digests(self) -> dict[str, list[str]]:
        return {artifact: [output.digest for output in outputs] for artifact, outputs in self.inputs.items()}

    @property
    def _detectors(self) -> list[str]:
        """Whose detections are read, in their order: of detectors that find nothing the tables are the same bytes."""
        return [out.shard for name, outs in self.inputs.items() if producer(name)[1] == "detector" for out in outs]

    @cached_property
    def key(self) -> str:
        """The memo's key."""
        parameters = {"section": self.params, "seed": self.seed}
        if self.stage.per == "scatter":
            parameters["shards"] = self.config["shards"]
        contents = {"tables": self.input_digests, "files": self.file_digests, "detectors": self._detectors}
        return action_key(self.stage.name, self.fingerprint, parameters, contents)

    def manifest(self, outputs: list[Output], counts: dict) -> Manifest:
        """What the action made, of what."""
        inputs = [{"artifact": name, "digests": digests} for name, digests in sorted(self.input_digests.items())]
        return Manifest(
            stage=self.stage.name,
            shard=self.shard,
            key=self.key,
            fingerprint=self.fingerprint,
            seed=self.seed,
            params=self.params,
            inputs=inputs,
            files=self.file_digests,
            outputs=sorted(outputs, key=lambda output: output.path),
            counts=counts,
        )


def execute(stage: Stage, run: Callable, args: argparse.Namespace) -> None:
    """Do what the command line asks for, or link what the memo holds."""
    config, folder = args.config, Run(args.data, args.into)
    action = Action(
        stage=stage,
        config=config,
        shard=args.shard,
        params=params_in_key(stage, config) | environment(stage, config),
        seed=config["seed"] if draws_random_numbers(stage, config) else None,
        fingerprint=code_fingerprint(stage, config),
        inputs=_inputs(stage, config, args.data, args.shard),
        files=find_files(stage, config),
    )
    scratch = args.data / "scratch" / action.key
    blobs = Blobs(args.data, scratch)
    memo = memo_path(args.data, action.key)
    with _alone(args.data / "locks" / action.key):
        with blobs.sharing():
            _check(action, blobs, whole=args.verify)
            manifest = None if args.recompute else _recall(memo, blobs, whole=args.verify)
            if manifest:
                log.info("%s %s: nothing new, linked what is known", stage.name, args.shard)
                _publish(manifest, folder, blobs, stage, args)
            elif processes.get_world_size() == 1:
                _announce(action, scratch)
        if manifest is None:
            try:
                manifest, repeatable = _compute(action, run, blobs, scratch, args)
            except OtherDevice as error:  # the key is another's
                shutil.rmtree(scratch, ignore_errors=True)
                config["device"] = error.kind
                return execute(stage, run, args)
            if not processes.is_main_process():
                return
            with blobs.sharing():
                try:
                    _check(action, blobs, whole=False)
                except UserError:  # it was found broken meanwhile, and removed: what was made of it is in doubt
                    shutil.rmtree(scratch, ignore_errors=True)
                    raise
                if repeatable:
                    write_atomically(memo, manifest.to_json())
                _publish(manifest, folder, blobs, stage, args)
        shutil.rmtree(scratch, ignore_errors=True)


def _check(action: Action, blobs: Blobs, *, whole: bool) -> None:
    """Look whether all inputs are in the store. whole: whether each holds what its name says. Raises UserError."""
    for outputs in action.inputs.values():
        for output in outputs:
            blobs.check(output.digest, output.suffix, output.bytes, whole=whole)


def _announce(action: Action, scratch: Path) -> None:
    """Say in the scratch folder what the action is made of, and drop the drafts of one that was killed."""
    shutil.rmtree(scratch / "drafts", ignore_errors=True)
    write_atomically(action_path(scratch), action.manifest([], {}).to_json())


def _inputs(stage: Stage, config: dict, data: Path, shard: str) -> dict[str, list[Output]]:
    """The files of every artifact that a job reads, of the runs that produce them."""
    parts = {"shard": [str(number) for number in range(config["shards"])], "detector": detectors(config)}
    artifacts = stage.inputs(config)
    if stage.per == "detector":
        if shard not in parts["detector"]:
            raise UserError(f"{shard} trains no detector of this run: {', '.join(parts['detector'])}")
        artifacts, shard = [*artifacts, shard], "all"
    manifests = {}
    for artifact in artifacts:
        producing_run = config["producing_runs"].get(producer(artifact)[0], config["run"])
        manifests[artifact] = Run(data, producing_run).manifests_of(artifact, shard, parts)
    for artifact in stage.inputs_of_round_before(config):
        if config["rounds"] == 1:
            raise UserError("the first round has none before it: nothing to do with `rounds: 1`")
        source = config["producing_runs"].get(source_key(producer(artifact)[0])) or round_before(config)["run"]
        manifests[artifact] = Run(data, source).manifests_of(artifact, shard, parts)
    _check_images(manifests, config["shards"])
    inputs = {artifact: outputs_among(of_artifact, artifact, shard) for artifact, of_artifact in manifests.items()}
    for artifact, outputs in inputs.items():
        known = {output.shard for output in outputs}
        split = producer(artifact)[1] == "shard" and shard == "all" and not is_aside(artifact)
        if split and known != set(parts["shard"]):
            raise UserError(
                f"{artifact} has the shards {', '.join(sorted(known))}, the configuration says {config['shards']} of them "
                "(config key shards): name with --configfile what the run was made with"
            )
    return inputs


def _check_images(manifests: dict[str, list[Manifest]], shards: int) -> None:
    """Refuse a run of another number of shards, of which a part would be read, and what was made of other pictures than
    this run's (a folder of runs put together by hand, say).

    manifests: of each artifact that is read; without images among them there is nothing to compare with.
    """
    if "images" not in manifests:
        return
    images = outputs_among(manifests["images"], "images", "all")
    if len(images) != shards:
        raise UserError(
            f"the run's images are in {len(images)} shards, the configuration says {shards} (config key shards): name with "
            "--configfile what the run was made with"
        )
    known = {output.digest for output in images}
    for artifact, of_artifact in manifests.items():
        for manifest in of_artifact:
            read = {digest for row in manifest.inputs if row["artifact"] == "images" for digest in row["digests"]}
            other = sorted(read - known)
            if other:
                raise UserError(
                    f"{artifact} was made by {manifest.stage} of another set of images ({other[0][:12]}…, not of this "
                    f"run's): run `snakemake --cores all --until {manifest.stage}` again, or name the run that it "
                    "belongs to"
                )


def _alone(lock: Path) -> AbstractContextManager:
    """Wait for whoever does the very same action, of another run say: they would share a scratch folder, and who waits
    finds the result in the memo. Of processes that train together the one that started them holds the lock."""
    if processes.get_world_size() > 1:
        return nullcontext()
    make_folder(lock.parent)
    return locks.held(lock, needed=False, signed=True)


def _recall(memo: Path, blobs: Blobs, *, whole: bool) -> Manifest | None:
    """The memo of an action, if it is there and all that it made still is; whole: if that is what its name says."""
    try:
        manifest = read_sealed(memo, key=memo.stem)
        for output in manifest.outputs:
            blobs.check(output.digest, output.suffix, output.bytes, whole=whole)
    except (FileNotFoundError, Damaged, UserError):
        return None
    return manifest


def _compute(
    action: Action, run: Callable, blobs: Blobs, scratch: Path, args: argparse.Namespace
) -> tuple[Manifest, bool]:
    """The work itself, and whether it would come out the same again; on GPUs of its own: in this process or, where several
    are to share it, in those that this one turns into; then this doesn't return."""
    stage, config = action.stage, action.config
    if processes.get_world_size() > 1:
        return _work(action, run, blobs, scratch, args)  # on the GPUs of who started these processes
    _check(action, blobs, whole=True)
    with gpus.reserve(args.gpus) if stage.gpu and config["device"] != "cpu" else nullcontext():
        if stage.processes:
            processes.batch_share(config[stage.name]["batch"], config[stage.name]["accumulate"], args.gpus)
            processes.launch(args.gpus)
        return _work(action, run, blobs, scratch, args)


def _work(
    action: Action, run: Callable, blobs: Blobs, scratch: Path, args: argparse.Namespace
) -> tuple[Manifest, bool]:
    from pipeline.job import Job

    job = Job(action, blobs=blobs, scratch=scratch, threads=args.threads)
    try:
        counts = _counted(action, run, job, args)
        if action.stage.processes:
            processes.wait_for_all()  # the first to be done removes what the others write into
    finally:
        if action.stage.processes:
            processes.destroy_process_group()
    return action.manifest(job.outputs, counts), job.repeatable


def _counted(action: Action, run: Callable, job, args: argparse.Namespace) -> dict:
    """Run the stage; the counts of its manifest."""
    try:
        _use_threads(args.threads)
        if action.stage.gpu:
            trains = "training" in action.stage.shares
            configure_torch(args.threads, deterministic=trains and action.config["training"]["deterministic"])
            check_device(action.params, job.device)
        if action.stage.processes:
            processes.init_process_group(job.device)
        run(job)
        return job.finish()
    finally:
        job.close()


def _renamed(manifest: Manifest, stage: Stage, shard: str) -> list[Output]:
    """The memo's outputs under this shard's name: equal shards of different numbering share one memo."""
    if stage.per != "shard":
        return manifest.outputs
    return [replace(output, path=Path(output.path).with_stem(shard).as_posix()) for output in manifest.outputs]


def _publish(manifest: Manifest, folder: Run, blobs: Blobs, stage: Stage, args: argparse.Namespace) -> None:
    """Link the outputs into the run, drop links that this stage no longer makes, and write the run's manifest."""
    shards, most_rejects = args.config["shards"], args.config["max_reject_fraction"]
    manifest = replace(manifest, shard=args.shard, outputs=_renamed(manifest, stage, args.shard))
    links = {folder.root / output.path for output in manifest.outputs}
    for output in manifest.outputs:
        blobs.link(output.digest, folder.root / output.path)
    artifacts = {manifest.stage} | {name for name, table in TABLES.items() if table.stage == manifest.stage}
    for artifact in artifacts:
        for link in (folder.root / artifact).glob("**/*"):
            of_this_job = manifest.shard == "all" or link.stem == manifest.shard
            gone = link.stem.isdigit() and int(link.stem) >= shards
            if link.is_symlink() and link not in links and (of_this_job or gone):
                link.unlink()
    _check_rejects(manifest, most_rejects, folder)
    write_atomically(folder.manifest_path(stage.name, args.shard), manifest.to_json())


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
