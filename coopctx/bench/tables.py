"""The report as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from coopctx.bench.race import PEER
from coopctx.bench.rows import IterationRate, Rate, Report, counted
from coopctx.experiments.agents import AGENTS

ENOUGH = 0.9  # share of the processor time asked for; below it, the machine is busy with other work


def tables(report: Report) -> RenderableType:
    """The report as text: the machine and the settings, then a table per part."""
    planner = f"planner: GRU steps with heads and sampling, {report.sizes.games} games"
    training = f"training: forward, backward, clip, AdamW; {counted(min(report.machine.threads, 2), 'learner')} on all threads"
    rates = (
        _rate_table(planner, "M steps\nper s", report.planner),
        _rate_table(training, "M tokens\nper s", report.training),
    )
    growth = (_growth_table(report, agent) for agent in ("ppi", "a2c"))
    lines = Text("\n".join([*heading(report), "of mm: share of torch.mm on as many threads, in the same precision"]))
    return Group(lines, *rates, _phase_table(report), _iteration_table(report), *growth, _estimator_table(report))


def heading(report: Report) -> Iterator[str]:
    """Lines on the machine, the settings and the measurement."""
    machine, settings, ppi = report.machine, report.settings, report.settings["ppi"]
    load = "" if machine.load is None else f", load {machine.load:.1f}"
    yield machine.cpu
    yield f"{counted(machine.cores, 'core')}, {counted(machine.threads, 'thread')} used{load}"
    yield f"torch {machine.torch}, JAX {machine.jax or 'not installed'}, Python {machine.python}"
    for rate in machine.products:
        yield f"torch.mm, {counted(rate.threads, 'thread')}: fp32 {rate.fp32:.0f}, bf16 {rate.bf16:.0f} GFLOP/s"
    yield (
        f"preset {report.preset}: hidden {settings['model']['hidden']}, rollouts {ppi['rollouts']}, "
        f"horizon {ppi['horizon']}, batch {ppi['batch_size']}, {settings['game']['rounds']} rounds a game"
    )
    yield f"medians of {report.repeats}, taken in turns"
    if machine.granted <= ENOUGH:
        yield f"The machine is busy: matrix products got {machine.granted:.0%} of the processor time they could use."
        yield "Measure again when it is idle."


_RATIOS = "times\nref.", "times\nJAX", "cores\nbusy", "of mm"


def _rate_table(title: str, heading: str, rates: Sequence[Rate]) -> Table:
    table = _table(title, heading, *_RATIOS)
    for rate in rates:
        share = "-" if rate.matmul_share is None else f"{rate.matmul_share:.0%}"
        numbers = f"{rate.per_second / 1e6:.3f}", f"{rate.ratio:.1f}", to_peer(rate, rates), f"{rate.cores:.2f}/{rate.threads}"
        table.add_row(rate.name, f"{rate.runs_on} {rate.dtype}", *numbers, share)
    return table


def to_peer(rate: Rate | IterationRate, rates: Sequence[Rate] | Sequence[IterationRate]) -> str:
    """The ratio to JAX on as many threads; "-" without JAX."""
    peers = (other for other in rates if other.name == PEER and other.threads == rate.threads)
    return next((f"{rate.per_second / other.per_second:.2f}" for other in peers), "-")


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
    headings = "threads", "play,\nms", "update,\nms", "per s", "times\nref.", "times\nJAX"
    table = _table(f"an iteration of A2C: both learners, {report.settings['a2c']['batch_size']} episodes each", *headings)
    for rate in report.iteration:
        numbers = f"{rate.play_seconds * 1e3:.1f}", f"{rate.update_seconds * 1e3:.1f}", f"{rate.per_second:.2f}"
        ratios = f"{rate.ratio:.2f}", to_peer(rate, report.iteration)
        table.add_row(rate.name, f"{rate.runs_on} {rate.dtype}", str(rate.threads), *numbers, *ratios)
    return table


def _growth_table(report: Report, agent: str) -> Table:
    """What each part costs as the settings are, and with one of them changed."""
    rows = [row for row in report.growth if row.agent == agent]
    names = [part.name for part in rows[0].parts]
    units = [f"{name},\n{unit}" for unit in ("ms", "cost", "of mm") for name in names]
    title = f"{AGENTS[agent].label}, per {AGENTS[agent].unit}, in use"
    table = _table(title, *units, kinds=("settings",))
    table.caption = "cost: core seconds per 10^6 agent-rounds"
    for row in rows:
        seconds = [f"{part.seconds * 1e3:.1f}" for part in row.parts]
        costs = [f"{part.per_million:.2f}" for part in row.parts]
        shares = ["-" if part.matmul_share is None else f"{part.matmul_share:.0%}" for part in row.parts]
        name = f"{row.changed or 'as they are'}, {counted(row.threads, 'thread')}"
        table.add_row(name, *seconds, *costs, *shares)
    return table


def _estimator_table(report: Report) -> Table:
    headings = "variance", "ms\na call", "variance x cost,\nsampled : this"
    table = _table("estimators of Q(x, a) - Q(x, 0)", *headings, kinds=("estimator",))
    for estimate in report.estimator:
        ratio = "-" if estimate.ratio is None else f"{estimate.ratio:.1f}"
        table.add_row(estimate.name, f"{estimate.variance:.3g}", f"{estimate.seconds * 1e3:.1f}", ratio)
    return table


def _table(title: str, *numbers: str, kinds: Sequence[str] = ("", "computed by")) -> Table:
    columns = (Column(heading, justify="right") for heading in numbers)
    return Table(*kinds, *columns, title=title, title_justify="left", caption_justify="left")
