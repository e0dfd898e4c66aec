"""A step as a CUDA graph. Its memory, its check and its rule run on any computer; recording needs a card.

On the CPU a `Tape` takes the place of the graph: it keeps every operator with the tensors that it had, and
repeats them in the same memory. Like a graph, it knows nothing of what the host would compute again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import loop
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gptmodel.data import IGNORE_INDEX
from gptmodel.errors import ConfigError
from gptmodel.train import train
from gptmodel.training import compile as compiling
from gptmodel.training import cuda_graph
from gptmodel.training import state as states
from gptmodel.training.cuda_graph import (
    Recorder,
    StepGraph,
    compare,
    leaving_nothing,
    random_batch,
    record_step,
    tensors,
)
from gptmodel.training.distributed import Ranks
from gptmodel.training.graphable import check_graphable
from gptmodel.training.state import TrainState, start
from gptmodel.training.step import StepResult, train_step, update

EXACT: dict[str, Any] = {
    "learning_rate": 2**-7,
    "matrix_learning_rate": 2**-6,
    "weight_decay": 0.125,
    "schedule": "linear",
    "warmup_steps": 4,
    "final_fraction": 0.0,
    "max_steps": 12,
    "grad_clip": 0.0,
}
"""Rates that fp32 holds exactly. On the CPU the host looks whether to clip: never, here."""


class Tape(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A `Recorder` of the CPU, which leaves out the operators that ``skipped`` says."""

    def __init__(self, skipped: Callable[[str], bool] = lambda name: False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._skipped = skipped
        self.calls: list[tuple[Any, Any, Any, list[Tensor]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        own = all(returned.alias_info is None for returned in func._schema.returns)
        self.calls.append((func, args, kwargs or {}, made(found) if own else []))
        return found

    def rehearse(self, work: Callable[[], None]) -> None:
        for _ in range(2):
            work()

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        with self:
            work()
        self.calls = [call for call in self.calls if not self._skipped(call[0]._schema.name)]
        return self._replay

    @torch.no_grad()
    def _replay(self) -> None:
        for func, args, kwargs, memory in self.calls:
            for kept, new in zip(memory, made(func(*args, **kwargs)), strict=False):
                kept.detach().copy_(new)


def made(found: Any) -> list[Tensor]:
    """The tensors that an operator returned."""
    parts = found if isinstance(found, tuple | list) else (found,)
    return [part for part in parts if isinstance(part, Tensor)]


@contextmanager
def starting(folder: Path, **changes: Any) -> Iterator[TrainState]:
    with start(loop.tiny(folder, **{**EXACT, **changes}), None, Ranks()) as state:
        yield state


def batch_of(state: TrainState, step: int) -> tuple[Tensor, ...]:
    return tuple(state.data.batch(step))


def numbers_of(result: StepResult) -> dict[str, Any]:
    return {name: None if value is None else float(value) for name, value in vars(result).items()}


def steps_of(folder: Path, recorder: Recorder | None, steps: int = 6, **changes: Any) -> Any:
    """What each step measures, and the weights and the optimizer's state at the end."""
    folder.mkdir(exist_ok=True)
    with starting(folder, **changes) as state:
        if recorder is not None:
            state.replay, said = record_step(state, recorder)
            assert state.replay is not None, said
        results = [train_step(state, *batch_of(state, step)) for step in range(steps)]
        rates = [group["lr"] for group in state.optimizer.param_groups]
        assert all(parameter.grad is None for parameter in state.model.parameters())
        return [numbers_of(result) for result in results], tensors(state), rates, torch.get_rng_state()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"micro_batch_size": 2},
        {"micro_batch_size": 3},
        {"grad_clip": 1e-3},
        {"dropout": 0.2, "micro_batch_size": 2},
        {"documents": "mask", "attention": "sdpa"},
        {"freeze_layers": 1},
        {"head_learning_rate": 2**-9},
        {"optimizer": "muon", "schedule": "constant", "warmup_steps": 2},
    ],
    ids=lambda changes: "-".join(changes) or "plain",
)
def test_replayed_steps_are_ordinary_steps_to_the_bit(tmp_path: Path, changes: dict[str, Any]) -> None:
    expected = steps_of(tmp_path / "ordinary", None, **changes)
    found = steps_of(tmp_path / "replayed", Tape(), **changes)
    assert found[0] == expected[0]
    assert len({step["loss"] for step in found[0]}) == 6  # each is its own step's
    assert len({step["learning_rate"] for step in found[0]}) > 1
    assert loop.same(found[1], expected[1])
    assert found[2] == expected[2]
    assert all(isinstance(rate, float) for rate in found[2])
    assert torch.equal(found[3], expected[3])


