"""cap2mask: pictures with captions in, an instance segmenter of any object that the captions name out."""

from snakemake.exceptions import WorkflowError

from pipeline.logs import message
from pipeline.workflow import Workflow
from structures.errors import UserError

if not workflow.overwrite_configfiles:  # a --configfile is the whole configuration, not a change of the embedded one

    configfile: "config/config.yaml"


# Every stage in the order of the work, and those whose results it reads, with a question mark behind what some configurations
# do without, and < behind what is of the round before. The script stages/<stage>.py declares the rest, and must agree; `snakemake --list-rules` says what each does.

DATA_SET = {
    "ingest": "",
    "categories": "ingest?",
    "nouns": "ingest categories",
    "embed_text": "ingest? categories",
}
PSEUDO_LABELS = {
    "gradcam": "ingest nouns",
    "selective_search": "ingest",
    "train_wspn": "ingest categories nouns selective_search",
    "propose": "ingest selective_search train_wspn?",
    "select_boxes": "ingest nouns gradcam propose",
    "segment": "ingest gradcam select_boxes",
    "relabel": "ingest nouns gradcam propose embed_text train_detector<",
    "review": "ingest categories segment? relabel?",
    "label_quality": "ingest gradcam propose segment? relabel? embed_text? train_detector<",
    "pseudo_labels": "ingest categories segment? relabel? review? label_quality?",
}
DETECTOR = {
    "train_detector": "ingest embed_text pseudo_labels",
    "finetune_detector": "ingest embed_text pseudo_labels? train_detector",
}
XPM = {
    "pretrain_captions": "ingest nouns? embed_text?",
    "train_teacher": "ingest embed_text pretrain_captions?",
    "teacher_labels": "ingest nouns embed_text train_teacher",
    "student_labels": "ingest embed_text segment? relabel? review? teacher_labels?",
    "train_student": "ingest embed_text train_teacher student_labels",
    "label_noise": "ingest embed_text student_labels train_student",
}
WHAT_CAME_OUT = {
    "detect": "ingest embed_text detector",
    "evaluate_labels": "ingest categories nouns gradcam selective_search propose select_boxes segment relabel?",
    "evaluate_proposals": "ingest categories train_wspn? train_teacher?",
    "evaluate": "ingest categories detect pseudo_labels? evaluate_labels? evaluate_proposals? student_labels? label_noise?",
    "export": "ingest categories nouns pseudo_labels? student_labels?",
    "export_model": "ingest embed_text pseudo_labels? train_detector? finetune_detector? train_teacher? student_labels? "
    "train_student? evaluate?",
    "gallery": "ingest categories nouns gradcam? selective_search? propose? select_boxes? segment? relabel? label_quality? pseudo_labels? "
    "train_wspn? train_detector? finetune_detector? pretrain_captions? train_teacher? teacher_labels? student_labels? "
    "train_student? label_noise? detect evaluate?",
    "report": "ingest nouns gradcam? propose? select_boxes? segment? relabel? detect student_labels? label_noise?",
}
# of the embedded run, made again by `snakemake --cores all pretrain`; nothing above depends on them
SHIPPED_WEIGHTS = {"pretrain_vlm": "", "pretrain_backbone": ""}

ORDER = DATA_SET | PSEUDO_LABELS | DETECTOR | XPM | WHAT_CAME_OUT
try:
    FLOW = Workflow(config, ORDER | SHIPPED_WEIGHTS, files=workflow.overwrite_configfiles or workflow.configfiles)
    FLOW.export()
    GOALS = FLOW.goals("report", "gallery", scores="evaluate", exports="export", model="export_model")
    if workflow.is_main_process:
        FLOW.check_results()
        workflow.onerror(FLOW.tell_ended)
except (UserError, OSError) as error:
    raise WorkflowError(message(error))


wildcard_constraints:
    shard=r"\d+",
    run=r"[A-Za-z0-9_.-]+",


localrules:
    tables,
    overview,


rule all:
    """The gallery and the sheets of a run, its scores where there is ground truth, its labels and a detector in the formats that are asked for."""
    input:
        FLOW.overview("scores.csv"),
        lambda _: FLOW.with_lost(GOALS) + FLOW.check_until(workflow.dag_settings.until),


onstart:
    try:
        FLOW.check_until(workflow.dag_settings.until)
        FLOW.begin(list(workflow.dag.needrun_jobs()), alone=workflow.is_main_process)
    except (UserError, OSError) as error:
        raise WorkflowError(message(error))


rule toy:
    """Draw the embedded data set (config: toy; nothing where toy.train is 0)."""
    output:
        FLOW.toy_files(),
    log:
        f"logs/{FLOW.run}/toy/all.log",
    benchmark:
        f"{FLOW.data}/runs/{FLOW.run}/benchmarks/toy/all.tsv"
    conda:
        "environment.yml"
    params:
        **FLOW.toy_params(),
    shell:
        FLOW.toy_command()


for stage in ORDER | SHIPPED_WEIGHTS:

    rule:
        name:
            stage
        input:
            FLOW.inputs(stage),
        output:
            FLOW.manifest(stage),
        log:
            FLOW.log(stage),
        benchmark:
            FLOW.benchmark(stage)
        group:
            FLOW.group(stage, workflow)
        conda:
            "environment.yml"
        threads: FLOW.threads(stage)
        resources:
            **FLOW.resources(stage),
        params:
            **FLOW.params(stage, workflow),
        shell:
            FLOW.command()

    workflow.get_rule(stage).docstring = FLOW.summary(stage)


rule overview:
    """The run's main pictures and tables, of which `snakemake --report` makes a page."""
    input:
        FLOW.goals("report", "gallery", scores="evaluate"),
    output:
        report(
            directory(FLOW.overview("pictures")),
            patterns=["{picture}.png"],
            caption="docs/report/pictures.rst",
            category="Pictures",
        ),
        report(FLOW.overview("scores.csv"), caption="docs/report/scores.rst", category="Tables"),
        report(FLOW.overview("labels.csv"), caption="docs/report/labels.rst", category="Tables"),
        report(FLOW.overview("costs.csv"), caption="docs/report/costs.rst", category="Tables"),
        FLOW.overview("costs.js"),
    log:
        f"logs/{FLOW.run}/overview/all.log",
    conda:
        "environment.yml"
    params:
        **FLOW.overview_params(),
    shell:
        FLOW.overview_command()


rule pretrain:
    """Both checkpoints of data/weights (nothing of the run above depends on it)."""
    input:
        FLOW.of_this_run(*SHIPPED_WEIGHTS),


rule tables:
    """Every variant of config/variants, and the papers' tables filled with their scores."""
    input:
        FLOW.scores,
    output:
        f"{FLOW.data}/tables.parquet",
        f"{FLOW.data}/tables.md",
    log:
        f"logs/{FLOW.run}/tables/all.log",
    conda:
        "environment.yml"
    params:
        **FLOW.tables_params(),
    shell:
        FLOW.tables_command()
