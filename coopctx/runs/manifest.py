"""A run's manifest, `run.json`: how the run was made, its state and its last iteration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coopctx.errors import RunError
from coopctx.experiments.configuration import comparable, differing_keys, digest
from coopctx.experiments.settings import LEARNERS
from coopctx.runs.schema import CASTS, CHECKSUM, KEYS, MANIFEST, SCHEMA_VERSION, STATES


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of the run in `directory`; RunError if it is missing, damaged or of another schema version."""
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
    """ValueError, KeyError or TypeError unless all entries that are used exist and have the right type."""
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
    """Whether the manifest in `directory` says that the run is finished; False if it cannot be read."""
    try:
        return read_manifest(directory)["state"] == "finished"
    except RunError:
        return False


def is_manifest(path: Path) -> bool:
    """Whether the file is a coopctx manifest, possibly of another version."""
    try:
        contents = json.loads(path.read_bytes())
        return isinstance(contents, dict) and "coopctx" in contents
    except (OSError, ValueError, RecursionError):
        return False


def refuse_other_run(directory: Path, manifest: Mapping[str, Any], keys: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """RunError, naming the settings that differ, unless the manifest belongs to the run that ``keys`` and ``config`` describe."""
    there, here = ({name: source[name] for name in (*KEYS, "preset")} for source in (manifest, keys))
    settings = [comparable(configuration, keys["agent"]) for configuration in (manifest["configuration"], config)]
    differences = differing_keys({**there, **settings[0]}, {**here, **settings[1]})
    if differences:
        raise RunError(f"{directory} holds a run of another configuration ({'; '.join(differences)}); --fresh starts over")
