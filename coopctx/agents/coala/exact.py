"""The game of arXiv:2410.18636, Sec. 4 and App. C, in which returns and meta gradients are exact.

A player is five logits of cooperating: in the first round and after CC, CD, DC, DD, its own action first. Two players
play an infinite game with discount gamma: the joint actions are a Markov chain with matrix P and first distribution s_0, and

    J = (1 - gamma) s_0^T (I - gamma P)^-1 r

is the first player's return per round. A naive learner takes M gradient steps on its own J. A meta agent that shapes it
ascends the mean of its own J over the M games, and differentiates through the steps; against another meta agent it ascends J.
Everything is float64; leading dimensions broadcast.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from coopctx.game.memory_one import AS_SEEN_BY_THE_OTHER, SWAPPED


class Play(NamedTuple):
    """Two players' infinite game, in the first one's view.

    visits: the discounted frequency of each joint action, (1 - gamma) s_0^T (I - gamma P)^-1, ``[..., 4]``; sums to 1.
    worth: the discounted sum of rewards from each joint action on, (I - gamma P)^-1 r, ``[..., 4]``.
    """

    visits: Tensor
    worth: Tensor


def play(first: Tensor, second: Tensor, rewards: Tensor, discount: float) -> Play:
    """The infinite game of two players, logits ``[..., 5]`` in each one's own view; rewards: (R, S, T, P) as float64."""
    own, other = torch.sigmoid(first), torch.sigmoid(second)[..., AS_SEEN_BY_THE_OTHER]
    outcomes = torch.stack([own * other, own * (1 - other), (1 - own) * other, (1 - own) * (1 - other)], -1)  # [..., 5, 4]
    ahead = torch.linalg.inv(torch.eye(4, dtype=outcomes.dtype) - discount * outcomes[..., 1:, :])
    visits = (1 - discount) * (outcomes[..., :1, :] @ ahead)[..., 0, :]
    return Play(visits, ahead @ rewards)


def gradient(first: Tensor, second: Tensor, played: Play, discount: float) -> Tensor:
    """dJ / d logits of the first player, ``[..., 5]``, written out so that it can itself be differentiated.

    played: the result of `play` for both players. Each situation (start, CC, CD, DC, DD) is weighted by its visits. There,
    cooperating instead of defecting changes the return by worth(CC) - worth(DC) if the co-player cooperates, otherwise by
    worth(CD) - worth(DD).
    """
    visits, worth = played
    own, other = torch.sigmoid(first), torch.sigmoid(second)[..., AS_SEEN_BY_THE_OTHER]
    if_cooperating, if_defecting = worth[..., 0] - worth[..., 2], worth[..., 1] - worth[..., 3]
    gain = other * if_cooperating[..., None] + (1 - other) * if_defecting[..., None]
    start = torch.full_like(visits[..., :1], 1 - discount)
    return own * (1 - own) * gain * torch.cat([start, discount * visits], -1)


def shape(meta: Tensor, naive: Tensor, rewards: Tensor, discount: float, rate: float, steps: int) -> Tensor:
    """Play ``steps`` games with naive learners, which ascend their own J by ``rate`` times its gradient between games.

    meta: logits ``[..., 5]``; naive: initial logits, ``[..., learners, 5]``. Returns the visits of each game, in the meta
    agent's view, ``[..., learners, steps, 4]``, differentiable in both arguments.
    """
    meta = meta[..., None, :]
    visits = []
    for step in range(steps):
        played = play(naive, meta, rewards, discount)
        visits.append(played.visits[..., SWAPPED])
        if step < steps - 1:
            naive = naive + rate * gradient(naive, meta, played, discount)
    return torch.stack(visits, -2)


def meta_gradient(
    metas: Tensor, naive: Tensor, rewards: Tensor, discount: float, rate: float, steps: int, naive_share: float
) -> Tensor:
    """The direction that each meta agent ascends, ``[agents, 5]``: its shaping gradient times ``naive_share``, plus its gradient
    against the other meta agents times the rest.

    metas: logits ``[agents, 5]``. naive: the initial logits of each agent's naive learners, ``[agents, learners, 5]``. The
    other meta agents' parameters are constants: no meta agent shapes another.
    """
    ascent = torch.zeros_like(metas)
    if naive_share > 0:
        logits = metas.detach().requires_grad_()
        visits = shape(logits, naive, rewards, discount, rate, steps)
        objective = (visits @ rewards).mean((-2, -1)).sum()
        ascent = ascent + naive_share * torch.autograd.grad(objective, logits)[0]
    if naive_share < 1:
        ascent = ascent + (1 - naive_share) * against_each_other(metas, rewards, discount)
    return ascent


def against_each_other(metas: Tensor, rewards: Tensor, discount: float) -> Tensor:
    """dJ / d logits of each meta agent, the mean over the others, ``[agents, 5]``."""
    agents = len(metas)
    apart = ~torch.eye(agents, dtype=torch.bool)
    first, second = metas[:, None].expand(-1, agents, -1), metas.expand(agents, -1, -1)
    pairs = gradient(first, second, play(first, second, rewards, discount), discount)  # [agents, others, 5]
    return (pairs * apart[..., None]).sum(1) / (agents - 1)
