"""The command line: parses, calls one function per command, prints. Nothing is decided here."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from coopctx._version import __version__
from coopctx.cli import completion
from coopctx.errors import CoopctxError, RunError, UsageError
from coopctx.experiments.agents import AGENTS
from coopctx.experiments.pools import POOLS
from coopctx.experiments.settings import check_preset, preset_names
from coopctx.launch.display import duration
from coopctx.runs.progress import OPPONENTS

if TYPE_CHECKING:  # torch and matplotlib take seconds to import: not for --help or a mistyped option
    from coopctx.launch.job import Engine, Outcome
    from coopctx.launch.jobs import Request
    from coopctx.report.blocks import Block, Sources

MOST_SEEDS = 1000  # more than that in one command is a slip

ENDINGS = {"finished": "written", "unchanged": "was finished already, nothing to do (--fresh starts over)"}

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode="rich")
console = Console()


def _known_preset(name: str) -> str:
    check_preset(name)
    return name


def _choice(*names: str) -> dict[str, Any]:
    """How an option is shown and completed whose value is one of ``names``; what it means says who reads it."""
    return {"metavar": "|".join(names), "autocompletion": completion.one_of(*names)}


AgentOption = Annotated[str, typer.Option(help="Who learns.", **_choice(*AGENTS))]
PoolOption = Annotated[str, typer.Option(help="Whom it meets.", **_choice(*POOLS))]
PresetOption = Annotated[str, typer.Option(help="Size of the runs.", callback=_known_preset, **_choice(*preset_names()))]
OverridesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a setting, such as ppi.rollouts=8; repeatable.",
        autocompletion=completion.settings,
    ),
]
ResultsOption = Annotated[Path, typer.Option(help="Where the runs are kept.")]
DeviceOption = Annotated[str, typer.Option(help="auto: CUDA where there is one.", **_choice("auto", "cpu", "cuda"))]
JobsOption = Annotated[int | None, typer.Option(help="Runs at a time.", show_default="one per core")]
EngineOption = Annotated[
    str,
    typer.Option(
        help="Runs as processes here, or as tasks of a Ray cluster (coopctx[ray]): the one at RAY_ADDRESS, or one started here; "
        "its workers must see the results under the same path.",
        **_choice("local", "ray"),
    ),
]
FIGURES = "fig1", "fig2", "fig3", "fig4"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status. Whatever goes wrong is told in one line on standard error."""
    for stream in (sys.stdout, sys.stderr):  # a path of undecodable bytes, a terminal without our letters
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    status = _run(arguments)
    try:
        sys.stdout.flush()
    except OSError as error:  # nobody reads it any more, or the disk that it goes to is full
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would try again at its end
        return status or _complain(f"standard output: {error.strerror}", RunError.exit_status)
    return status


