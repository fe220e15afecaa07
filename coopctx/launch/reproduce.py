"""Everything that figures of the paper need: which runs, and carrying them out to the figures and the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coopctx.errors import RunError, UsageError, unknown
from coopctx.experiments.agents import AGENTS
from coopctx.experiments.pools import RunSpec, with_needs
from coopctx.figures import draw
from coopctx.figures.runs import NothingToDraw
from coopctx.launch.jobs import Request, failures, train_runs
from coopctx.launch.options import RunOptions
from coopctx.report.pages import write_report
from coopctx.runs.read import Results

MIXED, TOLD, ALONE = ("mixed", False), ("mixed", True), ("learners", False)  # pool, opponent ID
STEPS = ("tabular", False), ("extortion", False), ("mutual-extortion", False)
FIGURES = {  # of the paper: the kinds of agents and the conditions that it shows
    "fig1": (("ppi", "a2c"), (MIXED, TOLD, ALONE)),
    "fig2": (("ppi",), STEPS),
    "fig3": (("ppi", "a2c"), (MIXED,)),
    "fig4": (("a2c",), STEPS),
}


@dataclass(frozen=True)
class Reproduction:
    """written: figures and report. missing: what they lack. failures: a line for each run, figure or report that failed."""

    written: list[Path]
    missing: list[str]
    failures: list[str]


def available_figures() -> tuple[str, ...]:
    """Those of the paper whose kinds of agents there are."""
    return tuple(name for name, (shown, _) in FIGURES.items() if set(shown) & set(AGENTS))


def plan(figures: Sequence[str], agents: Sequence[str], seeds: Sequence[int], options: RunOptions) -> list[Request]:
    """The runs that ``figures`` need for ``agents``, each once and none before what it needs (other seeds included).

    None given: all figures, all agents. Raises UsageError for an unknown figure or agent, and where none of the figures
    shows one of the agents.
    """
    for figure in figures:
        if figure not in available_figures():
            raise unknown("figure", figure, available_figures())
    for agent in agents:
        if agent not in AGENTS:
            raise unknown("agent", agent, AGENTS)
    chosen = agents or tuple(AGENTS)
    specs = [
        RunSpec(agent, pool, opponent_id, seed, options.preset)
        for shown, conditions in (FIGURES[figure] for figure in figures or available_figures())
        for agent in shown
        if agent in chosen
        for pool, opponent_id in conditions
        for seed in seeds
    ]
    if not specs:
        raise UsageError(f"{', '.join(figures)}: no run of {', '.join(chosen)} in it")
    return [Request(spec, options.overrides, options.results) for spec in with_needs(specs)]


def reproduce(
    requests: Sequence[Request], figures: Sequence[str], seeds: Sequence[int], out: Path, options: RunOptions
) -> Reproduction:
    """Carry out the runs, skipping the finished ones; then draw ``figures`` (none: all) and write the report to ``out``.

    seeds: those that were asked for; what else is finished is drawn too, and its lack not told.
    A run that fails leaves the others running but those that need it, and what there is is drawn all the same. A figure or
    report that cannot be made is a failure too. Raises as `jobs.train_runs`.
    """
    outcomes = train_runs(requests, options)
    found = Reproduction([], [], failures(requests, outcomes))
    if len(found.failures) < len(requests):
        _show(found, figures or available_figures(), Results(options.results, options.preset, seeds, tolerant=True), out)
    return found


def _show(found: Reproduction, figures: Sequence[str], results: Results, out: Path) -> None:
    """Draw the figures and write the report; what there is of them, and what not, is added to ``found``."""
    for figure in figures:
        try:
            drawing = draw(figure, results, out, ["png", "pdf"])
        except NothingToDraw as error:
            found.missing.append(str(error))
        except RunError as error:
            found.failures.append(f"{figure}: {error}")
        else:
            found.written.extend(drawing.paths)
            found.missing.extend(line for line in drawing.missing if line not in found.missing)
    try:
        found.written.extend(write_report(results.folder, results.preset, out))
    except RunError as error:
        found.failures.append(f"report: {error}")
    found.failures.extend(results.left_out)
