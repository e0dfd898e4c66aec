"""``gptbpe.compat.tiktoken`` against tiktoken on random strings: OpenAI's encodings and random ones.

    python tests/parity/fuzz_tiktoken.py --strings 1000000 --seed 1

Every string goes through one operation of both, mostly ``encode`` or ``encode_ordinary`` (``--only`` names
another), and ids or the type of the exception must be equal. The encodings are tiktoken's seven, as its own
constructors define them, and ``--patterns`` encodings with random patterns, vocabularies and special tokens.
A pattern that one of the two refuses is passed over and counted; every pattern ends in a branch that takes
any character, because tiktoken drops what no match covers. Strings come in rounds of 1,000, and a round
depends on the seed and its number only. Ends with status 1 if something differs.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import tiktoken
from tiktoken_ext import openai_public

from gptbpe import Tokenizer
from gptbpe.compat import tiktoken as compat
from gptbpe.errors import EarlyStopWarning

ROUND = 1000

# Pieces at which patterns, cases, marks, merges and white space begin to differ.
ATOMS = [
    *"abcehlnorstw ABEZ'.,!?-_/\n\t\r 0123456789", " ", " ", "  ", "   ", "\n\n", "\r\n", " \n",
    "\t ", "the", " and", " hello", " World", "ing", "tion", "'s", "'LL", "'ſ", "don't", "I'm", "ſ",
    "K", "İ", "ı", "ß", "ǅ", "ʰ", "ª", "é", "e\u0301", "ñ", "µ", "中", "你好", "の", "カタ", "한국", "ก็",
    "नि", "ا", "שלום", "Ж", "привет", "ελ", "²", "½", "Ⅷ", "٣", "१", "🙂", "👍🏽", "👩\u200d👩\u200d👧",
    "🇩🇪", "\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u2028", "\u2029", "\xa0", "\x85",
    "\u3000", "\u1680", "\u180e", "\x1c", "\x1f", "\0", "\x7f", "\ufffd", "\U0010ffff", "\u0378",
    "—", "…", "“", "€", "$", "+", "^", "`", "|", "<|", "|>", "<|endof", "{", "}", "[", "]", "#",
    "\\", '"', "==",
]  # fmt: skip
SURROGATES = ["\ud83d", "\ude42", "\udfff", "\ud800", "\ud83d\ude42"]
NAMES = ["<|endoftext|>", "<|x|>", "<|é|>", "\n\n\n", "abc", " World", "中中", "'", "  \t", "?!"]

HARMONY = ["<|endoftext|>", "<|endofprompt|>", "<|reserved_200018|>", "<|start|>", "<|return|>"]

CLASSES = [
    r"\p{L}", r"\p{N}", r"\p{Lu}", r"\p{Ll}", r"\p{M}", r"\p{Han}", r"\p{Greek}", r"\w", r"\d",
    r"\s", r"\W", r"\S", r"\D", r"[a-z]", r"[A-Za-z0-9_]", r"[^\s\p{L}\p{N}]", r"[^\r\n\p{L}\p{N}]",
    r"[\r\n]", r"[\p{L}\p{M}]", r"[^\W\d_]", r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\w&&[^\d]]",
    r"[ \t]", r"\pL", r"\P{L}", r"[^ ]", r".", r"[[:alpha:]]", r"[[:punct:]]", r"[\u4e00-\u9fff]",
    r"\x{1F642}", r"\x41", r"[äöüß]", r"\p{Alphabetic}",
]  # fmt: skip
LITERALS = [" ", "a", "e", "'", "th", r"\n", r"\.", "é", "中", r"\t", "-", "ß", "s", "<", r"\|", "1"]
QUANTIFIERS = [
    "",
    "",
    "",
    "?",
    "*",
    "+",
    "+",
    "+",
    "{1,3}",
    "{2}",
    "{2,}",
    "??",
    "+?",
    "*?",
    "++",
    "?+",
    "*+",
]
BRANCHES = [
    r"'(?i:[sdmt]|ll|ve|re)", r"'s|'t|'re", r"\s+(?!\S)", r"\s+$", r"\s++$", r"\s*[\r\n]+",
    r"\s*[\r\n]", r"\s+", r" ?\p{L}+", r" ?[^\s\p{L}\p{N}]+", r"\p{N}{1,3}", r"(?i:the|and)",
    r"(?i:ss|k|é)", r"[^\r\n\p{L}\p{N}]?\p{L}+", r"\d(?=\d)", r"\b\w+\b", r"^\s", r"(?:ab)+",
    r"(a|b)c?", r"(?s:a.)", r"(?m:^a)", r"(?x: a b )", r"\s{2,}(?=\S)",
]  # fmt: skip
CLOSING = [r"[\s\S]", r"(?s:.)", r"\s|\S", r"\s+(?!\S)|\s+|\S", r"\s|\S+?", r"(?s:.)+?"]

OPTIONS: list[Callable[[random.Random, list[str]], dict[str, Any]]] = [
    lambda rng, names: {},
    lambda rng, names: {"allowed_special": "all"},
    lambda rng, names: {"allowed_special": "all", "disallowed_special": ()},
    lambda rng, names: {"disallowed_special": ()},
    lambda rng, names: {"allowed_special": set(rng.choices(names, k=2))},
    lambda rng, names: {"allowed_special": set(rng.choices(names, k=2)), "disallowed_special": ()},
    lambda rng, names: {"disallowed_special": {*rng.choices(names, k=2), "ab"}},
    lambda rng, names: {"allowed_special": {"no such"}, "disallowed_special": rng.choices(names, k=1)},
]


class Pair:
    """One encoding of ours and of tiktoken's, and the special tokens that strings should hold."""

    def __init__(self, ours: Any, theirs: Any, *, is_small: bool) -> None:
        self.name = ours.name
        self.ours, self.theirs = ours, theirs
        # A few of 1,091: tiktoken compiles a regex of all that are left for every set of allowed ones.
        names = ours.special_tokens_set
        self.names = sorted(names & {*HARMONY} if len(names) > 20 else names) or ["<|endoftext|>"]
        self.is_small = is_small


