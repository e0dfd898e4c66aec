"""Numbers as people read them."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["human", "in_words"]


def human(number: float) -> str:
    """A number for people: 999, 12.3k, 4.56M.

    >>> human(12345), human(4_560_000)
    ('12.3k', '4.56M')
    """
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= limit:
            return f"{number / limit:.3g}{unit}"
    return f"{number:.3g}" if isinstance(number, float) else str(number)


def in_words(settings: Mapping[str, int | float]) -> str:
    """Settings in one line.

    >>> in_words({"batch_size": 1024, "layers": 4})
    'batch size 1,024, layers 4'
    """
    return ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in settings.items())
