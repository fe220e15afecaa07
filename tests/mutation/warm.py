"""A pytest plugin for mutmut: what every mutant needs is loaded before it forks, nothing waits for a disk, and the tests that
have killed mutants of the same function or module come first.

A mutant's tests run in a fork of one process. PyTorch imports its compiler at the first optimiser step, which takes seconds
in every fork unless it is done before.
"""

import os
from collections import Counter
from pathlib import Path

import torch._dynamo  # noqa: F401

KILLS = Path("kills.txt")  # a line per killed mutant: its function and the test that failed


def _skip(descriptor: int) -> None:
    """In place of `os.fsync`: no test of a mutant cuts the power."""


os.fsync = _skip


def _function() -> str:
    """The mutated function, such as ``coopctx.game.arena.x_play``; empty where nothing is mutated."""
    return os.environ.get("MUTANT_UNDER_TEST", "").rpartition("__mutmut_")[0]


def pytest_collection_modifyitems(items):
    function = _function()
    if function and KILLS.exists():
        kills = Counter()
        for line in KILLS.read_text("utf-8").splitlines():
            killed, _, test = line.partition("\t")
            kills[test] += 100 * (killed == function) + (killed.rpartition(".")[0] == function.rpartition(".")[0])
        items.sort(key=lambda item: -kills[item.nodeid])


def pytest_runtest_logreport(report):
    if report.failed and _function():
        with KILLS.open("a", encoding="utf-8") as file:
            file.write(f"{_function()}\t{report.nodeid}\n")
