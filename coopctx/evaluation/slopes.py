"""Do trained agents extort? Their games against many co-players, Press & Dyson's slope of these, and a memory-one picture.

The players: the Step-2 agent, which learned against the Fixed-ICL of its own seed; the Step-1 agent, which is that
Fixed-ICL; and two strategies whose slope is known, Tit-for-Tat (1) and ZD-Extort-2 (2), through the same code. Whom they
meet: a spread of memory-one players, the same for all, and the Step-1 agents of the other seeds, which adapt within the
episode. The latter are much alike, and among co-players that hardly differ any player seems to be on a line: what is judged
is the line through both kinds. `coopctx.analysis.extortion` says what the slope means and how it is found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from rich.console import Group
from rich.table import Table

from coopctx import native
from coopctx.agents.trained import TrainedAgent
from coopctx.analysis.extortion import (
    LARGEST_RESIDUAL,
    LEAST_RISE,
    OUTCOMES,
    ExtortionFit,
    episode_thirds,
    episodes_table,
    extortion_fit,
    in_a_word,
    memory_one_fit,
    memory_one_table,
    spread_of_opponents,
)
from coopctx.analysis.intervals import Estimate, Floats, estimate, interval, number
from coopctx.experiments.pools import RunSpec
from coopctx.experiments.settings import Config
from coopctx.game.arena import play
from coopctx.game.episodes import Episodes
from coopctx.game.matrix import MatrixGame
from coopctx.game.memory_one import zd_extortion
from coopctx.game.player import Player
from coopctx.game.streams import stream
from coopctx.game.tabular import PAPER_STRATEGIES, TabularPlayer, TabularSpread, memory_one_policy
from coopctx.machine import available_cores, resolve_device
from coopctx.runs.files import write_parquet

CO_PLAYERS = 64  # memory-one: the 32 deterministic ones and 32 of U(0, 1)^5
GAMES = 32  # against each co-player, per seed: then chance adds some 0.025 to the residual of ZD-Extort-2
MEMORY_ONE, ADAPTIVE, ALL, EXACT = "memory-one", "adaptive", "all", "exact"
PLAYERS = {"extortion": "Step 2", "tabular": "Step 1"}  # pool of the run: name of the player


@dataclass(frozen=True)
class Slopes:
    """points: a row per player, seed and co-player, mean rewards per round of both. fits: a row per player and kind of
    co-players, an `ExtortionFit` (nan where no line can be fitted). memory_one: `memory_one_fit` of each agent's games."""

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
    meetings = _Meetings(agent, preset, seeds, results, config, place)
    points, pictures = [], []
    with _torch_threads(place, config):
        for name, seed in product(meetings.players, seeds):
            report(f"{name}, seed {seed}")
            for met, ego, co, opponents in meetings.games(name, seed):
                keys: dict[str, Any] = {"player": name, "seed": seed, "met": met}
                points.append(episodes_table(ego, co, opponents).assign(**keys, games=len(ego) // len(opponents)))
                if name in PLAYERS.values():
                    pictures.append(memory_one_fit(ego, episode_thirds(ego.rounds)).assign(**keys))
    common = {"agent": agent, "preset": preset}
    collected = pd.concat(points, ignore_index=True)
    return Slopes(
        _ordered(collected, common, ["player", "seed", "met", "opponent", "reward", "co_reward", "games"]),
        _ordered(_fits(collected, meetings), common, ["player", "met", "rounds", "games"]),
        _ordered(pd.concat(pictures, ignore_index=True), common, ["player", "seed", "met"]),
    )


def write(slopes: Slopes, agent: str, preset: str, results: Path) -> list[Path]:
    """The three tables as parquet under results/preset; RunError naming a file that cannot be written."""
    files = {"slopes": slopes.fits, "points": slopes.points, "memory-one": slopes.memory_one}
    paths = []
    for name, frame in files.items():
        paths.append(results / preset / f"{agent}-extortion-{name}.parquet")
        table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
        write_parquet(paths[-1], table)
    return paths


def tables(slopes: Slopes) -> Group:
    """The tables of slopes and of the agents' memory-one rates, for the terminal."""
    return Group(_slopes_table(slopes.fits), _memory_one_table(slopes.memory_one))


@contextmanager
def _torch_threads(device: torch.device, config: Config) -> Iterator[None]:
    """One PyTorch thread where the native kernel is in use: the rest of the work is too small for several."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if native.kernel_for(device, config.model.hidden) is None else 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Meetings:
    """All players and the games between them."""

    def __init__(
        self, agent: str, preset: str, seeds: Sequence[int], results: Path, config: Config, device: torch.device
    ) -> None:
        self.game, self.rounds = config.game.matrix(), config.game.rounds
        self.references = _references(self.game)
        self.players = (*PLAYERS.values(), *self.references)
        self.spread = spread_of_opponents(CO_PLAYERS, np.random.default_rng(0))
        self.labels = [" ".join(f"{probability:.4g}" for probability in strategy) for strategy in self.spread]
        self._device, self._threads = device, available_cores()

        def load(pool: str, which: Sequence[int]) -> dict[int, TrainedAgent]:
            specs = {seed: RunSpec(agent, pool, False, seed, preset) for seed in which}
            found = {seed: TrainedAgent.load(spec.directory(results), spec.typed(results)) for seed, spec in specs.items()}
            for trained in found.values():
                trained.check_game(config)
            return found

        last = [RunSpec(agent, "mutual-extortion", False, seed, preset) for seed in seeds]
        self.adaptive = load("tabular", sorted({need.seed for spec in last for need in spec.needs()}))
        self._agents = {"Step 1": self.adaptive, "Step 2": load("extortion", seeds)}

    def games(self, name: str, seed: int) -> Iterator[tuple[str, Episodes, Episodes, list[str]]]:
        """Kind of co-players, both sides of the games, and the co-players' names: game g is against number g mod them."""
        others = TabularSpread(memory_one_policy(self.spread), stream(seed, "slopes", name, MEMORY_ONE, "co"))
        yield MEMORY_ONE, *self._play(name, seed, MEMORY_ONE, others, GAMES * len(self.spread)), self.labels
        for other, trained in self.adaptive.items():
            if other != seed:
                co = self._seat(trained, stream(seed, "slopes", name, ADAPTIVE, other, "co"))
                yield ADAPTIVE, *self._play(name, seed, f"{ADAPTIVE} {other}", co, GAMES), [f"Step 1, seed {other}"]

    def _play(self, name: str, seed: int, met: str, other: Player, games: int) -> tuple[Episodes, Episodes]:
        generator = stream(seed, "slopes", name, met, "ego")
        if name in self.references:
            player: Player = TabularPlayer(memory_one_policy(self.references[name]), generator)
        else:
            player = self._seat(self._agents[name][seed], generator)
        return play(self.game, self.rounds, games, (player, other), self._device)

    def _seat(self, trained: TrainedAgent, generator: torch.Generator) -> Player:
        return trained.player(generator, device=self._device, threads=self._threads)


def _references(game: MatrixGame) -> dict[str, Sequence[float]]:
    references: dict[str, Sequence[float]] = {"Tit-for-Tat": PAPER_STRATEGIES["tit-for-tat"]}
    with suppress(ValueError):  # not every game has one
        references["ZD-Extort-2"] = zd_extortion(2, payoffs=game.payoffs).tolist()
    return references


def _fits(points: pd.DataFrame, meetings: _Meetings) -> pd.DataFrame:
    """A fit per player and kind of co-players, and over all kinds; for the references also the exact fit of the infinite game."""
    baseline = meetings.game.payoffs[1][1]
    rows = []
    for player, theirs in points.groupby("player", sort=False):
        for met in (MEMORY_ONE, ADAPTIVE, ALL):
            part = theirs if met == ALL else theirs[theirs["met"] == met]
            rows.append({"player": player, "met": met, "rounds": meetings.rounds, "games": GAMES, **_fit(part, baseline)})
    for name, strategy in meetings.references.items():
        exact = memory_one_table(strategy, meetings.spread, None, meetings.game.payoffs)
        rows.append({"player": name, "met": EXACT, "rounds": None, "games": None, **_fit(exact, baseline)})
    return pd.DataFrame(rows).astype({"rounds": "Int64", "games": "Int64", "extorts": "boolean"})


def _fit(points: pd.DataFrame, baseline: float) -> Mapping[str, Any]:
    nothing = Estimate(np.nan, np.nan, np.nan, points["seed"].nunique() if "seed" in points else 1)
    try:
        fit = extortion_fit(points, baseline)
    except ValueError:  # a single co-player, or none that gets any surplus: no line
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


def _slopes_table(fits: pd.DataFrame) -> Table:
    shown = _new_table(
        "\nSlope: a player's gain over mutual defection per unit of its co-player's.\n"
        "To extort, as Press and Dyson define it, is a slope above 1 with all co-\n"
        f"players on the line: a root-mean-square residual of at most {LARGEST_RESIDUAL}; cannot\n"
        f"be told where the line rises by less than {LEAST_RISE} over the s.d. of their rewards\n"
        "(spread). Exact: the endless game against the memory-one players.",
        ("player", "co-players"),
    )
    for heading in ("slope", "95 % interval", "residual", "spread", "extorts"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for fit in fits.to_dict("records"):
        line = number(fit["chi"]), interval(fit["chi_low"], fit["chi_high"]), number(fit["residual"]), number(fit["spread"])
        shown.add_row(fit["player"], fit["met"], *line, in_a_word(fit["extorts"]))
    return shown


def _memory_one_table(pictures: pd.DataFrame) -> Table:
    shown = _new_table(
        "\nHow often the agents cooperate after each last outcome, own action first,\n"
        "in each third of the episode; below, 95 % intervals over seeds",
        ("games", "rounds"),
    )
    for heading in OUTCOMES:
        shown.add_column(heading, justify="right", no_wrap=True)
    last = ""
    for (player, met, first), part in pictures.groupby(["player", "met", "first_round"], sort=False):
        cells = [_rate(part[part["outcome"] == outcome]) for outcome in OUTCOMES]
        title = f"{player} vs\n{met}"
        shown.add_row("" if title == last else title, f"{first}-{part['last_round'].iloc[0]}", *cells)
        last = title
    return shown


def _new_table(title: str, headings: Sequence[str]) -> Table:
    return Table(*headings, title=title, title_justify="left", box=None, padding=(0, 1), pad_edge=False)


def _rate(rows: pd.DataFrame) -> str:
    """Cooperations per decision over all seeds, with the interval over seeds in a second line."""
    cooperations = rows["cooperation_rate"].fillna(0) * rows["count"]
    by_seed = pd.DataFrame({"seed": rows["seed"], "cooperations": cooperations, "count": rows["count"]}).groupby("seed").sum()

    def ratio(means: Floats) -> Floats:
        count = means[..., 1]
        return np.where(count > 0, means[..., 0] / np.where(count > 0, count, 1), np.nan)

    rate = estimate(by_seed.to_numpy(), ratio).within(0, 1)
    if np.isnan(rate.value):
        return "-"
    return f"{rate.value:.2f}" + ("" if np.isnan(rate.low) else f"\n{rate.low:.2f}-{rate.high:.2f}")
