"""Every block against PyTorch's own, transformers' or a closed form; then the model's own promises."""

from __future__ import annotations

import math
import re
import traceback
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor, nn

from gptmodel.errors import ConfigError
from gptmodel.model import GPT, ModelConfig
from gptmodel.model.gpt import Block, FeedForward, LayerNorm, Linear, MultiHeadAttention, RMSNorm
from gptmodel.model.initialize import initialize
from gptmodel.model.positions import RotaryPositions, SinusoidalPositions, position_in_document

SMALL = {"vocab_size": 61, "context_length": 24, "width": 32, "layers": 2, "heads": 4}
CLASSIC: dict[str, Any] = {
    "position": "learned",
    "normalization": "layer",
    "norm_affine": True,
    "activation": "gelu_tanh",
    "qk_norm": False,
    "embedding_norm": False,
    "bias": True,
    "tied_head": True,
    "initialization": "gpt2",
}
POSITIONS = ["rotary", "learned", "sinusoidal", "none"]


def config(**changes: Any) -> ModelConfig:
    return ModelConfig(**SMALL | changes)


def random_weights(module: Any, seed: int = 0) -> Any:
    """`module` in eval mode with weights in which nothing is zero or one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3 + (weight.ndim == 1))
    return module.eval()


@pytest.fixture
def x_BTD() -> Tensor:  # noqa: N802
    return torch.randn(3, 10, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def ids_BT() -> Tensor:  # noqa: N802
    return torch.randint(0, 61, (3, 20), generator=torch.Generator().manual_seed(2))


# The blocks


NORMS: list[tuple[nn.Module, nn.Module]] = [
    (LayerNorm(32, eps=1e-3), nn.LayerNorm(32, eps=1e-3)),
    (LayerNorm(32, eps=1e-3, bias=False), nn.LayerNorm(32, eps=1e-3, bias=False)),
    (RMSNorm(32, eps=1e-3), nn.RMSNorm(32, eps=1e-3)),
    (RMSNorm(32, eps=1e-3, affine=False), nn.RMSNorm(32, eps=1e-3, elementwise_affine=False)),
]


@pytest.mark.parametrize(("ours", "theirs"), NORMS, ids=[str(theirs) for _, theirs in NORMS])
def test_norms_are_pytorchs(x_BTD: Tensor, ours: nn.Module, theirs: nn.Module) -> None:
    random_weights(ours)
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(x_BTD), theirs(x_BTD))


def test_layer_norm_without_a_gain_has_mean_0_and_variance_1(x_BTD: Tensor) -> None:
    y_BTD = LayerNorm(32, affine=False)(5 + 3 * x_BTD)
    torch.testing.assert_close(y_BTD.mean(-1), torch.zeros(3, 10), atol=1e-5, rtol=0)
    torch.testing.assert_close(y_BTD.var(-1, unbiased=False), torch.ones(3, 10), atol=1e-4, rtol=0)


def test_norms_compute_in_fp32_and_answer_in_the_inputs_dtype(x_BTD: Tensor) -> None:
    """A sum of squares of 300 overflows in fp16; in fp32 it does not."""
    for norm in (LayerNorm(32), RMSNorm(32)):
        y_BTD = norm(300 * x_BTD.half())
        assert y_BTD.dtype == torch.float16
        torch.testing.assert_close(y_BTD.float(), norm(300 * x_BTD.half().float()), atol=2e-3, rtol=2e-3)


def test_sinusoidal_positions_are_the_papers() -> None:
    """§3.5 of "Attention Is All You Need", element by element."""
    table = SinusoidalPositions(50, 16)(torch.arange(50))
    for t in (0, 1, 7, 49):
        for i in range(8):
            angle = t / 10_000 ** (2 * i / 16)
            assert table[t, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert table[t, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_rotary_positions_are_transformers() -> None:
    llama = pytest.importorskip("transformers.models.llama.modeling_llama")
    from transformers import LlamaConfig

    rope = {"rope_type": "default", "rope_theta": 500.0}
    table = llama.LlamaRotaryEmbedding(
        LlamaConfig(hidden_size=32, num_attention_heads=4, rope_parameters=rope)
    )
    q, k = torch.randn(2, 2, 4, 24, 8, generator=torch.Generator().manual_seed(0))
    cosine, sine = table(q, torch.arange(24)[None])
    rotary = RotaryPositions(24, 8, base=500.0)
    for ours, theirs in zip(
        (rotary(q), rotary(k)), llama.apply_rotary_pos_emb(q, k, cosine, sine), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(rotary(q[:, :, 5:9], start=5), rotary(q)[:, :, 5:9])


def test_rotary_products_depend_on_distance_only() -> None:
    rotary, generator = RotaryPositions(64, 8), torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 8, generator=generator)
    products = [
        (rotary(q[None, None], start=t) * rotary(k[None, None], start=t - 5)).sum() for t in (5, 23, 63)
    ]
    torch.testing.assert_close(products[0], products[1])
    torch.testing.assert_close(products[0], products[2])


@pytest.mark.parametrize(
    "table", [SinusoidalPositions(24, 32), RotaryPositions(24, 8)], ids=["sine", "rotary"]
)
def test_tables_survive_a_change_of_dtype_and_stay_out_of_checkpoints(table: Any) -> None:
    before = table.table().clone()
    assert torch.equal(table.bfloat16().table(), before)
    assert table.state_dict() == {}


@pytest.mark.parametrize(
    ("activation", "formula"),
    [
        ("gelu", lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))),
        ("gelu_tanh", lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))),
        ("relu2", lambda x: torch.where(x > 0, x * x, 0.0)),
    ],
)
def test_feed_forward_is_its_formula(x_BTD: Tensor, activation: str, formula: Any) -> None:
    block = random_weights(FeedForward(config(activation=activation, bias=True, expansion=1.5)))
    assert block.up.weight.shape == (48, 32)
    hidden = formula(x_BTD @ block.up.weight.T + block.up.bias)
    torch.testing.assert_close(
        block(x_BTD), hidden @ block.down.weight.T + block.down.bias, atol=1e-5, rtol=1e-4
    )


def test_swiglu_is_shazeers_formula(x_BTD: Tensor) -> None:
    """FFN_SwiGLU(x) = (Swish(xW) ⊙ xV) W₂, "GLU Variants Improve Transformer"."""
    block = random_weights(FeedForward(config(activation="swiglu")))
    gate = x_BTD @ block.gate.weight.T
    expected = (gate * torch.sigmoid(gate) * (x_BTD @ block.up.weight.T)) @ block.down.weight.T
    torch.testing.assert_close(block(x_BTD), expected, atol=1e-5, rtol=1e-4)


def test_attention_is_pytorchs_multihead_attention(x_BTD: Tensor) -> None:
    ours = random_weights(MultiHeadAttention(config(**CLASSIC)))
    theirs = nn.MultiheadAttention(32, 4, batch_first=True)
    names = {"in_proj_weight": "qkv.weight", "in_proj_bias": "qkv.bias"}
    names |= {"out_proj.weight": "output.weight", "out_proj.bias": "output.bias"}
    theirs.load_state_dict({name: ours.state_dict()[mine] for name, mine in names.items()})
    future = torch.ones(10, 10, dtype=torch.bool).triu(1)
    expected, _ = theirs(x_BTD, x_BTD, x_BTD, attn_mask=future, need_weights=False)
    torch.testing.assert_close(ours(x_BTD), expected, atol=1e-5, rtol=1e-4)


def test_the_block_is_pytorchs_pre_norm_encoder_layer(x_BTD: Tensor) -> None:
    """Residual order: x + attention(norm(x)), then x + feed_forward(norm(x))."""
    ours = random_weights(Block(config(**CLASSIC | {"activation": "gelu"})))
    theirs = nn.TransformerEncoderLayer(32, 4, 128, 0.0, F.gelu, batch_first=True, norm_first=True).train()
    state = ours.state_dict()
    names = {"self_attn.in_proj_": "attention.qkv.", "self_attn.out_proj.": "attention.output."}
    names |= {"linear1.": "feed_forward.up.", "linear2.": "feed_forward.down."}
    names |= {"norm1.": "attention_norm.", "norm2.": "feed_forward_norm."}
    parts = ("weight", "bias")
    theirs.load_state_dict({t + part: state[mine + part] for t, mine in names.items() for part in parts})
    future = torch.ones(10, 10, dtype=torch.bool).triu(1)
    torch.testing.assert_close(ours(x_BTD), theirs(x_BTD, src_mask=future), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "training", "kernel"),
    [
        ({"width": 64}, True, "auto"),
        ({"width": 64, "dropout": 0.1}, True, "sdpa"),
        ({"width": 64, "dropout": 0.1}, False, "auto"),
        ({"width": 16}, False, "sdpa"),
        ({"width": 64, "attention": "math"}, True, "math"),
    ],
)
def test_flex_attention_is_left_out_where_it_cannot_compute_the_model(
    changes: dict[str, Any], training: bool, kernel: str
) -> None:
    model = GPT(config(heads=2, **changes)).train(training)
    assert model.mask_kernel == kernel


def test_without_positions_order_does_not_matter(ids_BT: Tensor) -> None:
    """One layer over a set: the last logits are the same for every order of the ids before."""
    model = random_weights(GPT(config(position="none", layers=1)))
    shuffled = torch.cat((ids_BT[:, :-1].flip(1), ids_BT[:, -1:]), 1)
    torch.testing.assert_close(model(shuffled)[:, -1], model(ids_BT)[:, -1], atol=1e-5, rtol=1e-4)
    model = random_weights(GPT(config(position="rotary", layers=1)))
    assert not torch.allclose(model(shuffled)[:, -1], model(ids_BT)[:, -1], atol=1e-3)


@pytest.mark.parametrize("position", ["learned", "sinusoidal"])
def test_added_positions_are_added_to_the_embedding(ids_BT: Tensor, position: str) -> None:
    """With no block the sum is all there is; §3.4 of the paper multiplies the embedding by √D."""
    model = random_weights(GPT(config(**CLASSIC | {"position": position, "layers": 0})))
    embedded = model.token_embedding.weight[ids_BT] * (math.sqrt(32) if position == "sinusoidal" else 1)
    table = model.positions.weight if position == "learned" else model.positions.table()
    expected = model.final_norm(embedded + table[:20]) @ model.token_embedding.weight.T
    torch.testing.assert_close(model(ids_BT), expected)


def test_logits_are_capped_as_in_gemma(ids_BT: Tensor) -> None:
    capped = random_weights(GPT(config(logit_softcap=2.0)))
    free = random_weights(GPT(config()))
    torch.testing.assert_close(capped(ids_BT), 2 * torch.tanh(free(ids_BT) / 2))


# The whole model


@pytest.mark.parametrize("position", POSITIONS)
def test_the_future_does_not_reach_the_past(ids_BT: Tensor, position: str) -> None:
    model = random_weights(GPT(config(position=position)))
    changed = ids_BT.clone()
    changed[:, 12:] = (changed[:, 12:] + 1) % 61
    before, after = model(ids_BT), model(changed)
    assert torch.equal(before[:, :12], after[:, :12])
    assert not torch.equal(before[:, 12:], after[:, 12:])


@pytest.mark.parametrize("position", POSITIONS)
def test_packed_documents_lose_what_they_lose_alone(position: str) -> None:
    """Three documents in one row under a document mask give, token by token, the losses of three rows."""
    model = random_weights(GPT(config(position=position)))
    lengths = (5, 11, 8)
    row = torch.randint(0, 61, (1, 25), generator=torch.Generator().manual_seed(0))
    documents = torch.repeat_interleave(torch.tensor([4, 4, 9]) + torch.arange(3), torch.tensor(lengths))[
        None
    ]
    packed = model.loss(row[:, :-1], row[:, 1:], documents_BT=documents, reduction="none")
    start = 0
    for length in lengths:
        piece = row[:, start : start + length + 1]
        alone = model.loss(piece[:, :-1], piece[:, 1:], reduction="none")
        torch.testing.assert_close(packed[:, start : start + length], alone, atol=1e-5, rtol=1e-4)
        start += length
    unmasked = model.loss(row[:, :-1], row[:, 1:], reduction="none")
    assert not torch.allclose(packed[:, 5:], unmasked[:, 5:], atol=1e-3)


def test_positions_restart_with_each_document() -> None:
    documents = torch.tensor([[7, 7, 8, 8, 8], [1, 2, 2, 1, 1]])
    assert position_in_document(documents).tolist() == [[0, 1, 0, 1, 2], [0, 0, 1, 0, 1]]


def test_loss_is_cross_entropy(ids_BT: Tensor) -> None:
    model = random_weights(GPT(config()))
    targets = ids_BT.roll(-1, 1)
    targets[:, :4] = -1
    shares = model(ids_BT).double().log_softmax(-1)
    each = -shares.gather(-1, targets.clamp(min=0)[..., None])[..., 0] * (targets >= 0)
    got = {r: model.loss(ids_BT, targets, reduction=r) for r in ("none", "sum", "mean")}
    torch.testing.assert_close(got["none"].double(), each, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got["sum"].double(), each.sum(), atol=1e-3, rtol=1e-5)
    torch.testing.assert_close(got["mean"].double(), each.sum() / (targets >= 0).sum(), atol=1e-5, rtol=1e-5)


def test_gradients_are_the_slopes_of_the_loss() -> None:
    """Central differences along a random direction, for every kind of weight of both families."""
    ids = torch.tensor([[1, 2, 3, 4]])
    for changes in ({}, CLASSIC, {"activation": "swiglu", "norm_affine": True}):
        tiny = {
            "vocab_size": 7,
            "context_length": 4,
            "width": 8,
            "heads": 2,
            "layers": 1,
            "attention": "math",
        }
        model = random_weights(GPT(config(**changes | tiny)))
        model.loss(ids[:, :-1], ids[:, 1:]).backward()
        for name, weight in model.named_parameters():
            direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
            slope, step = (weight.grad * direction).sum().item(), 2e-3
            losses = []
            for sign in (1, -1):
                with torch.no_grad():
                    weight.add_(sign * step * direction)
                    losses.append(model.loss(ids[:, :-1], ids[:, 1:]).item())
                    weight.sub_(sign * step * direction)
            assert slope == pytest.approx((losses[0] - losses[1]) / (2 * step), abs=2e-3, rel=5e-3), name


def test_dropout_drops_the_stated_share_and_keeps_the_mean(x_BTD: Tensor) -> None:
    block = random_weights(FeedForward(config(dropout=0.3))).train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        outputs = torch.stack([block(x_BTD) for _ in range(400)])
    assert (outputs == 0).float().mean().item() == pytest.approx(0.3, abs=0.005)
    whole = block.eval()(x_BTD)
    ratio = (outputs.mean(0) / whole).mean().item()
    assert ratio == pytest.approx(1.0, abs=0.005)


def test_dropout_rests_in_eval_mode(ids_BT: Tensor) -> None:
    model = random_weights(GPT(config(dropout=0.5)))
    assert torch.equal(model(ids_BT), model(ids_BT))
    model.train()
    assert not torch.equal(model(ids_BT), model(ids_BT))


def test_a_model_from_a_seed_is_that_model() -> None:
    first, again, other = GPT(config(), seed=1), GPT(config(), seed=1), GPT(config(), seed=2)
    state = first.state_dict()
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in state.items())
    assert not torch.equal(other.token_embedding.weight, first.token_embedding.weight)
    before = torch.get_rng_state()
    initialize(first, first.config, 4)
    assert torch.equal(torch.get_rng_state(), before)  # drawn by a generator of its own


def test_gpt2_starts_with_its_papers_deviations() -> None:
    """0.02 everywhere, and 0.02 / √(2L) where the residual stream is written to."""
    model = GPT(ModelConfig(**SMALL | CLASSIC | {"width": 256, "layers": 8, "vocab_size": 512}))
    block = model.blocks[3]
    for weight in (model.token_embedding.weight, block.attention.qkv.weight, block.feed_forward.up.weight):
        assert weight.std().item() == pytest.approx(0.02, rel=0.03)
    for weight in (block.attention.output.weight, block.feed_forward.down.weight):
        assert weight.std().item() == pytest.approx(0.02 / 4, rel=0.03)
    assert block.attention.qkv.bias.abs().max() == 0
    assert (block.attention_norm.weight == 1).all()


def test_modern_starts_at_the_loss_of_a_uniform_guess(ids_BT: Tensor) -> None:
    model = GPT(config())
    assert model.loss(ids_BT, ids_BT).item() == pytest.approx(math.log(61), abs=1e-5)
    assert model.blocks[0].attention.qkv.weight.std().item() == pytest.approx(32**-0.5, rel=0.05)


@pytest.mark.parametrize("changes", [{}, CLASSIC], ids=["modern", "gpt2"])
def test_the_model_flows_in_bf16_over_fp32_weights(ids_BT: Tensor, changes: dict[str, Any]) -> None:
    model = random_weights(GPT(config(**changes)))
    exact = model.loss(ids_BT, ids_BT.roll(-1, 1))
    model.compute_dtype = torch.bfloat16
    assert model(ids_BT).dtype == torch.bfloat16
    loss = model.loss(ids_BT, ids_BT.roll(-1, 1))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=0.02)
    loss.backward()
    assert all(weight.grad.dtype == torch.float32 for weight in model.parameters())
    model.compute_dtype = None
    with torch.autocast("cpu", torch.bfloat16):
        assert model.loss(ids_BT, ids_BT.roll(-1, 1)).item() == pytest.approx(exact.item(), rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, CLASSIC], ids=["modern", "gpt2"])
def test_the_loss_compiles_into_one_graph(ids_BT: Tensor, changes: dict[str, Any]) -> None:
    model = random_weights(GPT(config(**changes | {"layers": 1})))
    compiled = torch.compile(model.loss, fullgraph=True, backend="aot_eager")
    targets = ids_BT.roll(-1, 1)
    documents = torch.zeros_like(ids_BT)
    torch.testing.assert_close(compiled(ids_BT, targets), model.loss(ids_BT, targets))
    torch.testing.assert_close(compiled(ids_BT, targets, documents_BT=documents), model.loss(ids_BT, targets))


def test_counts_are_those_of_the_literature() -> None:
    """GPT-2's published sizes, and PaLM's FLOPs: 6N for the products, 12·L·D·T for attention."""
    from gptmodel.presets import preset

    sizes = {
        "gpt2": 124_439_808,
        "gpt2-medium": 354_823_168,
        "gpt2-large": 774_030_080,
        "gpt2-xl": 1_557_611_200,
    }
    for name, size in sizes.items():
        with torch.device("meta"):
            model = GPT(ModelConfig(**preset(name)["model"]), seed=None)
        assert model.num_parameters() == size
        c = model.config
        assert size - model.num_parameters(embeddings=False) == (c.vocab_size + c.context_length) * c.width
        weights = 12 * c.layers * c.width**2 + c.vocab_size * c.width
        assert model.flops_per_token() == 6 * weights + 12 * c.layers * c.width * 1024
        assert model.flops_per_token(256, causal=True) == 6 * weights + 6 * c.layers * c.width * 256


def test_head_padding_leaves_logits_and_gradients_alone(
    ids_BT: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What CUDA does to the head, done here: 61 columns become 64 inside the product, and 61 come out."""
    model = random_weights(GPT(config()))
    plain = model(ids_BT)
    plain.square().sum().backward()
    gradient = model.head.weight.grad.clone()
    model.zero_grad()
    monkeypatch.setattr(Tensor, "is_cuda", property(lambda _: True))
    padded = model.logits(model.hidden(ids_BT))
    assert padded.shape == (3, 20, 61)
    torch.testing.assert_close(padded, plain)
    padded.square().sum().backward()
    torch.testing.assert_close(model.head.weight.grad, gradient, atol=1e-3, rtol=1e-4)