class Again:
    """A recorder that takes the step once more in place of a replay: the host decides anew."""

    def rehearse(self, work: Callable[[], None]) -> None:
        work()

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        work()
        return work


@pytest.mark.parametrize("changes", [{"grad_clip": 0.05}, {"compile": True}], ids=["clipped", "compiled"])
def test_steps_in_static_memory_are_ordinary_steps(
    tmp_path: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_it = torch.compile
    monkeypatch.setattr(
        compiling.torch, "compile", lambda function, **_: compile_it(function, backend="aot_eager")
    )
    expected = steps_of(tmp_path / "ordinary", None, **changes)
    found = steps_of(tmp_path / "static", Again(), **changes)
    assert found[0] == expected[0]
    assert loop.same(found[1], expected[1])
    clips = [step["gradient_norm"] > changes.get("grad_clip", torch.inf) for step in found[0]]
    assert any(clips) == ("grad_clip" in changes)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_other_learning_rates_differ_by_their_rounding(tmp_path: Path, optimizer: str) -> None:
    changes = {"schedule": "cosine", "learning_rate": 3e-3, "weight_decay": 0.1, "optimizer": optimizer}
    expected = steps_of(tmp_path / "ordinary", None, **changes)
    found = steps_of(tmp_path / "replayed", Tape(), **changes)
    for one, other in zip(found[0], expected[0], strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)
    assert found[1].keys() == expected[1].keys()
    share = 1e-3 if optimizer == "muon" else 1e-5  # Muon's iterations round to bf16
    for name, tensor in expected[1].items():
        assert (found[1][name] - tensor).norm() <= share * tensor.norm(), name


def test_the_graph_reads_its_rates_where_they_are_filled(tmp_path: Path) -> None:
    """Without them in memory the rate of the recording would be that of every step."""
    with starting(tmp_path) as state:
        graph = StepGraph(state, Tape())
        weight = state.model.token_embedding.weight
        for group in state.optimizer.param_groups:
            group["lr"] = 0.0
        kept = weight.detach().clone()
        graph(*batch_of(state, 0))
        assert torch.equal(weight, kept)
        state.optimizer.param_groups[0]["lr"] = 1e-2
        graph(*batch_of(state, 0))
        assert not torch.equal(weight, kept)


@pytest.mark.parametrize(
    ("skipped", "changes", "named"),
    [
        (lambda name: True, {}, "its gradient of"),
        (
            lambda name: name == "aten::embedding_dense_backward",
            {},
            "its gradient of token_embedding.weight differs",
        ),
        (lambda name: name == "aten::_fused_adamw_", {}, "its token_embedding.weight differs"),
        (lambda name: name == "aten::_foreach_add_", {}, "its head.weight differs"),
        (
            lambda name: name in ("aten::bernoulli_", "aten::native_dropout"),
            {"dropout": 0.2},
            "its gradient of",
        ),
    ],
    ids=["nothing", "gradient", "update", "count", "dropout"],
)
def test_a_graph_that_computes_something_else_is_not_used(
    tmp_path: Path, skipped: Callable[[str], bool], changes: dict[str, Any], named: str
) -> None:
    with starting(tmp_path, **changes) as state:
        graph, said = record_step(state, Tape(skipped))
        assert graph is None
        assert said.startswith(f"without a CUDA graph, because {named}")


def test_a_rate_that_was_recorded_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graph, "rates_in_memory", lambda optimizer, rates: nullcontext())
    with starting(tmp_path) as state:
        graph, said = record_step(state, Tape())
    assert graph is None
    assert "differs from the ordinary step's" in said


def test_a_gradient_that_is_near_enough_is_the_same_and_others_are_named() -> None:
    one = {"a": torch.ones(100), "b": torch.zeros(3)}
    compare(one, {"a": one["a"] * 1.005, "b": torch.zeros(3)})
    with pytest.raises(
        RuntimeError, match=r"^its a differs from the ordinary step's by 2\.0e-02 of the size$"
    ):
        compare(one, {"a": one["a"] * 1.02, "b": torch.zeros(3)})
    with pytest.raises(RuntimeError, match=r"^its b differs"):
        compare(one, {"a": one["a"], "b": torch.full((3,), 1e-9)})
    with pytest.raises(RuntimeError, match=r"^its a differs .* by nan"):
        compare(one, one | {"a": torch.full((100,), torch.nan)})
    with pytest.raises(RuntimeError, match="lacks or adds b"):
        compare(one, {"a": one["a"]})
    before = {"a": torch.full((100,), 0.9), "b": torch.zeros(3)}
    with pytest.raises(RuntimeError, match=r"^its a differs"):  # a twentieth of what changed
        compare(one, one | {"a": one["a"] * 1.005}, before)


