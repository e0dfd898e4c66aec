"""A run as an SVG bar chart: one group per text, and two panels.

Of encoding: cold on the left and warm on the right, on one scale; of training: speed and memory.

Written without a plotting library: the picture is some rectangles and words. It has a white ground of its
own, so that it reads the same on light and dark pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from statistics import median
from typing import Any

from _table import Run, machine_line

WIDTH = 920
MARGIN = 32
TEXTS = 124  # the column with the names of the texts
LABELS = 88  # the column with the names of the libraries
GAP = 28  # between the panels
NUMBERS = 90  # to the right of the longest bar
PANEL = (WIDTH - 2 * MARGIN - TEXTS - LABELS - GAP) // 2
ROW, BAR = 19, 13
FONT = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"
INK, SOFT, FAINT, GROUND, BORDER = "#1c2430", "#667080", "#e9ecf1", "#ffffff", "#d9dee6"
OURS, THEIRS = "#0b7a75", "#b9c1cc"
PANELS = {"cold": "cold: first pass of a fresh process", "warm": "warm: the passes after it"}
TRAINING_PANELS = {
    "speed": "MB of text per second",
    "memory": "peak memory over the input, MB",
}


@dataclass(frozen=True)
class _Bar:
    """One bar, and what stands behind it."""

    value: float
    ratio: float | None = None
    """How many times better than the best peer."""


@dataclass(frozen=True)
class _Library:
    """The bars of one library, by panel."""

    name: str
    bars: dict[str, _Bar | None]

    @property
    def ours(self) -> bool:
        return self.name == "gptbpe"


@dataclass(frozen=True)
class _Group:
    """One text: its name, lines below it, and a row for each library."""

    name: str
    below: list[str]
    libraries: list[_Library]


def svg(run: Run, vocabulary: str, cores: str, texts: dict[str, str]) -> str:
    """Draw the encoding cases of one vocabulary; ``texts`` names the corpora for readers."""
    wanted = ("encode", vocabulary, cores)
    cases = [each for each in run["cases"] if (each["topic"], each["vocabulary"], each["cores"]) == wanted]
    groups = [_encoding(texts.get(case["text"], case["text"]), case) for case in cases]
    if not groups:
        raise SystemExit(f"encode.py: no case to draw: {', '.join(wanted)}")
    greatest = max(_values(groups, series) for series in PANELS)
    return _Drawing(PANELS, dict.fromkeys(PANELS, greatest)).drawn(
        title=f"Encoding with the {_VOCABULARIES.get(vocabulary, vocabulary)} vocabulary, {_CORES[cores]}",
        subtitle="MB of text per second, and how many times the fastest other library. All ids are equal.",
        groups=groups,
        caption=_caption(run, groups),
    )


def training_svg(run: Run, cores: str, texts: dict[str, str]) -> str:
    """Draw the training cases: speed on the left, memory on the right."""
    cases = [each for each in run["cases"] if (each["topic"], each["cores"]) == ("train", cores)]
    groups = [_training(texts.get(case["text"], case["text"]), case) for case in cases]
    if not groups:
        raise SystemExit(f"train.py: no case to draw: train, {_CORES[cores]}")
    greatest = {panel: _values(groups, panel) for panel in TRAINING_PANELS}
    return _Drawing(TRAINING_PANELS, greatest).drawn(
        title=f"Training a vocabulary, {_CORES[cores]}",
        subtitle="The same pattern and text, and how many times the fastest other library.",
        groups=groups,
        caption=_caption(run, groups),
    )


_VOCABULARIES = {"gpt2": "GPT-2", "cl100k": "cl100k (GPT-4)", "o200k": "o200k (GPT-4o)", "own32k": "own 32 k"}
_CORES = {"1": "one core", "all": "all cores"}


def _encoding(text: str, case: dict[str, Any]) -> _Group:
    """Each library by its fastest way of doing it, cold and warm each."""
    bars = {
        name: {series: _speed(case, rows, series, name) for series in PANELS}
        for name, rows in _by_library(case).items()
    }
    return _Group(text, [_size(case)], [_Library(name, bars) for name, bars in bars.items()])


def _training(text: str, case: dict[str, Any]) -> _Group:
    libraries = []
    for name, rows in _by_library(case).items():
        if name == "prototype":
            continue
        peaks = [median(row["peak_bytes"]) / 1e6 for row in rows if row["peak_bytes"]]
        memory = _Bar(min(peaks)) if peaks else None
        libraries.append(_Library(name, {"speed": _speed(case, rows, "cold", name), "memory": memory}))
    return _Group(text, [case["vocabulary"], _size(case)], libraries)


def _size(case: dict[str, Any]) -> str:
    return f"{max(row['work'] for row in case['rows']) / 1e6:.0f} MB"


def _by_library(case: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in _ranked(case):
        rows.setdefault(row["api"].split()[0], []).append(row)
    return rows


def _ranked(case: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in case["rows"] if row["problem"] is None]


def _speed(case: dict[str, Any], rows: list[dict[str, Any]], series: str, name: str) -> _Bar | None:
    rates = [row["medians"].get(series, {}).get("per_second") for row in rows]
    fastest = max((rate / 1e6 for rate in rates if rate is not None), default=None)
    if fastest is None:
        return None
    return _Bar(fastest, _ahead(case, series) if name == "gptbpe" else None)


def _ahead(case: dict[str, Any], series: str) -> float | None:
    """Return how many times faster than the fastest peer we are: the median of the rounds' ratios."""
    peers = [row for row in _ranked(case) if row["api"].split()[0] not in ("gptbpe", "prototype")]
    ratios = [row["medians"].get(series, {}).get("first_faster_by") for row in peers]
    return min((ratio for ratio in ratios if ratio is not None), default=None)


