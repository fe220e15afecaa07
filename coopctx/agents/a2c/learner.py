"""One A2C learner: its model, its optimiser, the loss and the gradient step on a batch of its own episodes (App. A.3.2).

With rescaled rewards r_t, values V_t (0 after the last round) and delta_t = r_t + gamma V_{t+1} - V_t, the loss is the
mean over episodes and rounds of

    -log pi(a_t | x_t) A_t  +  c_v (V_t - V^target_t)^2  -  c_e H(pi(. | x_t)),

    A_t = sum_k (gamma lambda)^k delta_{t+k}  (GAE),    V^target_t = V_t + sum_k (gamma lambda_td)^k delta_{t+k}  (TD(lambda)),

with no gradient through A and V^target. Normalised advantages are (A_t - mean) / (sqrt(v) + 1e-8) within each group of games;
v is a moving average of the group's variance, that of this batch alone where `A2CConfig.variance_decay` is 0.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from coopctx import native
from coopctx.agents.policy import PolicyPlayer
from coopctx.agents.policy_gradient import Outputs, PolicyLearner, Update, changed, linear
from coopctx.agents.trunk import ActorCritic, on_one_vector
from coopctx.experiments.settings import A2CConfig, ModelConfig
from coopctx.game.episodes import Episodes
from coopctx.game.matrix import MatrixGame


class A2CLearner(PolicyLearner):
    """A model and its optimiser. Two learners of a run share nothing but the seed.

    number: 1 or 2. identity_size: the size of the co-player's identity z (App. A.4.1), 0 without it.
    """

    def __init__(
        self,
        number: int,
        game: MatrixGame,
        model: ModelConfig,
        a2c: A2CConfig,
        seed: int,
        identity_size: int,
        device: torch.device,
    ) -> None:
        super().__init__(number, seed, a2c.variance_decay)
        self._a2c = a2c
        sizes = game.n_observations, game.n_actions, model.hidden, model.embedding, identity_size
        start = self._stream("initialise", 0), a2c.initialisation, a2c.zero_readouts
        self.model: ActorCritic = ActorCritic(*sizes, *start).to(device)
        self._weights = on_one_vector(self.model)  # a step costs less on one tensor than on many
        self._optimizer = torch.optim.Adam([self._weights], lr=a2c.learning_rate, eps=a2c.adam_epsilon, fused=True)
        self._payoffs, self._played = torch.tensor(game.payoffs), native.Played()

    def player(self, *purpose: str | int, learning: bool = False) -> PolicyPlayer:
        """A player of the present policy; ``purpose`` names its random stream. learning: `update` will learn from its games."""
        if learning:
            self._played.shares = []
        return PolicyPlayer(self.model, self._stream("play", *purpose), self._played if learning else None)

    def update(self, episodes: Episodes, kinds: Sequence[int], iteration: int, threads: int = 1) -> Update:
        """Take a gradient step on ``episodes``, which the present model has just played; ``iteration`` counts from 1.

        kinds: the number of games against each kind of opponent, in the order of the episodes. threads: of the native kernel.
        """
        gradient, terms = self.gradient(episodes, kinds, iteration, threads)
        norm = gradient.norm()
        self._weights.grad = gradient.mul_((self._a2c.max_grad_norm / (norm + 1e-6)).clamp(max=1.0))
        a2c = self._a2c
        rates = a2c.learning_rate, a2c.final_learning_rate, a2c.learning_rate_decay
        self._optimizer.param_groups[0]["lr"] = self._scheduled(*rates, iteration)
        self._optimizer.step()
        policy, value, entropy = terms
        return Update(policy, value, entropy, norm)

    def gradient(
        self, episodes: Episodes, kinds: Sequence[int], iteration: float, threads: int = 1
    ) -> tuple[Tensor, Tensor]:
        """The gradient of the loss on ``episodes`` as one vector, in the order of the parameters; and the loss's terms, [3].

        The forward pass is not repeated where the native kernel kept it while these games were played.
        """
        if not self._played.shares:
            loss, terms = self.loss(self.model(episodes), episodes, kinds, iteration)
            parts = torch.autograd.grad(loss, list(self.model.parameters()))
            return torch.cat([part.flatten() for part in parts]), terms
        played = self._played, episodes.actions, episodes.rewards, self._payoffs
        with torch.no_grad():
            terms, gates, d_extra = native.actor_critic_gradient(*played, self._native_loss(kinds, iteration), threads)
            return torch.cat([part.flatten() for part in self.model.unfold(gates, d_extra, episodes.identity)]), terms

    def _native_loss(self, kinds: Sequence[int], iteration: float) -> native.ActorCriticLoss:
        """`loss` as the native kernel takes it."""
        a2c = self._a2c
        return native.ActorCriticLoss(
            reward_scale=a2c.reward_scale,
            discount=a2c.discount,
            gae=a2c.discount * a2c.gae_lambda,
            td=a2c.discount * a2c.td_lambda,
            value_weight=a2c.value_weight,
            entropy_weight=self._entropy_weight(iteration),
            kinds={"off": None, "together": [sum(kinds)], "per-opponent": kinds}[a2c.normalise_advantages],
            divisors=self._divisors,
        )

    def loss(
        self, outputs: Tensor, episodes: Episodes, kinds: Sequence[int], iteration: float
    ) -> tuple[Tensor, Tensor]:
        """The loss of the model's ``outputs`` [games, rounds, A + 1], and its terms [3]: policy, value, entropy.

        The variances of these advantages join the moving average. kinds: as for `update`; they sum to the number of games.
        """
        a2c = self._a2c
        log_chosen, values, entropy = Outputs.of(outputs, episodes.actions)
        with torch.no_grad():
            delta = temporal_differences(a2c.reward_scale * episodes.rewards, values, a2c.discount)
            advantages = discounted_sums(delta, a2c.discount * a2c.gae_lambda)
            targets = values + discounted_sums(delta, a2c.discount * a2c.td_lambda)
            if a2c.normalise_advantages != "off":
                groups = kinds if a2c.normalise_advantages == "per-opponent" else [len(advantages)]
                parts = advantages.split(list(groups))
                divisors = self._divisors(torch.stack([part.var(correction=0) for part in parts]))
                advantages = torch.cat([(part - part.mean()) / by for part, by in zip(parts, divisors, strict=True)])
        policy = -(log_chosen * advantages).mean()
        value = F.mse_loss(values, targets)
        loss = policy + a2c.value_weight * value - self._entropy_weight(iteration) * entropy
        return loss, torch.stack([policy, value, entropy]).detach()

    def _entropy_weight(self, iteration: float) -> float:
        a2c = self._a2c
        return self._scheduled(a2c.entropy_weight, a2c.final_entropy_weight, a2c.entropy_decay, iteration)

    def _scheduled(self, first: float, final: float, share: float, iteration: float) -> float:
        """A setting that changes linearly from ``first`` to ``final`` and then stays; share: see `changed`."""
        return linear(first, final, changed(iteration, self._a2c.iterations, share, self._a2c.hold))


def temporal_differences(rewards: Tensor, values: Tensor, discount: float) -> Tensor:
    """delta_t = r_t + gamma V_{t+1} - V_t, [games, rounds]; V is 0 after the last round, the end of the episode."""
    return rewards + discount * F.pad(values[:, 1:], (0, 1)) - values


def discounted_sums(x: Tensor, factor: float) -> Tensor:
    """sum_{k >= 0} factor^k x_{t+k} for every round t, from and to [games, rounds].

    One product with a triangular matrix, which is faster than a loop over a hundred rounds.
    """
    return x @ _discounts(x.shape[1], factor, x.dtype, x.device)


@functools.lru_cache(maxsize=8)
def _discounts(rounds: int, factor: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """factor^(s - t), [s, t], for s >= t and 0 elsewhere; s is the round that is added to the sum for t."""
    numbers = torch.arange(rounds, device=device, dtype=torch.float64)
    ahead = numbers[:, None] - numbers
    return torch.where(ahead >= 0, factor ** ahead.clamp(min=0), 0.0).to(dtype)
