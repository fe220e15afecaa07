"""Whole A2C runs at toy scale: reproducible, resumable, with correct measurements."""

import dataclasses

import pandas as pd
import pytest
import torch

from coopctx.agents import execute
from coopctx.agents.a2c.learner import A2CLearner
from coopctx.agents.a2c.training import A2CTraining
from coopctx.agents.policy import PolicyPlayer
from coopctx.agents.trained import TrainedAgent
from coopctx.errors import RunError
from coopctx.experiments.configuration import to_dict
from coopctx.experiments.pools import RunSpec
from coopctx.experiments.presets import load_preset
from coopctx.experiments.settings import Config, Member, PoolConfig
from coopctx.game.matrix import PRISONERS_DILEMMA
from coopctx.game.streams import stream
from coopctx.runs.progress import SilentProgress
from coopctx.runs.read import Results, read_weights
from coopctx.runs.run import Run
from coopctx.runs.schema import REPRODUCIBLE

CPU = torch.device("cpu")
TINY = (
    "game.rounds=8",
    "model.hidden=16",
    "a2c.iterations=6",
    "a2c.batch_size=10",
    "a2c.measure_every=2",
    "a2c.variance_decay=0.5",
    "a2c.episode_iterations=[3, -1]",
    "measure.episode_games=6",
)


def spec(pool="mixed", opponent_id=False, seed=0):
    return RunSpec("a2c", pool, opponent_id, seed, "smoke")


def config(which, *overrides) -> Config:
    return load_preset("smoke", (*TINY, *overrides), which.pool)


def open_run(results, which, settings) -> Run:
    return Run.open(which.directory(results), which.keys, to_dict(settings), "cpu")


def train(results, which, settings=None, progress=None, threads=1) -> None:
    settings = settings or config(which)
    with open_run(results, which, settings) as run:
        execute(which, settings, run, results, CPU, threads, progress or SilentProgress())


def training(results, which, tmp_path, *overrides) -> A2CTraining:
    settings = config(which, *overrides)
    return A2CTraining(which, settings, open_run(tmp_path, which, settings), results, CPU, 1, SilentProgress())


def parquet(results, which) -> dict[str, bytes]:
    files = {name: (which.directory(results) / f"{name}.parquet").read_bytes() for name in REPRODUCIBLE}
    return files | {"weights": (which.directory(results) / "weights.safetensors").read_bytes()}


class Stop(SilentProgress):
    """Presses Ctrl-C: after iteration ``n`` whether or not it was measured."""

    def __init__(self, n: int) -> None:
        self._n = n

    def activity(self, iteration, what, fraction) -> None:
        if iteration == self._n:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    """Results with Steps 1 and 2 of seeds 0 and 1."""
    results = tmp_path_factory.mktemp("steps")
    for pool in ("tabular", "extortion"):
        for seed in (0, 1):
            train(results, spec(pool, seed=seed))
    return results


@pytest.mark.parametrize("which", [spec(), spec(opponent_id=True), spec("mutual-extortion")], ids=lambda s: s.name)
def test_a_killed_and_resumed_run_ends_as_an_undisturbed_one(steps, tmp_path, which):
    results = tmp_path
    for needed in (spec("tabular"), spec("extortion"), spec("extortion", seed=1)):
        needed.directory(results).parent.mkdir(parents=True, exist_ok=True)
        needed.directory(results).symlink_to(needed.directory(steps))
    train(results, which)
    whole = parquet(results, which)
    for file in which.directory(results).iterdir():
        file.unlink()
    for n in (1, 4, 5):
        with pytest.raises(KeyboardInterrupt):
            train(results, which, progress=Stop(n))
    train(results, which)
    assert parquet(results, which) == whole


def test_same_seed_same_run_whatever_the_threads_and_another_seed_another(tmp_path):
    for results in ("a", "b"):
        train(tmp_path / results, spec(), threads=1 if results == "a" else 2)
    assert parquet(tmp_path / "a", spec()) == parquet(tmp_path / "b", spec())
    train(tmp_path / "a", spec(seed=1))
    table = Results(tmp_path / "a", "smoke").table("a2c-mixed", "training")
    rewards = [table[table.seed == seed].reward.tolist() for seed in (0, 1)]
    assert rewards[0] != rewards[1]


