"""Training: what is learned, from what, and that nothing but the text decides it."""

from __future__ import annotations

import array
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptbpe import Tokenizer
from gptbpe.errors import EarlyStopWarning, PatternError, TextError, TrainingError
from gptbpe.training import ExtendOptions

WORDS = st.text(alphabet="abcd ", min_size=1, max_size=200)


def slow_merges(text: str, merges: int) -> list[tuple[int, int]]:
    """Learn merges the obvious way, for text whose pre-tokens are ``word`` and `` word``."""
    import re
    from collections import Counter

    words = Counter(re.findall(r" ?[a-z]+| +", text))
    symbols = {word: list(word.encode()) for word in words}
    learned: list[tuple[int, int]] = []
    for step in range(merges):
        counts: Counter[tuple[int, int]] = Counter()
        for word, times in words.items():
            for pair in zip(symbols[word], symbols[word][1:], strict=False):
                counts[pair] += times
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        learned.append(best)
        for word, parts in symbols.items():
            merged: list[int] = []
            while parts:
                if tuple(parts[:2]) == best:
                    merged.append(256 + step)
                    parts = parts[2:]
                else:
                    merged.append(parts[0])
                    parts = parts[1:]
            symbols[word] = merged
    return learned


@given(text=WORDS)
def test_merges_are_those_of_the_obvious_way(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EarlyStopWarning)
        tok = Tokenizer.train(text.encode(), vocab_size=277, pattern=r" ?[a-z]+| +")
    assert tok.merges == slow_merges(text, 20)


