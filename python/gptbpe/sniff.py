"""What a file that was given as text looks like instead: UTF-16, a compressed file, an image.

A byte-level tokenizer takes any bytes, so none of this is an error; it is hardly ever what was meant.
"""

from __future__ import annotations

import warnings

__all__ = ["HEAD_BYTES", "not_text", "warn_if_not_text"]

HEAD_BYTES = 4096
"""So much of the beginning of a file decides."""

SIGNATURES = (
    (b"\xff\xfe\x00\x00", "UTF-32 text; convert it to UTF-8: iconv -f UTF-32 -t UTF-8"),
    (b"\xff\xfe", "UTF-16 text; convert it to UTF-8: iconv -f UTF-16 -t UTF-8"),
    (b"\xfe\xff", "UTF-16 text; convert it to UTF-8: iconv -f UTF-16 -t UTF-8"),
    (b"\x1f\x8b", "a gzip file; give it a name that ends in .gz"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file; give it a name that ends in .zst"),
    (b"PAR1", "a Parquet file; give it a name that ends in .parquet"),
    (b"BZh", "a bzip2 file; unpack it"),
    (b"\xfd7zXZ\x00", "an xz file; unpack it"),
    (b"PK\x03\x04", "a zip archive or an office document; unpack it, or save it as plain text"),
    (b"%PDF-", "a PDF document; convert it to plain text"),
    (b"\x7fELF", "a program"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
)


def not_text(head: bytes) -> str | None:
    r"""Say what a file looks like that begins with ``head``; None for text.

    >>> not_text("naïve\n".encode("utf-16-le"))
    'UTF-16 text; convert it to UTF-8: iconv -f UTF-16LE -t UTF-8'
    >>> not_text(b"plain text, and a lone \xff byte")
    """
    for signature, meaning in SIGNATURES:
        if head.startswith(signature):
            return meaning
    if b"\0" not in head:
        return None
    # Latin text in UTF-16 has a zero in every other byte.
    for start, name in ((1, "UTF-16LE"), (0, "UTF-16BE")):
        half = head[start::2]
        if len(half) > 1 and half.count(0) > 0.4 * len(half) and not head[1 - start :: 2].count(0):
            return f"UTF-16 text; convert it to UTF-8: iconv -f {name} -t UTF-8"
    return "a binary file: there are zero bytes in it"


def warn_if_not_text(name: object, head: bytes) -> None:
    """Warn where a file that begins with ``head`` is hardly text."""
    if (meaning := not_text(head[:HEAD_BYTES])) is None:
        return
    what, _, suffix = meaning.partition("; give it a name that ends in ")
    if suffix and str(name).endswith(suffix):
        meaning = f"{what}, and its bytes are read as they are here; unpack it first"
    warnings.warn(f"{name} looks like {meaning}", stacklevel=2)
