"""Datasets made by several workers: the same bytes as one machine's, whatever happens on the way."""

from __future__ import annotations

import errno
import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptbpe import ShardReader, Tokenizer, cluster, errors, shard_files, sources
from gptbpe.cli import main
from gptbpe.cluster import engines, item, joining
from gptbpe.cluster.dividing import Part
from gptbpe.counts import CountsFile
from gptbpe.io import FileRange

SEPARATOR = "<|endoftext|>"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def corpus(tmp_path: Path, text: str) -> Path:
    """Return a folder with files of several kinds, some of which can be cut."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    documents = [text[at : at + at % 331] for at in range(0, len(text) - 340, 7)]
    (folder / "a.txt").write_text(f"\n{SEPARATOR}\n".join(documents))
    (folder / "b.jsonl").write_text("".join(json.dumps({"text": each}) + "\n" for each in documents))
    (folder / "c.txt.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    (folder / "d.txt").write_text("")
    (folder / "e.txt").write_text(text)
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"text": documents}), folder / "f.parquet", row_group_size=9)
    return folder


# ---- dividing --------------------------------------------------------------------------------------


def documents_of(parts: list[Part], separator: str | None) -> list[bytes]:
    return [each for part in parts for each in sources.documents(part, separator=separator)]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.sampled_from(["<|e|>", "\n", "\r\n", "<|e|>\n", "\n<|e|>\n", "a", "bc ", "<", "|>"]), max_size=30
    ),
    st.integers(1, 9),
)
def test_the_documents_of_all_parts_are_those_of_the_text(
    tmp_path_factory: pytest.TempPathFactory, words: list[str], parts: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "divided.txt"
    path.write_bytes("".join(words).encode())
    items = cluster.divide([path, path], parts, separator="<|e|>")
    assert len(items) == parts
    found = [document for each in items for document in documents_of(each, "<|e|>")]
    assert found == 2 * list(sources.documents(path, separator="<|e|>"))


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.sampled_from(['{"text": "one"}', "", "  ", '{"text": "\\n"}']), max_size=20),
    st.integers(1, 9),
)
def test_json_lines_are_divided_between_lines(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], parts: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "divided.jsonl"
    path.write_text("\n".join(lines))
    items = cluster.divide([path], parts)
    found = [document for each in items for document in documents_of(each, None)]
    assert found == list(sources.documents(path))


def test_large_files_are_divided_evenly(tmp_path: Path) -> None:
    path = tmp_path / "large.txt"
    path.write_bytes((b"x" * 100_000 + SEPARATOR.encode()) * 50)
    items = cluster.divide([path], 5, separator=SEPARATOR)
    parts = [part for item in items for part in item if isinstance(part, FileRange)]
    assert [part.start for part in parts] == [0, *(100_013 * (10 * at + 1) for at in range(1, 5))]
    assert [item for item in cluster.divide([path], 5) if item] == [[path]], "nothing ends a document"


def test_separators_that_overlap_are_not_cut_at(tmp_path: Path) -> None:
    path = tmp_path / "overlap.txt"
    path.write_bytes(b"----------")
    items = cluster.divide([path], 3, separator="---")
    assert [document for each in items for document in documents_of(each, "---")] == list(
        sources.documents(path, separator="---")
    )


# ---- items and datasets ----------------------------------------------------------------------------


@pytest.mark.parametrize("items", [1, 3, 8, 40])
@pytest.mark.parametrize("separator_at", ["end", "start"])
def test_the_bytes_are_those_of_one_machine(
    tmp_path: Path, corpus: Path, tok: Tokenizer, items: int, separator_at: Any
) -> None:
    options: dict[str, Any] = {"shard_tokens": 1000, "separator_at": separator_at}
    shard_files(corpus, tok, tmp_path / "one", **options)
    plan = cluster.make(corpus, tok, tmp_path / "many", items, **options)
    for number in reversed(range(items)):
        cluster.make_item(plan, number, threads=1)
    reader = cluster.join(plan)
    assert len(reader.shards) > 5
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


def doc_tokens(reader: ShardReader) -> list[list[int]]:
    """The ids of all documents, separators included."""
    return [
        part.tolist()
        for shard in range(len(reader.shards))
        for part in np.split(reader.tokens(shard, 0, reader.shards[shard].tokens), reader.documents(shard))[
            :-1
        ]
    ]


@pytest.mark.parametrize("items", [1, 3, 7])
@pytest.mark.parametrize("separator_at", ["end", "start"])
def test_items_with_shards_of_their_own(
    tmp_path: Path, corpus: Path, tok: Tokenizer, items: int, separator_at: Any
) -> None:
    options: dict[str, Any] = {"shard_tokens": 1000, "separator_at": separator_at}
    one = shard_files(corpus, tok, tmp_path / "one", **options)
    options["own_shards"] = True
    plan = cluster.make(corpus, tok, tmp_path / "many", items, **options)
    made = [cluster.make_item(plan, number, threads=1) for number in reversed(range(items))]
    kept = [path for number in range(items) for path in item._folder(plan, number).glob("*.bin")]
    inodes = {path.stat().st_ino for path in kept}
    reader = cluster.join(plan)
    assert {shard.path.stat().st_ino for shard in reader.shards} == inodes, "no token was copied"
    assert doc_tokens(ShardReader(reader.path, verify="full")) == doc_tokens(one)
    marks = len(doc_tokens(one))
    assert sum(each.tokens for each in made) == one.total_tokens - marks
    assert sum(each.documents for each in made) == marks
    # One process that makes the items in turn makes the same files.
    alone = cluster.make(corpus, tok, tmp_path / "alone", items, **options)
    cluster.run(alone, lambda: ThreadPoolExecutor(1))
    assert contents(tmp_path / "alone") == contents(tmp_path / "many")
    if items == 1:
        shards = {name: data for name, data in contents(tmp_path / "one").items() if name.endswith(".bin")}
        assert all(contents(tmp_path / "many")[name][1024:] == data[1024:] for name, data in shards.items())


def test_joining_shards_of_their_own_goes_on_and_may_be_repeated(
    tmp_path: Path, corpus: Path, tok: Tokenizer
) -> None:
    def planned(name: str) -> cluster.Plan:
        plan = cluster.make(corpus, tok, tmp_path / name, 4, shard_tokens=500, own_shards=True)
        for number in range(4):
            cluster.make_item(plan, number, threads=1)
        return plan

    cluster.join(planned("one"))
    plan = planned("many")

    def interrupt(_phase: str, done: int, total: int | None) -> None:
        assert total is not None
        if 2 * done > total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cluster.join(plan, progress=interrupt)
    assert not (tmp_path / "many" / "manifest.json").exists()
    assert list((tmp_path / "many").glob("*.bin"))
    cluster.join(plan, keep=True)
    assert plan.folder.exists()
    cluster.join(plan, keep=True, force=True)
    cluster.join(plan)
    assert contents(tmp_path / "many") == contents(tmp_path / "one")
    with pytest.raises(errors.ShardExistsError):  # what has other shards is another dataset
        shard_files(corpus, tok, tmp_path / "many", shard_tokens=500)


def test_long_documents_are_joined_in_parts(
    tmp_path: Path, corpus: Path, tok: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "CHUNK_TOKENS", 50)
    shard_files(corpus, tok, tmp_path / "one", shard_tokens=500)
    plan = cluster.make(corpus, tok, tmp_path / "many", 4, shard_tokens=500)
    for number in range(4):
        cluster.make_item(plan, number, threads=1)
    cluster.join(plan)
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


def test_an_item_may_be_repeated_and_joining_be_interrupted(
    tmp_path: Path, corpus: Path, tok: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard_files(corpus, tok, tmp_path / "one", shard_tokens=500)
    plan = cluster.make(corpus, tok, tmp_path / "many", 4, shard_tokens=500)
    assert cluster.make(corpus, tok, tmp_path / "many", 4, shard_tokens=500) == plan
    assert cluster.missing(plan) == [0, 1, 2, 3]
    first = cluster.make_item(plan, 2, threads=1)
    before = contents(item._folder(plan, 2))
    monkeypatch.setattr(item, "receipt", lambda *_: None)  # as of two machines that work at the same time
    assert cluster.make_item(plan, 2, threads=2) == first
    monkeypatch.undo()
    assert contents(item._folder(plan, 2)) == before
    assert {path.name for path in plan.folder.iterdir()} == {
        "plan.json",
        "tokenizer.json",
        item._folder(plan, 2).name,
    }
    with pytest.raises(errors.ShardError, match="3 of 4 work items are missing: 0, 1, 3"):
        cluster.join(plan)
    for number in range(4):
        cluster.make_item(plan, number, threads=1)

    def interrupt(_phase: str, done: int, total: int | None) -> None:
        assert total is not None
        if 2 * done > total:
            raise KeyboardInterrupt

    monkeypatch.setattr(joining, "CHUNK_TOKENS", 300)
    with pytest.raises(KeyboardInterrupt):
        cluster.join(plan, progress=interrupt)
    assert not (tmp_path / "many" / "manifest.json").exists()
    assert list((tmp_path / "many").glob("*.bin"))
    cluster.join(plan)
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


def test_a_plan_is_removed_at_once(
    tmp_path: Path, corpus: Path, tok: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = cluster.make(corpus / "e.txt", tok, tmp_path / "data", 1)
    cluster.make_item(plan, 0)

    def interrupt(*_: Any, **__: Any) -> None:
        if not plan.folder.exists():
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(joining.shutil, "rmtree", interrupt)
        with pytest.raises(KeyboardInterrupt):
            cluster.join(plan)
    assert list((tmp_path / "data").glob(".plan*")) == [tmp_path / "data" / joining.REMOVED]
    assert main(["shard", "-o", str(tmp_path / "data"), "--join"]) == 0
    assert not list((tmp_path / "data").glob(".plan*"))


def test_a_changed_input_and_a_damaged_item_are_refused(tmp_path: Path, corpus: Path, tok: Tokenizer) -> None:
    plan = cluster.make(corpus, tok, tmp_path / "many", 2)
    with pytest.raises(errors.ShardError, match="numbered from 0; there is no 2"):
        cluster.make_item(plan, 2)
    cluster.make_item(plan, 0, threads=1)
    with (corpus / "f.parquet").open("ab") as file:
        file.write(b" ")
    with pytest.raises(errors.ShardMismatchError, match="has changed since the plan"):
        cluster.make_item(plan, 1, threads=1)
    with pytest.raises(errors.ShardExistsError, match="another plan"):
        cluster.make(corpus, tok, tmp_path / "many", 1)
    plan = cluster.make(corpus / "e.txt", tok, tmp_path / "many", 1, force=True)
    cluster.make_item(plan, 0, threads=1)
    sizes = item._folder(plan, 0) / item.TEXT_BYTES
    sizes.write_bytes(b"\1" + sizes.read_bytes()[1:])
    with pytest.raises(errors.ShardChecksumError, match="damaged"):
        cluster.join(plan)


def test_other_shards_are_noticed_before_the_work(tmp_path: Path, corpus: Path, tok: Tokenizer) -> None:
    shard_files(corpus / "a.txt", tok, tmp_path / "data")
    shard_files(corpus / "e.txt", tok, tmp_path / "one")
    with pytest.raises(errors.ShardExistsError, match="holds other shards"):
        cluster.make(corpus / "e.txt", tok, tmp_path / "data", 1)
    plan = cluster.make(corpus / "e.txt", tok, tmp_path / "data", 1, force=True)
    cluster.make_item(plan, 0)
    with pytest.raises(errors.ShardExistsError):
        cluster.join(plan)
    cluster.join(plan, force=True)
    assert contents(tmp_path / "data") == contents(tmp_path / "one")
    plan = cluster.make(corpus / "e.txt", tok, tmp_path / "data", 1)
    cluster.make_item(plan, 0)
    cluster.join(plan)
    assert contents(tmp_path / "data") == contents(tmp_path / "one"), "what is there is kept"


def test_several_documents_need_a_separator_also_in_different_items(tmp_path: Path) -> None:
    tokenizer = Tokenizer.train(b"low lower", vocab_size=256, special_tokens=[])
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text("low")
    plan = cluster.make([tmp_path / "a.txt", tmp_path / "b.txt"], tokenizer, tmp_path / "data", 2)
    for number in range(2):
        assert cluster.make_item(plan, number).documents == 1
    with pytest.raises(errors.TokenizerError, match="several documents"):
        cluster.join(plan)


def test_what_is_left_of_a_removed_item_is_no_item(tmp_path: Path, corpus: Path, tok: Tokenizer) -> None:
    plan = cluster.make(corpus, tok, tmp_path / "data", 2)
    left = item._folder(plan, 0)
    left.mkdir()
    (left / "shard-00000.bin").write_bytes(b"begun to be removed")
    for number in range(2):
        cluster.make_item(plan, number)
    assert cluster.join(plan).total_tokens > 0
    assert sorted(path.name for path in (tmp_path / "data").glob(".*")) == [".inputs.json"]


def test_a_plan_that_took_the_place_of_the_joined_one_stays(
    tmp_path: Path, corpus: Path, tok: Tokenizer
) -> None:
    old = cluster.make(corpus, tok, tmp_path / "data", 2)
    for number in range(2):
        cluster.make_item(old, number)

    def replace(_phase: str, done: int, total: int | None) -> None:
        if done == total:
            cluster.make(corpus, tok, tmp_path / "data", 3, force=True)

    cluster.join(old, progress=replace)
    assert len(cluster.Plan.load(tmp_path / "data").items) == 3


# ---- engines ---------------------------------------------------------------------------------------


def die_once(out: str, digest: str, number: int, threads: int | None) -> item.Receipt:
    """Make an item as a worker that is killed the first time, in the middle of writing."""
    mark = Path(out).parent / "died"
    if number == 1 and not mark.exists():
        mark.touch()

        def die(_phase: str, _done: int, _total: int | None) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        item.make_item(cluster.Plan.load(out), number, threads=threads, progress=die)
        mark.write_text("survived")
    return WORK(out, digest, number, threads)


WORK = engines._work


def one_machine(corpus: Path, tok: Tokenizer, out: Path, own_shards: bool) -> None:
    """Make the dataset that items are to make, in this process."""
    if not own_shards:
        shard_files(corpus, tok, out, shard_tokens=2000)
        return
    plan = cluster.make(corpus, tok, out, 4, shard_tokens=2000, own_shards=True)
    for number in range(4):
        cluster.make_item(plan, number)
    cluster.join(plan)


@pytest.mark.parametrize("own_shards", [False, True])
def test_an_executor_whose_worker_is_killed(
    tmp_path: Path, corpus: Path, tok: Tokenizer, monkeypatch: pytest.MonkeyPatch, own_shards: bool
) -> None:
    one_machine(corpus, tok, tmp_path / "one", own_shards)
    monkeypatch.setattr(engines, "_work", die_once)
    plan = cluster.make(corpus, tok, tmp_path / "many", 4, shard_tokens=2000, own_shards=own_shards)
    cluster.run(plan, lambda: ProcessPoolExecutor(2))
    assert (tmp_path / "died").read_text() == ""
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


def test_workers_that_die_again_and_again_end_the_run(tmp_path: Path, corpus: Path, tok: Tokenizer) -> None:
    class Broken(Executor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_exception(OSError(5, "gone"))
            return future

    plan = cluster.make(corpus, tok, tmp_path / "many", 2)
    with pytest.raises(errors.ShardError, match="failed 2 times"):
        cluster.run(plan, Broken, tries=2)
    cluster.run(plan, lambda: ThreadPoolExecutor(2))


def no_room(out: str, digest: str, number: int, threads: int | None) -> item.Receipt:
    (Path(out).parent / f"tried-{number}-{uuid.uuid4()}").touch()
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), f"{out}/file")


@pytest.mark.parametrize("executor", [lambda: ThreadPoolExecutor(1), lambda: ProcessPoolExecutor(1)])
def test_what_an_item_raises_ends_the_run_at_once(
    tmp_path: Path, corpus: Path, tok: Tokenizer, monkeypatch: pytest.MonkeyPatch, executor: Any
) -> None:
    plan = cluster.make(corpus, tok, tmp_path / "many", 2)
    monkeypatch.setattr(engines, "_work", no_room)
    with pytest.raises(OSError, match="many/file") as caught:
        cluster.run(plan, executor)
    assert caught.value.errno == errno.ENOSPC
    tried = [path.name[:7] for path in tmp_path.glob("tried-*")]
    assert len(tried) == len(set(tried)), "no item was tried again"
    monkeypatch.undo()
    cluster.run(plan, lambda: ThreadPoolExecutor(2))


@pytest.mark.slow
@pytest.mark.parametrize("own_shards", [False, True])
def test_ray_whose_worker_is_killed(
    tmp_path: Path, corpus: Path, tok: Tokenizer, monkeypatch: pytest.MonkeyPatch, own_shards: bool
) -> None:
    ray = pytest.importorskip("ray")
    one_machine(corpus, tok, tmp_path / "one", own_shards)
    plan = cluster.make(corpus, tok, tmp_path / "many", 4, shard_tokens=2000, own_shards=own_shards)
    work = WORK

    def killed_once(out: str, digest: str, number: int, threads: int | None) -> item.Receipt:
        mark = Path(out).parent / "died"
        if number == 1 and not mark.exists():
            mark.touch()

            def die(_phase: str, _done: int, _total: int | None) -> None:
                os.kill(os.getpid(), signal.SIGKILL)

            item.make_item(cluster.Plan.load(out), number, threads=threads, progress=die)
            mark.write_text("survived")
        return work(out, digest, number, threads)

    monkeypatch.setattr(engines, "_work", killed_once)
    paths = {
        "PYTHONPATH": os.pathsep.join([str(Path(item.__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    }
    ray.init(num_cpus=2, include_dashboard=False, runtime_env={"env_vars": paths}, log_to_driver=False)
    try:
        cluster.run_on_ray(plan)
    finally:
        ray.shutdown()
    assert (tmp_path / "died").read_text() == ""
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


# ---- the command line ------------------------------------------------------------------------------


def test_the_commands(
    tmp_path: Path, corpus: Path, tok: Tokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    tok.save(tmp_path / "tokenizer.json")
    one, many = str(tmp_path / "one"), str(tmp_path / "many")
    inputs = ["shard", str(corpus), "-t", str(tmp_path / "tokenizer.json"), "--shard-tokens", "2000"]
    assert main([*inputs, "-o", one]) == 0
    assert main(["shard", "-o", many, "--work-item", "0"]) == 2
    assert "there is no plan" in capsys.readouterr().err
    assert main([*inputs, "-o", many, "--plan", "3"]) == 0
    assert "3 work items, 3 of them with documents" in capsys.readouterr().err
    assert main(["shard", "-o", many, "--join"]) == 2
    assert "3 of 3 work items are missing: 0, 1, 2" in capsys.readouterr().err
    for number in "021":
        assert main(["shard", "-o", many, "--work-item", number, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["item"] == 1
    assert main(["shard", "-o", many, "--join"]) == 0
    assert contents(tmp_path / "many") == contents(tmp_path / "one")
    assert main(["shard", "-o", many, "--work-item", "0"]) == 0, "an item that comes late"
    assert main(["shard", "-o", many, "--join"]) == 0
    assert main([*inputs, "-o", many]) == 0, "one machine finds it finished"
    assert main([*inputs, "-o", many, "--join"]) == 2
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


def test_the_commands_for_items_with_shards_of_their_own(
    tmp_path: Path, corpus: Path, tok: Tokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    tok.save(tmp_path / "tokenizer.json")
    out = str(tmp_path / "many")
    inputs = ["shard", str(corpus), "-t", str(tmp_path / "tokenizer.json"), "-o", out]
    assert main([*inputs, "--own-shards"]) == 2
    assert "--plan N" in capsys.readouterr().err
    assert main([*inputs, "--plan", "3", "--own-shards"]) == 0
    for number in "201":
        assert main(["shard", "-o", out, "--work-item", number]) == 0
    assert main(["shard", "-o", out, "--join", "--own-shards"]) == 2
    assert main(["shard", "-o", out, "--join"]) == 0
    assert len(ShardReader(out, verify="full").shards) == 3


def test_the_array_job(tmp_path: Path, corpus: Path, tok: Tokenizer) -> None:
    script = Path(__file__).parents[2] / "docs" / "examples" / "shard.sbatch"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    shard_files(corpus, tok, tmp_path / "one", shard_tokens=2000)
    plan = cluster.make(corpus, tok, tmp_path / "many", 2, shard_tokens=2000)
    for task in ("1", "0", "1"):
        environment = os.environ | {"SLURM_ARRAY_TASK_ID": task, "SLURM_CPUS_PER_TASK": "2", "PATH": path}
        subprocess.run(["bash", str(script), str(tmp_path / "many")], check=True, env=environment)
    cluster.join(plan)
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


def test_counts_of_work_items_are_those_of_all_text(tmp_path: Path, corpus: Path) -> None:
    inputs = ["count-pretokens", *map(str, sorted(corpus.iterdir())), "--quiet"]
    assert main([*inputs, "-o", str(tmp_path / "all.pcnt")]) == 0
    parts = [tmp_path / f"{number}.pcnt" for number in range(3)]
    for number, part in enumerate(parts):
        assert main([*inputs, "-o", str(part), "--work-item", f"{number}/3"]) == 0
    whole, each = CountsFile.open(tmp_path / "all.pcnt"), [CountsFile.open(part) for part in parts]
    assert sum(part.pretokens for part in each) == whole.pretokens
    assert sum(part.text_bytes for part in each) == whole.text_bytes
    assert all(part.pretokens for part in each)
    merges = Tokenizer.train_from_counts(tmp_path / "all.pcnt", vocab_size=300).merges
    assert Tokenizer.train_from_counts(parts, vocab_size=300).merges == merges
    assert main([*inputs, "-o", str(parts[0]), "--work-item", "3/3"]) == 2
    empty = [*inputs[:2], "-o", str(tmp_path / "empty.pcnt"), "--work-item", "7/8000", "--quiet"]
    assert main(empty) == 0
    assert CountsFile.open(tmp_path / "empty.pcnt").pretokens == 0


def test_a_run_may_be_seen_by_threads(tmp_path: Path, corpus: Path, tok: Tokenizer) -> None:
    """Two threads make the same item at the same time."""
    plan = cluster.make(corpus, tok, tmp_path / "many", 1)
    barrier = threading.Barrier(2)

    def make() -> item.Receipt:
        barrier.wait()
        return cluster.make_item(plan, 0, threads=1)

    with ThreadPoolExecutor(2) as pool:
        first, second = [future.result() for future in [pool.submit(make), pool.submit(make)]]
    assert first == second
    assert cluster.join(plan).total_tokens > 0
