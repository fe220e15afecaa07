"""A run's directory: manifest, parquet tables, weights, and the checkpoint from which a killed run resumes.

Every file is replaced atomically, so a crash or a full disk leaves the last good version. An unfinished run resumes from
its checkpoint, which contains the learners' state and all rows recorded so far, and from the parts of their data that the
checkpoint names, each written once to a file of its own; its parquet files are for readers.
Wall-clock times are in the manifest and the timings table only, so the other tables of two equal runs are equal byte for
byte.
"""

from __future__ import annotations

import contextlib
import fnmatch
import json
import platform
import shlex
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from coopctx._version import __version__, commit
from coopctx.errors import CoopctxError, RunError
from coopctx.experiments.configuration import digest
from coopctx.runs.checkpoint import check_part, read_checkpoint, write_checkpoint, write_part
from coopctx.runs.files import check_writable, delete, sha256, write_atomically, write_parquet
from coopctx.runs.lock import locked
from coopctx.runs.manifest import is_manifest, read_manifest, refuse_other_run
from coopctx.runs.schema import (
    CASTS,
    CHECKPOINT,
    CHECKPOINTS,
    CHECKSUM,
    FILES,
    KEYS,
    MANIFEST,
    PREVIOUS,
    SCHEMA_VERSION,
    SCHEMAS,
    TABLE_FILES,
    TEMPORARY,
    WEIGHTS,
    WHEN,
    is_own,
    is_part,
    part_file,
)

if TYPE_CHECKING:  # torch takes seconds to import, and refusing a bad directory does not need it
    from torch import Tensor


