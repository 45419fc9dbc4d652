"""Rounds: the detector is trained again, on labels that the detector of the round before makes (self-training: Yarowsky,
1995; of masks, CutLER: Wang et al., 2023, 3.3).

With `rounds: n` the configured run is the last round. Each round before it is a run of its own, RUN.round1, RUN.round2 …,
of the same stages over the same tables: what is configured alike is shared, as between variants, and each can be opened,
measured and compared as any other run.
"""

from pipeline.config import checked


def round_before(config: dict) -> dict:
    """The configuration of the round before that of `config`, of two rounds or more: one round less, what the key
    `earlier_rounds` lays over it, and no detector but train_detector, no measure of proposals. Raises ConfigError where that
    is wrong."""
    from pipeline.variants import overlaid  # here: Snakemake takes half a second

    number = config["rounds"] - 1
    first = config["run"].removesuffix(f".round{config['rounds']}")
    named = {"run": f"{first}.round{number}", "rounds": number, "tables": {"seeds": []}}
    alone = {"detectors": ["train_detector"], "evaluate_proposals": {"generators": []}, "producing_runs": {}}
    nobody = {"review": {"decisions": ""}}  # people decide about the labels of the last round
    return checked(overlaid(config, nobody, config["earlier_rounds"], named) | alone)


def rounds_before(config: dict) -> list[dict]:
    """The configurations of all rounds before that of `config`, the first round last."""
    before = []
    while config["rounds"] > 1:
        config = round_before(config)
        before.append(config)
    return before


def source_key(stage: str) -> str:
    """The key of a configuration's `producing_runs` under which the run stands that made a stage's result of the round
    before."""
    return f"round_before.{stage}"
