"""What is missing is said with a command that installs it from where the reader is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import gptbpe
from gptbpe import extras

PATH = str(Path(gptbpe.__file__).parents[1])


@pytest.fixture
def activated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder, and an environment in which ``pip`` is the pip of this interpreter."""
    monkeypatch.setenv("VIRTUAL_ENV", sys.prefix)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        ({"url": "file:///src/my%20gptbpe", "dir_info": {}}, "pip install '/src/my gptbpe[model]'"),
        (
            {"url": "file:///src/gptbpe", "dir_info": {"editable": True}},
            "pip install -e '/src/gptbpe[model]'",
        ),
        (
            {"url": "https://host/gptbpe.git", "vcs_info": {"vcs": "git", "commit_id": "1"}},
            "pip install 'gptbpe[model] @ git+https://host/gptbpe.git'",
        ),
        (
            {"url": "file:///wheels/gptbpe.whl", "archive_info": {}},
            "pip install 'gptbpe[model] @ file:///wheels/gptbpe.whl'",
        ),
    ],
    ids=["checkout", "editable", "repository", "wheel"],
)
def test_an_extra_is_installed_from_where_the_package_came_from(
    origin: dict[str, Any], command: str, activated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Installed:
        def read_text(self, name: str) -> str:
            assert name == "direct_url.json"
            return json.dumps(origin)

    monkeypatch.setattr(metadata, "distribution", lambda name: Installed())
    assert extras.install("model") == command


def test_an_index_a_checkout_that_is_not_installed_and_the_folder_one_is_in(
    activated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def distribution(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", distribution)
    monkeypatch.setattr(extras, "SOURCE", activated)
    assert extras.install("model") == "pip install 'gptbpe[model]'"
    (activated / "pyproject.toml").touch()
    assert extras.install("model") == "pip install -e '.[model]'"


def test_the_pip_of_an_environment_that_is_not_activated(
    activated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VIRTUAL_ENV")
    monkeypatch.setattr(sys, "prefix", str(activated / ".venv"))
    monkeypatch.setattr(sys, "executable", str(activated / ".venv" / "bin" / "python"))
    assert extras.install("model").startswith(".venv/bin/python -m pip install ")


@pytest.mark.parametrize(
    "command",
    [
        ["gptmodel", "train", "input.txt"],
        ["gptmodel", "generate", "runs/r", "--prompt", "a"],
        ["gptmodel", "eval", "runs/r"],
        ["gptbpe", "demo"],
    ],
    ids=" ".join,
)
def test_without_torch_one_line_says_what_to_install(command: list[str], tmp_path: Path) -> None:
    """``None`` in `sys.modules` is how Python says that a module is not there."""
    (tmp_path / "input.txt").write_text("the quick brown fox " * 100)
    program, *words = command
    script = (
        "import sys; sys.modules['torch'] = None; import importlib.util as util; found = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'torch' else found(name, *more)\n"
        f"from {program}.cli import main; from gptbpe import extras\n"
        f"code = main({words!r}); print(extras.install('model')); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": PATH},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout.strip() in done.stderr


def test_in_python_too(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['torch'] = None; import gptmodel; from gptbpe import errors, extras\n"
        "try: gptmodel.GPT\n"
        "except errors.MissingExtraError as error: assert extras.install('model') in str(error)"
    )
    environment = os.environ | {"PYTHONPATH": PATH}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True)
