"""Several folders of shards in exact shares, and attention that stays inside documents."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import loop
import pytest
import torch
from torch import Tensor

from gptbpe import ShardReader, ShardWriter, Tokenizer, shard_files
from gptmodel import checkpoint
from gptmodel.data.sources import parse_source
from gptmodel.errors import DataError, InterruptedRunError
from gptmodel.training import compile as compiling
from gptmodel.training import loop as training
from gptmodel.training.distributed import Ranks
from gptmodel.training.loop import train
from gptmodel.training.state import TrainState, start
from gptmodel.training.step import train_step

END = "<|endoftext|>"


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Two datasets of one tokenizer: documents of small words, and of the same in capitals."""
    words = loop.write_text(tmp_path / "words.txt", 6000).read_text().splitlines()
    small = tmp_path / "small.txt"
    small.write_text(END.join("\n".join(words[i : i + 1 + i % 3]) for i in range(0, len(words) - 3, 3)))
    large = tmp_path / "large.txt"
    large.write_text(small.read_text().upper().replace(END.upper(), END))
    tokenizer = Tokenizer.train([small, large], vocab_size=280)
    for text in (small, large):
        shard_files(text, tokenizer, tmp_path / text.stem, shard_tokens=3000)
    return [tmp_path / "small", tmp_path / "large"]


def over(tmp_path: Path, shards: Any, **changes: Any) -> Any:
    return loop.tiny(tmp_path, train_data=None, shards=shards, **changes)


@pytest.mark.parametrize(
    ("word", "folder", "weight"),
    [("a/:0.7", "a", 0.7), ("a", "a", None), ("a:b:3", "a:b", 3.0), ("C:/a", "C:/a", None)],
)
def test_a_weight_stands_behind_a_colon(word: str, folder: str, weight: float | None) -> None:
    assert parse_source(word) == (Path(folder), weight)


@pytest.mark.parametrize("url", ["s3://bucket/a", "gs://bucket/a/b", "https://example.org/a"])
def test_urls_stay_as_they_are(url: str) -> None:
    assert parse_source(url) == (url, None)
    assert parse_source(f"{url}:0.25") == (url, 0.25)


def test_a_folder_whose_name_ends_like_a_weight_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a:2").mkdir()
    assert parse_source(str(tmp_path / "a:2")) == (tmp_path / "a:2", None)


def test_a_mixture_has_exact_shares_and_trains_on_nothing_held_out(
    tmp_path: Path, folders: list[Path]
) -> None:
    words = (f"{folders[0]}:0.75", f"{folders[1]}:0.25")
    with start(over(tmp_path, words, batch_size=64), None, Ranks()) as state:
        held = held_out(state)
        seen = [is_large(state, row) for step in range(1024) for row in state.data.batch(step)[0]]
        trained = {tuple(row.tolist()) for step in range(64) for row in state.data.batch(step)[0]}
        lines = state.data.description
    assert sum(seen) == 1024 * 64 // 4
    assert any("75.0% from" in line for line in lines)
    assert {large for large, _ in held} == {False, True}, "text of both is held out"
    readers = [ShardReader(folder) for folder in folders]
    for reader in readers:
        assert len(reader.shards) > 1
        ids = [int(i) for i in reader.tokens(len(reader.shards) - 1)]
        last = {tuple(ids[-40 - i : -24 - i]) for i in range(16)}
        assert not last & trained


def is_large(state: TrainState, ids: Tensor) -> bool:
    assert state.data.tokenizer is not None
    return any(c.isupper() for c in state.data.tokenizer.decode(ids.tolist()).replace(END, ""))


def held_out(state: TrainState) -> list[tuple[bool, Tensor]]:
    """The rows of the first batch of an evaluation."""
    assert state.data.evaluation is not None
    inputs, _ = next(iter(state.data.evaluation(8)))
    return [(is_large(state, row), row) for row in inputs]


def test_without_weights_each_gives_what_it_has(tmp_path: Path, folders: list[Path]) -> None:
    with start(over(tmp_path, tuple(map(str, folders))), None, Ranks()) as state:
        shares = [line.split("from")[0] for line in state.data.description if "from" in line]
        assert state.data.windows == sum(len(s) for s in state.data.sampler.samplers)  # type: ignore[union-attr]
    assert len(shares) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{0}:0.5", "{1}"], "has no weight, others have"),
        (["{0}:0", "{1}:1"], "a weight should be a number above 0"),
        (["{0}:1", "{1}x:1"], "no folder of shards at"),
    ],
)
def test_what_cannot_be_mixed_is_refused(
    tmp_path: Path, folders: list[Path], words: list[str], message: str
) -> None:
    shards = tuple(word.format(*folders) for word in words)
    with pytest.raises(DataError, match=message):
        train(over(tmp_path, shards))


