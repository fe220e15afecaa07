"""Figure 1: training in the mixed pool and its two ablations (Sec. 4, App. A.4), one panel per kind of agent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.typing import LineStyleType

from coopctx.figures import curves, style
from coopctx.figures.runs import NothingToDraw, Runs, caption, missing
from coopctx.runs.read import Results


@dataclass(frozen=True)
class Condition:
    """A training condition: the runs that it is read from, the opponents of its learner that are shown, and the line style."""

    pool: str
    opponent_id: bool
    label: str
    line_style: LineStyleType
    opponents: tuple[str, ...]

    def runs(self, agent: str) -> Runs:
        return Runs(agent, self.pool, self.opponent_id)


@dataclass(frozen=True)
class AgentPanel:
    """The panel of one kind of agent."""

    letter: str
    agent: str
    symbol: str
    x_label: str


CONDITIONS = (
    Condition("mixed", False, "None", "-", ("learner", "tabular")),
    Condition("mixed", True, "Opponent ID", "--", ("learner", "tabular")),
    Condition("learners", False, "No Tabular Opp.", ":", ("learner",)),
)
PANELS = (
    AgentPanel("A", "ppi", "PPI", "Training Phase"),
    AgentPanel("B", "a2c", "A2C", "Training Iteration"),
)
# Quantity, label, the paper's y-limits, ticks. Rates get a sliver of room so that lines at 0 and 1 are not cut in half.
QUANTITIES = (
    ("reward", "Avg. Reward", (-0.1, 1.2), (0.0, 0.5, 1.0)),
    ("cooperation_rate", "Cooperation Rate", (-0.02, 1.02), (0.0, 0.25, 0.5, 0.75, 1.0)),
)
PANEL_SIZE = (6.2, 3.75)  # inches


def build(results: Results) -> tuple[Figure, list[str]]:
    """Figure 1 from the finished runs, and one line per condition that lacks what was asked for.

    A panel is drawn as soon as its agent has a finished run; an agent without any is left out.
    Raises NothingToDraw if no agent has one, RunError if the seeds do not go together.
    """
    drawn = {panel: tables for panel in PANELS if (tables := _read(panel.agent, results))}
    if not drawn:
        command = CONDITIONS[0].runs(PANELS[0].agent).command(results)
        raise NothingToDraw.lacking("run for fig1", results, command)
    figure = Figure(figsize=(PANEL_SIZE[0] * len(drawn), PANEL_SIZE[1]))
    parts = figure.subfigures(1, len(drawn), squeeze=False)[0]
    for part, (panel, tables) in zip(parts, drawn.items(), strict=True):
        draw_panel(part, panel, tables, results.preset)
    wanted = [condition.runs(panel.agent) for panel in drawn for condition in CONDITIONS]
    return figure, [line for runs in wanted for line in missing(runs, results)]


def draw_panel(part: SubFigure, panel: AgentPanel, tables: Mapping[Condition, pd.DataFrame], preset: str) -> None:
    """One agent's panel: reward and cooperation rate of learner 1 over training, legends and caption below."""
    part.text(0.01, 0.985, f"{panel.letter}. {panel.symbol} - Training Progress", weight="bold", size=13, va="top")
    grid = part.add_gridspec(1, 2, left=0.105, right=0.955, bottom=0.445, top=0.895, wspace=0.37)
    for column, (quantity, label, limits, ticks) in enumerate(QUANTITIES):
        axes = part.add_subplot(grid[column])
        for condition, table in tables.items():
            rows = table[(table["learner"] == 1) & (table["player"] == "ego")]
            for opponent in condition.opponents:
                name = f"{condition.runs(panel.agent).name}/{opponent}"
                curve = curves.over_seeds(rows[rows["opponent"] == opponent], "iteration", quantity, name)
                curves.draw(axes, curve, style.COLOURS[opponent], condition.line_style, name, on_top=condition is CONDITIONS[0])
        axes.set(xlabel=panel.x_label, ylabel=label)
        axes.set_yticks(ticks, [str(tick) for tick in ticks])
        curves.set_limits(axes, *limits)
        curves.set_x_axis(axes, max(table["iteration"].max() for table in tables.values()), parts=2)
    _legends(part, panel, list(tables))
    labelled = (("no ablation" if each.label == "None" else each.label, table) for each, table in tables.items())
    part.text(0.01, 0.015, caption(preset, labelled), size=7, va="bottom")


def _read(agent: str, results: Results) -> dict[Condition, pd.DataFrame]:
    """Training table of each condition that has a finished seed."""
    tables = {condition: results.table(condition.runs(agent).name, "training") for condition in CONDITIONS}
    return {condition: table for condition, table in tables.items() if len(table)}


def _legends(part: SubFigure, panel: AgentPanel, conditions: Sequence[Condition]) -> None:
    """Two columns as in the paper: the meaning of colours and of line styles, as far as they are drawn."""
    agent = rf"$\mathit{{{panel.symbol}}}^1$"
    labels = {"learner": rf"{agent} vs. $\mathit{{{panel.symbol}}}^2$", "tabular": rf"{agent} vs. $\mathit{{Tabular}}$"}
    opponents = [opponent for opponent in labels if any(opponent in condition.opponents for condition in conditions)]
    by_colour = [Line2D([], [], color=style.COLOURS[opponent], label=labels[opponent]) for opponent in opponents]
    by_style = [Line2D([], [], color=style.INK, linestyle=each.line_style, label=each.label) for each in conditions]
    header = Line2D([], [], linestyle="none", label="Ablation")
    part.legend(handles=by_colour, loc="center", bbox_to_anchor=(0.31, 0.205))
    part.legend(handles=[header, *by_style], loc="center", bbox_to_anchor=(0.72, 0.205))
