"""A repeated, symmetric, two-player matrix game and its first-person observation codes (App. A.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch takes seconds to import, and the settings only need the payoffs
    from torch import Tensor

COOPERATE, DEFECT = 0, 1
START = 0  # observation code of the first round: nothing has been played yet

# Payoffs [own action][other's action] by name; action 0 cooperates. R: both cooperate; S: only the player itself
# cooperates; T: only the player itself defects; P: both defect.
NAMED_GAMES: dict[str, tuple[tuple[float, ...], ...]] = {
    "prisoners-dilemma": ((1, -1), (2, 0)),  # T > R > P > S; the paper's: a gift of 2 to the other costs 1
    "stag-hunt": ((4, 0), (3, 2)),  # R > T > P > S: hunting together is an equilibrium, and so is hunting alone
    "chicken": ((1, 0), (2, -1)),  # T > R > S > P: yielding is the best response to one who does not
    "harmony": ((2, 1), (1, 0)),  # cooperation dominates
    "deadlock": ((0, -1), (2, 1)),  # defection dominates, and is better for both
    "coordination": ((1, 0), (0, 1)),  # either action is good if both take it
    "anti-coordination": ((0, 1), (1, 0)),  # either action is good if the other takes the other one
    "rock-paper-scissors": ((0, -1, 1), (1, 0, -1), (-1, 1, 0)),  # zero-sum, three actions
}


@dataclass(frozen=True)
class MatrixGame:
    """A symmetric matrix game with ``n`` actions.

    payoffs: ``payoffs[own][other]`` is a player's reward for one round.
    noise: the probability that another action is played than the chosen one (each of the others equally likely),
        independently for each player and round. Payoffs and observations are those of the actions played.
    continuation: the probability that a round is followed by another one; 1: the number of rounds is fixed.

    An observation is the joint action played in the previous round, own action first: code 0 is the start of the episode,
    code ``1 + own * n + other`` follows a round. A game with a random ending has one more code, the last, for a game that is
    over. Actions after the end have no effect, and their reward is 0. ValueError if a field is out of its range.
    """

    payoffs: tuple[tuple[float, ...], ...]
    noise: float = 0.0
    continuation: float = 1.0

    def __post_init__(self) -> None:
        n = len(self.payoffs)
        if n < 2 or any(len(row) != n for row in self.payoffs):
            raise ValueError("payoffs must be a square matrix with at least two actions")
        if not 0 <= self.noise < 1:
            raise ValueError(f"noise must be at least 0 and below 1, not {self.noise}")
        if not 0 < self.continuation <= 1:
            raise ValueError(f"continuation must be above 0 and at most 1, not {self.continuation}")

    @classmethod
    def of(cls, payoffs: Sequence[Sequence[float]], noise: float = 0.0, continuation: float = 1.0) -> MatrixGame:
        """The game with these payoffs, ``payoffs[own][other]``."""
        return cls(tuple(tuple(float(value) for value in row) for row in payoffs), noise, continuation)

    @property
    def n_actions(self) -> int:
        return len(self.payoffs)

    @property
    def n_outcomes(self) -> int:
        """The number of codes for which a memory-one player has a distribution: the start and each joint action."""
        return 1 + self.n_actions**2

    @property
    def n_observations(self) -> int:
        return self.n_outcomes + (self.over is not None)

    @property
    def over(self) -> int | None:
        """The code of a game that is over; None if the number of rounds is fixed."""
        return self.n_outcomes if self.continuation < 1 else None

    @property
    def by_chance(self) -> bool:
        """Whether the game itself is random: it has noise or a random ending."""
        return self.noise > 0 or self.continuation < 1

    def observe(self, own: Tensor, other: Tensor) -> Tensor:
        """Observation codes, long, of the shape of ``own`` and ``other`` (actions of the round just played)."""
        return 1 + own.long() * self.n_actions + other.long()

    def reward(self, own: Tensor, other: Tensor) -> Tensor:
        """Rewards of the player who played ``own``, float32, of the actions' shape."""
        import torch

        return torch.tensor(self.payoffs, device=own.device)[own.long(), other.long()]

    def played(self, chosen: Tensor, uniform: Tensor) -> Tensor:
        """The actions that are played, from the ``chosen`` ones; ``uniform``: random numbers in [0, 1) of the same shape."""
        if self.noise == 0:
            return chosen
        others = self.n_actions - 1
        shift = 1 + (uniform / self.noise * others).long().clamp(max=others - 1)  # used where uniform < noise only
        return (chosen + shift * (uniform < self.noise)) % self.n_actions


PRISONERS_DILEMMA = MatrixGame.of(NAMED_GAMES["prisoners-dilemma"])
