"""Players that record a trained agent's beliefs before each of its decisions."""

from __future__ import annotations

from typing import cast

from torch import Tensor

from coopctx.agents.beliefs import Beliefs, Believer
from coopctx.game.player import Player


class Around(Player):
    """Plays as ``player`` does."""

    def __init__(self, player: Player) -> None:
        self._player = player

    def begin(self, games: int) -> None:
        self._player.begin(games)

    def identity(self) -> Tensor | None:
        return self._player.identity()

    def meet(self, identity: Tensor | None) -> None:
        self._player.meet(identity)

    def act(self, observation: Tensor, reward: Tensor) -> Tensor:
        return self._player.act(observation, reward)


class Watched(Around):
    """Records the player's beliefs before every decision, in the order of the games."""

    def __init__(self, player: Believer) -> None:
        super().__init__(player)
        self._believer = player
        self._batches: list[list[Beliefs]] = []  # [batch][round]

    def begin(self, games: int) -> None:
        super().begin(games)
        self._batches.append([])

    def act(self, observation: Tensor, reward: Tensor) -> Tensor:
        action = super().act(observation, reward)
        self._batches[-1].append(self._believer.beliefs)
        return action

    @property
    def beliefs(self) -> Beliefs:
        """Of all games so far, ``[games, rounds, ...]``; all batches must have the same number of rounds."""
        return Beliefs.concatenate([Beliefs.stack(batch) for batch in self._batches])


def watched(player: Player) -> Player:
    """``player``; if it has beliefs, as a player that records them."""
    return Watched(cast(Believer, player)) if hasattr(type(player), "beliefs") else player
