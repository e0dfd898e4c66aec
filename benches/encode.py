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
import json
import sys
import tempfile
from pathlib import Path

import _chart
import _inputs
import _table
from _apis import Vocabulary
from _rounds import Case, Settings, measure

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
    if arguments.list:
        print("\n".join(case.name for case in CASES))
        return 0
    if arguments.draw is not None:
        run = json.loads(arguments.draw.read_text())
    else:
        run = _measured(arguments)
        if arguments.json is not None:
            arguments.json.write_text(json.dumps(run, indent=1) + "\n")
    print(_table.table(run))
    if arguments.svg is not None:
        arguments.svg.write_text(_chart.svg(run, arguments.chart, arguments.cores or "1", TEXTS))
    wrong = [row["api"] for case in run["cases"] for row in case["rows"] if "WRONG" in (row["problem"] or "")]
    return 1 if any(api.startswith("gptbpe") for api in wrong) else 0


def _measured(arguments: argparse.Namespace) -> _table.Run:
    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    pythons = _inputs.Pythons(own=arguments.python, peers=_inputs.peers_python(arguments.peers, say))
    settings = Settings(
        rounds=arguments.rounds,
        warm=arguments.warm,
        megabytes=arguments.megabytes,
        kernel=arguments.kernel,
        limits=LIMITS,
        say=say,
    )
    arguments.cache.mkdir(parents=True, exist_ok=True)
    inputs = _inputs.Inputs(arguments.data, arguments.cache, pythons, VOCABULARIES)
    results, skipped = [], []
    for case in CASES:
        if arguments.only and not any(part in case.name for part in arguments.only):
            continue
        if arguments.cores not in (None, case.cores):
            continue
        try:
            results.append(measure(case, inputs, settings).as_json())
        except (_inputs.MissingError, _inputs.FailedError) as error:
            skipped.append(f"{case.name}: {error}")
            say(f"skipped: {skipped[-1]}")
    return {
        "machine": _inputs.machine(pythons),
        "settings": {
            "rounds": settings.rounds,
            "warm_passes": settings.warm,
            "megabytes": settings.megabytes,
            "kernel": settings.kernel,
            "limits": settings.limits,
        },
        "cases": results,
        "skipped": skipped,
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("--only", action="append", metavar="TEXT", help="only cases with this in their name; may be repeated")
    add("--cores", choices=("1", "all"), help="only cases on one core, or on all")
    add("--rounds", type=int, default=5, help="rounds; every API runs once in each (default: 5)")
    add("--warm", type=int, default=3, help="passes after the first one of a process (default: 3)")
    add("--megabytes", type=float, help="use at most this much of every text, for a quick look")
    add("--kernel", metavar="NAME", help="force a kernel of ours: avx512, avx2, neon or portable")
    add("--python", default=sys.executable, help="interpreter that has gptbpe (default: this one)")
    add(
        "--peers",
        metavar="PYTHON",
        help="interpreter that has the peers (default: .venv-peers, made if absent)",
    )
    add(
        "--data",
        type=Path,
        metavar="DIR",
        default=_inputs.REPOSITORY.parent / "shared" / "data",
        help="folder with unpack, text/ and vocabs/ (default: ../shared/data beside the repository)",
    )
    add(
        "--cache",
        type=Path,
        metavar="DIR",
        default=Path(tempfile.gettempdir()) / "gptbpe-benches",
        help="folder for cut texts, reference digests and the trained vocabulary",
    )
    add("--json", type=Path, metavar="FILE", help="write all figures")
    add("--svg", type=Path, metavar="FILE", help="draw a bar chart")
    add("--chart", default="gpt2", metavar="NAME", help="vocabulary that the chart shows (default: gpt2)")
    add("--draw", type=Path, metavar="JSON", help="measure nothing: print and draw what was recorded")
    add("--list", action="store_true", help="print the names of the cases")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
