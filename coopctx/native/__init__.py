"""The optional native CPU kernel: the GRU trunk with its linear head, compiled from kernels.c on first use.

`load()` gives a `Kernel`, or None where there is none (no C compiler, the compilation failed, COOPCTX_NATIVE=0), so
that the caller falls back to PyTorch. May import nothing of the package but errors.
"""

from __future__ import annotations

import functools
import os

import torch

from coopctx.native import compile
from coopctx.native.autograd import recalled, trunk
from coopctx.native.gates import Gates, supports
from coopctx.native.kernel import Kernel
from coopctx.native.play import Lesson, Played, Seat, improve, play
from coopctx.native.recurrence import Recurrence

__all__ = [
    "Gates",
    "Kernel",
    "Lesson",
    "Played",
    "Recurrence",
    "Seat",
    "improve",
    "kernel_for",
    "load",
    "play",
    "recalled",
    "supports",
    "trunk",
]

PRECISIONS = ("bf16", "fp32")


def load(precision: str | None = None) -> Kernel | None:
    """The kernel in "bf16" or "fp32", or None if it cannot be had; by default bf16 where the CPU has AVX512-BF16."""
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
    """The kernel, where it can serve tensors on ``device`` with this hidden size; None means: use PyTorch."""
    return load() if device.type == "cpu" and supports(hidden) else None
