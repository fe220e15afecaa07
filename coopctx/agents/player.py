"""The common part of all players with a trained model: the model's hidden state during a batch of games."""

from __future__ import annotations

import torch
from torch import Tensor

from coopctx.agents.trunk import Trunk
from coopctx.game.player import Player


class TrunkPlayer(Player):
    """Plays with a model that it does not change. A subclass implements `act` and sets `_previous`, long [games], to its choice.

    Every random number comes from ``generator``.
    """

    def __init__(self, model: Trunk, generator: torch.Generator) -> None:
        self._generator, self._model = generator, model
        self._gates = model.gates().contiguous()

    def begin(self, games: int) -> None:
        weights = self._gates.table
        self._hidden = weights.new_zeros(games, self._model.hidden)
        self._previous = torch.full((games,), self._model.n_actions, device=weights.device)
        self.meet(None)

    def meet(self, identity: Tensor | None) -> None:
        games, device = len(self._hidden), self._hidden.device
        known = torch.zeros(games, self._model.identity_size) if identity is None else identity
        extra = self._model.identity_gates(known.to(device))
        self._extra = None if extra is None else extra.detach()

    def replay(self, action: Tensor) -> None:
        """Continue as if its last decision had been ``action``, long [games]."""
        self._previous = action
