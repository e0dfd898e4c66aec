"""Files that somebody wrote to break the program: each is one line, soon, and takes no memory."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import loop
import pytest
import torch

import gptmodel
from gptmodel import checkpoint, hf
from gptmodel.checkpoint import format
from gptmodel.cli import main
from gptmodel.errors import CheckpointError, ConfigError
from gptmodel.export import export
from gptmodel.load import GPT
from gptmodel.model import ModelConfig
from gptmodel.parse import parse_json
from gptmodel.presets import preset
from gptmodel.train import train
from gptmodel.training.config import parse

DEEP = 100_000


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GPTMODEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(Path(gptmodel.__file__).parents[1]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint; tests change a copy."""
    folder = tmp_path_factory.mktemp("hostile")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("GPTMODEL_CACHE", str(folder / "cache"))
        return checkpoint.latest(train(loop.tiny(folder, max_steps=1)).run).path


@pytest.fixture
def copied(folder: Path, here: Path) -> Path:
    target = here / "run" / "checkpoints" / folder.name
    target.mkdir(parents=True)
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def forge(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change ``state.json`` and give it the right digest again."""
    path = folder / "state.json"
    state = json.loads(path.read_text())
    change(state)
    state["digest"] = format._digest(state)
    path.write_text(json.dumps(state))


def replace(folder: Path, name: str, text: str) -> None:
    """Write another file under ``name``, with its right size and digest in ``state.json``."""
    (folder / name).write_text(text)
    data = text.encode()
    entry = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    forge(folder, lambda state: state["files"].update({name: entry}))


STATES: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
    ("step = 'x': should be a valid integer", lambda s: s.update(step="x")),
    (r"step = \[\]", lambda s: s.update(step=[])),
    ("step = -1", lambda s: s.update(step=-1)),
    ("step = 10000000000000000", lambda s: s.update(step=10**16)),
    (r"model\.safetensors = 5", lambda s: s["files"].update({"model.safetensors": 5})),
    ("files = 7", lambda s: s.update(files=7)),
    (r"names '\.\./\.\./x', which is outside", lambda s: s["files"].update(
        {"../../x": {"bytes": 0, "sha256": ""}})),
    ("evaluation_loss = 'low'", lambda s: s.update(evaluation_loss="low")),
    ("seconds = None", lambda s: s.update(seconds=None)),
    ("total_steps = 'all'", lambda s: s.update(total_steps="all")),
    ("scaler = 'x'|scale = 'x'", lambda s: s.update(scaler={"scale": "x"})),
    ("scaler = 3", lambda s: s.update(scaler=3)),
    (r"has format \[2\]", lambda s: s.update(format=[2])),
    ("has format 99", lambda s: s.update(format=99)),
]  # fmt: skip


@pytest.mark.parametrize(("message", "change"), STATES, ids=[row[0] for row in STATES])
def test_a_state_of_wrong_types_with_the_right_digest(
    copied: Path, message: str, change: Callable[[dict[str, Any]], Any]
) -> None:
    forge(copied, change)
    with pytest.raises(CheckpointError, match=message) as caught:
        checkpoint.verify(copied)
    assert "\n" not in str(caught.value)


def test_json_and_toml_nested_deeply(copied: Path) -> None:
    with pytest.raises(ConfigError, match="not TOML: it is nested too deeply"):
        parse("x = " + "[" * DEEP)
    replace(copied, "model.json", "[" * DEEP)
    with pytest.raises(CheckpointError, match="nested too deeply"):
        checkpoint.verify(copied).model_config()
    (copied / "state.json").write_text("[" * DEEP)
    with pytest.raises(CheckpointError, match="nested too deeply"):
        checkpoint.verify(copied)
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json('{"a":' * DEEP)


SETTINGS: list[tuple[str, str]] = [
    ("[model]\nlayers = 1000000000", "layers = 1000000000.*less than or equal to 4096"),
    ("[model]\ncontext_length = 10000000000", "context_length = 10000000000.*less than or equal to"),
    ("[model]\ncontext_length = 16000000", "a table of .* GiB: lower context_length"),
    ("[model]\nwidth = 1099511627776", "width = 1099511627776"),
    ("[model]\nwidth = 'wide'", "width = 'wide'.*valid integer"),
    ("[model]\nexpansion = inf", "expansion = inf"),
    ("[model]\nlayers = 4000\nwidth = 1048576\nhead_width = 2", "parameters take .*this computer has"),
    ("[train]\nepochs = inf", "epochs = inf"),
    ("[train]\nmax_steps = 1000000000000000000000000", "max_steps = 1000000000000000000000000"),
    ("[train]\nbatch_size = 1000000000000", "batch_size = 1000000000000"),
    (
        f"[train]\nexperiment_name = [{', '.join(['1'] * 5000)}]",
        r"experiment_name = \[1, .{50,120}: should be",
    ),
    ("x = " + "[" * DEEP, "nested too deeply"),
]


@pytest.mark.parametrize(("text", "message"), SETTINGS, ids=[row[0][:40] for row in SETTINGS])
def test_settings_out_of_bounds_are_one_short_line(
    here: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    loop.write_text(here / "text.txt")
    (here / "hostile.toml").write_text(text)
    assert main(["train", "--train-data", "text.txt", "--vocab", "270", "--config", "hostile.toml"]) == 2
    shown = [line for line in capsys.readouterr().err.splitlines() if line.startswith("gptmodel: ")]
    assert len(shown) == 1
    assert len(shown[0]) < 400
    assert re.search(message, shown[0])
    assert "a bug" not in shown[0]


MODELS: list[tuple[dict[str, Any], str]] = [
    ({"layers": 10**9}, "layers = 1000000000"),
    ({"context_length": 10**10}, "context_length = 10000000000"),
    ({"layers": "many"}, "layers = 'many'"),
    ({"width": None}, "width = None"),
]


@pytest.mark.parametrize(("fields", "message"), MODELS, ids=[str(row[0]) for row in MODELS])
def test_an_architecture_out_of_bounds(copied: Path, fields: dict[str, Any], message: str) -> None:
    described = json.loads((copied / "model.json").read_text()) | fields
    replace(copied, "model.json", json.dumps(described))
    with pytest.raises(CheckpointError, match=message) as caught:
        GPT.load(copied)
    assert "\n" not in str(caught.value)


def test_a_random_state_that_is_none(copied: Path, folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(copied / "optimizer.safetensors") | {"random.cpu": torch.zeros(3, dtype=torch.uint8)}
    save_file(tensors, copied / "optimizer.safetensors")
    data = (copied / "optimizer.safetensors").read_bytes()
    entry = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    forge(copied, lambda state: state["files"].update({"optimizer.safetensors": entry}))
    config = parse((copied / "config.toml").read_text())
    with pytest.raises(CheckpointError, match="random state is none"):
        train(config, resume=copied.parents[1])


def test_tensors_of_other_names_and_text_that_is_none(copied: Path) -> None:
    """With the right digests, as damage_checkpoint.py found them."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(copied / "model.safetensors")
    name = "blocks.0.attention.qkv.weight"
    tensors["blkcks.0.attention.qkv.weight"] = tensors.pop(name)
    save_file(tensors, copied / "model.safetensors")
    data = (copied / "model.safetensors").read_bytes()
    entry = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    forge(copied, lambda state: state["files"].update({"model.safetensors": entry}))
    with pytest.raises(
        CheckpointError, match=f"holds another model: .*{re.escape(name)} is missing"
    ) as caught:
        GPT.load(copied)
    assert "\n" not in str(caught.value)
    data = b"x = '\xf3'"
    (copied / "config.toml").write_bytes(data)
    entry = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    forge(copied, lambda state: state["files"].update({"config.toml": entry}))
    with pytest.raises(CheckpointError, match=r"config\.toml is no text"):
        checkpoint.verify(copied).text("config.toml")


def gpt2() -> GPT:
    sizes = {"vocab_size": 13, "context_length": 8, "width": 8, "heads": 2, "layers": 1}
    return GPT(ModelConfig(**preset("gpt2")["model"] | sizes))


FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"n_layer": 10**9}, "layers = 1000000000"),
    ({"n_embd": "wide"}, "config.json has a value of a wrong type"),
    ({"n_embd": 0}, "config.json has a value of a wrong type"),
    ({"n_positions": [1]}, r"context_length = \[1\]"),
    ({"activation_function": []}, "config.json has a value of a wrong type"),
    ({"model_type": {}}, "of type {}"),
]