@pytest.mark.parametrize(
    ("which", "learners", "opponents"),
    [
        (spec(), {1, 2}, {"learner", "tabular"}),
        (spec(opponent_id=True), {1, 2}, {"learner", "tabular"}),
        (spec("learners"), {1, 2}, {"learner"}),
        (spec("tabular"), {1}, {"tabular"}),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_every_measurement_learner_opponent_and_player_has_its_row(tmp_path, which, learners, opponents):
    train(tmp_path, which)
    table = Results(tmp_path, "smoke").table(which.name, "training")
    grid = (0, 2, 3, 4, 6)  # every second, the first curves' and the last
    expected = [(p, n, o, side) for p in grid for n in learners for o in opponents for side in ("ego", "co")]
    assert sorted(zip(table.iteration, table.learner, table.opponent, table.player, strict=True)) == sorted(expected)
    assert table.cooperation_rate.between(0, 1).all() and table.reward.between(-1, 2).all()
    assert set(table.episodes) == ({5} if len(opponents) == 2 else {10})
    curves = Results(tmp_path, "smoke").table(which.name, "episodes")
    assert set(curves.opponent) == opponents | {"tit-for-tat", "always-cooperate", "always-defect"}
    assert set(curves.iteration) == {3, 6} and set(curves.learner) == {1}
    diagnostics = Results(tmp_path, "smoke").table(which.name, "diagnostics")
    assert set(diagnostics.quantity) == {"loss_policy", "loss_value", "entropy", "gradient_norm"}
    assert set(diagnostics.iteration) == {2, 3, 4, 6} and set(diagnostics.learner) == learners
    keys = ["iteration", "learner", "opponent", "player"]
    means = curves.groupby(keys)[["cooperation_rate", "reward"]].mean()
    both = means.join(table.set_index(keys)[["cooperation_rate", "reward"]], suffixes=("", "_average"), how="inner")
    assert len(both) == 2 * 2 * len(opponents)
    pd.testing.assert_series_equal(both.reward, both.reward_average, check_names=False)


def test_the_rows_of_a_batch_go_to_the_players_that_they_belong_to(tmp_path):
    run = training(tmp_path, spec(opponent_id=True), tmp_path, "pool.tabular_share=0.2")
    sizes = run._sizes_at(1)
    batch = run._batch([learner.player("test") for learner in run._learners], sizes, "test")
    assert len(batch[0]) == 8 + 2 + 2
    own, matches = run._own(batch, sizes), run._matches(batch, sizes)
    assert [(match.learner, match.opponent, len(match.ego)) for match in matches] == [
        (1, "learner", 8),
        (2, "learner", 8),
        (1, "tabular", 2),
        (2, "tabular", 2),
    ]
    assert [len(episodes) for episodes in own] == [10, 10]
    for number, episodes in enumerate(own, start=1):
        theirs = {match.opponent: match.ego for match in matches if match.learner == number}
        in_order = ("tabular", "learner") if number == 1 else ("learner", "tabular")
        assert torch.equal(episodes.actions, torch.cat([theirs[opponent].actions for opponent in in_order]))
        assert (theirs["learner"].identity == 0).all()
        assert (theirs["tabular"].identity.view(2, 5, 2).exp().sum(2) - 1).abs().max() < 1e-3
    for match in matches:
        paid = PRISONERS_DILEMMA.reward(match.ego.actions, match.co.actions)
        assert torch.equal(paid, match.ego.rewards), "both sides are of the same games"


def test_each_kind_of_several_opponents_has_rows_of_its_own(tmp_path):
    """A pool of one's own: of twelve games five against the learner, four against tabular players, two against Tit-for-Tat."""
    which = spec("custom")
    games = {"learner": 5, "tabular": 4, "tit-for-tat": 2, "always-defect": 1}
    members = tuple(Member(opponent=opponent, share=number / 12) for opponent, number in games.items())
    settings = dataclasses.replace(config(spec(), "a2c.batch_size=12"), pool=PoolConfig(members=members))
    run = A2CTraining(which, settings, open_run(tmp_path, which, settings), tmp_path, CPU, 1, SilentProgress())
    sizes = run._sizes_at(1)
    batch = run._batch([learner.player("test") for learner in run._learners], sizes, "test")
    own, matches = run._own(batch, sizes), run._matches(batch, sizes)
    assert {episodes.identity.shape for episodes in batch} == {(19, 0)}, "no learner is told who its opponents are"
    found = {(match.learner, match.opponent): match for match in matches}
    assert {key: len(match.ego) for key, match in found.items()} == {
        (learner, opponent): number for learner in (1, 2) for opponent, number in games.items()
    }
    learner, *others = games
    for number, order in (1, (*others, learner)), (2, (learner, *others)):
        assert torch.equal(own[number - 1].actions, torch.cat([found[number, opponent].ego.actions for opponent in order]))
        copied = found[number, "tit-for-tat"]
        assert torch.equal(copied.co.actions[:, 1:], copied.ego.actions[:, :-1]) and (copied.co.actions[:, 0] == 0).all()
        assert (found[number, "always-defect"].co.actions == 1).all()
        assert not torch.equal(found[number, "tabular"].co.actions[:, 1:], found[number, "tabular"].ego.actions[:, :-1])


def test_the_second_of_two_batches_has_grown_as_far_as_it_will(tmp_path):
    run = training(tmp_path, spec("tabular"), tmp_path, "a2c.iterations=2", "a2c.batch_growth=4")
    assert [run._sizes_at(iteration).others["tabular"] for iteration in (1, 2)] == [10, 40]


def test_a_batch_that_is_held_begins_to_grow_afterwards(tmp_path):
    run = training(tmp_path, spec("tabular"), tmp_path, "a2c.iterations=5", "a2c.batch_growth=4", "a2c.hold=0.5")
    assert [run._sizes_at(iteration).others["tabular"] for iteration in range(1, 6)] == [10, 10, 10, 20, 40]


def test_an_odd_batch_and_a_share_are_kept_to(tmp_path):
    run = training(tmp_path, spec(), tmp_path, "a2c.batch_size=7", "pool.tabular_share=0.01")
    assert run._sizes_at(1) == (6, {"tabular": 1})


def test_batches_grow_geometrically_and_learners_are_told_which_games_are_of_one_kind(tmp_path, monkeypatch):
    """Batches of 10 to 40 in six iterations; games against learners are those without an identity."""
    run = training(tmp_path, spec(opponent_id=True), tmp_path, "a2c.batch_growth=4", "pool.tabular_share=0.2")
    seen, update = [], A2CLearner.update

    def watched(self, episodes, kinds, iteration, threads):
        told = (episodes.identity != 0).any(1).tolist()
        expected = [True] * kinds[0] + [False] * kinds[1] if self.number == 1 else [False] * kinds[0] + [True] * kinds[1]
        seen.append((iteration, len(episodes), told == expected))
        return update(self, episodes, kinds, iteration, threads)

    monkeypatch.setattr(A2CLearner, "update", watched)
    run.run_all()
    sizes = [round(10 * 4 ** (k / 5)) for k in range(6)]
    assert seen == [(k + 1, size, True) for k, size in enumerate(sizes) for _ in (1, 2)]
    table = Results(tmp_path, "smoke").table(spec(opponent_id=True).name, "training")
    assert set(table.episodes) == {8, 2}, "measurements keep the first batch's size"


def test_step_two_meets_only_the_frozen_agent_of_step_one(steps):
    table = Results(steps, "smoke").table("a2c-extortion", "training")
    assert set(table.opponent) == {"fixed-icl"} and set(table.learner) == {1} and set(table.player) == {"ego", "co"}
    assert set(Results(steps, "smoke").table("a2c-extortion", "episodes").opponent) == {"fixed-icl"}


def test_the_frozen_agent_is_step_ones_and_stays_as_it_was(steps, tmp_path):
    run = training(steps, spec("extortion"), tmp_path)
    weights = read_weights(spec("tabular").directory(steps))
    run.run_all()
    for name, tensor in run._others.player("fixed-icl", 1, "look")._model.state_dict().items():
        assert torch.equal(tensor, weights[f"learner1.{name}"])


def test_step_three_starts_from_two_step_two_agents_and_is_measured_before_training(steps, tmp_path):
    run = training(steps, spec("mutual-extortion"), tmp_path)
    for learner, seed in zip(run._learners, (0, 1), strict=True):
        weights = read_weights(spec("extortion", seed=seed).directory(steps))
        own = learner.model.state_dict()
        assert all(torch.equal(own[name.removeprefix("learner1.")], tensor) for name, tensor in weights.items())
    run.run_all()
    assert {row[4] for row in run._run.rows["episodes"]} == {0, 3, 6}
    assert {row[6] for row in run._run.rows["episodes"]} == {"learner"}


def test_a_missing_or_unfitting_earlier_step_is_refused_by_name(steps, tmp_path):
    with pytest.raises(RunError, match="a2c-tabular/seed-0 is not a finished run; make it with: coopctx train --agent a2c"):
        train(tmp_path, spec("extortion"))
    with pytest.raises(RunError, match="hidden=16"):
        training(steps, spec("mutual-extortion", seed=0), tmp_path, "model.hidden=32")


def test_a_finished_agent_plays_on(steps):
    agent = TrainedAgent.load(spec("tabular").directory(steps))
    player = agent.player(stream(0, "test"))
    assert isinstance(player, PolicyPlayer)
    player.begin(3)
    assert player.act(torch.zeros(3, dtype=torch.long), torch.zeros(3)).shape == (3,)


def test_without_the_native_kernel_the_same_is_learned(tmp_path, monkeypatch):
    """The reference: steps in PyTorch, the outputs recomputed by torch.nn.GRU with autograd."""
    train(tmp_path / "native", spec(), config(spec(), "a2c.iterations=2"))
    monkeypatch.setattr("coopctx.native.kernel_for", lambda *_: None)
    train(tmp_path / "reference", spec(), config(spec(), "a2c.iterations=2"))
    one, other = (read_weights(spec().directory(tmp_path / results)) for results in ("native", "reference"))
    assert all(torch.allclose(one[name], other[name], atol=2e-2) for name in one)


def test_another_game_trains_too(tmp_path):
    train(tmp_path, spec(), config(spec(), "game.payoffs=[[1, 0, 0], [0, 1, 0], [0, 0, 1]]"))
    assert set(Results(tmp_path, "smoke").table("a2c-mixed", "episodes").opponent) == {"learner", "tabular"}
