"""Beliefs before each decision, against one pass of the model over the history, against beliefs in play, and Bayes by integration."""

import numpy as np
import pytest
import torch

from coopctx.agents.beliefs import bayes, beliefs_table, predicted_action, replayed
from coopctx.agents.policy import PolicyPlayer
from coopctx.agents.ppi.model import SequenceModel, split_heads
from coopctx.agents.ppi.planner import Planner
from coopctx.agents.ppi.player import PPIPlayer
from coopctx.agents.trunk import ActorCritic
from coopctx.game.arena import play
from coopctx.game.episodes import Episodes
from coopctx.game.matrix import PRISONERS_DILEMMA, MatrixGame
from coopctx.game.memory_one import expected_cooperation
from coopctx.game.streams import stream
from coopctx.game.tabular import RandomTabular

GAMES, ROUNDS = 5, 7
PLANNER = Planner(rollouts=3, horizon=4, inverse_temperature=2.0)


def model(kind, identity_size=0):
    built = kind(5, 2, 16, 8, identity_size, stream(0, "weights"))
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.mul_(3)  # so that histories matter
    return built


def ppi(seed=1, identity_size=0):
    return PPIPlayer(model(SequenceModel, identity_size), PLANNER, stream(seed))


def games_of(player, identity_size=0):
    """Games against random memory-one players, and what the player held before each round of them."""
    held = []
    pool = RandomTabular(5, 2, stream(0, "pool"))
    settings = {"identity_size": identity_size, "on_round": lambda _: held.append(player.beliefs)}
    ego, _ = play(PRISONERS_DILEMMA, ROUNDS, GAMES, (player, pool), **settings)
    return ego, held


