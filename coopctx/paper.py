"""The paper's own numbers, read off its figures by eye: good to about 0.01 of a rate or reward."""

from __future__ import annotations

import csv
from functools import cache
from importlib import resources


def paper_value(figure: str, panel: str, series: str, metric: str, x: int) -> float:
    """What a curve of the paper shows at ``x`` (a phase, gradient step or round); KeyError where it was not read off."""
    return _values()[figure, panel, series, metric, x]


@cache
def _values() -> dict[tuple[str, str, str, str, int], float]:
    with resources.files("coopctx").joinpath("data/paper_targets.csv").open(encoding="utf-8", newline="") as file:
        return {
            (row["figure"], row["panel"], row["series"], row["metric"], int(row["x"])): float(row["value"])
            for row in csv.DictReader(file)
        }
