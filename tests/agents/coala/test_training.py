"""Whole runs of COALA-PG: what they record, how they resume, and from which runs others start."""

import shutil
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
import torch

from coopctx.agents import execute
from coopctx.agents.coala import exact, training
from coopctx.agents.coala.naive import FiveLogitLearners
from coopctx.agents.trained import TrainedAgent
from coopctx.errors import RunError, UsageError
from coopctx.experiments.configuration import to_dict
from coopctx.experiments.pools import COALA_POOLS, RunSpec
from coopctx.experiments.presets import load_preset
from coopctx.runs.progress import SilentProgress
from coopctx.runs.run import Run

SETTINGS = ["coala.iterations=4", "coala.measure_every=2", "coala.advantages=normalised", "coala.variance_decay=0.5"]


def run(results: Path, pool: str, seed: int = 0, settings: tuple[str, ...] = (), stop_after: int | None = None) -> Path:
    """A run at preset smoke, from its beginning or where it was left; stopped after so many measurements if asked to."""
    spec = RunSpec("coala", pool, False, seed, "smoke")
    config = load_preset("smoke", [*SETTINGS, *settings], pool)
    with Run.open(spec.directory(results), spec.keys, to_dict(config), "cpu") as opened:
        if not opened.finished:
            if stop_after is not None:
                opened.checkpoint = stopping(opened.checkpoint, stop_after)
            execute(spec, config, opened, results, torch.device("cpu"), 1, SilentProgress())
    return spec.directory(results)


class Stopped(Exception):
    pass


def stopping(checkpoint, after):
    left = [after]

    def stop(state):
        checkpoint(state)
        left[0] -= 1
        if not left[0]:
            raise Stopped

    return stop


def table(directory: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(directory / f"{name}.parquet")


@pytest.mark.parametrize("pool", [pool for pool in COALA_POOLS if pool != "exact-mutual"])
def test_every_pool_records_its_co_players_from_both_sides(tmp_path, pool):
    rows = table(run(tmp_path, pool), "training")
    its = COALA_POOLS[pool]
    # The exact game shows what its agents would do to naive learners, whether they meet any in training or not.
    kinds = {*its.opponents, "naive"} if pool.startswith("exact-") else set(its.opponents)
    assert set(rows.opponent) == kinds
    assert set(rows.learner) == set(range(1, its.learners + 1))
    assert set(rows.player) == {"ego", "co"}
    assert sorted(set(rows.iteration)) == [0, 2, 4]
    assert rows.cooperation_rate.between(0, 1).all() and rows.reward.between(-1, 2).all()
    weights = TrainedAgent.load(tmp_path / "smoke" / f"coala-{pool}" / "seed-0").weights
    assert len(weights) == its.learners


@pytest.mark.parametrize("pool", ["mixed", "five-logit", "exact-mixed"])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path, pool):
    whole = run(tmp_path / "whole", pool)
    with pytest.raises(Stopped):
        run(tmp_path / "stopped", pool, stop_after=2)
    resumed = run(tmp_path / "stopped", pool)
    for name in ("training.parquet", "episodes.parquet", "diagnostics.parquet", "weights.safetensors"):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes()


def test_seeds_differ(tmp_path):
    first, second = (table(run(tmp_path, "naive", seed), "training").reward for seed in (0, 1))
    assert not first.equals(second)


def test_the_curves_go_through_the_meta_trajectory(tmp_path):
    rows = table(run(tmp_path, "mixed"), "episodes")
    coala = load_preset("smoke", pool="mixed").coala
    for _, curve in rows.groupby(["opponent", "player"]):
        assert list(curve["round"]) == list(range(1, coala.inner_episodes * coala.inner_rounds + 1))
    averages = table(tmp_path / "smoke/coala-mixed/seed-0", "training")
    for key, curve in rows.groupby(["opponent", "player"]):
        of_run = averages[(averages.iteration == 4) & (averages.learner == 1)].set_index(["opponent", "player"]).loc[key]
        assert curve.reward.mean() == pytest.approx(of_run.reward)
        assert curve.cooperation_rate.mean() == pytest.approx(of_run.cooperation_rate)


