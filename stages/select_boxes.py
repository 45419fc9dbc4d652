"""Choose the pseudo-box of every pair among its image's proposals (OVIS, Eq. 6)."""

from pipeline.stage import Stage

STAGE = Stage(
    name="select_boxes",
    reads=("images", "nouns", "gradcam", "wspn_proposals"),
    writes=("pseudo_boxes",),
    per="shard",
)
PAIRS = 512  # looked at together


def run(job) -> None:
    import numpy as np

    from models.grounding.box_choice import select_boxes
    from store.join import by_image
    from store.parquet import activation_maps
    from structures.batches import batches
    from structures.progress import progress

    p = job.params

    def pairs():
        """(row, whole activation, boxes, height, width, instances) of every pair that has a box to choose."""
        for image_id, (rows, images, nouns, proposals) in by_image(
            job.rows("gradcam"),
            job.rows("images", ["image_id", "height", "width"]),
            job.rows("nouns", ["image_id", "category", "count"]),
            job.rows("wspn_proposals", ["image_id", "boxes"]),
        ):
            boxes = proposals[0]["boxes"] if proposals else np.zeros((0, 4), np.float32)
            whole = (boxes[:, 2:] > boxes[:, :2]).all(1)
            meant: dict[str, int] = {}
            for noun in nouns:
                count = min(noun["count"] or p.instances, p.instances)
                meant[noun["category"]] = max(meant.get(noun["category"], 1), count)
            for row in rows:
                category = row["category"]
                for rank in np.flatnonzero(~whole):
                    job.reject(image_id, "empty_proposal", f"{boxes[rank].tolist()} has no area", category, rank)
                if not whole.any():
                    job.reject(image_id, "no_proposal", "no box was proposed on this image", category)
                    continue
                activation = activation_maps(row).max(0)
                yield row, activation, boxes, images[0]["height"], images[0]["width"], meant.get(category, 1)

    shown = progress(pairs(), description="choosing boxes", unit="pair", total=job.count("gradcam"))
    with job.writer("pseudo_boxes") as writer:
        for chunk in batches(shown, PAIRS, alike=lambda pair: pair[1].shape):
            rows, activations, boxes, heights, widths, instances = zip(*chunk)
            padded = np.zeros((len(chunk), max(map(len, boxes)), 4), np.float32)
            for row, found in zip(padded, boxes):
                row[: len(found)] = found
            choices = select_boxes(
                np.stack(activations),
                padded,
                heights=np.array(heights),
                widths=np.array(widths),
                instances=np.array(instances),
                min_share=p.min_share,
                linear=p.interpolation == "linear",
            )
            for row, found, chosen in zip(rows, boxes, choices):
                key = {"image_id": row["image_id"], "category": row["category"]}
                if not chosen:
                    detail = "no patch stands out for this noun"
                    job.reject(row["image_id"], "flat_activation", detail, row["category"])
                for instance, choice in enumerate(chosen):
                    writer.add(
                        **key,
                        instance=instance,
                        box=found[choice.index],
                        score=choice.score,
                        rank=choice.index,
                        coverage=min(choice.share, 1.0),
                    )


if __name__ == "__main__":
    STAGE.main(run)
