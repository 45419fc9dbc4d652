"""Embed the vocabulary's names, or any list of names, and what describes the background, by a text model, for the
detector's Eq. 8; and all words of the captions where the teacher's network learns from them (OVR)."""

from pipeline.stage import Input, Stage


def _learns_words(config: dict) -> bool:
    """Whether pretrain_captions runs, and by all words."""
    pretraining = config["pretrain_captions"]
    teaches = {"train_teacher", "train_student"} & set(config["detectors"])
    return bool(teaches) and pretraining["steps"] > 0 and pretraining["words"] == "all"


STAGE = Stage(
    name="embed_text",
    reads=(
        "categories",
        Input("captions", when=lambda config: _learns_words(config)),
    ),
    writes=("embeddings", "background_embedding", "word_embeddings"),
    shares=("text_embedder",),
    runtime=240,
)


def run(job) -> None:
    from models.vision_language.interface import load_text_embedder
    from models.vision_language.prompts import name_vectors
    from sources.vocabulary import read_vocabulary
    from structures.batches import batches
    from structures.progress import progress

    vocabulary = read_vocabulary(job.paths("categories")[0])
    names = job.params.names or vocabulary.names
    embed = load_text_embedder(**job.model_options("text_embedder"))
    prompts, background = job.shared.text_embedder.prompts, job.shared.text_embedder.background
    with job.writer("embeddings") as writer:
        for name, vector in zip(names, name_vectors(embed, names, prompts)):
            group = vocabulary.group(name) if name in vocabulary.names else "open"
            writer.add(category=name, group=group, vector=vector.numpy())
    with job.writer("background_embedding") as writer:
        [vector] = name_vectors(embed, [background], prompts)
        writer.add(description=background, vector=vector.numpy())
    with job.writer("word_embeddings") as writer:
        words = _caption_words(job) if job.has("captions") else []
        for batch in batches(progress(words, description="words of captions", unit="word"), 256):
            for word, vector in zip(batch, name_vectors(embed, batch, prompts)):
                writer.add(word=word, vector=vector.numpy())


def _caption_words(job) -> list[str]:
    """Every word of any caption, once."""
    from models.xpm.caption_grounding import caption_words

    return sorted({word for row in job.rows("captions", ["image_id", "text"]) for word in caption_words(row["text"])})


if __name__ == "__main__":
    STAGE.main(run)
