"""The options of the commands: their help, completion and checks; the training commands share theirs as one object."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from coopctx.cli import completion, show
from coopctx.errors import UsageError
from coopctx.experiments.agents import AGENTS
from coopctx.experiments.config_file import ConfigFile
from coopctx.experiments.pools import COALA_POOLS, CUSTOM, POOLS, agents_of
from coopctx.experiments.presets import experiment_in, preset_called, preset_names
from coopctx.experiments.seeds import seeds_of
from coopctx.game.matrix import NAMED_GAMES
from coopctx.launch import local
from coopctx.launch.job import RunOptions

WIDEST = 20  # characters: choices that need more stand in the help text, where they are not cut
PAPER_FIGURES = "fig1", "fig2", "fig3", "fig4"
OTHER_FIGURES = "coala", "sensitivity", "episodes", "arena"
FORMATS = "png", "pdf", "svg"


def choice(help: str, *names: str) -> dict[str, Any]:
    """An option whose value is one of ``names``: its help and completion. The function that uses the value checks it."""
    joined = "|".join(names)
    shown = {"help": help, "metavar": joined} if len(joined) <= WIDEST else {"help": f"{help} One of: {', '.join(names)}."}
    return {"metavar": "NAME", **shown, "autocompletion": completion.one_of(*names)}


def path(text: str | Path) -> Path:
    """A path as it was typed; UsageError for an empty one, which would mean the current folder."""
    if not str(text).strip() or "\0" in str(text):
        raise UsageError(f"a path must be given, not {str(text)!r}; . is the current folder")
    return Path(text)


def a_path(metavar: str, help: str, **more: Any) -> Any:
    """An option whose value is a path."""
    return typer.Option(parser=path, metavar=metavar, help=help, **more)


def figures_folder(out: Path | None, preset: str) -> Path:
    """``out``; if it is None, ``figures``, or for another preset than cpu a folder such as ``figures-smoke``."""
    return out or Path("figures" if preset == "cpu" else f"figures-{preset}")


def agent_and_pool(agent: str | None, pool: str | None, preset: str, usual: tuple[str, str] | None = None) -> tuple[str, str]:
    """The kind of agent and the pool: from the options, the preset's file, or ``usual``; UsageError if one is missing."""
    own_agent, own_pool = experiment_in(preset) if isinstance(preset, ConfigFile) else (None, None)
    if agent and own_agent and agent != own_agent:
        raise UsageError(f"--agent {agent}: {preset} says agent = {own_agent!r}")
    chosen = [agent or own_agent or (usual and usual[0]), pool or own_pool or (usual and usual[1])]
    for name, value in zip(("--agent", "--pool"), chosen, strict=True):
        if not value:
            raise UsageError(f"Missing option '{name}' (or a file with it, --config)")
    return str(chosen[0]), str(chosen[1])


def parse_seeds(seed: str | None, seeds: str | None) -> list[int]:
    """The seeds of ``--seed 3`` or ``--seeds 0,2,5-7``, each once; UsageError naming the allowed form."""
    if seed is not None and seeds is not None:
        raise UsageError("give --seed or --seeds, not both")
    if seeds is None:
        if not re.fullmatch("[0-9]{1,9}", seed or "0"):
            raise UsageError(f"--seed must be a whole number >= 0, not {seed!r}")
        return [int(seed or "0")]
    return seeds_of(seeds)


def _known_preset(name: str | None) -> str | None:
    return None if name is None else preset_called(name)


