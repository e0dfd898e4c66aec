r"""tiktoken's interface over gptbpe: the same functions, methods, arguments, ids and kinds of errors.

    -import tiktoken
    +from gptbpe.compat import tiktoken

The modules ``core``, ``load``, ``model`` and ``registry`` have tiktoken's names and contents too. A program
that imports tiktoken itself, or a pickle that names it, gets this package instead after::

    import sys
    from gptbpe.compat import tiktoken

    sys.modules["tiktoken"] = tiktoken

The interface is that of tiktoken 0.14.0, whose own tests pass. What differs, on purpose:

* nothing is downloaded. :mod:`gptbpe.compat.tiktoken.load` answers for OpenAI's vocabularies from what is
  packaged, reads local files and the cache folder, and never writes into that folder;
* plugins in ``tiktoken_ext`` are not looked for; constructors may be added to
  ``registry.ENCODING_CONSTRUCTORS``;
* texts on which tiktoken's regex overflows its stack are encoded;
* text that no match of ``pat_str`` covers is encoded, tiktoken leaves it out;
* a ``pat_str`` that matches the empty text, or has back-references, look-around other than ``\s+(?!\S)`` and
  its kin, or possessive quantifiers that differ from greedy ones is refused:
  :class:`~gptbpe.errors.PatternError`, which is a ``ValueError``;
* a vocabulary must have all 256 bytes, ids up to 2,097,150, and no empty token or special token:
  :class:`~gptbpe.errors.TokenizerError`, which is a ``ValueError``, where tiktoken takes them or panics;
* where one special token begins with another the longer one is found, in tiktoken the first in a hash table;
* where special tokens share an id, that id is decoded as the first of them, in tiktoken as the last in a
  hash table (the two agree for ``o200k_harmony``, the only known encoding with such an id);
* what makes tiktoken panic (a ``BaseException``) is a result or an ``Exception``;
* copies and pickles of what :func:`get_encoding` returned are that very object, and an array of
  :meth:`Encoding.encode_to_numpy` can be written to;
* sentences in exceptions are gptbpe's;
* there is no ``Encoding._core_bpe`` and no module ``_educational``.
"""

from gptbpe.compat.tiktoken import core, load, model, registry
from gptbpe.compat.tiktoken.core import Encoding
from gptbpe.compat.tiktoken.model import encoding_for_model, encoding_name_for_model
from gptbpe.compat.tiktoken.registry import get_encoding, list_encoding_names

__version__ = "0.14.0"

__all__ = [
    "Encoding",
    "core",
    "encoding_for_model",
    "encoding_name_for_model",
    "get_encoding",
    "list_encoding_names",
    "load",
    "model",
    "registry",
]