@given(data=st.data())
def test_pieces_threads_and_order_do_not_matter(data: st.DataObject, text: str) -> None:
    whole = text * 3
    expected = Tokenizer.train(whole.encode(), vocab_size=300, threads=1)
    documents = [whole[: len(whole) // 3], whole[len(whole) // 3 :]]
    shuffled = data.draw(st.permutations(documents))
    threads = data.draw(st.sampled_from([1, 2, 7]))
    assert Tokenizer.train_from_texts(shuffled, 300, threads=threads) == Tokenizer.train_from_texts(
        documents, 300
    )
    assert Tokenizer.train(whole.encode(), vocab_size=300, threads=threads) == expected


@pytest.mark.parametrize(
    "pattern", ["gpt2", "cl100k", "o200k", "llama3", "qwen2", "nanochat", "deepseek", r"\w+|\W+"]
)
def test_a_long_file_is_counted_in_pieces_as_in_one(pattern: str, tmp_path: Path) -> None:
    from gptbpe._core import WordCounter

    random.seed(1)
    words = [
        "low",
        "lower",
        "naïve",
        "你好，",
        "世界。\n",
        "  \n\n",
        "12345",
        "it's",
        "\t",
        "x<|end",
        "<|end|>",
        "🙂",
        "\xa0",
    ]
    text = " ".join(random.choice(words) for _ in range(40_000)).encode()
    whole = WordCounter(pattern, ["<|end|>"], 1)
    whole.push(text)
    whole.end_file()
    pieces = WordCounter(pattern, ["<|end|>"], 3)
    for _ in range(60):  # beyond what is gathered before counting
        at = 0
        while at < len(text):
            size = random.choice([1, 5, 1000, 100_000])
            pieces.push(text[at : at + size])
            at += size
        pieces.end_file()
    assert pieces.counts() == [(word, 60 * count) for word, count in whole.counts()]


def test_special_tokens_split_documents_and_are_not_learned() -> None:
    tok = Tokenizer.train(b"ab<|endoftext|>ab<|endoftext|>ab" * 50, vocab_size=258)
    assert tok.merges == [(97, 98)]
    assert tok.special_tokens == {"<|endoftext|>": 257}
    both = Tokenizer.train(b"ab<x>ab<y>ab" * 50, vocab_size=259, special_tokens=["<x>", "<y>"])
    assert both.merges == [(97, 98)]


def test_what_is_a_file_and_what_is_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "input.txt"
    path.write_bytes(b"low low lower")
    expected = Tokenizer.train(b"low low lower", vocab_size=259)
    assert expected.merges == [(108, 111), (256, 119)]
    monkeypatch.chdir(tmp_path)
    for source in (path, str(path), "input.txt", [path], ["input.txt"], iter([path]), (b"low low lower",)):
        assert Tokenizer.train(source, vocab_size=259) == expected
    for buffer in (bytearray(b"low low lower"), memoryview(b"low low lower")):
        assert Tokenizer.train(buffer, vocab_size=259) == expected
    assert Tokenizer.train("low low\nlower\n", vocab_size=259) == Tokenizer.train(
        b"low low\nlower\n", vocab_size=259
    )
    assert Tokenizer.train_from_texts(["low low lower"], 259) == expected
    assert Tokenizer.train_from_texts("low low lower", 259) == expected
    with pytest.raises(FileNotFoundError, match=r"train_from_texts") as caught:
        Tokenizer.train("low low lower", vocab_size=259)
    assert caught.value.filename == "low low lower"
    with pytest.raises(FileNotFoundError):
        Tokenizer.train(["x" * 100_000], vocab_size=259)
    with pytest.raises(FileNotFoundError):
        Tokenizer.train("nul\0byte", vocab_size=259)
    with pytest.raises(FileNotFoundError, match=r"missing\.txt"):
        Tokenizer.train([path, tmp_path / "missing.txt"], vocab_size=259)
    with pytest.raises(IsADirectoryError):
        Tokenizer.train(tmp_path, vocab_size=259)
    with pytest.raises(TextError, match="train_from_counts"):
        Tokenizer.train({"low": 1}, vocab_size=259)
    with pytest.raises(TextError, match="files go to"):
        Tokenizer.train_from_texts([path], 259)
    with pytest.raises(TextError):
        Tokenizer.train([5], vocab_size=259)


def test_a_mixture_of_names_and_texts_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_bytes(b"low")
    for call in (Tokenizer.train, Tokenizer.get("gpt2").shrink(300).extend):
        with pytest.raises(FileNotFoundError, match="1 of the strings name files and 2 do not") as caught:
            call(["low low", "a", "lower", "new\nline", b"bytes"], 259)
        assert caught.value.filename == "low low"
    with pytest.raises(FileNotFoundError, match="train_from_texts"):
        Tokenizer.train(["low low", "a"], 259)
    with pytest.raises(FileNotFoundError, match="a str without a line break"):
        Tokenizer.train(["low low", "lower"], 259)
    with pytest.raises(FileNotFoundError, match=r"Tokenizer\.characters\(text\.encode\(\)\)"):
        Tokenizer.characters("hello")
    assert Tokenizer.characters(b"hello").vocab_size == 5


def test_ids_of_special_tokens_are_not_dropped() -> None:
    with pytest.raises(TrainingError, match="with_special_tokens"):
        Tokenizer.train(b"low low", 258, special_tokens={"<s>": 0})  # type: ignore[arg-type]


def test_from_counts() -> None:
    expected = Tokenizer.train(b"low low low lower", vocab_size=260)
    counts: dict[str | bytes, int] = {"low": 1, b" low": 2, " lower": 1}
    assert Tokenizer.train_from_counts(counts, 260) == expected
    pairs = [("low", 1), (" low", 1), (" low", 1), (" lower", 1), ("never", 0)]
    assert Tokenizer.train_from_counts(pairs, 260) == expected
    assert Tokenizer.train_from_counts({"ab": 2**63, "cd": 2**63 - 1}, 258).merges == [(97, 98)]
    with pytest.raises(TrainingError, match="64 bits"):
        Tokenizer.train_from_counts([("ab", 2**63), ("ab", 2**63)], 258)
    with pytest.raises(TrainingError, match="-1"):
        Tokenizer.train_from_counts({"ab": -1}, 258)
    with pytest.raises(TrainingError):
        Tokenizer.train_from_counts({"ab": 1.5}, 258)


def test_pair_counts_beyond_64_bits_are_refused_or_exact() -> None:
    counts = {"aba": 2**63, "ab": 2**63, "cd": 5}
    with pytest.raises(TrainingError, match="64 bits"):
        Tokenizer.train_from_counts(counts, 259)


@pytest.mark.parametrize("size", [-1, 0, 10, 256])
def test_a_vocabulary_too_small(size: int) -> None:
    with pytest.raises(TrainingError, match="at least 257"):
        Tokenizer.train(b"low low", vocab_size=size)


def test_the_smallest_vocabulary() -> None:
    tok = Tokenizer.train(b"low low", vocab_size=257)
    assert tok.merges == []
    assert tok.encode("low") == [108, 111, 119]


def test_too_large_a_vocabulary_ends_early_with_a_warning() -> None:
    with pytest.warns(EarlyStopWarning, match=r"stopped at 260 of 2097151 tokens: no pair is left"):
        tok = Tokenizer.train(b"low low", vocab_size=2**21 - 1)
    assert tok.vocab_size == 260


@pytest.mark.parametrize("size", [2**21, 2**31, 2**40])
def test_a_vocabulary_beyond_the_limit_is_refused_before_any_work(size: int) -> None:
    def no_text() -> Iterator[bytes]:
        raise AssertionError("read before the size was looked at")
        yield b""

    with pytest.raises(TrainingError, match="too large; a vocabulary has at most 2,097,151 ids"):
        Tokenizer.train(no_text(), vocab_size=size)
    with pytest.raises(TrainingError, match="too large"):
        Tokenizer.train_from_counts({"low": 1}, size)
    with pytest.raises(TrainingError, match="too large"):
        Tokenizer.train(b"low low", vocab_size=258).extend(no_text(), size)


@pytest.mark.slow
def test_training_ends_where_a_vocabulary_can_hold_no_more() -> None:
    # Tokens of 2, 4, … 2^24 letters, the next of which would make 64 MiB of tokens together.
    text = b"a" * (2**25 + 100)
    with pytest.warns(EarlyStopWarning, match=r"stopped at \d+ of 400 tokens: .*limit their length"):
        tok = Tokenizer.train(text, vocab_size=400)
    assert len(tok.token_bytes(tok.vocab_size - 2)) <= 2**24
    assert Tokenizer.from_bytes(tok.to_bytes()) == tok
    assert tok.decode_bytes(tok.encode(text[:1000])) == text[:1000]
    limited = Tokenizer.train(text, vocab_size=275, max_token_bytes=2**16)
    assert limited.vocab_size == 275


def test_merge_counts_are_those_of_learning(text: str, tmp_path: Path) -> None:
    tok = Tokenizer.train(b"low low lower", vocab_size=259)
    assert tok.merge_counts == [3, 3]
    assert tok.shrink(258).merge_counts == [3]
    assert tok.with_special_tokens(["<a>"]).merge_counts == [3, 3]
    assert tok.extend(b"low low lower", 260).merge_counts == [3, 3, 2]
    assert Tokenizer.from_bytes(tok.to_bytes()).merge_counts is None
    assert Tokenizer.characters(b"low").merge_counts is None
    counts = Tokenizer.train(text.encode(), vocab_size=320).merge_counts
    assert counts is not None
    assert counts == sorted(counts, reverse=True)


def test_empty_text() -> None:
    with pytest.warns(EarlyStopWarning):
        assert Tokenizer.train(b"", vocab_size=300).vocab_size == 257
    with pytest.warns(EarlyStopWarning):
        assert Tokenizer.train([], vocab_size=300).vocab_size == 257


def test_tie_breaks() -> None:
    text = b"zy ab zy ab"
    merge = lambda rule: Tokenizer.train(text, 258, pattern=r"\w+|\s", tie_break=rule).merges[0]  # noqa: E731
    assert merge("smallest-ids") == (97, 98)
    assert merge("bytes") == (122, 121)
    assert merge("first-seen") == (122, 121)
    assert merge("huggingface") == (97, 98)
    with pytest.raises(TrainingError, match="expected smallest-ids"):
        Tokenizer.train(text, 258, tie_break="coin")


def test_min_count_and_max_token_bytes() -> None:
    with pytest.warns(EarlyStopWarning):
        tok = Tokenizer.train(b"low low lower", vocab_size=300, min_count=2)
    assert tok.merges == [(108, 111), (256, 119)] or all(
        len(tok.token_bytes(id)) for id in range(256, tok.vocab_size)
    )
    with pytest.warns(EarlyStopWarning):
        short = Tokenizer.train(b"lower lower lower", vocab_size=300, max_token_bytes=2)
    assert max(len(short.token_bytes(id)) for id in range(256, short.vocab_size - 1)) == 2


def test_overlapping_pairs() -> None:
    # Five letters are four windows; they merge from the left, and then (256, 97) is the smaller of two pairs.
    tok = Tokenizer.train(b"aaaaa", vocab_size=259, pattern=None)
    assert tok.merges == [(97, 97), (256, 97)]


def test_shrink_is_training_with_less(text: str) -> None:
    large = Tokenizer.train(text.encode(), vocab_size=320)
    for size in (257, 258, 300, 320):
        assert large.shrink(size) == Tokenizer.train(text.encode(), vocab_size=size)
    for size in (0, 256, 321):
        with pytest.raises(ValueError, match=str(size)):
            large.shrink(size)


def test_extend_is_training_for_longer(text: str) -> None:
    small = Tokenizer.train(text.encode(), vocab_size=290)
    assert small.extend(text.encode(), 320) == Tokenizer.train(text.encode(), vocab_size=320)
    assert small.extend(text.encode(), 290) == small
    other = small.extend(b"xyzzy xyzzy", 292)
    assert other.merges[: len(small.merges)] == small.merges
    assert other.special_tokens == {"<|endoftext|>": 291}
    with pytest.raises(TrainingError, match="shrink"):
        small.extend(text.encode(), 280)
    with pytest.raises(TrainingError, match="ids of its own"):
        Tokenizer.get("gpt2").extend(text.encode(), 60_000)
    with pytest.raises(TrainingError, match="character"):
        Tokenizer.characters(text.encode()).extend(text.encode(), 400)


def test_extend_takes_the_options_of_train(text: str) -> None:
    once, often = text.encode(), b"xyzzy==plugh==xyzzy"
    base = Tokenizer.train(once, 290)
    options: ExtendOptions = {"separator": "==", "max_memory": "1M", "threads": 2}
    weighted = base.extend([once, often], 320, weights=[1, 400], **options)
    assert weighted == base.extend([once, *[often] * 400], 320, separator="==")
    assert weighted != base.extend([once, often], 320)
    with pytest.raises(TrainingError, match="found 1 weight"):
        base.extend([once, often], 320, weights=[1])
    with pytest.raises(TrainingError, match="max_memory"):
        base.extend([once, often], 320, max_memory="much")


@pytest.mark.parametrize("pattern", ["no_such_name", "(", r"(a)\1", r"(?<=a)b", [r"\w+", "("], 5])
def test_impossible_patterns(pattern: object) -> None:
    with pytest.raises(PatternError):
        Tokenizer.train(b"low", 258, pattern=pattern)


def test_patterns_are_named_and_kept() -> None:
    assert Tokenizer.train(b"low low", 258, pattern="gpt2").pattern == "gpt2"
    assert Tokenizer.train(b"low low", 258, pattern=r"\w+|\W").pattern == r"\w+|\W"
    assert Tokenizer.train(b"low low", 258, pattern=[r"\d", r"\w+"]).pattern == (r"\d", r"\w+")
    none = Tokenizer.train(b"low low", 258, pattern=None)
    assert none.pattern is None
    assert none.regexes == ()


def test_progress_is_told(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"low lower lowest " * 1000)
    told: list[tuple[str, int, int | None]] = []
    Tokenizer.train([path], 262, progress=lambda *row: told.append(row))
    assert told[0] == ("counting", path.stat().st_size, path.stat().st_size)
    assert told[-1] == ("merging", 5, 5)


def test_progress_is_told_of_all_sources(tmp_path: Path) -> None:
    zipped, fifo = tmp_path / "a.txt.gz", tmp_path / "pipe"
    zipped.write_bytes(gzip.compress(b"low lower lowest " * 1000))
    large = b"newer newest " * 2_000_000
    told: list[tuple[str, int, int | None]] = []
    Tokenizer.train([zipped, large, "two\nlines"], 262, progress=lambda *row: told.append(row))
    counting = [row for row in told if row[0] == "counting"]
    total = zipped.stat().st_size + len(large) + 9
    assert {row[2] for row in counting} == {total}
    done = [row[1] for row in counting]
    assert done == sorted(done)
    assert done[-1] == total
    assert len(done) > 5, "within a long text, too"

    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_bytes, args=[b"low lower lowest"])
    writer.start()
    told.clear()
    Tokenizer.train([zipped, fifo], 262, progress=lambda *row: told.append(row))
    writer.join()
    assert {row[2] for row in told if row[0] == "counting"} == {None}, "nobody knows the length of a pipe"


def test_a_signal_is_heard_within_one_long_text() -> None:
    from gptbpe._core import WordCounter

    class Heard(Exception):  # noqa: N818
        pass

    def hear(*_: object) -> None:
        raise Heard

    text = b"low lower lowest " * 8_000_000
    words = WordCounter("cl100k", [], 1)
    previous = signal.signal(signal.SIGALRM, hear)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        with pytest.raises(Heard):
            words.push(text)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert sum(count for _, count in words.counts()) < 24_000_000, "it was counted to the end"


def test_an_error_in_progress_ends_training() -> None:
    def fail(phase: str, done: int, total: int | None) -> None:
        if phase == "merging":
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        Tokenizer.train(b"low lower lowest", 262, progress=fail)


@pytest.mark.parametrize("after", [0.3, 1.0], ids=["while counting or laying out", "while merging"])
def test_ctrl_c_is_heard(after: float) -> None:
    dice = random.Random(1)
    text = b" ".join(bytes(dice.choices(b"abcdefghij", k=12)) for _ in range(400_000))
    sent: list[float] = []
    began = time.process_time()

    def interrupt() -> None:
        # The moment is counted in work done, so that it is the same on a busy machine.
        while time.process_time() < began + after:
            time.sleep(0.005)
        sent.append(time.process_time())
        signal.raise_signal(signal.SIGINT)

    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=interrupt)
    ended = []
    try:
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            ended.append(Tokenizer.train(text, 2_000_000))
        assert time.process_time() - sent[0] < 3.0  # 0.2 s
    finally:
        signal.signal(signal.SIGINT, previous)
        thread.join()
    assert not ended


