"""Policies that do not learn, in place of COALA's meta agents: against naive learners, and each against a copy of itself.

`python -m coopctx.evaluation.coala_nulls FOLDER [PRESET]` plays these games and writes them into the folder of the preset's runs
(`make nulls`); the report shows their rewards beside those of the meta agents. The exact game is computed, the sampled ones are
played.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import torch
from torch import Tensor

from coopctx.agents.coala import exact
from coopctx.agents.coala.meta_games import Layout, play
from coopctx.agents.coala.naive import naive_learners
from coopctx.agents.coala.player import FiveLogitPlayer
from coopctx.analysis.nulls import LEARNING_AWARE_FILE, STRATEGIES
from coopctx.experiments.presets import load_preset
from coopctx.experiments.settings import Config
from coopctx.game.memory_one import SWAPPED
from coopctx.game.streams import stream
from coopctx.runs.files import write_parquet

EXACT = "exact-naive"
POOLS = (EXACT, "five-logit", "naive")  # whose naive learners they meet: those of all others are the same
LEARNERS = 64  # naive learners per policy, and pairs of copies
PER_ROUND = {"cooperation_rate": pa.float32(), "reward": pa.float32()}
KEYS = {"pool": pa.string(), "null": pa.string(), "opponent": pa.string(), "player": pa.string(), "round": pa.int64()}


def table(preset: str) -> pa.Table:
    """A row per pool, policy (the ego), kind of co-player, side and round: means over the games.

    The round is that of the meta-trajectory; in the exact game it is the number of the game. Copies do not learn, so all their
    games are the same.
    """
    rows = [
        dict(zip((*KEYS, *PER_ROUND), (pool, null, opponent, player, number, *values), strict=True))
        for pool in POOLS
        for null in STRATEGIES
        for opponent, sides in _played(load_preset(preset, pool=pool), pool, null)
        for player, curve in zip(("ego", "co"), sides, strict=True)
        for number, values in enumerate(curve.T.tolist(), start=1)
    ]
    return pa.Table.from_pylist(rows, pa.schema([*KEYS.items(), *PER_ROUND.items()]))


def _played(config: Config, pool: str, null: str) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    """By kind of co-player: cooperation and reward per round of both sides, each [2, rounds]."""
    chances = torch.tensor(STRATEGIES[null], dtype=torch.float64)
    return _computed(config, chances) if pool == EXACT else _sampled(config, pool, null, chances)


def _computed(config: Config, chances: Tensor) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    coala, rewards = config.coala, torch.tensor(config.game.matrix().payoffs, dtype=torch.float64).flatten()
    own, naive = chances.logit(), torch.randn(LEARNERS, 5, dtype=torch.float64, generator=stream(0, "null policies"))
    shaped = exact.shape(own, naive, rewards, coala.discount, coala.naive_learning_rate, coala.inner_episodes).mean(0)
    alike = exact.play(own, own, rewards, coala.discount).visits.expand(coala.inner_episodes, 4)
    for opponent, visits in (("naive", shaped), ("learner", alike)):  # [games in a row, 4]
        sides = [torch.stack([seen[:, :2].sum(1), seen @ rewards]) for seen in (visits, visits[:, SWAPPED])]
        yield opponent, (sides[0], sides[1])


def _sampled(config: Config, pool: str, null: str, chances: Tensor) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    coala = config.coala
    layout = Layout(2, LEARNERS, LEARNERS, coala.inner_batch, coala.inner_episodes, coala.inner_rounds)
    players = [FiveLogitPlayer(chances.logit(), stream(0, "null policies", pool, null, side)) for side in (1, 2)]
    naive = [naive_learners(LEARNERS, 2, coala, stream(0, "null policies", pool, null, "naive", side)) for side in (1, 2)]
    ego, co = play(config.game.matrix(), layout, players, naive)[0]
    for opponent, games in (("naive", layout.naive_rows), ("learner", layout.meta_rows)):
        sides = [torch.stack([seen[games].cooperation_per_round(), seen[games].reward_per_round()]) for seen in (ego, co)]
        yield opponent, (sides[0], sides[1])


if __name__ == "__main__":
    write_parquet(Path(sys.argv[1]) / LEARNING_AWARE_FILE, table(*(sys.argv[2:] or ["cpu"])))