class Run:
    """A run's directory under an exclusive lock; a context manager, made by `Run.open`.

    Attributes
    ----------
    finished: the run is complete; nothing is left to do.
    state: the learners' state at the last checkpoint; None if the run starts from the beginning.
    iteration: the last iteration (PPI: phase) in the checkpoint; 0 if there is none.
    warning: one line if the last checkpoint or its data is damaged and the one before it is used; otherwise empty.
    """

    def __init__(self, directory: Path, keys: Mapping[str, Any], config: Mapping[str, Any], manifest: dict[str, Any]) -> None:
        self.directory = directory
        self.keys = dict(keys)
        self.config = config
        self.manifest = manifest
        self.state: dict[str, Any] | None = None
        self.warning = ""
        self._newest_is_sound = True
        self.rows: dict[str, list[tuple[Any, ...]]] = {table: [] for table in SCHEMAS}
        self._parts: dict[str, str] = {}  # file names, in the order in which they were written, and checksums
        self._earlier_seconds = 0.0
        self._opened = time.monotonic()
        self._resources = contextlib.ExitStack()

    @classmethod
    def open(
        cls,
        directory: Path,
        keys: Mapping[str, Any],
        config: Mapping[str, Any],
        device: str,
        fresh: bool = False,
        *,
        threads: int | None = None,
        command: Sequence[str] = (),
    ) -> Run:
        """Open, resume or begin the run in `directory`, creating it where needed.

        keys: agent, experiment, opponent_id, seed and preset; config: in the form of `configuration.to_dict`; device, threads and
        command are written to the manifest. With `fresh`, the files of an earlier run (no others) are deleted.
        Raises RunError if the directory cannot be written, is in use by another process, holds anything else than a run,
        holds a run of another configuration that has a checkpoint or is finished, or its manifest or checkpoint is damaged.
        """
        with contextlib.ExitStack() as resources:
            _prepare(directory, fresh)
            resources.enter_context(locked(directory))
            known = not fresh and (directory / MANIFEST).exists()
            manifest = read_manifest(directory) if known else {}
            if manifest and _nothing_kept(directory, manifest):
                manifest = {}  # it ended before its first checkpoint: there is nothing to resume from
            if manifest:
                refuse_other_run(directory, manifest, keys, config)
            run = cls(directory, keys, manifest.get("configuration", config), manifest)
            if run.finished:
                _check_tables_present(directory)
                delete(directory, (*TEMPORARY, *CHECKPOINTS, *_parts_in(directory)))  # left by one killed at the very end
            else:
                # The new manifest replaces the old one between two deletions, so that at every moment the directory
                # is recognised as ours and never holds a checkpoint of the old run and the manifest of the new one.
                delete(directory, (*TEMPORARY, *CHECKPOINTS) if fresh else TEMPORARY)
                run._resume()
                delete(directory, _parts_in(directory) - run._parts.keys())  # written after the checkpoint
                run._begin(device, threads, command)
                delete(directory, (WEIGHTS, *TABLE_FILES.values()) if fresh else ())
            run._resources = resources.pop_all()
            return run

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Release the lock. Write an error to the manifest, with its traceback if unexpected; not an interruption."""
        with self._resources:
            if isinstance(error, Exception) and not self.finished:
                expected = isinstance(error, CoopctxError)
                with contextlib.suppress(RunError):  # the first error is the one to show, even when the disk is full
                    self.fail(str(error) if expected else "".join(traceback.format_exception(error)))

    @property
    def finished(self) -> bool:
        return self.manifest.get("state") == "finished"

    @property
    def iteration(self) -> int:
        return max((row[_ITERATION] for rows in self.rows.values() for row in rows), default=0)

    def record(self, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows: mappings of the columns of `SCHEMAS[table]` except the keys. The next checkpoint saves them."""
        schema = SCHEMAS[table]
        for row in rows:
            full = {**{name: self.keys[name] for name in KEYS}, **row}
            if set(full) != set(schema.names):
                raise ValueError(f"{table} rows have the columns {schema.names}, not {sorted(full)}")
            self.rows[table].append(tuple(CASTS[field.type](full[field.name]) for field in schema))

    def append(self, learner: int, iteration: int, tensors: Mapping[str, Tensor]) -> None:
        """Write one learner's new data of this iteration to a file of its own. All later checkpoints name the file."""
        name = part_file(learner, iteration)
        self._parts[name] = write_part(self.directory / name, tensors)

    def appended(self, learner: int) -> Iterator[dict[str, Tensor]]:
        """What was appended for this learner up to the checkpoint, in order, mapped from the files: read where it is used."""
        from safetensors.torch import load_file

        return (load_file(self.directory / name) for name in fnmatch.filter(self._parts, part_file(learner, "*")))

    def checkpoint(self, state: dict[str, Any]) -> None:
        """Save `state` (tensors, numbers, strings, lists, dictionaries) and all rows, for a killed run to resume from."""
        self.state = state
        contents = {
            "state": state,
            "rows": self.rows,
            "parts": self._parts,
            "wall_seconds": self._wall_seconds(),
            "configuration_hash": self.manifest["configuration_hash"],
        }
        keep = self.directory / PREVIOUS if self._newest_is_sound else None  # otherwise the previous one is the sound one
        write_checkpoint(self.directory / CHECKPOINT, keep, contents)
        self._newest_is_sound = True
        self._write_tables()
        self._write_manifest(state="running")

    def finish(self, weights: Mapping[str, Tensor]) -> None:
        """Write the tables, the final weights and the manifest, and remove the checkpoint."""
        from safetensors.torch import save

        self._write_tables()
        packed = save({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()})
        write_atomically(self.directory / WEIGHTS, lambda file: file.write(packed))
        sums = {name: sha256((self.directory / name).read_bytes()) for name in (*TABLE_FILES.values(), WEIGHTS)}
        self._write_manifest(state="finished", finished=_now(), sha256=sums)
        delete(self.directory, (*CHECKPOINTS, *self._parts))

    def fail(self, message: str) -> None:
        """Write to the manifest why the run stopped. The run can be resumed from its last checkpoint."""
        self._write_manifest(state="failed", error=message)

    def _resume(self) -> None:
        """Read the last checkpoint; if it or a part of its data is damaged, the one before it."""
        newest, previous = (self.directory / name for name in CHECKPOINTS)
        if not newest.exists() and not previous.exists():
            return
        if not self.manifest:
            raise RunError(f"{self.directory} has a checkpoint but no {MANIFEST}; --fresh starts over")
        try:
            self._take_over(newest if newest.exists() else previous)  # killed between two renames: only the previous one exists
        except RunError as error:
            if not (newest.exists() and previous.exists()):
                raise
            try:
                self._take_over(previous)
            except RunError:
                raise error from None
            self._newest_is_sound = False
            self.warning = f"{str(error).partition(';')[0]}: going on from the checkpoint before it"

    def _take_over(self, path: Path) -> None:
        contents = read_checkpoint(path)
        if contents["configuration_hash"] != self.manifest["configuration_hash"]:
            raise RunError(f"{path} belongs to another configuration than {MANIFEST} beside it; --fresh starts over")
        if "parts" not in contents:
            raise RunError(f"{path} is of an earlier version of coopctx, which this one cannot resume; --fresh starts over")
        for name, checksum in contents["parts"].items():
            check_part(path.parent / name, checksum)
        self._parts = contents["parts"]
        self.state = contents["state"]
        self.rows = contents["rows"]
        self._earlier_seconds = contents["wall_seconds"]

    def _begin(self, device: str, threads: int | None, command: Sequence[str]) -> None:
        import torch

        self.manifest = {
            "schema": SCHEMA_VERSION,
            "coopctx": __version__,
            "commit": ", ".join(dict.fromkeys(filter(None, [*self.manifest.get("commit", "").split(", "), commit()]))),
            "torch": str(torch.__version__),
            "python": platform.python_version(),
            "command": shlex.join(command),
            **self.keys,
            "state": "running",
            "iteration": self.iteration,
            "wall_seconds": self._earlier_seconds,
            "device": device,
            "threads": threads or torch.get_num_threads(),
            "started": self.manifest.get("started") or _now(),
            "configuration_hash": digest(self.config),
            "configuration": self.config,
        }
        self._write_manifest()

    def _wall_seconds(self) -> float:
        return self._earlier_seconds + time.monotonic() - self._opened

    def _write_tables(self) -> None:
        for table, schema in SCHEMAS.items():
            columns = list(zip(*self.rows[table], strict=True)) or [()] * len(schema)
            filled = pa.table(dict(zip(schema.names, columns, strict=True)), schema=schema)
            write_parquet(self.directory / TABLE_FILES[table], filled)

    def _write_manifest(self, **changes: Any) -> None:
        progress = {"iteration": self.iteration, "wall_seconds": round(self._wall_seconds(), 2)}
        manifest = {**self.manifest, **progress, **changes}
        text = json.dumps({**manifest, CHECKSUM: digest(manifest)}, indent=2) + "\n"
        write_atomically(self.directory / MANIFEST, lambda file: file.write(text.encode()))
        self.manifest = manifest


