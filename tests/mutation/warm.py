"""A pytest plugin for mutmut, whose mutants are forks of one process, each with its own run of pytest.

What the tests import is loaded before the forks, and the tests that have soon killed mutants of the same function or module
come first; the others stay together by module, whose fixtures are then made once.
"""

import os
import time
from collections import defaultdict
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

IMPORTED = "axelrod", "hypothesis", "pandas", "pyarrow.parquet", "safetensors.torch", "torch._dynamo", "typer"
KILLS = Path("kills.txt")  # a line per killed mutant: its function, the seconds that it took, and the test that failed

for name in IMPORTED:
    if find_spec(name.partition(".")[0]):
        import_module(name)


def _function() -> str:
    """The mutated function, such as ``coopctx.game.arena.x_play``; empty where nothing is mutated."""
    return os.environ.get("MUTANT_UNDER_TEST", "").rpartition("__mutmut_")[0]


def pytest_collection_modifyitems(session, items):
    session.config.began = time.monotonic()
    function = _function()
    if function:
        worth = defaultdict(float)
        for line in KILLS.read_text("utf-8").splitlines() if KILLS.exists() else ():
            killed, seconds, test = line.split("\t")
            alike = 100 if killed == function else killed.rpartition(".")[0] == function.rpartition(".")[0]
            worth[test] += alike / (1 + float(seconds))
        items.sort(key=lambda item: (-worth[item.nodeid], item.path))


def pytest_exception_interact(node):
    if _function():
        seconds = time.monotonic() - getattr(node.config, "began", time.monotonic())
        with KILLS.open("a", encoding="utf-8") as file:
            file.write(f"{_function()}\t{seconds:.1f}\t{node.nodeid}\n")
