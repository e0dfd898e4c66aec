"""Muon for the matrices of the blocks, AdamW for all else: embeddings, head, gains and biases.

Muon (Jordan et al. 2024) replaces the momentum M = U S Vᵀ of a matrix by nearly U Vᵀ: every direction gets
the same step. U Vᵀ comes from Newton-Schulz iterations X ← a X + b (X Xᵀ) X + c (X Xᵀ)² X, which are matrix
products only. The formulas are those of `torch.optim.Muon`, to which the tests compare every step.

Cost: some 15 products of each matrix with itself a step, whatever the batch; at small batches that is a good
part of the step. Therefore matrices of one shape, or of one shape and its transpose, go through one batched
product, queries, keys and values apart from one another (three squares cost half of what their 3:1 stack
does, and train no worse), and in bf16 wherever the processor multiplies bf16 faster.

Of a model that is divided among ranks, each matrix is gathered for its update, and every rank computes all of
the update and keeps its part: as much work as on ranks that hold the whole model, and one exchange more.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gptmodel.device import bf16_is_fast
from gptmodel.model.gpt import MultiHeadAttention
from gptmodel.training.divided import gathered, is_divided, local, local_part
from gptmodel.training.optim.adamw import FUSED_DEVICES, AdamW
from gptmodel.training.optim.config import OptimConfig
from gptmodel.training.optim.groups import parameter_groups

__all__ = ["POLAR_EXPRESS", "QUINTIC", "Muon", "fast_product_dtype", "muon", "orthogonalize"]

Coefficients = Sequence[tuple[float, float, float]]

QUINTIC: Coefficients = ((3.4445, -4.7750, 2.0315),) * 5
"""Five equal steps, those of the original and of `torch.optim.Muon`: singular values end in 0.7 to 1.2."""

POLAR_EXPRESS: Coefficients = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)
"""Amsel et al. 2025, Algorithm 1: each step has the best polynomial for what the steps before it left."""

EPSILON = 1e-7


def muon(model: nn.Module, config: OptimConfig, device: torch.device) -> Muon:
    """Muon over the matrices of the model's blocks, AdamW over the other parameters."""
    matrices = {id(p): rows for p, rows in hidden_matrices(model)}
    groups: list[dict[str, Any]] = []
    for group in parameter_groups(model, config):
        for hidden in (True, False):
            parameters = [p for p in group["params"] if (id(p) in matrices) == hidden]
            if not parameters:
                continue
            groups.append({**group, "params": parameters, "matrices": hidden})
            if hidden:
                groups[-1]["rows"] = [matrices[id(p)] for p in parameters]
                groups[-1]["peak_learning_rate"] = config.matrix_learning_rate
    return Muon(
        groups,
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        momentum=config.momentum,
        dtype=fast_product_dtype(device),
        fused=device.type in FUSED_DEVICES,
    )


def hidden_matrices(model: nn.Module) -> Iterable[tuple[Tensor, tuple[int, ...]]]:
    """The weights of the linear layers within ``model.blocks``, each with the rows of the matrices in it."""
    stacked = {
        id(m.qkv.weight): (m.heads * m.head_width, m.groups * m.head_width, m.groups * m.head_width)
        for m in model.modules()
        if isinstance(m, MultiHeadAttention)
    }
    blocks = getattr(model, "blocks", None) or ()
    for module in (module for block in blocks for module in block.modules()):
        if isinstance(module, nn.Linear):
            yield module.weight, stacked.get(id(module.weight), (module.weight.shape[0],))


def fast_product_dtype(device: torch.device) -> torch.dtype:
    """bf16, which is enough for the iterations, where the device multiplies it faster."""
    return torch.bfloat16 if bf16_is_fast(device) else torch.float32


