"""The paper's values, read off its figures by eye, to about 0.01 of a rate or reward."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources

Reading = tuple[str, str, str, str, int]  # figure, panel, series, metric, and x: a phase, gradient step or round


@dataclass(frozen=True)
class Target:
    """The value of a curve of the paper at a point.

    tolerance: how far the paper's true mean may be from ``value``: 0.02 for the reading plus the half-width of the paper's
    own 95 % interval over seeds, 1.96 sd / sqrt(seeds); 0.05 if its standard deviation could not be read off.
    """

    value: float
    tolerance: float
    source: str


@cache
def paper_targets() -> dict[Reading, Target]:
    """All readings with their values, in the order of the paper's figures."""
    text = resources.files("coopctx.analysis").joinpath("data/paper_targets.csv").read_text("utf-8")
    return {
        (row["figure"], row["panel"], row["series"], row["metric"], int(row["x"])): Target(
            float(row["value"]), float(row["tolerance"]), row["source"]
        )
        for row in csv.DictReader(text.splitlines())
    }
