"""A panel of reward and cooperation rate side by side: over training, or within the episode at one moment of training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pandas as pd
from matplotlib.figure import SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import MultipleLocator

from coopctx.errors import RunError
from coopctx.figures import curves
from coopctx.figures.runs import Runs
from coopctx.figures.style import COLOURS
from coopctx.runs.read import Results


@dataclass(frozen=True)
class Series:
    """A line: the rows of the table over which it is a mean, and its style."""

    label: str
    colour: str
    opponent: str
    player: str = "ego"
    learner: int = 1
    on_top: bool = False

    def rows(self, table: pd.DataFrame) -> pd.DataFrame:
        keys = (table["learner"] == self.learner) & (table["opponent"] == self.opponent) & (table["player"] == self.player)
        return table[keys]


def against(symbol: str, labels: Mapping[str, str], on_top: str) -> tuple[Series, ...]:
    """A line of an agent per opponent, in the opponent's colour."""
    return tuple(
        Series(f"{symbol} vs. {label}", COLOURS[opponent], opponent, on_top=opponent == on_top)
        for opponent, label in labels.items()
    )


@dataclass(frozen=True)
class Axis:
    """The paper's limits, widened where a line or band would be cut off, and the distance of ticks."""

    low: float
    high: float
    step: float


RATE = Axis(-0.02, 1.02, 0.25)  # a sliver of room, so that lines at 0 and 1 are not cut in half


@dataclass(frozen=True)
class Panel:
    """The content of a panel.

    title: ``{iteration}`` in it becomes the iteration that is shown.
    over: ``training``, or ``first``, ``last``: the first, the last iteration with within-episode curves.
    """

    title: str
    over: Literal["training", "first", "last"]
    series: tuple[Series, ...]
    reward: Axis
    cooperation: Axis = RATE

    def read(self, runs: Runs, results: Results) -> pd.DataFrame:
        """Its rows over all finished seeds; none where no finished run has such a measurement.

        Raises RunError if the seeds' within-episode curves are of different iterations.
        """
        if self.over == "training":
            return results.table(runs.name, "training")
        table = results.table(runs.name, "episodes")
        if table.empty:
            return table
        shown = getattr(table.groupby("seed")["iteration"], {"first": "min", "last": "max"}[self.over])()
        if shown.nunique() > 1:
            one, other = shown.idxmin(), shown.idxmax()
            raise RunError(
                f"{runs.name}: seeds do not share the {self.over} iteration with within-episode curves: "
                f"seed {one} has {shown[one]}, seed {other} has {shown[other]}"
            )
        return table[table["iteration"] == shown.iloc[0]]


def draw_panel(part: SubFigure, panel: Panel, table: pd.DataFrame, name: str, x_label: str, bottom: float, legend: float) -> None:
    """Draw ``table``, which `Panel.read` returned, into ``part``.

    name: of the runs, for messages and the lines' gids. x_label: of the iterations. bottom, legend: where the axes end and
    where the middle of the legend is, as shares of the part's height. Raises RunError where a series has no rows.
    """
    title = panel.title.format(iteration=curves.shortened(int(table["iteration"].iloc[0])))
    part.text(0.01, 0.985, title, weight="bold", size=13, va="top")
    grid = part.add_gridspec(1, 2, left=0.105, right=0.955, bottom=bottom, top=0.895, wspace=0.37)
    x, parts = ("iteration", 2) if panel.over == "training" else ("round", 4)
    quantities = (("reward", "Avg. Reward", panel.reward), ("cooperation_rate", "Cooperation Rate", panel.cooperation))
    for column, (quantity, label, axis) in enumerate(quantities):
        axes = part.add_subplot(grid[column])
        for series in panel.series:
            gid = f"{name}/{series.learner}/{series.opponent}/{series.player}"
            curve = curves.over_seeds(series.rows(table), x, quantity, gid)
            curves.draw(axes, curve, series.colour, "-", gid, on_top=series.on_top)
        axes.set(xlabel=x_label if x == "iteration" else "Round", ylabel=label)
        axes.yaxis.set_major_locator(MultipleLocator(axis.step))
        curves.set_limits(axes, axis.low, axis.high)
        curves.set_x_axis(axes, int(table[x].max()), parts)
    lines = [Line2D([], [], color=series.colour, label=series.label) for series in panel.series]
    part.legend(handles=lines, loc="center", bbox_to_anchor=(0.53, legend), ncols=2)
