"""A batch of played games as compact tensors, seen from one player, and what is measured on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from coopctx.game.matrix import COOPERATE


@dataclass(frozen=True)
class Episodes:
    """``games`` episodes of ``rounds`` rounds in the first person: round t is observed, acted in, rewarded.

    observations  uint8   [games, rounds + 1]  the last one follows the last round
    actions       uint8   [games, rounds]
    rewards       float32 [games, rounds]
    identity      float32 [games, size]        who the co-player is (App. A.4.1); size 0 unless the agent is told
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    identity: Tensor

    def __len__(self) -> int:
        return self.actions.shape[0]

    @property
    def rounds(self) -> int:
        return self.actions.shape[1]

    def __getitem__(self, games: Tensor | slice) -> Episodes:
        """The episodes of these games (an index tensor or a slice)."""
        return Episodes(self.observations[games], self.actions[games], self.rewards[games], self.identity[games])

    def to(self, device: torch.device) -> Episodes:
        """The same episodes on ``device``."""
        return Episodes(*(tensor.to(device) for tensor in self.tensors().values()))

    def tensors(self) -> dict[str, Tensor]:
        """The fields by name: what a checkpoint stores."""
        return {name: getattr(self, name) for name in ("observations", "actions", "rewards", "identity")}

    @staticmethod
    def concatenate(parts: Sequence[Episodes]) -> Episodes:
        """All games of ``parts``, in order; they must have as many rounds each."""
        fields = [part.tensors() for part in parts]
        return Episodes(**{name: torch.cat([field[name] for field in fields]) for name in fields[0]})

    def cooperation_rate(self) -> float:
        """Share of cooperative actions over all games and rounds, in [0, 1]."""
        return float(self.cooperation_per_round().mean())

    def reward(self) -> float:
        """Mean reward per round, in the game's payoff units."""
        return float(self.rewards.mean(dtype=torch.float64))

    def cooperation_per_round(self) -> Tensor:
        """Share of games that cooperate, float64 ``[rounds]``."""
        return (self.actions == COOPERATE).double().mean(0)

    def reward_per_round(self) -> Tensor:
        """Mean reward over games, float64 ``[rounds]``."""
        return self.rewards.mean(0, dtype=torch.float64)
