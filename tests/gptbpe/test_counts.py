"""Files of counts: what is added up, what is refused, and that no way of counting changes a vocabulary."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptbpe import CountsFile, Tokenizer, count_pretokens
from gptbpe._core import WordCounter
from gptbpe.cli import main
from gptbpe.errors import CountsFileError, CountsMismatchError, EarlyStopWarning, TrainingError
from gptbpe.names import memory
from gptbpe.types import TieBreak

TIE_BREAKS: tuple[TieBreak, ...] = ("smallest-ids", "huggingface", "bytes", "first-seen")
DOCUMENTS = st.lists(st.text(alphabet="abc é\n", max_size=60).map(str.encode), min_size=1, max_size=12)


def learned(train: object, *arguments: object, **options: object) -> Tokenizer:
    """Train without the warning that there is too little text."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EarlyStopWarning)
        return train(*arguments, **options)  # type: ignore[operator, no-any-return]


@settings(deadline=None)
@given(documents=DOCUMENTS, data=st.data())
def test_counts_of_any_partition_train_the_same(documents: list[bytes], data: st.DataObject) -> None:
    # Places follow the order of the files: neighbouring documents for the rule that depends on it.
    tie_break = data.draw(st.sampled_from(TIE_BREAKS))
    if tie_break == "first-seen":
        cuts = sorted(data.draw(st.lists(st.integers(0, len(documents)), max_size=4)))
        parts = [documents[a:b] for a, b in zip([0, *cuts], [*cuts, len(documents)], strict=True)]
    else:
        owners = data.draw(st.lists(st.integers(0, 3), min_size=len(documents), max_size=len(documents)))
        parts = [
            [text for text, owner in zip(documents, owners, strict=True) if owner == part]
            for part in range(4)
        ]
    expected = learned(Tokenizer.train_from_texts, documents, 280, tie_break=tie_break)
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number, part in enumerate(parts):
            paths.append(Path(folder) / f"{number}.pcnt")
            count_pretokens(part, paths[-1], threads=data.draw(st.integers(1, 3)))
        found = learned(Tokenizer.train_from_counts, paths, 280, tie_break=tie_break)
    assert found == expected


@settings(deadline=None)
@given(documents=DOCUMENTS, data=st.data())
def test_a_weight_is_repetition(documents: list[bytes], data: st.DataObject) -> None:
    weights = data.draw(st.lists(st.integers(1, 5), min_size=len(documents), max_size=len(documents)))
    tie_break = data.draw(st.sampled_from(TIE_BREAKS))
    repeated = [text for text, weight in zip(documents, weights, strict=True) for _ in range(weight)]
    expected = learned(Tokenizer.train, repeated, 280, tie_break=tie_break)
    assert learned(Tokenizer.train, documents, 280, tie_break=tie_break, weights=weights) == expected
    found = learned(Tokenizer.train_from_texts, documents, 280, tie_break=tie_break, weights=weights)
    assert found == expected
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / str(number) for number in range(len(documents))]
        for text, path in zip(documents, paths, strict=True):
            count_pretokens(text, path)
        found = learned(Tokenizer.train_from_counts, paths, 280, tie_break=tie_break, weights=weights)
        assert found == expected
        together = Path(folder) / "together"
        count_pretokens(documents, together, weights=weights)
        assert learned(Tokenizer.train_from_counts, together, 280, tie_break=tie_break) == expected


def many_words(seed: int) -> bytes:
    """Return a megabyte of words, nearly all of them different, some long."""
    numbers = range(seed, seed + 60_000)
    return b" ".join(b"%x%s" % (n * 2654435761 % 2**40, b"y" * 30 if n % 50 == 0 else b"") for n in numbers)


@pytest.mark.parametrize("tie_break", TIE_BREAKS)
def test_a_limit_of_memory_changes_nothing(tie_break: TieBreak) -> None:
    text = many_words(7)
    expected = Tokenizer.train(text, 300, tie_break=tie_break)
    for limit in (1, "64k", "1M", 1 << 40):
        assert Tokenizer.train(text, 300, tie_break=tie_break, max_memory=limit) == expected


