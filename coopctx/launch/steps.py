"""Running Steps 1, 2 and 3 of the extortion probe (Figs. 2 and 4); `coopctx.analysis.steps` measures them."""

from __future__ import annotations

from collections.abc import Sequence

from coopctx.analysis.steps import STEP_POOLS
from coopctx.errors import RunError, UsageError, check_known
from coopctx.experiments.pools import EARLY_ROUND, RunSpec, agents_of, with_needs
from coopctx.experiments.presets import load_preset
from coopctx.experiments.settings import Config
from coopctx.launch.job import RunOptions
from coopctx.launch.jobs import Request, failures, train_runs


def train_steps(agent: str, seeds: Sequence[int], options: RunOptions) -> Config:
    """Run Steps 1, 2 and 3 of ``seeds``, skipping finished runs. Returns the configuration of Step 3.

    Step 3 of a seed also needs Steps 1 and 2 of another seed (`RunSpec.needs`). Raises UsageError for impossible settings,
    RunError naming the runs that failed, Interrupted on Ctrl-C.
    """
    check_known("agent", agent, agents_of(STEP_POOLS[2]))
    config = load_preset(options.preset, options.overrides, STEP_POOLS[2])
    _check_game(config)
    step_3 = [RunSpec(agent, STEP_POOLS[2], False, seed, options.preset) for seed in seeds]
    requests = [Request(spec, options.overrides, options.results) for spec in with_needs(step_3)]
    if failed := failures(requests, train_runs(requests, options)):
        raise RunError("; ".join(failed))
    return config


def _check_game(config: Config) -> None:
    actions, rounds = len(config.game.payoffs), config.game.rounds
    if actions != 2:
        raise UsageError(f"extort-probe is for games of two actions, not {actions}")
    if rounds < EARLY_ROUND:
        raise UsageError(f"extort-probe needs game.rounds of at least {EARLY_ROUND}, not {rounds}")
    if config.game.matrix().by_chance:
        raise UsageError("extort-probe is for games without noise (game.noise) and random ending (game.continuation)")
