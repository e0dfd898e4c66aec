"""Tokens as people can read them: nothing invisible, and no byte lost."""

from __future__ import annotations


def visible(token: bytes, line_break: str = "↵") -> str:
    r"""Write a token so that every byte is seen.

    Spaces are ``·``, line breaks ``↵``, tabs ``→``; bytes that are no whole character, and characters that
    cannot be printed, stand as numbers in angle brackets.

    >>> visible(b" low\n"), visible("naïve".encode()), visible(b"\xe4\xbd")
    ('·low↵', 'naïve', '<E4><BD>')
    """
    shown = []
    for character in token.decode("utf-8", "surrogateescape"):
        code = ord(character)
        if 0xDC80 <= code <= 0xDCFF:
            shown.append(f"<{code - 0xDC00:02X}>")
        elif character == " ":
            shown.append("·")
        elif character == "\n":
            shown.append(line_break)
        elif character == "\t":
            shown.append("→")
        elif code < 32 or code == 127 or not character.isprintable():
            shown.append(f"<{code:02X}>" if code < 256 else f"<U+{code:04X}>")
        else:
            shown.append(character)
    return "".join(shown)
