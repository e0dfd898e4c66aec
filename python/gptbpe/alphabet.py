"""The byte alphabet: how GPT-2's files, and Hugging Face's, spell bytes as visible characters.

Bytes that are printable in Latin-1 stand for themselves, the 68 others for the characters from U+0100 on: a
space is ``Ġ``, a line feed ``Ċ``. So every token can be written as text, also one that is no UTF-8.
"""

from __future__ import annotations

_PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_REST = (byte for byte in range(256) if byte not in _PRINTABLE)
_TABLE = {byte: chr(byte) for byte in _PRINTABLE} | {byte: chr(256 + n) for n, byte in enumerate(_REST)}
_SPELL = {byte: _TABLE[byte] for byte in range(256)}
_READ = {ord(character): byte for byte, character in _SPELL.items()}


def spell(token: bytes) -> str:
    r"""Return the spelling of bytes.

    >>> spell(b" world\n")
    'ĠworldĊ'
    """
    return token.decode("latin-1").translate(_SPELL)


def read(text: str) -> bytes | None:
    """Return the bytes that are spelt so, or None where a character is not of the alphabet.

    >>> read("Ġworld"), read("a b")
    (b' world', None)
    """
    if any(ord(character) not in _READ for character in text):
        return None
    return text.translate(_READ).encode("latin-1")
