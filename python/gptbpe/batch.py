"""Several texts for a model: ids cut and filled to one length, and which of them are text; and spans of text.

The ids come as :meth:`gptbpe.Tokenizer.encode_ragged` makes them. A row is cut, then padded; the mask is 1
where there is a token and 0 where there is padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gptbpe import extras
from gptbpe.errors import MissingExtraError, TextError, TokenizerError
from gptbpe.types import Text


class Batch(Mapping[str, Any]):
    """``input_ids`` and ``attention_mask``, as keys and as attributes: ``model(**batch)`` takes it.

    Each is a list of ids (of one text), a list of lists, an array or a tensor.

    >>> batch = Batch([1, 2], [1, 1])
    >>> batch["input_ids"], batch.attention_mask, list(batch)
    ([1, 2], [1, 1], ['input_ids', 'attention_mask'])
    """

    __slots__ = ("attention_mask", "input_ids")

    def __init__(self, input_ids: Any, attention_mask: Any) -> None:
        self.input_ids = input_ids
        self.attention_mask = attention_mask

    def __getitem__(self, key: str) -> Any:
        """Return what has this name."""
        if key not in ("input_ids", "attention_mask"):
            raise KeyError(key)
        return getattr(self, key)

    def __iter__(self) -> Iterator[str]:
        """Yield the names."""
        yield from ("input_ids", "attention_mask")

    def __len__(self) -> int:
        """Return the number of names, as a mapping does; texts are counted by ``len(batch.input_ids)``."""
        return 2

    def to(self, device: Any) -> Batch:
        """Return the batch with its tensors on a device of PyTorch."""
        return Batch(self.input_ids.to(device), self.attention_mask.to(device))

    def __repr__(self) -> str:
        """Show both parts."""
        return f"Batch(input_ids={self.input_ids!r}, attention_mask={self.attention_mask!r})"


@dataclass(frozen=True)
class Layout:
    """How rows are cut and filled; ``Tokenizer.__call__`` documents the fields."""

    before: Sequence[int]
    after: Sequence[int]
    padding: bool | str
    truncation: bool
    max_length: int | None
    padding_side: str
    truncation_side: str
    pad_token_id: int | None

    def __post_init__(self) -> None:
        if self.padding not in (True, False, "longest", "max_length", "do_not_pad"):
            raise TokenizerError(
                f'padding={self.padding!r} is unknown; expected True, "longest", "max_length" or False'
            )
        if self.truncation not in (True, False):
            raise TokenizerError(f"truncation={self.truncation!r} is unknown; expected True or False")
        for name in ("padding_side", "truncation_side"):
            if getattr(self, name) not in ("left", "right"):
                raise TokenizerError(f'{name}={getattr(self, name)!r} is unknown; expected "left" or "right"')
        if (self.truncation or self.padding == "max_length") and self.max_length is None:
            raise TokenizerError(
                f"{'truncation' if self.truncation else 'padding'} needs a length, and none is known for "
                "this tokenizer; pass max_length=…"
            )
        if self.max_length is not None and self.max_length < 0:
            raise TokenizerError(f"max_length is {self.max_length}, expected 0 or more")
        around = len(self.before) + len(self.after)
        if self.truncation and self.max_length is not None and self.max_length < around:
            raise TokenizerError(
                f"max_length is {self.max_length}, which leaves no room for the {around} tokens around every "
                "text; pass add_special_tokens=False to leave these out"
            )
        if self.pads and self.pad_token_id is None:
            raise TokenizerError(
                "padding needs a padding token, and this tokenizer has none; pass pad_token_id=… (where the "
                "mask is "
                'used any id will do), or add one: with_special_tokens(["<|pad|>"])'
            )

    @property
    def pads(self) -> bool:
        """Whether anything is filled."""
        return self.padding not in (False, "do_not_pad")

    def row(self, ids: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Cut the ids of a text where they are too long, and put around them what stands there."""
        if self.truncation and self.max_length is not None:
            most = max(self.max_length - len(self.before) - len(self.after), 0)
            if len(ids) > most:
                ids = ids[len(ids) - most :] if self.truncation_side == "left" else ids[:most]
        if not self.before and not self.after:
            return ids
        return np.concatenate([np.array(part, dtype=ids.dtype) for part in (self.before, ids, self.after)])

    def width(self, lengths: Sequence[int]) -> int:
        """Return how long the rows become that are shorter."""
        if not self.pads:
            return 0
        if self.padding == "max_length" and self.max_length is not None:
            return self.max_length
        return max(lengths, default=0)


