"""All runs under a results folder and their states."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coopctx.errors import RunError
from coopctx.experiments.agents import AGENTS
from coopctx.runs.lock import in_use
from coopctx.runs.manifest import read_manifest
from coopctx.runs.schema import CHECKPOINTS, MANIFEST

PLACES = (f"*/*/seed-*/{MANIFEST}", f"sweep/*/*/*/seed-*/{MANIFEST}")  # of a run's manifest below the results folder


@dataclass(frozen=True)
class Listed:
    """A run in a results folder. state: in words; following: the command to type next, empty while it is running."""

    directory: Path
    state: str
    following: str

    @property
    def finished(self) -> bool:
        return self.state == "finished"


def listed(results: Path) -> list[Listed]:
    """Every run under ``results``, sweeps included, in the order of folders and seeds. RunError where there is no such folder."""
    if not results.is_dir():
        raise RunError(f"{results} is not a folder of results")
    found = {path.parent for place in PLACES for path in results.glob(place)}
    return [_look(directory) for directory in sorted(found, key=lambda path: (path.parent, len(path.name), path.name))]


def _look(directory: Path) -> Listed:
    try:
        manifest = read_manifest(directory)
    except RunError:
        return Listed(directory, f"damaged: {MANIFEST} cannot be read; its command with --fresh starts over", "")
    if manifest["state"] == "finished":
        return Listed(directory, "finished", shlex.join(["coopctx", "evaluate", str(directory)]))
    if in_use(directory):
        return Listed(directory, f"running, {_far(manifest)}", "")
    kept = any((directory / name).exists() for name in CHECKPOINTS)
    far = f"after {_far(manifest)}" if kept else "before the first checkpoint"
    if manifest["state"] == "failed":
        reason = str(manifest.get("error", "")).strip().splitlines()[-1:] or ["no reason given"]
        return Listed(directory, f"failed {far}: {reason[0]}", manifest.get("command", ""))
    return Listed(directory, f"interrupted {far}", manifest.get("command", ""))


def _far(manifest: dict[str, Any]) -> str:
    return f"{AGENTS[manifest['agent']].unit} {manifest['iteration']}"
