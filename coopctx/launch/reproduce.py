"""Reproducing figures: the runs that they need, and carrying them out to figures and report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coopctx.analysis.steps import STEP_POOLS
from coopctx.errors import RunError, UsageError, check_known
from coopctx.experiments.agents import AGENTS
from coopctx.experiments.pools import COALA_POOLS, RunSpec, with_needs
from coopctx.figures import PAPER_FIGURES, draw
from coopctx.figures.runs import NothingToDraw
from coopctx.launch.job import RunOptions
from coopctx.launch.jobs import Request, failures, train_runs
from coopctx.report.pages import write_report
from coopctx.runs.read import Results

MIXED, TOLD, ALONE = ("mixed", False), ("mixed", True), ("learners", False)  # pool, opponent ID
STEPS_1_TO_3 = tuple((pool, False) for pool in STEP_POOLS)
RUNS_OF = {  # the kinds of agents and the conditions whose runs each needs
    "fig1": (("ppi", "a2c"), (MIXED, TOLD, ALONE)),
    "fig2": (("ppi",), STEPS_1_TO_3),
    "fig3": (("ppi", "a2c"), (MIXED,)),
    "fig4": (("a2c",), STEPS_1_TO_3),
    "coala": (("coala",), tuple((pool, False) for pool in COALA_POOLS)),
}


@dataclass(frozen=True)
class Reproduction:
    """written: the files of figures and report. missing: a line for each part that lacks runs. failures: a line for each run,
    figure or report that failed."""

    written: list[Path]
    missing: list[str]
    failures: list[str]


def figures_for(figures: Sequence[str], agents: Sequence[str]) -> tuple[str, ...]:
    """The figures that are meant: those named, else those of the agents named, else the paper's.

    So the many hours of COALA's runs, which are of another paper, have to be asked for.
    """
    if figures:
        return tuple(figures)
    if agents:
        return tuple(name for name, (shown, _) in RUNS_OF.items() if set(shown) & set(agents))
    return tuple(PAPER_FIGURES)


def plan(figures: Sequence[str], agents: Sequence[str], seeds: Sequence[int], options: RunOptions) -> list[Request]:
    """The runs that ``figures`` need for ``agents``, each once, after the runs that it needs itself (also of other seeds).

    Empty: the figures of `figures_for`, all agents. Raises UsageError for an unknown figure or agent, and if none of the figures
    shows one of the agents.
    """
    for figure in figures:
        check_known("figure", figure, RUNS_OF)
    for agent in agents:
        check_known("agent", agent, AGENTS)
    chosen = agents or tuple(AGENTS)
    specs = [
        RunSpec(agent, pool, opponent_id, seed, options.preset)
        for shown, conditions in (RUNS_OF[figure] for figure in figures_for(figures, agents))
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
    """Carry out the runs, skipping the finished ones; then draw ``figures`` and write the report to ``out``.

    seeds: whose absence is reported; other finished seeds are drawn too. If a run fails, the others go on, except those that
    need it, and what is finished is drawn. A figure or report that cannot be made is a failure too. Raises as
    `jobs.train_runs`.
    """
    outcomes = train_runs(requests, options)
    found = Reproduction([], [], failures(requests, outcomes))
    if len(found.failures) == len(requests):
        return found
    results = Results(options.results, options.preset, seeds, tolerant=True)
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
        found.written.extend(write_report(results, out))
    except RunError as error:
        found.failures.append(f"report: {error}")
    found.failures.extend(results.left_out)
    return found
