"""The extortion probe: run Steps 1, 2 and 3 of one kind of agent, and measure their results (Figs. 2 and 4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from coopctx.analysis.intervals import Estimate, Floats, bootstrap_interval
from coopctx.analysis.paper import paper_value
from coopctx.analysis.summaries import last_measurements
from coopctx.errors import RunError, UsageError
from coopctx.experiments.pools import EARLY_ROUND, RunSpec
from coopctx.experiments.settings import Config, load_preset
from coopctx.launch.jobs import train
from coopctx.launch.options import RunOptions
from coopctx.runs.read import read_run_table

STEPS = ("tabular", "extortion", "mutual-extortion")  # pools of Steps 1, 2, 3
COOPERATION_BY = 15  # the phase by which PPI's Step 3 has reached its plateau in the paper, half-way; so has A2C's
_NO_SURPLUS = 1e-9


@dataclass(frozen=True)
class Side:
    """One of the players of a step: the rows of its training table, and where the paper shows it."""

    label: str
    learner: int
    player: str
    paper: tuple[str, str, str, int] | None  # figure, panel, series and the iteration at its end


@dataclass(frozen=True)
class Published:
    """Where else the paper shows Step 3. early, late: figure, panel, series and round of the episode before training;
    best: figure, panel, series and the iteration of the best one."""

    early: tuple[str, str, str, int] | None
    late: tuple[str, str, str, int]
    best: tuple[str, str, str, int]


SIDES: dict[str, dict[str, tuple[Side, Side]]] = {
    "ppi": {
        "tabular": (Side("PPI", 1, "ego", ("2", "A", "PPI", 30)), Side("Avg. Tabular", 1, "co", ("2", "A", "Avg. Tabular", 30))),
        "extortion": (Side("PPI", 1, "ego", ("2", "C", "PPI", 30)), Side("Fixed-ICL", 1, "co", ("2", "C", "Fixed-ICL", 30))),
        "mutual-extortion": (Side("PPI 1", 1, "ego", ("2", "E", "PPI1 extort", 30)), Side("PPI 2", 2, "ego", None)),
    },
    "a2c": {
        "tabular": (
            Side("A2C", 1, "ego", ("4", "A", "A2C", 50_000)),
            Side("Avg. Tabular", 1, "co", ("4", "A", "Avg. Tabular", 50_000)),
        ),
        "extortion": (
            Side("A2C", 1, "ego", ("4", "C", "A2C", 100_000)),
            Side("Fixed-ICL", 1, "co", ("4", "C", "Fixed-ICL", 100_000)),
        ),
        "mutual-extortion": (
            Side("A2C 1", 1, "ego", ("4", "E", "A2C1 extort", 10_000)),
            Side("A2C 2", 2, "ego", None),
        ),
    },
}
PUBLISHED = {
    "ppi": Published(("2", "F", "PPI1 extort", 5), ("2", "F", "PPI1 extort", 95), ("2", "E", "PPI1 extort", 10)),
    "a2c": Published(None, ("4", "F", "A2C1 extort", 99), ("4", "E", "A2C1 extort", 5000)),
}


@dataclass(frozen=True)
class Measure:
    """A row of the probe's table; paper is None where the paper does not show it."""

    step: int
    name: str
    ours: Estimate
    paper: float | None


def train_steps(agent: str, seeds: Sequence[int], options: RunOptions) -> Config:
    """Run Steps 1, 2 and 3 of ``seeds``, skipping what is finished; the configuration that Step 3 has.

    Step 3 of a seed needs the first two of another one too (`RunSpec.needs`). Raises UsageError for what cannot be asked
    for, RunError naming the runs that failed, Interrupted on Ctrl-C.
    """
    config = load_preset(options.preset, options.overrides, STEPS[2])
    _check_game(config)
    wanted = {STEPS[2]: [RunSpec(agent, STEPS[2], False, seed, options.preset) for seed in seeds]}
    for earlier, later in ((STEPS[1], STEPS[2]), (STEPS[0], STEPS[1])):
        needed = {need.seed: need for spec in wanted[later] for need in spec.needs()}
        wanted[earlier] = [needed[seed] for seed in sorted(needed)]
    for pool in STEPS:
        outcomes = train(wanted[pool], options)
        failed = [f"seed {outcome.seed}: {outcome.message}" for outcome in outcomes if outcome.state == "failed"]
        if failed:
            raise RunError(f"{agent}-{pool}: {len(failed)} of {len(outcomes)} seeds failed; {'; '.join(failed)}")
    return config


