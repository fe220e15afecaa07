"""Games round by round: `evaluate --episodes` writes the games as played and the agents' beliefs."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from tiny_runs import config, spec, train

from coopctx.agents.beliefs import bayes, replayed
from coopctx.agents.trained import TrainedAgent
from coopctx.analysis.played.games import SCHEMA
from coopctx.errors import UsageError
from coopctx.evaluation.games import games_table
from coopctx.evaluation.play import evaluate
from coopctx.evaluation.watched import Watched
from coopctx.game.streams import stream

GAMES, ROUNDS = 5, 8
BELIEFS = ["prediction", "bayes", "q_c", "q_d", "prior", "policy", "value"]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    train(folder, spec("mixed"), config("ppi.phases=1"))
    train(folder, spec("tabular", seed=2), config("ppi.phases=1", "game.payoffs=[[2, 0, 1], [3, 1, 0], [0, 2, 1]]"))
    train(folder, spec("tabular", seed=3), config("ppi.phases=1", "game.continuation=0.8"))
    return folder


@pytest.fixture
def run(results):
    return str(spec("mixed").directory(results))


def table(*arguments, **options) -> pd.DataFrame:
    return games_table(evaluate(*arguments, games=GAMES, watch=True, **options)).to_pandas()


def of(frame, **keys) -> pd.DataFrame:
    for name, value in keys.items():
        frame = frame[frame[name] == value]
    return frame


def test_every_game_is_there_from_both_sides_as_it_was_played(run):
    frame = table(run, ["tit-for-tat", run], learner=2)
    plain = evaluate(run, ["tit-for-tat", run], learner=2, games=GAMES)  # watching changes nothing
    for meeting in plain.meetings:
        for player, episodes in (("ego", meeting.ego), ("co", meeting.co)):
            rows = of(frame, opponent=meeting.opponent, player=player)
            assert rows[["game", "round"]].to_numpy().tolist() == [[g, t + 1] for g in range(GAMES) for t in range(ROUNDS)]
            assert rows["own"].map("CD".index).tolist() == episodes.actions.flatten().tolist()
            assert rows["reward"].tolist() == episodes.rewards.flatten().tolist()
        ego, co = (of(frame, opponent=meeting.opponent, player=player) for player in ("ego", "co"))
        assert ego["own"].tolist() == co["other"].tolist() and ego["other"].tolist() == co["own"].tolist()
    keys = {"agent": "ppi", "experiment": "mixed", "opponent_id": False, "seed": 0, "preset": "smoke", "learner": 2, "trained": True}
    assert frame[list(keys)].drop_duplicates().to_dict("records") == [keys]


def test_a_ppi_agents_beliefs_are_those_behind_its_decisions(run):
    evaluation = evaluate(run, [run, "random"], games=GAMES, watch=True)
    frame = games_table(evaluation).to_pandas()
    agent = TrainedAgent.load(run)
    for meeting in evaluation.meetings:
        for player, episodes in (("ego", meeting.ego), ("co", meeting.co)):
            rows = of(frame, opponent=meeting.opponent, player=player)
            exact = bayes(evaluation.game, episodes)[:, :-1].flatten()
            np.testing.assert_allclose(rows["bayes"], exact, rtol=1e-6)
            if player == "co" and meeting.opponent == "random":
                assert rows[[name for name in BELIEFS if name != "bayes"]].isna().all(axis=None)
                continue
            again = replayed(agent.player(stream(1)), episodes)  # the model alone is the same, the rollouts are others
            np.testing.assert_allclose(rows["prior"], again.prior[:, :-1, 0].flatten(), atol=1e-5)
            improved = rows["prior"] / (1 - rows["prior"]) * np.exp(agent.config.ppi.inverse_temperature * (rows["q_c"] - rows["q_d"]).clip(-0.5, 0.5))
            within = (rows["q_c"] - rows["q_d"]).abs() < 0.05
            np.testing.assert_allclose(rows["policy"][within], (improved / (1 + improved))[within], atol=1e-3)
            assert within.any() and rows["prediction"].between(0, 1).all() and rows["value"].isna().all()
            held = rows["policy"].to_numpy() > 1 - 1e-6
            assert (rows["own"][held] == "C").all()  # its decisions follow from them


def test_an_a2c_agents_policy_and_value_are_those_of_a_replay():
    evaluation = evaluate("a2c-tabular", ["grim"], games=GAMES, rounds=ROUNDS, watch=True)
    rows = of(games_table(evaluation).to_pandas(), player="ego")
    again = replayed(TrainedAgent.load("a2c-tabular").player(stream(1)), evaluation.meetings[0].ego)
    np.testing.assert_allclose(rows["policy"], again.policy[:, :-1, 0].flatten(), atol=1e-5)
    np.testing.assert_allclose(rows["value"], again.value[:, :-1].flatten(), atol=1e-5)
    assert rows[["prediction", "q_c", "q_d", "prior"]].isna().all(axis=None)


def test_beliefs_of_several_batches_are_in_the_order_of_the_games(run):
    agent, held = TrainedAgent.load(run), []
    for at_once in (3, 1):
        player = Watched(agent.player(stream(0)))
        for _ in range(3 // at_once):
            player.begin(at_once)
            player.meet(None)
            for code in (0, 1):
                player.act(torch.full((at_once,), code), torch.zeros(at_once))
        held.append(player.beliefs.prior)
    assert held[0].shape == (3, 2, 2)
    torch.testing.assert_close(*held)


def test_games_that_ended_have_no_rows_after_their_end(results):
    run = str(spec("tabular", seed=3).directory(results))
    evaluation = evaluate(run, ["tabular"], games=30, watch=True)
    rows = of(games_table(evaluation).to_pandas(), player="ego")
    played = evaluation.meetings[0].ego.going_on().sum(1).tolist()
    assert rows.groupby("game").size().tolist() == played and min(played) < ROUNDS
    assert rows["reward"].sum() == pytest.approx(float(evaluation.meetings[0].ego.rewards.sum()))


def test_games_of_three_actions_are_refused(results):
    run = str(spec("tabular", seed=2).directory(results))
    with pytest.raises(UsageError, match="--episodes keeps games of two actions; ppi-tabular seed 2, learner 1 plays one of 3"):
        table(run, ["tabular"])


# The command ------------------------------------------------------------------------------------------------------


def test_the_command_writes_the_games_of_all_runs_in_one_table(coopctx_main, run):
    words = ["evaluate", run, run, "--against", "grim", "--games", "3", "--episodes", "deeper/games.parquet"]
    for _ in range(2):  # its own file may be replaced
        status, out, err = coopctx_main(*words)
        assert (status, err) == (0, "") and "deeper/games.parquet: written" in out
        assert out.splitlines()[-1] == "next: coopctx plot episodes deeper/games.parquet"
    written = pq.read_table("deeper/games.parquet")
    assert written.schema.equals(SCHEMA) and written.num_rows == 2 * 2 * 3 * ROUNDS
    first, second = (written.to_pandas().iloc[half * 48 : (half + 1) * 48].reset_index(drop=True) for half in (0, 1))
    assert first.equals(second)  # the same run twice


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("games.csv", 2, "--episodes must end in .parquet, not 'games.csv'"),
        ("games", 2, "--episodes must end in .parquet, not 'games'"),
        ("", 2, "a path must be given"),
        ("mine.parquet", 1, "cannot write mine.parquet: there is a file that --episodes did not write; choose another name"),
        ("curves.parquet", 2, "--out and --episodes must be two files, not both 'curves.parquet'"),
        ("folder.parquet", 1, "cannot write folder.parquet: a directory is in the way"),
    ],
)
def test_a_path_that_will_not_do_is_refused_before_anything_is_played(coopctx_main, run, tmp_path, path, status, message):
    (tmp_path / "mine.parquet").write_bytes(b"mine")
    (tmp_path / "folder.parquet").mkdir()
    before = sorted(tmp_path.rglob("*"))
    got, out, err = coopctx_main("evaluate", run, "--against", "grim", "--games", "2", "--out", "curves.parquet", "--episodes", path)
    assert (got, out) == (status, "") and message in err and err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before and (tmp_path / "mine.parquet").read_bytes() == b"mine"
