"""Who learns: the models they share, playing, recording, and one folder per agent.

May import runs, experiments, game and native; never analysis, figures, launch or another agent's folder. The registry below
names each kind's classes; a module is imported when one of its classes is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from coopctx.agents.beliefs import Believer
    from coopctx.agents.trunk import Trunk
    from coopctx.experiments.pools import RunSpec
    from coopctx.experiments.settings import Config
    from coopctx.runs.progress import Progress
    from coopctx.runs.run import Run


@dataclass(frozen=True)
class Classes:
    """Where the classes of one kind of agent are, each as ``"module:name"`` below `coopctx.agents`.

    training: carries out one run, called as `execute` is. model: the subclass of `Trunk`. player: a function of model,
    settings, generator and threads that returns a `Believer` which does not learn.
    """

    training: str
    model: str
    player: str


CLASSES = {
    "ppi": Classes("ppi.training:PPITraining", "trunk:SequenceModel", "ppi.player:player_of"),
    "a2c": Classes("a2c.training:A2CTraining", "trunk:ActorCritic", "a2c.player:player_of"),
}


def execute(
    spec: RunSpec, config: Config, run: Run, results: Path, device: torch.device, threads: int, progress: Progress
) -> None:
    """Train ``spec`` from where ``run`` stands to its end, recording and checkpointing every phase or measurement.

    results: where the finished runs lie that ``spec`` needs; RunError if one is missing or of another game.
    """
    _load(CLASSES[spec.agent].training)(spec, config, run, results, device, threads, progress).run_all()


def model_class(agent: str) -> Callable[..., Trunk]:
    """The class of this kind's models, called with a game's and a network's sizes and a generator."""
    return _load(CLASSES[agent].model)


def player_of(agent: str, model: Trunk, config: Config, generator: torch.Generator, threads: int = 1) -> Believer:
    """A player of this kind with ``model``, which it does not change; it draws from ``generator`` alone."""
    return _load(CLASSES[agent].player)(model, config, generator, threads)


def _load(address: str) -> Any:
    module, name = address.split(":")
    return getattr(import_module(f"{__name__}.{module}"), name)
