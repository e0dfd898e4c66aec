"""The start: what is wrong in a command is said, and help printed, before torch is loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import gptmodel

HEAVY = {"torch", "numpy", "safetensors", "matplotlib", "tensorboard"}
"""What takes longer to import than a command line takes to read."""


def loaded_after(code: str, folder: Path) -> tuple[object, set[str]]:
    """What ``code`` left in ``result``, and the packages that a fresh interpreter has loaded by then."""
    script = (
        f"import json, sys\n{code}\n"
        "print()\nprint(json.dumps([result, sorted({name.partition('.')[0] for name in sys.modules})]))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(gptmodel.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env=environment,
    )
    result, names = json.loads(done.stdout.splitlines()[-1])
    return result, set(names)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["trian"], 2),
        *(([command, "--help"], 0) for command in ("train", "generate", "eval", "plot", "export", "doctor")),
        (["train", "--lerning-rate", "1"], 2),
        (["train", "--train-data", "x", "--precision", "bf17"], 2),
        (["train", "--train-data", "x", "--preset", "nanno"], 2),
        (["train", "--train-data", "x", "--heads", "5"], 2),
        (["train", "--train-data", "x", "--print-config"], 0),
        (["train", "--resume"], 2),
        (["eval", "--no-such"], 2),
        (["generate"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_no_torch_until_something_is_computed(words: list[str], code: int, tmp_path: Path) -> None:
    run = (
        "from gptmodel.cli import main\n"
        f"try:\n    result = main({words!r})\n"
        "except SystemExit as end:\n    result = end.code or 0"
    )
    result, names = loaded_after(run, tmp_path)
    assert result == code
    assert not names & {"torch", "safetensors", "matplotlib", "tensorboard"}


@pytest.mark.parametrize(
    ("program", "words", "unread"),
    [
        ("gptmodel", ["trian"], {"pydantic", "numpy", "tqdm"}),
        ("gptmodel", ["generate", "--temprature", "1"], {"pydantic", "numpy", "tqdm"}),
        ("gptmodel", ["train", "--lerning-rate", "1"], {"numpy", "tqdm", "rich"}),
        ("gptbpe", ["tarin"], {"numpy", "tqdm"}),
        ("gptbpe", ["encode", "--txt", "x"], {"tqdm"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_typo_is_answered_before_other_commands_are_imported(
    program: str, words: list[str], unread: set[str], tmp_path: Path
) -> None:
    result, names = loaded_after(f"from {program}.cli import main\nresult = main({words!r})", tmp_path)
    assert result == 2
    assert not names & unread


def test_a_configuration_is_composed_without_torch(tmp_path: Path) -> None:
    code = "from gptmodel import compose\nresult = compose({'preset': 'nano'}).config.model['width']"
    result, names = loaded_after(code, tmp_path)
    assert result == 384
    assert not names & HEAVY


def test_names_are_listed_and_fetched_when_asked_for(tmp_path: Path) -> None:
    code = (
        "import gptmodel\n"
        "result = [name for name in dir(gptmodel) if name[0] != '_']\n"
        "assert 'torch' not in sys.modules\n"
        "gptmodel.GPT; gptmodel.training.loop.train; gptmodel.checkpoint.latest"
    )
    names, loaded = loaded_after(code, tmp_path)
    assert isinstance(names, list)
    assert {"GPT", "ModelConfig", "compose", "training", "checkpoint", "evaluate"} <= set(names)
    assert "torch" in loaded


@pytest.mark.parametrize("package", ["", ".model", ".data", ".checkpoint", ".training", ".training.optim"])
def test_every_name_of_a_face_is_there(package: str) -> None:
    module = __import__(f"gptmodel{package}", fromlist=["x"])
    assert {*module.__all__} <= {*dir(module)}
    assert not {"TYPE_CHECKING", "lazily"} & {*dir(module)}
    for name in dir(module):
        if name != "lightning":  # an extra of its own
            assert getattr(module, name) is not None or name in ("__builtins__", "__doc__")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = module.nothing


@pytest.mark.parametrize("program", ["gptmodel", "gptbpe"])
def test_ctrl_c_while_modules_are_imported_is_one_line(program: str, tmp_path: Path) -> None:
    (tmp_path / "cyclopts.py").write_text("raise KeyboardInterrupt")
    path = os.pathsep.join([str(tmp_path), str(Path(gptmodel.__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-m", program, "train"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert (done.returncode, done.stderr) == (130, f"{program}: interrupted\n")
