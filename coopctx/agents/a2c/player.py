"""The A2C player: samples from a policy head (App. A.3.2)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from coopctx import native
from coopctx.agents.beliefs import Beliefs
from coopctx.agents.trunk import ActorCritic, Gates, step
from coopctx.experiments.settings import Config
from coopctx.game.player import NativePart
from coopctx.game.sampling import sample


class A2CPlayer:
    """Plays a ~ pi(a | x) = softmax of the logits, with a model that it does not change while it plays.

    rounds: how many there will be per game, to have `played` for a learner; None for any number. before: the `played` of
    an earlier player, whose memory may be used again. played: all that was computed in the last games, where the native
    kernel is in use and ``rounds`` is given; otherwise None, and the learner computes it again.
    """

    played: native.Recurrence | None

    @torch.no_grad()
    def __init__(
        self,
        model: ActorCritic,
        generator: torch.Generator,
        rounds: int | None = None,
        before: native.Recurrence | None = None,
    ) -> None:
        self._model, self._generator = model, generator
        self._rounds, self._saved = rounds, None if before is None else before.saved
        self._gates = Gates(*(tensor.detach().contiguous() for tensor in model.gates()))

    def begin(self, games: int) -> None:
        self._hidden = self._gates.table.new_zeros(games, self._model.hidden)
        self._previous = torch.full((games,), self._model.n_actions, device=self._hidden.device)
        self.meet(None)

    def identity(self) -> Tensor | None:
        return None

    @torch.no_grad()
    def meet(self, identity: Tensor | None) -> None:
        games, device = len(self._hidden), self._hidden.device
        known = torch.zeros(games, self._model.identity_size) if identity is None else identity
        self._extra = self._model.identity_gates(known.to(device)) if self._model.identity_size else None
        self._going: native.Recurrence | None = None
        self.played = None

    @torch.no_grad()
    def act(self, observation: Tensor, reward: Tensor) -> Tensor:
        self._held = self._outputs(self._model.index(observation, self._previous), reward)
        logits = self._held[:, :-1]
        uniform = torch.rand(len(logits), generator=self._generator).to(logits.device)
        self._previous = sample(logits, uniform)
        return self._previous

    @property
    def beliefs(self) -> Beliefs:
        """What it held before its last decision, ``[games, ...]``; AttributeError before the first `act`."""
        return Beliefs(self._held[:, :-1].softmax(1), value=self._held[:, -1])

    def replay(self, action: Tensor) -> None:
        """Go on as if it had chosen ``action``, long [games], in its last decision."""
        self._previous = action

    def natively(self, rounds: int, kernel: native.Kernel) -> list[NativePart]:
        rows = len(self._hidden)
        return [(rows, torch.rand(rounds, rows, generator=self._generator), self._begun(kernel))]

    def _outputs(self, index: Tensor, reward: Tensor) -> Tensor:
        """Logits and value of this round, [games, A + 1]; the state moves on."""
        gates = self._gates
        kernel = native.kernel_for(reward.device, self._model.hidden)
        if kernel is None:
            self._hidden = step(gates, self._hidden, index, reward, self._extra)
            return F.linear(F.silu(self._hidden), gates.head_weight, gates.head_bias)
        if self._going is None:
            self._going = self._begun(kernel)
        return self._going.advance(index.int(), reward)

    def _begun(self, kernel: native.Kernel) -> native.Recurrence:
        going = kernel.begin(*self._gates, self._extra, len(self._hidden), self._rounds, self._saved)
        self.played = going if self._rounds else None
        return going


def player_of(model: ActorCritic, config: Config, generator: torch.Generator, threads: int = 1) -> A2CPlayer:
    """The player of a trained model; neither settings nor threads matter to it."""
    return A2CPlayer(model, generator)
