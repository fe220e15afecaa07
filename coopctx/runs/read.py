"""Reading finished runs: their tables over all seeds, and their weights. Each manifest is read once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from coopctx.errors import RunError
from coopctx.experiments.configuration import comparable, differing_keys, digest
from coopctx.experiments.pools import run_names
from coopctx.runs.files import sha256
from coopctx.runs.manifest import read_manifest
from coopctx.runs.schema import MANIFEST, SCHEMAS, TABLE_FILES, WEIGHTS

if TYPE_CHECKING:  # torch and pandas take seconds to import
    import pandas as pd
    from torch import Tensor


class Results:
    """The runs of one preset in a results folder, as they were when each was first read.

    A run is named by its folder, such as ``ppi-mixed-opponent-id``. RunError, naming the file, for a damaged manifest or table,
    a folder that holds another seed than its name says, and seeds that were run with different settings.

    asked: the seeds that were asked for; None for all that there are. only: read no other seeds. tolerant: instead of raising
    an error, leave the seed out and add a line to ``left_out``; where settings differ, the most frequent ones are kept.
    """

    def __init__(
        self, folder: Path, preset: str, asked: Sequence[int] | None = None, *, only: bool = False, tolerant: bool = False
    ) -> None:
        self.folder, self.preset = folder, preset
        self.asked = None if asked is None else tuple(asked)
        self.left_out: list[str] = []
        self._only, self._tolerant = only, tolerant
        self._manifests: dict[str, dict[int, dict[str, Any]]] = {}
        self._tables: dict[tuple[str, str], pa.Table] = {}

    def names(self) -> list[str]:
        """The runs that have a finished seed, by name."""
        there = self.folder / self.preset
        return sorted({path.parents[1].name for path in there.glob(f"*/seed-*/{MANIFEST}") if self.seeds(path.parents[1].name)})

    def unknown(self) -> list[Path]:
        """The folders of the preset whose names are no names of runs."""
        there = (path for path in sorted((self.folder / self.preset).glob("*/")) if not path.name.startswith("."))
        return [path for path in there if path.name not in run_names()]

    def seeds(self, name: str) -> list[int]:
        """The finished seeds of a run, in order."""
        return list(self.manifests(name))

    def missing(self, name: str) -> list[int]:
        """The seeds of a run that were asked for and are not finished."""
        return [seed for seed in self.asked or () if seed not in self.manifests(name)]

    def manifests(self, name: str) -> dict[int, dict[str, Any]]:
        """The manifests of the finished seeds of a run, in order of seeds."""
        if name not in self._manifests:
            self._manifests[name] = self._read_manifests(name)
        return self._manifests[name]

    def table(self, name: str, table: str) -> pd.DataFrame:
        """A table's rows over all finished seeds of a run, in the order of seeds; no rows where none is finished."""
        if (name, table) not in self._tables:
            parts = [SCHEMAS[table].empty_table()]
            for seed in self._seeds_of_same_settings(name):
                with self.leaving_out_errors():
                    parts.append(_table_of(self._directory(name, seed), table, self.manifests(name)[seed]))
            self._tables[name, table] = pa.concat_tables(parts)
        return self._tables[name, table].to_pandas()

    def _directory(self, name: str, seed: int) -> Path:
        return self.folder / self.preset / name / f"seed-{seed}"

    def _read_manifests(self, name: str) -> dict[int, dict[str, Any]]:
        found = {}
        for path in sorted((self.folder / self.preset / name).glob(f"seed-*/{MANIFEST}")):
            with self.leaving_out_errors():
                manifest = read_manifest(path.parent)
                seed = manifest["seed"]
                if path.parent.name != f"seed-{seed}":
                    raise RunError(f"{path} belongs to seed {seed}, not to {path.parent.name}")
                if manifest["state"] == "finished" and (not self._only or seed in (self.asked or ())):
                    found[seed] = manifest
        return dict(sorted(found.items()))

    def _seeds_of_same_settings(self, name: str) -> list[int]:
        """The finished seeds of a run that have the same settings: all, or the most frequent ones if errors are tolerated."""
        manifests = self.manifests(name)
        settings = {seed: comparable(run["configuration"], run["agent"]) for seed, run in manifests.items()}
        hashes = {seed: digest(values) for seed, values in settings.items()}
        common = Counter(hashes.values()).most_common(1)[0][0] if hashes else ""  # the first of those as frequent as any
        alike = [seed for seed, value in hashes.items() if value == common]
        for seed in (seed for seed in hashes if seed not in alike):
            there, here = self._directory(name, alike[0]), self._directory(name, seed)
            differences = "; ".join(differing_keys(settings[alike[0]], settings[seed]))
            with self.leaving_out_errors():
                what = f"{there} (there) and {here} (here) were run with different settings"
                raise RunError(f"{what} and cannot be averaged: {differences}")
        return alike

    @contextmanager
    def leaving_out_errors(self) -> Iterator[None]:
        """Turn a RunError into a line of ``left_out`` if errors are tolerated."""
        try:
            yield
        except RunError as error:
            if not self._tolerant:
                raise
            if str(error) not in self.left_out:
                self.left_out.append(str(error))


def read_run_table(directory: Path, table: str) -> pa.Table:
    """A finished run's table; RunError naming the file if it is missing, or differs from what the run wrote."""
    return _table_of(directory, table, read_manifest(directory))


def read_weights(directory: Path) -> dict[str, Tensor]:
    """A finished run's final weights by name; RunError naming the file if it is missing or damaged."""
    from safetensors.torch import load

    return load(_checked_contents(directory, WEIGHTS, read_manifest(directory)))


def _table_of(directory: Path, table: str, manifest: dict[str, Any]) -> pa.Table:
    path = directory / TABLE_FILES[table]
    read = pq.read_table(pa.BufferReader(_checked_contents(directory, path.name, manifest)))
    if not read.schema.equals(SCHEMAS[table]):
        raise RunError(f"{path} does not have the columns of a {table} table")
    return read


def _checked_contents(directory: Path, name: str, manifest: dict[str, Any]) -> bytes:
    """The contents of a finished run's file; RunError if it is missing, or its checksum is not the manifest's."""
    path = directory / name
    try:
        contents = path.read_bytes()
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from error
    if sha256(contents) != manifest.get("sha256", {}).get(name):
        raise RunError(f"{path} is damaged (its checksum is not the one in {MANIFEST})")
    return contents
