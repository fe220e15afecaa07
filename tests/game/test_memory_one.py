"""Exact play of memory-one strategies against enumeration, Press & Dyson's determinants and published strategies."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coopctx.game.arena import play
from coopctx.game.matrix import COOPERATE, PRISONERS_DILEMMA
from coopctx.game.memory_one import (
    NAMED_STRATEGIES,
    PAPER_STRATEGIES,
    best_response,
    expected_play,
    generous_zd,
    long_run_payoffs,
    payoff_vector,
    transition_matrix,
    zd_extortion,
)
from coopctx.game.streams import stream
from coopctx.game.tabular import TabularPlayer, memory_one_policy, named_strategy, uniform_player

CONVENTIONAL = ((3, 0), (5, 1))  # the payoffs of Press & Dyson's examples
TIT_FOR_TAT, ALWAYS_DEFECT = PAPER_STRATEGIES["tit-for-tat"], PAPER_STRATEGIES["always-defect"]
CORNERS = np.array(list(product([0.0, 1.0], repeat=5)))
OUTCOME = {(0, 0): 1, (0, 1): 2, (1, 0): 3, (1, 1): 4}  # (own action, other's) -> place in a strategy

strategies = st.lists(st.floats(0, 1), min_size=5, max_size=5).map(np.array)
inner_strategies = st.lists(st.floats(0.05, 0.95), min_size=5, max_size=5).map(np.array)


def opponents(n, seed=0):
    return np.random.default_rng(seed).random((n, 5))


def enumerated_play(p, q, rounds, payoffs):
    """(cooperation, reward) of both per round, summed over every course the game can take."""
    figures = np.zeros((rounds, 4))
    for course in product(product([0, 1], repeat=2), repeat=rounds):
        chance, own_view, other_view = 1.0, 0, 0
        for own, other in course:
            chance *= abs(own - p[own_view]) if own else p[own_view]
            chance *= 1 - q[other_view] if other else q[other_view]
            own_view, other_view = OUTCOME[own, other], OUTCOME[other, own]
        for t, (own, other) in enumerate(course):
            figures[t] += chance * np.array([1 - own, 1 - other, payoffs[own][other], payoffs[other][own]])
    return figures


def figures_of(expected):
    return np.stack([expected.cooperation, expected.co_cooperation, expected.reward, expected.co_reward], -1)


def determinant(p, q, f):
    """Press & Dyson's D(p, q, f); both strategies in their own views."""
    (_, p1, p2, p3, p4), (_, q1, q2, q3, q4) = p, q
    return np.linalg.det(
        [
            [-1 + p1 * q1, -1 + p1, -1 + q1, f[0]],
            [p2 * q3, -1 + p2, q3, f[1]],
            [p3 * q2, p3, -1 + q2, f[2]],
            [p4 * q4, p4, q4, f[3]],
        ]
    )


# The chain and the finite game -----------------------------------------------------------------------------------


def test_the_chain_of_a_worked_example():
    p, q = [0.3, 0.9, 0.2, 0.7, 0.4], [0.6, 0.8, 0.1, 0.5, 0.3]
    expected = [
        [0.72, 0.18, 0.08, 0.02],
        [0.10, 0.10, 0.40, 0.40],  # CD: the co-player saw DC and cooperates with 0.5
        [0.07, 0.63, 0.03, 0.27],  # DC: the co-player saw CD and cooperates with 0.1
        [0.12, 0.28, 0.18, 0.42],
    ]
    assert transition_matrix(p, q) == pytest.approx(np.array(expected))


@given(p=strategies, q=strategies)
@settings(deadline=None, max_examples=50)
def test_the_chain_is_stochastic_and_the_same_from_either_chair(p, q):
    chain = transition_matrix(p, q)
    assert (chain >= 0).all()
    assert chain.sum(1) == pytest.approx(np.ones(4))
    swapped = [0, 2, 1, 3]
    assert transition_matrix(q, p) == pytest.approx(chain[swapped][:, swapped])


@given(p=strategies, q=strategies)
@settings(deadline=None, max_examples=15)
def test_expected_play_is_the_sum_over_every_course_of_the_game(p, q):
    for payoffs in (PRISONERS_DILEMMA.payoffs, CONVENTIONAL):
        assert figures_of(expected_play(p, q, 3, payoffs)) == pytest.approx(enumerated_play(p, q, 3, payoffs))


