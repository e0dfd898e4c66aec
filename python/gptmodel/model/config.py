"""The architecture in numbers: everything that decides which function a model computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator

from gptmodel.errors import ConfigError
from gptmodel.parse import complaint

Kernel = Literal["auto", "flash", "sdpa", "math"]

LARGEST_TABLE = 2**28
"""The most numbers in a table of positions, 1 GiB: a file that asks for more is wrong."""


class ModelConfig(BaseModel):
    """The architecture, complete. The defaults are the modern family.

    Raises ConfigError, a ValueError, for a field that is missing, unknown or out of range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    vocab_size: int = Field(gt=0, le=2**24, description="number of ids")
    context_length: int = Field(gt=0, le=2**24, description="number of tokens that the model sees at once")
    width: int = Field(gt=0, le=2**20, description="width of the residual stream")
    layers: int = Field(ge=0, le=4096, description="number of blocks")
    heads: int = Field(gt=0, le=2**16, description="query heads")
    kv_heads: int | None = Field(
        default=None,
        gt=0,
        validation_alias=AliasChoices("kv_heads", "key_value_heads"),  # its name in checkpoints of format 1
        description="key and value heads (grouped-query attention) [default: as many as heads]",
    )
    head_width: int | None = Field(
        default=None, gt=0, le=2**16, description="width of a head [default: width / heads]"
    )
    expansion: float = Field(
        default=4.0, gt=0, le=1024, description="feed-forward width as a multiple of width"
    )
    position: Literal["rotary", "learned", "sinusoidal", "none"] = Field(
        "rotary",
        description="how positions in the text are encoded; learned is GPT-2's",
    )
    normalization: Literal["layer", "rms"] = Field(
        "rms",
        description="normalization before attention and feed-forward: LayerNorm (GPT-2's) or RMSNorm",
    )
    activation: Literal["gelu_tanh", "gelu", "relu2", "swiglu"] = Field(
        "relu2", description="activation of the feed-forward layers; gelu_tanh is GPT-2's, swiglu Llama's"
    )
    qk_norm: bool = Field(default=True, description="apply RMSNorm to queries and keys")
    norm_affine: bool = Field(default=False, description="give the norms a learned gain")
    embedding_norm: bool = Field(default=True, description="normalize the embedding before the first block")
    bias: bool = Field(default=False, description="give linear layers and LayerNorms a bias")
    qkv_bias: bool | None = Field(
        default=None, description="give queries, keys and values a bias [default: as bias]"
    )
    tied_head: bool = Field(default=False, description="use the embedding as the matrix of the head")
    logit_softcap: float | None = Field(
        default=None, gt=0, le=1e9, description="limit the logits to c · tanh(logits / c), with this c"
    )
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="share of the activations that is set to zero in training"
    )
    rotary_base: float = Field(
        default=10_000.0, gt=0, le=1e30, description="base of the rotary frequencies (rope theta)"
    )
    norm_eps: float = Field(1e-5, gt=0, le=1, description="added to the variance in the norms, for stability")
    initialization: Literal["gpt2", "modern"] = Field(
        "modern", description="initial weights; with modern, every block begins as the identity"
    )
    attention: Kernel = Field("auto", description="attention kernel; auto takes the fastest on the device")

    if not TYPE_CHECKING:  # a type checker knows the fields of the constructor that pydantic makes

        def __init__(self, **fields: Any) -> None:
            try:
                super().__init__(**fields)
            except ValidationError as error:
                raise ConfigError(complaint(error, known=type(self).model_fields)) from None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.head_width is None and self.width % self.heads:
            raise ValueError(
                f"width {self.width} is not divisible by {self.heads} heads: change one or give head_width"
            )
        if self.heads % self.groups:
            raise ValueError(f"{self.heads} heads do not divide among {self.groups} kv_heads")
        if self.position == "rotary" and self.width_per_head % 2:
            raise ValueError(
                f"rotary positions turn pairs of numbers: the head width {self.width_per_head} must be even"
            )
        if self.position == "sinusoidal" and self.width % 2:
            raise ValueError(f"sinusoidal positions come in pairs: the width {self.width} must be even")
        rows = {"rotary": self.width_per_head, "sinusoidal": self.width}.get(self.position, 0)
        if self.context_length * rows > LARGEST_TABLE:
            raise ValueError(
                f"{self.position} positions of a context of {self.context_length:,} and a width of {rows:,} "
                f"are a table of {4 * self.context_length * rows / 2**30:,.0f} GiB: lower context_length"
            )
        return self

    @property
    def width_per_head(self) -> int:
        return self.head_width or self.width // self.heads

    @property
    def groups(self) -> int:
        return self.kv_heads or self.heads

    @property
    def feed_forward_width(self) -> int:
        return round(self.width * self.expansion)
