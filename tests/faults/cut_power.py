"""Cut the power of a disk at random moments while tokenizers, datasets and checkpoints are written to it.

    sudo python tests/faults/cut_power.py --cuts 2000
    sudo python tests/faults/cut_power.py --cuts 200 --forget-fsync      what the campaign finds without fsync

The disk is a file with a file system of its own (ext4, mounted through a loop device). A cut is the ioctl
``FS_IOC_SHUTDOWN`` without a flush of the journal: from then on nothing reaches the disk, and what was not
flushed before is lost, as it would be. Then the process is killed, the disk is mounted again, which plays the
journal back, and what a user would find is looked at:

- what had been acknowledged, by a call that returned, is there, or what was being saved after it;
- it is whole: every byte of it is verified;
- to save again works and leaves nothing of the attempt that was cut;
- a training goes on and ends with the bits and the losses of a run that nobody disturbed.

Meanwhile somebody else flushes a file of his own now and then. Without that, the journal of so small a disk
is hardly ever committed between two of our own flushes, and a wrong order would go unnoticed. The mount
options take turns: the default, and those that promise the least (``data=writeback,noauto_da_alloc``).

Only root can mount: for everybody else, and without mkfs.ext4, this says "skipped" and ends with exit code 0.
"""

from __future__ import annotations

import argparse
import collections
import ctypes
import fcntl
import itertools
import os
import platform
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import kill_sharding
import kill_training

from gptbpe import ShardReader, Tokenizer, count_pretokens
from gptmodel import cli
from gptmodel.checkpoint import store

SHUTDOWN = 0x8004587D
"""``FS_IOC_SHUTDOWN``: ext4, XFS and F2FS know it by this number."""
WITHOUT_FLUSH = (2).to_bytes(4, "little")
PR_SET_SECCOMP, SECCOMP_MODE_FILTER, PR_SET_NO_NEW_PRIVS = 22, 2, 38
OPTIONS = ("defaults", "data=writeback,noauto_da_alloc")
DISK_MEGABYTES = 64
STEPS = 40


class Disk:
    """A file system in a file, mounted at ``path``."""

    def __init__(self, folder: Path) -> None:
        self.image, self.path = folder / "disk.img", folder / "disk"
        self.path.mkdir()

    def format(self) -> None:
        """An empty file system; it must not be mounted."""
        with self.image.open("wb") as file:
            file.truncate(DISK_MEGABYTES << 20)
        run("mkfs.ext4", "-q", "-F", str(self.image))

    def mount(self, options: str) -> None:
        run("mount", "-o", f"loop,{options}", str(self.image), str(self.path))

    def unmount(self) -> None:
        """Unmount; something of the process that was killed may still hold it for a moment."""
        for patience in range(200):
            if subprocess.run(["umount", str(self.path)], capture_output=True, check=False).returncode == 0:
                return
            time.sleep(0.01 * (patience > 0))
        run("umount", str(self.path))

    def cut(self) -> None:
        """From now on nothing is written any more."""
        root = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(root, SHUTDOWN, WITHOUT_FLUSH)
        finally:
            os.close(root)

    @contextmanager
    def neighbour(self, dice: random.Random) -> Any:
        """Somebody who flushes a file of his own at random moments."""
        over = threading.Event()

        def flush() -> None:
            try:
                with (self.path / "neighbour").open("wb") as file:
                    while not over.wait(dice.expovariate(100)):
                        file.write(b"x")
                        file.flush()
                        os.fsync(file.fileno())
            except OSError:  # the power was cut
                pass

        thread = threading.Thread(target=flush)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


