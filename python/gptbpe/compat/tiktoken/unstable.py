"""The end of a text that is not over: which tokens stay whatever follows, and what the others may become.

Ids are the tokenizer's here; see :mod:`~gptbpe.compat.tiktoken.shared_ids` for where they are not the
encoding's. Completions are found as tiktoken finds them: every token that could lie over the end is tried at
every place, which costs (bytes of the last pre-token) times (tokens that begin so) encodings of that
pre-token.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence

from gptbpe.tokenizer import Tokenizer


class Ends:
    """What may become of the end of a text.

    Args:
        tokenizer: what encodes.
        original: id of the tokenizer -> id of the encoding, where they differ.
    """

    def __init__(self, tokenizer: Tokenizer, original: Mapping[int, int]) -> None:
        self._tokenizer = tokenizer
        self._original = original
        self._special_ids = frozenset(tokenizer.special_tokens.values())

    def after_last_special(self, text: str, ids: Sequence[int], starts: Sequence[int]) -> str:
        """Return the text that follows the last special token in it."""
        for id, start in zip(reversed(ids), reversed(starts), strict=True):
            if id in self._special_ids:
                return text[start + len(self._tokenizer.token_bytes(id).decode()) :]
        return text

    def unstable(self, ids: Sequence[int], stretch: str) -> int:
        """How many ids at the end may change if the stretch of text that they end goes on."""
        pieces = self._tokenizer.split(stretch)
        if not pieces:
            return 0
        unstable = covered = 0
        while covered < len(pieces[-1]):
            unstable += 1
            covered += len(self._tokenizer.token_bytes(ids[-unstable]))
        # A pattern such as \s*[\r\n] can still join runs of white space.
        if self._is_space(ids[-unstable]):
            while unstable < len(ids) and self._is_space(ids[-unstable - 1]):
                unstable += 1
        return unstable

    def _is_space(self, id: int) -> bool:
        id = self._original.get(id, id)
        return id not in self._special_ids and not self._tokenizer.token_bytes(id).strip(b" \n\t")

    def bytes_of(self, ids: Iterable[int]) -> bytes:
        """Return the bytes of ids as the encoding decodes them."""
        original, token_bytes = self._original, self._tokenizer.token_bytes
        return b"".join(token_bytes(original.get(id, id)) for id in ids)

    def completions(self, rest: bytes, tokens: Sequence[tuple[bytes, int]]) -> set[tuple[int, ...]]:
        """Return the shortest sequences of ids that cover ``rest`` in a text that begins with it.

        ``tokens`` are (bytes, id) of every ordinary token, sorted.
        """
        found: set[tuple[int, ...]] = {(id,) for _, id in _that_begin(tokens, rest)}
        for cut in range(1, len(rest)):
            for token, _ in _that_begin(tokens, rest[cut:]):
                found.add(self._covering(rest[:cut] + token, len(rest)))
        found.update(self._split_at_last_space(rest))
        return found

    def _covering(self, possible: bytes, length: int) -> tuple[int, ...]:
        """Return the first ids of a possible text, as many as cover ``length`` bytes."""
        try:
            ids = self._tokenizer.encode_ordinary(possible.decode())
        except UnicodeDecodeError:
            ids = self._tokenizer._core.merge_piece(possible)
        covered = 0
        for count, id in enumerate(ids, start=1):
            covered += len(self._tokenizer.token_bytes(id))
            if covered >= length:
                return tuple(ids[:count])
        return tuple(ids)

    def _split_at_last_space(self, rest: bytes) -> Iterable[tuple[int, ...]]:
        r"""Yield what ``rest`` becomes if a following character makes ``\s+(?!\S)`` leave its last space
        alone.
        """
        last = rest.decode("utf-8", "replace")[-1]
        width = len(last.encode())
        # Python counts four separators as white space that are none in Unicode.
        if len(rest) > width and last.isspace() and last not in "\x1c\x1d\x1e\x1f":
            merge = self._tokenizer._core.merge_piece
            yield tuple(merge(rest[:-width]) + merge(rest[-width:]))


def _that_begin(tokens: Sequence[tuple[bytes, int]], prefix: bytes) -> Iterator[tuple[bytes, int]]:
    place = bisect_left(tokens, (prefix, -1))
    while place < len(tokens) and tokens[place][0].startswith(prefix):
        yield tokens[place]
        place += 1
