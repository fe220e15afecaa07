"""Trained agents in Python: loading, evaluation, beliefs, and errors."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from tiny_runs import config, spec, train

import coopctx
from coopctx.agents.trained import PACKAGED, packaged_agents
from coopctx.errors import RunError, UsageError
from coopctx.evaluation.meetings import SCHEMA

ROOT = Path(__file__).parents[2]
RUN = ROOT / "results" / "cpu" / "ppi-mixed" / "seed-3"
PAYOFFS = "game.payoffs=[[2, 0, 1], [3, 1, 0], [0, 2, 1]]"


class Grudger(coopctx.Player):
    def begin(self, games):
        self.angry = torch.zeros(games, dtype=torch.bool)

    def act(self, observation, reward):
        self.angry |= (observation == 2) | (observation == 4)
        return self.angry.long()


class Answering(coopctx.Player):
    """Answers every observation with what it is made from."""

    def __init__(self, answer):
        self.answer = answer

    def act(self, observation, reward):
        return self.answer(observation) if callable(self.answer) else self.answer


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A mixed run of three actions."""
    folder = tmp_path_factory.mktemp("results")
    train(folder, spec("mixed"), config("ppi.phases=1", PAYOFFS))
    return folder


@pytest.fixture(scope="module")
def agent():
    return coopctx.load("a2c-tabular")


# Packaged agents ------------------------------------------------------------------------------------------------------


def test_packaged_agents_are_seed_0_of_the_committed_runs_byte_for_byte():
    assert packaged_agents() == ("a2c-mixed", "a2c-tabular", "ppi-extortion", "ppi-mixed", "ppi-tabular")
    for name in packaged_agents():
        assert {path.name for path in (PACKAGED / name).iterdir()} == {"run.json", "weights.safetensors"}
        for path in (PACKAGED / name).iterdir():
            committed = ROOT / "results" / "cpu" / name / "seed-0" / path.name
            assert path.read_bytes() == committed.read_bytes(), f"{path} is stale: make package-agents"
    assert sum(path.stat().st_size for path in PACKAGED.rglob("*")) < 1_000_000


def test_an_agent_is_loaded_by_name_by_text_and_by_path():
    assert coopctx.load("ppi-mixed").name == "ppi-mixed seed 0"
    by_text, by_path = coopctx.load(str(RUN)), coopctx.load(RUN)
    assert by_text.name == by_path.name == "ppi-mixed seed 3" and by_text.directory == RUN
    assert isinstance(coopctx.TrainedAgent.load(str(RUN)), coopctx.TrainedAgent)
    assert repr(by_text) == f"<ppi-mixed seed 3: 2 learners, {RUN}>"


# Evaluating -----------------------------------------------------------------------------------------------------------


def test_an_agent_is_evaluated_against_a_name_a_player_and_several(agent):
    one = agent.evaluate("tit-for-tat", games=8)
    assert list(one.table.index) == ["tit-for-tat"] and one.table["cooperation_late"].item() > 0.9
    assert agent.evaluate(Grudger(), games=8).meetings[0].opponent == "Grudger"
    several = agent.evaluate(["grim", Grudger(), Grudger(), "grim", Path(RUN)], games=4)
    assert list(several.table.index) == ["grim", "Grudger", "Grudger (2)", str(RUN)]
    one_player = Grudger()
    assert list(agent.evaluate([one_player, "grim", one_player], games=4).table.index) == ["Grudger", "grim"]
    assert several.table["regret"].notna().tolist() == [True, False, False, False]


def test_the_same_games_however_they_are_asked_for(agent):
    asked = coopctx.evaluate("a2c-tabular", "grim", games=4), agent.evaluate(["grim"], games=4)
    assert asked[0].curves.equals(asked[1].curves)
    assert asked[0].meetings[0].measures()["reward"] == asked[0].table.loc["grim", "reward"]
    assert list(asked[0].curves.columns) == SCHEMA.names


def test_whoever_is_an_opponent_can_be_evaluated_too():
    met = coopctx.evaluate("tit-for-tat", "a2c-tabular", games=4)
    assert met.player == "tit-for-tat" and met.meetings[0].opponent == "a2c-tabular"
    assert met.curves["agent"].isna().all() and met.meetings[0].ego.rounds == 100
    by_hand = coopctx.evaluate(Grudger(), ["always-defect"], games=2, rounds=10).table.loc["always-defect"]
    assert by_hand["cooperation"] == 0.1 and by_hand["reward"] == -0.1


def test_an_evaluation_reads_well(agent, tmp_path):
    met = agent.evaluate(["tit-for-tat", "always-defect"], games=4, out=tmp_path / "curves.parquet")
    title, heading, *rows = repr(met).splitlines()
    assert title.startswith("a2c-tabular seed 0, learner 1: 4 games of 100 rounds")
    assert all(name in heading for name in ("cooperation", "early", "late", "reward", "regret"))
    assert [row.split()[0] for row in rows[1:]] == ["tit-for-tat", "always-defect"] and len(rows) == 3
    assert f"{met.table.loc['tit-for-tat', 'cooperation']:.3f}" in rows[1]
    html = met._repr_html_()
    assert html.startswith("<p>a2c-tabular seed 0") and "<table" in html and "tit-for-tat" in html
    assert len(pd.read_parquet(tmp_path / "curves.parquet")) == 2 * 2 * 100


# Beliefs --------------------------------------------------------------------------------------------------------------


