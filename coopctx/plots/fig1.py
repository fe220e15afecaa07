"""Figure 1: training in the mixed pool and its two ablations (SPEC §4), one panel per kind of agent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from coopctx.errors import RunError
from coopctx.plots import curves, style
from coopctx.store import read_table

SEEDS = range(10)  # the paper's number of seeds


@dataclass(frozen=True)
class Condition:
    """A training condition: which runs it is read from, whom its learner is measured against, and how it is drawn."""

    pool: str
    opponent_id: bool
    label: str
    line_style: str
    opponents: tuple[str, ...]

    def run_name(self, agent: str) -> str:
        return f"{agent}-{self.pool}" + ("-opponent-id" if self.opponent_id else "")

    def command(self, agent: str, results: Path, preset: str) -> str:
        """The command that makes every seed of this condition (finished ones are skipped)."""
        return (
            f"coopctx train --agent {agent} --pool {self.pool}"
            + (" --opponent-id" if self.opponent_id else "")
            + (f" --preset {preset}" if preset != "cpu" else "")
            + f" --seeds {SEEDS[0]}-{SEEDS[-1]}"
            + (f" --results {results}" if results != Path("results") else "")
        )


@dataclass(frozen=True)
class Panel:
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
    Panel("A", "ppi", "PPI", "Training Phase"),
    Panel("B", "a2c", "A2C", "Training Iteration"),
)
# Quantity, label, the paper's y-limits, ticks. Rates get a sliver of room so that lines at 0 and 1 are not cut in half.
QUANTITIES = (
    ("reward", "Avg. Reward", (-0.1, 1.2), (0.0, 0.5, 1.0)),
    ("cooperation_rate", "Cooperation Rate", (-0.02, 1.02), (0.0, 0.25, 0.5, 0.75, 1.0)),
)
PANEL_SIZE = (6.2, 3.75)  # inches


def build(results: Path, preset: str) -> tuple[Figure, list[str]]:
    """Figure 1 from the finished runs under results/preset, and one line per condition that lacks seeds.

    A panel is drawn as soon as its agent has a finished run; an agent without any is left out.
    Raises RunError if no agent has one, or if a table is damaged.
    """
    drawn = {panel: tables for panel in PANELS if (tables := _read(panel.agent, results, preset))}
    if not drawn:
        command = CONDITIONS[0].command(PANELS[0].agent, results, preset)
        raise RunError(f"no finished run for fig1 under {results / preset}; make some with: {command}")
    figure = Figure(figsize=(PANEL_SIZE[0] * len(drawn), PANEL_SIZE[1]))
    parts = figure.subfigures(1, len(drawn), squeeze=False)[0]
    for part, (panel, tables) in zip(parts, drawn.items(), strict=True):
        draw_panel(part, panel, tables, preset)
    missing = [line for panel, tables in drawn.items() for line in _missing(panel.agent, tables, results, preset)]
    return figure, missing


def draw_panel(part: SubFigure, panel: Panel, tables: Mapping[Condition, pd.DataFrame], preset: str) -> None:
    """One agent's panel: reward and cooperation rate of learner 1 over training, legends and caption below."""
    part.text(0.01, 0.985, f"{panel.letter}. {panel.symbol} - Training Progress", weight="bold", size=13, va="top")
    grid = part.add_gridspec(1, 2, left=0.105, right=0.955, bottom=0.445, top=0.895, wspace=0.37)
    for column, (quantity, label, limits, ticks) in enumerate(QUANTITIES):
        axes = part.add_subplot(grid[column])
        for condition, table in tables.items():
            for opponent in condition.opponents:
                name = f"{condition.run_name(panel.agent)}/{opponent}"
                curve = curves.over_seeds(_ego_rows(table, opponent), "iteration", quantity, name)
                curves.draw(axes, curve, style.COLOURS[opponent], condition.line_style, name, on_top=condition is CONDITIONS[0])
        axes.set(xlabel=panel.x_label, ylabel=label)
        axes.set_yticks(ticks, [str(tick) for tick in ticks])
        curves.set_limits(axes, *limits)
        _set_x_axis(axes, max(table["iteration"].max() for table in tables.values()))
    _legends(part, panel, list(tables))
    part.text(0.01, 0.015, _caption(tables, preset), size=7, va="bottom")


def _read(agent: str, results: Path, preset: str) -> dict[Condition, pd.DataFrame]:
    """Training table of each condition that has a finished seed."""
    tables = {condition: read_table(results, preset, condition.run_name(agent), "training") for condition in CONDITIONS}
    return {condition: table for condition, table in tables.items() if len(table)}


def _ego_rows(table: pd.DataFrame, opponent: str) -> pd.DataFrame:
    return table[(table["learner"] == 1) & (table["player"] == "ego") & (table["opponent"] == opponent)]


def _set_x_axis(axes: Axes, last: int) -> None:
    axes.set_xlim(0, last)
    axes.set_xticks([0, last // 2, last] if last % 2 == 0 else [0, last])


def _legends(part: SubFigure, panel: Panel, conditions: Sequence[Condition]) -> None:
    """Two columns as in the paper: what the colours mean, then what the line styles mean; only what is drawn."""
    agent = rf"$\mathit{{{panel.symbol}}}^1$"
    labels = {"learner": rf"{agent} vs. $\mathit{{{panel.symbol}}}^2$", "tabular": rf"{agent} vs. $\mathit{{Tabular}}$"}
    opponents = [opponent for opponent in labels if any(opponent in condition.opponents for condition in conditions)]
    by_colour = [Line2D([], [], color=style.COLOURS[opponent], label=labels[opponent]) for opponent in opponents]
    by_style = [Line2D([], [], color=style.INK, linestyle=condition.line_style, label=condition.label) for condition in conditions]
    header = Line2D([], [], linestyle="none", label="Ablation")
    part.legend(handles=by_colour, loc="center", bbox_to_anchor=(0.31, 0.205))
    part.legend(handles=[header, *by_style], loc="center", bbox_to_anchor=(0.72, 0.205))


def _caption(tables: Mapping[Condition, pd.DataFrame], preset: str) -> str:
    seeds = {condition.label: sorted(table["seed"].unique()) for condition, table in tables.items()}
    listed = "; ".join(f"{label} {_seed_ranges(numbers)}" for label, numbers in seeds.items())
    alone = " (one seed: no band)" if any(len(numbers) == 1 for numbers in seeds.values()) else ""
    return f"Mean ± 1 s.d. over seeds{alone}. Preset {preset}. Seeds: {listed}."


def _missing(agent: str, tables: Mapping[Condition, pd.DataFrame], results: Path, preset: str) -> list[str]:
    lines = []
    for condition in CONDITIONS:
        have = set(tables[condition]["seed"]) if condition in tables else set()
        lacking = [seed for seed in SEEDS if seed not in have]
        if lacking:
            command = condition.command(agent, results, preset)
            lines.append(f"{condition.run_name(agent)}: no finished run of seeds {_seed_ranges(lacking)} ({command})")
    return lines


def _seed_ranges(seeds: Sequence[int]) -> str:
    """[0, 1, 2, 5] -> "0-2, 5"."""
    ranges: list[list[int]] = []
    for seed in seeds:
        if ranges and seed == ranges[-1][1] + 1:
            ranges[-1][1] = seed
        else:
            ranges.append([seed, seed])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
