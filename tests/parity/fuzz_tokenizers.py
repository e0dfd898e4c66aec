"""Random ``tokenizer.json`` files and texts, on which gptbpe and Hugging Face's tokenizers must agree.

    python tests/parity/fuzz_tokenizers.py --files 10000 --texts 100 --seed 1

Every file is put together from the parts that the format has: normalizers, added tokens with all their flags,
pre-tokenizers, options of the model, post-processors. gptbpe may refuse a file, by name; where it loads one,
every id must be the same, and what it saves must mean the same to both. The tally of refusals shows how much
of the format is taken.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import pickle
import random
import re
import resource
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, BinaryIO

from gptbpe import Tokenizer
from gptbpe.errors import TokenizerError

Json = dict[str, Any]

WORDS = [
    "the", "and", "ing", "Hello", "world", "don't", "I'LL", "naïve", "É", "ﬁ", "ǆ", "İ", "ſ",
    "straße", "你好", "の", "ｶﾞ", "한국", "\u1112\u1161\u11ab", "सं", "กำ", "café", "cafe\u0301", "Ω",
    "\u2126", "K", "½", "²", "１２", "٣", "3", "42", "2024", "1000000", "x", "AbC", "a_b",
]  # fmt: skip
MARKS = [
    " ", " ", " ", "  ", "   ", "\n", "\r\n", "\n\n", "\t", "\u00a0", "\u3000", "\u2028", "\x85",
    "\u200b", "\u200d", "\ufeff", ".", ",", "!", "?!", "...", "…", "。", "-", "—", "_", "'", '"',
    "`", "(", ")", "[", "<", "|", ">", "$", "+", "^", "~", "=", "¡", "«", "§", "♥", "🦙",
    "👩\u200d👩", "\u0301", "\u0300", "\u0323", "\u093c", "\u1161", "\0", "\x1c", "▁", "Ġ",
]  # fmt: skip
CONTENTS = [
    "<s>", "</s>", "<pad>", "<|endoftext|>", "<|endof", "[CLS]", "[SEP]", "<mask>", " ", "  ",
    "   ", "\n", "\n\n", "the", "The", "ing", "é", "É", "e\u0301", "ﬁ", "你", "🦙", "ab", "abc",
    "bc", "1", "20", " x", "x ", "_", "'", "Ω", "<|", "|>", "한", "\t", "don't", "A", "a",
]  # fmt: skip
REGEXES = [
    r"\p{N}", r"\p{N}{1,3}", r"[0-9]", r"[0-9][0-9][0-9]", r"\d+", r"\s+", r"\s", r"[\r\n]+",
    r"\p{L}+", r"\w+", r" ?\p{L}+", r"[^\r\n\p{L}\p{N}]?\p{L}+", r"\s*[\r\n]+", r"\s+(?!\S)",
    r"[a-z]+|[A-Z]", r"'s|'t|'re", r"(?i:'s|'t|'ll)", r"\p{Han}+", r" ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"[^\w\s]", r".", r"\S+", r"\p{P}+", r"(?:a|b)+|c", r"x*y|z", r"\p{M}",
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]"
    r"|\s+(?!\S)|\s+",
    r" ?[^(\s|[.,!?…。，、।۔،])]+",
]  # fmt: skip
SPANS = [
    (0x80, 0x250), (0x300, 0x370), (0x900, 0xE00), (0x1100, 0x1200), (0x1E00, 0x2100), (0xAC00, 0xAE4C),
    (0xF900, 0xFB50), (0x10000, 0x20000),
]  # fmt: skip
BEHAVIORS = [
    "Isolated",
    "Isolated",
    "Isolated",
    "Removed",
    "MergedWithPrevious",
    "MergedWithNext",
    "Contiguous",
]
CHILD_SECONDS = 20
TEXT = ("the and ing Hello world don't naïve café 2024 x = 10\n" * 3 + " ".join(WORDS)).encode()


@cache
def vocabularies() -> list[tuple[dict[str, int], list[list[str]]]]:
    """Return small vocabularies in the byte alphabet with their merges."""
    found = []
    for size, pattern in ((256, "gpt2"), (330, "gpt2"), (360, "cl100k"), (350, None)):
        trained = Tokenizer.train(TEXT, vocab_size=size, pattern=pattern, special_tokens=())
        model = json.loads(trained.to_bytes())["model"]
        merges = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
        found.append((model["vocab"], merges))
    return found


@dataclass
class Make:
    """Makes files and texts; the same ones for the same seed."""

    rng: random.Random

    def some(self, values: Sequence[Any], least: int, most: int) -> list[Any]:
        return [self.rng.choice(values) for _ in range(self.rng.randint(least, most))]

    def flag(self, chance: float = 0.5) -> bool:
        return self.rng.random() < chance

    def text(self) -> str:
        parts = self.some(WORDS, 0, 12) + self.some(MARKS, 0, 12) + self.some(CONTENTS, 0, 6)
        if self.flag(0.2):
            parts += [chr(self.rng.randrange(*self.rng.choice(SPANS))) for _ in range(self.rng.randint(1, 6))]
        self.rng.shuffle(parts)
        glue = self.rng.choice(["", "", "", " ", "\n"])
        return glue.join(parts)

    def pattern(self) -> Json:
        if self.flag(0.35):
            return {"String": self.rng.choice(WORDS + MARKS + CONTENTS)}
        return {"Regex": self.rng.choice(REGEXES)}

    def normalizer(self, depth: int = 0) -> Json | None:
        if depth == 0 and self.flag(0.4):
            return None
        kinds = ["NFC", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Prepend", "Replace", "Strip"]
        kind = self.rng.choice(kinds + ["Sequence"] * (2 - depth))
        match kind:
            case "Sequence":
                steps = [self.normalizer(depth + 1) for _ in range(self.rng.randint(0, 3))]
                return {"type": kind, "normalizers": steps}
            case "Prepend":
                return {"type": kind, "prepend": self.rng.choice(["▁", " ", "x", "é"])}
            case "Replace":
                content = self.rng.choice(["", " ", "▁", "x", "the", "é", "\n"])
                return {"type": kind, "pattern": self.pattern(), "content": content}
            case "Strip":
                return {"type": kind, "strip_left": self.flag(), "strip_right": self.flag()}
        return {"type": kind}

    def step(self) -> Json:
        match self.rng.choice(
            ["Split", "Split", "Split", "Digits", "Punctuation", "Metaspace", "Whitespace"]
        ):
            case "Digits":
                return {"type": "Digits", "individual_digits": self.flag()}
            case "Punctuation":
                return {"type": "Punctuation", "behavior": self.rng.choice(BEHAVIORS)}
            case "Metaspace" if self.flag(0.3):
                scheme = self.rng.choice(["always", "never", "first"])
                return {
                    "type": "Metaspace",
                    "replacement": "▁",
                    "prepend_scheme": scheme,
                    "split": self.flag(),
                }
            case "Whitespace" if self.flag(0.1):
                return {"type": "Whitespace"}
        behavior = self.rng.choice(BEHAVIORS)
        return {"type": "Split", "pattern": self.pattern(), "behavior": behavior, "invert": self.flag(0.2)}

    def pre_tokenizer(self) -> Json:
        level = {
            "type": "ByteLevel",
            "add_prefix_space": self.flag(0.3),
            "trim_offsets": self.flag(),
            "use_regex": self.flag(),
        }
        if self.flag(0.3):
            return level
        steps: list[Json] = [self.step() for _ in range(self.rng.randint(0, 3))]
        steps.append(level)
        if self.flag(0.15):
            steps += [self.step() for _ in range(self.rng.randint(1, 2))]
        if self.flag(0.1):
            steps = [{"type": "Sequence", "pretokenizers": steps}]
        return {"type": "Sequence", "pretokenizers": steps}

    def added_tokens(self, vocab: dict[str, int]) -> list[Json]:
        contents = list(dict.fromkeys(self.some(CONTENTS, 0, 8)))
        tokens, next_id = [], len(vocab)
        for content in contents:
            known = vocab.get(content)
            if known is None:
                known, next_id = next_id, next_id + 1
            tokens.append(
                {
                    "id": known,
                    "content": content,
                    "single_word": self.flag(0.2),
                    "lstrip": self.flag(0.2),
                    "rstrip": self.flag(0.2),
                    "normalized": self.flag(0.4),
                    "special": self.flag(0.6),
                }
            )
        return tokens

    def post_processor(self, added: list[Json]) -> Json | None:
        level = {
            "type": "ByteLevel",
            "add_prefix_space": True,
            "trim_offsets": self.flag(),
            "use_regex": True,
        }
        if self.flag(0.3):
            return self.rng.choice([None, level])
        if not added:
            return None
        ids = {token["content"]: token["id"] for token in added}
        one, other = (self.rng.choice(sorted(ids)) for _ in range(2))
        template: Json
        if self.flag(0.3):
            kind = self.rng.choice(["RobertaProcessing", "BertProcessing"])
            template = {"type": kind, "sep": [one, ids[one]], "cls": [other, ids[other]]}
            if kind == "RobertaProcessing":
                template |= {"trim_offsets": self.flag(), "add_prefix_space": self.flag()}
        else:
            special = [{"SpecialToken": {"id": name, "type_id": 0}} for name in self.some(sorted(ids), 0, 3)]
            text = {"Sequence": {"id": "A", "type_id": 0}}
            single = [*special, text]
            self.rng.shuffle(single)
            named = {name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in sorted(ids)}
            template = {
                "type": "TemplateProcessing",
                "single": single,
                "pair": [*single, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": named,
            }
        if self.flag(0.3):
            return {"type": "Sequence", "processors": self.rng.choice([[level, template], [template, level]])}
        return template

    def file(self) -> Json:
        vocab, merges = self.rng.choice(vocabularies())
        if self.flag(0.3):
            ids = list(range(len(vocab)))
            self.rng.shuffle(ids)
            vocab = dict(zip(vocab, ids, strict=True))
        added = self.added_tokens(vocab)
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": sorted(added, key=lambda token: token["id"]),
            "normalizer": self.normalizer(),
            "pre_tokenizer": self.pre_tokenizer(),
            "post_processor": self.post_processor(added),
            "decoder": {
                "type": "ByteLevel",
                "add_prefix_space": True,
                "trim_offsets": True,
                "use_regex": True,
            },
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": self.rng.choice([None, None, "the"]),
                "continuing_subword_prefix": self.rng.choice([None, None, ""]),
                "end_of_word_suffix": self.rng.choice([None, None, ""]),
                "fuse_unk": self.flag(0.1),
                "byte_fallback": False,
                "ignore_merges": self.flag(0.3),
                "vocab": vocab,
                "merges": merges,
            },
        }


@dataclass(frozen=True)
class Difference:
    """A file and a text on which the two do not agree."""

    what: str
    file: Json
    text: str
    ours: object
    theirs: object

    def __str__(self) -> str:
        vocab = self.file["model"].pop("vocab"), self.file["model"].pop("merges")
        shown = json.dumps(self.file, ensure_ascii=False)
        self.file["model"]["vocab"], self.file["model"]["merges"] = vocab
        return f"{self.what}: {self.text!r}\n  ours   {self.ours}\n  theirs {self.theirs}\n  {shown}"


@dataclass
class Tally:
    """What came of the files."""

    loaded: int = 0
    texts: int = 0
    tokens: int = 0
    endless: int = 0
    """Files on which tokenizers does not end."""
    panics: int = 0
    """Texts on which tokenizers panics (``AddedVocabulary bad split``, where stripped tokens overlap)."""
    refused: collections.Counter[str] = field(default_factory=collections.Counter)
    differences: list[Difference] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Add what came of some of the files."""
        self.texts += other.texts
        self.tokens += other.tokens
        self.endless += other.endless
        self.panics += other.panics
        self.differences += other.differences

    def __str__(self) -> str:
        lines = [
            f"{self.loaded} files loaded, {self.texts} texts, {self.tokens} ids, "
            f"{len(self.differences)} differences; of tokenizers: {self.panics} panics, "
            f"{self.endless} files without end"
        ]
        lines += [f"{count:7} refused: {why}" for why, count in self.refused.most_common()]
        return "\n".join(lines)


