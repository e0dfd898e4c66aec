"""Loss curves of one or several runs in one picture.

Training loss is drawn thin as it was and thick as an average over a fiftieth of the run; held-out loss is
dashed, a point for each evaluation. The lower axis counts steps and, under it, epochs; the upper one counts
tokens seen. That needs runs with the same tokens a step; for others the lower axis counts tokens, the only
thing they share.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptmodel.errors import DataError
from gptmodel.training.log import read_metrics
from gptmodel.units import human

__all__ = ["Curve", "plot_losses", "read_curve"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito 2008
FORMATS = (".pdf", ".png", ".svg")


@dataclass(frozen=True)
class Curve:
    """One run: (step, loss) of training and of evaluation, and how many tokens a step and an epoch have."""

    name: str
    training: list[tuple[int, float]]
    evaluation: list[tuple[int, float]]
    tokens_per_step: float
    tokens_per_epoch: float


def read_curve(run: str | os.PathLike[str]) -> Curve:
    """The curve of a run folder. Raises DataError when it has no metrics."""
    folder = Path(run)
    try:
        records = read_metrics(folder)
    except OSError:
        runs = sorted(str(path.parent) for path in Path(folder).glob("*/metrics.jsonl"))
        hint = f"; name one or more of the runs in it: {', '.join(runs[:3])}" if runs else ""
        raise DataError(f"{folder} is not a run: it has no metrics.jsonl{hint}") from None
    training = [(r["step"], r["loss"]) for r in records if r.get("kind") == "train" and "loss" in r]
    evaluation = [(r["step"], r["loss"]) for r in records if r.get("kind") == "evaluation" and "loss" in r]
    if not training:
        raise DataError(f"{folder} has no training step in its metrics.jsonl yet")
    last = next(r for r in reversed(records) if r.get("kind") == "train" and r["step"] == training[-1][0])
    tokens = last.get("tokens", last["step"])
    epoch = last.get("epoch") or 0.0
    return Curve(
        folder.resolve().name,
        training,
        evaluation,
        tokens / max(1, last["step"]),
        tokens / epoch if epoch > 0 else float("nan"),
    )


def plot_losses(
    runs: Sequence[str | os.PathLike[str]], output: str | os.PathLike[str], *, title: str | None = None
) -> Path:
    """Draw the losses of ``runs`` to ``output`` (.pdf, .png or .svg) and return its path.

    >>> plot_losses(["runs/tiny"], "losses.pdf")  # doctest: +SKIP
    """
    path = Path(output)
    if path.suffix.lower() not in FORMATS:
        raise DataError(f"cannot draw to {path.name!r}: the name should end in {', '.join(FORMATS)}")
    if not runs:
        raise DataError("there is nothing to plot: name one run folder or more")
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    curves = [read_curve(run) for run in runs]
    figure = Figure(figsize=(8, 5), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08))
    axes = figure.add_subplot()
    shared = _same([c.tokens_per_step for c in curves])
    for curve, colour in zip(_named_apart(curves), COLOURS * (len(curves) // len(COLOURS) + 1), strict=False):
        _draw(axes, curve, colour, 1.0 if shared else curve.tokens_per_step, alone=len(curves) == 1)
    _label(axes, curves, shared)
    if title:
        figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    return path


def _draw(axes: Any, curve: Curve, colour: str, scale: float, *, alone: bool) -> None:
    x = [step * scale for step, _ in curve.training]
    loss = [value for _, value in curve.training]
    prefix = "" if alone else f"{curve.name}: "
    axes.plot(x, loss, color=colour, linewidth=0.8, alpha=0.3)
    axes.plot(x, _smooth(loss), color=colour, linewidth=1.8, label=f"{prefix}training")
    if curve.evaluation:
        accent = COLOURS[1] if alone else colour
        axes.plot(
            [step * scale for step, _ in curve.evaluation],
            [value for _, value in curve.evaluation],
            color=accent,
            linestyle="--",
            linewidth=1.4,
            marker="o",
            markersize=4,
            label=f"{prefix}held out",
        )


def _label(axes: Any, curves: list[Curve], shared: bool) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_ylabel("loss (nats a token)")
    axes.grid(alpha=0.25)
    axes.spines["right"].set_visible(False)
    axes.margins(x=0.02)
    axes.legend(loc="upper right", frameon=False)
    count = FuncFormatter(lambda value, _: human(float(value)))
    if not shared:
        axes.set_xlabel("tokens seen")
        axes.xaxis.set_major_formatter(count)
        axes.spines["top"].set_visible(False)
        return
    per_step, per_epoch = curves[0].tokens_per_step, curves[0].tokens_per_epoch
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    top = axes.secondary_xaxis("top", functions=(lambda s: s * per_step, lambda t: t / per_step))
    top.set_xlabel("tokens seen")
    top.xaxis.set_major_formatter(count)
    if _same([c.tokens_per_epoch for c in curves]):
        ratio = per_step / per_epoch
        below = axes.secondary_xaxis(-0.16, functions=(lambda s: s * ratio, lambda e: e / ratio))
        below.set_xlabel("epoch")


def _smooth(values: list[float]) -> list[float]:
    """An average over a fiftieth of the run: symmetric at its steep beginning, one-sided at its end."""
    half = len(values) // 100
    total = [0.0]
    for value in values:
        total.append(total[-1] + value)
    smoothed = []
    for i in range(len(values)):
        start, stop = max(0, i - half), min(len(values), i + min(half, i) + 1)
        smoothed.append((total[stop] - total[start]) / (stop - start))
    return smoothed


def _same(numbers: list[float]) -> bool:
    """All alike within a thousandth; NaN is like nothing."""
    return all(abs(n - numbers[0]) <= 1e-3 * abs(numbers[0]) for n in numbers)


def _named_apart(curves: list[Curve]) -> list[Curve]:
    """The curves with names that differ, as a legend needs."""
    seen: dict[str, int] = {}
    named = []
    for curve in curves:
        seen[curve.name] = seen.get(curve.name, 0) + 1
        suffix = f" ({seen[curve.name]})" if seen[curve.name] > 1 else ""
        named.append(Curve(curve.name + suffix, curve.training, curve.evaluation, curve.tokens_per_step, 0.0))
    return named
