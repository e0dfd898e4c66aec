"""A run of ``batches.py`` as an SVG: a bar of speed for each loader, and beside it what an epoch is worth."""

from __future__ import annotations

from statistics import median
from typing import Any

from _chart import (
    GAP,
    INK,
    LABELS,
    MARGIN,
    OURS,
    PANEL,
    SOFT,
    TEXTS,
    _Bar,
    _Drawing,
    _Group,
    _Library,
)
from _table import machine_line

__all__ = ["svg"]

SHOWN = {
    "gptbpe batch, int64": "gptbpe",
    "nanoGPT get_batch (numpy memmap)": "nanoGPT",
    "Megatron-Core GPTDataset": "Megatron-Core",
    "litdata StreamingDataLoader": "litdata",
    "MosaicML StreamingDataset": "MosaicML",
    "Grain MapDataset": "Grain",
    "datatrove FolderDataset": "datatrove",
}
"""What is drawn, and the names of the bars."""
COLUMNS = ("each once", "any ranks", "cut noticed")
COLUMN = PANEL // 3
HEADING = "million tokens a second, and ours ÷ it"


def svg(result: dict[str, Any]) -> str:
    """Draw the loaders of a result."""
    rows, length = result["shape"]
    loaders = [each for each in result["loaders"] if each["name"] in SHOWN]
    times = {each["name"]: each["seconds"] for each in loaders}
    ours = times["gptbpe batch, int64"]
    libraries, verdicts = [], {}
    for name, seconds in sorted(times.items(), key=lambda item: median(item[1])):
        ratio = median(theirs / mine for theirs, mine in zip(seconds, ours, strict=True))
        bar = _Bar(rows * length / median(seconds) / 1e6, None if seconds is ours else ratio)
        libraries.append(_Library(SHOWN[name], {"speed": bar}))
    for each in loaders:
        verdicts[SHOWN[each["name"]]] = each["verdicts"]
    greatest = max(bar.value for library in libraries for bar in library.bars.values() if bar)
    below = [f"{rows} × {length:,}", "page cache", "one thread"]
    return _WithVerdicts(verdicts, greatest).drawn(
        title="Shuffled batches for training, one core",
        subtitle="Inputs and targets as int64, each library as its documentation has users train with it.",
        groups=[_Group("batches of", below, libraries)],
        caption=[
            f"{machine_line(result)} · commit {result['machine']['commit']}",
            ", ".join(f"{name} {version}" for name, version in result["machine"]["versions"].items()),
            f"medians of {result['rounds']} interleaved rounds. Each once: an epoch has every window exactly "
            "once. Any ranks: 1, 2 and 4 ranks",
            "read the same global batches. Cut noticed: a file that was cut to its half is an error.",
        ],
    )


class _WithVerdicts(_Drawing):
    """Bars on the left, words on the right."""

    def __init__(self, verdicts: dict[str, tuple[str, str, str]], greatest: float) -> None:
        super().__init__({"speed": HEADING}, {"speed": greatest})
        self.verdicts = verdicts

    def _group(self, group: _Group) -> None:
        for number, heading in enumerate(COLUMNS):
            self._text(self._column(number), heading, 12.5, INK, 600, y=self.y - 16)
        super()._group(group)

    def _row(self, library: _Library, middle: float) -> None:
        super()._row(library, middle)
        for number, word in enumerate(self.verdicts[library.name]):
            colour = OURS if library.ours else INK if word != "yes" else SOFT
            weight = 650 if library.ours or word != "yes" else 400
            self._text(self._column(number), word, 12.5, colour, weight, y=middle + 4.2)

    def _column(self, number: int) -> float:
        return MARGIN + TEXTS + LABELS + PANEL + GAP + number * COLUMN
