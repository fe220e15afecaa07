"""Sweeps: the same run at several values of one or more settings, in one parquet and one figure.

Each combination of values has its own results folder, ``<results>/sweep/<settings>/``, so every command works on it with
``--results``. The combination that equals the preset is the preset's own run, in ``<results>/``.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from coopctx.analysis import sweeps as sweep_table
from coopctx.analysis.intervals import estimate
from coopctx.analysis.sweeps import changes, label, settings_of, spelt
from coopctx.errors import UsageError
from coopctx.experiments.configuration import to_dict
from coopctx.experiments.pools import RunSpec, check_read, with_needs
from coopctx.experiments.presets import load_preset
from coopctx.figures import draw
from coopctx.figures.runs import NothingToDraw
from coopctx.launch.job import RunOptions
from coopctx.launch.jobs import Request, failures, train_runs
from coopctx.runs.read import Results

OWN = "as in the preset"


def plan(vary: Sequence[str], specs: Sequence[RunSpec], options: RunOptions) -> list[Request]:
    """The runs of a grid: each of ``specs`` at each combination of the values of ``vary``, such as ``["ppi.rollouts=4,8"]``.

    specs: all seeds of one run. The runs that they need come before them, with the same settings. Raises UsageError for a
    setting that is unknown, given twice, or not read by such a run, and for an impossible value.
    """
    agent, pool, preset, results = specs[0].agent, specs[0].pool, options.preset, options.results
    knobs = [_parse(text) for text in vary]
    check_read((knob for knob, _ in knobs), specs)
    names = [knob for knob, _ in knobs] + [override.partition("=")[0].strip() for override in options.overrides]
    twice = [name for name in names if names.count(name) > 1 and name in dict(knobs)]
    if twice:
        raise UsageError(f"{twice[0]} is given twice; all its values belong to one --vary")
    choices = ([f"{knob}={value}" for value in values] for knob, values in knobs)
    found: dict[Request, None] = {}
    for chosen in itertools.product(*choices):
        settings = settings_of(to_dict(load_preset(preset, (*options.overrides, *chosen), pool)), agent)
        changed = changes(agent, pool, preset, settings)
        where = results / sweep_table.FOLDER / label(changed) if changed else results
        words = tuple(f"{name}={spelt(value)}" for name, value in sorted(changed.items()))
        requests = [Request(spec, words, where, label(changed)) for spec in with_needs(specs)]
        found.update(dict.fromkeys(requests))
    return list(found)


def sweep(requests: Sequence[Request], out: Path, options: RunOptions) -> tuple[list[Path], list[str]]:
    """Carry out the runs of `plan`, skipping the finished ones; write all finished ones to the parquet and draw the figure.

    Returns the files written, parquet and figures, and a line for each run that failed. If a run fails, the others go on, except
    those that need it. Raises as `jobs.train_runs`, `sweeps.add` and `figures.draw`.
    """
    outcomes, results = train_runs(requests, options), options.results
    failed = failures(requests, outcomes)
    last = requests[-1].spec
    finished = [
        request.directory
        for request, outcome in zip(requests, outcomes, strict=True)
        if outcome.state != "failed" and request.spec.pool == last.pool
    ]
    if not finished:
        return [], failed
    path = sweep_table.add(results, last.preset, finished)
    try:
        figures = draw("sensitivity", Results(results, last.preset), out, ["png", "pdf"]).paths
    except NothingToDraw:  # no more than one value so far
        figures = []
    return [path, *figures], failed


def finals(requests: Sequence[Request], results: Path) -> tuple[str, pd.DataFrame]:
    """The name of the measure, and its means over the finished runs of ``requests``.

    A row per variation: settings, seeds (their number), mean of the runs' cooperation, and low and high of its 95 % interval
    (`intervals.estimate`; nan for one seed).
    """
    last = requests[-1].spec
    runs = sweep_table.finals(sweep_table.read(results, last.preset), last.preset)
    runs = runs[(runs["name"] == last.name) & runs["seed"].isin([request.spec.seed for request in requests])]
    labels = runs["changed"].map(label)
    rows = []
    for wanted in dict.fromkeys(request.label for request in requests):
        values = runs["cooperation"][labels == wanted]
        if len(values):
            ours = estimate(values.to_numpy()).within(0, 1)
            rows.append({"settings": wanted or OWN, "seeds": ours.seeds, "mean": ours.value, "low": ours.low, "high": ours.high})
    title = f"{last.name}, preset {last.preset}: cooperation vs {runs['opponent'].iloc[0]} late in training"
    return title, pd.DataFrame(rows)


def _parse(text: str) -> tuple[str, list[str]]:
    """The setting and the values of ``ppi.rollouts=4,8``."""
    knob, equals, rest = (part.strip() for part in text.partition("="))
    values = _split(rest)
    if not equals or not all(values):
        raise UsageError(f"--vary {text!r} must have the form KEY=VALUE,VALUE,…, such as ppi.rollouts=4,8")
    return knob, values


def _split(text: str) -> list[str]:
    """The parts between commas that are not within brackets."""
    values, depth = [""], 0
    for character in text:
        depth += {"[": 1, "]": -1}.get(character, 0)
        if character == "," and depth == 0:
            values.append("")
        else:
            values[-1] += character
    return [value.strip() for value in values]
