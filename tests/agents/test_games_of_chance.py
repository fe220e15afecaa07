"""Runs of both kinds of agents in other games, with noise and a random ending, and their measurements."""

import numpy as np
import pytest

import coopctx
from coopctx.errors import RunError
from coopctx.evaluation.meetings import curves
from coopctx.evaluation.play import evaluate
from coopctx.experiments.configuration import to_dict, with_defaults
from coopctx.experiments.presets import load_preset
from coopctx.game.memory_one import best_response

SMALL = ("model.hidden=16", "ppi.phases=2", "ppi.initial_episodes=40", "ppi.episodes_per_phase=16", "ppi.initial_epochs=1")
SMALL += ("ppi.batch_size=16", "a2c.iterations=4", "a2c.batch_size=12", "measure.episode_games=8")
CHANCE = ("game.payoffs=stag-hunt", "game.rounds=12", "game.noise=0.1", "game.continuation=0.7")


def train(agent, results, *settings, **options):
    read = [setting for setting in SMALL if setting.split(".")[0] in (agent, "model", "measure")]
    asked = {"agent": agent, "pool": "mixed", "preset": "smoke", "overrides": [*read, *settings], "results": results, **options}
    (run,) = coopctx.train(**asked)
    assert run.state == "finished", run.message
    return run


@pytest.mark.parametrize("native", ["0", "1"])
@pytest.mark.parametrize("agent", ["ppi", "a2c"])
def test_a_run_with_noise_and_a_random_ending(agent, native, tmp_path, monkeypatch):
    monkeypatch.setenv("COOPCTX_NATIVE", native)
    run = train(agent, tmp_path, *CHANCE, opponent_id=True)
    training, episodes = run.table("training"), run.table("episodes")
    assert training["cooperation_rate"].between(0, 1).all() and training["reward"].between(0, 4).all()
    # Of the rounds that were played at all, and of as many games as reached each of them.
    assert not episodes.isna().any().any()
    for _, curve in episodes.groupby(["iteration", "opponent", "player"]):
        assert curve["round"].tolist() == list(range(1, len(curve) + 1)) and len(curve) <= 12
        assert curve["episodes"].is_monotonic_decreasing and curve["episodes"].iloc[0] > curve["episodes"].iloc[-1] > 0
    if agent == "a2c":
        return
    diagnostics = run.table("diagnostics")
    assert np.isfinite(diagnostics["value"]).all()


def test_evaluation_holds_a_noisy_game_against_its_own_best_response(tmp_path):
    run = train("a2c", tmp_path, *CHANCE)
    evaluation = evaluate(run.directory, ["tit-for-tat", "tabular"], games=300)
    against_tft = evaluation.meetings[0]
    exact = best_response([1, 1, 0, 1, 0], 12, ((4, 0), (3, 2)), 0.1, 0.7)
    assert np.array(against_tft.best.reward)[0] == pytest.approx(exact.reward)
    going_on = against_tft.ego.going_on().numpy()
    told = against_tft.measures()
    lost = (exact.reward - against_tft.ego.rewards.numpy())[going_on]
    assert told["regret"] == pytest.approx(lost.mean(), abs=1e-6)
    assert told["best_response_reward"] == pytest.approx((exact.reward * going_on).sum() / going_on.sum())
    table = curves(evaluation).to_pandas()
    games = table[(table["opponent"] == "tit-for-tat") & (table["player"] == "ego")]["episodes"]
    assert games.tolist() == [count for count in going_on.sum(0).tolist() if count]


def test_an_agent_meets_only_those_of_its_own_game(tmp_path):
    noisy = train("a2c", tmp_path / "noisy", "game.rounds=8", "game.noise=0.1").directory
    quiet = train("a2c", tmp_path / "quiet", "game.rounds=8").directory
    with pytest.raises(RunError, match=r"was trained with game.noise = 0.0, not 0.1"):
        evaluate(noisy, [str(quiet)], games=4)


def test_a_run_from_before_there_was_noise_is_a_run_without():
    old = {"game": {"payoffs": [[1.0, -1.0], [2.0, 0.0]], "rounds": 100}}
    assert with_defaults(old)["game"] == to_dict(load_preset("cpu"))["game"]