def differences(theirs: Theirs, file: Json, texts: Sequence[str], tally: Tally) -> Iterator[Difference]:
    """Compare what gptbpe and ``theirs`` make of texts, with the file and with what gptbpe saves of it."""
    ours = Tokenizer.from_bytes(json.dumps(file).encode())
    saved = ours.to_bytes()
    if Tokenizer.from_bytes(saved).to_bytes() != saved:
        yield Difference("load and save again", file, "", None, None)
    again = Theirs(type(theirs.tokenizer).from_str(saved.decode()), theirs.pipe)
    # tokenizers decodes an added token to its content after the normalizer, and reads that in the byte
    # alphabet: "é" becomes the byte E9. We decode it to its content.
    plain = all(token["content"].isascii() for token in file["added_tokens"])
    decodes_alike = plain and file["normalizer"] is None
    for text in texts:
        for special in (False, True):
            expected = theirs.encode(text, add_special_tokens=special)
            found = ours.encode(text, allowed_special="all", add_special_tokens=special)
            if expected is None:
                tally.panics += 1
                continue
            if found != expected:
                yield Difference(f"encode, add_special_tokens={special}", file, text, found, expected)
            saved_ids = again.encode(text, add_special_tokens=special)
            if saved_ids != expected:
                yield Difference(
                    f"the saved file, add_special_tokens={special}", file, text, saved_ids, expected
                )
            if special:
                continue
            tally.tokens += len(expected)
            count = ours.count(text, allowed_special="all")
            if count != len(expected):
                yield Difference("count", file, text, count, len(expected))
            if not decodes_alike:
                continue
            decoded = theirs.tokenizer.decode(expected, skip_special_tokens=False)
            if ours.decode(expected) != decoded:
                yield Difference("decode", file, text, ours.decode(expected), decoded)
    theirs.tokenizer.encode_special_tokens = True
    for text in texts:
        plain = theirs.encode(text, add_special_tokens=False)
        found = ours.encode_ordinary(text)
        if plain is not None and found != plain:
            yield Difference("encode_ordinary", file, text, found, plain)


