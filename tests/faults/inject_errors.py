"""Let system calls fail, one at a time, while something is saved: what was there before stays whole.

    python tests/faults/inject_errors.py           every call, every error: minutes; needs strace
    python tests/faults/inject_errors.py --errors ENOSPC --calls fsync,rename

Saved are a checkpoint, a dataset in the place of another one, a tokenizer and a file of counts. The first,
second, … call of each kind fails with each error, until there is no such call any more. Saving must then
end with an error of ours or succeed; the old state or the new one is there, whole, and the new one if it
succeeded. Without the fault, saving again succeeds and leaves nothing of the failed attempt.

A child is forked for each attempt, stops, and is traced from there on.
"""

from __future__ import annotations

import argparse
import collections
import ctypes
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from gptbpe import ShardReader, Tokenizer, count_pretokens, errors, shard_files
from gptmodel import checkpoint
from gptmodel.errors import CheckpointError
from gptmodel.model import ModelConfig

CALLS = (
    "openat,mkdir,write,pwrite64,fsync,fdatasync,ftruncate,fallocate,rename,renameat,renameat2,unlink,unlinkat,"
    "rmdir,chmod,fchmod,flock,symlink,link,linkat,read,pread64,newfstatat,statx,getdents64,mmap,close"
)  # fmt: skip
ERRORS = "ENOSPC,EIO,EINTR"
PR_SET_PTRACER = 0x59616D61
SHAPE = ModelConfig(vocab_size=3, context_length=4, width=2, layers=0, heads=1)


class Saved:
    """Something that is saved at a path, in two states: the old one, ``False``, and the new one, ``True``."""

    name: str

    def __init__(self, folder: Path) -> None:
        self.folder = folder / self.name
        self.folder.mkdir()
        self.prepare()

    def prepare(self) -> None:
        """Make what saving needs."""

    def save(self, new: bool) -> None:
        """Save a state, in the place of what is there."""
        raise NotImplementedError

    def state(self) -> bool:
        """Which state is there, whole. Raises if it is neither."""
        raise NotImplementedError

    def leftovers(self) -> list[str]:
        """Files of attempts that failed."""
        return [path.name for path in self.folder.rglob("*.tmp*")]


class CheckpointSaved(Saved):
    name = "a checkpoint"

    def save(self, new: bool) -> None:
        step = 10 if new else 5
        tensors = {"weight": torch.full((4,), float(step))}
        snapshot = checkpoint.Snapshot(
            step=step, model=tensors, optimizer={}, model_config=SHAPE, config="", state={}
        )
        if self.folder.joinpath("checkpoints").exists():
            checkpoint.sweep(self.folder)
        checkpoint.save(self.folder, snapshot)

    def state(self) -> bool:
        found = checkpoint.latest(self.folder)
        checkpoint.verify(found.path)
        checkpoint.verify(checkpoint.path_of(self.folder, 5))
        return found.step == 10


class DatasetSaved(Saved):
    name = "a dataset in the place of another one"

    def prepare(self) -> None:
        self.texts = [self.folder / "old.txt", self.folder / "new.txt"]
        for text in self.texts:
            text.write_text(f"the {text.stem} text\n<|endoftext|>\n" * 200)
        self.tokenizer = Tokenizer.train(b"the text", vocab_size=260)

    def save(self, new: bool) -> None:
        shard_files(
            [self.texts[new]], self.tokenizer, self.folder / "data", shard_tokens=1500, force=True, threads=1
        )

    def state(self) -> bool:
        reader = ShardReader(self.folder / "data", verify="full")
        found = reader.tokenizer()
        assert found is not None, "the tokenizer is not there"
        ids = [id for shard in range(len(reader.shards)) for id in reader.tokens(shard).tolist()]
        text = found.decode(ids)
        assert text.count("the ") == 200, "documents are missing"
        return "new" in text


