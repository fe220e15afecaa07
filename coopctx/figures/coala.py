"""The steps to cooperation in both papers: a column per step, a row per setting.

The steps: learners are extorted; two extorters that play each other come to cooperate; a pool of both kinds is needed. The rows:
the exact game of arXiv:2410.18636, Sec. 4; COALA-PG and its baselines on sampled games (App. B there); PPI, which learns only in
context, in arXiv:2602.16301 (Figs. 1 and 2).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import LineStyleType

from coopctx.figures import curves
from coopctx.figures.runs import NothingToDraw, Runs, caption, missing
from coopctx.figures.style import COLOURS, SIDES
from coopctx.runs.read import Results

SIZE = (12.4, 9.6)  # inches
COLUMN_TITLES = ("1. Learners are extorted", "2. Extorters who meet", "3. It takes a mixed pool")
Side = Literal["ego", "co"]
Labelled = dict[str, tuple[str, LineStyleType]]  # the end of a pool's name: how it is shown
RULES: Labelled = {"": ("COALA-PG", "-"), "-m-fos": ("M-FOS", "--"), "-batch-unaware": ("batch-unaware", ":")}
PLAYERS: tuple[Side, Side] = "ego", "co"
RATE: Literal["cooperation_rate"] = "cooperation_rate"


@dataclass(frozen=True)
class Line:
    """A line: the mean over the finished seeds of one run and their learners.

    table: training, or the last curves within the episode. every: the number of rounds over which a point is a mean.
    """

    label: str
    runs: Runs
    opponent: str
    quantity: Literal["reward", "cooperation_rate"] = "reward"
    player: Side = "ego"
    style: LineStyleType = "-"
    table: Literal["training", "episodes"] = "training"
    every: int = 1

    def read(self, results: Results) -> pd.DataFrame:
        """A row per seed and point, with the columns seed, x and the quantity; none where no run is finished."""
        rows = results.table(self.runs.name, self.table)
        if self.table == "episodes":
            rows = rows[rows["iteration"] == rows.groupby("seed")["iteration"].transform("max")]
            x = (rows["round"] - 1) // self.every + 1
        else:
            x = rows["iteration"]
        kept = (rows["opponent"] == self.opponent) & (rows["player"] == self.player)
        return rows[kept].groupby([rows["seed"], x.rename("x")])[[self.quantity]].mean().reset_index()


@dataclass(frozen=True)
class LinePlot:
    """A panel; lines without finished runs are left out; limits: of the y-axis."""

    title: str
    x_label: str
    lines: tuple[Line, ...]
    limits: tuple[float, float]


def _exact() -> tuple[LinePlot, LinePlot, LinePlot]:
    naive, mutual, mixed, meta = (Runs("coala", f"exact-{pool}") for pool in ("naive", "mutual", "mixed", "meta"))
    who = zip(PLAYERS, ("meta agent", "naive learner"), strict=True)
    sides = [Line(label, naive, "naive", player=side, table="episodes") for side, label in who]
    met = (Line("with each other", mutual, "learner"),)
    pools = Line("mixed pool", mixed, "learner"), Line("no naive learners", meta, "learner", style=":")
    return (
        LinePlot("Exact game: meta agent and naive learner", "Naive Learner's Step", tuple(sides), (-0.6, 1.6)),
        LinePlot("Exact game: two meta agents that extort", "Meta Steps", met, (-0.1, 1.1)),
        LinePlot("Exact game: both kinds, or meta agents alone", "Meta Steps", pools, (-0.1, 1.1)),
    )


def _sampled() -> tuple[LinePlot, LinePlot, LinePlot]:
    naive = {rule: Runs("coala", f"naive{rule}") for rule in RULES}
    within = [
        Line(f"{label}, {who}", naive[rule], "naive", player=side, style=style, table="episodes", every=10)
        for rule, (label, style) in RULES.items()
        for side, who in zip(PLAYERS, ("meta", "naive"), strict=True)
        if rule != "-batch-unaware"
    ]
    training = [Line(label, naive[rule], "naive", style=style) for rule, (label, style) in RULES.items()]
    pools: Labelled = {
        "mixed": ("COALA-PG, mixed", "-"),
        "mixed-m-fos": ("M-FOS, mixed", "--"),
        "meta": ("COALA-PG, no naive", ":"),
    }
    together = [Line(label, Runs("coala", pool), "learner", RATE, style=style) for pool, (label, style) in pools.items()]
    return (
        LinePlot("Sampled: within the meta-trajectory", "Inner Episode", tuple(within), (-0.9, 2.2)),
        LinePlot("Sampled: against naive learners", "Batches", tuple(training), (-0.1, 1.3)),
        LinePlot("Sampled: meta agents with each other", "Batches", tuple(together), (-0.02, 1.02)),
    )


def _in_context() -> tuple[LinePlot, LinePlot, LinePlot]:
    extortion, mutual, mixed, alone = (Runs("ppi", pool) for pool in ("extortion", "mutual-extortion", "mixed", "learners"))
    who = zip(PLAYERS, ("extorter", "Fixed-ICL"), strict=True)
    sides = [Line(label, extortion, "fixed-icl", player=side) for side, label in who]
    pools = Line("mixed pool", mixed, "learner", RATE), Line("no tabular players", alone, "learner", RATE, style=":")
    met = (Line("with each other", mutual, "learner", RATE),)
    return (
        LinePlot("PPI: extorter and Fixed-ICL", "Training Phase", tuple(sides), (-0.6, 1.6)),
        LinePlot("PPI: two extorters", "Training Phase", met, (-0.02, 1.02)),
        LinePlot("PPI: both kinds, or learners alone", "Training Phase", pools, (-0.02, 1.02)),
    )


def build(results: Results) -> tuple[Figure, list[str]]:
    """The figure from the finished runs, and a line for each run of COALA's in it that is missing.

    Raises NothingToDraw if there is none of COALA's runs, RunError if the seeds of a run do not go together.
    """
    rows = _exact(), _sampled(), _in_context()
    tables = {line: line.read(results) for row in rows for panel in row for line in panel.lines}
    ours = list(dict.fromkeys(line.runs for line in tables if line.runs.agent == "coala"))
    if all(tables[line].empty for line in tables if line.runs in ours):
        raise NothingToDraw.lacking("run of COALA for the figure coala", results, ours[0].command(results))
    figure = Figure(figsize=SIZE)
    grid = figure.add_gridspec(3, 3, left=0.06, right=0.985, bottom=0.105, top=0.915, wspace=0.28, hspace=0.55)
    for column, title in enumerate(COLUMN_TITLES):
        figure.text(0.06 + column * 0.318, 0.965, title, weight="bold", size=13, va="top")
    for r, row in enumerate(rows):
        for c, panel in enumerate(row):
            _draw(figure.add_subplot(grid[r, c]), panel, [(line, tables[line]) for line in panel.lines])
    labelled = {line.runs.name: (line.runs.name, table) for line, table in tables.items() if len(table)}
    figure.text(0.01, 0.012, caption(results.preset, labelled.values()), size=7, va="bottom", wrap=True)
    return figure, [text for runs in ours for text in missing(runs, results)]


def _draw(axes: Axes, panel: LinePlot, lines: Sequence[tuple[Line, pd.DataFrame]]) -> None:
    axes.set_title(panel.title, size=10.5, loc="left")
    drawn = [(line, table) for line, table in lines if len(table)]
    y_label = "Avg. Reward" if panel.lines[0].quantity == "reward" else "Cooperation Rate"
    axes.set(xlabel=panel.x_label, ylabel=y_label, ylim=panel.limits)
    if not drawn:
        axes.text(0.5, 0.5, "no finished run", ha="center", va="center", transform=axes.transAxes, color=COLOURS["tit-for-tat"])
        return
    for line, table in drawn:
        gid = f"{line.runs.name}/{line.opponent}/{line.player}"
        curve = curves.over_seeds(table, "x", line.quantity, gid)
        curves.draw(axes, curve, SIDES[line.player], line.style, gid)
        axes.lines[-1].set_label(line.label)
    curves.set_limits(axes, *panel.limits)
    axes.set_xlim(min(table["x"].min() for _, table in drawn), max(table["x"].max() for _, table in drawn))
    axes.legend(loc="best", fontsize=7.5, handlelength=2.2, ncols=2 if len(drawn) > 3 else 1)
