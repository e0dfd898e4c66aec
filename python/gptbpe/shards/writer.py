"""Writing documents of ids as a dataset of token shards."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from gptbpe._core import CoreShardWriter, EncodedBatch
from gptbpe.errors import ShardError

if TYPE_CHECKING:
    from gptbpe.tokenizer import Tokenizer

__all__ = ["DEFAULT_SHARD_TOKENS", "ShardWriter"]

DEFAULT_SHARD_TOKENS = 2**27
"""Tokens per shard: 256 MiB where the vocabulary fits in 16 bits, else 512 MiB."""

Name = str | os.PathLike[str]


class ShardWriter:
    """Writes documents of ids as a folder of shards. A context manager: leaving it without an error finishes.

    Each shard appears whole when it is full, the manifest last; what a crash leaves is a folder without a
    manifest, which no reader opens. The same documents and options give the same bytes on any machine.

    Args:
        path: the folder; made if it is not there.
        vocab_size: ids are below it; ``tokenizer`` says it, too.
        tokenizer: who made the ids: its fingerprint is stored, and the tokenizer itself beside the shards.
        bos: a token to put in front of every document (modded-nanogpt's convention).
        eos: a token to put after every document.
        shard_tokens: a shard is closed before it would exceed this. A longer document gets its own shard.
        options: how the documents came to be, in words; kept in the manifest.
        resume: keep the complete shards of an interrupted run with the same options. The caller then
            leaves out the first :attr:`resumed_documents` documents, and answers for them being the same
            as then.
        force: replace what is in the folder. A dataset that is there stays readable until the new one is
            whole, so both need room on the disk; when this one fails the old one is still there. A reader of
            the old one that is open then can go on with the shards that it has read from.

    Raises:
        ShardExistsError: the folder holds other shards, or those of an unfinished run that is not continued.
        ShardLockedError: another process is writing there.
        OSError: the disk is full, the folder read-only, …; what was complete stays.

    >>> import tempfile
    >>> from gptbpe import ShardReader
    >>> folder = tempfile.mkdtemp()
    >>> with ShardWriter(folder, vocab_size=100) as writer:
    ...     writer.write(np.arange(50))
    >>> ShardReader(folder).total_tokens
    50
    """

    def __init__(
        self,
        path: Name,
        *,
        vocab_size: int | None = None,
        tokenizer: Tokenizer | None = None,
        bos: int | None = None,
        eos: int | None = None,
        shard_tokens: int = DEFAULT_SHARD_TOKENS,
        options: Mapping[str, str] | None = None,
        resume: bool = False,
        force: bool = False,
        _journal: bytes | None = None,
    ) -> None:
        if vocab_size is None:
            if tokenizer is None:
                raise ShardError("ShardWriter needs vocab_size or tokenizer, to know which ids are valid")
            vocab_size = tokenizer.vocab_size
        self._tokenizer = tokenizer
        self._core = CoreShardWriter(
            Path(path),
            vocab_size,
            tokenizer.fingerprint if tokenizer else None,
            bos,
            eos,
            shard_tokens,
            dict(options or {}),
            resume,
            _journal,
            force,
        )

    @property
    def resumed_documents(self) -> int:
        """Documents that are on disk already, to be left out by the caller."""
        return self._core.resumed_documents

    @property
    def complete(self) -> bool:
        """Whether the whole dataset was there already: nothing is to be written."""
        return self._core.finished

    def write(self, ids: Iterable[int] | npt.NDArray[Any], text_bytes: int = 0) -> None:
        """Append one document, which stands for ``text_bytes`` bytes of text.

        Raises:
            UnknownTokenError: an id is not below ``vocab_size``; nothing of the document is written.
        """
        self._core.write(ids, text_bytes)

    def write_ragged(
        self,
        ids: npt.NDArray[Any],
        offsets: npt.NDArray[np.int64],
        text_bytes: npt.NDArray[np.int64] | None = None,
    ) -> None:
        """Append many documents, as ``Tokenizer.encode_ragged`` returns them.

        Document ``i`` is ``ids[offsets[i]:offsets[i + 1]]``; it stands for ``text_bytes[i]`` bytes. All is
        checked before the first document is written.

        Raises:
            ShardError: ``offsets`` does not ascend from 0 to ``len(ids)``; nothing is written.
            UnknownTokenError: an id is not below ``vocab_size``; nothing is written.
        """
        offsets = np.ascontiguousarray(offsets, np.int64)
        if text_bytes is None:
            text_bytes = np.zeros(max(0, len(offsets) - 1), np.int64)
        self._core.write_ragged(ids, offsets, np.ascontiguousarray(text_bytes, np.int64))

    def _begin(self) -> None:
        """Store which inputs these are, and the tokenizer, which both take a while."""
        self._core.begin()
        self._store_tokenizer()

    def _write_batch(self, batch: EncodedBatch) -> None:
        self._core.write_batch(batch)

    def finish(self) -> dict[str, Any]:
        """Write the rest and the manifest, and return the manifest."""
        if not self.complete:
            self._store_tokenizer()
        manifest: dict[str, Any] = json.loads(self._core.finish())
        self._finished = True
        return manifest

    def _store_tokenizer(self) -> None:
        if self._tokenizer is not None:
            self._core.store_tokenizer(self._tokenizer.to_bytes())
            self._tokenizer = None

    _finished = False

    def close(self) -> None:
        """Stop without finishing; complete shards stay, for a later run with ``resume``."""
        self._core.close()

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish, or close when there was an error."""
        if kind is None and not self._finished:
            self.finish()
        self.close()
