"""The paper's claims: what they read; no null policy fulfils one, the paper's own values fulfil all."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from studies import ENDS, ROUNDS, RUNS, Where, study

from coopctx.analysis import claims, nulls, tables
from coopctx.analysis.intervals import difference, estimate
from coopctx.analysis.tables import LEARNING_AWARE, PAPER_AGENTS, Tables
from coopctx.analysis.verdict import NOT_REPRODUCED, NOT_RUN, REPRODUCED
from coopctx.experiments.presets import preset_names, seen_seeds
from coopctx.game.arena import play
from coopctx.game.matrix import PRISONERS_DILEMMA
from coopctx.game.streams import stream
from coopctx.game.tabular import RandomTabular, named_strategy
from coopctx.runs.read import Results

ROOT = Path(__file__).parents[2]
NOWHERE = Path("nowhere")
FLAT = np.ones(ROUNDS)


def checked(agent: str | None = None) -> list[claims.Claim]:
    found = claims.check(tables.Results(NOWHERE, "cpu")).claims
    return [claim for claim in found if agent in (None, claim.agent)]


def rows_of(agent: str) -> dict[tuple[str, str], claims.Row]:
    return {(claim.title.split(":")[0], row.spec.name): row for claim in checked(agent) for row in claim.rows}


# What is read ----------------------------------------------------------------------------------------------------


def test_every_row_reads_what_its_name_says(monkeypatch):
    """Every measurement is another number; each row's is worked out anew from the words of its name."""

    def number(where: Where) -> np.ndarray:
        kind = RUNS.index(where.run) + 0.1 * len(where.opponent) + 0.03 * (where.player == "co")
        rounds = np.arange(1, ROUNDS + 1)
        rate = (kind + where.share + 0.01 * where.seed) / 10 + rounds / 1000
        return np.stack([rate, 2 * rate - 1])

    study(monkeypatch, number, lambda agent, run: 3)

    def rate(run, opponent, share, rounds=(1, 100), player=("ego",)):
        values = [number(Where("", run, opponent, who, seed, share))[0, rounds[0] - 1 : rounds[1]] for who in player for seed in range(3)]
        return np.mean(values)

    end = {"ppi": np.mean([26, 27, 28, 29, 30]) / 30, "a2c": np.mean([28, 29, 30]) / 30}  # last 5 phases, after 90 %: 28 / 30 on
    both = {"player": ("ego", "co")}
    early, late, last = (5, 5), (51, 89), (90, 100)
    expected = {
        "ppi": {
            ("Mixed pool", "reward vs tabular"): 2 * rate("mixed", "tabular", end["ppi"]) - 1,
            ("Told their opponent, the learners do not cooperate", "cooperation of the learners, mixed pool minus told"): -0.1,
            ("Without tabular opponents the learners do not cooperate", "cooperation of the learners, mixed pool minus learners alone"): -0.2,
            ("Step 1", "cooperation vs Tit-for-Tat, rounds 51-89"): rate("tabular", "tit-for-tat", 1, late),
            ("Step 1", "cooperation vs Always-Cooperate, rounds 51-89"): rate("tabular", "always-cooperate", 1, late),
            ("Step 1", "cooperation vs Always-Defect, rounds 90-100"): rate("tabular", "always-defect", 1, last),
            ("Step 2", "reward of Fixed-ICL"): 2 * rate("extortion", "fixed-icl", end["ppi"], player=("co",)) - 1,
            ("Step 2", "reward of the learner minus Fixed-ICL's"): -0.006,
            ("Step 3", "cooperation of both before training, round 5"): rate("mutual-extortion", "learner", 0, early, **both),
            ("Step 3", "cooperation of both, a third into training"): rate("mutual-extortion", "learner", 1 / 3),
            ("Step 3", "cooperation of both, late in training"): rate("mutual-extortion", "learner", end["ppi"]),
            ("Step 3 before training", "its rise from round 5 to rounds 90-100"): 0.09,
            ("Mixed pool, early in training", "cooperation vs tabular, rounds 90-100"): rate("mixed", "tabular", 8 / 30, last),
            ("Mixed pool, early in training", "its rise with the learner, from round 5 to rounds 90-100"): 0.09,
        },
        "a2c": {
            ("Mixed pool", "cooperation of the learners"): rate("mixed", "learner", end["a2c"]),
            ("Step 1", "cooperation vs Always-Defect, rounds 51-89"): rate("tabular", "always-defect", 1, late),
            ("Step 3", "cooperation of both, half-way through training"): rate("mutual-extortion", "learner", 0.5),
            ("Step 3 before training", "cooperation of both, round 99"): rate("mutual-extortion", "learner", 0, (99, 99), **both),
            ("Step 3 before training", "its rise from round 5 to round 99"): 0.094,
            ("Mixed pool, early in training", "cooperation vs tabular, rounds 51-89"): rate("mixed", "tabular", 1 / 3, late),
            ("Mixed pool, early in training", "cooperation with the learner minus with tabular, rounds 51-89"): 0.0,
        },
    }
    for agent, values in expected.items():
        found = rows_of(agent)
        assert {key: found[key].ours.value for key in values} == pytest.approx(values)
        assert all(row.seeds in ((3,), (3, 3)) for row in found.values())


