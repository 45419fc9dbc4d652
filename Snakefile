"""cap2mask: pictures with captions in, an instance segmenter of any object that the captions name out."""

import sys

from snakemake.exceptions import WorkflowError
from structures.errors import UserError
from pipeline.workflow import Workflow

if not workflow.overwrite_configfiles:  # a --configfile is the whole configuration, not a change of the embedded one

    configfile: "config/config.yaml"


try:
    FLOW = Workflow(config)
except UserError as error:
    raise WorkflowError(str(error))

PYTHON = sys.executable
ONCE = FLOW.command(PYTHON)
TEAM = f"{ONCE} --gpus {{resources.gpu}}"
SHARD = f"{ONCE} --shard {{wildcards.shard}}"
DRAW = FLOW.toy_command(PYTHON)


wildcard_constraints:
    shard=r"\d+",
    detector=r"train_detector|finetune_detector|train_teacher|train_student",
    run=r"[A-Za-z0-9_.-]+",


localrules:
    all,
    tables,


rule all:
    input:
        FLOW.goals(),


onstart:
    # A limit of jobs a second, which clusters need, would wake Snakemake's scheduler once more a second for every job that
    # has ended: after some hundred jobs a third of a core.
    if workflow.local_exec:
        workflow.scheduler.job_rate_limiter = None
    try:
        FLOW.check_files(sorted({job.rule.name for job in workflow.dag.needrun_jobs()}))
    except UserError as error:
        raise WorkflowError(str(error))


# The data set -------------------------------------------------------------------------------------------------------


rule toy:
    """Draw the embedded data set (config: toy; nothing where toy.train is 0)."""
    output:
        FLOW.toy_files(),
    log:
        FLOW.log("toy").format(run=FLOW.run),
    benchmark:
        FLOW.benchmark("toy").format(run=FLOW.run)
    conda:
        "environment.yml"
    resources:
        mem_mb=1000,
    params:
        **FLOW.toy_params(),
    shell:
        DRAW


rule ingest:
    """The data set's files to the tables images, captions, annotations, labels."""
    input:
        FLOW.source_files(),
    output:
        FLOW.manifest("ingest"),
    log:
        FLOW.log("ingest"),
    benchmark:
        FLOW.benchmark("ingest")
    conda:
        "environment.yml"
    threads: FLOW.threads
    resources:
        mem_mb=2000,
    params:
        **FLOW.params("ingest"),
    shell:
        ONCE


rule categories:
    """The vocabulary: of a file, counted, or of the labels."""
    input:
        FLOW.inputs("categories"),
    output:
        FLOW.manifest("categories"),
    log:
        FLOW.log("categories"),
    benchmark:
        FLOW.benchmark("categories")
    conda:
        "environment.yml"
    threads: FLOW.threads
    resources:
        mem_mb=2000,
    params:
        **FLOW.params("categories"),
    shell:
        ONCE


# Where is what the captions name? -----------------------------------------------------------------------------------


rule nouns:
    """Captions to the nouns of the vocabulary that they name."""
    input:
        FLOW.inputs("nouns"),
    output:
        FLOW.manifest("nouns", "{shard}"),
    log:
        FLOW.log("nouns", "{shard}"),
    benchmark:
        FLOW.benchmark("nouns", "{shard}")
    conda:
        "environment.yml"
    threads: FLOW.threads
    resources:
        mem_mb=2000,
    params:
        **FLOW.params("nouns"),
    shell:
        SHARD


rule gradcam:
    """Activation maps of every noun, with iterative masking (OVIS, Eqs. 1-4)."""
    input:
        FLOW.inputs("gradcam"),
    output:
        FLOW.manifest("gradcam", "{shard}"),
    log:
        FLOW.log("gradcam", "{shard}"),
    benchmark:
        FLOW.benchmark("gradcam", "{shard}")
    conda:
        "environment.yml"
    threads: FLOW.threads
    resources:
        gpu=1,
        mem_mb=4000,
    params:
        **FLOW.params("gradcam"),
    shell:
        SHARD