class Muon(AdamW):
    """One optimizer of two updates: a group with ``matrices`` true is Muon's, any other AdamW's.

    Args:
        groups: parameter groups. One with ``matrices`` holds 2-D parameters (rows, columns) and may say in
            ``rows`` into which matrices, one below the other, each parameter is divided.
        momentum: decay of the average of gradients, with Nesterov's look ahead.
        coefficients: a, b and c of each Newton-Schulz step.
        dtype: what the iterations compute in.

    The rest is `torch.optim.AdamW`'s. State: ``step`` and ``momentum_buffer`` of a matrix, and what AdamW
    keeps.

    Example:
        >>> layer = nn.Linear(4, 8, bias=False)
        >>> optimizer = Muon([{"params": [layer.weight], "matrices": True}], lr=0.02)
        >>> layer(torch.ones(4)).sum().backward()
        >>> optimizer.step()
        >>> list(optimizer.state[layer.weight])
        ['step', 'momentum_buffer']
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        coefficients: Coefficients = QUINTIC,
        dtype: torch.dtype = torch.bfloat16,
        fused: bool = False,
    ) -> None:
        own = {"momentum": momentum, "coefficients": tuple(coefficients)}
        groups = [{**own, **group} if group.get("matrices") else group for group in groups]
        super().__init__(groups, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=fused)
        self.dtype = dtype
        # AdamW's kernel would skip an update by itself where fp16 overflowed, Muon's would not: the scaler
        # must decide for both.
        self._step_supports_amp_scaling = False

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; ``closure`` is called first, as torch's does."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        held = [
            (p, p.grad)
            for group in self.param_groups
            if group.get("matrices")
            for p in group["params"]
            if p.grad is not None
        ]
        for group in self.param_groups:
            if group.get("matrices"):
                self._update_matrices(group)
        for parameter, _ in held:
            parameter.grad = None  # AdamW passes over what has none
        inspect.unwrap(torch.optim.AdamW.step)(self)  # hooks are this step's, not also that one's
        for parameter, gradient in held:
            parameter.grad = gradient
        return loss

    def _update_matrices(self, group: dict[str, Any]) -> None:
        rows_of = group.get("rows") or [(p.shape[0],) for p in group["params"]]
        given = [
            (p, p.grad, rows) for p, rows in zip(group["params"], rows_of, strict=True) if p.grad is not None
        ]
        if not given:
            return
        parameters, gradients = [p for p, _, _ in given], [local(g) for _, g, _ in given]
        states = [self._state_of(p, on_device=group["fused"]) for p in parameters]
        buffers = [local(state["momentum_buffer"]) for state in states]
        torch._foreach_add_([state["step"] for state in states], 1)
        torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, buffers, group["momentum"])
        wanted = [
            part
            for u, (p, _, rows) in zip(ahead, given, strict=True)
            for part in torch.split(gathered(u.to(self.dtype), p), rows)
        ]
        changes: list[Tensor] = [*wanted]
        for members in by_shape(wanted):
            updates = orthogonalize([wanted[i] for i in members], group["coefficients"], self.dtype)
            rows, columns = wanted[members[0]].shape
            scaled = updates.to(parameters[0].dtype) * (-group["lr"] * max(1, rows / columns) ** 0.5)
            for i, change in zip(members, scaled.unbind(), strict=True):
                changes[i] = change
        torch._foreach_mul_([local(p) for p in parameters], 1 - group["lr"] * group["weight_decay"])
        if any(is_divided(p) for p in parameters):
            following = iter(changes)
            whole = [torch.cat([next(following) for _ in rows]) for _, _, rows in given]
            changes = [local_part(change, p) for change, p in zip(whole, parameters, strict=True)]
            targets = [local(p) for p in parameters]
        else:
            targets = [part for p, _, rows in given for part in torch.split(p, rows)]
        torch._foreach_add_(targets, changes)

    def _state_of(self, parameter: Tensor, *, on_device: bool) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            # AdamW, as which a state dict is loaded, expects the count, and where it keeps its own
            state["step"] = torch.zeros((), device=parameter.device if on_device else "cpu")
            state["momentum_buffer"] = torch.zeros_like(parameter)
        return state


def by_shape(matrices: Sequence[Tensor]) -> list[list[int]]:
    """The places of the matrices of each shape."""
    places: dict[torch.Size, list[int]] = {}
    for place, matrix in enumerate(matrices):
        places.setdefault(matrix.shape, []).append(place)
    return list(places.values())


def orthogonalize(
    matrices: Sequence[Tensor], coefficients: Coefficients = QUINTIC, dtype: torch.dtype = torch.bfloat16
) -> Tensor:
    """About U Vᵀ of each matrix M = U S Vᵀ; N matrices (rows, columns) -> (N, rows, columns) in ``dtype``.

    A matrix of zeros stays zero.
    """
    x = torch.stack([m.to(dtype) for m in matrices])
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=EPSILON)
    for a, b, c in coefficients:
        gram = x @ x.mT
        polynomial = (gram @ gram).mul_(c).add_(gram, alpha=b)
        polynomial.diagonal(dim1=1, dim2=2).add_(a)
        x = polynomial @ x
    found: Tensor = x.mT if tall else x
    return found
