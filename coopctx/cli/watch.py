"""The command ``arena``, and ``plot`` for games and cross-play that are not among the files of a preset."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import typer
from rich.text import Text

from coopctx.cli import completion, show
from coopctx.cli.options import Device, GamesSeed, Rounds, Runs, a_path, figures_folder
from coopctx.errors import UsageError
from coopctx.runs.export import check_export, export


def arena(
    runs: Runs,
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A further opponent: a named strategy, tabular, axelrod:NAME, another RUN, or naive (learners that update "
            "between episodes, arXiv:2410.18636). Repeatable.",
            show_default="all named strategies and tabular; with several episodes also naive",
            autocompletion=completion.arena,
        ),
    ] = None,
    episodes: Annotated[int, typer.Option(metavar="M", help="Episodes in a row with the same partner.")] = 1,
    games: Annotated[int, typer.Option(metavar="N", help="Games of each pair, in parallel.")] = 32,
    rounds: Rounds = None,
    seed: GamesSeed = 0,
    out: Annotated[Path | None, a_path("FILE", "Write a row per pair, side and episode to this file; .parquet or .csv.")] = None,
    device: Device = "auto",
) -> None:
    """Cross-play: trained agents with each other, with strategies and with naive learners, over one or many episodes.

    All learners of the runs meet each other and copies of themselves. An agent remembers earlier episodes only if its kind keeps
    its history, as COALA does. Intervals are over the seeds of the runs.

    \b
    Examples:
    coopctx arena results/cpu/ppi-mixed/seed-[0-4] results/cpu/a2c-mixed/seed-[0-4] --out arena.parquet
    coopctx arena ppi-mixed a2c-mixed --episodes 20 --rounds 10 --against naive
    coopctx arena ppi-mixed --against tit-for-tat --against axelrod:"Tit For 2 Tats"
    """
    from coopctx.agents.trained import TrainedAgent
    from coopctx.analysis.played.crossplay import SCHEMA
    from coopctx.evaluation import arena as cross_play

    if out is not None:
        check_export(out, SCHEMA)
    options: dict[str, Any] = {"episodes": episodes, "games": games, "rounds": rounds, "seed": seed, "device": device}
    with show.console.status("loading") as status:
        played = cross_play.arena(
            runs, against or (), **options, report=lambda pair, share: status.update(Text(f"{share:.0%}: {pair}"))
        )
    show.warn_of(TrainedAgent.load(runs[0]).keys["preset"])
    show.console.print(show.crossplay_tables(played.to_pandas()))
    if out is not None:
        export(out, played)
        show.say(f"{out}: written")
    drawn = out is not None and out.suffix == ".parquet"
    show.following(show.quoted(["coopctx", "plot", "arena", out] if drawn else ["coopctx", "evaluate", runs[0]]))


def plot_source(
    figure: str,
    source: Sequence[str],
    out: Path | None,
    preset: str,
    formats: Sequence[str],
    against: Sequence[str],
    games: int | None,
    episodes: Path | None,
) -> None:
    """Draw whole games of runs, or of a file, or the cross-play of a file, as ``<figure>-<name>``.

    preset: for the default of ``out``, unless the games name theirs. UsageError for options that do not go together.
    """
    from coopctx import figures
    from coopctx.analysis.played import games as games_table

    if figure not in ("episodes", "arena"):
        raise UsageError(f"plot {figure} takes no RUN, FILE, --against, --games or --episodes; they are for: episodes, arena")
    if not source:
        raise UsageError("--against, --games and --episodes need a RUN that plays: coopctx plot episodes RUN")
    files = [name for name in source if Path(name).suffix == ".parquet"]
    if figure == "arena" and (len(files) != 1 or len(source) != 1):
        raise UsageError("plot arena takes one FILE.parquet, which coopctx arena --out wrote")
    if files and (len(source) > 1 or against or games is not None or episodes):
        raise UsageError("a FILE.parquet is drawn alone, without --against, --games and --episodes")
    if figure == "arena":
        drawn = partial(figures.arena.build_from, Path(files[0]))  # the file does not tell a preset
    else:
        shown = games_table.read(Path(files[0])) if files else _watched(source, against, games, episodes).to_pandas()
        drawn = partial(figures.episodes.figure, games_table.scenes(shown), ", ".join(source))
        preset = shown["preset"].iloc[0] if len(shown) else preset
    name = "-".join([figure, *([Path(files[0]).stem] if files else _short(source))])
    for written in figures.save(drawn, name, figures_folder(out, preset), formats):
        show.say(written)
    show.following(f"coopctx plot {figure}" if files else show.quoted(["coopctx", "evaluate", source[0]]))


def _watched(runs: Sequence[str], against: Sequence[str], games: int | None, episodes: Path | None) -> pa.Table:
    """The games of all runs, written to ``episodes`` if it is given."""
    from coopctx.evaluation.games import check_path
    from coopctx.evaluation.watch import watch

    if episodes is not None:
        check_path(episodes)
    with show.console.status("loading") as status:
        options: dict[str, Any] = {} if games is None else {"games": games}
        report = lambda opponent, share: status.update(Text(f"{opponent}: {share:.0%}"))  # noqa: E731
        played = pa.concat_tables([watch(run, against, **options, report=report) for run in runs])
    show.warn_of(played["preset"][0].as_py())
    if episodes is not None:
        export(episodes, played)
        show.say(f"{episodes}: written")
    return played


def _short(runs: Sequence[str]) -> list[str]:
    """Runs as parts of a file name: ``ppi-mixed-seed-0``."""
    return ["-".join(Path(run).parts[-2:]) for run in runs]
