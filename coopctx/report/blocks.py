"""The generated blocks of README and docs: each is Markdown that is made from results/ alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import pandas as pd

from coopctx.analysis import sweeps as sweep_table
from coopctx.analysis.claims import Checked, check
from coopctx.analysis.extortion import fit_cells
from coopctx.analysis.intervals import interval, number
from coopctx.analysis.paper import paper_targets
from coopctx.analysis.summaries import late_training, nearest
from coopctx.analysis.tables import PAPER_AGENTS
from coopctx.errors import RunError
from coopctx.experiments.agents import AGENTS
from coopctx.experiments.pools import run_name
from coopctx.figures.fig1 import CONDITIONS, PANELS
from coopctx.report import rows as report
from coopctx.report import watch
from coopctx.report.extortion import extortion_fits
from coopctx.report.findings import ALONE, MIXED, STEP_1, STEP_2, STEP_3, TOLD
from coopctx.report.markdown import markdown_table, markdown_tables
from coopctx.runs.read import Results


@dataclass(frozen=True)
class Sources:
    """The finished runs, from which the blocks are made."""

    runs: Results

    @cached_property
    def checked(self) -> Checked:
        """The paper's claims, the measures of the runs, and the exact references."""
        return check(self.runs)


Block = Callable[[Sources], str]


# The claims --------------------------------------------------------------------------------------------------------

# The six rows of README's table: the statement in words, and the claim and the measure that are shown.
FINDINGS = (
    ("mixed pool: the learners cooperate with each other, and rarely with tabular players", MIXED),
    ("told who the opponent is, the learners do not cooperate (drop in cooperation)", TOLD),
    ("without tabular opponents, the learners do not cooperate (drop in cooperation)", ALONE),
    ("Step 1: cooperation with Tit-for-Tat, inferred within the episode", STEP_1),
    ("Step 2: reward per round of a learner trained against the frozen Step-1 agent", STEP_2),
    ("Step 3: two extorters come to cooperate", STEP_3),
)


def findings(sources: Sources) -> str:
    """The paper's argument in six rows, for both kinds of agents: a measure of a claim, and the verdict of the claim."""
    found = {(claim.agent, claim.title, row.spec.name): (row, claim) for claim in sources.checked.claims for row in claim.rows}
    headings = ["claim"]
    for name in PAPER_AGENTS.values():
        headings += [f"{name} here", "paper", "verdict"]
    lines = []
    for words, (title, measure) in FINDINGS:
        cells = [words]
        for agent in PAPER_AGENTS:
            row, claim = found[agent, title, measure]
            ours = "–" if row.ours is None else f"{row.ours.value:z.2f}"
            cells += [ours, "–" if row.spec.target is None else report.short(row.spec.target.value), str(claim.verdict)]
        lines.append(cells)
    return markdown_table(headings, lines)


def learning_aware(sources: Sources) -> str:
    """The claims of arXiv:2410.18636 about COALA: each measure with its interval, and for Tit-for-Tat in COALA's place."""
    lines = []
    for claim in sources.checked.claims:
        for row in claim.rows if claim.agent == "coala" else ():
            ours = ("–", "–") if row.ours is None else (number(row.ours.value), interval(row.ours.low, row.ours.high))
            null = row.nulls["tit-for-tat"]
            seeds = " and ".join(map(str, row.seeds))
            lines.append([claim.title, report.measure(row), *ours, seeds, "–" if null != null else f"{null:z.2f}"])
    return markdown_table(["claim", "measure", "here", "95 % interval", "seeds", "Tit-for-Tat"], lines, left=2)


# The figures as numbers --------------------------------------------------------------------------------------------


LABELS = ("mixed pool", "told its opponent", "no tabular opponents")  # of the conditions of Figure 1
IN_THE_PAPER = ("mixed", "opponent-id", "no-tabular")  # their names in the paper's readings
SETTLED = 0.8  # cooperation between learners late in training that the caption counts as settled


