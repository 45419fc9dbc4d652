"""The text and fusion encoder of ALBEF: BERT whose later layers attend to image tokens, with its parameter names.

Cross-attention is Eqs. 1 and 2 of Mask-free OVIS: X = softmax(h R^T / sqrt(d)), h' = X R.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from structures.errors import UserError

MASKED_SCORE = -10000.0


class TooManyTokens(UserError):
    """A caption longer than the position embeddings."""


class _SelfAttention(nn.Module):
    """Multi-head attention of one sequence over another; returns the mixed values and, when asked, the weights."""

    def __init__(self, width: int, context_width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(context_width, width)
        self.value = nn.Linear(context_width, width)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor, context: Tensor, bias: Tensor, keep_weights: bool) -> tuple[Tensor, Tensor | None]:
        q, k, v = self._split(self.query(x)), self._split(self.key(context)), self._split(self.value(context))
        if keep_weights:
            weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + bias).softmax(-1)
            if not weights.requires_grad:
                weights.requires_grad_()
            mixed = weights @ v
        else:
            weights, mixed = None, F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return mixed.transpose(1, 2).flatten(2), weights


class _Residual(nn.Module):
    """Linear, add the residual, normalise."""

    def __init__(self, width_in: int, width: int):
        super().__init__()
        self.dense = nn.Linear(width_in, width)
        self.LayerNorm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(self.dense(x) + residual)


class _Attention(nn.Module):
    def __init__(self, width: int, context_width: int, heads: int):
        super().__init__()
        self.self = _SelfAttention(width, context_width, heads)
        self.output = _Residual(width, width)

    def forward(self, x: Tensor, context: Tensor, bias: Tensor, keep_weights: bool = False):
        mixed, weights = self.self(x, context, bias, keep_weights)
        return self.output(mixed, x), weights


class _Intermediate(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.dense = nn.Linear(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.dense(x))


class _Layer(nn.Module):
    def __init__(self, width: int, context_width: int | None, heads: int, hidden: int):
        super().__init__()
        self.attention = _Attention(width, width, heads)
        if context_width is not None:
            self.crossattention = _Attention(width, context_width, heads)
        self.intermediate = _Intermediate(width, hidden)
        self.output = _Residual(hidden, width)

    def forward(self, x, bias, context=None, context_bias=None, keep_weights=False):
        x, _ = self.attention(x, x, bias)
        weights = None
        if context is not None:
            x, weights = self.crossattention(x, context, context_bias, keep_weights)
        return self.output(self.intermediate(x), x), weights


class _Embeddings(nn.Module):
    def __init__(self, vocabulary: int, positions: int, width: int):
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, width)
        self.position_embeddings = nn.Embedding(positions, width)
        self.token_type_embeddings = nn.Embedding(2, width)
        self.LayerNorm = nn.LayerNorm(width, eps=1e-12)
        self.register_buffer("position_ids", torch.arange(positions).unsqueeze(0))

    def forward(self, input_ids: Tensor) -> Tensor:
        if input_ids.shape[1] > len(self.position_embeddings.weight):
            raise TooManyTokens(
                f"captions of {input_ids.shape[1]} tokens, but these weights know "
                f"{len(self.position_embeddings.weight)} positions: set max_tokens to at most that"
            )
        positions = self.position_embeddings.weight[: input_ids.shape[1]]
        return self.LayerNorm(self.word_embeddings(input_ids) + self.token_type_embeddings.weight[0] + positions)


class _Encoder(nn.Module):
    def __init__(self, layers: list[_Layer]):
        super().__init__()
        self.layer = nn.ModuleList(layers)


class BertModel(nn.Module):
    """BERT whose layers from `fusion_layer` on have cross-attention to image tokens."""

    def __init__(
        self,
        *,
        vocabulary: int,
        positions: int,
        width: int,
        layers: int,
        fusion_layer: int,
        heads: int,
        hidden: int,
        image_width: int,
    ):
        super().__init__()
        self.fusion_layer = fusion_layer
        self.embeddings = _Embeddings(vocabulary, positions, width)
        self.encoder = _Encoder(
            [_Layer(width, image_width if i >= fusion_layer else None, heads, hidden) for i in range(layers)]
        )

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """[batch, tokens] ids and 0/1 mask to [batch, tokens, width]: the embeddings and the text-only layers."""
        x = self.embeddings(input_ids)
        bias = attention_bias(attention_mask, x.dtype)
        for layer in self.encoder.layer[: self.fusion_layer]:
            x, _ = layer(x, bias)
        return x

    def fuse(
        self, text: Tensor, attention_mask: Tensor, image: Tensor, image_mask: Tensor, keep: tuple[int, ...] = ()
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """The fusion layers over text [batch, tokens, width] and image [batch, patches, image width] tokens.

        keep: the cross-attention layers (counted over the whole BERT, as the papers do) whose weights are returned,
        each [batch, heads, tokens, patches], as tensors that gradients can be asked for. While none has been
        passed yet nothing needs a graph, so everything below the first of them runs without one when `text` and
        `image` carry none.
        """
        bias, image_bias = attention_bias(attention_mask, text.dtype), attention_bias(image_mask, text.dtype)
        weights: dict[int, Tensor] = {}
        x = text
        for i in range(self.fusion_layer, len(self.encoder.layer)):
            before_first = bool(keep) and i < min(keep)
            with torch.set_grad_enabled(torch.is_grad_enabled() and not before_first):
                x, layer_weights = self.encoder.layer[i](x, bias, image, image_bias, i in keep)
            if layer_weights is not None:
                weights[i] = layer_weights
        return x, weights


def attention_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A 0/1 mask [batch, keys] as the additive scores of BERT, [batch, 1, 1, keys]: 0 where 1, -10000 where 0."""
    return (1.0 - mask[:, None, None, :].to(dtype)) * MASKED_SCORE


class _Transform(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.LayerNorm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x: Tensor) -> Tensor:
        return self.LayerNorm(F.gelu(self.dense(x)))


class _Predictions(nn.Module):
    def __init__(self, width: int, vocabulary: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.transform = _Transform(width)
        self.decoder = nn.Linear(width, vocabulary)
        self.decoder.bias = self.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.transform(x))


class MaskedLanguageHead(nn.Module):
    """Hidden states [..., width] to vocabulary logits [..., vocabulary]."""

    def __init__(self, width: int, vocabulary: int):
        super().__init__()
        self.predictions = _Predictions(width, vocabulary)

    def forward(self, x: Tensor) -> Tensor:
        return self.predictions(x)
