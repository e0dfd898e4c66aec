"""Training against rustbpe 0.1.0, merge for merge, on every corpus and for several numbers of threads.

    python tests/parity/compare_training.py --megabytes 20 --vocab 32768

Every corpus is cut after so many megabytes. rustbpe learns from its documents, and so does ours: once as
texts, and from a file for each number of threads. The exit status is 1 if any merge is another one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from gptbpe import Tokenizer

END = "<|endoftext|>"
THREADS = (1, 2, 3, 8)
PATTERNS = ("gpt2",)


def rustbpe_tokens(texts: Sequence[str], size: int, pattern: str) -> list[bytes]:
    """Return what each merge of rustbpe makes, in order."""
    import rustbpe

    theirs = rustbpe.Tokenizer()
    theirs.train_from_iterator(iter(texts), size, pattern=regex(pattern))
    ranks = sorted(theirs.get_mergeable_ranks(), key=lambda row: row[1])
    return [bytes(token) for token, rank in ranks if rank >= 256]


def regex(pattern: str) -> str:
    """Return the regular expression of a named pattern."""
    (found,) = Tokenizer.train(b"ab", 257, pattern=pattern, special_tokens=()).regexes
    return found


def tokens(tokenizer: Tokenizer) -> list[bytes]:
    """Return what each merge of ours makes, in order."""
    return [tokenizer.token_bytes(256 + merge) for merge in range(len(tokenizer.merges))]


def differences(
    text: str, size: int, pattern: str = "gpt2", threads: Sequence[int] = THREADS
) -> Iterator[str]:
    """Train both on the documents of a text; yield a sentence for each way in which ours learns others.

    ``size`` counts the 256 bytes and the merges.
    """
    documents = [document for document in text.split(END) if document]
    expected = rustbpe_tokens(documents, size, pattern)
    ours = Tokenizer.train_from_texts(documents, size, pattern=pattern, special_tokens=())
    yield from _difference("texts", tokens(ours), expected)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.txt"
        path.write_bytes(text.encode())
        for number in threads:
            trained = Tokenizer.train([path], size + 1, pattern=pattern, special_tokens=[END], threads=number)
            yield from _difference(f"a file, {number} threads", tokens(trained), expected)


def _difference(way: str, found: list[bytes], expected: list[bytes]) -> Iterator[str]:
    for merge, (ours, theirs) in enumerate(zip_longest(found, expected)):
        if ours != theirs:
            yield f"{way}: merge {merge} makes {ours!r}, rustbpe's {theirs!r}"
            return


def _corpora(data: Path, names: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Unpack the corpora whose names hold one of ``names``, one after another."""
    unpacked = Path(os.environ.get("GPTBPE_CORPORA") or "~/.cache/gptbpe-corpora").expanduser()
    for packed in sorted((data / "text").glob("*.txt.xz")):
        name = packed.name.removesuffix(".txt.xz")
        if names and not any(part in name for part in names):
            continue
        command = [sys.executable, str(data / "unpack"), name]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        yield name, unpacked / f"{name}.txt"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--megabytes", type=float, default=20, help="of each corpus, at most (default: 20)")
    add("--vocab", type=int, default=32_768, help="256 bytes and the merges (default: 32768)")
    add("--pattern", action="append", metavar="NAME", help="may be repeated (default: gpt2)")
    add("--threads", type=int, nargs="+", default=list(THREADS), help="(default: 1 2 3 8)")
    add("--only", action="append", metavar="TEXT", help="only corpora with this in their name")
    add(
        "--data",
        type=Path,
        metavar="DIR",
        default=Path(__file__).resolve().parents[3] / "shared" / "data",
        help="folder with unpack and text/ (default: ../shared/data beside the repository)",
    )
    options = parser.parse_args()
    compared = wrong = 0
    for name, path in _corpora(options.data, options.only or ()):
        with path.open("rb") as file:
            text = file.read(int(options.megabytes * 1e6)).decode(errors="ignore")
        for pattern in options.pattern or PATTERNS:
            began = time.perf_counter()
            found = list(differences(text, options.vocab, pattern, options.threads))
            compared += 1
            wrong += bool(found)
            verdict = "; ".join(found) or "equal"
            print(f"{name}, {pattern}: {verdict} ({time.perf_counter() - began:.0f} s)", flush=True)
    print(f"{compared} compared, {wrong} with other merges than rustbpe's")
    return 1 if wrong or not compared else 0


if __name__ == "__main__":
    sys.exit(main())
