"""How shards come to be: what a crash, a full disk, a link, a fork or a second writer leaves behind.

Every cut of a file and every flipped bit are the Rust tests' (``rust/core/src/shard``).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from shard_folders import contents, write

from gptbpe import ShardReader, ShardWriter, Tokenizer, errors, shard_files
from gptbpe._core import atomic_write


def test_an_error_leaves_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(errors.UnknownTokenError), ShardWriter(tmp_path, vocab_size=10) as writer:
        writer.write_ragged(np.array([1, 2, 10]), np.array([0, 2, 3]))
    assert contents(tmp_path) == {}
    with pytest.raises(errors.ShardError, match="closed"):
        writer.write([1])


def test_other_shards_are_not_replaced_unasked(tmp_path: Path) -> None:
    write(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(errors.ShardExistsError):
        ShardWriter(tmp_path, vocab_size=10)
    assert contents(tmp_path) == before
    with ShardWriter(tmp_path, vocab_size=10, force=True) as writer:
        writer.write([1])
    assert sorted(contents(tmp_path)) == ["manifest.json", "shard-00000.bin", "shard-00000.gbx"]


def test_a_second_writer_is_turned_away(tmp_path: Path) -> None:
    script = "import sys; from gptbpe import ShardWriter; ShardWriter(sys.argv[1], vocab_size=10)"
    with ShardWriter(tmp_path, vocab_size=10) as writer:
        done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, check=False)
        assert b"ShardLockedError" in done.stderr
        assert f"process {os.getpid()}".encode() in done.stderr
        writer.write([1])
    assert ShardReader(tmp_path).total_tokens == 1


FULL_DISK = """
import resource, signal, sys
from gptbpe import ShardWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    with ShardWriter(sys.argv[1], vocab_size=300, shard_tokens=5000, eos=299, resume=True) as writer:
        for number in range(writer.resumed_documents, 300):
            writer.write([(number * 31 + at * 7919) % 299 for at in range(number % 97)], 2 * (number % 97))
except OSError as error:
    print(type(error).__name__, error.errno)
