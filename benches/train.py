"""Training a vocabulary beside the peers: equal merges first, then how fast, and in how much memory.

    python benches/train.py                                       all cases, five rounds
    python benches/train.py --megabytes 1 --rounds 1              a quick look whether everything works
    python benches/train.py --only "gpt2 32,768" --cores 1        some cases
    python benches/train.py --json results/X.json --svg results/X.svg
    python benches/train.py --draw results/X.json --svg results/X.svg

Every measurement is a fresh process that trains once; ``README.md`` says how to read the figures. A library
that has the same rule for ties and learns other merges is reported as WRONG and never ranked. Linux only.
"""

from __future__ import annotations

import sys

import _chart
import _command
import _inputs
import _table
from _apis import Vocabulary
from _rounds import Case, Settings

VOCABULARIES = {
    name: Vocabulary(name, ranks="", pattern=pattern, size=size)
    for name, pattern, size in (
        ("gpt2 32,768", "gpt2", 32_768),
        ("gpt2 65,536", "gpt2", 65_536),
        ("gpt2 131,072", "gpt2", 131_072),
        ("cl100k 32,768", "cl100k", 32_768),
    )
}
"""The size counts the 256 bytes and the merges, and no special token."""

TEXTS = {  # corpus: what the chart calls it
    "enwiki_100M": "English Wikipedia",
    "linux_60M": "Linux source",
    "zh_20M": "Chinese Wikipedia",
    "zh_20M+ja_15M": "Chinese, Japanese",
}

OURS, RUSTBPE, GIGATOKEN = "gptbpe train", "rustbpe train_from_iterator", "gigatoken train_bpe"
FFBPE, FAST_BPE_RS, TOKENIZERS = "ffbpe BpeTrainer", "fast-bpe-rs train", "tokenizers train_from_iterator"
PROTOTYPE = "prototype train"
"""The program of ``--prototype``; left out without that option."""
PEERS = (GIGATOKEN, RUSTBPE, FFBPE, FAST_BPE_RS, TOKENIZERS)

CASES = (
    Case("gpt2 32,768", "enwiki_100M", (OURS, *PEERS, PROTOTYPE), topic="train", kind="training"),
    Case("gpt2 32,768", "enwiki_100M", (OURS, *PEERS), topic="train", kind="training", cores="all"),
    Case("gpt2 65,536", "enwiki_100M", (OURS, *PEERS[:4]), topic="train", kind="training"),
    Case("gpt2 131,072", "enwiki_100M", (OURS, RUSTBPE, FFBPE), topic="train", kind="training"),
    Case("gpt2 32,768", "linux_60M", (OURS, *PEERS[:4]), topic="train", kind="training"),
    Case("gpt2 32,768", "zh_20M", (OURS, *PEERS[:4], PROTOTYPE), topic="train", kind="training"),
    Case("cl100k 32,768", "zh_20M+ja_15M", (OURS, RUSTBPE, FFBPE), topic="train", kind="training"),
    Case(
        "gpt2 32,768",
        "enwiki_100M",
        (f"{OURS}@portable", GIGATOKEN, OURS),
        topic="kernel portable",
        kind="training",
    ),
    # A quarter, a half and the whole of one text: seconds and memory by length, in the same rounds.
    Case(
        "gpt2 32,768",
        "enwiki_100M",
        (OURS, f"{OURS} 1/2", f"{OURS} 1/4"),
        topic="growth",
        kind="training",
    ),
)


def main() -> int:
    parser = _command.parser(__doc__)
    parser.add_argument(
        "--prototype",
        metavar="PATH",
        help='a program, called as PATH train TEXT VOCAB, that prints JSON with the seconds it took as "s"',
    )
    arguments = parser.parse_args()
    settings = Settings(
        rounds=arguments.rounds,
        warm=0,
        megabytes=arguments.megabytes,
        kernel=None,
        limits={},
        say=_command.say,
        prototype=arguments.prototype,
    )

    def draw(run: _table.Run) -> str:
        return _chart.training_svg(run, arguments.cores or "1", TEXTS)

    return _command.run(arguments, CASES, VOCABULARIES, _inputs.TRAINERS, settings, draw)


if __name__ == "__main__":
    sys.exit(main())