# Which boxes could hold it? -----------------------------------------------------------------------------------------


rule selective_search:
    """Box proposals without learning."""
    input:
        FLOW.inputs("selective_search"),
    output:
        FLOW.manifest("selective_search", "{shard}"),
    log:
        FLOW.log("selective_search", "{shard}"),
    benchmark:
        FLOW.benchmark("selective_search", "{shard}")
    conda:
        "environment.yml"
    threads: FLOW.threads
    resources:
        mem_mb=1000,
    params:
        **FLOW.params("selective_search"),
    shell:
        SHARD


rule train_wspn:
    """A proposal network taught by the captions' base nouns (OVIS, Eq. 5)."""
    input:
        FLOW.inputs("train_wspn"),
    output:
        FLOW.manifest("train_wspn"),
    log:
        FLOW.log("train_wspn"),
    benchmark:
        FLOW.benchmark("train_wspn")
    conda:
        "environment.yml"
    threads: FLOW.threads
    resources:
        gpu=1,
        mem_mb=4000,
    params:
        **FLOW.params("train_wspn"),
    shell:
        ONCE


rule propose:
    """The network's best 50 boxes of every image."""
    input:
        FLOW.inputs("propose"),
    output:
        FLOW.manifest("propose", "{shard}"),
    log:
        FLOW.log("propose", "{shard}"),
    benchmark:
        FLOW.benchmark("propose", "{shard}")
    conda:
        "environment.yml"
    threads: FLOW.threads
    resources:
        gpu=1,
        mem_mb=2000,
    params:
        **FLOW.params("propose"),
    shell:
        SHARD


# Its box, its outline, its label ------------------------------------------------------------------------------------


rule select_boxes:
    """The box that holds most of a noun's activation (OVIS, Eq. 6)."""
    input:
        FLOW.inputs("select_boxes"),
    output:
        FLOW.manifest("select_boxes", "{shard}"),
    log:
        FLOW.log("select_boxes", "{shard}"),
    benchmark:
        FLOW.benchmark("select_boxes", "{shard}")
    conda:
        "environment.yml"
    resources:
        mem_mb=1000,
    params:
        **FLOW.params("select_boxes"),
    shell:
        SHARD


rule segment:
    """The object's outline inside its box (OVIS, Eq. 7)."""
    input:
        FLOW.inputs("segment"),
    output:
        FLOW.manifest("segment", "{shard}"),
    log:
        FLOW.log("segment", "{shard}"),
    benchmark:
        FLOW.benchmark("segment", "{shard}")
    conda:
        "environment.yml"
    threads: FLOW.threads
    resources:
        gpu=1,
        mem_mb=4000,
    params:
        **FLOW.params("segment"),
    shell:
        SHARD


rule pseudo_labels:
    """The pseudo-masks as COCO JSON."""
    input:
        FLOW.inputs("pseudo_labels"),
    output:
        FLOW.manifest("pseudo_labels"),
    log:
        FLOW.log("pseudo_labels"),
    benchmark:
        FLOW.benchmark("pseudo_labels")
    conda:
        "environment.yml"
    resources:
        mem_mb=1000,
    params:
        **FLOW.params("pseudo_labels"),
    shell:
        ONCE


# The detector -------------------------------------------------------------------------------------------------------


rule embed_text:
    """The vocabulary's names as vectors."""
    input:
        FLOW.inputs("embed_text"),
    output:
        FLOW.manifest("embed_text"),
    log:
        FLOW.log("embed_text"),
    benchmark:
        FLOW.benchmark("embed_text")
    conda:
        "environment.yml"
    resources:
        mem_mb=2000,
    params:
        **FLOW.params("embed_text"),
    shell:
        ONCE


