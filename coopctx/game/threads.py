"""PyTorch's threads: their number, and threads of Python in which PyTorch rounds as in the thread that starts them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch


@contextmanager
def torch_threads(n: int) -> Iterator[None]:
    """PyTorch uses ``n`` threads in this block."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def thread_pool(size: int) -> ThreadPoolExecutor:
    """A pool of up to ``size`` threads that use as many PyTorch threads as the calling thread.

    By default a new thread uses one PyTorch thread per core, whatever the calling thread was set to. Matrix products of few
    rows are rounded differently with one PyTorch thread and with several, so results would depend on which thread took which
    task.
    """
    return ThreadPoolExecutor(size, initializer=torch.set_num_threads, initargs=(torch.get_num_threads(),))
