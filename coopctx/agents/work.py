"""Counting a run's work, from which its time is told beforehand. Each agent's ``work`` module counts its own parts.

A part is a name in the timings table. Its unit is anything that costs the same early and late in the run, such as a round that a
model plays.
"""

from __future__ import annotations

from coopctx.agents.loop import Schedule
from coopctx.agents.others import FIXED_ICL
from coopctx.agents.record import named_strategies, shares
from coopctx.experiments.pools import LEARNER, Pool
from coopctx.experiments.settings import Config, PoolConfig

REST = "rest"  # what the timings table does not time: recording and the checkpoint, once per measurement


def sides(episodes: int, pool: Pool, settings: PoolConfig) -> int:
    """How many sides of games models play when every learner has ``episodes``; a game of two models has two."""
    split = shares(episodes, pool, settings)
    together = split.pop(LEARNER, 0)
    apart = sum(games * (2 if opponent == FIXED_ICL else 1) for opponent, games in split.items())
    return 2 * together + pool.learners * apart


def measurements(schedule: Schedule, done: int) -> int:
    """The measurements after iteration ``done``; -1 for a run that has not begun."""
    return sum(iteration in schedule for iteration in range(done + 1, schedule.last + 1))


def probing_games(schedule: Schedule, pool: Pool, config: Config, done: int) -> int:
    """Games against the named strategies, for within-episode curves, after iteration ``done``."""
    curves = sum(iteration > done for iteration in schedule.curves)
    return curves * config.measure.episode_games * len(named_strategies(pool, config.game.matrix()))