def course(agent: str, sources: Sources) -> str:
    """Cooperation between learners in the mixed pool over training, at the same shares of training as the paper's readings."""
    paper = _paper(agent, IN_THE_PAPER[0], "learner", "cooperation_rate")
    end = max(paper)
    rows = sources.runs.table(run_name(agent, "mixed"), "training")
    rows = rows[(rows["opponent"] == "learner") & (rows["player"] == "ego") & (rows["learner"] == 1)]
    as_long = rows["iteration"].max() == end  # then the headings are iterations, otherwise shares of training
    headings, ours, theirs = [AGENTS[agent].unit if as_long else "share of training"], ["here"], ["paper"]
    for iteration, value in paper.items():
        headings.append(str(iteration) if as_long else f"{iteration / end:.0%}")
        at = nearest(rows, iteration / end * rows["iteration"].max())
        ours.append(_mean_and_deviation(at["cooperation_rate"], 2))
        theirs.append(report.short(value))
    return markdown_table(headings, [ours, theirs])


def caption(sources: Sources) -> str:
    """The caption of Figure 1: what is averaged, and how much the seeds of the mixed pool differ."""
    told = []
    for agent, symbol in PAPER_AGENTS.items():
        late = late_training(agent, "cooperation_rate", "learner", sources.runs.table(run_name(agent, "mixed"), "training"))
        if len(late):
            above = int((late > SETTLED).sum())
            told.append(f"{symbol}: {above} of {len(late)} seeds above {SETTLED}, the lowest at {late.min():.2f}")
    return (
        f"*Our Figure 1, preset `{sources.runs.preset}`, mean ± 1 s.d. over seeds; red: with the other learner, blue: with "
        "tabular players (random memory-one strategies). Cooperation between the learners at the end of the mixed pool: "
        f"{'; '.join(told)}.*\n"
    )


def conditions(agent: str, sources: Sources) -> str:
    """Figure 1 late in training: each condition against both kinds of opponents, and the paper's value at the end."""
    headings = ["condition", "seeds"]
    quantities = [("learner", "cooperation_rate"), ("tabular", "cooperation_rate"), ("tabular", "reward")]
    for opponent, quantity in quantities:
        headings += [f"{quantity.removesuffix('_rate')} vs {opponent}", "paper"]
    lines = []
    for condition, label, name in zip(CONDITIONS, LABELS, IN_THE_PAPER, strict=True):
        training = sources.runs.table(condition.runs(agent).name, "training")
        cells = [label, str(training["seed"].nunique())]
        for opponent, quantity in quantities:
            values = late_training(agent, quantity, opponent, training) if opponent in condition.opponents else pd.Series()
            paper = _paper(agent, name, opponent, quantity)
            cells += [_mean_and_deviation(values, 3), report.short(paper[max(paper)]) if paper else "–"]
        lines.append(cells)
    return markdown_table(headings, lines)


def seeds(agent: str, sources: Sources) -> str:
    """Cooperation between the learners late in training, for each seed."""
    late = {
        label: late_training(agent, "cooperation_rate", "learner", sources.runs.table(each.runs(agent).name, "training"))
        for label, each in zip(LABELS, CONDITIONS, strict=True)
    }
    numbers = sorted({seed for values in late.values() for seed in values.index})
    lines = [
        [label, *(f"{values[seed]:.2f}" if seed in values.index else "–" for seed in numbers)] for label, values in late.items()
    ]
    return markdown_table(["seed", *map(str, numbers)], lines)


def extortion(agent: str, sources: Sources) -> str:
    """The formal test of extortion, from the fits that `coopctx extort-probe` writes."""
    fits = extortion_fits(sources.runs.folder, sources.runs.preset, agent)
    if fits is None:
        raise RunError(f"{agent}: no test of extortion; make it with: coopctx extort-probe --agent {agent} --seeds 0-9")
    lines = [[fit["player"], fit["met"], str(fit["co_players"]), *fit_cells(fit)] for fit in fits.to_dict("records")]
    headings = ["player", "co-players", "number", "χ", "95 % interval", "residual", "spread", "extorts"]
    return markdown_table(headings, lines, left=2)