def test_a_limit_of_memory_puts_runs_on_the_disk_and_takes_them_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = many_words(3)
    limited = WordCounter("gpt2", [], 2, (1 << 18, tmp_path))
    limited.push(text)
    assert limited.runs > 1
    free = WordCounter("gpt2", [], 1)
    free.push(text)
    assert limited.counts() == free.counts()
    assert limited.runs == 0
    assert list(tmp_path.iterdir()) == []
    unfinished = WordCounter("gpt2", [], 2, (1 << 18, tmp_path))
    unfinished.push(text)
    del unfinished
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(OSError, match="make room there"):
        Tokenizer.train(text, 300, max_memory="256k")


def test_a_file_within_a_limit_of_memory_is_that_without(tmp_path: Path) -> None:
    text = many_words(11)
    free = count_pretokens([text, b"end"], tmp_path / "free", pattern="gpt2")
    limited = count_pretokens([text, b"end"], tmp_path / "limited", pattern="gpt2", max_memory="64k")
    for name in ("text_bytes", "documents", "words", "pretokens", "pattern", "special_tokens"):
        assert getattr(free, name) == getattr(limited, name)
    assert free.documents == 2
    assert free.text_bytes == len(text) + 3
    for path in (free.path, limited.path):
        CountsFile.open(path).check()
    for rule in TIE_BREAKS:
        one, other = (
            Tokenizer.train_from_counts(path, 290, tie_break=rule) for path in (free.path, limited.path)
        )
        assert one == other
    again = count_pretokens([text, b"end"], tmp_path / "again", pattern="gpt2", threads=3)
    assert again.path.read_bytes() == free.path.read_bytes()


@pytest.mark.parametrize("size", [0, -1, "", "64X", "M", "1e3", True, None, 2**63, 1.5, "9" * 30])
def test_what_is_no_size_of_memory(size: object) -> None:
    with pytest.raises(TrainingError, match="max_memory="):
        memory("max_memory", size)  # type: ignore[arg-type]


def test_sizes_of_memory() -> None:
    sizes = {"64M": 64 << 20, "1.5 GiB": 3 << 29, "2kb": 2048, "7": 7, 12: 12, " 1 t": 1 << 40, "10B": 10}
    assert {size: memory("x", size) for size in sizes} == sizes


def test_what_a_file_says_of_itself(tmp_path: Path) -> None:
    path = tmp_path / "x.pcnt"
    made = count_pretokens(
        [b"low low", b"x<|a|>low"], path, pattern=r"\w+|\W", special_tokens=["<|a|>", "<|b|>"]
    )
    assert made == CountsFile.open(path) == CountsFile.open(str(path))
    assert (made.pattern, made.special_tokens) == (r"\w+|\W", ("<|a|>", "<|b|>"))
    assert (made.words, made.pretokens, made.documents, made.text_bytes) == (3, 5, 3, 11)
    tok = Tokenizer.train_from_counts(path, 260)
    assert tok.pattern == r"\w+|\W"
    assert tok.special_tokens == {"<|a|>": 258, "<|b|>": 259}
    # A regex that reads like a name, several of them, and none at all come back as they are.
    for pattern in (["gpt2"], [r"\d", r"\w+"], None):
        count_pretokens(b"gpt2 low", path, pattern=pattern)
        expected = learned(Tokenizer.train, b"gpt2 low", 300, pattern=pattern)
        assert learned(Tokenizer.train_from_counts, path, 300) == expected
        assert learned(Tokenizer.train_from_counts, path, 300, pattern=pattern) == expected


def test_the_separator_ends_documents(tmp_path: Path) -> None:
    text = b"one\n---\ntwo\n---\nthree\n"
    (tmp_path / "in.txt").write_bytes(text)
    for source in (text, tmp_path / "in.txt", text.decode()):
        counts = count_pretokens(source, tmp_path / "x.pcnt", pattern=None, separator="---")
        assert counts.documents == counts.pretokens == 3
    whole = count_pretokens(text, tmp_path / "x.pcnt", pattern=None)
    assert whole.documents == 1
    apart = learned(Tokenizer.train_from_texts, ["one\n", "two\n", "three\n"], 300, pattern=None)
    assert learned(Tokenizer.train, text, 300, pattern=None, separator="---") == apart
    with pytest.raises(ValueError, match="separator is empty"):
        count_pretokens(text, tmp_path / "x.pcnt", separator="")


