"""The methods of a tokenizer that people know from Hugging Face's ``transformers`` and ``tokenizers``.

Names, arguments and results are theirs where the meaning is; what differs is said where it differs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from operator import index
from pathlib import Path
from typing import Literal, SupportsIndex

import numpy as np
import numpy.typing as npt

from gptbpe import added, alphabet, batch, pretrained
from gptbpe._core import Codec
from gptbpe.types import Names, Text


class HuggingFaceMethods(Codec):
    """What a tokenizer has of ``PreTrainedTokenizerFast`` and of ``tokenizers.Tokenizer``."""

    __slots__ = ("_settings",)

    _settings: pretrained.Settings

    # ---- folders ---------------------------------------------------------------------------------

    def save_pretrained(
        self,
        folder: str | os.PathLike[str],
        *,
        chat_template: str | None = None,
        model_max_length: int | None = None,
        bos_token: str | None = None,
        eos_token: str | None = None,
        pad_token: str | None = None,
        unk_token: str | None = None,
    ) -> None:
        """Write a folder that ``transformers.AutoTokenizer.from_pretrained`` opens, offline.

        Written are ``tokenizer.json``, ``tokenizer_config.json``, ``special_tokens_map.json``, and the chat
        template as ``chat_template.jinja``. What a tokenizer was loaded with from a folder is kept unless it
        is given anew; special tokens that are not given or kept are found by their usual names
        (``<|endoftext|>``, ``<s>``, ``<pad>``, …). The folder is made if need be. Other files in it stay, and
        so do other settings in its ``tokenizer_config.json``. Each file appears whole, ``tokenizer.json``
        first.

        Args:
            folder: where to write.
            chat_template: a Jinja template that turns messages into text.
            model_max_length: how many tokens the model takes.
            bos_token: the special token in front of a text.
            eos_token: the special token that ends a text.
            pad_token: the special token that fills a batch.
            unk_token: the special token for what cannot be encoded; byte-level tokenizers need none.

        Raises:
            TokenizerFileError: a token is not a special token of this tokenizer, or an existing
                ``tokenizer_config.json`` is damaged.

        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> from gptbpe import Tokenizer
        >>> tok = Tokenizer.train(b"low low", vocab_size=258, special_tokens=["<|endoftext|>"])
        >>> tok.save_pretrained(folder, model_max_length=1024)
        >>> Tokenizer.load(folder) == tok
        True
        """
        tokens = {"bos": bos_token, "eos": eos_token, "pad": pad_token, "unk": unk_token}
        given = {role: token for role, token in tokens.items() if token is not None}
        settings = self._settings.changed(chat_template, model_max_length, given)
        pretrained.save(Path(folder), self._core, settings)

    @property
    def chat_template(self) -> str | None:
        """The Jinja template for chats that came with the folder the tokenizer was loaded from, or None."""
        return self._settings.templates.get(pretrained.DEFAULT)

    # ---- text to ids -----------------------------------------------------------------------------

    def encode_with_spans(
        self,
        text: Text,
        *,
        unit: Literal["characters", "bytes"] | None = None,
        allowed_special: Names = (),
        disallowed_special: Names = "all",
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """Encode, and tell which part of the text each token covers: ids, and (start, end) of each.

        A span of characters covers every character of which the token has a byte, so that tokens inside one
        character have the same span; spans of bytes never overlap. For starts alone, and in the unit of
        ``text``, :meth:`encode_with_offsets` is faster.

        Args:
            text: what to encode.
            unit: ``"characters"`` or ``"bytes"``; by default characters of a ``str``, bytes of bytes.
            allowed_special: as in :meth:`encode`.
            disallowed_special: as in :meth:`encode`.

        Raises:
            TextError: ``unit`` is ``"characters"`` and the bytes are not UTF-8.

        >>> from gptbpe import Tokenizer
        >>> tok = Tokenizer.get("gpt2")
        >>> tok.encode_with_spans("a 🦆!")[1]
        [(0, 1), (1, 3), (2, 3), (2, 3), (3, 4)]
        >>> tok.encode_with_spans("a 🦆!", unit="bytes")[1]
        [(0, 1), (1, 4), (4, 5), (5, 6), (6, 7)]
        """
        data, unit = batch.spanned_text(text, unit)
        ids, starts = self.encode_with_offsets(
            data, allowed_special=allowed_special, disallowed_special=disallowed_special
        )
        return ids, batch.spans(data, starts, unit)

    def __call__(
        self,
        text: Text | Iterable[Text],
        *,
        padding: bool | Literal["longest", "max_length"] = False,
        truncation: bool = False,
        max_length: int | None = None,
        return_tensors: Literal["np", "pt"] | None = None,
        dtype: npt.DTypeLike = np.int64,
        add_special_tokens: bool = True,
        padding_side: Literal["left", "right"] | None = None,
        pad_token_id: int | None = None,
        allowed_special: Names = (),
        disallowed_special: Names = "all",
        threads: int | None = None,
    ) -> batch.Batch:
        """Encode one text or several for a model, as ``transformers`` does: ids and attention mask.

        Args:
            text: one text, or several.
            padding: ``True`` or ``"longest"``: to the longest of the batch; ``"max_length"``: to
                ``max_length``.
            truncation: whether texts are cut at ``max_length`` tokens.
            max_length: by default ``model_max_length`` of the folder that the tokenizer was loaded from.
            return_tensors: ``"np"`` for NumPy arrays, ``"pt"`` for PyTorch tensors, both of shape (texts,
                tokens); by default lists.
            dtype: of the arrays or tensors.
            add_special_tokens: whether the ids have around them what the tokenizer's file puts there, as in
                :meth:`encode`; here by default, as in ``transformers``.
            padding_side: where the padding goes; by default as the folder says, else ``"right"``. A model
                that goes on writing wants ``"left"``.
            pad_token_id: what to pad with; by default the padding token's id.
            allowed_special: as in :meth:`encode`; unlike ``transformers``, text is not searched for special
                tokens unless this says so.
            disallowed_special: as in :meth:`encode`.
            threads: how many threads encode; None for one per core.

        Raises:
            TokenizerError: there is no padding token, or no ``max_length`` where one is needed, or texts of
                unequal length are to become one array.
            MissingExtraError: PyTorch is asked for and not installed.

        >>> from gptbpe import Tokenizer
        >>> tok = Tokenizer.get("gpt2")
        >>> tok(["Hello, world!", "Hello"], padding=True, pad_token_id=50256, return_tensors="np").input_ids
        array([[15496,    11,   995,     0],
               [15496, 50256, 50256, 50256]])
        >>> tok("Hello, world!", truncation=True, max_length=2)
        Batch(input_ids=[15496, 11], attention_mask=[1, 1])
        """
        one = isinstance(text, (str, bytes, bytearray, memoryview))
        ids, offsets = self.encode_ragged(
            [text] if one else text,  # type: ignore[list-item, arg-type]
            allowed_special=allowed_special,
            disallowed_special=disallowed_special,
            threads=threads,
        )
        before, after = self._core.template if add_special_tokens else ([], [])
        layout = batch.Layout(
            before=before,
            after=after,
            padding=padding,
            truncation=truncation,
            max_length=self._settings.max_length if max_length is None else max_length,
            padding_side=padding_side or self._settings.config.get("padding_side", "right"),
            truncation_side=self._settings.config.get("truncation_side", "right"),
            pad_token_id=self._settings.token_id("pad", self._core) if pad_token_id is None else pad_token_id,
        )
        return batch.make(ids, offsets, layout, return_tensors, dtype, one=one)

    # ---- tokens as text --------------------------------------------------------------------------

    @property
    def vocab(self) -> dict[str, int]:
        """All tokens as text -> id, in the order of ids: what ``transformers`` calls ``get_vocab()``.

        The text is that of :meth:`id_to_token`. As bytes -> id, without special tokens, see :meth:`ranks`.
        """
        spell = (lambda token: token.decode()) if self._core.is_characters else alphabet.spell
        pairs = [(spell(token), id) for token, id in self._core.ranks()]
        return dict(sorted([*pairs, *added.tokens(self._core).items()], key=lambda pair: pair[1]))

    def id_to_token(self, id: SupportsIndex) -> str:
        """Return the text of one token as Hugging Face writes it; :meth:`token_bytes` returns its bytes.

        In the byte alphabet every byte is a visible character (a space is ``Ġ``), so a token that is part of
        a character can be written, too. A special token is its string, a token of a character tokenizer the
        character.

        Raises:
            UnknownTokenError: no token has this id.

        >>> from gptbpe import Tokenizer
        >>> tok = Tokenizer.get("gpt2")
        >>> [tok.id_to_token(id) for id in tok.encode(" world 🦆")]
        ['Ġworld', 'ĠðŁ', '¦', 'Ĩ']
        """
        token = self._core.token_bytes(id)
        if self._core.is_characters or self._core.ordinary_id(token) != index(id):
            return token.decode()
        return alphabet.spell(token)

    def token_to_id(self, token: str) -> int | None:
        """Return the id of the token with this text, or None: the inverse of :meth:`id_to_token`.

        By its bytes a token is found by :meth:`token_id`.

        >>> from gptbpe import Tokenizer
        >>> tok = Tokenizer.get("gpt2")
        >>> tok.token_to_id("Ġworld"), tok.token_to_id("<|endoftext|>"), tok.token_to_id(" world")
        (995, 50256, None)
        """
        special = added.tokens(self._core).get(token)
        if special is not None or self._core.is_characters:
            return special if special is not None else self._core.ordinary_id(token)
        spelt = alphabet.read(token)
        return None if spelt is None else self._core.ordinary_id(spelt)
