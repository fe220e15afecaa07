"""The commands that train: ``train``, ``reproduce``, ``sweep`` and ``extort-probe``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from coopctx.cli import completion, show
from coopctx.cli.options import (
    PAPER_FIGURES,
    DryRun,
    Fresh,
    OpponentId,
    Out,
    Pool,
    RunsAgent,
    Seed,
    Seeds,
    SeveralSeeds,
    StepsAgent,
    agent_and_pool,
    choice,
    figures_folder,
    parse_seeds,
    with_run_options,
)
from coopctx.experiments.agents import AGENTS
from coopctx.experiments.pools import RunSpec, options_for
from coopctx.launch.job import RunOptions
from coopctx.runs.tracking import LOGS, check_log

if TYPE_CHECKING:
    from coopctx.launch.jobs import Request

Options = Callable[[], RunOptions]


@with_run_options
def train(
    options: Options,
    agent: RunsAgent = None,
    pool: Pool = None,
    opponent_id: OpponentId = False,
    seed: Seed = None,
    seeds: Seeds = None,
    fresh: Fresh = False,
    log: Annotated[
        str | None,
        typer.Option(show_default="none", **choice("Also write curves of progress as event files into tensorboard/.", *LOGS)),
    ] = None,
) -> None:
    """Train agents: start a run, or resume an unfinished one.

    \b
    Examples:
    coopctx train --agent ppi --pool mixed
    coopctx train --agent ppi --pool mixed --opponent-id --seeds 0-9
    coopctx train --agent ppi --pool learners --preset smoke --set ppi.rollouts=4
    coopctx train --agent a2c --pool tabular --set a2c.iterations=1000
    coopctx train --agent ppi --pool mixed --game stag-hunt --results stag-hunt
    coopctx train --agent coala --pool naive
    coopctx train --config my.toml --seeds 0-9
    coopctx train --agent a2c --pool mixed --log tensorboard
    """
    chosen, asked = parse_seeds(seed, seeds), options()
    from coopctx.launch import jobs

    if log is not None:
        check_log(log)
    who = agent_and_pool(agent, pool, asked.preset)
    specs = [RunSpec(*who, opponent_id, seed, asked.preset) for seed in chosen]
    outcomes = jobs.train(specs, replace(asked, fresh=fresh, log=log or ""))
    show.warn_of(asked.preset)
    show.report_runs(outcomes)
    show.following(show.quoted(["coopctx", "evaluate", outcomes[0].directory]))


@with_run_options
def reproduce(
    options: Options,
    figure: Annotated[
        list[str] | None,
        typer.Option("--figure", show_default="the paper's", **choice("Only this one; repeatable.", *PAPER_FIGURES, "coala")),
    ] = None,
    agent: Annotated[
        list[str] | None,
        typer.Option("--agent", show_default="all of the figures", **choice("Only runs of this agent; repeatable.", *AGENTS)),
    ] = None,
    seeds: SeveralSeeds = "0-9",
    out: Out = None,
    dry_run: DryRun = False,
) -> None:
    """Carry out the unfinished runs of the figures, then draw the figures and write the report. The same command resumes.

    COALA's runs take many hours; they are carried out only for --figure coala or --agent coala.

    \b
    Examples:
    coopctx reproduce --dry-run
    coopctx reproduce --figure fig1 --figure fig3 --seeds 0-4
    coopctx reproduce --preset smoke --seeds 0-1 --results /tmp/smoke --out /tmp/smoke/figures
    """
    chosen, asked = parse_seeds(None, seeds), options()
    from coopctx.launch import reproduce

    requests = reproduce.plan(figure or [], agent or [], chosen, asked)
    if dry_run:
        _list_runs(requests, asked)
        return
    figures, folder = reproduce.figures_for(figure or [], agent or []), figures_folder(out, asked.preset)
    found = reproduce.reproduce(requests, figures, chosen, folder, asked)
    show.warn_of(asked.preset)
    for line in (*found.missing, *found.written):
        show.say(line)
    show.fail_each(found.failures, f"of {len(requests)} runs, figures and reports failed")
    show.following(show.quoted(["coopctx", "report", *options_for(asked.results, asked.preset)]))


@with_run_options
def sweep(
    vary: Annotated[
        list[str],
        typer.Option(
            metavar="KEY=VALUE,VALUE,…",
            help="A setting and its values; several --vary run all combinations.",
            autocompletion=completion.settings,
        ),
    ],
    options: Options,
    agent: RunsAgent = None,
    pool: Pool = None,
    opponent_id: OpponentId = False,
    seeds: SeveralSeeds = "0-2",
    out: Out = None,
    dry_run: DryRun = False,
) -> None:
    """Vary a setting: train at each value, by default PPI in the mixed pool, and draw cooperation late in training against it.

    Several --vary form a grid: every combination is run. To vary one setting at a time, give a command for each: the Parquet
    file and the figure have the runs of all commands. Finished runs are not repeated; the runs at the preset's own value are
    those of the preset.

    \b
    Examples:
    coopctx sweep --vary ppi.inverse_temperature=1,2.5,10,100
    coopctx sweep --vary ppi.rollouts=4,12,24 --vary ppi.horizon=5,15 --seeds 0-4 --dry-run
    """
    chosen, asked = parse_seeds(None, seeds), options()
    from coopctx.launch import sweep

    who = agent_and_pool(agent, pool, asked.preset, usual=("ppi", "mixed"))
    specs = [RunSpec(*who, opponent_id, seed, asked.preset) for seed in chosen]
    requests = sweep.plan(vary, specs, asked)
    if dry_run:
        _list_runs(requests, asked)
        return
    written, failures = sweep.sweep(requests, figures_folder(out, asked.preset), asked)
    show.warn_of(asked.preset)
    if written:
        show.console.print(show.sweep_table(*sweep.finals(requests, asked.results)))
    for path in written:
        show.say(path)
    show.fail_each(failures, f"of {len(requests)} runs failed")
    show.following(show.quoted(["coopctx", "report", *options_for(asked.results, asked.preset)]))


@with_run_options
def extort_probe(
    agent: StepsAgent,
    options: Options,
    seed: Seed = None,
    seeds: Seeds = None,
    slopes: Annotated[bool, typer.Option("--slopes/--no-slopes", help="Also run the formal test of extortion.")] = True,
) -> None:
    """Steps 1, 2 and 3 (best response, its extortion, mutual extortion): carry out the unfinished runs, and print the measures.

    \b
    Examples:
    coopctx extort-probe --agent ppi --seeds 0-9
    coopctx extort-probe --agent a2c --preset smoke --seed 0 --no-slopes
    """
    chosen, asked = parse_seeds(seed, seeds), options()
    from coopctx.analysis.steps import measure_steps
    from coopctx.launch.steps import train_steps

    config = train_steps(agent, chosen, asked)
    show.warn_of(asked.preset)
    where = agent, asked.preset, chosen, asked.results, config
    show.console.print(show.steps_table(measure_steps(*where), asked.preset))
    if slopes:
        from coopctx.cli.evaluations import slopes_tables
        from coopctx.evaluation.slopes import measure_slopes, write

        with show.console.status("loading") as status:
            found = measure_slopes(*where, device=asked.device, report=status.update)
        show.console.print(slopes_tables(found))
        for path in write(found, agent, asked.preset, asked.results):
            show.say(f"{path}: written")
    figure = {"ppi": "fig2", "a2c": "fig4"}[agent]
    show.following(show.quoted(["coopctx", "plot", figure, *options_for(asked.results, asked.preset)]))


def _list_runs(requests: Sequence[Request], options: RunOptions) -> None:
    """List the runs and estimate their time; RunError if one of them cannot be resumed."""
    from coopctx.launch import plan
    from coopctx.launch.jobs import workers_for

    with show.console.status("measuring the speed of short runs"):
        planned = plan.look(requests, options)
    show.console.print(show.planned_table(planned, plan.estimate(planned, workers_for(options.jobs, options.engine))))
    show.fail_each([run.message for run in planned if run.message], f"of {len(requests)} runs failed")
    show.following("the same command without --dry-run")
