"""Several episodes in a row: who remembers, who learns, and that a meta agent's are the meta-trajectories of its training."""

import pytest
import torch

from coopctx.agents.coala import meta_games
from coopctx.agents.coala.naive import naive_learners
from coopctx.agents.policy import PolicyPlayer
from coopctx.agents.trunk import ActorCritic
from coopctx.evaluation.series import Anew, Lasting, Naive, play_series
from coopctx.experiments.presets import load_preset
from coopctx.game.matrix import PRISONERS_DILEMMA, MatrixGame
from coopctx.game.streams import stream
from coopctx.game.tabular import RandomTabular, named_strategy

SMALL = ("coala.inner_batch=4", "coala.naive_hidden=8")


class Listening:
    """Cooperates, and writes down what it is given."""

    def __init__(self):
        self.heard, self.began, self.met = [], 0, 0

    def begin(self, games):
        self.began += 1

    def identity(self):
        return None

    def meet(self, identity):
        self.met += 1

    def act(self, observation, reward):
        self.heard.append((int(observation[0]), float(reward[0])))
        return torch.zeros(len(observation), dtype=torch.long)


def defector():
    return Anew(named_strategy("always-defect", stream(0)))


@pytest.mark.parametrize("policy", ["five-logit", "recurrent"])
def test_a_meta_agents_series_are_the_meta_trajectories_of_its_training(policy):
    coala = load_preset("cpu", (*SMALL, f"coala.naive_policy={policy}")).coala
    layout = meta_games.Layout(agents=1, naive=3, others=0, games=4, episodes=5, rounds=6)

    def agent():
        return PolicyPlayer(ActorCritic(5, 2, 16, 8, 0, stream(0)), stream(1))

    expected = meta_games.play(PRISONERS_DILEMMA, layout, [agent()], [naive_learners(3, 2, coala, stream(2))])[0]
    seats = Lasting(agent()), Naive(PRISONERS_DILEMMA, coala, stream(2))
    series = play_series(PRISONERS_DILEMMA, 6, 5, 12, seats)
    for side, whole in enumerate(expected):
        for name in ("actions", "rewards"):
            torch.testing.assert_close(torch.cat([getattr(parts[side], name) for parts in series], 1), getattr(whole, name))
    early, late = (float(series[m][1].cooperation_rate()) for m in (0, 4))
    assert early != late


def test_who_keeps_a_history_hears_its_last_reward_again_and_who_does_not_begins_anew():
    lasting, anew = Listening(), Listening()
    for player, seat in ((lasting, Lasting(lasting)), (anew, Anew(anew))):
        play_series(PRISONERS_DILEMMA, 3, 2, 4, (seat, defector()))
        assert player.began == player.met == (1 if player is lasting else 2)
    episode = [(0, 0.0), (2, -1.0), (2, -1.0)]
    assert anew.heard == episode * 2
    assert lasting.heard == [*episode, (0, -1.0), *episode[1:]]


def test_a_random_partner_stays_the_same():
    tabular = RandomTabular(5, 2, stream(0))
    policies = []

    class Kept(Lasting):
        def end(self, episodes):
            super().end(episodes)
            policies.append(tabular.policies.clone())

    play_series(PRISONERS_DILEMMA, 3, 3, 6, (Kept(tabular), defector()))
    assert len(policies) == 3 and all(torch.equal(policies[0], each) for each in policies)


def test_naive_learners_learn_between_episodes_and_each_series_has_fresh_ones():
    coala = load_preset("cpu", ("coala.inner_batch=16",)).coala

    def series():
        learners = Naive(PRISONERS_DILEMMA, coala, stream(3))
        return play_series(PRISONERS_DILEMMA, 10, 20, 64, (Anew(named_strategy("always-cooperate", stream(4))), learners))

    first, again = series(), series()
    assert all(torch.equal(one[1].actions, other[1].actions) for one, other in zip(first, again, strict=True))
    rates = [co.cooperation_rate() for _, co in first]
    assert rates[0] > 0.25 and rates[-1] < 0.1  # whoever always cooperates is exploited in the end


def test_a_naive_learners_games_are_not_cut_in_two():
    seat = Naive(PRISONERS_DILEMMA, load_preset("cpu").coala, stream(0))
    with pytest.raises(ValueError, match="plays 16 games at once; 24 is no multiple"):
        seat.begin(24)


def test_a_game_of_chance_takes_its_chance():
    noisy = MatrixGame(PRISONERS_DILEMMA.payoffs, noise=0.5)
    seats = Anew(named_strategy("always-cooperate", stream(0))), defector()
    ((ego, _),) = play_series(noisy, 20, 1, 10, seats, chance=stream(1))
    assert 0.2 < float((ego.rewards > 0).double().mean()) < 0.8