def standing(
    directory: Path, keys: Mapping[str, Any], config: Mapping[str, Any]
) -> tuple[Literal["finished", "to resume", "to do"], int]:
    """The state in which `Run.open` would find the run in `directory`, and its last iteration (0 if there is none).

    keys, config: as for `Run.open`. Raises RunError if the manifest is damaged or of another configuration.
    """
    if not (directory / MANIFEST).exists():
        return "to do", 0
    manifest = read_manifest(directory)
    if _nothing_kept(directory, manifest):
        return "to do", 0
    refuse_other_run(directory, manifest, keys, config)
    return "finished" if manifest["state"] == "finished" else "to resume", manifest["iteration"]


def _nothing_kept(directory: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether a run ended before its first checkpoint."""
    return manifest["state"] != "finished" and not any((directory / name).exists() for name in CHECKPOINTS)


def _prepare(directory: Path, fresh: bool) -> None:
    """Create `directory`, or check that it holds nothing but a run before any file is changed."""
    check_writable(directory)
    present = {entry.name for entry in directory.iterdir()}
    foreign = sorted(name for name in present if not is_own(name))
    if foreign and (MANIFEST not in present or not is_manifest(directory / MANIFEST)):
        raise RunError(f"{directory} holds something that is not a coopctx run ({foreign[0]}); choose another --results")
    kept = {name for name in present if name in FILES or is_part(name)}
    if kept and not fresh and MANIFEST not in present:
        raise RunError(f"{directory} has no {MANIFEST} beside {min(kept)}; --fresh starts over")


def _parts_in(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir() if is_part(path.name)}


def _check_tables_present(directory: Path) -> None:
    for name in TABLE_FILES.values():
        if not (directory / name).exists():
            raise RunError(f"{directory / name} is missing from a finished run; --fresh starts the run over")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


_ITERATION = list({**KEYS, **WHEN}).index("iteration")
