"""JSON lines to documents, in memory that is bounded by the longest line, and lines by :data:`LONGEST_LINE`.

Lines of ordinary length go through Python's parser as they are. That would take many times the memory of a
long one: four bytes per character as soon as one character is beyond U+FFFF, in the text, in its copy and in
the parser. So the long strings of a long line are taken out first and decoded a part at a time, and the
parser sees a line in which a short name stands for each. What is accepted and what it means is the same.
"""

from __future__ import annotations

import codecs
import json
import re
import secrets
from collections.abc import Iterable, Iterator
from typing import Any

from gptbpe.errors import TextError

__all__ = ["LONGEST_LINE", "documents"]

LONGEST_LINE = 256 << 20
"""Lines with more bytes are refused."""
LONG_LINE = 4 << 20
"""Of lines with more bytes the long strings are decoded by themselves."""
LONG_STRING = 64 << 10
PART_BYTES = 1 << 20
"""So much of a long string is decoded at a time."""

Slice = tuple[int, int]


def documents(blocks: Iterable[bytes], name: str, field: str) -> Iterator[bytes]:
    r"""Yield the field of each line's object as UTF-8; blank lines are no documents. Errors name the line.

    Raises:
        TextError: a line that is too long or no JSON object with that field, a lone surrogate.

    >>> list(documents([b'{"text": "one"}\n\n{"te', b'xt": "two"}'], "two.jsonl", "text"))
    [b'one', b'two']
    """
    for number, line in enumerate(_lines(blocks, name), 1):
        place = f"{name}, line {number}"
        if number == 1 and line[0].startswith(codecs.BOM_UTF8):
            line[0] = line[0].removeprefix(codecs.BOM_UTF8)
        if line[0] and not line[0].isspace():
            yield _field(line, place, field)


def _lines(blocks: Iterable[bytes], name: str) -> Iterator[list[bytes]]:
    """Yield each line in a list of its own, from which the reader takes it: then nobody else holds it."""
    rest: list[bytes] = []
    length, number = 0, 1
    for block in blocks:
        first, *others = block.split(b"\n")
        rest.append(first)
        length += len(first)
        for line in others:
            rest = _joined(rest)
            yield rest
            rest, length, number = [line], len(line), number + 1
        if length > LONGEST_LINE:
            raise TextError(
                f"{name}, line {number}: longer than {LONGEST_LINE:,} bytes; put fewer texts on a line, or "
                "give one long text as a plain file (.txt), which may have any length"
            )
    rest = _joined(rest)
    if rest[0]:
        yield rest


def _joined(parts: list[bytes]) -> list[bytes]:
    return parts if len(parts) == 1 else [b"".join(parts)]


def _field(given: list[bytes], place: str, field: str) -> bytes:
    line = given.pop()
    if len(line) > LONG_LINE:
        return _field_of_long_line(line, place, field)
    # Bytes that are not UTF-8 travel through the parser as surrogates; only then may the text hold any.
    try:
        text, errors = line.decode(), "strict"
    except UnicodeDecodeError:
        text, errors = line.decode(errors="surrogateescape"), "surrogateescape"
    return _encoded(_value(_parsed(text, place), place, field), errors, 0, place, field)


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TextError(f"{place}: no JSON object on one line ({error})") from error


def _value(record: Any, place: str, field: str) -> str:
    if not isinstance(record, dict):
        raise TextError(f"{place}: found {type(record).__name__}, expected a JSON object with {field!r}")
    if field not in record:
        raise TextError(
            f"{place}: no field {field!r}; there are {_listed(record)}; "
            "choose one with text_field (--text-field of gptbpe shard)"
        )
    value = record[field]
    if not isinstance(value, str):
        raise TextError(f"{place}: {field!r} is {type(value).__name__}, expected a string")
    return value


def _listed(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:8]) + (", …" if len(listed) > 8 else "") if listed else "none"


