"""The picture of a report: tokens by rank and length, count by rank, compression, and tokens to look at.

Both curves share one axis of ranks, which is logarithmic, as counts fall (Zipf's law). Tokens are drawn in
columns of ranks, each as dark as its share of the column, so that the size of the file does not depend on the
size of the vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gptbpe.drawing import Drawing, Role
from gptbpe.visible import visible

if TYPE_CHECKING:
    from gptbpe.report import Report, TokenFigures

WIDTH, MARGIN = 920, 32
INNER = WIDTH - 2 * MARGIN
AXIS = 54  # for the numbers left of a plot
PLOT_LEFT, PLOT_RIGHT = MARGIN + AXIS, WIDTH - MARGIN
PLOT_HEIGHT = 168
COLUMNS = 96
LONGEST_ROW = 24
"""Tokens of this length or more share the uppermost row."""
SOURCES, TOKENS = 10, 10
NAMES = 200  # the column with the names of the sources
FIGURES = 190  # to the right of the longest bar

Floats = npt.NDArray[np.float64]


def svg(report: Report) -> str:
    """Draw a report as SVG."""
    picture = _Picture(report)
    return picture.drawing.svg(picture.y, picture.title)


def png(report: Report) -> bytes:
    """Draw a report as PNG, with matplotlib."""
    picture = _Picture(report)
    return picture.drawing.png(picture.y)


class _Picture:
    """From top to bottom; ``y`` is where the next part begins."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.drawing = Drawing(WIDTH)
        self.ranks = _Ranks(len(report.tokens))
        tok = report.tokenizer
        self.title = f"A vocabulary of {tok.vocab_size:,} tokens"
        self.y = 46.0
        self.drawing.words(MARGIN, self.y, self.title, 20, bold=True)
        self.y += 23
        pattern = tok.pattern if isinstance(tok.pattern, str) else f"{len(tok.regexes)} regexes"
        self.drawing.words(
            MARGIN,
            self.y,
            f"{_cut(pattern, 60)} · {len(tok.merges):,} merges · "
            f"{_number(len(tok.special_tokens), 'special token')} · fingerprint {tok.fingerprint[:12]}",
            12.5,
            "soft",
        )
        self._tiles()
        if report.tokens:
            self._lengths()
            self._counts()
        self._sources()
        self._tokens()
        self.y += 8

    # ---- parts -----------------------------------------------------------------------------------

    def _tiles(self) -> None:
        report, total = self.report, self.report.total
        merged = len(report.tokens)
        longest = int(report.lengths.max(initial=1))
        tiles = [
            (f"{total.bytes / total.tokens:.2f}" if total.tokens else "–", "bytes per token"),
            (_short(total.tokens), f"tokens for {_size(total.bytes)} of text"),
            (_percent(total.single_bytes, total.tokens), "of them single bytes"),
            (_percent(report.unused, merged), "of merged tokens unused"),
            (f"{longest:,}", "bytes in the longest token"),
        ]
        self.y += 50
        step = INNER / len(tiles)
        for number, (figure, label) in enumerate(tiles):
            x = MARGIN + number * step
            self.drawing.bar(x, self.y - 22, 2.5, 46, "data", 1 if number == 0 else 0.35)
            self.drawing.words(x + 12, self.y, figure, 23, bold=True)
            self.drawing.words(x + 12, self.y + 20, label, 11, "soft")
        self.y += 64

    def _lengths(self) -> None:
        report, ranks = self.report, self.ranks
        rows = min(int(report.lengths.max()), LONGEST_ROW)
        top = self._heading(
            "Length by rank",
            [
                ("data", "bytes of the tokens at each rank, stronger where more have that length"),
                ("accent", "mean"),
            ],
        )
        height = PLOT_HEIGHT / (rows - 1)
        for length in _round_steps(rows):
            y = top + PLOT_HEIGHT - (length - 1.5) * height
            self.drawing.line([(PLOT_LEFT, y), (PLOT_RIGHT, y)], "faint")
            more = "≥ " if length == rows < report.lengths.max() else ""
            self._label(y + 4, f"{more}{length}")
        means = []
        for left, right, part in ranks.columns(report.lengths):
            found, times = np.unique(np.minimum(part, rows), return_counts=True)
            for length, count in zip(found.tolist(), times.tolist(), strict=True):
                share = count / len(part)
                y = top + PLOT_HEIGHT - (length - 1) * height
                self.drawing.bar(left, y, right - left - 0.6, height - 0.6, "data", 0.06 + 0.94 * share**0.6)
            mean = min(float(part.mean()), rows)
            means.append(((left + right) / 2, top + PLOT_HEIGHT - (mean - 1.5) * height))
        self.drawing.line(means, "accent", 2)
        self._axis_of_ranks(top + PLOT_HEIGHT)

    def _counts(self) -> None:
        report, ranks = self.report, self.ranks
        curves: list[tuple[Role, str]] = [
            ("accent", "times the token stands in the text: median, and 10 to 90 %")
        ]
        if report.counts is not None:
            curves.insert(0, ("data", "times its pair occurred when it was learned"))
        top = self._heading("Count by rank", curves)
        uses = [(left, right, part) for left, right, part in ranks.columns(report.uses)]
        bands = [np.percentile(part, [10, 50, 90]) for _, _, part in uses]
        learned = []
        if report.counts is not None:
            learned = [float(part.mean()) for _, _, part in ranks.columns(report.counts.astype(np.float64))]
        greatest = max([10.0, *learned, *(float(band[2]) for band in bands)])
        least = min([*(float(band[0]) for band in bands), *learned])
        decades = math.ceil(math.log10(greatest))
        # Half a decade below 1 there is 0.
        lowest = float(math.floor(math.log10(least))) if least >= 1 else -0.5
        lowest = min(lowest, decades - 1)
        scale = PLOT_HEIGHT / (decades - lowest)

        def place(count: float) -> float:
            return top + PLOT_HEIGHT - scale * (math.log10(max(count, 10**-0.5)) - lowest)

        for decade in range(math.ceil(lowest), decades + 1, 1 if decades - lowest < 7 else 2):
            y = place(10**decade)
            self.drawing.line([(PLOT_LEFT, y), (PLOT_RIGHT, y)], "faint")
            self._label(y + 4, _short(10**decade).replace(".0", ""))
        if lowest < 0:
            self._label(top + PLOT_HEIGHT + 3, "0")
        middles = [(left + right) / 2 for left, right, _ in uses]
        upper = [(x, place(band[2])) for x, band in zip(middles, bands, strict=True)]
        lower = [(x, place(band[0])) for x, band in zip(middles, bands, strict=True)]
        self.drawing.area([*upper, *reversed(lower)], "accent", 0.16)
        self.drawing.line([(x, place(band[1])) for x, band in zip(middles, bands, strict=True)], "accent", 2)
        if learned:
            points = [(x, place(count)) for x, count in zip(middles, learned, strict=True)]
            self.drawing.line(points, "data", 2)
        self._axis_of_ranks(top + PLOT_HEIGHT)

    def _sources(self) -> None:
        report = self.report
        shown = report.sources
        if len(shown) > SOURCES:
            shown = tuple(sorted(shown, key=lambda row: -row.bytes)[:SOURCES])
        more = len(report.sources) - len(shown)
        rows = [*shown, report.total] if len(report.sources) > 1 else shown
        ratios = [row.bytes / row.tokens for row in rows if row.tokens]
        top = self._heading("Bytes per token", [])
        scale = (INNER - NAMES - FIGURES) / max(ratios, default=1)
        for number, row in enumerate(rows):
            y = top + 22 * number
            is_total = len(report.sources) > 1 and number == len(rows) - 1
            ratio = row.bytes / row.tokens if row.tokens else 0.0
            name = "all sources" if is_total else _cut_left(row.name, 27)
            self.drawing.words(MARGIN, y + 11, name, 12, bold=is_total)
            self.drawing.bar(MARGIN + NAMES, y, scale * ratio, 14, "ink" if is_total else "data", 0.9)
            at = MARGIN + NAMES + scale * ratio + 8
            figure = f"{ratio:.2f}" if row.tokens else "no text"
            self.drawing.words(at, y + 11.5, figure, 12, bold=True)
            figures = f"{_size(row.bytes)} · {_short(row.tokens)} tokens"
            self.drawing.words(at + 8.5 * len(figure), y + 11.5, figures, 11, "soft")
        self.y = top + 22 * len(rows) + 8
        if more:
            self.drawing.words(MARGIN, self.y + 6, f"and {_number(more, 'smaller source')}", 11, "soft")
            self.y += 20
        self.y += 18

    def _tokens(self) -> None:
        report = self.report
        counted = report.counts is not None
        lists: list[tuple[str, str, list[tuple[str, str]]]] = [
            (
                "Longest tokens",
                "bytes",
                [(_name(row), f"{len(row.token):,}") for row in report.longest(TOKENS)],
            ),
            (
                "Rarest tokens",
                "count when learned" if counted else "uses",
                [
                    (_name(row), f"{row.uses if row.count is None else row.count:,}")
                    for row in report.rarest(TOKENS)
                ],
            ),
            ("Most used tokens", "uses", [(_name(row), f"{row.uses:,}") for row in report.most_used(TOKENS)]),
        ]
        gap = 34
        width = (INNER - 2 * gap) / 3
        for column, (title, unit, rows) in enumerate(lists):
            x = MARGIN + column * (width + gap)
            y = self.y
            self.drawing.words(x, y, title, 13.5, bold=True)
            self.drawing.words(x + width, y, unit, 11, "soft", anchor="end")
            self.drawing.line([(x, y + 8), (x + width, y + 8)], "border")
            for number, (name, figure) in enumerate(rows):
                base = y + 27 + 19 * number
                self.drawing.words(x, base, name, 12, code=True)
                self.drawing.words(x + width, base, figure, 11.5, "soft", anchor="end")
        self.y += 27 + 19 * max(len(rows) for _, _, rows in lists)

    # ---- what the parts share --------------------------------------------------------------------

    def _heading(self, title: str, legend: Sequence[tuple[Role, str]]) -> float:
        """Write a heading with its legend; returns where what follows begins."""
        self.drawing.words(MARGIN, self.y, title, 13.5, bold=True)
        x: float = MARGIN + 8.2 * len(title) + 14
        for role, words in legend:
            self.drawing.bar(x, self.y - 8, 10, 8, role)
            self.drawing.words(x + 15, self.y, words, 11.5, "soft")
            x += 15 + 5.9 * len(words) + 16
        return self.y + 16

    def _label(self, y: float, words: str) -> None:
        self.drawing.words(PLOT_LEFT - 9, y, words, 11, "soft", anchor="end")

    def _axis_of_ranks(self, y: float) -> None:
        self.drawing.line([(PLOT_LEFT, y), (PLOT_RIGHT, y)], "border")
        for rank in self.ranks.ticks():
            x = self.ranks.place(rank)
            self.drawing.line([(x, y), (x, y + 4)], "border")
            self.drawing.words(x, y + 17, f"{rank:,}", 11, "soft", anchor="start" if rank == 1 else "middle")
        self._label(y + 17, "rank")
        self.y = y + 52