@given(p=strategies, q=strategies, rounds=st.integers(1, 40))
@settings(deadline=None, max_examples=50)
def test_expected_play_follows_the_chain_and_is_the_same_from_either_chair(p, q, rounds):
    expected = expected_play(p, q, rounds)
    chances = np.array([p[0] * q[0], p[0] * (1 - q[0]), (1 - p[0]) * q[0], (1 - p[0]) * (1 - q[0])])
    chances = chances @ np.linalg.matrix_power(transition_matrix(p, q), rounds - 1)
    assert chances.sum() == pytest.approx(1)
    assert expected.cooperation[-1] == pytest.approx(chances[:2].sum())
    assert expected.reward[-1] == pytest.approx(chances @ payoff_vector(PRISONERS_DILEMMA.payoffs))
    mirrored = expected_play(q, p, rounds)
    assert mirrored.cooperation == pytest.approx(expected.co_cooperation)
    assert mirrored.reward == pytest.approx(expected.co_reward)


def test_expected_play_takes_a_batch_and_agrees_with_the_arena():
    p, batch = [0.3, 0.9, 0.2, 0.7, 0.4], opponents(3)
    together = expected_play(p, batch, 12)
    assert together.reward.shape == (3, 12)
    games, tolerance = 4000, 4.5 * 0.5 / np.sqrt(4000)
    for row, q in enumerate(batch):
        assert figures_of(expected_play(p, q, 12)) == pytest.approx(figures_of(together)[row])
        players = [TabularPlayer(memory_one_policy(who), stream(row, side)) for side, who in enumerate((p, q))]
        ego, co = play(PRISONERS_DILEMMA, 12, games, (players[0], players[1]))
        assert ego.cooperation_per_round().numpy() == pytest.approx(together.cooperation[row], abs=tolerance)
        assert co.reward_per_round().numpy() == pytest.approx(together.co_reward[row], abs=3 * tolerance)


def test_noise_of_one_turns_every_action():
    cooperator = NAMED_STRATEGIES["always-cooperate"]
    assert expected_play(cooperator, cooperator, 3, noise=1).reward.tolist() == [0, 0, 0]


def test_payoffs_and_strategies_are_read_in_double_precision():
    single = np.float32([0.1, 0.2, 0.3, 0.4, 0.6])
    assert payoff_vector([[3, 0], [5, 1]]).dtype == np.float64
    assert figures_of(expected_play(single, single, 9)) == pytest.approx(
        figures_of(expected_play(single.astype(float), single.astype(float), 9)), abs=1e-12
    )


# The infinite game -----------------------------------------------------------------------------------------------


@given(p=inner_strategies, q=inner_strategies)
@settings(deadline=None, max_examples=60)
def test_long_run_payoffs_are_press_and_dysons_determinants(p, q):
    for payoffs in (PRISONERS_DILEMMA.payoffs, CONVENTIONAL):
        reward = payoff_vector(payoffs)
        volume = determinant(p, q, np.ones(4))
        expected = [determinant(p, q, f) / volume for f in (reward, reward[[0, 2, 1, 3]])]
        assert np.array(long_run_payoffs(p, q, payoffs)) == pytest.approx(np.array(expected))


def test_long_run_payoffs_of_deterministic_strategies_are_the_mean_over_the_cycle_they_fall_into():
    """Four joint actions: within 4 rounds the game is in a cycle of at most 4, so any 12 later rounds hold whole cycles."""
    p, q = CORNERS[:, None], CORNERS[None]
    expected = expected_play(p, q, 24)
    own, other = long_run_payoffs(p, q)
    assert own == pytest.approx(expected.reward[..., 12:].mean(-1), abs=1e-12)
    assert other == pytest.approx(expected.co_reward[..., 12:].mean(-1), abs=1e-12)


def test_long_run_payoffs_weigh_what_the_opening_leads_to_and_wait_for_rare_events():
    half_open = [0.5, 1, 0, 1, 0]  # Tit-for-Tat that opens either way: with Tit-for-Tat CC for ever, or alternation
    assert long_run_payoffs(half_open, TIT_FOR_TAT)[0] == pytest.approx(0.5 * 1 + 0.5 * 0.5)
    slips_rarely = [1, 1 - 1e-9, 0, 0, 0]  # grim all the same, in the end
    assert long_run_payoffs(slips_rarely, NAMED_STRATEGIES["grim"])[0] == pytest.approx(0, abs=1e-9)


# Best responses --------------------------------------------------------------------------------------------------