@pytest.mark.parametrize("weights", [[1], [1, 0], [1, -1], [1, 2.0], [1, True], [1, 2**64], [1, 1, 1], []])
def test_weights_that_are_none(weights: list[int], tmp_path: Path) -> None:
    texts = [b"low low", b"lower"]
    with pytest.raises(TrainingError, match="weight"):
        Tokenizer.train(texts, 258, weights=weights)
    paths = [tmp_path / "a", tmp_path / "b"]
    for text, path in zip(texts, paths, strict=True):
        count_pretokens(text, path)
    with pytest.raises(TrainingError, match="weight"):
        Tokenizer.train_from_counts(paths, 258, weights=weights)
    with pytest.raises(TrainingError, match="list of sources"):
        Tokenizer.train(iter(texts), 258, weights=[1, 1])
    with pytest.raises(TrainingError, match="files of counts"):
        Tokenizer.train_from_counts({"low": 1}, 258, weights=[1])


def test_weights_are_checked_in_64_bits(tmp_path: Path) -> None:
    assert Tokenizer.train(b"low low", 258, weights=[2**61]).merges == [(108, 111)]
    with pytest.raises(TrainingError, match="64 bits"):
        Tokenizer.train([b"low low", b"low"], 258, weights=[2**63, 2**63])
    path = tmp_path / "x.pcnt"
    counts = count_pretokens(b"low low", path, pattern=r"\w+|\W", weights=[2**62])
    assert counts.pretokens == 3 * 2**62
    with pytest.raises(TrainingError, match="64 bits"):
        Tokenizer.train_from_counts([path] * 2, 258)
    assert count_pretokens(b"a b c", path, weights=[2**64 - 1]).pretokens == 3 * (2**64 - 1)


def test_files_by_every_name(tmp_path: Path) -> None:
    expected = Tokenizer.train(b"low low lower", 259)
    path = tmp_path / "x.pcnt"
    count_pretokens(b"low low lower", path)
    for given_ in (path, str(path), [path], (str(path),), iter([path]), tmp_path.glob("*.pcnt")):
        assert Tokenizer.train_from_counts(given_, 259) == expected
    with pytest.raises(FileNotFoundError):
        Tokenizer.train_from_counts(tmp_path / "missing", 259)
    with pytest.raises(IsADirectoryError):
        Tokenizer.train_from_counts(tmp_path, 259)
    with pytest.raises(TrainingError, match="files of counts only"):
        Tokenizer.train_from_counts([path, ("low", 1)], 259)  # type: ignore[list-item]
    (tmp_path / "x.txt").write_text("low low low low low")
    with pytest.raises(CountsFileError, match=r"x\.txt is damaged at byte 0"):
        Tokenizer.train_from_counts(tmp_path / "x.txt", 259)
    for wrong in (tmp_path, tmp_path / "no" / "x.pcnt"):
        with pytest.raises(OSError, match=r"(?i)directory"):
            count_pretokens(b"low", wrong)


def test_other_patterns_and_special_tokens_are_refused(tmp_path: Path) -> None:
    options: dict[str, dict[str, object]] = {
        "a": {},
        "pattern": {"pattern": "gpt2"},
        "special": {"special_tokens": ["<s>"]},
    }
    for name, given_ in options.items():
        count_pretokens(b"low low lower", tmp_path / name, **given_)  # type: ignore[arg-type]
    with pytest.raises(CountsMismatchError, match="gpt2, and cl100k") as caught:
        Tokenizer.train_from_counts([tmp_path / "a", tmp_path / "pattern"], 259)
    assert str(tmp_path / "a") in str(caught.value)
    assert str(tmp_path / "pattern") in str(caught.value)
    with pytest.raises(CountsMismatchError, match=r'"<s>", and "<\|endoftext\|>"'):
        Tokenizer.train_from_counts([tmp_path / "a", tmp_path / "special"], 259)
    with pytest.raises(CountsMismatchError, match="'cl100k', and 'gpt2' is asked for"):
        Tokenizer.train_from_counts(tmp_path / "a", 259, pattern="gpt2")
    with pytest.raises(CountsMismatchError, match=r"\['<s>'\] are asked for"):
        Tokenizer.train_from_counts(tmp_path / "a", 259, special_tokens=["<s>"])
    alike = Tokenizer.train_from_counts(
        tmp_path / "a", 259, pattern="cl100k", special_tokens=["<|endoftext|>"]
    )
    assert alike == Tokenizer.train(b"low low lower", 259)


