"""Tensors of which each rank holds a part (``DTensor``), and whole ones: the same calls for both.

`torch.distributed.tensor` takes long to import, so it is imported only where a tensor is divided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

__all__ = ["fill", "gathered", "is_divided", "local", "local_part"]


def is_divided(tensor: Tensor) -> bool:
    """Whether it is a DTensor."""
    return hasattr(tensor, "full_tensor")


def local(tensor: Tensor) -> Tensor:
    """The part of a tensor that lies on this rank, in the same memory; all of it where nothing is divided."""
    return tensor.to_local() if is_divided(tensor) else tensor  # type: ignore[attr-defined]


def gathered(part: Tensor, like: Tensor) -> Tensor:
    """The whole tensor of which every rank gives its ``part``, divided as ``like`` is.

    Every rank must call this. ``part`` itself where ``like`` is whole.
    """
    if not is_divided(like):
        return part
    from torch.distributed.tensor import DTensor

    assert isinstance(like, DTensor)
    whole: Tensor = DTensor.from_local(
        part, like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride()
    ).full_tensor()
    return whole


def local_part(whole: Tensor, like: Tensor) -> Tensor:
    """The part of ``whole`` that this rank holds where it is divided as ``like`` is; nothing is exchanged."""
    return _divided(whole, like).to_local() if is_divided(like) else whole


def fill(target: Tensor, source: Tensor) -> None:
    """Copy a whole tensor into one that may be divided: this rank takes its part."""
    target.copy_(_divided(source.to(target.device), target) if is_divided(target) else source)


def _divided(whole: Tensor, like: Tensor) -> DTensor:
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    return distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None)
