"""cap2mask: pictures with captions in, an instance segmenter of any object that the captions name out."""

import sys

from snakemake.exceptions import WorkflowError
from store.errors import UserError
from store.workflow import Workflow

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
    detector=r"\w+_detector",


localrules:
    all,


rule all:
    input:
        FLOW.goals(),


onstart:
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
        FLOW.log("toy"),
    benchmark:
        FLOW.benchmark("toy")
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
    threads: 2
    resources:
        mem_mb=2000,
    params:
        **FLOW.params("ingest"),
    shell:
        ONCE


rule categories:
    """The vocabulary: of a file, counted, or of the labels."""
    input:
        FLOW.manifest("ingest"),
    output:
        FLOW.manifest("categories"),
    log:
        FLOW.log("categories"),
    benchmark:
        FLOW.benchmark("categories")
    conda:
        "environment.yml"
    threads: 2
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
        FLOW.manifest("ingest"),
        FLOW.manifest("categories"),
    output:
        FLOW.each("nouns"),
    log:
        FLOW.log("nouns", "{shard}"),
    benchmark:
        FLOW.benchmark("nouns", "{shard}")
    conda:
        "environment.yml"
    threads: 2
    resources:
        mem_mb=2000,
    params:
        **FLOW.params("nouns"),
    shell:
        SHARD


rule gradcam:
    """Activation maps of every noun, with iterative masking (OVIS, Eqs. 1-4)."""
    input:
        FLOW.manifest("ingest"),
        FLOW.each("nouns"),
    output:
        FLOW.each("gradcam"),
    log:
        FLOW.log("gradcam", "{shard}"),
    benchmark:
        FLOW.benchmark("gradcam", "{shard}")
    conda:
        "environment.yml"
    threads: 2
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
        FLOW.manifest("ingest"),
    output:
        FLOW.each("selective_search"),
    log:
        FLOW.log("selective_search", "{shard}"),
    benchmark:
        FLOW.benchmark("selective_search", "{shard}")
    conda:
        "environment.yml"
    threads: 2
    resources:
        mem_mb=1000,
    params:
        **FLOW.params("selective_search"),
    shell:
        SHARD


rule train_wspn:
    """A proposal network taught by the captions' base nouns (OVIS, Eq. 5)."""
    input:
        FLOW.manifest("ingest"),
        FLOW.manifest("categories"),
        FLOW.every("nouns"),
        FLOW.every("selective_search"),
    output:
        FLOW.manifest("train_wspn"),
    log:
        FLOW.log("train_wspn"),
    benchmark:
        FLOW.benchmark("train_wspn")
    conda:
        "environment.yml"
    threads: 2
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
        FLOW.manifest("ingest"),
        FLOW.each("selective_search"),
        FLOW.manifest("train_wspn"),
    output:
        FLOW.each("propose"),
    log:
        FLOW.log("propose", "{shard}"),
    benchmark:
        FLOW.benchmark("propose", "{shard}")
    conda:
        "environment.yml"
    threads: 2
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
        FLOW.manifest("ingest"),
        FLOW.each("nouns"),
        FLOW.each("gradcam"),
        FLOW.each("propose"),
    output:
        FLOW.each("select_boxes"),
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
        FLOW.manifest("ingest"),
        FLOW.each("gradcam"),
        FLOW.each("select_boxes"),
    output:
        FLOW.each("segment"),
    log:
        FLOW.log("segment", "{shard}"),
    benchmark:
        FLOW.benchmark("segment", "{shard}")
    conda:
        "environment.yml"
    threads: 2
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
        FLOW.manifest("ingest"),
        FLOW.manifest("categories"),
        FLOW.every("segment"),
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
        FLOW.manifest("categories"),
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
        FLOW.manifest("ingest"),
        FLOW.manifest("pseudo_labels"),
        FLOW.manifest("embed_text"),
    output:
        FLOW.manifest("train_detector"),
    log:
        FLOW.log("train_detector"),
    benchmark:
        FLOW.benchmark("train_detector")
    conda:
        "environment.yml"
    threads: 2
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
        FLOW.manifest("ingest"),
        FLOW.manifest("embed_text"),
        FLOW.manifest("pseudo_labels"),
        FLOW.manifest("train_detector"),
    output:
        FLOW.manifest("finetune_detector"),
    log:
        FLOW.log("finetune_detector"),
    benchmark:
        FLOW.benchmark("finetune_detector")
    conda:
        "environment.yml"
    threads: 2
    resources:
        gpu=1,
        mem_mb=4000,
    params:
        **FLOW.params("finetune_detector"),
    shell:
        TEAM


rule detect:
    """What a trained detector finds in the validation images."""
    input:
        FLOW.manifest("ingest"),
        FLOW.manifest("embed_text"),
        FLOW.manifest("{detector}"),
    output:
        FLOW.manifest("detect", "{detector}"),
    log:
        FLOW.log("detect", "{detector}"),
    benchmark:
        FLOW.benchmark("detect", "{detector}")
    conda:
        "environment.yml"
    threads: 2
    resources:
        gpu=1,
        mem_mb=2000,
    params:
        **FLOW.params("detect"),
    shell:
        f"{ONCE} --detector {{wildcards.detector}}"


# How good is it? ----------------------------------------------------------------------------------------------------


rule evaluate_labels:
    """Maps, proposals and pseudo-masks against the truth."""
    input:
        FLOW.manifest("ingest"),
        FLOW.manifest("categories"),
        FLOW.every("nouns"),
        FLOW.every("gradcam"),
        FLOW.every("selective_search"),
        FLOW.every("propose"),
        FLOW.every("segment"),
    output:
        FLOW.manifest("evaluate_labels"),
    log:
        FLOW.log("evaluate_labels"),
    benchmark:
        FLOW.benchmark("evaluate_labels")
    conda:
        "environment.yml"
    threads: 2
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
        FLOW.manifest("ingest"),
        FLOW.manifest("categories"),
        FLOW.of_detectors("detect"),
        FLOW.manifest("evaluate_labels"),
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
        FLOW.manifest("ingest"),
        FLOW.every("nouns"),
        FLOW.every("gradcam"),
        FLOW.every("propose"),
        FLOW.every("select_boxes"),
        FLOW.every("segment"),
        FLOW.of_detectors("detect"),
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


# The shipped weights of the embedded run, made again: `snakemake --cores all pretrain` --------------------------------


rule pretrain:
    """Both checkpoints of data/weights (nothing of the run above depends on it)."""
    input:
        FLOW.manifest("pretrain_vlm"),
        FLOW.manifest("pretrain_backbone"),


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
    threads: 2
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
    threads: 2
    resources:
        gpu=1,
        mem_mb=4000,
    params:
        **FLOW.params("pretrain_backbone"),
    shell:
        ONCE
