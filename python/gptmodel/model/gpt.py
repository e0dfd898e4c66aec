"""The GPT, from ids to logits, and nothing else: no optimizer, no data, no device policy.

Read it top to bottom: the pieces, one block, the model, whose `forward` and `loss` are the forward pass. A
few choices span two families. **gpt2** (learned positions, LayerNorm, tanh GELU, biases, tied head) equals
Hugging Face's `GPT2LMHeadModel`; **modern** (rotary positions, RMSNorm, QK-norm, ReLU² or SwiGLU, untied
head) equals `NanoChatForCausalLM`, `LlamaForCausalLM` or `Qwen3ForCausalLM`, according to the fields. No
field without a test against such a reference.

Numbers: weights keep their own dtype (fp32 when trained). Activations flow in `GPT.compute_dtype` (None:
the weights' dtype); set it to bfloat16 to train in bf16 with fp32 master weights: every matrix is cast
where it is used, and `torch.compile` fuses the cast. Norms, rotations, softmax and loss compute in fp32
whatever flows. Autocast works too, with an fp32 residual stream.

Shapes: B batch, T positions, D width, H query heads, G key and value heads, K head width, F feed-forward
width, V vocabulary.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gptmodel.model.attention import (
    FLEX_LEAST_WIDTH,
    KeyValueCache,
    Mask,
    attention,
    document_mask,
)
from gptmodel.model.config import Kernel, ModelConfig
from gptmodel.model.initialize import initialize
from gptmodel.model.loss import cross_entropy, head
from gptmodel.model.positions import RotaryPositions, SinusoidalPositions, position_in_document


class Linear(nn.Linear):
    """A linear layer that computes in its input's dtype."""

    def forward(self, input: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(input.dtype)
        return F.linear(input, self.weight.to(input.dtype), bias)


class LayerNorm(nn.Module):
    """(x - mean) / √(variance + eps), times a gain, plus a bias; over the last dimension, in fp32."""

    def __init__(self, width: int, *, eps: float = 1e-5, affine: bool = True, bias: bool = True):
        super().__init__()
        self.width, self.eps = width, eps
        self.weight = nn.Parameter(torch.ones(width)) if affine else None
        self.bias = nn.Parameter(torch.zeros(width)) if affine and bias else None

    def forward(self, x: Tensor) -> Tensor:
        gain, bias = (None if p is None else p.float() for p in (self.weight, self.bias))
        return F.layer_norm(x.float(), (self.width,), gain, bias, self.eps).to(x.dtype)


class RMSNorm(nn.Module):
    """x / √(mean of squares + eps), times a gain; over the last dimension, in fp32."""

    def __init__(self, width: int, *, eps: float = 1e-5, affine: bool = True):
        super().__init__()
        self.width, self.eps = width, eps
        self.weight = nn.Parameter(torch.ones(width)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        gain = None if self.weight is None else self.weight.float()
        return F.rms_norm(x.float(), (self.width,), gain, self.eps).to(x.dtype)


class MultiHeadAttention(nn.Module):
    """Causal self-attention, (B, T, D) -> (B, T, D); queries, keys and values come of one product."""

    def __init__(self, config: ModelConfig, layer: int = 0):
        super().__init__()
        H, G, K = config.heads, config.groups, config.width_per_head
        self.layer, self.heads, self.groups, self.head_width = layer, H, G, K
        self.dropout, self.kernel = config.dropout, config.attention
        qkv_bias = config.bias if config.qkv_bias is None else config.qkv_bias
        self.qkv = Linear(config.width, (H + 2 * G) * K, bias=qkv_bias)
        self.output = Linear(H * K, config.width, bias=config.bias)
        self.query_norm = (
            RMSNorm(K, eps=config.norm_eps, affine=config.norm_affine) if config.qk_norm else nn.Identity()
        )
        self.key_norm = (
            RMSNorm(K, eps=config.norm_eps, affine=config.norm_affine) if config.qk_norm else nn.Identity()
        )

    def forward(
        self,
        x_BTD: Tensor,
        *,
        rotary: RotaryPositions | None = None,
        mask: Mask = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        B, T, _ = x_BTD.shape
        H, G, K = self.heads, self.groups, self.head_width
        q_BHTK, k_BGTK, v_BGTK = self.qkv(x_BTD).view(B, T, H + 2 * G, K).transpose(1, 2).split((H, G, G), 1)
        q_BHTK, k_BGTK = self.query_norm(q_BHTK), self.key_norm(k_BGTK)
        if rotary is not None:
            start = 0 if cache is None else cache.length
            q_BHTK, k_BGTK = rotary(q_BHTK, start), rotary(k_BGTK, start)
        if cache is not None:
            k_BGTK, v_BGTK = cache.append(self.layer, k_BGTK, v_BGTK)
        dropout = self.dropout if self.training else 0.0
        y_BHTK = attention(q_BHTK, k_BGTK, v_BGTK, mask=mask, dropout=dropout, kernel=self.kernel)
        return F.dropout(
            self.output(y_BHTK.transpose(1, 2).reshape(B, T, H * K)), self.dropout, self.training
        )


class FeedForward(nn.Module):
    """down(activation(up(x))), or SwiGLU's down(silu(gate(x)) · up(x)); (B, T, D) -> (B, T, D)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.activation, self.dropout = config.activation, config.dropout
        if config.activation == "swiglu":
            self.gate = Linear(config.width, config.feed_forward_width, bias=config.bias)
        self.up = Linear(config.width, config.feed_forward_width, bias=config.bias)
        self.down = Linear(config.feed_forward_width, config.width, bias=config.bias)

    def forward(self, x_BTD: Tensor) -> Tensor:
        h_BTF = self.up(x_BTD)
        if self.activation == "swiglu":
            h_BTF = F.silu(self.gate(x_BTD)) * h_BTF
        elif self.activation == "relu2":
            h_BTF = F.relu(h_BTF).square()
        else:
            h_BTF = F.gelu(h_BTF, approximate="tanh" if self.activation == "gelu_tanh" else "none")
        return F.dropout(self.down(h_BTF), self.dropout, self.training)


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)): the residual stream is not normalized."""

    def __init__(self, config: ModelConfig, layer: int = 0):
        super().__init__()
        self.attention_norm = make_norm(config)
        self.attention = MultiHeadAttention(config, layer)
        self.feed_forward_norm = make_norm(config)
        self.feed_forward = FeedForward(config)

    def forward(self, x_BTD: Tensor, **attending: Any) -> Tensor:
        """``attending`` are the options of `MultiHeadAttention`: rotary, mask, cache."""
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD), **attending)
        return x_BTD + self.feed_forward(self.feed_forward_norm(x_BTD))  # type: ignore[no-any-return]


def make_norm(config: ModelConfig) -> LayerNorm | RMSNorm:
    if config.normalization == "layer":
        return LayerNorm(config.width, eps=config.norm_eps, affine=config.norm_affine, bias=config.bias)
    return RMSNorm(config.width, eps=config.norm_eps, affine=config.norm_affine)


def check_ids(ids_BT: Tensor) -> None:
    """Raise TypeError or ValueError for what is no (B, T) of ids; their values are not looked at."""
    if not isinstance(ids_BT, Tensor):
        raise TypeError(
            f"ids are a tensor of shape (B, T), not {type(ids_BT).__name__}: "
            "torch.tensor([ids]) makes one of a list"
        )
    if ids_BT.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"ids are int64 or int32, not {ids_BT.dtype}: give ids.long()")
    if ids_BT.ndim != 2:
        raise ValueError(
            f"ids have the shape (B, T), not {tuple(ids_BT.shape)}: of one text, ids[None] is a batch"
        )


