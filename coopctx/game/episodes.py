"""A batch of played games as compact tensors, seen from one player, and what is measured on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from coopctx.game.matrix import COOPERATE


@dataclass(frozen=True)
class Episodes:
    """``games`` episodes of ``rounds`` rounds in the first person: round t is observed, acted in, rewarded.

    observations  uint8   [games, rounds + 1]  the last one follows the last round
    actions       uint8   [games, rounds]      as chosen; with noise, the observations contain the actions played
    rewards       float32 [games, rounds]
    identity      float32 [games, size]        the co-player's identity (App. A.4.1); size 0 unless the agent is told
    over          the observation code of a game that is over; None where games have a fixed number of rounds. The tensors
                  contain rounds after the end of a game; no measure counts them.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    identity: Tensor
    over: int | None = None

    def __len__(self) -> int:
        return self.actions.shape[0]

    @property
    def rounds(self) -> int:
        return self.actions.shape[1]

    def __getitem__(self, games: Tensor | slice) -> Episodes:
        """The episodes of these games (an index tensor or a slice)."""
        return self._with(tensor[games] for tensor in self.tensors().values())

    def to(self, device: torch.device) -> Episodes:
        """The same episodes on ``device``."""
        return self._with(tensor.to(device) for tensor in self.tensors().values())

    def tensors(self) -> dict[str, Tensor]:
        """The tensors by name."""
        return {name: getattr(self, name) for name in ("observations", "actions", "rewards", "identity")}

    def packed(self) -> dict[str, Tensor]:
        """The tensors by name on the CPU, as a file stores them; rewards as codes of the few values that occur.

        In place of ``rewards``: reward_values float32 [values], at most 256 of them, and reward_codes uint8 [games, rounds].
        """
        tensors = self.to(torch.device("cpu")).tensors()
        bits = tensors.pop("rewards").view(torch.int32)  # equal only if the very same number: 0.0 and -0.0 are two
        values, codes = bits.unique(return_inverse=True)
        return {**tensors, "reward_values": values.view(torch.float32), "reward_codes": codes.to(torch.uint8)}

    @classmethod
    def unpacked(cls, tensors: Mapping[str, Tensor], over: int | None = None) -> Episodes:
        """The episodes of which `packed` made ``tensors``."""
        codes = tensors["reward_codes"]
        rewards = tensors["reward_values"].index_select(0, codes.flatten().int()).view(codes.shape)
        return cls(tensors["observations"], tensors["actions"], rewards, tensors["identity"], over)

    @staticmethod
    def concatenate(parts: Sequence[Episodes]) -> Episodes:
        """All games of ``parts``, in order; all must have the same number of rounds."""
        columns = zip(*(part.tensors().values() for part in parts), strict=True)
        return parts[0]._with(torch.cat(column) for column in columns)

    def going_on(self) -> Tensor:
        """Whether each round was played before the game was over, bool ``[games, rounds]``."""
        if self.over is None:
            return torch.ones_like(self.actions, dtype=torch.bool)
        return self.observations[:, :-1] != self.over

    def games_per_round(self) -> Tensor:
        """How many games reached each round, long ``[rounds]``."""
        return self.going_on().sum(0)

    def cooperation_rate(self) -> float:
        """Share of cooperative choices over all games and rounds, in [0, 1]."""
        if self.over is None:
            return float(self.cooperation_per_round().mean())
        return float((self.actions == COOPERATE)[self.going_on()].double().mean())

    def reward(self) -> float:
        """Mean reward per round, in the game's payoff units."""
        rewards = self.rewards if self.over is None else self.rewards[self.going_on()]
        return float(rewards.mean(dtype=torch.float64))

    def cooperation_per_round(self) -> Tensor:
        """Share of cooperative choices among the games that reached the round, float64 ``[rounds]``; nan where none did."""
        cooperation = (self.actions == COOPERATE).double()
        return cooperation.mean(0) if self.over is None else self._mean_of_games(cooperation)

    def reward_per_round(self) -> Tensor:
        """Mean reward over the games which reached the round, float64 ``[rounds]``; nan where none did."""
        return self.rewards.mean(0, dtype=torch.float64) if self.over is None else self._mean_of_games(self.rewards.double())

    def _mean_of_games(self, values: Tensor) -> Tensor:
        going_on = self.going_on()
        return (values * going_on).sum(0) / going_on.sum(0)

    def _with(self, tensors: Iterable[Tensor]) -> Episodes:
        observations, actions, rewards, identity = tensors
        return Episodes(observations, actions, rewards, identity, self.over)
