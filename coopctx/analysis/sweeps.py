"""The parquet of all sweeps of a preset: the training tables of their runs, with every setting as a column.

Figures need only this file, not the directories of the runs. A run is identified by its keys and settings; adding a
run again replaces its old rows.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from coopctx.analysis.summaries import late_training
from coopctx.errors import RunError
from coopctx.experiments.configuration import comparable, flat, to_dict
from coopctx.experiments.pools import LEARNER, run_name
from coopctx.experiments.presets import load_preset
from coopctx.experiments.settings import LEARNERS, SECTIONS
from coopctx.runs.files import check_writable, write_parquet
from coopctx.runs.lock import alone
from coopctx.runs.manifest import read_manifest
from coopctx.runs.read import read_run_table
from coopctx.runs.schema import KEYS, SCHEMAS

FOLDER = "sweep"  # the folder in the results with the runs of sweeps and their parquet
TRAINING = SCHEMAS["training"].names
SETTINGS = [f"{section}.{field.name}" for section, kind in SECTIONS.items() for field in dataclasses.fields(kind)]


def path_of(results: Path, preset: str) -> Path:
    """The parquet of a preset's sweeps."""
    return results / FOLDER / f"{preset}.parquet"


def settings_of(configuration: Mapping[str, Mapping[str, Any]], agent: str) -> dict[str, Any]:
    """The settings of a configuration (`to_dict`) that a run of this agent reads, by dotted name; lists as JSON."""
    settings = flat(comparable(configuration, agent))
    return {name: json.dumps(value) if isinstance(value, list) else value for name, value in settings.items()}


@cache
def own_settings(agent: str, pool: str, preset: str) -> Mapping[str, Any]:
    """The preset's own settings for such a run, in the form of `settings_of`."""
    return settings_of(to_dict(load_preset(preset, (), pool)), agent)


def changes(agent: str, pool: str, preset: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The ``settings`` of a run (`settings_of`) that differ from the preset's own."""
    own = own_settings(agent, pool, preset)
    return {name: value for name, value in settings.items() if own.get(name) != value}


def spelt(value: Any) -> str:
    """A setting's value in the form that follows KEY=, such as 4, 0.25, 100 or expected."""
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value).replace(" ", "")


def label(changed: Mapping[str, Any]) -> str:
    """Changed settings as a name, such as ``ppi.horizon=5,ppi.rollouts=4``; empty for the preset itself."""
    return ",".join(f"{name}={spelt(value)}" for name, value in sorted(changed.items()))


def add(results: Path, preset: str, directories: Iterable[Path]) -> Path:
    """Add the finished runs in ``directories`` to the preset's parquet; returns its path.

    The file's bytes depend only on the runs in it, not on the order in which they were added. Raises RunError naming a file
    that is damaged, missing or cannot be written; the parquet then stays as it was.
    """
    path = path_of(results, preset)
    check_writable(path.parent)
    with alone(path.parent):
        rows = _frame(pa.concat_tables([_stored(path), *map(_run, directories)], promote_options="default"))
        columns = _columns(rows)
        where = [name for name in columns if name not in ("cooperation_rate", "reward", "episodes")]
        rows = rows.drop_duplicates(where, keep="last").sort_values(where, ignore_index=True)[columns]
        table = pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata(None).combine_chunks()
        write_parquet(path, table)
    return path


def read(results: Path, preset: str) -> pd.DataFrame:
    """The preset's parquet: a training table with the settings as further columns; no rows if there is no file.

    Raises RunError if it cannot be read or lacks a column.
    """
    return _frame(_stored(path_of(results, preset)))


def finals(rows: pd.DataFrame, preset: str) -> pd.DataFrame:
    """A row for each run in ``rows`` (`read`): name, agent, pool, seed, opponent, cooperation and changed.

    cooperation: the learners' mean late in training (`late_training`), with each other or, if there is one learner, with its
    ``opponent``. changed: the settings that differ from the preset's own (`changes`).
    """
    identity = [*KEYS, *_settings(rows)]
    by_run: Iterable[tuple[Any, pd.DataFrame]] = rows.groupby(identity, sort=False, dropna=False)
    found = []
    for values, run in by_run:
        keys = dict(zip(identity, values, strict=True))
        settings = {name: value for name, value in keys.items() if "." in name and not pd.isna(value)}
        agent, pool = keys["agent"], keys["experiment"]
        opponents = run["opponent"].unique().tolist()
        opponent = LEARNER if LEARNER in opponents else opponents[0]
        final = late_training(agent, "cooperation_rate", opponent, run[TRAINING])
        found.append(
            {
                "name": run_name(agent, pool, keys["opponent_id"]),
                "agent": agent,
                "pool": pool,
                "seed": int(keys["seed"]),
                "opponent": opponent,
                "cooperation": float(final.iloc[0]),
                "changed": changes(agent, pool, preset, settings),
            }
        )
    return pd.DataFrame(found)


def _stored(path: Path) -> pa.Table:
    if not path.exists():
        return SCHEMAS["training"].empty_table()
    try:
        stored = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise RunError(f"{path} is damaged; delete it, and coopctx sweep makes it again from the finished runs") from error
    lacking = [name for name in TRAINING if name not in stored.column_names]
    if lacking:
        raise RunError(f"{path} is not the parquet of sweeps: it has no column {lacking[0]}")
    return stored


def _run(directory: Path) -> pa.Table:
    """A finished run's training table with its settings."""
    manifest = read_manifest(directory)
    table = read_run_table(directory, "training")
    for name, value in settings_of(manifest["configuration"], manifest["agent"]).items():
        table = table.append_column(name, pa.array([value] * len(table)))
    return table


def _settings(rows: pd.DataFrame) -> list[str]:
    return [name for name in rows.columns.tolist() if "." in name]


def _columns(rows: pd.DataFrame) -> list[str]:
    """The columns in order: the run's keys, its settings as in the configuration, the measurements."""
    settings = _settings(rows)
    known = [name for name in SETTINGS if name in settings]
    return [*KEYS, *known, *sorted(set(settings) - set(known)), *(name for name in TRAINING if name not in KEYS)]


def _frame(table: pa.Table) -> pd.DataFrame:
    """The table with a column for every setting. Runs that are older than a setting get its default."""
    rows = table.to_pandas(types_mapper=pd.ArrowDtype)
    for agent in LEARNERS:
        theirs = rows["agent"] == agent
        for name, value in settings_of({}, agent).items() if theirs.any() else ():
            if name not in rows:
                rows[name] = pd.Series([None] * len(rows), dtype=pd.ArrowDtype(pa.scalar(value).type))
            rows.loc[theirs & rows[name].isna(), name] = value
    return rows
