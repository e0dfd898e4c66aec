"""``Encoding``: tiktoken's class over a :class:`gptbpe.Tokenizer`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, SupportsIndex, TypeVar

import numpy as np
import numpy.typing as npt

from gptbpe.compat.tiktoken import arguments
from gptbpe.compat.tiktoken.arguments import NOTHING, Allowed, Disallowed
from gptbpe.compat.tiktoken.shared_ids import SharedIds, has_shared_ids
from gptbpe.compat.tiktoken.unstable import Ends
from gptbpe.errors import UnknownTokenError
from gptbpe.tokenizer import Tokenizer
from gptbpe.types import END_OF_TEXT

_T = TypeVar("_T")

ENCODINGS: dict[str, Encoding] = {}
"""What ``get_encoding`` has returned, by name."""


class Encoding:
    r"""A drop-in for ``tiktoken.Encoding``.

    Args:
        name: what to call it.
        pat_str: the regex that splits text.
        mergeable_ranks: token -> rank, which is also the id. All 256 bytes are needed.
        special_tokens: string -> id.
        explicit_n_vocab: how many tokens there are; checked if given.

    Raises:
        ValueError: the parts make no tokenizer.
        AssertionError: ``explicit_n_vocab`` is another number.

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

    _shared: SharedIds | None

    def __init__(
        self,
        name: str,
        *,
        pat_str: str,
        mergeable_ranks: Mapping[bytes, int],
        special_tokens: Mapping[str, int],
        explicit_n_vocab: int | None = None,
    ) -> None:
        greatest = max(max(mergeable_ranks.values()), max(special_tokens.values(), default=0))
        if explicit_n_vocab:
            tokens = len(mergeable_ranks) + len(special_tokens)
            if not tokens == explicit_n_vocab == greatest + 1:
                raise AssertionError(
                    f"explicit_n_vocab is {explicit_n_vocab}, but there are {tokens} tokens with ids up to "
                    f"{greatest}"
                )
        if not isinstance(pat_str, str):
            raise TypeError(f"pat_str must be a str, found {type(pat_str).__name__}")

        def make(special_tokens: Mapping[str, int]) -> Tokenizer:
            # In a list the pattern is a regex even if some pattern has its name.
            return Tokenizer.from_ranks(mergeable_ranks, pattern=[pat_str], special_tokens=special_tokens)

        if has_shared_ids(mergeable_ranks, special_tokens):
            shared = SharedIds(mergeable_ranks, special_tokens)
            self._set(name, make(shared.renumbered), special_tokens)
            self._shared, self._decoder = shared, make(shared.unique)
        else:
            self._set(name, make(special_tokens), special_tokens)
        self.max_token_value = greatest
        self.__dict__.update(_pat_str=pat_str, _mergeable_ranks=mergeable_ranks)

    def _set(self, name: str, tokenizer: Tokenizer, special_tokens: Mapping[str, int]) -> None:
        self.name = name
        self.max_token_value = tokenizer.vocab_size - 1
        self._special_tokens = special_tokens
        self._special_token_values = set(special_tokens.values())
        self._tokenizer = tokenizer
        self._core = tokenizer._core
        # Other things only where tokens share ids.
        self._shared, self._decoder = None, tokenizer

    @classmethod
    def from_tokenizer(cls, tokenizer: Tokenizer, name: str = "gptbpe") -> Encoding:
        """Wrap a :class:`gptbpe.Tokenizer`, so that code written for tiktoken can use it.

        >>> Encoding.from_tokenizer(Tokenizer.get("gpt2")).encode("hi")
        [5303]
        """
        self = object.__new__(cls)
        self._set(name, tokenizer, tokenizer.special_tokens)
        return self

    def __repr__(self) -> str:
        """Show the name, as tiktoken does."""
        return f"<Encoding {self.name!r}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Pickle as the name alone if ``get_encoding`` gave it, else as what it was made of."""
        if self is ENCODINGS.get(self.name):
            from gptbpe.compat.tiktoken.encodings import get_encoding  # which imports this file

            return get_encoding, (self.name,)
        if "_pat_str" in self.__dict__:
            return _blank, (type(self),), self.__getstate__()
        return type(self).from_tokenizer, (self._tokenizer, self.name)

    def __getstate__(self) -> str | dict[str, Any]:
        """Return what tiktoken puts into a pickle: the name, or the arguments of the class."""
        if self is ENCODINGS.get(self.name):
            return self.name
        return {
            "name": self.name,
            "pat_str": self._pat_str,
            "mergeable_ranks": self._mergeable_ranks,
            "special_tokens": self._special_tokens,
        }

    def __setstate__(self, state: str | Mapping[str, Any]) -> None:
        """Become what :meth:`__getstate__`, ours or tiktoken's, was called on."""
        if isinstance(state, str):
            from gptbpe.compat.tiktoken.encodings import get_encoding

            self.__dict__ = get_encoding(state).__dict__
        else:
            Encoding.__init__(self, **state)

    # ---- encoding --------------------------------------------------------------------------------

    def encode_ordinary(self, text: str) -> list[int]:
        """Encode text in which nothing is special.

        >>> from gptbpe.compat.tiktoken import get_encoding
        >>> get_encoding("gpt2").encode_ordinary("hello world")
        [31373, 995]
        """
        if not isinstance(text, str):
            arguments.as_text(text)
        try:
            return self._tokenizer.encode_ordinary(text)
        except ValueError:
            return self._tokenizer.encode_ordinary(arguments.repaired(text))

    def encode(
        self, text: str, *, allowed_special: Allowed = NOTHING, disallowed_special: Disallowed = "all"
    ) -> list[int]:
        """Encode text; a special token in it is an id if allowed, and an error if disallowed.

        Surrogate pairs become characters, lone surrogates U+FFFD.

        Raises:
            ValueError: the text holds a disallowed special token.
            TypeError: ``text`` is no ``str``, or ``allowed_special`` no set.

        >>> from gptbpe.compat.tiktoken import get_encoding
        >>> get_encoding("gpt2").encode("<|endoftext|>", allowed_special={"<|endoftext|>"})
        [50256]
        """
        if not isinstance(text, str):
            arguments.as_text(text)
        allowed, disallowed = allowed_special, disallowed_special
        if allowed is NOTHING and disallowed == "all":
            # These need no check, and short texts should not wait for one.
            try:
                return self._tokenizer.encode(text)
            except ValueError:
                pass
        else:
            disallowed = arguments.as_names(disallowed)
            if arguments.is_known_form(allowed, disallowed):
                try:
                    ids = self._tokenizer.encode(text, allowed_special=allowed, disallowed_special=disallowed)
                    return ids if self._shared is None else self._restored(text, ids)
                except (TypeError, ValueError):
                    pass
        # Something is wrong: raise what tiktoken raises first, or repair the text.
        arguments.refuse(text, allowed, disallowed, self.special_tokens_set)
        text = arguments.repaired(text)
        arguments.check_allowed(allowed)
        ids = self._tokenizer.encode(text, allowed_special=allowed, disallowed_special=())
        return self._restored(text, ids)

    def _restored(self, text: str, ids: list[int]) -> list[int]:
        """Put back the ids that special tokens share."""
        if self._shared is None or not self._shared.may_occur(text):
            return ids
        return self._shared.restore(ids)

    def _strictly(self, encode: Callable[..., _T], text: str, allowed: Allowed, disallowed: Disallowed) -> _T:
        """Call what encodes, where tiktoken repairs no text."""
        disallowed = arguments.as_names(disallowed)
        if isinstance(text, str) and arguments.is_known_form(allowed, disallowed):
            try:
                return encode(text, allowed_special=allowed, disallowed_special=disallowed)
            except (TypeError, ValueError):
                pass
        arguments.refuse(arguments.as_text(text), allowed, disallowed, self.special_tokens_set)
        text.encode()
        arguments.check_allowed(allowed)
        return encode(text, allowed_special=allowed, disallowed_special=())

    def encode_to_numpy(
        self, text: str, *, allowed_special: Allowed = NOTHING, disallowed_special: Disallowed = "all"
    ) -> npt.NDArray[np.uint32]:
        """Encode into a uint32 array of shape (tokens,).

        Raises:
            UnicodeEncodeError: the text has a surrogate; only :meth:`encode` repairs it, as in tiktoken.
        """
        encode = self._tokenizer.encode_to_numpy
        ids = self._strictly(encode, text, allowed_special, disallowed_special)
        if self._shared is not None and self._shared.may_occur(text):
            self._shared.restore_array(ids)
        return ids.astype(np.uint32, copy=False)

    def encode_ordinary_batch(self, text: list[str], *, num_threads: int = 8) -> list[list[int]]:
        """Encode several texts in which nothing is special.

        >>> from gptbpe.compat.tiktoken import get_encoding
        >>> get_encoding("gpt2").encode_ordinary_batch(["hello", " world"])
        [[31373], [995]]
        """
        threads = arguments.as_threads(num_threads)
        texts = list(text)
        if all(isinstance(each, str) for each in texts):
            try:
                return self._tokenizer.encode_batch(texts, disallowed_special=(), threads=threads)
            except ValueError:
                pass
        return [self.encode_ordinary(each) for each in texts]

    def encode_batch(
        self,
        text: list[str],
        *,
        num_threads: int = 8,
        allowed_special: Allowed = NOTHING,
        disallowed_special: Disallowed = "all",
    ) -> list[list[int]]:
        """Encode several texts, each as :meth:`encode` does."""
        allowed, disallowed = allowed_special, disallowed_special
        if disallowed != "all":
            disallowed = frozenset(disallowed)
        elif allowed != "all":
            frozenset[str]() - allowed  # which must be a set, even if there are no texts
        threads = arguments.as_threads(num_threads)
        texts = list(text)
        if arguments.is_known_form(allowed, disallowed) and all(isinstance(each, str) for each in texts):
            try:
                ids = self._tokenizer.encode_batch(
                    texts, allowed_special=allowed, disallowed_special=disallowed, threads=threads
                )
                return list(map(self._restored, texts, ids)) if self._shared else ids
            except (TypeError, ValueError):
                pass
        # Something is wrong with one of them, and the first such one decides.
        return [self.encode(each, allowed_special=allowed, disallowed_special=disallowed) for each in texts]

    def encode_single_token(self, text_or_bytes: str | bytes) -> int:
        """Return the id of one token, special ones included.

        Raises:
            KeyError: no token is exactly this.

        >>> from gptbpe.compat.tiktoken import get_encoding
        >>> get_encoding("gpt2").encode_single_token("hello")
        31373
        """
        piece = arguments.as_bytes(text_or_bytes)
        id = self._core.ordinary_id(piece)
        if id is None:
            id = self._special_tokens.get(piece.decode("utf-8", "surrogateescape"))
        if id is None:
            raise KeyError(piece)
        return id

    def encode_with_unstable(
        self, text: str, *, allowed_special: Allowed = NOTHING, disallowed_special: Disallowed = "all"
    ) -> tuple[list[int], list[list[int]]]:
        """Encode the part of a text that stays the same however it goes on, and list what its end may become.

        Returns:
            The stable ids, and every sequence of ids that some continuation gives to the rest: the shortest
            that cover it, in no particular order.

        Raises:
            UnicodeEncodeError: the text has a surrogate; only :meth:`encode` repairs it, as in tiktoken.

        >>> from gptbpe.compat.tiktoken import get_encoding
        >>> stable, completions = get_encoding("gpt2").encode_with_unstable("hello fanta")
        >>> stable, [277, 4910] in completions
        ([31373], True)
        """
        encode = self._tokenizer.encode_with_offsets
        ids, starts = self._strictly(encode, text, allowed_special, disallowed_special)
        ends = self._ends
        unstable = ends.unstable(ids, ends.after_last_special(text, ids, starts))
        stable = self._restored(text, ids[: len(ids) - unstable])
        if unstable == 0:
            return stable, []
        completions = ends.completions(ends.bytes_of(ids[-unstable:]), self._sorted_tokens)
        return stable, [list(completion) for completion in completions]

    # Not public, but tiktoken's own tests and some programs call them.

    def _encode_single_piece(self, text_or_bytes: str | bytes) -> list[int]:
        """Encode a piece of text as one pre-token."""
        piece = arguments.as_bytes(text_or_bytes)
        id = self._core.ordinary_id(piece)
        return self._core.merge_piece(piece) if id is None else [id]

    def _encode_only_native_bpe(self, text: str) -> list[int]:
        """Encode as :meth:`encode_ordinary`; tiktoken does this with another regex engine."""
        arguments.as_text(text).encode()
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
        unstable = self._ends.unstable(ids, good)
        if unstable:
            rest = self._ends.bytes_of(ids[-unstable:]) + rest
            del ids[-unstable:]
        return ids + self._encode_single_piece(rest)

    # ---- decoding --------------------------------------------------------------------------------

    def decode_bytes(self, tokens: Sequence[int] | npt.NDArray[Any]) -> bytes:
        """Decode ids to bytes.

        Raises:
            KeyError: an element is no token.
            OverflowError: an element is negative or has more than 32 bits.
            TypeError: an element is no integer.

        >>> from gptbpe.compat.tiktoken import get_encoding
        >>> get_encoding("gpt2").decode_bytes([31373, 995])
        b'hello world'
        """
        ids = tokens if type(tokens) is list else arguments.as_sequence(tokens)
        try:
            return self._decoder.decode_bytes(ids)
        except UnknownTokenError as error:
            raise _no_token(error, ids) from None

    def decode(self, tokens: Sequence[int] | npt.NDArray[Any], errors: str = "replace") -> str:
        """Decode ids to text.

        >>> from gptbpe.compat.tiktoken import get_encoding
        >>> get_encoding("gpt2").decode([31373, 995])
        'hello world'
        """
        ids = tokens if type(tokens) is list else arguments.as_sequence(tokens)
        try:
            return self._decoder.decode(ids, errors)
        except UnknownTokenError as error:
            raise _no_token(error, ids) from None

    def decode_single_token_bytes(self, token: SupportsIndex) -> bytes:
        """Return the bytes of one token, special ones included.

        Raises:
            KeyError: no token has this id.
            OverflowError: it is negative or has more than 32 bits.

        >>> from gptbpe.compat.tiktoken import get_encoding
        >>> get_encoding("gpt2").decode_single_token_bytes(995)
        b' world'
        """
        try:
            return self._decoder.token_bytes(token)
        except ValueError:
            raise KeyError(str(arguments.as_id(token))) from None

    def decode_tokens_bytes(self, tokens: Sequence[int]) -> list[bytes]:
        """Return the bytes of each token.

        >>> from gptbpe.compat.tiktoken import get_encoding
        >>> get_encoding("gpt2").decode_tokens_bytes([31373, 995])
        [b'hello', b' world']
        """
        return [self.decode_single_token_bytes(token) for token in tokens]

    def decode_with_offsets(self, tokens: Sequence[int]) -> tuple[str, list[int]]:
        """Decode ids to text, and tell at which character each token begins.

        A token that begins inside a character has the offset of that character.

        Raises:
            UnicodeDecodeError: the bytes of the ids are no UTF-8.

        >>> from gptbpe.compat.tiktoken import get_encoding
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
        arguments.as_threads(num_threads)
        return [self.decode(tokens, errors) for tokens in batch]

    def decode_bytes_batch(self, batch: Sequence[Sequence[int]], *, num_threads: int = 8) -> list[bytes]:
        """Decode several sequences of ids to bytes."""
        arguments.as_threads(num_threads)
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

    @cached_property
    def _ends(self) -> Ends:
        return Ends(self._tokenizer, self._shared.original if self._shared else {})


def _blank(kind: type[Encoding]) -> Encoding:
    """Return an encoding for ``__setstate__`` to fill."""
    return object.__new__(kind)


def _no_token(error: UnknownTokenError, ids: object) -> Exception:
    """Return tiktoken's exception for ids of which one names no token."""
    if error.index is None:
        return TypeError(str(error))
    if isinstance(ids, (list, tuple)):
        for id in ids:  # tiktoken converts all of them before it looks one up
            arguments.as_id(id)
    return KeyError(f"Invalid token for decoding: {arguments.as_id(error.id)}")
