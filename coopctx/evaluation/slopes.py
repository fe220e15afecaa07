"""Do trained agents extort? Their games against many co-players, the slope of Press and Dyson, and a memory-one fit.

The players are the Step-2 agent, which learned against the Fixed-ICL of its own seed; the Step-1 agent, which is that
Fixed-ICL; and two strategies of known slope, Tit-for-Tat (1) and ZD-Extort-2 (2), which go through the same code. The
co-players are a spread of memory-one players, the same for all, and the Step-1 agents of the other seeds, which adapt within the
episode. Adaptive co-players are much alike, and any player seems to be on a line among co-players that hardly differ: so the
line through both kinds decides. `coopctx.analysis.extortion` defines the slope and its estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from coopctx import native
from coopctx.agents.trained import TrainedAgent
from coopctx.analysis.extortion import (
    ExtortionFit,
    episode_thirds,
    episodes_table,
    extortion_fit,
    memory_one_fit,
    memory_one_table,
    spread_of_opponents,
)
from coopctx.analysis.intervals import Estimate, Floats
from coopctx.experiments.pools import RunSpec
from coopctx.experiments.settings import Config
from coopctx.game.arena import play
from coopctx.game.episodes import Episodes
from coopctx.game.matrix import MatrixGame
from coopctx.game.memory_one import PAPER_STRATEGIES, zd_extortion
from coopctx.game.player import Player
from coopctx.game.streams import stream
from coopctx.game.tabular import TabularPlayer, memory_one_policy
from coopctx.game.threads import torch_threads
from coopctx.machine import available_cores, resolve_device
from coopctx.runs.files import write_parquet

CO_PLAYERS = 64  # memory-one: the 32 deterministic ones and 32 of U(0, 1)^5
GAMES = 32  # against each co-player, per seed: chance then adds about 0.025 to the residual of ZD-Extort-2
MEMORY_ONE, ADAPTIVE, ALL, EXACT = "memory-one", "adaptive", "all", "exact"
STEP_1, STEP_2 = "Step 1", "Step 2"


@dataclass(frozen=True)
class Slopes:
    """points: a row per player, seed and co-player, mean rewards per round of both. fits: a row per player and kind of
    co-players, an `ExtortionFit` (nan if no line can be fitted). memory_one: `memory_one_fit` of each agent's games."""

    points: pd.DataFrame
    fits: pd.DataFrame
    memory_one: pd.DataFrame


