"""Cooperation and reward in the finished Steps 1, 2 and 3 of one kind of agent, and the paper's values (Figs. 2 and 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from coopctx.analysis.intervals import Estimate, Floats, estimate
from coopctx.analysis.paper import Reading, paper_targets
from coopctx.analysis.summaries import last_measurements, training_at, window, within_episode
from coopctx.experiments.agents import AGENTS
from coopctx.experiments.pools import RunSpec, partner
from coopctx.experiments.settings import Config
from coopctx.runs.read import read_run_table

STEP_POOLS = ("tabular", "extortion", "mutual-extortion")  # pools of Steps 1, 2, 3
_NO_SURPLUS = 1e-9


@dataclass(frozen=True)
class Side:
    """A player of a step: which rows of the training table are its own, and where the paper shows it."""

    label: str
    learner: int
    player: str
    paper: tuple[str, str, str, int] | None  # figure, panel, series and the iteration at its end


@dataclass(frozen=True)
class Moment:
    """A reading of the paper's Step 3, and what it is compared with: a part of the episode (`summaries.window`), or a share of
    the training."""

    paper: Reading
    rounds: str = ""
    share: float = 0.0


def _sides(name: str, figure: str, ends: tuple[int, int, int]) -> dict[str, tuple[Side, Side]]:
    """Both sides of each step; ends: the last iterations of the three steps in the paper's ``figure``."""

    def pair(panel: str, other: str, end: int) -> tuple[Side, Side]:
        return Side(name, 1, "ego", (figure, panel, name, end)), Side(other, 1, "co", (figure, panel, other, end))

    both = Side(f"{name} 1", 1, "ego", (figure, "E", f"{name}1 extort", ends[2])), Side(f"{name} 2", 2, "ego", None)
    return dict(zip(STEP_POOLS, (pair("A", "Avg. Tabular", ends[0]), pair("C", "Fixed-ICL", ends[1]), both), strict=True))


SIDES = {"ppi": _sides("PPI", "2", (30, 30, 30)), "a2c": _sides("A2C", "4", (50_000, 100_000, 10_000))}
BEFORE_TRAINING = {
    "ppi": (
        Moment(("2", "F", "PPI1 extort", "cooperation_rate", 5), "early"),
        Moment(("2", "F", "PPI1 extort", "cooperation_rate", 95), "end"),
    ),
    "a2c": (
        Moment(("4", "F", "A2C1 extort", "cooperation_rate", 5), "early"),
        Moment(("4", "F", "A2C1 extort", "cooperation_rate", 99), "last but one"),
    ),
}
IN_TRAINING = {
    "ppi": Moment(("2", "E", "PPI1 extort", "cooperation_rate", 10), share=1 / 3),
    "a2c": Moment(("4", "E", "A2C1 extort", "cooperation_rate", 5000), share=1 / 2),
}


@dataclass(frozen=True)
class StepMeasure:
    """A measure of one step. name: the player and the quantity. paper: None for what the paper does not show."""

    step: int
    name: str
    ours: Estimate
    paper: float | None


def measure_steps(agent: str, preset: str, seeds: Sequence[int], results: Path, config: Config) -> list[StepMeasure]:
    """Measures of the finished Steps 1, 2 and 3 of ``seeds`` and the paper's values; intervals are over seeds.

    config: of Step 3. For each step and side, over the last measurements: cooperation rate, reward per round, and share of the
    surplus: the side's reward minus mutual defection's, divided by the sum of both sides' (nan if the sum is not positive).
    For Step 3 also cooperation before training, early and late in the episode; at the time in training at which the paper was
    read; and its maximum, with which no reading is compared. Each Step-2 agent is in two Step-3 runs, which the intervals of
    Step 3 take into account. Raises RunError naming a missing or damaged file.
    """

    def read(pool: str, table: str) -> pd.DataFrame:
        specs = (RunSpec(agent, pool, False, seed, preset) for seed in seeds)
        return pd.concat([read_run_table(spec.directory(results), table).to_pandas() for spec in specs])

    baseline = config.game.payoffs[1][1]
    measures = []
    for step, pool in enumerate(STEP_POOLS, start=1):
        measures += _last_measured(step, SIDES[agent][pool], read(pool, "training"), baseline)
    training, episodes = read(STEP_POOLS[2], "training"), read(STEP_POOLS[2], "episodes")
    measures += [_before_training(moment, episodes) for moment in BEFORE_TRAINING[agent]]
    return [*measures, _in_training(IN_TRAINING[agent], training), _highest(training, AGENTS[agent].unit)]


