"""The record of a run: what is written, what a crash leaves, and what TensorBoard reads back."""

from __future__ import annotations

import errno
import io
import json
import math
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from gptbpe import extras
from gptmodel.device import peak_flops
from gptmodel.errors import ConfigError
from gptmodel.evaluate import bits_per_byte
from gptmodel.training.log import Progress, RunLog, read_metrics
from gptmodel.training.loggers import WeightsAndBiases
from gptmodel.training.report import Clock
from gptmodel.training.spikes import Spikes
from gptmodel.units import human


def test_a_line_for_each_record_and_a_point_in_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with RunLog(tmp_path) as log:
        for step in (1, 2, 3):
            log.scalars("train", step, {"loss": 1.0 / step, "mfu": None})
        log.sample(3, "Once upon a time")
        log.text("config", "seed = 0")
    assert [(r["step"], r["loss"]) for r in read_metrics(tmp_path)] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert "mfu" not in read_metrics(tmp_path)[0]
    assert "Once upon a time" in (tmp_path / "samples.txt").read_text()
    board = EventAccumulator(str(tmp_path)).Reload()
    assert [e.step for e in board.Scalars("train/loss")] == [1, 2, 3]
    assert [e.value for e in board.Scalars("train/loss")] == pytest.approx([1.0, 0.5, 1 / 3])
    assert {"sample/text_summary", "config/text_summary"} <= set(board.Tags()["tensors"])


def test_a_torn_last_line_is_passed_over_at_every_byte(tmp_path: Path) -> None:
    lines = [json.dumps({"kind": "train", "step": k, "loss": 0.5}) + "\n" for k in (1, 2)]
    whole = "".join(lines)
    for cut in range(len(lines[0]), len(whole)):
        (tmp_path / "metrics.jsonl").write_text(whole[:cut])
        steps = [record["step"] for record in read_metrics(tmp_path)]
        assert steps == ([1, 2] if cut == len(whole) - 1 else [1])


def test_resuming_cuts_what_will_be_done_again(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        for step in range(1, 6):
            log.scalars("train", step, {"loss": 9.0})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "st')
    with RunLog(tmp_path, resumed_at=3) as log:
        log.scalars("train", 4, {"loss": 1.0})
    assert [(r["step"], r["loss"]) for r in read_metrics(tmp_path)] == [(1, 9), (2, 9), (3, 9), (4, 1)]


@pytest.mark.parametrize(
    ("card", "precision", "expected"),
    [
        ("NVIDIA H200", "bf16", 989.5e12),
        ("NVIDIA H100 80GB HBM3", "bf16", 989.5e12),
        ("NVIDIA H100 PCIe", "bf16", 756e12),
        ("NVIDIA A100-SXM4-80GB", "fp16", 312e12),
        ("NVIDIA A100-SXM4-80GB", "fp32", 19.5e12),
        ("NVIDIA A100-SXM4-80GB", "tf32", 156e12),
        ("NVIDIA L40S", "bf16", 362e12),
        ("Some Card 9000", "bf16", None),
    ],
)
def test_the_peak_is_the_cards_own(card: str, precision: str, expected: float | None) -> None:
    assert peak_flops(card, precision) == expected


def test_bits_per_byte_and_numbers_for_people() -> None:
    assert bits_per_byte(math.log(2) * 6, 3) == pytest.approx(2.0)
    assert bits_per_byte(1.0, 0) is None
    assert [human(n) for n in (5, 999, 1234, 5_000_000)] == ["5", "999", "1.23k", "5M"]


class Broken:
    """A logger on a disk that is full from some step on."""

    def __init__(self, full_at: int) -> None:
        self.full_at, self.seen = full_at, list[int]()

    def scalars(self, kind: str, step: int, values: Mapping[str, float | None]) -> None:
        if step >= self.full_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.seen.append(step)

    def text(self, name: str, text: str, step: int) -> None:
        pass

    def close(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_that_refuses_a_record_is_noted_and_raises_nothing(tmp_path: Path) -> None:
    broken = Broken(full_at=2)
    with RunLog(tmp_path, loggers=[broken]) as log:
        log.scalars("train", 1, {"loss": 1.0})
        assert log.failure is None
        log.scalars("train", 2, {"loss": 1.0})
    assert log.failure == f"{tmp_path / 'metrics.jsonl'} cannot be written: No space left on device"
    assert broken.seen == [1]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("columns", "shown", "left_out"),
    [(80, ("loss 4.2112", "bpb 2.812"), ("norm", "wait")), (160, ("wait",), ())],
)
def test_the_bar_shows_as_many_values_as_fit(
    columns: int, shown: tuple[str, ...], left_out: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = Terminal()
    values = {
        "loss": "4.2112",
        "bpb": "2.812",
        "tok/s": "2.31k",
        "lr": "0.01",
        "norm": "0.51",
        "wait": "0.1%",
    }
    with Progress(20_000, stream=stream) as progress:
        progress.step(7_000, values)
        progress._bar.refresh()
        line = stream.getvalue().rstrip().rpartition("\r")[2]
        assert all(word in line for word in shown), line
        assert not any(word in line for word in left_out), line
        assert len(line) <= columns
        progress.doing("evaluating")
        assert "evaluating" in stream.getvalue()


def test_how_long_a_run_takes_is_said_once_when_enough_was_timed() -> None:
    state = SimpleNamespace(step=0, total_steps=103, seconds=0.0)
    clock = Clock(state)  # type: ignore[arg-type]
    said = []
    for step in range(1, 8):
        state.step = step
        said.append(clock.seconds_left(1, 50.0 if step == 1 else 2.0))
    assert said == [None, None, None, 198.0, None, None, None]  # the first step, which compiles, is left out


def test_what_jumps_out_of_the_last_records_is_a_spike() -> None:
    spikes = Spikes(names=("loss",))
    falling = [5.0 - 0.01 * step for step in range(100)]
    assert not any(spikes.look({"loss": loss, "memory": 2.0**step}) for step, loss in enumerate(falling))
    assert spikes.look({"loss": 12.0})["loss"] > 6
    assert not spikes.look({"loss": math.nan})
    assert not spikes.look({"loss": None})
    resumed = Spikes([{"loss": loss} for loss in falling], ("loss",))
    assert resumed.look({"loss": 12.0})


def test_weights_and_biases_is_an_extra_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=re.escape(extras.install("wandb"))):
        WeightsAndBiases(tmp_path, "project", {})
    assert not list(tmp_path.iterdir())


def test_weights_and_biases_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for resumed_at in (0, 2):
        with RunLog(
            tmp_path, resumed_at=resumed_at, loggers=[WeightsAndBiases(tmp_path, "project", {"seed": 0})]
        ) as log:
            log.scalars("train", resumed_at + 1, {"loss": 1.0, "mfu": None})
            log.sample(resumed_at + 1, "Once <upon> a time")
        assert log.failure is None
    written = list((tmp_path / "wandb").glob("offline-run-*"))
    number = (tmp_path / "wandb-id.txt").read_text()
    assert written
    assert all(folder.name.endswith(number) for folder in written)


def test_off_a_terminal_progress_is_plain_lines() -> None:
    stream = io.StringIO()
    with Progress(2, stream=stream) as progress:
        progress.step(1, {"loss": "2.0"})
        progress.step(2, {"loss": "1.0"})
    assert stream.getvalue() == "step 2/2  loss 1.0  ETA 00:00\n"


def test_a_closed_terminal_does_not_end_a_run() -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    with Progress(1, stream=Closed()) as progress:
        progress.say("hello")
        progress.step(1, {})