@pytest.mark.parametrize("wrong", [[5], [b"a", None], [array.array("I", [5])], [3.5]])
def test_characters_of_what_is_no_text(wrong: list[object]) -> None:
    with pytest.raises(TextError, match="text must be str, bytes or a buffer of bytes, found"):
        Tokenizer.characters(wrong)


@pytest.mark.parametrize("option", [{"min_count": -1}, {"max_token_bytes": -1}, {"min_count": 1 << 64}])
def test_options_are_checked_before_any_work(option: dict[str, int]) -> None:
    def not_called(*_: object) -> None:
        raise AssertionError("it began to count")

    with pytest.raises(TrainingError, match=f"{next(iter(option))}=.* is out of range"):
        Tokenizer.train(b"low lower", 300, progress=not_called, **option)


def test_characters_of_several_sources(tmp_path: Path) -> None:
    path = tmp_path / "b.txt"
    path.write_text("ba<|endoftext|>", encoding="utf-8")
    tok = Tokenizer.characters([path, b"cab"])
    assert [tok.token_bytes(id) for id in range(4)] == [b"a", b"b", b"c", b"<|endoftext|>"]
    with pytest.raises(TextError, match="not UTF-8"):
        Tokenizer.characters(b"ab\xff")
    with pytest.raises(TrainingError, match="empty"):
        Tokenizer.characters(b"")


