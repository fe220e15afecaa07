"""The random streams of every run by name: a committed run repeats only as long as they keep their names.

streams.json has, by run (and what it changes of the settings), the seed and the names that are drawn from in a short run of seed 3. A stream more or less, or under
another name, changes what every run of that kind plays from then on.
"""

import functools
import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_runs

from coopctx.agents import execute
from coopctx.experiments.pools import RunSpec, with_needs
from coopctx.experiments.presets import load_preset
from coopctx.runs.progress import SilentProgress

EXPECTED = json.loads(Path(__file__).with_name("streams.json").read_text("utf-8"))
SHORT = {
    "ppi": (*tiny_runs.TINY, "ppi.phases=2", "ppi.episodes_per_phase=4", "measure.episode_phases=[2]"),
    "a2c": (
        "game.rounds=8", "model.hidden=16", "measure.episode_games=6", "a2c.iterations=2", "a2c.batch_size=4",
        "a2c.measure_every=1", "a2c.episode_iterations=[2]",
    ),
}  # fmt: skip


def train(results: Path, which: RunSpec, *changes: str) -> None:
    settings = load_preset("smoke", (*SHORT[which.agent], *changes), which.pool)
    with tiny_runs.open_run(results, which, settings) as run:
        execute(which, settings, run, results, tiny_runs.CPU, 1, SilentProgress())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A function from a run that others need, Step 1 or 2, to its folder; it is trained when it is first asked for."""
    results = tmp_path_factory.mktemp("results")

    @functools.cache
    def folder(which: RunSpec) -> Path:
        for needed in which.needs():
            folder(needed)
        train(results, which)
        return which.directory(results)

    return folder


@pytest.mark.parametrize("run", EXPECTED)
def test_a_run_draws_from_these_streams_and_from_each_once(run, made, tmp_path, monkeypatch):
    name, *changes = run.split()
    agent, _, pool = name.partition("-")
    which, drawn = RunSpec(agent, pool, False, 3, "smoke"), []

    def noted(name):
        drawn.append(name.decode())
        return hashlib.sha256(name)

    for needed in with_needs(which.needs()):
        (tmp_path / needed.directory(Path())).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / needed.directory(Path())).symlink_to(made(needed))
    monkeypatch.setattr("coopctx.game.streams.hashlib", SimpleNamespace(sha256=noted))
    train(tmp_path, which, *changes)
    assert sorted(drawn) == EXPECTED[run]