def test_a_linear_layer_computes_in_its_inputs_dtype(x_BTD: Tensor) -> None:
    layer = random_weights(Linear(32, 8))
    assert layer(x_BTD.bfloat16()).dtype == torch.bfloat16
    torch.testing.assert_close(layer(x_BTD), F.linear(x_BTD, layer.weight, layer.bias))


# Configuration


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 5}, "width 32 is not divisible by 5 heads"),
        ({"kv_heads": 3}, "4 heads do not divide among 3 kv_heads"),
        ({"head_width": 7}, "head width 7 must be even"),
        ({"width": 33, "heads": 3, "position": "sinusoidal"}, "width 33 must be even"),
        ({"dropout": 1.0}, "less than 1"),
        ({"layer": 3}, "unknown field 'layer'; did you mean 'layers'?"),
        ({"n_embd": 3}, "unknown field 'n_embd'; it is called width here"),
        ({"lr": 3}, "unknown field 'lr'; the fields are vocab_size, context_length,"),
        ({"position": "alibi"}, "position = 'alibi': should be 'rotary', 'learned', 'sinusoidal' or 'none'"),
        ({"vocab_size": 0}, "vocab_size = 0: should be greater than 0"),
        ({"width": "wide"}, "width = 'wide': should be a valid integer"),
    ],
)
def test_a_wrong_configuration_says_what_is_wrong(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        config(**changes)
    assert isinstance(caught.value, ConfigError)
    assert "\n" not in str(caught.value)
    assert "ValidationError" not in "".join(traceback.format_exception(caught.value))


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ValueError, match=r"^heads is missing: give it a value$"):
        ModelConfig(vocab_size=61, context_length=24, width=32, layers=2)  # type: ignore[call-arg]


