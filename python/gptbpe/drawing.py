"""A drawing of rectangles, lines and words, written as SVG by hand, or as PNG with matplotlib where it is.

Colours are named by what they are for. The SVG has a ground of its own and follows the reader's choice of
light or dark; a program that does not know of that choice shows it light, and so is the PNG.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal, TypeAlias

from gptbpe import extras
from gptbpe.errors import MissingExtraError

Role: TypeAlias = Literal["ink", "soft", "faint", "ground", "border", "data", "accent"]
Anchor: TypeAlias = Literal["start", "middle", "end"]
Point: TypeAlias = tuple[float, float]

LIGHT: dict[Role, str] = {
    "ink": "#1c2430",
    "soft": "#667080",
    "faint": "#e9ecf1",
    "ground": "#ffffff",
    "border": "#d9dee6",
    "data": "#0b7a75",
    "accent": "#c4512d",
}
DARK: dict[Role, str] = {
    "ink": "#e8ebf0",
    "soft": "#9aa4b2",
    "faint": "#262d38",
    "ground": "#12161d",
    "border": "#333c49",
    "data": "#3fbdb4",
    "accent": "#f08a5d",
}
WORDS = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"
CODE = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"
#: Characters of many scripts, in the order of preference; matplotlib takes those that are installed.
PNG_FONTS = ("DejaVu Sans", "Noto Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Arial Unicode MS")
PNG_DOTS_PER_UNIT = 2


@dataclass(frozen=True, slots=True)
class _Shape:
    """A closed area, or a line where ``width`` is not 0."""

    points: tuple[Point, ...]
    role: Role
    opacity: float
    width: float


@dataclass(frozen=True, slots=True)
class _Words:
    at: Point
    content: str
    size: float
    role: Role
    anchor: Anchor
    bold: bool
    code: bool


class Drawing:
    """What is drawn, in the order of drawing; ``y`` grows downwards.

    >>> drawing = Drawing(200)
    >>> drawing.bar(20, 20, 100, 12, "data")
    >>> drawing.words(130, 30, "100 %")
    >>> drawing.svg(height=50, label="a bar").count("<text")
    1
    """

    def __init__(self, width: float) -> None:
        self.width = width
        self._elements: list[_Shape | _Words] = []

    def words(
        self,
        x: float,
        y: float,
        content: str,
        size: float = 12,
        role: Role = "ink",
        *,
        anchor: Anchor = "start",
        bold: bool = False,
        code: bool = False,
    ) -> None:
        """Write words; ``y`` is their base line."""
        self._elements.append(_Words((x, y), content, size, role, anchor, bold, code))

    def bar(self, x: float, y: float, width: float, height: float, role: Role, opacity: float = 1) -> None:
        """Fill a rectangle."""
        self.area([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], role, opacity)

    def area(self, points: Sequence[Point], role: Role, opacity: float = 1) -> None:
        """Fill a polygon."""
        self._elements.append(_Shape(tuple(points), role, opacity, 0))

    def line(self, points: Sequence[Point], role: Role, width: float = 1) -> None:
        """Draw a line from point to point."""
        self._elements.append(_Shape(tuple(points), role, 1, width))

    # ---- SVG -------------------------------------------------------------------------------------

    def svg(self, height: float, label: str) -> str:
        """Return the drawing as SVG; ``label`` is for those who do not see it."""
        dark = "".join(f".f-{role}{{fill:{DARK[role]}}}.s-{role}{{stroke:{DARK[role]}}}" for role in DARK)
        body = "\n".join(_svg_of(element) for element in self._elements)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:g} {height:g}" '
            f'width="{self.width:g}" height="{height:g}" role="img" aria-label="{escape(label, quote=True)}" '
            f'font-family="{WORDS}">\n'
            f"<style>@media (prefers-color-scheme:dark){{{dark}}}</style>\n"
            f'<rect class="f-ground s-border" x="0.5" y="0.5" width="{self.width - 1:g}" '
            f'height="{height - 1:g}" rx="14" fill="{LIGHT["ground"]}" stroke="{LIGHT["border"]}"/>\n'
            f"{body}\n</svg>\n"
        )

    # ---- PNG -------------------------------------------------------------------------------------

    def png(self, height: float) -> bytes:
        """Return the drawing as PNG.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
            from matplotlib.font_manager import get_font_names
        except ImportError as error:
            raise MissingExtraError(
                f"a PNG needs matplotlib; install it with: {extras.install('model')}, or write .svg"
            ) from error
        figure = Figure(figsize=(self.width / 100, height / 100), dpi=100 * PNG_DOTS_PER_UNIT)
        figure.patch.set_facecolor(LIGHT["ground"])
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, self.width), ylim=(height, 0))
        axes.set_axis_off()
        fonts = [name for name in PNG_FONTS if name in set(get_font_names())]
        for element in self._elements:
            _paint(axes, element, fonts)
        stream = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of characters that no installed font has
            figure.savefig(stream, format="png")
        return stream.getvalue()


def _svg_of(element: _Shape | _Words) -> str:
    role = element.role
    if isinstance(element, _Words):
        bold = ' font-weight="650"' if element.bold else ""
        code = f' font-family="{CODE}" xml:space="preserve"' if element.code else ""
        anchor = "" if element.anchor == "start" else f' text-anchor="{element.anchor}"'
        content = escape(_allowed_in_xml(element.content), quote=False)
        x, y = element.at
        return (
            f'<text class="f-{role}" x="{x:.1f}" y="{y:.1f}" font-size="{element.size:g}"'
            f'{bold}{code}{anchor} fill="{LIGHT[role]}">{content}</text>'
        )
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in element.points)
    if element.width:
        return (
            f'<polyline class="s-{role}" points="{points}" fill="none" stroke="{LIGHT[role]}" '
            f'stroke-width="{element.width:g}" stroke-linejoin="round"/>'
        )
    opacity = "" if element.opacity == 1 else f' fill-opacity="{element.opacity:.2f}"'
    return f'<polygon class="f-{role}" points="{points}" fill="{LIGHT[role]}"{opacity}/>'


def _allowed_in_xml(text: str) -> str:
    """Replace the characters that XML cannot hold."""
    return "".join(
        character
        if character in "\t\n" or (character >= " " and not "\ufffe" <= character <= "\uffff")
        else "�"
        for character in text
    )


def _paint(axes: Any, element: _Shape | _Words, fonts: list[str]) -> None:
    color = LIGHT[element.role]
    if isinstance(element, _Words):
        x, y = element.at
        aligned = {"start": "left", "middle": "center", "end": "right"}[element.anchor]
        family = ["DejaVu Sans Mono", *fonts] if element.code else fonts
        axes.text(
            x, y, element.content.replace("$", r"\$"), fontsize=element.size * 0.72, color=color, ha=aligned,
            va="baseline", weight="bold" if element.bold else "normal", family=family,
        )  # fmt: skip
        return
    xs, ys = zip(*element.points, strict=True)
    if element.width:
        axes.plot(xs, ys, color=color, linewidth=element.width * 0.72, solid_joinstyle="round")
    else:
        axes.fill(xs, ys, color=color, alpha=element.opacity, linewidth=0)
