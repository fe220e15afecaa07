"""The environments by their libraries' own checks, by hand-played games, and by an outside library that learns in them."""

import sys

import numpy as np
import pytest
import torch
from conftest import optional

import coopctx
from coopctx.errors import RunError, UsageError
from coopctx.game.matrix import PRISONERS_DILEMMA, MatrixGame

gymnasium, pettingzoo = optional("gymnasium"), optional("pettingzoo")
envs = coopctx.envs
THREE = [[2, 0, 1], [3, 1, 0], [0, 2, 1]]
BY_CHANCE = MatrixGame.of([[1, -1], [2, 0]], noise=0.2, continuation=0.8)
POOLS = ["tabular", "tit-for-tat", "a2c-tabular", "ppi-tabular", ("grim", "random", "a2c-tabular")]


class Recording(coopctx.Player):
    """Plays D, C, D, C, ...; keeps what it was shown."""

    def begin(self, games):
        self.seen = []

    def act(self, observation, reward):
        self.seen.append((observation.tolist(), reward.tolist()))
        return torch.full_like(observation, len(self.seen) % 2)


def make(**settings):
    return gymnasium.make("coopctx/AgainstPool-v0", **settings)


# Two learners: PettingZoo -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{"rounds": 7}, {"rounds": 100}, {"game": THREE, "rounds": 12}, {"game": BY_CHANCE, "rounds": 12}])
def test_pettingzoos_own_checks(settings):
    from pettingzoo.test import parallel_api_test, parallel_seed_test

    parallel_api_test(envs.parallel_env(**settings), num_cycles=60)
    parallel_seed_test(lambda: envs.parallel_env(**settings), num_cycles=30)


def test_it_passes_for_a_turn_based_environment_too():
    from pettingzoo.test import api_test, seed_test
    from pettingzoo.utils import parallel_to_aec

    api_test(parallel_to_aec(envs.parallel_env(rounds=5)), num_cycles=20)
    seed_test(lambda: parallel_to_aec(envs.parallel_env(rounds=5)), num_cycles=20)


def test_two_learners_see_and_earn_what_the_arena_gives():
    env = envs.parallel_env(rounds=4, render_mode="ansi")
    first, second = [0, 0, 1, 1], [0, 1, 0, 1]
    arena = coopctx.play(PRISONERS_DILEMMA, 4, 1, tuple(Scripted(actions) for actions in (first, second)))
    observations, _ = env.reset()
    seen, earned = [list(observations.values())], []
    for pair in zip(first, second, strict=True):
        observations, rewards, over, cut, _ = env.step(dict(zip(env.possible_agents, pair, strict=True)))
        seen.append(list(observations.values()))
        earned.append(list(rewards.values()))
    assert np.array_equal(np.array(seen).T, np.stack([side.observations[0] for side in arena]))
    assert np.array_equal(np.array(earned).T, np.stack([side.rewards[0] for side in arena]))
    assert all(over.values()) and not any(cut.values()) and env.agents == []
    assert env.render() == "player_0 0 0 1 1\nplayer_1 0 1 0 1"


class Scripted(coopctx.Player):
    def __init__(self, actions):
        self.actions = iter(actions)

    def act(self, observation, reward):
        return torch.full_like(observation, next(self.actions))


# Against our players: Gymnasium -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("opponent", POOLS, ids=str)
@pytest.mark.filterwarnings("error")
def test_gymnasiums_own_check(opponent):
    from gymnasium.utils.env_checker import check_env

    check_env(make(opponent=opponent, render_mode="ansi").unwrapped)


def test_the_opponent_moves_at_the_same_time_and_sees_its_own_side():
    opponent = Recording()
    env = make(opponent=opponent, rounds=3, render_mode="ansi")
    assert env.reset(seed=0)[0] == 0
    steps = [env.step(np.int64(action)) for action in (0, 0, 1)]
    assert [step[:3] for step in steps] == [(2, -1.0, False), (1, 1.0, False), (4, 0.0, True)]
    assert not any(step[3] for step in steps)
    assert opponent.seen == [([0], [0.0]), ([3], [2.0]), ([1], [1.0])]
    assert env.render() == "agent    CCD\nopponent DCD"


