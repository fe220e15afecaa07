"""PPI's self- and world-model: three kinds of predictions on the common trunk, and their losses (Alg. 1, App. A.3.1).

From its state x_{<=t} after round t's observation, previous action and previous reward the model predicts

    p(a_t | x_{<=t}),   p(o_{t+1} | x_{<=t}, a_t),   E[r_t | x_{<=t}, a_t, o_{t+1}],

with one head output per action, per (action, observation) and again per (action, observation). The model knows nothing of
the game at first: it learns that an observation repeats the agent's own action, and the payoffs of joint actions.
"""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from coopctx import native
from coopctx.agents.trunk import Trunk
from coopctx.game.episodes import Episodes
from coopctx.native import Gates


class Heads(NamedTuple):
    """What the sequence model predicts from a state; leading dimensions are those of the state.

    action       [..., A]     log-probabilities of the agent's own next action
    observation  [..., A, O]  log-probabilities of the next observation, given that action
    reward       [..., A, O]  mean reward, given that action and that next observation
    """

    action: Tensor
    observation: Tensor
    reward: Tensor


Number = TypeVar("Number", float, Tensor)


class Losses(NamedTuple, Generic[Number]):
    """Means per step: two negative log-likelihoods (nats) and a squared error (payoff units squared); or their weights."""

    observation: Number
    action: Number
    reward: Number


class SequenceModel(Trunk):
    """The self- and world-model of PPI: predicts own actions, observations and rewards."""

    @property
    def n_outputs(self) -> int:
        return self.n_actions + 2 * self.n_actions * self.n_observations

    def losses(self, episodes: Episodes) -> Losses[Tensor]:
        """L_obs, L_act and L_rew of Alg. 1 on these episodes, scalars."""
        # Outputs first, rounds last: softmax and selection by one-hot then run along contiguous memory.
        outputs = self(episodes).flatten(0, 1).t().contiguous()  # [A + 2 * A * O, B * T]
        action = _one_hot(episodes.actions, self.n_actions)  # [A, B * T]
        following = _one_hot(episodes.observations[:, 1:], self.n_observations)  # [O, B * T]
        policy, rest = outputs.tensor_split((self.n_actions,))
        observation, reward = rest.view(2, self.n_actions, self.n_observations, -1)
        observation, reward = ((heads * action[:, None]).sum(0) for heads in (observation, reward))  # [O, B * T]
        return Losses(
            _negative_log_likelihood(observation, following),
            _negative_log_likelihood(policy, action),
            F.mse_loss((reward * following).sum(0), episodes.rewards.flatten()),
        )

    def gradients(self, episodes: Episodes, games: Tensor, weights: Losses[float]) -> tuple[list[Tensor], Tensor]:
        """Gradients of the sum of weights * `losses` on the episodes numbered ``games`` (long [B]); and those losses, [3].

        The gradients are in the order and of the shapes of `parameters`, and contiguous.
        """
        kernel = native.kernel_for(episodes.rewards.device, self.hidden)
        if kernel is None:
            losses = torch.stack(self.losses(episodes[games]))
            total = losses @ losses.new_tensor(weights)
            return list(torch.autograd.grad(total, list(self.parameters()))), losses.detach()
        with torch.no_grad():
            identity = episodes.identity[games]
            folded = self.gates().contiguous(), self.identity_gates(identity)
            arrays = episodes.observations, episodes.actions, episodes.rewards, games
            sizes = self.n_actions, self.n_observations
            losses, gradient, d_extra = kernel.prediction_loss(*folded, *arrays, *sizes, weights)
            return self.unfold(gradient, d_extra, identity), losses


def _one_hot(codes: Tensor, n: int) -> Tensor:
    return (codes.flatten() == torch.arange(n, dtype=codes.dtype, device=codes.device)[:, None]).float()


def _negative_log_likelihood(logits: Tensor, one_hot: Tensor) -> Tensor:
    """Mean over the last dimension of -log softmax(logits) at the chosen class; classes come first."""
    return -(logits.log_softmax(0) * one_hot).sum() / logits.shape[1]


def split_heads(outputs: Tensor, n_actions: int) -> Heads:
    """Read head outputs [..., A + 2 * A * O] as predictions."""
    shape = (*outputs.shape[:-1], n_actions, -1)
    action, rest = outputs[..., :n_actions], outputs[..., n_actions:]
    observation, reward = rest.chunk(2, -1)
    return Heads(action.log_softmax(-1), observation.reshape(shape).log_softmax(-1), reward.reshape(shape))


def predict(gates: Gates, hidden: Tensor, n_actions: int) -> Heads:
    """The predictions made from hidden states [..., hidden]."""
    return split_heads(F.linear(F.silu(hidden), gates.head_weight, gates.head_bias), n_actions)