def test_every_meta_trajectory_begins_with_fresh_naive_learners(tmp_path, monkeypatch):
    made, taught = [], []

    class Watched(FiveLogitLearners):
        def __init__(self, *given):
            super().__init__(*given)
            made.append(self.logits.clone())

        def learn(self, *given):
            taught.append(id(self))
            super().learn(*given)

    monkeypatch.setattr(training, "naive_learners", Watched)
    run(tmp_path, "naive")
    assert len(made) == 4 + 3  # batches and measurements
    assert len(taught) == len(made) * 3  # inner episodes
    assert all(not torch.equal(one, other) for one, other in pairwise(made))


def test_exact_agents_move_along_the_meta_gradient(tmp_path):
    directory = run(tmp_path, "exact-mixed", settings=("coala.iterations=1", "coala.learning_rate=0.01"))
    rows = table(directory, "diagnostics").pivot_table(index="quantity", columns=["iteration", "learner"], values="value")
    names = [f"cooperation_after_{name}" for name in ("start", "cc", "cd", "dc", "dd")]
    before, after = (torch.logit(torch.tensor(rows[iteration].loc[names].to_numpy().T)) for iteration in (0, 1))
    coala = load_preset("smoke", pool="exact-mixed").coala
    draws = torch.Generator()
    draws.manual_seed(0)
    naive = torch.randn(2, 200, 5, dtype=torch.float64, generator=draws)
    rewards = torch.tensor([1.0, -1.0, 2.0, 0.0], dtype=torch.float64)
    ascent = exact.meta_gradient(before, naive, rewards, 0.95, 5.0, coala.inner_episodes, coala.naive_share)
    clear = ascent.abs() > 0.3 * ascent.abs().max()  # Adam's first step is the sign; where the draws could not turn it
    assert clear.sum() >= 4
    torch.testing.assert_close((after - before)[clear], 0.01 * ascent.sign()[clear], atol=1e-3, rtol=0)


def test_extorters_meet_as_they_were_left(tmp_path):
    with pytest.raises(RunError, match="coopctx train --agent coala --pool exact-naive"):
        run(tmp_path, "exact-mutual")
    shutil.rmtree(tmp_path / "smoke" / "coala-exact-mutual")
    for seed in (0, 1):
        run(tmp_path, "exact-naive", seed)
    directory = run(tmp_path, "exact-mutual")
    rows = table(directory, "diagnostics")
    start = rows[(rows.iteration == 0) & (rows.quantity == "cooperation_after_cc")].sort_values("learner").value.tolist()
    left = [
        torch.sigmoid(TrainedAgent.load(tmp_path / f"smoke/coala-exact-naive/seed-{seed}").weights[0]["logits"][1]).item()
        for seed in (0, 1)
    ]
    assert start == pytest.approx(left)


@pytest.mark.parametrize("pool", ["naive", "five-logit", "exact-naive"])
def test_a_trained_agent_plays(tmp_path, pool):
    player = TrainedAgent.load(run(tmp_path, pool)).player(torch.Generator().manual_seed(0))
    player.begin(3)
    player.meet(None)
    assert player.act(torch.zeros(3, dtype=torch.long), torch.zeros(3)).shape == (3,)
    assert player.beliefs.policy.shape == (3, 2)
    torch.testing.assert_close(player.beliefs.policy.sum(1), torch.ones(3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("game.noise=0.1",), "game.noise must be 0"),
        (("game.payoffs=[[1,0,0],[0,1,0],[0,0,1]]",), "games of two actions"),
        (("coala.meta_agents=9",), "coala.meta_batch = 4 is too small"),
    ],
)
def test_what_cannot_be_played_is_refused(tmp_path, settings, message):
    with pytest.raises(UsageError, match=message):
        run(tmp_path, "mixed", settings=settings)
