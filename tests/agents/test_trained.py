"""Agents of finished runs: whose weights they have, how they play, and the same agents before any training."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import CPU, config, spec, train

from coopctx.agents import untrained_of
from coopctx.agents.a2c.learner import A2CLearner
from coopctx.agents.coala.learner import RecurrentLearner
from coopctx.agents.ppi.learner import PPILearner
from coopctx.agents.ppi.planner import Planner
from coopctx.agents.ppi.player import PPIPlayer
from coopctx.agents.trained import PACKAGED, TrainedAgent, find_run, needed_agents
from coopctx.errors import RunError, UsageError
from coopctx.game.streams import stream


def same(model, weights) -> bool:
    state = model.state_dict()
    return state.keys() == weights.keys() and all(torch.equal(state[name], weights[name]) for name in state)


@pytest.mark.parametrize("identity", [0, 10])
@pytest.mark.parametrize(("initialisation", "zero_readouts"), [("uniform", "false"), ("flax", "true")])
def test_an_untrained_agent_is_what_a_learner_begins_with(identity, initialisation, zero_readouts):
    both = (f"{kind}.initialisation={initialisation}" for kind in ("ppi", "a2c"))
    settings = config(*both, f"a2c.zero_readouts={zero_readouts}")
    game, begin = settings.game.matrix(), lambda: stream(4, "learner 2", "initialise", 0)
    ppi = PPILearner(2, game, settings.model, settings.ppi, 4, identity)
    a2c = A2CLearner(2, game, settings.model, settings.a2c, 4, identity, CPU)
    for kind, learner in (("ppi", ppi), ("a2c", a2c)):
        assert same(untrained_of(kind, settings, identity, begin()), learner.model.state_dict()), kind
    if not identity:
        coala = RecurrentLearner(2, game, settings.model, settings.coala, 4)
        assert same(untrained_of("coala", settings, 0, begin()), coala.model.state_dict())


def test_the_learners_of_a_run_untrained_are_those_it_began_with(tmp_path):
    """Whether or not the run has opponent ids, each learner with its own weights, and nothing else of the run differs."""
    for which in (spec("mixed", seed=3), spec("mixed", opponent_id=True, seed=4)):
        train(tmp_path, which, config("ppi.phases=1", "ppi.initial_epochs=1"))
        agent = TrainedAgent.load(which.directory(tmp_path))
        fresh = agent.untrained()
        assert (fresh.keys, fresh.config, fresh.directory) == (agent.keys, agent.config, agent.directory)
        identity = agent.weights[0]["identity.weight"].shape[1] if which.opponent_id else 0
        begun = [
            PPILearner(number, agent.config.game.matrix(), agent.config.model, agent.config.ppi, which.seed, identity).model
            for number in (1, 2)
        ]
        assert len(fresh.weights) == 2 and all(map(same, begun, fresh.weights))
        assert not torch.equal(fresh.weights[0]["head.weight"], agent.weights[0]["head.weight"])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two learners, each with an opponent's identity."""
    results, which = tmp_path_factory.mktemp("results"), spec("mixed", opponent_id=True)
    train(results, which, config("ppi.phases=1", "ppi.initial_epochs=1"))
    return which.directory(results)


def test_each_learner_has_its_own_weights_of_the_file(run):
    agent, stored = TrainedAgent.load(run), load_file(run / "weights.safetensors")
    assert len(agent.weights) == 2 and sum(map(len, agent.weights)) == len(stored)
    for number in (1, 2):
        for name, weight in agent.learner_weights(number).items():
            assert torch.equal(weight, stored[f"learner{number}.{name}"])
        assert same(agent.model(number), agent.learner_weights(number))
    assert not torch.equal(agent.learner_weights(1)["head.weight"], agent.learner_weights(2)["head.weight"])
    for number in (0, 3, "1"):
        with pytest.raises(UsageError, match="--learner must be from 1 to 2"):
            agent.learner_weights(number)


def test_an_agent_of_another_game_is_refused_with_the_difference_as_a_file_of_settings_would_have_it(run):
    agent = TrainedAgent.load(run)
    agent.check_game(agent.config)
    with pytest.raises(RunError) as refused:
        agent.check_game(config("game.payoffs=[[2, 0], [3, 1]]"))
    theirs = "[[2.0, 0.0], [3.0, 1.0]]"
    assert str(refused.value) == f"{run} was trained with game.payoffs = [[1.0, -1.0], [2.0, 0.0]], not {theirs}"


@pytest.mark.parametrize("number", [1, 2])
def test_a_learner_plays_with_its_model_its_planner_and_the_given_generator(run, number):
    agent = TrainedAgent.load(run)
    player = agent.player(stream(5, "play"), number)
    settings = agent.config
    written = PPIPlayer(agent.model(number), Planner.of(settings.ppi), stream(5, "play"), 1)
    moves = []
    for each in (player, written):
        each.begin(32)
        each.meet(torch.zeros(32, 10))
        moves.append([each.act(torch.full((32,), seen), torch.zeros(32)).tolist() for seen in (0, 1, 4, 2)])
    assert moves[0] == moves[1]


def test_a_run_is_found_by_a_packaged_agents_name_or_its_folder():
    assert find_run("ppi-mixed") == PACKAGED / "ppi-mixed"
    assert find_run("results/cpu/ppi-mixed/seed-3") == find_run(Path("results/cpu/ppi-mixed/seed-3")) == Path("results/cpu/ppi-mixed/seed-3")
    for nothing in ("", None, 3):
        with pytest.raises(UsageError, match="a run is named by its directory or a packaged agent's name"):
            find_run(nothing)


def test_the_command_that_makes_a_missing_run_names_the_folder(tmp_path):
    with pytest.raises(RunError, match=f"coopctx train --agent ppi --pool tabular.* --results {tmp_path}"):
        needed_agents(spec("extortion"), config(), tmp_path)
