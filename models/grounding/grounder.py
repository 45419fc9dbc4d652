"""Pairs (image, noun) to activation maps (Mask-free OVIS, Eqs. 1 to 4): word pieces, batches, iterative masking.

The image of a pair is [3, size, size] uint8, of the model's image_size.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from models.grounding.gradcam import iterative_gradcam
from models.grounding.pairs import Pair
from models.pixels import normalise_colours
from models.vision_language.interface import VisionLanguageModel
from models.vision_language.tokens import encode, tokens_of_span
from structures.batches import batches


def encoder_batch(batch: int, device: str) -> int:
    """Pictures that are encoded at once of a batch of pairs, which has fewer: a quarter, or on a GPU, which is not full
    with them, as many as there are pairs."""
    return batch if device.startswith("cuda") else max(1, batch // 4)


class Grounder:
    """GradCAM with iterative masking over pairs, in padded batches of one size so that a pair's map is its own.

    model, tokenizer: of models.vision_language.interface; layers: the cross-attention layers that are summed; score:
    "itm" or "mlm"; masking: "pair", each pair masks its own copy of the picture, or "image", the pairs of a picture
    mask it together; iterations: G of Eq. 4; threshold: of the activation that is masked, in 0..1; batch: pairs at
    once; device: where, as torch names it. Of a batch smaller than `batch` the rest is filled with copies of the first
    pair: the same kernels then run whatever the neighbours, and results depend neither on shards nor on order.
    """

    def __init__(
        self,
        model: VisionLanguageModel,
        tokenizer: PreTrainedTokenizerFast,
        *,
        layers: Sequence[int],
        score: str,
        masking: str,
        iterations: int,
        threshold: float,
        batch: int,
        device: str,
    ):
        self.model, self.tokenizer, self.device, self.batch = model.to(device), tokenizer, device, batch
        self._by_image = masking == "image"
        self._encoder_batch = encoder_batch(batch, device)
        self._layers, self._score, self._iterations, self._threshold = tuple(layers), score, iterations, threshold

    def ground_mirrored(
        self, pictures: Iterable[list[tuple[Pair, Tensor]]]
    ) -> Iterator[tuple[Pair, np.ndarray, np.ndarray, float]]:
        """As ground, each map the mean of the picture's and of its mirror image's, its largest value 1 again (ours), logits
        their mean, and how much the two sets of maps have in common. pictures: the pairs of one picture each."""

        def both_ways() -> Iterator[tuple[Pair, Tensor]]:
            for pairs in pictures:
                yield from pairs
                if pairs:
                    mirrored = pairs[0][0].image.flip(-1)  # one object for all pairs of a picture, as theirs is
                    name = f"{pairs[0][0].image_id}\0mirrored"  # of no other picture
                    yield from ((replace(pair, image_id=name, image=mirrored), tokens) for pair, tokens in pairs)

        seen: list[tuple[Pair, np.ndarray, np.ndarray]] = []
        for pair, maps, logits in self.ground(both_ways()):
            if not seen or pair.image_id == seen[0][0].image_id:
                seen.append((pair, maps, logits))
                continue
            first, first_maps, first_logits = seen.pop(0)
            maps = maps[..., ::-1]
            yield first, _rescaled(first_maps + maps), (first_logits + logits) / 2, _in_common(first_maps, maps)

    def tokens(self, pair: Pair) -> Tensor | None:
        """[max_tokens] bool, the noun's word pieces; None where the tokenizer cut the noun away."""
        offsets = encode(self.tokenizer, [pair.text])[2][0]
        positions = [i for start, end in pair.spans for i in tokens_of_span(offsets, start, end)]
        if not positions:
            return None
        marked = torch.zeros(len(offsets), dtype=torch.bool)
        marked[positions] = True
        return marked

    def ground(self, pairs: Iterable[tuple[Pair, Tensor]]) -> Iterator[tuple[Pair, np.ndarray, np.ndarray]]:
        """Each pair with the maps (G x h x w float32, 0..1) and match logits (G float32), in order.

        pairs: with the noun's word pieces, as `tokens` marks them.
        """
        # with one mask a picture, the pairs of a picture stay together
        whole = (lambda marked: marked[0].image_id) if self._by_image else None
        for chunk in batches(pairs, self.batch, whole=whole):
            full = chunk + [chunk[0]] * (-len(chunk) % self.batch)
            ids, mask, _ = encode(self.tokenizer, [pair.text for pair, _ in full])
            pictures = {pair.image_id: pair.image for pair, _ in full}
            places = {image_id: i for i, image_id in enumerate(pictures)}
            images = torch.stack(list(pictures.values())).to(self.device)
            maps, logits = iterative_gradcam(
                self.model,
                normalise_colours(images, self.model.image_mean, self.model.image_std),
                torch.tensor([places[pair.image_id] for pair, _ in full], device=self.device),
                ids.to(self.device),
                mask.to(self.device),
                torch.stack([nouns for _, nouns in full]).to(self.device),
                layers=self._layers,
                score=self._score,
                mask_id=self.tokenizer.mask_token_id,
                iterations=self._iterations,
                threshold=self._threshold,
                together=self._by_image,
                chunk=self._encoder_batch,
            )
            for (pair, _), pair_maps, pair_logits in zip(chunk, maps.cpu().numpy(), logits.cpu().numpy()):
                yield pair, pair_maps, pair_logits


def _in_common(maps: np.ndarray, others: np.ndarray) -> float:
    """The intersection over union of two sets of maps, at least 0: 1 where they are the same, 0 where they meet nowhere."""
    return float(np.minimum(maps, others).sum() / max(np.maximum(maps, others).sum(), 1e-9))


def _rescaled(maps: np.ndarray) -> np.ndarray:
    """Maps [G, h, w], at least 0, with a largest value of 1 each; those that are 0 everywhere as they are."""
    highest = maps.max((1, 2), keepdims=True)
    return maps / np.where(highest > 0, highest, 1)
