"""Every way to compute attention against the formula, and the fused ones against the written-out twin."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from gptmodel.model import attention as module
from gptmodel.model.attention import (
    KeyValueCache,
    attention,
    document_mask,
    math_attention,
    watch_kernels,
)

SHAPES = [(2, 4, 4, 9, 9), (2, 4, 2, 9, 9), (1, 6, 1, 1, 12), (2, 4, 2, 3, 12), (1, 2, 2, 130, 130)]


def random_qkv(
    shape: tuple[int, ...], device: str = "cpu", dtype: torch.dtype = torch.float32
) -> list[Tensor]:
    B, H, G, T, S = shape
    generator = torch.Generator().manual_seed(0)
    sizes = ((B, H, T, 16), (B, G, S, 16), (B, G, S, 16))
    tensors = [torch.randn(size, generator=generator).to(device, dtype) for size in sizes]
    return [tensor.requires_grad_() for tensor in tensors]


def by_the_formula(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One query at a time: weights exp(q·k / √K) over what came before, normalized."""
    B, H, T, K = q.shape
    S, groups = k.shape[2], H // k.shape[1]
    y = torch.empty_like(q)
    for b in range(B):
        for h in range(H):
            for t in range(T):
                seen = S - T + t + 1
                weights = torch.exp(k[b, h // groups, :seen] @ q[b, h, t] / math.sqrt(K))
                y[b, h, t] = (weights / weights.sum()) @ v[b, h // groups, :seen]
    return y


@pytest.mark.parametrize("kernel", ["auto", "sdpa", "flash", "math"])
@pytest.mark.parametrize("shape", SHAPES[:4])
def test_every_kernel_is_the_formula(shape: tuple[int, ...], kernel: str) -> None:
    q, k, v = random_qkv(shape)
    if kernel == "flash" and 1 < shape[3] < shape[4]:
        pytest.skip("a flash kernel takes no mask but the causal one")
    with torch.no_grad():
        got = attention(q, k, v, kernel=kernel)  # type: ignore[arg-type]
        torch.testing.assert_close(got, by_the_formula(q, k, v), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_sdpa_and_its_gradients_equal_the_written_out_twin(shape: tuple[int, ...]) -> None:
    results = []
    for kernel in ("sdpa", "math"):
        q, k, v = random_qkv(shape)
        y = attention(q, k, v, kernel=kernel)  # type: ignore[arg-type]
        y.sin().sum().backward()
        results.append((y, q.grad, k.grad, v.grad))
    for fused, written in zip(*results, strict=True):
        torch.testing.assert_close(fused, written, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kernel", ["auto", "sdpa", "math"])
def test_a_document_mask_is_attention_within_each_document(kernel: str) -> None:
    q, k, v = random_qkv((1, 4, 2, 9, 9))
    documents = torch.tensor([[5, 5, 5, 5, 6, 6, 9, 9, 9]])
    got = attention(q, k, v, mask=document_mask(documents), kernel=kernel)  # type: ignore[arg-type]
    for start, end in ((0, 4), (4, 6), (6, 9)):
        alone = attention(*(tensor[:, :, start:end] for tensor in (q, k, v)), kernel="math")
        torch.testing.assert_close(got[:, :, start:end], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attention_under_its_block_mask_is_the_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    """What CUDA compiles, here run eagerly: the same mask as blocks and as a tensor."""
    from torch.nn.attention.flex_attention import flex_attention

    monkeypatch.setattr(module, "_compiled_flex", lambda: flex_attention)
    q, k, v = (tensor.detach() for tensor in random_qkv((2, 4, 2, 150, 150)))  # no backward on the CPU
    documents = torch.stack((torch.arange(150) // 60, torch.arange(150) // 7))
    twin = attention(q, k, v, mask=document_mask(documents), kernel="math")
    blocks = module._block_mask(documents)
    torch.testing.assert_close(attention(q, k, v, mask=blocks), twin, atol=1e-5, rtol=1e-4)


def test_dropout_drops_probabilities_and_keeps_their_mean() -> None:
    q, k, _ = random_qkv((1, 1, 1, 1, 16))
    v = torch.eye(16)[None, None]  # so that the output is the row of probabilities
    kept = math_attention(q, k, v, mask=None, causal=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        drawn = [
            attention(q, k, v, dropout=0.25, kernel=kernel)
            for kernel in ("math", "sdpa")
            for _ in range(2000)
        ]
    stacked = torch.cat(drawn).view(2, 2000, 16)
    for rows in stacked:
        assert (rows == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
        torch.testing.assert_close(rows.mean(0), kept[0, 0, 0], atol=0.01, rtol=0.1)


def test_a_cache_gives_back_what_was_put_in() -> None:
    cache = KeyValueCache((2, 1, 2, 6, 4), dtype=torch.float32, device=torch.device("cpu"))
    k, v = torch.randn(2, 1, 2, 6, 4, generator=torch.Generator().manual_seed(0))
    for start, end in ((0, 4), (4, 5), (5, 6)):
        for layer in range(2):
            keys, values = cache.append(layer, k[:, :, start:end] + layer, v[:, :, start:end])
            assert torch.equal(keys, k[:, :, :end] + layer)
            assert torch.equal(values, v[:, :, :end])
        cache.advance(end - start)
    with pytest.raises(ValueError, match="holds 6 positions, 7 were asked"):
        cache.append(0, k[:, :, :1], v[:, :, :1])
    cache.clear()
    assert cache.append(0, k[:, :, :2], v[:, :, :2])[0].shape == (1, 2, 2, 4)


def kernels(device: str, dtype: torch.dtype, shape: tuple[int, ...], **options: Any) -> tuple[str, str]:
    x = torch.zeros(shape, device=device, dtype=dtype)
    return watch_kernels(lambda x: attention(x, x, x, **options), x)


def test_the_kernel_is_named_by_what_ran_forward_and_backward() -> None:
    flash = "sdpa: flash (CPU)"
    assert kernels("cpu", torch.float32, (2, 4, 64, 16)) == (flash, flash)
    assert all(
        name.startswith("sdpa: math") for name in kernels("cpu", torch.float32, (2, 4, 64, 16), dropout=0.1)
    )


def test_flash_says_what_it_cannot_do() -> None:
    q, k, v = random_qkv((1, 2, 2, 9, 9))
    mask = document_mask(torch.zeros(1, 9))
    with pytest.raises(ValueError, match="flash attention takes no document mask"):
        attention(q, k, v, mask=mask, kernel="flash")


@pytest.mark.parametrize(
    ("dtype", "positions", "expected"),
    [(torch.float32, 24, True), (torch.bfloat16, 24, True), (torch.bfloat16, 160, False)],
)
def test_short_compiled_attention_on_a_cpu_is_written_out_in_fp32_and_equals_sdpa(
    dtype: torch.dtype, positions: int, expected: bool
) -> None:
    q, k, v = random_qkv((2, 4, 2, positions, positions), dtype=dtype)
    seen = []

    def keep(graph: Any, inputs: Any) -> Any:
        seen.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    found = torch.compile(attention, backend=keep, fullgraph=True, dynamic=False)(q, k, v)
    written_out = not any("scaled_dot_product" in name for name in seen)
    assert written_out == expected
    tolerance = 2e-2 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(found, attention(q, k, v), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("masked", [False, True])
def test_short_bf16_attention_on_a_cpu_computes_in_fp32(masked: bool) -> None:
    q, k, v = random_qkv((2, 4, 2, 24, 24), dtype=torch.bfloat16)
    mask = document_mask((torch.arange(24) // 10)[None]) if masked else None
    found = attention(q, k, v, mask=mask)
    wide = attention(q.float(), k.float(), v.float(), mask=mask, kernel="sdpa")
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, wide.bfloat16())
    found.float().sin().sum().backward()
    assert all(tensor.grad is not None and tensor.grad.isfinite().all() for tensor in (q, k, v))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
class TestOnCuda:
    @pytest.mark.parametrize("kernel", ["auto", "flash", "sdpa"])
    @pytest.mark.parametrize("shape", [(2, 4, 4, 128, 128), (2, 4, 2, 256, 256), (2, 4, 4, 1, 77)])
    def test_bf16_kernels_equal_the_twin_in_fp32(self, shape: tuple[int, ...], kernel: str) -> None:
        half = random_qkv(shape, "cuda", torch.bfloat16)
        exact = attention(*(tensor.float() for tensor in half), kernel="math")
        got = attention(*half, kernel=kernel)  # type: ignore[arg-type]
        torch.testing.assert_close(got.float(), exact, atol=2e-2, rtol=2e-2)

    def test_flex_attention_masks_documents(self) -> None:
        q, k, v = random_qkv((2, 4, 2, 256, 256), "cuda")
        documents = (torch.arange(256, device="cuda") // 100)[None].expand(2, -1)
        mask = document_mask(documents)
        assert not isinstance(mask, Tensor)
        twin = attention(q, k, v, mask=document_mask(documents, "math"), kernel="math")
        torch.testing.assert_close(attention(q, k, v, mask=mask), twin, atol=5e-3, rtol=5e-3)

    def test_a_fused_kernel_runs(self) -> None:
        forward, backward = kernels("cuda", torch.bfloat16, (2, 12, 1024, 64))
        assert forward == backward
        assert forward in ("sdpa: flash", "sdpa: cuDNN", "sdpa: memory efficient")
        flash = kernels("cuda", torch.bfloat16, (2, 12, 1024, 64), kernel="flash")
        assert flash == ("sdpa: flash", "sdpa: flash")
