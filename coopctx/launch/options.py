"""How runs are carried out: the choices that every command which trains has in common."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from coopctx.launch.job import Engine


@dataclass(frozen=True)
class RunOptions:
    """What is asked for besides the runs themselves.

    preset: where the settings begin; overrides: what is changed in them, such as ``ppi.rollouts=8``; results: where runs are
    kept. device: auto, cpu or cuda; jobs: runs at a time, None for one per core; engine: where several are carried out;
    fresh: start over, deleting what is there; console: where progress is shown.
    """

    engine: Engine
    preset: str = "cpu"
    overrides: tuple[str, ...] = ()
    results: Path = Path("results")
    device: str = "auto"
    jobs: int | None = None
    fresh: bool = False
    console: Console = field(default_factory=lambda: Console(quiet=True))
