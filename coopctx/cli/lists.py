"""The commands ``settings`` and ``runs``: every setting with its meaning, every run with its state."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from textwrap import fill
from typing import Annotated

import typer

from coopctx.cli import show
from coopctx.cli.options import ResultsOption
from coopctx.errors import UsageError, suggestion
from coopctx.experiments.agents import AGENTS
from coopctx.experiments.presets import preset_names
from coopctx.experiments.seeds import seed_ranges
from coopctx.runs.listing import listed

WIDTH = 80


def settings(
    word: Annotated[str, typer.Argument(metavar="[WORD]", help="Part of the names to list.", show_default="all")] = "",
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of a --config file, for editors.")] = False,
) -> None:
    """List the settings: meaning, default, and the value in each preset.

    \b
    Examples:
    coopctx settings ppi.
    coopctx settings learning_rate
    coopctx settings --schema > coopctx.schema.json
    """
    from coopctx.experiments.schema import all_settings, json_schema, values_of

    if schema and word:
        raise UsageError("--schema prints all settings; give no WORD with it")
    if schema:
        print(json.dumps(json_schema(), indent=2))
        return
    chosen = [each for each in all_settings() if word in each.name]
    if not chosen:
        raise UsageError(f"no setting has {word!r} in its name; {suggestion(word, [each.name for each in all_settings()], 0.4)}")
    for each in chosen:
        show.say(each.name)
        show.say(fill(each.meaning, WIDTH, initial_indent="    ", subsequent_indent="    "))
        parts = [f"default {each.default}"]
        for preset in preset_names():
            found = values_of(each.name, preset).items()
            values = (f"{value} ({', '.join(pools)})" if pools else value for value, pools in found)
            parts.append(f"{preset} {', '.join(values)}")
        show.say(fill("; ".join(parts), WIDTH, initial_indent="    ", subsequent_indent="        ", break_on_hyphens=False))
    section = chosen[0].name.partition(".")[0]
    who = f"--agent {section if section in AGENTS else 'ppi'} --pool {'naive' if section == 'coala' else 'mixed'}"
    show.following(f"coopctx train {who} --set {chosen[0].name}=VALUE --results FOLDER")


def runs(results: ResultsOption = Path("results")) -> None:
    """List the runs in a results folder, sweeps included, with their states.

    \b
    Examples:
    coopctx runs
    coopctx runs --results /tmp/smoke
    """
    found = listed(results)
    rows = []
    for (folder, state), group in itertools.groupby(found, lambda run: (run.directory.parent, run.state)):
        seeds = [run.directory.name.removeprefix("seed-") for run in group]
        numbers = seed_ranges(sorted(map(int, seeds))) if all(map(str.isdecimal, seeds)) else ", ".join(seeds)
        rows.append((str(folder.relative_to(results)), numbers, state))
    show.console.print(show.table(("run", "seeds", "state"), rows, left=3))
    unfinished = [run.following for run in found if not run.finished and run.following]
    finished = [run.following for run in found if run.finished]
    show.following(*(dict.fromkeys(unfinished) or finished[:1] or ["coopctx train --agent ppi --pool mixed"]))
