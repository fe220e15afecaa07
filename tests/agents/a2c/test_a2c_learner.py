"""An A2C learner's updates against Adam written out here; the sources of its weights and random numbers."""

import copy
import dataclasses
import math

import pytest
import torch

from coopctx.agents.a2c.learner import A2CLearner
from coopctx.agents.trunk import ActorCritic
from coopctx.experiments.settings import A2CConfig, ModelConfig
from coopctx.game.arena import play
from coopctx.game.matrix import PRISONERS_DILEMMA
from coopctx.game.streams import stream
from coopctx.game.tabular import RandomTabular

CPU = torch.device("cpu")
SETTINGS = A2CConfig(
    iterations=9, batch_size=8, learning_rate=0.03, final_learning_rate=0.01, discount=0.9, gae_lambda=0.8, td_lambda=0.6,
    value_weight=0.7, entropy_weight=0.3, final_entropy_weight=0.1, entropy_decay=0.5, reward_scale=0.4, adam_epsilon=1e-3,
    max_grad_norm=0.1, normalise_advantages="per-opponent",
)  # fmt: skip
SEED = 4


@pytest.fixture(autouse=True)
def plain_pytorch(monkeypatch):
    """test_a2c compares the kernel's gradients with these."""
    monkeypatch.setattr("coopctx.native.kernel_for", lambda *_: None)


def learner(number=1, identity_size=0, **settings) -> A2CLearner:
    a2c = dataclasses.replace(SETTINGS, **settings)
    return A2CLearner(number, PRISONERS_DILEMMA, ModelConfig(hidden=12, embedding=6), a2c, SEED, identity_size, CPU)


def games(one, iteration, identity_size=0):
    players = one.player(iteration, learning=True), RandomTabular(5, 2, stream(0, iteration))
    return play(PRISONERS_DILEMMA, 6, 8, players, identity_size=identity_size)[0]


def weights(model) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def written_down(model, episodes, kinds, entropy_weight, variances, decay) -> tuple[torch.Tensor, list[float]]:
    """The loss at the head of `learner.py`, and its terms, with the constants of SETTINGS; one round at a time.

    variances: those of earlier batches, an exponential moving average per kind of game; this batch's are added to it.
    """
    outputs, rounds = model(episodes), episodes.rounds
    values, log_policy = outputs[..., 2], outputs[..., :2].log_softmax(-1)
    held = values.detach()
    following = torch.cat([held[:, 1:], torch.zeros(len(held), 1)], 1)
    delta = 0.4 * episodes.rewards + 0.9 * following - held
    advantage, target = torch.zeros_like(held), torch.zeros_like(held)
    for t in range(rounds):
        for k in range(rounds - t):
            advantage[:, t] += (0.9 * 0.8) ** k * delta[:, t + k]
            target[:, t] += (0.9 * 0.6) ** k * delta[:, t + k]
    target += held
    parts = advantage.split(kinds)
    new = [part.square().mean().item() - part.mean().item() ** 2 for part in parts]
    variances[:] = [decay * old + (1 - decay) * now for old, now in zip(variances or new, new, strict=True)]
    parts = [(part - part.mean()) / variance**0.5 for part, variance in zip(parts, variances, strict=True)]
    chosen = log_policy.gather(2, episodes.actions.long()[..., None])[..., 0]
    terms = (
        -(chosen * torch.cat(parts)).mean(),
        ((values - target) ** 2).mean(),
        -(log_policy.exp() * log_policy).sum(-1).mean(),
    )
    return terms[0] + 0.7 * terms[1] - entropy_weight * terms[2], [term.item() for term in terms]


@pytest.mark.parametrize(("identity_size", "decay"), [(0, 0.0), (10, 0.8)])
def test_updates_are_steps_of_adam_on_the_clipped_gradient_of_the_loss_that_is_written_down(identity_size, decay):
    """Adam as published (arXiv:1412.6980), the rate falling linearly, the entropy weight until the middle of the run."""
    one, variances = learner(identity_size=identity_size, variance_decay=decay), []
    model = copy.deepcopy(one.model)
    first = [torch.zeros_like(parameter) for parameter in model.parameters()]
    second, clipped = copy.deepcopy(first), 0
    for iteration in range(1, 8):
        episodes, kinds = games(one, iteration, identity_size), [3, 5]
        rate, entropy_weight = 0.03 - 0.02 * (iteration - 1) / 8, 0.3 - 0.2 * min((iteration - 1) / 4, 1)
        loss, terms = written_down(model, episodes, kinds, entropy_weight, variances, decay)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        norm = math.sqrt(sum((gradient**2).sum().item() for gradient in gradients))
        clipped += norm > 0.1
        with torch.no_grad():
            for parameter, gradient, m, v in zip(model.parameters(), gradients, first, second, strict=True):
                short = gradient * min(1.0, 0.1 / norm)
                m.copy_(0.9 * m + 0.1 * short)
                v.copy_(0.999 * v + 0.001 * short**2)
                unbiased = m / (1 - 0.9**iteration), v / (1 - 0.999**iteration)
                parameter.sub_(rate * unbiased[0] / (unbiased[1].sqrt() + 1e-3))
        told = one.update(episodes, kinds, iteration)
        assert [told.policy.item(), told.value.item(), told.entropy.item()] == pytest.approx(terms, abs=1e-5)
        assert told.gradient_norm.item() == pytest.approx(norm, rel=1e-3)
        assert torch.allclose(weights(one.model), weights(model), atol=2e-5)
    assert clipped > 0 and (weights(one.model) - weights(learner(identity_size=identity_size).model)).abs().max() > 0.05


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("start", [("uniform", False), ("flax", True)])
def test_a_learner_begins_with_a_model_of_its_own_as_the_settings_say(number, start):
    initialisation, zero_readouts = start
    one = learner(number, 10, initialisation=initialisation, zero_readouts=zero_readouts)
    expected = ActorCritic(5, 2, 12, 6, 10, stream(SEED, f"learner {number}", "initialise", 0), *start)
    assert torch.equal(weights(one.model), weights(expected))


def test_its_player_has_its_weights_and_a_stream_of_its_own():
    one = learner(number=2)
    player = one.player("measuring", 4)
    assert player._model is one.model
    assert player._generator.initial_seed() == stream(SEED, "learner 2", "play", "measuring", 4).initial_seed()


def test_advantages_that_do_not_vary_keep_their_sign():
    assert (learner()._divisors(torch.zeros(2)) > 0).all()


def test_a_single_iteration_has_the_first_settings():
    one = learner(iterations=1)
    one.update(games(one, 1), [8], 1)
    assert one._optimizer.param_groups[0]["lr"] == pytest.approx(0.03)


@pytest.mark.parametrize("iterations", [1, 2, 3])
def test_a_schedule_goes_from_its_first_value_to_its_last_within_the_run(iterations):
    one = learner(iterations=iterations, entropy_weight=0.5, final_entropy_weight=0.1, entropy_decay=1.0)
    found = [one._entropy_weight(iteration) for iteration in range(1, iterations + 1)]
    assert found == pytest.approx({1: [0.5], 2: [0.5, 0.1], 3: [0.5, 0.3, 0.1]}[iterations])
