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
    train = job.picture_files("train").keys()
    with job.writer("nouns") as writer:
        if job.params.source == "labels":
            for row in _labelled(job, set(vocabulary.names), train):
                writer.add(**row)
            return
        finder = NounFinder(**vocabulary.finder())
        of_training = pa.array(sorted(train))
        scheduler = job.params.captions.scheduler
        for mentions in find_in_captions(job, finder.find, scheduler=scheduler, description="finding nouns"):
            mentions = mentions.filter(pc.is_in(mentions["image_id"], of_training))
            named = pc.greater_equal(mentions["start"], 0)
            writer.add_table(mentions.filter(named).select(writer.schema.names))
            for row in mentions.filter(pc.invert(named)).to_pylist():
                job.reject(row["image_id"], "no_known_noun", row["text"], row["caption_id"], counted=False)


def _labelled(job, names: set[str], train):
    """A row for each label of a picture: the category in the sentence that stands for a caption (OVIS, Table 4)."""
    before, _, after = job.params.labels.template.partition("{label}")
    for row in job.rows("labels"):
        name = row["category"]
        if row["image_id"] not in train:
            continue
        if name not in names:
            job.reject(
                row["image_id"], "unknown_label", "a label that the vocabulary does not have", name, counted=False
            )
            continue
        span = {"surface": name, "start": len(before), "end": len(before) + len(name), "count": 0}
        yield row | span | {"caption_id": f"label {name}", "text": f"{before}{name}{after}"}


if __name__ == "__main__":
    STAGE.main(run)
