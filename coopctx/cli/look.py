"""The commands that use finished runs (``plot``, ``report``, ``evaluate``, ``play``), and ``bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import typer
from rich.text import Text

from coopctx.cli import completion, show
from coopctx.cli.options import (
    FORMATS,
    OTHER_FIGURES,
    PAPER_FIGURES,
    Device,
    GamesSeed,
    LearnerNumber,
    OnlySeeds,
    Out,
    Overrides,
    Preset,
    ResultsOption,
    Rounds,
    Runs,
    a_path,
    choice,
    figures_folder,
    parse_seeds,
)
from coopctx.errors import UsageError
from coopctx.experiments.checks import check_number
from coopctx.experiments.pools import options_for
from coopctx.game.memory_one import NAMED_STRATEGIES
from coopctx.runs.export import check_export, export


def plot(
    figure: Annotated[str, typer.Argument(**choice("Which figure.", *PAPER_FIGURES, *OTHER_FIGURES, "all"))],
    source: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN|FILE]...",
            help="episodes: RUNs that play games, or a FILE of games; arena: a FILE of cross-play. Default: the preset's files.",
            show_default=False,
            autocompletion=completion.agents,
        ),
    ] = None,
    results: ResultsOption = Path("results"),
    out: Out = None,
    preset: Preset = "cpu",
    seeds: OnlySeeds = None,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", show_default="png and pdf", **choice("File format; repeatable.", *FORMATS)),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Episodes: an opponent of the runs, before and after training, as in evaluate. Repeatable.",
            show_default="its own kind, tabular, an extorter's Fixed-ICL",
            autocompletion=completion.opponents,
        ),
    ] = None,
    games: Annotated[int | None, typer.Option(metavar="N", help="Episodes: games per opponent.", show_default="32")] = None,
    episodes: Annotated[Path | None, a_path("FILE.parquet", "Episodes: write the games to this file.")] = None,
) -> None:
    """Draw the figures of the paper, of the sweeps, of whole games and of cross-play from finished runs.

    \b
    Examples:
    coopctx plot fig1
    coopctx plot sensitivity
    coopctx plot all --preset smoke --out /tmp/figures --format png
    coopctx plot episodes ppi-mixed --against tit-for-tat
    coopctx plot arena pairs.parquet
    """
    if source or against or games is not None or episodes:
        if seeds is not None or results != Path("results"):
            raise UsageError("--results and --seeds choose among a preset's runs; they do not go with RUN or FILE")
        from coopctx.cli.watch import plot_source

        plot_source(figure, source or [], out, preset, formats or ["png", "pdf"], against or [], games, episodes)
        return
    asked = parse_seeds(None, seeds) if seeds else None
    from coopctx.figures import draw
    from coopctx.runs.read import Results

    found = Results(results, preset, asked, only=asked is not None, tolerant=True)
    drawing = draw(figure, found, figures_folder(out, preset), formats or ["png", "pdf"])
    show.warn_of(preset)
    show.name_unknown(found)
    for line in (*drawing.missing, *drawing.paths):
        show.say(line)
    show.fail_each(found.left_out, "runs or files could not be read")
    show.following(show.quoted(["coopctx", "report", *options_for(results, preset)]))


def report(
    results: ResultsOption = Path("results"),
    preset: Preset = "cpu",
    seeds: OnlySeeds = None,
    out: Out = None,
    full: Annotated[bool, typer.Option("--full", help="Print every measure of every claim.")] = False,
    fill: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Fill the generated blocks of this Markdown file; repeatable.", show_default="none"),
    ] = None,
) -> None:
    """Compare the paper's claims with ours: print a summary, and write all measures as HTML and Markdown.

    \b
    Examples:
    coopctx report
    coopctx report --full
    coopctx report --seeds 0-4 --out /tmp/report
    coopctx report --fill README.md --fill docs/results.md
    """
    asked = parse_seeds(None, seeds) if seeds else None
    from coopctx.cli.printed import PRINTED
    from coopctx.report import terminal
    from coopctx.report.blocks import BLOCKS, Sources
    from coopctx.report.fill import fill as fill_blocks
    from coopctx.report.pages import lacking, write_report
    from coopctx.runs.read import Results

    found = Results(results, preset, asked, only=asked is not None, tolerant=True)
    sources = Sources(found)
    checked = sources.checked
    show.warn_of(preset)
    show.name_unknown(found)
    show.console.print((terminal.full if full else terminal.brief)(checked, preset))
    for path in write_report(found, figures_folder(out, preset), checked):
        show.say(f"{path}: written")
    for line in lacking(found):
        show.say(line)
    show.fail_each(found.left_out, "runs or files could not be read")
    for path in fill or ():
        fill_blocks(path, sources, {**BLOCKS, **PRINTED})
        show.say(f"{path}: written")
    next_one = ["reproduce", "--dry-run"] if full else ["report", "--full"]
    show.following(show.quoted(["coopctx", *next_one, *options_for(results, preset)]))


def evaluate(
    runs: Runs,
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help=f"A strategy ({', '.join(NAMED_STRATEGIES)}); tabular (random memory-one players); another RUN or packaged "
            "agent; or axelrod:NAME, a strategy of the Axelrod library. Repeatable.",
            show_default="all named strategies and tabular",
            autocompletion=completion.opponents,
        ),
    ] = None,
    learner: LearnerNumber = 1,
    games: Annotated[int, typer.Option(metavar="N", help="Games against each opponent.")] = 256,
    rounds: Rounds = None,
    seed: GamesSeed = 0,
    out: Annotated[Path | None, a_path("FILE", "Write the curves over rounds to this file; .parquet or .csv.")] = None,
    episodes: Annotated[
        Path | None,
        a_path(
            "FILE.parquet", "Write every round of the games to this file: both sides' actions, and the trained agents' beliefs."
        ),
    ] = None,
    device: Device = "auto",
) -> None:
    """Play trained agents against opponents, and compare them with the exact best response if it is known.

    \b
    Examples:
    coopctx evaluate results/cpu/ppi-mixed/seed-0 --out evaluation.parquet
    coopctx evaluate results/cpu/ppi-mixed/seed-0 --against tit-for-tat --against tabular
    coopctx evaluate results/cpu/ppi-mixed/seed-0 --against results/cpu/ppi-mixed/seed-1
    coopctx evaluate results/cpu/ppi-mixed/seed-0 --against axelrod:"Tit For 2 Tats"
    coopctx evaluate results/cpu/ppi-tabular/seed-* --against random --out evaluation.parquet
    coopctx evaluate ppi-mixed --against ppi-mixed --games 32 --episodes games.parquet
    """
    from coopctx.cli.evaluations import evaluation_tables
    from coopctx.evaluation.games import check_path, games_table
    from coopctx.evaluation.meetings import SCHEMA, Evaluation, curves
    from coopctx.evaluation.play import evaluate

    if out is not None:
        check_export(out, SCHEMA)
    if episodes is not None:
        if out == episodes:
            raise UsageError(f"--out and --episodes must be two files, not both {str(out)!r}")
        check_path(episodes)
    found: list[Evaluation] = []
    with show.console.status("loading") as status:

        def show_progress(opponent: str, share: float) -> None:
            status.update(Text(f"{runs[len(found)]} against {opponent}: {share:.0%}"))

        for run in runs:
            options: dict[str, Any] = {"learner": learner, "games": games, "rounds": rounds, "seed": seed, "device": device}
            found.append(evaluate(run, against or (), **options, watch=episodes is not None, report=show_progress))
    show.warn_of(found[0].keys["preset"] or "")
    for run, evaluation in zip(runs, found, strict=True):
        if len(runs) > 1:
            show.say(f"\n{run}")
        show.console.print(evaluation_tables(evaluation))
    for path, written in ((out, curves), (episodes, games_table)):
        if path is not None:
            export(path, pa.concat_tables(map(written, found)))
            show.say(f"{path}: written")
    show.following(show.quoted(["coopctx", "plot", "episodes", episodes] if episodes else ["coopctx", "play", runs[0]]))


def play(
    run: Annotated[
        str,
        typer.Argument(
            metavar="[RUN]",
            help="A packaged agent, such as ppi-mixed or a2c-tabular, or the directory of a finished run.",
            autocompletion=completion.agents,
        ),
    ] = "ppi-mixed",
    rounds: Annotated[int, typer.Option(metavar="N", help="Rounds of the game, up to 100.")] = 20,
    learner: LearnerNumber = 1,
    show_thoughts: Annotated[
        bool, typer.Option("--show-thoughts", help="Show the agent's beliefs before your move, not after it.")
    ] = False,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Seed of the agent's random numbers.", show_default="a new one each time")
    ] = None,
    html: Annotated[Path | None, a_path("FILE.html", "Write the game as a web page that needs no server.")] = None,
) -> None:
    """Play against a trained agent, in the terminal or in a browser.

    \b
    Examples:
    coopctx play
    coopctx play a2c-mixed --rounds 50 --show-thoughts
    coopctx play results/cpu/ppi-mixed/seed-3 --html play.html
    echo ccdccd | coopctx play --rounds 6
    """
    with show.console.status("loading"):
        from coopctx.agents.trained import TrainedAgent
        from coopctx.evaluation.person.game import PersonsGame, check_rounds

    check_rounds(rounds)
    check_number("--seed", seed, 0)
    agent = TrainedAgent.load(run)
    agent.learner_weights(learner)
    if html is not None:
        if seed is not None or show_thoughts:
            raise UsageError("--seed and --show-thoughts are for a game in the terminal; they do not go with --html")
        from coopctx.evaluation.person.page import write_page

        write_page(agent, html, learner, rounds)
        show.say(f"{html}: written; open it in a browser")
        return
    from coopctx.evaluation.person import terminal

    terminal.play(PersonsGame(agent, rounds, learner, seed), show.console, show_thoughts)


def bench(
    preset: Preset = "cpu",
    overrides: Overrides = None,
    threads: Annotated[int | None, typer.Option(metavar="N", help="CPU threads.", show_default="one per core")] = None,
    repeats: Annotated[int, typer.Option(metavar="N", help="Number of measurements; their median is reported.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables as Markdown and nothing else.")] = False,
) -> None:
    """Measure the speed of the planner, of training, of a phase of PPI, of an iteration of A2C, against PyTorch and JAX.

    Takes minutes. docs/performance.md shows the measurements that are kept in results/bench/.

    \b
    Examples:
    coopctx bench
    coopctx bench --threads 1 --set model.hidden=64 --json
    coopctx bench --markdown
    """
    from coopctx.bench.markdown import markdown
    from coopctx.bench.measure import measure
    from coopctx.bench.tables import tables

    if as_json and as_markdown:
        raise UsageError("--json and --markdown: one of them")
    settings = preset, overrides or [], threads, repeats
    if as_json or as_markdown:
        report = measure(*settings)
        print(report.to_json() if as_json else markdown(report).rstrip("\n"))
        return
    with show.console.status("measuring") as status:
        report = measure(*settings, on_part=lambda part: status.update(f"measuring: {part}"))
    show.console.print(tables(report))
    show.following("coopctx train --agent ppi --pool mixed")
