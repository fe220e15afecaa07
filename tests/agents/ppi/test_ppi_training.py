"""Whole PPI runs at toy scale: reproducible, resumable, with correct measurements."""


import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import CPU, config, open_run, parquet, spec, train

from coopctx.agents.ppi import training as phases
from coopctx.agents.ppi.learner import PPILearner
from coopctx.agents.ppi.model import Losses
from coopctx.agents.ppi.training import PPITraining
from coopctx.errors import UsageError
from coopctx.experiments.pools import RunSpec
from coopctx.runs.checkpoint import read_checkpoint
from coopctx.runs.progress import SilentProgress
from coopctx.runs.read import Results
from coopctx.runs.schema import CHECKPOINT


class InterruptAfter(SilentProgress):
    """Presses Ctrl-C when a phase is done."""

    def __init__(self, phase: int) -> None:
        self._phase = phase

    def iteration(self, iteration, summary) -> None:
        if iteration == self._phase:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("which", "continuation"), [(spec(), 1), (spec(opponent_id=True), 1), (spec("learners"), 1), (spec("learners"), 0.8)]
)
def test_a_resumed_run_ends_with_the_same_parquet_as_an_uninterrupted_one(tmp_path, which, continuation):
    settings = config(f"game.continuation={continuation}")
    train(tmp_path / "whole", which, settings)
    for phase in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "stopped", which, settings, InterruptAfter(phase))
    train(tmp_path / "stopped", which, settings)
    assert parquet(tmp_path / "stopped", which) == parquet(tmp_path / "whole", which)


def test_a_checkpoint_contains_the_weights_and_nothing_that_grows_with_the_data(tmp_path):
    """Episodes are in files of their own, one per learner and phase, which no later phase changes."""
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, spec(), config(), InterruptAfter(1))
    folder = spec().directory(tmp_path)
    written = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.glob("data-*")}
    assert set(written) == {f"data-{learner}-{phase}.safetensors" for learner in (1, 2) for phase in (0, 1)}
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, spec(), config(), InterruptAfter(2))
    assert {name: ((folder / name).read_bytes(), (folder / name).stat().st_mtime_ns) for name in written} == written
    games = {name: len(load_file(folder / f"data-1-{name}.safetensors")["actions"]) for name in (0, 1, 2)}
    assert games == {0: 40, 1: 10, 2: 10}
    learners = read_checkpoint(folder / CHECKPOINT)["state"]["learners"]
    model = training(tmp_path / "other", spec())._learners[0].model
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    for learner in learners:
        assert set(learner) == {"model"} and {name: tensor.shape for name, tensor in learner["model"].items()} == shapes
    train(tmp_path, spec(), config())
    assert not [*folder.glob("data-*")]


def test_same_seed_same_parquet_and_another_seed_another(tmp_path):
    for results in ("a", "b"):
        train(tmp_path / results, spec(), config(), threads=1 if results == "a" else 2)
    train(tmp_path / "a", spec(seed=1), config())
    assert parquet(tmp_path / "a", spec()) == parquet(tmp_path / "b", spec())
    table = Results(tmp_path / "a", "smoke").table("ppi-mixed", "training")
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
def test_every_phase_learner_opponent_and_player_has_its_row(tmp_path, which, learners, opponents):
    train(tmp_path, which, config())
    table = Results(tmp_path, "smoke").table(which.name, "training")
    expected = [(p, n, o, side) for p in (1, 2, 3) for n in learners for o in opponents for side in ("ego", "co")]
    assert sorted(zip(table.iteration, table.learner, table.opponent, table.player, strict=True)) == sorted(expected)
    assert table.cooperation_rate.between(0, 1).all()
    assert table.reward.between(-1, 2).all()
    curves = Results(tmp_path, "smoke").table(which.name, "episodes")
    named = {"tit-for-tat", "always-cooperate", "always-defect"}
    assert set(curves.opponent) == opponents | named
    assert set(curves.iteration) == {1, 3}
    assert curves.groupby(["iteration", "opponent", "player"])["round"].apply(list).map(lambda r: r == [*range(1, 9)]).all()
    always = curves[(curves.player == "co") & curves.opponent.str.startswith("always")]
    assert (always.cooperation_rate == (always.opponent == "always-cooperate")).all()
    diagnostics = Results(tmp_path, "smoke").table(which.name, "diagnostics")
    for opponent in opponents:
        for quantity in ("nll_action", "nll_observation", "nll_bayes", "squared_error_reward", "kl"):
            values = diagnostics[diagnostics.quantity == f"{quantity}_{opponent}"]
            assert set(values.learner) == learners
            assert (values.value >= 0).all()