def make(
    ids: npt.NDArray[Any],
    offsets: npt.NDArray[np.int64],
    layout: Layout,
    return_tensors: str | None,
    dtype: npt.DTypeLike,
    *,
    one: bool,
) -> Batch:
    """Cut and fill ragged rows. ``Tokenizer.__call__`` documents it; ``one`` text makes no list of lists."""
    if return_tensors not in (None, "np", "pt"):
        raise TokenizerError(f'return_tensors={return_tensors!r} is unknown; expected "np", "pt" or None')
    pairs = zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
    rows = [layout.row(ids[start:stop]) for start, stop in pairs]
    width = layout.width([len(row) for row in rows])
    if return_tensors is None:
        lists = [_filled(row.tolist(), layout.pad_token_id, width, layout) for row in rows]
        masks = [_filled([1] * len(row), 0, width, layout) for row in rows]
        return Batch(lists[0], masks[0]) if one else Batch(lists, masks)
    lengths = {max(len(row), width) for row in rows}
    if len(lengths) > 1:
        raise TokenizerError(
            f"texts of {min(lengths)} to {max(lengths)} tokens make no array; pass padding=True"
            f"{'' if layout.truncation else ' and, where they are too long, truncation=True'}"
        )
    shape = (len(rows), lengths.pop() if lengths else 0)
    kind = np.dtype(dtype)
    greatest = max(*(int(row.max(initial=0)) for row in rows), layout.pad_token_id or 0, 0)
    if kind.kind not in "iu" or greatest > np.iinfo(kind).max:
        raise TokenizerError(f"dtype {kind} cannot hold the id {greatest}; int64 holds every id")
    matrix = np.full(shape, layout.pad_token_id or 0, dtype=kind)
    mask = np.zeros(shape, dtype=kind)
    for number, row in enumerate(rows):
        place = slice(0, len(row)) if layout.padding_side == "right" else slice(shape[1] - len(row), shape[1])
        matrix[number, place] = row
        mask[number, place] = 1
    if return_tensors == "np":
        return Batch(matrix, mask)
    try:
        import torch
    except ImportError:
        raise MissingExtraError(f'return_tensors="pt" needs PyTorch; {extras.install("model")}') from None
    return Batch(torch.from_numpy(matrix), torch.from_numpy(mask))


def _filled(row: list[int], value: int | None, width: int, layout: Layout) -> list[int]:
    missing = width - len(row)
    if missing <= 0 or value is None:
        return row
    return row + [value] * missing if layout.padding_side == "right" else [value] * missing + row


def spanned_text(text: Text, unit: str | None) -> tuple[Text, Literal["characters", "bytes"]]:
    """Settle in which unit spans are counted, and return the text as bytes, of which starts are wanted.

    Raises:
        TextError: characters are asked for of what is not UTF-8.
    """
    if unit not in (None, "characters", "bytes"):
        raise TokenizerError(f'unit={unit!r} is unknown; expected "characters" or "bytes"')
    if isinstance(text, str):
        try:
            return text.encode(), "bytes" if unit == "bytes" else "characters"
        except UnicodeEncodeError:
            return text, "characters"  # the tokenizer's own error names the surrogate
    if unit != "characters":
        return text, "bytes"
    data = bytes(text)
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise TextError(
            f"the text is not UTF-8 (byte {error.object[error.start]:#04x} at {error.start}), so its tokens "
            'cover no characters; pass unit="bytes"'
        ) from None
    return data, "characters"


def spans(text: Text, starts: list[int], unit: str) -> list[tuple[int, int]]:
    """Make spans of the bytes at which tokens begin: each ends where the next one begins, or the text ends.

    Of several tokens that begin at one place (a normalizer made them of one character) each covers all of it.

    >>> spans("aé".encode(), [0, 1, 2], "characters")
    [(0, 1), (1, 2), (1, 2)]
    """
    data = np.frombuffer(bytes(text) if not isinstance(text, str) else text.encode(), dtype=np.uint8)
    first = np.array(starts, dtype=np.int64)
    last = np.append(first, len(data))[np.searchsorted(first, first, side="right")]
    if unit == "characters":
        begun = np.append(0, np.cumsum((data & 0xC0) != 0x80))  # characters that begin before each byte
        first, last = begun[np.minimum(first + 1, len(data))] - 1, begun[last]
    return list(zip(first.tolist(), last.tolist(), strict=True))
