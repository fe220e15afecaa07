"""Exact references for play against the pool: what no predictor and no player can beat, and what a blind one earns.

The pool's members are memory-one players of a game with two actions, their five probabilities of cooperating uniform on
[0, 1] and independent (SPEC: tabular players). Values are per round of an episode of given length.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from coopctx.analysis.intervals import Floats
from coopctx.game.matrix import PRISONERS_DILEMMA
from coopctx.game.memory_one import Payoffs, best_response, expected_play, payoff_vector

CELLS = 7  # along each of the pool's five probabilities: the mean over its members in them is good to 0.001
ALWAYS_DEFECT = np.zeros(5)


@cache
def bayes_nll(rounds: int) -> float:
    """Expected negative log likelihood, nats per round, of a pool member's actions under the exact posterior predictive.

    The pool member meets a player that always defects, so it decides after its own C or after its own D, and the exact
    predictor keeps a Beta(1, 1) prior for each and for the first round: after k times C in n it expects C with
    probability (k + 1) / (n + 2), which in the mean over the pool is how often C then comes. The sum over all courses of
    play is finite, and this is it: 0.513 for 100 rounds. Against a player that also cooperates there are more situations
    to learn about: 0.54 against another member of the pool. Raises ValueError for less than one round.
    """
    if rounds < 1:
        raise ValueError(f"a game has at least one round, not {rounds}")
    total = np.log(2.0)  # the first round
    chances = _after_first_round(rounds)
    for passed in range(1, rounds):
        expected = _expecting_c(rounds, passed)
        total += float((chances * _entropy(expected)).sum())
        chances = _next_round(chances, expected)
    return total / rounds


@cache
def best_response_reward(rounds: int, payoffs: Payoffs = PRISONERS_DILEMMA.payoffs) -> float:
    """Expected reward per round of the best response to a pool member that it knows: nobody earns more.

    The mean over members that are spread evenly, each with its exact best response. Always-defect meets the same ones, and
    what it misses of its own exact mean is made good. Raises ValueError as `memory_one.best_response`.
    """
    pool = _spread()
    advantage = best_response(pool, rounds, payoffs).reward - expected_play(ALWAYS_DEFECT, pool, rounds, payoffs).reward
    return float(advantage.mean()) + always_defect_reward(payoffs)


def always_defect_reward(payoffs: Payoffs = PRISONERS_DILEMMA.payoffs) -> float:
    """Expected reward per round of always defecting against the pool: (T + P) / 2, whatever the number of rounds.

    Exchanging C and D maps the pool of its co-players onto itself, so in the mean they cooperate half the time.
    """
    _, _, temptation, punishment = payoff_vector(payoffs)
    return float(temptation + punishment) / 2


# The state of play between the pool member and always-defect: [its first action, its last action, n, k], with 0 for D and
# 1 for C. n: the times that it has decided after its own C, k: how often it then played C. How often it decided after its
# own D, and then played C, follows.


def _after_first_round(rounds: int) -> Floats:
    chances = np.zeros((2, 2, rounds, rounds))
    chances[0, 0, 0, 0] = chances[1, 1, 0, 0] = 0.5
    return chances


def _expecting_c(rounds: int, passed: int) -> Floats:
    """The posterior predictive probability of C in each state after ``passed`` rounds; 1/2 in states that cannot be."""
    first, last, n, k = np.ogrid[:2, :2, :rounds, :rounds]
    after_d = passed - 1 - n  # so often has it decided after its own D
    c_after_d = n + last - first - k  # each C but the last was followed by a decision after C
    expected = np.where(last == 1, (k + 1) / (n + 2), (c_after_d + 1) / np.maximum(after_d + 2, 1))
    possible = (k <= n) & (after_d >= 0) & (c_after_d >= 0) & (c_after_d <= after_d)
    return np.where(possible, expected, 0.5)


def _next_round(chances: Floats, expected: Floats) -> Floats:
    c, d = chances * expected, chances * (1 - expected)
    following = np.zeros_like(chances)
    following[:, 1] += c[:, 0]
    following[:, 0] += d[:, 0]
    following[:, 1, 1:, 1:] += c[:, 1, :-1, :-1]
    following[:, 0, 1:, :] += d[:, 1, :-1, :]
    return following


def _entropy(probability: Floats) -> Floats:
    return -(probability * np.log(probability) + (1 - probability) * np.log1p(-probability))


def _spread() -> Floats:
    """Members of the pool, ``[CELLS**5, 5]``: one at random in each of as many equal cells of the unit cube."""
    corners = np.stack(np.meshgrid(*[np.arange(CELLS)] * 5, indexing="ij"), -1).reshape(-1, 5)
    return (corners + np.random.default_rng(0).random(corners.shape)) / CELLS
