"""What a command would run (``--dry-run``): the state of each run, and an estimate of the time that is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from coopctx.errors import CoopctxError, RunError
from coopctx.experiments.configuration import to_dict
from coopctx.experiments.presets import load_preset
from coopctx.launch.calibration import Calibration
from coopctx.launch.display import duration
from coopctx.launch.job import RunOptions
from coopctx.launch.jobs import Request, shared, workers_for
from coopctx.machine import resolve_device
from coopctx.runs.run import standing


@dataclass(frozen=True)
class Planned:
    """A run, its state, and the time that is left.

    state: "damaged" if it cannot be resumed; message says why. iteration: the last one completed (PPI: phase). seconds: left, as
    `Calibration` estimates it; None if it cannot, and unknown says why.
    """

    request: Request
    state: Literal["finished", "to resume", "to do", "damaged"]
    iteration: int = 0
    seconds: float | None = None
    message: str = ""
    unknown: str = ""


def look(requests: Sequence[Request], options: RunOptions) -> list[Planned]:
    """The state of each run, and the time it takes if the command is carried out on this machine. Nothing is changed.

    Raises UsageError for impossible settings, RunError if there is no such device.
    """
    found = [_standing(request) for request in requests]
    place = resolve_device(options.device, options.engine.cuda)
    unfinished = sum(run.state in UNFINISHED for run in found)
    _, threads = shared(workers_for(options.jobs, options.engine), unfinished, options.engine.cores())
    calibration = Calibration(threads, place)
    return [_timed(run, calibration) if run.state in UNFINISHED else run for run in found]


UNFINISHED = "to resume", "to do"


def _standing(request: Request) -> Planned:
    spec = request.spec
    settings = to_dict(load_preset(spec.preset, request.overrides, spec.pool))
    try:
        state, iteration = standing(request.directory, spec.keys, settings)
    except RunError as error:
        return Planned(request, "damaged", message=str(error))
    return Planned(request, state, iteration, seconds=0.0)


def _timed(run: Planned, calibration: Calibration) -> Planned:
    spec = run.request.spec
    config = load_preset(spec.preset, run.request.overrides, spec.pool)
    done = run.iteration if run.state == "to resume" else -1
    try:
        return replace(run, seconds=calibration.seconds(spec, config, done))
    except CoopctxError as error:
        return replace(run, seconds=None, unknown=str(error))


def estimate(planned: Sequence[Planned], workers: int) -> str:
    """A text: how many runs there are in each state and how long the rest takes, ``workers`` at a time."""
    states = [run.state for run in planned]
    counted = (f"{states.count(state)} {state}" for state in ("finished", "to resume", "to do", "damaged") if state in states)
    lines = [f"{len(planned)} runs: {', '.join(counted)}."]
    left = [run for run in planned if run.state in UNFINISHED]
    seconds = [run.seconds for run in left if run.seconds is not None]
    if seconds:
        at_a_time = min(workers, len(seconds))
        lines.append(
            f"About {duration(sum(seconds))} of work, by short runs on this machine just now; "
            f"{at_a_time} at a time, about {duration(max(sum(seconds) / at_a_time, *seconds))}."
        )
    unknown = {run.unknown: run.request.spec.name for run in left if run.seconds is None}
    lines += [f"Time of {name} unknown: {why}." for why, name in unknown.items()]
    return "\n".join(lines)
