"""The rows that every run records, against numbers computed here from the games."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from coopctx.agents.loop import Schedule
from coopctx.agents.record import (
    Match,
    counted,
    diagnose,
    diagnosed,
    final_weights,
    named_strategies,
    record_averages,
    record_curves,
    record_timings,
    shares,
    summary,
)
from coopctx.experiments.pools import POOLS, Pool
from coopctx.experiments.settings import PoolConfig
from coopctx.game.episodes import Episodes
from coopctx.game.matrix import PRISONERS_DILEMMA, MatrixGame


class Rows:
    """In place of a run: keeps what is recorded."""

    def __init__(self) -> None:
        self.tables: dict[str, list[dict]] = {}

    def record(self, table, rows) -> None:
        self.tables.setdefault(table, []).extend(rows)


def games(actions, rewards, over=None) -> Episodes:
    """Episodes of which nothing but actions, rewards and, with ``over``, the end of the second game after a round matters."""
    actions, rewards = torch.tensor(actions, dtype=torch.uint8), torch.tensor(rewards)
    observations = torch.zeros(len(actions), actions.shape[1] + 1, dtype=torch.uint8)
    if over is not None:
        observations[1, 1:] = over
    return Episodes(observations, actions, rewards, torch.zeros(len(actions), 0), over)


EGO, CO = (
    games([[0, 1, 1], [0, 0, 1]], [[1.0, 2.0, 0.0], [-1.0, -1.0, 0.0]]),
    games([[0, 0, 1], [1, 1, 1]], [[1.0, -1.0, 0.0], [2.0, 2.0, 0.0]]),
)


@pytest.mark.parametrize(
    ("episodes", "share", "expected"), [(10, 0.5, 5), (10, 0.25, 2), (10, 0.01, 1), (10, 0.99, 9), (2, 0.9, 1), (7, 0.5, 4)]
)
def test_the_tabular_share_of_a_pool_of_two_kinds_is_rounded_and_leaves_some_to_either(episodes, share, expected):
    assert shares(episodes, POOLS["mixed"], PoolConfig(tabular_share=share)) == {
        "learner": episodes - expected,
        "tabular": expected,
    }


@pytest.mark.parametrize(("pool", "opponent"), [("tabular", "tabular"), ("learners", "learner"), ("extortion", "fixed-icl")])
def test_a_pool_of_one_kind_has_all_episodes(pool, opponent):
    assert shares(10, POOLS[pool], PoolConfig(tabular_share=0.3)) == {opponent: 10}


def test_negative_phases_count_from_the_last_and_those_beyond_are_left_out():
    assert counted((1, 5, 6, -1, -5, -6, 3), 5) == {1, 5, 3} and counted((), 3) == set() and counted((-2,), 5) == {4}


def test_a_schedule_has_every_nth_iteration_the_curves_and_the_last():
    schedule = Schedule(10, 4, (3, -2), curves_at_0=False)
    assert [n for n in range(11) if n in schedule] == [0, 3, 4, 8, 9, 10] and schedule.curves == {3, 9}
    assert Schedule(10, 4, (-1,), curves_at_0=True).curves == {0, 10}


def test_named_strategies_are_the_papers_where_a_pool_is_probed_and_the_game_has_two_actions():
    assert named_strategies(POOLS["mixed"], PRISONERS_DILEMMA) == ("tit-for-tat", "always-cooperate", "always-defect")
    assert named_strategies(POOLS["extortion"], PRISONERS_DILEMMA) == ()
    assert named_strategies(POOLS["mixed"], MatrixGame.of([[0.0] * 3] * 3)) == ()


def test_averages_are_over_all_games_and_rounds_of_each_side():
    run = Rows()
    record_averages(run, 7, [Match(2, "tabular", EGO, CO), Match(1, "learner", CO, EGO)])
    expected = [
        (2, "tabular", "ego", 0.5, 1 / 6),
        (2, "tabular", "co", 1 / 3, 4 / 6),
        (1, "learner", "ego", 1 / 3, 4 / 6),
        (1, "learner", "co", 0.5, 1 / 6),
    ]
    rows = run.tables["training"]
    assert [(row["learner"], row["opponent"], row["player"]) for row in rows] == [row[:3] for row in expected]
    for row, (*_, rate, reward) in zip(rows, expected, strict=True):
        assert (row["cooperation_rate"], row["reward"]) == pytest.approx((rate, reward))
        assert (row["iteration"], row["episodes"]) == (7, 2) and len(row) == 7


def test_curves_are_learner_ones_round_by_round_from_1():
    run = Rows()
    record_curves(run, 7, [Match(2, "tabular", EGO, CO), Match(1, "learner", EGO, CO)])
    rows = run.tables["episodes"]
    assert [(row["player"], row["round"]) for row in rows] == [(side, t) for side in ("ego", "co") for t in (1, 2, 3)]
    assert [row["cooperation_rate"] for row in rows] == [1, 0.5, 0, 0.5, 0.5, 0]
    assert [row["reward"] for row in rows] == [0, 0.5, 0, 1.5, 0.5, 0]
    assert {(row["iteration"], row["learner"], row["opponent"], row["episodes"]) for row in rows} == {(7, 1, "learner", 2)}


def test_rounds_after_the_end_of_a_game_count_for_nothing():
    """The second game ends after its first round; in round 4 nobody plays any more."""
    actions, rewards = [[0, 1, 1, 0], [0, 0, 0, 0]], [[1.0, 2.0, 4.0, 9.0], [3.0, 9.0, 9.0, 9.0]]
    episodes = games(actions, rewards, over=5)
    episodes.observations[0, 3:] = 5
    assert episodes.games_per_round().tolist() == [2, 1, 1, 0]
    assert episodes.cooperation_rate() == pytest.approx(2 / 4) and episodes.reward() == pytest.approx(10 / 4)
    assert episodes.cooperation_per_round()[:3].tolist() == [1, 0, 0] and episodes.reward_per_round()[:3].tolist() == [2, 2, 4]
    assert math.isnan(episodes.cooperation_per_round()[3]) and math.isnan(episodes.reward_per_round()[3])
    run = Rows()
    record_curves(run, 1, [Match(1, "tabular", episodes, episodes)])
    assert [(row["round"], row["episodes"]) for row in run.tables["episodes"]] == [(1, 2), (2, 1), (3, 1)] * 2
    both = Episodes.concatenate([episodes, episodes])
    assert both.over == 5 and both[torch.tensor([0])].over == 5 and both.to(torch.device("cpu")).over == 5


def test_measures_are_float64_sums_of_many_float32_rewards():
    episodes = games([[0] * 3] * 3, [[1.0, 2.0**-25, 2.0**-25]] * 3)
    assert episodes.reward() == (1 + 2**-24) / 3
    assert episodes.reward_per_round().dtype == episodes.cooperation_per_round().dtype == torch.float64


def test_diagnostics_and_timings_are_rows_by_name():
    run = Rows()
    diagnose(run, 3, 2, {"kl": 0.5, "nll": 1.5})
    record_timings(run, 3, {"fit": 2.5})
    assert run.tables["diagnostics"] == [
        {"iteration": 3, "learner": 2, "quantity": "kl", "value": 0.5},
        {"iteration": 3, "learner": 2, "quantity": "nll", "value": 1.5},
    ]
    assert run.tables["timings"] == [{"iteration": 3, "part": "fit", "seconds": 2.5}]


def test_the_summary_is_the_mean_over_learners_by_opponent():
    matches = [Match(1, "learner", EGO, CO), Match(2, "learner", CO, EGO), Match(1, "tabular", EGO, CO)]
    told = summary(Pool(2, ("learner", "tabular", "fixed-icl")), matches)
    expected = {"cooperation_learner": 5 / 12, "reward_learner": 5 / 12, "cooperation_tabular": 0.5, "reward_tabular": 1 / 6}
    assert told == pytest.approx(expected)


def test_an_agent_without_a_prior_has_no_divergence():
    assert math.isnan(Match(1, "learner", EGO, CO).divergence)
    assert Match(1, "learner", EGO, CO).sides() == (("ego", EGO), ("co", CO))


def test_final_weights_are_every_learners_by_number_and_name():
    learners = [SimpleNamespace(number=n, model=nn.Linear(2, 1)) for n in (1, 2)]
    weights = final_weights(learners)
    assert list(weights) == ["learner1.weight", "learner1.bias", "learner2.weight", "learner2.bias"]
    for learner in learners:
        assert torch.equal(weights[f"learner{learner.number}.weight"], learner.model.weight)


def test_the_display_is_told_the_last_diagnostics_as_means_over_the_learners():
    rows = [
        (7, 1, 1, "loss", 9.0),
        (7, 2, 1, "loss", 0.5),
        (7, 2, 1, "entropy", 0.1),
        (7, 2, 2, "loss", 1.5),
        (7, 2, 2, "entropy", 0.3),
    ]
    run = SimpleNamespace(rows={"diagnostics": rows})
    assert diagnosed(run, 2) == {"loss": 1.0, "entropy": pytest.approx(0.2)}
    assert diagnosed(run, 3) == {}
