"""GradCAM over cross-attention, and iterative masking (Mask-free OVIS, Eqs. 1 to 4).

phi_t = X_t . max(dS / dX_t, 0)                                   (Eq. 3)
Phi_t = union over i = 1..G of IM(phi_t^i)                        (Eq. 4)
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from models.vision_language.interface import VisionLanguageModel


def gradcam(
    model: VisionLanguageModel,
    images: Tensor,
    input_ids: Tensor,
    attention_mask: Tensor,
    layer: int | Sequence[int],
    *,
    score: str = "itm",
    target_ids: Tensor | None = None,
) -> Tensor:
    """Activation of every patch for every token.

    model: a VisionLanguageModel; images: [batch, 3, image_size, image_size], normalised;
    input_ids, attention_mask: [batch, tokens]; layer: one cross-attention layer, or several whose maps are summed.

    score "itm": S is the match logit, as published. score "mlm": S is the log-likelihood of `target_ids` [batch,
    tokens] at the positions where it is not negative; input_ids hold the mask token there.

    Returns [batch, tokens, grid, grid]: mean over heads, the image's [CLS] token dropped, padded tokens zero.
    Only cross-attention from the first asked layer upwards builds a graph.
    """
    with torch.no_grad():
        image, text = model.encode_image(images), model.encode_text(input_ids, attention_mask)
    return gradcam_encoded(model, image, text, attention_mask, layer, score=score, target_ids=target_ids)[0]


def gradcam_encoded(
    model: VisionLanguageModel,
    image: Tensor,
    text: Tensor,
    attention_mask: Tensor,
    layer: int | Sequence[int],
    *,
    score: str = "itm",
    target_ids: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """As gradcam, from image tokens [batch, 1 + grid^2, width] and text tokens [batch, tokens, width]; returns the maps
    and the match logit [batch]."""
    layers = (layer,) if isinstance(layer, int) else tuple(layer)
    unknown = [i for i in layers if i not in model.fusion_layers]
    if unknown or not layers:
        raise ValueError(
            f"layers {list(layers)}: cross-attention is in layers {list(model.fusion_layers)} of this model"
        )
    with torch.enable_grad():
        fused, weights = model.fuse(text, attention_mask, image, keep=layers)
        logits = model.match_logits(fused)[:, 1]
        if score == "itm":
            total = logits.sum()
        elif score == "mlm":
            if target_ids is None:
                raise ValueError("score 'mlm' needs target_ids, the tokens behind the masks")
            asked = target_ids >= 0
            log_probs = model.token_log_probs(fused).float()
            log_probs = log_probs.gather(-1, target_ids.clamp(min=0).unsqueeze(-1)).squeeze(-1)
            total = (log_probs * asked).sum()
        else:
            raise ValueError(f"score {score!r}: itm or mlm")
        gradients = torch.autograd.grad(total, [weights[i] for i in layers])
    maps = sum((weights[i].detach() * gradient.clamp(min=0)).float().mean(1) for i, gradient in zip(layers, gradients))
    maps = maps[..., 1:] * attention_mask.unsqueeze(-1)
    grid = round(maps.shape[-1] ** 0.5)
    return maps.unflatten(-1, (grid, grid)), logits.detach().float()


def normalise(maps: Tensor) -> Tensor:
    """Maps [..., h, w] scaled to 0..1 each; a flat one becomes zero."""
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    span = high - low
    return torch.where(span > 0, (maps - low) / span.clamp(min=torch.finfo(maps.dtype).tiny), torch.zeros_like(maps))


def mask_activated(images: Tensor, maps: Tensor, threshold: float = 0.5) -> Tensor:
    """Fill what is activated with the image's mean colour (IM of Eq. 4).

    images: [batch, 3, size, size]; maps: [batch, h, w] in 0..1, enlarged to the picture by nearest neighbour.
    """
    activated = F.interpolate((maps > threshold).to(images.dtype).unsqueeze(1), size=images.shape[-2:], mode="nearest")
    return torch.where(activated > 0, images.mean((-2, -1), keepdim=True), images)


def iterative_gradcam(
    model: VisionLanguageModel,
    images: Tensor,
    image_index: Tensor,
    input_ids: Tensor,
    attention_mask: Tensor,
    nouns: Tensor,
    *,
    layers: Sequence[int],
    score: str,
    mask_id: int,
    iterations: int,
    threshold: float = 0.5,
    together: bool = False,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The G activation maps of Eq. 4 for a batch of pairs (image, noun).

    images: [pictures, 3, size, size], normalised; image_index: [batch], which of them is each pair's; nouns: [batch,
    tokens] bool, the noun's word pieces; mask_id: what stands in their place for score "mlm"; together: pairs of one
    picture are masked together (`masking: image`), else each pair masks a copy. A picture is encoded once as long as
    pairs share it: at the first iteration, and at all of them if masked together; `chunk` pictures at a time, the last
    ones filled up, so that a picture's numbers never depend on how many there are.

    Returns maps [batch, iterations, grid, grid], each scaled to 0..1 (a flat one is zero), and match logits
    [batch, iterations].
    """
    ids, targets = input_ids, None
    if score == "mlm":
        targets = torch.where(nouns, input_ids, torch.full_like(input_ids, -1))
        ids = torch.where(nouns, torch.full_like(input_ids, mask_id), input_ids)
    with torch.no_grad():
        text = model.encode_text(ids, attention_mask)
    maps, logits = [], []
    for iteration in range(iterations):
        image = _encode(model, images, chunk or len(images))[image_index]
        by_token, logit = gradcam_encoded(model, image, text, attention_mask, layers, score=score, target_ids=targets)
        noun = normalise((by_token * nouns[:, :, None, None]).sum(1))
        maps.append(noun)
        logits.append(logit)
        if iteration + 1 == iterations:
            break
        if together:
            union = torch.zeros(len(images), *noun.shape[1:], dtype=noun.dtype, device=noun.device)
            noun = union.scatter_reduce(0, image_index[:, None, None].expand_as(noun), noun, "amax")
        else:
            images = images[image_index]
            image_index = torch.arange(len(image_index), device=image_index.device)
        images = mask_activated(images, noun, threshold)
    return torch.stack(maps, 1), torch.stack(logits, 1)


@torch.no_grad()
def _encode(model: VisionLanguageModel, images: Tensor, chunk: int) -> Tensor:
    """Image tokens, `chunk` pictures at a time, the last chunk filled up with copies of its first one."""
    parts = []
    for part in images.split(chunk):
        full = torch.cat([part, part[:1].expand(chunk - len(part), -1, -1, -1)])
        parts.append(model.encode_image(full)[: len(part)])
    return torch.cat(parts)
