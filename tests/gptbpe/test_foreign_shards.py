"""Other programs' tokenized datasets: what we write they read, and what they write we read.

The oracles are Megatron-Core, datatrove and datasets themselves; where one is missing its tests are skipped.
Megatron's index is also read by numpy, from the layout that its documentation gives.
"""

from __future__ import annotations

import json
import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from gptbpe import ShardReader, ShardWriter, Tokenizer, errors
from gptbpe.cli import main
from gptbpe.shards import formats
from gptbpe.shards.formats import documents as shared

Ids = npt.NDArray[Any]


@pytest.fixture(params=[300, 70_000])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[ShardReader, list[list[int]]]:
    """Return a dataset of several shards, of 16 or 32 bits, and its documents."""
    size = request.param
    documents = [[(31 * n + 7919 * at) % (size - 1) for at in range(n % 23)] + [size - 1] for n in range(120)]
    with ShardWriter(tmp_path / "data", vocab_size=size, shard_tokens=500, eos=size - 1) as writer:
        for document in documents:
            writer.write(document[:-1])
    reader = ShardReader(tmp_path / "data")
    assert len(reader.shards) > 2
    return reader, documents


def split(parts: Any) -> list[list[int]]:
    return [ids[start:end].tolist() for ids, offsets in parts for start, end in pairwise(offsets)]


def read_index(prefix: Path) -> list[list[int]]:
    """Read as the layout says: magic, version, code, counts, lengths, pointers, documents."""
    data = Path(f"{prefix}.idx").read_bytes()
    assert data[:9] == b"MMIDIDX\0\0"
    version, code, sequences, documents = struct.unpack_from("<QBQQ", data, 9)
    assert version == 1
    lengths = np.frombuffer(data, "<i4", sequences, 34)
    pointers = np.frombuffer(data, "<i8", sequences, 34 + 4 * sequences)
    indices = np.frombuffer(data, "<i8", documents, 34 + 12 * sequences)
    assert len(data) == 34 + 12 * sequences + 8 * documents
    assert indices.tolist() == list(range(sequences + 1))
    tokens = Path(f"{prefix}.bin").read_bytes()
    dtype = {4: "<i4", 8: "<u2"}[code]
    return [
        np.frombuffer(tokens, dtype, length, pointer).tolist()
        for length, pointer in zip(lengths.tolist(), pointers.tolist(), strict=True)
    ]


# ---- Megatron --------------------------------------------------------------------------------------


def test_an_index_for_megatron_copies_no_tokens(
    tmp_path: Path, data: tuple[ShardReader, list[list[int]]]
) -> None:
    reader, documents = data
    prefixes = formats.write_megatron(reader, tmp_path / "megatron")
    assert [document for prefix in prefixes for document in read_index(prefix)] == documents
    for prefix, shard in zip(prefixes, reader.shards, strict=True):
        assert Path(f"{prefix}.bin").samefile(shard.path)
    assert split(formats.read_megatron(prefixes)) == documents
    with pytest.raises(errors.ShardExistsError):
        formats.write_megatron(reader, tmp_path / "megatron")
    formats.write_megatron(reader, tmp_path / "megatron", force=True)
    assert not [path for path in (tmp_path / "megatron").iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("mmap", [True, False])
def test_megatron_reads_our_index(
    tmp_path: Path, data: tuple[ShardReader, list[list[int]]], mmap: bool
) -> None:
    indexed = pytest.importorskip("megatron.core.datasets.indexed_dataset")
    reader, documents = data
    found = []
    for prefix in formats.write_megatron(reader, tmp_path / "megatron"):
        dataset = indexed.IndexedDataset(str(prefix), multimodal=False, mmap=mmap)
        assert dataset.document_indices.tolist() == list(range(len(dataset) + 1))
        found += [dataset[number].tolist() for number in range(len(dataset))]
        longest = int(np.argmax(dataset.sequence_lengths))
        assert dataset.get(longest, offset=2, length=3).tolist() == dataset[longest].tolist()[2:5]
    assert found == documents


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64])
def test_we_read_what_megatron_writes(tmp_path: Path, dtype: Any) -> None:
    indexed = pytest.importorskip("megatron.core.datasets.indexed_dataset")
    torch = pytest.importorskip("torch")
    builder = indexed.IndexedDatasetBuilder(str(tmp_path / "corpus.bin"), dtype=dtype)
    documents = []
    for number in range(40):
        sequences = [[number, at, 7] for at in range(number % 4)]
        for sequence in sequences:
            builder.add_item(torch.tensor(sequence))
        builder.end_document()
        documents.append([token for sequence in sequences for token in sequence])
    builder.finalize(str(tmp_path / "corpus.idx"))
    assert split(formats.read_megatron(tmp_path / "corpus")) == documents
    reader = formats.write_documents(
        formats.read_megatron(tmp_path / "corpus"), tmp_path / "data", vocab_size=100
    )
    assert split(formats.documents_of(reader)) == documents