@pytest.mark.parametrize(("fields", "message"), FIELDS, ids=[str(row[0]) for row in FIELDS])
def test_a_config_json_of_wrong_types(here: Path, fields: dict[str, Any], message: str) -> None:
    folder = export(gpt2(), here / "model")
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    with pytest.raises(ValueError, match=message) as caught:
        hf.read(folder)
    assert "\n" not in str(caught.value)
    path.write_text("[" * DEEP)
    with pytest.raises(ValueError, match="nested too deeply"):
        hf.read(folder)


def test_a_list_of_a_billion_layer_types_is_not_made(here: Path) -> None:
    (here / "config.json").write_text(json.dumps({
        "model_type": "llama", "num_hidden_layers": 10**10, "hidden_size": 8, "num_attention_heads": 2,
        "vocab_size": 13, "max_position_embeddings": 8, "intermediate_size": 8,
    }))  # fmt: skip
    with pytest.raises(ValueError, match="layers = 10000000000"):
        hf.read(here)


WEIGHT_MAPS: list[tuple[Any, str]] = [
    ({"transformer.wte.weight": "../outside.safetensors"}, "names '../outside.safetensors', and only files"),
    ({"transformer.wte.weight": "/etc/passwd"}, "names '/etc/passwd', and only files"),
    ({"transformer.wte.weight": 5}, "should say in weight_map"),
    (["model.safetensors"], "should say in weight_map"),
]


