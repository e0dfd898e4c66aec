"""The tokenizer: what ids mean, and how text becomes ids and back.

:class:`Tokenizer` is one immutable value: a vocabulary, the order of its merges, a split pattern and special
tokens. All work happens in the compiled core with the GIL released; this file holds names, defaults and
documentation. What is called for every text, ``encode``, ``decode`` and their kin, is inherited from the
compiled ``Codec``, so that a short text does not wait for a Python function.

Three promises hold for every method:

* text is ``str``, ``bytes`` or any buffer of bytes; bytes that are not UTF-8 are encoded without loss, and a
  ``str`` with a lone surrogate is a :class:`~gptbpe.errors.TextError` that names the position;
* text never becomes a special token unless the call allows it (added tokens that are not special are always
  matched, as in ``tokenizers``);
* an id that names no token is an :class:`~gptbpe.errors.UnknownTokenError`, with the id and its index.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, SupportsIndex, Unpack

import numpy as np
import numpy.typing as npt

from gptbpe import added, counts, files, names, packaged, pipeline, pretrained, recognise, sources, training
from gptbpe._core import CoreTokenizer
from gptbpe.huggingface import HuggingFaceMethods
from gptbpe.types import END_OF_TEXT, AddedToken, Ids, Pattern, Progress, Source, Text, TieBreak


class Tokenizer(HuggingFaceMethods):
    """An immutable byte-level BPE (or character) tokenizer.

    Make one with :meth:`train`, :meth:`load`, :meth:`get` or one of the ``from_…`` methods. Tokenizers
    compare and hash by what they are (:attr:`fingerprint`), pickle, and may be shared among threads and
    across forks.

    >>> from gptbpe import Tokenizer
    >>> tok = Tokenizer.train(b"low low lower lowest", vocab_size=260)
    >>> tok.encode("lower")
    [257, 101, 114]
    >>> tok.decode([257, 101, 114])
    'lower'
    >>> len(tok), tok.special_tokens
    (260, {'<|endoftext|>': 259})
    """

    __slots__ = ()

    def __new__(cls, *given: object, **also: object) -> Self:
        meant = ""
        if given and isinstance(given[0], (str, os.PathLike)):
            shown = repr(os.fspath(given[0]))
            meant = (
                f": Tokenizer.load({shown}) reads a file or a folder, Tokenizer.get({shown}) is for a name"
            )
        raise TypeError(
            "a Tokenizer is made by Tokenizer.train, .load, .get, .from_tiktoken, .from_gpt2 or .from_ranks, "
            f"not by calling the class{meant}"
        )

    @classmethod
    def _of(cls, core: CoreTokenizer, settings: pretrained.Settings = pretrained.NOTHING) -> Self:
        made = super().__new__(cls, core)
        object.__setattr__(made, "_settings", settings)
        return made

    # ---- training --------------------------------------------------------------------------------

    @classmethod
    def train(
        cls,
        source: Source,
        vocab_size: int,
        *,
        pattern: Pattern = "cl100k",
        special_tokens: Sequence[str] = (END_OF_TEXT,),
        tie_break: TieBreak = "smallest-ids",
        min_count: int = 1,
        max_token_bytes: int | None = None,
        separator: str | None = None,
        weights: Sequence[int] | None = None,
        threads: int | None = None,
        max_memory: int | str | None = None,
        progress: Progress | None = None,
    ) -> Tokenizer:
        """Learn a vocabulary from files or texts.

        Each step merges the adjacent pair of tokens with the highest count (overlapping pairs count). The
        result does not depend on the number of threads, the order of the sources or the size of the pieces
        in which they are read.

        ``source`` is one of these, or an iterable of them:

        ==================================  ==============================================================
        a ``Path`` (any ``os.PathLike``)    a file
        a ``str`` without a line break      the name of a file
        a ``str`` with a line break         text
        ``bytes`` and other buffers         text
        ==================================  ==============================================================

        For texts without line breaks, call :meth:`train_from_texts`, which takes every ``str`` as text. Files
        are read in pieces, so they may be larger than memory. The formats ``.jsonl`` (field ``text``) and
        ``.parquet`` (column ``text``) are recognised, also compressed as ``.gz`` or ``.zst``. The strings of
        ``special_tokens`` end documents: no token crosses them, and they are not learned.

        Args:
            source: files or texts, see above.
            vocab_size: number of ids: 256 bytes, merges and special tokens; at most 2,097,151.
            pattern: how text is split before merging: ``"gpt2"``, ``"cl100k"``, ``"o200k"``, ``"llama3"``,
                ``"qwen2"``, ``"nanochat"``, ``"deepseek"``, a regex, several regexes, or None.
                A regex has the syntax of Rust's ``regex`` crate; :meth:`save` writes the equivalent for
                Oniguruma.
            special_tokens: their strings; they take the ids after the last merge, in this order.
            tie_break: which of several pairs with the highest count is merged. ``"smallest-ids"``: the
                smaller (left id, right id), as rustbpe does. ``"huggingface"``: as ``tokenizers`` does.
                ``"bytes"``: the lexicographically greatest pair of byte strings, as in CS336.
                ``"first-seen"``: the pair that occurs first in the text, as minbpe does.
            min_count: pairs that occur less often are never merged.
            max_token_bytes: no token becomes longer than this many bytes.
            separator: text that ends documents in plain text, as in :func:`gptbpe.shard_files`; if it is a
                line of its own, its line break belongs to it. None: documents end at special tokens and at
                the end of a file.
            weights: how many times each pre-token of a source counts: integers of at least 1, one for each
                source of a list. Weight 3 has the effect of giving the source three times.
            threads: how many threads count and merge; None for one per core.
            max_memory: roughly how much memory training may use, on top of what the program has: bytes, or a
                text such as ``"512M"``. Counts that do not fit go to temporary files, and pairs that do not
                fit are counted again when they are needed. The distinct pre-tokens have to fit: merging
                needs two to four times their size. The result is the same.
            progress: called from time to time as ``progress(phase, done, total)``; the phases are
                ``"counting"`` (bytes) and ``"merging"`` (merges), and ``total`` is None if it is unknown.

        Raises:
            FileNotFoundError: a ``str`` or ``Path`` names no file.
            TrainingError: the vocabulary is too small for bytes and special tokens, or too large, or a count
                overflows.
            PatternError: the pattern cannot be compiled, or no ``tokenizer.json`` could hold it.

        Warns:
            EarlyStopWarning: the vocabulary is smaller than requested, because no pair was left to merge, or
                because all tokens together would take more than 64 MiB (in very repetitive text).

        >>> tok = Tokenizer.train(b"hug pug pun bun hugs", vocab_size=259)
        >>> [tok.token_bytes(id) for id in range(256, 258)]
        [b'ug', b' p']
        """
        core = training.train(
            training.documents(source),
            vocab_size,
            pattern=pattern,
            special_tokens=special_tokens,
            tie_break=tie_break,
            min_count=min_count,
            max_token_bytes=max_token_bytes,
            separator=separator,
            weights=weights,
            threads=threads,
            max_memory=max_memory,
            progress=progress,
        )
        return cls._of(core)

    @classmethod
    def train_from_texts(
        cls, texts: Iterable[Text], vocab_size: int, **options: Unpack[training.TextOptions]
    ) -> Tokenizer:
        """Learn a vocabulary from an iterable of texts; every ``str`` is text, never a file name.

        The options are those of :meth:`train`. Each text is a document: no token reaches from one into the
        next.

        >>> Tokenizer.train_from_texts(["low low", "lower"], vocab_size=259).merges
        [(108, 111), (256, 119)]
        """
        pieces: Iterable[training.Piece] = training.texts_of(texts)
        if options.get("weights") is not None and not isinstance(texts, Iterator):
            pieces = list(pieces)  # so that the weights can be checked before any work
        return cls._of(training.train(pieces, vocab_size, **options))

    @classmethod
    def train_from_counts(
        cls,
        counts: counts.Name | Iterable[counts.Name] | counts.Pairs,
        vocab_size: int,
        *,
        weights: Sequence[int] | None = None,
        **options: Unpack[training.Options],
    ) -> Tokenizer:
        """Learn a vocabulary from pre-tokens and how often each occurs.

        For text that was counted elsewhere: on a cluster, in a database, or weighted by hand. ``counts`` is
        one of

        * the name of a file that :func:`gptbpe.count_pretokens` wrote, or several: the result is that of
          training on all of their text, in this order. Pattern and special tokens are those of the files.
        * a mapping, or an iterable of pairs; equal pre-tokens are added up (in 64 bits, checked). The
          pre-tokens are taken as they are; ``pattern`` only says how the tokenizer will split text later,
          and should be the pattern that made them.

        ``weights`` are integers from 1, one for each file: how often each of its counts counts. The other
        options are those of :meth:`train`.

        Raises:
            TrainingError: a count is negative or the sum of counts overflows 64 bits.
            CountsFileError: a file is damaged or was cut.
            CountsMismatchError: two files, or a file and an option, have different patterns or special
                tokens.

        >>> Tokenizer.train_from_counts({"low": 5, " lower": 2}, vocab_size=259).merges
        [(108, 111), (256, 119)]
        """
        return cls._of(training.train_from_counts(counts, vocab_size, weights=weights, **options))

    @classmethod
    def characters(cls, source: Source, *, special_tokens: Sequence[str] = (END_OF_TEXT,)) -> Tokenizer:
        """Make a tokenizer with one token per distinct character of the text, and no merges.

        Ids follow the order of code points; special tokens come after them. ``source`` is what :meth:`train`
        takes. Text with other characters is an :class:`~gptbpe.errors.UnknownCharacterError` that names them.

        >>> tok = Tokenizer.characters(b"hello world")
        >>> tok.encode("hole"), tok.vocab_size
        ([3, 5, 4, 2], 9)
        """
        return cls._of(training.characters(source, special_tokens))

    def extend(
        self,
        source: Source,
        vocab_size: int,
        *,
        tie_break: TieBreak = "smallest-ids",
        min_count: int = 1,
        max_token_bytes: int | None = None,
        separator: str | None = None,
        weights: Sequence[int] | None = None,
        threads: int | None = None,
        max_memory: int | str | None = None,
        progress: Progress | None = None,
    ) -> Tokenizer:
        """Go on training from this vocabulary: the merges so far stay, new ones follow.

        Ids of merges are unchanged; special tokens move behind the last new merge, as everywhere. Works for
        tokenizers trained here (ids 0–255 are the bytes, merge k is id 256 + k). Pattern and special tokens
        are this tokenizer's; the other options are those of :meth:`train`.

        Raises:
            TrainingError: ``vocab_size`` is below the present one, or the vocabulary has ids of its own
                order.

        >>> tok = Tokenizer.train(b"low low lower", vocab_size=258)
        >>> tok.extend(b"low low lower", vocab_size=259).merges
        [(108, 111), (256, 119)]
        """
        core = training.extend(
            self._core,
            training.documents(source, "extend(text.encode(), …)"),
            vocab_size,
            tie_break=tie_break,
            min_count=min_count,
            max_token_bytes=max_token_bytes,
            separator=separator,
            weights=weights,
            threads=threads,
            max_memory=max_memory,
            progress=progress,
        )
        return Tokenizer._of(core, self._settings)

    def shrink(self, vocab_size: int) -> Tokenizer:
        """Return the tokenizer that training with this smaller ``vocab_size`` would have given.

        Merges are learned in order, so the first of them are a smaller vocabulary of their own. Special
        tokens stay and take the ids behind the last kept merge.

        Raises:
            TokenizerError: ``vocab_size`` is above the present one or below bytes + special tokens, or the
                vocabulary's ids are not in the order of its merges.

        >>> Tokenizer.train(b"low low lower", vocab_size=259).shrink(258).merges
        [(108, 111)]
        """
        return Tokenizer._of(self._core.shrink(vocab_size), self._settings)

    def with_special_tokens(self, special_tokens: Sequence[str] | Mapping[str, int]) -> Tokenizer:
        """Return this tokenizer with more special tokens; all other ids stay as they are.

        Args:
            special_tokens: strings, which take the next free ids in this order, or a mapping string -> id.

        Raises:
            TokenizerError: a string is a special token already, or an id is another token's.

        >>> tok = Tokenizer.get("gpt2").with_special_tokens(["<|user|>", "<|assistant|>"])
        >>> tok.encode("<|user|>hi", allowed_special="all"), tok.vocab_size
        ([50257, 5303], 50259)
        """
        more = added.numbered(special_tokens, self._core)
        return Tokenizer._of(self._core.with_special_tokens(more), self._settings)

    # ---- files -----------------------------------------------------------------------------------

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Tokenizer:
        """Read a ``tokenizer.json``, ours or Hugging Face's, or a folder as ``transformers`` has it.

        A folder is read for ``tokenizer.json``, else for ``vocab.json`` and ``merges.txt`` (as GPT-2's), else
        for one file of ranks. ``tokenizer_config.json``, ``special_tokens_map.json`` and chat templates are
        kept for :meth:`save_pretrained`; a special token that is only named there gets the id that
        ``transformers`` gives it. Ranks have neither pattern nor special tokens: a file that has the name of
        a packaged encoding, such as ``cl100k_base.tiktoken``, is read with those of that encoding, others by
        :meth:`from_tiktoken`.

        Raises:
            FileNotFoundError: there is no such file.
            TokenizerFileError: the file is damaged, of another kind (the message says which, and what to
                call), or asks for what this package cannot do.

        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "tokenizer.json"
        >>> tok = Tokenizer.train(b"low low lower", vocab_size=259)
        >>> tok.save(path)
        >>> Tokenizer.load(path) == Tokenizer.load(path.parent) == tok
        True
        """
        if Path(path).is_dir():
            return cls._of(*pretrained.load(Path(path)))
        if not Path(path).exists() and os.fspath(path) in packaged.names():
            hint = f"no such file (a packaged tokenizer is loaded with Tokenizer.get({os.fspath(path)!r}))"
            raise FileNotFoundError(errno.ENOENT, hint, os.fspath(path))
        data, origin = files.read(path), os.fspath(path)
        if origin.endswith(recognise.SUFFIX):
            return cls._of(pretrained.read_ranks(data, origin))
        return cls.from_bytes(data, origin)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write ``tokenizer.json``, Hugging Face's format: ``tokenizers`` and what is built on it reads it.

        ``transformers`` and vLLM want a folder: :meth:`save_pretrained`. llama.cpp's converter takes one only
        if it knows the split pattern.

        The file appears whole or not at all: it is written beside the target, flushed to disk and renamed
        over it.
        """
        files.write_atomically(path, self.to_bytes())

    def to_bytes(self) -> bytes:
        """Return the contents of the file that :meth:`save` writes.

        >>> Tokenizer.train(b"low low", vocab_size=258).to_bytes()[:1]
        b'{'
        """
        return self._core.write_json()

    @classmethod
    def from_bytes(cls, data: str | bytes, origin: str = "the given data") -> Tokenizer:
        """Read the contents of a tokenizer file; the inverse of :meth:`to_bytes`. Errors name ``origin``.

        >>> tok = Tokenizer.train(b"low low", vocab_size=258)
        >>> Tokenizer.from_bytes(tok.to_bytes()) == tok
        True
        """
        return cls._of(pretrained.read_json(data.encode() if isinstance(data, str) else data, origin))

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> Tokenizer:
        """Read a ``tokenizer.json``, Hugging Face's or ours: :meth:`load` by its other name."""
        return cls.load(path)

    @classmethod
    def get(cls, name: str) -> Tokenizer:
        """Return a packaged encoding; nothing is downloaded, ever.

        Names: ``"gpt2"`` (the same ids as ``"r50k_base"``), ``"r50k_base"``, ``"p50k_base"``,
        ``"cl100k_base"``, ``"o200k_base"``, how people shorten them (``"cl100k"``, ``"GPT-2"``), and the
        models of OpenAI that use them (``"gpt-4o"``). Special tokens are those of tiktoken.

        Raises:
            TokenizerError: no encoding has this name.

        >>> Tokenizer.get("gpt2").encode("Hello, world!")
        [15496, 11, 995, 0]
        >>> Tokenizer.get("gpt-4o") == Tokenizer.get("o200k") == Tokenizer.get("o200k_base")
        True
        """
        return cls._of(packaged.get(name))

    @classmethod
    def from_tiktoken(
        cls,
        path: str | os.PathLike[str],
        *,
        pattern: Pattern,
        special_tokens: Mapping[str, int] | None = None,
    ) -> Tokenizer:
        """Read a ``.tiktoken`` file (a base64 token and its rank per line).

        Such a file has neither a pattern nor special tokens, so both are asked for.

        Args:
            path: the file.
            pattern: as in :meth:`train`.
            special_tokens: string -> id.

        Raises:
            TokenizerFileError: the file is damaged, or a byte has no token.
        """
        specials = list((special_tokens or {}).items())
        return cls._of(
            CoreTokenizer.read_tiktoken(files.read(path), names.pattern(pattern), specials, os.fspath(path))
        )

    def save_tiktoken(self, path: str | os.PathLike[str]) -> None:
        """Write the ranks as a ``.tiktoken`` file, atomically; pattern and special tokens do not fit in."""
        files.write_atomically(path, self._core.write_tiktoken())

    @classmethod
    def from_ranks(
        cls,
        ranks: Mapping[bytes, int],
        *,
        pattern: Pattern,
        special_tokens: Mapping[str, int] | None = None,
    ) -> Tokenizer:
        """Make a tokenizer of tiktoken's ``mergeable_ranks``: token bytes -> rank, which is also the id.

        >>> ranks = {bytes([byte]): byte for byte in range(256)} | {b"lo": 256}
        >>> Tokenizer.from_ranks(ranks, pattern="gpt2").encode("low")
        [256, 119]
        """
        specials = list((special_tokens or {}).items())
        return cls._of(CoreTokenizer.from_ranks(list(ranks.items()), names.pattern(pattern), specials))

    @classmethod
    def from_gpt2(
        cls,
        vocab_path: str | os.PathLike[str],
        merges_path: str | os.PathLike[str],
        *,
        pattern: Pattern = "gpt2",
    ) -> Tokenizer:
        """Read GPT-2's pair of files, ``vocab.json`` and ``merges.txt`` (or ``encoder.json``, ``vocab.bpe``).

        Entries that are neither a byte nor made by a merge become special tokens.

        Raises:
            TokenizerFileError: a file is damaged, or the two do not fit together.
        """
        core = CoreTokenizer.read_gpt2(
            files.read(vocab_path), files.read(merges_path), names.pattern(pattern), os.fspath(vocab_path)
        )
        return cls._of(core)

    def save_gpt2(self, folder: str | os.PathLike[str]) -> None:
        """Write GPT-2's pair of files into a folder (made if need be): ``vocab.json`` and ``merges.txt``."""
        vocab, merges = self._core.write_gpt2()
        Path(folder).mkdir(parents=True, exist_ok=True)
        files.write_atomically(Path(folder) / "vocab.json", vocab)
        files.write_atomically(Path(folder) / "merges.txt", merges)

    # ---- text to ids -----------------------------------------------------------------------------

    def encode_files(
        self,
        paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        *,
        separator: str | None = END_OF_TEXT,
        text_field: str = "text",
        threads: int | None = None,
        batch_bytes: int = sources.BATCH_BYTES,
    ) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.int64]]]:
        """Encode the documents of files, a batch at a time, in memory that does not grow with the files.

        Files are read as :mod:`gptbpe.sources` says: text, JSON lines, Parquet, ``.gz`` and ``.zst``, and
        ``"-"`` for standard input. Plain text is cut at ``separator``, which is not encoded; with None a text
        is one document. Nothing in documents is special. Yields what :meth:`encode_ragged` returns, for whole
        documents of about ``batch_bytes`` bytes in all (a longer document is a batch of its own). Empty
        documents count.

        Raises:
            FileNotFoundError: a file does not exist (before anything is read).
            TextError: a file cannot be read; the message names file and line.

        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "text.txt"
        >>> _ = path.write_text("Hello<|endoftext|> world")
        >>> [ids.tolist() for ids, offsets in Tokenizer.get("gpt2").encode_files(path)]
        [[15496, 995]]
        """
        names = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
        files.must_exist(name for name in names if name != sources.STANDARD_INPUT)
        batches = pipeline.encoded(
            self._core,
            names,
            separator=separator,
            text_field=text_field,
            batch_bytes=batch_bytes,
            threads=threads,
        )
        return pipeline.whole_documents(batches)

    # ---- ids to text -----------------------------------------------------------------------------

    def decode_batch(
        self, batch: Iterable[Ids], errors: str = "replace", *, skip_special_tokens: bool = False
    ) -> list[str]:
        """Decode several sequences of ids; one text each, in order.

        >>> Tokenizer.get("gpt2").decode_batch([[15496], [995]])
        ['Hello', ' world']
        """
        decode = self.decode
        return [decode(ids, errors, skip_special_tokens=skip_special_tokens) for ids in batch]

    # ---- what it is ------------------------------------------------------------------------------

    @property
    def vocab_size(self) -> int:
        """One more than the largest id: the height of an embedding table."""
        return self._core.vocab_size

    def __len__(self) -> int:
        """Return :attr:`vocab_size`."""
        return self._core.vocab_size

    @property
    def special_tokens(self) -> dict[str, int]:
        """Special tokens: string -> id, in the order of ids.

        They are what ``allowed_special`` and ``disallowed_special`` speak of. A file of Hugging Face's may
        also have added tokens that are not special and match without being allowed: see
        :attr:`added_tokens`.
        """
        return dict(self._core.special_tokens)

    @property
    def bos_token_id(self) -> int | None:
        """The id that begins a text, or None.

        That which the folder of the tokenizer names, else that of the post-processor if it puts one token
        before a text, else that of a special token with a usual name (``<|begin_of_text|>``, ``<s>``, …).
        """
        return self._settings.token_id("bos", self._core)

    @property
    def eos_token_id(self) -> int | None:
        """The id that ends a text, or None: found as :attr:`bos_token_id` is.

        >>> Tokenizer.get("gpt2").eos_token_id
        50256
        """
        return self._settings.token_id("eos", self._core)

    @property
    def pad_token_id(self) -> int | None:
        """The id of a special token with a usual name for padding (``<pad>``, ``[PAD]``, …), or None."""
        return self._settings.token_id("pad", self._core)

    @property
    def added_tokens(self) -> tuple[AddedToken, ...]:
        """All tokens beside the merges, special or not, with their options, in the order of ids.

        >>> Tokenizer.get("gpt2").added_tokens[0]
        AddedToken(content='<|endoftext|>', id=50256, special=True, normalized=False, single_word=False, \
lstrip=False, rstrip=False)
        """
        return tuple(
            AddedToken(content, id, special, normalized, single_word, lstrip, rstrip)
            for content, id, special, normalized, single_word, lstrip, rstrip in self._core.added_tokens
        )

    @property
    def pattern(self) -> str | tuple[str, ...] | None:
        """The split pattern: its name if it has one, else the regex (a tuple of several), or None.

        A regex is spelled for Rust's ``regex`` crate, also where it was loaded from a ``tokenizer.json``,
        whose patterns Oniguruma reads. Files saved here keep the spelling that was given.
        """
        return self._core.pattern

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the definition (pattern, options, merges, special tokens), as 64 hexadecimal digits.

        Shards and checkpoints store it; two tokenizers with one fingerprint give the same ids.
        """
        return self._core.fingerprint

    @property
    def merges(self) -> list[tuple[int, int]]:
        """The pairs of ids that are merged, first merge first (a new list each time)."""
        return self._core.merges()

    @property
    def merge_counts(self) -> list[int] | None:
        """How often the pair of each merge occurred when it was learned (a new list each time).

        Known to tokenizers that were trained, extended or shrunk in this process; None for others, since
        files do not keep it. :mod:`gptbpe.report` makes more of it.

        >>> Tokenizer.train(b"low low lower", vocab_size=259).merge_counts
        [3, 3]
        """
        return self._core.merge_counts

    @property
    def regexes(self) -> tuple[str, ...]:
        """The regexes that :attr:`pattern` stands for, applied one after another; empty for no splitting."""
        return tuple(self._core.regexes)

    def ranks(self) -> dict[bytes, int]:
        """Return the ordinary tokens as tiktoken's ``mergeable_ranks``: bytes -> id, in the order of ids."""
        return dict(self._core.ranks())

    @property
    def is_characters(self) -> bool:
        """Whether this is a character tokenizer (see :meth:`characters`)."""
        return self._core.is_characters

    def token_bytes(self, id: SupportsIndex) -> bytes:
        """Return the bytes of one token (of a special token: its string).

        Raises:
            UnknownTokenError: no token has this id.

        >>> Tokenizer.get("gpt2").token_bytes(995)
        b' world'
        """
        return self._core.token_bytes(id)

    def token_id(self, token: Text) -> int | None:
        """Return the id of the token with exactly these bytes, special tokens included, or None.

        >>> Tokenizer.get("gpt2").token_id(" world")
        995
        """
        return self._core.token_id(token)

    def __eq__(self, other: object) -> bool:
        """Whether both give the same ids for the same reasons (equal fingerprints)."""
        if not isinstance(other, Tokenizer):
            return NotImplemented
        return self._core.fingerprint == other._core.fingerprint

    def __hash__(self) -> int:
        """Hash the fingerprint."""
        return hash(self._core.fingerprint)

    def __repr__(self) -> str:
        """Show size, pattern, special tokens and the first digits of the fingerprint."""
        pattern = "characters" if self.is_characters else self.pattern
        shown = repr(pattern)
        if len(shown) > 40:
            shown = shown[:37] + "…'"
        return (
            f"Tokenizer(vocab_size={self.vocab_size}, pattern={shown}, "
            f"special_tokens={len(self._core.special_tokens)}, fingerprint={self.fingerprint[:12]}…)"
        )

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse: tokenizers do not change."""
        raise AttributeError(f"a Tokenizer is immutable; cannot set {name!r}")

    def __delattr__(self, name: str) -> None:
        """Refuse: tokenizers do not change."""
        raise AttributeError(f"a Tokenizer is immutable; cannot delete {name!r}")

    def __reduce__(self) -> tuple[Callable[..., Tokenizer], tuple[bytes, pretrained.Settings]]:
        """Pickle as the definition, with what came along in its folder."""
        return _restore, (self.to_bytes(), self._settings)

    def __copy__(self) -> Tokenizer:
        """Return itself: nothing can change it."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Tokenizer:
        """Return itself: nothing can change it."""
        return self


def _restore(state: bytes, settings: pretrained.Settings = pretrained.NOTHING) -> Tokenizer:
    return Tokenizer._of(pretrained.read_json(state, "a pickled tokenizer"), settings)
