"""Everything that figures of the paper need: which runs, how far they are, and carrying them out to the figures and the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from coopctx.config import load_preset, to_dict
from coopctx.errors import RunError, UsageError
from coopctx.experiments import AGENTS, RunSpec, with_needs
from coopctx.jobs import train_runs
from coopctx.plots import NothingToDraw, draw
from coopctx.progress import duration
from coopctx.report import write_report
from coopctx.store import MANIFEST, is_finished, read_manifest, standing

MIXED, TOLD, ALONE = ("mixed", False), ("mixed", True), ("learners", False)  # pool, opponent ID
STEPS = ("tabular", False), ("extortion", False), ("mutual-extortion", False)
FIGURES = {  # of the paper: the kinds of agents and the conditions that it shows
    "fig1": (("ppi", "a2c"), (MIXED, TOLD, ALONE)),
    "fig2": (("ppi",), STEPS),
    "fig3": (("ppi", "a2c"), (MIXED,)),
    "fig4": (("a2c",), STEPS),
}


@dataclass(frozen=True)
class Planned:
    """A run, how far it is, and how long the rest will take.

    state: "damaged" where it cannot be gone on with, and message says why. iteration: the last one completed (PPI: phase).
    seconds: by what finished runs of the same name and preset took; None where there is none.
    """

    spec: RunSpec
    state: Literal["finished", "to resume", "to do", "damaged"]
    iteration: int = 0
    seconds: float | None = None
    message: str = ""


@dataclass(frozen=True)
class Reproduction:
    """written: figures and report. missing: what they lack. failures: a line for each run, figure or report that failed."""

    written: list[Path]
    missing: list[str]
    failures: list[str]


def available_figures() -> tuple[str, ...]:
    """Those of the paper whose kinds of agents there are."""
    return tuple(name for name, (shown, _) in FIGURES.items() if set(shown) & set(AGENTS))


def plan(figures: Sequence[str], agents: Sequence[str], preset: str, seeds: Sequence[int]) -> list[RunSpec]:
    """The runs that ``figures`` need for ``agents``, each once and none before what it needs (other seeds included).

    None given: all figures, all agents. Raises UsageError for an unknown figure or agent, and where none of the figures
    shows one of the agents.
    """
    for figure in figures:
        if figure not in available_figures():
            raise UsageError(f"unknown figure {figure!r}; there is: {', '.join(available_figures())}")
    for agent in agents:
        if agent not in AGENTS:
            raise UsageError(f"unknown agent {agent!r}; allowed: {', '.join(AGENTS)}")
    chosen = agents or AGENTS
    specs = [
        RunSpec(agent, pool, opponent_id, seed, preset)
        for shown, conditions in (FIGURES[figure] for figure in figures or available_figures())
        for agent in shown
        if agent in chosen
        for pool, opponent_id in conditions
        for seed in seeds
    ]
    if not specs:
        raise UsageError(f"{', '.join(figures)}: no run of {', '.join(chosen)} in it")
    return with_needs(specs)


def look(specs: Sequence[RunSpec], overrides: Sequence[str], results: Path) -> list[Planned]:
    """How far each run is, without touching it. Raises UsageError for settings that cannot be."""
    measured = {(spec.preset, spec.name): _measured(spec, results) for spec in specs}
    return [_look(spec, overrides, results, *measured[spec.preset, spec.name]) for spec in specs]


def table(planned: Sequence[Planned], workers: int) -> Group:
    """The runs for a reader: a line each, and what all of them will take, ``workers`` at a time."""
    shown = Table("run", "seed", "state", box=None, padding=(0, 1), pad_edge=False)
    shown.add_column("time", justify="right")
    for run in planned:
        state = f"to resume after {run.iteration}" if run.state == "to resume" else run.state
        time = "" if run.state in ("finished", "damaged") else "unknown" if run.seconds is None else f"~ {duration(run.seconds)}"
        shown.add_row(run.spec.name, str(run.spec.seed), state, time)
    return Group(shown, Text(_estimate(planned, workers)))


def reproduce(
    specs: Sequence[RunSpec],
    *,
    figures: Sequence[str],
    overrides: Sequence[str],
    results: Path,
    out: Path,
    device: str,
    jobs: int | None,
    console: Console,
) -> Reproduction:
    """Carry out the runs, skipping the finished ones; then draw ``figures`` (none: all) and write the report to ``out``.

    A run that fails leaves the others running but those that need it, and what there is is drawn all the same. A figure or
    report that cannot be made is a failure too. Raises as `jobs.train_runs`.
    """
    options = {"overrides": overrides, "results": results, "device": device, "jobs": jobs, "console": console}
    outcomes = train_runs(specs, **options)  # type: ignore[arg-type]
    ended = zip(specs, outcomes, strict=True)
    failures = [f"{spec.name} seed {spec.seed}: {outcome.message}" for spec, outcome in ended if outcome.state == "failed"]
    found = Reproduction([], [], failures)
    if len(failures) < len(specs):
        _show(found, figures or available_figures(), results, specs[0].preset, out)
    return found


def _look(spec: RunSpec, overrides: Sequence[str], results: Path, seconds: float | None, iterations: int) -> Planned:
    settings = to_dict(load_preset(spec.preset, overrides, spec.pool))
    try:
        state, iteration = standing(spec.directory(results), spec.keys, settings)
    except RunError as error:
        return Planned(spec, "damaged", message=str(error))
    left = 0.0 if state == "finished" else seconds and seconds * max(0.0, 1 - iteration / iterations)
    return Planned(spec, state, iteration, left)


def _measured(spec: RunSpec, results: Path) -> tuple[float | None, int]:
    """Median wall seconds of the finished runs of this name and preset, and their iterations; None and 1 without any."""
    seeds = [path.parent for path in spec.directory(results).parent.glob(f"seed-*/{MANIFEST}") if is_finished(path.parent)]
    manifests = [read_manifest(seed) for seed in seeds]
    if not manifests:
        return None, 1
    return median(manifest["wall_seconds"] for manifest in manifests), max(1, manifests[0]["iteration"])


def _estimate(planned: Sequence[Planned], workers: int) -> str:
    states = [run.state for run in planned]
    counted = (f"{states.count(state)} {state}" for state in ("finished", "to resume", "to do", "damaged") if state in states)
    lines = [f"{len(planned)} runs: {', '.join(counted)}."]
    left = [run for run in planned if run.state in ("to resume", "to do")]
    seconds = [run.seconds for run in left if run.seconds is not None]
    if seconds:
        at_a_time = min(workers, len(seconds))
        lines.append(
            f"About {duration(sum(seconds))} of work by what finished runs of the same name took; "
            f"{at_a_time} at a time, about {duration(max(sum(seconds) / at_a_time, *seconds))}."
        )
    unknown = dict.fromkeys(run.spec.name for run in left if run.seconds is None)
    if unknown:
        lines.append(f"Time unknown, as no finished run tells: {', '.join(unknown)}.")
    return "\n".join(lines)


def _show(found: Reproduction, figures: Sequence[str], results: Path, preset: str, out: Path) -> None:
    """Draw the figures and write the report; what there is of them, and what not, is added to ``found``."""
    for figure in figures:
        try:
            drawing = draw(figure, results, preset, out, ["png", "pdf"])
        except NothingToDraw as error:
            found.missing.append(str(error))
        except RunError as error:
            found.failures.append(f"{figure}: {error}")
        else:
            found.written.extend(drawing.paths)
            found.missing.extend(line for line in drawing.missing if line not in found.missing)
    try:
        found.written.extend(write_report(results, preset, out))
    except RunError as error:
        found.failures.append(f"report: {error}")
