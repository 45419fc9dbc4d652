"""Embed the vocabulary's names by the vision-language model's own text projection, for the detector's Eq. 8."""

from store.stage import Stage

STAGE = Stage(name="embed_text", writes=("embeddings",), files=("vocabulary", "weights", "tokens"))


def run(job) -> None:
    import torch
    import torch.nn.functional as F

    from models.albef import ALBEF
    from models.text import encode, read_tokenizer
    from sources.vocabulary import read_vocabulary

    p = job.params
    vocabulary = read_vocabulary(job.files["vocabulary"])
    model = ALBEF.from_checkpoint(job.files["weights"], p.image_size, p.vision_heads, p.text_heads).float()
    tokenizer = read_tokenizer(job.files["weights"], job.files.get("tokens"), 32)
    with job.writer("embeddings") as writer, torch.inference_mode():
        for name in vocabulary.names:
            ids, mask, _ = encode(tokenizer, [prompt.replace("{}", name) for prompt in p.prompts])
            vector = F.normalize(model.text_features(model.encode_text(ids, mask)).mean(0), dim=0)
            writer.add(category=name, split=vocabulary.group(name), vector=vector.numpy())


if __name__ == "__main__":
    STAGE.main(run)
