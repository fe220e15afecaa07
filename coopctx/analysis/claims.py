"""The papers' claims and what the runs show: claims.toml says what is measured, verdict.py what the verdict is.

A claim has a few rows. Each row compares a number of one kind of agent with the paper's; a claim is checked for every agent for
which the paper shows it. A row whose number is not in print (`OURS_ONLY`) is shown and has no verdict. All numbers come from the
tables of finished runs.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, cast

import pandas as pd

from coopctx.analysis import nulls
from coopctx.analysis.intervals import Estimate, difference, estimate
from coopctx.analysis.paper import Reading, Target, paper_targets
from coopctx.analysis.references import Reference, references
from coopctx.analysis.summaries import REDUCERS
from coopctx.analysis.tables import PAPER_AGENTS, Tables, tables_of
from coopctx.analysis.verdict import Side, Threshold, Verdict, of_claim, of_row
from coopctx.experiments.pools import partner, pools_of
from coopctx.experiments.presets import seen_seeds
from coopctx.game.matrix import PRISONERS_DILEMMA
from coopctx.runs.read import Results

UNTOUCHED = 5  # the mean over seeds on which no setting was chosen is shown if there are at least so many
OURS_ONLY = "ours only"  # stands in claims.toml for the reading that there is not
_RUN_KEYS = ("run", "reducer", "quantity", "opponent", "player", "share", "rounds")


@dataclass(frozen=True)
class Measure:
    """A number per seed. run: a folder's name without the agent; reducer and its arguments as in `summaries.REDUCERS`."""

    run: str
    reducer: str
    arguments: Mapping[str, Any]

    def by_seed(self, agent: str, read: Callable[[str, str], pd.DataFrame]) -> pd.Series:
        """The number of each seed; seeds without it are left out. read: returns the rows of a run's table, given both names."""
        name, reduce = REDUCERS[self.reducer]
        table = read(self.run, name)
        return pd.Series(dtype=float) if table.empty else reduce(agent, table, self.arguments).dropna()


@dataclass(frozen=True)
class RowSpec:
    """A row of claims.toml for one kind of agent. minus: what is subtracted, or None; target: None if the paper prints no such
    number, threshold: None where none applies; without either the row has no verdict."""

    name: str
    measure: Measure
    minus: Measure | None
    target: Target | None
    threshold: Threshold | None


@dataclass(frozen=True)
class Row:
    """A checked row. ours: None if no finished run measures it; in Step 3 its ``seeds`` are pairs of agents.

    seeds: the number of seeds of each run (of two runs for a difference between runs). seen: how many of the seeds were looked
    at while settings were chosen. untouched: the estimate over the others, None if there are fewer than `UNTOUCHED`. nulls: the
    null policies' numbers by name; nan if their games have not been played. verdict: None for a row without a threshold or a
    number of the paper's.
    """

    spec: RowSpec
    ours: Estimate | None
    seeds: tuple[int, ...]
    seen: int
    untouched: Estimate | None
    nulls: Mapping[str, float]
    verdict: Verdict | None


@dataclass(frozen=True)
class Claim:
    """A claim about one kind of agent, with its rows."""

    agent: str
    title: str
    rows: tuple[Row, ...]

    @property
    def verdict(self) -> Verdict:
        """That of its rows; ValueError if none of them has one."""
        return of_claim(row.verdict for row in self.rows if row.verdict is not None)


@dataclass(frozen=True)
class Checked:
    """The content of a report: the papers' claims, agent by agent, and comparisons with exact references (not claims)."""

    claims: tuple[Claim, ...]
    references: tuple[Reference, ...]


def check(runs: Results) -> Checked:
    """Every claim about PPI, then A2C, then (if it has a finished run) COALA, and the exact references, on all finished seeds
    of these runs.

    Raises RunError when there is no finished run; and, unless ``runs`` is tolerant, when a table is missing or damaged, seeds
    were run with different settings, or the game is not the paper's. What a tolerant one leaves out is in its ``left_out``.
    """
    agents = tables_of(runs)
    return Checked(
        tuple(
            Claim(tables.agent, title, tuple(_checked(row, tables) for row in rows))
            for tables in agents
            for title, rows in claims(tables.agent).items()
        ),
        tuple(reference for tables in agents if tables.agent in PAPER_AGENTS for reference in references(tables)),
    )


# Reading claims.toml -----------------------------------------------------------------------------------------------


def meanings() -> dict[str, str]:
    """The meaning of each threshold, by its text in the tables, such as ``> 0.5``."""
    found: dict[str, list[str]] = {}
    for chosen in _data()["threshold"].values():
        side, value = ("above", chosen["above"]) if "above" in chosen else ("below", chosen["below"])
        border = "half the paper's" if value == "half" else f"{value:g}"
        written = f"{'>' if side == 'above' else '<'} {border}"
        found.setdefault(written, []).append(chosen["because"])
    return {written: ", or ".join(meaning) for written, meaning in found.items()}


