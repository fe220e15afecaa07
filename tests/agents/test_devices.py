"""All players compute on the device of their model. PyTorch's "meta" device, which has shapes but no values, stands in
for a GPU: it refuses a tensor that was left on the CPU."""

import pytest
import torch

from coopctx.agents.policy import PolicyPlayer
from coopctx.agents.ppi.model import SequenceModel
from coopctx.agents.ppi.planner import ESTIMATORS, Planner
from coopctx.agents.ppi.player import PPIPlayer
from coopctx.agents.trunk import ActorCritic
from coopctx.game.arena import play
from coopctx.game.matrix import PRISONERS_DILEMMA, MatrixGame
from coopctx.game.seats import Seats
from coopctx.game.streams import stream
from coopctx.game.tabular import RandomTabular

META = torch.device("meta")


@pytest.fixture(autouse=True)
def unlooked_at(monkeypatch):
    """The arena looks at the actions' values; here there are none."""
    monkeypatch.setattr("coopctx.game.arena.checked_actions", lambda player, actions, *sizes: actions)


def player(kind, identity_size):
    if kind == "a2c":
        return PolicyPlayer(ActorCritic(5, 2, 16, 8, identity_size, stream(0)).to(META), stream(1))
    planner = Planner(2, 3, 1.0, estimator=kind)
    return PPIPlayer(SequenceModel(5, 2, 16, 8, identity_size, stream(0)).to(META), planner, stream(1))


@pytest.mark.parametrize("identity_size", [0, 10])
@pytest.mark.parametrize("kind", ["a2c", *ESTIMATORS])
@pytest.mark.parametrize("game", [PRISONERS_DILEMMA, MatrixGame.of([[1, -1], [2, 0]], noise=0.1)], ids=["plain", "noisy"])
def test_a_game_is_played_on_one_device(kind, identity_size, game):
    learner = player(kind, identity_size)
    others = Seats([(RandomTabular(5, 2, stream(2)), 2), (player(kind, identity_size), 1)])
    for players in ((learner, others), (others, learner)):
        for episodes in play(game, 3, 3, players, META, identity_size, chance=stream(3)):
            assert {tensor.device for tensor in episodes.tensors().values()} == {META}
            assert {tensor.device for tensor in episodes[1:].to(META).tensors().values()} == {META}
