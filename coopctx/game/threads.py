"""Threads in which PyTorch computes exactly as in the one that starts them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch


def thread_pool(size: int) -> ThreadPoolExecutor:
    """A pool of up to ``size`` threads that all compute on as many PyTorch threads as this one.

    Left to itself, a new thread begins with one per core, whatever this one was set to, until PyTorch first shares out
    work there; and matrix products of few rows are rounded differently by one and by several. Results would depend on
    which thread happened to take which task.
    """
    return ThreadPoolExecutor(size, initializer=torch.set_num_threads, initargs=(torch.get_num_threads(),))
