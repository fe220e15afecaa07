"""What all players with a trained model share: the model's state over the games that they play."""

from __future__ import annotations

import torch
from torch import Tensor

from coopctx.agents.trunk import Trunk


class TrunkPlayer:
    """Plays with a model that it does not change; a subclass decides (`act`).

    A subclass sets `_previous`, long [games], to what it chose. Every random number comes from the generator.
    """

    def __init__(self, model: Trunk, generator: torch.Generator) -> None:
        self._generator, self._model = generator, model
        self._gates = model.gates().contiguous()

    def begin(self, games: int) -> None:
        weights = self._gates.table
        self._hidden = weights.new_zeros(games, self._model.hidden)
        self._previous = torch.full((games,), self._model.n_actions, device=weights.device)
        self.meet(None)

    def identity(self) -> Tensor | None:
        return None

    def meet(self, identity: Tensor | None) -> None:
        games, device = len(self._hidden), self._hidden.device
        known = torch.zeros(games, self._model.identity_size) if identity is None else identity
        extra = self._model.identity_gates(known.to(device))
        self._extra = None if extra is None else extra.detach()

    def replay(self, action: Tensor) -> None:
        """Go on as if it had chosen ``action``, long [games], in its last decision."""
        self._previous = action
