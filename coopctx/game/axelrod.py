"""Strategies of the Axelrod library as players of the arena.

Importing this module needs the library: ``pip install '.[axelrod]'`` in a clone. V. Knight et al., "An open framework for the
reproducible study of the iterated prisoner's dilemma", Journal of Open Research Software 4 (2016); strategies and
their sources: https://axelrod.readthedocs.io.
"""

from __future__ import annotations

import math

import axelrod as axl
import torch
from torch import Tensor

from coopctx.errors import UsageError, suggestion
from coopctx.game.matrix import COOPERATE, DEFECT, MatrixGame
from coopctx.game.player import Player

DOCUMENTATION = "https://axelrod.readthedocs.io"
ACTION = {axl.Action.C: COOPERATE, axl.Action.D: DEFECT}
_LIBRARYS = {number: action for action, number in ACTION.items()}
_LARGEST_SEED = 2**32 - 1  # of the library's generator, excluded


def library_strategy(name: str) -> type[axl.Player]:
    """The library's strategy with this name, such as ``Tit For 2 Tats``; upper and lower case do not matter.

    Raises UsageError for an unknown name (with the nearest names), and for the one strategy (Darwin) that remembers
    earlier games, against the tournament's rules: here games are played at the same time.
    """
    known = {strategy.name.casefold(): strategy for strategy in axl.all_strategies}
    strategy = known.get(name.casefold())
    if strategy is None:
        near = suggestion(name, [strategy.name for strategy in axl.all_strategies], near=0.4)
        hint = near if near.startswith("did you mean") else f"all of them: {DOCUMENTATION}"
        raise UsageError(f"the Axelrod library has no strategy '{name}'; {hint}")
    if not axl.Classifiers.obey_axelrod(strategy()):
        raise UsageError(f"'{strategy.name}' does not keep to the rules of a tournament; choose another strategy")
    return strategy


def library_game(game: MatrixGame) -> axl.Game:
    """A game of two actions in the library's form: its payoffs R, S, T and P."""
    (reward, sucker), (temptation, punishment) = game.payoffs
    return axl.Game(r=reward, s=sucker, t=temptation, p=punishment)


class AxelrodPlayer(Player):
    """A strategy of the library, with a new instance in every game.

    It has no memory-one policy to tell an agent with opponent ID (z = 0, App. A.4.1). Each instance knows what a match of the
    library tells it: the payoffs and the number of rounds. Each draws from its own generator, which is seeded from ``generator``.
    """

    def __init__(
        self, strategy: type[axl.Player], game: MatrixGame, rounds: int, generator: torch.Generator
    ) -> None:
        self._strategy, self._generator = strategy, generator
        self._game, self._noise = library_game(game), game.noise
        self._rounds = rounds if game.over is None else math.inf  # the library's value if the end is random
        self._codes = range(1, game.n_outcomes)

    def begin(self, games: int) -> None:
        seeds = torch.randint(_LARGEST_SEED, (games,), generator=self._generator).tolist()
        self._players = [self._seated(seed) for seed in seeds]
        self._others = [axl.MockPlayer() for _ in seeds]  # hold the agent's history, which the strategy reads

    def act(self, observation: Tensor, reward: Tensor) -> Tensor:
        pairs = list(zip(self._players, self._others, strict=True))
        for (player, other), seen in zip(pairs, observation.tolist(), strict=True):
            if seen in self._codes:
                own, others = (_LIBRARYS[action] for action in divmod(seen - 1, 2))
                player.update_history(own, others)
                other.update_history(others, own)
        actions = [ACTION[player.strategy(other)] for player, other in pairs]
        return torch.tensor(actions, device=observation.device)

    def _seated(self, seed: int) -> axl.Player:
        player = self._strategy()
        player.set_match_attributes(length=self._rounds, game=self._game, noise=self._noise)
        player.set_seed(seed)
        return player
