"""The work of a PPI run, and a short run that shows what its parts cost."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from coopctx import native
from coopctx.agents.loop import Schedule
from coopctx.agents.work import REST, measurements, probing_games, sides
from coopctx.experiments.pools import CUSTOM, RunSpec
from coopctx.experiments.presets import load_preset
from coopctx.experiments.settings import Config, MeasureConfig

GAMES = 256  # of each learner in a sample, at most: with fewer, what a round costs whatever the games would count too much
FEWEST, STEPS, FULL = 2, 16, 16  # the fewest rounds and steps; steps per size; the size at which games are as long as in the run
BATCHES = 8  # in a sample's D_0, at most


def work(spec: RunSpec, config: Config, threads: int, device: torch.device, done: int) -> dict[str, float]:
    """What is left after phase ``done``, -1 for all of it.

    fit: rounds that are fitted, of learners one after the other. plan: rounds that a planner plays. measure: held-out episodes.
    """
    ppi, rounds, pool = config.ppi, config.game.rounds, spec.pool_with(config.pool)
    schedule = Schedule(ppi.phases, 1, config.measure.episode_phases, curves_at_0=pool.pretrained)
    first = max(done + 1, 1)
    phases, initial = ppi.phases + 1 - first, ppi.initial_episodes * len(pool.initial_data)
    growing = phases * (first + ppi.phases - 2) / 2  # the sum of k - 1 over the phases k that are left
    fitted = ppi.epochs * (phases * initial + ppi.episodes_per_phase * growing)
    if done < 0 and not pool.pretrained:
        fitted += ppi.initial_epochs * initial
    collected = phases + (done < 0 and pool.pretrained)
    played = collected * sides(ppi.episodes_per_phase, pool, config.pool) + probing_games(schedule, pool, config, done)
    at_once = threads if native.kernel_for(device, config.model.hidden) else 1  # learners that are fitted side by side
    return {
        "fit": fitted * rounds * math.ceil(pool.learners / at_once),
        "plan": played * rounds,
        "measure": collected * ppi.episodes_per_phase * pool.learners,
        REST: measurements(schedule, done),
    }


def sample(spec: RunSpec, config: Config, size: int) -> tuple[RunSpec, Config]:
    """A run of one phase that needs no other run; its time is about proportional to ``size``; 0: as short as can be.

    All that a unit's cost depends on is as in the run, but games are shorter, and more of them in a batch. The model is fitted
    before it plays, since rollouts of an untrained one coincide less.
    """
    ours, like, rounds = config.ppi, load_preset("smoke"), config.game.rounds
    shortened = min(rounds, max(FEWEST, math.ceil(rounds * size / FULL)))
    batch = round(ours.batch_size * rounds / shortened)
    steps = max(FEWEST, STEPS * size)
    batches = min(steps, BATCHES)
    ppi = replace(
        like.ppi,
        phases=1,
        initial_episodes=batches * batch,
        initial_epochs=steps / batches,
        epochs=1 / batches,
        episodes_per_phase=min(GAMES, ours.episodes_per_phase),
        batch_size=batch,
        rollouts=ours.rollouts,
        horizon=ours.horizon,
        estimator=ours.estimator,
    )
    game = replace(config.game, rounds=shortened)
    own = spec.pool == CUSTOM
    pool = config.pool if own else like.pool
    measure = MeasureConfig(episode_phases=(), episode_games=1)
    sampled = replace(like, game=game, model=config.model, pool=pool, ppi=ppi, measure=measure)
    return RunSpec("ppi", spec.pool if own else "mixed", False, 0, "sample"), sampled
