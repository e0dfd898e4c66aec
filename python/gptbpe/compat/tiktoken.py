"""tiktoken's interface over gptbpe: the same functions, methods, arguments, ids and kinds of errors.

    -import tiktoken
    +from gptbpe.compat import tiktoken

The interface is that of tiktoken 0.14.0. What differs, on purpose:

* nothing is downloaded, and plugins in ``tiktoken_ext`` are not looked for;
* texts on which tiktoken's regex overflows its stack are encoded;
* text that no match of ``pat_str`` covers is encoded, tiktoken leaves it out;
* a vocabulary must have all 256 bytes, and a special token an id of its own (``o200k_harmony`` is without
  ``<|reserved_200018|>``, a second name of ``<|endofprompt|>``'s id): :class:`~gptbpe.errors.TokenizerError`,
  which is a ``ValueError``, where tiktoken takes them or panics;
* where one special token begins with another the longer one is found, in tiktoken the first in a hash table;
* sentences in exceptions are gptbpe's.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property
from operator import index
from typing import Any, Literal, SupportsIndex

import numpy as np
import numpy.typing as npt

from gptbpe.errors import SpecialTokenError, TextError, TokenizerError, UnknownTokenError
from gptbpe.tokenizer import Tokenizer
from gptbpe.types import END_OF_TEXT

Allowed = Literal["all"] | AbstractSet[str]
Disallowed = Literal["all"] | Collection[str]

_NOTHING: AbstractSet[str] = frozenset()

_HARMONY_NAMES = ("return", "constrain", "", "channel", "start", "end", "message", "", "", "", "call")


def _p50k_edit() -> Tokenizer:
    ends = {END_OF_TEXT: 50256, "<|fim_prefix|>": 50281, "<|fim_middle|>": 50282, "<|fim_suffix|>": 50283}
    return _with_special_tokens("p50k_base", ends)


def _o200k_harmony() -> Tokenizer:
    special_tokens = {"<|startoftext|>": 199998, END_OF_TEXT: 199999, "<|endofprompt|>": 200018}
    for id, name in enumerate(_HARMONY_NAMES, start=200002):
        special_tokens[f"<|{name or f'reserved_{id}'}|>"] = id
    for id in (200000, 200001, *range(200013, 201088)):
        if id != 200018:
            special_tokens[f"<|reserved_{id}|>"] = id
    return _with_special_tokens("o200k_base", special_tokens)


def _with_special_tokens(name: str, special_tokens: Mapping[str, int]) -> Tokenizer:
    """Return the packaged encoding ``name`` with other special tokens."""
    base = Tokenizer.get(name)
    return Tokenizer.from_ranks(base.ranks(), pattern=base.regexes, special_tokens=special_tokens)


_MAKERS: dict[str, Callable[[], Tokenizer]] = {
    "gpt2": lambda: Tokenizer.get("gpt2"),
    "r50k_base": lambda: Tokenizer.get("r50k_base"),
    "p50k_base": lambda: Tokenizer.get("p50k_base"),
    "p50k_edit": _p50k_edit,
    "cl100k_base": lambda: Tokenizer.get("cl100k_base"),
    "o200k_base": lambda: Tokenizer.get("o200k_base"),
    "o200k_harmony": _o200k_harmony,
}

_MADE: dict[str, Encoding] = {}

_MODELS = {
    "gpt2": "gpt2 gpt-2",
    "r50k_base": (
        "davinci curie babbage ada text-davinci-001 text-curie-001 text-babbage-001 text-ada-001 "
        "text-similarity-davinci-001 text-similarity-curie-001 text-similarity-babbage-001 "
        "text-similarity-ada-001 text-search-davinci-doc-001 text-search-curie-doc-001 "
        "text-search-babbage-doc-001 text-search-ada-doc-001 code-search-babbage-code-001 "
        "code-search-ada-code-001"
    ),
    "p50k_base": (
        "text-davinci-003 text-davinci-002 code-davinci-002 code-davinci-001 code-cushman-002 "
        "code-cushman-001 davinci-codex cushman-codex"
    ),
    "p50k_edit": "text-davinci-edit-001 code-davinci-edit-001",
    "cl100k_base": (
        "gpt-4 gpt-3.5-turbo gpt-3.5 gpt-35-turbo davinci-002 babbage-002 text-embedding-ada-002 "
        "text-embedding-3-small text-embedding-3-large"
    ),
    "o200k_base": "o1 o3 o4-mini gpt-5 gpt-4.1 gpt-4o",
}
"""Encoding -> the models that use it."""

_FAMILIES = {
    "cl100k_base": (
        "gpt-4- gpt-3.5-turbo- gpt-35-turbo- ft:gpt-4 ft:gpt-3.5-turbo ft:davinci-002 ft:babbage-002"
    ),
    "o200k_base": "o1- o3- o4-mini- gpt-5 gpt-4.5- gpt-4.1- chatgpt-4o- gpt-4o- ft:gpt-4o",
    "o200k_harmony": "gpt-oss-",
}
"""Encoding -> beginnings of the names of models that use it; the longest one decides."""


def get_encoding(encoding_name: str) -> Encoding:
    """Return an encoding by tiktoken's name; the second call returns the first one's.

    Raises:
        ValueError: no encoding has this name.

    >>> get_encoding("cl100k_base").encode("hello world")
    [15339, 1917]
    """
    if not isinstance(encoding_name, str):
        raise TokenizerError(f"an encoding's name must be a string, found {encoding_name!r}")
    made = _MADE.get(encoding_name)
    if made is not None:
        return made
    if encoding_name not in _MAKERS:
        raise TokenizerError(f"no encoding is named {encoding_name!r}; there are {', '.join(_MAKERS)}")
    # No lock, which a fork could find taken: of two threads that make it, one's is kept.
    made = Encoding.from_tokenizer(_MAKERS[encoding_name](), encoding_name)
    return _MADE.setdefault(encoding_name, made)


def list_encoding_names() -> list[str]:
    """Return the names that :func:`get_encoding` knows."""
    return list(_MAKERS)


def encoding_name_for_model(model_name: str) -> str:
    """Return the name of the encoding that one of OpenAI's models uses.

    Raises:
        KeyError: the model is not known.

    >>> encoding_name_for_model("gpt-4o-2024-05-13")
    'o200k_base'
    """
    for encoding, models in _MODELS.items():
        if model_name in models.split():
            return encoding
    fitting = [
        (len(family), encoding)
        for encoding, families in _FAMILIES.items()
        for family in families.split()
        if model_name.startswith(family)
    ]
    if not fitting:
        raise KeyError(
            f"no encoding is known for the model {model_name!r}; if you know its name, call get_encoding"
        )
    return max(fitting)[1]


def encoding_for_model(model_name: str) -> Encoding:
    """Return the encoding that one of OpenAI's models uses.

    Raises:
        KeyError: the model is not known.

    >>> encoding_for_model("gpt-4o").name
    'o200k_base'
    """
    return get_encoding(encoding_name_for_model(model_name))


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
        if not isinstance(pat_str, str):
            raise TypeError(f"pat_str must be a str, found {type(pat_str).__name__}")
        # In a list the pattern is a regex even if some pattern has its name.
        tokenizer = Tokenizer.from_ranks(mergeable_ranks, pattern=[pat_str], special_tokens=special_tokens)
        if explicit_n_vocab and (
            explicit_n_vocab != tokenizer.vocab_size
            or explicit_n_vocab != len(mergeable_ranks) + len(special_tokens)
        ):
            raise AssertionError(
                f"explicit_n_vocab is {explicit_n_vocab}, but there are {len(mergeable_ranks)} ranks and "
                f"{len(special_tokens)} special tokens with ids up to {tokenizer.vocab_size - 1}"
            )
        self._set(name, tokenizer)
        self.__dict__.update(_pat_str=pat_str, _mergeable_ranks=mergeable_ranks)

    def _set(self, name: str, tokenizer: Tokenizer) -> None:
        self.name = name
        self._tokenizer = tokenizer
        self._core = tokenizer._core
        self._special_tokens = tokenizer.special_tokens
        self._special_token_values = set(self._special_tokens.values())
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

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        """Pickle as the name alone if :func:`get_encoding` gave it, else as what it was made of."""
        if self is _MADE.get(self.name):
            return get_encoding, (self.name,)
        if "_pat_str" in self.__dict__:
            parts = (self._pat_str, self._mergeable_ranks, self._special_tokens)
            return _of_parts, (type(self), self.name, *parts)
        return type(self).from_tokenizer, (self._tokenizer, self.name)

    # ---- encoding --------------------------------------------------------------------------------

    def encode_ordinary(self, text: str) -> list[int]:
        """Encode text in which nothing is special.

        >>> get_encoding("gpt2").encode_ordinary("hello world")
        [31373, 995]
        """
        if not isinstance(text, str):
            _text(text)
        try:
            return self._tokenizer.encode_ordinary(text)
        except TextError:
            return self._tokenizer.encode_ordinary(_repaired(text))

    def encode(
        self, text: str, *, allowed_special: Allowed = _NOTHING, disallowed_special: Disallowed = "all"
    ) -> list[int]:
        """Encode text; a special token in it is an id if allowed, and an error if disallowed.

        Surrogate pairs become characters, lone surrogates U+FFFD.

        Raises:
            ValueError: the text holds a disallowed special token.
            TypeError: ``text`` is no ``str``, or ``allowed_special`` no set.

        >>> get_encoding("gpt2").encode("<|endoftext|>", allowed_special={"<|endoftext|>"})
        [50256]
        """
        allowed, disallowed = allowed_special, disallowed_special
        if allowed is not _NOTHING or disallowed != "all":  # the defaults need no check
            allowed, disallowed = _names(allowed, disallowed)
        if not isinstance(text, str):
            _text(text)
        try:
            return self._tokenizer.encode(text, allowed_special=allowed, disallowed_special=disallowed)
        except TextError:
            self._refuse(text, allowed, disallowed)
            return self._tokenizer.encode(_repaired(text), allowed_special=allowed, disallowed_special=())

    def encode_to_numpy(
        self, text: str, *, allowed_special: Allowed = _NOTHING, disallowed_special: Disallowed = "all"
    ) -> npt.NDArray[np.uint32]:
        """Encode into a uint32 array of shape (tokens,).

        Raises:
            UnicodeEncodeError: the text has a surrogate; only :meth:`encode` repairs it, as in tiktoken.
        """
        allowed, disallowed = _names(allowed_special, disallowed_special)
        try:
            ids = self._tokenizer.encode_to_numpy(
                _text(text), allowed_special=allowed, disallowed_special=disallowed
            )
        except TextError:
            self._refuse(text, allowed, disallowed)
            text.encode()
            raise
        return ids.astype(np.uint32, copy=False)

    def encode_ordinary_batch(self, text: list[str], *, num_threads: int = 8) -> list[list[int]]:
        """Encode several texts in which nothing is special.

        >>> get_encoding("gpt2").encode_ordinary_batch(["hello", " world"])
        [[31373], [995]]
        """
        return self.encode_batch(text, num_threads=num_threads, disallowed_special=())

    def encode_batch(
        self,
        text: list[str],
        *,
        num_threads: int = 8,
        allowed_special: Allowed = _NOTHING,
        disallowed_special: Disallowed = "all",
    ) -> list[list[int]]:
        """Encode several texts, each as :meth:`encode` does."""
        allowed, disallowed = _names(allowed_special, disallowed_special)
        threads = _threads(num_threads)
        texts = [_text(part) for part in text]
        try:
            return self._tokenizer.encode_batch(
                texts, allowed_special=allowed, disallowed_special=disallowed, threads=threads
            )
        except TextError:
            for part in texts:
                self._refuse(part, allowed, disallowed)
            return self._tokenizer.encode_batch(
                [_repaired(part) for part in texts],
                allowed_special=allowed,
                disallowed_special=(),
                threads=threads,
            )

    def _refuse(self, text: str, allowed: Literal["all"] | AbstractSet[str], disallowed: Disallowed) -> None:
        """Raise if a text that is no UTF-8 holds a disallowed string, before it is repaired."""
        if disallowed == "all":
            disallowed = set() if allowed == "all" else self.special_tokens_set - allowed
        found = [(text.find(name), name) for name in disallowed if name in text]
        if found:
            place, name = min(found)
            raise SpecialTokenError(
                f"the text holds the disallowed special token {name!r} at character {place}"
            )

    def encode_single_token(self, text_or_bytes: str | bytes) -> int:
        """Return the id of one token, special ones included.

        Raises:
            KeyError: no token is exactly this.

        >>> get_encoding("gpt2").encode_single_token("hello")
        31373
        """
        piece = _bytes(text_or_bytes)
        core = self._core
        id = core.ordinary_id(piece)
        if id is None:
            id = core.token_id(piece)
        if id is None:
            raise KeyError(piece)
        return id

    def encode_with_unstable(
        self, text: str, *, allowed_special: Allowed = _NOTHING, disallowed_special: Disallowed = "all"
    ) -> tuple[list[int], list[list[int]]]:
        """Encode the part of a text that stays the same however it goes on, and list what its end may become.

        Returns:
            The stable ids, and every sequence of ids that some continuation gives to the rest: the shortest
            that cover it, in no particular order.

        Raises:
            UnicodeEncodeError: the text has a surrogate; only :meth:`encode` repairs it, as in tiktoken.

        >>> stable, completions = get_encoding("gpt2").encode_with_unstable("hello fanta")
        >>> stable, [277, 4910] in completions
        ([31373], True)
        """
        allowed, disallowed = _names(allowed_special, disallowed_special)
        try:
            ids, starts = self._tokenizer.encode_with_offsets(
                _text(text), allowed_special=allowed, disallowed_special=disallowed
            )
        except TextError:
            self._refuse(text, allowed, disallowed)
            text.encode()
            raise
        unstable = self._unstable(ids, self._after_last_special(text, ids, starts))
        if unstable == 0:
            return ids, []
        stable, rest = ids[:-unstable], self.decode_bytes(ids[-unstable:])
        completions: set[tuple[int, ...]] = {(id,) for _, id in self._tokens_that_begin(rest)}
        for cut in range(1, len(rest)):
            for token, _ in self._tokens_that_begin(rest[cut:]):
                completions.add(self._covering(rest[:cut] + token, len(rest)))
        completions.update(self._split_at_last_space(rest))
        return stable, [list(completion) for completion in completions]

    def _after_last_special(self, text: str, ids: list[int], starts: list[int]) -> str:
        for id, start in zip(reversed(ids), reversed(starts), strict=True):
            if id in self._special_token_values:
                return text[start + len(self._tokenizer.token_bytes(id).decode()) :]
        return text

    def _unstable(self, ids: list[int], stretch: str) -> int:
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
        is_ordinary = id not in self._special_token_values
        return is_ordinary and not self._tokenizer.token_bytes(id).strip(b" \n\t")

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
            ids = self._core.merge_piece(possible)
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
            merge = self._core.merge_piece
            yield tuple(merge(rest[:-width]) + merge(rest[-width:]))

    # Not public, but tiktoken's own tests and some programs call them.

    def _encode_single_piece(self, text_or_bytes: str | bytes) -> list[int]:
        """Encode a piece of text as one pre-token."""
        piece = _bytes(text_or_bytes)
        core = self._core
        id = core.ordinary_id(piece)
        return core.merge_piece(piece) if id is None else [id]

    def _encode_only_native_bpe(self, text: str) -> list[int]:
        return self.encode_ordinary(text)

    def _encode_bytes(self, text: bytes) -> list[int]:
        """Encode bytes; where they stop being UTF-8, the rest and the pre-token before it are one piece."""
        if not isinstance(text, bytes):
            raise TypeError(f"expected bytes, found {type(text).__name__}")
        try:
            return self.encode_ordinary(text.decode())
        except UnicodeDecodeError as error:
            good, rest = text[: error.start].decode(), text[error.start :]
        ids = self.encode_ordinary(good)
        unstable = self._unstable(ids, good)
        if unstable:
            rest = self.decode_bytes(ids[-unstable:]) + rest
            del ids[-unstable:]
        return ids + self._encode_single_piece(rest)

    # ---- decoding --------------------------------------------------------------------------------

    def decode_bytes(self, tokens: Sequence[int] | npt.NDArray[Any]) -> bytes:
        """Decode ids to bytes.

        Raises:
            KeyError: an element is no token.
            OverflowError: an element is negative or has more than 32 bits.
            TypeError: an element is no integer.

        >>> get_encoding("gpt2").decode_bytes([31373, 995])
        b'hello world'
        """
        ids = list(tokens) if isinstance(tokens, (bytes, bytearray)) else tokens
        try:
            return self._tokenizer.decode_bytes(ids)
        except UnknownTokenError as error:
            raise _no_token(error, ids) from None

    def decode(self, tokens: Sequence[int] | npt.NDArray[Any], errors: str = "replace") -> str:
        """Decode ids to text.

        >>> get_encoding("gpt2").decode([31373, 995])
        'hello world'
        """
        ids = list(tokens) if isinstance(tokens, (bytes, bytearray)) else tokens
        try:
            return self._tokenizer.decode(ids, errors)
        except UnknownTokenError as error:
            raise _no_token(error, ids) from None

    def decode_single_token_bytes(self, token: SupportsIndex) -> bytes:
        """Return the bytes of one token, special ones included.

        Raises:
            KeyError: no token has this id.
            OverflowError: it is negative or has more than 32 bits.

        >>> get_encoding("gpt2").decode_single_token_bytes(995)
        b' world'
        """
        id = _id(token)
        try:
            return self._tokenizer.token_bytes(id)
        except UnknownTokenError:
            raise KeyError(str(id)) from None

    def decode_tokens_bytes(self, tokens: Sequence[int]) -> list[bytes]:
        """Return the bytes of each token.

        >>> get_encoding("gpt2").decode_tokens_bytes([31373, 995])
        [b'hello', b' world']
        """
        return [self.decode_single_token_bytes(token) for token in tokens]

    def decode_with_offsets(self, tokens: Sequence[int]) -> tuple[str, list[int]]:
        """Decode ids to text, and tell at which character each token begins.

        A token that begins inside a character has the offset of that character.

        Raises:
            UnicodeDecodeError: the bytes of the ids are no UTF-8.

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
        _threads(num_threads)
        return [self.decode(tokens, errors) for tokens in batch]

    def decode_bytes_batch(self, batch: Sequence[Sequence[int]], *, num_threads: int = 8) -> list[bytes]:
        """Decode several sequences of ids to bytes."""
        _threads(num_threads)
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
        """Whether an id is a special token's.

        Raises:
            AssertionError: ``token`` is no ``int``.
        """
        if not isinstance(token, int):
            raise AssertionError(f"expected an int, found {token!r}")
        return token in self._special_token_values

    @property
    def n_vocab(self) -> int:
        """One more than the largest id."""
        return self.max_token_value + 1

    @cached_property
    def _mergeable_ranks(self) -> dict[bytes, int]:
        return dict(self._tokenizer.ranks())

    @cached_property
    def _pat_str(self) -> str:
        return "|".join(self._tokenizer.regexes)

    @cached_property
    def _sorted_tokens(self) -> list[tuple[bytes, int]]:
        return sorted(self._mergeable_ranks.items())


