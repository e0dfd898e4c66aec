"""``gptbpe demo``: the whole way from text to a model that writes, in a minute or two, without a network.

Every step is a command that the reader can type; the demo runs them one after another and shows them. The
model is trained in a process of its own, so that this package never imports PyTorch.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gptbpe import extras
from gptbpe.cli import console, usage
from gptbpe.types import END_OF_TEXT

PROMPT = "The "
TRAINING_TIME = "40s"


def demo(
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("demo"),
    steps: Annotated[int | None, Parameter(name=["--steps", "--max-steps"], converter=usage.whole)] = None,
    prompt: str = PROMPT,
) -> None:
    """Make a small GPT in a minute or two: text, tokenizer, shards, training, a plot, a sample.

    The text is Python's own help (`pydoc_data.topics`), which is part of every installation. Needs the
    extra `gptbpe[model]`.

    Parameters
    ----------
    output
        The folder for the results. It may exist; the text, tokenizer, shards and plot of an earlier demo
        are then replaced.
    steps
        Number of training steps. [default: as many as fit into 40 seconds]
    prompt
        How the sample begins.
    """
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("gptmodel") is None:
        raise console.Failure(f"the demo trains a model, which needs PyTorch: {extras.install('model')}")
    if output.exists() and not output.is_dir():
        raise console.Failure(f"{output} is a file; give -o a folder")
    began = time.monotonic()
    output.mkdir(parents=True, exist_ok=True)
    (output / "input.txt").write_text(_text(), encoding="utf-8")
    run = _free_name(output / "runs", "demo")

    _run(output, "gptbpe", "train", "input.txt", "--vocab", "512")
    _run(output, "gptbpe", "shard", "input.txt", "-t", "tokenizer.json", "-o", "data/", "--force")
    limit = ["--budget", TRAINING_TIME] if steps is None else ["--max-steps", str(steps)]
    _run(output, "gptmodel.train", "--shards", "data/", "--preset", "tiny", "--experiment-name", run, *limit)
    _run(output, "gptmodel", "plot", f"runs/{run}", "-o", "losses.png")
    _run(
        output, "gptmodel", "generate", f"runs/{run}", "--prompt", prompt,
        "--max-new-tokens", "200", "--temperature", "0.8", "--seed", "1",
    )  # fmt: skip

    console.say("")
    console.say(f"done in {time.monotonic() - began:.0f} s; everything is in {output}/")
    console.say(f"the loss plot: {output / 'losses.png'}")
    console.say("to try next:")
    for words in (
        ["gptmodel", "generate", f"{output}/runs/{run}", "--prompt", "Python is "],
        ["tensorboard", "--logdir", f"{output}/runs/{run}"],
        ["gptbpe", "viz", "--text", "import this", "-t", f"{output}/tokenizer.json"],
        ["gptbpe", "train", "YOUR.txt", "--vocab", "4096", "-o", "yours.json"],
        ["gptmodel", "train", "--train-data", "YOUR.txt", "--tokenizer", "yours.json", "--budget", "10m"],
    ):
        console.say(f"  {_as_typed(words)}")


def _as_typed(words: list[str]) -> str:
    """A command that works where the demo was started: by its path where its name is not found."""
    beside = Path(sys.executable).with_name(words[0])
    if beside.exists():
        found = shutil.which(words[0])
        if found is None or not beside.samefile(found):
            words = [os.path.relpath(beside), *words[1:]]
    return shlex.join(words)


def _text() -> str:
    from pydoc_data.topics import topics

    return "".join(f"{topic}\n{END_OF_TEXT}\n" for _, topic in sorted(topics.items()))


def _free_name(folder: Path, name: str) -> str:
    number = 1
    free = name
    while (folder / free).exists():
        number += 1
        free = f"{name}-{number}"
    return free


def _run(folder: Path, module: str, *arguments: str) -> None:
    """Show a command and run it in the demo's folder; its failure ends the demo."""
    shown = f"python -m {module}" if "." in module else module
    console.say(f"\n$ {shown} {shlex.join(arguments)}")
    with subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=folder) as child:
        try:
            code = child.wait()
        except KeyboardInterrupt:
            child.wait()  # it was interrupted as well and may be saving what it has
            raise
    if code != 0:
        raise console.Failure(
            f"{shown} {arguments[0]} ended with exit code {code}; what it said stands above"
        )
