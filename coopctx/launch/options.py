"""The options of every command that trains: which settings, where, on which device, how many at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from coopctx.launch.job import Engine


@dataclass(frozen=True)
class RunOptions:
    """How runs are carried out.

    engine: what carries out several runs at a time. preset: the name of the settings. overrides: settings that replace the
    preset's, such as ``ppi.rollouts=8``. results: the folder of all runs. device: auto, cpu or cuda. jobs: runs at a time, None
    for one per core. fresh: delete earlier runs and start over. log: where else progress is
    written (`tracking.LOGS`), nowhere if empty. console: where progress is shown.
    """

    engine: Engine
    preset: str = "cpu"
    overrides: tuple[str, ...] = ()
    results: Path = Path("results")
    device: str = "auto"
    jobs: int | None = None
    fresh: bool = False
    log: str = ""
    console: Console = field(default_factory=lambda: Console(quiet=True))
