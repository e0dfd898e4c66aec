"""Random pipelines for ``tokenizer.json``, of all that is read, and texts at which they differ."""

from __future__ import annotations

import json
import random
from typing import Any

from gptbpe import Tokenizer

Section = dict[str, Any]

# Between them lie all ways in which normal forms, cases, classes and splits can differ.
CHARACTERS = [
    *"aAeEisS tTzZ01923.,:-_!'\"/(",
    *"  \n\t\r",
    *"éÉßſİıΣςǅﬁﬀ²³¼½Ⅷ①٣५𝟙一龥あア한글각Ⓐ",
    *"\u0301\u0323\u0328\u031b\u0345\u0344\u1100\u1161\u11a8\u0f71\u0f72\u0f73\u0f81\u09be\u09c7\u093c",
    *"\u00a0\u2028\u3000\u200d\u200c\u00ad\u0085\u00b7\u00a8\u2026\ufdfa\u1e9b\u212b\u2126\uac00\ufb1d",
    *"\U0001f642\U00011de0\U00016ff4\U0001d15e\U000e0101\u0378\u166d\u061d\u2e43",
]  # fmt: skip
WORDS = [
    "<|x|>",
    "the",
    " the",
    "ing",
    "Ab",
    "don't",
    "İb",
    "1234567",
    "  ",
    "\r\n",
    "éa",
    "x y",
    "...",
    "--",
]

REGEXES = [
    r"\p{L}+", r"\p{N}{1,3}", r"[0-9][0-9][0-9]", r"\s+(?!\S)|\s+", r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}", "[aeé]",  # noqa: E501
    r" ?[^\s\p{L}\p{N}]+[\r\n]*", "'s|'t", r"[^\S\n]", "the|ing", "[!-/:-@]", r"\p{Han}+", "a|b", "[Ġ ]",
]  # fmt: skip
BEHAVIORS = ["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"]


def text(choice: random.Random, most: int = 12) -> str:
    atoms = choice.choices([*CHARACTERS, *WORDS], k=choice.randint(0, most))
    return "".join(atoms)


def pattern(choice: random.Random) -> Section:
    if choice.random() < 0.4:
        return {"String": choice.choice([" ", "-", "...", "e", "the", "é", "  ", "(", "\n", "Ġ"])}
    return {"Regex": choice.choice(REGEXES)}


def normalizer(choice: random.Random, depth: int = 0) -> Section | None:
    kind = choice.choice(
        ["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Prepend", "Replace", "Replace", "Strip"]
        + ["Sequence"] * (2 - depth)
    )
    if kind == "Prepend":
        return {"type": kind, "prepend": choice.choice(["▁", " ", "a", "xy", "\u0301", "0"])}
    if kind == "Replace":
        return {
            "type": kind,
            "pattern": pattern(choice),
            "content": choice.choice(["", " ", "▁", "é", "e\u0301", "1"]),
        }
    if kind == "Strip":
        return {"type": kind, "strip_left": choice.random() < 0.5, "strip_right": choice.random() < 0.5}
    if kind == "Sequence":
        steps = [normalizer(choice, depth + 1) for _ in range(choice.randint(0, 3))]
        return {"type": kind, "normalizers": steps}
    return {"type": kind}


def split(choice: random.Random) -> Section:
    kind = choice.choice(["Split", "Split", "Split", "Digits", "Punctuation"])
    if kind == "Digits":
        return {"type": kind, "individual_digits": choice.random() < 0.5}
    if kind == "Punctuation":
        return {"type": kind, "behavior": choice.choice([b for b in BEHAVIORS if b != "Removed"])}
    behavior = choice.choices(BEHAVIORS, [6, 1, 2, 2, 3])[0]
    return {"type": kind, "pattern": pattern(choice), "behavior": behavior, "invert": choice.random() < 0.3}


def pre_tokenizer(choice: random.Random) -> Section:
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": choice.random() < 0.4,
        "trim_offsets": choice.random() < 0.5,
        "use_regex": choice.random() < 0.5,
    }
    before = [split(choice) for _ in range(choice.choice([0, 0, 1, 1, 2]))]
    after = [split(choice) for _ in range(choice.choice([0, 0, 0, 1, 2]))]
    steps = [*before, byte_level, *after]
    return byte_level if len(steps) == 1 else {"type": "Sequence", "pretokenizers": steps}


