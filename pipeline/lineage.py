"""What each stage's result depends on under a configuration, and which of several runs can share a result.

Two runs share a stage where all that its result is made of is configured alike: its parameters, its seed where it draws
random numbers, and whatever precedes it, that of earlier rounds included.
"""

import hashlib

from pipeline.parameters import draws_random_numbers, records, sections
from pipeline.registry import detectors, stages
from pipeline.rounds import round_before, source_key
from store.blobs import canonical_json
from store.manifest import producer

_EVERYWHERE = ("root", "sources", "shards", "device", "max_reject_fraction")


def parents(stage: str, config: dict) -> list[str]:
    """The stages whose results a stage reads under a configuration, in the order of its declaration."""
    return list(dict.fromkeys(producer(artifact)[0] for artifact in stages()[stage].inputs(config)))


def ancestors(goals: list[str], config: dict) -> list[str]:
    """The goals, and every stage that they depend on under a configuration, each after those that it depends on."""
    order: dict[str, None] = {}

    def visit(stage: str) -> None:
        if stage not in order:
            for parent in [*parents(stage, config), *(detectors(config) if stages()[stage].per == "detector" else ())]:
                visit(parent)
            order[stage] = None

    for goal in goals:
        visit(goal)
    return list(order)


def signature(stage: str, config: dict, part: str = "all", known: dict | None = None) -> str:
    """What a stage's result is made of, as one hash.

    part: the detector, for a stage that runs once for each; known: signatures of this configuration computed before.
    """
    known = {} if known is None else known
    if (stage, part) not in known:
        known[stage, part] = _signature(stage, config, part, known)
    return known[stage, part]


def _signature(stage: str, config: dict, part: str, known: dict) -> str:
    declaration = stages()[stage]
    contents = {
        "stage": stage,
        "sections": sections(declaration, config),
        "records": records(declaration, config),
        "seed": config["seed"] if draws_random_numbers(declaration, config) else None,
        "everywhere": {name: config[name] for name in _EVERYWHERE},
    }
    if stage == "ingest":
        contents["toy"] = config["toy"]
    if declaration.round_before and config["rounds"] > 1:
        before = round_before(config)
        contents["round_before"] = [
            signature(producer(artifact)[0], before) for artifact in declaration.inputs_of_round_before(config)
        ]
    if declaration.per == "detector":
        contents["before"] = [signature(name, config, known=known) for name in (*parents(stage, config), part)]
    else:
        contents["before"] = [
            [
                signature(name, config, name_part, known)
                for name_part in (detectors(config) if stages()[name].per == "detector" else ["all"])
            ]
            for name in parents(stage, config)
        ]
    return hashlib.sha256(canonical_json(contents).encode()).hexdigest()


def producing_runs(configs: dict[str, dict]) -> dict[str, dict[str, str]]:
    """{run: {stage: run that produces it}}: of all runs with one signature the first one produces a stage's result.

    configs: {run: configuration}. A stage that runs once a detector is done by the run itself.
    """
    first: dict[str, str] = {}
    producers: dict[str, dict[str, str]] = {}
    for run, config in configs.items():
        producers[run], known = {}, {}
        for name, stage in stages().items():
            if stage.per == "detector":
                producers[run][name] = run
            else:
                producers[run][name] = first.setdefault(signature(name, config, known=known), run)
    for run, config in configs.items():
        if config["rounds"] > 1:
            before = producers[round_before(config)["run"]]
            producers[run] |= {source_key(name): before[name] for name in stages_of_round_before()}
    return producers


def stages_of_round_before() -> list[str]:
    """The stages of the round before whose results any stage reads, sorted."""
    return sorted(
        {producer(artifact)[0] for stage in stages().values() for artifact in stage.artifacts_of_round_before}
    )
