"""Shards in an object store train as shards in a folder do; the store is moto's, on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import loop
import pytest

from gptbpe import Tokenizer, shard_files
from gptbpe.errors import GptBpeError
from gptmodel.errors import DataError
from gptmodel.train import train

for needed in ("moto.server", "s3fs", "xxhash", "boto3"):
    pytest.importorskip(needed)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A client of a server with an empty bucket, which fsspec finds."""
    import boto3
    import fsspec
    from moto.server import ThreadedMotoServer

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("GPTBPE_CACHE", str(tmp_path / "cache"))
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": url, "skip_instance_cache": True})
    client = boto3.client("s3", endpoint_url=url)
    client.create_bucket(Bucket="bucket")
    yield client
    server.stop()


def test_a_run_on_shards_in_an_object_store_is_that_on_a_folder(bucket: Any, tmp_path: Path) -> None:
    text = loop.write_text(tmp_path / "words.txt", 6000)
    folder = tmp_path / "shards"
    shard_files(text, Tokenizer.train([text], vocab_size=270), folder, shard_tokens=3000)
    for path in folder.iterdir():
        if not path.name.startswith("."):
            bucket.put_object(Bucket="bucket", Key=f"words/{path.name}", Body=path.read_bytes())
    found = []
    for name, shards in (("near", [str(folder)]), ("far", ["s3://bucket/words"])):
        config = loop.tiny(
            tmp_path, train_data=None, shards=shards, eval_data=shards, max_steps=4, experiment_name=name
        )
        run = train(config).run
        found.append((loop.losses(run), loop.losses(run, "evaluation")))
    assert found[0] == found[1]
    assert found[0][1]


def test_what_is_not_in_the_store_is_named(bucket: Any, tmp_path: Path) -> None:
    config = loop.tiny(tmp_path, train_data=None, shards=["s3://bucket/nothing"])
    with pytest.raises((GptBpeError, OSError), match="s3://bucket/nothing"):
        train(config)


@pytest.mark.parametrize("option", ["train_data", "eval_data"])
def test_text_in_the_store_is_answered_with_what_to_do(tmp_path: Path, option: str) -> None:
    names = {option: ["s3://bucket/a.txt", "s3://bucket/b.txt"]}
    with pytest.raises(DataError, match=r"^s3://bucket/a\.txt: .*gptbpe shard s3://bucket/a\.txt"):
        train(loop.tiny(tmp_path, **names))
