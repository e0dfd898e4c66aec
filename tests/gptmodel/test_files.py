"""Whole files and locked folders."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from gptmodel import files
from gptmodel.checkpoint import runs
from gptmodel.errors import LockedError


def test_a_locked_folder_is_refused_with_the_process_that_holds_it(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from gptmodel import files\n"
        "with files.Lock(Path(sys.argv[1])):\n"
        "    print('locked', flush=True)\n"
        "    sys.stdin.readline()\n"
    )
    python = str(Path(files.__file__).parents[1])
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        env={"PYTHONPATH": python},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    with pytest.raises(LockedError, match=rf"in use by another process \(pid {holder.pid}\)"):
        files.Lock(tmp_path).__enter__()
    holder.kill()  # the system gives the lock back
    holder.communicate()
    with files.Lock(tmp_path):
        pass
    with files.Lock(tmp_path):  # and it can be taken again
        pass


def test_a_file_that_cannot_be_written_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.toml"
    files.write_text(path, "old")

    def full(_: Path) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(files, "flush", full)
    with pytest.raises(OSError, match="no space"):
        files.write_text(path, "new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.toml"]
    assert path.read_text() == "old"


def test_a_file_system_without_locks_is_no_obstacle_but_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def unable(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unable)
    with pytest.warns(UserWarning, match="cannot be locked"), files.Lock(tmp_path):
        pass


def test_a_lock_that_is_a_link_is_not_followed_and_a_foreign_one_not_overwritten(tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    run = tmp_path / "run"
    run.mkdir()
    (run / ".lock").symlink_to(precious)
    with pytest.raises(LockedError, match="symbolic link"), files.Lock(run):
        pass
    assert precious.read_text() == "mine"
    (run / ".lock").unlink()
    (run / ".lock").write_text("another program's")
    with pytest.raises(LockedError, match="not made by gptmodel"), files.Lock(run):
        pass
    assert (run / ".lock").read_text() == "another program's"
    (run / ".lock").write_text("pid 1")  # of a process that was killed
    with files.Lock(run):
        pass


@pytest.mark.skipif(files.fcntl is None, reason="nothing is locked there")
def test_a_run_is_not_put_aside_where_nobody_can_say_whether_it_is_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "night"
    run.mkdir()
    (run / ".lock").touch()

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    with pytest.warns(UserWarning, match="cannot be locked"), pytest.raises(LockedError, match="no locks"):
        runs.has_begun(run)
    assert run.is_dir()