def _values(groups: list[_Group], panel: str) -> float:
    bars = [library.bars[panel] for group in groups for library in group.libraries]
    return max((bar.value for bar in bars if bar is not None), default=1.0)


def _caption(run: Run, groups: list[_Group]) -> list[str]:
    machine, settings = run["machine"], run["settings"]
    shown = {library.name for group in groups for library in group.libraries}
    versions = ", ".join(
        f"{name} {machine['versions'][name]}" for name in machine["versions"] if name in shown
    )
    limits = [
        f"{name} reads the first {limit:.0f} MB"
        for name, limit in settings.get("limits", {}).items()
        if name in shown
    ]
    return [
        f"{machine_line(run)} · commit {machine['commit']}",
        f"{versions} · medians of {settings['rounds']} interleaved rounds",
        *(["; ".join(limits)] if limits else []),
    ]


class _Drawing:
    """Elements from top to bottom; ``y`` is where the next one goes."""

    def __init__(self, panels: dict[str, str], greatest: dict[str, float]) -> None:
        self.elements: list[str] = []
        self.y = 0.0
        self.panels = panels
        self.step = {panel: _step(value) for panel, value in greatest.items()}
        self.scale = {panel: (PANEL - NUMBERS) / value for panel, value in greatest.items()}
        self.left = {
            panel: MARGIN + TEXTS + LABELS + number * (PANEL + GAP) for number, panel in enumerate(panels)
        }

    def drawn(self, title: str, subtitle: str, groups: list[_Group], caption: list[str]) -> str:
        self.y = 44
        self._text(MARGIN, title, 19, weight=650)
        self.y += 23
        self._text(MARGIN, subtitle, 13, SOFT)
        self.y += 34
        for panel, heading in self.panels.items():
            self._text(self.left[panel], heading, 12.5, weight=600)
        self.y += 16
        for group in groups:
            self._group(group)
        self._axis()
        self.y += 34
        for line in caption:
            self._text(MARGIN, line, 11, SOFT)
            self.y += 16
        height = self.y + 12
        body = "\n".join(self.elements)
        label = escape(f"{title}. {subtitle}", quote=True)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" '
            f'height="{height:g}" role="img" aria-label="{label}" font-family="{FONT}">\n'
            f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1:g}" rx="14" fill="{GROUND}" '
            f'stroke="{BORDER}"/>\n{body}\n</svg>\n'
        )

    def _group(self, group: _Group) -> None:
        top = self.y
        self._text(MARGIN, group.name, 13, weight=650, y=top + ROW / 2 + 4.6)
        for number, line in enumerate(group.below):
            self._text(MARGIN, line, 12, SOFT, y=top + ROW * (number + 1.5) + 4.4)
        self.y += ROW * max(len(group.libraries), 1 + len(group.below))
        self._grid(top - 2, self.y + 2)
        for number, library in enumerate(group.libraries):
            self._row(library, top + (number + 0.5) * ROW)
        self.y += 18

    def _row(self, library: _Library, middle: float) -> None:
        names = MARGIN + TEXTS + LABELS - 10
        name_colour, colour, weight = (INK, OURS, 650) if library.ours else (SOFT, SOFT, 400)
        self._text(names, library.name, 12.5, name_colour, weight, "end", middle + 4.4)
        for panel, bar in library.bars.items():
            if bar is None:
                continue
            length = max(bar.value * self.scale[panel], 1.5)
            left = self.left[panel]
            self.elements.append(
                f'<rect x="{left:g}" y="{middle - BAR / 2:g}" width="{length:.1f}" height="{BAR}" rx="2" '
                f'fill="{OURS if library.ours else THEIRS}"/>'
            )
            number = _number(bar.value)
            if bar.ratio is not None:
                number = f"{number} · {_ratio(bar.ratio)}×"
            self._text(left + length + 6, number, 12, colour, weight, y=middle + 4.2)

    def _ticks(self) -> list[tuple[float, int]]:
        """Return where the lines of the grid are, and the figure of each."""
        return [
            (left + tick * self.scale[panel], tick)
            for panel, left in self.left.items()
            for tick in range(0, int((PANEL - NUMBERS) / self.scale[panel]) + 1, self.step[panel])
        ]

    def _grid(self, top: float, bottom: float) -> None:
        for x, tick in self._ticks():
            colour = FAINT if tick else BORDER
            self.elements.append(f'<path d="M{x:.1f} {top:g}V{bottom:g}" stroke="{colour}"/>')

    def _axis(self) -> None:
        for x, tick in self._ticks():
            self._text(x, f"{tick:,}", 11, SOFT, anchor="middle", y=self.y)

    def _text(
        self,
        x: float,
        words: str,
        size: float,
        colour: str = INK,
        weight: int = 400,
        anchor: str = "start",
        y: float | None = None,
    ) -> None:
        y = self.y if y is None else y
        self.elements.append(
            f'<text x="{x:.1f}" y="{y:g}" font-size="{size:g}" font-weight="{weight}" '
            f'fill="{colour}" text-anchor="{anchor}">{escape(words)}</text>'
        )


def _step(fastest: float) -> int:
    """Return a round distance of grid lines that gives three to six of them."""
    steps = [base * power for power in (1, 10, 100, 1_000, 10_000) for base in (1, 2, 5)]
    return next((step for step in steps if fastest / step <= 5), steps[-1])


def _ratio(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 9.95 else f"{ratio:.1f}" if ratio >= 0.95 else f"{ratio:.2f}"


def _number(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
