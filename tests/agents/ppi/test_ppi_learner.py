"""A PPI learner's fit against a loop written out here: AdamW, its schedule, clipping, minibatches, re-initialisation."""

import copy
import dataclasses
import math

import pytest
import torch

from coopctx.agents.ppi.learner import PPILearner
from coopctx.agents.ppi.model import Losses, SequenceModel, split_heads
from coopctx.agents.ppi.planner import Planner
from coopctx.experiments.settings import ModelConfig, PPIConfig
from coopctx.game.arena import play
from coopctx.game.episodes import Episodes
from coopctx.game.matrix import PRISONERS_DILEMMA
from coopctx.game.streams import stream
from coopctx.game.tabular import RandomTabular

SETTINGS = PPIConfig(
    phases=3, initial_episodes=20, episodes_per_phase=4, reinitialise=0.0, initial_epochs=2.5, epochs=1.5, batch_size=8,
    learning_rate=0.02, final_learning_rate=0.004, rollouts=3, weight_decay=0.3, beta1=0.8, beta2=0.95, max_grad_norm=0.4,
    observation_weight=0.7, action_weight=1.6, reward_weight=0.4, horizon=4, inverse_temperature=7.0, discount=0.9, estimator="sampled",
)  # fmt: skip
SEED, EPISODES = 3, 20


@pytest.fixture(autouse=True)
def plain_pytorch(monkeypatch):
    """test_model compares the kernel's gradients with these."""
    monkeypatch.setattr("coopctx.native.kernel_for", lambda *_: None)


def episodes(games, seed=0, identity_size=0) -> Episodes:
    players = tuple(RandomTabular(5, 2, stream(seed, side)) for side in (1, 2))
    return play(PRISONERS_DILEMMA, 6, games, players, identity_size=identity_size)[0]


def learner(number=1, identity_size=0, **settings) -> PPILearner:
    ppi = dataclasses.replace(SETTINGS, **settings)
    one = PPILearner(number, PRISONERS_DILEMMA, ModelConfig(hidden=12, embedding=6), ppi, SEED, identity_size)
    one.data = episodes(EPISODES, identity_size=identity_size)
    return one


def test_without_a_size_no_identity_is_read():
    assert PPILearner(1, PRISONERS_DILEMMA, ModelConfig(hidden=12, embedding=6), SETTINGS, SEED).model.identity is None


def weights(model) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def objective(model, part) -> tuple[torch.Tensor, list[float]]:
    """The weighted loss of Alg. 1 on the episodes ``part``, and its three terms; sums over what happened, one by one."""
    heads, sums = split_heads(model(part), 2), [0.0, 0.0, 0.0]
    for g in range(len(part)):
        for t in range(part.rounds):
            a, o = int(part.actions[g, t]), int(part.observations[g, t + 1])
            sums[0] -= heads.observation[g, t, a, o]
            sums[1] -= heads.action[g, t, a]
            sums[2] += (heads.reward[g, t, a, o] - part.rewards[g, t]) ** 2
    terms = [term / (len(part) * part.rounds) for term in sums]
    return 0.7 * terms[0] + 1.6 * terms[1] + 0.4 * terms[2], [term.item() for term in terms]


def fitted_by_hand(model, data, phase, passes) -> tuple[torch.Tensor, list[float]]:
    """AdamW as published (arXiv:1711.05101) on shuffled passes over ``data``; the weights and the last pass's mean terms."""
    generator, order = stream(SEED, "learner 1", "minibatches", phase), []
    steps = math.ceil(passes * len(data) / 8)
    while len(order) < steps:
        order += torch.randperm(len(data), generator=generator).split(8)
    first = [torch.zeros_like(parameter) for parameter in model.parameters()]
    second, history = copy.deepcopy(first), []
    for step, games in enumerate(order[:steps]):
        rate = 0.02 + (0.004 - 0.02) * step / steps
        loss, terms = objective(model, data[games])
        history.append(terms)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        norm = math.sqrt(sum((gradient**2).sum().item() for gradient in gradients))
        with torch.no_grad():
            for parameter, gradient, m, v in zip(model.parameters(), gradients, first, second, strict=True):
                clipped = gradient * min(1.0, 0.4 / norm)
                m.copy_(0.8 * m + 0.2 * clipped)
                v.copy_(0.95 * v + 0.05 * clipped**2)
                unbiased = m / (1 - 0.8 ** (step + 1)), v / (1 - 0.95 ** (step + 1))
                parameter.copy_(parameter - rate * 0.3 * parameter - rate * unbiased[0] / (unbiased[1].sqrt() + 1e-8))
    last = history[-math.ceil(len(data) / 8) :]
    return weights(model), torch.tensor(last).mean(0).tolist()