@pytest.mark.parametrize(("weight_map", "message"), WEIGHT_MAPS, ids=[str(row[0]) for row in WEIGHT_MAPS])
def test_an_index_reads_no_file_outside_of_its_folder(here: Path, weight_map: Any, message: str) -> None:
    folder = export(gpt2(), here / "model")
    (folder / "model.safetensors").rename(here / "outside.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(ValueError, match=message):
        hf.read(folder)


@pytest.mark.parametrize("path", ["runs/typo", "here/tini"])
def test_a_mistyped_path_is_no_name_on_the_hub(
    here: Path, path: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import huggingface_hub

    def asked(*_: Any, **__: Any) -> None:
        pytest.fail("the hub was asked")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", asked)
    (here / "here" / "tiny").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=f"no model folder at {path}"):
        hf.read(path)
    loop.write_text(here / "text.txt")
    assert main(["train", "--train-data", "text.txt", "--init-from", path]) == 2
    assert f"no model folder at {path}" in capsys.readouterr().err


def test_two_processes_resume_one_run_and_one_of_them_trains(here: Path) -> None:
    """The first holds the lock, asleep in a step; the second leaves with a line and changes nothing."""
    run = train(loop.tiny(here, max_steps=2, schedule="constant", warmup_steps=1, experiment_name="mine")).run
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file() and p.name != ".lock"}
    script = (
        "import sys\n"
        "from gptmodel import cli\n"
        "from gptmodel.training import loop\n"
        "step = loop.train_step\n"
        "def waiting(state, *batch):\n"
        "    if state.step == 2:\n"
        "        print('locked', flush=True)\n"
        "        sys.stdin.readline()\n"
        "    return step(state, *batch)\n"
        "loop.train_step = waiting\n"
        "sys.exit(cli.main(sys.argv[1:]))\n"
    )
    words = ["train", "--resume", "--experiment-name", "mine", "--output", str(run.parent)]
    words += ["--max-steps", "4", "--save-every", "1"]
    first = subprocess.Popen(
        [sys.executable, "-c", script, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert first.stdout is not None
    assert first.stdout.readline() == "locked\n"
    now = {p: p.read_bytes() for p in before}
    second = subprocess.run(
        [sys.executable, "-m", "gptmodel", *words], capture_output=True, text=True, check=False
    )
    assert second.returncode == 2
    assert f"in use by another process (pid {first.pid})" in second.stderr
    assert {p: p.read_bytes() for p in before} == now
    _, shown = first.communicate("\n")
    assert first.returncode == 0, shown
    whole = train(loop.tiny(here, max_steps=4, schedule="constant", warmup_steps=1)).run
    assert loop.same(loop.weights(run), loop.weights(whole))
    assert not (run / ".lock").stat().st_size
