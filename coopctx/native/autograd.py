"""The trunk as a differentiable PyTorch operation."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from coopctx.native.gates import Gates
from coopctx.native.kernel import Kernel
from coopctx.native.recurrence import Recurrence


def trunk(kernel: Kernel, gates: Gates, extra: Tensor | None, index: Tensor, reward_in: Tensor) -> Tensor:
    """Outputs [B, T, n_out] as in `Kernel.forward`, differentiable in gates and extra."""
    weights = (*gates, extra)
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in weights):
        return _Trunk.apply(kernel, index, reward_in, *weights)
    return kernel.forward(gates, extra, index, reward_in, need_gradient=False)[0]


def recalled(played: Recurrence, gates: Gates, extra: Tensor | None) -> Tensor:
    """`Recurrence.outputs`, differentiable in gates and extra, which must have the values of those rounds. Nothing is
    recomputed."""
    return _Recalled.apply(played, *gates, extra)


class _Recalled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, played: Recurrence, *weights: Any) -> Tensor:
        ctx.played = played
        return cast(Tensor, played.outputs).detach()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_outputs: Tensor) -> tuple[Tensor | None, ...]:
        played = ctx.played
        gradient, d_extra = played.kernel.backward(played.gates, played.saved, d_outputs.contiguous(), played.extra is not None)
        return (None, *gradient, d_extra)


class _Trunk(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kernel: Kernel, index: Tensor, reward_in: Tensor, *weights: Any) -> Tensor:
        *gates, extra = weights
        out, saved = kernel.forward(Gates(*gates), extra, index, reward_in)
        ctx.kernel, ctx.with_extra = kernel, extra is not None
        ctx.save_for_backward(saved, *gates)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_outputs: Tensor) -> tuple[Tensor | None, ...]:
        saved, *gates = ctx.saved_tensors
        gradient, d_extra = ctx.kernel.backward(Gates(*gates), saved, d_outputs.contiguous(), ctx.with_extra)
        return (None, None, None, *gradient, d_extra)
