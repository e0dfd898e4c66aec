"""The command line: what people type, and the one line that answers a mistake."""

from __future__ import annotations

import io
import json
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import loop
import pytest

import gptmodel
from gptmodel import checkpoint, files
from gptmodel.cli import app, main
from gptmodel.cli.generate import until

Said = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to type in."""
    monkeypatch.setenv("GPTMODEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(Path(gptmodel.__file__).parents[1]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def trained(here: Path, capsys: Said) -> Path:
    """A run in ``runs/mine``."""
    assert main(["train", *loop.flags(here, output="runs", experiment_name="mine")]) == 0
    capsys.readouterr()
    return Path("runs/mine")


def line(said: Said) -> str:
    """The one line of a mistake: no more, no traceback."""
    shown = [text for text in said.readouterr().err.splitlines() if text.startswith("gptmodel: ")]
    assert len(shown) == 1
    assert "Traceback" not in shown[0]
    return shown[0]


# --- mistakes ---


def test_a_wrong_path(here: Path, capsys: Said) -> None:
    loop.write_text(here / "input.txt")
    assert main(["train", "--train-data", "imput.txt"]) == 2
    assert line(capsys) == "gptmodel: error: there is no file imput.txt; did you mean 'input.txt'?"
    assert main(["train", "--shards", "data"]) == 2
    assert "no folder of shards at data" in line(capsys)


def test_an_empty_text(here: Path, capsys: Said) -> None:
    (here / "empty.txt").touch()
    assert main(["train", "--train-data", "empty.txt"]) == 2
    assert "empty.txt is empty" in line(capsys)


def test_a_text_shorter_than_the_context(here: Path, capsys: Said) -> None:
    (here / "short.txt").write_text("short")
    assert main(["train", "--train-data", "short.txt"]) == 2
    assert "too few for one window of 128" in line(capsys)
    assert not (here / "runs").exists()


def test_a_tokenizer_of_another_vocabulary(here: Path, capsys: Said) -> None:
    assert main(["train", *loop.flags(here, vocab_size=100)]) == 2
    assert "270 tokens, the model a vocabulary of 100" in line(capsys)


def test_resuming_with_other_sizes(trained: Path, capsys: Said) -> None:
    assert main(["train", "--resume", "--experiment-name", "mine", "--width", "64"]) == 2
    assert "model.width = 16, now it is 64" in line(capsys)


def test_a_run_folder_that_exists(here: Path, trained: Path, capsys: Said) -> None:
    before = loop.weights(trained)
    assert main(["train", *loop.flags(here, output="runs", experiment_name="mine", seed=1)]) == 0
    assert "runs/mine-2" in capsys.readouterr().err
    assert loop.same(loop.weights(trained), before)


def test_a_mistyped_preset_command_or_option(capsys: Said) -> None:
    assert main(["train", "--preset", "smal"]) == 2
    assert "'smal'" in line(capsys)
    assert main(["train", "--preset", "nanno"]) == 2
    assert "did you mean 'nano'" in line(capsys)
    assert main(["trian"]) == 2
    assert 'Did you mean "train"' in line(capsys)
    assert main(["train", "--lerning-rate", "1"]) == 2
    assert "Did you mean --learning-rate" in line(capsys)
    assert main(["train", "--precision", "bf17"]) == 2
    assert "bf16" in line(capsys)


def test_half_a_checkpoint(trained: Path, capsys: Said) -> None:
    newest = checkpoint.latest(trained).path
    file = newest / "model.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    assert main(["generate", "--checkpoint", str(newest), "--prompt", "the"]) == 2
    assert "model.safetensors has 100 bytes" in line(capsys)
    assert main(["generate", "--checkpoint", str(trained), "--prompt", "the"]) == 0


def test_no_space_left(here: Path) -> None:
    """A limit on the size of files stands for a full disk: the save fails, the checkpoint before it stays."""
    flags = loop.flags(here, width=64, max_steps=4, save_every=2, experiment_name="mine")
    script = (
        "import resource, sys\n"
        "from gptmodel import cli\n"
        "from gptmodel.checkpoint import store\n"
        "save = store.save\n"
        "def saving(run, snapshot):\n"
        "    if snapshot.step == 4: resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))\n"
        "    return save(run, snapshot)\n"
        "store.save = saving\n"
        "sys.exit(cli.main(['train', *sys.argv[1:]]))\n"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    done = subprocess.run([sys.executable, "-c", script, *flags], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "could not save step 4" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    run = here / "runs" / "mine"
    assert checkpoint.latest(run).step == 2
    assert [entry.name for entry in (run / "checkpoints").iterdir()] == ["step-00000002"]


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_once_saves_twice_stops_at_once(here: Path, times: int) -> None:
    flags = loop.flags(here, max_steps=100_000, save_every=10, experiment_name="mine", eval_every=100_000)
    # In step 15 the program waits for a line, which comes when it has heard the first signal.
    script = (
        "import sys\n"
        "from gptmodel import cli\n"
        "from gptmodel.training import loop\n"
        "step, stop = loop.train_step, loop.Requests._on_stop\n"
        "def hearing(requests, *signal):\n"
        "    print('heard', flush=True)\n"
        "    stop(requests, *signal)\n"
        "def stepping(state, *batch):\n"
        "    if state.step == 15:\n"
        "        print('ready', flush=True)\n"
        "        sys.stdin.readline()\n"
        "    return step(state, *batch)\n"
        "loop.Requests._on_stop = hearing\n"
        "loop.train_step = stepping\n"
        "sys.exit(cli.main(['train', *sys.argv[1:]]))\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", script, *flags],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stdout is not None
    assert run.stdout.readline() == "ready\n"
    for _ in range(times):
        run.send_signal(signal.SIGINT)
        assert run.stdout.readline() == "heard\n"
    _, shown = run.communicate("\n" if times == 1 else None, timeout=900)
    assert run.returncode == 130, shown
    assert "Traceback" not in shown
    last = shown.splitlines()[-1]
    folder = here / "runs" / "mine"
    if times == 1:
        assert "stopped after step 16" in last
        assert last.endswith(f"gptmodel train --resume --experiment-name mine --output {here / 'runs'}")
        assert checkpoint.latest(folder).step == 16
    else:
        assert "interrupted; step 10 is saved; go on with: gptmodel train --resume" in last
        assert checkpoint.latest(folder).step == 10


def test_what_to_train_on_must_be_said(capsys: Said) -> None:
    assert main(["train"]) == 2
    assert "--shards FOLDER or --train-data FILE" in line(capsys)


def test_nothing_to_generate_from(here: Path, capsys: Said) -> None:
    assert main(["generate", "--prompt", "a"]) == 2
    assert "there is no run in runs" in line(capsys)
    assert main(["plot", "nowhere"]) == 2
    assert "nowhere is not a run" in line(capsys)


@pytest.mark.parametrize(
    "error", [ValueError("bad"), RuntimeError("bad"), MemoryError("bad"), OSError("bad")], ids=repr
)
def test_what_goes_wrong_is_exit_code_2_in_both_programs_and_debugging_shows_where(
    error: Exception, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gptbpe.cli import commands

    def failing(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(sys.modules["gptmodel.cli.main"], "app", failing)
    monkeypatch.setattr(commands, "app", failing)
    assert main(["train"]) == commands.main(["train"]) == 2
    assert "Traceback" not in capsys.readouterr().err
    monkeypatch.setenv("GPTMODEL_DEBUG", "1")
    assert main(["train"]) == 2
    assert "in failing" in capsys.readouterr().err


def test_weights_are_read_and_verified_once(
    trained: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gptmodel.checkpoint import format

    fingerprint, read = format._fingerprint, list[Path]()

    def counting(path: Path) -> dict[str, object]:
        read.append(path)
        return fingerprint(path)

    monkeypatch.setattr(format, "_fingerprint", counting)
    for command in (["generate", "--prompt", "a", "--max-new-tokens", "1"], ["eval"], ["train", "--resume"]):
        read.clear()
        assert main(command) == 0
        assert [path.name for path in read].count("model.safetensors") == 1, command


# --- what works ---


def test_training_resumes_to_a_longer_end(here: Path, trained: Path, capsys: Said) -> None:
    whole = loop.flags(here, output="runs", experiment_name="whole", max_steps=20, schedule="constant")
    half = loop.flags(here, output="runs", experiment_name="half", max_steps=10, schedule="constant")
    assert main(["train", *whole]) == 0
    assert main(["train", *half]) == 0
    assert main(["train", "--resume", "--experiment_name", "half", "--max_steps", "20"]) == 0
    assert "resumed after step 10" in capsys.readouterr().err
    assert loop.same(loop.weights(Path("runs/whole")), loop.weights(Path("runs/half")))


def test_resume_auto_begins_and_goes_on(here: Path, capsys: Said) -> None:
    def command(steps: int) -> list[str]:
        same = {"schedule": "constant", "warmup_steps": 1}
        flags = loop.flags(here, experiment_name="night", max_steps=steps, **same)
        return ["train", "--resume", "auto", *flags]

    assert main(command(4)) == 0
    assert "resumed" not in capsys.readouterr().err
    assert main(command(6)) == 0
    assert "resumed after step 4" in capsys.readouterr().err
    assert sorted(entry.name for entry in (here / "runs").iterdir()) == ["night"]
    assert checkpoint.latest(here / "runs" / "night").step == 6


def test_resume_auto_begins_again_what_had_saved_nothing(here: Path, capsys: Said) -> None:
    unsaved = here / "runs" / "night"
    unsaved.mkdir(parents=True)
    (unsaved / ".lock").touch()
    (unsaved / "config.toml").write_text("# of a run that was killed at once")
    command = ["train", "--resume", "auto", *loop.flags(here, experiment_name="night", max_steps=2)]
    with files.Lock(unsaved):
        assert main(command) == 2
        assert "in use by another process" in line(capsys)
    assert main(command) == 0
    assert checkpoint.latest(unsaved).step == 2
    assert (here / "runs" / "night.unsaved-1" / "config.toml").exists()
    (here / "runs" / "mine").mkdir()
    (here / "runs" / "mine" / "letter.txt").write_text("of the user")
    command = ["train", "--resume", "auto", *loop.flags(here, experiment_name="mine", max_steps=2)]
    assert main(command) == 2
    assert "mine is not a run of gptmodel" in line(capsys)


def test_the_last_lines_say_what_came_out_and_commands_that_work(
    here: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert main(["train", *loop.flags(here, output="runs", experiment_name="two words")]) == 0
    done, *commands = capsys.readouterr().err.splitlines()[-3:]
    result = r"held-out loss \d\.\d{4}, \d\.\d{3} bits per byte, in [\d.]+ s -> runs/two words"
    assert re.fullmatch(f"done      {result}", done)
    for command in commands:
        _, _, words = command.partition("gptmodel ")
        assert main(shlex.split(words)) == 0, words


def test_a_run_that_became_worse_names_its_best_checkpoint(here: Path, capsys: Said) -> None:
    words = ["train", *loop.flags(here, output="runs", experiment_name="worse", save_every=6)]
    assert main(words) == 0
    newest, older = list(checkpoint.complete(here / "runs" / "worse"))[:2]
    checkpoint.record_evaluation(newest, 2.0)
    checkpoint.record_evaluation(older, 1.5)
    capsys.readouterr()
    assert main([*words, "--resume"]) == 0
    line = f"held-out loss was lowest at step {older.step}: 1.5000, in runs/worse/best"
    assert line in capsys.readouterr().err
    checkpoint.record_evaluation(newest, 1.0)
    assert main([*words, "--resume"]) == 0
    assert "was lowest" not in capsys.readouterr().err


def test_a_command_says_which_run_it_took(trained: Path, capsys: Said) -> None:
    for words in (["generate", "--prompt", "a", "--max-new-tokens", "1"], ["eval"], ["export", "-o", "new"]):
        assert main(words) == 0
        assert "runs/mine" in (said := capsys.readouterr().err)
        assert "newest" in said
        words = [words[0], "runs/mine", *words[1:]]
        assert main([*words, "--force"] if words[0] == "export" else words) == 0
        said = capsys.readouterr().err
        assert "runs/mine" in said
        assert "newest" not in said


def test_doctor(capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    from gptmodel.training import budget

    monkeypatch.setattr(budget, "step_seconds", lambda *_, **__: 0.25)
    assert main(["doctor"]) == 0
    shown = capsys.readouterr()
    for word in ("torch", "device", "cuda", "threads", "disk", "250 ms a step", "MB/s", "usual"):
        assert word in shown.out
    assert "all well" in shown.err
    monkeypatch.setattr(budget, "step_seconds", None)
    assert main(["doctor", "--json"]) == 1
    states = {finding["check"]: finding["state"] for finding in json.loads(capsys.readouterr().out)}
    assert states["training"] == "failed"
    assert states["encoding"] == "ok"


def test_eval_without_a_run_says_what_to_name(capsys: Said) -> None:
    assert main(["eval"]) == 2
    said = line(capsys)
    assert "resume" not in said
    assert "name the folder of a run" in said


def test_exporting_replaces_only_what_was_exported(here: Path, trained: Path, capsys: Said) -> None:
    (here / "data").mkdir()
    (here / "data" / "mine.txt").write_text("of the user")
    assert main(["export", str(trained), "-o", "data", "--force"]) == 2
    assert "data is there already and no exported model" in line(capsys)
    assert (here / "data" / "mine.txt").read_text() == "of the user"


def test_printing_the_configuration_trains_nothing(here: Path, capsys: Said) -> None:
    assert main(["train", "--preset", "nano", "--data_path", "x.txt", "--no-shuffle", "--print-config"]) == 0
    shown = capsys.readouterr().out
    assert 'train_data = ["x.txt"]' in shown
    assert any(text.startswith("shuffle = false") and "--no-shuffle" in text for text in shown.splitlines())
    assert not (here / "runs").exists()


def test_a_printed_configuration_can_be_given_again(here: Path, capsys: Said) -> None:
    assert main(["train", *loop.flags(here), "--print-config"]) == 0
    first = capsys.readouterr().out
    (here / "run.toml").write_text(first)
    assert main(["train", "--config", "run.toml", "--print-config"]) == 0
    values = [text.split("#")[0].rstrip() for text in first.splitlines()]
    assert [text.split("#")[0].rstrip() for text in capsys.readouterr().out.splitlines()] == values


def test_generating_is_seeded_and_puts_text_on_standard_output(trained: Path, capsys: Said) -> None:
    command = ["generate", "--checkpoint", str(trained), "--prompt", "the cat", "--max-new-tokens", "20"]
    texts = []
    for seed in ("1", "1", "2"):
        assert main([*command, "--seed", seed]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]
    assert all(text.startswith("the cat") and text.endswith("\n") for text in texts)
    assert main([*command, "--seed", "1", "--samples", "2"]) == 0
    assert capsys.readouterr().out == texts[0] + texts[2]


def test_generating_reads_files_and_standard_input(
    trained: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    tail = ["--max-new-tokens", "5", "--temperature", "0"]
    assert main(["generate", "--prompt", "the hut", *tail]) == 0
    expected = capsys.readouterr().out
    Path("prompt.txt").write_text("the hut")
    assert main(["generate", "--prompt-file", "prompt.txt", *tail]) == 0
    assert capsys.readouterr().out == expected
    monkeypatch.setattr(sys, "stdin", io.StringIO("the hut"))
    assert main(["generate", *tail]) == 0
    assert capsys.readouterr().out == expected
    assert main(["generate", "--prompt", "a", "--prompt-file", "prompt.txt"]) == 2


@pytest.mark.parametrize(
    ("pieces", "stops", "expected"),
    [
        (["ab", "cd", "ef"], [], "abcdef"),
        (["ab", "cd", "ef"], ["de"], "abc"),
        (["ab", "cd"], ["dx"], "abcd"),
        (["a", "a", "a", "b"], ["aab"], "a"),
        (["xaya"], ["ya", "a"], "x"),
    ],
)
def test_text_ends_before_a_stop_however_it_is_cut(
    pieces: list[str], stops: list[str], expected: str
) -> None:
    assert "".join(until(pieces, stops)) == expected


def test_evaluating_prints_the_numbers_with_what_they_were_measured_on(
    here: Path, trained: Path, capsys: Said
) -> None:
    assert main(["eval", "--checkpoint", str(trained), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"loss", "perplexity", "bits_per_byte", "tokens", "bytes"}
    assert main(["eval", "--data", "text.txt", "--batches", "2", "--batch-size", "3"]) == 0
    shown = capsys.readouterr().out
    for word in ("loss", "perplexity", "bits per byte", "tokens"):
        assert word in shown
    assert f"{2 * 3 * 16}" in shown


def test_a_smaller_stride_measures_better_or_alike_on_the_same_tokens(trained: Path, capsys: Said) -> None:
    found = []
    for stride in ("16", "4"):
        assert main(["eval", "--stride", stride, "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0]["tokens"] == found[1]["tokens"]
    assert found[1]["loss"] < found[0]["loss"] + 0.05


def test_plotting_names_the_picture(trained: Path, capsys: Said) -> None:
    assert main(["plot", str(trained), "-o", "losses.pdf"]) == 0
    assert capsys.readouterr().out == "losses.pdf\n"
    assert Path("losses.pdf").read_bytes().startswith(b"%PDF")


def test_exporting_to_one_file(trained: Path, capsys: Said) -> None:
    import torch

    assert main(["export", "--checkpoint", str(trained), "--format", "pth", "-o", "model.pth"]) == 0
    state = torch.load("model.pth", weights_only=True)
    assert state.keys() == checkpoint.find(trained).model_tensors().keys()


@pytest.mark.usefixtures("wide_help")
@pytest.mark.parametrize("command", ["train", "generate", "eval", "plot", "export", "doctor"])
def test_every_help_has_an_example(command: str, capsys: Said) -> None:
    app([command, "--help"], exit_on_error=False, result_action="return_value")
    assert f"Example: gptmodel {command}" in capsys.readouterr().out


def test_the_module_is_the_command(here: Path) -> None:
    environment = os.environ | {"COLUMNS": "200"}
    for module in (["gptmodel", "train"], ["gptmodel.train"]):
        done = subprocess.run(
            [sys.executable, "-m", *module, "--help"],
            capture_output=True,
            text=True,
            env=environment,
            check=True,
        )
        assert "--train-data" in done.stdout
