"""Meta agents at play. The recurrent one is the player of A2C, whose memory runs on as long as nobody calls ``begin``."""

from __future__ import annotations

import torch
from torch import Tensor

from coopctx import native


class FiveLogitPlayer:
    """Cooperates with the probability that belongs to the last observation; logits float32 [5]."""

    recurrence: native.Recurrence | None = None  # there is nothing that an update could use again

    def __init__(self, logits: Tensor, generator: torch.Generator) -> None:
        self._chances, self._generator = torch.sigmoid(logits.detach()), generator

    def begin(self, games: int) -> None:
        """A memory-one policy has nothing to forget."""

    def identity(self) -> None:
        """A learner has none."""

    def meet(self, identity: Tensor | None) -> None:
        """It is not told about its co-player."""

    def act(self, observation: Tensor, reward: Tensor) -> Tensor:
        uniform = torch.rand(len(observation), generator=self._generator)
        return (uniform >= self._chances[observation]).long()  # 0 cooperates
