"""Numbers as people read them."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["counted", "duration", "human", "in_words"]


def human(number: float) -> str:
    """A number for people: 999, 12.3k, 4.56M.

    >>> human(12345), human(4_560_000)
    ('12.3k', '4.56M')
    """
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= limit:
            return f"{number / limit:.3g}{unit}"
    return f"{number:.3g}" if isinstance(number, float) else str(number)


def counted(number: int, thing: str) -> str:
    """A number of things.

    >>> counted(1, "layer"), counted(1200, "step")
    ('1 layer', '1,200 steps')
    """
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """A time for people.

    >>> duration(3.2), duration(75), duration(2340), duration(8000)
    ('3.2 s', '75 s', '39 min', '2.2 h')
    """
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def in_words(settings: Mapping[str, int | float]) -> str:
    """Settings in one line.

    >>> in_words({"batch_size": 1024, "layers": 4})
    'batch size 1,024, layers 4'
    """
    return ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in settings.items())
