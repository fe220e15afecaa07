"""The output of the commands: lines, errors and tables."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from coopctx.errors import RunError
from coopctx.experiments.presets import caveat
from coopctx.launch.display import duration

if TYPE_CHECKING:  # torch and pandas take seconds to import
    import pandas as pd

    from coopctx.analysis.steps import StepMeasure
    from coopctx.launch.job import Outcome
    from coopctx.launch.plan import Planned
    from coopctx.runs.read import Results

ENDINGS = {"finished": "written", "unchanged": "was finished already, nothing to do (--fresh starts over)"}

console = Console()


# Lines -------------------------------------------------------------------------------------------------------------


def say(line: object) -> None:
    """Print a line on standard output without markup or line breaks."""
    console.print(str(line), markup=False, highlight=False, soft_wrap=True)


def complain(message: object, status: int = RunError.exit_status) -> int:
    """Print an error as one line on standard error; returns ``status``."""
    print(f"coopctx: {' '.join(str(message).split())}", file=sys.stderr)
    return status


def following(*commands: str) -> None:
    """Print the commands to try next."""
    for command in commands:
        say(f"next: {command}")


def warn_of(preset: str) -> None:
    """Print the caveat of a preset, if it has one."""
    if text := caveat(preset):
        console.print(Text(text, style="bold yellow"))


def name_unknown(runs: Results) -> None:
    """Name, in one line on standard error, the folders that are left out because no run has such a name."""
    if folders := runs.unknown():
        complain(f"left out, because no run has such a name: {', '.join(map(str, folders))}")


def fail_each(failures: Sequence[str], what: str) -> None:
    """Print each failure as a line on standard error; if there is one, RunError with their number and ``what``."""
    for failure in failures:
        complain(failure)
    if failures:
        raise RunError(f"{len(failures)} {what}")


# Tables ------------------------------------------------------------------------------------------------------------


def table(headings: Sequence[str], rows: Iterable[Sequence[str | Text]], title: str = "", left: int = 1) -> Group:
    """A table for a terminal of 80 columns: the first ``left`` columns are text and may be folded, the others are numbers."""
    texts = (Column(heading, overflow="fold") for heading in headings[:left])
    numbers = (Column(heading, justify="right", no_wrap=True) for heading in headings[left:])
    shown = Table(*texts, *numbers, box=None, padding=(0, 1), pad_edge=False)
    for row in rows:
        shown.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    parts: list[RenderableType] = [Text(title, style="italic")] if title else []
    return Group(*parts, shown)


def report_runs(outcomes: Sequence[Outcome]) -> None:
    """Print a table of the finished runs and their folders; RunError naming the failed seeds."""
    from coopctx.analysis.summaries import LAST_MEASUREMENTS, run_summary

    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    finished = [outcome for outcome in outcomes if outcome.state != "failed"]
    if finished:
        measured = {outcome.seed: run_summary(outcome.directory) for outcome in finished}
        console.print(runs_table(f"mean of the last {LAST_MEASUREMENTS} measurements", measured))
    for outcome in finished:
        say(f"{outcome.directory}: {ENDINGS[outcome.state]}")
    if len(outcomes) == 1 and failed:
        raise RunError(failed[0].message)
    names = ", ".join(str(outcome.seed) for outcome in failed)
    told = [f"seed {outcome.seed}: {outcome.message}" for outcome in failed]
    fail_each(told, f"of {len(outcomes)} seeds failed: {names}")


def runs_table(title: str, rows: Mapping[int, Mapping[str, float]]) -> Group:
    """A line per seed: cooperation and reward against each kind of opponent (`summaries.run_summary`), and the time.

    If there are too many opponents for columns, or their names are too long, a line per seed and opponent.
    """
    measured = dict.fromkeys(name for row in rows.values() for name in row)
    opponents = [name.removeprefix("cooperation_") for name in measured if name.startswith("cooperation_")]
    if len(opponents) > 2 or any(len(opponent) > len("fixed-icl") for opponent in opponents):
        lines = [
            (str(seed), name, f"{row[f'cooperation_{name}']:.3f}", f"{row[f'reward_{name}']:.3f}", duration(row["wall_seconds"]))
            for seed, row in rows.items()
            for name in opponents
        ]
        return table(("seed", "opponent", "cooperation", "reward", "wall\ntime"), lines, title, left=2)
    columns = {f"{measure}\nvs {name}": f"{measure}_{name}" for measure in ("cooperation", "reward") for name in opponents}
    cells = (
        (str(seed), *(f"{row[name]:.3f}" for name in columns.values()), duration(row["wall_seconds"]))
        for seed, row in rows.items()
    )
    return table(("seed", *columns, "wall\ntime"), cells, title)


def planned_table(planned: Sequence[Planned], estimate: str) -> Group:
    """The runs of a dry run, a line each, and the estimate of their time."""
    labelled = any(run.request.label for run in planned)
    rows = []
    for run in planned:
        state = f"to resume after {run.iteration}" if run.state == "to resume" else run.state
        time = "" if run.state in ("finished", "damaged") else "unknown" if run.seconds is None else f"~ {duration(run.seconds)}"
        spec, labels = run.request.spec, [run.request.label] if labelled else []
        rows.append((spec.name, *labels, str(spec.seed), state, time))
    headings = ("run", *(("settings",) if labelled else ()), "seed", "state", "time")
    return Group(table(headings, rows, left=len(headings) - 1), Text(estimate))


def steps_table(measures: Sequence[StepMeasure], preset: str) -> Group:
    """The measures of Steps 1 to 3, grouped by step."""
    from coopctx.analysis.intervals import interval, number
    from coopctx.analysis.summaries import LAST_MEASUREMENTS

    seeds = max(measure.ours.seeds for measure in measures)
    title = (
        f"Steps 1 to 3, preset {preset}: means over {seeds} {'seed' if seeds == 1 else 'seeds'} and,\n"
        f"unless a measure says otherwise, the last {LAST_MEASUREMENTS} measurements"
    )
    rows = []
    for index, measure in enumerate(measures):
        first = index == 0 or measures[index - 1].step != measure.step
        paper = "-" if measure.paper is None else f"{measure.paper:z.2f}"
        ours = measure.ours
        step = str(measure.step) if first else ""
        rows.append((step, measure.name, number(ours.value), interval(ours.low, ours.high), paper))
    return table(("step", "measure", "ours", "95 % interval", "paper"), rows, title, left=2)


def sweep_table(title: str, found: pd.DataFrame) -> Group:
    """A line per variation: its settings, and the mean over seeds with its interval."""
    from coopctx.analysis.intervals import interval, number

    rows = [
        (row["settings"], str(row["seeds"]), number(row["mean"]), interval(row["low"], row["high"]))
        for row in found.to_dict("records")
    ]
    return table(("settings", "seeds", "mean", "95 % interval"), rows, title)


def crossplay_tables(played: pd.DataFrame) -> Group:
    """Cross-play by kinds of players: a table for each kind of trained agents, and a table of mutual cooperation within kinds."""
    from coopctx.analysis.intervals import interval, number
    from coopctx.analysis.played import crossplay

    parts: list[RenderableType] = []
    for player, met in groupby(crossplay.kind_means(played), key=lambda means: means.player):
        rows = [(means.opponent, *crossplay.cells(means)) for means in met]
        headings = ("against", "reward", "theirs", "more", "95 % interval", "both C", player)
        parts += [table(headings, rows, f"{player}: rewards per round"), ""]
    fits = {kind: crossplay.conventions(played, kind) for kind in crossplay.kinds(played, True)}
    rows = [
        (kind, who, number(mutual.value), interval(mutual.low, mutual.high))
        for kind, theirs in fits.items()
        for who, mutual in theirs.items()
    ]
    title = "Do conventions fit? Share of rounds in which both cooperate, last column: 95 % interval over seeds"
    return Group(*parts, table(("agents of", "with", "both C", "95 % interval"), rows, title, left=2))


def quoted(words: Iterable[object]) -> str:
    """Words as one shell command."""
    return shlex.join(str(word) for word in words)
