"""Write the pseudo-masks as COCO JSON: what the detector learns from, and what other trainers can take."""

from pipeline.conditions import first_round, later_round
from pipeline.stage import Input, Stage

STAGE = Stage(
    name="pseudo_labels",
    reads=(
        "images",
        Input("pseudo_masks", when=first_round),
        Input("round_masks", when=later_round),
        "categories",
    ),
    writes=("pseudo_labels",),
    mem_mb=16000,
)


def run(job) -> None:
    import json

    from sources.coco import instances_json
    from sources.vocabulary import read_vocabulary

    p = job.params
    vocabulary = read_vocabulary(job.paths("categories")[0])
    masks = []
    for row in job.rows("round_masks" if job.has("round_masks") else "pseudo_masks"):
        if vocabulary.group(row["category"]) not in p.groups:
            continue
        key = row["category"], row["instance"]
        if row["area"] < p.min_area:
            job.reject(row["image_id"], "small_mask", f"{row['area']:.0f} pixels", *key, counted=False)
        elif row["agreement"] < p.min_agreement:
            detail = f"agreement {row['agreement']:.2f}"
            job.reject(row["image_id"], "low_agreement", detail, *key, counted=False)
        else:
            masks.append(row)
    masks.sort(key=lambda row: (row["image_id"], row["category"], row["instance"]))
    content = instances_json(list(job.images("train")), masks, vocabulary.names)
    with job.file("pseudo_labels/all.json") as draft:
        draft.write_text(json.dumps(content), encoding="utf-8")


if __name__ == "__main__":
    STAGE.main(run)