def public_pairs() -> Iterator[Pair]:
    """OpenAI's encodings: ours, and tiktoken's definitions over the packaged files."""
    readers = ("load_tiktoken_bpe", "data_gym_to_mergeable_bpe_ranks")
    with mock.patch.multiple(openai_public, **{name: getattr(compat.load, name) for name in readers}):
        for name, constructor in openai_public.ENCODING_CONSTRUCTORS.items():
            yield Pair(compat.get_encoding(name), tiktoken.Encoding(**constructor()), is_small=False)


# ---- random encodings --------------------------------------------------------------------------------


def random_pattern(rng: random.Random) -> str:
    branches = [random_branch(rng) for _ in range(rng.randint(1, 5))]
    return "|".join([*branches, rng.choice(CLOSING)])


def random_branch(rng: random.Random) -> str:
    if rng.random() < 0.35:
        return rng.choice(BRANCHES)
    return "".join(random_atom(rng, 2) + rng.choice(QUANTIFIERS) for _ in range(rng.randint(1, 3)))


def random_atom(rng: random.Random, depth: int) -> str:
    kind = rng.random()
    if kind < 0.55 or depth == 0:
        return rng.choice(CLASSES)
    if kind < 0.8:
        literal = rng.choice(LITERALS)
        return literal if len(literal) == 1 or literal[0] == "\\" else f"(?:{literal})"
    inner = "|".join(
        "".join(random_atom(rng, depth - 1) + rng.choice(QUANTIFIERS) for _ in range(rng.randint(1, 2)))
        for _ in range(rng.randint(1, 3))
    )
    return f"{rng.choice(['(?:', '(?:', '(', '(?i:', '(?s:'])}{inner})"


def random_ranks(rng: random.Random, pattern: str) -> dict[bytes, int]:
    """Return a trained vocabulary, with tokens that no merge reaches, or one in no sensible order."""
    text = "".join(rng.choices(ATOMS, k=4000))
    with warnings.catch_warnings(action="ignore", category=EarlyStopWarning):
        tok = Tokenizer.train_from_texts([text], rng.choice([300, 500, 900]), pattern=[pattern], threads=1)
    ranks = tok.ranks()
    pieces = [text[at : at + rng.randint(1, 5)].encode() for at in rng.choices(range(len(text)), k=200)]
    extra = {piece[: rng.randint(1, 9)] for piece in pieces} - ranks.keys()
    for piece in sorted(extra)[: rng.choice([0, 20, 200])]:
        ranks[piece] = len(ranks)
    if rng.random() < 0.3:
        ids = list(range(len(ranks)))
        rng.shuffle(ids)
        ranks = dict(zip(ranks, ids, strict=True))
    return ranks


