"""Find the nouns of every training caption that name a category; image labels can take the captions' place."""

from pipeline.stage import Stage

STAGE = Stage(name="nouns", reads=("images", "captions", "labels", "categories"), writes=("nouns",), per="shard")


def run(job) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    from models.grounding.nouns import NounFinder
    from pipeline.captions import find_in_captions
    from sources.vocabulary import read_vocabulary

    vocabulary = read_vocabulary(job.paths("categories")[0])
    train = {row["image_id"] for row in job.rows("images", ["image_id", "split"]) if row["split"] == "train"}
    with job.writer("nouns") as writer:
        if job.params.source == "labels":
            for row in _labelled(job, set(vocabulary.names), train):
                writer.add(**row)
            return
        finder = NounFinder(**vocabulary.finder())
        of_training = pa.array(sorted(train))
        for found in find_in_captions(job, finder.find, description="finding nouns"):
            found = found.filter(pc.is_in(found["image_id"], of_training))
            named = pc.greater_equal(found["start"], 0)
            writer.add_table(found.filter(named).select(writer.schema.names))
            for row in found.filter(pc.invert(named)).to_pylist():
                job.reject(row["image_id"], "no_known_noun", row["text"], row["caption_id"], counted=False)


def _labelled(job, names: set[str], train: set[str]):
    """A row for each label of a picture: the category in the sentence that stands for a caption (OVIS, Table 4)."""
    before, _, after = job.params.template.partition("{label}")
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
