"""What ``make`` says while it sets up: a newcomer waits for gigabytes and a build."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SMALL = "TORCH=torch --index-url https://download.pytorch.org/whl/cpu"

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def planned(*words: str) -> str:
    """What ``make`` would run in a folder where nothing is set up."""
    command = ["make", "--dry-run", "--directory", str(ROOT), *words]
    alone = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=alone).stdout


def test_what_is_downloaded_is_shown_with_its_size(tmp_path: Path) -> None:
    plan = planned("demo", f"VENV={tmp_path / 'venv'}", "TORCH=torch")
    installs = [line for line in plan.splitlines() if "pip install" in line]
    assert len(installs) == 2
    assert not any("--quiet" in line for line in installs)
    assert "2.8 GB" in plan


def test_the_small_pytorch_is_not_called_large(tmp_path: Path) -> None:
    plan = planned("demo", f"VENV={tmp_path / 'venv'}", SMALL)
    assert "2.8 GB" not in plan
    assert "pip install torch --index-url https://download.pytorch.org/whl/cpu" in plan
