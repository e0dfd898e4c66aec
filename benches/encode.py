"""Encoding beside the fastest peers: equal ids first, then how fast, cold and warm.

    python benches/encode.py                                      all cases, five rounds
    python benches/encode.py --megabytes 1 --rounds 1             a quick look whether everything works
    python benches/encode.py --only "encode: gpt2" --cores 1      some cases
    python benches/encode.py --json results/X.json --svg results/X.svg
    python benches/encode.py --draw results/X.json --svg results/X.svg

Every measurement is a fresh process for one library and one text; ``README.md`` says how to read the figures.
A library that gives other ids than tiktoken is reported as WRONG and never ranked. Linux only.
"""

from __future__ import annotations

import argparse
import sys

import _chart
import _command
import _inputs
import _table
from _apis import Vocabulary
from _rounds import Case, Settings

VOCABULARIES = {
    each.name: each
    for each in (
        Vocabulary(
            "gpt2",
            ranks="vocabs/r50k_base.tiktoken",
            packaged="gpt2",
            tiktoken="r50k_base",
            gigatoken="gpt2",
            json="vocabs/gpt2_tokenizer.json",
        ),
        Vocabulary(
            "cl100k",
            ranks="vocabs/cl100k_base.tiktoken",
            packaged="cl100k_base",
            tiktoken="cl100k_base",
            gigatoken="cl100k",
            fastokens="cl100k_base",
        ),
        Vocabulary(
            "o200k",
            ranks="vocabs/o200k_base.tiktoken",
            packaged="o200k_base",
            tiktoken="o200k_base",
            gigatoken="o200k",
            fastokens="o200k_base",
        ),
        # Trained by us on 20 MB of English. gigatoken refuses its pattern.
        Vocabulary("own32k", ranks="", pattern="nanochat", size=32_768),
        # Hexadecimal numbers and names with an underscore: no atoms of GPT-style patterns.
        Vocabulary(
            "other-regex",
            ranks="vocabs/r50k_base.tiktoken",
            pattern=r"0x[0-9a-f]+|[a-z]+_| ?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s",
        ),
    )
}
TEXTS = {  # corpus: what the chart calls it
    "enwiki_100M": "English Wikipedia",
    "linux_60M": "Linux source",
    "zh_20M": "Chinese Wikipedia",
    "ja_15M": "Japanese novels",
    "th_10M": "Thai news",
}
LIMITS = {"tiktoken": 20.0, "tokenizers": 5.0}
"""Megabytes of a text that a slow library reads at most; one warm pass. Charts and JSON say so."""

BATCH = (
    "gptbpe encode_ragged",
    "gigatoken encode_batch",
    "gigatoken BytesSource",
    "fastokens encode_batch_flat",
    "tiktoken encode_ordinary_batch",
)
FILES = ("gptbpe encode_files", "gigatoken encode_files")
CALLS = {
    "an array": ("gptbpe encode_to_numpy", "gigatoken encode", "tiktoken encode_to_numpy"),
    "a list": ("gptbpe encode_ordinary", "tiktoken encode_ordinary"),
    "a list, special tokens refused": ("gptbpe encode", "tiktoken encode"),
}
SHARD = ("gptbpe encode_ragged", "gptbpe shard", "gptbpe shard-inside")

CASES = (
    *(Case("gpt2", text, (*BATCH, "tokenizers encode_batch_fast")) for text in TEXTS),
    *(Case(vocabulary, text, BATCH) for vocabulary in ("cl100k", "o200k") for text in TEXTS),
    Case("gpt2", "enwiki_100M", BATCH, cores="all"),
    Case("gpt2", "enwiki_100M", FILES, topic="files"),
    Case("gpt2", "enwiki_100M", FILES, topic="files", cores="all"),
    Case(
        "own32k",
        "enwiki_100M",
        (
            BATCH[0],
            "fastokens encode_batch_flat",
            "tiktoken encode_ordinary_batch",
            "tokenizers encode_batch_fast",
        ),
    ),
    Case("other-regex", "enwiki_100M", (BATCH[0], "tiktoken encode_ordinary_batch"), megabytes=20),
    *(
        Case(
            vocabulary,
            "enwiki_100M",
            (f"{BATCH[0]}@{kernel}", f"{BATCH[0]}@avx512"),
            topic=f"kernel {kernel}",
        )
        for kernel in ("avx2", "portable")
        for vocabulary in ("gpt2", "cl100k")
    ),
    *(
        Case("gpt2", "enwiki_100M", apis, topic=f"{length} characters to {to}", documents=length, unit="ns")
        for length in (20, 200)
        for to, apis in CALLS.items()
    ),
    Case(
        "gpt2",
        "enwiki_100M",
        (
            "gptbpe encode_to_numpy",
            "gigatoken encode",
            "tiktoken encode_ordinary",
            "gptbpe python-alone",
            "gigatoken python-alone",
        ),
        topic="whole process, 1 MB",
        kind="process",
        cores="all",
        unit="s",
        documents="one",
        megabytes=1,
    ),
    Case("gpt2", "enwiki_100M", ("gptbpe count", "gptbpe encode_ragged"), topic="count"),
    Case(
        "gpt2",
        "enwiki_100M",
        ("gptbpe decode_bytes", "gigatoken decode", "tiktoken decode_bytes"),
        topic="decode",
    ),
    Case("gpt2", "enwiki_100M", SHARD, topic="shard", kind="shard", cores="all"),
    Case(
        "gpt2", "enwiki_100M", ("gptbpe shard",), topic="memory, 1 GB", kind="memory", cores="all", repeat=10
    ),
)


def main() -> int:
    arguments = _arguments()
    settings = Settings(
        rounds=arguments.rounds,
        warm=arguments.warm,
        megabytes=arguments.megabytes,
        kernel=arguments.kernel,
        limits=LIMITS,
        say=_command.say,
    )

    def draw(run: _table.Run) -> str:
        return _chart.svg(run, arguments.chart, arguments.cores or "1", TEXTS)

    return _command.run(arguments, CASES, VOCABULARIES, _inputs.PEERS, settings, draw)


def _arguments() -> argparse.Namespace:
    parser = _command.parser(__doc__)
    add = parser.add_argument
    add("--warm", type=int, default=3, help="passes after the first one of a process (default: 3)")
    add("--kernel", metavar="NAME", help="force a kernel of ours: avx512, avx2, neon or portable")
    add("--chart", default="gpt2", metavar="NAME", help="vocabulary that the chart shows (default: gpt2)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