def brute_force_value(q, rounds, payoffs):
    """Best expected sum over every deterministic plan: an action for each sequence of the co-player's past actions.

    (Its own past actions follow from these, so there is nothing else to go by.)
    """
    histories = [past for t in range(rounds) for past in product([0, 1], repeat=t)]
    bit = {past: n for n, past in enumerate(histories)}
    plans = np.arange(2 ** len(histories))
    seen_by_opponent = np.array([[1, 2], [3, 4]])  # [its action, the plan's]
    value = np.zeros(len(plans))
    for course in product([0, 1], repeat=rounds):  # the co-player's actions
        chance, gained, seen = np.ones(len(plans)), np.zeros(len(plans)), np.zeros(len(plans), dtype=int)
        for t, other in enumerate(course):
            own = (plans >> bit[course[:t]]) & 1
            chance = chance * (1 - q[seen] if other else q[seen])
            gained = gained + np.asarray(payoffs)[own, other]
            seen = seen_by_opponent[other][own]
        value += chance * gained
    return value.max()


@pytest.mark.parametrize("rounds", [1, 2, 3, 4])
def test_the_best_response_is_the_best_of_all_plans(rounds):
    some = np.concatenate([opponents(4, seed=rounds), CORNERS[[3, 10, 22, 29]], [TIT_FOR_TAT]])
    for payoffs in (PRISONERS_DILEMMA.payoffs, CONVENTIONAL):
        values = best_response(some, rounds, payoffs).reward.sum(-1)
        assert values == pytest.approx(np.array([brute_force_value(q, rounds, payoffs) for q in some]))


@given(p=strategies, q=strategies, rounds=st.integers(1, 60))
@settings(deadline=None, max_examples=60)
def test_no_memory_one_strategy_earns_more_than_the_best_response(p, q, rounds):
    best = best_response(q, rounds)
    everyone = np.array([p, *NAMED_STRATEGIES.values()])
    assert (expected_play(everyone, q, rounds).reward.sum(-1) <= best.reward.sum(-1) + 1e-9).all()
    for rate in (best.cooperation, best.co_cooperation):
        assert ((rate >= 0) & (rate <= 1 + 1e-12)).all()
    assert best.reward == pytest.approx(2 * best.co_cooperation - best.cooperation, abs=1e-9)


def test_the_best_response_defects_where_it_makes_no_difference():
    assert (best_response(TIT_FOR_TAT, 4, ((0, 0), (0, 0))).cooperation == 0).all()


def test_the_best_response_to_tit_for_tat_cooperates_until_the_last_round():
    best = best_response(TIT_FOR_TAT, 100)
    assert best.cooperation.tolist() == [1.0] * 99 + [0.0]
    assert best.reward.mean() == pytest.approx(1.01)


def test_known_values_over_the_tabular_pool():
    """200 000 opponents give 1.0008, 1.0496, 0.0817 and 0.5657; the tolerance is 4.5 standard errors of a sample."""
    sample = opponents(20_000)
    best, defect = best_response(sample, 100), expected_play(ALWAYS_DEFECT, sample, 100)
    expected = ((defect.reward, 1.001), (best.reward, 1.0496), (best.cooperation, 0.082), (best.co_cooperation, 0.566))
    for values, known in expected:
        means = values.mean(-1)
        assert means.mean() == pytest.approx(known, abs=4.5 * means.std() / np.sqrt(len(sample)))


# Zero-determinant strategies -------------------------------------------------------------------------------------


def test_published_zero_determinant_strategies():
    """Press & Dyson 2012 (chi = 3, phi at mid-range); Stewart & Plotkin's Extort-2 and ZDGTFT-2 (PNAS 109, 2012)."""
    assert zd_extortion(3, 1 / 26, CONVENTIONAL)[1:] == pytest.approx(np.array([11 / 13, 1 / 2, 7 / 26, 0]))
    assert zd_extortion(2, 1 / 18, CONVENTIONAL)[1:] == pytest.approx(np.array([8 / 9, 1 / 2, 1 / 3, 0]))
    assert generous_zd(2, payoffs=CONVENTIONAL)[1:] == pytest.approx(np.array([1, 1 / 8, 1, 1 / 4]))
    assert zd_extortion(1) == pytest.approx(np.array(NAMED_STRATEGIES["suspicious-tit-for-tat"]))
    assert generous_zd(1) == pytest.approx(np.array(TIT_FOR_TAT))


