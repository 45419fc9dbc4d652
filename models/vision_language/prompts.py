"""Names as vectors: the embeddings of a handful of prompts, averaged (CLIP's prompt ensemble), of unit length."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def name_vectors(embed: Callable[[list[str]], Tensor], names: Sequence[str], prompts: Sequence[str]) -> Tensor:
    """[names, dimension] float32, unit length.

    embed: as models.vision_language.interface has it; prompts: sentences with {} for the name.
    """
    rows = [F.normalize(embed([prompt.replace("{}", name) for prompt in prompts]), dim=-1).mean(0) for name in names]
    return F.normalize(torch.stack(rows), dim=-1)
