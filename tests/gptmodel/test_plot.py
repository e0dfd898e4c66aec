"""Pictures of losses: they exist in each format and hold the numbers of the runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gptmodel.errors import DataError
from gptmodel.plot import plot_losses, read_curve


def make_run(folder: Path, *, tokens_per_step: int = 100, steps: int = 40) -> Path:
    folder.mkdir()
    with (folder / "metrics.jsonl").open("w") as file:
        for step in range(1, steps + 1):
            record = {"step": step, "tokens": step * tokens_per_step, "epoch": step / 20}
            file.write(json.dumps({"kind": "train", "loss": 5 / step, **record}) + "\n")
            if step % 10 == 0:
                file.write(json.dumps({"kind": "evaluation", "loss": 6 / step, **record}) + "\n")
    return folder


def test_a_curve_is_what_the_run_recorded(tmp_path: Path) -> None:
    curve = read_curve(make_run(tmp_path / "one"))
    assert curve.name == "one"
    assert curve.training[1] == (2, 2.5)
    assert [step for step, _ in curve.evaluation] == [10, 20, 30, 40]
    assert curve.tokens_per_step == 100
    assert curve.tokens_per_epoch == 2000


@pytest.mark.parametrize(("name", "magic"), [("l.pdf", b"%PDF"), ("l.png", b"\x89PNG"), ("l.svg", b"<?xml")])
def test_each_format_is_written(tmp_path: Path, name: str, magic: bytes) -> None:
    path = plot_losses([make_run(tmp_path / "one")], tmp_path / "pictures" / name, title="A title")
    assert path.read_bytes().startswith(magic)


def test_axes_and_legend_say_what_is_drawn(tmp_path: Path) -> None:
    run, other = make_run(tmp_path / "one"), make_run(tmp_path / "two")
    drawn = texts(plot_losses([run, other], tmp_path / "both.svg"))
    for word in ("step", "epoch", "tokens seen", "loss (nats a token)", "one: training", "two: held out"):
        assert word in drawn


def test_runs_of_other_batch_sizes_share_tokens_only(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "one"), make_run(tmp_path / "two", tokens_per_step=200)]
    drawn = texts(plot_losses(runs, tmp_path / "both.svg"))
    assert "tokens seen" in drawn
    assert "step" not in drawn


def texts(svg: Path) -> set[str]:
    """The words of a picture; matplotlib leaves each beside its outlines as a comment."""
    return {part.split("-->")[0].strip() for part in svg.read_text().split("<!--")[1:]}


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\.pdf, \.png, \.svg"):
        plot_losses([make_run(tmp_path / "one")], tmp_path / "x.gif")
    with pytest.raises(DataError, match=r"no metrics\.jsonl"):
        plot_losses([tmp_path], tmp_path / "x.png")
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(DataError, match="no training step"):
        plot_losses([tmp_path], tmp_path / "x.png")
    with pytest.raises(DataError, match="name one run"):
        plot_losses([], tmp_path / "x.png")
