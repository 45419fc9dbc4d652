"""Label each noun of a caption with the region that the detector of the round before calls so, where activation agrees
(ours), outlined as in the first round."""

from pipeline.stage import Stage

STAGE = Stage(
    name="relabel",
    reads=("images", "nouns", "gradcam", "wspn_proposals", "embeddings"),
    round_before=("train_detector",),
    writes=("round_masks",),
    shares=("activation_map", "gradcam.threshold", "segment"),
    per="shard",
    gpu=1,
    threads=8,
    mem_mb=16000,
    runtime=120,
)


def run(job) -> None:
    from functools import partial

    import cv2
    import numpy as np
    import torch

    from models.detector.mask_rcnn import load_detector
    from models.grounding.box_choice.soft_overlap import overlaps_of_boxes
    from models.grounding.crops import cut_crop, paste_mask
    from models.grounding.maps import activations_of_nouns
    from models.grounding.pairs import instances_wanted
    from models.grounding.relabel import choose_labels, evidence
    from models.masks.interface import load_method, probabilities
    from structures.pictures import float_on, uint8_tensor
    from training.tables import text_vectors

    p, activation_map, segment = job.params, job.shared.activation_map, job.shared.segment
    one_map = job.activation_options()
    interpolation = activation_map.interpolation
    overlaps_of = partial(overlaps_of_boxes, area_weight=p.area_weight, linear=interpolation == "linear")
    shape = {"side": segment.side, "margin": segment.margin, "interpolation": interpolation}
    cv2.setNumThreads(1)
    rows = job.table("embeddings").to_pylist()
    number, text = {row["category"]: i for i, row in enumerate(rows)}, text_vectors(rows, job.device)
    model = load_detector(*job.checkpoint("train_detector")).to(job.device)

    def known(image_id: str, maps: list[dict]) -> list[dict]:
        for row in maps:
            if row["category"] not in number:
                detail = f"{row['category']} has no vector: add it to embed_text.names"
                job.reject(image_id, "no_embedding", detail, row["category"])
        return [row for row in maps if row["category"] in number]

    def labelled(image: dict, maps: list[dict], nouns: list[dict], proposals: list[dict], picture: np.ndarray):
        """(row of the label without its mask, the activation of its noun) of every label of a picture."""
        image_id, size = image["image_id"], picture.shape[:2]
        activations = activations_of_nouns(maps, **one_map)
        names = [row["category"] for row in known(image_id, maps)]
        if not names:
            return
        proposed = proposals[0]["boxes"] if proposals else np.zeros((0, 4), np.float32)
        proposed = proposed[(proposed[:, 2:] > proposed[:, :2]).all(1)]
        best = [np.argsort(-overlaps_of(activations[name], proposed, size)[0], kind="stable") for name in names]
        kept = np.unique(np.concatenate([order[: p.proposals] for order in best]))
        columns = slice(None) if p.competing == "vocabulary" else [number[name] for name in names]
        regions, called = model.name_probabilities(
            float_on(job.device, uint8_tensor(picture)),
            torch.from_numpy(proposed[kept]).to(job.device),
            text[columns],
            own_regions=p.own_regions,
        )
        places = [number[name] for name in names] if p.competing == "vocabulary" else list(range(len(names)))
        boxes, called = regions.cpu().numpy(), called[:, places].T.cpu().numpy().astype(np.float64)
        measured = [overlaps_of(activations[name], boxes, size) for name in names]
        evidences = np.stack(
            [
                evidence(of_noun, overlaps, activation_weight=p.activation_weight)
                for of_noun, (overlaps, _) in zip(called, measured)
            ]
        )
        evidences[called < p.min_score] = 0
        wanted = instances_wanted(nouns, p.instances)
        labels, refused = choose_labels(
            evidences,
            boxes,
            [wanted.get(name, 1) for name in names],
            min_share=p.min_share,
            max_overlap=p.max_overlap,
            max_overlap_of_noun=p.max_overlap_of_noun,
        )
        for label in labels:
            name = names[label.noun]
            yield (
                {
                    "image_id": image_id,
                    "category": name,
                    "instance": label.instance,
                    "box": boxes[label.box],
                    "score": label.evidence,
                    "rank": label.box,
                    "coverage": min(float(measured[label.noun][1][label.box]), 1.0),
                },
                activations[name],
            )
        having = {label.noun for label in labels}
        for noun, name in enumerate(names):
            if noun in refused:
                detail = f"its regions are those of {names[refused[noun]]}"
                job.reject(image_id, "taken", detail, name, counted=False)
            elif noun not in having:
                job.reject(image_id, "not_found", f"no region above {p.min_score}", name, counted=False)

    def crops():
        pictures = job.pictures(
            job.by_image("gradcam", "nouns", "wspn_proposals"),
            lambda picture, *_: picture,
            description="labels of the round",
            total=job.count_images("gradcam"),
        )
        for image, maps, nouns, proposals, picture in pictures:
            for row, activation in labelled(image, maps, nouns, proposals, picture):
                crop = cut_crop(picture, activation, row["box"], **shape)
                if crop:
                    yield row, crop
                else:
                    detail = f"{row['box'].tolist()} holds no 2 x 2 pixels"
                    job.reject(row["image_id"], "tiny_box", detail, row["category"], row["instance"])

    def rng(row: dict):
        return job.rng(row["image_id"], row["category"], row["instance"])

    options = {"batch": segment.batch, "device": job.device, **job.method_options("segment")}
    outlined = probabilities(load_method(segment.method), crops(), rng if job.random else None, **options)
    with job.writer("round_masks") as writer:
        for row, crop, probability in outlined:
            mask = paste_mask(probability, crop)
            if mask:
                writer.add(**row, **mask)
            else:
                detail = "no pixel of the box is object"
                job.reject(row["image_id"], "empty_mask", detail, row["category"], row["instance"])


if __name__ == "__main__":
    STAGE.main(run)