def test_the_seed_of_pythons_hashes_and_the_order_of_files_change_nothing(tmp_path: Path) -> None:
    words = [bytes([97 + a, 97 + b]) for a in range(8) for b in range(8)]  # all pairs are ties
    for number in range(8):
        (tmp_path / f"{number}.txt").write_bytes(b" ".join(words[number * 8 : number * 8 + 8]))
    script = """
import sys
from gptbpe import Tokenizer
print(Tokenizer.train(sys.argv[1:], 300, special_tokens=["<a>", "<b>"]).fingerprint)
"""
    names = sorted(tmp_path.glob("*.txt"))
    found = set()
    for seed, order in (("0", names), ("1", names[::-1]), ("12345", names[3:] + names[:3])):
        done = subprocess.run(
            [sys.executable, "-c", script, *order],
            capture_output=True, text=True, check=True, env=os.environ | {"PYTHONHASHSEED": seed},
        )  # fmt: skip
        found.add(done.stdout)
    assert len(found) == 1


def test_files_of_other_kinds(tmp_path: Path) -> None:
    documents = ["low low\n", "lower naïve"]
    plain = tmp_path / "a.txt"
    plain.write_text("<|endoftext|>".join(documents), encoding="utf-8")
    lines = tmp_path / "a.jsonl"
    lines.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents), encoding="utf-8")
    zipped = tmp_path / "a.txt.gz"
    zipped.write_bytes(gzip.compress(plain.read_bytes()))
    expected = Tokenizer.train(plain, 262)
    assert Tokenizer.train(zipped, 262) == expected
    assert Tokenizer.train(lines, 262) == expected
    assert Tokenizer.characters([zipped]) == Tokenizer.characters([lines])
    zipped.write_bytes(zipped.read_bytes()[:-9])
    with pytest.raises(TextError, match=r"a\.txt\.gz"):
        Tokenizer.train(zipped, 262)


@pytest.mark.parametrize(
    "hostile",
    [b"a" * 1_000_000, b" " * 1_000_000, b"\0" * 1_000_000, b"\xff" * 300_000, b"ab" * 400_000],
    ids=["a", "spaces", "NULs", "0xFF", "abab"],
)
@pytest.mark.parametrize("pattern", ["cl100k", None])
@pytest.mark.filterwarnings("ignore::gptbpe.errors.EarlyStopWarning")
def test_runs_of_a_million_are_learned_in_linear_time(hostile: bytes, pattern: str | None) -> None:
    began = time.monotonic()
    tok = Tokenizer.train(hostile, 300, pattern=pattern)
    assert time.monotonic() - began < 20  # 0.1 s on an idle machine; what is quadratic takes minutes
    assert tok.decode_bytes(tok.encode_to_numpy(hostile)) == hostile