class Broken:
    """A recorder that takes real steps and then fails."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def rehearse(self, work: Callable[[], None]) -> None:
        work()

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        work()
        raise self._error


@pytest.mark.parametrize("resumed", [False, True], ids=["fresh", "after-steps"])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("fails", [False, True], ids=["records", "fails"])
def test_recording_leaves_nothing_behind(tmp_path: Path, fails: bool, optimizer: str, resumed: bool) -> None:
    with starting(tmp_path, optimizer=optimizer, dropout=0.1) as state:
        for step in range(2 if resumed else 0):
            train_step(state, *batch_of(state, step))
        before = {name: (tensor, tensor.clone()) for name, tensor in tensors(state).items()}
        rates = [dict(group, params=None) for group in state.optimizer.param_groups]
        drawn, step = torch.get_rng_state(), state.step
        graph, said = record_step(state, Broken(RuntimeError("no")) if fails else Tape())
        assert (graph is None) == fails, said
        after = tensors(state)
        assert all(
            after[name].data_ptr() == tensor.data_ptr() and torch.equal(tensor, copy)
            for name, (tensor, copy) in before.items()
        )
        new = after.keys() - before.keys()
        assert bool(new) == (graph is not None and not resumed)
        assert not any(after[name].any() for name in new)
        assert [dict(group, params=None) for group in state.optimizer.param_groups] == rates
        assert torch.equal(torch.get_rng_state(), drawn)
        assert state.step == step
        assert all(parameter.grad is None for parameter in state.model.parameters())


def test_leaving_nothing_holds_after_any_error(tmp_path: Path) -> None:
    with starting(tmp_path, dropout=0.1) as state:
        before, drawn = {n: t.clone() for n, t in tensors(state).items()}, torch.get_rng_state()

        def take_a_step() -> None:
            with leaving_nothing(state):
                update(state, *random_batch(state, 3))
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            take_a_step()
        assert loop.same(tensors(state), before)
        assert torch.equal(torch.get_rng_state(), drawn)
        assert not state.optimizer.state


def test_want_of_memory_is_no_reason_to_go_on(tmp_path: Path) -> None:
    with starting(tmp_path) as state:
        with pytest.raises(torch.OutOfMemoryError, match="too much"):
            record_step(state, Broken(torch.OutOfMemoryError("too much")))
        with pytest.raises(ConfigError, match="cannot go on"):
            record_step(state, Broken(ConfigError("cannot go on")))


def test_batches_of_another_shape_are_refused(tmp_path: Path) -> None:
    with starting(tmp_path) as state:
        graph = StepGraph(state, Tape())
        inputs, targets = batch_of(state, 0)
        with pytest.raises(ValueError, match=r"batches \(4, 16\), not \(1, 16\)"):
            graph(inputs[:1], targets[:1])
        with pytest.raises(ValueError, match="zip"):
            graph(inputs, targets, inputs)


def test_a_checked_batch_has_targets_that_do_not_count(tmp_path: Path) -> None:
    with starting(tmp_path, documents="mask", attention="sdpa") as state:
        drawn = torch.get_rng_state()
        one, two = random_batch(state, 1), random_batch(state, 2)
        assert torch.equal(torch.get_rng_state(), drawn)
    assert [int((targets == IGNORE_INDEX).sum()) for _, targets, _ in (one, two)] == [1, 2]
    assert not torch.equal(one[0], two[0])
    assert int(one[2].max()) > 0


# --- which runs may be recorded ---


@pytest.mark.parametrize(
    ("device", "precision", "ranks", "changes", "said"),
    [
        ("cpu", "fp32", Ranks(), {}, "needs a CUDA device, and this run is on cpu"),
        ("mps", "fp32", Ranks(), {}, "needs a CUDA device, and this run is on mps"),
        ("cuda", "bf16", Ranks(0, 2), {}, "of one process, and there are 2"),
        ("cuda", "fp16", Ranks(), {}, "take bf16, tf32 or fp32"),
        ("cuda", "bf16", Ranks(), {"activation_checkpointing": True}, "--activation-checkpointing"),
        ("cuda", "bf16", Ranks(), {"documents": "mask"}, "--documents mask"),
        ("cuda", "bf16", Ranks(), {"documents": "pack"}, "take --attention sdpa or --documents stream"),
        ("cuda", "bf16", Ranks(), {"optimizer": "lion"}, "adamw and muon, and this run has lion"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_cannot_be_recorded_is_refused_in_one_line(
    tmp_path: Path, device: str, precision: Any, ranks: Ranks, changes: dict[str, Any], said: str
) -> None:
    config = loop.tiny(tmp_path, **changes)
    with pytest.raises(ConfigError) as caught:
        check_graphable(config, torch.device(device), precision, ranks)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("; or give --no-cuda-graph")


@pytest.mark.parametrize(
    "changes",
    [{}, {"optimizer": "muon"}, {"dropout": 0.1}, {"documents": "mask", "attention": "sdpa"}],
    ids=lambda changes: "-".join(changes) or "plain",
)
@pytest.mark.parametrize("precision", ["bf16", "tf32", "fp32"])
def test_what_can_be_recorded_is_not_refused(tmp_path: Path, precision: Any, changes: dict[str, Any]) -> None:
    check_graphable(loop.tiny(tmp_path, **changes), torch.device("cuda"), precision, Ranks())


def test_a_run_that_is_refused_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--cuda-graph needs a CUDA device"):
        train(loop.tiny(tmp_path, device="cpu", cuda_graph=True))
    assert not (tmp_path / "runs").exists()


# --- a run ---


@pytest.fixture
def on_tape(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Runs of ``--cuda-graph`` on the CPU, with a tape, or with the recorder that is put into the list."""
    recorders: list[Any] = []
    monkeypatch.setattr(states, "check_graphable", lambda *_: None)
    monkeypatch.setattr(cuda_graph, "CudaRecorder", lambda device: recorders.pop() if recorders else Tape())
    return recorders


