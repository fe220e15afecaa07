"""The time of whole parts of a run: a phase of PPI, an iteration of A2C."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import ModuleType

from coopctx.agents.a2c.player import untrained
from coopctx.agents.record import shares
from coopctx.bench.race import IN_USE, PEER, REFERENCE, Engine, engines, pytorch, using
from coopctx.bench.rows import IterationRate, PhaseRate, Sizes
from coopctx.experiments.pools import LEARNER, POOLS, RunSpec
from coopctx.experiments.settings import Config, MeasureConfig
from coopctx.game.streams import stream
from coopctx.launch.calibration import timed_run

Seconds = Callable[[], tuple[float, float]]  # a measurement of two parts


def measure_phase(config: Config, threads: int, repeats: int, sizes: Sizes) -> list[PhaseRate]:
    """Fit and collect of a mixed run's first phase, as `train` does them, on the engine in use and on the reference.

    Some of the gradient steps and some of the rounds are timed at full batch sizes and scaled up. All gradient steps cost the
    same. The rounds of an untrained model cost the same within a tenth: in the first rounds, games with equal histories save
    the native kernel up to so much. Later phases collect faster, since the rollouts of a more certain model coincide more
    often.
    """
    totals = _in_turns(config, threads, repeats, lambda: phase_seconds(config, threads, sizes))
    seconds = {name: sum(total) for name, total in totals.items()}
    episodes = POOLS["mixed"].learners * config.ppi.episodes_per_phase
    return [
        PhaseRate(
            engine.name,
            engine.runs_on,
            engine.dtype,
            fit_seconds=totals[engine.name][0],
            collect_seconds=totals[engine.name][1],
            per_second=episodes / seconds[engine.name],
            ratio=seconds[REFERENCE] / seconds[engine.name],
        )
        for engine in _two_engines(config)
    ]


def _two_engines(config: Config) -> tuple[Engine, Engine]:
    return engines(config.model.hidden)[0], pytorch(REFERENCE)


def _in_turns(
    config: Config, threads: int, repeats: int, seconds: Seconds, peer: Seconds | None = None
) -> dict[str, list[float]]:
    """Medians of both parts' seconds on the engine in use, on the reference and as ``peer`` measures them, which take turns."""
    parts: dict[str, list[tuple[float, float]]] = {IN_USE: [], REFERENCE: [], **({PEER: []} if peer else {})}
    for _ in range(repeats):
        for engine in _two_engines(config):
            with using(engine, threads):
                parts[engine.name].append(seconds())
        if peer:
            parts[PEER].append(peer())
    return {name: _medians(taken) for name, taken in parts.items()}


def _medians(taken: Sequence[tuple[float, float]]) -> list[float]:
    return [statistics.median(values) for values in zip(*taken, strict=True)]


def phase_seconds(config: Config, threads: int, sizes: Sizes) -> tuple[float, float]:
    """Seconds of fitting and of collecting in a mixed run's first phase, scaled up from a part of each."""
    ppi, game = config.ppi, config.game
    fitted, steps = sizes.fit_steps * ppi.batch_size, math.ceil(ppi.epochs * ppi.initial_episodes / ppi.batch_size)
    only_fit = replace(ppi, initial_episodes=fitted, epochs=1.0, episodes_per_phase=2, rollouts=1, horizon=1)
    fit = _timings(replace(config, ppi=only_fit), threads)["fit"] * steps / sizes.fit_steps
    episodes, rounds = min(ppi.episodes_per_phase, sizes.collect_episodes), min(game.rounds, sizes.collect_rounds)
    only_collect = replace(ppi, initial_episodes=1, epochs=1.0, episodes_per_phase=episodes)
    shortened = replace(config, game=replace(game, rounds=rounds), ppi=only_collect)
    scale = game.rounds / rounds * ppi.episodes_per_phase / episodes
    return fit, _timings(shortened, threads)["plan"] * scale


def _timings(config: Config, threads: int) -> dict[str, float]:
    """Seconds of each part of the first phase of a run with this configuration, after one step of pre-training."""
    least = config.ppi.batch_size / config.ppi.initial_episodes / 2  # less than one step: rounded up to one
    config = replace(
        config,
        ppi=replace(config.ppi, phases=1, initial_epochs=least),
        measure=MeasureConfig(episode_phases=(), episode_games=1),
    )
    return _timed_run("ppi", config, threads, iteration=1)


def _timed_run(agent: str, config: Config, threads: int, iteration: int) -> dict[str, float]:
    """Seconds of each part that a mixed run with this configuration records at ``iteration``."""
    timings, _ = timed_run(RunSpec(agent, "mixed", False, 0, "bench"), config, threads)
    recorded = timings[timings.iteration == iteration]
    return dict(zip(recorded.part, recorded.seconds.astype(float), strict=True))


def measure_iteration(
    config: Config, threads: int, repeats: int, sizes: Sizes, port: ModuleType | None
) -> list[IterationRate]:
    """Play and update of a mixed A2C run, as `train` does them, on the engine in use and on the reference; and as a JAX port.

    port: `coopctx.bench.jax_a2c`. If the batch is larger than `Sizes.iteration_episodes`, so many episodes are timed and the time
    is scaled up.
    """
    peer = _peer_iteration(config, threads, sizes, port) if port else None
    totals = _in_turns(config, threads, repeats, lambda: iteration_seconds(config, threads, sizes), peer)
    seconds = {name: sum(total) for name, total in totals.items()}
    played = [*_two_engines(config), *([Engine(PEER, "JAX", "fp32", None)] if peer else [])]
    return [
        IterationRate(
            engine.name,
            engine.runs_on,
            engine.dtype,
            threads,
            play_seconds=totals[engine.name][0],
            update_seconds=totals[engine.name][1],
            per_second=1 / seconds[engine.name],
            ratio=seconds[REFERENCE] / seconds[engine.name],
        )
        for engine in played
    ]


def iteration_seconds(config: Config, threads: int, sizes: Sizes) -> tuple[float, float]:
    """Seconds of playing and of updating in one iteration, the mean over some that follow the first one."""
    episodes, last = min(config.a2c.batch_size, sizes.iteration_episodes), 1 + sizes.iterations
    a2c = replace(config.a2c, batch_size=episodes, iterations=last, measure_every=last, episode_iterations=(1,))
    short = replace(config, a2c=a2c, measure=MeasureConfig(episode_phases=(), episode_games=1))
    seconds = _timed_run("a2c", short, threads, iteration=last)
    scale = config.a2c.batch_size / episodes / sizes.iterations
    return seconds["play"] * scale, seconds["update"] * scale


def _peer_iteration(config: Config, threads: int, sizes: Sizes, port: ModuleType) -> Seconds:
    """`iteration_seconds` of the port; what it compiles is compiled first."""
    episodes = min(config.a2c.batch_size, sizes.iteration_episodes)
    split = shares(episodes, POOLS["mixed"], config.pool)
    models = [untrained(config, 0, stream(0, "model", number)) for number in (1, 2)]
    call = port.iteration(config, models, split[LEARNER], episodes - split[LEARNER], threads)
    scale = config.a2c.batch_size / episodes / sizes.iterations
    call()

    def seconds() -> tuple[float, float]:
        play, update = zip(*(call() for _ in range(sizes.iterations)), strict=True)
        return sum(play) * scale, sum(update) * scale

    return seconds
