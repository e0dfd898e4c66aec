"""Added tokens exactly as Hugging Face's tokenizers matches and numbers them: random files, random texts.

With all special tokens allowed the ids are those of ``encode(text, add_special_tokens=False)``; with none
allowed, those of the same call under ``encode_special_tokens = True``.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gptbpe import Tokenizer
from gptbpe.errors import TokenizerFileError

tokenizers = pytest.importorskip("tokenizers")

CONTENTS = [
    "<a>", "<b>", "<a><b>", "a>", "<a", "a", "ab", "abc", "bc", " ", "  ", "   ", "\n", "\t ", "\r\n", "的",
    "中的", "\u200d", "_x", "<é>", "🦙", " x", "x ", "ing", "1", "\u3000", "\x85\x85", "é", "éé", "Ġa", "²²",
    "\u0301",
]  # fmt: skip
BESIDE = [
    "x",
    "a",
    "b",
    " ",
    "  ",
    "\n",
    "\t",
    "\u3000",
    "é",
    "的",
    "_",
    "-",
    "²",
    "\u200d",
    "\u0301",
    "1",
    ".",
    "🦙",
]
LISTED = [
    [{"content": "<a>"}, {"content": "<a>", "lstrip": True}],
    [{"content": "<a>", "special": False}, {"content": "<a>"}],
    [{"content": "<a>", "id": 7}, {"content": ""}, {"content": "<b>", "id": 7}],
    [{"content": "<a>", "id": 65}, {"content": "ab", "special": False}],
]


def added(content: str, id: int = 0, **options: bool) -> dict[str, Any]:
    special = options.get("special", True)
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": not special}
    return {"id": id, "content": content, **plain, "special": special, **options}


def file_of(
    tokens: list[dict[str, Any]], more: dict[str, int], use_regex: bool = True, ignore_merges: bool = False
) -> str:
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocab = {character: id for id, character in enumerate(alphabet)}
    merges = [
        ["a", "b"],
        ["ab", "c"],
        ["b", "c"],
        ["i", "n"],
        ["in", "g"],
        ["Ġ", "a"],
        ["Ġ", "Ġ"],
        ["a", "a"],
    ]
    for left, right in merges:
        vocab[left + right] = len(vocab)
    model = {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": ignore_merges,
        "vocab": vocab | more, "merges": merges,
    }  # fmt: skip
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": use_regex,
    }
    parts = {
        "truncation": None,
        "padding": None,
        "normalizer": None,
        "post_processor": None,
        "decoder": byte_level,
    }
    return json.dumps(
        {"version": "1.0", **parts, "added_tokens": tokens, "pre_tokenizer": byte_level, "model": model}
    )


def random_file(rng: random.Random) -> str:
    contents = rng.sample(CONTENTS, rng.randint(0, 7))
    contents += [rng.choice(contents) for _ in range(rng.randint(-5, 1)) if contents]
    likely = rng.choice([0.1, 0.5])
    tokens = [
        added(
            content,
            rng.choice([rng.randrange(300), 264 + number]),
            special=rng.random() < 0.5,
            normalized=rng.random() < 0.5,
            single_word=rng.random() < likely,
            lstrip=rng.random() < likely,
            rstrip=rng.random() < likely,
        )
        for number, content in enumerate(contents)
    ]
    ignore_merges = rng.random() < 0.2
    known = [] if ignore_merges else [content for content in contents if rng.random() < 0.3]
    more = {
        content: 264 + number
        for number, content in enumerate(dict.fromkeys(known))
        if len(content.encode()) > 1 and content not in ("ab", "abc", "bc", "ing", "é")
    }
    return file_of(tokens, more, rng.random() < 0.7, ignore_merges)


def random_text(rng: random.Random, contents: list[str]) -> str:
    atoms = BESIDE + contents * 3
    return "".join(rng.choice(atoms) for _ in range(rng.randint(0, 24)))


def ids_of(theirs: Any, text: str, none_allowed: bool) -> tuple[list[int], list[int]] | None:
    """Their ids and where each begins, or nothing where they panic."""
    theirs.encode_special_tokens = none_allowed
    try:
        encoding = theirs.encode(text, add_special_tokens=False)
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        return None
    return encoding.ids, [start for start, _ in encoding.offsets]


def compare(seed: int, count: int, texts: int) -> tuple[int, int]:
    """Compare so many random files; return how many of them load, and how many strings were equal."""
    rng = random.Random(seed)
    loaded = equal = 0
    for _ in range(count):
        data = random_file(rng)
        theirs = tokenizers.Tokenizer.from_str(data)
        try:
            ours = Tokenizer.from_bytes(data)
        except TokenizerFileError:
            continue
        loaded += 1
        again = Tokenizer.from_bytes(ours.to_bytes())
        assert again.to_bytes() == ours.to_bytes(), data
        assert again == ours, data
        saved = tokenizers.Tokenizer.from_str(ours.to_bytes().decode())
        contents = [token.content for token in ours.added_tokens]
        for _ in range(texts):
            text = random_text(rng, contents)
            for none_allowed in (False, True):
                expected = ids_of(theirs, text, none_allowed)
                allowed = () if none_allowed else "all"
                ids, starts = ours.encode_with_offsets(text, allowed_special=allowed, disallowed_special=())
                if expected is None:
                    continue  # a token inside of the white space that another took
                assert ids == expected[0], (data, text, none_allowed)
                if starts == sorted(expected[1]):
                    equal += 1
                else:
                    assert any(token.rstrip for token in ours.added_tokens), (data, text, starts, expected)
                assert ours.count(text, allowed_special=allowed, disallowed_special=()) == len(ids)
                assert again.encode(text, allowed_special=allowed, disallowed_special=()) == ids
                assert ids_of(saved, text, none_allowed) == expected, (data, text, none_allowed)
                if none_allowed:
                    assert ours.encode_ordinary(text) == ids
                    assert ours.encode_to_numpy(text, disallowed_special=()).tolist() == ids
                    assert ours.encode_batch([text], disallowed_special=()) == [ids]
    return loaded, equal


@pytest.mark.parametrize("seed", range(4))
def test_random_files(seed: int) -> None:
    loaded, equal = compare(seed, count=120, texts=12)
    assert loaded > 60
    assert equal > 12 * loaded


@pytest.mark.parametrize("tokens", LISTED)
def test_what_is_given_twice_or_with_other_ids(tokens: list[dict[str, Any]]) -> None:
    data = file_of([added(**token) for token in tokens], {})
    theirs = tokenizers.Tokenizer.from_str(data)
    ours = Tokenizer.from_bytes(data)
    decoder = theirs.get_added_tokens_decoder()
    assert {token.id: token.content for token in ours.added_tokens} == {
        id: token.content for id, token in decoder.items()
    }
    text = "x <a><b>ab <a>"
    expected = ids_of(theirs, text, none_allowed=False)
    assert expected is not None
    assert ours.encode(text, allowed_special="all") == expected[0]


def test_every_token_of_deepseek(shared_file: Callable[[str], Path]) -> None:
    """A file with 53 tokens that are always matched and 1,230 special ones."""
    path = shared_file("vocabs/deepseek_tokenizer.json")
    theirs, ours = tokenizers.Tokenizer.from_file(str(path)), Tokenizer.load(path)
    always = [token.content for token in ours.added_tokens if not token.special]
    special = list(ours.special_tokens)
    assert (len(always), len(special)) == (53, 1230)
    text = " hi ".join(always) + "\n".join(special) + " 你好 ".join(always[::-1]) + "x".join(special)
    for none_allowed in (False, True):
        expected = ids_of(theirs, text, none_allowed)
        assert expected is not None
        allowed = () if none_allowed else "all"
        assert ours.encode(text, allowed_special=allowed, disallowed_special=()) == expected[0]
    saved, given = json.loads(ours.to_bytes()), json.loads(path.read_text())
    assert saved["added_tokens"] == given["added_tokens"]


def test_of_equal_merges_the_last_counts() -> None:
    document = json.loads(file_of([], {}))
    document["model"]["merges"] += [["a", "b"], ["b", "c"], ["a", "b"]]
    data = json.dumps(document)
    theirs, ours = tokenizers.Tokenizer.from_str(data), Tokenizer.from_bytes(data)
    for text in ["abc", "aabc", "ab", "bcbc", " abc"]:
        assert ours.encode(text) == theirs.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("option", ["single_word", "lstrip", "rstrip"])
def test_the_characters_beside_a_token(option: str) -> None:
    """Every code point beside it: what is part of a word and what is white space."""
    data = file_of([added("<a>", special=False, **{option: True})], {}, use_regex=False)
    theirs, ours = tokenizers.Tokenizer.from_str(data), Tokenizer.from_bytes(data)
    characters = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF]
    for first in range(0, len(characters), 128):
        some = characters[first : first + 128]
        text = "".join(f"-{character}<a>{character}-" for character in some)
        assert ours.encode(text) == theirs.encode(text, add_special_tokens=False).ids, hex(ord(some[0]))


def test_a_part_of_the_special_tokens() -> None:
    """What is not allowed is as if it were not there, but it hides what is always matched inside of it."""
    tokens = [added("<a>"), added("<b>"), added("a>", special=False, normalized=False)]
    data = file_of(tokens, {})
    ours = Tokenizer.from_bytes(data)
    for allowed in ([], ["<a>"], ["<b>"], ["<a>", "<b>"]):
        kept = [token for token in tokens if not token["special"] or token["content"] in allowed]
        ids = {token.content: token.id for token in ours.added_tokens}
        theirs = tokenizers.Tokenizer.from_str(
            file_of(kept, {token["content"]: ids[token["content"]] for token in kept})
        )
        text = "x<b> a> <b"
        encoded = ours.encode(text, allowed_special=allowed, disallowed_special=())
        assert encoded == theirs.encode(text, add_special_tokens=False).ids
    hidden = ours.encode("<a>", allowed_special=["<b>"], disallowed_special=())
    assert (
        hidden
        == ours.encode_ordinary("<a>")
        == ours.encode_ordinary("<") + ours.encode_ordinary("a") + [ours.token_id(">")]
    )


if __name__ == "__main__":
    first, number = int(sys.argv[1]), int(sys.argv[2])
    print(*(compare(seed, count=500, texts=20) for seed in range(first, first + number)))
