"""The declaration of a stage, from which the rest of the project learns what it reads, writes and needs.

    STAGE = Stage(name="nouns", reads=("images", "captions", "categories"), writes=("nouns",), per="shard")

    def run(job): ...

    if __name__ == "__main__":
        STAGE.main(run)

Rules of the workflow, memo keys, resources, `--help`, the check of files before a run: all of them are made from it.
Which parameters name files, and which choose a method, the schema of the configuration says. Stages import torch and
what needs it inside run, so that a memo hit takes a fraction of a second.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Input:
    """An artifact that a stage reads only where when(configuration) holds."""

    artifact: str
    when: Callable[[dict], bool]


def _artifact(entry: str | Input) -> str:
    return entry if isinstance(entry, str) else entry.artifact


@dataclass(frozen=True)
class Stage:
    """What a stage reads, writes and needs.

    reads: tables, or checkpoints and files by the name of the stage that makes them, or what a stage sets aside, if it does
    (STAGE/_rejects, STAGE/_curve); an Input where the configuration decides. round_before: what it reads, likewise, of the
    round before this one (key `rounds`), which is a run of its own; the first round has none before it. writes: tables, or its own name for a checkpoint or files. shares: sections or keys of
    the configuration that it uses besides its own section ("optimizer", "training.workers"); records: sections that it
    writes into its checkpoint as they are. per: "run" for one job, "shard" for one a shard, "scatter" for one job that writes every
    shard, "detector" for one job a trained detector. detector: it trains a detector that the key `detectors` may name,
    always or where a function of the configuration says so. random: it draws random numbers, so that the seed counts,
    always or where a function of the configuration says so; a method that the schema marks with `random: true` does so
    besides.

    gpu: GPUs of a job, 0 for a stage without a network; processes: several processes can share the work, one a GPU.
    threads, mem_mb, runtime (minutes): of one job of MS-COCO in 64 shards, what a cluster is asked for; Snakemake
    gives a job no more threads than it has cores, and a job that is tried again so many times the memory and minutes.
    short: a shard takes seconds, so that a cluster is better asked for many of its jobs at once.
    """

    name: str
    reads: tuple[str | Input, ...] = ()
    round_before: tuple[str | Input, ...] = ()
    writes: tuple[str, ...] = ()
    shares: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    per: str = "run"
    detector: bool | Callable[[dict], bool] = False
    random: bool | Callable[[dict], bool] = False
    gpu: int = 0
    processes: bool = False
    threads: int = 2
    mem_mb: int = 4000
    runtime: int = 60
    short: bool = False

    def inputs(self, config: dict) -> list[str]:
        """The artifacts that it reads under a configuration, in the order of the declaration."""
        return [_artifact(entry) for entry in self.reads if isinstance(entry, str) or entry.when(config)]

    def inputs_of_round_before(self, config: dict) -> list[str]:
        """What it reads of the round before under a configuration."""
        return [_artifact(entry) for entry in self.round_before if isinstance(entry, str) or entry.when(config)]

    @property
    def artifacts(self) -> list[str]:
        """All that it may read of its own round, whatever the configuration."""
        return [_artifact(entry) for entry in self.reads]

    @property
    def artifacts_of_round_before(self) -> list[str]:
        """All that it may read of the round before."""
        return [_artifact(entry) for entry in self.round_before]

    def trains_detector(self, config: dict) -> bool:
        """Whether it trains a detector under a configuration that asks for it."""
        return self.detector(config) if callable(self.detector) else self.detector

    def main(self, run: Callable) -> None:
        """Command line of the stage; exits 1 with one line on a user's mistake."""
        from pipeline.execute import main

        main(self, run)
