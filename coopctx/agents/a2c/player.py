"""The A2C player: samples from a policy head (App. A.3.2)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from coopctx import native
from coopctx.agents.beliefs import Beliefs
from coopctx.agents.trunk import ActorCritic, step
from coopctx.experiments.settings import Config
from coopctx.game.sampling import Counted, sample


class A2CPlayer:
    """Plays a ~ pi(a | x) = softmax of the logits, with a model that it does not change while it plays.

    played: where a game in the native kernel leaves what it has computed, for a learner; None where nobody learns from it.
    """

    @torch.no_grad()
    def __init__(self, model: ActorCritic, generator: torch.Generator, played: native.Played | None = None) -> None:
        self._model, self._generator, self._played = model, generator, played
        self._gates = model.gates().contiguous()

    def begin(self, games: int) -> None:
        self._hidden = self._gates.table.new_zeros(games, self._model.hidden)
        self._previous = torch.full((games,), self._model.n_actions, device=self._hidden.device)
        self._draws = Counted(self._generator, games)
        self.meet(None)

    def identity(self) -> Tensor | None:
        return None

    @torch.no_grad()
    def meet(self, identity: Tensor | None) -> None:
        games, device = len(self._hidden), self._hidden.device
        known = torch.zeros(games, self._model.identity_size) if identity is None else identity
        self._extra = self._model.identity_gates(known.to(device)) if self._model.identity_size else None

    @torch.no_grad()
    def act(self, observation: Tensor, reward: Tensor) -> Tensor:
        gates = self._gates
        index = self._model.index(observation, self._previous)
        self._hidden = step(gates, self._hidden, index, reward, self._extra)
        self._held = F.linear(F.silu(self._hidden), gates.head_weight, gates.head_bias)
        self._previous = sample(self._held[:, :-1], self._draws.next().to(self._held.device))
        return self._previous

    @property
    def beliefs(self) -> Beliefs:
        """What it held before its last decision, ``[games, ...]``; AttributeError before the first `act`."""
        return Beliefs(self._held[:, :-1].softmax(1), value=self._held[:, -1])

    def replay(self, action: Tensor) -> None:
        """Go on as if it had chosen ``action``, long [games], in its last decision."""
        self._previous = action

    def natively(self) -> list[native.Seat]:
        return [native.Seat(len(self._hidden), self._draws.key, self._gates, self._extra, self._played)]


def player_of(model: ActorCritic, config: Config, generator: torch.Generator, threads: int = 1) -> A2CPlayer:
    """The player of a trained model; neither settings nor threads matter to it."""
    return A2CPlayer(model, generator)
