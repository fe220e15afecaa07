"""Whole games as pictures: a row per game, a column per round, the joint action as a colour, beside what the agent expected.

A row of panels per scene (who plays whom), a pair of columns per agent. Games are sorted by likeness, so that similar ones lie
side by side; the agent's beliefs are in the same order.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import pdist

from coopctx.analysis.played import games
from coopctx.analysis.played.games import OUTCOMES, Scene
from coopctx.experiments.agents import AGENTS
from coopctx.experiments.presets import caveat
from coopctx.figures.runs import NothingToDraw
from coopctx.figures.style import JOINT_ACTIONS
from coopctx.runs.read import Results

WIDTH, ROW = 6.1, 1.75  # inches: of an agent, of a scene
WORDS = {
    "CC": "both cooperate",
    "CD": "only the other defects",
    "DC": "only it defects",
    "DD": "both defect",
}
Column = tuple[str, int, str]  # agent, seed, preset


def build(results: Results) -> tuple[Figure, list[str]]:
    """The figure from the preset's file of games; raises NothingToDraw where there is none, RunError where it is another one."""
    path = results.folder / results.preset / games.FILE
    if not path.exists():
        raise NothingToDraw(f"no games in {path} (make games, or coopctx plot episodes RUN --episodes {path})")
    with results.leaving_out_errors():
        return figure(games.scenes(games.read(path)), str(path)), []
    raise NothingToDraw(results.left_out[-1])


def figure(scenes: Sequence[Scene], name: str) -> Figure:
    """A pair of columns per agent, a row per scene, blank where an agent was not in it. NothingToDraw, naming the games."""
    if not scenes:
        raise NothingToDraw(f"{name} has no games")
    columns: list[Column] = list(dict.fromkeys(map(_column, scenes)))
    titles = list(dict.fromkeys(map(title, scenes)))
    height = ROW * len(titles) + 1.7
    whole = Figure(figsize=(WIDTH * len(columns), height))
    sides = {"left": 0.42 / (WIDTH * len(columns)), "right": 1 - 0.1 / (WIDTH * len(columns))}
    grid = whole.add_gridspec(
        len(titles), 2 * len(columns), bottom=1.1 / height, top=1 - 0.75 / height, hspace=0.42, wspace=0.08, **sides
    )
    placed = {(title(scene), _column(scene)): scene for scene in scenes}
    for r, words in enumerate(titles):
        for c, column in enumerate(columns):
            scene = placed.get((words, column))
            if scene is not None:
                pair = whole.add_subplot(grid[r, 2 * c]), whole.add_subplot(grid[r, 2 * c + 1])
                _draw(pair, scene, f"{chr(65 + r)}. {words}", last=r == len(titles) - 1)
    for c, (agent, seed, _) in enumerate(columns):
        middle = sides["left"] + (c + 0.02) * (sides["right"] - sides["left"]) / len(columns)
        whole.text(middle, 1 - 0.12 / height, f"{AGENTS[agent].label}, seed {seed}", weight="bold", size=12, va="top")
    shades = {f"{name}: {WORDS[name]}": JOINT_ACTIONS[name] for name in OUTCOMES} | {"1": "white", "0.5": "0.5", "0": "black"}
    patches = [Patch(facecolor=shade, label=label, edgecolor="#999999") for label, shade in shades.items()]
    whole.legend(handles=patches, loc="lower center", bbox_to_anchor=(0.5, 0.3 / height), ncols=7, fontsize=8.5)
    whole.text(0.01, 0.08 / height, _caption(scenes), size=7, va="bottom")
    return whole


def title(scene: Scene) -> str:
    """Who plays whom."""
    who = {"extortion": "Extorter"}.get(scene.experiment, "Trained agent") if scene.trained else "Untrained agent"
    return f"{who} with {scene.opponent}"


def order(outcomes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Games [games, rounds] by likeness: the leaves of a clustering by the share of rounds in which two games differ."""
    if len(outcomes) < 3:
        return np.arange(len(outcomes))
    return np.asarray(leaves_list(linkage(pdist(outcomes, "hamming"), "average", optimal_ordering=True)))


def _column(scene: Scene) -> Column:
    return scene.agent, scene.seed, scene.preset


def _draw(pair: tuple[Axes, Axes], scene: Scene, words: str, last: bool) -> None:
    """Joint actions, and what the agent expects of its co-player (a kind that predicts nothing: its own policy)."""
    by_likeness = order(scene.outcomes)
    predicts = not np.isnan(scene.prediction).all()
    beliefs = scene.prediction if predicts else scene.policy
    rounds = scene.outcomes.shape[1]
    joint = np.ma.masked_less(scene.outcomes[by_likeness], 0)
    edges: dict[str, Any] = {"aspect": "auto", "interpolation": "nearest", "extent": (0.5, rounds + 0.5, len(joint) + 0.5, 0.5)}
    colours = ListedColormap([JOINT_ACTIONS[name] for name in OUTCOMES])
    pair[0].imshow(joint, cmap=colours, vmin=-0.5, vmax=len(OUTCOMES) - 0.5, gid=f"{words}/actions", **edges)
    pair[1].imshow(beliefs[by_likeness], cmap="gray", vmin=0, vmax=1, gid=f"{words}/beliefs", **edges)
    pair[0].set_title(words, size=9, loc="left")
    pair[1].set_title("it expects the other to cooperate" if predicts else "its policy: it cooperates", size=9, loc="left")
    pair[0].set_ylabel("Games", size=9)
    for axes in pair:
        axes.grid(visible=False)
        axes.set_yticks([])
        axes.set_xticks([1, *range(rounds // 4, rounds + 1, rounds // 4)] if last and rounds >= 8 else [])
        axes.tick_params(labelsize=8)
        if last:
            axes.set_xlabel("Round", size=9)


def _caption(scenes: Sequence[Scene]) -> str:
    preset = scenes[0].preset
    count = max(len(scene.outcomes) for scene in scenes)
    warning = f"{caveat(preset)} " if caveat(preset) else ""
    return (
        f"{warning}Preset {preset}, learner 1, {count} games per scene, a row each, sorted by likeness. CD: the agent "
        "cooperates, its co-player defects. Grey: the probability, before the round, that is named above the panel."
    )