def test_damage_is_an_error_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "x.pcnt"
    count_pretokens(b"low low lower lowest", path)
    good = path.read_bytes()
    for at in range(0, len(good), 7):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1 :])
        with pytest.raises(CountsFileError, match="count its text again") as caught:
            Tokenizer.train_from_counts(path, 260)
        assert caught.value.path == path
        assert caught.value.offset is not None
        path.write_bytes(good[:at])
        with pytest.raises(CountsFileError):
            CountsFile.open(path)


def test_an_output_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x.pcnt"
    path.write_bytes(b"old")

    def stop(phase: str, done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        count_pretokens(b"low", path, progress=stop)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_progress_of_reading_counts(tmp_path: Path) -> None:
    path = tmp_path / "x.pcnt"
    size = count_pretokens(b"low lower", path).file_bytes
    told: list[tuple[str, int, int | None]] = []
    Tokenizer.train_from_counts([path, path], 259, progress=lambda *row: told.append(row))
    assert ("counting", 2 * size, 2 * size) in told
    assert told[-1] == ("merging", 2, 2)


def call(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(words)
    out, err = capfd.readouterr()
    assert "Traceback" not in err
    assert "bug in gptbpe" not in err
    return code, out, err


def test_the_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    texts = {"a.txt": b"low low lower\n" * 9, "b.txt": b"new newer newest\n" * 9}
    for name, text in texts.items():
        Path(name).write_bytes(text)
    code, out, err = call(capfd, "count-pretokens", "a.txt", "-o", "a.pcnt", "--pattern", "gpt2")
    assert (code, out) == (0, "")
    assert "gptbpe train --counts a.pcnt" in err
    words = "count-pretokens b.txt -o b.pcnt --pattern gpt2 --json --threads 2 --max-memory 64k"
    code, out, err = call(capfd, *words.split())
    assert (code, err) == (0, "")
    assert json.loads(out)["pretokens"] == 36
    assert call(capfd, "count-pretokens", "b.txt", "-o", "c.pcnt", "--quiet") == (0, "", "")

    code, _, err = call(capfd, "train", "--counts", "a.pcnt", "b.pcnt", "-o", "tok.json", "--vocab", "265")
    assert code == 0, err
    expected = Tokenizer.train([Path("a.txt"), Path("b.txt")], 265, pattern="gpt2")
    assert Tokenizer.load("tok.json") == expected
    words = "train a.txt b.txt --weight 1 --weight 3 --vocab 265 --pattern gpt2 --max-memory 1M -o text.json"
    assert call(capfd, *words.split())[0] == 0
    words = "train --counts a.pcnt b.pcnt --weight 1 --weight 3 --vocab 265 --pattern gpt2 -o counts.json"
    assert call(capfd, *words.split())[0] == 0
    weighed = Tokenizer.train([Path("a.txt"), *[Path("b.txt")] * 3], 265, pattern="gpt2")
    assert Tokenizer.load("text.json") == Tokenizer.load("counts.json") == weighed

    code, out, _ = call(capfd, "inspect", "a.pcnt", "--json")
    assert (code, json.loads(out)["pattern"]) == (0, "gpt2")
    assert "gpt2" in call(capfd, "inspect", "a.pcnt")[1]
    assert call(capfd, "verify", "a.pcnt")[0] == 0
    Path("bad.pcnt").write_bytes(Path("a.pcnt").read_bytes()[:-1])
    code, out, _ = call(capfd, "verify", "bad.pcnt")
    assert (code, "bad.pcnt is damaged" in out) == (1, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("count-pretokens", "nothing to count"),
        ("count-pretokens a.txt", "-o words.pcnt"),
        ("count-pretokens a.txt -o -", "standard output"),
        ("count-pretokens a.txt -o no/x.pcnt", "no such folder"),
        ("count-pretokens missing.txt -o x.pcnt", "no such file"),
        ("count-pretokens a.txt -o x.pcnt --pattern (", "pattern"),
        ("count-pretokens a.txt -o x.pcnt --weight 0", "integer from 1"),
        ("count-pretokens a.txt -o x.pcnt --weight 1 --weight 2", "2 weights for 1 source"),
        ("count-pretokens a.txt -o x.pcnt --max-memory much", "not a size of memory"),
        ("train --counts a.txt", "is not a file of counts"),
        ("train --counts missing.pcnt", "no such file"),
        ("train --counts a.pcnt cut.pcnt", "cut.pcnt is damaged"),
        ("train --counts a.pcnt gpt2.pcnt", "gpt2, and cl100k"),
        ("train --counts a.pcnt --pattern gpt2", "'gpt2' is asked for"),
        ("train --counts a.pcnt --special-token <s>", "are asked for"),
        ("train a.txt --counts a.pcnt", "do not go together"),
        ("train --counts a.pcnt --characters", "do not go together"),
        ("train --counts a.pcnt --weight 1 --weight 2", "2 weights for 1 source"),
        ("train --counts empty.pcnt", "is empty"),
    ],
)
def test_commands_fail_in_one_line(
    words: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_bytes(b"low low lower\n" * 9)
    count_pretokens(b"low low lower", "a.pcnt")
    count_pretokens(b"low low lower", "gpt2.pcnt", pattern="gpt2")
    count_pretokens(b"", "empty.pcnt")
    Path("cut.pcnt").write_bytes(Path("a.pcnt").read_bytes()[:-5])
    before = sorted(tmp_path.iterdir())
    code, out, err = call(capfd, *words.split())
    assert (code, out) == (2, "")
    assert err.startswith("gptbpe: error: ")
    assert err.count("\n") == 1
    assert message in err
    assert sorted(tmp_path.iterdir()) == before


PEAK = r"""
import random, sys
from gptbpe import count_pretokens

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

def texts():
    dice = random.Random(1)
    for _ in range(16):
        digits = dice.randbytes(1 << 18).hex().encode()
        yield b" ".join(digits[at : at + 9] for at in range(0, len(digits), 9))

path, limit = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
count_pretokens(b"low", path, pattern=r"\w+|\W")
before = peak()
counts = count_pretokens(texts(), path, pattern=r"\w+|\W", max_memory=limit)
print(peak() - before, counts.words, counts.pretokens)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to tell the peak of memory")
def test_the_limit_of_memory_is_kept(tmp_path: Path) -> None:
    def measured(*limit: str) -> list[int]:
        command = [sys.executable, "-c", PEAK, str(tmp_path / "x.pcnt"), *limit]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(command, capture_output=True, check=True, env=environment)
        return [int(number) for number in done.stdout.split()]

    free, *counts = measured()
    limited, *same = measured("24M")
    assert counts == same
    assert free > 80_000, "kB; otherwise this text shows nothing"
    assert limited < 48_000


WITHIN = r"""
import random, resource, sys
from pathlib import Path
from gptbpe import Tokenizer

path, threads, limit, room = sys.argv[1:]
train = lambda source, **options: Tokenizer.train(source, 300, pattern="gpt2", **options)
train(b"low " * 1_000_000, threads=int(threads))
with open("/proc/self/status") as status:
    before = next(int(line.split()[1]) << 10 for line in status if line.startswith("VmSize"))
if room != "any":
    most = before + (int(room) << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
print(train([Path(path)], threads=int(threads), max_memory=None if limit == "none" else limit).fingerprint)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on memory")
@pytest.mark.parametrize("threads", [1, 3])
def test_a_limit_of_memory_holds_where_there_is_no_more(threads: int, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    with path.open("wb") as file:
        letters = bytes.maketrans(b"0123456789", b"ghijklmnop")
        for n in range(800_000):
            file.write((b" %06x" % (n * 40503 % 2**24)).translate(letters))

    def trained(limit: str, room: str) -> subprocess.CompletedProcess[str]:
        # An arena of the allocator for each thread would be 64 MiB of addresses that nothing uses.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MALLOC_ARENA_MAX": "1"}
        command = [sys.executable, "-c", WITHIN, str(path), str(threads), limit, room]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    free = trained("none", "any")
    assert free.returncode == 0, free.stderr
    # Stacks of threads, batches of text and the room that keeps tables aligned come on top of the limit.
    limited = trained("64M", "96")
    assert limited.returncode == 0, limited.stderr
    assert limited.stdout == free.stdout
    assert trained("none", "96").returncode != 0, "otherwise this text shows nothing"