@dataclass
class Theirs:
    """Hugging Face's tokenizer; ``None`` stands for a panic of its own."""

    tokenizer: Any
    pipe: BinaryIO

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int] | None:
        """Return the ids."""
        self.pipe.write(b"t")
        self.pipe.flush()
        try:
            ids = self.tokenizer.encode(text, add_special_tokens=add_special_tokens).ids
        except BaseException as error:  # pyo3's PanicException is no Exception
            if type(error).__name__ != "PanicException":
                raise
            ids = None
        self.pipe.write(b"o")
        self.pipe.flush()
        assert ids is None or isinstance(ids, list)
        return ids


def run(seed: int, files: int, texts: int, most_differences: int = 20) -> Tally:
    """Compare on so many files that load, with so many texts each.

    A panic of gptbpe, or an exception of another kind than a refusal, ends it.
    """
    make, tally = Make(random.Random(seed)), Tally()
    vocabularies()
    while tally.loaded < files and len(tally.differences) < most_differences:
        file = make.file()
        try:
            Tokenizer.from_bytes(json.dumps(file).encode())
        except TokenizerError as error:
            tally.refused[reason(str(error))] += 1
            continue
        tally.loaded += 1
        tally.add(in_a_child(file, [make.text() for _ in range(texts)]))
    return tally


