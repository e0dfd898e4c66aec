"""The examples in the docstrings are true."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = [
    "gptbpe",
    "gptbpe.tokenizer",
    "gptbpe.training",
    "gptbpe.files",
    "gptbpe.errors",
    "gptbpe.compat.tiktoken",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    module = importlib.import_module(name)
    found = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL)
    assert found.failed == 0


def test_every_public_method_has_an_example_or_says_enough() -> None:
    from gptbpe import Tokenizer

    for name, member in vars(Tokenizer).items():
        if not name.startswith("_"):
            text = member.__doc__ or getattr(member, "__func__", member).__doc__
            assert text, name
