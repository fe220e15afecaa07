"""What every run does alike, whatever kind of agent learns: who meets whom how often, and what is written down of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from coopctx.experiments.pools import Pool
from coopctx.game.episodes import Episodes
from coopctx.game.matrix import MatrixGame
from coopctx.game.tabular import PAPER_STRATEGIES
from coopctx.runs.run import Run


class Learner(Protocol):
    """What is known here of those who learn."""

    @property
    def number(self) -> int:
        """Its place in the run, from 1."""

    @property
    def model(self) -> nn.Module:
        """What it has learned."""


@dataclass(frozen=True)
class Match:
    """Games of one learner (the ego) against one kind of opponent, from both sides.

    divergence: mean KL(pi || p) of the ego on these games, nats per decision; nan for an agent without a prior.
    """

    learner: int
    opponent: str
    ego: Episodes
    co: Episodes
    divergence: float = math.nan

    def sides(self) -> tuple[tuple[str, Episodes], tuple[str, Episodes]]:
        return ("ego", self.ego), ("co", self.co)


def shares(episodes: int, pool: Pool, tabular_share: float) -> dict[str, int]:
    """How many of an agent's ``episodes`` are against each kind of opponent of its pool."""
    if len(pool.opponents) == 1:
        return {pool.opponents[0]: episodes}
    tabular = min(max(round(episodes * tabular_share), 1), episodes - 1)
    return {"learner": episodes - tabular, "tabular": tabular}


def named_strategies(pool: Pool, game: MatrixGame) -> tuple[str, ...]:
    """Those that within-episode curves are recorded against; they have two actions, a larger game goes without them."""
    return tuple(PAPER_STRATEGIES) if pool.probed and game.n_actions == 2 else ()


def counted(chosen: Iterable[int], last: int) -> set[int]:
    """The ``chosen`` phases or iterations from 1 to ``last``; negative ones count from the last, which is -1."""
    return {n for n in (n if n > 0 else last + 1 + n for n in chosen) if 1 <= n <= last}


def record_averages(run: Run, iteration: int, matches: Iterable[Match]) -> None:
    """Rows of the training table."""
    run.record(
        "training",
        (
            {
                "iteration": iteration,
                "learner": match.learner,
                "opponent": match.opponent,
                "player": player,
                "cooperation_rate": episodes.cooperation_rate(),
                "reward": episodes.reward(),
                "episodes": len(episodes),
            }
            for match in matches
            for player, episodes in match.sides()
        ),
    )


def record_curves(run: Run, iteration: int, matches: Iterable[Match]) -> None:
    """Rows of the episodes table: within-episode curves of learner 1, the only one whose matches are looked at."""
    for match in matches:
        for player, episodes in match.sides() if match.learner == 1 else ():
            per_round = episodes.games_per_round(), episodes.cooperation_per_round(), episodes.reward_per_round()
            curves = zip(*(values.tolist() for values in per_round), strict=True)
            keys = {"iteration": iteration, "learner": 1, "opponent": match.opponent, "player": player}
            run.record(
                "episodes",
                (
                    {**keys, "round": t, "cooperation_rate": rate, "reward": reward, "episodes": games}
                    for t, (games, rate, reward) in enumerate(curves, start=1)
                    if games
                ),
            )


def diagnose(run: Run, iteration: int, learner: int, quantities: Mapping[str, float]) -> None:
    """Rows of the diagnostics table."""
    keys = {"iteration": iteration, "learner": learner}
    run.record("diagnostics", ({**keys, "quantity": name, "value": value} for name, value in quantities.items()))


def record_timings(run: Run, iteration: int, seconds: Mapping[str, float]) -> None:
    """Rows of the timings table."""
    run.record("timings", ({"iteration": iteration, "part": part, "seconds": value} for part, value in seconds.items()))


def summary(pool: Pool, matches: Sequence[Match]) -> dict[str, float]:
    """Averages over the learners, for the progress display."""
    told = {}
    for opponent in pool.opponents:
        egos = [match.ego for match in matches if match.opponent == opponent]
        if egos:
            told[f"cooperation_{opponent}"] = sum(ego.cooperation_rate() for ego in egos) / len(egos)
            told[f"reward_{opponent}"] = sum(ego.reward() for ego in egos) / len(egos)
    return told


def final_weights(learners: Iterable[Learner]) -> dict[str, Tensor]:
    """All learners' weights by name, as `Run.finish` takes them."""
    return {
        f"learner{learner.number}.{name}": tensor.cpu().contiguous()
        for learner in learners
        for name, tensor in learner.model.state_dict().items()
    }