@given(q=inner_strategies, chi=st.floats(1, 8), share=st.floats(0.05, 1))
@settings(deadline=None, max_examples=60)
def test_zero_determinant_strategies_enforce_their_line_on_everyone(q, chi, share):
    for payoffs, largest in ((PRISONERS_DILEMMA.payoffs, 1 / (2 * chi + 1)), (CONVENTIONAL, 1 / (4 * chi + 1))):
        own, other = long_run_payoffs(zd_extortion(chi, share * largest, payoffs), q, payoffs)
        punishment = payoffs[1][1]
        assert own - punishment == pytest.approx(chi * (other - punishment), abs=1e-7)
    own, other = long_run_payoffs(generous_zd(chi, share / (2 * chi + 1)), q)
    assert own - 1 == pytest.approx(chi * (other - 1), abs=1e-7)


@given(q=strategies, chi=st.floats(1, 8), rounds=st.integers(1, 50))
@settings(deadline=None, max_examples=60)
def test_in_a_finite_game_the_line_is_missed_by_a_known_amount(q, chi, rounds):
    p, phi = zd_extortion(chi), 1 / (2 * chi + 1)
    expected, next_round = expected_play(p, q, rounds), expected_play(p, q, rounds + 1).cooperation[-1]
    missed = expected.reward.mean() - chi * expected.co_reward.mean()
    assert missed == pytest.approx((next_round - p[0]) / (phi * rounds))


def test_impossible_requests_are_refused():
    for chi in (0.5, np.inf):
        with pytest.raises(ValueError, match="chi must be at least 1"):
            zd_extortion(chi)
    with pytest.raises(ValueError, match=r"at most 0\.2 for chi = 2, not 0\.21"):
        zd_extortion(2, 0.21)
    with pytest.raises(ValueError, match="above 0"):
        generous_zd(2, 0.0)
    with pytest.raises(ValueError, match="no such zero-determinant strategy"):
        zd_extortion(2, payoffs=((0, 0), (0, 0)))
    with pytest.raises(ValueError, match="no such zero-determinant strategy"):
        zd_extortion(2, payoffs=((-1, -2), (2, 0)))  # after CC it would have to cooperate with more than certainty
    with pytest.raises(ValueError, match="two actions"):
        expected_play(TIT_FOR_TAT, TIT_FOR_TAT, 3, ((1, 2, 3),) * 3)
    with pytest.raises(ValueError, match="at least one round, not 0"):
        best_response(TIT_FOR_TAT, 0)
    for wrong in ([1, 0, 1], [0, 0, 0, 0, 1.1], [0, 0, 0, 0, np.nan]):
        with pytest.raises(ValueError, match="five probabilities"):
            transition_matrix(TIT_FOR_TAT, wrong)


def test_the_largest_phi_may_be_given_with_rounding_errors():
    for strategy in (zd_extortion, generous_zd):
        slightly_more = strategy(3, 1 / 7 * (1 + 1e-12))
        assert ((slightly_more >= 0) & (slightly_more <= 1)).all() and slightly_more == pytest.approx(strategy(3))


# Named strategies ------------------------------------------------------------------------------------------------


def test_the_papers_strategies_come_first_among_the_named_ones():
    assert list(PAPER_STRATEGIES) == ["tit-for-tat", "always-cooperate", "always-defect"]
    assert list(NAMED_STRATEGIES)[:3] == list(PAPER_STRATEGIES)


def test_grim_never_forgives_and_win_stay_lose_shift_returns_to_cooperation():
    opponent = uniform_player(5, 2, stream(1))
    ego, co = play(PRISONERS_DILEMMA, 20, 50, (named_strategy("grim", stream(2)), opponent))
    betrayed = (co.actions != COOPERATE).long().cumsum(1) > 0
    assert (ego.actions[:, 0] == COOPERATE).all()
    assert ((ego.actions[:, 1:] != COOPERATE) == betrayed[:, :-1]).all()
    ego, co = play(PRISONERS_DILEMMA, 20, 50, (named_strategy("win-stay-lose-shift", stream(3)), opponent))
    assert ((ego.actions[:, 1:] == COOPERATE) == (ego.actions[:, :-1] == co.actions[:, :-1])).all()


def test_generous_tit_for_tat_is_as_generous_as_can_be_without_being_exploited():
    """With generosity 1/2 a co-player gains exactly what it loses by defecting, so everyone earns R = 1 against it."""
    for q in opponents(20):
        assert long_run_payoffs(NAMED_STRATEGIES["generous-tit-for-tat"], q)[1] == pytest.approx(1)