def measure_steps(agent: str, preset: str, seeds: Sequence[int], results: Path, config: Config) -> list[Measure]:
    """What the finished Steps 1, 2 and 3 of ``seeds`` came to, beside the paper's values; intervals are over seeds.

    config: of Step 3. Per step and side, over the last measurements: cooperation rate, reward per round and share of the
    surplus, which is the side's reward above mutual defection divided by both sides' (nan where there is none to divide).
    Step 3 also before training, early and late in the episode, and the best phase of both agents up to `COOPERATION_BY`, or
    the best iteration of the first half. Each Step-2 agent is in two Step-3 runs; the intervals take these for independent.
    Raises RunError naming a missing or damaged file.
    """

    def read(pool: str, table: str) -> pd.DataFrame:
        specs = (RunSpec(agent, pool, False, seed, preset) for seed in seeds)
        return pd.concat([read_run_table(spec.directory(results), table).to_pandas() for spec in specs])

    baseline = config.game.payoffs[1][1]
    measures = []
    for step, pool in enumerate(STEPS, start=1):
        measures += _last_measured(step, SIDES[agent][pool], read(pool, "training"), baseline)
    before = _before_training(read(STEPS[2], "episodes"), config.game.rounds, PUBLISHED[agent])
    unit, by = ("phase", COOPERATION_BY) if agent == "ppi" else ("iteration", config.a2c.iterations // 2)
    best = _best(SIDES[agent][STEPS[2]], read(STEPS[2], "training"), unit, by, PUBLISHED[agent])
    return [*measures, *before, best]


def _check_game(config: Config) -> None:
    actions, rounds = len(config.game.payoffs), config.game.rounds
    if actions != 2:
        raise UsageError(f"extort-probe is for games of two actions, not {actions}")
    if rounds < EARLY_ROUND:
        raise UsageError(f"extort-probe needs game.rounds of at least {EARLY_ROUND}, not {rounds}")
    if config.game.matrix().by_chance:
        raise UsageError("extort-probe is for games without noise (game.noise) and random ending (game.continuation)")


def _last_measured(step: int, sides: tuple[Side, Side], training: pd.DataFrame, baseline: float) -> list[Measure]:
    last = last_measurements(training)
    rates, rewards = (
        np.stack([_rows(last, side).groupby("seed")[quantity].mean() for side in sides], 1)
        for quantity in ("cooperation_rate", "reward")
    )
    measures = []
    for index, side in enumerate(sides):
        measures.append(Measure(step, f"{side.label}: cooperation", _estimate(rates[:, index]), _paper(side, "cooperation_rate")))
        measures.append(Measure(step, f"{side.label}: reward", _estimate(rewards[:, index]), _paper(side, "reward")))
    theirs = [_paper(side, "reward") for side in sides]
    for index, side in enumerate(sides):
        share = _estimate(rewards - baseline, partial(_share, side=index))
        paper = None if None in theirs else float(_share(np.array(theirs, dtype=np.float64), index))
        measures.append(Measure(step, f"{side.label}: share of the surplus", share, paper))
    return measures


def _before_training(episodes: pd.DataFrame, rounds: int, paper: Published) -> list[Measure]:
    """Cooperation of both sides in Step 3 before any training, in a round early in the episode and in its last tenth."""
    rows = episodes[episodes["iteration"] == 0]
    late = rounds * 9 // 10  # of 100 rounds, 90 to 100
    windows = (
        (f"round {EARLY_ROUND}", EARLY_ROUND, EARLY_ROUND, paper.early),
        (f"rounds {late}-{rounds}", late, rounds, paper.late),
    )
    measures = []
    for words, first, last, shown in windows:
        rates = rows[rows["round"].between(first, last)].groupby("seed")["cooperation_rate"].mean().to_numpy()
        measures.append(Measure(3, f"coop. before training, {words}", _estimate(rates), _value(shown, "cooperation_rate")))
    return measures


def _best(sides: tuple[Side, Side], training: pd.DataFrame, unit: str, by: int, paper: Published) -> Measure:
    """The iteration up to ``by`` at which the one of the two that cooperates less does so most, in the mean."""
    first = training["iteration"][training["iteration"] > 0].min()  # on a coarse grid the only one to look at
    rows = training[training["iteration"].between(1, max(by, first))]
    tables = [_rows(rows, side).pivot(index="seed", columns="iteration", values="cooperation_rate") for side in sides]
    rates = np.stack(tables, -1)
    estimate = _estimate(rates.reshape(len(rates), -1), lambda means: _lower(means).max(-1))
    at = tables[0].columns[int(_lower(rates.reshape(len(rates), -1).mean(0)).argmax())]
    name = f"coop. of both at best {unit} by {by} ({at})"
    return Measure(3, name, estimate, _value(paper.best, "cooperation_rate"))


def _lower(means: Floats) -> Floats:
    """The lower of both sides' rates per iteration, from ``[..., iterations * 2]``."""
    return means.reshape(*means.shape[:-1], -1, 2).min(-1)


def _rows(training: pd.DataFrame, side: Side) -> pd.DataFrame:
    return training[(training["learner"] == side.learner) & (training["player"] == side.player)]


def _share(surpluses: Floats, side: int) -> Floats:
    total = surpluses.sum(-1)
    return np.where(total > _NO_SURPLUS, surpluses[..., side] / np.where(total > _NO_SURPLUS, total, 1), np.nan)


def _estimate(values: Floats, of_means: Callable[[Floats], Floats] | None = None) -> Estimate:
    generator = np.random.default_rng(0)  # its own for each measure, so that one more moves no other
    return bootstrap_interval(values, generator, of_means) if of_means else bootstrap_interval(values, generator)


def _paper(side: Side, metric: str) -> float | None:
    return _value(side.paper, metric)


def _value(where: tuple[str, str, str, int] | None, metric: str) -> float | None:
    """The paper's value at figure, panel, series and x; None for nowhere."""
    return None if where is None else paper_value(*where[:3], metric, where[3])
