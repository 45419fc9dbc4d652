"""Activation maps of every (image, noun) pair by GradCAM over cross-attention with iterative masking (OVIS, Eqs. 1-4)."""

from store.stage import Stage

STAGE = Stage(
    name="gradcam",
    reads=("images", "captions", "nouns"),
    writes=("gradcam",),
    files=("weights", "tokens"),
    per="shard",
)


def run(job) -> None:
    import numpy as np

    from models.albef import ALBEF
    from models.grounding import Grounder
    from models.text import read_tokenizer
    from sources.pairs import named_pairs
    from store.progress import progress

    p = job.params
    model = ALBEF.from_checkpoint(job.files["weights"], p.image_size, p.vision_heads, p.text_heads)
    grounder = Grounder(
        model,
        read_tokenizer(job.files["weights"], job.files.get("tokens"), p.max_tokens),
        layers=p.layers,
        score=p.score,
        masking=p.masking,
        iterations=p.iterations,
        threshold=p.threshold,
        batch=p.batch,
        device=job.device,
    )
    tables = (list(job.rows(name)) for name in ("images", "captions", "nouns"))
    pairs, total = named_pairs(job.root, *tables, job.reject)

    def marked():
        for pair in progress(pairs, description="activation maps", unit="pair", total=total):
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