def test_a_configuration_is_frozen_and_survives_json() -> None:
    made = config(kv_heads=2, logit_softcap=15.0)
    assert ModelConfig.model_validate_json(made.model_dump_json()) == made
    with pytest.raises(ValidationError, match="frozen"):
        made.width = 64  # type: ignore[misc]


NO_IDS: list[tuple[Any, type[Exception], str]] = [
    ([1, 2, 3], TypeError, "ids are a tensor of shape (B, T), not list: torch.tensor([ids])"),
    (torch.zeros(1, 5), TypeError, "ids are int64 or int32, not torch.float32: give ids.long()"),
    (
        torch.zeros(5, dtype=torch.long),
        ValueError,
        "ids have the shape (B, T), not (5,): of one text, ids[No",
    ),
    (torch.zeros(1, 1, 5, dtype=torch.long), ValueError, "ids have the shape (B, T), not (1, 1, 5)"),
    (torch.tensor([[3, 61]]), IndexError, "ids of this model are 0 to 60, and these are 3 to 61: encode"),
    (torch.tensor([[-1]]), IndexError, "ids of this model are 0 to 60, and these are -1 to -1"),
]


@pytest.mark.parametrize(("ids", "kind", "message"), NO_IDS)
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_what_is_no_ids_is_refused(ids: Any, kind: type[Exception], message: str, compiled: bool) -> None:
    model = GPT(config(layers=1))
    called = torch.compile(model, backend="eager") if compiled else model
    with pytest.raises(kind, match=re.escape(message)) as caught:
        called(ids)
    assert "\n" not in str(caught.value)


