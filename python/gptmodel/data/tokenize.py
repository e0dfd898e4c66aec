"""Text into shards, once: found again by the digests of the text and of the tokenizer.

Shards of plain text go to a cache under a name made of those digests, so the same text is found again and a
changed one never mistaken for it. The cache is ``$GPTMODEL_CACHE``, else ``$XDG_CACHE_HOME/gptmodel``, else
``~/.cache/gptmodel``; it may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from gptmodel.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from gptbpe import Tokenizer

__all__ = [
    "cache_folder",
    "decode_known",
    "existing",
    "named_tokenizer",
    "shard_text",
    "text_tokenizer",
    "token_bytes",
]


def existing(paths: Sequence[Path]) -> list[Path]:
    """The paths, checked: files that are there and not empty."""
    for path in paths:
        if path.is_dir():
            raise DataError(
                f"{path} is a folder: name its text files, or use --shards for a folder of shards"
            )
        if not path.is_file():
            near = did_you_mean(
                path.name, [p.name for p in path.parent.glob("*")] if path.parent.is_dir() else []
            )
            if path.parts[0] in ("http:", "https:", "s3:", "gs:"):
                near = "; a text on the web or in an object store is downloaded first, or made into shards"
            raise DataError(f"there is no file {path}{near}")
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty: there is no text in it")
    return list(paths)


def named_tokenizer(name: str) -> Tokenizer:
    """A tokenizer from a file or a packaged name."""
    from gptbpe import Tokenizer

    if Path(name).exists() or name.endswith((".json", ".tiktoken")):
        return Tokenizer.load(name)
    return Tokenizer.get(name)


def text_tokenizer(
    name: str | None, paths: Sequence[Path], vocab: int, stored: Callable[[], Tokenizer | None]
) -> Tokenizer:
    """The tokenizer for text: the one named, the one ``stored`` with weights, or one trained on the text.

    ``name`` is a file, a packaged name or "characters"; ``vocab`` is the size of one that is trained.
    """
    from gptbpe import Tokenizer

    if name is not None and name != "characters":
        return named_tokenizer(name)
    found = stored()
    if found is not None:
        return found
    names = [str(path) for path in paths]
    if name == "characters":
        return Tokenizer.characters(names)
    say(f"no --tokenizer: training a vocabulary of {vocab:,} on the text")
    return Tokenizer.train(names, vocab_size=vocab)


def token_bytes(tokenizer: Tokenizer, vocab_size: int) -> Tensor:
    """How many bytes of text each id stands for, int64 (vocab_size,); 0 for special tokens and ids without a
    token.
    """
    special = set(tokenizer.special_tokens.values())
    lengths = np.zeros(max(vocab_size, tokenizer.vocab_size), np.int64)
    for token in range(tokenizer.vocab_size):
        if token not in special and _is_known(tokenizer, token):  # not a gap in an imported vocabulary
            lengths[token] = len(tokenizer.token_bytes(token))
    return torch.from_numpy(lengths)


def decode_known(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """The text of ``ids``, with � for each that no token has.

    A model may have more ids than its tokenizer, padded to a round number, and may write them before it has
    learned not to.
    """
    pieces: list[str] = []
    for known, group in itertools.groupby(ids, partial(_is_known, tokenizer)):
        run = list(group)
        pieces.append(tokenizer.decode(run) if known else "�" * len(run))
    return "".join(pieces)


def _is_known(tokenizer: Tokenizer, token: int) -> bool:
    try:
        tokenizer.token_bytes(token)
    except (KeyError, ValueError):
        return False
    return True


def cache_folder() -> Path:
    """Where shards of plain text are kept."""
    if chosen := os.environ.get("GPTMODEL_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "gptmodel"


def shard_text(paths: Sequence[Path], tokenizer: Tokenizer) -> Path:
    """The folder of shards of these files under this tokenizer, made now or found in the cache."""
    from gptbpe import shard_files

    digest = hashlib.sha256(tokenizer.fingerprint.encode())
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest() + path.suffix.encode() + b"\0")
    folder = cache_folder() / "shards" / digest.hexdigest()[:24]
    if (folder / "manifest.json").exists():
        return folder
    say(f"tokenizing {', '.join(map(str, paths))} -> {folder}")
    with tqdm(unit="B", unit_scale=True, desc="sharding", disable=not sys.stderr.isatty()) as bar:

        def show(phase: str, done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        shard_files(list(paths), tokenizer, folder, progress=show, force=True)
    return folder


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
