"""coopctx: cooperation through in-context co-player inference (arXiv:2602.16301).

What is named here is what a script needs; each name is imported from its module when it is first used, because torch takes
seconds. `coopctx.examples.change_one_thing` shows most of them at work.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coopctx.arena import play
    from coopctx.config import load_preset
    from coopctx.episodes import Episodes
    from coopctx.evaluation import evaluate
    from coopctx.game import COOPERATE, DEFECT, PRISONERS_DILEMMA, START, MatrixGame
    from coopctx.learners.ppi import PPILearner
    from coopctx.players import Player, RandomTabular, named_strategy
    from coopctx.scripting import train
    from coopctx.streams import stream
    from coopctx.trained import TrainedAgent

__version__ = "0.1.0"
__all__ = [
    "COOPERATE",
    "DEFECT",
    "PRISONERS_DILEMMA",
    "START",
    "Episodes",
    "MatrixGame",
    "PPILearner",
    "Player",
    "RandomTabular",
    "TrainedAgent",
    "evaluate",
    "load_preset",
    "named_strategy",
    "play",
    "stream",
    "train",
]
_MODULES = {
    "arena": ("play",),
    "config": ("load_preset",),
    "episodes": ("Episodes",),
    "evaluation": ("evaluate",),
    "game": ("COOPERATE", "DEFECT", "PRISONERS_DILEMMA", "START", "MatrixGame"),
    "learners.ppi": ("PPILearner",),
    "players": ("Player", "RandomTabular", "named_strategy"),
    "scripting": ("train",),
    "streams": ("stream",),
    "trained": ("TrainedAgent",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'coopctx' has no attribute {name!r}")
    return getattr(import_module(f"coopctx.{_HOME[name]}"), name)
