"""One run = one directory: manifest, parquet tables, weights, and the checkpoint that a killed run resumes from.

Every file is replaced atomically, so a crash or a full disk leaves the last good version. While a run goes on, its
checkpoint alone is the truth: it carries the learner's state together with the rows recorded so far; the parquet beside
it is for onlookers. Wall-clock times stand in the manifest and the timings table only, so that the other tables are
equal byte for byte where their rows are.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import pickle
import platform
import shlex
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from coopctx._version import __version__
from coopctx.errors import CoopctxError, RunError
from coopctx.experiments.settings import LEARNERS, comparable, differing_keys, digest

if TYPE_CHECKING:  # torch and pandas take seconds to import, and refusing a bad directory needs neither
    import pandas as pd
    from torch import Tensor

SCHEMA_VERSION = 1  # of the manifest and the tables; a run written under another version is refused

KEYS = {"agent": pa.string(), "experiment": pa.string(), "opponent_id": pa.bool_(), "seed": pa.int64()}
MEASURES = {"player": pa.string(), "cooperation_rate": pa.float64(), "reward": pa.float64(), "episodes": pa.int64()}
WHEN = {"iteration": pa.int64(), "learner": pa.int64()}
SCHEMAS: dict[str, pa.Schema] = {
    "training": pa.schema({**KEYS, **WHEN, "opponent": pa.string(), **MEASURES}),
    "episodes": pa.schema(
        {**KEYS, **WHEN, "opponent": pa.string(), "player": pa.string(), "round": pa.int64()}
        | {name: MEASURES[name] for name in ("cooperation_rate", "reward", "episodes")}
    ),
    "diagnostics": pa.schema({**KEYS, **WHEN, "quantity": pa.string(), "value": pa.float64()}),
    "timings": pa.schema({**KEYS, "iteration": pa.int64(), "part": pa.string(), "seconds": pa.float64()}),
}
REPRODUCIBLE = ("training", "episodes", "diagnostics")  # the tables that the same seed fills with the same rows
CASTS: dict[pa.DataType, Callable[[Any], Any]] = {
    pa.string(): str,
    pa.bool_(): bool,
    pa.int64(): int,
    pa.float64(): float,
}

MANIFEST, CHECKPOINT, WEIGHTS, LOCK = "run.json", "checkpoint.pt", "weights.safetensors", ".lock"
PREVIOUS = "checkpoint.previous.pt"  # the one before the last, for when that one is damaged
CHECKPOINTS = (CHECKPOINT, PREVIOUS)
TABLE_FILES = {table: f"{table}.parquet" for table in SCHEMAS}
FILES = (MANIFEST, CHECKPOINT, PREVIOUS, WEIGHTS, *TABLE_FILES.values())
TEMPORARY = tuple(f"{name}.tmp" for name in FILES)
OWN_FILES = frozenset({*FILES, *TEMPORARY, LOCK})
STATES = ("running", "finished", "failed")
CHECKSUM = "checksum"  # of the manifest, its last entry; manifests from before there was one lack it
CHECKPOINT_HEADER = b"coopctx checkpoint 1 sha256 "


class Run:
    """A run's directory, held under an exclusive lock; a context manager made by `Run.open`.

    Attributes
    ----------
    finished: the run is complete, there is nothing to do.
    state: the learner's state at the last checkpoint; None where the run starts from the beginning.
    iteration: the last iteration (PPI: phase) that the checkpoint includes; 0 where there is none.
    warning: one line on a damaged checkpoint that was passed over for the one before it; empty where all was well.
    """

    def __init__(
        self, directory: Path, keys: Mapping[str, Any], config: Mapping[str, Any], manifest: dict[str, Any]
    ) -> None:
        self.directory = directory
        self.keys = dict(keys)
        self.config = config
        self.manifest = manifest
        self.state: dict[str, Any] | None = None
        self.warning = ""
        self._newest_is_sound = True
        self.rows: dict[str, list[tuple[Any, ...]]] = {table: [] for table in SCHEMAS}
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

        keys: agent, experiment, opponent_id, seed and preset; config: the `settings.to_dict` form; device, threads and
        command are noted in the manifest. With `fresh`, an earlier run's files (only ours) are deleted.
        Raises RunError when the directory cannot be written, is in use by another process, holds something else than a
        run, holds a run of another configuration, or its manifest or checkpoint is damaged.
        """
        with contextlib.ExitStack() as resources:
            _prepare(directory, fresh)
            resources.enter_context(_locked(directory))
            known = not fresh and (directory / MANIFEST).exists()
            manifest = read_manifest(directory) if known else {}
            if manifest:
                _refuse_other_run(directory, manifest, keys, config)
            run = cls(directory, keys, manifest.get("configuration", config), manifest)
            if run.finished:
                _check_tables_present(directory)
                _delete(directory, (*TEMPORARY, *CHECKPOINTS))  # left by a process killed at the very end
            else:
                # The new manifest replaces the old one between two deletions, so that at every moment the directory
                # is known for ours and holds no checkpoint of the old run beside the manifest of the new one.
                _delete(directory, (*TEMPORARY, *CHECKPOINTS) if fresh else TEMPORARY)
                run._resume()
                run._begin(device, threads, command)
                _delete(directory, (WEIGHTS, *TABLE_FILES.values()) if fresh else ())
            run._resources = resources.pop_all()
            return run

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Release the lock; note an error in the manifest, with its traceback if unforeseen, but not an interruption."""
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
        """Add rows, mappings of the columns of `SCHEMAS[table]` except the keys; kept from the next checkpoint on."""
        schema = SCHEMAS[table]
        for row in rows:
            full = {**{name: self.keys[name] for name in KEYS}, **row}
            if set(full) != set(schema.names):
                raise ValueError(f"{table} rows have the columns {schema.names}, not {sorted(full)}")
            self.rows[table].append(tuple(CASTS[field.type](full[field.name]) for field in schema))

    def checkpoint(self, state: dict[str, Any]) -> None:
        """Make `state` (tensors, numbers, strings, lists, dictionaries) and the rows what a killed run resumes from."""
        self.state = state
        contents = {
            "state": state,
            "rows": self.rows,
            "wall_seconds": self._wall_seconds(),
            "configuration_hash": self.manifest["configuration_hash"],
        }
        keep = self.directory / PREVIOUS if self._newest_is_sound else None  # else what is kept is the sound one
        _write_checkpoint(self.directory / CHECKPOINT, keep, contents)
        self._newest_is_sound = True
        self._write_tables()
        self._write_manifest(state="running")

    def finish(self, weights: Mapping[str, Tensor]) -> None:
        """Write the tables, the final weights and the manifest, and remove the checkpoint."""
        from safetensors.torch import save

        self._write_tables()
        packed = save({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()})
        write_atomically(self.directory / WEIGHTS, lambda file: file.write(packed))
        sums = {name: _sha256((self.directory / name).read_bytes()) for name in (*TABLE_FILES.values(), WEIGHTS)}
        self._write_manifest(state="finished", finished=_now(), sha256=sums)
        _delete(self.directory, CHECKPOINTS)

    def fail(self, message: str) -> None:
        """Note in the manifest why the run stopped. It stays resumable from its last checkpoint."""
        self._write_manifest(state="failed", error=message)

    def _resume(self) -> None:
        """Take over the last checkpoint; where it is damaged, the one before it."""
        newest, previous = (self.directory / name for name in CHECKPOINTS)
        if not newest.exists() and not previous.exists():
            return
        if not self.manifest:
            raise RunError(f"{self.directory} has a checkpoint but no {MANIFEST}; --fresh starts over")
        try:
            self._take_over(newest if newest.exists() else previous)  # killed between two renames: only the previous one
        except RunError as error:
            if not (newest.exists() and previous.exists()):
                raise
            try:
                self._take_over(previous)
            except RunError:
                raise error from None
            self._newest_is_sound = False
            self.warning = f"{newest} is damaged: going on from the checkpoint before it"

    def _take_over(self, path: Path) -> None:
        contents = _read_checkpoint(path)
        if contents["configuration_hash"] != self.manifest["configuration_hash"]:
            raise RunError(f"{path} belongs to another configuration than {MANIFEST} beside it; --fresh starts over")
        self.state = contents["state"]
        self.rows = contents["rows"]
        self._earlier_seconds = contents["wall_seconds"]

    def _begin(self, device: str, threads: int | None, command: Sequence[str]) -> None:
        import torch

        self.manifest = {
            "schema": SCHEMA_VERSION,
            "coopctx": __version__,
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
            filled = pa.table(
                [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
            )
            write_parquet(self.directory / TABLE_FILES[table], filled)

    def _write_manifest(self, **changes: Any) -> None:
        progress = {"iteration": self.iteration, "wall_seconds": round(self._wall_seconds(), 2)}
        manifest = {**self.manifest, **progress, **changes}
        text = json.dumps({**manifest, CHECKSUM: digest(manifest)}, indent=2) + "\n"
        write_atomically(self.directory / MANIFEST, lambda file: file.write(text.encode()))
        self.manifest = manifest


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of the run in `directory`; RunError when it is missing, damaged or of another schema version."""
    path = directory / MANIFEST
    try:
        manifest = json.loads(path.read_text("utf-8"))
        if manifest["schema"] != SCHEMA_VERSION:
            raise RunError(f"{path} has schema version {manifest['schema']}, not {SCHEMA_VERSION}; --fresh starts over")
        checksum = manifest.pop(CHECKSUM, None)
        if checksum is not None and checksum != digest(manifest):
            raise ValueError("not what was written")
        _check_entries(manifest)
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RunError(f"{path} is damaged; --fresh starts the run over") from error
    return manifest


