"""An agent's beliefs before a decision: its policy; PPI's prior, Q values and prediction of the co-player; A2C's value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from coopctx.game.episodes import Episodes
from coopctx.game.matrix import COOPERATE, DEFECT, START, MatrixGame
from coopctx.game.memory_one import expected_cooperation
from coopctx.game.player import Player

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Beliefs:
    """Beliefs before a decision, float32; leading dimensions are those of the decision: ``[games]`` or ``[games, rounds]``.

    policy      [..., A]  probabilities of the agent's own next action
    prior       [..., A]  PPI: its model's prediction of them, before the planner's improvement (Alg. 1); else None
    values      [..., A]  PPI: Q(x, a), the estimated return over the planner's horizon in payoff units; else None
    prediction  [..., A]  PPI: probabilities of the co-player's next action; else None
    value       [...]     A2C: V(x), the future return in rescaled, discounted units (App. A.3.2); else None
    """

    policy: Tensor
    prior: Tensor | None = None
    values: Tensor | None = None
    prediction: Tensor | None = None
    value: Tensor | None = None

    @staticmethod
    def stack(decisions: list[Beliefs]) -> Beliefs:
        """Join beliefs before consecutive decisions in the same games; leading dimensions become ``[games, rounds]``."""
        return _joined(decisions, partial(torch.stack, dim=1))

    @staticmethod
    def concatenate(parts: list[Beliefs]) -> Beliefs:
        """The beliefs in all games of ``parts``, in order."""
        return _joined(parts, torch.cat)


def _joined(parts: list[Beliefs], join: Callable[[list[Tensor]], Tensor]) -> Beliefs:
    columns = {field.name: [getattr(part, field.name) for part in parts] for field in fields(Beliefs)}
    joined: dict[str, Any] = {name: None if column[0] is None else join(column) for name, column in columns.items()}
    return Beliefs(**joined)


class Believer(Player, Protocol):
    """A player whose beliefs can be read, such as `PPIPlayer` and `PolicyPlayer`."""

    @property
    def beliefs(self) -> Beliefs:
        """The beliefs before its last decision, ``[games, ...]``."""

    def replay(self, action: Tensor) -> None:
        """Continue as if its last decision had been ``action``, long [games]."""


def predicted_action(policy: Tensor, following: Tensor) -> Tensor:
    """Probabilities of the co-player's next action, [..., A].

    policy: probabilities of the agent's own action, [..., A]. following: log-probabilities of the next observation given
    that action, [..., A, O], with the observation codes of `MatrixGame`; the codes of start and end are ignored.
    """
    n = policy.shape[-1]
    played = following[..., 1 : 1 + n * n].softmax(-1).unflatten(-1, (n, n)).sum(-2)  # [..., own action, other's action]
    return (policy[..., None] * played).sum(-2)


@torch.no_grad()
def replayed(player: Believer, episodes: Episodes) -> Beliefs:
    """The beliefs that ``player`` has in the games of ``episodes``, ``[games, rounds + 1, ...]``; the last are after all rounds.

    The player gets the identities, observations, rewards and actions of the episodes. PPI's Q values use random numbers that
    the player draws anew.
    """
    player.begin(len(episodes))
    player.meet(episodes.identity if episodes.identity.shape[1] else None)
    reward = torch.zeros(len(episodes), device=episodes.rewards.device)
    decisions = []
    for t in range(episodes.rounds + 1):
        player.act(episodes.observations[:, t].long(), reward)
        decisions.append(player.beliefs)
        if t < episodes.rounds:
            player.replay(episodes.actions[:, t].long())
            reward = episodes.rewards[:, t].contiguous()
    return Beliefs.stack(decisions)


def bayes(game: MatrixGame, episodes: Episodes) -> Tensor:
    """An exact Bayesian observer's probability that the co-player cooperates, float64 ``[games, rounds + 1]``.

    The observer's prior is the tabular pool (App. A.2): see `memory_one.expected_cooperation`. nan after the end of a game.
    Only for games of two actions. With noise the observer counts the actions played, and is no longer exact.
    """
    own, other, going_on = _joint(game, episodes)
    theirs = torch.where(going_on & (episodes.observations > START), game.observe(other, own), START)  # as the co-player sees it
    cooperated = other[:, 1:] == COOPERATE
    expected = torch.from_numpy(expected_cooperation(theirs.cpu().numpy(), cooperated.cpu().numpy()))
    return expected.masked_fill(~going_on.cpu(), float("nan"))


def bayes_nll(game: MatrixGame, episodes: Episodes) -> float:
    """Negative log-likelihood of the co-player's actions under that observer, in nats per round, the mean over games.

    On average over the tabular pool, no predictor that is not told the co-player has a smaller one. Only for games of two
    actions and a fixed number of rounds.
    """
    expected, (_, other, _) = bayes(game, episodes)[:, :-1], _joint(game, episodes)
    cooperated = (other[:, 1:] == COOPERATE).cpu()
    return float(-torch.where(cooperated, expected, 1 - expected).log().mean())


def _joint(game: MatrixGame, episodes: Episodes) -> tuple[Tensor, Tensor, Tensor]:
    """The own and the other's action in each observation code (0 if it contains none), and whether the game was going on."""
    seen = episodes.observations.long()
    going_on = torch.ones_like(seen, dtype=torch.bool) if episodes.over is None else seen != episodes.over
    last = torch.where(going_on & (seen > START), seen - 1, 0)
    return last // game.n_actions, last % game.n_actions, going_on


def beliefs_table(game: MatrixGame, episodes: Episodes, beliefs: Beliefs) -> pd.DataFrame:
    """Actions and beliefs of ``[games, rounds]`` or ``[games, rounds + 1]``, a row per decision; games of two actions only.

    Columns: game (from 0), round (from 1), own and other (C or D; missing after the last round), prediction, bayes (both: the
    probability that the co-player cooperates), q_c, q_d, prior, policy (both: that the agent does), value. Columns that the
    kind of agent does not have are missing values.
    """
    import pandas as pd

    games, decisions = beliefs.policy.shape[:2]
    game_number, number = torch.meshgrid(torch.arange(games), torch.arange(decisions), indexing="ij")
    *joint, going_on = (part[:, 1 : decisions + 1] for part in _joint(game, episodes))
    played = [pad(torch.where(going_on, actions, -1), (0, decisions - actions.shape[1]), value=-1) for actions in joint]

    def named(actions: Tensor) -> list[str | None]:
        return ["CD"[action] if action >= 0 else None for action in actions.flatten().tolist()]

    def column(values: Tensor | None, action: int | None = None) -> list[float] | float:
        if values is None:
            return float("nan")
        return (values if action is None else values[..., action]).flatten().tolist()

    return pd.DataFrame(
        {
            "game": game_number.flatten().tolist(),
            "round": (number + 1).flatten().tolist(),
            "own": named(played[0]),
            "other": named(played[1]),
            "prediction": column(beliefs.prediction, COOPERATE),
            "bayes": column(bayes(game, episodes)[:, :decisions]),
            "q_c": column(beliefs.values, COOPERATE),
            "q_d": column(beliefs.values, DEFECT),
            "prior": column(beliefs.prior, COOPERATE),
            "policy": column(beliefs.policy, COOPERATE),
            "value": column(beliefs.value),
        }
    )
