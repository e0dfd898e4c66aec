"""A run as an SVG bar chart: one group per text, cold on the left and warm on the right, on one scale.

Written without a plotting library: the picture is some rectangles and words. It has a white ground of its
own, so that it reads the same on light and dark pages.
"""

from __future__ import annotations

from html import escape
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


def svg(run: Run, vocabulary: str, cores: str, texts: dict[str, str]) -> str:
    """Draw the encoding cases of one vocabulary; ``texts`` names the corpora for readers."""
    wanted = ("encode", vocabulary, cores)
    cases = [each for each in run["cases"] if (each["topic"], each["vocabulary"], each["cores"]) == wanted]
    groups = [_Group(texts.get(case["text"], case["text"]), case) for case in cases]
    if not groups:
        raise SystemExit(f"encode.py: no case to draw: {', '.join(wanted)}")
    fastest = max(rate or 0 for group in groups for each in group.libraries for rate in each.rates.values())
    return _Drawing(fastest).drawn(
        title=f"Encoding with the {_VOCABULARIES.get(vocabulary, vocabulary)} vocabulary, {_CORES[cores]}",
        subtitle="MB of text per second, and how many times the fastest other library. All ids are equal.",
        groups=groups,
        caption=_caption(run, {each.name for group in groups for each in group.libraries}),
    )


_VOCABULARIES = {"gpt2": "GPT-2", "cl100k": "cl100k (GPT-4)", "o200k": "o200k (GPT-4o)", "own32k": "own 32 k"}
_CORES = {"1": "one core", "all": "all cores"}


class _Library:
    """The bars of one library: its fastest way of doing it, cold and warm each."""

    def __init__(self, name: str, case: dict[str, Any]) -> None:
        self.name = name
        self.ours = name == "gptbpe"
        rows = [row for row in _ranked(case) if row["api"].startswith(f"{name} ")]
        self.rates = {series: _fastest(rows, series) for series in PANELS}
        self.ahead = {series: _ahead(case, series) if self.ours else None for series in PANELS}


def _ranked(case: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in case["rows"] if row["problem"] is None]


def _ahead(case: dict[str, Any], series: str) -> float | None:
    """Return how many times faster than the fastest peer we are: the median of the rounds' ratios."""
    ratios = [row["medians"].get(series, {}).get("first_faster_by") for row in _ranked(case)]
    return min((ratio for ratio in ratios if ratio is not None), default=None)


def _fastest(rows: list[dict[str, Any]], series: str) -> float | None:
    rates = [row["medians"].get(series, {}).get("per_second") for row in rows]
    return max((rate / 1e6 for rate in rates if rate is not None), default=None)


class _Group:
    """One text: its name, its size, and a row for each library."""

    def __init__(self, name: str, case: dict[str, Any]) -> None:
        self.name = name
        self.size = f"{max(row['work'] for row in case['rows']) / 1e6:.0f} MB"
        names = dict.fromkeys(row["api"].split()[0] for row in _ranked(case))
        self.libraries = [_Library(library, case) for library in names]


def _caption(run: Run, shown: set[str]) -> list[str]:
    machine, settings = run["machine"], run["settings"]
    versions = ", ".join(
        f"{name} {machine['versions'][name]}" for name in machine["versions"] if name in shown
    )
    limits = [
        f"{name} reads the first {limit:.0f} MB"
        for name, limit in settings["limits"].items()
        if name in shown
    ]
    return [
        f"{machine_line(run)} · commit {machine['commit']}",
        f"{versions} · medians of {settings['rounds']} interleaved rounds",
        *(["; ".join(limits)] if limits else []),
    ]


class _Drawing:
    """Elements from top to bottom; ``y`` is where the next one goes."""

    def __init__(self, fastest: float) -> None:
        self.elements: list[str] = []
        self.y = 0.0
        self.step = _step(fastest)
        self.scale = (PANEL - NUMBERS) / fastest
        self.left = {
            series: MARGIN + TEXTS + LABELS + number * (PANEL + GAP) for number, series in enumerate(PANELS)
        }

    def drawn(self, title: str, subtitle: str, groups: list[_Group], caption: list[str]) -> str:
        self.y = 44
        self._text(MARGIN, title, 19, weight=650)
        self.y += 23
        self._text(MARGIN, subtitle, 13, SOFT)
        self.y += 34
        for series, heading in PANELS.items():
            self._text(self.left[series], heading, 12.5, weight=600)
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
        self._text(MARGIN, group.size, 12, SOFT, y=top + ROW * 1.5 + 4.4)
        self.y += ROW * len(group.libraries)
        self._grid(top - 2, self.y + 2)
        for number, library in enumerate(group.libraries):
            self._row(library, top + (number + 0.5) * ROW)
        self.y += 18

    def _row(self, library: _Library, middle: float) -> None:
        names = MARGIN + TEXTS + LABELS - 10
        name_colour, colour, weight = (INK, OURS, 650) if library.ours else (SOFT, SOFT, 400)
        self._text(names, library.name, 12.5, name_colour, weight, "end", middle + 4.4)
        for series, rate in library.rates.items():
            if rate is None:
                continue
            length = max(rate * self.scale, 1.5)
            left = self.left[series]
            self.elements.append(
                f'<rect x="{left:g}" y="{middle - BAR / 2:g}" width="{length:.1f}" height="{BAR}" rx="2" '
                f'fill="{OURS if library.ours else THEIRS}"/>'
            )
            number = _number(rate)
            if (ratio := library.ahead[series]) is not None:
                number = f"{number} · {_ratio(ratio)}×"
            self._text(left + length + 6, number, 12, colour, weight, y=middle + 4.2)

    def _ticks(self) -> list[tuple[float, int]]:
        """Return where the lines of the grid are, and the figure of each."""
        ticks = range(0, int((PANEL - NUMBERS) / self.scale) + 1, self.step)
        return [(left + tick * self.scale, tick) for left in self.left.values() for tick in ticks]

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