def test_the_game_is_that_of_the_trained_agent_or_the_given_one():
    assert make(opponent="tabular", game=THREE, rounds=5).action_space.n == 3
    assert make(opponent="tabular", game=MatrixGame.of(THREE)).unwrapped.observation_space.n == 10
    env = make(opponent="a2c-tabular", rounds=None)
    env.reset(seed=1)
    assert [env.step(1)[2] for _ in range(100)] == [False] * 99 + [True]


def test_noise_and_a_random_ending_are_played_as_the_game_says():
    env = make(opponent="always-cooperate", game=BY_CHANCE, rounds=1000)
    lengths, seen = [], []
    for episode in range(300):
        env.reset(seed=0 if episode == 0 else None)
        over, length = False, 0
        while not over:
            observation, _, over, _, _ = env.step(0)
            length += 1
            seen += [] if over else [observation]
        assert observation == BY_CHANCE.over and env.observation_space.contains(observation)
        lengths.append(length)
    assert np.mean(lengths) == pytest.approx(5, abs=4 * np.sqrt(20 / 300))  # geometric: mean 1 / 0.2
    shares = np.bincount(seen, minlength=5)[1:] / len(seen)
    assert shares == pytest.approx([0.64, 0.16, 0.16, 0.04], abs=0.05)


def test_a_seed_repeats_a_game_and_the_next_one_goes_on():
    env = make(opponent="random", rounds=30)

    def play(seed):
        return [env.reset(seed=seed)[0], *(env.step(0)[0] for _ in range(30))]

    first, second = play(5), play(None)
    assert (play(5), play(None)) == (first, second) and first != second and play(6) != first


def vector(num_envs=6, **settings):
    return gymnasium.make_vec("coopctx/AgainstPool-v0", num_envs=num_envs, **{"rounds": 4, **settings})


def test_games_in_a_batch_begin_again_in_the_step_that_ends_them():
    games = vector(opponent=Recording())
    observations, infos = games.reset(seed=3)
    assert observations.tolist() == [0] * 6 and infos == {}
    for _ in range(3):
        observations, rewards, over, cut, infos = games.step(np.zeros(6, dtype=np.int64))
        assert not over.any() and not cut.any() and infos == {}
    observations, rewards, over, cut, infos = games.step(np.ones(6, dtype=np.int64))
    assert over.all() and observations.tolist() == [0] * 6 and rewards.tolist() == [2.0] * 6
    assert infos["final_obs"].tolist() == [3] * 6
    assert games.observation_space.contains(observations) and games.metadata["autoreset_mode"].value == "SameStep"
    assert games.step(np.zeros(6, dtype=np.int64))[0].tolist() == [2] * 6


def test_a_batch_plays_what_the_arena_plays():
    games = vector(400, opponent="a2c-tabular", rounds=None)
    games.reset(seed=0)
    cooperated = np.mean([games.step(np.zeros(400, dtype=np.int64))[1] for _ in range(100)])  # 1 where it did, -1 where not
    cooperation = coopctx.evaluate("always-cooperate", "a2c-tabular", games=400).table["co_cooperation"].item()
    assert (cooperated + 1) / 2 == pytest.approx(cooperation, abs=0.02)


def test_episode_statistics_of_gymnasium_work_on_it():
    games = gymnasium.wrappers.vector.RecordEpisodeStatistics(vector(opponent="always-defect"))
    games.reset(seed=0)
    for _ in range(4):
        infos = games.step(np.zeros(6, dtype=np.int64))[-1]
    assert infos["episode"]["r"].tolist() == [-4.0] * 6 and infos["episode"]["l"].tolist() == [4] * 6


def test_several_opponents_are_met_about_equally_often():
    games = vector(900, opponent=("always-cooperate", "always-defect", "always-defect"))
    games.reset(seed=0)
    met = games.step(np.zeros(900, dtype=np.int64))[0]
    assert set(met.tolist()) == {1, 2} and np.mean(met == 1) == pytest.approx(1 / 3, abs=0.05)
    single = make(opponent=("always-cooperate", "always-defect"), rounds=1)
    starts = [single.reset(seed=0 if first else None) and single.step(0)[0] for first in [True] + [False] * 40]
    assert 10 < sum(start == 1 for start in starts) < 31


# An outside library learns in them ----------------------------------------------------------------------------------------


