"""Figures 2 and 4: why cooperation emerges. A row each for in-context best response, its extortion and mutual extortion.

Figure 2 shows PPI, Figure 4 the same of A2C.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd
from matplotlib.figure import Figure

from coopctx.figures.panels import RATE, Axis, Panel, Series, against, draw_panel
from coopctx.figures.runs import NothingToDraw, Runs, caption, missing, options
from coopctx.figures.style import SIDES
from coopctx.runs.read import Results


@dataclass(frozen=True)
class Agent:
    """A kind of agent in its figure: the name of its iterations, and its reward axes where they differ from PPI's."""

    name: str
    symbol: str
    iteration: str = "Phase"
    x_label: str = "Training Phase"
    figure: str = "fig2"
    rewards: Mapping[str, Axis] = field(default_factory=dict)
    before_training: Axis = RATE


@dataclass(frozen=True)
class Step:
    """A row of the figure: its runs, a panel over training and one within the episode."""

    label: str
    runs: Runs
    training: Panel
    episode: Panel


PPI = Agent("ppi", "PPI", before_training=Axis(RATE.low, 0.4, 0.1))
A2C = Agent(
    "a2c",
    "A2C",
    iteration="Step",
    x_label="Gradient Steps",
    figure="fig4",
    rewards={"A": Axis(-0.55, 1.2, 0.5), "D": Axis(-1.4, 2.4, 1.0), "F": Axis(-1.4, 2.3, 1.0)},
)
PROBED = {  # opponents within the episode after Step 1
    "tit-for-tat": "Tit-for-Tat",
    "always-defect": "Always-Defect",
    "always-cooperate": "Always-Cooperate",
    "tabular": "Avg. Tabular",
}
ROW_SIZE = (12.4, 3.15)  # inches
CAPTION_HEIGHT = 0.25


def steps(agent: Agent) -> tuple[Step, ...]:
    """The three rows for this kind of agent, with the paper's y-limits."""
    symbol = rf"$\mathit{{{agent.symbol}}}$"
    converged = f"Episode after convergence ({agent.iteration}={{iteration}})"
    first, second = (rf"$\mathit{{{agent.symbol}}}^{number}_{{extort}}$" for number in (1, 2))
    learned = Series(symbol, SIDES["ego"], "tabular"), Series("Avg. Tabular", SIDES["co"], "tabular", player="co")
    extorted = Series(symbol, SIDES["ego"], "fixed-icl", on_top=True), Series("Fixed-ICL", SIDES["co"], "fixed-icl", player="co")
    one = Series(first, SIDES["ego"], "learner", on_top=True)
    both = one, Series(second, SIDES["co"], "learner", learner=2)
    reward = agent.rewards.get("F", Axis(-0.1, 0.4, 0.1))
    before = one, Series(second, SIDES["co"], "learner", player="co")  # agents as they came out of Step 2
    return (
        Step(
            "Step 1",
            Runs(agent.name, "tabular"),
            Panel("Step 1) A. Training Progress", "training", learned, agent.rewards.get("A", Axis(-0.5, 1.2, 0.5))),
            Panel(f"B. {converged}", "last", against(symbol, PROBED, "tit-for-tat"), Axis(-0.5, 2.1, 0.5)),
        ),
        Step(
            "Step 2",
            Runs(agent.name, "extortion"),
            Panel("Step 2) C. Training Progress", "training", extorted, Axis(-0.1, 1.5, 0.5)),
            Panel(f"D. {converged}", "last", extorted, agent.rewards.get("D", Axis(-1.0, 1.5, 0.5))),
        ),
        Step(
            "Step 3",
            Runs(agent.name, "mutual-extortion"),
            Panel("Step 3) E. Training Progress", "training", both, Axis(-0.1, 1.5, 0.5)),
            Panel("F. Episode prior to training", "first", before, reward, agent.before_training),
        ),
    )


def build(results: Results, agent: Agent = PPI) -> tuple[Figure, list[str]]:
    """The agent's figure from the finished runs, and a line for each step that lacks seeds asked for, or curves.

    A step without any finished run is left out. Step 3's curve over training begins at 0, before any of it.
    Raises NothingToDraw if no step has one, RunError if the seeds do not go together.
    """
    command = f"coopctx extort-probe --agent {agent.name}{options(results)}"
    drawn: list[tuple[Step, list[tuple[Panel, pd.DataFrame]]]] = []
    lines: list[str] = []
    for step in steps(agent):
        tables = [(panel, panel.read(step.runs, results)) for panel in (step.training, step.episode)]
        training, episode = (table for _, table in tables)
        lines += missing(step.runs, results, command)
        if len(training):
            drawn.append((step, tables))
            lines += [] if len(episode) else [f"{step.runs.name}: its runs recorded no within-episode curves"]
    if not drawn:
        raise NothingToDraw.lacking(f"run for {agent.figure}", results, command)
    return _figure(drawn, agent, results.preset), lines


def _figure(drawn: list[tuple[Step, list[tuple[Panel, pd.DataFrame]]]], agent: Agent, preset: str) -> Figure:
    height = ROW_SIZE[1] * len(drawn) + CAPTION_HEIGHT
    figure = Figure(figsize=(ROW_SIZE[0], height))
    heights = [ROW_SIZE[1]] * len(drawn) + [CAPTION_HEIGHT]
    parts = figure.subfigures(len(heights), 2, squeeze=False, height_ratios=heights)
    for row, (step, tables) in zip(parts, drawn, strict=False):
        for part, (panel, table) in zip(row, tables, strict=True):
            if len(table):
                draw_panel(part, panel, table, step.runs.name, agent.x_label, bottom=0.33, legend=0.095)
    seeds = ((step.label, tables[0][1]) for step, tables in drawn)
    figure.text(0.005, 0.06 / height, caption(preset, seeds), size=7, va="bottom")
    return figure