def test_the_exact_observer_is_measured_on_the_very_episodes_that_the_model_is(tmp_path, monkeypatch):
    held_out, observed = [], []

    def evaluate(learner, episodes):
        held_out.append(episodes)
        return Losses(0.5, 0.5, 0.5)

    def observer(game, episodes):
        observed.append(episodes)
        return float(len(observed))

    monkeypatch.setattr(PPILearner, "evaluate", evaluate)
    monkeypatch.setattr(phases, "bayes_nll", observer)
    train(tmp_path, spec(), config())
    assert len(observed) == 3 * 4 and all(one is other for one, other in zip(observed, held_out, strict=True))
    recorded = Results(tmp_path, "smoke").table("ppi-mixed", "diagnostics").query("quantity.str.startswith('nll_bayes')")["value"]
    assert sorted(recorded) == list(range(1, 13))


def test_averages_over_rounds_equal_the_phases_averages(tmp_path):
    train(tmp_path, spec(), config())
    keys = ["iteration", "learner", "opponent", "player"]
    curves = Results(tmp_path, "smoke").table("ppi-mixed", "episodes").groupby(keys)[["cooperation_rate", "reward"]].mean()
    table = Results(tmp_path, "smoke").table("ppi-mixed", "training").set_index(keys)[["cooperation_rate", "reward"]]
    both = curves.join(table, suffixes=("", "_phase"), how="inner")
    assert len(both) == 2 * 2 * 2  # phases, opponents, players of learner 1
    pd.testing.assert_series_equal(both.cooperation_rate, both.cooperation_rate_phase, check_names=False)
    pd.testing.assert_series_equal(both.reward, both.reward_phase, check_names=False)


def training(tmp_path, which, settings=None) -> PPITraining:
    settings = settings or config()
    run = PPITraining(which, settings, open_run(tmp_path, which, settings), tmp_path, CPU, 1, SilentProgress())
    for learner in run._learners:
        learner.data = run._initial_data(learner.number)
    return run


def test_two_learners_share_nothing(tmp_path):
    first, second = training(tmp_path, spec())._learners
    assert not torch.equal(first.model.head.weight, second.model.head.weight)
    assert not torch.equal(first.data.actions, second.data.actions)
    before = {name: tensor.clone() for name, tensor in second.model.state_dict().items()}
    first.fit(0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in second.model.state_dict().items())
    storages = [{tensor.data_ptr() for tensor in learner.model.parameters()} for learner in (first, second)]
    assert not storages[0] & storages[1]


def test_the_pools_split_the_episodes_as_configured(tmp_path):
    run = training(tmp_path, spec(), config("pool.tabular_share=0.2"))
    matches = run._collect(1)
    sizes = {(match.learner, match.opponent): len(match.ego) for match in matches}
    assert sizes == {(1, "learner"): 8, (2, "learner"): 8, (1, "tabular"): 2, (2, "tabular"): 2}
    ours, theirs = (next(m for m in matches if m.opponent == "learner" and m.learner == n) for n in (1, 2))
    assert ours.ego is theirs.co and ours.co is theirs.ego


def test_without_tabular_players_the_first_data_are_uniformly_random_actions(tmp_path):
    data = training(tmp_path, spec("learners"), config("ppi.initial_episodes=2000"))._learners[0].data
    per_game = data.actions.float().mean(1)
    assert per_game.mean().item() == pytest.approx(0.5, abs=0.02)
    assert per_game.std().item() == pytest.approx((0.25 / 8) ** 0.5, abs=0.01)  # random players would spread wider


def test_the_opponent_id_is_the_tabular_policy_and_zero_for_a_learner(tmp_path):
    run = training(tmp_path, spec(opponent_id=True))
    assert run._learners[0].data.identity.shape == (40, 10)
    assert (run._learners[0].data.identity.view(40, 5, 2).exp().sum(2) - 1).abs().max() < 1e-3
    for match in run._collect(1):
        identity = match.ego.identity
        assert identity.shape == (5, 10)
        if match.opponent == "learner":
            assert (identity == 0).all()
        else:
            assert (identity.view(5, 5, 2).exp().sum(2) - 1).abs().max() < 1e-3
    always = run._against_named(1, "always-cooperate").ego.identity.view(6, 5, 2).exp()
    assert torch.allclose(always[..., 0], torch.ones(6, 5))


def test_an_agent_without_opponent_id_is_told_nothing(tmp_path):
    run = training(tmp_path, spec())
    assert run._learners[0].data.identity.shape == (40, 0)
    assert all(match.ego.identity.shape == (5, 0) for match in run._collect(1))


def test_another_game_trains_too(tmp_path):
    settings = config("game.payoffs=[[1, 0, 0], [0, 1, 0], [0, 0, 1]]")
    train(tmp_path, spec(), settings)
    assert set(Results(tmp_path, "smoke").table("ppi-mixed", "episodes").opponent) == {"learner", "tabular"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (("dqn", "mixed", False, 0), "unknown agent 'dqn'"),
        (("ppi", "mixt", False, 0), "unknown pool 'mixt'; allowed: mixed"),
        (("ppi", "learners", True, 0), "opponent-id is an ablation of the mixed pool"),
        (("ppi", "mixed", False, -1), "a seed must be an integer >= 0"),
    ],
)
def test_impossible_runs_are_refused(fields, message):
    with pytest.raises(UsageError, match=message):
        RunSpec(*fields, "smoke")
