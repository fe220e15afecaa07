"""Batch lambda-returns: COALA-PG and both of its baselines as one estimator with two switches (arXiv:2410.18636, Alg. 1).

B games against one co-player are played at the same time. M inner episodes in a row are a meta-trajectory of L = M T rounds. A
naive co-player updates its parameters on all B games after every inner episode. For round l of game b, which lies in inner
episode m, let

    Cur^b = sum of R^b over the rounds from l to the end of m,      Fut^b = sum of R^b over all later inner episodes.

A policy gradient sums grad log pi(a^b_l | h^b_l) over b and l, weighted by (Eqs. 3, 5 to 7, without discount)

    coala            (1/B) Cur^b  +  (1/B) sum_b' Fut^b'
    m-fos                  Cur^b  +  (1/B) sum_b' Fut^b'
    batch-unaware          Cur^b  +               Fut^b

An action in one game changes the co-player's update, and thereby all B later games. Only the first rule weights this future
correctly against the present: it is the gradient of the mean return over games. M-FOS undervalues the future by a factor B.
Batch-unaware is, up to the factor B, the gradient for B independent games, as between meta agents.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Rule(NamedTuple):
    """The switches of Algorithm 1.

    average_future: the return after the inner episode is the mean over the games, not the game's own.
    normalise_current: the rewards of the present inner episode are divided by the number of games.
    """

    average_future: bool
    normalise_current: bool


RULES: dict[str, Rule] = {
    "coala": Rule(average_future=True, normalise_current=True),
    "m-fos": Rule(average_future=True, normalise_current=False),
    "batch-unaware": Rule(average_future=False, normalise_current=False),
}


def batch_lambda_returns(
    rewards: Tensor, values: Tensor, last: Tensor, episode_rounds: int, discount: float, lam: float, rule: Rule
) -> Tensor:
    """Algorithm 1, from the last round to the first; ``[..., B, L]`` from and to, leading dimensions are co-players.

    values: of the history after each round, ``[..., B, L]``. last: the return that follows the last round, ``[..., B]``.
    episode_rounds: T, rounds of an inner episode.
    """
    share = rewards.shape[-2] if rule.normalise_current else 1
    bootstrapped = discount * (1 - lam) * values
    mine = (rewards / share + bootstrapped).unbind(-1)
    theirs = (rewards + bootstrapped).mean(-2, keepdim=True).unbind(-1)
    own, everyone = last, last.mean(-1, keepdim=True)
    returns = []
    for t in reversed(range(len(mine))):
        if rule.average_future and (t + 1) % episode_rounds == 0:
            own = everyone.expand_as(own)
        own = torch.add(mine[t], own, alpha=discount * lam)
        everyone = torch.add(theirs[t], everyone, alpha=discount * lam)
        returns.append(own)
    return torch.stack(returns[::-1], -1)


def advantages(rewards: Tensor, values: Tensor, episode_rounds: int, discount: float, lam: float, rule: Rule) -> Tensor:
    """Generalised advantage estimates under ``rule``, ``[..., B, L]``.

    values: of the history before each round's action, ``[..., B, L]``; 0 after the last round. The sums of
    `batch_lambda_returns` run over delta_t = r_t + gamma V_{t+1} - V_t with the discount gamma lambda. At gamma = lambda = 1
    that subtracts from COALA-PG's weight the baseline (1/B) V(h^b_l) + (1/B) sum_{b' != b} V(h^b' at the next inner episode's
    start), and from the batch-unaware one V(h^b_l): neither depends on a^b_l, so neither changes the gradient.
    """
    delta = rewards + discount * F.pad(values[..., 1:], (0, 1)) - values
    nothing = torch.zeros_like(delta)
    return batch_lambda_returns(delta, nothing, nothing[..., 0], episode_rounds, discount * lam, 1.0, rule)


def value_targets(rewards: Tensor, values: Tensor, episode_rounds: int, discount: float, lam: float) -> Tensor:
    """TD(lambda) targets of the one critic, which predicts the batch-unaware return whatever the rule, ``[..., B, L]``."""
    return values + advantages(rewards, values, episode_rounds, discount, lam, RULES["batch-unaware"])
