"""The paper's own numbers, read off its figures by eye: good to about 0.01 of a rate or reward."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources

Reading = tuple[str, str, str, str, int]  # figure, panel, series, metric, and x: a phase, gradient step or round


@dataclass(frozen=True)
class Target:
    """What a curve of the paper shows at a point.

    tolerance: how far from ``value`` the paper's true mean may be: 0.02 for reading it off, and the half-width of the paper's
    own 95 % interval over seeds, 1.96 sd / sqrt(seeds); 0.05 where its standard deviation could not be read off.
    """

    value: float
    tolerance: float
    source: str


def paper_value(figure: str, panel: str, series: str, metric: str, x: int) -> float:
    """What a curve of the paper shows at ``x`` (a phase, gradient step or round); KeyError where it was not read off."""
    return paper_target((figure, panel, series, metric, x)).value


def paper_target(reading: Reading) -> Target:
    """As `paper_value`, with tolerance and source; KeyError where it was not read off."""
    return _targets()[reading]


def paper_readings() -> list[Reading]:
    """All that was read off, in the order of the paper's figures."""
    return list(_targets())


@cache
def _targets() -> dict[Reading, Target]:
    text = resources.files("coopctx.analysis").joinpath("data/paper_targets.csv").read_text("utf-8")
    return {
        (row["figure"], row["panel"], row["series"], row["metric"], int(row["x"])): Target(
            float(row["value"]), float(row["tolerance"]), row["source"]
        )
        for row in csv.DictReader(text.splitlines())
    }
