"""The work of an A2C run, and a short run that shows what its parts cost."""

from __future__ import annotations

from dataclasses import replace

import torch

from coopctx.agents.loop import Schedule
from coopctx.agents.policy_gradient import changed
from coopctx.agents.work import REST, measurements, probing_games, sides
from coopctx.experiments.pools import CUSTOM, RunSpec
from coopctx.experiments.presets import load_preset
from coopctx.experiments.settings import A2CConfig, Config, MeasureConfig

EPISODES = 128  # per learner, in all iterations of a sample of size 1
FEWEST_GAMES, FEWEST_ITERATIONS = 16, 3


def work(spec: RunSpec, config: Config, threads: int, device: torch.device, done: int) -> dict[str, float]:
    """What is left after iteration ``done``, -1 for all of it.

    play: rounds that models play in training. update: rounds that learners learn from. measure: rounds that models play while
    they are measured.
    """
    a2c, rounds, pool = config.a2c, config.game.rounds, spec.pool_with(config.pool)
    schedule = Schedule(a2c.iterations, a2c.measure_every, a2c.episode_iterations, curves_at_0=pool.pretrained)
    played = sides(a2c.batch_size, pool, config.pool)
    batches, measured = first_batches(a2c, max(done, 0)), measurements(schedule, done)
    return {
        "play": batches * played * rounds,
        "update": batches * a2c.batch_size * pool.learners * rounds,
        "measure": (measured * played + probing_games(schedule, pool, config, done)) * rounds,
        REST: measured,
    }


def first_batches(a2c: A2CConfig, done: int) -> float:
    """The episodes of all iterations after ``done``, over those of the first one; batches not rounded."""
    if a2c.batch_growth == 1:
        return a2c.iterations - done
    iterations = range(done + 1, a2c.iterations + 1)
    return sum(a2c.batch_growth ** changed(iteration, a2c.iterations, hold=a2c.hold) for iteration in iterations)


def sample(spec: RunSpec, config: Config, size: int) -> tuple[RunSpec, Config]:
    """A run of a few iterations that needs no other run; its time is about proportional to ``size``; 0: as short as can be.

    All that a unit's cost depends on is as in the run; its batch is the run's mean one, if that is not too large for ``size``.
    """
    ours, like = config.a2c, load_preset("smoke")
    usual = round(ours.batch_size * first_batches(ours, 0) / ours.iterations)
    batch = min(usual, max(FEWEST_GAMES, EPISODES * size))
    iterations = max(FEWEST_ITERATIONS, EPISODES * size // batch)
    a2c = replace(like.a2c, batch_size=batch, iterations=iterations, measure_every=iterations, episode_iterations=())
    own = spec.pool == CUSTOM
    pool = config.pool if own else like.pool
    measure = MeasureConfig(episode_phases=(), episode_games=1)
    sampled = replace(like, game=config.game, model=config.model, pool=pool, a2c=a2c, measure=measure)
    return RunSpec("a2c", spec.pool if own else "mixed", False, 0, "sample"), sampled
