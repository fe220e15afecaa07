"""Exact references against numbers computed in another way, and their differences from a run's measurements."""

import itertools

import numpy as np
import pandas as pd
import pytest

from coopctx.analysis import references
from coopctx.analysis.references import always_defect_reward, best_response_reward, pool_members
from coopctx.game.matrix import PRISONERS_DILEMMA
from coopctx.game.memory_one import best_response, expected_play

ALWAYS_DEFECT = np.zeros(5)


def test_a_game_has_a_round():
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


def test_the_best_response_earns_what_random_members_of_the_pool_yield():
    pool = np.random.default_rng(3).random((20_000, 5))
    expected = best_response(pool, 20).reward.mean() - expected_play(ALWAYS_DEFECT, pool, 20).reward.mean() + 1
    assert best_response_reward(20) == pytest.approx(expected, abs=0.002)


def test_the_members_are_spread_evenly_over_the_pool_and_mirrored():
    members = pool_members(512)
    assert members.shape == (1024, 5) and members.min() >= 0 and members.max() <= 1
    np.testing.assert_allclose(members.mean(0), 0.5, atol=0.001)
    np.testing.assert_allclose(np.cov(members.T), np.eye(5) / 12, atol=0.002)
    for strategy in ([0] * 5, [0.3] * 5):  # players that do not react
        assert expected_play(strategy, members, 30).co_cooperation.mean() == pytest.approx(0.5, abs=1e-12)


# Beside them -----------------------------------------------------------------------------------------------------


class Runs:
    """Tables of Step 1 of PPI: rewards of three seeds, and losses of the two that have recorded exact Bayes's."""

    agent = "ppi"

    def __init__(self, seeds=(0, 1, 2), counted=(0, 1)):
        self._seeds, self._counted = seeds, counted

    def rounds(self, run):
        return 100

    def read(self, run, table):
        assert run == "tabular"
        if table == "training":
            keys = {"iteration": 30, "learner": 1, "opponent": "tabular", "player": "ego", "cooperation_rate": 0.1}
            return pd.DataFrame([{**keys, "seed": seed, "reward": 1.0 + 0.01 * seed} for seed in self._seeds])
        losses = [(seed, "nll_observation_tabular", 0.534 + 0.001 * seed) for seed in self._seeds]
        losses += [(seed, "nll_bayes_tabular", 0.533) for seed in self._counted]
        rows = [
            {"seed": seed, "iteration": phase, "learner": 1, "quantity": quantity, "value": value + 9 * (phase < 26)}
            for seed, quantity, value in losses
            for phase in (25, 26, 30)
        ]
        return pd.DataFrame(rows)


def test_step_1_stands_beside_bayes_always_defect_and_the_best_response():
    prediction, defect, best = references.references(Runs())
    assert [prediction.ours.value, prediction.exact, prediction.difference.value] == pytest.approx([0.5345, 0.533, 0.0015])
    assert prediction.ours.seeds == 2 and prediction.difference.low < 0.0015 < prediction.difference.high
    assert [defect.exact, best.exact] == [1.0, best_response_reward(100)]
    assert [defect.difference.value, best.difference.value] == pytest.approx([0.01, 1.01 - best_response_reward(100)])


def test_what_no_run_has_recorded_is_not_run():
    prediction, *_ = references.references(Runs(counted=()))
    assert prediction.ours is None and prediction.difference is None and np.isnan(prediction.exact)
    a2c = Runs()
    a2c.agent = "a2c"
    assert [reference.name for reference in references.references(a2c)] == [
        "Step 1, reward vs tabular, beside always-defect's",
        "Step 1, reward vs tabular, beside the best response's",
    ]
