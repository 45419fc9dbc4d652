"""Activation maps of every (image, noun) pair: GradCAM over cross-attention, iterative masking (OVIS, Eqs. 1-4)."""

from pipeline.stage import Stage

STAGE = Stage(
    name="gradcam",
    reads=("images", "nouns"),
    writes=("gradcam",),
    shares=("vision_language",),
    per="shard",
    gpu=1,
    threads=8,
    mem_mb=16000,
    runtime=120,
)


def run(job) -> None:
    from itertools import chain

    import numpy as np

    from models.grounding.grounder import Grounder
    from models.grounding.pairs import named_pairs
    from models.pixels import square
    from models.vision_language.interface import load_model

    p = job.params
    model, tokenizer = load_model(**job.model_options("vision_language"))
    grounder = Grounder(
        model,
        tokenizer,
        layers=job.shared.vision_language.layers,
        score=p.score,
        masking=p.masking,
        iterations=p.iterations,
        threshold=p.threshold,
        batch=p.batch,
        device=job.device,
    )

    def marked_pairs():
        """The pairs of each picture, each with its noun's word pieces."""
        pictures = job.pictures(
            job.by_image("nouns"),
            lambda picture, *_: square(picture, model.image_size),
            description="activation maps",
            total=job.count_images("nouns"),
        )
        for _, nouns, picture in pictures:
            marked = [(pair, grounder.tokens(pair)) for pair in named_pairs(nouns, picture)]
            for pair, tokens in marked:
                if tokens is None:
                    job.reject(pair.image_id, "noun_cut_away", f"beyond max_tokens: {pair.text}", pair.category)
            yield [(pair, tokens) for pair, tokens in marked if tokens is not None]

    grounded = (
        grounder.ground_mirrored(marked_pairs()) if p.mirrored else grounder.ground(chain.from_iterable(marked_pairs()))
    )
    with job.writer("gradcam") as writer:
        for pair, maps, logits, *mirrored in grounded:
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
                mirrored=mirrored[0] if mirrored else -1.0,
            )


if __name__ == "__main__":
    STAGE.main(run)