def _check_entries(manifest: Mapping[str, Any]) -> None:
    """ValueError, KeyError or TypeError unless everything is there that is relied on, and of its kind."""
    if manifest["configuration_hash"] != digest(manifest["configuration"]):
        raise ValueError("configuration")
    if manifest["state"] not in STATES or manifest["agent"] not in LEARNERS:
        raise ValueError("state or agent")
    kinds = {name: CASTS[kind] for name, kind in KEYS.items()} | {"preset": str, "iteration": int}
    for name, kind in kinds.items():
        if type(manifest[name]) is not kind:
            raise TypeError(name)
    if type(manifest["wall_seconds"]) not in (int, float) or not isinstance(manifest.get("sha256", {}), dict):
        raise TypeError("wall_seconds or sha256")


def is_finished(directory: Path) -> bool:
    """Whether a finished run is in `directory`, as far as its manifest can tell."""
    try:
        return read_manifest(directory)["state"] == "finished"
    except RunError:
        return False


def standing(
    directory: Path, keys: Mapping[str, Any], config: Mapping[str, Any]
) -> tuple[Literal["finished", "to resume", "to do"], int]:
    """What opening the run in `directory` would find, and the last iteration that its checkpoint, or it, includes.

    keys, config: as of `Run.open`. Raises RunError where its manifest is damaged, or it is of another configuration.
    """
    if not (directory / MANIFEST).exists():
        return "to do", 0
    manifest = read_manifest(directory)
    _refuse_other_run(directory, manifest, keys, config)
    if manifest["state"] == "finished":
        return "finished", manifest["iteration"]
    kept = any((directory / name).exists() for name in CHECKPOINTS)
    return ("to resume", manifest["iteration"]) if kept else ("to do", 0)