def random_pairs(seed: int, count: int, passed_over: Counter[str]) -> Iterator[Pair]:
    rng = random.Random(f"{seed} patterns")
    found = 0
    while found < count:
        pattern = random_pattern(rng)
        try:
            ranks = random_ranks(rng, pattern)
        except ValueError:
            passed_over["patterns refused here"] += 1
            continue
        names = rng.sample(NAMES, rng.randint(0, 5))
        first = max(ranks.values()) + 1
        arguments: dict[str, Any] = {
            "pat_str": pattern,
            "mergeable_ranks": ranks,
            "special_tokens": {name: first + 3 * i for i, name in enumerate(names)},
        }
        try:
            theirs = tiktoken.Encoding(f"random {found}", **arguments)
        except ValueError:
            passed_over["patterns refused by tiktoken"] += 1
            continue
        yield Pair(compat.Encoding(f"random {found}", **arguments), theirs, is_small=True)
        found += 1


# ---- random calls ------------------------------------------------------------------------------------


def random_text(rng: random.Random, names: list[str]) -> str:
    kind = rng.random()
    parts = rng.choices(ATOMS, k=rng.randint(0, 12))
    if kind < 0.15:
        parts.insert(rng.randint(0, len(parts)), rng.choice(names))
        parts.append(rng.choice(names))
    elif kind < 0.17:
        parts.insert(rng.randint(0, len(parts)), rng.choice(SURROGATES))
        parts.append(rng.choice([*SURROGATES, *names]))
    elif kind < 0.2:
        parts = [chr(rng.choice([rng.randrange(0x3000), rng.randrange(0xE000, 0x110000)])) for _ in parts]
    elif kind < 0.205:
        parts = rng.choices(rng.choices(ATOMS, k=rng.randint(1, 4)), k=rng.randint(50, 1500))
    return "".join(parts)


def random_bytes(rng: random.Random, names: list[str]) -> bytes:
    data = random_text(rng, names).encode("utf-8", "surrogatepass")
    return data[: rng.randint(0, len(data))] + rng.choice([b"", b"\xff", b"\xe4\xb8", rng.randbytes(3)])


Call = tuple[Callable[[Any], Any], Any]


def call_ordinary(rng: random.Random, pair: Pair) -> Call:
    text = random_text(rng, pair.names)
    return lambda enc: enc.encode_ordinary(text), text


def call_encode(rng: random.Random, pair: Pair) -> Call:
    text, options = random_text(rng, pair.names), rng.choice(OPTIONS)(rng, pair.names)
    return lambda enc: enc.encode(text, **options), (text, options)


def call_to_numpy(rng: random.Random, pair: Pair) -> Call:
    text, options = random_text(rng, pair.names), rng.choice(OPTIONS)(rng, pair.names)
    return lambda enc: enc.encode_to_numpy(text, **options).tolist(), (text, options)


def call_batch(rng: random.Random, pair: Pair) -> Call:
    texts = [random_text(rng, pair.names) for _ in range(2)]
    options = rng.choice(OPTIONS)(rng, pair.names)
    return lambda enc: enc.encode_batch(texts, num_threads=2, **options), (texts, options)


def call_unstable(rng: random.Random, pair: Pair) -> Call:
    text, options = random_text(rng, pair.names)[:30], rng.choice(OPTIONS)(rng, pair.names)
    if not pair.is_small and rng.random() < 0.9:
        # One letter alone begins thousands of tokens, and each is a completion to try.
        text = text[:12] + rng.choice(["zq", " qx", "中文字", "1 \n", "ſ"])
    return lambda enc: unstable(enc, text, options), (text, options)


def call_bytes(rng: random.Random, pair: Pair) -> Call:
    data = random_bytes(rng, pair.names)
    return lambda enc: enc._encode_bytes(data), data


def call_piece(rng: random.Random, pair: Pair) -> Call:
    data = random_bytes(rng, pair.names) or b" "
    return lambda enc: enc._encode_single_piece(data), data


