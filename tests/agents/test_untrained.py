"""Untrained agents: the weights with which a run of the same settings and seed begins."""

import pytest
import torch
from tiny_runs import CPU, config, spec, train

from coopctx.agents import untrained_of
from coopctx.agents.a2c.learner import A2CLearner
from coopctx.agents.coala.learner import RecurrentLearner
from coopctx.agents.ppi.learner import PPILearner
from coopctx.agents.trained import TrainedAgent
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
        coala = RecurrentLearner(2, game, settings.model, settings.coala, 4, CPU)
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