rule train_detector:
    """An open-vocabulary Mask R-CNN taught by pseudo-labels alone (OVIS, Eq. 8)."""
    input:
        FLOW.inputs("train_detector"),
    output:
        FLOW.manifest("train_detector"),
    log:
        FLOW.log("train_detector"),
    benchmark:
        FLOW.benchmark("train_detector")
    conda:
        "environment.yml"
    threads: FLOW.threads
    resources:
        gpu=1,
        mem_mb=4000,
    params:
        **FLOW.params("train_detector"),
    shell:
        TEAM


rule finetune_detector:
    """The detector, taught on by base annotations (OVIS, Table 3)."""
    input:
        FLOW.inputs("finetune_detector"),
    output:
        FLOW.manifest("finetune_detector"),
    log:
        FLOW.log("finetune_detector"),
    benchmark:
        FLOW.benchmark("finetune_detector")
    conda:
        "environment.yml"
    threads: FLOW.threads
    resources:
        gpu=1,
        mem_mb=4000,
    params:
        **FLOW.params("finetune_detector"),
    shell:
        TEAM


# XPM: a teacher, its labels, a robust student ------------------------------------------------------------------------


rule pretrain_captions:
    """The teacher's network, taught by captions alone (OVR)."""
    input:
        FLOW.inputs("pretrain_captions"),
    output:
        FLOW.manifest("pretrain_captions"),
    log:
        FLOW.log("pretrain_captions"),
    benchmark:
        FLOW.benchmark("pretrain_captions")
    conda:
        "environment.yml"
    threads: FLOW.threads
    resources:
        gpu=1,
        mem_mb=4000,
    params:
        **FLOW.params("pretrain_captions"),
    shell:
        TEAM


rule train_teacher:
    """A Mask R-CNN taught by base annotations (XPM, 3.2.1)."""
    input:
        FLOW.inputs("train_teacher"),
    output:
        FLOW.manifest("train_teacher"),
    log:
        FLOW.log("train_teacher"),
    benchmark:
        FLOW.benchmark("train_teacher")
    conda:
        "environment.yml"
    threads: FLOW.threads
    resources:
        gpu=1,
        mem_mb=4000,
    params:
        **FLOW.params("train_teacher"),
    shell:
        TEAM


rule teacher_labels:
    """The regions that the teacher finds most like the captions' nouns, and their masks (XPM, Eqs. 2 and 4)."""
    input:
        FLOW.inputs("teacher_labels"),
    output:
        FLOW.manifest("teacher_labels", "{shard}"),
    log:
        FLOW.log("teacher_labels", "{shard}"),
    benchmark:
        FLOW.benchmark("teacher_labels", "{shard}")
    conda:
        "environment.yml"
    threads: FLOW.threads
    resources:
        gpu=1,
        mem_mb=4000,
    params:
        **FLOW.params("teacher_labels"),
    shell:
        SHARD


rule student_labels:
    """The pseudo-masks that the student learns from: the teacher's, Mask-free OVIS's, or both."""
    input:
        FLOW.inputs("student_labels"),
    output:
        FLOW.manifest("student_labels"),
    log:
        FLOW.log("student_labels"),
    benchmark:
        FLOW.benchmark("student_labels")
    conda:
        "environment.yml"
    threads: FLOW.threads
    resources:
        mem_mb=2000,
    params:
        **FLOW.params("student_labels"),
    shell:
        ONCE


rule train_student:
    """The student, which learns from noisy pseudo-masks and base annotations (XPM, Eqs. 3, 6 and 7)."""
    input:
        FLOW.inputs("train_student"),
    output:
        FLOW.manifest("train_student"),
    log:
        FLOW.log("train_student"),
    benchmark:
        FLOW.benchmark("train_student")
    conda:
        "environment.yml"
    threads: FLOW.threads
    resources:
        gpu=1,
        mem_mb=4000,
    params:
        **FLOW.params("train_student"),
    shell:
        TEAM


rule label_noise:
    """How noisy the student takes each pseudo-mask to be."""
    input:
        FLOW.inputs("label_noise"),
    output:
        FLOW.manifest("label_noise"),
    log:
        FLOW.log("label_noise"),
    benchmark:
        FLOW.benchmark("label_noise")
    conda:
        "environment.yml"
    threads: FLOW.threads
    resources:
        gpu=1,
        mem_mb=4000,
    params:
        **FLOW.params("label_noise"),
    shell:
        ONCE