def test_curves_are_read_at_the_share_of_training_that_is_meant_or_not_at_all(monkeypatch):
    def only_late(where: Where):
        return np.stack([FLAT * where.share, FLAT]) if where.share in (0.0, 1.0) or where.run != "mixed" else None

    study(monkeypatch, only_late, lambda agent, run: 2)
    early = [row for (title, _), row in rows_of("ppi").items() if title.startswith("Mixed pool, early")]
    assert [row.ours for row in early] == [None] * 5 and {row.verdict for row in early} == {NOT_RUN}


def test_each_interval_is_the_one_for_its_kind_of_row(monkeypatch):
    """Means over seeds, differences seed by seed or between runs, pairs with common agents; all cut to what can be."""
    values = np.random.default_rng(4).uniform(0.3, 0.7, (len(RUNS), 2, 6))

    def varying(where: Where) -> np.ndarray:
        level = values[RUNS.index(where.run), int(where.player == "co"), where.seed]
        return np.stack([FLAT * level, FLAT * 2 * level])

    study(monkeypatch, varying, lambda agent, run: 6)
    mixed, told, _, _, extortion, mutual, *_ = checked("ppi")
    of = {run: values[RUNS.index(run)] for run in RUNS}
    pairs = [(seed, seed + 1) for seed in range(6)]
    expected = [
        (mixed.rows[0], estimate(of["mixed"][0])),
        (told.rows[0], difference(of["mixed"][0], of["mixed-opponent-id"][0])),
        (extortion.rows[2], estimate(2 * (of["extortion"][0] - of["extortion"][1]))),
        (mutual.rows[2], estimate(of["mutual-extortion"][0], pairs=pairs)),
    ]
    for row, interval in expected:
        assert [row.ours.value, row.ours.low, row.ours.high] == pytest.approx([interval.value, interval.low, interval.high])
    study(monkeypatch, lambda where: np.stack([FLAT * (where.seed < 2), FLAT]), lambda agent, run: 3)
    assert rows_of("ppi")["Mixed pool", "cooperation of the learners"].ours.high == 1.0
    assert rows_of("ppi")["Mixed pool", "cooperation of the learners"].ours.low == 0.0
    study(monkeypatch, lambda where: np.stack([FLAT * (where.seed < 2) * (where.run == "mixed"), FLAT]), lambda agent, run: 3)
    _, told, *_ = checked("ppi")
    assert [told.rows[0].ours.low > -1, told.rows[0].ours.high] == [True, 1.0]


# Who learns nothing, and the paper --------------------------------------------------------------------------------


@pytest.mark.parametrize("agent", [*PAPER_AGENTS, LEARNING_AWARE])
def test_no_null_policy_is_on_the_right_side_of_all_thresholds_of_a_claim(agent):
    tables = Tables(Results(ROOT / "results", "cpu"), agent)
    for title, rows in claims.claims(agent).items():
        for null in nulls.NULLS:
            values = {row.name: claims._nulls(row, tables)[null] for row in rows if row.threshold is not None}
            assert np.isfinite(list(values.values())).all(), "make nulls"
            assert not all(row.threshold.holds(values[row.name]) for row in rows if row.threshold), (title, null, values)


@pytest.fixture(scope="module")
def played() -> pd.DataFrame:
    """Rewards per round of the null policies against the Step-1 agents, as `coopctx evaluate` has played them."""
    return pd.read_parquet(ROOT / "results/cpu/nulls.parquet")


