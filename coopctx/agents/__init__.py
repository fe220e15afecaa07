"""Who learns: the models they share, playing, recording, and one folder per agent.

May import runs, experiments, game and native; never analysis, figures, launch or another agent's folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # importing the package costs nothing
    import torch

    from coopctx.experiments.pools import RunSpec
    from coopctx.experiments.settings import Config
    from coopctx.runs.progress import Progress
    from coopctx.runs.run import Run


def execute(
    spec: RunSpec, config: Config, run: Run, results: Path, device: torch.device, threads: int, progress: Progress
) -> None:
    """Train ``spec`` from where ``run`` stands to its end, recording and checkpointing every phase or measurement.

    results: where the finished runs lie that ``spec`` needs; RunError if one is missing or of another game.
    """
    from coopctx.agents.a2c.training import A2CTraining  # here, so that an agent's own modules import this package freely
    from coopctx.agents.ppi.training import PPITraining

    trainings: dict[str, type[PPITraining] | type[A2CTraining]] = {"ppi": PPITraining, "a2c": A2CTraining}
    trainings[spec.agent](spec, config, run, results, device, threads, progress).run_all()
