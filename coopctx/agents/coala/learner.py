"""One meta agent: its policy, its optimiser, and its update on a batch of meta-trajectories (arXiv:2410.18636, Alg. 1, App. A).

The recurrent agent is an actor-critic on the trunk of the other agents; its loss is PPO's,

    -min(rho A, clip(rho, 1 - eps, 1 + eps) A)  +  c_v (V - V^target)^2  -  c_e H(pi),

with the advantages A of the rule (`returns`), rho = pi(a | h) / pi_old(a | h), and back-propagation through the whole
meta-trajectory; with one epoch and one minibatch it is A2C. The five-logit agent has no memory and no critic, and takes one
step of policy gradient per batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from coopctx import native
from coopctx.agents.coala.meta_games import Layout
from coopctx.agents.coala.player import FiveLogitPlayer, FiveLogits
from coopctx.agents.coala.returns import RULES, Rule, advantages, batch_lambda_returns, value_targets
from coopctx.agents.policy import PolicyPlayer
from coopctx.agents.policy_gradient import SMALLEST_DEVIATION, Outputs, PolicyLearner, Update, changed, linear
from coopctx.agents.trunk import ActorCritic
from coopctx.experiments.settings import CoalaConfig, ModelConfig
from coopctx.game.episodes import Episodes
from coopctx.game.matrix import COOPERATE, MatrixGame


class RecurrentLearner(PolicyLearner):
    """A meta agent on the GRU trunk."""

    def __init__(self, number: int, game: MatrixGame, model: ModelConfig, coala: CoalaConfig, seed: int) -> None:
        super().__init__(number, seed, coala.variance_decay)
        self._coala = coala
        sizes = game.n_observations, game.n_actions, coala.hidden, model.embedding, 0
        self.model: ActorCritic = ActorCritic(*sizes, self._stream("initialise", 0), "flax", zero_readouts=True)
        self._optimizer = torch.optim.Adam(self.model.parameters(), lr=coala.learning_rate, eps=coala.adam_epsilon, fused=True)
        self._played: native.Recurrence | None = None
        self._at_once = coala.epochs == coala.minibatches == 1  # A2C: the outputs computed in play are differentiated

    def player(self, *purpose: str | int, rounds: int | None = None) -> PolicyPlayer:
        """A player of the present policy; ``purpose`` names its random stream. rounds: M T, if `update` follows."""
        return PolicyPlayer(self.model, self._stream("play", *purpose), rounds=rounds, before=self._played)

    def update(self, episodes: Episodes, layout: Layout, played: native.Recurrence | None, iteration: int) -> Update:
        """Take the gradient steps on a batch that the present policy has just played; ``iteration`` counts from 1.

        played: the player's `PolicyPlayer.recurrence`; with None the model's outputs are recomputed.
        """
        coala = self._coala
        self._played = played
        outputs = self._outputs(episodes, played)
        weight, targets = self._targets(outputs[..., -1].detach(), episodes.rewards, layout)
        old = Outputs.of(outputs.detach(), episodes.actions).log_chosen
        self._optimizer.param_groups[0]["lr"] = learning_rate(coala, iteration)
        updates = []
        for epoch in range(coala.epochs):
            for rows in self._minibatches(len(episodes), iteration, epoch):
                part = outputs if self._at_once else self.model(episodes[rows])
                updates.append(self._step(part, episodes[rows].actions, weight[rows], targets[rows], old[rows], iteration))
        return Update(*(torch.stack(term).mean() for term in zip(*updates, strict=True)))

    def _outputs(self, episodes: Episodes, played: native.Recurrence | None) -> Tensor:
        """The model's outputs on the games it has just played; differentiable only if no other pass is needed."""
        with torch.set_grad_enabled(self._at_once):
            return self.model(episodes) if played is None else self.model.recall(played, episodes)

    def _targets(self, values: Tensor, rewards: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        """Advantages under the rule and the critic's targets, [rows, M T]."""
        coala = self._coala
        rewards, values = layout.by_co_player(coala.reward_scale * rewards), layout.by_co_player(values)

        def estimated(co_players: slice, lam: float, rule: Rule) -> Tensor:
            return advantages(rewards[co_players], values[co_players], layout.rounds, coala.discount, lam, rule)

        weight = by_kind(estimated, coala, layout)
        targets = value_targets(rewards, values, layout.rounds, coala.discount, coala.td_lambda)
        return rescaled(weight.flatten(0, 1), layout, coala.advantages, self._divisors), targets.flatten(0, 1)

    def _minibatches(self, rows: int, iteration: int, epoch: int) -> list[Tensor | slice]:
        if self._coala.minibatches == 1:
            return [slice(None)]
        order = torch.randperm(rows, generator=self._stream("minibatches", iteration, epoch))
        return list(order.chunk(self._coala.minibatches))

    def _step(
        self, outputs: Tensor, actions: Tensor, weight: Tensor, targets: Tensor, old: Tensor, iteration: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        coala = self._coala
        log_chosen, values, entropy = Outputs.of(outputs, actions)
        ratio = (log_chosen - old).exp()
        policy = -torch.minimum(ratio * weight, ratio.clamp(1 - coala.clip, 1 + coala.clip) * weight).mean()
        value = F.mse_loss(values, targets)
        loss = policy + coala.value_weight * value - entropy_weight(coala, iteration) * entropy
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), coala.max_grad_norm)
        self._optimizer.step()
        return policy.detach(), value.detach(), entropy.detach(), norm