def test_beliefs_about_one_game_in_every_notation(agent):
    text = agent.beliefs("CC CD DC")
    assert text["round"].tolist() == [1, 2, 3, 4] and text["own"].tolist()[:3] == ["C", "C", "D"]
    assert text["bayes"].tolist() == [1 / 2] * 4
    for same in ([("C", "C"), ("C", "D"), ("D", "C")], [(0, 0), [0, 1], "dc"], ["CC", "CD", "DC"]):
        pd.testing.assert_frame_equal(agent.beliefs(same), text)
    assert len(agent.beliefs()) == 1 and agent.beliefs()["value"].notna().all()


def test_beliefs_of_a_ppi_agent_follow_the_co_player():
    ppi = coopctx.load("ppi-tabular")
    fond, hostile = ppi.beliefs("DC " * 30), ppi.beliefs("DD " * 30)
    assert fond["prediction"].iloc[-1] > 0.8 > 0.2 > hostile["prediction"].iloc[-1]
    assert fond["bayes"].iloc[-1] == pytest.approx(30 / 31)
    assert fond[["q_c", "q_d", "prior", "policy"]].notna().all(axis=None) and fond["value"].isna().all()
    assert ppi.beliefs("DC", seed=1)["q_c"].iloc[-1] != ppi.beliefs("DC", seed=2)["q_c"].iloc[-1]
    assert ppi.beliefs("DC", seed=1).equals(ppi.beliefs("DC", seed=1))


def test_beliefs_about_many_games(agent):
    ego = agent.evaluate("random", games=3, rounds=5).meetings[0].ego
    table = agent.beliefs(ego)
    assert len(table) == 3 * 6 and table["game"].unique().tolist() == [0, 1, 2]


# Refusals -------------------------------------------------------------------------------------------------------------


def refuses(error, message, call):
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("run", "error", "message"),
    [
        ("ppi-mxied", RunError, "ppi-mxied is not a finished run; packaged agents: a2c-mixed, a2c-tabular"),
        ("results/nowhere", RunError, "results/nowhere is not a finished run"),
        (Path(__file__), RunError, r"test_agent.py is not a finished run"),
        ("", UsageError, "a run is named by its directory or a packaged agent's name, not by ''"),
        (7, UsageError, "a run is named by its directory or a packaged agent's name, not by 7"),
        (None, UsageError, "not by None"),
    ],
)
def test_what_cannot_be_loaded(run, error, message):
    refuses(error, message, lambda: coopctx.load(run))


@pytest.mark.parametrize(
    ("against", "message"),
    [
        ("tit-for-tot", r"unknown opponent 'tit-for-tot'; did you mean tit-for-tat\?"),
        ("ppi-mixd", r"unknown opponent 'ppi-mixd'; did you mean ppi-mixed"),
        (Grudger, r"give a player, not its class: Grudger\(\.\.\.\)"),
        (7, "opponents are names, directories, agents or players, not 7"),
        ([object()], "a object is no player: it has no method begin"),
        (Answering(torch.zeros(3).long()), r"Answering.act must return a tensor of 4 integers from 0 to 1, not torch.int64 of shape \[3\]"),
        (Answering(lambda seen: seen * 0.5), r"Answering.act must return .* not torch.float32 of shape \[4\]"),
        (Answering(lambda seen: seen * 0 + 2), "Answering.act must return .* not 2"),
        (Answering(lambda seen: seen * 0 - 1), "Answering.act must return .* not -1"),
        (Answering([0, 0, 0, 0]), "Answering.act must return .* not list"),
        (Answering(None), "Answering.act must return .* not NoneType"),
    ],
)
def test_who_cannot_be_met(agent, against, message):
    refuses(UsageError, message, lambda: agent.evaluate(against, games=4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"games": 0}, "--games must be an integer >= 1, not 0"),
        ({"games": 2.5}, "--games must be an integer >= 1, not 2.5"),
        ({"games": "many"}, "--games must be an integer >= 1, not 'many'"),
        ({"learner": 2}, "--learner must be from 1 to 1 for .*a2c-tabular, not 2"),
        ({"learner": "first"}, "--learner must be from 1 to 1"),
        ({"rounds": 1}, "--rounds must be an integer >= 3, not 1"),
    ],
)
def test_numbers_that_will_not_do(agent, options, message):
    refuses(UsageError, message, lambda: agent.evaluate("grim", **options))


def test_a_player_cannot_meet_itself():
    player = Grudger()
    refuses(UsageError, "a player cannot meet itself; make a second Grudger", lambda: coopctx.evaluate(player, player))


@pytest.mark.parametrize("history", ["CX", "CCC", [("C",)], [("C", "D", "D")], 7, [3], [("C", 2)]])
def test_histories_that_cannot_be_read(agent, history):
    refuses(UsageError, "a history is rounds of two actions, own first, such as 'CC CD DC', not", lambda: agent.beliefs(history))


def test_beliefs_are_for_two_actions(results):
    three = coopctx.load(spec("mixed").directory(results))
    refuses(UsageError, "games of two actions; .* trained with 3", lambda: three.beliefs("CC"))
    refuses(UsageError, "'grim' plays games of two actions", lambda: three.evaluate("grim"))
    assert three.evaluate("tabular", games=2).table["reward"].notna().all()


def test_a_bad_player_in_play_is_told_what_it_must_return():
    pair = Answering(torch.ones(2)), coopctx.named_strategy("grim", coopctx.stream(0))
    refuses(UsageError, r"Answering.act must return a tensor of 2 integers", lambda: coopctx.play(coopctx.PRISONERS_DILEMMA, 3, 2, pair))


def test_two_lines_in_a_process_of_their_own(tmp_path):
    lines = "import coopctx; print(coopctx.load('a2c-tabular').evaluate('tit-for-tat', games=4))"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", lines], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].startswith("tit-for-tat")
