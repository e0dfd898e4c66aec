"""What a vocabulary is worth: how far it compresses each text, and which of its tokens are used.

:func:`measure` encodes texts and counts every token. Beside that it knows how often the pair of each merge
occurred when it was learned, if the tokenizer was trained in this process. The result is written as a
picture, as Markdown or as JSON.

>>> from gptbpe import Tokenizer, report
>>> text = b"low low lower lowest newest widest " * 20
>>> measured = report.measure(Tokenizer.train(text, vocab_size=270), text)
>>> measured.total.bytes, measured.total.tokens, measured.total.bytes_per_token
(700, 181, 3.8674)
>>> [(row.token, row.uses) for row in measured.longest(2)]
[(b' lowest', 20), (b' lower', 20)]
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gptbpe import extras, files, sources, training
from gptbpe._core import DocumentBatch, DocumentBuffer
from gptbpe.errors import MissingExtraError, TextError
from gptbpe.tokenizer import Tokenizer
from gptbpe.types import Progress, Source
from gptbpe.visible import visible

__all__ = ["Report", "SourceFigures", "TokenFigures", "check_name", "measure"]

SUFFIXES = (".svg", ".png", ".md", ".json")
LISTED = 20
"""So many tokens and sources stand in a table."""


@dataclass(frozen=True, slots=True)
class SourceFigures:
    """One source: its text, in bytes, and the tokens that it became."""

    name: str
    bytes: int
    tokens: int
    single_bytes: int
    """How many of the tokens are one byte."""

    @property
    def bytes_per_token(self) -> float | None:
        """The compression, or None where there is no text."""
        return round(self.bytes / self.tokens, 4) if self.tokens else None


@dataclass(frozen=True, slots=True)
class TokenFigures:
    """One token that a merge made."""

    id: int
    token: bytes
    count: int | None
    """How often its pair occurred when it was learned; None where that is not known."""
    uses: int
    """How often it stands in the encoded text."""


class Report:
    """The figures of one tokenizer on some texts; made by :func:`measure`.

    Arrays have a row for each merged token, in the order in which they were learned: ``ids``, ``lengths`` in
    bytes, ``uses``, and ``counts``, which may be None.
    """

    def __init__(
        self, tokenizer: Tokenizer, rows: Iterable[SourceFigures], uses: npt.NDArray[np.int64]
    ) -> None:
        ordinary = list(tokenizer.ranks().items())
        merged = [(token, id) for token, id in ordinary if len(token) > 1]
        self.tokenizer = tokenizer
        self.sources = tuple(rows)
        self.tokens = [token for token, _ in merged]
        self.ids = np.array([id for _, id in merged], dtype=np.int64)
        self.lengths = np.array([len(token) for token in self.tokens], dtype=np.int64)
        self.all_uses = uses
        self.uses = uses[self.ids] if merged else np.zeros(0, np.int64)
        counts = tokenizer.merge_counts
        self.counts = None if counts is None else np.array(counts, dtype=np.uint64)

    @property
    def total(self) -> SourceFigures:
        """All sources together."""
        rows = self.sources
        return SourceFigures(
            "all",
            sum(row.bytes for row in rows),
            sum(row.tokens for row in rows),
            sum(row.single_bytes for row in rows),
        )

    @property
    def unused(self) -> int:
        """How many merged tokens do not occur in the text: steps on the way to others, mostly."""
        return int(np.count_nonzero(self.uses == 0))

    def longest(self, most: int = LISTED) -> list[TokenFigures]:
        """Return the longest tokens, the first learned of equals first."""
        return self._rows(np.argsort(-self.lengths, kind="stable")[:most])

    def rarest(self, most: int = LISTED) -> list[TokenFigures]:
        """Return the tokens that were learned from the fewest windows, then those that are used least.

        Where the counts of learning are not known only the uses decide.
        """
        counts = self.uses if self.counts is None else self.counts
        return self._rows(np.lexsort((-self.ids, self.uses, counts))[:most])

    def most_used(self, most: int = LISTED) -> list[TokenFigures]:
        """Return the merged tokens that occur most often in the text."""
        return self._rows(np.argsort(-self.uses, kind="stable")[:most])

    def _rows(self, places: npt.NDArray[np.intp]) -> list[TokenFigures]:
        counts = self.counts
        return [
            TokenFigures(
                int(self.ids[at]),
                self.tokens[at],
                None if counts is None else int(counts[at]),
                int(self.uses[at]),
            )
            for at in places.tolist()
        ]

    # ---- forms -----------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, as the JSON file has it."""
        tok, total = self.tokenizer, self.total
        return {
            "vocab_size": tok.vocab_size,
            "merges": len(tok.merges),
            "special_tokens": tok.special_tokens,
            "pattern": tok.pattern,
            "fingerprint": tok.fingerprint,
            "total": _source(total),
            "sources": [_source(row) for row in self.sources],
            "unused": self.unused,
            "longest": [_token(row) for row in self.longest()],
            "rarest": [_token(row) for row in self.rarest()],
            "most_used": [_token(row) for row in self.most_used()],
            "by_rank": {
                "id": self.ids.tolist(),
                "length": self.lengths.tolist(),
                "count": None if self.counts is None else self.counts.tolist(),
                "uses": self.uses.tolist(),
            },
        }

    def markdown(self) -> str:
        """Return the tables: sources, longest, rarest and most used tokens."""
        tok, total = self.tokenizer, self.total
        merged = len(self.tokens)
        lines = [
            f"# {tok.vocab_size:,} tokens",
            "",
            f"Pattern `{tok.pattern}`, {len(tok.merges):,} merges, special tokens: "
            f"{len(tok.special_tokens)}, fingerprint `{tok.fingerprint[:16]}`.",
            "",
            f"{total.bytes:,} bytes became {total.tokens:,} tokens: {_ratio(total)} bytes per token. "
            f"{_share(total.single_bytes, total.tokens)} of these tokens are single bytes. "
            f"{self.unused:,} of {merged:,} merged tokens ({_share(self.unused, merged)}) do not occur.",
            "",
            "| source | bytes | tokens | bytes per token | single bytes |",
            "|---|---:|---:|---:|---:|",
        ]
        for row in [*self.sources[:LISTED], *([total] if len(self.sources) > 1 else [])]:
            lines.append(
                f"| {_cell(row.name)} | {row.bytes:,} | {row.tokens:,} | {_ratio(row)} | "
                f"{_share(row.single_bytes, row.tokens)} |"
            )
        if len(self.sources) > LISTED:  # before the total
            lines[-1:-1] = [f"| … and {len(self.sources) - LISTED:,} more | | | | |"]
        for title, rows in (
            ("Longest tokens", self.longest()),
            ("Rarest tokens", self.rarest()),
            ("Most used tokens", self.most_used()),
        ):
            lines += ["", f"## {title}", "", "| id | token | bytes | count when learned | uses |"]
            lines += ["|---:|---|---:|---:|---:|"]
            for each in rows:
                count = "" if each.count is None else f"{each.count:,}"
                shown = _cell(_shortened(each.token, 60))
                lines.append(f"| {each.id} | `{shown}` | {len(each.token)} | {count} | {each.uses:,} |")
        return "\n".join(lines) + "\n"

    def svg(self) -> str:
        """Return the picture: tokens by rank and length, count by rank, compression and the lists."""
        from gptbpe import report_picture

        return report_picture.svg(self)

    def png(self) -> bytes:
        """Return the picture as PNG.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        from gptbpe import report_picture

        return report_picture.png(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report in the form that the file's name asks for: .svg, .png, .md or .json; atomically.

        Raises:
            TextError: another suffix.
            MissingExtraError: a PNG without matplotlib.
        """
        check_name(path)
        suffix = Path(path).suffix.lower()
        if suffix == ".png":
            data = self.png()
        elif suffix == ".svg":
            data = self.svg().encode()
        elif suffix == ".md":
            data = self.markdown().encode()
        else:
            data = (json.dumps(self.to_dict(), ensure_ascii=False) + "\n").encode()
        files.write_atomically(path, data)


