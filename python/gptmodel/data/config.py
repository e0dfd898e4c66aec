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
        description="folders of token shards, as `gptbpe shard` makes them, here or at s3://, gs:// or "
        "https://; several are mixed, by weights if given: books/:0.7 code/:0.3",
    )
    train_data: Paths | None = Field(None, description="text files to train on; tokenized once and cached")
    eval_data: Names | None = Field(
        None,
        description="text files to evaluate on, or a folder of shards, here or at a URL; left out: the last "
        "tenth is held out",
    )
    tokenizer: str | None = Field(
        None,
        description="tokenizer file, packaged name (gpt2), or `characters`; left out: trained on the text",
    )
    vocab: int = Field(512, gt=0, description="size of the vocabulary to train when no tokenizer is given")
    stride: int | None = Field(
        None, gt=0, description="tokens from one window's start to the next; left out: the context length"
    )
    shuffle: bool = Field(True, description="a new order every epoch; else from the front to the end")
    documents: Literal["stream", "mask", "pack"] = Field(
        "stream",
        description="stream: windows run over the ends of documents; mask: and attention stays inside a "
        "document; pack: rows of whole documents, attention stays inside",
    )
    num_workers: int = Field(
        0,
        ge=0,
        description="accepted for other trainers' command lines: threads read the shards, no processes",
    )