def sensitivity(sources: Sources) -> str:
    """Cooperation late in training at each value of each setting that was varied; the other settings are the preset's."""
    preset = sources.runs.preset
    runs = sweep_table.finals(sweep_table.read(sources.runs.folder, preset), preset)
    by_settings: dict[tuple[str, str], list[float]] = {}
    for run in sorted(runs.to_dict("records"), key=lambda run: (run["name"], sorted(run["changed"].items()))):
        by_settings.setdefault((run["name"], sweep_table.label(run["changed"])), []).append(run["cooperation"])
    lines = [
        [name, changed or "the preset's own", str(len(values)), _mean_and_deviation(values, 2)]
        for (name, changed), values in by_settings.items()
    ]
    return markdown_table(["run", "setting", "seeds", "cooperation"], lines, left=2)


# Settings ----------------------------------------------------------------------------------------------------------

POOL_LABELS = {
    "mixed": "mixed pool",
    "learners": "no tabular opponents",
    "tabular": "Step 1",
    "extortion": "Step 2",
    "mutual-extortion": "Step 3",
}


def settings(agent: str, sources: Sources) -> str:
    """The settings that differ between the preset and preset ``paper``, and the runs that have these values."""
    values = {pool: [_settings(agent, pool, preset) for preset in ("paper", sources.runs.preset)] for pool in POOL_LABELS}
    lines = []
    for name in values["mixed"][0]:
        runs: dict[tuple[str, str], list[str]] = {}  # the runs that have these two values
        for pool, (paper, ours) in values.items():
            runs.setdefault((paper[name], ours[name]), []).append(POOL_LABELS[pool])
        lines += [
            [f"`{name}`", "all" if len(runs) == 1 else ", ".join(where), paper, ours]
            for (paper, ours), where in runs.items()
            if paper != ours
        ]
    return markdown_table(["setting", "runs", "`paper`", f"`{sources.runs.preset}`"], lines, left=2)


def _settings(agent: str, pool: str, preset: str) -> dict[str, str]:
    own = sweep_table.own_settings(agent, pool, preset)
    return {name: sweep_table.spelt(value) for name, value in own.items()}


def _paper(agent: str, condition: str, opponent: str, quantity: str) -> dict[int, float]:
    """The paper's values of a line of Figure 1 by iteration, as far as they were read off."""
    symbol = PAPER_AGENTS[agent]
    other = f"{symbol}2" if opponent == "learner" else "Tabular"
    letter = next(panel.letter for panel in PANELS if panel.agent == agent)
    shown = "1", letter, f"{condition}: {symbol}1 vs {other}", quantity
    return {reading[4]: target.value for reading, target in paper_targets().items() if reading[:4] == shown}


def _mean_and_deviation(values: Iterable[float], digits: int) -> str:
    """Mean ± standard deviation (n - 1) over seeds; the mean alone for one seed, a dash for none."""
    series = pd.Series(list(values), dtype=float)
    if series.empty:
        return "–"
    spread = f" ± {series.std():.{digits}f}" if len(series) > 1 else ""
    return f"{series.mean():.{digits}f}{spread}"


BLOCKS: Mapping[str, Block] = {
    "caption": caption,
    "findings": findings,
    "claims": lambda sources: markdown_tables(sources.checked),
    "sensitivity": sensitivity,
    "coala": learning_aware,
    "episodes": lambda sources: watch.episodes(sources.runs),
    "arena": lambda sources: watch.arena(sources.runs),
    **{
        f"{block.__name__}-{agent}": partial(block, agent)
        for block in (course, conditions, seeds, extortion, settings)
        for agent in PAPER_AGENTS
    },
}
