"""The runs that a figure is read from, and what is said of those that are not there."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from coopctx.errors import RunError
from coopctx.experiments.pools import run_name
from coopctx.runs.read import read_table

SEEDS = range(10)  # the paper's number of seeds


class NothingToDraw(RunError):
    """A figure has not one run to be drawn from."""


@dataclass(frozen=True)
class Runs:
    """All seeds of one training run."""

    agent: str
    pool: str
    opponent_id: bool = False

    @property
    def name(self) -> str:
        return run_name(self.agent, self.pool, self.opponent_id)

    def command(self, results: Path, preset: str) -> str:
        """The command that makes every seed (finished ones are skipped)."""
        flag = " --opponent-id" if self.opponent_id else ""
        return f"coopctx train --agent {self.agent} --pool {self.pool}{flag}{options(results, preset)}"

    def read(self, results: Path, preset: str, table: str) -> pd.DataFrame:
        """A table of the finished seeds; no rows where none is finished. RunError naming a damaged file."""
        return read_table(results, preset, self.name, table)


def options(results: Path, preset: str) -> str:
    """The words that turn a command towards these results, this preset and every seed."""
    return (
        (f" --preset {preset}" if preset != "cpu" else "")
        + f" --seeds {SEEDS[0]}-{SEEDS[-1]}"
        + (f" --results {results}" if results != Path("results") else "")
    )


def missing(name: str, finished: Iterable[int], command: str) -> list[str]:
    """A line naming the seeds that are not finished and the command that makes them; none where all are."""
    have = set(finished)
    lacking = [seed for seed in SEEDS if seed not in have]
    return [f"{name}: no finished run of seeds {seed_ranges(lacking)} ({command})"] if lacking else []


def caption(preset: str, seeds: Iterable[tuple[str, pd.DataFrame]]) -> str:
    """What was averaged: the seeds of each labelled table, and the preset they were run at."""
    numbers = {label: sorted(table["seed"].unique()) for label, table in seeds}
    listed = "; ".join(f"{label} {seed_ranges(present)}".strip() for label, present in numbers.items())
    alone = " (one seed: no band)" if any(len(present) == 1 for present in numbers.values()) else ""
    return f"Mean ± 1 s.d. over seeds{alone}. Preset {preset}. Seeds: {listed}."


def seed_ranges(seeds: Sequence[int]) -> str:
    """[0, 1, 2, 5] -> "0-2, 5"."""
    ranges: list[list[int]] = []
    for seed in seeds:
        if ranges and seed == ranges[-1][1] + 1:
            ranges[-1][1] = seed
        else:
            ranges.append([seed, seed])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
