"""Find the nouns of every training caption that name a category; image labels can take the captions' place."""

from pipeline.stage import Input, Stage

STAGE = Stage(
    name="nouns",
    reads=(
        "images",
        Input("captions", when=lambda config: config["nouns"]["source"] == "captions"),
        Input("labels", when=lambda config: config["nouns"]["source"] == "labels"),
        "categories",
    ),
    writes=("nouns",),
    per="shard",
    threads=4,
    mem_mb=4000,
    runtime=15,
    short=True,
)


def run(job) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    from models.grounding.nouns import NounFinder
    from pipeline.captions import find_in_captions
    from sources.vocabulary import read_vocabulary

    vocabulary = read_vocabulary(job.paths("categories")[0])
    train = (row["image_id"] for row in job.images("train"))
    with job.writer("nouns") as writer:
        if job.params.source == "labels":
            for row in _labelled(job, set(vocabulary.names)):
                writer.add(**row)
            return
        finder = NounFinder(**vocabulary.finder())
        scheduler = job.params.captions.scheduler
        of_training: list[str] = []  # training images from the partition's first one on; both are sorted by image
        for mentions in find_in_captions(job, finder.find, scheduler=scheduler, description="finding nouns"):
            first, last = mentions["image_id"][0].as_py(), mentions["image_id"][-1].as_py()
            of_training = [image_id for image_id in of_training if image_id >= first]
            while (not of_training or of_training[-1] <= last) and (image_id := next(train, None)) is not None:
                of_training.append(image_id)
            mentions = mentions.filter(pc.is_in(mentions["image_id"], pa.array(of_training, pa.string())))
            named = pc.greater_equal(mentions["start"], 0)
            writer.add_table(mentions.filter(named).select(writer.schema.names))
            for row in mentions.filter(pc.invert(named)).to_pylist():
                job.reject(row["image_id"], "no_known_noun", row["text"], row["caption_id"], counted=False)


def _labelled(job, names: set[str]):
    """A row for each label of a picture: the category in the sentence that stands for a caption (OVIS, Table 4)."""
    before, _, after = job.params.labels.template.partition("{label}")
    for image, labels in job.by_image("labels"):
        for row in labels if image["split"] == "train" else ():
            name = row["category"]
            if name not in names:
                detail = "a label that the vocabulary does not have"
                job.reject(row["image_id"], "unknown_label", detail, name, counted=False)
                continue
            span = {"surface": name, "start": len(before), "end": len(before) + len(name), "count": 0}
            yield row | span | {"caption_id": f"label {name}", "text": f"{before}{name}{after}"}


if __name__ == "__main__":
    STAGE.main(run)
