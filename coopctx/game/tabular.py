"""Memory-one players: an action distribution per observation (App. A.2)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from coopctx import native
from coopctx.errors import check_known
from coopctx.game.matrix import COOPERATE, DEFECT
from coopctx.game.memory_one import NAMED_STRATEGIES
from coopctx.game.player import Player
from coopctx.game.sampling import Counted, choose

_LOWEST = 1e-4  # keeps the identity's log-probabilities finite for deterministic strategies


class TabularPlayer(Player):
    """Plays a fixed policy, float32 ``[observations, actions]``, the same in every game.

    Several, ``[players, observations, actions]``, are different players side by side: game g is played by g mod players.
    """

    def __init__(self, policy: Tensor, generator: torch.Generator) -> None:
        self._players, self._generator = policy.view(-1, *policy.shape[-2:]), generator
        self.policies = self._players

    def begin(self, games: int) -> None:
        self._begin(self._players[torch.arange(games) % len(self._players)])

    def identity(self) -> Tensor:
        """log pi(a | o), flattened to ``[games, observations * actions]`` (App. A.4.1)."""
        return self.policies.clamp(min=_LOWEST).log().flatten(1)

    def act(self, observation: Tensor, reward: Tensor) -> Tensor:
        policies = self.policies.to(observation.device)
        seen = observation.clamp(max=policies.shape[1] - 1)  # the code of a game that is over has no policy, and needs none
        rows = policies[torch.arange(len(observation), device=observation.device), seen]
        return choose(rows, self._draws.next().to(observation.device))

    def natively(self) -> list[native.Seat]:
        return [native.Seat(len(self.policies), self._draws.key, self.policies[..., :-1].cumsum(2).contiguous())]

    def _begin(self, policies: Tensor) -> None:
        """Games in which ``policies`` [games, observations, actions] are played."""
        self.policies = policies
        self._draws = Counted(self._generator, len(policies))


class RandomTabular(TabularPlayer):
    """A new memory-one player in every game: action probabilities uniform on the simplex, U(0, 1) for two actions."""

    def __init__(self, n_observations: int, n_actions: int, generator: torch.Generator) -> None:
        super().__init__(torch.full((n_observations, n_actions), 1 / n_actions), generator)

    def begin(self, games: int) -> None:
        weights = -torch.rand(games, *self._players.shape[1:], generator=self._generator).clamp(min=1e-12).log()
        self._begin(weights / weights.sum(2, keepdim=True))


def uniform_player(n_observations: int, n_actions: int, generator: torch.Generator) -> TabularPlayer:
    """Plays every action with the same probability after every observation (D_0 of App. A.4.2)."""
    return TabularPlayer(torch.full((n_observations, n_actions), 1 / n_actions), generator)


def named_strategy(name: str, generator: torch.Generator) -> TabularPlayer:
    """One of `NAMED_STRATEGIES`; raises UsageError with the nearest names for any other."""
    check_known("strategy", name, NAMED_STRATEGIES)
    return TabularPlayer(memory_one_policy(NAMED_STRATEGIES[name]), generator)


def memory_one_policy(cooperation: ArrayLike) -> Tensor:
    """float32 ``[..., 5, 2]`` from the probabilities of cooperating after start, CC, CD, DC, DD, ``[..., 5]``."""
    probability = torch.as_tensor(np.asarray(cooperation, dtype=np.float32))
    policy = torch.empty(*probability.shape, 2)
    policy[..., COOPERATE], policy[..., DEFECT] = probability, 1 - probability
    return policy
