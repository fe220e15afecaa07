"""Generated blocks about whole games and cross-play: the numbers of the figures as sentences and tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from coopctx.analysis.intervals import interval
from coopctx.analysis.played import crossplay, games
from coopctx.analysis.played.crossplay import COPY, NAIVE, PARTNER, STRANGER, KindMeans
from coopctx.analysis.played.games import OUTCOMES, Scene
from coopctx.experiments.agents import AGENTS
from coopctx.experiments.pools import run_name
from coopctx.figures.episodes import title
from coopctx.report.markdown import markdown_table
from coopctx.runs.read import Results

NOT_PLAYED = "*Not played yet: `make games`.*\n"
OF_A_KIND = ("partner", "copy", "stranger")  # words in the names of co-players that are agents of the same kind


def episodes(runs: Results) -> str:
    """Whole games: the frequency of each outcome in both halves, and how well the agent predicted its co-player."""
    path = runs.folder / runs.preset / games.FILE
    if not path.exists():
        return NOT_PLAYED
    scenes = games.scenes(games.read(path))
    headings = ["agent", "games", *(f"{name}, {half} half" for half in ("1st", "2nd") for name in OUTCOMES), "predicted", "Bayes"]
    lines = []
    for scene in scenes:
        shares = [share for half in _halves(scene) for share in scene.shares(*half).values()]
        hits = scene.hit(scene.prediction), scene.hit(scene.bayes)
        lines.append([_label(scene), title(scene), *map(_two, (*shares, *hits))])
    sentences = [_of_extortion(scenes), _of_a_kind(scenes)]
    return f"{' '.join(filter(None, sentences))}\n\n{markdown_table(headings, lines, left=2)}"


def arena(runs: Results) -> str:
    """Cross-play: mutual cooperation within kinds of agents, and rewards over many episodes, also against naive learners."""
    tables = {
        name: crossplay.read(path)
        for name in (crossplay.FILE, crossplay.SERIES_FILE)
        if (path := runs.folder / runs.preset / name).exists()
    }
    parts = [_conventions(tables[name]) if name == crossplay.FILE else _series(tables[name]) for name in tables]
    return "\n".join(parts) or NOT_PLAYED


def with_strangers(runs: Results) -> str:
    """A sentence per kind of agent of the mixed pool: mutual cooperation with the training partner and with other runs' agents.

    Empty if there is no cross-play.
    """
    path = runs.folder / runs.preset / crossplay.FILE
    if not path.exists():
        return ""
    with runs.leaving_out_errors():
        table = crossplay.read(path)
        fits = {agent: crossplay.conventions(table, run_name(agent, "mixed")) for agent in AGENTS}
        return " ".join(
            f"Two {AGENTS[agent].label} agents of the mixed pool that were trained together both cooperate in "
            f"{fit[PARTNER].value:.0%} of the rounds; with {AGENTS[agent].label} agents of other runs they do so in "
            f"{fit[STRANGER].value:.0%} ({fit[STRANGER].seeds} seeds)."
            for agent, fit in fits.items()
            if fit.keys() >= {PARTNER, STRANGER}
        )
    return ""


def _conventions(table: pd.DataFrame) -> str:
    fits = {kind: crossplay.conventions(table, kind) for kind in crossplay.kinds(table, True)}
    sentences = [
        f"Two `{kind}` agents of different seeds both cooperate in a share of the rounds of {_two(fit[STRANGER].value)}, an "
        f"agent and its training partner {_two(fit[PARTNER].value)}, an agent and a copy of itself {_two(fit[COPY].value)}."
        for kind, fit in fits.items()
        if fit.keys() >= {COPY, PARTNER, STRANGER}
    ]
    lines = [
        [f"`{kind}`", who, _two(mutual.value), interval(mutual.low, mutual.high), str(mutual.seeds)]
        for kind, fit in fits.items()
        for who, mutual in fit.items()
    ]
    headings = ["agents of", "with", "both cooperate", "95 % interval", "seeds"]
    return f"{' '.join(sentences)}\n\n{markdown_table(headings, lines, left=2)}"


def _series(table: pd.DataFrame) -> str:
    met = [means for means in crossplay.kind_means(table) if means.player != means.opponent]
    agents = crossplay.kinds(table, True)
    length = f"{table['episodes'].max()} episodes of {table['rounds'].max()} rounds with the same partner"
    outcomes = [
        f"`{means.player}` {_relation(means)} (difference in reward {_two(means.advantage.value)}, "
        f"{interval(means.advantage.low, means.advantage.high)})"
        for means in met
        if means.opponent == NAIVE
        or (means.opponent in agents and agents.index(means.player) < agents.index(means.opponent))
    ]
    lines = [(f"`{means.player}`", f"`{means.opponent}`", *crossplay.cells(means)) for means in met]
    headings = ["agents of", "with", "reward", "theirs", "more", "95 % interval", "both cooperate", "the agent"]
    told = f"Over {length}: {'; '.join(outcomes)}.\n\n" if outcomes else ""
    return told + markdown_table(headings, lines, left=2)


def _relation(means: KindMeans) -> str:
    whom = "naive learners" if means.opponent == NAIVE else f"`{means.opponent}`"
    words = {"even": f"is even with {whom}", "–": f"met {whom}"}
    by = " by" if means.relation.startswith("is ") else ""
    return words.get(means.relation, f"{means.relation}{by} {whom}")


def _halves(scene: Scene) -> tuple[tuple[int, int], tuple[int, int]]:
    rounds = scene.outcomes.shape[1]
    return (1, rounds // 2), (rounds // 2 + 1, rounds)


def _of_extortion(scenes: Sequence[Scene]) -> str:
    """The frequencies of outcomes between the extorter and its co-player in the second half."""
    shown = [scene for scene in scenes if scene.experiment == "extortion"]
    parts = []
    for scene in shown:
        cc, cd, dc, dd = (f"{share:.0%}" for share in scene.shares(*_halves(scene)[1]).values())
        rest = f"only its co-player defects in {cd}, both in {dd}"
        parts.append(f"{_label(scene)}: both cooperate in {cc} of the rounds, only the extorter defects in {dc}, {rest}")
    return f"The second half of an extorter's games with {shown[0].opponent}. {'; '.join(parts)}." if shown else ""


def _of_a_kind(scenes: Sequence[Scene]) -> str:
    """Mutual cooperation over whole games among agents of one kind."""
    shown = [scene for scene in scenes if scene.trained and any(word in scene.opponent for word in OF_A_KIND)]
    parts = [f"{_label(scene)} with {scene.opponent} in {scene.shares(1, scene.outcomes.shape[1])['CC']:.0%}" for scene in shown]
    return f"Both cooperate in these shares of all rounds: {', '.join(parts)}." if parts else ""


def _label(scene: Scene) -> str:
    return AGENTS[scene.agent].label


def _two(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:z.2f}"
