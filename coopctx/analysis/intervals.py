"""Intervals over seeds: no mean stands alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
DRAWS = 10_000
_QUANTILES = (0.025, 0.975)


@dataclass(frozen=True)
class Estimate:
    """A number over ``seeds`` runs with its 95 % bootstrap interval; low and high are nan where there is one seed."""

    value: float
    low: float
    high: float
    seeds: int


def the_mean(means: Floats) -> Floats:
    """The mean of a single quantity, as it is."""
    return means[..., 0]


def bootstrap_interval(
    values: ArrayLike,
    generator: np.random.Generator,
    of_means: Callable[[Floats], Floats] = the_mean,
    draws: int = DRAWS,
) -> Estimate:
    """A function of means over seeds, and the percentiles of it when seeds are drawn anew with replacement.

    values: ``[seeds]``, or ``[seeds, quantities]`` where the function needs several. of_means: from means
    ``[..., quantities]`` to numbers ``[...]``; a ratio, say, is then the ratio of the means, which one seed with a
    denominator near zero cannot carry away. Samples in which it is not finite are passed over.
    Raises ValueError without any seed.
    """
    table = np.asarray(values, dtype=np.float64)
    table = table[:, None] if table.ndim == 1 else table
    seeds = len(table)
    if seeds == 0:
        raise ValueError("an interval over seeds needs a seed")
    value = float(of_means(table.mean(0)))
    if seeds == 1:
        return Estimate(value, np.nan, np.nan, 1)
    weights = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
    drawn = of_means(weights @ table)
    known = drawn[np.isfinite(drawn)]
    low, high = np.quantile(known, _QUANTILES) if len(known) else (np.nan, np.nan)
    return Estimate(value, float(low), float(high), seeds)


def number(value: float) -> str:
    """Three decimals; a dash for nan."""
    return "-" if np.isnan(value) else f"{value:z.3f}"


def interval(low: float, high: float) -> str:
    """``0.123 to 0.456``; a dash for nan."""
    return "-" if np.isnan(low) else f"{low:z.3f} to {high:z.3f}"
