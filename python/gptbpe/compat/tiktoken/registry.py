"""``tiktoken.registry``: the encodings by their names.

They are kept elsewhere, so that a second import of this file under tiktoken's name finds the same objects.
"""

from gptbpe.compat.tiktoken.encodings import (
    ENCODING_CONSTRUCTORS,
    ENCODINGS,
    get_encoding,
    list_encoding_names,
)

__all__ = ["ENCODINGS", "ENCODING_CONSTRUCTORS", "get_encoding", "list_encoding_names"]
