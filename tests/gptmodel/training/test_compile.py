"""The compiled loss: what it computes, when it is chosen, and that a compiler may fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import loop
import pytest
import torch

from gptmodel.model import GPT, ModelConfig
from gptmodel.train import train
from gptmodel.training import compile as compiling
from gptmodel.training.compile import compile_loss, compiling_pays, summed
from gptmodel.training.distributed import Ranks
from gptmodel.training.report import attention_kernel
from gptmodel.training.state import start

SMALL = ModelConfig(vocab_size=70, context_length=16, width=16, layers=1, heads=2, dropout=0.1)
MASKED = ModelConfig(vocab_size=64, context_length=128, width=64, layers=2, heads=2)


def use_backend(monkeypatch: pytest.MonkeyPatch, backend: Any) -> None:
    """Compile with this backend instead of the default one, which takes many seconds."""
    compile_it = torch.compile

    def compile_with(function: Any, **options: Any) -> Any:
        return compile_it(function, backend=backend, **options)

    monkeypatch.setattr(compiling.torch, "compile", compile_with)


def test_the_loss_is_one_graph_that_returns_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = []

    def keep(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    use_backend(monkeypatch, keep)
    model = GPT(SMALL)
    before = torch.get_rng_state()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    loss_fn, said = compile_loss(model, rows=2)
    assert said.startswith("compiled in")
    assert len(graphs) == 1
    (output,) = [node for node in graphs[0].graph.nodes if node.op == "output"]
    assert len(output.args[0]) == 1
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    model.eval()
    ids = torch.arange(32).view(2, 16)
    torch.testing.assert_close(loss_fn(ids, ids), model.loss(ids, ids))


def test_a_compiler_that_fails_leaves_the_run_eager_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no C++ compiler found")

    use_backend(monkeypatch, broken)
    state = train(loop.tiny(tmp_path, max_steps=2, compile=True))
    assert state.step == 2
    assert state.loss_fn == state.model.loss
    said = capsys.readouterr()
    line = next(line for line in (said.out + said.err).splitlines() if line.startswith("device"))
    assert "eager, because the compiler failed" in line
    assert "no C++ compiler found" in line


def test_short_runs_start_eager_at_once() -> None:
    model = GPT(SMALL)
    cuda = torch.device("cuda")
    cpu, mps = torch.device("cpu"), torch.device("mps")
    ten_minutes = int(1.2e14 / model.flops_per_token()) + 1
    assert compiling_pays(model, cpu, 100_000, ten_minutes)
    assert not compiling_pays(model, cpu, 100_000, ten_minutes // 2)
    assert not compiling_pays(model, cpu, 100_000, ten_minutes, plain=False)
    assert not compiling_pays(model, mps, 100_000, ten_minutes)
    assert not compiling_pays(model, cuda, 100, 100 * 32)
    assert compiling_pays(model, cuda, 5_000, 5_000 * 32)
    assert compiling_pays(model, cuda, 100, 10**12)


@pytest.mark.parametrize(
    ("documents", "found"), [("stream", "sdpa: flash (CPU)"), ("mask", "sdpa: flash (CPU), documents masked")]
)
def test_the_kernel_is_that_of_the_masks_in_use(tmp_path: Path, documents: str, found: str) -> None:
    with start(loop.tiny(tmp_path, documents=documents), None, Ranks()) as state:
        assert attention_kernel(state) == (found, None)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_step_never_makes_the_host_wait(tmp_path: Path) -> None:
    from gptmodel.training.step import train_step

    config = loop.tiny(tmp_path, device="cuda", precision="bf16", micro_batch_size=2)
    with start(config, None, Ranks()) as state:
        batches = [tuple(part.cuda() for part in state.data.batch(step)) for step in range(4)]
        train_step(state, *batches[0])
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            for batch in batches[1:]:
                train_step(state, *batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_compiled_step_with_documents_equals_an_eager_one_on_the_cpu() -> None:
    model = GPT(MASKED, seed=1)
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(64, (4, 128), generator=generator)
    documents = (torch.rand(4, 128, generator=generator) < 0.05).cumsum(1)
    expected = summed(model.loss, ids, ids, documents)
    torch.autograd.backward(expected)
    gradients = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad()
    model.cuda()
    loss_fn, said = compile_loss(model, 4, masked=True)
    assert said.startswith("compiled")
    for _ in range(2):  # other documents use the same graph
        loss = summed(loss_fn, ids.cuda(), ids.cuda(), documents.cuda())
    torch.autograd.backward(loss)
    assert torch.allclose(loss.cpu(), expected, rtol=1e-4)
    for name, parameter in model.named_parameters():
        assert torch.allclose(parameter.grad.cpu(), gradients[name], rtol=1e-2, atol=1e-3), name