def measure_slopes(
    agent: str,
    preset: str,
    seeds: Sequence[int],
    results: Path,
    config: Config,
    device: str = "auto",
    report: Callable[[str], None] = lambda player: None,
) -> Slopes:
    """Play the finished Step-1 and Step-2 agents of ``seeds``, and the references as often, and fit their slopes.

    config: of the runs. Adaptive co-players are the Step-1 agents of ``seeds`` and of the seeds that their Step 3 needs.
    report is called with the player that is about to play. Raises RunError if a run is missing, damaged or of another game.
    """
    place = torch.device(resolve_device(device))
    players = _players(agent, preset, seeds, results, config)
    points, rates = [], []
    with torch_threads(1 if native.kernel_for(place, config.model.hidden) else torch.get_num_threads()):
        for name, seed in product((*players.trained, *players.references), seeds):
            report(f"{name}, seed {seed}")
            for games in _games(players, name, seed, config, place):
                keys: dict[str, Any] = {"player": name, "seed": seed, "met": games.met}
                table = episodes_table(games.ego, games.co, games.co_players)
                points.append(table.assign(**keys, games=len(games.ego) // len(games.co_players)))
                if name in players.trained:
                    rates.append(memory_one_fit(games.ego, episode_thirds(games.ego.rounds)).assign(**keys))
    common = {"agent": agent, "preset": preset}
    collected = pd.concat(points, ignore_index=True)
    return Slopes(
        _ordered(collected, common, ["player", "seed", "met", "opponent", "reward", "co_reward", "games"]),
        _ordered(_fits(collected, players, config), common, ["player", "met", "rounds", "games"]),
        _ordered(pd.concat(rates, ignore_index=True), common, ["player", "seed", "met"]),
    )


def write(slopes: Slopes, agent: str, preset: str, results: Path) -> list[Path]:
    """Write the three tables as Parquet under results/preset; RunError naming a file that cannot be written."""
    files = {"slopes": slopes.fits, "points": slopes.points, "memory-one": slopes.memory_one}
    paths = []
    for name, frame in files.items():
        paths.append(results / preset / f"{agent}-extortion-{name}.parquet")
        table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
        write_parquet(paths[-1], table)
    return paths


# Players and their games -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Players:
    """trained: the agents by the player's name and seed. references: memory-one strategies of known slope. spread: the
    strategies of the memory-one co-players, ``[CO_PLAYERS, 5]``."""

    trained: Mapping[str, Mapping[int, TrainedAgent]]
    references: Mapping[str, Sequence[float]]
    spread: Floats


class _Games(NamedTuple):
    """Both sides of one player's games against co-players of the kind ``met``: game g is against co-player g mod their number."""

    met: str
    ego: Episodes
    co: Episodes
    co_players: list[str]


def _players(agent: str, preset: str, seeds: Sequence[int], results: Path, config: Config) -> _Players:
    def load(pool: str, seeds: Sequence[int]) -> dict[int, TrainedAgent]:
        specs = [RunSpec(agent, pool, False, seed, preset) for seed in seeds]
        found = {spec.seed: TrainedAgent.load(spec.directory(results), spec.typed(results)) for spec in specs}
        for trained in found.values():
            trained.check_game(config)
        return found

    last = [RunSpec(agent, "mutual-extortion", False, seed, preset) for seed in seeds]
    fixed = load("tabular", sorted({need.seed for spec in last for need in spec.needs()}))
    trained = {STEP_2: load("extortion", seeds), STEP_1: fixed}
    return _Players(trained, _references(config.game.matrix()), spread_of_opponents(CO_PLAYERS, np.random.default_rng(0)))


def _references(game: MatrixGame) -> dict[str, Sequence[float]]:
    references: dict[str, Sequence[float]] = {"Tit-for-Tat": PAPER_STRATEGIES["tit-for-tat"]}
    with suppress(ValueError):  # some games have no such strategy
        references["ZD-Extort-2"] = zd_extortion(2, payoffs=game.payoffs).tolist()
    return references


def _games(players: _Players, name: str, seed: int, config: Config, device: torch.device) -> Iterator[_Games]:
    """The games of one player: against the memory-one players, then against the Step-1 agent of each other seed."""

    def seat(agent: TrainedAgent, generator: torch.Generator) -> Player:
        return agent.player(generator, device=device, threads=available_cores())

    def against(met: str, co: Player, games: int) -> tuple[Episodes, Episodes]:
        generator = stream(seed, "slopes", name, met, "ego")
        if name in players.references:
            ego: Player = TabularPlayer(memory_one_policy(players.references[name]), generator)
        else:
            ego = seat(players.trained[name][seed], generator)
        return play(config.game.matrix(), config.game.rounds, games, (ego, co), device)

    spread = TabularPlayer(memory_one_policy(players.spread), stream(seed, "slopes", name, MEMORY_ONE, "co"))
    strategies = [" ".join(f"{probability:.4g}" for probability in strategy) for strategy in players.spread]
    yield _Games(MEMORY_ONE, *against(MEMORY_ONE, spread, GAMES * len(strategies)), strategies)
    for other, agent in players.trained[STEP_1].items():
        if other != seed:
            co = seat(agent, stream(seed, "slopes", name, ADAPTIVE, other, "co"))
            yield _Games(ADAPTIVE, *against(f"{ADAPTIVE} {other}", co, GAMES), [f"{STEP_1}, seed {other}"])


# Fits --------------------------------------------------------------------------------------------------------------


def _fits(points: pd.DataFrame, players: _Players, config: Config) -> pd.DataFrame:
    """A fit per player and kind of co-players, and over all kinds; for the references also the exact fit of the infinite game."""
    payoffs = config.game.payoffs
    baseline = payoffs[1][1]
    rows = []
    for player, theirs in points.groupby("player", sort=False):
        for met in (MEMORY_ONE, ADAPTIVE, ALL):
            part = theirs if met == ALL else theirs[theirs["met"] == met]
            rows.append({"player": player, "met": met, "rounds": config.game.rounds, "games": GAMES, **_fit(part, baseline)})
    for name, strategy in players.references.items():
        exact = memory_one_table(strategy, players.spread, payoffs)
        rows.append({"player": name, "met": EXACT, "rounds": None, "games": None, **_fit(exact, baseline)})
    return pd.DataFrame(rows).astype({"rounds": "Int64", "games": "Int64", "extorts": "boolean"})


def _fit(points: pd.DataFrame, baseline: float) -> Mapping[str, Any]:
    nothing = Estimate(np.nan, np.nan, np.nan, points["seed"].nunique() if "seed" in points else 1)
    try:
        fit = extortion_fit(points, baseline)
    except ValueError:  # one co-player, or none with a surplus: no line
        fit = ExtortionFit(nothing, nothing, 0.0, points["opponent"].nunique())
    return {
        "chi": fit.chi.value,
        "chi_low": fit.chi.low,
        "chi_high": fit.chi.high,
        "residual": fit.residual.value,
        "residual_low": fit.residual.low,
        "residual_high": fit.residual.high,
        "spread": fit.spread,
        "co_players": fit.co_players,
        "seeds": fit.chi.seeds,
        "extorts": fit.extorts,
    }


def _ordered(frame: pd.DataFrame, common: Mapping[str, str], first: Sequence[str]) -> pd.DataFrame:
    columns = [*common, *first]
    return frame.assign(**common)[[*columns, *(name for name in frame if name not in columns)]]
