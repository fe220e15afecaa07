"""The optional native CPU kernel: the GRU trunk with its linear head, compiled from kernels.c on first use.

`load()` returns a `Kernel`, or None if there is no C compiler, the compilation failed or COOPCTX_NATIVE=0; the caller then uses
PyTorch. May import nothing of the package but errors.
"""

from __future__ import annotations

import functools
import os

import torch

from coopctx.native import compile
from coopctx.native.actor_critic import ActorCriticLoss, actor_critic_gradient
from coopctx.native.autograd import recalled, trunk
from coopctx.native.gates import Gates, supports
from coopctx.native.kernel import Kernel
from coopctx.native.play import Played, Seat, play
from coopctx.native.recurrence import Recurrence

__all__ = [
    "ActorCriticLoss",
    "Gates",
    "Kernel",
    "Played",
    "Recurrence",
    "Seat",
    "actor_critic_gradient",
    "kernel_for",
    "load",
    "play",
    "recalled",
    "supports",
    "trunk",
]

PRECISIONS = ("bf16", "fp32")


def load(precision: str | None = None) -> Kernel | None:
    """The kernel in "bf16" or "fp32", None if it cannot be compiled; by default bf16 on a CPU with AVX512-BF16.

    Raises ValueError for another precision.
    """
    if precision not in (None, *PRECISIONS):
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
    if os.environ.get("COOPCTX_NATIVE") == "0":
        return None
    if precision is None:
        return _load("bf16") or _load("fp32")
    return _load(precision)


@functools.cache
def _load(precision: str) -> Kernel | None:
    library = compile.library(precision == "bf16")
    return None if library is None else Kernel(library, precision)


def kernel_for(device: torch.device, hidden: int) -> Kernel | None:
    """The kernel for tensors on ``device`` and this hidden size; None if there is none: use PyTorch."""
    return load() if device.type == "cpu" and supports(hidden) else None
