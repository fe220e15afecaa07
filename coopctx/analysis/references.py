"""Exact references for play against the tabular pool: the best prediction, the best reward, and always-defect's reward.

The pool's members are memory-one players of a game with two actions whose five probabilities of cooperating are independent
and uniform on [0, 1] (the paper's tabular players, App. A.2). Values are per round of an episode of given length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from coopctx.analysis.intervals import Estimate, estimate
from coopctx.analysis.summaries import late_prediction, late_training
from coopctx.game.matrix import PRISONERS_DILEMMA
from coopctx.game.memory_one import Floats, Payoffs, best_response, payoff_vector

if TYPE_CHECKING:
    from coopctx.analysis.tables import Tables

POINTS = 2048  # a power of two; the error of means over them and their mirror images is below 0.001
STEP_1 = "tabular"  # the run that learns against the pool alone
_GENERATOR = np.array([1, 182667, 469891, 498753, 110745])
_OWN_ACTION_EXCHANGED = [0, 3, 4, 1, 2]  # start, CC, CD, DC, DD after the own action is exchanged


@dataclass(frozen=True)
class Reference:
    """A measurement and its exact reference; not a claim of the paper. Estimates are None if no finished run recorded it.

    exact: the reference's value; nan if it would come from the runs' own games and there are none. difference: ours minus
    exact.
    """

    agent: str
    name: str
    ours: Estimate | None
    exact: float
    difference: Estimate | None


def references(tables: Tables) -> list[Reference]:
    """Step 1 of one kind of agent and its references: its predictions (PPI only), and its reward."""
    rounds = tables.rounds(STEP_1)
    found = [_prediction(tables)] if tables.agent == "ppi" else []
    rewards = tables.read(STEP_1, "training")
    measured = pd.Series(dtype=float) if rewards.empty else late_training(tables.agent, "reward", "tabular", rewards)
    for name, exact in (("always-defect's", always_defect_reward), ("the best response's", lambda: best_response_reward(rounds))):
        found.append(_beside(tables.agent, f"Step 1, reward vs tabular, beside {name}", measured, exact))
    return found


def _prediction(tables: Tables) -> Reference:
    """The model's held-out loss, and that of exact Bayes on the same episodes."""
    table = tables.read(STEP_1, "diagnostics")
    losses = pd.DataFrame(columns=["model", "bayes"], dtype=float) if table.empty else late_prediction(tables.agent, table)
    name = "Step 1, held-out NLL of tabular's actions, nats, beside exact Bayes on the same episodes"
    if losses.empty:
        return Reference(tables.agent, name, None, float("nan"), None)
    model, bayes = losses["model"].to_numpy(), losses["bayes"].to_numpy()
    return Reference(tables.agent, name, estimate(model), float(bayes.mean()), estimate(model - bayes))


def _beside(agent: str, name: str, measured: pd.Series, exact: Callable[[], float]) -> Reference:
    values = measured.to_numpy()
    if not len(values):
        return Reference(agent, name, None, exact(), None)
    return Reference(agent, name, estimate(values), exact(), estimate(values - exact()))


@cache
def best_response_reward(rounds: int, payoffs: Payoffs = PRISONERS_DILEMMA.payoffs) -> float:
    """Expected reward per round of the best response to a known pool member: the largest possible.

    The mean over `pool_members`, each with its exact best response. Raises ValueError as
    `memory_one.best_response`.
    """
    return float(best_response(pool_members(), rounds, payoffs).reward.mean())


def always_defect_reward(payoffs: Payoffs = PRISONERS_DILEMMA.payoffs) -> float:
    """Expected reward per round of always defecting against the pool: (T + P) / 2, whatever the number of rounds.

    Exchanging C and D maps the pool onto itself, so on average its members cooperate in half of the rounds.
    """
    _, _, temptation, punishment = payoff_vector(payoffs)
    return float(temptation + punishment) / 2


@cache
def pool_members(points: int = POINTS) -> Floats:
    """Evenly spread members that stand for the pool, ``[2 * points, 5]``; ``points`` is a power of two.

    The points of a randomly shifted lattice in the unit cube (generating vector: R. Cools, F. Y. Kuo and D. Nuyens, SIAM
    Journal on Scientific Computing 28, 2006) and their mirror images, which defect where the points cooperate. Like the pool,
    they cooperate on average in half of the rounds with a player that does not react.
    """
    shift = np.random.default_rng(0).random(5)
    members = (np.arange(points)[:, None] * _GENERATOR / points + shift) % 1
    return np.concatenate([members, 1 - members[:, _OWN_ACTION_EXCHANGED]])
