"""The settings of the data. This file imports no torch, so that the command line knows them at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

__all__ = ["DataConfig"]


def _several(value: object) -> object:
    """One path as a tuple of one: `compose({"train_data": "input.txt"})` is what everybody writes first."""
    return (value,) if isinstance(value, str | os.PathLike) else value


def _several_names(value: object) -> object:
    """The same, of paths that may have weights behind them."""
    value = _several(value)
    return tuple(map(str, value)) if isinstance(value, list | tuple) else value


Paths = Annotated[tuple[Path, ...], BeforeValidator(_several)]
Names = Annotated[tuple[str, ...], BeforeValidator(_several_names)]


class DataConfig(BaseModel):
    """What to train on."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    shards: Names | None = Field(
        None,
        description="folders of token shards, made by `gptbpe shard`, on disk or at s3://, gs:// or "
        "https://; several are mixed, with weights as in books/:0.7 code/:0.3",
    )
    train_data: Paths | None = Field(
        None, description="text files to train on; they are tokenized once and cached"
    )
    eval_data: Names | None = Field(
        None,
        description="text files to evaluate on, or a folder of shards, on disk or at a URL "
        "[default: the held-out last tenth]",
    )
    tokenizer: str | None = Field(
        None,
        description="tokenizer file, name of a packaged tokenizer (gpt2), or `characters` "
        "[default: trained on the text]",
    )
    vocab: int = Field(512, gt=0, description="size of the vocabulary to train if no tokenizer is given")
    stride: int | None = Field(
        None,
        gt=0,
        description="tokens from the start of one window to the next [default: the context length]",
    )
    shuffle: bool = Field(True, description="take windows in random order, a new one every epoch")
    documents: Literal["stream", "mask", "pack"] = Field(
        "stream",
        description="at the end of a document, windows of `stream` run on into the next; `mask` keeps "
        "attention inside a document; `pack` makes rows of whole documents, with the same attention",
    )
    num_workers: int = Field(
        0,
        ge=0,
        description="accepted for compatibility and ignored: threads of the process read the shards",
    )