def in_a_child(file: Json, texts: list[str]) -> Tally:
    """Compare in a process that may use ``CHILD_SECONDS`` of processor time.

    tokenizers loops for ever on some texts where tokens are stripped, and so its process has to be ended.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (CHILD_SECONDS, CHILD_SECONDS))
        messages = os.dup(2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # Rust's messages about panics
        try:
            with os.fdopen(write, "wb") as pipe:
                pickle.dump(compare(file, texts, pipe), pipe)
        except BaseException:
            os.write(messages, traceback.format_exc().encode())
            os._exit(1)
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if (
        os.WIFSIGNALED(status)
        and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL)
        and said.endswith(b"t")
    ):
        return Tally(endless=1)
    if status:
        raise RuntimeError(f"the comparison ended with status {status}: {json.dumps(file)}")
    tally = pickle.loads(said.lstrip(b"to"))
    assert isinstance(tally, Tally)
    return tally


def compare(file: Json, texts: list[str], pipe: BinaryIO) -> Tally:
    """Compare; into the pipe goes whose turn it is, as ``t`` for tokenizers and ``o`` for ours."""
    import tokenizers

    tally = Tally(texts=len(texts))
    theirs = Theirs(tokenizers.Tokenizer.from_str(json.dumps(file)), pipe)
    found = differences(theirs, file, texts, tally)
    tally.differences = [one for one, _ in zip(found, range(3), strict=False)]
    return tally


def reason(sentence: str) -> str:
    """Return a refusal without the names that are particular to one file."""
    return re.sub(r'("[^"]*"…?|\'[^\']*\'|at byte \d+|\d+|the Split pattern .*)', "_", sentence)[:110]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=100, help="that load")
    parser.add_argument("--texts", type=int, default=100, help="for each file")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began = time.perf_counter()
    tally = run(options.seed, options.files, options.texts)
    for difference in tally.differences:
        print(difference, file=sys.stderr)
    print(f"seed {options.seed}, {time.perf_counter() - began:.0f} s")
    print(tally)
    return 1 if tally.differences else 0


if __name__ == "__main__":
    sys.exit(main())
