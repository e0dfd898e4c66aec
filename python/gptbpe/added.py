"""The tokens that a tokenizer has beside its vocabulary, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from operator import index

from gptbpe._core import CoreTokenizer
from gptbpe.errors import TokenizerError
from gptbpe.names import shown


def tokens(core: CoreTokenizer) -> dict[str, int]:
    """Return all of them, special or not: string -> id."""
    return {content: id for content, id, *_ in core.added_tokens}


def numbered(special_tokens: Sequence[str] | Mapping[str, int], core: CoreTokenizer) -> list[tuple[str, int]]:
    """Give special tokens the ids that they are to have. ``Tokenizer.with_special_tokens`` documents it."""
    if isinstance(special_tokens, str):
        raise TokenizerError(
            f"special_tokens is a list of strings, found one string; write [{shown(special_tokens)}]"
        )
    if isinstance(special_tokens, (set, frozenset)):
        raise TokenizerError(
            "special_tokens is a list of strings, found a set, which has no order that their ids could "
            f"follow; write {shown(sorted(special_tokens))}"
        )
    if isinstance(special_tokens, Mapping):
        more = [(name, index(id)) for name, id in special_tokens.items()]
    else:
        more = list(zip(special_tokens, count(core.vocab_size), strict=False))
    before = tokens(core)
    taken = dict(before)
    for name, id in more:
        if not isinstance(name, str):
            raise TokenizerError(f"a special token is a string, found {shown(name)}")
        if taken.setdefault(name, id) != id or name in before:
            raise TokenizerError(f"{shown(name)} is a special token already, with the id {taken[name]}")
        if not 0 <= id < 1 << 31:
            raise TokenizerError(f"the id of {shown(name)} is {id}; ids are from 0 to 2,147,483,647")
    return more
