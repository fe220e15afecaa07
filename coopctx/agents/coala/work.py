"""The work of a run of COALA-PG or a baseline, and a short run that shows what its parts cost."""

from __future__ import annotations

from dataclasses import replace

import torch

from coopctx.agents.loop import Schedule
from coopctx.agents.work import REST, measurements
from coopctx.experiments.pools import COALA_POOLS, EXACT, RunSpec
from coopctx.experiments.presets import load_preset
from coopctx.experiments.settings import Config

FEWEST = 2  # inner episodes, and iterations, of a sample


def work(spec: RunSpec, config: Config, threads: int, device: torch.device, done: int) -> dict[str, float]:
    """What is left after iteration ``done``, -1 for all of it, in rounds that a co-player plays: all have equally many."""
    coala = config.coala
    exact = spec.pool.startswith(EXACT)
    schedule = Schedule(coala.iterations, coala.measure_every, coala.episode_iterations, curves_at_0=exact)
    trained, measured = coala.iterations - max(done, 0), measurements(schedule, done)
    rounds = coala.meta_batch * coala.inner_batch * coala.inner_episodes * coala.inner_rounds
    parts = ("update",) if exact else ("play", "update")
    return {**dict.fromkeys(parts, trained * rounds), "measure": measured * rounds, REST: measured}


def sample(spec: RunSpec, config: Config, size: int) -> tuple[RunSpec, Config]:
    """A run of a few iterations that needs no other run; its time is about proportional to ``size``; 0: as short as can be.

    Meta-trajectories are shorter if ``size`` is small. Runs that differ in nothing but the rule have the same sample.
    """
    ours, like = config.coala, load_preset("smoke")
    episodes = min(FEWEST * max(size, 1), ours.inner_episodes)
    iterations = max(FEWEST, FEWEST * size // episodes)
    coala = replace(
        ours,
        rule="coala",
        inner_episodes=episodes,
        iterations=iterations,
        measure_every=iterations,
        episode_iterations=(),
        learning_rate=like.coala.learning_rate,
        final_learning_rate=like.coala.learning_rate,
    )
    sampled = replace(like, game=config.game, model=config.model, coala=coala)
    return RunSpec("coala", _alike(spec.pool), False, 0, "sample"), sampled


def _alike(name: str) -> str:
    """A pool with the same co-players that needs no other run; the same one for all rules."""
    pool = COALA_POOLS[name]
    if pool.pretrained:
        return "exact-meta"
    return pool.like if pool.like and COALA_POOLS[pool.like].opponents == pool.opponents else name