@pytest.mark.parametrize("null", ["always-defect", "always-cooperate", "random", "tit-for-tat"])
def test_runs_of_a_player_that_learns_nothing_reproduce_no_claim(monkeypatch, played, null):
    """Real games of the player, with the noise of 48 games per measurement, in place of those of a learner."""

    def games(where: Where) -> np.ndarray:
        key = where.agent if where.opponent == "fixed-icl" else where.run, where.opponent
        if key not in met:
            met[key] = fixed_icl(where.agent) if where.opponent == "fixed-icl" else against(where.opponent, where.run)
        return met[key][where.player == "co"][where.seed]

    def fixed_icl(agent: str) -> list[list[np.ndarray]]:
        theirs = played[(played.agent == agent) & (played.opponent == null)].sort_values("round")
        seeds = [theirs[theirs.seed == seed] for seed in range(6)]
        return [[rows[rows.player == side][["cooperation_rate", "reward"]].to_numpy().T for rows in seeds] for side in ("co", "ego")]

    def against(opponent: str, run: str) -> list[list[np.ndarray]]:
        own, others = stream(0, null, opponent, run, "ego"), stream(0, null, opponent, run, "co")
        co = RandomTabular(5, 2, others) if opponent == "tabular" else named_strategy({"learner": null}.get(opponent, opponent), others)
        sides = play(PRISONERS_DILEMMA, ROUNDS, 6 * 48, (named_strategy(null, own), co))
        parts = [[side[48 * seed : 48 * (seed + 1)] for seed in range(6)] for side in sides]
        return [
            [np.stack([part.cooperation_per_round().numpy(), part.reward_per_round().numpy()]) for part in side] for side in parts
        ]

    met = {}
    study(monkeypatch, games, lambda agent, run: 6)
    found = checked()
    assert {claim.verdict for claim in found} == {NOT_REPRODUCED}, [claim.title for claim in found if claim.verdict != NOT_REPRODUCED]
    assert all(row.ours is not None for claim in found for row in claim.rows)
    for claim in found:
        for row in claim.rows:  # what is played is what was computed
            assert np.isnan(row.nulls[null]) or row.ours.value == pytest.approx(row.nulls[null], abs=0.1), (null, row.spec.name)


# What the paper shows, its standard deviation over seeds where it can be read off, and its number of seeds: read off the
# figures once more, by agent, run, opponent and side; (share of training, first and last round): (cooperation, s.d.).
PAPER = {
    ("ppi", "mixed", "learner", "ego"): {(1.0, 1, 100): (0.89, 0.14), (0.27, 5, 5): (0.16, 0), (0.27, 90, 100): (0.43, 0.28)},
    ("ppi", "mixed", "tabular", "ego"): {(1.0, 1, 100): (0.09, 0), (0.27, 90, 100): (0.09, 0)},
    ("ppi", "mixed", "tit-for-tat", "ego"): {(0.27, 90, 100): (0.85, 0.14)},
    ("ppi", "mixed", "always-cooperate", "ego"): {(0.27, 90, 100): (0.0, 0)},
    ("ppi", "mixed", "always-defect", "ego"): {(0.27, 90, 100): (0.06, 0)},
    ("ppi", "mixed-opponent-id", "learner", "ego"): {(1.0, 1, 100): (0.09, 0.31)},
    ("ppi", "learners", "learner", "ego"): {(1.0, 1, 100): (0.15, 0.09)},
    ("ppi", "tabular", "tabular", "ego"): {(1.0, 1, 100): (0.08, 0)},
    ("ppi", "tabular", "tit-for-tat", "ego"): {(1.0, 51, 89): (0.98, 0)},
    ("ppi", "tabular", "always-cooperate", "ego"): {(1.0, 51, 89): (0.0, 0)},
    ("ppi", "tabular", "always-defect", "ego"): {(1.0, 90, 100): (0.08, 0.06)},
    ("ppi", "mutual-extortion", "learner", "ego"): {
        (0.0, 5, 5): (0.07, 0), (0.0, 90, 100): (0.18, 0.06), (0.33, 1, 100): (0.95, 0), (1.0, 1, 100): (0.94, 0.1),
    },
    ("a2c", "mixed", "learner", "ego"): {(1.0, 1, 100): (0.95, 0.03), (0.27, 51, 89): (0.8, 0.45)},
    ("a2c", "mixed", "tabular", "ego"): {(1.0, 1, 100): (0.06, 0), (0.27, 51, 89): (0.045, 0)},
    ("a2c", "mixed-opponent-id", "learner", "ego"): {(1.0, 1, 100): (0.0, 0)},
    ("a2c", "learners", "learner", "ego"): {(1.0, 1, 100): (0.0, 0)},
    ("a2c", "tabular", "tabular", "ego"): {(1.0, 1, 100): (0.045, 0)},
    ("a2c", "tabular", "tit-for-tat", "ego"): {(1.0, 51, 89): (1.0, 0)},
    ("a2c", "tabular", "always-cooperate", "ego"): {(1.0, 51, 89): (0.0, 0)},
    ("a2c", "tabular", "always-defect", "ego"): {(1.0, 51, 89): (0.0, 0)},
    ("a2c", "mutual-extortion", "learner", "ego"): {
        (0.0, 5, 5): (0.0, 0), (0.0, 99, 99): (0.06, 0), (0.5, 1, 100): (0.94, 0), (1.0, 1, 100): (0.57, 0.51),
    },
}
REWARDS = {
    ("ppi", "mixed", "tabular", "ego"): (0.99, 0),
    ("a2c", "mixed", "tabular", "ego"): (1.02, 0),
    ("ppi", "tabular", "tabular", "ego"): (1.0, 0),
    ("a2c", "tabular", "tabular", "ego"): (1.03, 0),
    ("ppi", "extortion", "fixed-icl", "ego"): (0.88, 0.1),
    ("ppi", "extortion", "fixed-icl", "co"): (0.25, 0.05),
    ("a2c", "extortion", "fixed-icl", "ego"): (1.32, 0.04),
    ("a2c", "extortion", "fixed-icl", "co"): (-0.04, 0.08),
}


