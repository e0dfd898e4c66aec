"""``gptbpe export-shards`` and ``import-shards``: tokenized datasets of other programs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from gptbpe.cli import console, usage
from gptbpe.shards import DEFAULT_SHARD_TOKENS, ShardReader, formats

Output = Annotated[Path, Parameter(name=["--output", "-o"])]
Format = Annotated[Literal["megatron", "datatrove", "parquet"], Parameter(name=["--format", "-f"])]


def export_shards(
    data: Path, *, format: Format, output: Output, force: Annotated[bool, Parameter(negative="")] = False
) -> None:
    """Write shards in another program's format.

    Parameters
    ----------
    data
        A folder of shards.
    format
        `megatron`: indexed datasets of Megatron-Core; an index is written for each shard, and the tokens
        are linked, not copied. `datatrove`: `.ds` files. `parquet`: rows of `input_ids`, for Hugging Face
        datasets.
    output
        The folder for the files.
    force
        Replace files of the same names.
    """
    reader = ShardReader(data)
    if format == "megatron":
        paths = formats.write_megatron(reader, output, force=force)
        console.say(f"next: --data-path {' '.join(map(str, paths[:3]))}{' …' if len(paths) > 3 else ''}")
        return
    write = formats.write_datatrove if format == "datatrove" else formats.write_parquet
    paths = write(reader, output, force=force)
    console.say(f"{len(paths)} file{'' if len(paths) == 1 else 's'} in {output}")


def import_shards(
    *inputs: Path,
    format: Format,
    output: Output = Path("data"),
    tokenizer: console.TokenizerName = None,
    vocab_size: usage.MaybeWhole = None,
    bos: usage.MaybeWhole = None,
    eos: usage.MaybeWhole = None,
    dtype: Literal["uint16", "uint32"] | None = None,
    column: str = "input_ids",
    shard_tokens: usage.Whole = DEFAULT_SHARD_TOKENS,
    force: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Make shards from data that another program has tokenized.

    Parameters
    ----------
    inputs
        For `megatron`, names without .bin and .idx; for `datatrove`, .ds files; for `parquet`, files, or
        folders written by Dataset.save_to_disk.
    format
        The format of the inputs; it is never guessed.
    output
        The folder for the shards.
    tokenizer
        The tokenizer that made the ids; it is stored with the shards.
    vocab_size
        The size of the vocabulary, if there is no tokenizer: all ids are below this number.
    bos
        Record in the shards that every document begins with this id.
    eos
        Record in the shards that every document ends with this id.
    dtype
        For `datatrove`: the type of the ids, if there is no .metadata file.
    column
        For `parquet`: the column with the ids.
    shard_tokens
        The largest number of tokens in a shard.
    force
        Replace other shards in the folder.
    """
    if not inputs:
        raise console.Failure("nothing to import; name what another program has written")
    if (tokenizer is None) == (vocab_size is None):
        raise console.Failure("say which ids are valid: either --tokenizer or --vocab-size")
    documents: Iterator[formats.Documents]
    if format == "megatron":
        documents = formats.read_megatron(inputs)
    elif format == "datatrove":
        documents = formats.read_datatrove(inputs, dtype=dtype)
    else:
        documents = formats.read_parquet(inputs, column=column)
    reader = formats.write_documents(
        documents,
        output,
        tokenizer=None if tokenizer is None else console.tokenizer(tokenizer),
        vocab_size=vocab_size,
        bos=bos,
        eos=eos,
        options={"imported": format},
        shard_tokens=shard_tokens,
        force=force,
    )
    console.say(
        f"{reader.total_tokens:,} tokens in {reader.manifest['documents']:,} documents -> "
        f"{len(reader.shards)} shard{'' if len(reader.shards) == 1 else 's'} in {output}"
    )
