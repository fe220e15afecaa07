"""`coopctx.load`: a trained agent that can be evaluated and asked for its beliefs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from coopctx.agents.beliefs import beliefs_table, replayed
from coopctx.agents.trained import PACKAGED, TrainedAgent
from coopctx.errors import UsageError
from coopctx.evaluation.meetings import Evaluation
from coopctx.evaluation.opponents import Contestant
from coopctx.evaluation.play import evaluate
from coopctx.experiments.checks import check_number
from coopctx.game.episodes import Episodes
from coopctx.game.matrix import START, MatrixGame
from coopctx.game.streams import stream

if TYPE_CHECKING:
    import pandas as pd

# Rounds as (own, other's) actions, C and D or 0 and 1; a text such as "CC CD"; or episodes as the agent saw them.
History: TypeAlias = str | Sequence[Sequence[str | int] | str] | Episodes
_ACTIONS: dict[object, int] = {"C": 0, "D": 1, "c": 0, "d": 1, 0: 0, 1: 1}


class Agent(TrainedAgent):
    """A `TrainedAgent` with methods for interactive use."""

    def evaluate(
        self, against: Contestant | Iterable[Contestant] = (), *, learner: int = 1, games: int = 256, **options: Any
    ) -> Evaluation:
        """Evaluate this agent, as `coopctx.evaluate` does, with the same options."""
        return evaluate(self, against, learner=learner, games=games, **options)

    def beliefs(self, history: History = (), *, learner: int = 1, seed: int = 0) -> pd.DataFrame:
        """The beliefs of learner ``learner`` (from 1) before each round of ``history`` and after the last; a row per decision.

        history: one game as ``"CC CD DC"`` or ``[("C", "C"), ("C", "D")]``, own action first, or any number of games as
        `Episodes`. The columns are those of `coopctx.agents.beliefs.beliefs_table`, without ``game`` for a single game: PPI
        has prediction, q_c, q_d, prior and policy, A2C policy and value. seed: of the planner's random numbers. Raises
        UsageError for a history that cannot be read.
        """
        check_number("seed", seed, 0)
        game = self.config.game.matrix()
        if game.n_actions != 2:
            raise UsageError(f"beliefs are shown for games of two actions; {self.directory} was trained with {game.n_actions}")
        episodes = history if isinstance(history, Episodes) else _one_game(game, history)
        table = beliefs_table(game, episodes, replayed(self.player(stream(seed, "beliefs"), learner), episodes))
        return table if isinstance(history, Episodes) else table.drop(columns="game")

    def __repr__(self) -> str:
        where = "packaged" if self.directory.parent == PACKAGED else self.directory
        return f"<{self.name}: {len(self.weights)} learner{'s' if len(self.weights) > 1 else ''}, {where}>"


def load(run: str | Path) -> Agent:
    """The agent of a finished run: a packaged agent by its name, such as ``ppi-mixed``, any other by its directory.

    The packaged agents are seed 0 of the runs ppi-mixed, ppi-tabular, ppi-extortion, a2c-mixed and a2c-tabular of preset
    cpu. Raises RunError if there is no such agent, or it is damaged.
    """
    return Agent.load(run)


def _one_game(game: MatrixGame, history: str | Sequence[Sequence[str | int] | str]) -> Episodes:
    rounds = history.split() if isinstance(history, str) else history
    try:
        pairs = [tuple(_ACTIONS[action] for action in actions) for actions in rounds]
        if any(len(pair) != 2 for pair in pairs):
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise UsageError(f"a history is rounds of two actions, own first, such as 'CC CD DC', not {history!r}") from None
    own, other = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).T
    seen = torch.cat([torch.tensor([START]), game.observe(own, other)])
    codes, chosen = seen[None].to(torch.uint8), own[None].to(torch.uint8)
    return Episodes(codes, chosen, game.reward(own, other)[None], torch.zeros(1, 0), game.over)