def _run(arguments: Sequence[str] | None) -> int:
    try:
        status = app(arguments, prog_name="coopctx", standalone_mode=False) or 0
    except CoopctxError as error:
        return _complain(error, error.exit_status)
    except typer.TyperException as error:
        return _complain(error.format_message(), UsageError.exit_status)
    except KeyboardInterrupt:
        status = 130
    except OSError as error:
        return _complain(f"{error.filename or 'input/output'}: {error.strerror or error}", RunError.exit_status)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):  # torch has no type of its own for it
            raise
        return _complain(f"not enough memory for this ({error})", RunError.exit_status)
    return _complain("interrupted", status) if status == 130 else status


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Cooperation through in-context co-player inference (arXiv:2602.16301).

    \b
    Examples:
    coopctx train --agent ppi --pool mixed   one run of Figure 1A, in minutes
    coopctx plot fig1                        the figure, from what is in results/
    coopctx reproduce --dry-run              the runs that all figures need
    coopctx report                           the paper's claims beside ours
    """
    if version:
        print(f"coopctx {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def train(
    agent: AgentOption,
    pool: PoolOption,
    opponent_id: Annotated[bool, typer.Option("--opponent-id", help="Ablation: tell it whom it meets.")] = False,
    preset: PresetOption = "cpu",
    seed: Annotated[str | None, typer.Option(help="One seed; 0 where neither is given.", show_default=False)] = None,
    seeds: Annotated[str | None, typer.Option(help="Several: 0-9 or 0,2,5-7.", show_default=False)] = None,
    overrides: OverridesOption = None,
    results: ResultsOption = Path("results"),
    device: DeviceOption = "auto",
    jobs: JobsOption = None,
    engine: EngineOption = "local",
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over, deleting the run that is there.")] = False,
) -> None:
    """Train agents: begin a run, or resume the one that is there.

    \b
    Examples:
    coopctx train --agent ppi --pool mixed
    coopctx train --agent ppi --pool mixed --opponent-id --seeds 0-9
    coopctx train --agent ppi --pool learners --preset smoke --set ppi.rollouts=4
    coopctx train --agent a2c --pool tabular --set a2c.iterations=1000
    """
    chosen = parse_seeds(seed, seeds)
    from coopctx.launch import engines
    from coopctx.launch.jobs import train

    outcomes = train(
        agent=agent,
        pool=pool,
        opponent_id=opponent_id,
        preset=preset,
        seeds=chosen,
        overrides=overrides or [],
        results=results,
        device=device,
        jobs=jobs,
        fresh=fresh,
        console=console,
        engine=engines.engine(engine),
    )
    _report(outcomes)


@app.command()
def plot(
    figure: Annotated[str, typer.Argument(help="Which figure.", **_choice(*FIGURES, "sensitivity", "all"))],
    results: ResultsOption = Path("results"),
    out: Annotated[Path, typer.Option(help="Where the figures go.")] = Path("figures"),
    preset: PresetOption = "cpu",
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="Repeatable.", show_default="png and pdf", **_choice("png", "pdf")),
    ] = None,
) -> None:
    """Draw figures of the paper from finished runs, and that of the sweeps from their parquet.

    \b
    Examples:
    coopctx plot fig1
    coopctx plot sensitivity
    coopctx plot all --preset smoke --out /tmp/figures --format png
    """
    from coopctx.figures import draw

    drawing = draw(figure, results, preset, out, formats or ["png", "pdf"])
    for line in (*drawing.missing, *map(str, drawing.paths)):
        _say(line)


@app.command()
def reproduce(
    figure: Annotated[
        list[str] | None, typer.Option("--figure", help="Repeatable.", show_default="all", **_choice(*FIGURES))
    ] = None,
    agent: Annotated[
        list[str] | None,
        typer.Option("--agent", help="Whose runs; repeatable.", show_default="all", **_choice(*AGENTS)),
    ] = None,
    preset: PresetOption = "cpu",
    seeds: Annotated[str, typer.Option(help="Such as 0-9 or 0,2,5-7.")] = "0-9",
    overrides: OverridesOption = None,
    results: ResultsOption = Path("results"),
    out: Annotated[Path, typer.Option(help="Where the figures and the report go.")] = Path("figures"),
    device: DeviceOption = "auto",
    jobs: JobsOption = None,
    engine: EngineOption = "local",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the runs and estimate the time.")] = False,
) -> None:
    """Run whatever the figures still lack, then draw them and write the report. The same command goes on where it stopped.

    \b
    Examples:
    coopctx reproduce --dry-run
    coopctx reproduce --figure fig1 --figure fig3 --seeds 0-4
    coopctx reproduce --preset smoke --seeds 0-1 --results /tmp/smoke --out /tmp/smoke/figures
    """
    chosen, settings = parse_seeds(None, seeds), overrides or []
    from coopctx.launch import engines, reproduce

    requests, where = reproduce.plan(figure or [], agent or [], preset, chosen, settings, results), engines.engine(engine)
    if dry_run:
        _look(requests, jobs, where)
        return
    found = reproduce.reproduce(
        requests,
        figures=figure or [],
        out=out,
        device=device,
        jobs=jobs,
        console=console,
        engine=where,
    )
    for line in (*found.missing, *map(str, found.written)):
        _say(line)
    _fail_each(found.failures, f"{len(requests)} runs, figures and reports")


@app.command()
def sweep(
    vary: Annotated[
        list[str],
        typer.Option(
            metavar="KEY=VALUE,VALUE,…",
            help="A setting and its values; given several times, all combinations are run.",
            autocompletion=completion.settings,
        ),
    ],
    agent: AgentOption = "ppi",
    pool: PoolOption = "mixed",
    opponent_id: Annotated[bool, typer.Option("--opponent-id", help="Ablation: tell it whom it meets.")] = False,
    preset: PresetOption = "cpu",
    seeds: Annotated[str, typer.Option(help="Such as 0-9 or 0,2,5-7.")] = "0-2",
    overrides: OverridesOption = None,
    results: ResultsOption = Path("results"),
    out: Annotated[Path, typer.Option(help="Where the figure goes.")] = Path("figures"),
    device: DeviceOption = "auto",
    jobs: JobsOption = None,
    engine: EngineOption = "local",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the runs and estimate the time.")] = False,
) -> None:
    """Vary a setting: the runs at each value, all sweeps of the preset in one parquet, final cooperation against each setting.

    Several --vary are a grid: every combination is run. One setting at a time is a command each; the parquet and the figure
    hold what all of them made. Finished runs are not run again; where a value is the preset's own, its runs are the preset's.

    \b
    Examples:
    coopctx sweep --vary ppi.inverse_temperature=1,2.5,10,100
    coopctx sweep --vary ppi.rollouts=4,12,24 --vary ppi.horizon=5,15 --seeds 0-4 --dry-run
    """
    chosen = parse_seeds(None, seeds)
    from coopctx.launch import engines, sweep

    requests = sweep.plan(
        vary,
        agent=agent,
        pool=pool,
        opponent_id=opponent_id,
        preset=preset,
        seeds=chosen,
        overrides=overrides or [],
        results=results,
    )
    where = engines.engine(engine)
    if dry_run:
        _look(requests, jobs, where, results)
        return
    found = sweep.sweep(
        requests, results=results, out=out, device=device, jobs=jobs, console=console, engine=where
    )
    if found.written:
        console.print(sweep.table(requests, results))
    for path in found.written:
        _say(str(path))
    _fail_each(found.failures, f"{len(requests)} runs")


@app.command()
def report(
    results: ResultsOption = Path("results"),
    preset: PresetOption = "cpu",
    out: Annotated[Path, typer.Option(help="Where report.md and report.html go.")] = Path("figures"),
    fill: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Fill the generated blocks of this Markdown file; repeatable.", show_default="none"),
    ] = None,
) -> None:
    """The paper's claims beside ours, with intervals and verdicts, from finished runs.

    \b
    Examples:
    coopctx report
    coopctx report --fill README.md --fill docs/results.md
    """
    from coopctx.report import pages as report
    from coopctx.report.blocks import BLOCKS, Sources
    from coopctx.report.fill import fill as fill_blocks

    sources = Sources(results, preset)
    console.print(report.terminal(sources.rows, preset))
    for path in report.write_report(results, preset, out):
        _say(f"{path}: written")
    for path in fill or ():
        fill_blocks(path, sources, {**BLOCKS, **PRINTED})
        _say(f"{path}: written")


@app.command("extort-probe")
def extort_probe(
    agent: AgentOption,
    preset: PresetOption = "cpu",
    seed: Annotated[str | None, typer.Option(help="One seed; 0 where neither is given.", show_default=False)] = None,
    seeds: Annotated[str | None, typer.Option(help="Several: 0-9 or 0,2,5-7.", show_default=False)] = None,
    overrides: OverridesOption = None,
    results: ResultsOption = Path("results"),
    device: DeviceOption = "auto",
    jobs: JobsOption = None,
    engine: EngineOption = "local",
    slopes: Annotated[bool, typer.Option("--slopes/--no-slopes", help="Test formally who extorts.")] = True,
) -> None:
    """Best response, its extortion, mutual extortion: run Steps 1, 2 and 3 where they are not finished, and tell them.

    \b
    Examples:
    coopctx extort-probe --agent ppi --seeds 0-9
    coopctx extort-probe --agent a2c --preset smoke --seed 0 --no-slopes
    """
    chosen = parse_seeds(seed, seeds)
    from coopctx.launch import engines
    from coopctx.launch import steps as probe

    which: dict[str, Any] = {"agent": agent, "preset": preset, "seeds": chosen, "results": results}
    where = engines.engine(engine)
    config = probe.train_steps(**which, overrides=overrides or [], device=device, jobs=jobs, console=console, engine=where)
    console.print(probe.table(probe.measure_steps(**which, config=config), preset))
    if slopes:
        from coopctx.evaluation.slopes import measure_slopes, tables, write

        with console.status("loading") as status:
            found = measure_slopes(**which, config=config, device=device, report=status.update)
        console.print(tables(found))
        for path in write(found, agent, preset, results):
            _say(f"{path}: written")


@app.command()
def evaluate(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="Directory of a finished run, or a packaged agent.", autocompletion=completion.agents),
    ],
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A named strategy such as tit-for-tat; tabular (random memory-one players); another RUN or packaged agent; or "
            "axelrod:NAME, a strategy of the Axelrod library. Repeatable.",
            show_default="all named strategies and tabular",
            autocompletion=completion.opponents,
        ),
    ] = None,
    learner: Annotated[int, typer.Option(help="Which of the run's learners.")] = 1,
    games: Annotated[int, typer.Option(help="Games against each opponent.")] = 256,
    rounds: Annotated[int | None, typer.Option(help="Rounds per game.", show_default="as in training")] = None,
    seed: Annotated[int, typer.Option(help="Of the games, not of the run.")] = 0,
    out: Annotated[Path | None, typer.Option(metavar="FILE.parquet", help="Write the per-round curves there.")] = None,
    device: DeviceOption = "auto",
) -> None:
    """Let a trained agent play whom you like, beside the exact best response where the opponent has one.

    \b
    Examples:
    coopctx evaluate results/cpu/ppi-mixed/seed-0 --out evaluation.parquet
    coopctx evaluate results/cpu/ppi-mixed/seed-0 --against tit-for-tat --against tabular
    coopctx evaluate results/cpu/ppi-mixed/seed-0 --against results/cpu/ppi-mixed/seed-1
    coopctx evaluate results/cpu/ppi-mixed/seed-0 --against axelrod:"Tit For 2 Tats"
    """
    from coopctx.evaluation.play import evaluate, tables

    with console.status("loading") as status:
        evaluation = evaluate(
            run,
            against or (),
            learner=learner,
            games=games,
            rounds=rounds,
            seed=seed,
            device=device,
            out=out,
            report=lambda opponent, share: status.update(Text(f"against {opponent}: {share:.0%}")),
        )
    console.print(tables(evaluation))
    if out is not None:
        _say(f"{out}: written")


@app.command()
def play(
    run: Annotated[
        str,
        typer.Argument(
            metavar="[RUN]",
            help="A packaged agent, such as ppi-mixed or a2c-tabular, or the directory of a finished run.",
            autocompletion=completion.agents,
        ),
    ] = "ppi-mixed",
    rounds: Annotated[int, typer.Option(help="Rounds of the game, up to 100.")] = 20,
    learner: Annotated[int, typer.Option(help="Which of the run's learners.")] = 1,
    show_thoughts: Annotated[
        bool, typer.Option("--show-thoughts", help="Show what it expects of you before your move, not after it.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Of the agent's random numbers.", show_default="another every time")] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE.html", help="Write the game as a page that needs no server.")
    ] = None,
) -> None:
    """Play against a trained agent yourself: in the terminal, or in a browser.

    \b
    Examples:
    coopctx play
    coopctx play a2c-mixed --rounds 50 --show-thoughts
    coopctx play results/cpu/ppi-mixed/seed-3 --html play.html
    echo ccdccd | coopctx play --rounds 6
    """
    with console.status("loading"):
        from coopctx.agents.trained import TrainedAgent
        from coopctx.evaluation.person.game import PersonsGame, check_rounds
        from coopctx.evaluation.play import check_number

    check_rounds(rounds)
    check_number(0, "--seed", seed)
    agent = TrainedAgent.load(run)
    agent.learner_weights(learner)
    if html is not None:
        from coopctx.evaluation.person.page import write_page

        write_page(agent, html, learner, rounds)
        _say(f"{html}: written; open it in a browser")
        return
    from coopctx.evaluation.person import terminal

    terminal.play(PersonsGame(agent, rounds, learner, seed), console, show_thoughts)


@app.command()
def tournament(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Directories of finished runs.", autocompletion=completion.runs),
    ],
    opponents: Annotated[
        list[str] | None,
        typer.Option(
            "--opponents",
            metavar="axelrod:NAME",
            help="A strategy of the Axelrod library. Repeatable.",
            show_default="those of Axelrod's first tournament",
        ),
    ] = None,
    turns: Annotated[int | None, typer.Option(help="Rounds per match.", show_default="as in training")] = None,
    repetitions: Annotated[int, typer.Option(help="How often everyone meets everyone.")] = 10,
    seed: Annotated[int, typer.Option(help="Of the tournament, not of the runs.")] = 0,
) -> None:
    """Enter trained agents in a tournament of the Axelrod library, which keeps the score.

    \b
    Examples:
    coopctx tournament results/cpu/ppi-mixed/seed-0
    coopctx tournament results/cpu/ppi-mixed/seed-0 --opponents axelrod:"Tit For Tat" --opponents axelrod:Defector
    """
    from coopctx.evaluation.tournament import tournament

    standings = tournament(
        runs,
        opponents or (),
        turns=turns,
        repetitions=repetitions,
        seed=seed,
        progress_bar=console.is_terminal,
    )
    table = Table("rank", Column("player", overflow="fold"))
    for heading in ("reward\nper round", "cooperation\nrate", "opponents\nbeaten"):
        table.add_column(heading, justify="right")
    for rank, standing in enumerate(standings, start=1):
        measured = f"{standing.score:.3f}", f"{standing.cooperation:.3f}", f"{standing.wins:g}"
        table.add_row(str(rank), Text(standing.name), *measured)
    console.print(table)


@app.command()
def bench(
    preset: PresetOption = "cpu",
    overrides: OverridesOption = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads.", show_default="one per core")] = None,
    repeats: Annotated[int, typer.Option(help="Measurements; their median counts.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Measure the speed of planner, training, a phase of PPI and an iteration of A2C on this CPU, beside the PyTorch reference.

    \b
    Examples:
    coopctx bench
    coopctx bench --threads 1 --set model.hidden=64 --json
    """
    from coopctx.bench.race import measure, tables

    settings = preset, overrides or [], threads, repeats
    if as_json:
        print(measure(*settings).to_json())
        return
    with console.status("measuring") as status:
        report = measure(*settings, on_part=lambda part: status.update(f"measuring: {part}"))
    console.print(tables(report))


