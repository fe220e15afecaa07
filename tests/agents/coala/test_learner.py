"""A meta agent's update on a batch of meta-trajectories, against the loss written out and PyTorch's own Adam."""

import copy
import dataclasses

import pytest
import torch
from torch import Tensor

from coopctx.agents.coala.learner import (
    FiveLogitLearner,
    RecurrentLearner,
    by_kind,
    entropy_weight,
    learning_rate,
    minus_regression_on_other_games,
    rescaled,
)
from coopctx.agents.coala.meta_games import Layout, play
from coopctx.agents.coala.naive import FiveLogitLearners
from coopctx.agents.coala.returns import RULES, Rule, advantages, batch_lambda_returns, value_targets
from coopctx.experiments.settings import CoalaConfig, ModelConfig
from coopctx.game.episodes import Episodes
from coopctx.game.matrix import PRISONERS_DILEMMA

LAYOUT = Layout(agents=2, naive=3, others=2, games=4, episodes=3, rounds=5)
A2C = CoalaConfig(
    hidden=12,  # no width that the native kernel supports
    epochs=1,
    minibatches=1,
    iterations=3,
    learning_rate=0.01,
    final_learning_rate=0.0,
    entropy_weight=0.02,
    final_entropy_weight=0.0,
    reward_scale=0.1,
    max_grad_norm=0.05,
)


def recurrent(coala: CoalaConfig, number: int = 1) -> RecurrentLearner:
    return RecurrentLearner(number, PRISONERS_DILEMMA, ModelConfig(embedding=8), coala, 0)


def played(learner: RecurrentLearner | FiveLogitLearner, purpose: str = "test") -> Episodes:
    """A batch of ``learner``'s, with naive learners and another meta agent."""
    players = [meta.player(purpose, rounds=15) for meta in (learner, recurrent(A2C, 2))]
    draw = torch.Generator().manual_seed(5)
    naive = [FiveLogitLearners(LAYOUT.naive, 2, CoalaConfig(), draw) for _ in players]
    with torch.no_grad():
        return play(PRISONERS_DILEMMA, LAYOUT, players, naive)[0][0]


def written_loss(model: torch.nn.Module, played_by: torch.nn.Module, episodes: Episodes, coala: CoalaConfig, bonus: float) -> Tensor:
    """PPO's loss, advantages to mean 0 for each kind of co-player; bonus: the entropy's weight."""
    outputs, before = model(episodes), played_by(episodes).detach()
    rewards, values = (x.view(-1, LAYOUT.games, 15) for x in (coala.reward_scale * episodes.rewards, before[..., 2]))
    naive, meta = slice(0, LAYOUT.naive), slice(LAYOUT.naive, None)
    weight = torch.cat(
        [
            advantages(rewards[kind], values[kind], LAYOUT.rounds, coala.discount, lam, RULES[coala.rule]).view(-1, 15)
            for kind, lam in ((naive, coala.gae_lambda), (meta, coala.meta_gae_lambda))
        ]
    )
    against_naive = LAYOUT.naive * LAYOUT.games
    weight = torch.cat([part - part.mean() for part in (weight[:against_naive], weight[against_naive:])])
    target = value_targets(rewards, values, LAYOUT.rounds, coala.discount, coala.td_lambda).view(-1, 15)
    policy, old = (torch.distributions.Categorical(logits=each[..., :2]) for each in (outputs, before))
    ratio = torch.exp(policy.log_prob(episodes.actions.long()) - old.log_prob(episodes.actions.long()))
    gain = torch.minimum(ratio * weight, ratio.clamp(1 - coala.clip, 1 + coala.clip) * weight)
    return -gain.mean() - bonus * policy.entropy().mean() + coala.value_weight * ((outputs[..., 2] - target) ** 2).mean()


