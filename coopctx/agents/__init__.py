"""The agents: their common models, players and tables, and one folder per agent.

May import runs, experiments, game and native; never analysis, figures, launch or another agent's folder. Each kind's
folder has the modules ``training``, ``player`` and ``work``, which are imported when one of their functions is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from coopctx.agents.beliefs import Believer
    from coopctx.experiments.pools import RunSpec
    from coopctx.experiments.settings import Config
    from coopctx.runs.progress import Progress
    from coopctx.runs.run import Run


# In each kind's module ``training``, what carries out one run; it has the arguments of `execute`.
TRAINING = {"ppi": "PPITraining", "a2c": "A2CTraining", "coala": "training_of"}


def execute(
    spec: RunSpec, config: Config, run: Run, results: Path, device: torch.device, threads: int, progress: Progress
) -> None:
    """Train ``spec`` from the last checkpoint of ``run`` to its end; record and checkpoint every phase or measurement.

    results: the folder of the finished runs that ``spec`` needs; RunError if one is missing or was trained in another game.
    """
    _load(spec.agent, "training", TRAINING[spec.agent])(spec, config, run, results, device, threads, progress).run_all()


def model_of(agent: str, config: Config, weights: Mapping[str, Tensor]) -> nn.Module:
    """The model of this kind of agent with the final ``weights`` of a run and the run's settings."""
    return _load(agent, "player", "model_of")(config, weights)


def untrained_of(agent: str, config: Config, identity_size: int, generator: torch.Generator) -> nn.Module:
    """A model of this kind with initial weights, as a learner of a run with these settings begins."""
    return _load(agent, "player", "untrained")(config, identity_size, generator)


def player_of(agent: str, model: nn.Module, config: Config, generator: torch.Generator, threads: int = 1) -> Believer:
    """A player of this kind with ``model``, which it does not change; it draws from ``generator`` alone."""
    return _load(agent, "player", "player_of")(model, config, generator, threads)


def work_of(spec: RunSpec, config: Config, threads: int, device: torch.device, done: int) -> dict[str, float]:
    """The work left in a run after iteration ``done`` (-1: all of it), by part of its timings table, each in a unit of its own.

    threads: that the run may use. `coopctx.agents.work.REST` is what that table does not time.
    """
    return _load(spec.agent, "work", "work")(spec, config, threads, device, done)


def sample_of(spec: RunSpec, config: Config, size: int) -> tuple[RunSpec, Config]:
    """A short run whose parts cost per unit of work what those of ``spec`` cost; size: how long, 0 for the shortest.

    It needs no other run. Runs that cost the same have the same sample.
    """
    return _load(spec.agent, "work", "sample")(spec, config, size)


def _load(agent: str, module: str, name: str) -> Any:
    return getattr(import_module(f"{__name__}.{agent}.{module}"), name)