def finished_seeds(results: Path, preset: str, name: str) -> list[int]:
    """The finished seeds of a run (such as ``ppi-mixed-opponent-id``), in order; RunError naming a damaged manifest."""
    seeds = []
    for path in (results / preset / name).glob(f"seed-*/{MANIFEST}"):
        manifest = read_manifest(path.parent)
        if path.parent.name != f"seed-{manifest['seed']}":
            raise RunError(f"{path} belongs to seed {manifest['seed']}, not to {path.parent.name}")
        if manifest["state"] == "finished":
            seeds.append(manifest["seed"])
    return sorted(seeds)


def read_table(results: Path, preset: str, name: str, table: str) -> pd.DataFrame:
    """A table's rows over all finished seeds of a run, in the order of seeds; no rows where none is finished.

    Raises RunError naming a missing or damaged file, or seeds that were run with different settings.
    """
    directories = [results / preset / name / f"seed-{seed}" for seed in finished_seeds(results, preset, name)]
    _check_same_settings(directories)
    parts = [read_run_table(directory, table) for directory in directories]
    return pa.concat_tables([SCHEMAS[table].empty_table(), *parts]).to_pandas()


def _check_same_settings(directories: Sequence[Path]) -> None:
    manifests = [read_manifest(directory) for directory in directories]
    configurations = [comparable(manifest["configuration"], manifest["agent"]) for manifest in manifests]
    for directory, configuration in zip(directories, configurations, strict=True):
        differences = differing_keys(configurations[0], configuration)
        if differences:
            what = f"{directories[0]} (there) and {directory} (here) were run with different settings"
            raise RunError(f"{what} and cannot be averaged: {'; '.join(differences)}")