@pytest.fixture(params=[True, False], ids=["kernel", "torch"])
def kernel(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr("coopctx.native.kernel_for", lambda *_: None)


@pytest.mark.parametrize("identity_size", [0, 10])
def test_replayed_with_the_same_random_numbers_it_holds_what_it_held_in_play(identity_size, kernel):
    ego, held = games_of(ppi(1, identity_size), identity_size)
    again = replayed(ppi(1, identity_size), ego)
    for name in ("policy", "prior", "values", "prediction"):
        was = torch.stack([getattr(decision, name) for decision in held], 1)
        assert torch.equal(getattr(again, name)[:, :-1], was)
    assert again.policy.shape == (GAMES, ROUNDS + 1, 2) and again.value is None


@torch.no_grad()
def test_prior_and_prediction_are_the_models_own_and_the_policy_improves_on_the_prior():
    ego, _ = games_of(ppi())
    beliefs = replayed(ppi(), ego)
    heads = split_heads(model(SequenceModel)(ego), 2)
    assert torch.allclose(beliefs.prior[:, :-1], heads.action.exp(), atol=1e-2)  # 1e-2: the kernel's reduced precision
    weighted = beliefs.prior * (PLANNER.inverse_temperature * beliefs.values).exp()
    assert torch.allclose(beliefs.policy, weighted / weighted.sum(-1, keepdim=True), atol=1e-5)
    following = heads.observation.exp()  # [games, rounds, own action, code], codes 1 + 2 own + other
    expected = torch.zeros(GAMES, ROUNDS, 2)
    for own, policy in enumerate(beliefs.policy[:, :-1].unbind(-1)):
        others = torch.stack([following[..., own, 1 + other] + following[..., own, 3 + other] for other in (0, 1)], -1)
        expected += policy[..., None] * others / others.sum(-1, keepdim=True)
    assert torch.allclose(beliefs.prediction[:, :-1], expected, atol=1e-2)


def test_a_certain_model_predicts_the_action_that_its_observation_names():
    certain = torch.full((1, 2, 5), -50.0)
    certain[0, 0, 2] = certain[0, 1, 3] = 0.0  # CD after its own C, DC after its own D
    assert predicted_action(torch.tensor([[0.3, 0.7]]), certain)[0].tolist() == pytest.approx([0.7, 0.3])


@pytest.mark.parametrize("identity_size", [0, 10])
@torch.no_grad()
def test_an_actor_critic_holds_its_policy_and_value_and_nothing_else(identity_size, kernel):
    trained = model(ActorCritic, identity_size)
    ego, held = games_of(PolicyPlayer(trained, stream(1)), identity_size)
    outputs = trained(ego)
    beliefs = replayed(PolicyPlayer(trained, stream(9)), ego)
    assert torch.allclose(beliefs.policy[:, :-1], outputs[..., :2].softmax(-1), atol=1e-2)
    assert torch.allclose(beliefs.value[:, :-1], outputs[..., 2], atol=2e-2)
    assert torch.equal(beliefs.policy[:, :-1], torch.stack([decision.policy for decision in held], 1))
    assert (beliefs.prior, beliefs.values, beliefs.prediction) == (None, None, None)


# Exact Bayes ----------------------------------------------------------------------------------------------------------


def test_expected_cooperation_is_the_posterior_mean_by_integration():
    rng = np.random.default_rng(0)
    seen, did = rng.integers(0, 5, (3, 9)), rng.integers(0, 2, (3, 9))
    expected = expected_cooperation(seen, did)
    p = (np.arange(20_000) + 0.5) / 20_000
    for game, t in np.ndindex(seen.shape):
        same = did[game, :t][seen[game, :t] == seen[game, t]]
        likelihood = p ** same.sum() * (1 - p) ** (len(same) - same.sum())
        assert expected[game, t] == pytest.approx((p * likelihood).mean() / likelihood.mean(), abs=1e-6)


def test_bayes_reads_the_co_player_from_the_agents_own_observations():
    pool = RandomTabular(5, 2, stream(0, "pool"))
    ego, co = play(PRISONERS_DILEMMA, ROUNDS, GAMES, (ppi(), pool))
    assert torch.equal(bayes(PRISONERS_DILEMMA, ego), torch.from_numpy(expected_cooperation(co.observations, co.actions == 0)))


# As a table -------------------------------------------------------------------------------------------------------------


def test_the_table_has_a_row_per_decision_and_is_empty_where_there_is_nothing():
    game = PRISONERS_DILEMMA
    ego = Episodes(torch.tensor([[0, 2, 3]]), torch.tensor([[0, 1]]), torch.tensor([[-1.0, 2.0]]), torch.zeros(1, 0))
    beliefs = replayed(ppi(), ego)
    table = beliefs_table(game, ego, beliefs)
    assert table["round"].tolist() == [1, 2, 3]
    assert table["own"].tolist()[:2] == ["C", "D"] and table["other"].tolist()[:2] == ["D", "C"]
    assert table.iloc[2][["own", "other"]].isna().all()
    assert table["q_d"].tolist() == beliefs.values[0, :, 1].tolist()
    assert table["prediction"].tolist() == beliefs.prediction[0, :, 0].tolist()
    assert table["bayes"].tolist() == pytest.approx([1 / 2, 1 / 2, 1 / 2])
    assert table["value"].isna().all()
    of_a2c = beliefs_table(game, ego, replayed(PolicyPlayer(model(ActorCritic), stream(1)), ego))
    assert of_a2c[["prediction", "q_c", "q_d", "prior"]].isna().all(axis=None)
    assert of_a2c[["policy", "value", "bayes"]].notna().all(axis=None)


def test_three_actions_have_predictions_too():
    game = MatrixGame.of([[2, 0, 1], [3, 1, 0], [0, 2, 1]])
    built = SequenceModel(10, 3, 16, 8, 0, stream(0))
    ego, _ = play(game, 4, 6, (PPIPlayer(built, PLANNER, stream(1)), RandomTabular(10, 3, stream(2))))
    beliefs = replayed(PPIPlayer(built, PLANNER, stream(1)), ego)
    assert beliefs.prediction.shape == (6, 5, 3)
    assert torch.allclose(beliefs.prediction.sum(-1), torch.ones(6, 5), atol=1e-5)
