"""A repeated, symmetric, two-player matrix game and its first-person observation codes (SPEC section 2, App. A.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

COOPERATE, DEFECT = 0, 1
START = 0  # observation code of the first round: nothing has been played yet


@dataclass(frozen=True)
class MatrixGame:
    """A symmetric matrix game with ``n`` actions.

    ``payoffs[own][other]`` is a player's reward for one round. An observation is the last round's joint action, own
    action first: code 0 is the start of the episode, code ``1 + own * n + other`` what follows a round.
    """

    payoffs: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        n = len(self.payoffs)
        if n < 2 or any(len(row) != n for row in self.payoffs):
            raise ValueError("payoffs must be a square matrix with at least two actions")

    @classmethod
    def of(cls, payoffs: Sequence[Sequence[float]]) -> MatrixGame:
        """The game with these payoffs, ``payoffs[own][other]``."""
        return cls(tuple(tuple(float(value) for value in row) for row in payoffs))

    @property
    def n_actions(self) -> int:
        return len(self.payoffs)

    @property
    def n_observations(self) -> int:
        return 1 + self.n_actions**2

    def observe(self, own: Tensor, other: Tensor) -> Tensor:
        """Observation codes, long, of the shape of ``own`` and ``other`` (actions of the round just played)."""
        return 1 + own.long() * self.n_actions + other.long()

    def reward(self, own: Tensor, other: Tensor) -> Tensor:
        """Rewards of the player who played ``own``, float32, of the actions' shape."""
        return torch.tensor(self.payoffs, device=own.device)[own.long(), other.long()]


PRISONERS_DILEMMA = MatrixGame.of([[1, -1], [2, 0]])