def _last_measured(step: int, sides: tuple[Side, Side], training: pd.DataFrame, baseline: float) -> list[StepMeasure]:
    last = last_measurements(training)
    rates, rewards = (
        np.stack([_rows(last, side).groupby("seed")[quantity].mean() for side in sides], 1)
        for quantity in ("cooperation_rate", "reward")
    )
    pairs = _pairs(training) if step == 3 else None
    measures = []
    for index, side in enumerate(sides):
        for words, quantity, values in (("cooperation", "cooperation_rate", rates), ("reward", "reward", rewards)):
            ours = estimate(values[:, index], pairs=pairs)
            measures.append(StepMeasure(step, f"{side.label}: {words}", ours, _paper(side, quantity)))
    theirs = [_paper(side, "reward") for side in sides]
    for index, side in enumerate(sides):
        share = estimate(rewards - baseline, partial(_share, side=index), pairs)
        paper = None if None in theirs else float(_share(np.array(theirs, dtype=np.float64), index))
        measures.append(StepMeasure(step, f"{side.label}: share of the surplus", share, paper))
    return measures


def _before_training(moment: Moment, episodes: pd.DataFrame) -> StepMeasure:
    """Cooperation of both sides in Step 3 before any training, in a part of the episode."""
    rates = within_episode(moment.rounds, 0.0, "cooperation_rate", "learner", episodes, "both")
    first, last = window(moment.rounds, int(episodes["round"].max()))
    words = f"round {first}" if first == last else f"rounds {first}-{last}"
    ours = estimate(rates.to_numpy(), pairs=_pairs(episodes))
    return StepMeasure(3, f"coop. before training, {words}", ours, paper_targets()[moment.paper].value)


def _in_training(moment: Moment, training: pd.DataFrame) -> StepMeasure:
    """Cooperation of both sides in Step 3 at a share of the training."""
    ours = estimate(training_at(moment.share, "cooperation_rate", "learner", training).to_numpy(), pairs=_pairs(training))
    return StepMeasure(3, f"coop. of both, {moment.share:.0%} of training", ours, paper_targets()[moment.paper].value)


def _highest(training: pd.DataFrame, unit: str) -> StepMeasure:
    """The highest mean of both sides, and its iteration. There is no interval: a maximum has no simple one."""
    rates = training[training["player"] == "ego"].groupby("iteration")["cooperation_rate"].mean()
    ours = Estimate(float(rates.max()), np.nan, np.nan, training["seed"].nunique())
    return StepMeasure(3, f"coop. of both, highest ({unit} {rates.idxmax()})", ours, None)


def _pairs(table: pd.DataFrame) -> list[tuple[int, int]]:
    """The Step-2 seeds of each run of Step 3, in the order of its seeds."""
    return [(seed, partner(seed)) for seed in sorted(table["seed"].unique().tolist())]


def _rows(training: pd.DataFrame, side: Side) -> pd.DataFrame:
    return training[(training["learner"] == side.learner) & (training["player"] == side.player)]


def _share(surpluses: Floats, side: int) -> Floats:
    total = surpluses.sum(-1)
    return np.where(total > _NO_SURPLUS, surpluses[..., side] / np.where(total > _NO_SURPLUS, total, 1), np.nan)


def _paper(side: Side, metric: str) -> float | None:
    """The paper's value at the end of the step; None if it does not show it."""
    return None if side.paper is None else paper_targets()[*side.paper[:3], metric, side.paper[3]].value
