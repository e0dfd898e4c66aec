"""What tiktoken takes as arguments, and which exceptions it raises for the rest."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Set as AbstractSet
from operator import index
from typing import Any, Literal

from gptbpe.errors import SpecialTokenError
from gptbpe.names import shown

Allowed = Literal["all"] | AbstractSet[str]
Disallowed = Literal["all"] | Collection[str]

NOTHING: AbstractSet[str] = frozenset()

_MOST_THREADS = 1024


def as_text(value: str) -> str:
    """Check that a value is a text."""
    if not isinstance(value, str):
        raise TypeError(f"expected a str, found {type(value).__name__}")
    return value


def as_bytes(value: str | bytes) -> bytes:
    """Return the UTF-8 of a text, or bytes as they are."""
    if isinstance(value, str):
        return value.encode()
    if not isinstance(value, bytes):
        raise TypeError(f"expected str or bytes, found {type(value).__name__}")
    return value


def as_id(value: object) -> int:
    """Check that a value could be an id: an integer without sign in 32 bits."""
    id = index(value)  # type: ignore[arg-type]
    if not 0 <= id < 1 << 32:
        raise OverflowError(f"{id} is no id: ids have 32 bits and no sign")
    return id


def as_sequence(ids: Any) -> Any:
    """Check that ids have an order: sets, mappings and iterators are refused."""
    if isinstance(ids, (bytes, bytearray)):
        return list(ids)
    if isinstance(ids, dict) or not hasattr(type(ids), "__getitem__"):
        raise TypeError(f"expected a sequence of ids, found {type(ids).__name__}")
    return ids


def as_threads(count: int | None) -> int | None:
    """Return how many threads to use for tiktoken's ``num_threads``; None is one per core."""
    if count is None:
        return None
    if count <= 0:
        raise ValueError(f"num_threads must be greater than 0, found {count}")
    return max(1, int(min(count, _MOST_THREADS)))


def as_names(disallowed: Disallowed) -> Disallowed:
    """Return ``disallowed_special`` as the core takes it; None and other empty things forbid nothing."""
    if disallowed == "all" or isinstance(disallowed, frozenset):
        return disallowed
    return frozenset(disallowed) if disallowed else ()


def is_known_form(allowed: Allowed, disallowed: Disallowed) -> bool:
    """Whether the core reads the two arguments as tiktoken does."""
    return (allowed == "all" or isinstance(allowed, (set, frozenset))) and (
        disallowed == "all" or "" not in disallowed
    )


def refuse(text: str, allowed: Allowed, disallowed: Disallowed, names: AbstractSet[str]) -> None:
    """Raise what tiktoken raises before it encodes; ``names`` are all special tokens.

    Raises:
        SpecialTokenError: a disallowed string occurs in the text.
        TypeError: an argument is of another type.
    """
    if disallowed == "all":
        disallowed = names - (names if allowed == "all" else allowed)
    found = [(text.find(name), name) for name in disallowed if name in text]
    if found:
        place, name = min(found)
        raise SpecialTokenError(
            f"the text holds the disallowed special token {shown(name)} at character {place}"
        )


def check_allowed(allowed: Allowed) -> None:
    """Raise unless this is ``"all"`` or a set of texts."""
    if allowed == "all":
        return
    if not isinstance(allowed, (set, frozenset)):
        raise TypeError(f'allowed_special must be "all" or a set, found {shown(allowed)}')
    for name in allowed:
        as_text(name).encode()


def repaired(text: str) -> str:
    """Join surrogate pairs and replace lone surrogates."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
