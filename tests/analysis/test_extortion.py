"""The extortion test against closed forms and independent fits; memory-one rates of known players."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coopctx.analysis.extortion import (
    LARGEST_RESIDUAL,
    LEAST_RISE,
    OUTCOMES,
    episode_thirds,
    episodes_table,
    extortion_fit,
    in_a_word,
    memory_one_fit,
    memory_one_table,
    spread_of_opponents,
    wilson_interval,
)
from coopctx.evaluation.slopes import GAMES
from coopctx.game.arena import play
from coopctx.game.episodes import Episodes
from coopctx.game.matrix import PRISONERS_DILEMMA
from coopctx.game.memory_one import NAMED_STRATEGIES, best_response, expected_play
from coopctx.game.streams import stream
from coopctx.game.tabular import TabularPlayer, memory_one_policy, named_strategy

SPREAD = spread_of_opponents(96, np.random.default_rng(0))
rewards = st.lists(st.tuples(st.floats(-1, 2), st.floats(0.1, 2)), min_size=3, max_size=12)


def table_of(own, co, opponents=None, seeds=None):
    columns = {"opponent": range(len(own)) if opponents is None else opponents, "reward": own, "co_reward": co}
    return pd.DataFrame(columns if seeds is None else columns | {"seed": seeds})


def table_of_play(expected):
    return table_of(expected.reward.mean(-1), expected.co_reward.mean(-1))


# The closed form -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "baseline", "chi"),
    [
        ("zd-extort-2", 0, 2),
        ("zd-extort-4", 0, 4),
        ("tit-for-tat", 0, 1),
        ("zd-generous-2", 1, 2),
        ("always-defect", 0, -2),
    ],
)
def test_zero_determinant_strategies_show_their_chi(name, baseline, chi):
    exact = extortion_fit(memory_one_table(NAMED_STRATEGIES[name], SPREAD), baseline)
    assert exact.chi.value == pytest.approx(chi) and exact.residual.value == pytest.approx(0, abs=1e-7)
    assert (exact.co_players, exact.chi.seeds) == (96, 1) and np.isnan(exact.chi.low)
    assert exact.extorts is (chi > 1)
    finite = extortion_fit(table_of_play(expected_play(NAMED_STRATEGIES[name], SPREAD, 1000)), baseline)
    assert finite.chi.value == pytest.approx(chi, rel=0.01) and finite.residual.value < 0.01


def test_other_players_have_no_line():
    for name in ("random", "always-cooperate", "win-stay-lose-shift"):
        found = extortion_fit(memory_one_table(NAMED_STRATEGIES[name], SPREAD))
        assert found.residual.value > 0.3 and found.extorts is False
    assert extortion_fit(table_of_play(best_response(SPREAD, 100))).residual.value > 0.3


@pytest.mark.parametrize(("name", "extorts"), [("zd-extort-2", True), ("tit-for-tat", False), ("always-defect", False)])
def test_the_control_passes_and_tit_for_tat_fails_in_games_as_long_and_as_many_as_ours(name, extorts):
    """A hundred rounds and `GAMES` games per co-player and seed: chance alone moves no player off the line."""
    tables = []
    for seed in range(3):
        own = named_strategy(name, stream(seed, name, "ego"))
        others = TabularPlayer(memory_one_policy(SPREAD[:64]), stream(seed, name, "co"))
        tables.append(episodes_table(*play(PRISONERS_DILEMMA, 100, 64 * GAMES, (own, others)), range(64)).assign(seed=seed))
    found = extortion_fit(pd.concat(tables))
    assert found.extorts is extorts and (found.chi.seeds, found.co_players) == (3, 64)
    if name != "always-defect":
        assert found.residual.high < LARGEST_RESIDUAL and found.chi.value * found.spread > LEAST_RISE


def test_among_co_players_that_do_not_differ_nothing_can_be_told():
    co = np.array([0.20, 0.21, 0.19, 0.20])
    found = extortion_fit(table_of(4.5 * co + [0.02, -0.02, 0.02, -0.02], co))
    assert found.chi.value > 4 and found.residual.value < LARGEST_RESIDUAL and found.extorts is None
    assert extortion_fit(table_of(co / 2, co)).extorts is False  # no extortion, whoever it meets
    assert [in_a_word(value) for value in (True, np.bool_(False), None, pd.NA)] == ["yes", "no", "cannot tell", "cannot tell"]


# The fit ---------------------------------------------------------------------------------------------------------


@given(points=rewards, scale=st.floats(0.2, 5))
@settings(deadline=None, max_examples=40)
def test_the_line_is_the_least_squares_line_through_the_origin(points, scale):
    own, co = np.array(points).T
    result = extortion_fit(table_of(own, co))
    slope, residual, *_ = np.linalg.lstsq(co[:, None], own, rcond=None)
    assert result.chi.value == pytest.approx(slope[0])
    assert result.residual.value == pytest.approx(np.sqrt(residual[0] / len(own)), abs=1e-6)
    assert result.spread == pytest.approx(co.std(ddof=1))
    assert extortion_fit(table_of(own + 3, co + 3), baseline=3).chi.value == pytest.approx(slope[0])
    scaled = extortion_fit(table_of(own * scale, co))
    assert [scaled.chi.value, scaled.residual.value] == pytest.approx([slope[0] * scale, result.residual.value * scale], abs=1e-6)


def test_seeds_that_differ_make_the_interval():
    co = np.tile(np.linspace(0.1, 1, 30), 6)
    slopes = np.repeat([1.0, 1.4, 1.8, 2.2, 2.6, 3.0], 30)
    who, seeds = np.tile(np.arange(30), 6), np.repeat(np.arange(6), 30)
    result = extortion_fit(table_of(slopes * co, co, who, seeds))
    assert (result.co_players, result.chi.seeds) == (30, 6)
    half = 2.570582 * slopes[::30].std(ddof=1) / np.sqrt(6)  # every seed has the same x, so the slope is the mean of the seeds'
    assert [result.chi.value, result.chi.low, result.chi.high] == pytest.approx([2, 2 - half, 2 + half])
    assert result.extorts is False  # on no common line


def test_games_of_one_pair_are_averaged_and_the_order_of_rows_does_not_matter():
    table = table_of([1.0, 3.0, 2.0, 2.0], [1.0, 1.0, 0.5, 1.5], ["a", "a", "b", "b"])
    assert extortion_fit(table).chi.value == pytest.approx(2)
    own, co = np.random.default_rng(4).random((2, 30))
    table = table_of(own, co, np.arange(30) % 7, np.arange(30) % 2)
    shuffled = extortion_fit(table.sample(frac=1, random_state=0))
    assert dataclasses.astuple(shuffled.chi) == pytest.approx(dataclasses.astuple(extortion_fit(table).chi))


def test_pairs_may_be_missing():
    own, co = np.random.default_rng(5).random((2, 20))
    table = table_of(own, co, np.tile(np.arange(10), 2), np.repeat([0, 1], 10))
    fewer = table.drop(index=[3, 17])
    expected = (fewer.reward @ fewer.co_reward) / (fewer.co_reward @ fewer.co_reward)
    assert extortion_fit(fewer).chi.value == pytest.approx(expected)


def test_tables_that_allow_no_fit_are_refused():
    with pytest.raises(ValueError, match="lacks co_reward, opponent"):
        extortion_fit(pd.DataFrame({"reward": [1.0]}))
    with pytest.raises(ValueError, match="not finite"):
        extortion_fit(table_of([1.0, np.nan], [1.0, 1.0]))
    with pytest.raises(ValueError, match="at least two co-players"):
        extortion_fit(table_of([1.0, 2.0], [1.0, 1.0], ["a", "a"]))
    with pytest.raises(ValueError, match="no co-player has any surplus"):
        extortion_fit(memory_one_table(NAMED_STRATEGIES["generous-tit-for-tat"], SPREAD), baseline=1)


# The spread ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 9, 64, 100])
def test_a_spread_has_corners_and_random_players_all_different(n):
    spread = spread_of_opponents(n, np.random.default_rng(n))
    assert spread.shape == (n, 5)
    assert len(np.unique(spread, axis=0)) == n
    corners = ((spread == 0) | (spread == 1)).all(1)
    assert corners.sum() == min(n // 2, 32)
    assert ((spread >= 0) & (spread <= 1)).all()
    assert np.array_equal(spread, spread_of_opponents(n, np.random.default_rng(n)))


def test_spreads_and_tables_of_impossible_size_are_refused():
    with pytest.raises(ValueError, match="not 0"):
        spread_of_opponents(0, np.random.default_rng(0))
    ego, co = played(np.full(5, 0.5), games=5)
    with pytest.raises(ValueError, match="5 games cannot be shared evenly by 2 opponents"):
        episodes_table(ego, co, ["a", "b"])


# The memory-one fit ----------------------------------------------------------------------------------------------


def played(strategy, games, rounds=10, seed=0):
    ego = TabularPlayer(memory_one_policy(strategy), stream(seed, "ego"))
    co = TabularPlayer(memory_one_policy([0.5] * 5), stream(seed, "co"))
    return play(PRISONERS_DILEMMA, rounds, games, (ego, co))


@given(strategy=st.lists(st.floats(0, 1), min_size=5, max_size=5), seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=15)
def test_a_memory_one_player_is_recovered_from_its_games(strategy, seed):
    ego, _ = played(strategy, games=800, seed=seed)
    table = memory_one_fit(ego, {"all": (1, 10)}).set_index("outcome")
    assert list(table.index) == list(OUTCOMES)
    assert table["count"].sum() == 8000
    for outcome, expected in zip(OUTCOMES, strategy, strict=True):
        row = table.loc[outcome]
        if row["count"]:
            assert row["low"] <= row["cooperation_rate"] <= row["high"]
            deviation = np.sqrt(expected * (1 - expected) / row["count"])
            assert row["cooperation_rate"] == pytest.approx(expected, abs=6 * deviation + 10 / row["count"])


def test_windows_see_their_own_rounds_only():
    observations = torch.tensor([[0, 1, 2, 4, 4], [0, 3, 3, 1, 1]], dtype=torch.uint8)
    actions = torch.tensor([[0, 0, 1, 1], [1, 1, 0, 0]], dtype=torch.uint8)
    episodes = Episodes(observations, actions, torch.zeros(2, 4), torch.zeros(2, 0))
    table = memory_one_fit(episodes, {"first": (1, 2), "last": (3, 4)}).set_index(["window", "outcome"])
    counts = {"first": [2, 1, 0, 1, 0], "last": [0, 1, 1, 1, 1]}
    rates = {"first": [0.5, 1, np.nan, 0, np.nan], "last": [np.nan, 1, 0, 1, 0]}
    for window in ("first", "last"):
        assert table.loc[window, "count"].tolist() == counts[window]
        assert table.loc[window, "cooperation_rate"].tolist() == pytest.approx(rates[window], nan_ok=True)
    assert table.loc[("first", "DD"), ["low", "high"]].tolist() == [0, 1]
    assert table.loc["last", ["first_round", "last_round"]].drop_duplicates().values.tolist() == [[3, 4]]


def test_windows_and_games_that_do_not_fit_are_refused():
    ego, _ = played([0.5] * 5, games=3)
    for window in ((0, 3), (3, 11), (5, 4)):
        with pytest.raises(ValueError, match="within rounds 1 to 10"):
            memory_one_fit(ego, {"wrong": window})
    larger = Episodes(torch.full((1, 3), 9), torch.zeros(1, 2), torch.zeros(1, 2), torch.zeros(1, 0))
    with pytest.raises(ValueError, match="two actions"):
        memory_one_fit(larger, {"all": (1, 2)})


@given(rounds=st.integers(3, 500))
def test_thirds_cover_the_episode_once(rounds):
    thirds = episode_thirds(rounds)
    assert list(thirds) == ["early", "middle", "late"]
    covered = [t for first, last in thirds.values() for t in range(first, last + 1)]
    assert covered == list(range(1, rounds + 1))
    with pytest.raises(ValueError, match="no thirds"):
        episode_thirds(2)


def test_wilson_intervals():
    """Published values: 0 of 10, 5 of 10; and by definition the rates from which the sample is 1.96 errors away."""
    assert wilson_interval(0, 10) == pytest.approx((0, 0.27753), abs=1e-5)
    assert wilson_interval(5, 10) == pytest.approx((0.23659, 0.76341), abs=1e-5)
    assert wilson_interval(0, 10)[0] == 0
    assert wilson_interval(0, 0) == (0, 1)
    for bound in wilson_interval(37, 120):
        assert abs(37 / 120 - bound) == pytest.approx(1.959964 * np.sqrt(bound * (1 - bound) / 120), rel=1e-6)
