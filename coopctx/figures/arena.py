"""Cross-play as heat maps: whose conventions fit, and who earns what from whom; rewards of learners episode by episode."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure, SubFigure

from coopctx.analysis.played import crossplay
from coopctx.analysis.played.crossplay import NAIVE, KindMeans
from coopctx.experiments.presets import caveat
from coopctx.experiments.seeds import seed_ranges
from coopctx.figures import curves
from coopctx.figures.runs import NothingToDraw
from coopctx.figures.style import INK, SIDES
from coopctx.runs.read import Results

WIDTH, ROW = 12.4, 5.2  # inches
SHADES = LinearSegmentedColormap.from_list("shades", ["#ffffff", "#9cc9ea", "#2f79b7", "#0a3a7a"])
REWARDS = (-0.5, 1.5)  # payoff units: the ends of the shades
DARK = 0.55  # share of the shades above which writing is white
SIGNS = {"extorts": "e", "exploits": "x", "is extorted": "−e", "is exploited": "−x", "even": "="}


def build(results: Results) -> tuple[Figure, list[str]]:
    """The figure from the preset's cross-play tables, and a line for one that is missing.

    Raises NothingToDraw if there is neither, RunError naming a file that is another one.
    """
    folder = results.folder / results.preset
    tables, missing = [], []
    for path in (folder / name for name in (crossplay.FILE, crossplay.SERIES_FILE)):
        if not path.exists():
            missing.append(f"no cross-play in {path} (make games, or coopctx arena RUN... --out {path})")
            continue
        with results.leaving_out_errors():
            tables.append(crossplay.read(path))
    if not tables:
        raise NothingToDraw("; ".join([*missing, *results.left_out]))
    return figure(tables, results.preset), missing


def build_from(path: Path) -> Figure:
    """The figure of one file that ``coopctx arena --out`` wrote; RunError naming it if it is another one or has no rows."""
    table = crossplay.read(path)
    if table.empty:
        raise NothingToDraw(f"{path} has no rows")
    return figure([table], "")


def figure(tables: Sequence[pd.DataFrame], preset: str) -> Figure:
    """A row of panels per table: agents with each other beside kinds; with several episodes the naive learners' curves first."""
    whole = Figure(figsize=(WIDTH, ROW * len(tables) + 0.5))
    parts: list[SubFigure] = list(whole.subfigures(len(tables), 1, squeeze=False)[:, 0])
    for number, (part, table) in enumerate(zip(parts, tables, strict=True)):
        several = table["episodes"].max() > 1
        grid = part.add_gridspec(1, 2, left=0.1, right=0.985, bottom=0.22, top=0.92, wspace=0.4, width_ratios=(1, 1.25))
        letters = "ABCD"[2 * number :]
        if several and len(_met_naive(table)):
            _against_naive(part, table, letters[0])
        else:
            _agents(part.add_subplot(grid[0]), table, letters[0])
        _kinds(part.add_subplot(grid[1]), table, letters[1])
    whole.text(0.01, 0.008, _caption(tables, preset), size=7, va="bottom", wrap=True)
    return whole


def _agents(axes: Axes, table: pd.DataFrame, letter: str) -> None:
    """Mutual cooperation of every agent with every other one, copies on the diagonal; lines between kinds."""
    agents = table[table["player_seed"].notna() & table["opponent_seed"].notna()]
    names = list(dict.fromkeys(agents["player"]))
    shares = agents.groupby(["player", "opponent"])["mutual_cooperation"].mean().unstack().reindex(index=names, columns=names)
    image = axes.imshow(shares.to_numpy(), cmap=SHADES, vmin=0, vmax=1, interpolation="nearest", gid="agents")
    kind_of = agents.drop_duplicates("player").set_index("player")["player_kind"]
    starts = 0
    middles, labels = [], []
    for kind, members in groupby(names, key=lambda name: str(kind_of[name])):
        count = len(list(members))
        middles.append(starts + (count - 1) / 2)
        labels.append(kind)
        starts += count
        if starts < len(names):
            for line in (axes.axhline, axes.axvline):
                line(starts - 0.5, color=INK, linewidth=0.8)
    axes.set_xticks(middles, labels, rotation=35, ha="right", rotation_mode="anchor", size=8)
    axes.set_yticks(middles, labels, size=8)
    axes.grid(visible=False)
    axes.set_title(f"{letter}. Both cooperate: each agent with each", size=10.5, loc="left")
    axes.figure.colorbar(image, ax=axes, fraction=0.045, pad=0.02, label="Share of Rounds")