class GPT(nn.Module):
    """A decoder-only transformer.

    Example:
        >>> model = GPT(ModelConfig(vocab_size=512, context_length=128, width=384, layers=6, heads=6))
        >>> model(torch.zeros(2, 16, dtype=torch.long)).shape
        torch.Size([2, 16, 512])
    """

    compute_dtype: torch.dtype | None = None
    checkpoint_blocks: bool = False
    """Keep the inputs of the blocks only, and compute each block again in the backward pass."""

    def __init__(self, config: ModelConfig, seed: int | None = 0):
        """Build the model and `initialize` it, unless `seed` is None because weights are loaded next."""
        if not isinstance(config, ModelConfig):
            raise TypeError(
                f"GPT takes a ModelConfig, not {type(config).__name__}: GPT(ModelConfig(vocab_size=512, …)); "
                "GPT.load(RUN) loads a trained model"
            )
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.width)
        self.positions: nn.Embedding | SinusoidalPositions | RotaryPositions | None = None
        if config.position == "learned":
            self.positions = nn.Embedding(config.context_length, config.width)
        elif config.position == "sinusoidal":
            self.positions = SinusoidalPositions(config.context_length, config.width)
        elif config.position == "rotary":
            self.positions = RotaryPositions(config.context_length, config.width_per_head, config.rotary_base)
        self.embedding_norm = make_norm(config) if config.embedding_norm else nn.Identity()
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.final_norm = make_norm(config)
        self.head = None if config.tied_head else Linear(config.width, config.vocab_size, bias=False)
        if seed is not None:
            initialize(self, config, seed)

    def forward(
        self, ids_BT: Tensor, *, documents_BT: Tensor | None = None, cache: KeyValueCache | None = None
    ) -> Tensor:
        """Logits (B, T, V) of the id after each position.

        `documents_BT` numbers the document of each token: attention then stays inside a document, and added
        positions count from its start. `cache` holds the positions before these and receives these.
        """
        return self.logits(self.hidden(ids_BT, documents_BT=documents_BT, cache=cache))

    def loss(
        self,
        ids_BT: Tensor,
        targets_BT: Tensor,
        *,
        documents_BT: Tensor | None = None,
        ignore_index: int = -1,
        reduction: Literal["mean", "sum", "none"] = "mean",
    ) -> Tensor:
        """Cross-entropy in nats, in fp32. Targets equal to `ignore_index` do not count; "none" gives (B, T).

        Only the loss leaves the graph, and the fp32 logits of a whole batch are never held (see `loss`).
        """
        x_BTD = self.hidden(ids_BT, documents_BT=documents_BT)
        loss = cross_entropy(
            x_BTD.flatten(0, 1),
            self.head_weight,
            targets_BT.flatten().long(),
            softcap=self.config.logit_softcap,
            ignore_index=ignore_index,
            reduction=reduction,
        )
        return loss.view(targets_BT.shape) if reduction == "none" else loss

    def hidden(
        self, ids_BT: Tensor, *, documents_BT: Tensor | None = None, cache: KeyValueCache | None = None
    ) -> Tensor:
        """The normalized output of the last block, (B, T, D)."""
        check_ids(ids_BT)
        T, start = ids_BT.shape[1], 0 if cache is None else cache.length
        if start + T > self.config.context_length:
            raise ValueError(
                f"{start + T} positions do not fit in the context length {self.config.context_length}"
            )
        try:
            x_BTD = self.token_embedding(ids_BT)
        except IndexError:  # on the CPU; elsewhere the device stops
            raise IndexError(
                f"ids of this model are 0 to {self.config.vocab_size - 1}, and these are {int(ids_BT.min())} "
                f"to {int(ids_BT.max())}: encode the text with the model's own tokenizer"
            ) from None
        if self.config.position == "sinusoidal":
            x_BTD = x_BTD * math.sqrt(
                self.config.width
            )  # §3.4 of the paper: else the positions drown the tokens
        if self.config.position in ("learned", "sinusoidal"):
            position = torch.arange(start, start + T, device=ids_BT.device)
            if documents_BT is not None:
                position = position_in_document(documents_BT)
            x_BTD = x_BTD + self.positions(position)  # type: ignore[misc]
        x_BTD = x_BTD.to(self.compute_dtype or x_BTD.dtype)
        x_BTD = F.dropout(self.embedding_norm(x_BTD), self.config.dropout, self.training)
        mask = None if documents_BT is None else document_mask(documents_BT, self.mask_kernel)
        rotary = self.positions if isinstance(self.positions, RotaryPositions) else None
        again = self.checkpoint_blocks and self.training and torch.is_grad_enabled()
        for block in self.blocks:
            forward = partial(checkpoint, block, use_reentrant=False) if again else block
            x_BTD = forward(x_BTD, rotary=rotary, mask=mask, cache=cache)
        if cache is not None:
            cache.advance(T)
        return self.final_norm(x_BTD)  # type: ignore[no-any-return]

    @property
    def mask_kernel(self) -> Kernel:
        """The kernel that a mask of documents is for: FlexAttention knows no dropout and no narrow heads."""
        config = self.config
        drops = self.training and config.dropout > 0
        return "sdpa" if drops or config.width_per_head < FLEX_LEAST_WIDTH else config.attention

    @property
    def head_weight(self) -> Tensor:
        """The head's matrix (V, D): its own, or the embedding."""
        return (self.token_embedding if self.head is None else self.head).weight

    def logits(self, x_BTD: Tensor) -> Tensor:
        """The head, (B, T, D) -> (B, T, V)."""
        return head(x_BTD, self.head_weight, softcap=self.config.logit_softcap)

    def num_parameters(self, *, embeddings: bool = True) -> int:
        """Number of weights, a tied matrix once; optionally without the token and position tables."""
        tables = [m for m in self.modules() if isinstance(m, nn.Embedding)]
        tabled = 0 if embeddings else sum(m.weight.numel() for m in tables)
        return sum(p.numel() for p in self.parameters()) - tabled

    def flops_per_token(self, context: int | None = None, *, causal: bool = False) -> int:
        """Operations to train on one token: 6 per weight of a matrix product, plus attention.

        Attention over `context` positions (default: the context length) counts in full, the convention of
        PaLM and nanoGPT, or half of that with `causal`, what a causal kernel computes. The head counts; a
        look-up is free.
        """
        config, T = self.config, self.config.context_length if context is None else context
        weights = sum(m.weight.numel() for m in self.blocks.modules() if isinstance(m, nn.Linear))
        weights += config.vocab_size * config.width
        attention = 12 * config.layers * config.heads * config.width_per_head * T
        return 6 * weights + (attention // 2 if causal else attention)

    def key_value_cache(self, batch: int, capacity: int | None = None) -> KeyValueCache:
        """An empty cache for `batch` rows of up to `capacity` positions (default: the context length)."""
        config, weight = self.config, self.token_embedding.weight
        S, G, K = capacity or config.context_length, config.groups, config.width_per_head
        shape = (config.layers, batch, G, S, K)
        return KeyValueCache(shape, dtype=self.compute_dtype or weight.dtype, device=weight.device)
