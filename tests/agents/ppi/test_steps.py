"""Steps 2 and 3: a learner against the frozen Step-1 agent, then two such learners against each other."""

import re

import pytest
import torch
from tiny_runs import config, open_run, parquet, spec, train

from coopctx.agents.ppi.training import PPITraining
from coopctx.errors import RunError
from coopctx.experiments.pools import partner
from coopctx.runs.progress import SilentProgress
from coopctx.runs.read import Results, read_weights

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    """Results with Steps 1 and 2 of seeds 0 and 1."""
    results = tmp_path_factory.mktemp("steps")
    for pool in ("tabular", "extortion"):
        for seed in (0, 1):
            train(results, spec(pool, seed=seed), config())
    return results


def training(results, pool, tmp_path) -> PPITraining:
    settings = config()
    run = open_run(tmp_path, spec(pool), settings)
    return PPITraining(spec(pool), settings, run, results, CPU, 1, SilentProgress())


def test_step_two_meets_only_the_frozen_agent_of_step_one(steps):
    table = Results(steps, "smoke").table("ppi-extortion", "training")
    assert set(table.opponent) == {"fixed-icl"} and set(table.learner) == {1}
    assert set(table.player) == {"ego", "co"}
    assert set(Results(steps, "smoke").table("ppi-extortion", "episodes").opponent) == {"fixed-icl"}


def test_step_three_starts_from_two_different_step_two_agents_and_measures_them_first(steps, tmp_path):
    run = training(steps, "mutual-extortion", tmp_path)
    run._step(0)
    for learner, seed in zip(run._learners, (0, 1), strict=True):
        weights = read_weights(spec("extortion", seed=seed).directory(steps))
        own = learner.model.state_dict()
        assert all(torch.equal(own[name.removeprefix("learner1.")], tensor) for name, tensor in weights.items())
        assert len(learner.data) == 2 * config().ppi.initial_episodes
    rows = run._run.rows["training"]
    assert {row[4] for row in rows} == {0} and {row[6] for row in rows} == {"learner"}


def test_step_three_runs_resumes_and_repeats(steps, tmp_path):
    which = spec("mutual-extortion")
    train(steps, which, config())
    first = parquet(steps, which)
    curves = Results(steps, "smoke").table(which.name, "episodes")
    assert set(curves.iteration) == {0, 1, 3}
    for file in which.directory(steps).iterdir():
        file.unlink()
    train(steps, which, config())
    assert parquet(steps, which) == first


def test_step_three_begins_with_tabular_play_and_as_much_of_its_own(steps, tmp_path):
    run = training(steps, "mutual-extortion", tmp_path)
    data, games = run._initial_data(1), config().ppi.initial_episodes
    assert len(data) == 2 * games
    for kind, part in (("tabular", data[:games]), ("play", data[games:])):
        assert torch.equal(part.actions, run._initial_episodes(1, kind).actions)


def test_the_initial_play_of_step_three_is_the_extorters_against_its_own_fixed_icl(steps, tmp_path):
    run = training(steps, "mutual-extortion", tmp_path)
    extorter, fixed = run._earlier_players(2)
    for player, which in ((extorter, spec("extortion", seed=1)), (fixed, spec("tabular", seed=1))):
        weights = read_weights(which.directory(steps))
        assert torch.equal(player._model.head.weight, weights["learner1.head.weight"])


def test_partners_form_a_circle_of_ten():
    assert [partner(seed) for seed in range(10)] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    assert partner(19) == 10


def test_a_missing_earlier_step_is_named_with_the_command_that_makes_it(tmp_path):
    with pytest.raises(RunError, match=r"ppi-tabular/seed-0 is not a finished run; make it with: coopctx train --agent ppi --pool tabular"):
        train(tmp_path, spec("extortion"), config())


@pytest.mark.parametrize(
    ("override", "message"),
    [("game.rounds=9", "game.rounds = 8, not 9"), ("game.payoffs=[[3, 0], [5, 1]]", "game.payoffs = ")],
)
def test_an_earlier_step_in_another_game_is_refused_by_name(tmp_path, override, message):
    train(tmp_path, spec("tabular"), config("ppi.phases=1"))
    with pytest.raises(RunError, match=re.escape(message)):
        train(tmp_path, spec("extortion"), config(override))


def test_step_three_refuses_agents_of_another_size(steps):
    with pytest.raises(RunError, match="hidden=16"):
        train(steps, spec("mutual-extortion", seed=1), config("model.hidden=32"))