@cache
def claims(agent: str) -> dict[str, tuple[RowSpec, ...]]:
    """All claims about this kind of agent by their titles, in the order of the paper's figures."""
    data = _data()
    specs = {}
    for claim in data["claim"]:
        common = {key: value for key, value in claim.items() if key in _RUN_KEYS}
        rows = tuple(_row(agent, common | row, data["threshold"]) for row in claim["row"] if agent in row)
        if rows:
            specs[claim["title"]] = rows
    return specs


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads(resources.files("coopctx.analysis").joinpath("data/claims.toml").read_text("utf-8"))


def _row(agent: str, row: Mapping[str, Any], thresholds: Mapping[str, Mapping[str, Any]]) -> RowSpec:
    minus = row.get("minus")
    target = _target(row[agent], row.get(f"{agent}_minus"))
    chosen = thresholds[row["threshold"]] if "threshold" in row else None
    return RowSpec(
        row["measure"],
        _measure(row),
        None if minus is None else _measure({**row, **minus}),
        target,
        None if chosen is None else _threshold(chosen, target),
    )


def _measure(row: Mapping[str, Any]) -> Measure:
    arguments = {key: row[key] for key in _RUN_KEYS[2:] if key in row}
    return Measure(row["run"], row["reducer"], arguments)


def _threshold(chosen: Mapping[str, Any], target: Target | None) -> Threshold:
    side: Side = "above" if "above" in chosen else "below"
    value = target.value / 2 if target is not None and chosen[side] == "half" else chosen[side]
    return Threshold(side, float(value))


def _target(reading: Iterable[Any], minus: Iterable[Any] | None) -> Target | None:
    """A reading of the paper, or the first minus the second, whose errors are independent; None for what is ours only."""
    if reading == OURS_ONLY:
        return None
    one = paper_targets()[cast(Reading, tuple(reading))]
    if minus is None:
        return one
    other = paper_targets()[cast(Reading, tuple(minus))]
    source = one.source if one.source == other.source else f"{one.source}, {other.source}"
    return Target(one.value - other.value, round(math.hypot(one.tolerance, other.tolerance), 2), source)


# Measuring the runs ------------------------------------------------------------------------------------------------


def _checked(spec: RowSpec, tables: Tables) -> Row:
    parts = [spec.measure] if spec.minus is None else [spec.measure, spec.minus]
    values = [part.by_seed(tables.agent, tables.read) for part in parts]
    seen = [seen_seeds(tables.preset, tables.agent, part.run) for part in parts]
    untouched = [series[~series.index.isin(list(known))] for series, known in zip(values, seen, strict=True)]
    runs = {part.run: series for part, series in zip(parts, values, strict=True)}
    ours = _estimate(spec, values, tables.agent)
    return Row(
        spec,
        ours,
        tuple(len(series) for series in runs.values()),
        len({seed for series, known in zip(values, seen, strict=True) for seed in series.index if seed in known}),
        _estimate(spec, untouched, tables.agent) if all(len(series) >= UNTOUCHED for series in untouched) else None,
        _nulls(spec, tables),
        None if spec.threshold is None or spec.target is None else of_row(ours, spec.threshold, spec.target),
    )


def _estimate(spec: RowSpec, parts: list[pd.Series], agent: str) -> Estimate | None:
    """The estimate over seeds. Differences within a run are paired by seed; runs of different pools are independent."""
    if any(values.empty for values in parts):
        return None
    lowest, highest = _range(spec)
    if spec.minus is not None and spec.minus.run != spec.measure.run:
        return difference(*parts).within(lowest, highest)
    values = parts[0] if spec.minus is None else (parts[0] - parts[1]).dropna()
    if values.empty:
        return None
    shared = pools_of(agent)[spec.measure.run.removesuffix("-opponent-id")].pretrained
    pairs = [(seed, partner(seed)) for seed in values.index] if shared else None
    return estimate(values.to_numpy(), pairs=pairs).within(lowest, highest)


def _range(spec: RowSpec) -> tuple[float, float]:
    """The lowest and the highest possible value."""
    payoffs = [payoff for row in PRISONERS_DILEMMA.payoffs for payoff in row]
    lowest, highest = (min(payoffs), max(payoffs)) if spec.measure.arguments["quantity"] == "reward" else (0.0, 1.0)
    return (lowest, highest) if spec.minus is None else (lowest - highest, highest - lowest)


def _nulls(spec: RowSpec, tables: Tables) -> dict[str, float]:
    parts = [part.by_seed(tables.agent, tables.of_nulls) for part in (spec.measure, spec.minus) if part is not None]
    values = (parts[0] if len(parts) == 1 else parts[0] - parts[1]).reindex(nulls.NULLS)
    return dict(zip(nulls.NULLS, values.tolist(), strict=True))
