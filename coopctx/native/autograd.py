"""The trunk as a differentiable PyTorch operation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from coopctx.native.gates import Gates
from coopctx.native.kernel import Kernel
from coopctx.native.recurrence import Recurrence


def trunk(kernel: Kernel, gates: Gates, extra: Tensor | None, index: Tensor, reward_in: Tensor) -> Tensor:
    """Outputs [B, T, n_out] as in `Kernel.forward`, differentiable in gates and extra."""
    weights = (*gates, extra)
    wanted = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in weights)
    outputs, saved = kernel.forward(gates, extra, index, reward_in, need_gradient=wanted)
    return _Outputs.apply(kernel, gates.contiguous(), outputs, saved, *weights) if wanted else outputs


def recalled(played: Recurrence, gates: Gates, extra: Tensor | None) -> Tensor:
    """`Recurrence.outputs`, differentiable in gates and extra, which must have the values of those rounds. Nothing is
    recomputed."""
    return _Outputs.apply(played.kernel, played.gates, played.outputs, played.saved, *gates, extra)


class _Outputs(torch.autograd.Function):
    """Outputs that the kernel has computed; ``saved`` is what it kept to compute their gradient in ``weights``."""

    @staticmethod
    def forward(ctx: Any, kernel: Kernel, gates: Gates, outputs: Tensor, saved: Tensor, *weights: Any) -> Tensor:
        ctx.kernel, ctx.with_extra = kernel, weights[-1] is not None
        ctx.save_for_backward(saved, *gates)
        return outputs.detach()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_outputs: Tensor) -> tuple[Tensor | None, ...]:
        saved, *gates = ctx.saved_tensors
        gradient, d_extra = ctx.kernel.backward(Gates(*gates), saved, d_outputs.contiguous(), ctx.with_extra)
        return (None, None, None, None, *gradient, d_extra)
