"""The plan of a dataset that several processes or machines make: its inputs, options and work items.

A plan is a file, ``OUT/.plan/plan.json``, with the tokenizer beside it. It says which documents each item
has, and how each input looked when it was made: an item whose input has changed since then is refused. The
folder must be one that all machines see, under the same name, and so must the inputs.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gptbpe import files, sources
from gptbpe.cluster.dividing import Part, divide
from gptbpe.errors import ShardError, ShardExistsError, ShardFormatError, ShardMismatchError
from gptbpe.io import FileRange
from gptbpe.io.remote import is_remote
from gptbpe.shards.build import input_key, input_names
from gptbpe.shards.writer import DEFAULT_SHARD_TOKENS
from gptbpe.tokenizer import Tokenizer
from gptbpe.types import END_OF_TEXT

__all__ = ["FOLDER", "Plan", "make"]

Name = str | os.PathLike[str]

FOLDER = ".plan"
"""Where in the dataset's folder the plan and its items lie."""
FORMAT = "gptbpe plan"
VERSION = 1


@dataclass(frozen=True)
class Plan:
    """A plan that was read from its folder; :func:`make` makes one.

    It is small and can be pickled, so it may be sent to the machines that work on it.
    """

    out: Path
    """The folder of the dataset."""
    items: tuple[tuple[Part, ...], ...]
    """The files and parts of files of each work item; there may be none in an item."""
    states: dict[str, tuple[int, int | str]]
    """Size of each input, and its time of last change in nanoseconds or its entity tag."""
    separator: str | None
    separator_at: str
    text_field: str
    shard_tokens: int
    own_shards: bool
    """Whether the shards of the items become those of the dataset."""
    options: dict[str, str]
    """How the documents came to be, as the dataset's manifest says it."""
    journal: bytes
    """What a run of ``shard_files`` over the same inputs stores to recognise them."""
    tokenizer_fingerprint: str
    digest: str
    """SHA-256 of the plan's file."""

    @classmethod
    def load(cls, out: Name) -> Plan:
        """Read the plan of a dataset's folder.

        Raises:
            FileNotFoundError: there is none.
            ShardFormatError: it is damaged, or of a later version.
        """
        path = _path(Path(out))
        data = path.read_bytes()
        try:
            plan = json.loads(data)
            if (plan["format"], plan["version"]) != (FORMAT, VERSION):
                raise ShardFormatError(
                    f"{path} is {plan['format']!r} version {plan['version']}; expected {FORMAT!r} {VERSION}"
                )
            items = tuple(tuple(_part(part) for part in item) for item in plan["items"])
            return cls(
                out=Path(out).absolute(),
                items=items,
                states={name: (size, changed) for name, size, changed in plan["inputs"]},
                separator=plan["separator"],
                separator_at=plan["separator_at"],
                text_field=plan["text_field"],
                shard_tokens=plan["shard_tokens"],
                own_shards=plan.get("own_shards", False),
                options=plan["options"],
                journal=plan["journal"].encode(),
                tokenizer_fingerprint=plan["tokenizer"],
                digest=hashlib.sha256(data).hexdigest(),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, ShardError):
                raise
            raise ShardFormatError(f"{path} is damaged ({error}); plan again with force") from error

    @property
    def folder(self) -> Path:
        """Where the plan and its finished items lie."""
        return self.out / FOLDER

    def tokenizer(self) -> Tokenizer:
        """Return the tokenizer, which lies beside the plan."""
        tokenizer = Tokenizer.load(self.folder / "tokenizer.json")
        if tokenizer.fingerprint != self.tokenizer_fingerprint:
            raise ShardMismatchError(
                f"{self.folder / 'tokenizer.json'} is not the tokenizer of the plan; plan again with force"
            )
        return tokenizer

    def check_inputs(self, number: int) -> None:
        """Raise ShardMismatchError if an input of an item is not what it was when the plan was made."""
        for part in self.items[number]:
            path = part.path if isinstance(part, FileRange) else part
            name, *state = sources.state(path)
            if self.states[name] != tuple(state):
                raise ShardMismatchError(
                    f"{path} has changed since the plan was made (size or time); plan again with force"
                )


