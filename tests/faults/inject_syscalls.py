"""Let every system call fail by which shards are written, one after another, and look at what is left.

    python tests/faults/inject_syscalls.py                 # needs strace; every call, a few minutes
    python tests/faults/inject_syscalls.py --most 20       # so many calls, chosen by chance

A child is forked for each run, stops itself just before ``shard_files``, and goes on once strace holds it
and has been told which call is to fail, and how: a full disk (ENOSPC), a broken one (EIO), a signal
(EINTR). Two stories, as in ``kill_sharding.py``. A new dataset: afterwards there is no manifest, or the
whole dataset. A dataset that replaces another with ``force``: the folder holds the whole old one or the
whole new one. In both the writer says what is wrong with an exception, or has done all of its work; then it
is run again without a fault and ends with the bytes of a run that nobody disturbed.

Writes that take only a part of what they are given cannot be had from strace: a shim in C between the
program and the system makes every write a short one, and every third an EINTR before it. It needs a C
compiler.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent))
from kill_sharding import Story, contents, is_whole

from gptbpe import errors

CALLS = (
    "openat,read,pread64,write,pwrite64,lseek,ftruncate,fallocate,fsync,fdatasync,sync_file_range,"
    "rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,flock,fcntl,getdents64,"
    "fchmod,statx,newfstatat,fstat,readlink,readlinkat"
)
"""What deals with files; closing has no error that anybody could do something about."""
ERRORS = ("ENOSPC", "EIO", "EINTR")
PR_SET_PTRACER = 0x59616D61

SHORT = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <unistd.h>

ssize_t write(int file, const void *from, size_t count) {
    static ssize_t (*real)(int, const void *, size_t);
    static __thread unsigned calls;
    if (!real) real = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    if (file > 2 && ++calls % 3 == 0) { errno = EINTR; return -1; }
    return real(file, from, file > 2 && count > 1 ? 1 + count / 3 : count);
}
"""


class Fault(NamedTuple):
    """The ``number``-th call of a thread fails like this."""

    call: str
    number: int
    error: str

    def __str__(self) -> str:
        """Say it as strace wants it."""
        return f"inject={self.call}:error={self.error}:when={self.number}"


def write_quietly(story: Story, text: int, out: Path, *, force: bool) -> None:
    """Do the work in this process; leave with 0, or with 3 after the right kind of exception."""
    code = 1
    try:
        story.shard(text, out, force=force)
        code = 0
    except (errors.GptBpeError, OSError):
        code = 3
    finally:
        os._exit(code)


def traced(story: Story, text: int, out: Path, log: Path, words: list[str], *, force: bool) -> int:
    """Do the work in a process that strace holds; return how the process ended."""
    child = os.fork()
    if child == 0:
        ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_ulong(-1))  # strace is no ancestor of this process
        os.kill(os.getpid(), signal.SIGSTOP)
        write_quietly(story, text, out, force=force)
    os.waitpid(child, os.WUNTRACED)
    command = ["strace", "-f", "-qq", "-o", str(log), "-e", f"trace={CALLS}", *words, "-p", str(child)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as tracer:
        status = Path(f"/proc/{child}/status")
        while "TracerPid:\t0\n" in status.read_text() and tracer.poll() is None:
            time.sleep(0.001)  # strace says nothing when it is ready
        os.kill(child, signal.SIGCONT)
        _, ended = os.waitpid(child, 0)
        tracer.wait()
    if tracer.returncode and not log.exists():
        raise OSError(f"strace cannot hold a process here: {tracer.returncode}")
    return ended


def faults_of(log: Path) -> list[Fault]:
    """All faults that calls in a log of strace can have: each call of each thread, each error."""
    seen: Counter[tuple[str, str]] = Counter()
    for line in log.read_text().splitlines():
        if call := re.match(r"(\d+) +(\w+)\(", line):
            seen[call[1], call[2]] += 1
    most: dict[str, int] = {}
    for (_, call), count in seen.items():
        most[call] = max(most.get(call, 0), count)
    return [
        Fault(call, number, error)
        for call, count in sorted(most.items())
        for number in range(1, count + 1)
        for error in ERRORS
    ]


def inject(story: Story, fault: Fault, *, replaces: bool) -> str:
    """Let one call fail; return what became of the run."""
    out = story.folder / "out"
    text = int(replaces)
    shutil.rmtree(out, ignore_errors=True)
    if replaces:
        shutil.copytree(story.folder / "whole-0", out)
    log = story.folder / "log"
    ended = traced(story, text, out, log, ["-e", str(fault)], force=replaces)
    code = os.waitstatus_to_exitcode(ended)
    assert code in (0, 3), f"{fault}: the writer ended with {code}"
    hit = "(INJECTED)" in log.read_text()
    whole = is_whole(out)
    if replaces:
        assert whole, f"{fault}: neither the old dataset nor the new one is left"
        tokens = [shard for name, shard in contents(out).items() if name.endswith(".bin")]
        kept = [[shard for name, shard in before.items() if name.endswith(".bin")] for before in story.whole]
        # A link that could not be removed leaves a shard under two names.
        assert any(set(tokens) >= set(before) for before in kept), f"{fault}: other tokens"
    if code == 0:
        assert whole, f"{fault}: the writer said that all is well"
    story.run(text, out, force=replaces)
    assert contents(out) == story.whole[text], f"{fault}: the bytes of an undisturbed run"
    return ("not reached", "survived")[hit] if code == 0 else "refused"


def short_writes(story: Story) -> None:
    """Every write takes a part of what it is given, every third is interrupted: the bytes are the same."""
    folder = story.folder / "short"
    folder.mkdir()
    (folder / "short.c").write_text(SHORT)
    library = folder / "short.so"
    compiler = shutil.which("cc") or "cc"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, folder / "short.c", "-ldl"], check=True)
    story.tokenizer.save(folder / "tokenizer.json")
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import kill_sharding as k\n"
        "from gptbpe import shard_files\n"
        "shard_files(sys.argv[2], sys.argv[3], sys.argv[4], shard_tokens=k.SHARD_TOKENS, threads=2)"
    )
    words = [str(Path(__file__).parent), story.texts[0], folder / "tokenizer.json", folder / "out"]
    environment = os.environ | {"LD_PRELOAD": str(library)}
    subprocess.run([sys.executable, "-c", script, *words], check=True, env=environment)
    assert contents(folder / "out") == story.whole[0], "short writes change the bytes"


def campaign(most: int | None, seed: int) -> Counter[str]:
    """Let calls fail; return what became of how many runs."""
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        story = Story(Path(name), threads=1)
        if shutil.which("cc"):
            short_writes(story)
            outcomes["with short writes"] += 1
        for replaces in (False, True):
            out, log = story.folder / "out", story.folder / "log"
            shutil.rmtree(out, ignore_errors=True)
            if replaces:
                shutil.copytree(story.folder / "whole-0", out)
            assert traced(story, int(replaces), out, log, [], force=replaces) == 0
            faults = faults_of(log)
            if most is not None:
                faults = random.Random(seed).sample(faults, min(most // 2, len(faults)))
            for fault in faults:
                outcomes[inject(story, fault, replaces=replaces)] += 1
    return outcomes


def main() -> None:
    """Run the campaign from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--most", type=int, help="faults; all by default")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    began = time.monotonic()
    outcomes = campaign(arguments.most, arguments.seed)
    runs = ", ".join(f"{count} {what}" for what, count in sorted(outcomes.items()))
    print(f"{outcomes.total()} runs ({runs}): nothing lost ({time.monotonic() - began:.0f} s)")


if __name__ == "__main__":
    main()
