"""The loop: what it leaves behind, what it trains on, what its settings do, and when it stops."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import loop
import pytest
import torch

from gptmodel import checkpoint, evaluate
from gptmodel.checkpoint import runs
from gptmodel.data import SlidingWindowDataset
from gptmodel.errors import ConfigError, DataError, NonFiniteLossError
from gptmodel.load import GPT
from gptmodel.train import train
from gptmodel.training import fit, read_metrics
from gptmodel.training import loop as training
from gptmodel.training import step as step_module
from gptmodel.training.config import parse
from gptmodel.training.log import Progress

pytestmark = pytest.mark.usefixtures("cache")


def test_a_run_learns_and_leaves_everything_in_its_folder(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    state = train(loop.tiny(tmp_path, max_steps=40, eval_every=4, sample_tokens=8, experiment_name="first"))
    run = tmp_path / "runs" / "first"
    assert state.run == run
    found = loop.losses(run)
    assert [step for step, _ in found] == list(range(1, 41))
    assert found[0][1] == pytest.approx(math.log(state.model.config.vocab_size), rel=0.05)
    assert found[-1][1] < found[0][1] - 1
    assert [step for step, _ in loop.losses(run, "evaluation")] == list(range(4, 41, 4))
    for name in ("config.toml", "metrics.jsonl", "samples.txt"):
        assert (run / name).stat().st_size
    board = EventAccumulator(str(run)).Reload()
    assert [event.value for event in board.Scalars("train/loss")] == pytest.approx(
        [loss for _, loss in found]
    )
    assert {"train/learning_rate", "train/bits_per_byte", "evaluation/perplexity"} <= set(
        board.Tags()["scalars"]
    )
    newest = checkpoint.latest(run)
    assert newest.step == 40
    assert {
        "config.toml",
        "model.json",
        "tokenizer.json",
        "model.safetensors",
        "optimizer.safetensors",
        "state.json",
    } == {file.name for file in newest.path.iterdir()}
    assert newest.model_config() == state.model.config


def test_the_same_configuration_gives_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    one, two, other = (train(loop.tiny(tmp_path, dropout=0.1, seed=seed)).run for seed in (1, 1, 2))
    assert [run.name for run in (one, two, other)] == ["tiny", "tiny-2", "tiny-3"]
    assert loop.same(loop.weights(one), loop.weights(two))
    assert not loop.same(loop.weights(one), loop.weights(other))


def test_micro_batches_change_rounding_only_and_may_change_on_the_way(tmp_path: Path) -> None:
    whole = train(loop.tiny(tmp_path, batch_size=6))
    split = train(loop.tiny(tmp_path, batch_size=6, micro_batch_size=4))
    for (name, one), other in zip(whole.model.named_parameters(), split.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4, msg=name)
    other = loop.tiny(tmp_path, batch_size=6, micro_batch_size=2)
    assert train(other, resume=whole.run).step == 12


@pytest.mark.parametrize(("log_every", "seen"), [(1, 9), (100, 12)])
def test_a_loss_that_is_no_number_stops_and_spares_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log_every: int, seen: int
) -> None:
    loss = GPT.loss

    def breaking(self: GPT, *args: Any, **kwargs: Any) -> torch.Tensor:
        breaking.calls += 1  # type: ignore[attr-defined]
        return loss(self, *args, **kwargs) * (math.nan if breaking.calls == 9 else 1.0)  # type: ignore[attr-defined]

    breaking.calls = 0  # type: ignore[attr-defined]
    monkeypatch.setattr(GPT, "loss", breaking)
    with pytest.raises(NonFiniteLossError, match=rf"the loss is nan at step {seen}; the last good .*08"):
        train(loop.tiny(tmp_path, save_every=4, eval_every=100, log_every=log_every))
    found = checkpoint.latest(tmp_path / "runs" / "tiny")
    assert found.step == 8
    assert all(bool(t.isfinite().all()) for t in found.model_tensors().values())


def test_the_recorded_evaluation_is_that_of_the_saved_model(tmp_path: Path) -> None:
    state = train(loop.tiny(tmp_path))
    assert state.data.evaluation is not None
    loaded = GPT.load(state.run)
    found = evaluate.measure(loaded, state.data.evaluation(4), 2, token_bytes=state.data.token_bytes)
    assert loop.losses(state.run, "evaluation")[-1] == (12, pytest.approx(found.loss, abs=1e-6))


def test_held_out_text_is_never_trained_on(tmp_path: Path) -> None:
    from gptbpe import ShardReader

    state = train(loop.tiny(tmp_path, max_steps=1, stride=5))
    reader = ShardReader(next((tmp_path / "cache" / "shards").iterdir()))
    ids = [int(i) for i in reader.tokens(0, 0, None)]
    assert state.data.evaluation is not None
    held = sum(int((targets >= 0).sum()) for _, targets in state.data.evaluation(4)) + 1
    assert held == 1024  # more than a tenth of so short a text
    windows = {tuple(ids[s : s + 17]) for s in range(len(ids) - held - 16)}
    for step in range(2 * math.ceil(state.data.windows / 4)):
        inputs, targets = state.data.batch(step)
        assert torch.equal(inputs[:, 1:], targets[:, :-1])
        for row, last in zip(inputs.tolist(), targets[:, -1].tolist(), strict=True):
            assert (*row, last) in windows


def test_without_shuffling_the_text_comes_from_the_front(tmp_path: Path) -> None:
    from gptbpe import ShardReader

    state = train(loop.tiny(tmp_path, max_steps=1, shuffle=False))
    reader = ShardReader(next((tmp_path / "cache" / "shards").iterdir()))
    inputs = torch.cat([state.data.batch(step)[0] for step in range(3)])
    assert inputs.flatten().tolist() == [int(i) for i in reader.tokens(0, 0, 12 * 16)]


def test_epochs_count_windows_and_are_saved_by_name(tmp_path: Path) -> None:
    loop.write_text(tmp_path / "text.txt", words=600)
    config = loop.tiny(
        tmp_path, max_steps=None, epochs=4, save_every_epochs=2, experiment_name="mine", keep=1
    )
    state = train(config)
    assert state.total_steps == math.ceil(4 * state.data.windows / 4)
    folder = state.run / "checkpoints"
    assert sorted(entry.name for entry in folder.iterdir() if entry.is_symlink()) == ["mine_e2", "mine_e4"]
    halfway = checkpoint.find(folder / "mine_e2")
    assert halfway.step == math.ceil(2 * state.data.windows / 4)


def test_shards_and_their_text_are_the_same_data(tmp_path: Path) -> None:
    from gptbpe import ShardReader, Tokenizer, shard_files

    text = loop.write_text(tmp_path / "text.txt")
    tokenizer = Tokenizer.train(text, vocab_size=270)
    shard_files(text, tokenizer, tmp_path / "data")
    of_text = train(loop.tiny(tmp_path))
    settings = {"train_data": None, "shards": tmp_path / "data"}
    of_shards = train(loop.tiny(tmp_path, **settings))
    assert loop.losses(of_text.run) == loop.losses(of_shards.run)
    other = Tokenizer.train(text, vocab_size=265)
    other.save(tmp_path / "other.json")
    with pytest.raises(DataError, match="made with another tokenizer"):
        train(loop.tiny(tmp_path, **settings, tokenizer=str(tmp_path / "other.json")))

    reader = ShardReader(tmp_path / "data")
    windows = SlidingWindowDataset(reader, None, 16, 8)
    ids = [int(i) for i in reader.tokens(0)]
    assert windows[3][0].tolist() == ids[24:40]
    assert windows[3][1].tolist() == ids[25:41]
    of_words = SlidingWindowDataset(text.read_text(), tokenizer, 16, 8)
    assert torch.equal(of_words[3][0], windows[3][0])


def test_characters_are_a_tokenizer_too(tmp_path: Path) -> None:
    state = train(loop.tiny(tmp_path, tokenizer="characters", sample_tokens=4, sample_prompt="the "))
    assert state.data.tokenizer is not None
    assert state.data.tokenizer.is_characters
    samples = (state.run / "samples.txt").read_text()
    assert samples.count("\nthe ") == samples.count("=== step")


def test_text_is_tokenized_once(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gptbpe

    train(loop.tiny(tmp_path, max_steps=1))
    made = list((cache / "shards").iterdir())
    assert len(made) == 1
    monkeypatch.setattr(gptbpe, "shard_files", None)  # calling it would fail
    train(loop.tiny(tmp_path, max_steps=1))
    assert list((cache / "shards").iterdir()) == made


def test_text_to_evaluate_on_leaves_all_of_the_other_to_train_on(tmp_path: Path) -> None:
    other = loop.write_text(tmp_path / "other.txt", words=500, seed=1)
    state = train(loop.tiny(tmp_path, max_steps=2, eval_data=(other,)))
    assert any("--eval-data" in line for line in state.data.description)
    assert loop.losses(state.run, "evaluation")


def test_weights_are_taken_over_and_the_first_loss_is_theirs(tmp_path: Path) -> None:
    origin = train(loop.tiny(tmp_path, max_steps=20))
    settings = {"init_from": str(origin.run), "max_steps": 2, "experiment_name": "tuned"}
    state = train(loop.tiny(tmp_path, **settings))
    expected = evaluate.batch_loss(GPT.load(origin.run), *state.data.batch(0))
    assert loop.losses(state.run)[0][1] == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ConfigError, match="width = 16, asked for is 32"):
        train(loop.tiny(tmp_path, **settings, width=32))
    with pytest.raises(ConfigError, match="resize-vocab"):
        train(loop.tiny(tmp_path, **settings, vocab_size=400))
    grown = train(loop.tiny(tmp_path, **settings, vocab_size=400, resize_vocab=True))
    assert grown.model.config.vocab_size == 400


def test_frozen_layers_stay(tmp_path: Path) -> None:
    state = train(loop.tiny(tmp_path, freeze_layers=1))
    fresh = GPT(state.model.config, seed=0)
    for name, parameter in state.model.named_parameters():
        frozen = name.startswith(("token_embedding", "blocks.0."))
        assert torch.equal(parameter, dict(fresh.named_parameters())[name]) == frozen, name
    with pytest.raises(ConfigError, match="the model has 2 layers"):
        train(loop.tiny(tmp_path, freeze_layers=3))


@pytest.mark.parametrize(("loss", "word"), [(math.log(300), "ln V"), (9.0, "warning")])
def test_the_first_loss_is_compared_with_a_uniform_guess(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], loss: float, word: str
) -> None:
    state = train(loop.tiny(tmp_path, max_steps=1, vocab_size=300))
    capsys.readouterr()
    training.compare_with_uniform(state, loss, Progress(1))
    shown = capsys.readouterr().err
    assert word in shown
    assert ("warning" in shown) == (word == "warning")


@pytest.mark.parametrize(
    ("capabilities", "warned"), [({"amx_bf16": False}, True), ({"amx_bf16": True}, False), ({}, False)]
)
def test_settings_that_are_hardly_meant_are_warned_of(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    capabilities: dict[str, bool],
    warned: bool,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    train(loop.tiny(tmp_path, max_steps=2, precision="bf16", warmup_steps=3 if warned else 2))
    shown = capsys.readouterr().err
    assert ("warning   bf16 is slower than fp32 on this processor" in shown) == warned
    assert ("--warmup-steps 3 in a run of 2 steps" in shown) == warned


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_learns_about_the_same(tmp_path: Path, precision: str) -> None:
    exact = train(loop.tiny(tmp_path, max_steps=10))
    half = train(loop.tiny(tmp_path, max_steps=10, precision=precision))
    assert loop.losses(half.run)[-1][1] == pytest.approx(loop.losses(exact.run)[-1][1], abs=0.1)
    assert all(p.dtype == torch.float32 for p in half.model.parameters())


def test_text_shorter_than_the_context_is_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("a few words")
    with pytest.raises(DataError, match="too few for one window of 16"):
        train(loop.tiny(tmp_path))
    assert not (tmp_path / "runs").exists()


def test_a_tokenizer_larger_than_the_model_is_refused_with_both_numbers(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"270 tokens.* vocabulary of 100"):
        train(loop.tiny(tmp_path, vocab_size=100))


def test_a_name_for_a_run_is_a_folder_name(tmp_path: Path) -> None:
    for name in ("../x", "", ".", "a/b"):
        with pytest.raises(ConfigError, match="plain folder name"):
            runs.new(tmp_path, name)


def test_best_is_what_was_measured(tmp_path: Path) -> None:
    run = train(loop.tiny(tmp_path, save_every=3, eval_every=4, keep=9)).run
    measured = dict(loop.losses(run, "evaluation"))
    found = {c.step: c.evaluation_loss for c in checkpoint.complete(run)}
    assert found == {3: None, 6: None, 9: None, 12: measured[12]}
    best = checkpoint.best(run)
    assert best is not None
    assert best.step == 12


def test_weights_that_are_no_numbers_are_never_saved(tmp_path: Path) -> None:
    settings = {"learning_rate": math.inf, "warmup_steps": 0, "save_every": 1}
    with pytest.raises(NonFiniteLossError, match="no longer finite at step 1; no checkpoint was saved yet"):
        train(loop.tiny(tmp_path, **settings))
    assert not (tmp_path / "runs" / "tiny" / "checkpoints").exists()


def test_a_spike_is_recorded_with_the_windows_that_were_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stepped = training.train_step

    def jumping(state: Any, *batch: Any) -> Any:
        result = stepped(state, *batch)
        return replace(result, loss=result.loss + 50) if state.step == 40 else result

    monkeypatch.setattr(training, "train_step", jumping)
    run = train(loop.tiny(tmp_path, max_steps=41, learning_rate=1e-6)).run
    spikes = [record for record in read_metrics(run) if record["kind"] == "spike"]
    assert [(r["step"], r["first_sample"], r["last_sample"]) for r in spikes] == [(40, 156, 159)]
    assert spikes[0]["loss_deviations"] > 6


@pytest.mark.parametrize("free", [10**12, 700_000])
def test_the_micro_batch_that_fits_gives_the_same_losses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int
) -> None:
    whole = train(loop.tiny(tmp_path, batch_size=8, experiment_name="whole"))
    monkeypatch.setattr(fit, "host_memory", lambda: (10**12, free))
    monkeypatch.setattr(fit.fitting_rows, "__kwdefaults__", {"free": lambda _: free})
    config = loop.tiny(tmp_path, batch_size=8, micro_batch_size="auto", save_every=6, experiment_name="fit")
    state = train(config)
    chosen = state.config.train.micro_batch_size
    assert chosen == 8 if free == 10**12 else chosen in (1, 2, 4)
    assert parse((state.run / "config.toml").read_text()).train.micro_batch_size == chosen
    for (step, one), (_, other) in zip(loop.losses(whole.run), loop.losses(state.run), strict=True):
        assert other == pytest.approx(one, rel=1e-6), step
    monkeypatch.setattr(fit.fitting_rows, "__kwdefaults__", {"free": lambda _: 10**9})
    assert train(config, resume=state.run).config.train.micro_batch_size == chosen  # not measured again


def test_blocks_computed_again_give_the_same_weights(tmp_path: Path) -> None:
    kept = train(loop.tiny(tmp_path, dropout=0.1))
    again = train(loop.tiny(tmp_path, dropout=0.1, activation_checkpointing=True))
    assert again.model.checkpoint_blocks
    assert loop.same(loop.weights(kept.run), loop.weights(again.run))


PROMPTS = ["<|endoftext|>", "the <|endoftext|>", "no such <|token|>"]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_samples_take_any_prompt_and_ids_beyond_the_tokenizer(tmp_path: Path, prompt: str) -> None:
    config = loop.tiny(tmp_path, max_steps=2, vocab_size=2000, sample_tokens=20, sample_prompt=prompt)
    state = train(config)
    assert "�" in (state.run / "samples.txt").read_text()


def test_half_precision_that_overflows_leaves_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = step_module.clip_gradients
    monkeypatch.setattr(step_module, "clip_gradients", lambda *given: clip(*given) * math.inf)
    run = train(loop.tiny(tmp_path, max_steps=2, precision="fp16")).run
    for line in (run / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)
    assert read_metrics(run)[0]["gradient_norm"] is None
