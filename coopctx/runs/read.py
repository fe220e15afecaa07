"""Finished runs, read: their tables over all seeds, their weights. Each manifest is read once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from coopctx.errors import RunError
from coopctx.experiments.settings import comparable, differing_keys
from coopctx.runs.files import sha256
from coopctx.runs.manifest import read_manifest
from coopctx.runs.schema import MANIFEST, SCHEMAS, TABLE_FILES, WEIGHTS

if TYPE_CHECKING:  # torch and pandas take seconds to import
    import pandas as pd
    from torch import Tensor


class Results:
    """The runs of one preset in a results folder, as they were when each was first looked at.

    A run is named by its folder, such as ``ppi-mixed-opponent-id``. Every method raises RunError naming a damaged manifest.
    """

    def __init__(self, folder: Path, preset: str) -> None:
        self.folder, self.preset = folder, preset
        self._manifests: dict[str, dict[int, dict[str, Any]]] = {}
        self._tables: dict[tuple[str, str], pa.Table] = {}

    def seeds(self, name: str) -> list[int]:
        """The finished seeds of a run, in order."""
        return list(self.manifests(name))

    def manifests(self, name: str) -> dict[int, dict[str, Any]]:
        """The manifests of the finished seeds of a run, in order of seeds."""
        if name not in self._manifests:
            self._manifests[name] = self._read_manifests(name)
        return self._manifests[name]

    def table(self, name: str, table: str) -> pd.DataFrame:
        """A table's rows over all finished seeds of a run, in the order of seeds; no rows where none is finished.

        Raises RunError naming a missing or damaged file, or seeds that were run with different settings.
        """
        if (name, table) not in self._tables:
            self._check_same_settings(name)
            parts = [
                _table_of(self._directory(name, seed), table, manifest) for seed, manifest in self.manifests(name).items()
            ]
            self._tables[name, table] = pa.concat_tables([SCHEMAS[table].empty_table(), *parts])
        return self._tables[name, table].to_pandas()

    def _directory(self, name: str, seed: int) -> Path:
        return self.folder / self.preset / name / f"seed-{seed}"

    def _read_manifests(self, name: str) -> dict[int, dict[str, Any]]:
        found = {}
        for path in (self.folder / self.preset / name).glob(f"seed-*/{MANIFEST}"):
            manifest = read_manifest(path.parent)
            if path.parent.name != f"seed-{manifest['seed']}":
                raise RunError(f"{path} belongs to seed {manifest['seed']}, not to {path.parent.name}")
            if manifest["state"] == "finished":
                found[manifest["seed"]] = manifest
        return dict(sorted(found.items()))

    def _check_same_settings(self, name: str) -> None:
        directories = [self._directory(name, seed) for seed in self.seeds(name)]
        manifests = self.manifests(name).values()
        configurations = [comparable(manifest["configuration"], manifest["agent"]) for manifest in manifests]
        for directory, configuration in zip(directories, configurations, strict=True):
            differences = differing_keys(configurations[0], configuration)
            if differences:
                what = f"{directories[0]} (there) and {directory} (here) were run with different settings"
                raise RunError(f"{what} and cannot be averaged: {'; '.join(differences)}")


def finished_seeds(results: Path, preset: str, name: str) -> list[int]:
    """`Results.seeds`, for one look."""
    return Results(results, preset).seeds(name)


def read_table(results: Path, preset: str, name: str, table: str) -> pd.DataFrame:
    """`Results.table`, for one look."""
    return Results(results, preset).table(name, table)


def read_run_table(directory: Path, table: str) -> pa.Table:
    """A finished run's table; RunError naming a file that is missing, or is not byte for byte what the run wrote."""
    return _table_of(directory, table, read_manifest(directory))


def read_weights(directory: Path) -> dict[str, Tensor]:
    """A finished run's final weights; RunError naming the file when it is missing or damaged."""
    from safetensors.torch import load

    return load(_checked_contents(directory, WEIGHTS, read_manifest(directory)))


def _table_of(directory: Path, table: str, manifest: dict[str, Any]) -> pa.Table:
    path = directory / TABLE_FILES[table]
    read = pq.read_table(pa.BufferReader(_checked_contents(directory, path.name, manifest)))
    if not read.schema.equals(SCHEMAS[table]):
        raise RunError(f"{path} does not have the columns of a {table} table")
    return read


def _checked_contents(directory: Path, name: str, manifest: dict[str, Any]) -> bytes:
    """The contents of a finished run's file, which must be byte for byte what the run wrote."""
    path = directory / name
    try:
        contents = path.read_bytes()
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from error
    if sha256(contents) != manifest.get("sha256", {}).get(name):
        raise RunError(f"{path} is damaged (its checksum is not the one in {MANIFEST})")
    return contents
