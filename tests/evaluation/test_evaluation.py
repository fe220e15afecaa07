"""Evaluation against the closed forms of memory-one play, and of whole runs at toy scale."""

import sys
from functools import partial

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from tiny_runs import config, spec, train

from coopctx.agents.others import TABULAR
from coopctx.agents.trained import TrainedAgent
from coopctx.cli import app as cli
from coopctx.cli import show
from coopctx.errors import CoopctxError, RunError, UsageError
from coopctx.evaluation import play as evaluation
from coopctx.evaluation.meetings import SCHEMA, curves
from coopctx.evaluation.opponents import Host
from coopctx.evaluation.play import evaluate, meet
from coopctx.game.matrix import PRISONERS_DILEMMA, MatrixGame
from coopctx.game.memory_one import NAMED_STRATEGIES, best_response, expected_play
from coopctx.game.streams import stream
from coopctx.game.tabular import RandomTabular, named_strategy
from coopctx.runs.read import read_weights
from coopctx.runs.schema import KEYS

ROUNDS = 8  # of the toy runs


def player(name, *purpose):
    return named_strategy(name, stream(0, name, *purpose))


def pool(seed=0, actions=2):
    return RandomTabular(1 + actions**2, actions, stream(seed, "pool"))


def met(ego, co, rounds=12, games=300, game=PRISONERS_DILEMMA):
    return meet("co", (ego, co), game, rounds, games)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A mixed and a tabular run, one that is told its opponent, one of another horizon and one with three actions."""
    folder = tmp_path_factory.mktemp("results")
    short = ("ppi.phases=1",)
    for which in (spec("mixed"), spec("mixed", opponent_id=True), spec("tabular")):
        train(folder, which, config(*short))
    train(folder, spec("tabular", seed=1), config(*short, "game.rounds=7"))
    train(folder, spec("tabular", seed=2), config(*short, "game.payoffs=[[2, 0, 1], [3, 1, 0], [0, 2, 1]]"))
    train(folder, spec("tabular", seed=3), config(*short, "game.rounds=2"))
    return folder


@pytest.fixture
def run(results):
    return partial(directory, results)


def directory(results, pool="mixed", **options):
    return spec(pool, **options).directory(results)


# Against closed forms ---------------------------------------------------------------------------------------------


def test_always_defect_against_tit_for_tat_by_hand():
    told = met(player("always-defect"), player("tit-for-tat"), rounds=12).measures()
    assert told["reward"] == pytest.approx(2 / 12)  # 2 in the first round, 0 ever after
    assert told["co_reward"] == pytest.approx(-1 / 12)
    assert told["cooperation"] == 0 and told["co_cooperation"] == pytest.approx(1 / 12)
    assert told["best_response_reward"] == pytest.approx(13 / 12)  # cooperates, but in the last round
    assert told["best_response_cooperation"] == pytest.approx(11 / 12)
    assert told["regret"] == pytest.approx(11 / 12) and told["regret_error"] == 0
    thirds = [told[f"regret_{third}"] for third in ("early", "middle", "late")]
    assert thirds == pytest.approx([(1 - 2 + 1 + 1 + 1) / 4, 1, (1 + 1 + 1 + 2) / 4])


def test_a_best_response_has_no_regret():
    for co in ("always-cooperate", "always-defect", "random"):
        told = met(player("always-defect"), player(co)).measures()
        assert abs(told["regret"]) <= 4 * told["regret_error"] + 1e-9


@pytest.mark.parametrize("ego", ["generous-tit-for-tat", "win-stay-lose-shift"])
def test_what_is_measured_is_what_is_expected(ego):
    rounds, games = 9, 4000
    told = met(player(ego), player("zd-extort-2"), rounds, games).measures()
    exact = expected_play(NAMED_STRATEGIES[ego], NAMED_STRATEGIES["zd-extort-2"], rounds)
    near = partial(pytest.approx, abs=4.5 / np.sqrt(games))
    assert told["reward"] == near(exact.reward.mean()) and told["co_reward"] == near(exact.co_reward.mean())
    assert told["cooperation"] == near(exact.cooperation.mean())
    assert told["co_cooperation"] == near(exact.co_cooperation.mean())
    assert told["cooperation_late"] == near(exact.cooperation[6:].mean())
    best = best_response(NAMED_STRATEGIES["zd-extort-2"], rounds).reward
    assert told["regret"] == pytest.approx((best - exact.reward).mean(), abs=4.5 * told["regret_error"])
    assert told["regret_middle"] == near((best - exact.reward)[3:6].mean())


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=5, max_size=5), st.integers(0, 99))
def test_no_memory_one_player_beats_the_best_response_to_the_very_opponents_it_met(strategy, seed):
    opponents = pool(seed)
    meeting = met(player("always-defect"), opponents, rounds=6, games=40)
    drawn = opponents.policies[..., 0].double().numpy()
    assert (meeting.best.reward.sum(1) >= expected_play(strategy, drawn, 6).reward.sum(1) - 1e-9).all()
    told = meeting.measures()
    defecting = expected_play((0, 0, 0, 0, 0), drawn, 6).reward.mean()
    assert told["reward"] == pytest.approx(defecting, abs=5 * told["regret_error"])
    assert told["regret"] >= -5 * told["regret_error"]


def test_many_games_are_played_in_batches_each_with_its_own_best_response(monkeypatch):
    drawn, shares = [], []

    class Remembering(RandomTabular):
        def begin(self, games):
            super().begin(games)
            drawn.append(self.policies)

    monkeypatch.setattr(evaluation, "GAMES_AT_ONCE", 8)
    opponents = Remembering(5, 2, stream(0, "pool"))
    meeting = meet("pool", (player("random"), opponents), PRISONERS_DILEMMA, 3, 20, None, lambda _, share: shares.append(share))
    assert [len(batch) for batch in drawn] == [8, 8, 4] and len(meeting.ego) == len(meeting.co) == 20
    best = best_response(torch.cat(drawn)[..., 0].double().numpy(), 3)
    assert np.array_equal(meeting.best.reward, best.reward)
    assert shares == sorted(shares) and shares[-1] == 1 and shares[0] == pytest.approx(8 / 60)


def test_one_game_has_no_standard_error_and_three_actions_no_best_response():
    assert np.isnan(met(player("random"), player("grim"), games=1).measures()["regret_error"])
    game = MatrixGame.of([[2, 0, 1], [3, 1, 0], [0, 2, 1]])
    assert "regret" not in met(pool(1, 3), pool(2, 3), game=game).measures()


def test_an_agent_with_opponent_id_is_told_its_opponent():
    class Listening(RandomTabular):
        def meet(self, identity):
            self.told = identity

    opponents, ego = pool(), Listening(5, 2, stream(2))
    met(ego, opponents, games=4)
    assert torch.allclose(ego.told.view(4, 5, 2).exp(), opponents.policies, atol=2e-4)


# Whole runs -------------------------------------------------------------------------------------------------------


def test_a_run_meets_everyone_and_its_curves_are_written(run, tmp_path):
    out = tmp_path / "deeper" / "curves.parquet"
    evaluated = evaluate(run(), games=6, out=out)
    assert [meeting.opponent for meeting in evaluated.meetings] == [*NAMED_STRATEGIES, TABULAR]
    table = pq.read_table(out)
    assert table.schema.equals(SCHEMA) and table.equals(curves(evaluated))
    frame = table.to_pandas()
    assert len(frame) == (len(NAMED_STRATEGIES) + 1) * 2 * ROUNDS
    keys = {"agent": "ppi", "experiment": "mixed", "opponent_id": False, "seed": 0, "preset": "smoke", "learner": 1}
    assert (frame[list(keys)].drop_duplicates().to_dict("records")) == [keys] and set(KEYS) < set(keys)
    assert set(frame["round"]) == set(range(1, ROUNDS + 1)) and (frame["episodes"] == 6).all()
    assert frame["cooperation_rate"].between(0, 1).all()
    egos, cos = (frame[frame.player == player] for player in ("ego", "co"))
    assert egos["best_response_reward"].notna().all() and cos["best_response_reward"].isna().all()
    assert np.allclose(egos["reward"], 2 * cos["cooperation_rate"].to_numpy() - egos["cooperation_rate"])
    for meeting in evaluated.meetings:
        told, rows = meeting.measures(), egos[egos.opponent == meeting.opponent]
        assert told["reward"] == pytest.approx(rows["reward"].mean())
        assert told["regret"] == pytest.approx((rows["best_response_reward"] - rows["reward"]).mean())
        assert told["regret"] >= -5 * told["regret_error"] - 1e-9


def test_the_games_depend_on_seed_learner_and_opponent_alone(run):
    def games(*against, **options):
        evaluated = evaluate(run(), against or [TABULAR], games=8, **options)
        return curves(evaluated).to_pandas().query("opponent == 'tabular'").reset_index(drop=True)

    first = games()
    assert first.equals(games()) and first.equals(games("grim", TABULAR, TABULAR))
    assert not first.equals(games(seed=1))
    second = games(learner=2)
    assert set(second.learner) == {2} and not first.drop(columns="learner").equals(second.drop(columns="learner"))


def test_a_run_meets_another_and_itself(run, monkeypatch):
    evaluated = evaluate(run(), [str(run("tabular")), str(run())], learner=2, games=4)
    assert [meeting.opponent for meeting in evaluated.meetings] == [str(run("tabular")), str(run())]
    assert all(meeting.best is None for meeting in evaluated.meetings)
    assert curves(evaluated)["best_response_reward"].null_count == 4 * ROUNDS
    monkeypatch.chdir(run().parents[1])  # the same games, however the run is addressed
    again = evaluate(run(), ["ppi-tabular/seed-0"], learner=2, games=4).meetings[0]
    assert torch.equal(again.ego.actions, evaluated.meetings[0].ego.actions)


def test_the_other_run_plays_with_the_weights_of_its_first_learner(run):
    host = Host(TrainedAgent.load(run("tabular")), ROUNDS, torch.device("cpu"))
    other = host.opponent(str(run())).player(stream(0))
    assert torch.equal(other._model.head.weight, read_weights(run())["learner1.head.weight"])


def test_an_agent_with_opponent_id_is_evaluated_too(run):
    told = [meeting.measures() for meeting in evaluate(run(opponent_id=True), ["grim", TABULAR, str(run())], games=4).meetings]
    assert all(np.isfinite(list(values.values())).all() for values in told)


def test_other_lengths_are_played_when_asked_for(run):
    assert evaluate(run(), ["grim"], games=2, rounds=21).meetings[0].best.reward.shape == (2, 21)
    assert evaluate(run("tabular", seed=3), ["grim"], games=2, rounds=3).meetings[0].ego.rounds == 3


def test_more_than_two_actions_are_met_by_the_pool_and_runs_alone(run):
    evaluated = evaluate(run("tabular", seed=2), games=4)
    assert [meeting.opponent for meeting in evaluated.meetings] == [TABULAR] and evaluated.meetings[0].best is None
    assert len(evaluate(run("tabular", seed=2), [str(run("tabular", seed=2))], games=4).meetings) == 1
    for name in ("grim", "axelrod:Grudger"):
        with pytest.raises(UsageError, match=f"'{name}' plays games of two actions, not of 3; tabular and runs can play any game"):
            evaluate(run("tabular", seed=2), [name])


# Refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("against", "error", "message"),
    [
        ("tit-for-tot", UsageError, r"unknown opponent 'tit-for-tot'; did you mean tit-for-tat\?"),
        ("", UsageError, "unknown opponent ''; allowed: tit-for-tat, "),
        ("no/such/run", RunError, "no/such/run is not a finished run"),
        (".", RunError, ". is not a finished run"),
    ],
)
def test_who_cannot_be_met_is_told(run, tmp_path, monkeypatch, against, error, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        evaluate(run(), ["grim", against])


def test_runs_of_another_horizon_or_game_are_refused_by_name(run):
    with pytest.raises(RunError, match=r"ppi-tabular/seed-1 was trained with game.rounds = 7, not 8"):
        evaluate(run(), [str(run("tabular", seed=1))])
    with pytest.raises(RunError, match=r"ppi-tabular/seed-2 was trained with game.payoffs = .*, not \[\[1.0, -1.0\]"):
        evaluate(run(), [str(run("tabular", seed=2))])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"games": 0}, UsageError, "--games must be an integer >= 1, not 0"),
        ({"rounds": 2}, UsageError, "--rounds must be an integer >= 3, not 2"),
        ({"seed": -1}, UsageError, "--seed must be an integer >= 0, not -1"),
        ({"learner": 3}, UsageError, "--learner must be from 1 to 2 for .*seed-0, not 3"),
        ({"learner": 0}, UsageError, "--learner must be from 1 to 2"),
        ({"device": "abacus"}, UsageError, "unknown device 'abacus'"),
    ],
)
def test_numbers_that_will_not_do_are_refused(run, options, error, message):
    with pytest.raises(error, match=message):
        evaluate(run(), ["grim"], **options)


def test_a_run_too_short_for_thirds_says_what_helps(run):
    with pytest.raises(UsageError, match="in episodes of 2 rounds; give --rounds 3 or more"):
        evaluate(run("tabular", seed=3), ["grim"])


def test_where_curves_cannot_go_nothing_is_played(run, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "meet", None)
    (tmp_path / "file").write_text("")
    for out, message in (
        (tmp_path, "a directory is in the way"),
        (tmp_path / "file" / "curves.parquet", "a file is in the way"),
        (run() / "training.parquet", "it belongs to the run there"),
    ):
        with pytest.raises(RunError, match=message):
            evaluate(run(), ["grim"], out=out)


def test_a_missing_library_is_told_with_what_installs_it(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "axelrod", None)
    monkeypatch.delitem(sys.modules, "coopctx.game.axelrod", raising=False)
    with pytest.raises(RunError, match=r"in a clone: pip install '\.\[axelrod\]'"):
        evaluate(run(), ["axelrod:Tit For Tat"])


@given(st.text(max_size=40).filter(lambda name: not name.startswith("axelrod:")))
def test_any_name_is_known_or_refused(results, name):
    host = Host(TrainedAgent.load(directory(results)), ROUNDS, torch.device("cpu"))
    try:
        assert host.opponent(name).name == name
    except CoopctxError as error:
        assert name in str(error) or "not a finished run" in str(error)


# The command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def command(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(show, "console", Console(width=80))

    def run(*arguments):
        status = cli.main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return run


def test_the_command_prints_tables_and_writes_the_curves(command, run, monkeypatch):
    monkeypatch.setattr(show, "console", Console(width=80))
    games = ("--games", 4, "--learner", 2, "--device", "cpu")
    status, out, err = command("evaluate", run(), "--against", "grim", "--against", TABULAR, *games, "--out", "c.parquet")
    assert (status, err) == (0, "")
    assert "4 games of 8 rounds" in out and "best response" in out and "c.parquet: written" in out
    assert [line.split()[0] for line in out.splitlines() if line.startswith(("grim", TABULAR))] == ["grim", TABULAR] * 2
    assert pq.read_table("c.parquet").num_rows == 2 * 2 * ROUNDS
    status, out, _ = command("evaluate", run(), "--against", run("tabular"), *games)
    assert status == 0 and "best response" not in out


def test_several_runs_are_evaluated_in_turn_and_their_curves_are_one_table(command, run):
    options = ("--against", "grim", "--games", 4, "--device", "cpu", "--out", "both.parquet")
    status, out, _ = command("evaluate", run(), run("tabular"), *options)
    assert status == 0 and [line for line in out.splitlines() if line.endswith("seed-0") and not line.startswith("next: ")] == [str(run()), str(run("tabular"))]
    both = pq.read_table("both.parquet").to_pandas()
    command("evaluate", run("tabular"), *options[:-1], "alone.parquet")
    alone = pq.read_table("alone.parquet").to_pandas()
    assert both.groupby("experiment").size().to_dict() == {"mixed": 2 * ROUNDS, "tabular": 2 * ROUNDS}
    assert both[both.experiment == "tabular"].reset_index(drop=True).equals(alone)
    status, out, err = command("evaluate", run(), "nowhere", *options)
    assert (status, out) == (1, "") and "nowhere is not a finished run" in err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["evaluate"], 2, "Missing argument 'RUN...'"),
        (["evaluate", "nowhere"], 1, "nowhere is not a finished run"),
        (["evaluate", "nowhere", "--games", "many"], 2, "--games"),
        (["evaluate", "nowhere", "--games", "0"], 2, "--games must be an integer >= 1, not 0"),
    ],
)
def test_bad_input_is_refused_in_one_line(command, arguments, status, message):
    got, out, err = command(*arguments)
    assert (got, out) == (status, "")
    assert message in err and err.startswith("coopctx: ") and err.count("\n") == 1
