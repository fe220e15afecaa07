"""What a command would run (``--dry-run``): the state of each run, and an estimate of the time that is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

from coopctx.errors import RunError
from coopctx.experiments.configuration import to_dict
from coopctx.experiments.presets import load_preset
from coopctx.launch.display import duration
from coopctx.launch.jobs import Request
from coopctx.runs.manifest import is_finished, read_manifest
from coopctx.runs.run import standing
from coopctx.runs.schema import MANIFEST


@dataclass(frozen=True)
class Planned:
    """A run, its state, and the time that is left.

    state: "damaged" if it cannot be resumed; message says why. iteration: the last one completed (PPI: phase). seconds: left,
    estimated from finished runs of the same name and preset; None if there is none.
    """

    request: Request
    state: Literal["finished", "to resume", "to do", "damaged"]
    iteration: int = 0
    seconds: float | None = None
    message: str = ""


def look(requests: Sequence[Request], also: Path | None = None) -> list[Planned]:
    """The state of each run; nothing is changed. Raises UsageError for impossible settings.

    also: another results folder, whose finished runs give the estimate for runs that have none of their name in their own.
    """
    measured: dict[Path, tuple[float | None, int]] = {}
    for request in requests:
        folder = request.directory.parent
        if folder not in measured:
            measured[folder] = _measured([folder] if also is None else [folder, request.spec.directory(also).parent])
    return [_look(request, *measured[request.directory.parent]) for request in requests]


def _look(request: Request, seconds: float | None, iterations: int) -> Planned:
    spec = request.spec
    settings = to_dict(load_preset(spec.preset, request.overrides, spec.pool))
    try:
        state, iteration = standing(request.directory, spec.keys, settings)
    except RunError as error:
        return Planned(request, "damaged", message=str(error))
    left = 0.0 if state == "finished" else seconds and seconds * max(0.0, 1 - iteration / iterations)
    return Planned(request, state, iteration, left)


def _measured(folders: Sequence[Path]) -> tuple[float | None, int]:
    """Median wall seconds of the finished seeds in the first folder that has any, and their iterations; or None and 1."""
    for folder in folders:
        seeds = [path.parent for path in folder.glob(f"seed-*/{MANIFEST}") if is_finished(path.parent)]
        manifests = [read_manifest(seed) for seed in seeds]
        if manifests:
            return median(manifest["wall_seconds"] for manifest in manifests), max(1, manifests[0]["iteration"])
    return None, 1


def estimate(planned: Sequence[Planned], workers: int) -> str:
    """A text: how many runs there are in each state and how long the rest takes, ``workers`` at a time."""
    states = [run.state for run in planned]
    counted = (f"{states.count(state)} {state}" for state in ("finished", "to resume", "to do", "damaged") if state in states)
    lines = [f"{len(planned)} runs: {', '.join(counted)}."]
    left = [run for run in planned if run.state in ("to resume", "to do")]
    seconds = [run.seconds for run in left if run.seconds is not None]
    if seconds:
        at_a_time = min(workers, len(seconds))
        lines.append(
            f"About {duration(sum(seconds))} of work by what finished runs of the same name took; "
            f"{at_a_time} at a time, about {duration(max(sum(seconds) / at_a_time, *seconds))}."
        )
    unknown = dict.fromkeys(run.request.spec.name for run in left if run.seconds is None)
    if unknown:
        lines.append(f"Time unknown, as no finished run tells: {', '.join(unknown)}.")
    return "\n".join(lines)