def read_run_table(directory: Path, table: str) -> pa.Table:
    """A finished run's table; RunError naming a file that is missing, or is not byte for byte what the run wrote."""
    path = directory / TABLE_FILES[table]
    contents = _read_checked(directory, path.name)
    read = pq.read_table(pa.BufferReader(contents))
    if not read.schema.equals(SCHEMAS[table]):
        raise RunError(f"{path} does not have the columns of a {table} table")
    return read


def check_writable(directory: Path) -> None:
    """Create `directory` where it is missing; RunError where it cannot be created, read or written."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise RunError(f"cannot write {directory}: a file is in the way where a directory should be") from error
    except OSError as error:
        raise RunError(f"cannot write {directory}: {error.strerror}") from error
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise RunError(f"cannot write {directory}: permission denied")


def check_ordinary(path: Path) -> None:
    """RunError where `path` is there and is no ordinary file: a directory, or a device or pipe that a file would replace."""
    if path.is_dir():
        raise RunError(f"cannot write {path}: a directory is in the way")
    if path.exists() and not path.is_file():
        raise RunError(f"cannot write {path}: it is not an ordinary file")


def _read_checked(directory: Path, name: str) -> bytes:
    """The contents of a finished run's file, which must be byte for byte what the run wrote."""
    path = directory / name
    expected = read_manifest(directory).get("sha256", {}).get(name)
    try:
        contents = path.read_bytes()
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from error
    if _sha256(contents) != expected:
        raise RunError(f"{path} is damaged (its checksum is not the one in {MANIFEST})")
    return contents


def read_weights(directory: Path) -> dict[str, Tensor]:
    """A finished run's final weights; RunError naming the file when it is missing or damaged."""
    from safetensors.torch import load

    return load(_read_checked(directory, WEIGHTS))


def write_atomically(path: Path, write: Callable[[BinaryIO], object], keep: Path | None = None) -> None:
    """Replace `path` by what `write` writes; on any error the old file stays. RunError when the disk refuses.

    keep: where the old file is moved to, once the new one is complete.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            os.replace(path, keep)
        os.replace(temporary, path)
        _sync(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise RunError(f"cannot write {path}: {error.strerror or error}") from error
        raise


def write_parquet(path: Path, table: pa.Table) -> None:
    """Replace `path` by ``table``, as `write_atomically` does.

    Arrow writes into memory of its own, and reads from it: its threads that have met a Python file can abort the
    interpreter's end.
    """
    memory = pa.BufferOutputStream()
    pq.write_table(table, memory, compression="zstd")
    write_atomically(path, lambda file: file.write(memory.getvalue()))


def _sync(directory: Path) -> None:
    """Make the names in `directory` outlast a power cut, on file systems that can do so."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write_checkpoint(path: Path, keep: Path | None, contents: dict[str, Any]) -> None:
    """A header line with the checksum of what torch saved, then that: any truncation or flipped bit is recognised."""
    import torch

    buffer = io.BytesIO()
    torch.save(contents, buffer)
    payload = buffer.getbuffer()
    header = CHECKPOINT_HEADER + _sha256(payload).encode() + b"\n"
    write_atomically(path, lambda file: file.writelines((header, payload)), keep)


