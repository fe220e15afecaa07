"""What the command line does, for a Python script: the same words, the same defaults, and silent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from coopctx.experiments.pools import RunSpec
from coopctx.launch import jobs
from coopctx.launch.job import Outcome
from coopctx.launch.local import Processes
from coopctx.launch.options import RunOptions


def train(
    *,
    agent: str,
    pool: str,
    opponent_id: bool = False,
    preset: str = "cpu",
    seeds: Sequence[int] = (0,),
    overrides: Sequence[str] = (),
    results: Path | str = "results",
    device: str = "auto",
    at_a_time: int | None = None,
    fresh: bool = False,
) -> list[Outcome]:
    """Begin or resume a run per seed, as ``coopctx train`` does; `Outcome.table` has what was measured.

    overrides: as after ``--set``. at_a_time: how many seeds, None for one per core. Several seeds are trained in processes of
    their own, which do not run the calling script again. Raises as `jobs.train_runs`.
    """
    options = RunOptions(Processes(), preset, tuple(overrides), Path(results), device, at_a_time, fresh)
    return jobs.train([RunSpec(agent, pool, opponent_id, seed, preset) for seed in seeds], options)
