"""A curve with its spread over seeds: from the rows of a run's table to a line and a band."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.typing import LineStyleType

from coopctx.errors import RunError


@dataclass(frozen=True)
class Curve:
    """One quantity over training (or over an episode), summarised over seeds.

    x, mean, sd: arrays [points]. sd is the sample standard deviation (n - 1 in the denominator), NaN where there is one seed.
    """

    x: np.ndarray
    mean: np.ndarray
    sd: np.ndarray


def over_seeds(rows: pd.DataFrame, x: str, quantity: str, name: str) -> Curve:
    """Mean and standard deviation of `quantity` over seeds at each value of `x`; `rows` has one row per seed and `x`.

    Raises RunError, which calls the rows `name`, if there are no rows, or if the seeds were not all measured at the same `x`
    (the mean would jump where a seed ends).
    """
    if rows.empty:
        raise RunError(f"{name}: the finished runs hold no such measurement")
    by_seed = rows.pivot(index=x, columns="seed", values=quantity).sort_index()
    if x == "round":  # where the ending is random, not every seed has a game that reached the last ones
        by_seed = by_seed.dropna()
    for seed, values in by_seed.items():
        if values.isna().any():
            raise RunError(f"{name}: seeds do not share every {x}: seed {seed} lacks {x} {values[values.isna()].index[0]}")
    return Curve(by_seed.index.to_numpy(), by_seed.mean(axis=1).to_numpy(), by_seed.std(axis=1, ddof=1).to_numpy())


def draw(axes: Axes, curve: Curve, colour: str, line_style: LineStyleType, name: str, on_top: bool = False) -> None:
    """Draw the mean line and the ± 1 s.d. band (no band for a single seed). `name` becomes the line's gid, for tests."""
    if not np.isnan(curve.sd).all():
        low, high = curve.mean - curve.sd, curve.mean + curve.sd
        axes.fill_between(curve.x, low, high, facecolor=colour, edgecolor="none", alpha=0.18, zorder=1)
        for edge in (low, high):  # bands overlap; a thin line in the condition's own style marks each outline
            axes.plot(curve.x, edge, color=colour, alpha=0.4, linewidth=0.6, linestyle=line_style, zorder=1)
    marker = "o" if len(curve.x) == 1 else None  # a line through one point is invisible
    axes.plot(curve.x, curve.mean, color=colour, linestyle=line_style, marker=marker, zorder=3 if on_top else 2, gid=name)


def set_limits(axes: Axes, low: float, high: float) -> None:
    """Set the paper's y-limits, widened where a line or band would be cut off."""
    drawn = np.concatenate([line.get_ydata() for line in axes.lines])
    margin = 0.02 * (high - low)
    axes.set_ylim(min(low, np.nanmin(drawn) - margin), max(high, np.nanmax(drawn) + margin))


def set_x_axis(axes: Axes, last: int, parts: int) -> None:
    """Set the x-axis from 0 to ``last``, with ticks at ``parts`` equal steps if these are whole numbers."""
    axes.set_xlim(0, last)
    ticks = range(0, last + 1, last // parts) if last % parts == 0 else (0, last)
    axes.set_xticks(ticks, [shortened(tick) for tick in ticks])


def shortened(number: int) -> str:
    """A number in the paper's notation for iterations: 30, 2.5k, 70k."""
    return f"{number / 1000:g}k" if number >= 1000 and number % 100 == 0 else str(number)