class _Ranks:
    """The logarithmic axis of ranks, from 1 to ``last``, and its columns."""

    def __init__(self, last: int) -> None:
        self.last = max(last, 1)
        self.scale = (PLOT_RIGHT - PLOT_LEFT) / math.log10(self.last + 1)
        edges = np.logspace(0, math.log10(self.last + 1), COLUMNS + 1)
        self.edges: list[int] = np.unique(np.rint(edges).astype(np.int64)).tolist()

    def place(self, rank: float) -> float:
        return PLOT_LEFT + self.scale * math.log10(rank)

    def ticks(self) -> list[int]:
        return [10**power for power in range(int(math.log10(self.last)) + 1)]

    def columns(self, values: npt.NDArray[np.int64] | Floats) -> list[tuple[float, float, Floats]]:
        """Cut an array of values by rank into columns: left, right and the values of each."""
        pairs = zip(self.edges[:-1], self.edges[1:], strict=True)
        return [
            (self.place(first), self.place(end), values[first - 1 : end - 1].astype(np.float64))
            for first, end in pairs
        ]


def _round_steps(rows: int) -> list[int]:
    step = next((step for step in (1, 2, 4, 5, 10) if rows / step <= 7), 10)
    steps = [length for length in range(step, rows, step) if length > 1 and rows - length >= step * 0.6]
    return [*steps, rows]


def _name(row: TokenFigures) -> str:
    return _cut(visible(row.token[:120]), 27 if row.token.isascii() else 22)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _cut_left(text: str, most: int) -> str:
    return text if len(text) <= most else "…" + text[len(text) - most + 1 :]


def _number(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


def _short(number: float) -> str:
    """Write a number as it is read at a glance: 940, 12.3 k, 45 M."""
    for unit in ("", " k", " M", " G", " T"):
        if number < 999.5 or unit == " T":
            return f"{number:.0f}{unit}" if number >= 99.95 or not unit else f"{number:.1f}{unit}"
        number /= 1000
    raise AssertionError


def _size(number: float) -> str:
    return f"{_short(number)}B" if number >= 999.5 else f"{number:.0f} B"
