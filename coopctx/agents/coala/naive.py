"""Naive learners: those who see the present inner episode alone and learn after each one (arXiv:2410.18636, App. B).

Many of them learn side by side, each with parameters of its own, from the B games that it plays at once. A learner's games are
neighbours: row n * B + b is game b of learner n. Every meta-trajectory begins with fresh learners.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from coopctx.agents.policy_gradient import SMALLEST_DEVIATION
from coopctx.experiments.settings import CoalaConfig
from coopctx.game.matrix import COOPERATE


class FiveLogitLearners:
    """Learners with five logits of cooperating each, initially N(0, 1); policy gradient with normalised returns, no critic."""

    def __init__(self, learners: int, n_actions: int, coala: CoalaConfig, generator: torch.Generator) -> None:
        if n_actions != 2:
            raise ValueError("five logits are a policy for two actions")
        self._coala, self._generator = coala, generator
        self.logits = torch.randn(learners, 1 + n_actions**2, generator=generator)
        self._adam = torch.optim.Adam([self.logits], lr=coala.naive_learning_rate)

    def begin_episode(self) -> None:
        """Forget the last inner episode; what has been learned remains. A memory-one policy has nothing to forget."""

    def act(self, observation: Tensor) -> Tensor:
        """Actions, long [learners * B], after observation codes."""
        seen = observation.view(len(self.logits), -1)
        uniform = torch.rand(seen.shape, generator=self._generator)
        return (uniform >= torch.sigmoid(self.logits.gather(1, seen))).long().flatten()  # 0 cooperates

    def learn(self, observations: Tensor, actions: Tensor, rewards: Tensor) -> None:
        """Each learner's step on its own B games of the inner episode just played, [learners * B, T]."""
        shape = len(self.logits), -1  # [learners, B * T]
        seen = observations.reshape(shape)
        score = (actions.reshape(shape) == COOPERATE).float() - torch.sigmoid(self.logits.gather(1, seen))
        weight = _normalised(_returns(rewards, self._coala.naive_discount).reshape(shape))
        ascent = torch.zeros_like(self.logits).scatter_add_(1, seen, score * weight) / seen.shape[1]
        (self.logits.grad,) = _clipped([-ascent], self._coala.naive_max_grad_norm)
        self._adam.step()


class _Network(NamedTuple):
    """Parameters of recurrent learners, each [learners, ...]: a GRU cell (gates r, z, n) that reads observation codes."""

    inputs: Tensor  # [N, observations, 3 H]; the input layer and its bias
    recurrent: Tensor  # [N, H, 3 H]
    bias: Tensor  # [N, 1, H]; inside the candidate
    readout: Tensor  # [N, H, A + 1]; logits, then the value
    readout_bias: Tensor  # [N, 1, A + 1]


