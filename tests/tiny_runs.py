"""Small PPI runs for tests: their settings, and training them."""

from pathlib import Path

import torch

from coopctx.agents import execute
from coopctx.experiments.configuration import to_dict
from coopctx.experiments.pools import RunSpec
from coopctx.experiments.presets import load_preset
from coopctx.experiments.settings import Config
from coopctx.runs.progress import SilentProgress
from coopctx.runs.run import Run
from coopctx.runs.schema import REPRODUCIBLE

CPU = torch.device("cpu")
TINY = (
    "game.rounds=8",
    "model.hidden=16",
    "ppi.phases=3",
    "ppi.initial_episodes=40",
    "ppi.episodes_per_phase=10",
    "ppi.batch_size=16",
    "ppi.rollouts=2",
    "ppi.horizon=3",
    "measure.episode_games=6",
    "measure.episode_phases=[1, -1]",
)


def spec(pool="mixed", opponent_id=False, seed=0):
    return RunSpec("ppi", pool, opponent_id, seed, "smoke")


def config(*overrides) -> Config:
    return load_preset("smoke", (*TINY, *overrides))


def open_run(results: Path, which: RunSpec, settings: Config) -> Run:
    return Run.open(which.directory(results), which.keys, to_dict(settings), "cpu")


def train(results: Path, which: RunSpec, settings: Config, progress=None, threads=1) -> None:
    with open_run(results, which, settings) as run:
        execute(which, settings, run, results, CPU, threads, progress or SilentProgress())


def parquet(results: Path, which: RunSpec) -> dict[str, bytes]:
    return {name: (which.directory(results) / f"{name}.parquet").read_bytes() for name in REPRODUCIBLE}
