"""A training step as one CUDA graph: for models so small that the device waits for the host.

A step of a small model is hundreds of kernels that run for a few microseconds each, and the host takes as
long to launch one. Recorded once, the forward and backward passes of all micro-batches, clipping and the
update are launched together. The kernels are the same, and so are the numbers, up to the rounding of the
learning rates, which are fp32 on the device.

A graph repeats kernels with the addresses and arguments that they had; nothing is computed again on the host.
So what changes from step to step lies in memory of its own (`StepGraph`): the batch, and the learning rates,
which are filled before a replay. The generators of the device are known to a graph: each replay draws what
a step would draw. What a step measured is copied, since the next replay writes over it.

Whatever else might be fixed by mistake would be wrong quietly. Therefore the graph takes two steps on random
batches beside the ordinary step first (`check`), with different rates and numbers of targets. A graph that
computes anything else, or that cannot be recorded, is not used; the run goes on without it and says so. The
state is afterwards what it was (`leaving_nothing`), so that a run may be resumed with a graph or without.

Cost: the memory of the activations is the graph's as long as the run lasts; weights, gradients and the
optimizer's state are held twice while it is checked.
"""

from __future__ import annotations

import gc
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from gptmodel.data import IGNORE_INDEX
from gptmodel.errors import ConfigError
from gptmodel.training.optim import set_learning_rate
from gptmodel.training.restore import optimizer_state, random_tensors
from gptmodel.training.state import TrainState
from gptmodel.training.step import Measured, update

__all__ = ["CudaRecorder", "Recorder", "StepGraph", "check", "leaving_nothing", "replaying"]

WARM_UP = 3
"""Steps before the recording, as torch's documentation takes: libraries allocate and choose in the first."""

TOLERANCE = 1e-2
"""The largest difference of a tensor from the ordinary step's, as a share of its norm, or of its change.

The kernels are the same, so most differences are zero. Some add in the order in which their threads arrive,
which in bf16 changes a gradient by a thousandth; a wrong one is off by as much as it is large.
"""

ROUNDING = 1e-6
"""And so much of the tensor itself may a changed tensor be off: its change may be near one rounding of it."""


class Recorder(Protocol):
    """What can repeat the work of a device. CUDA's is `CudaRecorder`."""

    def rehearse(self, work: Callable[[], None]) -> None:
        """Do the work a few times as it will be recorded. Raises what would spoil the recording."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record the work, and return what repeats it in the same memory."""


@contextmanager
def replaying(state: TrainState) -> Iterator[None]:
    """Inside, `train_step` replays a graph where ``--cuda-graph`` asks for it and it computes the same.

    To be entered when nothing else uses the device: a thread that allocates there would spoil the recording.
    """
    if not state.config.train.cuda_graph:
        yield
        return
    print("recording the step as a CUDA graph ...", file=sys.stderr, flush=True)
    state.replay, said = record_step(state, CudaRecorder(state.device))
    state.compiler = f"{state.compiler}, {said}"
    try:
        yield
    finally:
        state.replay = None


def record_step(state: TrainState, recorder: Recorder) -> tuple[StepGraph | None, str]:
    """The step of ``state`` as a graph that was checked, and a phrase for the report that says so.

    Where it cannot be recorded or computes something else, None, and why.
    """
    try:
        with leaving_nothing(state):
            graph = StepGraph(state, recorder)
            check(graph, state)
    except (torch.OutOfMemoryError, ConfigError):
        raise
    except _DifferentError as error:
        return None, f"without a CUDA graph, because {error}"
    except Exception as error:  # a recording fails in many ways; what is wrong with the step, it says again
        return None, f"without a CUDA graph, because that failed: {_in_words(error)}"
    return graph, "each step one CUDA graph"


