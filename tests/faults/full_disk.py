"""Train on a disk that fills up, then make room and go on: needs root, for a small file system in memory.

    sudo python tests/faults/full_disk.py

For several sizes of the disk a run is started on it that cannot end there. It must leave with one line that
says what to do, with its last checkpoint whole; resumed on a larger disk, it must end with the bits of a run
that always had room.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from kill_training import SHAPE, WORDS, outcome, saved

FLAGS = [word for name, value in SHAPE.items() for word in (f"--{name}", str(value))]


def train(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gptmodel.train", *words], capture_output=True, text=True, check=False
    )


def mount(disk: Path, kilobytes: int, *options: str) -> None:
    made = ",".join([f"size={kilobytes}k", *options])
    subprocess.run(["mount", "-t", "tmpfs", "-o", made, "tmpfs", str(disk)], check=True)


def fill(folder: Path, kilobytes: int, new: list[str], expected: object) -> str:
    """Run on a disk of that size, then on a large one; returns what stopped it."""
    disk = folder / "disk"
    disk.mkdir(exist_ok=True)
    mount(disk, kilobytes)
    try:
        full = train(*new, "--output", str(disk))
        run = disk / "full"
        lines = [line for line in full.stderr.splitlines() if line.startswith("gptmodel: ")]
        assert full.returncode == 2, full.stderr[-2000:]
        assert len(lines) == 1, full.stderr[-2000:]
        assert "No space left on device" in lines[0], lines
        assert "Traceback" not in full.stderr, full.stderr
        step = saved(run) if run.exists() else 0
        mount(disk, 1 << 20, "remount")
        if not step:
            return "before the first save"
        done = train("--resume", "--experiment-name", "full", "--output", str(disk))
        assert done.returncode == 0, done.stderr[-2000:]
        assert outcome(run) == expected, "the run ended with something else"
        return "its record" if "metrics.jsonl cannot be written" in lines[0] else "a checkpoint"
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", type=int, default=20, help="how many sizes of the disk are tried")
    settings = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("full_disk.py: only root can mount a file system")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "text.txt").write_text("\n".join(" ".join(WORDS) for _ in range(400)))
        os.environ["GPTMODEL_CACHE"] = str(folder / "cache")
        new = ["--train-data", str(folder / "text.txt"), "--max-steps", "30", *FLAGS, "--experiment-name"]
        whole = train(*new, "whole", "--output", str(folder))
        assert whole.returncode == 0, whole.stderr
        expected = outcome(folder / "whole")
        size = sum(file.stat().st_size for file in (folder / "whole").rglob("*") if file.is_file()) // 1024
        sizes = [size * (k + 1) // (settings.sizes + 1) for k in range(settings.sizes)]
        stopped = Counter(fill(folder, kilobytes, [*new, "full"], expected) for kilobytes in sizes)
    print(", ".join(f"{number} stopped by {what}" for what, number in stopped.items()))


if __name__ == "__main__":
    main()
