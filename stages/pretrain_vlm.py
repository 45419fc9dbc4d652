"""Pretrain the small ALBEF on scenes of the embedded world: contrast, matching, masked language (Li et al., 2021).

The scenes are never those of the train or val split (their random numbers have another purpose). Its weights are
shipped in data/weights; this stage makes them again.
"""

from pipeline.stage import Stage

STAGE = Stage(name="pretrain_vlm", writes=("pretrain_vlm",), random=True, gpu=1)
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def draw(job_args: tuple[int, int, int]) -> tuple:
    """One pretraining scene as (image_size x image_size x 3 uint8, captions with the categories they name)."""
    import cv2

    from sources.toy.scenes import draw_scene, scene_rng

    seed, index, image_size = job_args
    cv2.setNumThreads(1)
    scene = draw_scene(scene_rng(seed, "pretrain", index))
    small = cv2.resize(scene.image, (image_size, image_size), interpolation=cv2.INTER_AREA)
    return small, [(text, sorted(names)) for text, names in scene.captions]


def noun_tokens(vocabulary: list[str]):
    """[vocabulary] bool: which tokens are nouns of the world's categories."""
    import torch

    from sources.toy.captions import IRREGULAR_PLURALS, SYNONYMS
    from sources.toy.drawings import CATEGORIES

    nouns = {noun for name in CATEGORIES for noun in (name, *SYNONYMS.get(name, ()))}
    nouns |= {IRREGULAR_PLURALS[noun] for noun in nouns if noun in IRREGULAR_PLURALS}
    return torch.tensor([word in nouns for word in vocabulary])


def run(job) -> None:
    from concurrent.futures import ProcessPoolExecutor

    import numpy as np
    import torch

    from models.vision_language.albef import ALBEF, IMAGE_MEAN, IMAGE_STD
    from models.vision_language.losses import contrast, draw_negatives, mask_tokens, masked_language, matching
    from models.vision_language.tokens import encode, tokenizer_from
    from sources.toy.captions import words
    from sources.toy.drawings import CATEGORIES
    from structures.progress import progress
    from training.loop import step_generator, train, warmup_cosine

    p = job.params
    vocabulary = SPECIAL + words()
    tokenizer = tokenizer_from(vocabulary, p.max_tokens)
    with ProcessPoolExecutor(job.threads) as pool:
        tasks = ((job.seed, index, p.image_size) for index in range(p.scenes))
        scenes = pool.map(draw, tasks, chunksize=64)
        scenes = list(progress(scenes, description="drawing scenes", unit="scene", total=p.scenes))
    pictures = torch.from_numpy(np.stack([picture for picture, _ in scenes])).permute(0, 3, 1, 2)
    per_scene = len(scenes[0][1])
    ids, mask, _ = encode(tokenizer, [text for _, captions in scenes for text, _ in captions])
    ids, mask = ids.view(len(scenes), per_scene, -1), mask.view(len(scenes), per_scene, -1)
    code = {name: 1 << i for i, name in enumerate(CATEGORIES)}
    named = torch.tensor([[sum(code[n] for n in names) for _, names in captions] for _, captions in scenes])
    shown = torch.tensor([sum({code[n] for _, names in captions for n in names}) for _, captions in scenes])
    is_noun = noun_tokens(vocabulary)
    mean, std = torch.tensor(IMAGE_MEAN).view(3, 1, 1) * 255, torch.tensor(IMAGE_STD).view(3, 1, 1) * 255

    torch.manual_seed(job.seed)
    model = ALBEF(
        image_size=p.image_size,
        patch=p.patch,
        vision_width=p.width,
        vision_layers=p.vision_layers,
        vision_heads=p.heads,
        vision_hidden=4 * p.width,
        vocabulary=len(vocabulary),
        positions=p.max_tokens,
        text_width=p.width,
        text_layers=p.text_layers,
        fusion_layer=p.text_layers // 2,
        text_heads=p.heads,
        text_hidden=4 * p.width,
        projection=p.projection,
        image_cls_visible=p.image_cls_visible,
    )
    model.initialise()
    model.to(job.device)

    def take_step(step: int) -> dict:
        generator = step_generator(job.seed, step)
        chosen = torch.randint(len(scenes), (p.batch,), generator=generator)
        caption = torch.randint(per_scene, (p.batch,), generator=generator)
        images = (pictures[chosen].float() - mean) / std
        flipped = torch.rand(p.batch, generator=generator) < 0.5
        images = torch.where(flipped.view(-1, 1, 1, 1), images.flip(-1), images).to(job.device)
        longest = int(mask[chosen, caption].sum(1).max())
        input_ids, attention = ids[chosen, caption, :longest], mask[chosen, caption, :longest]
        # The caption of j is true of picture i too when all that it names is known to be in picture i.
        true = (named[chosen, caption][None, :] & ~shown[chosen][:, None]) == 0
        image = model.encode_image(images)
        text = model.encode_text(input_ids.to(job.device), attention.to(job.device))
        image_features, text_features = model.image_features(image), model.text_features(text)
        temperature = model.temp.clamp(0.01, 0.5)
        itc = contrast(image_features, text_features, temperature, true.to(job.device))
        hardness = p.hardness * max(0.0, step / p.steps - p.hard_after) / (1 - p.hard_after)
        similarity = (image_features @ text_features.t() / temperature).detach().cpu()
        other_text = draw_negatives(similarity, ~true, hardness, generator)
        other_image = draw_negatives(similarity.t(), ~true.t(), hardness, generator)
        attention = attention.to(job.device)
        itm, itm_accuracy = matching(model, image, text, attention, other_image, other_text)
        ordinary = (input_ids >= len(SPECIAL)).float()
        chance = torch.where(is_noun[input_ids], p.noun_mask_probability, p.mask_probability) * ordinary
        masked, labels = mask_tokens(input_ids, chance, SPECIAL.index("[MASK]"), len(vocabulary), generator)
        mlm, mlm_accuracy = masked_language(model, image, masked.to(job.device), attention, labels.to(job.device))
        return {
            "loss": itc + itm + mlm,
            "itc": itc.detach(),
            "itm": itm.detach(),
            "itm_accuracy": itm_accuracy,
            "mlm": mlm.detach(),
            "mlm_accuracy": mlm_accuracy,
        }

    decayed = [w for w in model.parameters() if w.ndim > 1]
    others = [w for w in model.parameters() if w.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": p.weight_decay}, {"params": others, "weight_decay": 0.0}]
    curve = train(
        model,
        torch.optim.AdamW(groups, lr=p.lr),
        take_step,
        steps=p.steps,
        lr_factor=lambda step: warmup_cosine(step, steps=p.steps, warmup=p.warmup),
        scratch=job.scratch,
        description="pretraining ALBEF",
        save_every=250,
        clip=1.0,
    )
    settings = {"vision_heads": p.heads, "text_heads": p.heads, "image_cls_visible": p.image_cls_visible}
    tensors = {
        name: tensor.detach().cpu().half() if tensor.is_floating_point() else tensor
        for name, tensor in model.state_dict().items()
    }
    job.save_checkpoint(tensors, {"albef": settings, "vocabulary": vocabulary})
    job.save_curve(curve)


if __name__ == "__main__":
    STAGE.main(run)
