"""The report as tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from coopctx.bench.race import PEER
from coopctx.bench.rows import Rate, Report

ENOUGH = 0.9  # share of the processor time asked for; below it, the machine is busy with other work


def tables(report: Report) -> RenderableType:
    """The report as text: the machine and the settings, then a table per part."""
    of_ppi = _planner_table(report), _training_table(report), _phase_table(report)
    return Group(_heading(report), *of_ppi, _iteration_table(report), _estimator_table(report))


def _heading(report: Report) -> Text:
    machine, settings, ppi = report.machine, report.settings, report.settings["ppi"]
    load = "" if machine.load is None else f", load {machine.load:.1f}"
    lines = (
        machine.cpu,
        f"{_counted(machine.cores, 'core')}, {_counted(machine.threads, 'thread')} used{load}",
        f"torch {machine.torch}, JAX {machine.jax or 'not installed'}, Python {machine.python}",
        f"torch.mm: fp32 {machine.matmul_fp32:.0f}, bf16 {machine.matmul_bf16:.0f} GFLOP/s",
        f"preset {report.preset}: hidden {settings['model']['hidden']}, rollouts {ppi['rollouts']}, "
        f"horizon {ppi['horizon']}, batch {ppi['batch_size']}, {settings['game']['rounds']} rounds a game",
        f"medians of {report.repeats}, taken in turns",
    )
    busy = (
        f"The machine is busy: matrix products got {machine.granted:.0%} of the processor time they could use.",
        "Measure again when it is idle.",
    )
    return Text("\n".join(lines if machine.granted > ENOUGH else (*lines, *busy)))


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' if n > 1 else ''}"


_RATIOS = "times\nreference", "times\nJAX", "cores\nbusy"


def _planner_table(report: Report) -> Table:
    title = f"planner: GRU steps with heads and sampling, {report.sizes.games} games"
    table = _table(title, "M steps\nper s", *_RATIOS, "of\ntorch.mm")
    for rate in report.planner:
        table.add_row(*_rate_cells(rate, report.planner), f"{rate.matmul_share:.0%}")
    return table


def _training_table(report: Report) -> Table:
    title = f"training: forward, backward, clip, AdamW; {_counted(min(report.machine.threads, 2), 'learner')}"
    table = _table(title, "M tokens\nper s", *_RATIOS)
    for rate in report.training:
        table.add_row(*_rate_cells(rate, report.training))
    return table


def _rate_cells(rate: Rate, rates: Sequence[Rate]) -> tuple[str, ...]:
    peer = next((f"{rate.per_second / other.per_second:.2f}" for other in rates if other.name == PEER), "-")
    numbers = f"{rate.per_second / 1e6:.3f}", f"{rate.ratio:.2f}", peer, f"{rate.cores:.2f}"
    return (rate.name, f"{rate.runs_on} {rate.dtype}", *numbers)


def _phase_table(report: Report) -> Table:
    sizes = report.sizes
    headings = "fit,\nseconds", "collect,\nseconds", "episodes\nper s", "times\nreference"
    table = _table("a whole phase: the first of a mixed run", *headings)
    table.caption = (
        f"scaled up from {sizes.fit_steps} gradient steps and {sizes.collect_rounds} rounds of up to "
        f"{sizes.collect_episodes} episodes per learner"
    )
    for phase in report.phase:
        seconds = f"{phase.fit_seconds:.2f}", f"{phase.collect_seconds:.2f}"
        rates = f"{phase.per_second:.1f}", f"{phase.ratio:.2f}"
        table.add_row(phase.name, f"{phase.runs_on} {phase.dtype}", *seconds, *rates)
    return table


def _iteration_table(report: Report) -> Table:
    headings = "play,\nms", "update,\nms", "iterations\nper s", "times\nreference"
    table = _table(f"an iteration of A2C: both learners, {report.settings['a2c']['batch_size']} episodes each", *headings)
    for rate in report.iteration:
        numbers = f"{rate.play_seconds * 1e3:.0f}", f"{rate.update_seconds * 1e3:.0f}", f"{rate.per_second:.2f}"
        table.add_row(rate.name, f"{rate.runs_on} {rate.dtype}", *numbers, f"{rate.ratio:.2f}")
    return table


def _estimator_table(report: Report) -> Table:
    headings = "variance", "ms\na call", "variance x cost,\nsampled : this"
    table = _table("estimators of Q(x, a) - Q(x, 0)", *headings, kinds=("estimator",))
    for estimate in report.estimator:
        ratio = "-" if estimate.ratio is None else f"{estimate.ratio:.1f}"
        table.add_row(estimate.name, f"{estimate.variance:.3g}", f"{estimate.seconds * 1e3:.1f}", ratio)
    return table


def _table(title: str, *numbers: str, kinds: Sequence[str] = ("", "computed by")) -> Table:
    table = Table(*kinds, title=title, title_justify="left", caption_justify="left")
    for heading in numbers:
        table.add_column(heading, justify="right")
    return table
