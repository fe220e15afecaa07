"""The Axelrod library's strategies in our arena, and our agents in its tournaments."""


import pytest
import torch
from rich.console import Console

axl = pytest.importorskip("axelrod", reason="the Axelrod library is not installed (pip install '.[axelrod]')")

from tiny_runs import config, spec, train  # noqa: E402

from coopctx.cli import app as cli  # noqa: E402
from coopctx.cli import show  # noqa: E402
from coopctx.errors import RunError, UsageError  # noqa: E402
from coopctx.evaluation.play import evaluate  # noqa: E402
from coopctx.evaluation.tournament import tournament  # noqa: E402
from coopctx.game.arena import play  # noqa: E402
from coopctx.game.axelrod import ACTION, AgentPlayer, AxelrodPlayer, library_game, library_strategy  # noqa: E402
from coopctx.game.matrix import PRISONERS_DILEMMA  # noqa: E402
from coopctx.game.streams import stream  # noqa: E402
from coopctx.game.tabular import named_strategy  # noqa: E402

C, D = axl.Action.C, axl.Action.D
GAME = library_game(PRISONERS_DILEMMA)
SCRIPT = [C, C, D, C, D, D, D, C, C, C, C, D, C, C, D, D, C, D, C, C]


class Scripted:
    """Plays SCRIPT in every game, whatever happens."""

    def begin(self, games):
        self._round = 0

    def identity(self):
        return None

    def meet(self, identity):
        self.told = identity

    def act(self, observation, reward):
        self._round += 1
        return torch.full((len(observation),), ACTION[SCRIPT[self._round - 1]])


class Stub:
    """An agent that plays one of our named strategies."""

    def __init__(self, name):
        self._name = name

    def player(self, generator):
        return named_strategy(self._name, generator)


def opponent(name, *purpose):
    return AxelrodPlayer(library_strategy(name), PRISONERS_DILEMMA, len(SCRIPT), stream(0, "axelrod", *purpose))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    train(folder, spec("tabular"), config("ppi.phases=1"))
    train(folder, spec("tabular", seed=1), config("ppi.phases=1", "game.rounds=7"))
    return folder


def run(results, seed=0):
    return spec("tabular", seed=seed).directory(results)


# In our arena -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["Tit For 2 Tats", "Grudger", "BackStabber", "First by Downing", "Adaptive", "Handshake", "Stein and Rapoport", "Gradual"],
)
def test_a_strategy_plays_as_it_does_in_the_librarys_own_match(name):
    name = f"First by {name}" if name.startswith("Stein") else name
    _, co = play(PRISONERS_DILEMMA, len(SCRIPT), 3, (Scripted(), opponent(name)))
    match = axl.Match((axl.MockPlayer(SCRIPT), library_strategy(name)()), turns=len(SCRIPT), game=GAME)
    expected = [ACTION[action] for _, action in match.play()]
    assert co.actions.tolist() == [expected] * 3
    assert co.rewards[0].tolist() == [score for _, score in match.scores()]