def test_stable_baselines_own_check_and_vector():
    optional("stable_baselines3")
    from stable_baselines3.common.env_checker import check_env

    check_env(make(opponent="tabular").unwrapped)
    games = envs.sb3_vec_env(3, opponent="always-cooperate", rounds=2)
    games.seed(1)
    assert games.reset().tolist() == [0, 0, 0]
    assert games.step(np.array([0, 1, 1]))[1].tolist() == [1, 2, 2]
    observations, _, over, infos = games.step(np.array([1, 1, 0]))
    assert over.all() and observations.tolist() == [0, 0, 0]
    assert [info["episode"]["r"] for info in infos] == [3, 4, 3] and [info["terminal_observation"] for info in infos] == [3, 3, 1]
    assert games.env_is_wrapped(gymnasium.Wrapper) == [False] * 3 and games.get_attr("num_envs", 0) == [3]


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_recurrent_learner_of_stable_baselines_finds_a_response_to_a_frozen_agent(one_thread):
    """A few thousand steps: from a policy that cooperates half the time to one that is seldom exploited."""
    optional("sb3_contrib")
    from sb3_contrib import RecurrentPPO

    games = envs.sb3_vec_env(32, opponent="a2c-tabular", rounds=20)
    sizes = dict(n_steps=20, batch_size=320, n_epochs=4, learning_rate=5e-3, policy_kwargs=dict(lstm_hidden_size=16, net_arch=[]))
    learner = RecurrentPPO("MlpLstmPolicy", games, seed=0, device="cpu", **sizes)
    per_round = []
    for _ in range(8):
        learner.learn(32 * 20, reset_num_timesteps=False)
        per_round.append(np.mean([episode["r"] for episode in learner.ep_info_buffer]) / 20)
    assert learner.num_timesteps == 5120
    assert per_round[0] < -0.3 and per_round[-1] > 0


# Refusals -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make(opponent="tit-for-tot"), r"unknown opponent 'tit-for-tot'; did you mean tit-for-tat\?"),
        (lambda: make(opponent=()), "there must be an opponent"),
        (lambda: make(opponent=3), "opponents are names, directories, agents or players, not 3"),
        (lambda: make(opponent="tabular", rounds=0), "rounds must be an integer >= 1, not 0"),
        (lambda: make(opponent="tabular", game=[[1, 2]]), "game must be a MatrixGame, a name or n rows of n payoffs, n >= 2, not"),
        (lambda: make(opponent="tabular", game="chess"), "unknown game 'chess'; .*chicken"),
        (lambda: vector(2, opponent="tabular", game=BY_CHANCE), "a random ending is played by itself, not 2 at once"),
        (lambda: make(opponent="grim", game=THREE), "'grim' plays games of two actions, not of 3"),
        (lambda: make(opponent="a2c-tabular", game=THREE), "a2c-tabular was trained in another game: GameConfig"),
        (lambda: make(opponent="grim").unwrapped.step(0), r"the game has not begun, or is over: call reset\(\) first"),
        (lambda: vector(0, opponent="grim"), "num_envs must be an integer >= 1, not 0"),
        (lambda: envs.parallel_env(rounds=-1), "rounds must be an integer >= 1, not -1"),
        (lambda: envs.parallel_env(game=[[1]]), "n >= 2, not"),
        (lambda: envs.parallel_env(render_mode="human"), "render_mode must be None or 'ansi', not 'human'"),
    ],
)
def test_bad_settings_are_refused_in_one_line(call, message):
    with pytest.raises(UsageError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("action", [2, -1, 0.5, None, [0, 1]])
def test_an_action_that_is_none_is_refused(action):
    env = make(opponent="grim", rounds=3)
    env.reset(seed=0)
    with pytest.raises(UsageError, match="actions must be 1 integers from 0 to 1, not"):
        env.unwrapped.step(action)
    two = envs.parallel_env(rounds=3)
    two.reset()
    with pytest.raises(UsageError, match="both player_0 and player_1 must choose an integer from 0 to 1"):
        two.step({"player_0": action, "player_1": 0})


def test_a_missing_library_is_told_with_what_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "coopctx.evaluation.envs.parallel", None)
    monkeypatch.setitem(sys.modules, "coopctx.evaluation.envs.sb3", None)
    monkeypatch.setitem(sys.modules, "gymnasium.envs", None)
    for call in (envs.parallel_env, envs.register, lambda: envs.sb3_vec_env(2)):
        with pytest.raises(RunError, match=r"pip install '\.\[envs\]'"):
            call()
