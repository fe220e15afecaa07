"""What cross-play comes to (`coopctx arena`): by kinds of players with intervals over seeds, and whose conventions fit.

A kind is a run such as ``ppi-mixed``, whose players are its seeds' learners, or a strategy. Copies of an agent are told apart
from its training partner (the other learner of its run) and from strangers (learners of other seeds).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from coopctx.analysis.intervals import Estimate, interval, over_units
from coopctx.runs.export import read_export

FILE, SERIES_FILE = "arena.parquet", "arena-series.parquet"  # beside the runs of a preset: one episode, many in a row
_WHO = {"{}": pa.string(), "{}_kind": pa.string(), "{}_seed": pa.int64(), "{}_learner": pa.int64()}
_MEASURED = ("reward", "co_reward", "cooperation_rate", "co_cooperation_rate", "mutual_cooperation", "mutual_defection")
SCHEMA = pa.schema(
    {
        **{name.format(side): kind for side in ("player", "opponent") for name, kind in _WHO.items()},
        **dict.fromkeys(("episodes", "rounds", "games", "episode"), pa.int64()),
        **dict.fromkeys((*_MEASURED, "baseline"), pa.float64()),
    }
)
NAIVE = "naive"  # learners who update between the episodes of a series
COPY, PARTNER, STRANGER = "a copy of itself", "its training partner", "strangers of its kind"


@dataclass(frozen=True)
class KindMeans:
    """What players of one kind got from those of another: means over pairs (other seeds only where the kinds are the same).

    reward, co_reward: per round; advantage: the first less the second; mutual: the share of rounds in which both cooperated.
    baseline: what a round of mutual defection pays.
    """

    player: str
    opponent: str
    reward: Estimate
    co_reward: Estimate
    advantage: Estimate
    mutual: Estimate
    baseline: float

    @property
    def relation(self) -> str:
        """Who wins: the whole interval of the advantage is on one side of 0. The winner *extorts* if the loser still gets
        more than mutual defection pays, otherwise *exploits*; *even* where nobody wins, a dash without an interval."""
        low, high = self.advantage.low, self.advantage.high
        if low != low:
            return "–"
        if low <= 0 <= high:
            return "even"
        loser = self.co_reward if low > 0 else self.reward
        word = "extort" if loser.value > self.baseline else "exploit"
        return f"{word}s" if low > 0 else f"is {word}ed"


def cells(means: KindMeans) -> tuple[str, ...]:
    """Both rewards, the advantage and its interval, mutual cooperation and the relation, as they are shown in tables."""
    parts = means.reward, means.co_reward, means.advantage, means.mutual
    *rewards, mutual = (f"{part.value:z.2f}" for part in parts)
    return *rewards, interval(means.advantage.low, means.advantage.high), mutual, means.relation


def read(path: Path) -> pd.DataFrame:
    """The table in a file that ``coopctx arena`` wrote; RunError naming the file where it is missing or another one."""
    return read_export(path, SCHEMA, "a cross-play table (coopctx arena --out)")


def kinds(table: pd.DataFrame, trained: bool | None = None) -> list[str]:
    """Kinds of players in the order in which they entered; trained: only agents, or only those that are none."""
    rows = table if trained is None else table[table["player_seed"].notna() == trained]
    return list(dict.fromkeys(rows["player_kind"]))


def kind_means(table: pd.DataFrame) -> Iterator[KindMeans]:
    """Every kind of trained agents against every kind that it met, in the order of `kinds`."""
    met = dict(iter(table.groupby(["player_kind", "opponent_kind"], sort=False)))
    for player in kinds(table, True):
        for opponent in kinds(table):
            rows = met.get((player, opponent))
            if rows is not None and player == opponent:
                rows = rows[rows["player_seed"] != rows["opponent_seed"]]
            if rows is not None and len(rows):
                yield _means(player, opponent, rows)


def _means(player: str, opponent: str, rows: pd.DataFrame) -> KindMeans:
    """Over all episodes in ``rows``."""
    values = rows.assign(advantage=rows["reward"] - rows["co_reward"])
    reward, co_reward, advantage, mutual = _over_seeds(values, "reward", "co_reward", "advantage", "mutual_cooperation")
    return KindMeans(player, opponent, reward, co_reward, advantage, mutual.within(0, 1), float(rows["baseline"].iloc[0]))


def conventions(table: pd.DataFrame, kind: str) -> dict[str, Estimate]:
    """Mutual cooperation of a kind's agents with a copy, with the training partner, and with strangers; those that there are."""
    rows = table[(table["player_kind"] == kind) & (table["opponent_kind"] == kind)]
    same = rows["player_seed"] == rows["opponent_seed"]
    alike = rows["player_learner"] == rows["opponent_learner"]
    parts = {COPY: rows[same & alike], PARTNER: rows[same & ~alike], STRANGER: rows[~same]}
    return {name: _over_seeds(part, "mutual_cooperation")[0].within(0, 1) for name, part in parts.items() if len(part)}


def over_episodes(table: pd.DataFrame, player: str, opponent: str) -> pd.DataFrame:
    """A row per seed of ``player`` and episode: mean reward and co_reward against ``opponent``, by columns seed and episode."""
    rows = table[(table["player_kind"] == player) & (table["opponent_kind"] == opponent)]
    rows = rows.assign(seed=rows["player_seed"])
    return rows.groupby(["seed", "episode"], as_index=False)[["reward", "co_reward"]].mean()


def _over_seeds(rows: pd.DataFrame, *quantities: str) -> list[Estimate]:
    """The means over pairs of seeds, each the mean over its learners and episodes, with intervals over the seeds."""
    keys = ["player_kind", "player_seed", "opponent_kind", "opponent_seed"]
    pairs = rows.groupby(keys, dropna=False, sort=False)[list(quantities)].mean().reset_index()
    units = [_units(row) for row in pairs[keys].itertuples(index=False)]
    return [over_units(pairs[quantity].to_numpy(), units) for quantity in quantities]


def _units(row: Iterable[object]) -> set[tuple[object, object]]:
    """The trained agents of a pair as (kind, seed)."""
    kind, seed, other, other_seed = row
    return {(name, number) for name, number in ((kind, seed), (other, other_seed)) if number == number}