def parse_seeds(seed: str | None, seeds: str | None) -> list[int]:
    """The seeds of ``--seed 3`` or ``--seeds 0,2,5-7``, each once; UsageError naming the allowed form."""
    if seed is not None and seeds is not None:
        raise UsageError("give --seed or --seeds, not both")
    if seeds is None:
        if not re.fullmatch("[0-9]{1,9}", seed or "0"):
            raise UsageError(f"--seed must be a whole number >= 0, not {seed!r}")
        return [int(seed or "0")]
    chosen: dict[int, None] = {}
    for part in seeds.split(","):
        match = re.fullmatch("([0-9]{1,9})(?:-([0-9]{1,9}))?", part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if last < first:
            raise UsageError(f"--seeds must be like 0-9 or 0,2,5-7 (whole numbers >= 0, ranges upwards), not {seeds!r}")
        if last - first + 1 + len(chosen) > MOST_SEEDS:
            raise UsageError(f"--seeds allows {MOST_SEEDS} seeds at most, {seeds!r} has more")
        chosen.update(dict.fromkeys(range(first, last + 1)))
    return list(chosen)


def _report(outcomes: Sequence[Outcome]) -> None:
    """A table of the finished runs and where they are; RunError naming those that failed."""
    from coopctx.analysis.summaries import LAST_MEASUREMENTS, summary

    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    finished = [outcome for outcome in outcomes if outcome.state != "failed"]
    if finished:
        measured = {outcome.seed: summary(outcome.directory) for outcome in finished}
        console.print(_table(f"mean of the last {LAST_MEASUREMENTS} measurements", measured))
    for outcome in finished:
        _say(f"{outcome.directory}: {ENDINGS[outcome.state]}")
    if len(outcomes) == 1 and failed:
        raise RunError(failed[0].message)
    for outcome in failed:
        _complain(f"seed {outcome.seed}: {outcome.message}", 1)
    if failed:
        names = ", ".join(str(outcome.seed) for outcome in failed)
        raise RunError(f"{len(failed)} of {len(outcomes)} seeds failed: {names}")


def _seed_0(sources: Sources) -> str:
    """What ``coopctx train --agent ppi --pool mixed`` prints of the finished run, as a block of a page."""
    from coopctx.analysis.summaries import LAST_MEASUREMENTS, summary

    directory = sources.results / sources.preset / "ppi-mixed" / "seed-0"
    printed = io.StringIO()
    Console(file=printed, width=80).print(_table(f"mean of the last {LAST_MEASUREMENTS} measurements", {0: summary(directory)}))
    lines = [line.rstrip() for line in printed.getvalue().splitlines()]
    where = Path("results", *directory.parts[-3:])  # as in a clone
    return "\n".join(["```", *lines, f"{where}: {ENDINGS['unchanged']}", "```", ""])


PRINTED: dict[str, Block] = {"seed-0": _seed_0}  # blocks of pages that are what a command prints


def _look(requests: Sequence[Request], jobs: int | None, engine: Engine, also: Path | None = None) -> None:
    """List the runs, and what they will take; RunError where one cannot be gone on with."""
    from coopctx.launch import plan as dry_run
    from coopctx.launch.jobs import workers_for

    planned = dry_run.look(requests, also)
    console.print(dry_run.table(planned, workers_for(jobs, engine)))
    _fail_each([run.message for run in planned if run.message], f"{len(requests)} runs")


def _fail_each(failures: Sequence[str], all_of: str) -> None:
    """Tell each failure in a line, and RunError with their number, of ``all_of``, where there is one."""
    for failure in failures:
        _complain(failure, RunError.exit_status)
    if failures:
        raise RunError(f"{len(failures)} of {all_of} failed")


def _table(title: str, rows: dict[int, dict[str, float]]) -> Table:
    measured = {name for row in rows.values() for name in row}
    columns = {
        f"{measure}\nvs {opponent}": name
        for measure in ("cooperation", "reward")
        for opponent in OPPONENTS
        if (name := f"{measure}_{opponent}") in measured
    }
    table = Table("seed", title=title, title_justify="left")
    for heading in (*columns, "wall\ntime"):
        table.add_column(heading, justify="right")
    for seed, row in rows.items():
        cells = (f"{row[name]:.3f}" for name in columns.values())
        table.add_row(str(seed), *cells, duration(row["wall_seconds"]))
    return table


def _say(line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _complain(message: Any, status: int) -> int:
    print(f"coopctx: {' '.join(str(message).split())}", file=sys.stderr)
    return status
