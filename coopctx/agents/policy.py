"""The player that samples from the policy head of an actor-critic (App. A.3.2), of A2C and of recurrent COALA-PG."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from coopctx import native
from coopctx.agents.beliefs import Beliefs
from coopctx.agents.player import TrunkPlayer
from coopctx.agents.trunk import ActorCritic, step
from coopctx.game.sampling import Counted, sample


class PolicyPlayer(TrunkPlayer):
    """Plays a ~ pi(a | x) = softmax of the logits, with a model that it does not change while it plays.

    A learner's update reuses what the native kernel computes while the player plays. Whole games (`natively`) are kept in
    ``kept``. Games of ``rounds`` rounds that are played round by round are kept in `recurrence`, which reuses the memory of
    ``before``, the recurrence of an earlier player.
    """

    recurrence: native.Recurrence | None

    def __init__(
        self,
        model: ActorCritic,
        generator: torch.Generator,
        kept: native.Played | None = None,
        rounds: int | None = None,
        before: native.Recurrence | None = None,
    ) -> None:
        super().__init__(model, generator)
        self._kept, self._rounds, self._before = kept, rounds, before

    @property
    def supported(self) -> bool:
        """Whether the native kernel supports the model's size."""
        return native.supports(self._model.hidden)

    def begin(self, games: int) -> None:
        self._draws = Counted(self._generator, games)
        super().begin(games)

    def meet(self, identity: Tensor | None) -> None:
        super().meet(identity)
        self.recurrence = None

    def act(self, observation: Tensor, reward: Tensor) -> Tensor:
        self._decision = self._outputs(self._model.index(observation, self._previous), reward)
        self._previous = sample(self._decision[:, :-1], self._draws.next().to(self._decision.device))
        return self._previous

    def _outputs(self, index: Tensor, reward: Tensor) -> Tensor:
        """Logits and value of this round, [games, A + 1]; advances the hidden state."""
        gates = self._gates
        kernel = native.kernel_for(reward.device, self._model.hidden)
        if kernel is None:
            self._hidden = step(gates, self._hidden, index, reward, self._extra)
            return F.linear(F.silu(self._hidden), gates.head_weight, gates.head_bias)
        if self.recurrence is None:
            self.recurrence = native.Recurrence(kernel, gates, self._extra, len(self._hidden), self._rounds, self._before)
        return self.recurrence.advance(index.int(), reward)

    @property
    def beliefs(self) -> Beliefs:
        """The beliefs before its last decision, ``[games, ...]``; AttributeError before the first `act`."""
        return Beliefs(self._decision[:, :-1].softmax(1), value=self._decision[:, -1])

    def natively(self) -> list[native.Seat]:
        return [native.Seat(len(self._hidden), self._draws.key, self._gates, self._extra, self._kept)]