def test_games_draw_from_generators_of_their_own_and_repeat():
    first, again, other = (
        play(PRISONERS_DILEMMA, len(SCRIPT), 50, (Scripted(), opponent("Random", seed)))[1].actions for seed in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert len(first.unique(dim=0)) == 50 and 0.4 < first.double().mean() < 0.6


def test_every_batch_begins_afresh_and_nothing_is_told_of_the_strategy():
    scripted, grudger = Scripted(), opponent("Grudger")
    twice = [play(PRISONERS_DILEMMA, 8, 2, (scripted, grudger))[1].actions for _ in range(2)]
    assert torch.equal(*twice) and scripted.told is None


def test_names_are_found_in_any_capitals_and_the_nearest_are_told():
    assert library_strategy("tit for 2 TATS") is axl.TitFor2Tats
    with pytest.raises(UsageError, match="no strategy 'Tit For 3 Tats'; did you mean Tit For 2 Tats"):
        library_strategy("Tit For 3 Tats")
    for name in ("", "#####"):
        with pytest.raises(UsageError, match="all of them: https"):
            library_strategy(name)
    with pytest.raises(UsageError, match="'Darwin' does not keep to the rules"):
        library_strategy("darwin")


def test_an_agent_is_evaluated_against_a_strategy(results):
    evaluated = evaluate(run(results), ["axelrod:tit for 2 tats", "axelrod:Random"], games=3)
    assert [meeting.opponent for meeting in evaluated.meetings] == ["axelrod:Tit For 2 Tats", "axelrod:Random"]
    assert all(meeting.best is None for meeting in evaluated.meetings)


# In the library's tournaments -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tit-for-tat", "grim", "win-stay-lose-shift", "suspicious-tit-for-tat"])
def test_an_agent_in_the_librarys_match_sees_what_it_sees_in_our_arena(name):
    ego, _ = play(PRISONERS_DILEMMA, len(SCRIPT), 1, (named_strategy(name, stream(0)), Scripted()))
    player = AgentPlayer(Stub(name), PRISONERS_DILEMMA, name)
    match = axl.Match((player, axl.MockPlayer(SCRIPT)), turns=len(SCRIPT), game=GAME, seed=1)
    for _ in range(2):  # the second match remembers nothing of the first
        assert [ACTION[action] for action, _ in match.play()] == ego.actions[0].tolist()
    assert sum(score for score, _ in match.scores()) == ego.rewards.sum()


def test_an_agent_hears_its_own_rewards():
    heard = []

    class Listening(Scripted):
        def act(self, observation, reward):
            heard.append((int(observation), float(reward)))
            return super().act(observation, reward)

    class Agent:
        def player(self, generator):
            return Listening()

    axl.Match((AgentPlayer(Agent(), PRISONERS_DILEMMA, "x"), axl.Defector()), turns=4, game=GAME, seed=1).play()
    assert heard == [(0, 0.0), (2, -1.0), (2, -1.0), (4, 0.0)]  # it played C, C, D, C


def test_the_library_keeps_the_score():
    agent = AgentPlayer(Stub("always-defect"), PRISONERS_DILEMMA, "results/seed-0")
    results = axl.Tournament([agent, axl.Cooperator(), axl.TitForTat()], game=GAME, turns=5, repetitions=2, seed=0)
    results = results.play(progress_bar=False)
    assert results.scores[0] == [5 * 2 + 2, 5 * 2 + 2] and results.scores[1] == [5 * (-1 + 1)] * 2
    assert results.ranked_names[0] == "results/seed-0"


def test_trained_agents_enter_a_tournament_that_repeats(results):
    enter = lambda seed: tournament([run(results)], ["axelrod:Cooperator", "axelrod:random"], repetitions=2, seed=seed)  # noqa: E731
    first = enter(0)
    assert {standing.name for standing in first} == {str(run(results)), "Cooperator", "Random: 0.5"}
    assert [standing.score for standing in first] == sorted((standing.score for standing in first), reverse=True)
    assert all(0 <= standing.cooperation <= 1 for standing in first)
    assert first == enter(0) and first != enter(1)


def test_what_cannot_enter_is_refused(results):
    with pytest.raises(RunError, match=r"ppi-tabular/seed-1 was trained with game.rounds = 7, not 8"):
        tournament([run(results), run(results, 1)])
    with pytest.raises(UsageError, match="such as axelrod:'Tit For Tat', not 'grim'"):
        tournament([run(results)], ["grim"])
    with pytest.raises(UsageError, match="no strategy 'Griim'"):
        tournament([run(results)], ["axelrod:Griim"])


def test_the_command_prints_the_ranking(results, capsys, monkeypatch):
    monkeypatch.setattr(show, "console", Console(width=200))
    arguments = ["tournament", str(run(results)), "--opponents", "axelrod:Defector", "--turns", "5", "--repetitions", "1"]
    assert cli.main(arguments) == 0
    out, err = capsys.readouterr()
    assert "Defector" in out and "seed-0" in out.replace("\n", "") and err == ""
