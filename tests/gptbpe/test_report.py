"""The report on a vocabulary: its figures are those of encoding, and its picture is well-formed."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gptbpe import Tokenizer, extras, report
from gptbpe.errors import MissingExtraError, TextError
from gptbpe.visible import visible

TEXT = b"low low lower lowest newest widest " * 50


def test_figures_are_those_of_encoding(text: str, tmp_path: Path) -> None:
    tok = Tokenizer.train(text.encode(), vocab_size=320)
    path = tmp_path / "a.txt"
    path.write_text(text + "<|endoftext|>" + text, encoding="utf-8")
    (tmp_path / "b.jsonl").write_text(json.dumps({"text": "low \n"}) + "\n" + json.dumps({"text": "lower"}))
    measured = report.measure(tok, [path, tmp_path / "b.jsonl", b"low", "lower\n"])
    assert [row.name for row in measured.sources] == [str(path), str(tmp_path / "b.jsonl"), "2 texts"]
    ids = tok.encode(path.read_bytes(), allowed_special="all")
    first, second, third = measured.sources
    assert (first.bytes, first.tokens) == (path.stat().st_size, len(ids))
    assert first.single_bytes == sum(len(tok.token_bytes(id)) == 1 for id in ids)
    assert (second.bytes, second.tokens) == (10, tok.count("low \n") + tok.count("lower"))
    assert (third.bytes, third.tokens) == (9, tok.count("low") + tok.count("lower\n"))
    assert measured.total.tokens == sum(row.tokens for row in measured.sources)
    assert measured.all_uses.sum() == measured.total.tokens
    for row in measured.most_used(5):
        assert row.uses == sum(
            tok.encode(part, allowed_special="all").count(row.id)
            for part in (path.read_bytes(), b"low \n", b"lower", b"low", b"lower\n")
        )


def test_long_texts_are_measured_a_batch_at_a_time(tok: Tokenizer, text: str) -> None:
    long = text * (9_000_000 // len(text))
    done: list[tuple[str, int, int | None]] = []
    measured = report.measure(tok, {"a": long.encode(), "b": [long]}, progress=lambda *row: done.append(row))
    a, b = measured.sources
    assert (a.bytes, a.tokens) == (b.bytes, b.tokens) == (len(long.encode()), tok.count(long))
    assert done[-1] == ("measuring", len(long.encode()) + len(long), len(long.encode()) + len(long))
    assert len(done) > 2


def test_lists_of_tokens() -> None:
    tok = Tokenizer.train(TEXT, vocab_size=270, special_tokens=["<a>"])
    measured = report.measure(tok, TEXT)
    assert [len(row.token) for row in measured.longest(3)] == [7, 6, 5]
    assert measured.tokens == [tok.token_bytes(id) for id in range(256, 269)]
    counts = [row.count for row in measured.rarest(100)]
    assert counts == sorted(tok.merge_counts or [])
    assert measured.unused == sum(row.uses == 0 for row in measured.rarest(100)) > 0
    loaded = report.measure(Tokenizer.from_bytes(tok.to_bytes()), TEXT)
    assert loaded.counts is None
    uses = [row.uses for row in loaded.rarest(100)]
    assert uses == sorted(uses)
    assert loaded.to_dict()["by_rank"] | {"count": None} == measured.to_dict()["by_rank"] | {"count": None}


SUBJECTS = {
    "trained": lambda: (Tokenizer.train(TEXT, vocab_size=270), TEXT),
    "no merges": lambda: (Tokenizer.train(TEXT, vocab_size=257), TEXT),
    "one merge": lambda: (Tokenizer.train(TEXT, vocab_size=258), TEXT),
    "no text": lambda: (Tokenizer.get("gpt2"), b""),
    "no sources": lambda: (Tokenizer.get("gpt2"), []),
    "packaged": lambda: (Tokenizer.get("gpt2"), TEXT),
    "characters": lambda: (Tokenizer.characters("naïve 你好\n"), "naïve 你好\n"),
    "several patterns": lambda: (Tokenizer.train(TEXT, vocab_size=270, pattern=[r"\\d", r"\\w+"]), TEXT),
    "no pattern": lambda: (Tokenizer.train(TEXT, vocab_size=270, pattern=None), TEXT),
    "markup": lambda: (Tokenizer.train(b"<&>|`$\x00\x0b" * 50, vocab_size=262, pattern=None), b"<&>|`$" * 50),
    "many sources": lambda: (Tokenizer.get("gpt2"), {f"{'long' * 20}-{n}<&": b"low" * n for n in range(40)}),
    "long tokens": lambda: (Tokenizer.train(b"a" * 5000, vocab_size=268), b"a" * 5000),
}


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_form_is_written(subject: str, tmp_path: Path) -> None:
    tok, source = SUBJECTS[subject]()  # type: ignore[no-untyped-call]
    measured = report.measure(tok, source)
    measured.save(tmp_path / "report.svg")
    root = ElementTree.parse(tmp_path / "report.svg").getroot()
    words = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert f"A vocabulary of {tok.vocab_size:,} tokens" in words
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for element in root.iter():
        for point in element.attrib.get("points", "").split():
            x, y = map(float, point.split(","))
            assert -1 <= x <= width + 1
            assert -1 <= y <= height + 1
    assert (tmp_path / "report.svg").stat().st_size < 300_000
    measured.save(tmp_path / "report.md")
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {6}
    measured.save(tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_bytes())["fingerprint"] == tok.fingerprint


def test_a_png_is_drawn_with_matplotlib_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = report.measure(Tokenizer.train(TEXT, vocab_size=270), TEXT)
    path = tmp_path / "report.PNG"
    if "matplotlib" in sys.modules or report.importlib.util.find_spec("matplotlib"):
        measured.save(path)
        assert path.read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr(report.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=re.escape(extras.install("model") + ", or write .svg")):
        report.check_name(path)
    for name in ("report.pdf", "report", ".svg"):
        with pytest.raises(TextError, match=r"\.svg, \.png, \.md or \.json"):
            measured.save(tmp_path / name)


def test_tokens_are_visible() -> None:
    assert visible(b" low\n\t") == "·low↵→"
    assert visible(b"\xff\x00\xe2\x80\x8b") == "<FF><00><U+200B>"
    assert visible(b"a\nb", line_break="/") == "a/b"