def _read_checkpoint(path: Path) -> dict[str, Any]:
    import torch

    try:
        with open(path, "rb") as file:
            header, payload = file.readline(200), file.read()
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from error
    if header != CHECKPOINT_HEADER + _sha256(payload).encode() + b"\n":
        raise RunError(f"{path} is damaged (its checksum does not match); --fresh starts the run over")
    try:
        return torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError) as error:  # intact, but written by another torch
        raise RunError(f"{path} cannot be read by torch {torch.__version__}; --fresh starts the run over") from error


def _prepare(directory: Path, fresh: bool) -> None:
    """Create `directory`, or make sure that what it holds is ours before a single file is touched."""
    check_writable(directory)
    present = {entry.name for entry in directory.iterdir()}
    foreign = sorted(present - OWN_FILES)
    if foreign and (MANIFEST not in present or not _is_manifest(directory / MANIFEST)):
        raise RunError(
            f"{directory} holds something that is not a coopctx run ({foreign[0]}); choose another --results"
        )
    if not fresh and MANIFEST not in present and present & set(FILES):
        raise RunError(f"{directory} has no {MANIFEST} beside {min(present & set(FILES))}; --fresh starts over")


def _is_manifest(path: Path) -> bool:
    try:
        contents = json.loads(path.read_bytes())
        return isinstance(contents, dict) and "coopctx" in contents
    except (OSError, ValueError, RecursionError):
        return False


def _delete(directory: Path, names: Iterable[str]) -> None:
    """Delete those of our files that are there; RunError where one cannot be."""
    for name in names:
        try:
            (directory / name).unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"cannot delete {directory / name}: {error.strerror}") from error


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the directory's lock file, with this process's number in it; RunError when another process holds it."""
    path = directory / LOCK
    try:
        file = _lock(path)
    except BlockingIOError as error:
        raise RunError(f"{directory} is in use by another coopctx process ({_holder(path)})") from error
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        file.close()


def _lock(path: Path) -> BinaryIO:
    while True:
        file = open(path, "a+b")  # noqa: SIM115 - it outlives this function as the lock
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, file):
                file.truncate(0)
                file.write(f"process {os.getpid()}\n".encode())
                file.flush()
                return file
        except BaseException:
            file.close()
            raise
        file.close()  # the last holder deleted it between our opening and locking it: try the new one


def _is_at(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip() or "just starting"
    except (OSError, UnicodeDecodeError):
        return "just ending"


def _refuse_other_run(
    directory: Path, manifest: Mapping[str, Any], keys: Mapping[str, Any], config: Mapping[str, Any]
) -> None:
    there, here = ({name: source[name] for name in (*KEYS, "preset")} for source in (manifest, keys))
    settings = [comparable(configuration, keys["agent"]) for configuration in (manifest["configuration"], config)]
    differences = differing_keys({**there, **settings[0]}, {**here, **settings[1]})
    if differences:
        raise RunError(
            f"{directory} holds a run of another configuration ({'; '.join(differences)}); --fresh starts over"
        )


def _check_tables_present(directory: Path) -> None:
    for name in TABLE_FILES.values():
        if not (directory / name).exists():
            raise RunError(f"{directory / name} is missing from a finished run; --fresh starts the run over")


def _sha256(contents: bytes | memoryview) -> str:
    return hashlib.sha256(contents).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


_ITERATION = list({**KEYS, **WHEN}).index("iteration")
