"""Options as other trainers spell them: those of nanoGPT, Hugging Face, Lightning and books about GPTs.

An option that means the same as one of ours is taken for it (``--lr 3e-4`` is ``--learning-rate 3e-4``). One
that means something a little different is answered with the name that is used here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from gptmodel.errors import ConfigError
from gptmodel.synonyms import ANSWERS, SAME

__all__ = ["spelled"]

VALUES = {
    "precision": {
        "bfloat16": "bf16",
        "float16": "fp16",
        "half": "fp16",
        "float32": "fp32",
        "float": "fp32",
        "full": "fp32",
        "16": "fp16",
        "32": "fp32",
        "bf16-mixed": "bf16",
        "16-mixed": "fp16",
    }
}

INIT_FROM = {
    "resume": "say --resume, which goes on with a run where it was saved last",
    "scratch": "leave --init-from out: a run begins with weights of its own",
}

GENERATING = {
    "prompt": "start text",
    "samples": "num-samples n-samples num-return-sequences",
    "max-new-tokens": "max-tokens n-tokens num-tokens",
    "checkpoint": "ckpt run model out-dir model-path checkpoint-dir",
    "temperature": "temp",
}

USING = {"checkpoint": "ckpt run model out-dir model-path checkpoint-dir"}


def spelled(words: Sequence[str]) -> list[str]:
    """The words of a command line with options in our spelling.

    Raises ConfigError for an option of other programs that is something else here.

    >>> spelled(["train", "input.txt", "--n_embd=64", "--dtype", "bfloat16"])
    ['train', '--train-data', 'input.txt', '--width=64', '--precision', 'bf16']
    """
    command, *rest = words or [""]
    if command == "train":
        from gptmodel.config import section_of

        named = _turned(SAME)
    elif command in ("generate", "eval", "export"):
        named = _turned(GENERATING if command == "generate" else USING)
    else:
        return list(words)
    done = [command, *_inputs(rest)] if command == "train" else [command, *rest]
    for at in range(1, len(done)):
        word = done[at]
        if not word.startswith("--"):
            continue
        name, equals, value = word[2:].partition("=")
        if command == "generate":
            _answer_generating(name, value if equals else next(iter(done[at + 1 :]), ""))
        spelt = name.replace("_", "-")
        known = command == "train" and section_of(spelt.replace("-", "_")) is not None
        ours = spelt if known else named.get(spelt, spelt)
        if command == "train":
            following = value if equals else next(iter(done[at + 1 :]), "")
            _answer(name, spelt, ours, following)
        if ours != spelt:
            done[at] = f"--{ours}{equals}{value}"
        if ours in VALUES:
            if equals:
                done[at] = f"--{ours}={VALUES[ours].get(value, value)}"
            elif at + 1 < len(done):
                done[at + 1] = VALUES[ours].get(done[at + 1], done[at + 1])
    return _joined(done) if command == "train" else done


def _turned(names: Mapping[str, str]) -> dict[str, str]:
    return {other: ours for ours, others in names.items() for other in others.split()}


def _inputs(words: list[str]) -> list[str]:
    """``train input.txt …`` as ``--train-data input.txt …``, and ``train data/`` as ``--shards data/``."""
    count = next((at for at, word in enumerate(words) if word.startswith("-")), len(words))
    inputs = words[:count]
    if not inputs:
        return words
    option = "--shards" if len(inputs) == 1 and Path(inputs[0]).is_dir() else "--train-data"
    return [option, *inputs, *words[count:]]


def _answer(name: str, spelt: str, ours: str, value: str) -> None:
    """Raise ConfigError where an option of other programs has no option here that means the same."""
    for others, answer in ANSWERS.items():
        if spelt in others.split() and ours == spelt:
            raise ConfigError(f"there is no option --{name} here: {answer}")
    if ours == "init-from" and value in INIT_FROM:
        raise ConfigError(f"--{name} {value}: {INIT_FROM[value]}")


def _answer_generating(name: str, value: str) -> None:
    """The same where text is generated."""
    if name.replace("_", "-") in ("max-length", "length"):
        raise ConfigError(
            f"there is no option --{name} here, which counts the prompt in other programs: "
            "--max-new-tokens is how many follow it"
        )
    if name == "start" and value.startswith("FILE:"):
        file = value.removeprefix("FILE:")
        raise ConfigError(f"--start {value}: a file with the prompt is given as --prompt-file {file}")


def _joined(words: list[str]) -> list[str]:
    """``--compile False`` as ``--compile=False``: a flag takes no word of its own."""
    done: list[str] = []
    for word in words:
        is_flag = bool(done) and done[-1].startswith("--") and "=" not in done[-1]
        if is_flag and word in ("True", "False", "true", "false"):
            done[-1] += f"={word.lower()}"
        else:
            done.append(word)
    return done
