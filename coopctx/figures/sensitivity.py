"""The figure of the sweeps: cooperation late in training against a setting, one panel per setting and kind of run."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator
from matplotlib.typing import LineStyleType

from coopctx.analysis import sweeps as sweep_table
from coopctx.analysis.sweeps import label, spelt
from coopctx.experiments.agents import AGENTS
from coopctx.experiments.pools import options_for
from coopctx.experiments.presets import caveat
from coopctx.experiments.seeds import seed_ranges
from coopctx.figures.panels import RATE
from coopctx.figures.runs import NothingToDraw
from coopctx.figures.style import COLOURS, INK
from coopctx.runs.read import Results

PANEL_SIZE = (4.2, 3.1)  # inches
CAPTION_HEIGHT = 0.3
COLUMNS = 3
WIDE = 10  # values that far apart, as a ratio, stand on a logarithmic axis
LINES: list[tuple[str, LineStyleType]] = [  # the first one: nothing else differs from the preset
    (COLOURS[opponent], line_style)
    for line_style in ("-", "--", ":")
    for opponent in ("learner", "tabular", "always-defect", "tit-for-tat", "always-cooperate")
]


@dataclass(frozen=True)
class SettingPanel:
    """A setting of one kind of runs.

    own: the preset's value. lines: for each set of other settings that differ from the preset's (as `label` has it, empty
    where none does), a table of value, seed and cooperation.
    """

    name: str
    agent: str
    opponent: str
    knob: str
    own: Any
    lines: dict[str, pd.DataFrame]

    @property
    def values(self) -> list[Any]:
        """All that are shown, the preset's own among them; numbers in their order."""
        shown = dict.fromkeys([self.own, *(value for table in self.lines.values() for value in table["value"])])
        return sorted(shown, key=lambda value: value if _number(value) else 0)

    @property
    def places(self) -> dict[Any, float]:
        """Where each value stands on the axis: numbers at themselves, words side by side."""
        return {value: float(value) if _number(value) else float(n) for n, value in enumerate(self.values)}


def build(results: Results) -> tuple[Figure, list[str]]:
    """The figure from the parquet of the preset's sweeps (`sweep_table`); no line of what is missing, as a sweep has no set size.

    Raises NothingToDraw where no setting has two values, RunError if the parquet is damaged.
    """
    preset = results.preset
    rows = sweep_table.read(results.folder, preset)
    panels = _panels(sweep_table.finals(rows, preset), preset) if len(rows) else []
    if not panels:
        where = " ".join(["", *map(shlex.quote, options_for(results.folder, preset))])
        raise NothingToDraw(
            f"no setting with two values in {sweep_table.path_of(results.folder, preset)}; make some with: "
            f"coopctx sweep --vary ppi.rollouts=4,12,24{where}"
        )
    columns = min(COLUMNS, len(panels))
    lines = math.ceil(len(panels) / columns)
    height = PANEL_SIZE[1] * lines + CAPTION_HEIGHT
    figure = Figure(figsize=(PANEL_SIZE[0] * columns, height))
    several = len({panel.name for panel in panels}) > 1
    margins = {"left": 0.62 / figure.get_figwidth(), "right": 0.985, "bottom": (CAPTION_HEIGHT + 0.55) / height}
    top = 1 - (0.35 if several else 0.1) / height  # room for titles
    grid = figure.add_gridspec(lines, columns, top=top, wspace=0.3, hspace=0.42, **margins)
    for number, panel in enumerate(panels):
        _draw(figure.add_subplot(grid[divmod(number, columns)]), panel, several)
    figure.text(0.005, 0.06 / height, _caption(panels, preset), size=7, va="bottom")
    return figure, []


def _panels(runs: pd.DataFrame, preset: str) -> list[SettingPanel]:
    found = []
    groups: Iterable[tuple[Any, pd.DataFrame]] = runs.groupby(["name", "agent", "pool", "opponent"])
    for (name, agent, pool, opponent), theirs in groups:
        own = sweep_table.own_settings(agent, pool, preset)
        varied = {knob for changed in theirs["changed"] for knob in changed}
        found += [
            SettingPanel(name, agent, opponent, knob, own[knob], lines)
            for knob in sweep_table.SETTINGS
            if knob in varied and (lines := _lines(theirs, knob, own[knob]))
        ]
    return found