def check_name(path: str | os.PathLike[str]) -> None:
    """Raise what :meth:`Report.save` would raise after the work: an unknown suffix, no matplotlib."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise TextError(
            f"a report is {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}; found {os.fspath(path)!r}"
        )
    if suffix == ".png" and importlib.util.find_spec("matplotlib") is None:
        raise MissingExtraError(
            f"a PNG needs matplotlib; install it with: {extras.install('model')}, or write .svg"
        )


def measure(
    tokenizer: Tokenizer,
    source: Source | Mapping[str, Source],
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Encode texts and count every token.

    Special tokens in the texts are one token each, as in training. Text is read a batch at a time, so files
    may be larger than memory.

    Args:
        tokenizer: any byte-level BPE or character tokenizer; the counts of learning are part of the report if
            it was trained in this process.
        source: what :meth:`Tokenizer.train` takes, where each file is a row of the report and all texts
            together are one; or a mapping of names to that, where each name is a row.
        threads: how many threads encode; None for one per core.
        progress: called now and then as ``progress("measuring", done, total)``, in bytes.

    Raises:
        FileNotFoundError: a ``str`` or ``Path`` names no file.

    >>> tok = Tokenizer.train(b"low low lower", vocab_size=259)
    >>> for row in measure(tok, {"english": b"low lower", "latin": b"humilis"}).sources:
    ...     print(row.name, row.bytes, row.tokens)
    english 9 5
    latin 7 7
    """
    named = _named(source)
    pieces = [piece for _, parts in named for piece in parts]
    total = training.size(pieces) if progress is not None else None
    uses = np.zeros(tokenizer.vocab_size, np.int64)
    is_single = np.zeros(tokenizer.vocab_size, bool)
    for token, id in tokenizer.ranks().items():
        is_single[id] = len(token) == 1
    done = 0

    def read(size: int) -> None:
        nonlocal done
        done += size
        if progress is not None:
            progress("measuring", done, total)

    rows: list[SourceFigures] = []
    for name, parts in named:
        size, own = 0, np.zeros_like(uses)
        for piece in parts:
            for batch in _batches(tokenizer, piece, read):
                size += batch.text_bytes
                ids, _ = batch.encode(tokenizer._core, "all", threads).take_arrays()
                own += np.bincount(ids, minlength=len(uses))
        rows.append(SourceFigures(name, size, int(own.sum()), int(own[is_single].sum())))
        uses += own
    return Report(tokenizer, rows, uses)


