"""Monte-Carlo rollouts inside the model, and the policy improvement step (Alg. 1, App. A.3.1).

For every game and every first action a, rollouts of ``horizon`` rounds are simulated inside the model, which also chooses
the agent's own later actions. Their mean return is Q(x, a), and the improved policy is

    pi(a | x)  proportional to  p(a | x) exp(beta Q(x, a)).

The paper gives beta = 0.01. Its figures are reproduced only if this is a temperature, beta = 100.

Two estimators of Q, both unbiased under the model:

``sampled``   adds the rewards predicted for the sampled actions and observations; rollouts are independent.
``expected``  adds the expected reward of each simulated step under the model; all first actions share their random
              numbers, which are stratified across a decision's rollouts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from coopctx import native
from coopctx.agents.ppi.model import predict
from coopctx.agents.trunk import step
from coopctx.experiments.settings import PPIConfig
from coopctx.game.sampling import choose
from coopctx.native import Gates

ESTIMATORS = ("expected", "sampled")
_ROWS = 2**16  # rollouts that PyTorch simulates at a time: at the paper's hidden size they take 0.4 GB
_BANK = 128  # random permutations (times their cyclic shifts) that stratified uniforms choose from


@dataclass(frozen=True)
class Planner:
    """Settings of the rollouts and of the improvement step.

    rollouts: per first action; horizon: simulated rounds, also beyond the end of the episode; inverse_temperature: beta;
    discount: per simulated round; estimator: one of `ESTIMATORS`.
    """

    rollouts: int
    horizon: int
    inverse_temperature: float
    discount: float = 1.0
    estimator: str = "expected"

    @classmethod
    def of(cls, ppi: PPIConfig) -> Planner:
        """The planner that these settings describe."""
        return cls(ppi.rollouts, ppi.horizon, ppi.inverse_temperature, ppi.discount, ppi.estimator)

    def action_values(
        self, gates: Gates, n_actions: int, hidden: Tensor, extra: Tensor | None, generator: torch.Generator, threads: int = 1
    ) -> Tensor:
        """Q(x, a), float32 ``[games, actions]``, from hidden states ``[games, hidden]``.

        extra: what the co-player's identity adds to the input gates, ``[games, 3 * hidden]`` or None.
        """
        expected = self.estimator == "expected"
        uniforms = self.uniforms(len(hidden), n_actions, generator).to(hidden.device)
        kernel = native.kernel_for(hidden.device, hidden.shape[1])
        if kernel is None:
            games = max(1, _ROWS // (n_actions * self.rollouts))
            parts = [slice(first, first + games) for first in range(0, len(hidden), games)]
            given = [(hidden[part], None if extra is None else extra[part], uniforms[part]) for part in parts]
            return torch.cat([returns(gates, n_actions, *each, self.discount, expected) for each in given])
        n_observations = len(gates.table) // (n_actions + 1)
        settings = n_actions, n_observations, self.discount, expected, threads
        return kernel.rollouts(gates, extra, hidden, uniforms, *settings)[0]

    def uniforms(self, games: int, n_actions: int, generator: torch.Generator) -> Tensor:
        """The random numbers of one decision in each game, as `returns` takes them."""
        if self.estimator == "expected":
            return stratified_uniforms(games, self.rollouts, self.horizon, generator)[:, None]
        return torch.rand(games, n_actions, self.rollouts, self.horizon, 2, generator=generator)

    def improve(self, log_prior: Tensor, values: Tensor) -> Tensor:
        """log pi, ``[games, actions]``: log_prior + beta * values, normalised."""
        return (log_prior + self.inverse_temperature * values).log_softmax(-1)


def stratified_uniforms(games: int, rollouts: int, horizon: int, generator: torch.Generator) -> Tensor:
    """Uniform random numbers ``[games, rollouts, horizon, 2]``, a Latin hypercube across each game's rollouts.

    The last axis: for the agent's own action, for the observation. For every game, simulated step and last axis, one of the
    rollouts' numbers falls into each of ``rollouts`` equal strata. The numbers of one rollout are independent and uniform,
    so means over rollouts are unbiased.
    """
    permutations = torch.rand(_BANK, rollouts, generator=generator).argsort(1)
    shifts = (permutations[:, None] + torch.arange(rollouts)[:, None]) % rollouts  # each stratum equally often
    bank = shifts.flatten(0, 1).float()
    choice = torch.randint(len(bank), (games, horizon, 2), generator=generator)
    uniforms = torch.rand(games, horizon, 2, rollouts, generator=generator).add_(F.embedding(choice, bank)).div_(rollouts)
    return uniforms.clamp_(max=1 - 2**-24).permute(0, 3, 1, 2).contiguous()


def returns(
    gates: Gates, n_actions: int, hidden: Tensor, extra: Tensor | None, uniforms: Tensor, discount: float, expected: bool
) -> Tensor:
    """Mean returns ``[games, actions]`` of rollouts driven by ``uniforms`` [games, A or 1, rollouts, horizon, 2].

    With 1 in place of A the first actions share their random numbers. Plain PyTorch, on any device; the native kernel
    computes the same.
    """
    games, _, rollouts, horizon, _ = uniforms.shape
    rows = games * n_actions * rollouts  # row order: game, first action, rollout
    first = torch.arange(n_actions, device=hidden.device).repeat_interleave(rollouts).repeat(games)
    uniforms = uniforms.expand(-1, n_actions, -1, -1, -1).reshape(rows, horizon, 2)
    hidden = hidden.repeat_interleave(n_actions * rollouts, 0)
    extra = None if extra is None else extra.repeat_interleave(n_actions * rollouts, 0)
    total = hidden.new_zeros(rows)
    for t in range(horizon):
        heads = predict(gates, hidden, n_actions)
        policy = F.one_hot(first, n_actions).to(hidden.dtype) if t == 0 else heads.action.exp()
        action = first if t == 0 else choose(policy, uniforms[:, t, 0])
        following = heads.observation.exp()  # [rows, A, O]
        taken = action[:, None, None].expand(-1, 1, following.shape[2])
        observation = choose(following.gather(1, taken)[:, 0], uniforms[:, t, 1])
        reward = heads.reward.gather(1, taken)[:, 0].gather(1, observation[:, None])[:, 0]
        gain = (policy * (following * heads.reward).sum(2)).sum(1) if expected else reward
        total += discount**t * gain
        if t < horizon - 1:
            hidden = step(gates, hidden, observation * (n_actions + 1) + action, reward, extra)
    return total.view(games, n_actions, rollouts).mean(2)