def test_ids_of_either_width_are_the_same_in_a_whole_graph(ids_BT: Tensor) -> None:
    model = random_weights(GPT(config()))
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(ids_BT.int()), model(ids_BT))


def test_too_many_positions_are_refused_with_both_numbers() -> None:
    with pytest.raises(ValueError, match="25 positions do not fit in the context length 24"):
        GPT(config())(torch.zeros(1, 25, dtype=torch.long))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("changes", [{}, CLASSIC], ids=["modern", "gpt2"])
@pytest.mark.parametrize("masked", [False, True], ids=["causal", "documents"])
def test_the_compiled_bf16_step_on_cuda_is_the_exact_one(changes: dict[str, Any], masked: bool) -> None:
    """The whole fast path (compiled, bf16, fused attention, padded head) against fp32 on the CPU."""
    model = random_weights(GPT(config(**changes | {"context_length": 256, "width": 64, "head_width": 32})))
    ids = torch.randint(0, 61, (2, 256), generator=torch.Generator().manual_seed(0))
    targets, documents = ids.roll(-1, 1), (torch.arange(256) // 100)[None].expand(2, -1)
    exact = model.loss(ids, targets, documents_BT=documents if masked else None)
    exact.backward()
    gradient = model.blocks[0].attention.qkv.weight.grad.clone()
    model.zero_grad()
    model.cuda().compute_dtype = torch.bfloat16
    compiled = torch.compile(model.loss, fullgraph=True, dynamic=False)
    loss = compiled(ids.cuda(), targets.cuda(), documents_BT=documents.cuda() if masked else None)
    loss.backward()
    assert loss.item() == pytest.approx(exact.item(), rel=0.01)
    similarity = F.cosine_similarity(
        model.blocks[0].attention.qkv.weight.grad.cpu().flatten(), gradient.flatten(), dim=0
    )
    assert similarity > 0.99
