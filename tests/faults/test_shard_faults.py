"""The campaigns against shards, cut short: that they work, and that they find nothing."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from _campaign import run
from _child import Child

import gptbpe
from gptbpe import ShardWriter

pytestmark = pytest.mark.skipif(
    os.name == "nt", reason="needs fork, SIGKILL and files that are cut while open"
)


def test_damage_is_noticed() -> None:
    assert "none unnoticed" in run("damage_shards.py", "--step", "997")


def test_killed_writers_leave_whole_datasets() -> None:
    assert "nothing wrong" in run("kill_sharding.py", "--kills", "12")


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_system_calls_that_fail_lose_nothing() -> None:
    assert "nothing lost" in run("inject_syscalls.py", "--most", "12")


def test_killed_work_items_change_nothing() -> None:
    assert "nothing wrong" in run("kill_items.py", "--kills", "12")


def test_readers_survive_whatever_happens_to_their_files() -> None:
    assert "0 deaths" in run("cut_shards.py", "--cuts", "40")


def test_a_child_that_fails_says_why() -> None:
    assert Child(lambda: None, "nothing").ended()
    killed = Child(signal.pause, "waiting")
    killed.kill()
    assert not killed.ended()

    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a/file")

    with pytest.raises(AssertionError, match="work item 3 ended with exit code 1 after") as caught:
        Child(full, "work item 3").ended()
    assert "in full" in str(caught.value)
    assert f"{os.strerror(errno.ENOSPC)}: 'a/file'" in str(caught.value)
    with pytest.raises(AssertionError, match=r"exit code 7 .*\nIt raised nothing"):
        Child(lambda: os._exit(7), "leaving").ended()
    with pytest.raises(AssertionError, match=f"was ended by signal {int(signal.SIGTERM)}"):
        Child(lambda: os.kill(os.getpid(), signal.SIGTERM), "stopping").ended()


READ = """
import sys
from gptbpe import ShardReader
try:
    ShardReader(sys.argv[1], io="pread", verify="full")
except OSError as error:
    print(type(error).__name__, error.errno, error.filename)
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_a_disk_that_cannot_read_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, vocab_size=300) as writer:
        writer.write(range(300))
    shard = tmp_path / "shard-00000.bin"
    fails = ["-P", str(shard), "-e", "inject=read,pread64:error=EIO:when=2+"]
    traced = ["strace", "-f", "-o", os.devnull, *fails, sys.executable, "-c", READ, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(Path(gptbpe.__file__).parents[1])}
    if subprocess.run(["strace", "-o", os.devnull, "true"], check=False).returncode != 0:
        pytest.skip("nobody may trace here")
    done = subprocess.run(traced, capture_output=True, text=True, check=False, env=environment)
    assert done.stdout == f"OSError {errno.EIO} {shard}\n", done.stderr


@pytest.mark.skipif(not os.environ.get("GPTBPE_TEST_POWER_CUTS"), reason="mounts a disk, as root")
def test_power_cuts_lose_nothing() -> None:
    """Tried with GPTBPE_TEST_POWER_CUTS=1."""
    shown = run("cut_power.py", "--cuts", "10")
    if shown.startswith("skipped"):
        pytest.skip(shown)
    assert "nothing lost" in shown