class StepGraph:
    """`update` over memory that stays where it is, recorded when this is made; a call is one replay."""

    def __init__(self, state: TrainState, recorder: Recorder) -> None:
        self._state = state
        self._batch = random_batch(state, 0)
        self._rates = [torch.zeros((), device=state.device) for _ in state.optimizer.param_groups]
        self._measured: Measured | None = None
        self.gradients: dict[str, Tensor] = {}
        """The clipped gradients of the last replay by parameter name, which the next one writes over."""
        recorder.rehearse(self._step)
        self._measured, self.gradients = None, {}
        self._replay = recorder.record(self._step)

    def __call__(self, inputs: Tensor, targets: Tensor, documents: Tensor | None = None) -> Measured:
        """Do what `update` does, with the learning rates that the optimizer's groups have now."""
        given = [part for part in (inputs, targets, documents) if part is not None]
        for kept, part in zip(self._batch, given, strict=True):
            if part.shape != kept.shape:
                raise ValueError(f"the graph is of batches {tuple(kept.shape)}, not {tuple(part.shape)}")
            kept.copy_(part)
        for rate, group in zip(self._rates, self._state.optimizer.param_groups, strict=True):
            rate.fill_(group["lr"])  # an argument of the kernel: a copy from the host would have to wait
        self._replay()
        copies: dict[str, Any] = {
            name: None if kept is None else kept.clone() for name, kept in vars(self._measured).items()
        }
        return Measured(**copies)

    def _step(self) -> None:
        """The work that is recorded. It begins and ends without gradients on the parameters."""
        state = self._state
        with rates_in_memory(state.optimizer, self._rates):
            self._measured = update(state, *self._batch)
        self.gradients = gradients(state)
        state.optimizer.zero_grad(set_to_none=True)


@contextmanager
def rates_in_memory(optimizer: torch.optim.Optimizer, rates: Sequence[Tensor]) -> Iterator[None]:
    """Inside, a step of ``optimizer`` reads the learning rates where ``rates`` lie, and can be recorded."""
    groups = optimizer.param_groups
    before = [{name: group[name] for name in ("lr", "capturable")} for group in groups]
    try:
        for group, rate in zip(groups, rates, strict=True):
            group.update(lr=rate, capturable=True)
        yield
    finally:
        for group, values in zip(groups, before, strict=True):
            group.update(values)


