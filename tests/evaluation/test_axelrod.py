"""The Axelrod library's strategies in our arena."""

import importlib

import pytest
import torch
from tiny_runs import config, spec, train

from coopctx.errors import UsageError
from coopctx.evaluation.play import evaluate
from coopctx.game.arena import play
from coopctx.game.matrix import PRISONERS_DILEMMA, MatrixGame
from coopctx.game.streams import stream

SCRIPT = "CCDCDDDCCCCDCCDDCDCC"


# The library is imported by the process that runs these tests, not by all that collect them: it takes many seconds.


@pytest.fixture(scope="module")
def axl():
    return pytest.importorskip("axelrod", reason="the Axelrod library is not installed (pip install '.[axelrod]')")


@pytest.fixture(scope="module")
def ours(axl):
    return importlib.import_module("coopctx.game.axelrod")


def numbers(actions):
    """Of the library's actions, or their letters: 0 is cooperation."""
    return ["CD".index(str(action)) for action in actions]


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
        return torch.full((len(observation),), numbers(SCRIPT)[self._round - 1])


def opponent(ours, name, *purpose):
    return ours.AxelrodPlayer(ours.library_strategy(name), PRISONERS_DILEMMA, len(SCRIPT), stream(0, "axelrod", *purpose))


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
def test_a_strategy_plays_as_it_does_in_the_librarys_own_match(axl, ours, name):
    name = f"First by {name}" if name.startswith("Stein") else name
    _, co = play(PRISONERS_DILEMMA, len(SCRIPT), 3, (Scripted(), opponent(ours, name)))
    scripted, game = axl.MockPlayer([axl.Action.from_char(letter) for letter in SCRIPT]), ours.library_game(PRISONERS_DILEMMA)
    match = axl.Match((scripted, ours.library_strategy(name)()), turns=len(SCRIPT), game=game)
    expected = numbers(action for _, action in match.play())
    assert co.actions.tolist() == [expected] * 3
    assert co.rewards[0].tolist() == [score for _, score in match.scores()]


def test_a_strategy_knows_how_long_a_game_is_unless_it_ends_at_random(ours):
    """BackStabber defects in the last two rounds of a match whose length it is told."""
    for continuation, last in ((1.0, "DD"), (0.9, "CC")):
        game = MatrixGame.of(PRISONERS_DILEMMA.payoffs, continuation=continuation)
        partner = ours.AxelrodPlayer(ours.library_strategy("Cooperator"), game, 10, stream(0, "partner"))
        stabber = ours.AxelrodPlayer(ours.library_strategy("BackStabber"), game, 10, stream(0, "stabber"))
        played = play(game, 10, 60, (partner, stabber), chance=stream(0, "chance"))[1]
        complete = played.actions[played.observations[:, -2] < 5]  # games that had a last round
        assert len(complete) and (complete[:, -2:] == torch.tensor(numbers(last))).all()


def test_a_strategy_is_told_both_sides_of_the_rounds_before_and_the_noise(ours):
    game = MatrixGame.of(PRISONERS_DILEMMA.payoffs, noise=1e-9)
    cooperator = ours.AxelrodPlayer(ours.library_strategy("Cooperator"), game, len(SCRIPT), stream(0, "axelrod"))
    play(game, len(SCRIPT), 2, (Scripted(), cooperator), chance=stream(0, "chance"))
    (player, *_), (other, *_) = cooperator._players, cooperator._others
    before = numbers(SCRIPT[:-1])
    assert numbers(player.history.coplays) == numbers(other.history) == before
    assert numbers(player.history) == numbers(other.history.coplays) == [0] * len(before)
    assert player.match_attributes["noise"] == 1e-9


def test_games_draw_from_generators_of_their_own_and_repeat(ours):
    first, again, other = (
        play(PRISONERS_DILEMMA, len(SCRIPT), 50, (Scripted(), opponent(ours, "Random", seed)))[1].actions for seed in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert len(first.unique(dim=0)) == 50 and 0.4 < first.double().mean() < 0.6


def test_every_batch_begins_afresh_and_nothing_is_told_of_the_strategy(ours):
    scripted, grudger = Scripted(), opponent(ours, "Grudger")
    twice = [play(PRISONERS_DILEMMA, 8, 2, (scripted, grudger))[1].actions for _ in range(2)]
    assert torch.equal(*twice) and scripted.told is None


def test_names_are_found_in_any_capitals_and_the_nearest_are_told(axl, ours):
    assert ours.library_strategy("tit for 2 TATS") is axl.TitFor2Tats
    with pytest.raises(UsageError, match="no strategy 'Tit For 3 Tats'; did you mean Tit For 2 Tats"):
        ours.library_strategy("Tit For 3 Tats")
    for name in ("", "#####"):
        with pytest.raises(UsageError, match="all of them: https"):
            ours.library_strategy(name)
    with pytest.raises(UsageError, match="'Darwin' does not keep to the rules"):
        ours.library_strategy("darwin")


def test_an_agent_is_evaluated_against_a_strategy(axl, results):
    evaluated = evaluate(run(results), ["axelrod:tit for 2 tats", "axelrod:Random"], games=3)
    assert [meeting.opponent for meeting in evaluated.meetings] == ["axelrod:Tit For 2 Tats", "axelrod:Random"]
    assert all(meeting.best is None for meeting in evaluated.meetings)
