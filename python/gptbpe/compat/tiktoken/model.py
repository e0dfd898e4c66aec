"""``tiktoken.model``: which encoding each of OpenAI's models uses."""

from __future__ import annotations

from gptbpe.compat.tiktoken.encoding import Encoding
from gptbpe.compat.tiktoken.encodings import get_encoding
from gptbpe.names import FAMILIES, MODELS, shown

__all__ = [
    "MODEL_PREFIX_TO_ENCODING",
    "MODEL_TO_ENCODING",
    "encoding_for_model",
    "encoding_name_for_model",
]

MODEL_TO_ENCODING: dict[str, str] = {
    model: encoding for encoding, models in MODELS.items() for model in models.split()
}
"""Model -> encoding."""

MODEL_PREFIX_TO_ENCODING: dict[str, str] = {
    family: encoding for encoding, families in FAMILIES.items() for family in families.split()
}
"""Beginning of a model's name -> encoding; the first that fits decides."""


def encoding_name_for_model(model_name: str) -> str:
    """Return the name of the encoding that one of OpenAI's models uses.

    Raises:
        KeyError: the model is not known.

    >>> encoding_name_for_model("gpt-4o-2024-05-13")
    'o200k_base'
    """
    if model_name in MODEL_TO_ENCODING:
        return MODEL_TO_ENCODING[model_name]
    for prefix, encoding in MODEL_PREFIX_TO_ENCODING.items():
        if model_name.startswith(prefix):
            return encoding
    raise KeyError(
        f"no encoding is known for the model {shown(model_name)}; if you know its name, call get_encoding"
    )


def encoding_for_model(model_name: str) -> Encoding:
    """Return the encoding that one of OpenAI's models uses.

    Raises:
        KeyError: the model is not known.

    >>> encoding_for_model("gpt-4o").name
    'o200k_base'
    """
    return get_encoding(encoding_name_for_model(model_name))