def _kinds(axes: Axes, table: pd.DataFrame, letter: str) -> None:
    """The reward of each kind of agents against each kind, and who wins."""
    met = {(means.player, means.opponent): means for means in crossplay.kind_means(table)}
    rows, columns = crossplay.kinds(table, True), crossplay.kinds(table)
    values = np.array([[met[row, column].reward.value if (row, column) in met else np.nan for column in columns] for row in rows])
    axes.imshow(values, cmap=SHADES, vmin=REWARDS[0], vmax=REWARDS[1], aspect="auto", interpolation="nearest", gid="kinds")
    for (row, column), value in np.ndenumerate(values):
        means = met.get((rows[row], columns[column]))
        if means is not None:
            share = (value - REWARDS[0]) / (REWARDS[1] - REWARDS[0])
            colour = "white" if share > DARK else INK
            axes.text(column, row, _written(means), ha="center", va="center", size=8.5, color=colour, linespacing=0.95)
    axes.set_xticks(range(len(columns)), columns, rotation=35, ha="right", rotation_mode="anchor", size=8)
    axes.set_yticks(range(len(rows)), rows, size=8)
    axes.grid(visible=False)
    rounds, episodes = table["rounds"].max(), table["episodes"].max()
    long = f"{episodes} episodes of {rounds} rounds" if episodes > 1 else f"{rounds} rounds"
    axes.set_title(f"{letter}. The row's reward per round, {long}", size=10.5, loc="left")


def _written(means: KindMeans) -> str:
    sign = SIGNS.get(means.relation, "")
    return f"{means.reward.value:z.2f}\n{sign}" if sign else f"{means.reward.value:z.2f}"


def _met_naive(table: pd.DataFrame) -> list[str]:
    """The kinds of agents that met naive learners."""
    rows = table[(table["opponent_kind"] == NAIVE) & table["player_seed"].notna()]
    return list(dict.fromkeys(rows["player_kind"]))


def _against_naive(part: SubFigure, table: pd.DataFrame, letter: str) -> None:
    """A small panel per kind: rewards of the agent and of the naive learner, episode by episode; mean ± 1 s.d. over seeds."""
    shown = _met_naive(table)
    columns = min(2, len(shown))
    lines = -(-len(shown) // columns)
    grid = part.add_gridspec(lines, columns, left=0.06, right=0.4, bottom=0.2, top=0.84, wspace=0.38, hspace=0.5)
    part.text(0.06, 0.925, f"{letter}. With naive learners, who learn after each episode", size=10.5)
    drawn: list[Axes] = []
    for number, kind in enumerate(shown):
        axes = part.add_subplot(grid[divmod(number, columns)], sharey=drawn[0] if drawn else None)
        drawn.append(axes)
        rows = crossplay.over_episodes(table, kind, NAIVE)
        for quantity, colour, label in (("reward", SIDES["ego"], "agent"), ("co_reward", SIDES["co"], "naive learner")):
            name = f"{kind}/{NAIVE}/{quantity}"
            curves.draw(axes, curves.over_seeds(rows, "episode", quantity, name), colour, "-", name)
            axes.lines[-1].set_label(label)
        axes.set_xlim(1, max(2, rows["episode"].max()))
        axes.set_title(kind, size=9)
        axes.tick_params(labelsize=8)
        axes.set_ylabel("Avg. Reward", size=9)
        if number >= len(shown) - columns:
            axes.set_xlabel("Episode", size=9)
        axes.legend(fontsize=7.5, loc="upper center", ncols=2, handlelength=1.6)
    ends = [-0.6, 1.6, *(float(end) for axes in drawn for line in axes.lines for end in np.asarray(line.get_ydata()))]
    low, high = min(ends), max(ends)
    drawn[0].set_ylim(low, high + 0.15 * (high - low))  # room for the legend


def _caption(tables: Sequence[pd.DataFrame], preset: str) -> str:
    seeds: dict[str, list[int]] = {}
    for kind, rows in pd.concat(tables).dropna(subset=["player_seed"]).groupby("player_kind", sort=False):
        seeds[str(kind)] = sorted(int(seed) for seed in rows["player_seed"].unique())
    alike = len({tuple(each) for each in seeds.values()}) == 1
    listed = seed_ranges(next(iter(seeds.values()))) if alike else "; ".join(f"{k} {seed_ranges(v)}" for k, v in seeds.items())
    games = " and ".join(dict.fromkeys(str(table["games"].max()) for table in tables))
    warning = f"{caveat(preset)} " if caveat(preset) else ""
    return (
        f"{warning}{f'Preset {preset}. ' if preset else ''}Means over {games} games of each pair; of a kind, over its seeds and "
        f"learners ({listed}); with its own kind, over different seeds. Marks: “earns more” means that all of the 95 % interval\n"
        "of the difference in reward over seeds is on one side of 0. e (extorts): the row earns more, and the column still earns "
        "more than mutual defection pays. x (exploits): the row earns more, and the column does not.\n"
        "−e, −x: the same with row and column exchanged, so that the column earns more. =: neither earns more."
    )
