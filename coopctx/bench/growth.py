"""How the cost of a phase of PPI and of an iteration of A2C grows with the settings, on the engine in use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from coopctx.agents.a2c.player import untrained
from coopctx.bench.parts import iteration_seconds, phase_seconds
from coopctx.bench.planning import BACKWARD_PASSES, FORWARD_PASSES, step_flops
from coopctx.bench.race import engines, in_turns, within
from coopctx.bench.rows import Growth, PartCost, Rate, Sizes
from coopctx.bench.work import untrained_model
from coopctx.experiments.pools import POOLS
from coopctx.experiments.settings import Config
from coopctx.game.streams import stream

LEARNERS = POOLS["mixed"].learners
Changes = dict[str, Config]  # in words ("" for none), and the settings
Products = Mapping[int, Mapping[str, Rate]]  # matrix products by threads and dtype


def measure_growth(config: Config, counts: Sequence[int], repeats: int, sizes: Sizes, products: Products) -> list[Growth]:
    """A row per change of a setting, first PPI's; counts: of threads, the last of which is PPI's too."""
    whole = replace(sizes, iteration_episodes=4 * config.a2c.batch_size)  # a batch's cost is not proportional to its size
    changed = [(name, each, counts[-1]) for name, each in changes_of_ppi(config).items()]
    phases = _in_turns(changed, repeats, lambda each, threads: phase_seconds(each, threads, sizes))
    changed = [(name, each, threads) for name, each in changes_of_a2c(config).items() for threads in counts]
    iterations = _in_turns(changed, repeats, lambda each, threads: iteration_seconds(each, threads, whole))
    return [
        *(Growth("ppi", name, threads, _phase(each, threads, taken, products)) for name, each, threads, taken in phases),
        *(Growth("a2c", name, threads, _iteration(each, threads, taken, products)) for name, each, threads, taken in iterations),
    ]


def changes_of_ppi(config: Config) -> Changes:
    """The settings as they are, and those that a phase's cost depends on halved and doubled."""
    ppi = config.ppi
    episodes = replace(ppi, initial_episodes=2 * ppi.initial_episodes, episodes_per_phase=2 * ppi.episodes_per_phase)
    changes = {"": config, "twice the episodes, D₀ included": replace(config, ppi=episodes)}
    for rollouts in (max(1, ppi.rollouts // 2), 2 * ppi.rollouts):
        changes[f"{rollouts} rollouts"] = replace(config, ppi=replace(ppi, rollouts=rollouts))
    changes[f"horizon {2 * ppi.horizon}"] = replace(config, ppi=replace(ppi, horizon=2 * ppi.horizon))
    return changes | _hidden(config)


def changes_of_a2c(config: Config) -> Changes:
    """The settings as they are, and batch and hidden size smaller and larger."""
    sizes = max(2, config.a2c.batch_size // 4), 4 * config.a2c.batch_size
    batches = {f"batch {size}": replace(config, a2c=replace(config.a2c, batch_size=size)) for size in sizes}
    return {"": config, **batches, **_hidden(config)}


def _hidden(config: Config) -> Changes:
    sizes = max(1, config.model.hidden // 2), 2 * config.model.hidden
    return {f"hidden {size}": replace(config, model=replace(config.model, hidden=size)) for size in sizes}


def _in_turns(
    changed: Sequence[tuple[str, Config, int]], repeats: int, seconds: Callable[[Config, int], tuple[float, float]]
) -> list[tuple[str, Config, int, tuple[float, float]]]:
    """The rows of ``changed``, each with the medians of its two parts' seconds, measured in turns."""
    calls = [
        within(engines(config.model.hidden)[0], threads, partial(seconds, config, threads)) for _, config, threads in changed
    ]
    medians = in_turns(calls, repeats)
    return [(*row, found) for row, found in zip(changed, medians, strict=True)]


def _phase(config: Config, threads: int, seconds: Sequence[float], products: Products) -> list[PartCost]:
    """Fit and collect of the first phase. The products of planning are in the planner's own table."""
    ppi, rounds = config.ppi, LEARNERS * config.game.rounds
    peak = _peak(config, products[threads])
    fit, collect = seconds
    fitted, flops = ppi.epochs * ppi.initial_episodes * rounds, step_flops(untrained_model(config).gates())
    fit_share = (FORWARD_PASSES + BACKWARD_PASSES) * flops * fitted / fit / peak
    return [
        PartCost("fit", fit, _per_million(fit, threads, fitted), fit_share),
        PartCost("collect", collect, _per_million(collect, threads, ppi.episodes_per_phase * rounds)),
    ]


def _iteration(config: Config, threads: int, seconds: Sequence[float], products: Products) -> list[PartCost]:
    """Play and update. The kernel's update does not repeat the forward pass; PyTorch's does."""
    played, peak = LEARNERS * config.a2c.batch_size * config.game.rounds, _peak(config, products[threads])
    flops = step_flops(untrained(config, 0, stream(0, "model")).gates())
    again = 0 if engines(config.model.hidden)[0].kernel else FORWARD_PASSES
    passes = {"play": FORWARD_PASSES, "update": again + BACKWARD_PASSES}
    return [
        PartCost(name, taken, _per_million(taken, threads, played), passes[name] * flops * played / taken / peak)
        for name, taken in zip(passes, seconds, strict=True)
    ]


def _peak(config: Config, products: Mapping[str, Rate]) -> float:
    """The machine's rate for matrix products in the dtype of the engine in use."""
    return products[engines(config.model.hidden)[0].dtype].per_second


def _per_million(seconds: float, threads: int, agent_rounds: float) -> float:
    """Core seconds per 10^6 agent-rounds."""
    return seconds * threads / agent_rounds * 1e6
