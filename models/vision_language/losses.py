"""The objectives that ALBEF is pretrained with (Li et al., 2021, section 3.2): contrast, matching, masked language.

Momentum distillation is left out: it guards against noisy web captions, and costs a second network.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from models.vision_language.interface import VisionLanguageModel


def contrast(image_features: Tensor, text_features: Tensor, temperature: Tensor, same: Tensor) -> Tensor:
    """Image-text contrast over a batch (ALBEF, Eq. 2).

    image_features, text_features: [batch, projection], normalised; same: [batch, batch] bool, True where image i is
    truly described by text j too; those pairs share the target evenly.
    """
    target = same.float() / same.sum(1, keepdim=True)
    logits = image_features @ text_features.t() / temperature
    by_image = -(target * logits.log_softmax(1)).sum(1).mean()
    by_text = -(target.t() * logits.t().log_softmax(1)).sum(1).mean()
    return (by_image + by_text) / 2


def draw_negatives(similarity: Tensor, allowed: Tensor, hardness: float, generator: torch.Generator) -> Tensor:
    """For each row the index of one negative column: uniform at hardness 0, by softmax of similarity at 1.

    similarity: [batch, batch], already divided by the temperature; allowed: [batch, batch] bool, False where the pair
    may be true. A row with nothing allowed takes its right neighbour.
    """
    weights = (similarity.detach().float() * hardness).masked_fill(~allowed, float("-inf")).softmax(1)
    none = ~allowed.any(1)
    if none.any():
        neighbour = (torch.arange(len(weights), device=weights.device) + 1) % len(weights)
        weights[none] = F.one_hot(neighbour, len(weights)).to(weights.dtype)[none]
    return torch.multinomial(weights, 1, generator=generator).squeeze(1)


def matching(
    model: VisionLanguageModel,
    image: Tensor,
    text: Tensor,
    attention_mask: Tensor,
    negative_image: Tensor,
    negative_text: Tensor,
) -> tuple[Tensor, Tensor]:
    """Image-text matching with one negative text an image and one negative image a text.

    image: [batch, patches, width], text: [batch, tokens, width], negative_*: [batch] indices into the batch.
    Returns the loss and the accuracy over the 3 * batch pairs.
    """
    texts = torch.cat([text, text[negative_text], text])
    masks = torch.cat([attention_mask, attention_mask[negative_text], attention_mask])
    images = torch.cat([image, image, image[negative_image]])
    fused, _ = model.fuse(texts, masks, images)
    logits = model.match_logits(fused).float()
    target = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    target[: len(image)] = 1
    return F.cross_entropy(logits, target), (logits.argmax(1) == target).float().mean()


def mask_tokens(
    input_ids: Tensor, chance: Tensor, mask_id: int, vocabulary: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """BERT's masking: of the tokens drawn, 80 % become the mask token, 10 % any token, 10 % stay.

    chance: [batch, tokens] in 0..1, zero for special and padding tokens. Returns masked ids and labels, -100 where
    nothing is asked.
    """

    def draw() -> Tensor:
        return torch.rand(input_ids.shape, generator=generator)

    chosen = draw() < chance
    fate = draw()
    random_ids = torch.randint(vocabulary, input_ids.shape, generator=generator)
    masked = torch.where(chosen & (fate < 0.8), torch.full_like(input_ids, mask_id), input_ids)
    masked = torch.where(chosen & (fate >= 0.9), random_ids, masked)
    return masked, torch.where(chosen, input_ids, torch.full_like(input_ids, -100))


def masked_language(
    model: VisionLanguageModel, image: Tensor, masked_ids: Tensor, attention_mask: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Cross-entropy and accuracy of the masked tokens, read with the image's help.

    image: [batch, patches, width]; masked_ids, labels: [batch, tokens], as mask_tokens gives them.
    """
    text = model.encode_text(masked_ids, attention_mask)
    fused, _ = model.fuse(text, attention_mask, image)
    asked = labels >= 0
    log_probs = model.token_log_probs(fused[asked].unsqueeze(0)).squeeze(0).float()
    loss = F.nll_loss(log_probs, labels[asked])
    return loss, (log_probs.argmax(1) == labels[asked]).float().mean()