class TokenizerSaved(Saved):
    name = "a tokenizer"

    def prepare(self) -> None:
        self.tokenizers = [Tokenizer.train(b"low lower", vocab_size=size) for size in (258, 259)]

    def save(self, new: bool) -> None:
        self.tokenizers[new].save(self.folder / "tokenizer.json")

    def state(self) -> bool:
        return Tokenizer.load(self.folder / "tokenizer.json").vocab_size == 259


class CountsSaved(Saved):
    name = "a file of counts"

    def save(self, new: bool) -> None:
        count_pretokens([b"new words" if new else b"old words"], self.folder / "a.pcnt")

    def state(self) -> bool:
        return b"new" in (self.folder / "a.pcnt").read_bytes() and bool(
            Tokenizer.train_from_counts([self.folder / "a.pcnt"], vocab_size=257)
        )


KINDS = (CheckpointSaved, TokenizerSaved, CountsSaved, DatasetSaved)
OURS = (errors.GptBpeError, CheckpointError, OSError, MemoryError)


def attempt(work: Callable[[], None], call: str, error: str, number: int) -> tuple[bool, bool]:
    """Do something of which the ``number``-th such call fails. Whether it succeeded, and whether one did."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    child = os.fork()
    if child == 0:
        ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_ulong(-1))  # anyone may, where only parents may
        signal.sigwait([signal.SIGUSR1])
        code = 1
        try:
            work()
            code = 0
        except OURS:
            code = 3
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    with tempfile.NamedTemporaryFile("r") as log:
        command = ["strace", "-f", "-p", str(child), "-o", log.name]
        rules = ["-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={number}"]
        with subprocess.Popen([*command, *rules], stderr=subprocess.PIPE, text=True) as tracer:
            assert tracer.stderr is not None
            said = tracer.stderr.readline()
            assert "attached" in said, said
            os.kill(child, signal.SIGUSR1)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        happened = "(INJECTED)" in log.read()
    assert code in (0, 3), f"exit code {code}"
    return code == 0, happened


def outcome(saved: Saved, call: str, error: str, number: int) -> str | None:
    """What came of a failing call; None if there was none. The old state is there before and after."""
    backup = saved.folder.with_name("backup")
    shutil.copytree(saved.folder, backup, symlinks=True)
    succeeded, happened = attempt(lambda: saved.save(True), call, error, number)
    found = None
    if happened:
        new = saved.state()
        assert new or not succeeded, "it succeeded, and the old state is there"
        saved.save(True)
        assert saved.state(), "saved again, and the old state is there"
        assert not saved.leftovers(), saved.leftovers()
        found = "succeeded" if succeeded else "new, with an error" if new else "old"
    shutil.rmtree(saved.folder)
    backup.rename(saved.folder)
    return found


def campaign(folder: Path, calls: list[str], names: list[str], most: int) -> collections.Counter[str]:
    """Let every call fail with every error, at most the first ``most`` of a kind; counts what came of it."""
    counts: collections.Counter[str] = collections.Counter()
    for kind in KINDS:
        saved = kind(folder)
        saved.save(False)
        assert saved.state() is False
        for call, error in itertools.product(calls, names):
            for number in range(1, most + 1):
                try:
                    found = outcome(saved, call, error, number)
                except BaseException as failure:
                    failure.add_note(f"{saved.name}: {call} {number} fails with {error}")
                    raise
                if found is None:
                    break
                counts[found] += 1
        if sys.stdout.isatty():
            print(f"{saved.name}: {dict(counts)}", flush=True)
    return counts


def main() -> None:
    """Run the campaign from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--calls", default=CALLS)
    parser.add_argument("--errors", default=ERRORS)
    parser.add_argument("--most", type=int, default=1000, help="of each kind of call, the first so many")
    arguments = parser.parse_args()
    if shutil.which("strace") is None:
        sys.exit("inject_errors.py: strace is not installed")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as name:
        calls, names = arguments.calls.split(","), arguments.errors.split(",")
        counts = campaign(Path(name), calls, names, arguments.most)
    said = ", ".join(f"{number} {what}" for what, number in counts.items())
    print(f"{counts.total()} injected errors: {said}; nothing lost")


if __name__ == "__main__":
    main()
