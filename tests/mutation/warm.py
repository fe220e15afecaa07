"""A pytest plugin for mutmut: what every mutant needs is loaded before it forks, and nothing waits for a disk.

A mutant's tests run in a fork of one process. PyTorch imports its compiler at the first optimiser step, which takes seconds
in every fork unless it is done before.
"""

import os

import torch._dynamo  # noqa: F401


def _skip(descriptor: int) -> None:
    """In place of `os.fsync`: no test of a mutant cuts the power."""


os.fsync = _skip
