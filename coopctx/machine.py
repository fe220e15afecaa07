"""What this machine has: cores and devices."""

from __future__ import annotations

import os
from collections.abc import Callable

from coopctx.errors import RunError, check_known


def cuda_here() -> bool:
    """Whether this machine has a CUDA device."""
    import torch  # seconds

    return torch.cuda.is_available()


def resolve_device(name: str, cuda: Callable[[], bool] = cuda_here) -> str:
    """ "cpu" or "cuda" for "auto", "cpu" or "cuda"; UsageError for another name, RunError if there is no CUDA device."""
    check_known("device", name, ("auto", "cpu", "cuda"))
    if name == "auto":
        return "cuda" if cuda() else "cpu"
    if name == "cuda" and not cuda():
        raise RunError("--device cuda: no CUDA device is available here; --device cpu or auto")
    return name


def available_cores() -> int:
    """The number of cores that this process may use; all cores of the machine if the system does not say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
