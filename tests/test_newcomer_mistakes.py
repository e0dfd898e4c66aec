"""Mistakes of a first hour, in both programs and in Python, each answered in one line.

The line says what was wrong and what to do. Nothing of the user's is changed, and no traceback is shown.
Programs run in this process, so that all of them together take seconds.
"""

from __future__ import annotations

import os
import random
import shlex
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

from gptbpe import Sampler, ShardReader, Tokenizer, shard_files
from gptbpe.cli import main as gptbpe
from gptmodel import GPT, ModelConfig, checkpoint, compose
from gptmodel.cli import main as gptmodel
from gptmodel.training import train

PROGRAMS: dict[str, Callable[[list[str]], int]] = {"gptbpe": gptbpe, "gptmodel": gptmodel}
SMALL = {
    "context_length": 16,
    "width": 16,
    "heads": 2,
    "layers": 1,
    "batch_size": 4,
    "max_steps": 2,
    "sample_tokens": 0,
}
LONGEST = 320
"""Characters of an answer."""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What a newcomer has after the first steps: text, a tokenizer, shards, a run."""
    folder = tmp_path_factory.mktemp("first-hour")
    before = Path.cwd()
    os.chdir(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPTMODEL_CACHE", str(tmp_path_factory.mktemp("cache")))
        for name in ("GPTMODEL_DEBUG", "GPTBPE_TRACEBACK"):
            patch.delenv(name, raising=False)
        draw = random.Random(0)
        words = [
            "the",
            "cat",
            "sat",
            "on",
            "a",
            "mat",
            "and",
            "then",
            "it",
            "ran",
            "to",
            "my",
            "old",
            "red",
            "hat",
            "in",
            "two",
            "days",
        ]
        text = "\n".join(" ".join(draw.choice(words) for _ in range(9)) for _ in range(400))
        Path("input.txt").write_text(text)
        Path("short.txt").write_text("hi")
        Path("empty.txt").touch()
        Path("notes.jsonl").write_text('{"text": "a"}\n{"body": "b"}\n')
        Path("table.csv").write_bytes(b"\xff\xfe" + "a,b\n".encode("utf-16-le") * 50)
        Path("broken.toml").write_text("max_steps = = 3\n")
        Path("typo.toml").write_text("[train]\nmax_stepz = 3\n")
        tokenizer = Tokenizer.train(["input.txt"], vocab_size=270)
        tokenizer.save("tokenizer.json")
        shard_files(["input.txt"], tokenizer, "data")
        train(compose({"shards": "data", **SMALL}).config)
        yield folder
        os.chdir(before)


def contents(folder: Path) -> dict[str, str]:
    """A digest of every file; the lock of a run, which is taken and given back, has no content."""
    return {
        str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@dataclass(frozen=True)
class Mistake:
    """A command line, and words that its answer must have: what was wrong, and what to do."""

    command: str
    answer: tuple[str, ...]

    def __str__(self) -> str:
        return self.command


def typed(command: str, *answer: str) -> Mistake:
    return Mistake(command, answer)


COMMANDS = [
    # the first word
    typed("gptmodel trian", "trian", "train"),
    typed("gptbpe tarin input.txt", "tarin", "train"),
    typed("gptmodel tokenize input.txt", "tokenize", "train"),
    # what to train on
    typed("gptmodel train", "--shards FOLDER or --train-data FILE"),
    typed("gptmodel train inptu.txt", "no file inptu.txt", "input.txt"),
    typed("gptmodel train --train-data empty.txt", "empty.txt is empty"),
    typed("gptmodel train --train-data short.txt", "too few", "more text"),
    typed("gptmodel train --train-data data", "data is a folder", "--shards"),
    typed("gptmodel train --shards input.txt", "--train-data input.txt"),
    typed("gptmodel train --shards nowhere", "nowhere", "gptbpe shard"),
    typed("gptmodel train --shards data --train-data input.txt", "one of the two"),
    typed("gptmodel train --shards data --tokenizer gpt2", "another tokenizer"),
    typed("gptmodel train input.txt --tokenizer gtp2", "gtp2", "gpt2"),
    # options in other trainers' words
    typed("gptmodel train input.txt --out_dir mine", "--out_dir", "--output", "--experiment-name"),
    typed("gptmodel train input.txt --use_flash_attn", "--use_flash_attn", "--attention"),
    typed("gptmodel train input.txt --abs_emb", "--abs_emb", "--position learned"),
    typed("gptmodel train input.txt --gradient_accumulation_steps 4", "--micro-batch-size"),
    typed("gptmodel train input.txt --min_lr 1e-5", "--min_lr", "--final-fraction"),
    typed("gptmodel train input.txt --init_from resume", "--resume"),
    typed("gptmodel train input.txt --lerning-rate 1", "--lerning-rate", "--learning-rate"),
    # values
    typed("gptmodel train input.txt --lr fast", "--learning-rate", "fast", "--help"),
    typed("gptmodel train input.txt --lr -1", "-1", "greater than 0"),
    typed("gptmodel train input.txt --precision bf17", "bf17", "bf16"),
    typed("gptmodel train input.txt --preset nanno", "nanno", "nano"),
    typed("gptmodel train input.txt --n_head 5", "192", "5 heads"),
    typed("gptmodel train input.txt --device gpu", "gpu", "cuda", "--device auto"),
    typed("gptmodel train input.txt --experiment-name a/b", "a/b", "--output"),
    typed("gptmodel train input.txt --output input.txt", "input.txt", "--output"),
    typed("gptmodel train input.txt --vocab 100", "100", "256"),
    typed("gptmodel train input.txt --optimizer adam", "adam", "adamw"),
    typed("gptmodel train input.txt --config nowhere.toml", "nowhere.toml"),
    typed("gptmodel train input.txt --config broken.toml", "broken.toml"),
    typed("gptmodel train input.txt --config typo.toml", "max_stepz", "max_steps"),
    typed("gptmodel train input.txt --budget soon", "soon", "10m"),
    # going on and using
    typed("gptmodel train --resume --experiment-name tinyy", "tinyy", "tiny"),
    typed("gptmodel train --resume --experiment-name tiny --width 32", "model.width", "32"),
    typed("gptmodel generate runs/tinyy --prompt the", "runs/tinyy", "no run", "did you mean 'tiny'"),
    typed("gptmodel generate data --prompt the", "data is neither a run"),
    typed("gptmodel generate runs/tiny --prompt the --temperature -1", "temperature", "-1"),
    typed("gptmodel eval runs/tiny --data inptu.txt", "inptu.txt", "input.txt"),
    typed("gptmodel plot nowhere", "nowhere is not a run"),
    typed("gptmodel plot runs/tiny -o losses.xyz", "losses.xyz", ".png"),
    typed("gptmodel export runs/tiny -o data", "data is there already", "another name"),
    # the tokenizer's program
    typed("gptbpe train inptu.txt", "inptu.txt", "no such file", "did you mean 'input.txt'"),
    typed("gptbpe train input.txt -o input.txt", "input.txt", "another name"),
    typed("gptbpe train input.txt --vocab 100", "100", "256"),
    typed("gptbpe train empty.txt -o t.json", "empty.txt is empty"),
    typed("gptbpe train data -o t.json", "data", "directory"),
    typed("gptbpe encode input.txt -t gtp2", "gtp2", "gpt2"),
    typed("gptbpe encode input.txt -t input.txt", "input.txt"),
    typed("gptbpe decode input.txt", "input.txt"),
    typed("gptbpe shard input.txt -t gpt2 -o data", "data", "--force"),
    typed("gptbpe inspect nowhere", "nowhere"),
    typed("gptbpe shard input.txt -o data2 --tokenizer nowhere.json", "nowhere.json"),
    typed("gptbpe inspect runs", "runs", "no shards", "gptbpe shard"),
    typed("gptbpe train input.txt --patern gpt2", "--patern", "--pattern"),
    typed("gptbpe train input.txt --pattern gpt9 -o t.json", "gpt9", "gpt2"),
    # words where an option is expected, and other programs' commands
    typed("gptmodel sample", "sample", '"generate"'),
    typed("gptmodel help", '"--help"'),
    typed("gptbpe tokenize input.txt", "tokenize", '"encode"'),
    typed("gptbpe train input.txt -v 300", "-v", "gptbpe train --help"),
    typed("gptmodel generate runs/tiny 'the cat'", "the cat", "--prompt 'the cat'"),
    typed("gptmodel generate 'the cat'", "the cat", "--prompt 'the cat'"),
    typed("gptmodel eval runs/tiny input.txt", "--data input.txt"),
    typed("gptmodel plot runs/tiny losses.png", "losses.png is not a run", "-o losses.png"),
    typed("gptmodel train input.txt --resume runs/tiny", "--resume --experiment-name tiny"),
    typed("gptmodel train --train-data", "--train-data has no value", "text file"),
    typed("gptmodel train --shards", "--shards has no value", "folder of shards"),
    typed("gptbpe encode hello -t gpt2", "hello", "--text hello"),
    typed("gptbpe viz 'some text' -t gpt2", "--text 'some text'"),
    typed("gptbpe decode 15496 -t gpt2", "15496", "--ids 15496"),
    # folders
    typed("gptmodel generate runs --prompt the", "the runs in it: runs/tiny"),
    typed("gptmodel generate runs/tiny/checkpoints --prompt the", "name the run runs/tiny"),
    typed("gptmodel plot runs", "the runs in it: runs/tiny"),
    typed("gptmodel export nowhere", "no run or checkpoint at nowhere"),
    typed(
        "gptmodel train input.txt --tokenizer runs/tiny",
        "no tokenizer itself",
        "step-00000002/tokenizer.json",
    ),
    typed("gptbpe encode input.txt -t runs/tiny", "step-00000002/tokenizer.json"),
    typed("gptbpe shard input.txt -o input.txt", "input.txt is a file", "folder"),
    typed("gptbpe shard data -o again", "data is a folder of shards already"),
    typed("gptbpe inspect data --document 5", "1 document,", "there is no 5"),
    # numbers
    typed("gptmodel train input.txt --max-steps 1e3", "--max-steps", "'1e3' is not a whole number"),
    typed("gptmodel train input.txt --max-steps 2.5", "'2.5' is not a whole number"),
    typed("gptmodel train input.txt --micro-batch-size 0", "micro_batch_size = 0", "greater than 0"),
    typed("gptmodel train input.txt --micro-batch-size all", "'all'", "auto"),
    typed("gptmodel generate runs/tiny --prompt the --top-k 1.5", "'1.5' is not a whole number"),
    typed("gptmodel eval runs/tiny --batches 0", "--batches 0"),
    typed("gptmodel eval runs/tiny --stride 0", "--stride 0"),
    typed("gptmodel eval runs/tiny --stride 1000", "1 to 16", "skip tokens"),
    typed("gptbpe train input.txt --vocab 32k -o t.json", "--vocab", "'32k' is not a whole number"),
    typed("gptbpe train input.txt --weight 1.5 -o t.json", "'1.5' is not a whole number"),
    typed("gptbpe train input.txt --max-token-bytes 0 -o t.json", "max_token_bytes=0", "at least 1"),
    typed("gptbpe train input.txt --min-count 0 -o t.json", "min_count=0", "at least 1"),
    # files of another kind, and addresses
    typed("gptmodel train input.txt --eval-data nope.txt", "nope.txt"),
    typed("gptmodel train https://example.com/input.txt", "gptbpe shard https://example.com/input.txt"),
    typed(
        "gptbpe train --counts input.txt -o t.json", "input.txt is not a file of counts", "leave --counts out"
    ),
    typed(
        "gptbpe train notes.jsonl -o t.json", "line 2", "no field 'text'", "there are body", "--text-field"
    ),
    typed("gptbpe encode input.txt -t meta-llama/Llama-3-8B", "https://huggingface.co/meta-llama/Llama-3-8B"),
    typed("gptbpe export tokenizer.json -o mine.tiktoken", "mine.tiktoken", "--format tiktoken"),
    typed("gptbpe import input.txt -o t.json", "input.txt is neither a tokenizer.json"),
    typed(
        "gptbpe import https://example.com/tokenizer.json -o t.json",
        "https://example.com/tokenizer.json is not fetched",
    ),
]


@pytest.mark.parametrize("mistake", COMMANDS, ids=str)
def test_a_command(mistake: Mistake, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(workplace)
    program, *words = shlex.split(mistake.command)
    code = PROGRAMS[program](words)
    shown = capsys.readouterr()
    assert contents(workplace) == before
    assert code == 2, shown
    assert shown.out == ""
    answers = [line for line in shown.err.splitlines() if line.startswith(f"{program}: error: ")]
    assert len(answers) == 1, shown.err
    assert answers[0] == shown.err.splitlines()[-1]
    assert "Traceback" not in shown.err
    assert "Errno" not in shown.err
    assert "a bug in" not in shown.err
    assert len(answers[0]) <= LONGEST
    for word in mistake.answer:
        assert word in answers[0], answers[0]


def model() -> GPT:
    return GPT(ModelConfig(vocab_size=270, context_length=8, width=8, layers=1, heads=2))


PYTHON: list[tuple[str, Callable[[], object], tuple[str, ...]]] = [
    ("Tokenizer.train('input.txt', vocab_size='300')",
     lambda: Tokenizer.train(["input.txt"], vocab_size="300"), ("vocab_size", "300")),
    ("Tokenizer.train(vocab_size=3.5)",
     lambda: Tokenizer.train(["input.txt"], vocab_size=3.5), ("vocab_size", "3.5")),
    ("Tokenizer.train(threads=-1)",
     lambda: Tokenizer.train(["input.txt"], vocab_size=300, threads=-1), ("threads", "-1")),
    ("Tokenizer.get('gpt-2000')", lambda: Tokenizer.get("gpt-2000"), ("gpt-2000", "gpt2")),
    ("Tokenizer.load('input.txt')", lambda: Tokenizer.load("input.txt"), ("input.txt",)),
    ("tokenizer.encode(3)", lambda: Tokenizer.get("gpt2").encode(3), ("int",)),
    ("tokenizer.decode('text')", lambda: Tokenizer.get("gpt2").decode("text"), ("text", "encode")),
    ("tokenizer.decode([10**9])", lambda: Tokenizer.get("gpt2").decode([10**9]), ("1000000000",)),
    ("shard_files([…], 'nowhere.json', …)",
     lambda: shard_files(["input.txt"], "nowhere.json", "data3"), ("nowhere.json",)),
    ("ShardReader('nowhere')", lambda: ShardReader("nowhere"), ("nowhere",)),
    ("Sampler('input.txt', 8)", lambda: Sampler("input.txt", 8), ("input.txt",)),
    ("compose({'max_stepz': 3})", lambda: compose({"max_stepz": 3}), ("max_stepz", "max_steps")),
    ("Tokenizer.load('gpt2')", lambda: Tokenizer.load("gpt2"), ("Tokenizer.get('gpt2')",)),
    ("GPT(270)", lambda: GPT(270), ("GPT takes a ModelConfig, not int", "GPT.load")),
    ("GPT({…})", lambda: GPT({"vocab_size": 270}), ("GPT takes a ModelConfig, not dict",)),
    ("model.generate(None)", lambda: model().generate(None), ("must be ids, not None",)),
    ("compose({'train': {…}})", lambda: compose({"train": {"max_steps": 3}}), ("no sections", "max_steps")),
    ("compose('input.txt')", lambda: compose("input.txt"), ("train_data",)),
    ("compose({'lr': 1})", lambda: compose({"lr": 1}), ("lr", "learning_rate")),
    ("train(compose(…))", lambda: train(compose({"shards": "data"})), (".config",)),
    ("train({…})", lambda: train({"shards": "data"}), ("compose", ".config")),
    ("model.generate('Hello')", lambda: model().generate("Hello"), ("encode",)),
    ("model.generate([])", lambda: model().generate([]), ("at least one id",)),
    ("model.generate([999])", lambda: model().generate([999]), ("999", "0 to 269", "tokenizer")),
    ("GPT.load('nowhere')", lambda: GPT.load("nowhere"), ("nowhere",)),
    ("checkpoint.latest('data')", lambda: checkpoint.latest("data"), ("data",)),
]  # fmt: skip


@pytest.mark.parametrize(("call", "words"), [row[1:] for row in PYTHON], ids=[row[0] for row in PYTHON])
def test_a_call(call: Callable[[], object], words: tuple[str, ...], workplace: Path) -> None:
    before = contents(workplace)
    with pytest.raises((ValueError, TypeError, OSError)) as found:
        call()
    assert contents(workplace) == before
    message = str(found.value)
    assert "\n" not in message
    assert len(message) <= LONGEST
    for word in words:
        assert word in message, message


def test_a_foreign_tokenizer_is_noticed(
    workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Tokenizer.train(["input.txt"], vocab_size=280).save(tmp_path / "other.json")
    words = ["generate", "runs/tiny", "--prompt", "the", "--max-new-tokens", "1", "--seed", "1"]
    assert gptmodel([*words, "--tokenizer", str(tmp_path / "other.json")]) == 0
    assert "warning: the model was trained with another tokenizer than" in capsys.readouterr().err
    assert gptmodel([*words, "--tokenizer", "tokenizer.json"]) == 0
    assert "warning" not in capsys.readouterr().err


def test_a_separator_that_the_tokenizer_lacks_is_noticed(
    workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gptbpe(["shard", "input.txt", "--separator", "</s>", "-o", str(tmp_path / "with")]) == 0
    assert "warning: </s> is not a special token of this tokenizer" in capsys.readouterr().err
    assert gptbpe(["shard", "input.txt", "-o", str(tmp_path / "without")]) == 0
    assert "warning" not in capsys.readouterr().err


def test_what_everybody_writes_first_works(workplace: Path, tmp_path: Path) -> None:
    assert compose({"train_data": "input.txt"}).config.data.train_data == (Path("input.txt"),)
    assert Tokenizer.get("gpt4").vocab_size == Tokenizer.get("cl100k_base").vocab_size
    assert Tokenizer.get("gpt4o") == Tokenizer.get("gpt-4o") == Tokenizer.get("o200k_base")
    made = shard_files(["input.txt"], "tokenizer.json", tmp_path / "shards")
    assert made is not None
    shutil.copytree(workplace / "runs" / "tiny", tmp_path / "tiny")
    assert len(GPT.load(tmp_path / "tiny").generate([1, 2])) > 2
