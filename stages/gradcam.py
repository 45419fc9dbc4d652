"""Activation maps of every (image, noun) pair by GradCAM over cross-attention with iterative masking (OVIS, Eqs. 1-4)."""

from store.stage import Stage

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

    from models.grounding import Grounder
    from models.vision_language import load_model
    from sources.pairs import named_pairs
    from store.progress import progress

    p = job.params
    torch.set_num_threads(job.threads)
    grounder = Grounder(
        *load_model(job.files["weights"], job.files.get("tokens"), p),
        layers=p.layers,
        score=p.score,
        masking=p.masking,
        iterations=p.iterations,
        threshold=p.threshold,
        batch=p.batch,
        device=job.device,
    )
    pairs, total = named_pairs(job.root, list(job.rows("images")), list(job.rows("nouns")), job.reject)

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
