"""What every test may ask for: quiet threads, no network, and real text where this machine has it.

Tests are hermetic: they make their own small tokenizer, text and model. The real corpora, vocabularies and
reference files are too large and too differently licensed to live in the repository.
``tests/parity/fetch_data.py`` fetches them; they may also lie in ``../shared/data`` or where
``GPTBPE_SHARED_DATA`` points. A test that wants one asks for the fixture ``shared_file`` or ``corpus`` and is
skipped where it is absent, with the file's name and the command that fetches it.
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

import fetch_data
import pytest
from hypothesis import HealthCheck, settings

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


@pytest.fixture(scope="session")
def shared_file() -> Callable[[str], Path]:
    """Return ``shared_file(path) -> Path``: a real vocabulary or reference file, or a skip that names it."""

    def get(path: str) -> Path:
        found = fetch_data.find(path)
        if found is None:
            pytest.skip(fetch_data.missing(path))
        return found

    return get


@pytest.fixture(scope="session")
def corpus(shared_file: Callable[[str], Path]) -> Callable[..., bytes]:
    """Return ``corpus(name, limit=None) -> bytes``: a corpus's first ``limit`` bytes, or a skip.

    The corpora are unpacked once per machine, into ``$GPTBPE_CORPORA`` or ``~/.cache/gptbpe-corpora``. Where
    one is absent, fetched texts of its language stand in for it. ``limit`` may cut a character in two, which
    is deliberate: the code under test takes bytes.
    """

    def read(name: str, limit: int | None = None) -> bytes:
        unpacked = Path(os.environ.get("GPTBPE_CORPORA") or "~/.cache/gptbpe-corpora").expanduser()
        path = unpacked / f"{name}.txt"
        packed = fetch_data.find(f"text/{name}.txt.xz")
        if not path.exists() and packed is not None:
            unpack = packed.parents[1] / "unpack"
            subprocess.run([sys.executable, str(unpack), name], check=True, stdout=subprocess.DEVNULL)
        if path.exists():
            with path.open("rb") as file:
                return file.read(-1 if limit is None else limit)
        texts = fetch_data.stand_ins(name)
        if not texts:
            pytest.skip(f"corpus {name} is not on this machine, and nothing stands in for it")
        return b"".join(shared_file(text).read_bytes() for text in texts)[:limit]

    return read
