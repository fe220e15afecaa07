"""Exact references, against enumeration and against numbers found in another way."""

import itertools
import math

import numpy as np
import pytest

from coopctx.analysis.references import ALWAYS_DEFECT, _spread, always_defect_reward, bayes_nll, best_response_reward
from coopctx.game.matrix import PRISONERS_DILEMMA
from coopctx.game.memory_one import expected_play


def enumerated(rounds: int) -> float:
    """Every course that a pool member's play can take, with the posterior kept as the definition has it."""
    total = 0.0
    for course in itertools.product((0, 1), repeat=rounds):  # 1: C
        counts = {situation: [1, 1] for situation in ("start", 0, 1)}
        probability, surprise, situation = 1.0, 0.0, "start"
        for action in course:
            expected = counts[situation][action] / sum(counts[situation])
            probability *= expected
            surprise -= math.log(expected)
            counts[situation][action] += 1
            situation = action  # its co-player defects, so its own action tells the rounds apart
        total += probability * surprise
    return total / rounds


@pytest.mark.parametrize("rounds", [1, 2, 3, 6, 9])
def test_bayes_is_the_mean_over_all_courses_of_play(rounds):
    assert bayes_nll(rounds) == pytest.approx(enumerated(rounds), abs=1e-12)


def test_bayes_over_a_hundred_rounds_is_what_play_shows():
    """Games against always-defect, predicted by counting; the paper's horizon."""
    generator = np.random.default_rng(0)
    games, rounds = 4000, 100
    pool, counts = generator.random((games, 3)), np.ones((games, 3, 2))
    here, situation, total = np.arange(games), np.zeros(games, int), 0.0
    for _ in range(rounds):
        action = (generator.random(games) < pool[here, situation]).astype(int)
        total -= np.log(counts[here, situation, action] / counts[here, situation].sum(-1)).mean()
        counts[here, situation, action] += 1
        situation = 1 + action
    assert bayes_nll(rounds) == pytest.approx(total / rounds, abs=0.006)


def test_a_game_has_a_round():
    with pytest.raises(ValueError, match="at least one round"):
        bayes_nll(0)
    with pytest.raises(ValueError, match="at least one round"):
        best_response_reward(0)


def test_always_defect_earns_its_mean_over_the_pool():
    nodes, weights = np.polynomial.legendre.leggauss(6)  # exact for the polynomials that ten rounds make
    nodes, weights = (nodes + 1) / 2, weights / 2
    pool = np.array([(0.5, 0.5, after_c, 0.5, after_d) for after_c, after_d in itertools.product(nodes, nodes)])
    reward = expected_play(ALWAYS_DEFECT, pool, 10).reward.mean(-1)
    assert always_defect_reward() == 1.0
    assert reward @ np.outer(weights, weights).ravel() == pytest.approx(1.0, abs=1e-12)
    assert always_defect_reward(((3, 0), (5, 1))) == 3.0


def test_the_best_response_gains_with_every_round_and_nothing_in_a_single_one():
    assert best_response_reward(1) == pytest.approx(always_defect_reward(PRISONERS_DILEMMA.payoffs))
    rewards = [best_response_reward(rounds) for rounds in (2, 10, 20)]
    assert sorted(rewards) == rewards and rewards[0] > 1.0


def test_the_members_are_spread_evenly_over_the_pool():
    members = _spread()
    assert members.shape == (7**5, 5) and members.min() >= 0 and members.max() < 1
    np.testing.assert_allclose(members.mean(0), 0.5, atol=0.002)
    np.testing.assert_allclose(np.cov(members.T), np.eye(5) / 12, atol=0.002)