# What is found, and how good it is -----------------------------------------------------------------------------------


rule detect:
    """What a trained detector finds in the validation images."""
    input:
        FLOW.inputs("detect"),
    output:
        FLOW.manifest("detect", "{detector}"),
    log:
        FLOW.log("detect", "{detector}"),
    benchmark:
        FLOW.benchmark("detect", "{detector}")
    conda:
        "environment.yml"
    threads: FLOW.threads
    resources:
        gpu=1,
        mem_mb=2000,
    params:
        **FLOW.params("detect"),
    shell:
        f"{ONCE} --detector {{wildcards.detector}}"


rule evaluate_labels:
    """Maps, proposals and pseudo-masks against the truth."""
    input:
        FLOW.inputs("evaluate_labels"),
    output:
        FLOW.manifest("evaluate_labels"),
    log:
        FLOW.log("evaluate_labels"),
    benchmark:
        FLOW.benchmark("evaluate_labels")
    conda:
        "environment.yml"
    threads: FLOW.threads
    resources:
        gpu=1,
        mem_mb=4000,
    params:
        **FLOW.params("evaluate_labels"),
    shell:
        ONCE


rule evaluate:
    """Each detector's AP: constrained and generalized, base, novel and all."""
    input:
        FLOW.inputs("evaluate"),
    output:
        FLOW.manifest("evaluate"),
    log:
        FLOW.log("evaluate"),
    benchmark:
        FLOW.benchmark("evaluate")
    conda:
        "environment.yml"
    resources:
        mem_mb=2000,
    params:
        **FLOW.params("evaluate"),
    shell:
        ONCE


rule report:
    """Contact sheets as PNG."""
    input:
        FLOW.inputs("report"),
    output:
        FLOW.manifest("report"),
    log:
        FLOW.log("report"),
    benchmark:
        FLOW.benchmark("report")
    conda:
        "environment.yml"
    resources:
        mem_mb=1000,
    params:
        **FLOW.params("report"),
    shell:
        ONCE


# The papers' tables: `snakemake --cores all tables` ---------------------------------------------------------------------


rule tables:
    """Every variant of config/variants, and the papers' tables filled with their scores."""
    input:
        FLOW.scores,
    output:
        f"{FLOW.data}/tables.parquet",
        f"{FLOW.data}/tables.md",
    log:
        FLOW.log("tables").format(run=FLOW.run),
    conda:
        "environment.yml"
    params:
        **FLOW.tables_params(),
    shell:
        FLOW.tables_command(PYTHON)


# The shipped weights of the embedded run, made again: `snakemake --cores all pretrain` --------------------------------


rule pretrain:
    """Both checkpoints of data/weights (nothing of the run above depends on it)."""
    input:
        FLOW.of_this_run("pretrain_vlm", "pretrain_backbone"),


rule pretrain_vlm:
    """The small ALBEF, on drawn scenes of its own."""
    output:
        FLOW.manifest("pretrain_vlm"),
    log:
        FLOW.log("pretrain_vlm"),
    benchmark:
        FLOW.benchmark("pretrain_vlm")
    conda:
        "environment.yml"
    threads: FLOW.threads
    resources:
        gpu=1,
        mem_mb=4000,
    params:
        **FLOW.params("pretrain_vlm"),
    shell:
        ONCE


rule pretrain_backbone:
    """The small backbone, on single drawn objects."""
    output:
        FLOW.manifest("pretrain_backbone"),
    log:
        FLOW.log("pretrain_backbone"),
    benchmark:
        FLOW.benchmark("pretrain_backbone")
    conda:
        "environment.yml"
    threads: FLOW.threads
    resources:
        gpu=1,
        mem_mb=4000,
    params:
        **FLOW.params("pretrain_backbone"),
    shell:
        ONCE
