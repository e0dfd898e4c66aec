"""Losses and gradients that jump out of what a run has had lately.

A spike is noted with the samples that the step read, so that one can look at the text. Training goes on:
most spikes pass (a loss that is no number stops the run, see `gptmodel.training.loop`).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from statistics import fmean, pstdev

__all__ = ["Spikes"]

WINDOW = 128
"""So many records are remembered."""

FEWEST = 32
"""With fewer than that nothing is called a spike."""

DEVIATIONS = 6.0
"""How far above the mean a spike is, in standard deviations."""

SMALLEST = 0.01
"""And what part of the mean a deviation is at least."""


class Spikes:
    """Looks at the numbers of one record after another.

    >>> spikes = Spikes()
    >>> for _ in range(40):
    ...     _ = spikes.look({"loss": 2.0})
    >>> spikes.look({"loss": 2.1}), spikes.look({"loss": 4.0})
    ({}, {'loss': 99.8})
    """

    def __init__(self, records: Iterable[Mapping[str, float | None]] = (), names: Iterable[str] = ()) -> None:
        """``records`` are those of a resumed run; ``names`` what is looked at (left out: everything)."""
        self._names = frozenset(names)
        self._seen: dict[str, deque[float]] = {}
        for record in records:
            self.look(record)

    def look(self, record: Mapping[str, float | None]) -> dict[str, float]:
        """The numbers of ``record`` that are spikes, as deviations above the mean so far."""
        found = {}
        for name, value in record.items():
            if (self._names and name not in self._names) or value is None or not math.isfinite(value):
                continue
            seen = self._seen.setdefault(name, deque(maxlen=WINDOW))
            if len(seen) >= FEWEST:
                mean = fmean(seen)
                deviations = (value - mean) / max(pstdev(seen), SMALLEST * abs(mean), 1e-12)
                if deviations > DEVIATIONS:
                    found[name] = round(deviations, 1)
            seen.append(value)
        return found
