"""Rows of ids in Parquet files and in folders of ``datasets``: the column ``input_ids``, a list per row."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gptbpe import extras
from gptbpe.errors import MissingExtraError, ShardFormatError
from gptbpe.shards.formats.documents import Documents, Name, documents_of, must_be_new
from gptbpe.shards.reader import ShardReader

__all__ = ["read_parquet", "write_parquet"]

COLUMN = "input_ids"


def write_parquet(reader: ShardReader, out: Name, *, column: str = COLUMN, force: bool = False) -> list[Path]:
    """Write a Parquet file for each shard, with a row of int32 ids for each document.

    Tokens are copied: Parquet compresses and cannot point into other files.

    Args:
        reader: the dataset.
        out: a folder; made if it is not there.
        column: its name.
        force: replace files of the same names.

    Returns:
        The files. ``datasets.load_dataset("parquet", data_files=[…])`` reads them.

    Raises:
        MissingExtraError: pyarrow is not installed.
        ShardExistsError: files are there, and ``force`` is not set.
    """
    pyarrow, parquet = _pyarrow()
    folder = Path(out)
    paths = [folder / f"{shard.path.stem}.parquet" for shard in reader.shards]
    must_be_new(paths, force)
    folder.mkdir(parents=True, exist_ok=True)
    schema = pyarrow.schema([(column, pyarrow.list_(pyarrow.int32()))])
    for number, path in enumerate(paths):
        spare = path.with_name(f".{path.name}.tmp-{os.getpid()}")
        try:
            with parquet.ParquetWriter(spare, schema) as writer:
                for ids, offsets in documents_of(reader, number):
                    rows = pyarrow.ListArray.from_arrays(
                        pyarrow.array(offsets, pyarrow.int32()), pyarrow.array(ids.astype(np.int32))
                    )
                    writer.write_batch(pyarrow.record_batch([rows], schema=schema))
            with spare.open("rb") as file:
                os.fsync(file.fileno())
            spare.replace(path)
        finally:
            spare.unlink(missing_ok=True)
    return paths


def read_parquet(inputs: Name | Iterable[Name], *, column: str = COLUMN) -> Iterator[Documents]:
    """Yield the rows of Parquet files, or of folders that ``datasets.Dataset.save_to_disk`` wrote.

    Args:
        inputs: files and such folders, in this order.
        column: the column, a list of integers in each row.

    Raises:
        MissingExtraError: pyarrow is not installed.
        ShardFormatError: there is no such column, it is of another type, or a row or an id is null.
    """
    pyarrow, parquet = _pyarrow()
    for name in [inputs] if isinstance(inputs, str | os.PathLike) else inputs:
        path = Path(name)
        try:
            if path.is_dir():
                for file in _arrow_files(path):
                    with pyarrow.memory_map(str(file)) as source, pyarrow.ipc.open_stream(source) as stream:
                        _check(stream.schema, column, file)
                        for batch in stream:
                            yield _documents(batch.column(column), column, file, pyarrow)
            else:
                with parquet.ParquetFile(path) as opened:
                    _check(opened.schema_arrow, column, path)
                    for batch in opened.iter_batches(batch_size=1024, columns=[column]):
                        yield _documents(batch.column(0), column, path, pyarrow)
        except pyarrow.ArrowException as error:
            raise ShardFormatError(f"{path} is damaged or no such file: {error}") from error


def _arrow_files(folder: Path) -> list[Path]:
    """The files of a folder of ``datasets``, in order."""
    state = folder / "state.json"
    if not state.exists():
        raise ShardFormatError(f"{folder} is no folder of Dataset.save_to_disk: it has no state.json")
    try:
        content = json.loads(state.read_bytes())
        names = [Path(file["filename"]).name for file in content["_data_files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ShardFormatError(f"{state} is damaged ({error})") from error
    if content.get("_indices_files"):
        raise ShardFormatError(f"{folder} has rows in another order than its files; flatten_indices() first")
    return [folder / name for name in names]


def _check(schema: Any, column: str, path: Path) -> None:
    if column not in schema.names:
        raise ShardFormatError(f"{path}: no column {column!r}; there are {', '.join(schema.names)}")


def _documents(rows: Any, column: str, path: Path, pyarrow: Any) -> Documents:
    types = pyarrow.types
    kind = rows.type
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    if not is_list or not types.is_integer(kind.value_type):
        raise ShardFormatError(f"{path}: column {column!r} is {kind}, expected lists of integers")
    rows = rows.cast(pyarrow.large_list(kind.value_type))
    offsets: npt.NDArray[np.int64] = rows.offsets.to_numpy()
    values = rows.values.slice(offsets[0], offsets[-1] - offsets[0])
    if rows.null_count or values.null_count:
        raise ShardFormatError(f"{path}: there are nulls in column {column!r}, expected ids")
    return Documents(values.to_numpy(), offsets - offsets[0])


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError(
            f"this format needs pyarrow; install it with: {extras.install('parquet')}"
        ) from error
    return pyarrow, parquet