def constant(folder: Path, **changes: Any) -> Any:
    rates = {"schedule": "constant", "warmup_steps": 0}
    return loop.tiny(folder, **{**EXACT, **rates, "dropout": 0.1, **changes})


@pytest.mark.parametrize(("first", "then"), [(True, True), (True, False), (False, True)])
def test_a_run_may_be_resumed_with_a_graph_and_without(
    tmp_path: Path, on_tape: list[Any], first: bool, then: bool
) -> None:
    whole = train(constant(tmp_path, experiment_name="whole"))
    state = train(constant(tmp_path, experiment_name="parts", max_steps=5, cuda_graph=first))
    assert state.replay is None  # it is released with the run
    resumed = train(constant(tmp_path, experiment_name="parts", cuda_graph=then), resume=state.run)
    assert resumed.step == 12
    assert loop.same(loop.weights(resumed.run), loop.weights(whole.run))
    assert loop.losses(resumed.run) == loop.losses(whole.run)


def test_a_run_says_that_it_replays_a_graph_or_why_not(
    tmp_path: Path, on_tape: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    replayed = train(constant(tmp_path, experiment_name="replayed", cuda_graph=True))
    assert device_line(capsys).endswith(
        "fp32, eager, each step one CUDA graph; attention sdpa: math (no fused kernel takes this shape)"
    )
    on_tape.append(Broken(RuntimeError("operation not permitted\nwhen stream is capturing")))
    ordinary = train(constant(tmp_path, experiment_name="ordinary", cuda_graph=True))
    line = device_line(capsys)
    assert "eager, without a CUDA graph, because that failed: RuntimeError: operation not permitted;" in line
    assert loop.same(loop.weights(ordinary.run), loop.weights(replayed.run))


def device_line(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr()
    (line,) = [line for line in (said.out + said.err).splitlines() if line.startswith("device")]
    return line


class SpoiledRecording:
    """What `torch.cuda.graph` does when something in it broke the recording: its end raises another error."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        raise RuntimeError("operation failed due to a previous error during capture")


@pytest.mark.parametrize("lasting", [False, True], ids=["torch-goes-on", "torch-does-not"])
def test_what_spoiled_a_recording_is_said_and_whether_torch_can_go_on(
    monkeypatch: pytest.MonkeyPatch, lasting: bool
) -> None:
    for name in ("Stream", "CUDAGraph"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: None)
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    monkeypatch.setattr(torch.cuda, "graph", SpoiledRecording)

    def work() -> None:
        raise ValueError("an operator that cannot be recorded\nand its trace")

    def empty_cache() -> None:
        if lasting:
            raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED")

    monkeypatch.setattr(torch.cuda, "empty_cache", empty_cache)
    recorder = cuda_graph.CudaRecorder(torch.device("cuda"))
    with pytest.raises(
        ConfigError if lasting else ValueError, match="an operator that cannot be recorded"
    ) as e:
        recorder.record(work)
    assert not lasting or str(e.value).endswith("cannot go on after that: give --no-cuda-graph")
    assert not lasting or "\n" not in str(e.value)


# --- on a card ---

on_a_card = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
CARD: dict[str, Any] = {"device": "cuda", "precision": "bf16", "max_steps": 50, "cuda_graph": True}


@pytest.mark.gpu
@on_a_card
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "muon"},
        {"micro_batch_size": 2},
        {"dropout": 0.1, "micro_batch_size": 2},
        {"documents": "mask", "attention": "sdpa"},
        {"precision": "fp32"},
    ],
    ids=lambda changes: "-".join(changes) or "plain",
)
def test_fifty_steps_on_a_card_are_those_without_the_graph(
    tmp_path: Path, changes: dict[str, Any], compiled: bool
) -> None:
    runs = []
    for graph in (False, True):
        name = "replayed" if graph else "ordinary"
        settings = {**CARD, "compile": compiled, **changes, "cuda_graph": graph, "experiment_name": name}
        state = train(loop.tiny(tmp_path, **settings, log_every=1))
        assert ("each step one CUDA graph" in state.compiler) == graph, state.compiler
        runs.append(state.run)
    exact = changes.get("precision") == "fp32"
    for (step, one), (other_step, other) in zip(loop.losses(runs[0]), loop.losses(runs[1]), strict=True):
        assert step == other_step
        assert one == pytest.approx(other, rel=1e-4 if exact else 2e-2)
    expected, found = loop.weights(runs[0]), loop.weights(runs[1])
    assert expected.keys() == found.keys()
    assert torch.equal(expected["random.cuda"], found["random.cuda"])
    for name, tensor in expected.items():
        if not name.startswith("random."):
            apart = (found[name].double() - tensor.double()).norm()
            assert apart <= (1e-3 if exact else 0.1) * tensor.double().norm() + 1e-6, name


@pytest.mark.gpu
@on_a_card
@pytest.mark.parametrize(("first", "then"), [(True, True), (True, False), (False, True)])
def test_a_run_on_a_card_may_be_resumed_with_a_graph_and_without(
    tmp_path: Path, first: bool, then: bool
) -> None:
    settings = {**CARD, "precision": "fp32", "dropout": 0.1, "log_every": 1}
    settings |= {"schedule": "constant", "warmup_steps": 0}
    whole = train(loop.tiny(tmp_path, **{**settings, "cuda_graph": False, "experiment_name": "whole"}))
    parts = {**settings, "experiment_name": "parts"}
    state = train(loop.tiny(tmp_path, **{**parts, "cuda_graph": first, "max_steps": 20}))
    resumed = train(loop.tiny(tmp_path, **{**parts, "cuda_graph": then}), resume=state.run)
    for (_, one), (_, other) in zip(loop.losses(resumed.run), loop.losses(whole.run), strict=True):
        assert one == pytest.approx(other, rel=1e-4)


@pytest.mark.gpu
@on_a_card
@pytest.mark.parametrize("wrong", ["rate", "batch", "host"])
def test_a_wrong_graph_on_a_card_is_not_used(
    tmp_path: Path, wrong: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if wrong == "rate":
        monkeypatch.setattr(
            cuda_graph,
            "rates_in_memory",
            lambda optimizer, rates: _capturable(optimizer),
        )
    elif wrong == "batch":
        whole = cuda_graph.update
        monkeypatch.setattr(
            cuda_graph,
            "update",
            lambda state, inputs, *rest: whole(
                state, torch.zeros_like(inputs) if torch.cuda.is_current_stream_capturing() else inputs, *rest
            ),
        )
    else:
        whole = cuda_graph.update

        def looking(state: TrainState, *batch: Any) -> Any:
            measured = whole(state, *batch)
            float(measured.loss)
            return measured

        monkeypatch.setattr(cuda_graph, "update", looking)
    state = train(loop.tiny(tmp_path, **{**CARD, "max_steps": 3}))
    assert state.step == 3
    assert "without a CUDA graph, because " in device_line(capsys)


@contextmanager
def _capturable(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    for group in optimizer.param_groups:
        group["capturable"] = True
    yield
    for group in optimizer.param_groups:
        group["capturable"] = False


@pytest.mark.gpu
@on_a_card
def test_a_replayed_step_never_makes_the_host_wait(tmp_path: Path) -> None:
    with start(loop.tiny(tmp_path, **CARD), None, Ranks()) as state, cuda_graph.replaying(state):
        assert state.replay is not None, state.compiler
        batches = [tuple(part.cuda() for part in state.data.batch(step)) for step in range(4)]
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            for batch in batches:
                train_step(state, *batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")
