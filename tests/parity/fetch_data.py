"""Fetch what the tests of this folder compare with: real vocabularies, reference runs and text.

    python tests/parity/fetch_data.py            fetch what is missing, into tests/parity/data
    python tests/parity/fetch_data.py --list     print every file, its size, licence and address
    python tests/parity/fetch_data.py vocabs     only the files whose path holds a word

``sources.toml`` has one row per file. A download gets its name only when its size and sha256 are the
published ones, and what is there already is kept, so an interrupted run can simply be run again. It needs
nothing but Python's standard library.
"""

from __future__ import annotations

import argparse
import http.client
import os
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

HERE = Path(__file__).resolve().parent
FETCHED = HERE / "data"
COMMAND = "python tests/parity/fetch_data.py"
TIMEOUT = 60
"""Seconds without a byte after which a server is given up."""


@dataclass(frozen=True)
class Source:
    """A file: its place in the folder, where it comes from, and what it must be."""

    path: str
    url: str
    licence: str
    size: int
    sha256: str


class FetchError(Exception):
    """A file that was not fetched, and why."""


class UnreachableError(FetchError):
    """A server that does not answer; the words are the reason alone."""


def _table() -> dict[str, object]:
    with (HERE / "sources.toml").open("rb") as file:
        return tomllib.load(file)


def sources() -> list[Source]:
    """Return every file that can be fetched."""
    rows = _table()["file"]
    assert isinstance(rows, list)
    return [Source(**row) for row in rows]


def stand_ins(corpus: str) -> list[str]:
    """Return the paths of the texts that stand in for a corpus; empty where there are none."""
    texts = _table()["stand_ins"]
    assert isinstance(texts, dict)
    return list(texts.get(corpus, []))


def folders() -> list[Path]:
    """Return the folders in which the data may lie, the first choice first."""
    named = os.environ.get("GPTBPE_SHARED_DATA")
    return [Path(named) if named else HERE.parents[2] / "shared" / "data", FETCHED]


def find(path: str) -> Path | None:
    """Return a data file by its path in the folder, such as ``vocabs/qwen.tiktoken``, or None."""
    return next((folder / path for folder in folders() if (folder / path).is_file()), None)


def missing(path: str) -> str:
    """Say what to do about a file that is not here."""
    if any(source.path == path for source in sources()):
        return f"{path} is not here; fetch it with: {COMMAND} {path}"
    return f"{path} is not here, and {COMMAND} knows no public address for it"


def fetch(source: Source, folder: Path) -> bool:
    """Fetch one file into ``folder``; False if it was there already. A FetchError leaves nothing behind."""
    target = folder / source.path
    if target.exists():
        if sha256(target.read_bytes()).hexdigest() != source.sha256:
            raise FetchError(f"{target} has other contents than {source.url}; delete it and run this again")
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    try:
        part.write_bytes(_checked(source, _download(source)))
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return True


def _download(source: Source) -> bytes:
    """Return what the server sends, at most one byte more than expected."""
    request = urllib.request.Request(source.url, headers={"User-Agent": "gptbpe-tests"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            data: bytes = answer.read(source.size + 1)
            return data
    except urllib.error.HTTPError as error:
        raise FetchError(f"{source.url}: the server answers {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        reason = getattr(error.reason, "strerror", None) or error.reason
        raise UnreachableError(str(reason)) from None
    except http.client.IncompleteRead as error:
        return error.partial
    except (OSError, http.client.HTTPException) as error:
        raise UnreachableError(str(error)) from None


def _checked(source: Source, data: bytes) -> bytes:
    """Return ``data`` if it is the published file."""
    if len(data) < source.size:
        raise FetchError(
            f"{source.url}: {len(data):,} of {source.size:,} bytes came; run this again to fetch it anew"
        )
    found = sha256(data).hexdigest()
    if found != source.sha256:
        raise FetchError(
            f"{source.url} is not the file that the tests know: "
            f"expected {source.size:,} bytes with sha256 {source.sha256}, found sha256 {found}"
        )
    return data


def fetch_all(wanted: Iterable[Source], folder: Path) -> list[str]:
    """Fetch every file, printing one line for each, and return what went wrong, a line for each reason.

    A server that does not answer is asked once.
    """
    silent: dict[str, str] = {}
    errors: list[str] = []
    for source in wanted:
        host = urlsplit(source.url).netloc
        if host in silent and not (folder / source.path).exists():
            continue
        try:
            new = fetch(source, folder)
            print(
                f"{source.size / 1e6:9.3f} MB  {source.path}{'' if new else '  (there already)'}", flush=True
            )
        except UnreachableError as error:
            silent[host] = str(error)
        except FetchError as error:
            errors.append(str(error))
    if silent:
        reasons = "; ".join(dict.fromkeys(silent.values()))
        errors.append(f"no answer from {', '.join(silent)} ({reasons})")
    return errors


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 if a file is missing afterwards."""
    parser = argparse.ArgumentParser(
        prog=COMMAND, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("only", nargs="*", metavar="WORD", help="only files with one of these in their path")
    parser.add_argument("--list", action="store_true", help="print the files and where they come from")
    parser.add_argument("--folder", type=Path, default=FETCHED, help="(default: tests/parity/data)")
    options = parser.parse_args(arguments)
    wanted = [
        source
        for source in sources()
        if not options.only or any(word in source.path for word in options.only)
    ]
    if not wanted:
        parser.error(f"no file has {' or '.join(options.only)} in its path; --list shows all of them")
    if options.list:
        for source in wanted:
            print(f"{source.path}\n  {source.size:,} bytes, {source.licence}\n  {source.url}")
        return 0
    total = sum(source.size for source in wanted) / 1e6
    print(f"{len(wanted)} files, {total:.0f} MB, into {options.folder}")
    errors = fetch_all(wanted, options.folder)
    absent = sum(not (options.folder / source.path).exists() for source in wanted)
    for error in errors[:-1] if absent else errors:
        print(f"fetch_data: {error}", file=sys.stderr)
    if absent:
        print(
            f"fetch_data: {errors[-1]}: {absent} of {len(wanted)} files are missing, and the tests that need "
            "them are skipped; run this again where there is a network, or copy "
            f"{options.folder} from a machine that has it",
            file=sys.stderr,
        )
    return 1 if errors else 0


if __name__ == "__main__":
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:  # --list | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    sys.exit(status)
