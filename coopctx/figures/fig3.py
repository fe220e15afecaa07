"""Figure 3: within the episode, early in mixed training, one panel per kind of agent."""

from matplotlib.figure import Figure

from coopctx.figures.panels import RATE, Axis, Panel, against, draw_panel
from coopctx.figures.runs import NothingToDraw, Runs, caption, missing
from coopctx.runs.read import Results

PANEL_SIZE = (6.2, 3.75)  # inches
RUNS = {agent: Runs(agent, "mixed") for agent in ("ppi", "a2c")}


# "Early" is the first iteration with within-episode curves: phase 8 where PPI's settings are the preset's, as in the paper.
PANELS = {
    "ppi": Panel(
        "A. PPI - Episode early in training (Phase={iteration})",
        "first",
        against(
            r"$\mathit{PPI}^1$",
            {
                "learner": r"$\mathit{PPI}^2$",
                "tabular": "Avg. Tabular",
                "always-cooperate": "Always-Cooperate",
                "always-defect": "Always-Defect",
                "tit-for-tat": "Tit-for-Tat",
            },
            "learner",
        ),
        Axis(-0.4, 2.1, 1.0),
        Axis(RATE.low, RATE.high, 0.2),
    ),
    "a2c": Panel(
        "B. A2C - Episode early in training (Iteration={iteration})",
        "first",
        against(r"$\mathit{A2C}^1$", {"learner": r"$\mathit{A2C}^2$", "tabular": r"$\mathit{Tabular}$"}, "learner"),
        Axis(-0.5, 1.5, 0.5),
        Axis(RATE.low, RATE.high, 0.2),
    ),
}


def build(results: Results) -> tuple[Figure, list[str]]:
    """Figure 3 from the finished runs, and a line for each kind of agent that lacks seeds asked for.

    Raises NothingToDraw if no run has within-episode curves, RunError if the seeds do not go together.
    """
    tables = {agent: panel.read(RUNS[agent], results) for agent, panel in PANELS.items()}
    drawn = {agent: table for agent, table in tables.items() if len(table)}
    if not drawn:
        runs = RUNS["ppi"]
        raise NothingToDraw.lacking(f"{runs.name} run with within-episode curves for fig3", results, runs.command(results))
    figure = Figure(figsize=(PANEL_SIZE[0] * len(drawn), PANEL_SIZE[1]))
    parts = figure.subfigures(1, len(drawn), squeeze=False)[0]
    for part, (agent, table) in zip(parts, drawn.items(), strict=True):
        draw_panel(part, PANELS[agent], table, RUNS[agent].name, "", bottom=0.445, legend=0.205)
        part.text(0.01, 0.015, caption(results.preset, [("", table)]), size=7, va="bottom")
    return figure, [line for agent in drawn for line in missing(RUNS[agent], results)]