def of_the_paper(seeds):
    """Each seed's deviation is the s.d. times a standard normal quantile, in another order for each run and opponent."""
    quantiles = {}
    for n in (5, 10):
        values = np.array([np.sort(draw) for draw in np.random.default_rng(1).normal(size=(2000, n))]).mean(0)
        quantiles[n] = (values - values.mean()) / values.std(ddof=1)

    def measured(where: Where) -> np.ndarray:
        n = seeds(where.agent, where.run)
        order = np.random.default_rng([RUNS.index(where.run), len(where.opponent), len(where.player)]).permutation(n)
        deviation = quantiles[n][order[where.seed]]
        key = where.agent, where.run, where.opponent, "ego" if where.run == "mutual-extortion" else where.player
        curve = FLAT * 0.5
        for (share, first, last), (value, sd) in PAPER.get(key, {}).items():
            if abs(share - where.share) < 0.1 or (share == 1.0 and where.share > 0.8):
                curve[first - 1 : last] = value + sd * deviation
        reward, sd = REWARDS.get(key, (0.5, 0))
        return np.stack([curve, FLAT * (reward + sd * deviation)])

    return measured


def test_runs_with_the_papers_values_and_spread_reproduce_every_claim(monkeypatch):
    def seeds(agent: str, run: str) -> int:
        return 5 if agent == "a2c" and run in ("tabular", "extortion", "mutual-extortion") else 10  # Fig. 4 has five

    study(monkeypatch, of_the_paper(seeds), seeds)
    found = checked()
    assert [(claim.agent, claim.title) for claim in found if claim.verdict is not REPRODUCED] == []
    assert len(found) == 16 and ENDS.keys() == PAPER_AGENTS.keys()


def test_a_difference_is_held_against_the_difference_of_two_readings_and_half_of_it():
    ppi = {(title.split(":")[0], row.name): row for title, rows in claims.claims("ppi").items() for row in rows}
    row = ppi["Step 2", "reward of the learner minus Fixed-ICL's"]
    assert [row.target.value, row.target.tolerance] == pytest.approx([0.88 - 0.25, 0.09])  # of 0.08 and 0.05
    assert [row.threshold.side, row.threshold.value] == ["above", pytest.approx(0.63 / 2)]
    assert ppi["Mixed pool", "cooperation of the learners"].target.value == 0.89
    told = ppi["Told their opponent, the learners do not cooperate", "cooperation of the learners, mixed pool minus told"]
    assert [told.target.value, told.threshold.value] == pytest.approx([0.8, 0.4])


def test_the_paper_itself_is_on_the_right_side_of_every_threshold():
    for agent in PAPER_AGENTS:
        for rows in claims.claims(agent).values():
            assert any(row.threshold for row in rows)
            for row in rows:
                assert row.threshold is None or row.threshold.holds(row.target.value), (agent, row.name)