def _encoded(text: str, errors: str, before: int, place: str, field: str) -> bytes:
    """Encode text that follows so many characters of the field."""
    try:
        return text.encode(errors=errors)
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        raise TextError(
            f"{place}: lone surrogate U+{code:04X} at character {before + error.start} of {field!r}, "
            "which UTF-8 cannot carry"
        ) from error


# ---- long lines ------------------------------------------------------------------------------------


def _field_of_long_line(line: bytes, place: str, field: str) -> bytes:
    errors = "strict" if _is_utf8(line) else "surrogateescape"
    mark = secrets.token_hex(16)
    short, strings = bytearray(), list[Slice]()
    at = 0
    for start, end in _long_strings(line):
        short += line[at:start] + f"{mark}:{len(strings)}".encode()
        strings.append((start, end))
        at = end
    short += line[at:]
    record = _parsed(short.decode(errors=errors), place)
    value = record.get(field) if isinstance(record, dict) else None
    wanted = int(value[len(mark) + 1 :]) if isinstance(value, str) and value.startswith(mark) else None
    for number, string in enumerate(strings):
        if number != wanted:  # what is wrong in any string makes the line no JSON
            for _ in _decoded(line, string, errors, place):
                pass
    if wanted is None:
        return _encoded(_value(record, place, field), errors, 0, place, field)
    found, characters = bytearray(), 0
    for part in _decoded(line, strings[wanted], errors, place):
        found += _encoded(part, errors, characters, place, field)
        characters += len(part)
    return bytes(found)


def _is_utf8(line: bytes) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(line), PART_BYTES):
            decoder.decode(line[start : start + PART_BYTES])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _long_strings(line: bytes) -> Iterator[Slice]:
    """Yield where the long strings stand, without their quotes; one that never ends is left to the parser."""
    at = line.find(b'"')
    while at >= 0:
        end = _end_of_string(line, at + 1)
        if end < 0:
            return
        if end - at > LONG_STRING:
            yield at + 1, end
        at = line.find(b'"', end + 1)


def _end_of_string(line: bytes, start: int) -> int:
    """Return where the string that begins at ``start`` ends: at a quote that no backslash escapes."""
    at = line.find(b'"', start)
    while at >= 0:
        if _backslashes(line, start, at) % 2 == 0:
            return at
        at = line.find(b'"', at + 1)
    return -1


def _backslashes(line: bytes, start: int, end: int) -> int:
    """Count the backslashes before ``end``."""
    at = end
    while at > start and line[at - 1] == 0x5C:
        before = line[max(start, at - 4096) : at]
        at -= len(before) - len(before.rstrip(b"\\"))
    return end - at


_LOW_SURROGATE = re.compile(rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}")


def _decoded(line: bytes, string: Slice, errors: str, place: str) -> Iterator[str]:
    """Yield what the inside of a JSON string means, a part at a time."""
    at, end = string
    while at < end:
        to = _end_of_part(line, at, end)
        try:
            yield json.loads('"' + line[at:to].decode(errors=errors) + '"')
        except ValueError as error:
            message = getattr(error, "msg", str(error))
            raise TextError(f"{place}: no JSON object on one line ({message}, after byte {at})") from error
        at = to


def _end_of_part(line: bytes, at: int, end: int) -> int:
    """Return where a string can be cut: not within a character, an escape or a pair of surrogates."""
    if end - at <= PART_BYTES:
        return end
    part = line[at : at + PART_BYTES]
    to = at + len(part)
    last = part.rfind(b"\\", len(part) - 6)
    if last >= 0:
        is_escape = _backslashes(part, 0, last + 1) % 2 == 1
        length = 2 if part[last + 1 : last + 2] not in (b"u", b"") else 6
        if is_escape and last + length > len(part):
            to = at + last
    for _ in range(3):
        if to < end and 0x80 <= line[to] < 0xC0:
            to += 1
    pair = _LOW_SURROGATE.match(line, to, end)
    return pair.end() if pair else to