def _lines(runs: pd.DataFrame, knob: str, own: Any) -> dict[str, pd.DataFrame]:
    """By what else differs, the runs at the values of a setting, where there are two values or more."""
    table = pd.DataFrame(
        {
            "rest": [label({name: value for name, value in changed.items() if name != knob}) for changed in runs["changed"]],
            "value": pd.Series([changed.get(knob, own) for changed in runs["changed"]], dtype=object),
            "seed": list(runs["seed"]),
            "cooperation": list(runs["cooperation"]),
        }
    )
    lines = {str(rest): rows.drop(columns="rest") for rest, rows in table.groupby("rest")}
    return {rest: rows for rest, rows in lines.items() if rows["value"].nunique() > 1}


def _draw(axes: Axes, panel: SettingPanel, several: bool) -> None:
    places = panel.places
    axes.axvline(places[panel.own], color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1, gid="own")
    for (rest, rows), (colour, line_style) in zip(panel.lines.items(), cycle(LINES), strict=False):
        gid, x = f"{panel.name}/{panel.knob}/{rest}", rows["value"].map(places).astype(float)
        by_value = rows.groupby(x)["cooperation"]
        mean, spread = by_value.mean(), by_value.std(ddof=1).fillna(0.0)
        bars: dict[str, Any] = {"linestyle": line_style, "elinewidth": 1, "capsize": 3, "color": colour, "zorder": 2}
        axes.errorbar(mean.index.to_numpy(), mean.to_numpy(), spread.to_numpy(), gid=gid, **bars)
        dots: dict[str, Any] = {"markersize": 4.5, "markerfacecolor": "white", "color": colour, "zorder": 3}
        axes.plot(x, rows["cooperation"], "o", gid=f"{gid}/seeds", **dots)
    if not panel.lines.keys() <= {""}:
        handles = [
            Line2D([], [], color=colour, linestyle=line_style, label=rest or "preset")
            for rest, (colour, line_style) in zip(panel.lines, cycle(LINES), strict=False)
        ]
        axes.legend(handles=handles, fontsize=7.5)
    axes.set(xlabel=panel.knob, ylabel=f"Cooperation vs {panel.opponent}", ylim=(RATE.low, RATE.high))
    if several:
        axes.set_title(panel.name, size=10)
    at = sorted(places.values())
    if all(map(_number, places)) and at[0] > 0 and at[-1] / at[0] >= WIDE:
        axes.set_xscale("log")
    elif len(at) > 1:
        margin = 0.06 * (at[-1] - at[0])
        axes.set_xlim(at[0] - margin, at[-1] + margin)
    axes.xaxis.set_major_locator(FixedLocator(list(places.values())))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([spelt(value) for value in places])


def _caption(panels: Sequence[SettingPanel], preset: str) -> str:
    seeds = "; ".join(_seeds([panel for panel in panels if panel.name == name]) for name in dict.fromkeys(p.name for p in panels))
    when = " and ".join(dict.fromkeys(AGENTS[panel.agent].late for panel in panels))
    warning = f"{caveat(preset)} " if caveat(preset) else ""
    return warning + (
        f"Mean ± 1 s.d. over seeds, a dot each; of a run, the mean over its learners and {when}. "
        f"Dashed: the value of preset {preset}. Seeds: {seeds}."
    )


def _seeds(panels: Sequence[SettingPanel]) -> str:
    """The seeds of one kind of runs: those of most of its points, and the points that have others."""
    points = {
        f"{label({panel.knob: value})}{f' with {rest}' if rest else ''}": tuple(sorted(rows["seed"]))
        for panel in panels
        for rest, table in panel.lines.items()
        for value, rows in table.groupby("value", sort=False)
    }
    (usual, _), *_ = Counter(points.values()).most_common(1)
    others = [f"{point} {seed_ranges(seeds)}" for point, seeds in points.items() if seeds != usual]
    exceptions = f" ({' and '.join(others)})" if others else ""
    return f"{panels[0].name} {seed_ranges(usual)}{exceptions}"


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
