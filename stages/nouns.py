"""Find the nouns of every training caption that name a category of the vocabulary."""

from store.stage import Stage

STAGE = Stage(name="nouns", reads=("images", "captions"), writes=("nouns",), files=("vocabulary",), per="shard")


def run(job) -> None:
    from models.nouns import NounFinder
    from sources.vocabulary import read_vocabulary
    from store.progress import progress

    vocabulary = read_vocabulary(job.files["vocabulary"])
    categories = {name: (name, *vocabulary.synonyms.get(name, ())) for name in vocabulary.names}
    finder = NounFinder(categories, vocabulary.ignore)
    train = {row["image_id"] for row in job.rows("images", ["image_id", "split"]) if row["split"] == "train"}
    captions = progress(job.rows("captions"), description="finding nouns", unit="caption", total=job.count("captions"))
    with job.writer("nouns") as writer:
        for row in captions:
            if row["image_id"] not in train:
                continue
            mentions = finder.find(row["text"])
            if not mentions:
                job.reject(row["image_id"], "no_known_noun", row["text"], row["caption_id"], counted=False)
            for mention in mentions:
                writer.add(image_id=row["image_id"], caption_id=row["caption_id"], **mention.__dict__)


if __name__ == "__main__":
    STAGE.main(run)
