"""Fifty AdamW steps from the same weights on the same batches give the losses of programs nobody here wrote.

The other sides are those of `benches/train_step.py`: Hugging Face's `GPT2LMHeadModel` in a bare loop, and
nanoGPT's model with the body of its loop, where `GPTMODEL_NANOGPT` names a checkout of it.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from loop import write_text

BENCHES = Path(__file__).resolve().parents[2] / "benches"
STEPS = 50


def load_steps() -> Any:
    spec = importlib.util.spec_from_file_location("bench_steps", BENCHES / "_steps.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_steps"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def steps() -> Any:
    return load_steps()


def losses(steps: Any, spec: dict[str, Any], system: str) -> list[float]:
    import numpy as np

    step = steps.SYSTEMS[system](spec)
    inputs, targets = (
        torch.from_numpy(np.load(Path(spec["folder"]) / f"{n}.npy")) for n in ("inputs", "targets")
    )
    return [float(step.train(x, y)) for x, y in zip(inputs, targets, strict=True)]


@pytest.mark.parametrize("system", ["Hugging Face", "nanoGPT"])
@pytest.mark.parametrize("bias", [True, False])
def test_fifty_steps_have_the_losses_of(
    system: str, bias: bool, steps: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = os.environ.get("GPTMODEL_NANOGPT")
    if system == "nanoGPT" and not folder:
        pytest.skip("GPTMODEL_NANOGPT names no checkout of nanoGPT")
    if system == "Hugging Face":
        pytest.importorskip("transformers")
    monkeypatch.setenv("GPTMODEL_CACHE", str(tmp_path / "cache"))
    spec = {
        "folder": str(tmp_path),
        "text": str(write_text(tmp_path / "text.txt")),
        "tokenizer": "characters",
        "vocab_size": None,
        "model": {
            "layers": 2,
            "heads": 2,
            "width": 32,
            "context_length": 32,
            "bias": bias,
            "activation": "gelu",
        },
        "batch_size": 8,
        "micro_batch_size": 4,
        "learning_rate": 1e-3,
        "weight_decay": 0.1,
        "betas": [0.9, 0.95],
        "warmup_steps": 10,
        "device": "cpu",
        "precision": "fp32",
        "compile": False,
        "cuda_graph": False,
        "loss_steps": STEPS,
        "pad": False,
        "nanogpt": folder,
    }
    spec["vocab_size"] = steps.prepare(spec)["vocab_size"]
    found, expected = losses(steps, spec, "ours"), losses(steps, spec, system)
    assert len(expected) == STEPS
    assert expected[-1] < expected[0] - 0.2, "nothing was learned, so nothing was compared"
    assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) < 1e-5
