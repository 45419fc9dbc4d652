"""Activation maps of every (image, noun) pair by GradCAM over cross-attention with iterative masking (OVIS, Eqs. 1-4)."""

from pipeline.stage import Stage

STAGE = Stage(
    name="gradcam",
    reads=("images", "nouns"),
    writes=("gradcam",),
    files=("weights", "tokens"),
    per="shard",
)


def run(job) -> None:
    import numpy as np
    import torch

    from models.grounding.grounder import Grounder
    from models.grounding.pairs import named_pairs
    from models.pixels import square
    from models.vision_language.interface import load_model
    from pipeline.prefetch import ahead
    from sources.images import ImageError
    from store.join import count_pairs, named_images
    from structures.progress import progress

    p = job.params
    torch.set_num_threads(job.threads)
    model, tokenizer = load_model(job.files["weights"], job.files.get("tokens"), p)
    grounder = Grounder(
        model,
        tokenizer,
        layers=p.layers,
        score=p.score,
        masking=p.masking,
        iterations=p.iterations,
        threshold=p.threshold,
        batch=p.batch,
        device=job.device,
    )

    def read(image: tuple):
        return image[0], named_pairs(job.root, *image[1:], lambda picture: square(picture, model.image_size))

    def pairs():
        for image_id, found in ahead(read, named_images(job), threads=job.threads):
            if isinstance(found, ImageError):
                job.reject(image_id, found.reason, str(found))
            else:
                yield from found

    def marked():
        for pair in progress(pairs(), description="activation maps", unit="pair", total=count_pairs(job)):
            nouns = grounder.tokens(pair)
            if nouns is None:
                job.reject(pair.image_id, "noun_cut_away", f"beyond max_tokens: {pair.text}", pair.category)
            else:
                yield pair, nouns

    with job.writer("gradcam") as writer:
        for pair, maps, logits in grounder.ground(marked()):
            if not np.isfinite(maps).all() or not maps[0].any():
                job.reject(pair.image_id, "flat_activation", "no patch stands out for this noun", pair.category)
                continue
            writer.add(
                image_id=pair.image_id,
                category=pair.category,
                caption_id=pair.caption_id,
                maps=maps.astype(np.float16).ravel(),
                height=maps.shape[1],
                width=maps.shape[2],
                itm_logit=logits.astype(np.float32),
            )


if __name__ == "__main__":
    STAGE.main(run)