"""


@pytest.mark.skipif(os.name == "nt", reason="needs a limit on file sizes")
def test_no_room_is_an_error_and_room_later_is_enough(tmp_path: Path) -> None:
    """A write is refused at every kind of file: what was complete stays, a later run ends the same."""
    whole = tmp_path / "whole"
    write(whole)
    sizes = sorted(len(data) for data in contents(whole).values())
    failed = 0
    for limit in [0, 1, 100, 1023, 1024, 5000, sizes[-1] - 1, sizes[-1]]:
        folder = tmp_path / f"limit-{limit}"
        done = subprocess.run(
            [sys.executable, "-c", FULL_DISK, folder, str(limit)], capture_output=True, check=True
        )
        failed += done.stdout == b"OSError 27\n"
        assert done.stdout in (b"OSError 27\n", b"")
        names = [path.name for path in folder.iterdir() if not path.name.startswith("shard-")]
        assert not [name for name in names if "tmp" in name], "temporary files are removed"
        write(folder, resume=True)
        assert contents(folder) == contents(whole)
    assert failed == 7


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_killed_writer_leaves_nothing_wrong(tok: Tokenizer, tmp_path: Path) -> None:
    """Killed at random moments and started again and again, it ends with an undisturbed run's bytes."""
    text = "It was the best of times, it was the worst of times.\n<|endoftext|>\n" * 4000
    (tmp_path / "input.txt").write_text(text)
    tok.save(tmp_path / "tokenizer.json")
    script = """
import sys
from gptbpe import Tokenizer, shard_files, shards
shards.build.BATCH_BYTES = 2000
write = shards.ShardWriter._write_batch
def write_and_say_so(*arguments):
    write(*arguments)
    print("batch", flush=True)
    sys.stdin.readline()  # no further than it was told, however slowly the test reads
shards.ShardWriter._write_batch = write_and_say_so
shard_files(sys.argv[1], Tokenizer.load(sys.argv[2]), sys.argv[3], shard_tokens=1500)
"""

    def command(folder: Path) -> list[str]:
        return [
            sys.executable, "-c", script,
            str(tmp_path / "input.txt"), str(tmp_path / "tokenizer.json"), str(folder),
        ]  # fmt: skip

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    undisturbed = subprocess.run(command(whole), check=True, capture_output=True, stdin=subprocess.DEVNULL)
    batches = undisturbed.stdout.count(b"batch")
    dice = random.Random(1)
    grown = []
    for _ in range(12):
        # The moment is counted in batches, so that it falls into the work on a machine of any speed.
        with subprocess.Popen(command(killed), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            for _ in range(dice.randint(1, batches // 12)):
                assert process.stdout.readline() == b"batch\n"
                process.stdin.write(b"\n")
                process.stdin.flush()
            time.sleep(dice.uniform(0, 0.004))
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL, "the kill came too late to mean anything"
        grown.append(len(list(killed.glob("shard-*.bin"))))
        with pytest.raises((errors.ShardFormatError, FileNotFoundError)):
            ShardReader(killed)
    assert max(grown) > 0, "the kills came too early to mean anything"
    assert grown == sorted(grown), "complete shards are kept"
    subprocess.run(command(killed), check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    one, two = contents(whole), contents(killed)
    assert one == two
    assert len(one) > 50


def test_running_again_does_nothing(tok: Tokenizer, tmp_path: Path) -> None:
    source, folder = tmp_path / "input.txt", tmp_path / "data"
    source.write_text("one two\n<|endoftext|>\nthree\n" * 50)
    shard_files(source, tok, folder, shard_tokens=50)
    before = {path: path.stat().st_mtime_ns for path in folder.glob("[!.]*")}
    shard_files(source, tok, folder, shard_tokens=50)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("[!.]*")} == before
    whole = contents(folder)
    # A lost shard is made again, a changed input is not silently taken for the old one.
    (folder / "shard-00002.bin").unlink()
    shard_files(source, tok, folder, shard_tokens=50)
    assert contents(folder) == whole
    source.write_text("four\n")
    with pytest.raises(errors.ShardExistsError):
        shard_files(source, tok, folder, shard_tokens=50)
    assert contents(folder) == whole
    reader = shard_files(source, tok, folder, shard_tokens=50, force=True)
    assert tok.decode(reader.tokens(0)) == "four\n<|endoftext|>"


def test_an_interrupted_run_of_another_input_is_not_continued(tok: Tokenizer, tmp_path: Path) -> None:
    source, folder = tmp_path / "input.txt", tmp_path / "data"
    source.write_text("one two\n<|endoftext|>\n" * 50)
    shard_files(source, tok, folder, shard_tokens=20)
    (folder / "manifest.json").unlink()  # as if killed just before the end
    before = contents(folder)
    source.write_text("six ten\n<|endoftext|>\n" * 50)
    with pytest.raises(errors.ShardExistsError):
        shard_files(source, tok, folder, shard_tokens=20)
    assert contents(folder) == before, "the other run's work is still there"
    reader = shard_files(source, tok, folder, shard_tokens=20, force=True)
    assert {tok.decode(reader.tokens(i)) for i in range(len(reader.shards))} <= {
        "six ten\n<|endoftext|>" * n for n in range(1, 9)
    }


def test_the_old_shards_are_readable_until_the_new_ones_are_whole(tok: Tokenizer, tmp_path: Path) -> None:
    write(tmp_path)
    before = contents(tmp_path)
    expected = ShardReader(tmp_path).tokens(0).tolist()
    writer = ShardWriter(tmp_path, tokenizer=tok, shard_tokens=50, force=True)
    for _ in range(20):
        writer.write(range(40))
    assert len(list(tmp_path.glob("shard-*.new.bin"))) > 10
    assert ShardReader(tmp_path, verify="full").tokens(0).tolist() == expected
    with pytest.raises(errors.UnknownTokenError):
        writer.write([10**6])
    writer.close()
    assert contents(tmp_path) == before, "a run that fails takes nothing away and leaves nothing"
    with ShardWriter(tmp_path, tokenizer=tok, shard_tokens=50, force=True) as writer:
        writer.write(range(40))
    assert sorted(contents(tmp_path)) == [
        "manifest.json", "shard-00000.bin", "shard-00000.gbx", "tokenizer.json",
    ]  # fmt: skip
    assert ShardReader(tmp_path).tokenizer() == tok


@pytest.mark.skipif(os.name == "nt", reason="needs links and fork")
def test_a_lock_is_not_followed_through_a_link_and_foreign_ones_stay(tmp_path: Path) -> None:
    folder, precious = tmp_path / "data", tmp_path / "precious"
    folder.mkdir()
    precious.write_text("data")
    (folder / ".lock").write_text("somebody else's")
    write(folder)
    assert (folder / ".lock").read_text() == "somebody else's"
    (folder / ".gptbpe.lock").symlink_to(precious)
    with pytest.raises(OSError, match="gptbpe"):
        ShardWriter(folder, vocab_size=10, force=True)
    assert precious.read_text() == "data"


@pytest.mark.parametrize("name", ["tokenizer.json", "manifest.json", "shard-00000.bin", "shard-00000.gbx"])
def test_no_file_is_written_through_a_link(tok: Tokenizer, tmp_path: Path, name: str) -> None:
    """What a dataset's folder has under the dataset's names may lead to a file that nobody named."""
    folder, precious = tmp_path / "data", tmp_path / "precious"
    folder.mkdir()
    precious.write_text("data")
    (folder / name).symlink_to(precious)
    (tmp_path / "input.txt").write_text("low lower")
    reader = shard_files(tmp_path / "input.txt", tok, folder, force=True)
    assert precious.read_text() == "data"
    assert reader.total_tokens == len(ShardReader(folder, verify="full").tokens(0))
    assert not [entry.name for entry in folder.iterdir() if entry.is_symlink()]


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_what_a_killed_save_leaves_goes_with_the_next(tok: Tokenizer, tmp_path: Path) -> None:
    script = """
import os, signal, sys
from gptbpe.files import opened_atomically
with opened_atomically(sys.argv[1]) as write:
    write(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    path = tmp_path / "tokenizer.json"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", script, path], check=False)
    assert len(list(tmp_path.iterdir())) == 1  # the second removed that of the first
    tok.save(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["tokenizer.json"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_touches_nothing_of_its_parents(tmp_path: Path) -> None:
    script = """
import os, sys
from gptbpe import ShardReader, ShardWriter
writer = ShardWriter(sys.argv[1], vocab_size=300, shard_tokens=100)
for _ in range(5):
    writer.write(range(80))
child = os.fork()
if child == 0:
    try:
        writer.write([1])
    except Exception as error:
        print(type(error).__name__, flush=True)
    writer.close()
    del writer
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
writer.write(range(80))
writer.finish()
print(ShardReader(sys.argv[1], verify="full").total_tokens)
"""
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"ShardError\n480\n"


def test_equal_writers_at_once_end_with_one_dataset(tok: Tokenizer, tmp_path: Path) -> None:
    """One writes, those that come too early are told so, and those that come later find all done."""
    source, folder = tmp_path / "input.txt", tmp_path / "data"
    source.write_text("one two\n<|endoftext|>\nthree\n" * 50)
    tok.save(tmp_path / "tokenizer.json")
    script = """
import sys
from gptbpe import Tokenizer, errors, shard_files
tokenizer = Tokenizer.load(sys.argv[2])
while True:
    try:
        shard_files(sys.argv[1], tokenizer, sys.argv[3], shard_tokens=50)
        break
    except errors.ShardLockedError:
        pass
"""
    command = [sys.executable, "-c", script, source, tmp_path / "tokenizer.json", folder]
    writers = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(4)]
    for writer in writers:
        _, error = writer.communicate()
        assert writer.returncode == 0, error
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == [".inputs.json"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_what_is_whole_needs_no_room_to_write(tok: Tokenizer, tmp_path: Path) -> None:
    source, folder = tmp_path / "input.txt", tmp_path / "data"
    source.write_text("one two\n")
    shard_files(source, tok, folder)
    folder.chmod(0o555)
    try:
        assert shard_files(source, tok, folder).total_tokens > 0
        source.write_text("three\n")
        with pytest.raises(PermissionError):
            shard_files(source, tok, folder)
    finally:
        folder.chmod(0o755)


def test_files_are_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for data in (b"one", b"", bytes(range(256)) * 100):
        atomic_write(path, data)
        assert path.read_bytes() == data
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with pytest.raises(FileNotFoundError):
        atomic_write(tmp_path / "no" / "file", b"x")
    with pytest.raises(IsADirectoryError):
        atomic_write(tmp_path, b"x")