class Story:
    """Something that is saved again and again: state ``k`` is acknowledged when it is saved."""

    name: str
    most = 4
    """So many states are acknowledged, at the most, before the cut is near."""
    seconds = 0.05
    """What a state takes, lately."""

    def __init__(self, disk: Path, folder: Path) -> None:
        """``disk`` is not mounted yet; what is prepared goes to ``folder``."""
        self.disk, self.folder = disk, folder

    def save(self, state: int) -> None:
        """Save a state in the place of the one before."""
        raise NotImplementedError

    def work(self, acknowledge: Callable[[int], None]) -> None:
        """Save one state after the other."""
        for state in itertools.count():
            self.save(state)
            acknowledge(state)

    def check(self, acknowledged: int) -> None:
        """Look at what is there; -1 stands for nothing. Then save once more, undisturbed."""
        raise NotImplementedError


class Tokenizers(Story):
    name = "tokenizer"

    def __init__(self, disk: Path, folder: Path) -> None:
        super().__init__(disk, folder)
        text = " ".join(str(number * number) for number in range(3000)).encode()
        self.tokenizers = [Tokenizer.train(text, vocab_size=300 + 100 * number) for number in range(4)]
        self.files = []
        for tokenizer in self.tokenizers:
            tokenizer.save(folder / "one.json")
            self.files.append((folder / "one.json").read_bytes())

    def save(self, state: int) -> None:
        self.tokenizers[state % 4].save(self.disk / "tokenizer.json")

    def check(self, acknowledged: int) -> None:
        path = self.disk / "tokenizer.json"
        if acknowledged >= 0 or path.exists():
            expected = [self.files[state % 4] for state in (acknowledged, acknowledged + 1) if state >= 0]
            assert path.read_bytes() in expected, "neither the tokenizer that was saved nor the next one"
        self.save(0)
        assert path.read_bytes() == self.files[0]
        left = [entry.name for entry in self.disk.iterdir()]
        assert not [name for name in left if "tokenizer" in name and name != path.name], left


class Counts(Story):
    name = "counts"

    def save(self, state: int) -> None:
        words = " ".join(str(state % 4 * 10_000 + number) for number in range(500))
        count_pretokens([words.encode()], self.disk / "a.pcnt")

    def __init__(self, disk: Path, folder: Path) -> None:
        super().__init__(folder, folder)  # where they are made once
        self.files = []
        for state in range(4):
            self.save(state)
            self.files.append((folder / "a.pcnt").read_bytes())
        self.disk = disk

    def check(self, acknowledged: int) -> None:
        path = self.disk / "a.pcnt"
        if acknowledged >= 0 or path.exists():
            expected = [self.files[state % 4] for state in (acknowledged, acknowledged + 1) if state >= 0]
            assert path.read_bytes() in expected, "neither the counts that were saved nor the next ones"
        self.save(0)
        assert path.read_bytes() == self.files[0]
        left = [entry.name for entry in self.disk.iterdir()]
        assert not [name for name in left if "pcnt" in name and name != path.name], left


class Datasets(Story):
    """One dataset that is replaced, by ``force``."""

    name = "dataset"

    def __init__(self, disk: Path, folder: Path) -> None:
        super().__init__(disk, folder)
        self.story = kill_sharding.Story(folder, threads=1)
        self.tokens = [tokens(folder / f"whole-{number}") for number in range(2)]

    def save(self, state: int) -> None:
        self.story.shard(state % 2, self.disk / "data", force=True)

    def check(self, acknowledged: int) -> None:
        data = self.disk / "data"
        if kill_sharding.is_whole(data):
            expected = [self.tokens[state % 2] for state in (acknowledged, acknowledged + 1) if state >= 0]
            assert tokens(data) in expected, "neither the dataset that was written nor the next one"
        else:
            assert acknowledged < 0, "the dataset that was written is lost"
        self.save(0)
        assert kill_sharding.contents(data) == self.story.whole[0], "something is left of what was cut"


class NewDatasets(Datasets):
    """A folder for each: an interrupted one goes on where it was."""

    name = "new dataset"

    def save(self, state: int) -> None:
        self.story.shard(state % 2, self.disk / f"data-{state}", force=False)

    def check(self, acknowledged: int) -> None:
        for state in range(acknowledged + 2):
            data = self.disk / f"data-{state}"
            assert kill_sharding.is_whole(data) or state > acknowledged, "a dataset that was written is lost"
            self.save(state)
            assert kill_sharding.contents(data) == self.story.whole[state % 2]
            shutil.rmtree(data)


