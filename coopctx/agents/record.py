"""How a run's episodes are divided among kinds of opponents, and the rows that are written to its tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from coopctx.agents.learner import Learner
from coopctx.experiments.pools import Pool, weights
from coopctx.experiments.settings import PoolConfig
from coopctx.game.episodes import Episodes
from coopctx.game.matrix import MatrixGame
from coopctx.game.memory_one import PAPER_STRATEGIES
from coopctx.runs.run import Run


@dataclass(frozen=True)
class Match:
    """Games of one learner (the ego) against one kind of opponent, as both players saw them.

    divergence: mean KL(pi || p) of the ego on these games, nats per decision; nan for an agent without a prior.
    """

    learner: int
    opponent: str
    ego: Episodes
    co: Episodes
    divergence: float = math.nan

    def sides(self) -> tuple[tuple[str, Episodes], tuple[str, Episodes]]:
        return ("ego", self.ego), ("co", self.co)


def shares(episodes: int, pool: Pool, settings: PoolConfig) -> dict[str, int]:
    """How many of an agent's ``episodes`` are against each opponent in its pool: by `weights`, at least one each."""
    parts, left = weights(pool, settings), episodes
    split: dict[str, int] = {}
    for others in reversed(range(len(parts))):  # the last first; the first has what is left
        share = parts[others] / sum(parts[: others + 1])
        split[pool.opponents[others]] = min(max(round(left * share), 1), left - others)
        left -= split[pool.opponents[others]]
    return {opponent: split[opponent] for opponent in pool.opponents}


def named_strategies(pool: Pool, game: MatrixGame) -> tuple[str, ...]:
    """The strategies, besides those in the pool, that within-episode curves are recorded against; for two actions only."""
    probed = pool.probed and game.n_actions == 2
    return tuple(name for name in PAPER_STRATEGIES if name not in pool.opponents) if probed else ()


def counted(chosen: Iterable[int], last: int) -> set[int]:
    """The ``chosen`` phases or iterations that lie in 1 to ``last``; negative numbers count from the last, which is -1."""
    return {n for n in (n if n > 0 else last + 1 + n for n in chosen) if 1 <= n <= last}


def record_averages(run: Run, iteration: int, matches: Iterable[Match]) -> None:
    """Add rows to the training table."""
    for match in matches:
        for player, episodes in match.sides():
            keys = {"iteration": iteration, "learner": match.learner, "opponent": match.opponent, "player": player}
            means = {"cooperation_rate": episodes.cooperation_rate(), "reward": episodes.reward()}
            run.record("training", [{**keys, **means, "episodes": len(episodes)}])


def record_curves(run: Run, iteration: int, matches: Iterable[Match]) -> None:
    """Add rows to the episodes table: within-episode curves of learner 1. Those of the others are skipped."""
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
    """Add rows to the diagnostics table."""
    keys = {"iteration": iteration, "learner": learner}
    run.record("diagnostics", ({**keys, "quantity": name, "value": value} for name, value in quantities.items()))


def diagnosed(run: Run, iteration: int) -> dict[str, float]:
    """The diagnostics of an iteration as means over the learners, such as losses, for the progress display."""
    found: dict[str, list[float]] = {}
    for row in reversed(run.rows["diagnostics"]):
        *_, at, _learner, quantity, value = row
        if at != iteration:
            break
        found.setdefault(quantity, []).append(value)
    return {name: sum(values) / len(values) for name, values in reversed(found.items())}


def record_timings(run: Run, iteration: int, seconds: Mapping[str, float]) -> None:
    """Add rows to the timings table."""
    run.record("timings", ({"iteration": iteration, "part": part, "seconds": value} for part, value in seconds.items()))


def summary(pool: Pool, matches: Sequence[Match]) -> dict[str, float]:
    """Averages over the learners by kind of opponent, for the progress display: see `Progress.iteration`."""
    averages = {}
    for opponent in pool.opponents:
        egos = [match.ego for match in matches if match.opponent == opponent]
        if egos:
            averages[f"cooperation_{opponent}"] = sum(ego.cooperation_rate() for ego in egos) / len(egos)
            averages[f"reward_{opponent}"] = sum(ego.reward() for ego in egos) / len(egos)
    return averages


def final_weights(learners: Iterable[Learner]) -> dict[str, Tensor]:
    """The weights of all learners by name, in the form that `Run.finish` takes."""
    return {
        f"learner{learner.number}.{name}": tensor
        for learner in learners
        for name, tensor in learner.model.state_dict().items()
    }
