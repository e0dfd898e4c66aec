"""From a checkpoint of a run to transformers: the same model and tokenizer arrive."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gptmodel import GPT, checkpoint
from gptmodel.config import compose, dump_toml
from gptmodel.export import export
from gptmodel.training.optim import OptimConfig, build_optimizer
from gptmodel.training.restore import model_tensors, optimizer_tensors

transformers = pytest.importorskip("transformers")
gptbpe = pytest.importorskip("gptbpe", reason="the extension is not built")

TEXT = "the cat sat on the mat; the dog sat on the log. " * 20


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with one checkpoint, four steps old."""
    tokenizer = gptbpe.Tokenizer.train_from_texts([TEXT], vocab_size=270)
    flags = {"preset": "tiny", "width": 32, "heads": 2, "layers": 2, "context_length": 32}
    config = compose(flags | {"vocab_size": tokenizer.vocab_size}).config
    model = GPT(config.build_model_config(), seed=1)
    optimizer = build_optimizer(model, OptimConfig(), torch.device("cpu"))
    ids = torch.tensor([tokenizer.encode(TEXT)[:33]])
    for _ in range(4):
        model.loss(ids[:, :-1], ids[:, 1:]).backward()
        optimizer.step()
        optimizer.zero_grad()
    folder = tmp_path / "runs" / "cats"
    checkpoint.save(
        folder,
        checkpoint.Snapshot(
            step=4,
            model=model_tensors(model),
            optimizer=optimizer_tensors(model, optimizer),
            model_config=model.config,
            config=dump_toml(config),
            state={"evaluation_loss": 1.0},
            tokenizer=tokenizer,
        ),
    )
    return folder


@pytest.mark.parametrize("named", ["", "latest", "best", "checkpoints/step-00000004"])
def test_a_run_its_latest_its_best_and_a_checkpoint_load(run: Path, named: str) -> None:
    ids = list(range(10))
    assert GPT.load(run / named).generate(ids, 5, temperature=0) == GPT.load(run).generate(
        ids, 5, temperature=0
    )


def test_a_run_goes_to_transformers_and_comes_back(run: Path, tmp_path: Path) -> None:
    ours, tokenizer = GPT.load(run), checkpoint.load_tokenizer(run)
    folder = export(run, tmp_path / "cats-hf")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = transformers.AutoTokenizer.from_pretrained(folder)(TEXT[:40], return_tensors="pt")["input_ids"]
    assert ids[0].tolist() == tokenizer.encode(TEXT[:40])
    with torch.no_grad():
        torch.testing.assert_close(ours(ids), theirs(ids).logits, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(GPT.load(folder)(ids), ours(ids), atol=1e-6, rtol=1e-5)
