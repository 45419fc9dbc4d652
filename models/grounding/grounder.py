"""Pairs (image, noun) to activation maps: word pieces, batches, iterative masking.

A pair has text (the caption), spans (characters of the noun), image ([3, size, size] uint8, of the model's image_size)
and image_id.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from models.grounding.gradcam import iterative_gradcam
from models.pixels import normalise_colours
from models.vision_language.tokens import encode, tokens_of_span
from structures.batches import batches

PARTS = 4  # of a batch that pictures are encoded in, for a batch of pairs has fewer pictures


class Grounder:
    """GradCAM with iterative masking over pairs, in padded batches of one size so that a pair's map is its own.

    Of a batch smaller than `batch` the rest is filled with copies of its first pair: the same kernels then run
    whatever the neighbours, and results depend neither on shards nor on order.
    """

    def __init__(self, model, tokenizer, *, layers, score, masking, iterations, threshold, batch, device):
        self.model, self.tokenizer, self.device, self.batch = model.to(device), tokenizer, device, batch
        self._by_image = masking == "image"
        self._options = {"layers": tuple(layers), "score": score, "iterations": iterations, "threshold": threshold}
        self._options["mask_id"] = tokenizer.mask_token_id

    def tokens(self, pair) -> torch.Tensor | None:
        """[max_tokens] bool, the noun's word pieces; None where the tokenizer cut the noun away."""
        offsets = encode(self.tokenizer, [pair.text])[2][0]
        positions = [i for start, end in pair.spans for i in tokens_of_span(offsets, start, end)]
        if not positions:
            return None
        marked = torch.zeros(len(offsets), dtype=torch.bool)
        marked[positions] = True
        return marked

    def ground(self, pairs: Iterable[tuple[Any, torch.Tensor]]) -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
        """Each pair with its maps (G x h x w float32, 0..1) and match logits (G float32), in order."""
        whole = (
            (lambda item: item[0].image_id) if self._by_image else None
        )  # with one mask a picture, its pairs stay together
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
                together=self._by_image,
                chunk=max(1, self.batch // PARTS),
                **self._options,
            )
            for (pair, _), map_, logit in zip(chunk, maps.cpu().numpy(), logits.cpu().numpy()):
                yield pair, map_, logit