class FiveLogitLearner(PolicyLearner):
    """A meta agent with a memory-one policy. Arguments as of `RecurrentLearner`."""

    def __init__(self, number: int, game: MatrixGame, model: ModelConfig, coala: CoalaConfig, seed: int) -> None:
        super().__init__(number, seed, coala.variance_decay)
        self._coala = coala
        self.model: FiveLogits = FiveLogits(torch.zeros(5))
        self._optimizer = torch.optim.Adam(self.model.parameters(), lr=coala.learning_rate, eps=coala.adam_epsilon)

    def player(self, *purpose: str | int, rounds: int | None = None) -> FiveLogitPlayer:
        """The present policy; ``purpose`` names its random stream."""
        return FiveLogitPlayer(self.model.logits, self._stream("play", *purpose))

    def update(self, episodes: Episodes, layout: Layout, played: native.Recurrence | None, iteration: int) -> Update:
        """Take the gradient step on a batch that the present policy has just played; ``iteration`` counts from 1."""
        coala = self._coala
        rewards = layout.by_co_player(coala.reward_scale * episodes.rewards)

        def estimated(co_players: slice, lam: float, rule: Rule) -> Tensor:
            return minus_regression_on_other_games(rewards[co_players], layout.rounds, coala.discount, lam, rule)

        weight = by_kind(estimated, coala, layout)
        weight = rescaled(weight.flatten(0, 1), layout, coala.advantages, self._divisors)
        logits = self.model.logits[episodes.observations[:, :-1].long()]
        policy = -(F.logsigmoid(torch.where(episodes.actions == COOPERATE, logits, -logits)) * weight).mean()
        chance = torch.sigmoid(logits.detach())
        entropy = F.binary_cross_entropy(chance, chance)
        self._optimizer.zero_grad(set_to_none=True)
        policy.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), coala.max_grad_norm)
        self._optimizer.param_groups[0]["lr"] = learning_rate(coala, iteration)
        self._optimizer.step()
        return Update(policy.detach(), torch.zeros(()), entropy, norm)


MetaLearner: TypeAlias = RecurrentLearner | FiveLogitLearner
LEARNERS: dict[str, type[RecurrentLearner] | type[FiveLogitLearner]] = {
    "recurrent": RecurrentLearner,
    "five-logit": FiveLogitLearner,
}


def by_kind(estimated: Callable[[slice, float, Rule], Tensor], coala: CoalaConfig, layout: Layout) -> Tensor:
    """Advantages [co-players, B, M T], estimated separately for naive co-players and for meta agents.

    estimated: the advantages for a slice of the co-players, a lambda and a rule.

    Games against a meta agent are independent. For them the batch-unaware weight divided by B has the same expected gradient as
    COALA-PG's and less noise: ``coala.meta_games = "independent"`` uses it.
    """
    rule, naive, metas = RULES[coala.rule], slice(0, layout.naive), slice(layout.naive, None)
    shaping = estimated(naive, coala.gae_lambda, rule)
    if coala.rule == "coala" and coala.meta_games == "independent":
        independent = estimated(metas, coala.meta_gae_lambda, RULES["batch-unaware"])
        return torch.cat([shaping, independent / layout.games])
    return torch.cat([shaping, estimated(metas, coala.meta_gae_lambda, rule)])


def rescaled(weight: Tensor, layout: Layout, how: str, divisors: Callable[[Tensor], Tensor]) -> Tensor:
    """Advantages [rows, M T] with mean 0 (and deviation about 1), separately for naive and meta co-players (App. A.4 there).

    divisors: what normalised advantages are divided by, [kinds], from this batch's variances [kinds]. It is called once per
    batch, and may average them with those of earlier ones.
    """
    if how == "as-is":
        return weight
    kinds = [part - part.mean() for part in (weight[layout.naive_rows], weight[layout.meta_rows]) if len(part)]
    if how == "normalised":
        by = divisors(torch.stack([part.var(correction=0) for part in kinds]))
        kinds = [part / deviation for part, deviation in zip(kinds, by, strict=True)]
    return torch.cat(kinds)


def minus_regression_on_other_games(rewards: Tensor, episode_rounds: int, discount: float, lam: float, rule: Rule) -> Tensor:
    """The rule's returns minus a baseline without a critic, [co-players, B, M T]; of one kind of co-players.

    The baseline of round l of game b is the linear regression, over the batch, of that round's returns on the rewards of the
    co-player's other games in the same inner episode. They show how cooperative it is, and do not depend on this game's actions.
    """
    nothing = torch.zeros_like(rewards)
    returns = batch_lambda_returns(rewards, nothing, nothing[..., 0], episode_rounds, discount, lam, rule)
    games = rewards.shape[-2]
    earned = rewards.unflatten(-1, (-1, episode_rounds)).sum(-1)  # [co-players, B, M]
    others = (earned.sum(1, keepdim=True) - earned) / max(games - 1, 1)
    others = others.repeat_interleave(episode_rounds, -1)
    others, centred = others - others.mean((0, 1)), returns - returns.mean((0, 1))
    slope = (others * centred).mean((0, 1)) / others.square().mean((0, 1)).clamp(min=SMALLEST_DEVIATION)
    return centred - slope * others


def learning_rate(coala: CoalaConfig, iteration: int) -> float:
    """Adam's step size in an iteration, counted from 1."""
    part = changed(iteration, coala.iterations, coala.learning_rate_decay)
    return linear(coala.learning_rate, coala.final_learning_rate, part)


def entropy_weight(coala: CoalaConfig, iteration: int) -> float:
    """The weight of the entropy in an iteration, counted from 1."""
    part = changed(iteration, coala.iterations, coala.entropy_decay)
    return linear(coala.entropy_weight, coala.final_entropy_weight, part)
