"""`coopctx train` for a Python script: the same names and defaults, without output."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from coopctx.errors import UsageError
from coopctx.experiments.configuration import flat
from coopctx.experiments.pools import RunSpec
from coopctx.experiments.presets import preset_called
from coopctx.experiments.seeds import seeds_of
from coopctx.launch.job import Outcome, RunOptions
from coopctx.launch.jobs import train as train_all
from coopctx.launch.local import Processes


def train(
    *,
    agent: str,
    pool: str,
    opponent_id: bool = False,
    preset: str = "cpu",
    seeds: int | str | Iterable[int] = 0,
    overrides: Mapping[str, Any] | Iterable[str] = (),
    results: Path | str = "results",
    device: str = "auto",
    jobs: int | None = None,
    fresh: bool = False,
) -> list[Outcome]:
    """Begin or resume a run per seed, as ``coopctx train`` does; `Outcome.table` reads what was measured.

    preset: its name, or a TOML file as of ``--config``; the pool that such a file lists is called ``custom``. seeds: one,
    several, or a text such as ``"0-9"``. overrides: ``{"ppi.rollouts": 8}`` or ``["ppi.rollouts=8"]``. jobs: how many at a
    time, None for one per core. Several seeds are trained in separate processes, which do not run the calling script again.
    Raises as `train_runs`.
    """
    preset = preset_called(preset)
    options = RunOptions(Processes(), preset, _written(overrides), Path(results), device, jobs, fresh)
    return train_all([RunSpec(agent, pool, opponent_id, seed, preset) for seed in _listed(seeds)], options)


def _listed(seeds: int | str | Iterable[int]) -> list[int]:
    """Each seed once. UsageError unless there is at least one and all are whole numbers."""
    if isinstance(seeds, str):
        return seeds_of(seeds)
    listed = list(dict.fromkeys([seeds] if isinstance(seeds, int) or not isinstance(seeds, Iterable) else seeds))
    if not listed or not all(type(seed) is int and seed >= 0 for seed in listed):
        raise UsageError(f"seeds must be whole numbers >= 0, or a text such as '0-9', not {seeds!r}")
    return listed


def _written(overrides: Mapping[str, Any] | Iterable[str]) -> tuple[str, ...]:
    """Overrides in the form of ``--set``, values as in TOML. Sections may be nested: ``{"ppi": {"rollouts": 8}}``."""
    if isinstance(overrides, Mapping):
        return tuple(f"{key}={_toml(key, value)}" for key, value in flat(overrides).items())
    listed = [overrides] if isinstance(overrides, str) else list(overrides)
    if not all(isinstance(override, str) for override in listed):
        raise UsageError(f"overrides must be texts such as 'ppi.rollouts=8', or a dictionary, not {overrides!r}")
    return tuple(listed)


def _toml(key: str, value: Any) -> str:
    try:
        return json.dumps(value.tolist() if hasattr(value, "tolist") else value, allow_nan=False)  # NumPy's numbers and arrays
    except (TypeError, ValueError):
        raise UsageError(f"{key} must be a number, a text, true or false, or a list of these, not {value!r}") from None
