"""Algorithm 1 of arXiv:2410.18636 against its sums written out, and the gradients that it estimates against exact ones."""

from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from coopctx.agents.coala.returns import RULES, advantages, batch_lambda_returns, value_targets

SIZES = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))  # co-players, B, M, T


def draw(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def written_out(rewards: Tensor, rounds: int, rule: str) -> Tensor:
    """The table of Eqs. 3, 5-7, sum by sum."""
    games, length = rewards.shape[-2:]
    weight = torch.zeros_like(rewards)
    for b, t in product(range(games), range(length)):
        end = (t // rounds + 1) * rounds
        current = rewards[..., b, t:end].sum(-1)
        future = [rewards[..., other, end:].sum(-1) for other in range(games)]
        weight[..., b, t] = {
            "coala": current / games + sum(future) / games,
            "m-fos": current + sum(future) / games,
            "batch-unaware": current + future[b],
        }[rule]
    return weight


@pytest.mark.parametrize("rule", RULES)
@given(sizes=SIZES, seed=st.integers(0, 1000))
def test_without_discount_the_returns_are_the_written_sums(rule: str, sizes: tuple[int, int, int, int], seed: int) -> None:
    players, games, episodes, rounds = sizes
    rewards = draw((players, games, episodes * rounds), seed)
    nothing = torch.zeros_like(rewards)
    returns = batch_lambda_returns(rewards, nothing, nothing[..., 0], rounds, 1.0, 1.0, RULES[rule])
    torch.testing.assert_close(returns, written_out(rewards, rounds, rule))


@given(sizes=SIZES, seed=st.integers(0, 1000), discount=st.floats(0.5, 1), lam=st.floats(0, 1))
def test_lambda_returns_of_single_games_are_mixed_n_step_returns(sizes, seed: int, discount: float, lam: float) -> None:
    """Batch-unaware: G_t = (1 - lam) sum_n lam^(n-1) G_t^(n) + lam^N G_t^(N), n-step returns written out."""
    players, games, episodes, rounds = sizes
    length = episodes * rounds
    rewards, values = draw((players, games, length), seed), draw((players, games, length), seed + 1)
    returns = batch_lambda_returns(rewards, values, values[..., -1], rounds, discount, lam, RULES["batch-unaware"])
    for t in range(length):
        n_step = []
        for n in range(1, length - t + 1):
            ahead = sum(discount**k * rewards[..., t + k] for k in range(n))
            n_step.append(ahead + discount**n * values[..., t + n - 1])
        most = len(n_step)
        mixed = sum((1 - lam) * lam ** (n - 1) * n_step[n - 1] for n in range(1, most)) + lam ** (most - 1) * n_step[-1]
        torch.testing.assert_close(returns[..., t], torch.as_tensor(mixed))


@given(sizes=SIZES, seed=st.integers(0, 1000), discount=st.floats(0.5, 1), lam=st.floats(0, 1))
def test_a_shared_future_is_the_mean_of_the_single_ones_at_each_boundary(sizes, seed: int, discount: float, lam: float) -> None:
    players, games, episodes, rounds = sizes
    rewards, values = draw((players, games, episodes * rounds), seed), draw((players, games, episodes * rounds), seed + 1)
    arguments = rewards, values, values[..., -1], rounds, discount, lam
    single, shared = (batch_lambda_returns(*arguments, RULES[rule]) for rule in ("batch-unaware", "m-fos"))
    for end in range(rounds, episodes * rounds, rounds):
        follows = single[..., end].mean(-1, keepdim=True)
        for t in range(end - rounds, end):  # (discount lam)^k of what follows the episode reaches a round k before its end
            reaching = (discount * lam) ** (end - t)
            torch.testing.assert_close(shared[..., t] - single[..., t], reaching * (follows - single[..., end]))


@given(sizes=SIZES, seed=st.integers(0, 1000))
def test_at_discount_and_lambda_one_the_baseline_is_made_of_values_that_the_action_does_not_touch(sizes, seed: int) -> None:
    players, games, episodes, rounds = sizes
    length = episodes * rounds
    rewards, values = draw((players, games, length), seed), draw((players, games, length), seed + 1)
    baseline = written_out(rewards, rounds, "coala") - advantages(rewards, values, rounds, 1.0, 1.0, RULES["coala"])
    for t in range(length):
        end = (t // rounds + 1) * rounds
        following = values[..., end] if end < length else torch.zeros_like(values[..., 0])
        others = following.sum(-1, keepdim=True) - following
        torch.testing.assert_close(baseline[..., t], (values[..., t] + others) / games)


@given(sizes=SIZES, seed=st.integers(0, 1000), discount=st.floats(0.5, 1), lam=st.floats(0, 1))
def test_value_targets_are_each_games_own_lambda_returns(sizes, seed: int, discount: float, lam: float) -> None:
    players, games, episodes, rounds = sizes
    rewards, values = draw((players, games, episodes * rounds), seed), draw((players, games, episodes * rounds), seed + 1)
    after = torch.cat([values[..., 1:], torch.zeros_like(values[..., :1])], -1)
    expected = batch_lambda_returns(rewards, after, after[..., -1], rounds, discount, lam, RULES["batch-unaware"])
    torch.testing.assert_close(value_targets(rewards, values, rounds, discount, lam), expected)


# The gradients, on a game with so few courses of play that all of them can be listed -------------------------------
#
# B = 2 games of T = 2 rounds, M = 2 inner episodes. The ego plays five logits, the co-player five others, on which it takes
# one step of REINFORCE after the first inner episode (or none). All 2^16 courses of play are listed with their probabilities.

GAMES, EPISODES, ROUNDS = 2, 2, 2
LENGTH = EPISODES * ROUNDS
PAYOFF = torch.tensor([[1.0, -1.0], [2.0, 0.0]], dtype=torch.float64)
RATE = 1.5  # of the co-player's step: large, so that shaping matters
EGO = torch.tensor([0.3, -0.4, 0.5, 0.1, -0.2], dtype=torch.float64)
CO = torch.tensor([-0.1, 0.6, -0.3, 0.2, 0.4], dtype=torch.float64)


def every_course() -> tuple[Tensor, Tensor]:
    """Actions (0 cooperates) of ego and co, [65536, B, L] each."""
    numbers = torch.arange(2 ** (2 * GAMES * LENGTH))
    bits = (numbers[:, None] >> torch.arange(2 * GAMES * LENGTH)) & 1
    ego, co = bits.view(-1, 2, GAMES, LENGTH).unbind(1)
    return ego, co


def seen(own: Tensor, other: Tensor) -> Tensor:
    """Observation codes before each round: 0 at an inner episode's start, then 1 + 2 own + other of the last round."""
    before = torch.roll(1 + 2 * own + other, 1, -1)
    before[..., ::ROUNDS] = 0
    return before


def log_probability(logits: Tensor, observed: Tensor, actions: Tensor) -> Tensor:
    """Of each action, from the logits of cooperating [..., 5] (leading dimensions as those of the actions)."""
    chosen = logits.expand(*observed.shape[:-1], 5).gather(-1, observed)
    return torch.nn.functional.logsigmoid(torch.where(actions == 0, chosen, -chosen))


def learned(co: Tensor, observed: Tensor, rewards: Tensor) -> Tensor:
    """The co-player's logits after REINFORCE on the first inner episode's games, [courses, 5]."""
    first = slice(0, ROUNDS)
    chosen = torch.nn.functional.one_hot(observed[..., first], 5).double()
    score = ((co == 0).double()[..., first] - torch.sigmoid(CO)[observed[..., first]])[..., None] * chosen
    returns = rewards[..., first].flip(-1).cumsum(-1).flip(-1)[..., None]
    return CO + RATE * (score * returns).sum(-2).mean(-2)


class Enumerated:
    """All courses of play between EGO and CO, and what each rule makes of them."""

    def __init__(self, shaped: bool) -> None:
        ego, co = every_course()
        self.rewards = PAYOFF[ego, co]
        self.ego, self.observed = ego, seen(ego, co)
        theirs = seen(co, ego)
        later = learned(co, theirs, PAYOFF[co, ego]) if shaped else CO.expand(len(co), 5)
        logits = torch.stack([CO.expand_as(later), later], 1).repeat_interleave(ROUNDS, 1)  # [courses, L, 5]
        chosen = logits[:, None].expand(-1, GAMES, -1, -1).gather(-1, theirs[..., None])[..., 0]
        self.log_co = torch.nn.functional.logsigmoid(torch.where(co == 0, chosen, -chosen)).sum((1, 2))

    def log_ego(self, logits: Tensor) -> Tensor:
        return log_probability(logits[None, None], self.observed, self.ego)

    def exact_gradient(self) -> Tensor:
        """Of the expected return of one game, by automatic differentiation through every course's probability."""
        logits = EGO.clone().requires_grad_()
        chances = (self.log_ego(logits).sum((1, 2)) + self.log_co).exp()
        (chances * self.rewards.sum(-1).mean(-1)).sum().backward()
        return logits.grad

    def expected_estimate(self, weights: Tensor) -> Tensor:
        """The estimator's expectation: the mean over all courses of sum_b,l grad log pi x weight."""
        logits = EGO.clone().requires_grad_()
        log_ego = self.log_ego(logits)
        chances = (log_ego.detach().sum((1, 2)) + self.log_co).exp()
        (chances * (log_ego * weights).sum((1, 2))).sum().backward()
        return logits.grad

    def sampled_estimate(self, weights: Tensor, samples: int) -> Tensor:
        """The estimator's mean over courses drawn at random."""
        chances = (self.log_ego(EGO).sum((1, 2)) + self.log_co).exp()
        drawn = torch.multinomial(chances, samples, replacement=True, generator=torch.Generator().manual_seed(0))
        counts = torch.bincount(drawn, minlength=len(chances)).double() / samples
        logits = EGO.clone().requires_grad_()
        (counts * (self.log_ego(logits) * weights).sum((1, 2))).sum().backward()
        return logits.grad

    def weights(self, rule: str, values: Tensor | None = None) -> Tensor:
        return advantages(self.rewards, torch.zeros_like(self.rewards) if values is None else values, ROUNDS, 1.0, 1.0, RULES[rule])


@pytest.fixture(scope="module")
def shaped() -> Enumerated:
    return Enumerated(shaped=True)


@pytest.fixture(scope="module")
def independent() -> Enumerated:
    return Enumerated(shaped=False)


def test_courses_are_complete(shaped: Enumerated, independent: Enumerated) -> None:
    for courses in (shaped, independent):
        chances = (courses.log_ego(EGO).sum((1, 2)) + courses.log_co).exp()
        assert float(chances.sum()) == pytest.approx(1)


def test_coala_is_the_exact_gradient_against_a_learner(shaped: Enumerated) -> None:
    torch.testing.assert_close(shaped.expected_estimate(shaped.weights("coala")), shaped.exact_gradient())


def test_the_others_are_not(shaped: Enumerated) -> None:
    """What they lack is the effect of an action on the games beside it, half of the shaping where B = 2."""
    exact = shaped.exact_gradient()
    for rule in ("m-fos", "batch-unaware"):
        estimate = shaped.expected_estimate(shaped.weights(rule)) / GAMES
        assert float((estimate - exact).abs().max()) > 0.02


def test_m_fos_and_batch_unaware_are_equal_for_a_policy_that_forgets_at_the_boundary(shaped: Enumerated) -> None:
    """Five logits begin each inner episode anew: any game of the next one then feels an action as much as the same game."""
    estimates = [shaped.expected_estimate(shaped.weights(rule)) for rule in ("m-fos", "batch-unaware")]
    torch.testing.assert_close(*estimates)


def test_where_games_are_independent_coala_and_batch_unaware_are_the_exact_gradient(independent: Enumerated) -> None:
    exact = independent.exact_gradient()
    torch.testing.assert_close(independent.expected_estimate(independent.weights("coala")), exact)
    torch.testing.assert_close(independent.expected_estimate(independent.weights("batch-unaware")) / GAMES, exact)


def test_a_baseline_of_the_history_changes_no_expectation(shaped: Enumerated) -> None:
    values = draw((5,), 3)[shaped.observed]  # of the last joint action, whatever the numbers
    torch.testing.assert_close(shaped.expected_estimate(shaped.weights("coala", values)), shaped.exact_gradient())


def test_the_mean_over_many_samples_approaches_the_exact_gradient(shaped: Enumerated) -> None:
    estimate = shaped.sampled_estimate(shaped.weights("coala"), samples=2_000_000)
    torch.testing.assert_close(estimate, shaped.exact_gradient(), atol=2e-3, rtol=0)
