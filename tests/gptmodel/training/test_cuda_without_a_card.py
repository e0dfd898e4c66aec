"""What can be known of a step on CUDA without a card: where its tensors lie, and that the host never waits.

Tensors without numbers (`FakeTensorMode`) lie on "cuda" on any computer. An operator whose arguments lie on
two devices is an error there, and so is every look at a number, which on a card would be a synchronization.
Only the backward pass needs a real card: gradients are put in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from gptmodel.config import compose
from gptmodel.model import GPT, ModelConfig
from gptmodel.model.positions import FixedTable
from gptmodel.training import cuda_graph
from gptmodel.training.cuda_graph import WARM_UP, StepGraph
from gptmodel.training.distributed import Ranks
from gptmodel.training.optim import build_optimizer
from gptmodel.training.parallel import Parallel
from gptmodel.training.state import TrainState
from gptmodel.training.step import train_step

CUDA = torch.device("cuda")
SHAPE: dict[str, Any] = {"vocab_size": 503, "context_length": 64, "width": 128, "heads": 2, "layers": 2}
MODERN: dict[str, Any] = {
    **SHAPE, "position": "rotary", "normalization": "rms", "activation": "relu2", "qk_norm": True,
    "tied_head": False, "logit_softcap": 15.0,
}  # fmt: skip
GPT2: dict[str, Any] = {**SHAPE, "position": "learned", "activation": "gelu_tanh", "bias": True}


@pytest.fixture
def state(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TrainState]:
    """A state whose tensors have no numbers, and neither have those that the test makes."""
    shape, optimizer = request.param
    with FakeTensorMode():
        try:
            with CUDA:
                model = GPT(ModelConfig(**shape), seed=None)
        except (RuntimeError, AssertionError) as error:
            pytest.skip(f"this build of torch has no CUDA at all: {error}")
        for module in model.modules():
            if isinstance(module, FixedTable):  # `Module.to` would move it, and cannot here
                module.reset(CUDA)
        model.compute_dtype = torch.bfloat16

        def backward(loss: torch.Tensor) -> None:
            assert loss.device.type == "cuda"
            for parameter in model.parameters():
                parameter.grad = torch.empty_like(parameter)

        monkeypatch.setattr(torch.autograd, "backward", backward)
        config = compose(
            {"train_data": "text.txt", "optimizer": optimizer, "batch_size": 4, "micro_batch_size": 2}
        ).config
        yield TrainState(
            config=config,
            run=tmp_path,
            model=model,
            optimizer=build_optimizer(model, config.optim, CUDA),
            scaler=torch.amp.GradScaler("cuda", enabled=False),
            data=SimpleNamespace(masked=False),  # type: ignore[arg-type]
            device=CUDA,
            precision="bf16",
            loss_fn=model.loss,
            compiler="eager",
            token_bytes=torch.empty(503, dtype=torch.long, device=CUDA),
            ranks=Ranks(),
            parallel=Parallel(Ranks(), model, model.loss, "eager"),
            total_steps=10,
        )


both_models_and_optimizers = pytest.mark.parametrize(
    "state",
    [(GPT2, "adamw"), (GPT2, "muon"), (MODERN, "adamw"), (MODERN, "muon")],
    indirect=True,
    ids=["gpt2-adamw", "gpt2-muon", "modern-adamw", "modern-muon"],
)


@both_models_and_optimizers
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_step_stays_on_the_card_and_looks_at_no_number(state: TrainState, checkpointing: bool) -> None:
    state.model.checkpoint_blocks = checkpointing
    ids = torch.zeros(4, 64, dtype=torch.long, device=CUDA)
    for _ in range(2):  # the first makes the optimizer's state
        result = train_step(state, ids, ids.clone())
    measured = result.loss, result.gradient_norm, result.targets, result.target_bytes
    assert all(isinstance(number, torch.Tensor) and number.device.type == "cuda" for number in measured)
    kept = [t for s in state.optimizer.state.values() for name, t in s.items() if name != "step"]
    assert kept
    assert all(tensor.device.type == "cuda" for tensor in kept)
    with pytest.raises(DataDependentOutputException):  # what a look at a number would have raised
        float(result.loss)


class Repeats:
    """A recorder that takes steps, and in place of a replay another one."""

    def rehearse(self, work: Callable[[], None]) -> None:
        for _ in range(WARM_UP):
            work()

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        work()
        return work


@both_models_and_optimizers
def test_what_a_graph_records_stays_on_the_card_and_looks_at_no_number(
    state: TrainState, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = torch.zeros(4, 64, dtype=torch.long, device=CUDA)
    # the real one comes from the CPU, and to copy needs a driver
    monkeypatch.setattr(cuda_graph, "random_batch", lambda *_: (ids.clone(), ids.clone()))
    rates = []

    def fused(weights: Any, gradients: Any, means: Any, squares: Any, *_: Any, lr: Any, **__: Any) -> None:
        """Torch's has no form for tensors without numbers where the rate is a tensor."""
        assert (lr.device.type, lr.dtype, lr.shape) == ("cuda", torch.float32, ())
        assert all(t.device.type == "cuda" for t in [*weights, *gradients, *means, *squares])
        rates.append(lr)

    monkeypatch.setattr(torch, "_fused_adamw_", fused)
    graph = StepGraph(state, Repeats())
    adams = sum(not group.get("matrices") for group in state.optimizer.param_groups)
    assert len({id(rate) for rate in rates}) == adams  # each step reads the same memory
    assert len(rates) == adams * (WARM_UP + 1)
    state.replay = graph
    result = train_step(state, ids, ids.clone())
    measured = result.loss, result.gradient_norm, result.targets, result.target_bytes
    assert all(isinstance(number, torch.Tensor) and number.device.type == "cuda" for number in measured)
    kept = [tensor for values in state.optimizer.state.values() for tensor in values.values()]
    assert all(tensor.device.type == "cuda" for tensor in kept)  # the counts of steps too
    assert graph.gradients.keys() == {name for name, _ in state.model.named_parameters()}
    assert all(isinstance(group["lr"], float) for group in state.optimizer.param_groups)
    assert not any(group["capturable"] for group in state.optimizer.param_groups)
