"""``tiktoken.Encoding`` over gptbpe: the same methods, arguments, ids and kinds of errors.

    -import tiktoken
    +from gptbpe.compat import tiktoken

What differs, on purpose: nothing is downloaded; texts on which tiktoken's regex overflows its stack are
encoded; ``num_threads`` is honoured for a list of long texts as for many short ones; ``encode_to_numpy``
gives ``uint32`` as tiktoken does, while :meth:`gptbpe.Tokenizer.encode_to_numpy` gives ``uint16`` where the
vocabulary fits.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property
from typing import Any, Literal, SupportsIndex

import numpy as np
import numpy.typing as npt

from gptbpe import packaged
from gptbpe.errors import UnknownTokenError
from gptbpe.tokenizer import Tokenizer
from gptbpe.types import END_OF_TEXT

Allowed = Literal["all"] | AbstractSet[str]
Disallowed = Literal["all"] | Collection[str]


def get_encoding(name: str) -> Encoding:
    """Return a packaged encoding by tiktoken's name.

    >>> get_encoding("cl100k_base").encode("hello world")
    [15339, 1917]
    """
    return Encoding.from_tokenizer(Tokenizer.get(name), name)


def list_encoding_names() -> list[str]:
    """Return the names that :func:`get_encoding` knows."""
    return packaged.names()


class Encoding:
    r"""A drop-in for ``tiktoken.Encoding``.

    >>> enc = Encoding(
    ...     "toy",
    ...     pat_str=r" ?\w+",
    ...     mergeable_ranks={bytes([byte]): byte for byte in range(256)} | {b"lo": 256},
    ...     special_tokens={"<|endoftext|>": 257},
    ... )
    >>> enc.encode("low<|endoftext|>", allowed_special="all")
    [256, 119, 257]
    >>> enc.n_vocab, enc.eot_token
    (258, 257)
    """

    def __init__(
        self,
        name: str,
        *,
        pat_str: str,
        mergeable_ranks: Mapping[bytes, int],
        special_tokens: Mapping[str, int],
        explicit_n_vocab: int | None = None,
    ) -> None:
        tokenizer = Tokenizer.from_ranks(mergeable_ranks, pattern=pat_str, special_tokens=special_tokens)
        if explicit_n_vocab is not None and (
            explicit_n_vocab != tokenizer.vocab_size
            or explicit_n_vocab != len(mergeable_ranks) + len(special_tokens)
        ):
            raise ValueError(
                f"explicit_n_vocab is {explicit_n_vocab}, but there are {len(mergeable_ranks)} ranks and "
                f"{len(special_tokens)} special tokens with ids up to {tokenizer.vocab_size - 1}"
            )
        self._set(name, tokenizer)

    def _set(self, name: str, tokenizer: Tokenizer) -> None:
        self.name = name
        self._tokenizer = tokenizer
        self._special_tokens = tokenizer.special_tokens
        self.max_token_value = tokenizer.vocab_size - 1

    @classmethod
    def from_tokenizer(cls, tokenizer: Tokenizer, name: str = "gptbpe") -> Encoding:
        """Wrap a :class:`gptbpe.Tokenizer`, so that code written for tiktoken can use it.

        >>> Encoding.from_tokenizer(Tokenizer.get("gpt2")).encode("hi")
        [5303]
        """
        self = object.__new__(cls)
        self._set(name, tokenizer)
        return self

    def __repr__(self) -> str:
        """Show the name, as tiktoken does."""
        return f"<Encoding {self.name!r}>"

    def __reduce__(self) -> tuple[Any, tuple[Tokenizer, str]]:
        """Pickle as the tokenizer and its name."""
        return Encoding.from_tokenizer, (self._tokenizer, self.name)

    # ---- encoding --------------------------------------------------------------------------------

    def encode_ordinary(self, text: str) -> list[int]:
        """Encode text in which nothing is special.

        >>> get_encoding("gpt2").encode_ordinary("hello world")
        [31373, 995]
        """
        return self._tokenizer.encode_ordinary(_repaired(text))

    def encode(
        self, text: str, *, allowed_special: Allowed = frozenset(), disallowed_special: Disallowed = "all"
    ) -> list[int]:
        """Encode text; a special token in it is an id if allowed, and an error if disallowed.

        >>> get_encoding("gpt2").encode("<|endoftext|>", allowed_special={"<|endoftext|>"})
        [50256]
        """
        return self._tokenizer.encode(
            _repaired(text), allowed_special=allowed_special, disallowed_special=disallowed_special
        )

    def encode_to_numpy(
        self, text: str, *, allowed_special: Allowed = frozenset(), disallowed_special: Disallowed = "all"
    ) -> npt.NDArray[np.uint32]:
        """Encode into a uint32 array of shape (tokens,)."""
        ids = self._tokenizer.encode_to_numpy(
            _repaired(text), allowed_special=allowed_special, disallowed_special=disallowed_special
        )
        return ids.astype(np.uint32, copy=False)

    def encode_ordinary_batch(self, text: list[str], *, num_threads: int = 8) -> list[list[int]]:
        """Encode several texts in which nothing is special.

        >>> get_encoding("gpt2").encode_ordinary_batch(["hello", " world"])
        [[31373], [995]]
        """
        return self._tokenizer.encode_batch(
            [_repaired(part) for part in text], disallowed_special=(), threads=num_threads
        )

    def encode_batch(
        self,
        text: list[str],
        *,
        num_threads: int = 8,
        allowed_special: Allowed = frozenset(),
        disallowed_special: Disallowed = "all",
    ) -> list[list[int]]:
        """Encode several texts, each as :meth:`encode` does."""
        return self._tokenizer.encode_batch(
            [_repaired(part) for part in text],
            allowed_special=allowed_special,
            disallowed_special=disallowed_special,
            threads=num_threads,
        )

    def encode_single_token(self, text_or_bytes: str | bytes) -> int:
        """Return the id of one token, special ones included.

        Raises:
            KeyError: no token is exactly this.

        >>> get_encoding("gpt2").encode_single_token("hello")
        31373
        """
        id = self._tokenizer.token_id(text_or_bytes)
        if id is None:
            raise KeyError(text_or_bytes)
        return id

    def encode_with_unstable(
        self, text: str, *, allowed_special: Allowed = frozenset(), disallowed_special: Disallowed = "all"
    ) -> tuple[list[int], list[list[int]]]:
        """Encode the part of a text that stays the same however it goes on, and list what its end may become.

        Returns:
            The stable ids, and every sequence of ids that some continuation gives to the rest: the shortest
            that cover it, in no particular order.

        >>> stable, completions = get_encoding("gpt2").encode_with_unstable("hello fanta")
        >>> stable, [277, 4910] in completions
        ([31373], True)
        """
        text = _repaired(text)
        ids = self.encode(text, allowed_special=allowed_special, disallowed_special=disallowed_special)
        unstable = self._length_of_last_piece(text, ids, allowed_special)
        if unstable == 0:
            return ids, []
        while unstable < len(ids) and self._is_space(ids[-unstable]) and self._is_space(ids[-unstable - 1]):
            unstable += 1  # a pattern such as \s*[\r\n] can still join runs of white space
        stable, rest = ids[:-unstable], self.decode_bytes(ids[-unstable:])
        completions: set[tuple[int, ...]] = {(id,) for _, id in self._tokens_that_begin(rest)}
        for cut in range(1, len(rest)):
            for token, _ in self._tokens_that_begin(rest[cut:]):
                completions.add(self._covering(rest[:cut] + token, len(rest)))
        completions.update(self._split_at_last_space(rest))
        return stable, [list(completion) for completion in completions]

    def _length_of_last_piece(self, text: str, ids: list[int], allowed_special: Allowed) -> int:
        """How many of the ids come from the last pre-token; 0 where a special token is last."""
        if not ids or ids[-1] in self._special_values:
            return 0
        allowed = self.special_tokens_set if allowed_special == "all" else allowed_special
        tail = text
        for name in allowed & self.special_tokens_set:
            tail = tail.rpartition(name)[2]
        last = self._tokenizer.split(tail)[-1]
        length = covered = 0
        while covered < len(last):
            length += 1
            covered += len(self._tokenizer.token_bytes(ids[-length]))
        return length

    def _is_space(self, id: int) -> bool:
        return not self._tokenizer.token_bytes(id).strip(b" \n\t")

    def _tokens_that_begin(self, prefix: bytes) -> Iterable[tuple[bytes, int]]:
        tokens = self._sorted_tokens
        place = bisect_left(tokens, (prefix, -1))
        while place < len(tokens) and tokens[place][0].startswith(prefix):
            yield tokens[place]
            place += 1

    def _covering(self, possible: bytes, length: int) -> tuple[int, ...]:
        """Return the first ids of a possible text, as many as cover ``length`` bytes."""
        try:
            ids = self._tokenizer.encode_ordinary(possible.decode())
        except UnicodeDecodeError:
            ids = self._unsplit.encode_ordinary(possible)
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
        if len(rest) > 1 and last.isspace() and len(rest) > width:
            yield tuple(
                self._unsplit.encode_ordinary(rest[:-width]) + self._unsplit.encode_ordinary(rest[-width:])
            )

    # ---- decoding --------------------------------------------------------------------------------

    def decode_bytes(self, tokens: Sequence[int] | npt.NDArray[Any]) -> bytes:
        """Decode ids to bytes.

        Raises:
            KeyError: an element is no token, as with tiktoken.

        >>> get_encoding("gpt2").decode_bytes([31373, 995])
        b'hello world'
        """
        try:
            return self._tokenizer.decode_bytes(tokens)
        except UnknownTokenError as error:
            raise KeyError(f"invalid token for decoding: {error}") from None

    def decode(self, tokens: Sequence[int] | npt.NDArray[Any], errors: str = "replace") -> str:
        """Decode ids to text.

        >>> get_encoding("gpt2").decode([31373, 995])
        'hello world'
        """
        return self.decode_bytes(tokens).decode("utf-8", errors)

    def decode_single_token_bytes(self, token: SupportsIndex) -> bytes:
        """Return the bytes of one token.

        >>> get_encoding("gpt2").decode_single_token_bytes(995)
        b' world'
        """
        try:
            return self._tokenizer.token_bytes(token)
        except UnknownTokenError:
            raise KeyError(token) from None

    def decode_tokens_bytes(self, tokens: Sequence[int]) -> list[bytes]:
        """Return the bytes of each token.

        >>> get_encoding("gpt2").decode_tokens_bytes([31373, 995])
        [b'hello', b' world']
        """
        return [self.decode_single_token_bytes(token) for token in tokens]

    def decode_with_offsets(self, tokens: Sequence[int]) -> tuple[str, list[int]]:
        """Decode ids to text, and tell at which character each token begins.

        A token that begins inside a character has the offset of that character.

        >>> get_encoding("gpt2").decode_with_offsets([31373, 995])
        ('hello world', [0, 5])
        """
        parts = self.decode_tokens_bytes(tokens)
        offsets = []
        characters = 0
        for part in parts:
            inside = bool(part) and part[0] & 0xC0 == 0x80
            offsets.append(max(0, characters - inside))
            characters += sum(byte & 0xC0 != 0x80 for byte in part)
        return b"".join(parts).decode("utf-8", "strict"), offsets

    def decode_batch(
        self, batch: Sequence[Sequence[int]], *, errors: str = "replace", num_threads: int = 8
    ) -> list[str]:
        """Decode several sequences of ids to texts."""
        return [self.decode(tokens, errors) for tokens in batch]

    def decode_bytes_batch(self, batch: Sequence[Sequence[int]], *, num_threads: int = 8) -> list[bytes]:
        """Decode several sequences of ids to bytes."""
        return [self.decode_bytes(tokens) for tokens in batch]

    # ---- what it is ------------------------------------------------------------------------------

    def token_byte_values(self) -> list[bytes]:
        """Return the bytes of every ordinary token, sorted."""
        return [token for token, _ in self._sorted_tokens]

    @property
    def eot_token(self) -> int:
        """The id of ``<|endoftext|>``."""
        return self._special_tokens[END_OF_TEXT]

    @cached_property
    def special_tokens_set(self) -> set[str]:
        """The strings of the special tokens."""
        return set(self._special_tokens)

    def is_special_token(self, token: int) -> bool:
        """Whether an id is a special token's."""
        return token in self._special_values

    @property
    def n_vocab(self) -> int:
        """One more than the largest id."""
        return self.max_token_value + 1

    @cached_property
    def _special_values(self) -> frozenset[int]:
        return frozenset(self._special_tokens.values())

    @cached_property
    def _mergeable_ranks(self) -> dict[bytes, int]:
        return dict(self._tokenizer.ranks())

    @cached_property
    def _pat_str(self) -> str:
        return "|".join(self._tokenizer.regexes)

    @cached_property
    def _sorted_tokens(self) -> list[tuple[bytes, int]]:
        return sorted(self._tokenizer.ranks().items())

    @cached_property
    def _unsplit(self) -> Tokenizer:
        return Tokenizer.from_ranks(self._mergeable_ranks, pattern=None)


def _repaired(text: str) -> str:
    """Join surrogate pairs and replace lone surrogates, as tiktoken does."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