class CudaRecorder:
    """`torch.cuda.graph`, by the rules of its documentation. https://docs.pytorch.org/docs/main/notes/cuda.html

    Torch cannot always go on when a recording has failed: the allocator of some releases then believes for
    ever that one is under way (pytorch/pytorch#180395). So what spoils most of them, a host that waits for
    the device, is an error in the rehearsal already.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def rehearse(self, work: Callable[[], None]) -> None:
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_UP):
                work()
            with _waiting_is_an_error():
                work()
        current.wait_stream(self._stream)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        gc.collect()  # what is collected during the recording might call CUDA
        graph, spoiled = torch.cuda.CUDAGraph(), None
        try:
            # The outer context: torch's own leaves its stream in place when a recording fails.
            with torch.cuda.stream(self._stream), torch.cuda.graph(graph, stream=self._stream):
                try:
                    work()
                except Exception as error:
                    spoiled = error  # the end of the recording will raise one that says less
                    raise
        except Exception as error:
            _check_allocator(spoiled or error)
            raise (spoiled or error) from None
        return graph.replay


@contextmanager
def _waiting_is_an_error() -> Iterator[None]:
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(action="ignore"):  # torch says that this mode is a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def _check_allocator(cause: Exception) -> None:
    """Raise ConfigError where torch cannot give memory back after a recording that failed with ``cause``."""
    try:
        torch.cuda.empty_cache()
    except RuntimeError:
        raise ConfigError(
            f"the step could not be recorded as a CUDA graph ({_in_words(cause)}), and torch "
            f"{torch.__version__} cannot go on after that: give --no-cuda-graph"
        ) from cause


def _in_words(error: Exception) -> str:
    said = next((line for line in str(error).splitlines() if line.strip()), "").strip()
    return f"{type(error).__name__}: {said[:200]}"


# --- the same numbers, and nothing left behind ---


class _DifferentError(RuntimeError):
    """The graph computes something else than the ordinary step."""


def check(graph: StepGraph, state: TrainState) -> None:
    """Compare two steps of ``graph`` with ordinary ones: losses, gradients, weights and random numbers.

    The update is compared with the one that the optimizer makes of the graph's own gradients: Adam makes a
    step of full length of a gradient that is nothing but rounding. Raises an error that names what differs.
    """
    for turn, factor in enumerate((1.0, 0.5)):  # the first moves weights that are zero, with their gradients
        set_learning_rate(state.optimizer, factor)
        batch = random_batch(state, 1 + turn)
        before = _copies(tensors(state))
        with torch.random.fork_rng([state.device] if state.device.type == "cuda" else []):
            ordinary = numbers(update(state, *batch), gradients(state))
            state.optimizer.zero_grad(set_to_none=True)
            drawn = random_tensors(state.device)
        _put_back(tensors(state), before)
        replayed = numbers(graph(*batch), graph.gradients)
        compare(ordinary, replayed)
        for name, generator in random_tensors(state.device).items():
            if not torch.equal(generator, drawn[name]):
                raise _DifferentError(f"it draws other random numbers ({name})")
        changed = _copies(tensors(state))
        _put_back(tensors(state), before)
        for name, parameter in state.model.named_parameters():
            parameter.grad = graph.gradients.get(name)
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        compare(tensors(state), changed, before)


def compare(
    expected: Mapping[str, Tensor], found: Mapping[str, Tensor], before: Mapping[str, Tensor] | None = None
) -> None:
    """Raise an error that names the first tensor of ``found`` that is not what is expected.

    Differences are measured by what changed since ``before``, where that is given.
    """
    if expected.keys() != found.keys():
        raise _DifferentError(f"it lacks or adds {', '.join(sorted(expected.keys() ^ found.keys()))}")
    for name, wanted in expected.items():
        one, other = wanted.double(), found[name].double()
        size = float(one.norm())
        change = size if before is None else float((one - before[name].double()).norm())
        apart = float((one - other).norm())
        if not apart <= TOLERANCE * change + ROUNDING * size:  # a NaN is no match
            share = apart / change if change else float("inf")
            raise _DifferentError(f"its {name} differs from the ordinary step's by {share:.1e} of the size")


def random_batch(state: TrainState, number: int) -> tuple[Tensor, ...]:
    """A batch of random ids, of which ``number`` targets do not count; with documents if they are masked."""
    generator = torch.Generator().manual_seed(number)
    shape = state.config.train.batch_size, state.model.config.context_length
    inputs, targets = (
        torch.randint(state.model.config.vocab_size, shape, generator=generator) for _ in range(2)
    )
    targets.view(-1)[:number] = IGNORE_INDEX
    parts = [inputs, targets]
    if state.data.masked:
        parts.append((torch.rand(shape, generator=generator) < 0.05).cumsum(1))
    return tuple(part.to(state.device) for part in parts)


def gradients(state: TrainState) -> dict[str, Tensor]:
    """The gradients on the parameters, by name."""
    return {name: p.grad for name, p in state.model.named_parameters() if p.grad is not None}


def numbers(measured: Measured, slopes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Everything that a step computes before the update, by name."""
    found: dict[str, Any] = {f"gradient of {name}": gradient for name, gradient in slopes.items()}
    found |= {name.replace("_", " "): value for name, value in vars(measured).items()}
    return {name: value for name, value in found.items() if value is not None}


def tensors(state: TrainState) -> dict[str, Tensor]:
    """Everything that an update changes, by name, in its own memory."""
    trained = {name: p.detach() for name, p in state.model.named_parameters() if p.requires_grad}
    return trained | optimizer_state(state.model, state.optimizer)


def _copies(kept: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in kept.items()}


def _put_back(kept: Mapping[str, Tensor], copies: Mapping[str, Tensor]) -> None:
    """Fill tensors in their memory; the optimizer's that were not there before are zero, as they begin."""
    for name, tensor in kept.items():
        if name in copies:
            tensor.copy_(copies[name])
        else:
            tensor.zero_()


@contextmanager
def leaving_nothing(state: TrainState) -> Iterator[None]:
    """Whatever steps are taken inside, the state is after it as before, and in the same memory.

    An optimizer that had taken no step has its tensors then, zero as they begin, unless there was an error.
    """
    optimizer, device = state.optimizer, state.device
    before, had = _copies(tensors(state)), set(optimizer.state)
    rates = [group["lr"] for group in optimizer.param_groups]
    complete = False
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
        complete = True
    finally:
        optimizer.zero_grad(set_to_none=True)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        _put_back(tensors(state), before)
        if not complete:
            for parameter in set(optimizer.state) - had:
                del optimizer.state[parameter]
