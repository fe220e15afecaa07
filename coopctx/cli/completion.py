"""Shell completion of values, without torch, whose import takes seconds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import typer

from coopctx.experiments.configuration import flat, to_dict
from coopctx.experiments.presets import load_preset, preset_names
from coopctx.game.memory_one import NAMED_STRATEGIES

OPPONENTS = (*NAMED_STRATEGIES, "tabular")  # the names that `coopctx evaluate --against` accepts
PACKAGED = ("ppi-mixed", "ppi-tabular", "ppi-extortion", "a2c-mixed", "a2c-tabular")  # as coopctx.agents.trained knows them


def one_of(*names: str) -> Callable[[str], list[str]]:
    """A completion that offers ``names``."""
    return lambda incomplete: _starting(names, incomplete)


def settings(context: typer.Context, incomplete: str) -> list[str]:
    """Every setting with its value in the preset given so far, such as ``ppi.rollouts=24``."""
    preset = context.params.get("preset")
    values = flat(to_dict(load_preset(preset if preset in preset_names() else "cpu")))
    return _starting((f"{name}={_written(value)}" for name, value in values.items()), incomplete)


def runs(incomplete: str) -> list[str]:
    """Directories of runs in the results folders of this directory; if none fits, any directory."""
    found = sorted(str(manifest.parent) for manifest in Path().glob("*/*/*/seed-*/run.json"))
    return _starting(found, incomplete) or sorted(str(path) for path in Path().glob(f"{incomplete}*/"))


def agents(incomplete: str) -> list[str]:
    """The packaged agents and, where a path is begun, runs."""
    return _starting(PACKAGED, incomplete) or runs(incomplete)


def opponents(incomplete: str) -> list[str]:
    """The opponents of an evaluation: `OPPONENTS`, packaged agents and other runs."""
    return _starting((*OPPONENTS, *PACKAGED), incomplete) or runs(incomplete)


def arena(incomplete: str) -> list[str]:
    """The opponents in cross-play: `opponents` and naive learners."""
    return [*_starting(("naive",), incomplete), *opponents(incomplete)]


def _starting(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _written(value: object) -> str:
    """A setting's value in the form that follows KEY=, without spaces."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
