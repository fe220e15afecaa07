"""95 % intervals over seeds, with Student's t.

For a mean it is the usual interval. For a ratio or another smooth function of means it is the jackknife's (J. W. Tukey, Annals of
Mathematical Statistics 29, 1958), which equals the usual one for a mean. For the difference between two independent sets of runs
it is B. L. Welch's (Biometrika 34, 1947). How often the intervals cover the true value with as few seeds as ours is simulated in
tests/analysis/test_intervals.py and listed in docs/intervals.md.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

Floats = NDArray[np.float64]
COVERAGE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A number over ``seeds`` runs with its 95 % interval; low and high are nan if there are too few runs for an interval."""

    value: float
    low: float
    high: float
    seeds: int

    def within(self, lowest: float, highest: float) -> Estimate:
        """The same with the interval cut to the possible values, such as 0 to 1 for a rate (nan stays nan)."""
        low, high = (min(max(end, lowest), highest) if math.isfinite(end) else end for end in (self.low, self.high))
        return Estimate(self.value, low, high, self.seeds)


def estimate(
    values: ArrayLike,
    of_means: Callable[[Floats], Floats] = lambda means: means[..., 0],
    pairs: Sequence[tuple[int, int]] | None = None,
) -> Estimate:
    """A smooth function of means over seeds, with its interval.

    values: ``[seeds]``, or ``[seeds, quantities]`` where the function needs several. of_means: from means
    ``[..., quantities]`` to numbers ``[...]``; by default the mean of the only quantity. A ratio is the ratio of the means, so
    that a single seed with a denominator near zero does not dominate it. pairs: for runs that share agents (Step 3), the two
    agents of each run; runs that share an agent are then not treated as independent. Raises ValueError without any seed.

    Leaving out one of n seeds at a time gives n pseudo-values. Their standard error times the 0.975 quantile of Student's t
    with n - 1 degrees of freedom is half the interval's width. For pairs the squared error is the sum over agents of
    (sum of the agent's runs' deviations)^2 / (n (n - 2)): exact if all variance comes from the agents, too wide if none does.
    """
    table = np.asarray(values, dtype=np.float64)
    table = table[:, None] if table.ndim == 1 else table
    seeds = len(table)
    if seeds == 0:
        raise ValueError("an interval over seeds needs a seed")
    value = float(of_means(table.mean(0)))
    if seeds == 1:
        return Estimate(value, np.nan, np.nan, 1)
    without = of_means((table.sum(0) - table) / (seeds - 1))
    deviations = (seeds - 1) * (without.mean() - without)  # of the pseudo-values from their mean
    if pairs is not None and max(Counter(agent for pair in pairs for agent in pair).values()) > 1:
        error = _error_over_agents(deviations, pairs)
    else:
        error = math.sqrt(float((deviations**2).sum()) / (seeds * (seeds - 1)))
    return _interval(value, error, seeds - 1, seeds)


def over_units(values: ArrayLike, units: Sequence[Collection[tuple[object, object]]]) -> Estimate:
    """The mean of ``values`` [n], each of which rests on one unit or on several, with its interval over the units.

    units: those that each value rests on, as (sample, member): two agents that met, of two samples of seeds or of one. The units
    of a sample are independent draws; a value without units rests on nothing that was drawn. Every sample has the jackknife's
    squared error, (m - 1) / m sum over its m members of (mean without the member - their mean)^2, which for a mean over pairs
    within a sample is that of a U-statistic (J. N. Arvesen, Annals of Mathematical Statistics 40, 1969); the errors add up,
    with the degrees of freedom of Welch and Satterthwaite. nan for a sample with one member, or of two whose values all rest
    on both. ``seeds`` is the size of the smallest sample, 0 where there is none. Raises ValueError without any value.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if not len(numbers):
        raise ValueError("an interval needs a value")
    value = float(numbers.mean())
    samples: defaultdict[object, set[tuple[object, object]]] = defaultdict(set)
    for unit in (unit for each in units for unit in each):
        samples[unit[0]].add(unit)
    if not samples:
        return Estimate(value, np.nan, np.nan, 0)
    parts = []  # squared error and degrees of freedom of each sample
    for members in samples.values():
        rest = [numbers[[unit not in each for each in units]] for unit in members]
        if len(members) == 1 or not all(map(len, rest)):
            return Estimate(value, np.nan, np.nan, min(map(len, samples.values())))
        without = np.array([part.mean() for part in rest])
        parts.append((float(((without - without.mean()) ** 2).sum()) * (len(members) - 1) / len(members), len(members) - 1))
    error, squares = sum(part for part, _ in parts), sum(part**2 / freedom for part, freedom in parts)
    fewest = min(freedom for _, freedom in parts)
    return _interval(value, math.sqrt(error), error**2 / squares if squares else float(fewest), fewest + 1)


def difference(first: ArrayLike, second: ArrayLike) -> Estimate:
    """The mean of ``first`` minus that of ``second``, ``[seeds]`` each, from independent runs.

    Its ``seeds`` is the smaller number of the two. Raises ValueError if either is empty.
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if not len(one) or not len(other):
        raise ValueError("an interval over seeds needs a seed")
    value, seeds = float(one.mean() - other.mean()), min(len(one), len(other))
    if seeds == 1:
        return Estimate(value, np.nan, np.nan, 1)
    parts = [float(part.var(ddof=1)) / len(part) for part in (one, other)]
    squares = sum(part**2 / (len(values) - 1) for part, values in zip(parts, (one, other), strict=True))
    freedom = sum(parts) ** 2 / squares if squares else float(seeds - 1)
    return _interval(value, math.sqrt(sum(parts)), freedom, seeds)


def number(value: float) -> str:
    """Three decimals; a dash for nan."""
    return "-" if np.isnan(value) else f"{value:z.3f}"


def interval(low: float, high: float) -> str:
    """``0.123 to 0.456``; a dash for nan."""
    return "-" if np.isnan(low) else f"{low:z.3f} to {high:z.3f}"


def _interval(value: float, error: float, freedom: float, seeds: int) -> Estimate:
    half = float(stdtrit(freedom, (1 + COVERAGE) / 2)) * error
    return Estimate(value, value - half, value + half, seeds)


def _error_over_agents(deviations: Floats, pairs: Sequence[tuple[int, int]]) -> float:
    """Standard error of the mean of runs that share agents; nan for two runs."""
    runs = len(deviations)
    if runs == 2:
        return math.nan
    of_agent: defaultdict[int, float] = defaultdict(float)
    for pair, deviation in zip(pairs, deviations.tolist(), strict=True):
        for agent in pair:
            of_agent[agent] += deviation
    return math.sqrt(sum(total**2 for total in of_agent.values()) / (runs * (runs - 2)))