StepsAgent = Annotated[str, typer.Option(**choice("Who learns.", *agents_of("mutual-extortion")))]
RunsAgent = Annotated[str | None, typer.Option(show_default=False, **choice("Who learns; a --config may say it.", *AGENTS))]
_MEANT = {"learners": "no tabular opponents", "tabular": "Step 1", "extortion": "Step 2", "mutual-extortion": "Step 3"}
_PAPERS = (f"{pool} ({_MEANT[pool]})" if pool in _MEANT else pool for pool in POOLS)
Pool = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help=f"The opponents. ppi and a2c: {', '.join(_PAPERS)}, {CUSTOM} (of a --config). coala: {', '.join(COALA_POOLS)}.",
        show_default=False,
        autocompletion=completion.one_of(*dict.fromkeys((*POOLS, *COALA_POOLS, CUSTOM))),
    ),
]
OpponentId = Annotated[bool, typer.Option("--opponent-id", help="Ablation: tell the learners who their opponent is.")]
_PRESET = {"callback": _known_preset, "autocompletion": completion.one_of(*preset_names())}
_PRESETS = "|".join(preset_names())
Preset = Annotated[
    str,
    typer.Option(
        metavar=f"{_PRESETS}|FILE.toml", help="Size of the runs, or the FILE.toml that they were trained with.", **_PRESET
    ),
]
RunsPreset = Annotated[str | None, typer.Option(metavar=_PRESETS, help="Size of the runs.", show_default="cpu", **_PRESET)]
Config = Annotated[
    Path | None, a_path("FILE.toml", "A file of settings, and optionally a pool, in place of a preset.", show_default=False)
]
Seed = Annotated[str | None, typer.Option(metavar="N", help="One seed; 0 without --seed and --seeds.", show_default=False)]
Seeds = Annotated[str | None, typer.Option(metavar="SEEDS", help="Several: 0-9 or 0,2,5-7.", show_default=False)]
OnlySeeds = Annotated[str | None, typer.Option(metavar="SEEDS", help="Such as 0-9 or 0,2,5-7.", show_default="all finished")]
SeveralSeeds = Annotated[str, typer.Option(metavar="SEEDS", help="Such as 0-9 or 0,2,5-7.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a setting, such as ppi.rollouts=8; repeatable.",
        autocompletion=completion.settings,
    ),
]
Game = Annotated[str | None, typer.Option(show_default="the preset's", **choice("What is played.", *NAMED_GAMES))]
ResultsOption = Annotated[Path, a_path("FOLDER", "Where the runs are kept.")]
_USUAL = "figures, or figures-PRESET for another preset than cpu"
Out = Annotated[Path | None, a_path("FOLDER", "Where the figures (and the report) go.", show_default=_USUAL)]
Runs = Annotated[
    list[Path],
    typer.Argument(
        parser=path,
        metavar="RUN...",
        help="Directories of finished runs, or packaged agents.",
        autocompletion=completion.agents,
    ),
]
Rounds = Annotated[int | None, typer.Option(metavar="N", help="Rounds per game or episode.", show_default="as in training")]
LearnerNumber = Annotated[int, typer.Option(metavar="N", help="The number of the learner in its run.")]
GamesSeed = Annotated[int, typer.Option(metavar="N", help="Seed of the games, not of the runs.")]
Device = Annotated[str, typer.Option(**choice("auto: CUDA if available.", "auto", "cpu", "cuda"))]
Jobs = Annotated[int | None, typer.Option(metavar="N", help="Runs at a time.", show_default="one per core")]
EngineOption = Annotated[
    str,
    typer.Option(
        **choice(
            "Runs as processes on this machine, or as tasks of a Ray cluster: that of RAY_ADDRESS, or a new one on this machine. "
            "Its workers must see the results under the same path.",
            "local",
            "ray",
        ),
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only list the runs and estimate the time.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Delete the run that exists, and start it again.")]


def run_options(
    preset: RunsPreset = None,
    config: Config = None,
    game: Game = None,
    overrides: Overrides = None,
    results: ResultsOption = Path("results"),
    device: Device = "auto",
    jobs: Jobs = None,
    engine: EngineOption = "local",
) -> RunOptions:
    """The options of a training command as one object."""
    if preset is not None and config is not None:
        raise UsageError('give --preset or --config, not both; a file names the preset that it changes: preset = "smoke"')
    chosen = preset_called(str(ConfigFile(config).path)) if config is not None else preset or "cpu"
    settings = ([f"game.payoffs={game}"] if game else []) + (overrides or [])
    return RunOptions(local.engine(engine), chosen, tuple(settings), results, device, jobs, console=show.console)


def with_run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of `run_options` to a command, which receives them as ``options``, a function without arguments.

    The command calls it after it has checked its own arguments, so that an error in these is reported without delay.
    """
    shared = _parameters(run_options)
    names = [parameter.name for parameter in shared]

    @wraps(command)
    def wrapped(**values: Any) -> None:
        chosen = {name: values.pop(name) for name in names}
        command(**values, options=lambda: run_options(**chosen))

    own = [parameter for parameter in _parameters(command) if parameter.name != "options"]
    parameters = sorted([*own, *shared], key=lambda parameter: parameter.default is not inspect.Parameter.empty)
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapped


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Its parameters, keyword-only, their annotations evaluated."""
    hints = get_type_hints(function, include_extras=True)
    return [
        parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(function).parameters.items()
    ]
