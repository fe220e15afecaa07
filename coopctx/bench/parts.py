"""The time of whole parts of a run: a phase of PPI, an iteration of A2C."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import ModuleType

from coopctx.agents.a2c.player import untrained
from coopctx.agents.record import shares
from coopctx.bench.race import PEER, REFERENCE, Engine, engines, in_turns, pytorch, within
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
    rates = _rates(totals, POOLS["mixed"].learners * config.ppi.episodes_per_phase)
    return [
        PhaseRate(engine.name, engine.runs_on, engine.dtype, *totals[engine.name], *rates[engine.name])
        for engine in _two_engines(config)
    ]


def _two_engines(config: Config) -> tuple[Engine, Engine]:
    return engines(config.model.hidden)[0], pytorch(REFERENCE)


def _in_turns(
    config: Config, threads: int, repeats: int, seconds: Seconds, peer: Seconds | None = None
) -> dict[str, tuple[float, float]]:
    """Medians of both parts' seconds on the engine in use, on the reference and as ``peer`` measures them, which take turns."""
    calls = {engine.name: within(engine, threads, seconds) for engine in _two_engines(config)} | ({PEER: peer} if peer else {})
    return dict(zip(calls, in_turns(list(calls.values()), repeats), strict=True))


def _rates(totals: Mapping[str, tuple[float, float]], amount: float) -> dict[str, tuple[float, float]]:
    """By contestant: the ``amount`` of work per second of all its parts together, and the ratio to the reference."""
    seconds = {name: sum(parts) for name, parts in totals.items()}
    return {name: (amount / own, seconds[REFERENCE] / own) for name, own in seconds.items()}


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


def measure_iteration(config: Config, threads: int, repeats: int, sizes: Sizes, port: ModuleType | None) -> list[IterationRate]:
    """Play and update of a mixed A2C run, as `train` does them, on the engine in use and on the reference; and as a JAX port.

    port: `coopctx.bench.jax_a2c`. If the batch is larger than `Sizes.iteration_episodes`, so many episodes are timed and the time
    is scaled up.
    """
    peer = _peer_iteration(config, threads, sizes, port) if port else None
    totals = _in_turns(config, threads, repeats, lambda: iteration_seconds(config, threads, sizes), peer)
    rates = _rates(totals, 1)
    played = [*_two_engines(config), *([Engine(PEER, "JAX", "fp32", None)] if peer else [])]
    return [
        IterationRate(engine.name, engine.runs_on, engine.dtype, threads, *totals[engine.name], *rates[engine.name])
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
