"""Special tokens that share an id, which tiktoken allows and gptbpe's core does not.

A special token whose id is taken gets an id of its own inside of the tokenizer, above all others. What the
tokenizer returns is put back by :meth:`SharedIds.restore`; decoding is left to a second tokenizer that does
not know the ids of this kind. An encoding without shared ids has none of this.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import index
from typing import Any

import numpy as np
import numpy.typing as npt


class SharedIds:
    """Which ids of the tokenizer stand for which of the encoding.

    >>> shared = SharedIds({b"a": 0}, {"<|x|>": 1, "<|y|>": 1, "<|z|>": 0})
    >>> shared.unique
    {'<|x|>': 1}
    >>> shared.renumbered
    {'<|x|>': 1, '<|y|>': 2, '<|z|>': 3}
    >>> shared.restore([0, 1, 2, 3])
    [0, 1, 1, 0]
    """

    def __init__(self, ranks: Mapping[bytes, int], special_tokens: Mapping[str, int]) -> None:
        taken = set(ranks.values())
        self.unique: dict[str, int] = {}
        self.renumbered: dict[str, int] = {}
        self.original: dict[int, int] = {}
        self._names: list[str] = []
        above = self._first = max(max(taken), max(special_tokens.values())) + 1
        for name, id in special_tokens.items():
            if id not in taken:
                taken.add(id)
                self.unique[name] = self.renumbered[name] = id
            else:
                self._names.append(name)
                self.renumbered[name] = above
                self.original[above] = index(id)  # 97.0 is in a set of 97, and no id
                above += 1

    def may_occur(self, text: str) -> bool:
        """Whether the ids of a text can need :meth:`restore`."""
        return any(name in text for name in self._names)

    def restore(self, ids: Iterable[int]) -> list[int]:
        """Return the ids of the encoding."""
        original = self.original
        return [original.get(id, id) for id in ids]

    def restore_array(self, ids: npt.NDArray[Any]) -> None:
        """Put the ids of the encoding into the array."""
        own = ids >= self._first
        ids[own] = np.fromiter(self.original.values(), ids.dtype)[ids[own] - self._first]


def has_shared_ids(ranks: Mapping[bytes, int], special_tokens: Mapping[str, int]) -> bool:
    """Whether a special token has the id of another token."""
    ids = set(special_tokens.values())
    return len(ids) < len(special_tokens) or not ids.isdisjoint(ranks.values())
