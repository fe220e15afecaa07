"""Cross-play: who plays whom, what is written down, what it comes to by kinds, and the command."""

import itertools

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from tiny_runs import config, spec, train

from coopctx.analysis.intervals import over_units
from coopctx.analysis.played import crossplay
from coopctx.errors import RunError, UsageError
from coopctx.evaluation.arena import arena
from coopctx.experiments.pools import RunSpec

ROUNDS = 8
COALA = (
    *("coala.hidden=8", "coala.meta_batch=4", "coala.inner_batch=2", "coala.inner_episodes=2", "coala.inner_rounds=3"),
    *("coala.iterations=1", "coala.measure_every=1", "coala.meta_agents=2", "game.rounds=8"),
)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Two seeds of a mixed PPI run, a tabular one, a run of COALA, one of another game, one of three actions, one that ends by chance."""
    folder = tmp_path_factory.mktemp("results")
    short = ("ppi.phases=1",)
    for which in (spec("mixed"), spec("mixed", seed=1), spec("tabular")):
        train(folder, which, config(*short))
    train(folder, RunSpec("coala", "mixed", False, 0, "smoke"), config(*COALA))
    train(folder, spec("tabular", seed=1), config(*short, "game.rounds=7"))
    train(folder, spec("tabular", seed=2), config(*short, "game.payoffs=[[2, 0, 1], [3, 1, 0], [0, 2, 1]]"))
    train(folder, spec("tabular", seed=3), config(*short, "game.continuation=0.8"))
    return folder


def run(results, pool="mixed", seed=0, agent="ppi"):
    return str(RunSpec(agent, pool, False, seed, "smoke").directory(results))


def everyone(results):
    return [run(results), run(results, seed=1), run(results, "tabular"), run(results, agent="coala")]


@pytest.fixture(scope="module")
def played(results):
    return arena(everyone(results), ["tit-for-tat", "always-defect", "tabular"], games=4).to_pandas()


# Who plays whom ---------------------------------------------------------------------------------------------------


def test_every_pair_is_there_once_from_each_side(played):
    agents = [f"ppi-mixed seed {seed}, learner {learner}" for seed, learner in itertools.product((0, 1), (1, 2))]
    agents += ["ppi-tabular seed 0, learner 1", *(f"coala-mixed seed 0, learner {learner}" for learner in (1, 2))]
    strategies = ["tit-for-tat", "always-defect", "tabular"]
    expected = {*itertools.product(agents, agents), *itertools.product(agents, strategies), *itertools.product(strategies, agents)}
    pairs = list(zip(played["player"], played["opponent"], strict=True))
    assert len(pairs) == len(set(pairs)) and set(pairs) == expected
    assert (played["games"] == 4).all() and (played["rounds"] == ROUNDS).all() and (played["episodes"] == 1).all()
    assert played.loc[played["player"] == "tit-for-tat", "player_seed"].isna().all()
    assert crossplay.kinds(played) == ["ppi-mixed", "ppi-tabular", "coala-mixed", *strategies]
    assert crossplay.kinds(played, True) == ["ppi-mixed", "ppi-tabular", "coala-mixed"]


def test_both_sides_tell_of_the_same_games_and_rewards_follow_from_what_was_played(played):
    sides = played.set_index(["player", "opponent"])
    for (player, opponent), row in sides.iterrows():
        other = sides.loc[(opponent, player)]
        if player != opponent:
            assert (row["reward"], row["cooperation_rate"]) == (other["co_reward"], other["co_cooperation_rate"])
            assert row["mutual_cooperation"] == other["mutual_cooperation"]
        assert row["reward"] == pytest.approx(2 * row["co_cooperation_rate"] - row["cooperation_rate"], abs=1e-6)
        only_other = row["co_cooperation_rate"] - row["mutual_cooperation"]
        only_own = row["cooperation_rate"] - row["mutual_cooperation"]
        assert row["mutual_cooperation"] + row["mutual_defection"] + only_own + only_other == pytest.approx(1)
    against = played[played["opponent"] == "always-defect"]
    assert (against["mutual_cooperation"] == 0).all() and (against["co_cooperation_rate"] == 0).all()


def test_games_depend_on_the_pair_and_the_seed_alone(results, played):
    few = arena([run(results, seed=1)], ["tabular"], games=4).to_pandas()
    same = played.merge(few[["player", "opponent"]]).reset_index(drop=True)
    order = few.merge(same[["player", "opponent"]]).sort_values(["player", "opponent"], ignore_index=True)
    pd.testing.assert_frame_equal(order, same.sort_values(["player", "opponent"], ignore_index=True))
    assert not few["reward"].equals(arena([run(results, seed=1)], ["tabular"], games=4, seed=1).to_pandas()["reward"])


def test_a_run_that_is_named_twice_plays_once(results):
    once, twice = (arena(runs, ["grim"], games=1).num_rows for runs in ([run(results)], [run(results)] * 2))
    assert once == twice == 2 * 2 + 2 * 2


def test_several_episodes_are_told_one_by_one_and_naive_learners_are_usual_then(results):
    rows = arena([run(results, agent="coala"), run(results, "tabular")], episodes=3, games=32, rounds=4).to_pandas()
    assert set(rows["episode"]) == {1, 2, 3} and (rows["episodes"] == 3).all() and (rows["rounds"] == 4).all()
    assert {"naive", "tabular", "tit-for-tat"} < set(crossplay.kinds(rows))
    assert rows.groupby(["player", "opponent"]).size().eq(3).all()
    curves = crossplay.over_episodes(rows, "coala-mixed", "naive")
    assert curves["episode"].tolist() == [1, 2, 3] and set(curves["seed"]) == {0}
    theirs = rows[(rows["player_kind"] == "coala-mixed") & (rows["opponent_kind"] == "naive")]
    assert curves["reward"].tolist() == theirs.groupby("episode")["reward"].mean().tolist()


def test_naive_learners_have_the_settings_of_a_run_of_a_users_file(results, tmp_path):
    which = RunSpec("ppi", "mixed", False, 0, "mine")
    train(tmp_path, which, config("ppi.phases=1", "coala.inner_batch=3"))
    with pytest.raises(UsageError, match="--games must be a multiple of 3"):
        arena([which.directory(tmp_path)], ["naive"], episodes=2, games=4, rounds=4)
    assert len(arena([which.directory(tmp_path)], ["naive"], episodes=2, games=6, rounds=4))


def test_an_episode_is_as_long_as_in_training(results, played):
    assert (played["rounds"] == ROUNDS).all()
    assert (arena([run(results, agent="coala")], ["tit-for-tat"], games=2).to_pandas()["rounds"] == 3).all()


# What it comes to -------------------------------------------------------------------------------------------------


def table(rows) -> pd.DataFrame:
    """Cross-play rows from (kind, seed, learner) twice, reward, co_reward and mutual cooperation."""
    made = []
    for player, opponent, reward, co_reward, mutual in rows:
        row = dict.fromkeys(crossplay.SCHEMA.names, 0.0) | {"episode": 1, "baseline": 0.0}
        for side, (kind, seed, learner) in (("player", player), ("opponent", opponent)):
            row |= {side: f"{kind} {seed} {learner}", f"{side}_kind": kind, f"{side}_seed": seed, f"{side}_learner": learner}
        made.append(row | {"reward": reward, "co_reward": co_reward, "mutual_cooperation": mutual})
    return pd.DataFrame(made).astype({f"{side}_{part}": "float" for side in ("player", "opponent") for part in ("seed", "learner")})


def test_conventions_tell_copies_partners_and_strangers_apart():
    agents = [("a", seed, learner) for seed in range(3) for learner in (1, 2)]
    mutual = {True: {True: 0.75, False: 0.5}, False: {True: 0.25, False: 0.25}}
    rows = [(one, other, 0, 0, mutual[one[1] == other[1]][one[2] == other[2]]) for one in agents for other in agents]
    fits = crossplay.conventions(table(rows), "a")
    assert {name: each.value for name, each in fits.items()} == {crossplay.COPY: 0.75, crossplay.PARTNER: 0.5, crossplay.STRANGER: 0.25}
    assert all(each.low == each.high == each.value and each.seeds == 3 for each in fits.values())


@pytest.mark.parametrize(
    ("reward", "co_reward", "relation", "other"),
    [(1.2, 0.3, "extorts", "is extorted"), (1.5, -0.4, "exploits", "is exploited"), (0.5, 0.5, "even", "even")],
)
def test_who_wins_is_told_from_both_sides(reward, co_reward, relation, other):
    rows = []
    for one, two in itertools.product(range(3), range(3)):
        noise = 0.01 * (one - two)
        rows.append((("a", one, 1), ("b", two, 1), reward + noise, co_reward, 0.5))
        rows.append((("b", two, 1), ("a", one, 1), co_reward, reward + noise, 0.5))
    played = table(rows)
    met = {(meeting.player, meeting.opponent): meeting for meeting in crossplay.kind_means(played)}
    assert met.keys() == {("a", "b"), ("b", "a")}
    assert met["a", "b"].relation == relation and met["b", "a"].relation == other
    assert met["a", "b"].advantage.value == pytest.approx(reward - co_reward)


def test_a_strategy_is_one_and_a_single_seed_has_no_interval():
    grim = ("grim", np.nan, np.nan)
    rows = [(("a", seed, 1), grim, value, 0.0, 0.0) for seed, value in enumerate((1.0, 2.0, 3.0))]
    back = (grim, ("a", 0, 1), 0.0, 1.0, 0.0)
    (met,) = crossplay.kind_means(table([*rows, back]))
    assert met.reward.seeds == 3 and met.reward.high - 2 == pytest.approx(4.302653 / 3**0.5, rel=1e-5)  # Student's t of 3
    (one,) = crossplay.kind_means(table([rows[0], back]))
    assert np.isnan(one.reward.low) and one.relation == "–"


# Intervals over units ---------------------------------------------------------------------------------------------


def coverage(true: float, draw, trials: int = 600) -> float:
    generator = np.random.default_rng(0)
    found = [over_units(*draw(generator)) for _ in range(trials)]
    return float(np.mean([each.low <= true <= each.high for each in found]))


def test_intervals_over_agents_that_share_pairs_cover_the_true_value():
    def crossed(generator):
        ours, theirs = generator.normal(size=5), generator.normal(size=4)
        pairs = list(itertools.product(range(5), range(4)))
        values = [ours[i] + theirs[j] + 0.3 * generator.normal() for i, j in pairs]
        return values, [{("a", i), ("b", j)} for i, j in pairs]

    def among(generator):
        ours = generator.normal(size=6)
        pairs = list(itertools.combinations(range(6), 2))
        return [ours[i] + ours[j] + 0.3 * generator.normal() for i, j in pairs], [{("a", i), ("a", j)} for i, j in pairs]

    assert 0.93 < coverage(0.0, crossed) < 0.99 and 0.93 < coverage(0.0, among) < 0.99


def test_without_units_or_with_one_there_is_no_interval():
    assert over_units([1.0, 3.0], [set(), set()]).value == 2 and np.isnan(over_units([1.0, 3.0], [set(), set()]).low)
    assert np.isnan(over_units([1.0, 3.0], [{("a", 0)}, {("a", 0)}]).low)
    assert np.isnan(over_units([1.0], [{("a", 0), ("a", 1)}]).low)  # of two agents who met, nothing is left without one
    with pytest.raises(ValueError, match="needs a value"):
        over_units([], [])


# The command ------------------------------------------------------------------------------------------------------


def test_the_command_prints_kinds_and_writes_the_pairs(coopctx_main, results):
    words = ["arena", run(results), run(results, seed=1), "--against", "grim", "--games", "2"]
    for name in ("pairs.parquet", "pairs.csv"):
        status, out, err = coopctx_main(*words, "--out", name)
        assert (status, err) == (0, "") and f"{name}: written" in out
        assert "ppi-mixed: rewards per round" in out and "strangers of its kind" in out and "show nothing" in out
        assert max(map(len, out.splitlines())) <= 100
    written = pq.read_table("pairs.parquet")
    assert written.schema.equals(crossplay.SCHEMA) and written.num_rows == 4 * 4 + 4 * 2
    assert pd.read_csv("pairs.csv")["reward"].tolist() == pytest.approx(written["reward"].to_pylist())
    assert crossplay.read("pairs.parquet")["player"].tolist() == written["player"].to_pylist()


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ([], 2, "Missing argument 'RUN...'"),
        (["nowhere"], 1, "nowhere is not a finished run"),
        (["MIXED", "--episodes", "0"], 2, "--episodes must be an integer >= 1, not 0"),
        (["MIXED", "--games", "0"], 2, "--games must be an integer >= 1, not 0"),
        (["MIXED", "--rounds", "2"], 2, "--rounds must be an integer >= 3, not 2"),
        (["MIXED", "--seed", "-1"], 2, "--seed must be an integer >= 0, not -1"),
        (["MIXED", "--against", "tit-for-tot"], 2, "unknown opponent 'tit-for-tot'; did you mean tit-for-tat?"),
        (["MIXED", "--against", "naiv"], 2, "unknown opponent 'naiv'"),
        (["MIXED", "--against", "naive", "--games", "5"], 2, "--games must be a multiple of 4, which a naive learner plays at once, not 5"),
        (["ENDING", "--against", "naive"], 2, "naive learners learn from episodes of a fixed number of rounds; here the ending is random"),
        (["THREE"], 2, "an arena is for games of two actions; "),
        (["MIXED", "SHORT"], 1, "was trained with game.rounds = 7, not 8"),
        (["MIXED", "--out", "pairs"], 2, "--out must end in .parquet or .csv, not 'pairs'"),
        (["MIXED", "--out", "mine.csv"], 1, "cannot write mine.csv: there is a file that --out did not write"),
        (["MIXED", "--device", "abacus"], 2, "unknown device 'abacus'"),
        (["MIXED", "OTHER"], 2, "are both ppi-mixed seed 0 and have different weights; give one of them"),
    ],
)
def test_bad_input_is_refused_in_one_line(coopctx_main, results, tmp_path, words, status, message):
    (tmp_path / "mine.csv").write_text("a,b\n")
    places = {"MIXED": run(results), "SHORT": run(results, "tabular", 1), "THREE": run(results, "tabular", 2)}
    places |= {"ENDING": run(results, "tabular", 3), "OTHER": "other/smoke/ppi-mixed/seed-0"}
    if "OTHER" in words:
        train(tmp_path / "other", spec("mixed"), config("ppi.phases=1", "ppi.learning_rate=1e-4"))
    got, out, err = coopctx_main("arena", *(places.get(word, word) for word in words))
    assert (got, out) == (status, "") and message in err and err.count("\n") == 1
    assert (tmp_path / "mine.csv").read_text() == "a,b\n"


def test_another_table_is_no_cross_play(tmp_path):
    (tmp_path / "text.parquet").write_text("mine")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    for name, message in (("no.parquet", "cannot read"), ("text.parquet", "is not a Parquet file"), ("other.parquet", "does not have the columns")):
        with pytest.raises(RunError, match=message):
            crossplay.read(tmp_path / name)


def test_an_arena_needs_a_run():
    with pytest.raises(UsageError, match="an arena needs a run"):
        arena([])
