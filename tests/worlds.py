"""Sequence models whose predictions are known exactly: the prisoner's dilemma against a given memory-one co-player."""

import numpy as np
import torch
from torch.nn import functional as F

from coopctx.agents.ppi.model import SequenceModel
from coopctx.game.streams import stream

PAYOFF = np.array([0.0, 1.0, -1.0, 2.0, 0.0])  # own reward by the observation that follows: start, CC, CD, DC, DD
SEEN_BY_CO_PLAYER = [0, 1, 3, 2, 4]  # what the co-player observed when the agent observed start, CC, CD, DC, DD
IMPOSSIBLE = -40.0  # the logit of what cannot happen


def transitions(co_player) -> np.ndarray:
    """P(next observation | observation, own action), [5, 2, 5]; co_player: cooperation after its own start, CC, CD, DC, DD."""
    chances = np.zeros((5, 2, 5))
    for seen in range(5):
        cooperates = co_player[SEEN_BY_CO_PLAYER[seen]]
        for own in (0, 1):
            chances[seen, own, 1 + 2 * own] = cooperates
            chances[seen, own, 2 + 2 * own] = 1 - cooperates
    return chances


def exact_values(co_player, prior, horizon: int, discount: float = 1.0) -> np.ndarray:
    """Q(observation, own action), [5, 2]: the return of ``horizon`` rounds of which all but the first are played by ``prior``.

    By dynamic programming; prior: the agent's own cooperation after start, CC, CD, DC, DD.
    """
    chances, policy = transitions(co_player), np.stack([prior, 1 - np.asarray(prior)], 1)
    later = np.zeros(5)
    for _ in range(horizon):
        values = chances @ (PAYOFF + discount * later)
        later = (policy * values).sum(1)
    return values


@torch.no_grad()
def known_world(co_player, prior, hidden: int = 16) -> SequenceModel:
    """A model that foresees ``co_player`` and the payoffs, and whose own actions are those of ``prior``, both memory-one.

    Its state is the last observation, one unit each: the GRU forgets everything at once.
    """
    model = SequenceModel(5, 2, hidden, 8, 0, stream(0, "known world"))
    for parameter in model.parameters():
        parameter.zero_()
    model.observation.weight[:5] = torch.eye(5)
    model.gru.weight_ih_l0[2 * hidden : 2 * hidden + 5, :5] = 20 * torch.eye(5)  # the candidate: tanh(20) = 1 in one unit
    model.gru.bias_ih_l0[hidden : 2 * hidden] = -40  # of the old state nothing is kept
    policy = torch.tensor(np.stack([prior, 1 - np.asarray(prior)], 1), dtype=torch.float32)  # [5, 2]
    following = torch.tensor(transitions(co_player), dtype=torch.float32)  # [5, 2, 5]
    rewards = torch.tensor(PAYOFF, dtype=torch.float32).expand(5, 2, 5)
    outputs = [policy.log(), following.log().clamp(min=IMPOSSIBLE).flatten(1), rewards.flatten(1)]
    model.head.weight[:, :5] = torch.cat(outputs, 1).T / F.silu(torch.ones(()))
    return model