class Training(Story):
    """A run that saves often; its states are the steps of its checkpoints."""

    name = "training"
    most = STEPS // kill_training.SHAPE["save-every"] + 1

    def __init__(self, disk: Path, folder: Path) -> None:
        super().__init__(disk, folder)
        dice = random.Random(0)
        lines = [" ".join(dice.choice(kill_training.WORDS) for _ in range(10)) for _ in range(400)]
        (folder / "text.txt").write_text("\n".join(lines) + "\n")
        flags = [word for name, value in kill_training.SHAPE.items() for word in (f"--{name}", str(value))]
        self.new = ["train", "--train-data", str(folder / "text.txt"), "--max-steps", str(STEPS), *flags]
        os.environ["GPTMODEL_CACHE"] = str(folder / "cache")
        words = [*self.new, "--output", str(folder), "--experiment-name", "whole"]
        assert kill_training.attempt(words)[0] == 0, "the run that nobody disturbs failed"
        self.expected = kill_training.outcome(folder / "whole")
        self.where = ["--output", str(disk), "--experiment-name", "cut"]

    def work(self, acknowledge: Callable[[int], None]) -> None:
        save = store.save

        def saved(run: Path, snapshot: Any) -> Path:
            path = save(run, snapshot)
            acknowledge(snapshot.step)
            return path

        store.save = saved
        assert cli.main([*self.new, *self.where]) == 0

    def check(self, acknowledged: int) -> None:
        run = self.disk / "cut"
        found = kill_training.saved(run) if run.exists() else 0
        assert found >= acknowledged, f"step {acknowledged} was saved, and step {found} is left"
        if found:
            words = ["train", "--resume", *self.where]
        else:
            shutil.rmtree(run, ignore_errors=True)
            words = [*self.new, *self.where]
        assert kill_training.attempt(words)[0] == 0, "the run does not go on"
        outcome = kill_training.outcome(run)
        other = [name for name in outcome if outcome[name] != self.expected[name]]
        assert not other, f"the run ended with other {other}"
        left = [entry.name for entry in (run / "checkpoints").glob(".*")]
        assert not left, left


STORIES = (Tokenizers, Counts, Datasets, NewDatasets, Training)


def tokens(folder: Path) -> list[bytes]:
    """The tokens of each shard of a dataset."""
    reader = ShardReader(folder, verify="full")
    return [reader.tokens(shard).tobytes() for shard in range(len(reader.shards))]


def run(*words: str) -> None:
    """Run a program of the system; raise with what it said if it fails."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip()}")


def forget() -> None:
    """From now on fsync and fdatasync do nothing in this process: the kernel answers that they were done."""
    numbers = {"x86_64": (74, 75), "aarch64": (82, 83)}[platform.machine()]
    program = [
        (0x20, 0, 0, 0),  # load the number of the call
        (0x15, 1, 0, numbers[0]),  # fsync: go to the answer
        (0x15, 0, 1, numbers[1]),  # not fdatasync: go past it
        (0x06, 0, 0, 0x0005_0000),  # SECCOMP_RET_ERRNO, with no error
        (0x06, 0, 0, 0x7FFF_0000),  # SECCOMP_RET_ALLOW
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
    filters = struct.pack("@HP", len(program), ctypes.addressof(code))
    call = ctypes.CDLL(None, use_errno=True).prctl
    zero = ctypes.c_ulong(0)
    assert call(PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), zero, zero, zero) == 0
    assert call(PR_SET_SECCOMP, ctypes.c_ulong(SECCOMP_MODE_FILTER), filters, zero, zero) == 0


def cut_once(disk: Disk, story: Story, dice: random.Random, *, forget_fsync: bool) -> int:
    """Let a process save on the disk until the power is cut; the last state that it acknowledged, or -1."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        try:
            if forget_fsync:
                forget()
            story.work(lambda state: os.write(writer, state.to_bytes(4, "little")) and None)
        finally:
            os._exit(0)  # the power may have been cut: errors are welcome
    os.close(writer)
    said, began = b"", time.monotonic()
    with disk.neighbour(dice):
        for _ in range(dice.randrange(story.most)):  # so many states, and a part of the next one
            part = os.read(reader, 4)
            if not part:
                break
            said = part
            now = time.monotonic()
            story.seconds, began = 0.7 * story.seconds + 0.3 * (now - began), now
        time.sleep(dice.uniform(0, 1.2 * story.seconds))
        disk.cut()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while part := os.read(reader, 4):
        said = part
    os.close(reader)
    return int.from_bytes(said, "little") if said else -1


