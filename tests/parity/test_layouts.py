"""The layouts that models publish: each has the ids of ``tokenizers``, or is refused by name.

``docs/which-tokenizers.md`` is what :func:`page` makes of the outcome; ``python tests/parity/test_layouts.py``
writes it.
"""

# ruff: noqa: E501 - the page is a table, and the path comes first

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pipelines
import pytest
from layouts import LAYOUTS, Layout

from gptbpe import Tokenizer
from gptbpe.errors import TokenizerError

tokenizers = pytest.importorskip("tokenizers")
pytest.importorskip("transformers")

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "which-tokenizers.md"
NAMES = [layout.name for layout in LAYOUTS]

SENTENCES = [
    "It was the best of times, it was the worst of times; in 1859 it was 12345678 pages.\n\n  x = 10\r\n",
    "The quick brown fox can't jump: he'll say \"I'D RATHER NOT\", won't he?  \t Yes…\n",
    "Zażółć gęślą jaźń. Ça coûte 1 234,50 €; naïve Ångström, Straße, İstanbul, ﬁne ½ ² ③.\n",
    "Всё это — Йод, ёлка и й. Ελληνικά: ΣΊΣΥΦΟΣ σίσυφος. עברית: שָׁלוֹם. العربية: السَّلام، ٣٤٥٦.\n",
    "你好，世界！一二三。日本語のテキスト、ガギグ カ\u3099キ\u3099。한국어 각 \u1100\u1161\u11a8 문장입니다.\n",
    "हिन्दी में वाक्य। ภาษาไทยไม่มีช่องว่าง ๑๒๓ বাংলা ক\u09bc கொ \u0f71\u0f73 ការ\n",
    "e\u0301 a\u0323\u0302 \u0344 \u1e9b\u0323 \u212b \ufb1d \ufdfa \U0001d15e \u2126\u0301 \u00a0\u2003\u3000\u2028 \u200d\u200c\u00ad",
    "🙂👩\u200d👩\u200d👧\u200d👦🇩🇪 \U0001f44d\U0001f3fd <|endoftext|><|im_start|>user <s> [CLS] <think> <｜User｜>",
    "def f(x):\n        return {'a': [1, 22, 333, 4444], \"b\": -1.5e-10}  # ok\n\n\n\t\tif x != y: pass",
    "     " * 20 + "\n" * 30 + "a" * 300 + "1" * 100 + "." * 60 + "\u0301" * 40 + "가" * 50 + " " * 70,
]


class Row(NamedTuple):
    """What came of a layout."""

    layout: Layout
    refusal: str | None
    compared: int
    differences: int


def texts() -> list[str]:
    """Return sentences of many kinds, and random ones."""
    import random

    choice = random.Random(11)
    return SENTENCES + [pipelines.text(choice, 60) for _ in range(80)]


@functools.cache
def row(name: str) -> Row:
    layout = LAYOUTS[NAMES.index(name)]
    file = json.dumps(layout.make())
    theirs = tokenizers.Tokenizer.from_str(file)
    try:
        ours = Tokenizer.from_bytes(file, "the file")
    except TokenizerError as error:
        return Row(layout, str(error).removeprefix("the file "), 0, 0)
    saved = ours.to_bytes()
    assert Tokenizer.from_bytes(saved).to_bytes() == saved
    again = tokenizers.Tokenizer.from_str(saved.decode())
    compared = differences = 0
    for text in texts():
        for around in (False, True):
            expected = theirs.encode(text, add_special_tokens=around).ids
            ids = ours.encode(text, allowed_special="all", add_special_tokens=around)
            same = ids == expected == again.encode(text, add_special_tokens=around).ids
            compared += len(expected)
            differences += not same
    return Row(layout, None, compared, differences)


def page(rows: list[Row]) -> str:
    """Return the page that says which tokenizers load."""
    lines = [
        "# Which tokenizers load",
        "",
        "A `tokenizer.json` either loads and gives exactly the ids of Hugging Face's `tokenizers`, or it is refused with a",
        "message that names the unsupported part and says what to do. No file loads and then gives different ids.",
        "",
        "This page is written by `tests/parity/test_layouts.py`. For each of these models, the test puts the layout that the",
        "model publishes around a vocabulary of this package, and compares the ids of many texts with those of `tokenizers`,",
        "with and without `add_special_tokens`. A layout is everything but the vocabulary: normalizer, pre-tokenizer,",
        "post-processor, decoder, options of the model and kinds of added tokens.",
        "",
        "| Layout | Models | Loads | Ids compared | Differences |",
        "|---|---|---|---:|---:|",
    ]
    for layout, refusal, compared, differences in rows:
        if refusal is None:
            lines.append(f"| {layout.name} | {layout.models} | yes | {compared:,} | {differences} |")
        else:
            reason = refusal.replace("|", "\\|").replace("\n", " ")
            lines.append(f"| {layout.name} | {layout.models} | no: {reason} | | |")
    lines += [
        "",
        "What is supported in each section:",
        "",
        "| Section | Supported | Refused by name |",
        "|---|---|---|",
        "| `normalizer` | NFC, NFD, NFKC, NFKD, Lowercase, Prepend, Replace, Strip, Sequence | all others |",
        "| `pre_tokenizer` | ByteLevel with all its options, Split, Digits, Punctuation, Sequence, also after ByteLevel | "
        "what removes text (Whitespace, Removed), Metaspace, UnicodeScripts, all others |",
        "| `Split` | Isolated and Contiguous with any supported pattern, MergedWithPrevious and MergedWithNext with a set of "
        "single characters | constructs of Oniguruma without an equivalent here, look-arounds other than `\\s+(?!\\S)` |",
        "| `post_processor` | TemplateProcessing, RobertaProcessing, BertProcessing, ByteLevel, Sequence | templates with no "
        "sequence A or more than one |",
        "| `decoder` | ByteLevel, Sequence of it | all others |",
        "| `model` | BPE with all 256 bytes; `ignore_merges`; `unk_token`, `fuse_unk`, `byte_fallback`, which then change nothing | "
        "`dropout`, prefixes and suffixes of words, models other than BPE |",
        "| `truncation`, `padding` | null | anything else: call `truncate`, and pad where batches are made |",
        "",
        "A character tokenizer without merges loads too. `save` writes every section unchanged.",
        "",
    ]
    return "\n".join(lines)


@pytest.mark.parametrize("name", NAMES)
def test_a_layout_has_equal_ids_or_is_refused(name: str) -> None:
    found = row(name)
    assert found.differences == 0
    assert found.refusal or found.compared > 5_000


def test_the_page_says_what_came_of_it() -> None:
    assert PAGE.read_text(encoding="utf-8") == page([row(name) for name in NAMES])


@pytest.mark.parametrize("name", NAMES)
def test_a_layout_over_real_text(name: str, texts: Callable[[int], list[tuple[str, str]]]) -> None:
    layout = LAYOUTS[NAMES.index(name)]
    file = json.dumps(layout.make())
    theirs = tokenizers.Tokenizer.from_str(file)
    try:
        ours = Tokenizer.from_bytes(file)
    except TokenizerError:
        pytest.skip("refused by name")
    for place, text in texts(8_000):
        expected = theirs.encode(text, add_special_tokens=True).ids
        assert ours.encode(text, allowed_special="all", add_special_tokens=True) == expected, place


if __name__ == "__main__":
    PAGE.write_text(page([row(name) for name in NAMES]), encoding="utf-8")
