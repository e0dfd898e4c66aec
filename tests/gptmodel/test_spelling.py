"""Options in the words of other trainers: taken for ours, or answered with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gptmodel.cli import main
from gptmodel.cli.spelling import spelled
from gptmodel.config import section_of
from gptmodel.errors import ConfigError
from gptmodel.synonyms import ANSWERS, SAME

Said = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("given", "ours"),
    [
        ("train --lr 3e-4", "train --learning-rate 3e-4"),
        ("train --lr=3e-4", "train --learning-rate=3e-4"),
        ("train --block_size 64 --n_embd=32 --n_layer 2 --n_head 2",
         "train --context-length 64 --width=32 --layers 2 --heads 2"),
        ("train --num_epochs 3 --max_iters 9 --dtype=bfloat16",
         "train --epochs 3 --max-steps 9 --precision=bf16"),
        ("train --dtype float32 --compile False", "train --precision fp32 --compile=false"),
        ("train --compile=False --bias True", "train --compile=False --bias=true"),
        ("train a.txt b.txt --lr 1", "train --train-data a.txt b.txt --learning-rate 1"),
        ("train --experiment_name x --max_steps 3", "train --experiment_name x --max_steps 3"),
        ("generate RUN --num_samples 2 --start the", "generate RUN --samples 2 --prompt the"),
        ("eval --ckpt RUN", "eval --checkpoint RUN"),
        ("plot RUN --lr 3", "plot RUN --lr 3"),
    ],
)  # fmt: skip
def test_words_of_others(given: str, ours: str) -> None:
    assert spelled(given.split()) == ours.split()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("generate RUN --start=FILE:a.txt", "--prompt-file a.txt"),
        ("generate RUN --start FILE:a.txt", "--prompt-file a.txt"),
        ("generate RUN --max_length 9", "counts the prompt in other programs"),
        ("train a.txt --per_device_train_batch_size 9", "--batch-size is the whole batch"),
    ],
)
def test_words_that_count_something_else_are_answered(words: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        spelled(words.split())
    assert spelled(["generate", "RUN", "--prompt", "True"]) == ["generate", "RUN", "--prompt", "True"]


def test_a_folder_without_an_option_is_shards(tmp_path: Path) -> None:
    assert spelled(["train", str(tmp_path)]) == ["train", "--shards", str(tmp_path)]
    assert spelled([]) == []


@pytest.mark.parametrize("option", [name for names in ANSWERS for name in names.split()])
def test_what_is_a_little_different_is_answered(option: str) -> None:
    with pytest.raises(ConfigError, match=f"--{option}") as found:
        spelled(["train", f"--{option.replace('-', '_')}".replace("_", "-"), "1"])
    assert "here: " in str(found.value)


def test_the_tables_know_our_options_and_hide_none() -> None:
    others = [name for names in (*SAME.values(), *ANSWERS) for name in names.split()]
    assert len(others) == len(set(others))
    assert not [name for name in others if section_of(name.replace("-", "_"))]
    assert all(section_of(name.replace("-", "_")) for name in SAME)


@pytest.mark.usefixtures("wide_help")
def test_help_shows_what_the_preset_sets(capsys: Said) -> None:
    shown = {}
    for words in ([], ["--preset", "nano"], ["--preset=gpt2", "--depth", "6"]):
        assert main(["train", *words, "--help"]) == 0
        shown[" ".join(words)] = capsys.readouterr().out
    for words, values in {
        "": ("[default: muon]", "[default: 192]", "[default: tiny]"),
        "--preset nano": ("[default: adamw]", "[default: 384]", "[default: nano]"),
        "--preset=gpt2 --depth 6": ("[default: learned]", "[default: 1024]", "[default: gpt2]"),
    }.items():
        for value in values:
            assert value in shown[words], words
    assert "│ --position" in shown[""]
    assert " Position " not in shown[""]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--shards", "data", "--vocab", "300"], "--vocab does nothing here: the shards"),
        (["input.txt", "--tokenizer", "gpt2", "--vocab", "300"], "--vocab does nothing here"),
        (["input.txt", "--resize-vocab"], "--resize-vocab does nothing here"),
        (["input.txt", "--optimizer", "adamw", "--momentum", "0.9"], "--momentum does nothing here"),
        (["input.txt", "--schedule", "cosine", "--decay-fraction", "0.1"], "--decay-fraction does nothing"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_an_option_that_does_nothing_says_so(words: list[str], said: str) -> None:
    from gptmodel.cli.idle import idle
    from gptmodel.config import compose

    words = spelled(["train", *words])[1:]
    given = {
        word[2:]: True if at + 1 == len(words) or words[at + 1].startswith("--") else words[at + 1]
        for at, word in enumerate(words)
        if word.startswith("--")
    }
    assert any(sentence.startswith(said) for sentence in idle(compose(given)))
    assert not list(idle(compose({"train_data": "input.txt", "vocab": 300, "learning_rate": 1e-3})))