def campaign(
    folder: Path, cuts: int, names: list[str], seed: int, *, forget_fsync: bool
) -> collections.Counter[str]:
    """Cut the power so many times; counts the cuts of each story, and those that lost something."""
    dice = random.Random(seed)
    disk = Disk(folder)
    stories: list[Story] = []
    for kind in STORIES:
        if kind.name in names:
            (folder / kind.__name__).mkdir()
            stories.append(kind(disk.path, folder / kind.__name__))
    done: collections.Counter[str] = collections.Counter()
    for number in range(cuts):
        story = stories[number % len(stories)]
        options = OPTIONS[number // len(stories) % len(OPTIONS)]
        disk.format()
        disk.mount(options)
        try:
            acknowledged = cut_once(disk, story, dice, forget_fsync=forget_fsync)
            disk.unmount()
            disk.mount(options)
            story.check(acknowledged)
            done["something acknowledged"] += acknowledged >= 0
        except (AssertionError, OSError, ValueError) as failure:
            if not forget_fsync:
                failure.add_note(f"cut {number} of a {story.name}, {options}, seed {seed}")
                raise
            done["something lost"] += 1
        finally:
            disk.unmount()
        done[story.name] += 1
        if sys.stdout.isatty():
            print(f"\r{number + 1} cuts", end="", flush=True)
    return done


def obstacle() -> str | None:
    """Why no disk can be mounted here; None if one can."""
    if sys.platform != "linux":
        return "needs Linux"
    if os.geteuid() != 0:
        return "only root can mount a file system"
    if shutil.which("mkfs.ext4") is None:
        return "mkfs.ext4 is not installed"
    with tempfile.TemporaryDirectory() as name:
        disk = Disk(Path(name))
        try:
            disk.format()
            disk.mount("defaults")
        except OSError as error:
            return str(error)
        try:
            disk.cut()
        except OSError as error:
            return f"this kernel does not cut the power: {error}"
        finally:
            disk.unmount()
    return None


def main() -> None:
    """Run the campaign from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cuts", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", choices=[kind.name for kind in STORIES], action="append", help="of these alone"
    )
    parser.add_argument("--forget-fsync", action="store_true", help="let fsync do nothing, and count losses")
    arguments = parser.parse_args()
    if (why := obstacle()) is not None:
        print(f"skipped: {why}")
        return
    began = time.monotonic()
    names = arguments.only or [kind.name for kind in STORIES]
    with tempfile.TemporaryDirectory() as name:
        done = campaign(
            Path(name), arguments.cuts, names, arguments.seed, forget_fsync=arguments.forget_fsync
        )
    told = ", ".join(f"{done[name]} of a {name}" for name in names)
    lost = done["something lost"]
    print(
        f"{arguments.cuts} cuts ({told}; {done['something acknowledged']} after something was acknowledged): "
        f"{f'{lost} lost something' if lost else 'nothing lost'} ({time.monotonic() - began:.0f} s)"
    )


if __name__ == "__main__":
    main()