def test_sequences_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.arange(100, dtype="<u2").tofile(tmp_path / "odd.bin")
    head = struct.pack("<9sQBQQ", b"MMIDIDX\0\0", 1, 8, 4, 3)
    index = [np.array([5, 3, 4, 0], "<i4"), np.array([20, 30, 2, 0], "<i8"), np.array([0, 3, 4], "<i8")]
    (tmp_path / "odd.idx").write_bytes(head + b"".join(part.tobytes() for part in index))
    monkeypatch.setattr(shared, "CHUNK_TOKENS", 6)
    assert split(formats.read_megatron(tmp_path / "odd")) == [[*range(10, 18), 1, 2, 3, 4], []]


def test_a_damaged_index_is_refused(tmp_path: Path, data: tuple[ShardReader, list[list[int]]]) -> None:
    prefix = formats.write_megatron(data[0], tmp_path / "megatron")[0]
    path = Path(f"{prefix}.idx")
    good = path.read_bytes()
    count = struct.unpack_from("<Q", good, 18)[0]
    damaged = {
        "does not begin with": b"X" + good[1:],
        "version 2": good[:9] + b"\2" + good[10:],
        "ids of type 7": good[:17] + b"\7" + good[18:],
        "expected": good[:-1],
        "negative": good[:34] + b"\xff\xff\xff\xff" + good[38:],
        "do not ascend": good[: 34 + 12 * count] + b"\1" + good[35 + 12 * count :],
    }
    for message, content in damaged.items():
        path.write_bytes(content)
        with pytest.raises(errors.ShardFormatError, match=message):
            list(formats.read_megatron(prefix))
    path.write_bytes(good)
    tokens = Path(f"{prefix}.bin")
    content = tokens.read_bytes()
    tokens.unlink()
    tokens.write_bytes(content[:-1])
    with pytest.raises(errors.ShardTruncatedError, match="cut off"):
        list(formats.read_megatron(prefix))


# ---- datatrove -------------------------------------------------------------------------------------