def _named(source: Source | Mapping[str, Source]) -> list[tuple[str, list[training.Piece]]]:
    """Settle which rows there are, and what is read for each."""
    if isinstance(source, Mapping):
        return [(str(name), list(training.documents(part))) for name, part in source.items()]
    named: list[tuple[str, list[training.Piece]]] = []
    texts: list[training.Piece] = []
    for piece in training.documents(source):
        if isinstance(piece, Path):
            named.append((str(piece), [piece]))
        else:
            texts.append(piece)
    if texts:
        named.append(("text" if len(texts) == 1 else f"{len(texts):,} texts", texts))
    return named


def _batches(tokenizer: Tokenizer, piece: training.Piece, report: sources.Report) -> Iterator[DocumentBatch]:
    buffer = DocumentBuffer(None, sources.BATCH_BYTES, tokenizer._core, "all", 0)
    if isinstance(piece, training.FILES):
        yield from sources.batches([piece], buffer, report=report)
        return
    for part in training.parts(piece):
        buffer.push(part)
        report(len(part))
        while buffer.full:
            if (batch := buffer.take()) is not None:
                yield batch
    buffer.end_file()
    while (batch := buffer.take()) is not None:
        yield batch


def _source(row: SourceFigures) -> dict[str, Any]:
    return {
        "name": row.name,
        "bytes": row.bytes,
        "tokens": row.tokens,
        "bytes_per_token": row.bytes_per_token,
        "single_bytes": row.single_bytes,
    }


def _token(row: TokenFigures) -> dict[str, Any]:
    return {
        "id": row.id,
        "token": _shortened(row.token, 200),
        "length": len(row.token),
        "count": row.count,
        "uses": row.uses,
    }


def _shortened(token: bytes, most: int) -> str:
    """Write a token visibly, cut where it is longer than so many characters."""
    shown = visible(token[: 4 * most])
    return shown if len(shown) <= most and len(token) <= 4 * most else shown[: most - 1] + "…"


def _ratio(row: SourceFigures) -> str:
    return "" if row.bytes_per_token is None else f"{row.bytes_per_token:.2f}"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "0 %"


def _cell(text: str) -> str:
    """Keep a text within its cell of a Markdown table."""
    return text.replace("|", "\\|").replace("`", "ˋ").replace("\n", " ")
