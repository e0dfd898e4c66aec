"""Inputs and datasets in object stores, read from a real S3 server on this machine, through faults.

The server is moto's; between it and the reader stands a proxy that answers 503, cuts bodies, stalls and flips
bits. What is read is right, or there is an error that says what could not be read.
"""

from __future__ import annotations

import gc
import hashlib
import importlib.util
import json
import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gptbpe import (
    Mixture,
    Sampler,
    ShardReader,
    ShardWriter,
    Tokenizer,
    cluster,
    errors,
    shard_files,
    sources,
)
from gptbpe.cli import main
from gptbpe.io import remote
from gptbpe.shards.formats import write_megatron

for needed in ("moto.server", "s3fs", "xxhash", "boto3"):
    pytest.importorskip(needed)

_spec = importlib.util.spec_from_file_location("faulty_proxy", Path(__file__).with_name("proxy.py"))
assert _spec is not None
assert _spec.loader is not None
proxy = importlib.util.module_from_spec(_spec)
sys.modules["faulty_proxy"] = proxy
_spec.loader.exec_module(proxy)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    moto.start()
    host, port = moto.get_host_and_port()
    yield f"http://{host}:{port}"
    moto.stop()


@pytest.fixture
def store(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Return the proxy in front of a server with an empty bucket."""
    import boto3
    import fsspec

    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "GPTBPE_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0)
    client = boto3.client("s3", endpoint_url=server)
    client.create_bucket(Bucket="bucket")
    with proxy.running(server) as running:
        running.client = client
        options = {"endpoint_url": running.url, "skip_instance_cache": False}
        monkeypatch.setitem(fsspec.config.conf, "s3", options)
        yield running
    for found in client.list_objects_v2(Bucket="bucket").get("Contents", []):
        client.delete_object(Bucket="bucket", Key=found["Key"])
    client.delete_bucket(Bucket="bucket")


def upload(store: Any, folder: Path, prefix: str, access: str = "private") -> str:
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            key = f"{prefix}/{path.relative_to(folder).as_posix()}"
            store.client.put_object(Bucket="bucket", Key=key, Body=path.read_bytes(), ACL=access)
    return f"s3://bucket/{prefix}"


# ---- inputs ----------------------------------------------------------------------------------------


@pytest.fixture
def corpus(tmp_path: Path, text: str) -> Path:
    import gzip

    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "a.txt").write_text(text * 20)
    (folder / "b.jsonl").write_text("".join(json.dumps({"text": text[at:]}) + "\n" for at in range(50)))
    (folder / "c.txt.gz").write_bytes(gzip.compress(text.encode()))
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"text": [text, text[:50]]}), folder / "d.parquet")
    return folder


def test_inputs_are_found_and_read(store: Any, corpus: Path) -> None:
    url = upload(store, corpus, "corpus")
    store.client.put_object(Bucket="bucket", Key="corpus/left.bin", Body=b"x")
    names = [f"{url}/{path.name}" for path in sorted(corpus.iterdir())]
    assert sources.expand(url) == names
    assert sources.expand(f"{url}/*.txt*") == [names[0], names[2]]
    assert sources.expand(names[1]) == [names[1]]
    for name, path in zip(names, sorted(corpus.iterdir()), strict=True):
        assert list(sources.documents(name)) == list(sources.documents(path))
        assert sources.size(name) == path.stat().st_size
    for wrong in (f"{url}/none.txt", f"{url}/*.md", "s3://bucket/none", "s3://other/none.txt"):
        with pytest.raises(FileNotFoundError):
            sources.expand(wrong)


def test_shards_of_urls_are_those_of_files(
    store: Any, corpus: Path, tok: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = upload(store, corpus, "corpus")
    expected = shard_files(corpus, tok, tmp_path / "here", shard_tokens=3000)
    monkeypatch.setattr(remote, "BUFFER_BYTES", 3000)
    store.faults = [("a.txt", "503"), ("b.jsonl", "cut"), ("c.txt.gz", "503"), ("d.parquet", "cut")]
    shard_files(url, tok, tmp_path / "there", shard_tokens=3000)
    assert store.happened == {"503": 2, "cut": 2}
    for path in sorted((tmp_path / "here").iterdir()):
        if path.name != ".inputs.json":
            assert (tmp_path / "there" / path.name).read_bytes() == path.read_bytes()
    before = store.body_bytes
    shard_files(url, tok, tmp_path / "there", shard_tokens=3000)
    assert store.body_bytes < before + 5000, "all was there, and only the folder was listed"
    plan = cluster.make(url, tok, tmp_path / "many", 3, shard_tokens=3000)
    for number in range(3):
        cluster.make_item(plan, number, threads=1)
    assert cluster.join(plan).fingerprint == expected.fingerprint
    merges = Tokenizer.train(corpus / "a.txt", vocab_size=300).merges
    assert Tokenizer.train(f"{url}/a.txt", vocab_size=300).merges == merges


def test_what_cannot_be_read_is_an_error(
    store: Any, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = upload(store, corpus, "corpus")
    monkeypatch.setattr(remote, "TRIES", 2)
    monkeypatch.setattr(remote, "STALL_SECONDS", 1.0)
    store.forever = True
    for fault in ("503", "cut", "stall"):
        store.faults = [("a.txt", fault)]
        with pytest.raises(OSError, match="cannot be read, after 2 tries"):
            list(sources.documents(f"{url}/a.txt"))
    store.faults, store.forever = [("a.txt", "stall")], False
    monkeypatch.setattr(remote, "STALL_SECONDS", 3.0)
    monkeypatch.setattr(remote, "TRIES", 10)
    assert list(sources.documents(f"{url}/a.txt")) == list(sources.documents(corpus / "a.txt"))
    store.client.delete_object(Bucket="bucket", Key="corpus/a.txt")
    with pytest.raises(FileNotFoundError):
        list(sources.documents(f"{url}/a.txt"))


def test_a_file_that_is_replaced_while_it_is_read(
    store: Any, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = upload(store, corpus, "corpus")
    monkeypatch.setattr(remote, "BUFFER_BYTES", 1000)
    monkeypatch.setattr(sources, "BLOCK_BYTES", 1000)
    with remote.opened(f"{url}/a.txt") as file:
        file.read(1000)
        size = (corpus / "a.txt").stat().st_size
        store.client.put_object(Bucket="bucket", Key="corpus/a.txt", Body=b"x" * size)
        with pytest.raises(OSError, match="replaced while it was read"):
            file.read()


def test_columns_of_a_file_that_is_replaced(store: Any, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    def bodies(letter: str) -> bytes:
        rows = {"text": [letter * 5000] * 40, "other": [letter * 3000] * 40}
        parquet.write_table(
            pyarrow.table(rows),
            tmp_path / "rows.parquet",
            row_group_size=10,
            compression="none",
            use_dictionary=False,
        )
        return (tmp_path / "rows.parquet").read_bytes()

    first, second = bodies("a"), bodies("b")
    assert len(first) == len(second)
    store.client.put_object(Bucket="bucket", Key="rows.parquet", Body=first)
    file = remote.RemoteFile("s3://bucket/rows.parquet")
    table = parquet.ParquetFile(file)
    assert table.read_row_group(0, ["text"]).to_pydict() == {"text": ["a" * 5000] * 10}
    store.client.put_object(Bucket="bucket", Key="rows.parquet", Body=second)
    with pytest.raises(OSError, match="replaced while it was read"):
        table.read_row_group(1, ["text"])


def test_the_commands(
    store: Any, corpus: Path, tok: Tokenizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = upload(store, corpus, "corpus")
    tok.save(tmp_path / "tokenizer.json")
    use = ["-t", str(tmp_path / "tokenizer.json")]
    assert main(["shard", url, *use, "-o", str(tmp_path / "data")]) == 0
    assert main(["count", f"{url}/a.txt", *use]) == 0
    assert main(["train", f"{url}/a.txt", "--vocab", "300", "-o", str(tmp_path / "new.json")]) == 0
    assert main(["count-pretokens", f"{url}/a.txt", "-o", str(tmp_path / "a.pcnt")]) == 0
    data = upload(store, tmp_path / "data", "data")
    capsys.readouterr()
    assert main(["verify", data]) == 0
    assert main(["inspect", data]) == 0
    assert "fingerprint" in capsys.readouterr().out
    assert main(["shard", f"{url}/none.txt", *use, "-o", str(tmp_path / "none")]) == 2
    assert "none.txt" in capsys.readouterr().err


# ---- datasets --------------------------------------------------------------------------------------

TOKENS = 3_000_000


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> ShardReader:
    """Return a dataset of 6 MB in four shards, of two blocks each."""
    folder = tmp_path_factory.mktemp("local") / "data"
    ids = np.random.default_rng(0).integers(0, 50_000, TOKENS, np.uint16)
    with ShardWriter(folder, vocab_size=50_000, shard_tokens=800_000) as writer:
        writer.write_ragged(ids, np.arange(0, TOKENS + 1, 1000))
    return ShardReader(folder)


def test_a_dataset_is_read_where_it_lies(store: Any, local: ShardReader) -> None:
    url = upload(store, local.path, "data")
    reader = ShardReader(url)
    assert (reader.total_tokens, reader.fingerprint) == (TOKENS, local.fingerprint)
    assert store.body_bytes < 10_000, "only the manifest"
    store.faults = [("shard-00002.bin", fault) for fault in ("flip", "503", "cut", "flip")]
    store.faults += [("shard-00002.gbx", "flip")]
    assert (reader.tokens(2, 5, 50) == local.tokens(2, 5, 50)).all()
    assert store.happened == {"flip": 3, "503": 1, "cut": 1}
    assert (reader.documents(1) == local.documents(1)).all()
    for order in ("global", "block", "sequential"):
        there = Sampler(reader, 256, order=order)  # type: ignore[arg-type]
        here = Sampler(local, 256, order=order)  # type: ignore[arg-type]
        assert there.fingerprint == here.fingerprint
        for first in (0, 1000):
            for found, expected in zip(there.batch(first, 8), here.batch(first, 8), strict=True):
                assert (found == expected).all()
    reader.check(3)
    again = pickle.loads(pickle.dumps(reader))
    before = store.body_bytes
    assert (again.tokens(2) == local.tokens(2)).all()
    assert store.body_bytes - before < 1.1 * 1024 * 1024, "the manifest, and the one block that was not there"


def test_a_system_without_calls_at_places(
    store: Any, local: ShardReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pread", "pwrite", "link"):
        monkeypatch.delattr(os, name, raising=False)
    reader = ShardReader(upload(store, local.path, "data"))
    assert (reader.tokens(1) == local.tokens(1)).all()
    assert (ShardReader(reader._arguments[0]).tokens(1) == local.tokens(1)).all()


def test_an_epoch_reads_every_byte_once(store: Any, local: ShardReader) -> None:
    url = upload(store, local.path, "data")
    there, here = Sampler(url, 512, order="block"), Sampler(local, 512, order="block")  # type: ignore[arg-type]
    with there.batches(64, count=len(there) // 64, ahead=2) as stream:
        for number, (inputs, targets) in enumerate(stream):
            expected = here.batch(64 * number, 64)
            assert (inputs == expected[0]).all()
            assert (targets == expected[1]).all()
    used = 2 * 512 * (len(there) // 64 * 64)
    assert store.body_bytes <= 1.05 * used, f"{store.body_bytes / used:.3f} times the bytes that were used"


def test_a_dataset_that_is_larger_than_the_cache(store: Any, tmp_path: Path) -> None:
    """Units of 40 MiB of a dataset of 120 MiB, and a cache of 96 MiB."""
    random = np.random.default_rng(0)
    with ShardWriter(tmp_path / "large", vocab_size=50_000, shard_tokens=15 << 20) as writer:
        for _ in range(60):
            writer.write(random.integers(0, 50_000, 1 << 20, np.uint16))
    url = upload(store, tmp_path / "large", "large")
    limit, length = 96 << 20, 4096
    there = ShardReader(url, cache_bytes=limit)
    samplers = [
        Sampler(reader, length, order="block", units=(40 * 128, 1))
        for reader in (there, ShardReader(tmp_path / "large"))
    ]
    batches = len(samplers[0]) // 64
    with samplers[0].batches(64, count=batches, ahead=1) as stream:
        for number, (inputs, _) in enumerate(stream):
            if number % 16 == 0:
                assert (inputs == samplers[1].batch(64 * number, 64)[0]).all()
                files = (tmp_path / "cache").rglob("shard-*.bin")
                assert sum(path.stat().st_blocks * 512 for path in files) <= limit + (1 << 20)
    used = 2 * length * 64 * batches
    assert store.body_bytes <= 1.05 * used, f"{store.body_bytes / used:.3f} times the bytes that were used"


def test_packed_and_mixed(store: Any, local: ShardReader) -> None:
    url = upload(store, local.path, "data")

    def mixture(data: Any) -> Mixture:
        return Mixture([Sampler(data, 512, pack=True), Sampler(data, 512)], [1, 2], block=64)

    there, here = mixture(ShardReader(url)), mixture(local)
    for found, expected in zip(there.batch(30, 20), here.batch(30, 20), strict=True):
        assert (found == expected).all()
    masked = there.samplers[0].masked_batch(5, 4), here.samplers[0].masked_batch(5, 4)
    assert (masked[0].cu_seqlens == masked[1].cu_seqlens).all()


def test_the_cache_is_bounded(store: Any, local: ShardReader, tmp_path: Path) -> None:
    url = upload(store, local.path, "data")
    cache = tmp_path / "small"
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "mine.bin").write_bytes(b"x" * 10_000)
    limit = 4 << 20
    reader = ShardReader(url, cache=cache, cache_bytes=limit)
    there, here = Sampler(reader, 512, order="sequential"), Sampler(local, 512, order="sequential")

    def used() -> int:
        return sum(path.stat().st_blocks * 512 for path in cache.rglob("shard-*"))

    for _ in range(2):
        with there.batches(64, count=len(there) // 64, ahead=1) as stream:
            for number, batch in enumerate(stream):
                assert (batch[0] == here.batch(64 * number, 64)[0]).all()
                assert used() <= limit + (1 << 20)
    assert (there.batch(0, len(there))[0] == here.batch(0, len(there))[0]).all(), "more than the cache holds"
    there.batch(0, 1)
    if (open_files := Path("/proc/self/fd")).exists():
        gc.collect()
        links = [str(path.readlink()) for path in open_files.iterdir() if path.is_symlink()]
        assert not [link for link in links if str(cache) in link and link.endswith("(deleted)")]
    assert (cache / "mine.bin").exists()


def test_damage_and_absence_are_errors(
    store: Any, local: ShardReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "TRIES", 2)
    url = upload(store, local.path, "data")
    reader = ShardReader(url)
    body = local.shards[0].path.read_bytes()
    damaged = bytearray(body)
    damaged[2000] ^= 1
    store.client.put_object(Bucket="bucket", Key="data/shard-00000.bin", Body=bytes(damaged))
    with pytest.raises(errors.ShardChecksumError, match="is damaged"):
        reader.tokens(0, 0, 10)
    assert (reader.tokens(0, 600_000, 600_010) == local.tokens(0, 600_000, 600_010)).all()
    with pytest.raises(errors.ShardChecksumError, match="is damaged"):
        Sampler(reader, 512, order="sequential").batch(0, 4)
    store.client.put_object(Bucket="bucket", Key="data/shard-00001.bin", Body=body)
    with pytest.raises(errors.ShardError, match="is not the shard that the manifest lists"):
        reader.tokens(1, 0, 10)
    store.client.delete_object(Bucket="bucket", Key="data/shard-00002.bin")
    with pytest.raises(FileNotFoundError):
        reader.tokens(2, 0, 10)
    with pytest.raises(errors.ShardError):
        reader.tokens(9, 0, 10)
    store.client.put_object(Bucket="bucket", Key="data/manifest.json", Body=b"{}")
    with pytest.raises(errors.ShardChecksumError, match="does not match its sha256"):
        ShardReader(url)
    with pytest.raises(FileNotFoundError):
        ShardReader("s3://bucket/none")


def test_a_damaged_cache_is_mended(store: Any, local: ShardReader, tmp_path: Path) -> None:
    url = upload(store, local.path, "data")
    first = ShardReader(url).tokens(0)
    (path,) = (tmp_path / "cache").rglob("shard-00000.bin")
    with path.open("r+b") as file:
        file.seek(5000)
        file.write(b"damage")
    assert (ShardReader(url).tokens(0) == first).all()
    path.unlink()
    assert (ShardReader(url).tokens(0) == first).all()
    sidecar = path.with_suffix(".gbx")
    whole = sidecar.read_bytes()
    for damaged in (None, b"", bytes(len(whole)), whole[:-3], whole[:-8] + bytes(8)):
        sidecar.unlink() if damaged is None else sidecar.write_bytes(damaged)
        reader = ShardReader(url)
        assert (reader.tokens(0) == first).all()
        assert sidecar.read_bytes() == whole


def test_a_manifest_names_no_file_elsewhere(store: Any, tok: Tokenizer, tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "data", tokenizer=tok) as writer:
        writer.write([1, 2, 3])
    url = upload(store, tmp_path / "data", "data")
    evil = b"ssh-rsa of somebody else"
    written = (tmp_path / "data" / "manifest.json").read_text()
    manifest = json.loads(written)
    store.client.put_object(Bucket="bucket", Key="stolen", Body=evil)
    for wrong in ("../../stolen", str(tmp_path / "stolen")):
        sha256 = manifest["tokenizer"]["sha256"]
        named = f'"{hashlib.sha256(evil).hexdigest()}",\n    "file": {json.dumps(wrong)}'
        body = written[:-83].replace(f'"{sha256}"', named)
        digest = hashlib.sha256(body.encode()).hexdigest()
        forged = body + written[-83:].replace(manifest["digest"], digest)
        store.client.put_object(Bucket="bucket", Key="data/manifest.json", Body=forged.encode())
        with pytest.raises(errors.ShardError):
            ShardReader(url)
        assert evil not in [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]


def test_only_folders_of_datasets_are_ever_emptied(store: Any, local: ShardReader, tmp_path: Path) -> None:
    mine = tmp_path / "outer" / "mine"
    mine.mkdir(parents=True)
    (mine / "shard-00000.bin").write_bytes(bytes(5000))
    url = upload(store, local.path, "data")
    ShardReader(url, cache=mine).tokens(0)
    ShardReader(url, cache=tmp_path / "outer", cache_bytes=1).tokens(0)
    assert (mine / "shard-00000.bin").exists()


def test_what_lies_elsewhere_is_not_linked(store: Any, local: ShardReader, tmp_path: Path) -> None:
    reader = ShardReader(upload(store, local.path, "data"))
    with pytest.raises(errors.ShardError, match="object store"):
        write_megatron(reader, tmp_path / "megatron")


def test_a_web_server(store: Any, local: ShardReader, monkeypatch: pytest.MonkeyPatch) -> None:
    upload(store, local.path, "data", "public-read")
    upload(store, local.path, "secret")
    # Of HEAD requests as well, with which sizes are asked for: to fsspec all their failures are one.
    store.methods = {"GET", "HEAD"}
    store.faults = [
        ("manifest.json", "503"),
        ("manifest.json", "503"),
        ("00001.bin", "cut"),
        ("00001.bin", "flip"),
    ]
    reader = ShardReader(f"{store.url}/bucket/data")
    assert (reader.tokens(1, 3, 9) == local.tokens(1, 3, 9)).all()
    assert store.happened == {"503": 2, "cut": 1, "flip": 1}
    with pytest.raises(FileNotFoundError):
        ShardReader(f"{store.url}/bucket/none")
    with pytest.raises(PermissionError):
        ShardReader(f"{store.url}/bucket/secret")
    store.faults, store.forever = [("manifest.json", "503")], True
    monkeypatch.setattr(remote, "TRIES", 2)
    with pytest.raises(OSError, match="cannot be read, after 2 tries"):
        ShardReader(f"{store.url}/bucket/data")