def test_datatrove_reads_our_files(tmp_path: Path, data: tuple[ShardReader, list[list[int]]]) -> None:
    module = pytest.importorskip("datatrove.utils.dataset")
    reader, documents = data
    folder = tmp_path / "datatrove"
    paths = formats.write_datatrove(reader, folder)
    dataset = module.DatatroveFolderDataset(
        str(folder), 9, filename_pattern="*.ds", token_size=reader.dtype.itemsize
    )
    # Its datasets begin again after the end, so a loop over one would not end.
    found = [token for at in range(len(dataset)) for token in dataset[at]["input_ids"].tolist()]
    expected = []
    for number, shard in enumerate(reader.shards):
        expected += reader.tokens(number, 0, shard.tokens // 10 * 10).tolist()
    assert found == expected
    one = module.DatatroveFileDataset(str(paths[0]), 9, reader.dtype.itemsize, return_positions=True)
    positions = [at for row in range(len(one)) for at in one[row]["positions"].tolist()]
    starts = [0, *reader.documents(0).tolist()]
    within = [at - max(start for start in starts if start <= at) for at in range(len(positions))]
    # datatrove counts positions anew in every row.
    assert all(found <= expected for found, expected in zip(positions, within, strict=True))
    assert split(formats.read_datatrove(paths)) == documents


@pytest.mark.parametrize("vocab_size", [300, 70_000])
def test_we_read_what_datatrove_writes(tmp_path: Path, vocab_size: int) -> None:
    module = pytest.importorskip("datatrove.pipeline.tokens.tokenizer")
    size = 2 if vocab_size <= 65_536 else 4
    file = module.TokenizedFile(
        str(tmp_path), "00000.ds", tokenizer_name_or_path="gpt2", token_size=size, save_final_metadata=True
    )
    documents = [[(number * at) % vocab_size for at in range(number)] for number in range(30)]
    for document in documents:
        file.write(document, None)
    file.close()
    assert split(formats.read_datatrove(tmp_path / "00000.ds")) == documents
    reader = formats.write_documents(
        formats.read_datatrove(tmp_path / "00000.ds"), tmp_path / "data", vocab_size=vocab_size
    )
    assert reader.dtype.itemsize == size
    assert split(formats.documents_of(reader)) == documents


def test_types_of_ids_are_never_guessed(tmp_path: Path, data: tuple[ShardReader, list[list[int]]]) -> None:
    path = formats.write_datatrove(data[0], tmp_path / "datatrove")[0]
    metadata, index = Path(f"{path}.metadata"), Path(f"{path}.index")
    other: Any = "uint32" if data[0].dtype == np.uint16 else "uint16"
    with pytest.raises(errors.ShardFormatError, match="was stated"):
        list(formats.read_datatrove(path, dtype=other))
    metadata.unlink()
    with pytest.raises(errors.ShardFormatError, match="nothing says"):
        list(formats.read_datatrove(path))
    assert split(formats.read_datatrove(path, dtype=data[0].dtype.name))  # type: ignore[arg-type]
    with pytest.raises(errors.ShardTruncatedError, match="in its index"):
        list(formats.read_datatrove(path, dtype=other))
    index.unlink()
    with pytest.raises(FileNotFoundError):
        list(formats.read_datatrove(path, dtype=data[0].dtype.name))  # type: ignore[arg-type]


# ---- parquet and datasets --------------------------------------------------------------------------


def test_parquet_there_and_back(tmp_path: Path, data: tuple[ShardReader, list[list[int]]]) -> None:
    pytest.importorskip("pyarrow")
    from pyarrow import parquet

    reader, documents = data
    paths = formats.write_parquet(reader, tmp_path / "parquet")
    found = [row for path in paths for row in parquet.read_table(path)["input_ids"].to_pylist()]
    assert found == documents
    assert split(formats.read_parquet(paths)) == documents
    back = formats.write_documents(
        formats.read_parquet(paths),
        tmp_path / "back",
        vocab_size=reader.vocab_size,
        eos=reader.vocab_size - 1,
        shard_tokens=500,
    )
    assert [shard.tokens for shard in back.shards] == [shard.tokens for shard in reader.shards]
    assert split(formats.documents_of(back)) == documents


def test_other_columns_are_refused(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "rows.parquet"
    rows = {
        "input_ids": [[1.5]],
        "text": ["a"],
        "null": pyarrow.array([None], pyarrow.list_(pyarrow.int32())),
        "inner": pyarrow.array([[1, None]], pyarrow.list_(pyarrow.int64())),
        "good": pyarrow.array([[1, 2]], pyarrow.list_(pyarrow.uint16(), 2)),
    }
    parquet.write_table(pyarrow.table(rows), path)
    for column, message in {
        "none": "no column 'none'; there are input_ids",
        "input_ids": "expected lists of integers",
        "text": "expected lists of integers",
        "null": "nulls",
        "inner": "nulls",
    }.items():
        with pytest.raises(errors.ShardFormatError, match=message):
            list(formats.read_parquet(path, column=column))
    assert split(formats.read_parquet(path, column="good")) == [[1, 2]]
    path.write_bytes(b"PAR1")
    with pytest.raises(errors.ShardFormatError, match="damaged"):
        list(formats.read_parquet(path))


def test_folders_of_datasets(tmp_path: Path, data: tuple[ShardReader, list[list[int]]]) -> None:
    datasets = pytest.importorskip("datasets")
    reader, documents = data
    paths = formats.write_parquet(reader, tmp_path / "parquet")
    dataset = datasets.Dataset.from_parquet([str(path) for path in paths], cache_dir=str(tmp_path / "cache"))
    assert dataset["input_ids"][:] == documents
    dataset.save_to_disk(tmp_path / "saved", num_shards=3)
    assert split(formats.read_parquet(tmp_path / "saved")) == documents
    dataset.shuffle(seed=1).save_to_disk(tmp_path / "shuffled")
    shuffled = datasets.load_from_disk(tmp_path / "shuffled")["input_ids"][:]
    assert split(formats.read_parquet(tmp_path / "shuffled")) == shuffled
    (tmp_path / "saved" / "state.json").write_text(json.dumps({"_data_files": [], "_indices_files": [{}]}))
    with pytest.raises(errors.ShardFormatError, match="flatten_indices"):
        list(formats.read_parquet(tmp_path / "saved"))


# ---- into shards -----------------------------------------------------------------------------------


def test_imported_documents_are_checked(tmp_path: Path, tok: Tokenizer) -> None:
    end = tok.special_tokens["<|endoftext|>"]
    ids, offsets = tok.encode_ragged(["low lower", "déjà vu", ""])
    ids = np.insert(ids, offsets[1:], end)
    offsets = offsets + np.arange(4)
    some = formats.Documents(ids, offsets)
    reader = formats.write_documents([some], tmp_path / "data", tokenizer=tok, eos=end)
    assert reader.text_bytes == len("low lowerdéjà vu".encode())
    assert reader.tokens(0).tolist() == ids.tolist()
    assert reader.manifest["eos"] == end
    with pytest.raises(errors.ShardExistsError):
        formats.write_documents([some], tmp_path / "data", tokenizer=tok, eos=end)
    with pytest.raises(errors.ShardError, match="not every document begins with"):
        formats.write_documents([some], tmp_path / "other", tokenizer=tok, bos=end)
    with pytest.raises(errors.UnknownTokenError):
        formats.write_documents([some], tmp_path / "small", vocab_size=10)
    negative = formats.Documents(np.array([-1]), np.array([0, 1]))
    with pytest.raises(errors.UnknownTokenError):
        formats.write_documents([negative], tmp_path / "negative", tokenizer=tok)


def test_the_commands(
    tmp_path: Path, data: tuple[ShardReader, list[list[int]]], capsys: pytest.CaptureFixture[str]
) -> None:
    reader, documents = data
    size = str(reader.vocab_size)
    for format, inputs in {
        "megatron": [str(tmp_path / "megatron" / shard.path.stem) for shard in reader.shards],
        "datatrove": [str(tmp_path / "datatrove" / f"{shard.path.stem}.ds") for shard in reader.shards],
    }.items():
        out = str(tmp_path / format)
        assert main(["export-shards", str(reader.path), "-f", format, "-o", out]) == 0
        assert main(["export-shards", str(reader.path), "-f", format, "-o", out]) == 2
        back = tmp_path / f"from-{format}"
        command = ["import-shards", *inputs, "-f", format, "-o", str(back)]
        assert main(command) == 2
        assert main([*command, "--vocab-size", size, "--eos", str(reader.vocab_size - 1)]) == 0
        assert split(formats.documents_of(ShardReader(back))) == documents
    assert "120 documents" in capsys.readouterr().err
