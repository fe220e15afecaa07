"""The provenance of the numbers: version, commit, date, time and command of each run."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from coopctx.experiments.pools import options_for, train_words
from coopctx.experiments.seeds import seed_ranges
from coopctx.runs.read import Results

NOT_RECORDED = "not recorded"


class Made(NamedTuple):
    """The provenance of a run's finished seeds as text; different values are joined by commas.

    hours: of all seeds together. command: trains the seeds that are not finished.
    """

    name: str
    seeds: str
    version: str
    commit: str
    torch: str
    dates: str
    hours: str
    command: str


def provenance(runs: Results) -> list[Made]:
    """A row per run that has a finished seed, in the order of names."""
    return [_made(name, runs) for name in runs.names()]


def _made(name: str, runs: Results) -> Made:
    manifests = list(runs.manifests(name).values())
    days = sorted({str(manifest["started"])[:10] for manifest in manifests if "started" in manifest})
    seeds = seed_ranges(runs.seeds(name))
    return Made(
        name,
        seeds,
        _all("coopctx", manifests),
        ", ".join(dict.fromkeys(_short(manifest.get("commit")) for manifest in manifests)),
        _all("torch", manifests),
        " to ".join(dict.fromkeys([days[0], days[-1]])) if days else NOT_RECORDED,
        f"{sum(manifest['wall_seconds'] for manifest in manifests) / 3600:.1f}",
        _command(manifests[0], seeds.replace(" ", ""), runs),
    )


def _all(entry: str, manifests: Iterable[Mapping[str, Any]]) -> str:
    return ", ".join(dict.fromkeys(str(manifest.get(entry) or NOT_RECORDED) for manifest in manifests))


def _short(commits: str | None) -> str:
    """The first eight letters of each commit, and its mark ``+`` for uncommitted changes."""
    return ", ".join(each[:8] + "+" * each.endswith("+") for each in commits.split(", ")) if commits else NOT_RECORDED


def _command(manifest: Mapping[str, Any], seeds: str, runs: Results) -> str:
    words = train_words(manifest["agent"], manifest["experiment"], manifest["opponent_id"])
    return shlex.join([*words, *options_for(runs.folder, runs.preset), "--seeds", seeds])