@pytest.mark.parametrize(("phase", "passes"), [(0, 2.5), (2, 1.5)])
@pytest.mark.parametrize("identity_size", [0, 10])
def test_a_fit_is_the_loop_that_the_paper_describes(phase, passes, identity_size):
    one = learner(identity_size=identity_size)
    expected, terms = fitted_by_hand(copy.deepcopy(one.model), one.data, phase, passes)
    before = weights(one.model)
    losses = one.fit(phase)
    assert torch.allclose(weights(one.model), expected, atol=2e-5) and (expected - before).abs().max() > 0.05
    assert losses == pytest.approx(terms, abs=1e-4)


def test_the_learning_rate_goes_from_its_first_value_towards_its_final_one(monkeypatch):
    """Before each of the 7 steps, and the share of the fit that is done."""
    rates, told = [], []
    real_step = torch.optim.AdamW.step

    def watched(optimizer, *arguments):
        rates.extend(group["lr"] for group in optimizer.param_groups)
        return real_step(optimizer, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    learner().fit(0, told.append)
    assert rates == pytest.approx([0.02 - 0.016 * k / 7 for k in range(7)])
    assert told == pytest.approx([k / 7 for k in range(7)])


def test_gradients_that_are_short_enough_are_not_clipped():
    """AdamW's first step is the same for a gradient of any length; the second differs if one of the two was clipped."""
    after = {}
    for limit in (1e-2, 1e3, 1e6):
        one = learner(max_grad_norm=limit, weight_decay=0.0)
        one.fit(1)
        after[limit] = weights(one.model)
    assert torch.equal(after[1e3], after[1e6]) and not torch.allclose(after[1e-2], after[1e6], atol=1e-4)


STANDING_STILL = {"learning_rate": 1e-30, "final_learning_rate": 0.0}  # so that nothing but the re-initialisation is seen


def fresh(phase, number=1) -> torch.Tensor:
    return weights(SequenceModel(5, 2, 12, 6, 0, stream(SEED, f"learner {number}", "initialise", phase)))


@pytest.mark.parametrize("number", [1, 2])
def test_a_learner_begins_with_a_fresh_model_of_its_own(number):
    assert torch.equal(weights(learner(number).model), fresh(0, number))


def test_reinitialise_1_is_a_fresh_model_in_every_phase():
    one = learner(reinitialise=1.0, **STANDING_STILL)
    for phase in (1, 2):
        one.fit(phase)
        assert torch.allclose(weights(one.model), fresh(phase), atol=1e-7)
    assert not torch.allclose(fresh(1), fresh(2), atol=1e-2) and not torch.allclose(fresh(0), fresh(1), atol=1e-2)


def test_reinitialise_0_keeps_the_weights():
    one = learner(reinitialise=0.0, **STANDING_STILL)
    for phase in (0, 1, 2):
        one.fit(phase)
        assert torch.equal(weights(one.model), fresh(0))


def test_reinitialise_between_mixes_in_that_share_of_fresh_weights_after_pre_training():
    one = learner(reinitialise=0.25, **STANDING_STILL)
    one.fit(0)
    assert torch.equal(weights(one.model), fresh(0))
    one.fit(1)
    assert torch.allclose(weights(one.model), 0.75 * fresh(0) + 0.25 * fresh(1), atol=1e-6)


@pytest.mark.parametrize("initialisation", ["uniform", "flax"])
def test_weights_are_drawn_as_the_settings_say(initialisation):
    one = learner(initialisation=initialisation)
    expected = SequenceModel(5, 2, 12, 6, 0, stream(SEED, "learner 1", "initialise", 0), initialisation)
    assert torch.equal(weights(one.model), weights(expected))


def test_held_out_losses_are_means_over_all_episodes_however_they_are_split(monkeypatch):
    monkeypatch.setattr("coopctx.agents.ppi.learner.EVALUATION_BATCH", 8)
    one, held_out = learner(), episodes(20, seed=1)
    before = weights(one.model)
    _, terms = objective(one.model, held_out)
    assert one.evaluate(held_out) == pytest.approx(terms, abs=1e-5)
    assert torch.equal(weights(one.model), before)


def test_it_plans_as_its_settings_say_and_draws_from_a_stream_of_its_own():
    one = learner(number=2)
    player = one.player(4, "learner", threads=3)
    assert player._planner == Planner(rollouts=3, horizon=4, inverse_temperature=7.0, discount=0.9, estimator="sampled")
    assert player._model is one.model and player._threads == 3
    assert player._generator.initial_seed() == stream(SEED, "learner 2", "play", 4, "learner").initial_seed()


def test_a_restored_learner_has_the_weights_and_fits_the_same_to_the_same_data():
    one, other = learner(), learner()
    one.fit(0)
    one.data = other.data = Episodes.concatenate([one.data, episodes(3, seed=5)])
    other.restore(copy.deepcopy(one.state()))
    assert torch.equal(weights(other.model), weights(one.model))
    assert one.fit(1) == other.fit(1)
    assert torch.equal(weights(other.model), weights(one.model))


def test_what_a_fit_returns_are_unweighted_losses():
    losses = learner(observation_weight=0.0, action_weight=0.0, reward_weight=0.0, initial_epochs=1).fit(0)
    assert isinstance(losses, Losses) and min(losses) > 0.1
