"""The runs that a figure is read from, and what is said of those that are not there."""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pandas as pd

from coopctx.errors import RunError
from coopctx.experiments.pools import options_for, run_name, train_words
from coopctx.experiments.presets import caveat
from coopctx.experiments.seeds import seed_ranges
from coopctx.runs.read import Results

SEEDS = range(10)  # the paper's number of seeds: what a command makes where none are asked for


class NothingToDraw(RunError):
    """A figure has not one run to be drawn from."""

    @classmethod
    def lacking(cls, what: str, results: Results, command: str) -> Self:
        """There is no finished ``what``, which ``command`` makes."""
        return cls(f"no finished {what} under {results.folder / results.preset}; make some with: {command}")


@dataclass(frozen=True)
class Runs:
    """All seeds of one training run."""

    agent: str
    pool: str
    opponent_id: bool = False

    @property
    def name(self) -> str:
        return run_name(self.agent, self.pool, self.opponent_id)

    def command(self, results: Results) -> str:
        """The command that makes the seeds that are wanted (finished ones are skipped)."""
        return shlex.join(train_words(self.agent, self.pool, self.opponent_id)) + options(results)


def options(results: Results) -> str:
    """The words that turn a command towards these results, their preset and the seeds that are wanted."""
    seeds = seed_ranges(sorted(SEEDS if results.asked is None else results.asked)).replace(" ", "")
    return f" {shlex.join([*options_for(Path('results'), results.preset), '--seeds', seeds, *options_for(results.folder)])}"


def missing(runs: Runs, results: Results, command: str = "") -> list[str]:
    """A line naming what is not finished of a run, and the ``command`` that makes it (its own if none is given), or no line.

    That is the seeds that were asked for; where none were, it is missing only if there is not one.
    """
    command = command or runs.command(results)
    if results.asked is None:
        return [] if results.seeds(runs.name) else [f"{runs.name}: no finished run ({command})"]
    lacking = results.missing(runs.name)
    return [f"{runs.name}: no finished run of seeds {seed_ranges(lacking)} ({command})"] if lacking else []


def caption(preset: str, seeds: Iterable[tuple[str, pd.DataFrame]]) -> str:
    """What was averaged: the seeds of each labelled table, and the preset they were run at."""
    numbers = {label: sorted(table["seed"].unique()) for label, table in seeds}
    listed = "; ".join(f"{label} {seed_ranges(present)}".strip() for label, present in numbers.items())
    alone = " (one seed: no band)" if any(len(present) == 1 for present in numbers.values()) else ""
    warning = f"{caveat(preset)} " if caveat(preset) else ""
    return f"{warning}Mean ± 1 s.d. over seeds{alone}. Preset {preset}. Seeds: {listed}."