def post_processor(choice: random.Random, ids: dict[str, int]) -> Section | None:
    name, other = choice.sample(sorted(ids), 2)
    kind = choice.choice(
        [None, "ByteLevel", "TemplateProcessing", "TemplateProcessing", "Roberta", "Bert", "Sequence"]
    )
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": True,
        "trim_offsets": choice.random() < 0.5,
        "use_regex": True,
    }
    if kind is None:
        return None
    if kind == "ByteLevel":
        return byte_level
    if kind == "Sequence":
        inner = post_processor(choice, ids)
        while inner is None or inner["type"] == "Sequence":
            inner = post_processor(choice, ids)
        return {"type": kind, "processors": choice.choice([[byte_level, inner], [inner]])}
    if kind == "Roberta":
        flags = {"trim_offsets": choice.random() < 0.5, "add_prefix_space": choice.random() < 0.5}
        return {"type": "RobertaProcessing", "sep": [other, ids[other]], "cls": [name, ids[name]], **flags}
    if kind == "Bert":
        return {"type": "BertProcessing", "sep": [other, ids[other]], "cls": [name, ids[name]]}
    special = {"SpecialToken": {"id": name, "type_id": 0}}
    end = {"SpecialToken": {"id": other, "type_id": 0}}
    sequence = {"Sequence": {"id": "A", "type_id": 0}}
    single = [
        *choice.choice([[], [special], [special, end]]),
        sequence,
        *choice.choice([[], [end], [end, end]]),
    ]
    tokens = {token: {"id": token, "ids": [ids[token]], "tokens": [token]} for token in (name, other)}
    return {
        "type": kind,
        "single": single,
        "pair": [special, sequence, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": tokens,
    }


def base() -> Section:
    """Return a byte-level file with merges, without anything around the model."""
    corpus = (
        "the thing, then 1234 items: don't; " * 20 + "".join(CHARACTERS) * 5 + "é e\u0301 ▁the ▁a xy Âb" * 9
    )
    tok = Tokenizer.train(corpus.encode(), vocab_size=420, special_tokens=[], pattern=None)
    file: Section = json.loads(tok.to_bytes())
    del file["model"]["fingerprint"]
    file["decoder"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    return file


def random_file(choice: random.Random, base: Section) -> Section:
    """Return ``base`` with a random pipeline around its model."""
    file = json.loads(json.dumps(base))
    vocabulary = file["model"]["vocab"]
    contents = choice.sample(
        ["<|x|>", "<s>", "</s>", "The", "éé", "e\u0301", "x y", "Ab", "ing", "\u00a0z", "ﬁ"], 4
    )
    if choice.random() < 0.03:
        contents.append("Ã©")
    for content in contents:
        id = vocabulary.setdefault(content, len(vocabulary))
        special = choice.random() < 0.6
        flags = {
            "single_word": choice.random() < 0.2,
            "lstrip": choice.random() < 0.2,
            "rstrip": choice.random() < 0.2,
        }
        flags |= {"normalized": choice.random() < 0.4, "special": special}
        file["added_tokens"].append({"id": id, "content": content, **flags})
    file["added_tokens"].sort(key=lambda token: token["id"])
    if choice.random() < 0.7:
        file["normalizer"] = normalizer(choice)
    file["pre_tokenizer"] = pre_tokenizer(choice)
    file["post_processor"] = post_processor(choice, {content: vocabulary[content] for content in contents})
    file["model"]["ignore_merges"] = choice.random() < 0.3
    file["model"]["unk_token"] = choice.choice([None, "<s>"])
    file["model"]["fuse_unk"] = choice.random() < 0.3
    file["model"]["byte_fallback"] = choice.random() < 0.2
    file["model"]["dropout"] = choice.choice([None, None, 0.0])
    file["model"]["continuing_subword_prefix"] = choice.choice([None, ""])
    file["model"]["end_of_word_suffix"] = choice.choice([None, ""])
    return file