class RecurrentLearners:
    """Learners with a GRU, policy and value each; readouts start at 0 (P(C) = 0.5). A2C with lambda = 1, no bootstrapping."""

    def __init__(self, learners: int, n_actions: int, coala: CoalaConfig, generator: torch.Generator) -> None:
        hidden, observations, outputs = coala.naive_hidden, 1 + n_actions**2, n_actions + 1

        def uniform(*shape: int) -> Tensor:
            bound = 1 / math.sqrt(hidden)
            return torch.empty(learners, *shape).uniform_(-bound, bound, generator=generator)

        self._coala, self._generator, self._learners = coala, generator, learners
        self.network = _Network(
            uniform(observations, 3 * hidden),
            uniform(hidden, 3 * hidden),
            uniform(1, hidden),
            torch.zeros(learners, hidden, outputs),
            torch.zeros(learners, 1, outputs),
        )
        for parameter in self.network:
            parameter.requires_grad_()
        self._adam = torch.optim.Adam(self.network, lr=coala.naive_learning_rate)

    def begin_episode(self) -> None:
        """Forget the last inner episode; what has been learned remains."""
        self._hidden: Tensor | None = None
        self._outputs: list[Tensor] = []

    @torch.enable_grad()
    def act(self, observation: Tensor) -> Tensor:
        """Actions, long [learners * B], after observation codes."""
        outputs = self._step(observation.view(self._learners, -1))
        self._outputs.append(outputs)
        sums = outputs.detach()[..., :-1].softmax(-1).cumsum(-1)[..., :-1]
        uniform = torch.rand(sums.shape[:2], generator=self._generator)
        return (uniform[..., None] >= sums).sum(-1).flatten()

    def learn(self, observations: Tensor, actions: Tensor, rewards: Tensor) -> None:
        """Each learner's step on its own B games of the inner episode just played, [learners * B, T]."""
        with torch.enable_grad():
            outputs = torch.stack(self._outputs, 2)  # [N, B, T, A + 1]
            shape = outputs.shape[:3]
            values = outputs[..., -1]
            returns = _returns(self._coala.naive_reward_scale * rewards, self._coala.naive_discount).view(shape)
            advantage = _normalised((returns - values.detach()).flatten(1)).view(shape)
            chosen = outputs[..., :-1].log_softmax(-1).gather(3, actions.view(*shape, 1).long())[..., 0]
            loss = -chosen * advantage + self._coala.naive_value_weight * (values - returns) ** 2
            total = loss.mean((1, 2)).sum()  # a learner's mean over its own games and rounds
        gradients = _clipped(torch.autograd.grad(total, self.network), self._coala.naive_max_grad_norm)
        for parameter, gradient in zip(self.network, gradients, strict=True):
            parameter.grad = gradient
        self._adam.step()

    def _step(self, seen: Tensor) -> Tensor:
        """Outputs [N, B, A + 1] of the next round; advances the hidden states."""
        network = self.network
        size = network.bias.shape[-1]
        index = seen[..., None].expand(-1, -1, 3 * size)
        gates = network.inputs.gather(1, index)
        if self._hidden is None:
            self._hidden = gates.new_zeros(*seen.shape, size)
        recurrent = self._hidden @ network.recurrent
        reset, keep = torch.sigmoid(gates[..., : 2 * size] + recurrent[..., : 2 * size]).chunk(2, -1)
        candidate = torch.tanh(gates[..., 2 * size :] + reset * (recurrent[..., 2 * size :] + network.bias))
        self._hidden = torch.lerp(candidate, self._hidden, keep)
        return torch.baddbmm(network.readout_bias, F.silu(self._hidden), network.readout)


NaiveLearners: TypeAlias = FiveLogitLearners | RecurrentLearners  # at the beginning of a meta-trajectory


def naive_learners(learners: int, n_actions: int, coala: CoalaConfig, generator: torch.Generator) -> NaiveLearners:
    """New naive learners of the configured kind, at the beginning of a meta-trajectory."""
    kind = FiveLogitLearners if coala.naive_policy == "five-logit" else RecurrentLearners
    return kind(learners, n_actions, coala, generator)


def _clipped(gradients: Sequence[Tensor], max_norm: float) -> list[Tensor]:
    """Gradients [learners, ...], each learner's scaled so that its own norm over all of them is at most ``max_norm``."""
    norm = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0).sqrt()
    factor = max_norm / norm.clamp(min=max_norm)
    return [gradient * factor.view(-1, *[1] * (gradient.dim() - 1)) for gradient in gradients]


def _returns(rewards: Tensor, discount: float) -> Tensor:
    """sum_{k >= 0} discount^k r_{t+k} to the inner episode's end, from and to [rows, T]."""
    ahead, returns = torch.zeros_like(rewards[:, 0]), []
    for reward in reversed(rewards.unbind(1)):
        ahead = reward + discount * ahead
        returns.append(ahead)
    return torch.stack(returns[::-1], 1)


def _normalised(advantage: Tensor) -> Tensor:
    """Advantages with mean 0 and standard deviation 1 over each learner's games and rounds, [learners, B * T]."""
    centred = advantage - advantage.mean(1, keepdim=True)
    return centred / (centred.square().mean(1, keepdim=True).sqrt() + SMALLEST_DEVIATION)