def assert_follows_the_written_loss(coala: CoalaConfig) -> None:
    """Through two iterations, the learning rate and the entropy's weight on half of their way to 0 in the second."""
    learner, alone = recurrent(coala), recurrent(coala).model
    optimizer = torch.optim.Adam(alone.parameters(), lr=coala.learning_rate, eps=coala.adam_epsilon)
    for iteration, share in ((1, 1.0), (2, 0.5)):
        episodes = played(learner, f"test {iteration}")
        learner.update(episodes, LAYOUT, None, iteration)
        optimizer.param_groups[0]["lr"] = share * coala.learning_rate
        played_by = copy.deepcopy(alone)
        for _ in range(coala.epochs):
            optimizer.zero_grad()
            written_loss(alone, played_by, episodes, coala, share * coala.entropy_weight).backward()
            torch.nn.utils.clip_grad_norm_(alone.parameters(), coala.max_grad_norm)
            optimizer.step()
    for ours, theirs in zip(learner.model.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("rule", RULES)
def test_one_pass_in_one_piece_is_a2c(rule: str) -> None:
    lambdas = {"gae_lambda": 0.95, "meta_gae_lambda": 0.5, "td_lambda": 0.9}
    assert_follows_the_written_loss(dataclasses.replace(A2C, rule=rule, discount=0.99, **lambdas))


def test_several_passes_are_ppo() -> None:
    assert_follows_the_written_loss(dataclasses.replace(A2C, epochs=3, clip=0.05))


def test_a_minibatch_is_a_share_of_the_games(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = recurrent(dataclasses.replace(A2C, epochs=2, minibatches=2))
    episodes = played(learner)
    seen = []
    step = learner._step
    monkeypatch.setattr(learner, "_step", lambda *given: (seen.append(given[2]), step(*given))[1])
    learner.update(episodes, LAYOUT, None, 1)
    assert [len(weight) for weight in seen] == [LAYOUT.rows // 2] * 4
    for first, second in (seen[:2], seen[2:]):
        rows, whole = (torch.cat([first, second]).sort(0).values, torch.cat(seen[:2]).sort(0).values)
        assert torch.equal(rows, whole)
    assert not torch.equal(seen[0], seen[2])


def test_the_gradient_reaches_back_to_the_first_round() -> None:
    learner = recurrent(A2C)
    with torch.no_grad():
        learner.model.head.weight.normal_(generator=torch.Generator().manual_seed(0))
    episodes = played(learner)
    embedded = []
    hook = learner.model.gru.register_forward_pre_hook(lambda _, inputs: (inputs[0].retain_grad(), embedded.append(inputs[0]))[0])
    learner.model(episodes)[:, -1].sum().backward()
    hook.remove()
    assert embedded[0].grad[:, 0].abs().max() > 0


@pytest.mark.parametrize("kind", [RecurrentLearner, FiveLogitLearner])
def test_meta_agents_share_nothing(kind: type) -> None:
    learners = [kind(n, PRISONERS_DILEMMA, ModelConfig(embedding=8), A2C, 0) for n in (1, 2)]
    first, second = (learner.model.state_dict() for learner in learners)
    if kind is RecurrentLearner:
        assert not torch.equal(first["gru.weight_hh_l0"], second["gru.weight_hh_l0"])
    assert not {tensor.data_ptr() for tensor in first.values()} & {tensor.data_ptr() for tensor in second.values()}
    untouched = {name: tensor.clone() for name, tensor in second.items()}
    before = {name: tensor.clone() for name, tensor in first.items()}
    learners[0].update(played(learners[0]), LAYOUT, None, 1)
    assert any(not torch.equal(before[name], tensor) for name, tensor in learners[0].model.state_dict().items())
    assert all(torch.equal(untouched[name], tensor) for name, tensor in learners[1].model.state_dict().items())


def test_a_first_policy_is_even_and_its_value_zero() -> None:
    learner = recurrent(A2C)
    outputs = learner.model(played(learner))
    assert torch.equal(outputs, torch.zeros_like(outputs))


def test_advantages_are_rescaled_for_each_kind_of_co_player_by_itself() -> None:
    weight = torch.randn(LAYOUT.rows, 15, generator=torch.Generator().manual_seed(0))
    weight[LAYOUT.naive_rows] = 7 + 3 * weight[LAYOUT.naive_rows]
    assert torch.equal(rescaled(weight, LAYOUT, "as-is", torch.sqrt), weight)
    for how, deviation in (("centred", None), ("normalised", 1.0)):
        changed = rescaled(weight, LAYOUT, how, torch.sqrt)
        for rows in (LAYOUT.naive_rows, LAYOUT.meta_rows):
            assert float(changed[rows].mean()) == pytest.approx(0, abs=1e-5)
            expected = float(weight[rows].std(correction=0)) if deviation is None else deviation
            assert float(changed[rows].std(correction=0)) == pytest.approx(expected, rel=1e-4)
    given = rescaled(weight, LAYOUT, "normalised", lambda variances: torch.tensor([2.0, 5.0]))
    for rows, divisor in ((LAYOUT.naive_rows, 2.0), (LAYOUT.meta_rows, 5.0)):
        torch.testing.assert_close(given[rows], (weight[rows] - weight[rows].mean()) / divisor)


@pytest.mark.parametrize("kind", [RecurrentLearner, FiveLogitLearner])
def test_normalised_advantages_are_divided_by_averaged_deviations_that_a_checkpoint_keeps(kind: type) -> None:
    averaging = dataclasses.replace(A2C, advantages="normalised", variance_decay=0.75)
    settings = averaging, averaging, dataclasses.replace(averaging, variance_decay=0.0)
    one, other, alone = (kind(1, PRISONERS_DILEMMA, ModelConfig(embedding=8), coala, 0) for coala in settings)
    one.update(played(one, "first"), LAYOUT, None, 1)
    before = one._variances.clone()
    state = copy.deepcopy(one.state())
    for each in (other, alone):
        each.restore(copy.deepcopy(state))
    episodes = played(one, "second")
    for each in (one, other, alone):
        each.update(episodes, LAYOUT, None, 2)
    assert torch.equal(one._variances, other._variances)
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True))
    assert (alone._variances - before).abs().min() > 0 and before.shape == (2,)
    torch.testing.assert_close(one._variances, 0.75 * before + 0.25 * alone._variances)


def test_learning_rate_and_entropy_weight_can_end_their_ways_before_the_run_does() -> None:
    rates = {"learning_rate": 0.8, "final_learning_rate": 0.2, "learning_rate_decay": 0.5}
    weights = {"entropy_weight": 0.3, "final_entropy_weight": 0.1, "entropy_decay": 0.2}
    coala = dataclasses.replace(A2C, iterations=11, **rates, **weights)
    iterations = (1, 2, 3, 6, 7, 11)
    assert [learning_rate(coala, iteration) for iteration in iterations] == pytest.approx([0.8, 0.68, 0.56, 0.2, 0.2, 0.2])
    assert [entropy_weight(coala, iteration) for iteration in iterations] == pytest.approx([0.3, 0.2, 0.1, 0.1, 0.1, 0.1])
    whole = dataclasses.replace(coala, learning_rate_decay=1.0, entropy_decay=1.0)
    assert (learning_rate(whole, 6), entropy_weight(whole, 6)) == pytest.approx((0.5, 0.2))


def test_games_against_meta_agents_can_be_taken_as_independent() -> None:
    asked, a2c = [], dataclasses.replace(A2C, gae_lambda=0.9, meta_gae_lambda=0.8)

    def estimated(co_players: slice, lam: float, rule: Rule) -> Tensor:
        assert lam == (0.9 if co_players == slice(0, 3) else 0.8)
        asked.append(rule)
        return torch.ones(5, 4, 15)[co_players]

    for rule in RULES:
        weight = by_kind(estimated, dataclasses.replace(a2c, rule=rule), LAYOUT)
        assert torch.equal(weight, torch.ones(5, 4, 15))
        apart = by_kind(estimated, dataclasses.replace(a2c, rule=rule, meta_games="independent"), LAYOUT)
        assert torch.equal(apart[:3], weight[:3])
        assert torch.equal(apart[3:], weight[3:] / (4 if rule == "coala" else 1))
    coala, fos, unaware = RULES["coala"], RULES["m-fos"], RULES["batch-unaware"]
    assert asked == [coala, coala, coala, unaware, *[fos] * 4, *[unaware] * 4]


def test_the_five_logit_agents_gradient_is_the_written_one() -> None:
    coala = dataclasses.replace(A2C, policy="five-logit", max_grad_norm=10.0, meta_gae_lambda=0.7)
    learner = FiveLogitLearner(1, PRISONERS_DILEMMA, ModelConfig(), coala, 0)
    episodes = played(learner)
    logits = torch.zeros(5, requires_grad=True)
    rewards = (coala.reward_scale * episodes.rewards).view(-1, LAYOUT.games, 15)
    kinds = (rewards[: LAYOUT.naive], 1.0), (rewards[LAYOUT.naive :], 0.7)
    parts = [minus_regression_on_other_games(kind, LAYOUT.rounds, 1.0, lam, RULES["coala"]) for kind, lam in kinds]
    weight = rescaled(torch.cat(parts).view(-1, 15), LAYOUT, "centred", torch.sqrt)
    cooperated = episodes.actions == 0
    chosen = torch.where(cooperated, 1.0, -1.0) * logits[episodes.observations[:, :-1].long()]
    (-(torch.nn.functional.logsigmoid(chosen) * weight).mean()).backward()
    learner.update(episodes, LAYOUT, None, 1)
    torch.testing.assert_close(learner.model.logits.grad, logits.grad)
    moved = learner.model.logits.detach().clone()
    torch.testing.assert_close(moved, -0.01 * logits.grad.sign(), atol=3e-3, rtol=0)  # Adam's first step
    learner.update(episodes, LAYOUT, None, 3)  # the last one, when the learning rate is 0
    assert torch.equal(learner.model.logits, moved)


def test_what_other_games_foretell_is_fitted_by_least_squares_and_knows_nothing_of_the_game_itself() -> None:
    rewards = torch.randn(6, 4, 15, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    nothing = torch.zeros_like(rewards)
    returns = batch_lambda_returns(rewards, nothing, nothing[..., 0], 5, 1.0, 1.0, RULES["coala"])
    left = minus_regression_on_other_games(rewards, 5, 1.0, 1.0, RULES["coala"])
    for t in range(15):
        episode = slice(t // 5 * 5, t // 5 * 5 + 5)
        earned = rewards[..., episode].sum(-1)
        others = torch.stack([(earned.sum(1) - earned[:, b]) / 3 for b in range(4)], 1)
        table = torch.stack([torch.ones(24, dtype=torch.float64), others.flatten()], 1)
        fit = torch.linalg.lstsq(table, returns[..., t].flatten()[:, None]).solution
        torch.testing.assert_close(left[..., t].flatten(), returns[..., t].flatten() - (table @ fit)[:, 0])


def test_a_restored_learner_goes_on_as_the_first_would_have() -> None:
    first, second = recurrent(A2C), recurrent(A2C)
    first.update(played(first), LAYOUT, None, 1)
    second.restore(copy.deepcopy(first.state()))
    for learner in (first, second):
        learner.update(played(learner, "again"), LAYOUT, None, 2)
    for ours, theirs in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
