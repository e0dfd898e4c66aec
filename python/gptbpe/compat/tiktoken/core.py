"""``tiktoken.core``: the class.

It is defined elsewhere, so that a second import of this file under tiktoken's name finds the same class.
"""

from gptbpe.compat.tiktoken.encoding import Encoding

__all__ = ["Encoding"]
