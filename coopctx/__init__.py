"""coopctx: cooperation through in-context co-player inference (arXiv:2602.16301).

The names in `__all__` are the public interface. Each is imported from its module when it is first used, because torch takes
seconds to import. `coopctx.examples.change_one_thing` shows most of them in use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from coopctx._version import __version__ as __version__

if TYPE_CHECKING:
    from coopctx.agents.ppi.learner import PPILearner
    from coopctx.agents.trained import TrainedAgent
    from coopctx.errors import CoopctxError
    from coopctx.evaluation import envs
    from coopctx.evaluation.agent import Agent, load
    from coopctx.evaluation.meetings import Evaluation
    from coopctx.evaluation.play import evaluate
    from coopctx.experiments.presets import load_preset
    from coopctx.game.arena import play
    from coopctx.game.episodes import Episodes
    from coopctx.game.matrix import COOPERATE, DEFECT, PRISONERS_DILEMMA, START, MatrixGame
    from coopctx.game.player import Player
    from coopctx.game.streams import stream
    from coopctx.game.tabular import RandomTabular, named_strategy
    from coopctx.launch.scripting import train

__all__ = [
    "COOPERATE",
    "DEFECT",
    "PRISONERS_DILEMMA",
    "START",
    "Agent",
    "CoopctxError",
    "Episodes",
    "Evaluation",
    "MatrixGame",
    "PPILearner",
    "Player",
    "RandomTabular",
    "TrainedAgent",
    "envs",
    "evaluate",
    "load",
    "load_preset",
    "named_strategy",
    "play",
    "stream",
    "train",
]
_MODULES = {
    "agents.ppi.learner": ("PPILearner",),
    "agents.trained": ("TrainedAgent",),
    "errors": ("CoopctxError",),
    "evaluation.agent": ("Agent", "load"),
    "evaluation.meetings": ("Evaluation",),
    "evaluation.play": ("evaluate",),
    "experiments.presets": ("load_preset",),
    "game.arena": ("play",),
    "game.episodes": ("Episodes",),
    "game.matrix": ("COOPERATE", "DEFECT", "PRISONERS_DILEMMA", "START", "MatrixGame"),
    "game.player": ("Player",),
    "game.streams": ("stream",),
    "game.tabular": ("RandomTabular", "named_strategy"),
    "launch.scripting": ("train",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "envs":
        return import_module("coopctx.evaluation.envs")
    if name not in _HOME:
        raise AttributeError(f"module 'coopctx' has no attribute {name!r}")
    return getattr(import_module(f"coopctx.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
