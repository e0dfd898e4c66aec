"""Input files in several parts of about the same size, for as many work items.

Parts are cut where documents end, so the documents of all parts, one part after another, are those of the
files. Plain text is cut after a separator, JSON lines after a line break, Parquet between row groups; what is
compressed or elsewhere (a URL), and plain text without separators, stays whole. A part is found by looking at
the text around the place where it should begin, so dividing a large file reads little of it.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from gptbpe import sources
from gptbpe.errors import TextError
from gptbpe.io import FileRange, places
from gptbpe.io.remote import is_remote
from gptbpe.sources import Name

__all__ = ["Part", "divide"]

Part = Path | str | FileRange
"""A file, the URL of one, or a part of a file."""

BLOCK_BYTES = 1 << 20
LINE_BREAKS = (b"\n", b"\r\n")

Find = Callable[[bytes, int, bool], int | None]
"""Find in a text, from a place on, where it may be cut; None if more is needed. The flag: it ends here."""


def divide(
    files: Iterable[Name], parts: int, *, separator: str | None = None, marks: Sequence[str] = ()
) -> list[list[Part]]:
    r"""Divide files into so many lists of files and parts of files, some of which may be empty.

    The result depends on names, contents and order of the files, and on nothing else.

    Args:
        files: files, no folders; :func:`gptbpe.sources.expand` makes them.
        parts: how many lists.
        separator: ends documents in plain text, and takes the line break after it along where it is a line.
        marks: they end documents in plain text, too, and line breaks are text.

    Raises:
        TextError: standard input is among the files, or ``parts`` is not a number from 1.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "lines.jsonl"
    >>> _ = path.write_text('{"text": "one"}\n{"text": "two"}\n')
    >>> [[(part.start, part.stop) for part in item] for item in divide([path], 2)]
    [[(0, 16)], [(16, 32)]]
    """
    if parts < 1:
        raise TextError(f"found {parts} parts; expected a number from 1")
    paths: list[Path | str] = []
    for file in files:
        if file == sources.STANDARD_INPUT:
            raise TextError("standard input cannot be divided; name files")
        paths.append(file if isinstance(file, str) and is_remote(file) else Path(file))
    ends = [separator.encode()] if separator else []
    ends += [mark.encode() for mark in marks if mark and mark != separator]
    sizes = [sources.size(path) for path in paths]
    total, before = sum(sizes), 0
    items: list[list[Part]] = [[] for _ in range(parts)]
    for path, size in zip(paths, sizes, strict=True):
        # The item in which a byte of all files lies, and the places of this file where another one begins.
        first = min(before * parts // max(total, 1), parts - 1)
        last = min(max(before + size - 1, before) * parts // max(total, 1), parts - 1)
        wanted = [-(-total * item // parts) - before for item in range(first + 1, last + 1)]
        # What is elsewhere stays whole.
        whole = [size] * len(wanted), size
        cuts, stop = _cuts(path, size, wanted, ends, bool(separator)) if isinstance(path, Path) else whole
        for item, (start, end) in enumerate(pairwise([0, *cuts, stop]), first):
            if (start, end) == (0, stop) and (end or not cuts):
                items[item].append(path)
            elif start < end and isinstance(path, Path):
                items[item].append(FileRange(path, start, end))
        before += size
    return items


def _cuts(path: Path, size: int, wanted: list[int], ends: list[bytes], line: bool) -> tuple[list[int], int]:
    """Where a file is cut for the places that are wanted, and where it ends, in the unit of its ranges."""
    kind, compression = sources.kind_of(path)
    if kind == ".parquet":
        return _row_groups(path, size, wanted)
    if not wanted or compression is not None:
        return [size] * len(wanted), size
    find: Find
    if kind in sources.LINES:
        find = _after_line
    elif ends and not _overlap(ends):
        find = _after_mark(ends, line)
    else:
        return [size] * len(wanted), size
    cuts = []
    cut = 0
    with path.open("rb") as file:
        for place in wanted:
            if place > cut:  # else there is no cut between the place and the one that was found last
                cut = min(_search(file.fileno(), place, size, find), size)
            cuts.append(cut)
    return cuts, size


def _row_groups(path: Path, size: int, wanted: list[int]) -> tuple[list[int], int]:
    if not wanted:
        return [], -1  # the whole file, whatever its end
    pyarrow, parquet = sources.import_parquet(path)
    try:
        metadata = parquet.read_metadata(path)
    except pyarrow.ArrowException as error:
        raise TextError(f"{path} is damaged or no Parquet file: {error}") from error
    groups = metadata.num_row_groups
    return [-(-groups * place // size) for place in wanted], groups


def _search(file: int, place: int, size: int, find: Find) -> int:
    """Return the first place from ``place`` on at which ``find`` cuts, or the size of the file.

    ``find`` sees the text from one byte before the place on, as much of it as it asks for.
    """
    start = place - 1
    at, text = 1, b""
    while True:
        more = places.read_at(file, min(BLOCK_BYTES, max(size - start - len(text), 0)), start + len(text))
        text += more
        found = find(text, at, not more)
        if found is not None:
            return start + found
        if not more:
            return size
        # What was searched is let go, but for what may be the beginning of a separator and its line break.
        keep = max(len(text) - 4096, 0)
        if keep:
            text, start, at = text[keep:], start + keep, max(at - keep, 1)


def _after_line(text: bytes, at: int, ended: bool) -> int | None:
    """Cut after a line break. In front of a line that begins with a byte order mark is no place."""
    while (found := text.find(b"\n", at - 1)) >= 0:
        after = found + 1
        if len(text) - after < len(codecs.BOM_UTF8) and not ended:
            return None
        if not text.startswith(codecs.BOM_UTF8, after):
            return after
        at = after + 1
    return None


def _overlap(ends: list[bytes]) -> bool:
    """Whether one may begin inside another: then what was found depends on all of the text before."""
    for one in ends:
        if any(end in one for end in LINE_BREAKS) or len(one) > 1024:
            return True
        for other in ends:
            if one is not other and one in other:
                return True
            if any(one.endswith(other[:length]) for length in range(1, min(len(one), len(other)))):
                return True
    return False


def _after_mark(ends: list[bytes], line: bool) -> Find:
    """Cut after a mark; the first of them is a separator with its line break if ``line`` says so."""
    longest = max(map(len, ends))

    def find(text: bytes, at: int, ended: bool) -> int | None:
        while True:
            found = [(place, mark) for mark in ends if (place := text.find(mark, at)) >= 0]
            if not found:
                return None
            place, mark = min(found)
            after = place + len(mark)
            if len(text) - after < longest + 2 and not ended:
                return None
            is_line = False
            if line and mark == ends[0] and text[place - 1 : place] == b"\n":
                line_break = next((end for end in LINE_BREAKS if text.startswith(end, after)), b"")
                is_line = bool(line_break) or after == len(text)
                after += len(line_break)
            # A part begins on a line of its own: a separator right there must not be taken for a line.
            if is_line or not (line and text.startswith(ends[0], after)):
                return after
            at = place + len(mark)

    return find
