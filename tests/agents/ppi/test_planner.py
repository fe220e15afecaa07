"""The planner against exhaustive enumeration, and the improvement step against its formula."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coopctx import native
from coopctx.agents.ppi import planner as planner_module
from coopctx.agents.ppi.model import SequenceModel, predict
from coopctx.agents.ppi.planner import ESTIMATORS, Planner, returns, stratified_uniforms
from coopctx.agents.trunk import Gates, step
from coopctx.game.sampling import choose
from coopctx.game.streams import stream

ACTIONS, OBSERVATIONS, HIDDEN = 2, 3, 16


@torch.no_grad()
def tiny_model(seed=0):
    """A model whose predictions differ strongly between histories, its gates, and one hidden state."""
    model = SequenceModel(OBSERVATIONS, ACTIONS, HIDDEN, 8, 0, stream(seed, "tiny"))
    for parameter in model.parameters():
        parameter.mul_(3)
    return Gates(*model.gates()), torch.randn(1, HIDDEN, generator=stream(seed, "hidden"))


def enumerate_values(gates, hidden, horizon, discount):
    """Q(x, a) by summing over every path of actions and observations, in plain Python recursion."""

    def value(state, rounds_left, first=None):
        heads = predict(gates, state, ACTIONS)
        total = 0.0
        for a, o in itertools.product(range(ACTIONS), range(OBSERVATIONS)):
            if first is not None and a != first:
                continue
            p = (1.0 if first is not None else heads.action[0, a].exp().item()) * heads.observation[0, a, o].exp().item()
            reward = heads.reward[0, a, o]
            later = 0.0
            if rounds_left > 1:
                index = torch.tensor([o * (ACTIONS + 1) + a])
                later = value(step(gates, state, index, reward[None], None), rounds_left - 1)
            total += p * (reward.item() + discount * later)
        return total

    return torch.tensor([value(hidden, horizon, first) for first in range(ACTIONS)])


@torch.no_grad()
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("rows", [1, 30])  # one game at a time; three, and then what is left
def test_many_games_are_simulated_a_part_at_a_time_with_the_same_values(estimator, rows, monkeypatch):
    """With each game's own state, identity and random numbers; memory stays within a part's."""
    gates, _ = tiny_model()
    hidden, extra = torch.rand(8, HIDDEN, generator=stream(0, "h")), torch.randn(8, 3 * HIDDEN, generator=stream(0, "e"))
    planner = Planner(rollouts=5, horizon=4, inverse_temperature=1.0, estimator=estimator)
    monkeypatch.setattr("coopctx.native.kernel_for", lambda device, hidden: None)
    sizes: list[int] = []

    def watched(gates, n_actions, hidden, *rest):
        sizes.append(len(hidden))
        return returns(gates, n_actions, hidden, *rest)

    monkeypatch.setattr(planner_module, "returns", watched)
    for more in (None, extra):
        whole = planner.action_values(gates, ACTIONS, hidden, more, stream(1, "u"))
        with monkeypatch.context() as patch:
            patch.setattr(planner_module, "_ROWS", rows)
            parts = planner.action_values(gates, ACTIONS, hidden, more, stream(1, "u"))
        assert torch.allclose(parts, whole, atol=1e-5) and whole.std(0).min() > 0.01
    assert sizes == [8, *([1] * 8 if rows == 1 else [3, 3, 2])] * 2


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("discount", [1.0, 0.8])
def test_both_estimators_are_unbiased(estimator, discount):
    gates, hidden = tiny_model()
    exact = enumerate_values(gates, hidden, 3, discount)
    games = 12_000
    planner = Planner(rollouts=3, horizon=3, inverse_temperature=1.0, discount=discount, estimator=estimator)
    values = planner.action_values(gates, ACTIONS, hidden.expand(games, -1).contiguous(), None, stream(1, estimator))
    standard_error = values.std(0) / games**0.5
    assert ((values.mean(0) - exact).abs() < 4.5 * standard_error + 2e-3).all()  # 2e-3: the kernel's reduced precision
    assert (exact[0] - exact[1]).abs() > 0.05, "a model that tells the actions apart"


def test_the_expected_estimator_is_exact_over_one_round():
    gates, hidden = tiny_model(1)
    uniforms = torch.rand(1, 1, 1, 1, 2)
    assert torch.allclose(
        returns(gates, ACTIONS, hidden, None, uniforms, 1.0, True)[0], enumerate_values(gates, hidden, 1, 1.0), atol=1e-5
    )


def returns_by_hand(gates, hidden, extra, uniforms, discount, expected):
    """Mean returns [games, actions], a game, a first action, a rollout, a round at a time."""
    games, rollouts, horizon = len(hidden), uniforms.shape[2], uniforms.shape[3]
    values = torch.zeros(games, ACTIONS)
    for game, first, rollout in itertools.product(range(games), range(ACTIONS), range(rollouts)):
        state, own = hidden[game : game + 1], None if extra is None else extra[game : game + 1]
        numbers = uniforms[game, first if uniforms.shape[1] > 1 else 0, rollout]
        for t in range(horizon):
            heads = predict(gates, state, ACTIONS)
            policy, following, reward = heads.action[0].exp(), heads.observation[0].exp(), heads.reward[0]
            action = first if t == 0 else drawn(policy, numbers[t, 0])
            observation = drawn(following[action], numbers[t, 1])
            means = (following * reward).sum(1)
            gain = reward[action, observation] if not expected else means[first] if t == 0 else policy @ means
            values[game, first] += discount**t * gain / rollouts
            index = torch.tensor([observation * (ACTIONS + 1) + action])
            state = step(gates, state, index, reward[action, observation][None], own)
    return values


def drawn(probabilities, uniform) -> int:
    """The outcome whose interval of [0, 1) contains ``uniform``."""
    reached = 0.0
    for outcome, probability in enumerate(probabilities.tolist()):
        reached += probability
        if uniform < reached:
            return outcome
    return len(probabilities) - 1


@pytest.mark.parametrize("with_identity", [False, True])
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("precision", [None, *native.PRECISIONS])
def test_action_values_are_mean_returns_of_rollouts_with_the_planners_random_numbers(precision, estimator, with_identity, monkeypatch):
    kernel = native._load(precision) if precision else None
    if precision and kernel is None:
        pytest.skip(f"no native kernel in {precision}")
    monkeypatch.setattr("coopctx.native.kernel_for", lambda device, hidden: kernel if hidden == HIDDEN else None)
    gates, _ = tiny_model(3)
    gates = Gates(*(gate.detach().contiguous() for gate in gates))
    hidden = torch.randn(5, HIDDEN, generator=stream(3, "games"))
    extra = torch.randn(5, 3 * HIDDEN, generator=stream(3, "identity")) if with_identity else None
    planner = Planner(rollouts=3, horizon=4, inverse_temperature=1.0, discount=0.9, estimator=estimator)
    found = planner.action_values(gates, ACTIONS, hidden, extra, stream(4), threads=2)
    uniforms, expected = planner.uniforms(5, ACTIONS, stream(4)), estimator == "expected"
    if kernel is None:
        assert torch.allclose(found, returns_by_hand(gates, hidden, extra, uniforms, 0.9, expected), atol=1e-5)
    else:
        settings = ACTIONS, OBSERVATIONS, 0.9, expected, 1
        assert torch.equal(found, kernel.rollouts(gates, extra, hidden, uniforms, *settings)[0]), "threads change nothing"
    assert torch.equal(found, planner.action_values(gates, ACTIONS, hidden, extra, stream(4)))
    assert not torch.equal(found, planner.action_values(gates, ACTIONS, hidden, extra, stream(5)))


def test_each_estimator_has_its_own_random_numbers_from_the_stream_alone():
    """Shared by the first actions and stratified, or for every first action its own."""
    expected = Planner(3, 4, 1.0, estimator="expected").uniforms(5, ACTIONS, stream(6))
    assert torch.equal(expected, stratified_uniforms(5, 3, 4, stream(6))[:, None])
    sampled = Planner(3, 4, 1.0, estimator="sampled").uniforms(5, ACTIONS, stream(6))
    assert torch.equal(sampled, torch.rand(5, ACTIONS, 3, 4, 2, generator=stream(6)))


def test_stratified_uniforms_stay_below_one(monkeypatch):
    """In the last stratum rounding would give 1, to which no outcome belongs; the largest float32 below 1 replaces it."""
    largest = 1 - 2**-24
    monkeypatch.setattr(torch, "rand", lambda *sizes, generator: torch.full(sizes, largest))
    uniforms = stratified_uniforms(40, 3, 2, stream(0))
    assert uniforms.max().item() == largest and uniforms.min().item() == pytest.approx(1 / 3)


def test_expected_differences_between_actions_vary_less_than_sampled_ones():
    gates, hidden = tiny_model(2)
    spread = {}
    for estimator in ESTIMATORS:
        planner = Planner(rollouts=8, horizon=6, inverse_temperature=1.0, estimator=estimator)
        values = planner.action_values(gates, ACTIONS, hidden.expand(2_000, -1).contiguous(), None, stream(2))
        spread[estimator] = (values[:, 0] - values[:, 1]).var().item()
    assert spread["expected"] < 0.5 * spread["sampled"]


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 9), st.integers(1, 4), st.integers(0, 1000))
def test_stratified_uniforms_put_one_rollout_into_every_stratum(rollouts, horizon, seed):
    uniforms = stratified_uniforms(5, rollouts, horizon, stream(seed))
    assert uniforms.shape == (5, rollouts, horizon, 2)
    strata = (uniforms * rollouts).floor().sort(1).values
    assert torch.equal(strata, torch.arange(float(rollouts))[None, :, None, None].expand_as(strata))


def test_the_strata_are_those_that_committed_runs_were_planned_with():
    strata = (3 * stratified_uniforms(2, 3, 2, stream(0))).int().tolist()
    first = [[[2, 2], [2, 1]], [[1, 1], [0, 0]], [[0, 0], [1, 2]]]
    assert strata == [first, [[[0, 2], [0, 2]], [[2, 0], [1, 0]], [[1, 1], [2, 1]]]]


def test_a_single_rollouts_stratified_uniforms_are_independent_and_uniform():
    uniforms = stratified_uniforms(40_000, 4, 2, stream(3))[:, 1]  # one rollout of many games
    flat = uniforms.flatten(1)
    assert flat.mean(0).tolist() == pytest.approx([0.5] * 4, abs=0.01)
    assert flat.var(0).tolist() == pytest.approx([1 / 12] * 4, abs=0.002)
    assert torch.corrcoef(flat.T).fill_diagonal_(0).abs().max() < 0.02


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-3, 3), min_size=2, max_size=4), st.floats(0.01, 200), st.integers(0, 99))
def test_the_improved_policy_is_p_exp_beta_q_normalised(values, beta, seed):
    q = torch.tensor([values], dtype=torch.float64)
    prior = torch.rand(1, len(values), generator=stream(seed), dtype=torch.float64) + 0.01
    prior /= prior.sum()
    improved = Planner(1, 1, beta).improve(prior.log(), q)
    weights = prior * torch.exp(beta * (q - q.max()))  # the common factor exp(-beta max Q) cancels
    assert torch.allclose(improved.exp(), weights / weights.sum())


def test_as_beta_goes_to_zero_the_improved_policy_becomes_the_prior():
    prior = torch.tensor([[0.2, 0.8]])
    improved = Planner(1, 1, 1e-9).improve(prior.log(), torch.tensor([[5.0, -5.0]]))
    assert torch.allclose(improved.exp(), prior, atol=1e-6)


def test_choose_inverts_the_cumulative_distribution():
    probabilities = torch.tensor([[0.25, 0.5, 0.25]]).expand(5, -1)
    assert choose(probabilities, torch.tensor([0.0, 0.2499, 0.25, 0.7499, 0.999])).tolist() == [0, 0, 1, 1, 2]
