"""What every test may ask for: quiet threads, no network, and real text where this machine has it.

Tests are hermetic: they make their own small tokenizer, text and model. The real corpora, vocabularies and
reference files are too large and too differently licensed to live in the repository; they lie in
``../shared/data`` (or where ``GPTBPE_SHARED_DATA`` points) on machines that have them, and a test that wants
one asks for the fixture ``shared_data`` or ``corpus`` and is skipped, by name, where it is absent.
"""

from __future__ import annotations

import os

# Before torch, matplotlib or transformers can be imported: two test processes share two cores, and nothing
# may open a window or ask a hub.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

# A shared machine is slow now and then; a property is wrong or right whatever the clock says. Derandomised,
# so that the run that lands is the run that was tried; `--hypothesis-profile=explore` looks further.
settings.register_profile(
    "repeatable", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("explore", deadline=None, max_examples=2000)
settings.load_profile("repeatable")


# A shell starts background jobs with SIGINT ignored, and programs inherit that: no program that a test starts
# would hear of Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def find_shared_data() -> Path | None:
    """Return the folder of real text and reference files, or None where this machine has none."""
    folder = Path(os.environ.get("GPTBPE_SHARED_DATA") or ROOT.parent / "shared" / "data")
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real text, vocabularies and reference files; skips where it is absent."""
    folder = find_shared_data()
    if folder is None:
        pytest.skip("no shared data beside the repository; GPTBPE_SHARED_DATA may name it")
    return folder


@pytest.fixture(scope="session")
def corpus() -> Callable[..., bytes]:
    """Return ``corpus(name, limit=None) -> bytes``: a corpus's first ``limit`` bytes, or a skip.

    The corpora are unpacked once per machine, into ``$GPTBPE_CORPORA`` or ``~/.cache/gptbpe-corpora``.
    ``limit`` may cut a character in two: that is deliberate, the code under test takes bytes.
    """

    def read(name: str, limit: int | None = None) -> bytes:
        unpacked = Path(os.environ.get("GPTBPE_CORPORA") or "~/.cache/gptbpe-corpora").expanduser()
        path = unpacked / f"{name}.txt"
        if not path.exists():
            folder = find_shared_data()
            if folder is None or not (folder / "text" / f"{name}.txt.xz").exists():
                pytest.skip(f"corpus {name} is not on this machine")
            subprocess.run(
                [sys.executable, str(folder / "unpack"), name], check=True, stdout=subprocess.DEVNULL
            )
        with path.open("rb") as file:
            return file.read(-1 if limit is None else limit)

    return read
