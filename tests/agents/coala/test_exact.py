"""The exact game against the finite game of `memory_one`, automatic differentiation, and steps taken one at a time."""

import numpy as np
import pytest
import torch
from torch import Tensor

from coopctx.agents.coala import exact
from coopctx.game.memory_one import SWAPPED, expected_play

PD = torch.tensor([1.0, -1.0, 2.0, 0.0], dtype=torch.float64)
GAMMA = 0.9


def logits(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def returns(first: Tensor, second: Tensor) -> Tensor:
    """J of the first player, per round."""
    return exact.play(first, second, PD, GAMMA).visits @ PD


def test_returns_are_the_discounted_sums_of_a_very_long_game() -> None:
    first, second = logits(7), logits(7, seed=1)
    played = expected_play(torch.sigmoid(first).numpy(), torch.sigmoid(second).numpy(), 400)
    weights = (1 - GAMMA) * GAMMA ** np.arange(400)
    np.testing.assert_allclose(returns(first, second), played.reward @ weights, atol=1e-12)
    np.testing.assert_allclose(returns(second, first), played.co_reward @ weights, atol=1e-12)
    visits = exact.play(first, second, PD, GAMMA).visits
    np.testing.assert_allclose(visits.sum(-1), 1)
    np.testing.assert_allclose(visits[:, :2].sum(-1), played.cooperation @ weights, atol=1e-12)
    other = visits[..., SWAPPED]
    np.testing.assert_allclose(other, exact.play(second, first, PD, GAMMA).visits, atol=1e-12)


def test_the_written_gradient_is_that_of_automatic_differentiation() -> None:
    first, second = logits(6).requires_grad_(), logits(6, seed=1)
    returns(first, second).sum().backward()
    written = exact.gradient(first, second, exact.play(first, second, PD, GAMMA), GAMMA)
    torch.testing.assert_close(written, first.grad)


def test_naive_learners_ascend_their_own_return() -> None:
    meta, naive = logits(2), logits(2, 3, seed=1)
    visits = exact.shape(meta, naive, PD, GAMMA, rate=2.0, steps=4)
    assert visits.shape == (2, 3, 4, 4)
    for agent in range(2):
        for learner in range(3):
            phi = naive[agent, learner].clone()
            for step in range(4):
                phi.requires_grad_()
                played = exact.play(meta[agent], phi, PD, GAMMA).visits
                torch.testing.assert_close(visits[agent, learner, step], played.detach())
                (ascent,) = torch.autograd.grad(returns(phi, meta[agent]), phi)
                phi = (phi + 2.0 * ascent).detach()


def shaping_objective(meta: Tensor, naive: Tensor) -> Tensor:
    return (exact.shape(meta, naive, PD, GAMMA, 2.0, 5) @ PD).mean((-2, -1))


def test_the_meta_gradient_goes_through_the_naive_learners_steps() -> None:
    """Against finite differences, which know nothing of how the steps are differentiated."""
    metas, naive = logits(2), logits(2, 3, seed=1)
    ascent = exact.meta_gradient(metas, naive, PD, GAMMA, 2.0, 5, naive_share=1.0)
    for k in range(5):
        nudge = torch.zeros(5, dtype=torch.float64)
        nudge[k] = 1e-5
        difference = (shaping_objective(metas + nudge, naive) - shaping_objective(metas - nudge, naive)) / 2e-5
        torch.testing.assert_close(ascent[:, k], difference, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_mixed_pool_weighs_both_gradients(share: float) -> None:
    metas, naive = logits(3), logits(3, 2, seed=1)
    shaping = exact.meta_gradient(metas, naive, PD, GAMMA, 2.0, 5, naive_share=1.0)
    others = []
    for agent in range(3):
        own = metas[agent].clone().requires_grad_()
        rivals = [returns(own, metas[other]) for other in range(3) if other != agent]
        others.append(torch.autograd.grad(sum(rivals) / 2, own)[0])
    mixed = exact.meta_gradient(metas, naive, PD, GAMMA, 2.0, 5, naive_share=share)
    torch.testing.assert_close(mixed, share * shaping + (1 - share) * torch.stack(others))
