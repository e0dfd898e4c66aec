"""Opening a dataset of token shards, and what is in it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import numpy as np
import numpy.typing as npt

from gptbpe._core import CoreShardReader, ReadProgress
from gptbpe.errors import ShardError
from gptbpe.io.remote import is_remote
from gptbpe.shards.cache import CachedDataset

if TYPE_CHECKING:
    from gptbpe.tokenizer import Tokenizer

__all__ = ["ReadProgress", "Shard", "ShardReader"]

Name = str | os.PathLike[str]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Shard:
    """One shard of a dataset: its file, and how many tokens are in it."""

    path: Path
    tokens: int


class ShardReader:
    """A dataset of token shards, opened for reading; may be shared among threads.

    Opening reads the manifest only; a shard is opened when it is first needed.

    Args:
        path: a folder that ``gptbpe shard`` wrote, one ``.bin`` file of it, or token files of llm.c or
            modded-nanogpt (a file, or a folder of nothing else). For bare arrays of ids see :meth:`open_raw`.
        verify: what is checked against checksums. ``"lazy"``: each block of 1 MiB when it is first touched
            (once; 16 GB/s). ``"open"``: headers and sizes only, for cold storage where reading whole
            blocks is dear. ``"full"``: everything, now. Ids outside the vocabulary are found in any case.
        io: ``"mmap"`` reads tokens from memory maps; ``"pread"`` with a system call for each range, which is
            slower and meant for network file systems, whose maps may hang. In both cases tokens are copied
            and checked after that, so a file that is cut off, replaced or written over while it is read ends
            in an exception, and never in SIGBUS.
        vocab_size: the vocabulary of files that do not state one; ours do.
        cache: of a dataset at a URL: the folder in which what was read of it stays; ``GPTBPE_CACHE``, or
            ``gptbpe`` in ``XDG_CACHE_HOME`` or ``~/.cache`` by default.
        cache_bytes: how large all of that folder may become; 64 GiB by default. Shards that were not added
            to for long go first, but never those that one batch needs.

    A dataset may also lie at ``s3://``, ``gs://`` or ``https://`` (extra ``remote``). Then blocks of 1 MiB
    are fetched when they are first touched, and compared with their checksums. What fails, stalls or is
    damaged is fetched again a few times, and then an error. Datasets that are larger than the cache are read
    in the order ``"block"`` of :class:`~gptbpe.Sampler`, which uses all of a block soon.

    Raises:
        FileNotFoundError: nothing there.
        ShardTruncatedError: a file is not exactly as long as it should be.
        ShardChecksumError: a header, an index or a block of tokens is damaged, or of another run.
        ShardFormatError: of a later version, or writing was not finished.

    >>> import tempfile
    >>> from gptbpe import ShardWriter
    >>> folder = tempfile.mkdtemp()
    >>> with ShardWriter(folder, vocab_size=300, eos=299) as writer:
    ...     writer.write([72, 105])
    ...     writer.write([33])
    >>> reader = ShardReader(folder)
    >>> reader.tokens(0).tolist(), reader.documents(0).tolist()
    ([72, 105, 299, 33, 299], [3, 5])
    """

    def __init__(
        self,
        path: Name,
        *,
        verify: Literal["open", "lazy", "full"] = "lazy",
        io: Literal["mmap", "pread"] = "mmap",
        vocab_size: int | None = None,
        cache: Name | None = None,
        cache_bytes: int | None = None,
    ) -> None:
        self._arguments: tuple[Any, ...] = (path, verify, io, vocab_size, cache, cache_bytes)
        if not isinstance(path, str) or not is_remote(path):
            self._core = CoreShardReader.open(Path(path), verify, io, vocab_size)
            return
        self._remote = CachedDataset(path, cache, cache_bytes)
        self._core = self._remote.open()
        if verify == "full":
            for number in range(len(self.shards)):
                self.check(number)

    _remote: CachedDataset | None = None

    @classmethod
    def open_raw(
        cls,
        path: Name,
        dtype: Literal["uint16", "uint32"],
        vocab_size: int,
        *,
        io: Literal["mmap", "pread"] = "mmap",
    ) -> Self:
        """Open a file that is nothing but ids, such as nanoGPT's ``train.bin``; its type is never guessed.

        Raises:
            ShardTruncatedError: the file does not hold a whole number of ids.

        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "train.bin"
        >>> np.array([5, 6, 7], dtype=np.uint16).tofile(path)
        >>> ShardReader.open_raw(path, "uint16", vocab_size=8).tokens(0).tolist()
        [5, 6, 7]
        """
        self = cls.__new__(cls)
        self._core = CoreShardReader.open_raw(Path(path), np.dtype(dtype).name, vocab_size, io)
        self._arguments = ("raw", path, dtype, vocab_size, io)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as what to open, for other processes."""
        return _reopen, (type(self), self._arguments)

    def __repr__(self) -> str:
        """Say what is open."""
        shards = f"{len(self.shards):,} shard{'s' * (len(self.shards) != 1)}"
        return (
            f"ShardReader({str(self.path)!r}: {self.total_tokens:,} tokens in {shards}, "
            f"vocabulary {self.vocab_size:,})"
        )

    @property
    def path(self) -> Path:
        """The folder or file."""
        return self._core.path

    @property
    def shards(self) -> list[Shard]:
        """The shards in order."""
        return [Shard(path, tokens) for path, tokens in self._core.shards()]

    @property
    def total_tokens(self) -> int:
        """Tokens in all shards, separators included."""
        return self._core.total_tokens

    @property
    def vocab_size(self) -> int:
        """One more than the largest id allowed; for files that do not say it, 2^16 or, of uint32, 2^31."""
        return self._core.vocab_size or (2**16 if self.dtype == np.uint16 else 2**31)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of a token on disk: uint16, or uint32 for vocabularies above 65,536."""
        return np.dtype(self._core.dtype)

    @property
    def tokenizer_fingerprint(self) -> str:
        """Fingerprint of the tokenizer that made the ids; empty where it is not stated."""
        return self._core.fingerprint or ""

    @property
    def fingerprint(self) -> str:
        """Names the content: SHA-256 of the manifest."""
        return self._core.digest

    @property
    def text_bytes(self) -> int | None:
        """Bytes of text that the tokens stand for, without separators: for bits per byte. None: unknown."""
        return self._core.source_bytes

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest; empty for files without one."""
        data = self._core.manifest
        manifest: dict[str, Any] = json.loads(data) if data else {}
        return manifest

    def tokens(self, shard: int, start: int = 0, stop: int | None = None) -> npt.NDArray[Any]:
        """Return tokens ``start`` to ``stop`` of a shard as a read-only array.

        It is a copy in memory, of shape (stop - start,) and type :attr:`dtype`, and stays what it is whatever
        happens to the file. So ask for the range that is needed: a whole shard has 2^27 tokens. Whoever wants
        a view without a copy can make one: ``numpy.memmap(shard.path, reader.dtype, "r", offset=1024)``.
        Nothing in it is checked, and touching it ends the process when the file was cut off.

        Raises:
            ShardError: the range does not lie within the shard.
            ShardTruncatedError: the file was cut off since it was opened.
            ShardChecksumError: the tokens are damaged, or an id is outside the vocabulary.
            MemoryError: the range is larger than what memory can be had.
        """
        end = self._length(shard) if stop is None else stop
        self._fetch([(shard, start, end)])
        return self._with_files(lambda core: core.tokens(shard, start, end))

    def documents(self, shard: int) -> npt.NDArray[np.uint32]:
        """Return where each document of a shard ends, in tokens from its start: uint32, ascending.

        Raises:
            ShardError: the files do not say (llm.c's, raw ones).
        """
        ends = self._with_files(lambda core: core.documents(shard))
        if ends is None:
            raise ShardError(f"{self.path} does not say where its documents end; only shards of gptbpe do")
        return ends

    def tokenizer(self) -> Tokenizer | None:
        """Return the tokenizer stored beside the shards, if there is one.

        Raises:
            ShardChecksumError: ``tokenizer.json`` is not the one that was stored.
            ShardMismatchError: it is not the tokenizer that made the ids.
        """
        from gptbpe.tokenizer import Tokenizer

        data = self._core.tokenizer_json()
        if data is None:
            return None
        tokenizer = Tokenizer.from_bytes(data, str(self.path / "tokenizer.json"))
        self.expect_tokenizer(tokenizer)
        return tokenizer

    def expect_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Raise ShardMismatchError, with both fingerprints, when another tokenizer made the ids."""
        self._core.expect_fingerprint(tokenizer.fingerprint)

    def check(self, shard: int, progress: ReadProgress | None = None) -> None:
        """Read all of a shard and check all that can be checked, or raise ShardError; releases the GIL.

        ``progress.bytes`` grows by the bytes of tokens that are done, also for who looks from another thread.
        """
        self._fetch([(shard, 0, self._length(shard))])
        self._with_files(lambda core: core.check(shard, progress))

    def _with_files(self, call: Callable[[CoreShardReader], Result]) -> Result:
        """Call, and fetch what is missing of a dataset that is elsewhere, until nothing is."""
        while True:
            try:
                result = call(self._core)
            except (FileNotFoundError, ShardError) as error:
                if self._remote is None:
                    raise
                self._mend(error)
            else:
                if self._remote is not None:
                    self._remote.done()
                return result

    def _mend(self, error: Exception) -> None:
        """Fetch what an error says is missing, or raise it."""
        if self._remote is None:
            raise error
        self._remote.mend(error)
        self._renew()

    def _fetch(self, ranges: Iterable[tuple[int, int, int]]) -> None:
        """Fetch ranges of tokens of a dataset that is elsewhere: shard, start and stop of each."""
        if self._remote is not None:
            self._remote.fetch(block for range in ranges for block in self._remote.blocks(*range))
            self._renew()

    def _renew(self) -> None:
        """Open the files of a dataset that is elsewhere again, if some of them are others by now."""
        if self._remote is not None and self._remote.stale:
            self._remote.stale = False
            self._core = self._remote.open()

    def _length(self, shard: int) -> int:
        shards = self._core.shards()
        return shards[shard][1] if 0 <= shard < len(shards) else 0


def _reopen(cls: type[ShardReader], arguments: tuple[Any, ...]) -> ShardReader:
    if arguments[0] == "raw":
        _, path, dtype, vocab_size, io = arguments
        return cls.open_raw(path, dtype, vocab_size, io=io)
    path, verify, io, vocab_size, cache, cache_bytes = arguments
    return cls(path, verify=verify, io=io, vocab_size=vocab_size, cache=cache, cache_bytes=cache_bytes)
