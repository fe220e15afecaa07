"""The sequence model: folding, losses computed by hand, and the exact Bayesian predictor as the reference for its predictions."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coopctx import native
from coopctx.agents.ppi.learner import PPILearner
from coopctx.agents.ppi.model import Losses, SequenceModel, predict, split_heads
from coopctx.agents.trunk import ActorCritic, Gates, identity_size_of, rebuilt, sizes_of, step
from coopctx.experiments.presets import load_preset
from coopctx.game.arena import play
from coopctx.game.episodes import Episodes
from coopctx.game.matrix import PRISONERS_DILEMMA
from coopctx.game.streams import stream
from coopctx.game.tabular import RandomTabular

CPU = torch.device("cpu")


def tabular_episodes(games, rounds, seed, identity_size=0):
    players = tuple(RandomTabular(5, 2, stream(seed, side)) for side in (1, 2))
    return play(PRISONERS_DILEMMA, rounds, games, players, identity_size=identity_size)[0]


@pytest.mark.parametrize("identity_size", [0, 10])
@pytest.mark.parametrize("with_kernel", [False, True])
@torch.no_grad()
def test_stepping_the_folded_weights_equals_the_whole_sequence_at_once(identity_size, with_kernel, monkeypatch):
    if not with_kernel:
        monkeypatch.setattr("coopctx.native.kernel_for", lambda *_: None)
    model = SequenceModel(5, 2, 32, 8, identity_size, stream(0, "weights"))
    episodes = tabular_episodes(9, 11, 1, identity_size)
    outputs = model(episodes)
    gates, hidden = Gates(*model.gates()), torch.zeros(9, 32)
    previous, reward = torch.full((9,), 2), torch.zeros(9)
    for t in range(11):
        index = model.index(episodes.observations[:, t], previous)
        hidden = step(gates, hidden, index, reward, model.identity_gates(episodes.identity))
        heads, together = predict(gates, hidden, 2), split_heads(outputs[:, t], 2)
        for one, other in zip(heads, together, strict=True):
            assert torch.allclose(one, other, atol=1e-2 if with_kernel else 1e-5)
        previous, reward = episodes.actions[:, t].long(), episodes.rewards[:, t]


@pytest.mark.parametrize("kind", [SequenceModel, ActorCritic])
def test_flax_weights_are_orthogonal_gate_by_gate_lecun_normal_elsewhere_and_have_no_bias(kind):
    model = kind(5, 2, 64, 48, 10, stream(0, "weights"), "flax")
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    for gate in weights.pop("gru.weight_hh_l0").chunk(3):
        assert torch.allclose(gate @ gate.T, torch.eye(64), atol=1e-5)
    assert all((bias == 0).all() for name, bias in weights.items() if "bias" in name)
    kernels = {name: weight for name, weight in weights.items() if "bias" not in name}
    assert set(kernels) == {f"{part}.weight" for part in ("observation", "action", "reward", "identity", "head")} | {
        "gru.weight_ih_l0"
    }
    for weight in kernels.values():
        unit = weight * weight.shape[1] ** 0.5
        assert unit.abs().max() <= 2 / 0.8796 + 1e-4, "cut off at two standard deviations of the normal that is cut"
        assert abs(unit.mean()) < 4 / weight.numel() ** 0.5
        assert unit.std().item() == pytest.approx(1, abs=4 / weight.numel() ** 0.5)


def test_uniform_weights_fill_their_range():
    model = ActorCritic(5, 2, 64, 48, 10, stream(0, "weights"), "uniform")
    for layer, fan_in in ((model.observation, 5), (model.reward, 1), (model.gru, 64), (model.head, 64)):
        drawn = torch.cat([parameter.detach().flatten() for parameter in layer.parameters()]) * fan_in**0.5
        assert -1 <= drawn.min() < -0.85 and 0.85 < drawn.max() <= 1


@pytest.mark.parametrize("initialisation", ["uniform", "flax"])
def test_weights_depend_on_the_stream_alone(initialisation):
    first, again, other = (
        SequenceModel(5, 2, 16, 8, 0, stream(seed, "weights"), initialisation).state_dict() for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first if "weight" in name)


@pytest.mark.parametrize("initialisation", ["uniform", "flax"])
def test_zero_readouts_leave_nothing_but_a_uniform_policy_and_a_value_of_zero(initialisation):
    model = ActorCritic(5, 2, 16, 8, 0, stream(0, "weights"), initialisation, zero_readouts=True)
    plain = ActorCritic(5, 2, 16, 8, 0, stream(0, "weights"), initialisation)
    assert (model(tabular_episodes(4, 5, 1)) == 0).all() and (plain(tabular_episodes(4, 5, 1)) != 0).any()
    assert torch.equal(model.gru.weight_hh_l0, plain.gru.weight_hh_l0), "the rest is drawn as ever"


def test_losses_are_the_per_step_means_of_the_papers_objective():
    model = SequenceModel(5, 2, 16, 8, 0, stream(0, "weights"))
    episodes = tabular_episodes(3, 4, 2)
    losses, heads = model.losses(episodes), split_heads(model(episodes), 2)
    observation, action, reward = [], [], []
    for g in range(3):
        for t in range(4):
            a, o = int(episodes.actions[g, t]), int(episodes.observations[g, t + 1])
            action.append(-heads.action[g, t, a].item())
            observation.append(-heads.observation[g, t, a, o].item())
            reward.append((heads.reward[g, t, a, o].item() - episodes.rewards[g, t].item()) ** 2)
    for loss, values in zip(losses, (observation, action, reward), strict=True):
        assert loss.item() == pytest.approx(sum(values) / 12, abs=1e-5)


@pytest.mark.parametrize("identity_size", [0, 10])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 99),
    hidden=st.sampled_from([16, 48]),
    batch=st.lists(st.integers(0, 69), min_size=1, max_size=70),
    rounds=st.sampled_from([1, 7]),
)
def test_losses_and_gradients_in_native_code(identity_size, precision, seed, hidden, batch, rounds):
    """The fused gradient equals autograd's through the plain PyTorch modules."""
    kernel = native._load(precision)
    if kernel is None:
        pytest.skip(f"no native kernel in {precision}")
    model = SequenceModel(5, 2, hidden, 8, identity_size, stream(seed, "weights"))
    episodes, games, weights = tabular_episodes(70, rounds, seed, identity_size), torch.tensor(batch), Losses(1.0, 0.5, 2.0)
    results = []
    for used in (kernel, None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("coopctx.native.kernel_for", lambda *_, used=used: used)
            gradients, losses = model.gradients(episodes, games, weights)
        assert [gradient.shape for gradient in gradients] == [parameter.shape for parameter in model.parameters()]
        results.append((losses, torch.cat([gradient.flatten() for gradient in gradients])))
    (losses, gradient), (expected_losses, expected) = results
    exact = precision == "fp32"
    assert torch.allclose(losses, expected_losses, atol=1e-5 if exact else 1e-2)
    assert (gradient - expected).norm() < (1e-5 if exact else 2e-2) * expected.norm()


@pytest.mark.parametrize("identity_size", [0, 10])
def test_unfolding_gradients_is_what_autograd_does(identity_size):
    model = SequenceModel(5, 2, 48, 32, identity_size, stream(0, "weights"))
    identity = torch.randn(6, identity_size, generator=stream(0, "identity"))
    gates, extra = model.gates(), model.identity_gates(identity)
    folded = [*gates] if extra is None else [*gates, extra]
    random = [torch.randn(tensor.shape, generator=stream(0, "gradients", n)) for n, tensor in enumerate(folded)]
    expected = torch.autograd.grad(folded, list(model.parameters()), random)
    unfolded = model.unfold(Gates(*random[:6]), random[6] if identity_size else None, identity)
    for gradient, wanted, (name, _) in zip(unfolded, expected, model.named_parameters(), strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-5, atol=1e-5, msg=name)


def bayes_nll(episodes: Episodes) -> float:
    """Mean NLL per round of the co-player's action under the exact posterior: Beta(1, 1) per co-player observation."""
    total = 0.0
    swapped = [0, 1, 3, 2, 4]  # my CD is the co-player's DC
    for observations in episodes.observations.tolist():
        counts = [[1, 1] for _ in range(5)]
        for seen, following in pairwise(observations):
            other = (following - 1) % 2
            row = counts[swapped[seen]]
            total -= math.log(row[other] / sum(row))
            row[other] += 1
    return total / episodes.actions.numel()


def test_pretraining_reaches_the_exact_bayesian_predictor():
    overrides = ["model.hidden=128", "game.rounds=20", "ppi.batch_size=64", "ppi.initial_epochs=12", "ppi.learning_rate=0.01"]
    config = load_preset("cpu", overrides)
    learner = PPILearner(1, PRISONERS_DILEMMA, config.model, config.ppi, 0, 0, CPU)
    learner.data = tabular_episodes(4096, 20, 3)
    learner.fit(0)
    fresh = tabular_episodes(2000, 20, 4)
    losses = learner.evaluate(fresh)
    assert losses.observation == pytest.approx(bayes_nll(fresh), abs=0.015)
    assert losses.observation > bayes_nll(fresh) - 0.005, "nobody beats the exact posterior on fresh players"
    assert losses.action > math.log(2) * 0.7, "own actions of a random player cannot be foreseen much better"
    assert losses.reward < 0.01, "payoffs and the echo of own actions are learned"


@pytest.mark.parametrize("identity_size", [0, 10])
def test_outputs_recalled_from_play_are_those_of_the_whole_sequence_and_have_its_gradient(identity_size):
    """`Trunk.recall` differentiates what was computed while the games were played."""
    model = ActorCritic(5, 2, 32, 8, identity_size, stream(0, "weights"))
    episodes = tabular_episodes(9, 11, 1, identity_size)
    kernel = native.kernel_for(episodes.observations.device, 32)
    gates, identity = Gates(*(gate.detach() for gate in model.gates())), model.identity_gates(episodes.identity)
    played = native.Recurrence(kernel, gates, None if identity is None else identity.detach(), 9, 11)
    before = torch.full((9,), 2)
    for t in range(11):
        reward = episodes.rewards[:, t - 1].contiguous() if t else torch.zeros(9)
        played.advance(model.index(episodes.observations[:, t], before).int(), reward)
        before = episodes.actions[:, t]
    gradients = []
    for outputs in (model.recall(played, episodes), model(episodes)):
        model.zero_grad()
        outputs.square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
        torch.testing.assert_close(outputs, model(episodes), atol=1e-5, rtol=1e-5)
    for recalled, whole in zip(*gradients, strict=True):
        torch.testing.assert_close(recalled, whole, atol=1e-4 * whole.abs().max().item(), rtol=1e-3)


@pytest.mark.parametrize("identity_size", [0, 10])
@pytest.mark.parametrize("hidden", [None, 24])
def test_a_model_is_rebuilt_from_its_weights_with_the_identity_and_the_width_that_they_have(identity_size, hidden):
    config = load_preset("smoke")
    sizes = sizes_of(config, identity_size, hidden)
    assert sizes == (5, 2, hidden or config.model.hidden, config.model.embedding, identity_size)
    weights = ActorCritic(*sizes, stream(0, "weights")).state_dict()
    assert identity_size_of(weights) == identity_size
    again = rebuilt(ActorCritic, config, weights, hidden).state_dict()
    assert again.keys() == weights.keys() and all(torch.equal(again[name], weights[name]) for name in weights)