def _of_parts(
    kind: type[Encoding],
    name: str,
    pat_str: str,
    mergeable_ranks: Mapping[bytes, int],
    special_tokens: Mapping[str, int],
) -> Encoding:
    return kind(name, pat_str=pat_str, mergeable_ranks=mergeable_ranks, special_tokens=special_tokens)


def _text(value: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a str, found {type(value).__name__}")
    return value


def _bytes(value: str | bytes) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if not isinstance(value, bytes):
        raise TypeError(f"expected str or bytes, found {type(value).__name__}")
    return value


def _id(value: object) -> int:
    """Check that a value could be an id: an integer without sign in 32 bits."""
    id = index(value)  # type: ignore[arg-type]
    if not 0 <= id < 1 << 32:
        raise OverflowError(f"{id} is no id: ids have 32 bits and no sign")
    return id


def _no_token(error: UnknownTokenError, ids: object) -> Exception:
    """Return tiktoken's exception for ids of which one names no token."""
    if error.index is None:
        return TypeError(str(error))
    if isinstance(ids, (list, tuple)):
        for id in ids:  # tiktoken converts all of them before it looks one up
            _id(id)
    return KeyError(f"Invalid token for decoding: {_id(error.id)}")


def _threads(count: int) -> int:
    if count <= 0:
        raise ValueError(f"num_threads must be greater than 0, found {count}")
    return count


def _names(allowed: Allowed, disallowed: Disallowed) -> tuple[Allowed, Disallowed]:
    """Check the arguments that name special tokens; what is disallowed may be any collection."""
    if allowed != "all" and not isinstance(allowed, AbstractSet):
        raise TypeError(f'allowed_special must be "all" or a set, found {allowed!r}')
    if disallowed == "all":
        return allowed, disallowed
    if not disallowed:
        return allowed, ()
    names = frozenset(disallowed)
    if "" in names:
        raise SpecialTokenError("every text holds the disallowed special token ''")
    return allowed, names


def _repaired(text: str) -> str:
    """Join surrogate pairs and replace lone surrogates."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
