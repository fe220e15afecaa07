"""Several episodes in a row against the same partner, and what each kind of player keeps between episodes.

A random tabular player keeps its probabilities. An agent of a kind that keeps its history (`AgentKind.keeps_history`) keeps its
state and receives its last reward again, as in a meta-trajectory (arXiv:2410.18636, App. B). A naive learner updates its
parameters after every episode. All others, such as PPI and A2C, remember nothing of earlier episodes.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

from coopctx.agents.coala.naive import NaiveLearners, naive_learners
from coopctx.evaluation.watched import Around
from coopctx.experiments.settings import CoalaConfig
from coopctx.game.arena import play
from coopctx.game.episodes import Episodes
from coopctx.game.matrix import MatrixGame
from coopctx.game.player import Player


class Anew(Around):
    """A player that remembers nothing of earlier episodes."""

    def end(self, episodes: Episodes) -> None:
        """Called after every episode with its games, from this side; does nothing."""


class Lasting(Anew):
    """A player that keeps its state between episodes, and receives its last reward again at the start of the next episode."""

    def __init__(self, player: Player) -> None:
        super().__init__(player)
        self._last_reward: Tensor | None = None
        self._first = True  # round of an episode
        self._met = False

    def begin(self, games: int) -> None:
        if not self._met:
            super().begin(games)
        self._first = True

    def meet(self, identity: Tensor | None) -> None:
        if not self._met:
            super().meet(identity)
        self._met = True

    def act(self, observation: Tensor, reward: Tensor) -> Tensor:
        heard = self._last_reward if self._first and self._last_reward is not None else reward
        self._first = False
        return super().act(observation, heard)

    def end(self, episodes: Episodes) -> None:
        self._last_reward = episodes.rewards[:, -1].contiguous()


class Naive(Player):
    """Naive learners: each plays ``coala.inner_batch`` neighbouring games in parallel, and updates after every episode."""

    def __init__(self, game: MatrixGame, coala: CoalaConfig, generator: torch.Generator) -> None:
        self._n_actions, self._coala, self._generator = game.n_actions, coala, generator
        self._learners: NaiveLearners | None = None

    def begin(self, games: int) -> None:
        """Fresh learners before the first episode. ValueError unless ``games`` is a multiple of a learner's games."""
        learners, rest = divmod(games, self._coala.inner_batch)
        if rest:
            raise ValueError(f"a naive learner plays {self._coala.inner_batch} games at once; {games} is no multiple of that")
        if self._learners is None:
            self._learners = naive_learners(learners, self._n_actions, self._coala, self._generator)
        self._learners.begin_episode()

    def act(self, observation: Tensor, reward: Tensor) -> Tensor:
        assert self._learners is not None, "begin comes first"
        return self._learners.act(observation.cpu()).to(observation.device)

    def end(self, episodes: Episodes) -> None:
        assert self._learners is not None, "begin comes first"
        played = episodes.to(torch.device("cpu"))
        self._learners.learn(played.observations[:, :-1].long(), played.actions.long(), played.rewards)


Seat: TypeAlias = Anew | Naive  # a player of a series: ``begin`` is called before every episode, ``end`` after it


def play_series(
    game: MatrixGame,
    rounds: int,
    episodes: int,
    games: int,
    seats: tuple[Seat, Seat],
    device: torch.device | None = None,
    chance: torch.Generator | None = None,
) -> list[tuple[Episodes, Episodes]]:
    """Play ``games`` series of ``episodes`` episodes of ``rounds`` rounds in parallel; returns both sides of every episode.

    chance: as of `coopctx.game.arena.play`.
    """
    played = []
    for _ in range(episodes):
        sides = play(game, rounds, games, seats, device, chance=chance)
        for seat, side in zip(seats, sides, strict=True):
            seat.end(side)
        played.append(sides)
    return played
