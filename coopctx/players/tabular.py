"""Memory-one players: an action distribution per observation (SPEC section 3)."""

from __future__ import annotations

import difflib

import torch
from torch import Tensor

from coopctx.errors import UsageError
from coopctx.game import COOPERATE, DEFECT
from coopctx.planner import choose

# Cooperation probabilities after (start, CC, CD, DC, DD), own action first.
NAMED_STRATEGIES: dict[str, tuple[float, float, float, float, float]] = {
    "tit-for-tat": (1, 1, 0, 1, 0),
    "always-cooperate": (1, 1, 1, 1, 1),
    "always-defect": (0, 0, 0, 0, 0),
}
_LOWEST = 1e-4  # keeps the identity's log-probabilities finite for deterministic strategies


class TabularPlayer:
    """Plays a fixed policy, float32 ``[observations, actions]``, the same in every game."""

    def __init__(self, policy: Tensor, generator: torch.Generator) -> None:
        self._policy, self._generator = policy, generator
        self.policies = policy[None]

    def begin(self, games: int) -> None:
        self.policies = self._policy.expand(games, -1, -1)

    def identity(self) -> Tensor:
        """log pi(a | o), flattened to ``[games, observations * actions]`` (App. A.4.1)."""
        return self.policies.clamp(min=_LOWEST).log().flatten(1)

    def meet(self, identity: Tensor | None) -> None:
        """A tabular player sees nothing but its last observation."""

    def act(self, observation: Tensor, reward: Tensor) -> Tensor:
        policies = self.policies.to(observation.device)
        rows = policies[torch.arange(len(observation), device=observation.device), observation]
        uniform = torch.rand(len(observation), generator=self._generator).to(observation.device)
        return choose(rows, uniform)


class RandomTabular(TabularPlayer):
    """A fresh memory-one player in every game: action probabilities uniform on the simplex, U(0, 1) for two actions."""

    def __init__(self, n_observations: int, n_actions: int, generator: torch.Generator) -> None:
        super().__init__(torch.full((n_observations, n_actions), 1 / n_actions), generator)

    def begin(self, games: int) -> None:
        weights = -torch.rand(games, *self._policy.shape, generator=self._generator).clamp(min=1e-12).log()
        self.policies = weights / weights.sum(2, keepdim=True)


def uniform_player(n_observations: int, n_actions: int, generator: torch.Generator) -> TabularPlayer:
    """Plays every action equally often, whatever happens (D_0 of App. A.4.2)."""
    return TabularPlayer(torch.full((n_observations, n_actions), 1 / n_actions), generator)


def named_strategy(name: str, generator: torch.Generator) -> TabularPlayer:
    """One of `NAMED_STRATEGIES`; raises UsageError with the nearest names for any other."""
    if name not in NAMED_STRATEGIES:
        near = difflib.get_close_matches(name, NAMED_STRATEGIES) or sorted(NAMED_STRATEGIES)
        raise UsageError(f"unknown strategy '{name}'; try {', '.join(near)}")
    cooperation = torch.tensor(NAMED_STRATEGIES[name], dtype=torch.float32)
    policy = torch.empty(len(cooperation), 2)
    policy[:, COOPERATE], policy[:, DEFECT] = cooperation, 1 - cooperation
    return TabularPlayer(policy, generator)
