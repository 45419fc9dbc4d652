"""Embed the vocabulary's names, or any list of names, and what describes the background, by a text model, for the
detector's Eq. 8."""

from pipeline.stage import Stage

STAGE = Stage(
    name="embed_text", reads=("categories",), writes=("embeddings", "background_embedding"), shares=("text_embedder",)
)


def run(job) -> None:
    from models.vision_language.interface import load_text_embedder
    from models.vision_language.prompts import name_vectors
    from sources.vocabulary import read_vocabulary

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


if __name__ == "__main__":
    STAGE.main(run)