# Seeds -----------------------------------------------------------------------------------------------------------


def test_untouched_seeds_are_told_apart_where_there_are_five(monkeypatch):
    looked_at = {("cpu", "ppi", "mixed"): frozenset({0, 1, 4}), ("cpu", "a2c", "mixed"): frozenset(range(10))}
    monkeypatch.setattr(claims, "seen_seeds", lambda *where: looked_at.get(where, frozenset()))
    study(monkeypatch, lambda where: np.stack([FLAT * where.seed / 10] * 2), lambda agent, run: 8 if agent == "ppi" else 6)
    ppi = rows_of("ppi")["Mixed pool", "cooperation of the learners"]
    assert (ppi.seen, ppi.seeds, ppi.untouched.seeds) == (3, (8,), 5)
    assert ppi.untouched.value == pytest.approx(np.mean([2, 3, 5, 6, 7]) / 10)
    a2c = rows_of("a2c")["Mixed pool", "cooperation of the learners"]
    assert (a2c.seen, a2c.seeds, a2c.untouched) == (6, (6,), None)
    told = rows_of("ppi")["Told their opponent, the learners do not cooperate", "cooperation of the learners, mixed pool minus told"]
    assert told.seeds == (8, 8) and told.seen == 3 and told.untouched.seeds == 5
    study(monkeypatch, lambda where: np.stack([FLAT * where.seed / 10] * 2), lambda agent, run: 7)
    fewer = rows_of("ppi")["Mixed pool", "cooperation of the learners"]
    assert (fewer.seen, fewer.seeds, fewer.untouched) == (3, (7,), None), "four untouched seeds are too few"


def test_the_trials_that_were_kept_are_marked_as_seen():
    trials = pd.read_csv(ROOT / "results/explored/a2c.csv")
    for pool in ("mixed", "tabular", "extortion", "mutual-extortion"):
        assert {seed for seed in trials[trials["pool"] == pool]["seed"] if seed < 10} <= seen_seeds("cpu", "a2c", pool), pool
    assert seen_seeds("cpu", "ppi", "mixed") == frozenset(range(10)), "24 rollouts were chosen on their outcome"
    steps = pd.read_csv(ROOT / "results/explored/steps-2-and-3.csv").groupby("step")["seed"].unique()
    assert set(steps[2]) <= seen_seeds("cpu", "ppi", "extortion") and set(steps[3]) <= seen_seeds("cpu", "ppi", "mutual-extortion")
    for pool, seeds in (("mixed", 10), ("mixed-m-fos", 5), ("meta", 5), ("naive", 0)):
        assert seen_seeds("cpu", "coala", pool) == frozenset(range(seeds)), pool
    assert seen_seeds("cpu", "ppi", "learners") == frozenset() == seen_seeds("paper", "a2c", "mixed")
    assert {name for name in preset_names() if seen_seeds(name, "ppi", "mixed")} == {"cpu"}


# Null policies ---------------------------------------------------------------------------------------------------


def test_null_strategies_are_the_named_ones_and_the_prior_is_a_random_memory_one_player():
    assert nulls.policy(nulls.PRIOR, "a2c").tolist() == [[0.5] * 5]
    urn, rounds, games = np.random.default_rng(0), 20, 4000
    counts = np.ones((games, 5, 2))  # exact predictions of a random memory-one player, sampled, against Tit-for-Tat
    situation, cooperated = np.zeros(games, int), []
    co = np.ones(games, bool)
    for _ in range(rounds):
        chance = counts[np.arange(games), situation, 0] / counts[np.arange(games), situation].sum(1)
        own = urn.random(games) < chance
        counts[np.arange(games), situation, np.where(own, 0, 1)] += 1
        cooperated.append(own.mean())
        situation = 1 + 2 * ~own + ~co
        co = own
    rows = nulls.tables("ppi", "tabular", rounds, None)["episodes"].query("iteration == 30 and opponent == 'tit-for-tat' and player == 'ego'")
    expected = rows[rows["seed"] == nulls.PRIOR].sort_values("round")["cooperation_rate"].to_numpy()
    np.testing.assert_allclose(cooperated, expected, atol=0.03)


def test_fixed_icl_s_games_are_missing_until_they_are_played():
    assert nulls.tables("ppi", "extortion", 100, None)["training"].empty
    assert nulls.games_against(NOWHERE, "cpu", "ppi") is None