def make(
    inputs: Name | Iterable[Name],
    tokenizer: Tokenizer | Name,
    out: Name,
    items: int,
    *,
    separator: str | None = END_OF_TEXT,
    separator_at: Literal["end", "start"] = "end",
    text_field: str = "text",
    shard_tokens: int = DEFAULT_SHARD_TOKENS,
    own_shards: bool = False,
    force: bool = False,
) -> Plan:
    """Plan a dataset as so many work items of about the same size, and write the plan into its folder.

    Making the same plan again changes nothing, so every machine may do it. The dataset that
    :func:`gptbpe.cluster.join` makes of the items is, byte for byte, that of ``shard_files`` with the same
    arguments, whatever the number of items. With ``own_shards`` shards end where items end, too: then the
    bytes follow from the plan, whoever makes its items, and joining copies no tokens.

    Args:
        inputs: files, folders or patterns, as for ``shard_files``; no standard input.
        tokenizer: turns text into ids, a tokenizer or its file.
        out: the folder of the dataset.
        items: how many; some may have no documents where the text cannot be cut so often.
        separator: as for ``shard_files``, and so are the other options.
        separator_at: ``"end"`` or ``"start"``.
        text_field: the field of JSON objects, the column of Parquet files.
        shard_tokens: a shard of the dataset is closed before it would exceed this.
        own_shards: the shards of each item become shards of the dataset as they are. There are up to
            ``items`` shards more, and with another number of items the dataset has other bytes, and samples
            another order.
        force: replace another plan and what was made for it.

    Raises:
        FileNotFoundError: an input is not there.
        TextError: standard input is among the inputs.
        ShardExistsError: the folder has another plan or other shards, and ``force`` is not set.
    """
    if separator_at not in ("end", "start"):
        raise ShardError(f"separator_at is {separator_at!r}, expected 'end' or 'start'")
    if not isinstance(tokenizer, Tokenizer):
        tokenizer = Tokenizer.load(tokenizer)
    out = Path(out)
    paths = sources.expand(inputs, besides=out)
    parts = divide(paths, items, separator=separator)
    options = {
        "separator": separator or "",
        "separator_at": separator_at,
        "text_field": text_field,
        "inputs": input_names(paths),
    }
    if own_shards:
        options["work_items"] = str(items)
    journal = input_key(paths, tokenizer, options, shard_tokens)
    assert journal is not None, "standard input was refused"
    content = {
        "format": FORMAT,
        "version": VERSION,
        "tokenizer": tokenizer.fingerprint,
        "separator": separator or None,
        "separator_at": separator_at,
        "text_field": text_field,
        "shard_tokens": shard_tokens,
        "options": options,
        "inputs": json.loads(journal)["inputs"],
        "items": [[_described(part) for part in item] for item in parts],
        "journal": journal.decode(),
    }
    if own_shards:
        content["own_shards"] = True
    data = (json.dumps(content, indent=1) + "\n").encode()
    path = _path(out)
    if (out / "manifest.json").exists() and not force and _journal(out) != journal:
        raise ShardExistsError(f"{out} holds other shards; replace them with force, here and when joining")
    if path.exists() and path.read_bytes() != data and not force:
        raise ShardExistsError(f"{path} is another plan; finish it, or replace it with force")
    if not path.exists() or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomically(path.parent / "tokenizer.json", tokenizer.to_bytes())
        files.write_atomically(path, data)  # last: a folder without it is no plan
    return Plan.load(out)


def _path(out: Path) -> Path:
    return out / FOLDER / "plan.json"


def _journal(out: Path) -> bytes | None:
    """Which inputs the shards in a folder were made of, if they say so."""
    path = out / ".inputs.json"
    return path.read_bytes() if path.exists() else None


def _described(part: Part) -> dict[str, Any]:
    if isinstance(part, FileRange):
        return {"file": str(part.path.absolute()), "start": part.start, "stop": part.stop}
    return {"file": part if isinstance(part, str) else str(part.absolute())}


def _part(described: dict[str, Any]) -> Part:
    if is_remote(described["file"]):
        return str(described["file"])
    path = Path(described["file"])
    return FileRange(path, described["start"], described["stop"]) if "start" in described else path
