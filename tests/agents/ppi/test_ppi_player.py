"""The PPI player against dynamic programming in worlds that its model knows exactly (Alg. 1)."""

import numpy as np
import pytest
import torch
from worlds import exact_values, known_world

from coopctx import native
from coopctx.agents.ppi.model import SequenceModel
from coopctx.agents.ppi.planner import ESTIMATORS, Planner
from coopctx.agents.ppi.player import PPIPlayer
from coopctx.game.arena import play
from coopctx.game.matrix import PRISONERS_DILEMMA
from coopctx.game.streams import stream
from coopctx.game.tabular import RandomTabular

GRUDGING = (0.9, 0.95, 0.1, 0.6, 0.05)  # worth cooperating with
SHY = (0.2, 0.3, 0.9, 0.8, 0.6)  # rewards defection
WORLDS = {  # co-player, prior
    "grudging, prior defects": (GRUDGING, (0.2, 0.1, 0.3, 0.25, 0.15)),
    "shy, prior cooperates": (SHY, (0.8, 0.9, 0.7, 0.75, 0.85)),
}

@pytest.fixture(params=[None, *(precision for precision in native.PRECISIONS if native._load(precision) is not None)])
def kernel(request, monkeypatch):
    used = native._load(request.param) if request.param else None
    monkeypatch.setattr("coopctx.native.kernel_for", lambda *_: used)
    return request.param


def first_round(player, games_each):
    """``games_each`` games of ``player`` for each of the five observations, and the observations: [games] of either."""
    seen = torch.arange(5).repeat_interleave(games_each)
    player.begin(len(seen))
    return player.act(seen, torch.zeros(len(seen))), seen


def both(cooperation) -> np.ndarray:
    """Probabilities of both actions, [5, 2]."""
    return np.stack([cooperation, 1 - np.asarray(cooperation)], 1)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_it_plays_the_arg_max_of_the_exact_q_whatever_its_prior_prefers(kernel, world, estimator):
    (co_player, prior), horizon, discount = WORLDS[world], 5, 0.9
    exact = exact_values(co_player, prior, horizon, discount)
    clear = np.abs(exact[:, 0] - exact[:, 1]) > 0.4
    assert clear.sum() >= 2 and (exact.argmax(1) != both(prior).argmax(1))[clear].all(), "the prior is of another opinion"
    planner = Planner(40 if estimator == "expected" else 600, horizon, 100.0, discount, estimator)
    actions, _ = first_round(PPIPlayer(known_world(co_player, prior), planner, stream(0, world)), 3)
    assert (actions.view(5, 3).numpy() == exact.argmax(1)[:, None])[clear].all()


def test_its_policy_is_the_prior_tilted_by_the_exact_q_and_its_divergence_theirs(kernel):
    """A temperature at which both matter; KL(pi || p) in nats per decision, over both rounds that are played."""
    co_player, prior = WORLDS["shy, prior cooperates"]
    beta, games = 1.5, 400
    weights = both(prior) * np.exp(beta * exact_values(co_player, prior, 2))
    policy = weights / weights.sum(1, keepdims=True)
    player = PPIPlayer(known_world(co_player, prior), Planner(30, 2, beta), stream(0))
    assert np.isnan(player.mean_divergence())
    actions, seen = first_round(player, games)
    rounds = torch.stack([actions, player.act(seen, torch.zeros(len(seen)))], 1)
    frequencies = (rounds == 0).double().view(5, -1).mean(1).numpy()
    assert frequencies == pytest.approx(policy[:, 0], abs=4.5 * (0.25 / (2 * games)) ** 0.5)
    divergence = (policy * np.log(policy / both(prior))).sum(1).mean()
    assert player.mean_divergence() == pytest.approx(divergence, abs=0.02)


class NoPlan(Planner):
    """Values every action alike and draws no random numbers."""

    def action_values(self, gates, n_actions, hidden, extra, generator, threads=1):
        assert (extra is None) == (self.rollouts == 1)
        return torch.zeros(len(hidden), n_actions)


@pytest.mark.parametrize("identity_size", [0, 10])
def test_its_prior_is_the_models_prediction_of_the_whole_sequence(identity_size):
    """Observations, own actions and rewards all enter, the co-player's identity where it is told, and no game before."""
    model = SequenceModel(5, 2, 16, 8, identity_size, stream(0, "weights"))
    for parameter in model.parameters():
        parameter.data.mul_(2)
    player = PPIPlayer(model, NoPlan(2 if identity_size else 1, 1, 100.0), stream(0, "player"))
    generator = stream(0, "player")
    for opponent in (RandomTabular(5, 2, stream(0, "co")), PPIPlayer(model, player._planner, stream(0, "copy"))):
        episodes, _ = play(PRISONERS_DILEMMA, 6, 50, (player, opponent), identity_size=identity_size)
        assert bool(episodes.identity.any()) == (identity_size > 0 and isinstance(opponent, RandomTabular))
        with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
            patch.setattr("coopctx.native.kernel_for", lambda *_: None)
            policy = model(episodes)[..., :2].softmax(-1)
        for t in range(6):
            uniform = torch.rand(50, generator=generator)
            sure = (uniform - policy[:, t, 0]).abs() > 1e-5
            assert torch.equal((uniform >= policy[:, t, 0])[sure], episodes.actions[:, t].bool()[sure])
    assert player.mean_divergence() == pytest.approx(0, abs=1e-6)


def test_a_learner_is_told_nothing_and_tells_nothing():
    model = SequenceModel(5, 2, 16, 8, 10, stream(0, "weights"))
    player = PPIPlayer(model, Planner(2, 2, 1.0), stream(0))
    player.begin(3)
    assert player.identity() is None
    assert torch.equal(player._extra, model.identity_gates(torch.zeros(3, 10)))


def test_the_model_does_not_change_while_it_plays():
    model = SequenceModel(5, 2, 16, 8, 0, stream(0, "weights"))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    play(PRISONERS_DILEMMA, 5, 4, (PPIPlayer(model, Planner(2, 2, 1.0), stream(0)), RandomTabular(5, 2, stream(1))))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
