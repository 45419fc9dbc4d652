"""Choose the pseudo-box of every pair among its image's proposals (OVIS, Eq. 6)."""

from pipeline.stage import Stage

STAGE = Stage(
    name="select_boxes",
    reads=("images", "nouns", "gradcam", "wspn_proposals"),
    writes=("pseudo_boxes",),
    shares=("activation_map", "gradcam.threshold"),
    per="shard",
    runtime=15,
    short=True,
)
PAIRS = 512  # scored together


def run(job) -> None:
    import numpy as np

    from models.grounding.box_choice.interface import load_method
    from models.grounding.maps import activations_of_nouns
    from models.grounding.pairs import instances_wanted
    from structures.batches import batches
    from structures.progress import progress

    p, activation_map = job.params, job.shared.activation_map
    one_map = job.activation_options()
    choose = load_method(p.method)

    def pairs():
        """(row, whole activation, boxes, height, width, instances) of every pair that has a box to choose."""
        columns = {
            "images": ["image_id", "height", "width"],
            "nouns": ["image_id", "category", "count"],
            "wspn_proposals": ["image_id", "boxes"],
        }
        for image, rows, nouns, proposals in job.by_image("gradcam", "nouns", "wspn_proposals", columns=columns):
            image_id = image["image_id"]
            boxes = proposals[0]["boxes"] if proposals else np.zeros((0, 4), np.float32)
            whole = (boxes[:, 2:] > boxes[:, :2]).all(1)
            instances = instances_wanted(nouns, p.instances)
            activations = activations_of_nouns(rows, **one_map)
            for row in rows:
                category = row["category"]
                for rank in np.flatnonzero(~whole):
                    job.reject(image_id, "empty_proposal", f"{boxes[rank].tolist()} has no area", category, rank)
                if not whole.any():
                    job.reject(image_id, "no_proposal", "no box was proposed on this image", category)
                    continue
                yield row, activations[category], boxes, image["height"], image["width"], instances.get(category, 1)

    shown = progress(pairs(), description="choosing boxes", unit="pair", total=job.count("gradcam"))
    with job.writer("pseudo_boxes") as writer:
        for chunk in batches(shown, PAIRS, alike=lambda pair: pair[1].shape):
            rows, activations, boxes, heights, widths, instances = zip(*chunk)
            padded = np.zeros((len(chunk), max(map(len, boxes)), 4), np.float32)
            for row, of_image in zip(padded, boxes):
                row[: len(of_image)] = of_image
            choices = choose(
                np.stack(activations),
                padded,
                heights=np.array(heights),
                widths=np.array(widths),
                instances=np.array(instances),
                interpolation=activation_map.interpolation,
                **job.method_options(),
            )
            for row, activation, of_image, chosen in zip(rows, activations, boxes, choices):
                if not chosen:
                    reason, detail = "flat_activation", "no patch stands out for this noun"
                    if activation.any():
                        reason, detail = "no_choice", f"{p.method} chooses none of {len(of_image)} boxes"
                    job.reject(row["image_id"], reason, detail, row["category"])
                for instance, choice in enumerate(chosen):
                    writer.add(
                        image_id=row["image_id"],
                        category=row["category"],
                        instance=instance,
                        box=of_image[choice.index],
                        score=choice.score,
                        rank=choice.index,
                        coverage=min(choice.share, 1.0),
                    )


if __name__ == "__main__":
    STAGE.main(run)
