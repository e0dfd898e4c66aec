"""``gptmodel doctor``: what trains here, how fast, and whether that is usual."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gptmodel.config import compose
from gptmodel.threads import share_found, wait_politely
from gptmodel.units import duration, human

USUAL_STEP = "270 to 320 ms on two cores of an Intel Xeon (Sapphire Rapids)"
"""Measured with `step_speed`, five times, fp32, with torch 2.13."""

MEASURED_SECONDS = 4.0


def doctor(*, as_json: Annotated[bool, Parameter(name="--json", negative="")] = False) -> int:
    """Check PyTorch, device, threads, memory and disk, and time a training step and encoding.

    Takes about ten seconds. The exit code is 1 if a check fails.

    Parameters
    ----------
    as_json
        Print the findings as JSON on standard output.
    """
    from gptbpe.cli.doctor import Findings, cores, encoding_speed, free_space

    wait_politely()
    findings = Findings()
    findings.check("torch", torch_build)
    findings.check("device", device)
    findings.check("cuda", cuda)
    findings.check("cores", cores)
    findings.check("threads", threads)
    findings.check("memory", memory)
    findings.check("disk", lambda: free_space(Path.cwd()))
    findings.check("cache", cache)
    for package in ("safetensors", "tensorboard", "matplotlib"):
        findings.optional(package, "model")
    findings.check("training", step_speed)
    findings.check("encoding", encoding_speed)
    return findings.show(as_json)


def torch_build() -> str:
    """The version of PyTorch, what it was built for, and what it uses of the processor."""
    import torch

    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU only"
    if getattr(torch.version, "hip", None):
        built = f"ROCm {torch.version.hip}"
    return f"{torch.__version__}, built for {built}; {torch.backends.cpu.get_cpu_capability()}"


def device() -> str:
    """What a run without --device and --precision takes."""
    from gptmodel.device import describe_device, pick_device, pick_precision

    found = pick_device("auto")
    return f"{describe_device(found)}, {pick_precision('auto', found)}"


def cuda() -> str:
    """The cards, or why there are none."""
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(card) for card in range(torch.cuda.device_count())]
        return f"{len(names)}: {', '.join(names)}"
    if not torch.version.cuda:
        return "none: this PyTorch is built without CUDA (https://pytorch.org/get-started has the command)"
    return "none: PyTorch is built for CUDA and finds no card; see nvidia-smi"


def threads() -> str:
    """The threads that a step on the CPU uses, and what other programs leave them."""
    import torch

    share = share_found()
    found = "" if share is None else f"; each had {share:.0%} of a core at the start"
    return f"{torch.get_num_threads()} (--threads N changes it){found}"


def memory() -> str:
    """The memory of the computer, all and free."""
    from gptmodel.device import host_memory

    whole, free = host_memory()
    return "unknown" if whole is None or free is None else f"{human(free)}B free of {human(whole)}B"


def cache() -> str:
    """The folder of the shards that texts are tokenized into, and the room on its disk."""
    from gptbpe.cli.doctor import free_space
    from gptmodel.data.tokenize import cache_folder

    folder = cache_folder()
    return f"{folder}: {free_space(_existing(folder))}"


def step_speed() -> str:
    """Time a training step of the preset tiny on the device that a run would take."""
    from gptmodel.training.budget import step_seconds

    config = compose().config
    each = step_seconds(config, config.data.vocab, seconds=MEASURED_SECONDS)
    steps = config.train.max_steps or 1
    tokens = config.train.batch_size * config.model["context_length"] / each
    return (
        f"{1000 * each:.0f} ms a step of the preset tiny, {human(tokens)} tokens/s: its {steps} steps take "
        f"about {duration(steps * each)}; usual {USUAL_STEP}"
    )


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())