def call_single_token(rng: random.Random, pair: Pair) -> Call:
    data = random_bytes(rng, pair.names)
    return lambda enc: enc.encode_single_token(data), data


def call_decode(rng: random.Random, pair: Pair) -> Call:
    method = rng.choice(["decode", "decode_bytes", "decode_tokens_bytes", "decode_with_offsets"])
    if rng.random() < 0.5:
        ids = pair.ours.encode_ordinary(random_text(rng, pair.names))
    else:
        ids = [rng.randrange(pair.ours.n_vocab + 3) for _ in range(rng.randint(0, 6))]
    return lambda enc: getattr(enc, method)(ids), (method, ids)


OPERATIONS: dict[str, tuple[int, Callable[[random.Random, Pair], Call]]] = {
    "encode_ordinary": (40, call_ordinary),
    "encode": (40, call_encode),
    "encode_to_numpy": (4, call_to_numpy),
    "encode_batch": (1, call_batch),
    "encode_with_unstable": (1, call_unstable),
    "_encode_bytes": (5, call_bytes),
    "_encode_single_piece": (3, call_piece),
    "encode_single_token": (1, call_single_token),
    "decode": (5, call_decode),
}
"""Operation -> how often among 100 it is called, and what makes a call."""


def unstable(encoding: Any, text: str, options: dict[str, Any]) -> Any:
    stable, completions = encoding.encode_with_unstable(text, **options)
    return stable, sorted(completions)


def outcome(call: Callable[[Any], Any], encoding: Any) -> Any:
    """Return the result, or of an exception the built-in type that it is."""
    try:
        return call(encoding)
    except Exception as error:
        return next(kind for kind in type(error).__mro__ if kind.__module__ == "builtins")


def is_regex_limit(call: Callable[[Any], Any], theirs: Any) -> bool:
    """Whether tiktoken fails because its regex engine gave up or panicked."""
    try:
        call(theirs)
    except BaseException as error:
        return type(error).__name__ == "PanicException" or "Regex error" in str(error)
    return False


def fuzz(strings: int, seed: int, patterns: int, only: str | None = None) -> tuple[Counter[str], list[str]]:
    """Compare on this many strings; return how many of what there were, and the first differences."""
    names = [only] if only else list(OPERATIONS)
    weights = [OPERATIONS[name][0] for name in names]
    counts: Counter[str] = Counter()
    pairs = [*public_pairs(), *random_pairs(seed, patterns, counts)]
    counts["encodings"] = len(pairs)
    differences: list[str] = []
    for number in range(-(-strings // ROUND)):
        rng = random.Random(f"{seed} {number}")
        # Half of the rounds for OpenAI's encodings.
        pair = rng.choice(pairs[:7] if number % 2 == 0 or patterns == 0 else pairs[7:])
        for _ in range(min(ROUND, strings - number * ROUND)):
            name = rng.choices(names, weights)[0]
            call, given = OPERATIONS[name][1](rng, pair)
            ours, theirs = outcome(call, pair.ours), None
            try:
                theirs = outcome(call, pair.theirs)
            except BaseException as error:  # a panic
                if type(error).__name__ != "PanicException":
                    raise
            counts["strings"] += 1
            counts[name] += 1
            counts["exceptions"] += isinstance(ours, type)
            if ours == theirs:
                continue
            if is_regex_limit(call, pair.theirs):
                counts["tiktoken's regex gave up"] += 1
                continue
            counts["differences"] += 1
            if len(differences) < 20:
                line = f"{pair.name} {pair.ours._pat_str!r} {name}({given!r}): {ours!r}, tiktoken {theirs!r}"
                differences.append(line[:2000])
                print(differences[-1])
    return counts, differences


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--strings", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--patterns", type=int, default=100, help="how many random encodings")
    parser.add_argument("--only", choices=OPERATIONS, help="one operation instead of all")
    arguments = parser.parse_args()
    began = time.perf_counter()
    counts, _ = fuzz(arguments.strings, arguments.seed, arguments.patterns, arguments.only)
    for name, count in sorted(counts.items()):
        print(f"{name:32} {count:>12,}")
    print(f"seed {arguments.seed}, {time.perf_counter() - began:,.0f} s, {counts['differences']} differences")
    return counts["differences"] > 0


if __name__ == "__main__":
    sys.exit(main())