def test_folders_of_two_tokenizers_are_refused(tmp_path: Path, folders: list[Path]) -> None:
    other = Tokenizer.train(tmp_path / "small.txt", vocab_size=265)
    shard_files(tmp_path / "small.txt", other, tmp_path / "other")
    with pytest.raises(DataError, match="made with another tokenizer"):
        train(over(tmp_path, (str(folders[0]), str(tmp_path / "other"))))


@pytest.mark.parametrize("documents", ["mask", "pack"])
def test_attention_inside_documents_is_a_loop_over_single_documents(
    tmp_path: Path, folders: list[Path], documents: str
) -> None:
    config = over(tmp_path, str(folders[0]), documents=documents, context_length=48)
    with start(config, None, Ranks()) as state:
        torch.nn.init.normal_(state.model.head.weight, std=0.1)  # type: ignore[union-attr]
        for block in state.model.blocks:
            torch.nn.init.normal_(block.attention.output.weight, std=0.1)  # type: ignore[union-attr, arg-type]
        inputs, targets, numbers = state.data.batch(0)
        assert int(numbers.max()) > 1, "no row has two documents, so nothing is compared"
        loss = state.parallel.loss(inputs, targets, numbers)
        alone = torch.zeros(())
        for ids, following, of_row in zip(inputs, targets, numbers, strict=True):
            for number in of_row.unique():
                where = of_row == number
                alone += state.model.loss(ids[where][None], following[where][None], reduction="sum")
        torch.testing.assert_close(loss, alone, rtol=1e-5, atol=1e-4)
        assert not torch.allclose(loss, state.parallel.loss(inputs, targets)), "the mask changes nothing"
        expected = float(loss.detach()) / int((targets != -1).sum())
        assert float(train_step(state, inputs, targets, numbers).loss) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("documents", ["stream", "mask", "pack"])
def test_a_mixture_goes_on_bit_by_bit(
    tmp_path: Path, folders: list[Path], documents: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (f"{folders[0]}:3", f"{folders[1]}:1")
    whole = train(over(tmp_path, words, documents=documents, experiment_name="whole"))
    config = over(tmp_path, words, documents=documents, experiment_name="halves", save_every=100)
    with monkeypatch.context() as patched:

        def stepping(state: TrainState, *batch: Tensor) -> Any:
            if state.step == 5:
                os.kill(os.getpid(), signal.SIGTERM)
            return train_step(state, *batch)

        patched.setattr(training, "train_step", stepping)
        with pytest.raises(InterruptedRunError):
            train(config)
    run = tmp_path / "runs" / "halves"
    assert checkpoint.latest(run).step == 6
    train(config, resume=run)
    assert loop.same(loop.weights(run), loop.weights(whole.run))


def test_micro_batches_of_packed_rows_have_the_same_losses(tmp_path: Path, folders: list[Path]) -> None:
    runs = [
        train(over(tmp_path, str(folders[0]), documents="pack", micro_batch_size=rows)).run for rows in (4, 1)
    ]
    for (_, one), (_, other) in zip(*map(loop.losses, runs), strict=True):
        assert one == pytest.approx(other, rel=1e-5)


def test_the_compiled_loss_knows_documents(
    tmp_path: Path, folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_it, graphs = torch.compile, []

    def compile_with(function: Any, **options: Any) -> Any:
        def keep(graph: Any, inputs: Any) -> Any:
            graphs.append(graph)
            return graph.forward

        return compile_it(function, backend=keep, **options)

    eager = train(over(tmp_path, str(folders[0]), documents="mask", max_steps=2)).run
    monkeypatch.setattr(compiling.torch, "compile", compile_with)
    compiled = train(over(tmp_path, str(folders[0]), documents="mask", max_steps=2, compile=True)).run
    assert len(graphs) == 1, "the rehearsal is the step's own graph"
    for (_, one), (_, other) in zip(loop.losses(eager), loop.losses(compiled), strict=True):
        assert one == pytest.approx(other, rel=1e-5)


def test_what_is_held_out_goes_on_in_the_shard_before_and_is_never_trained_on(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "data", vocab_size=65_000, shard_tokens=4000) as writer:
        for first in range(0, 12_100, 4000):
            writer.write(range(first, min(first + 4000, 12_100)))
    reader = ShardReader(tmp_path / "data")
    assert [shard.tokens for shard in reader.shards][-1] == 100
    with start(over(tmp_path, str(tmp_path / "data"), vocab_size=65_000), None, Ranks()) as state:
        data = state.data
        assert data.evaluation is not None
        held = {int(i) for _, targets in data.evaluation(16) for i in targets.flatten()} - {-1}
        steps = 3 * data.windows // data.batch_size
        trained = {int(i) for step in range(steps) for part in data.batch(step) for i in part.flatten()}
    assert len(held) == 1210 - 2, "every id but the first of each part"
    assert min(held) == 10_891
    assert max(trained) < 10_890
