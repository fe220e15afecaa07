"""The games of a player against its opponents, and their measures: a row per opponent, and curves over the rounds."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from coopctx.agents.beliefs import Beliefs
from coopctx.analysis.extortion import episode_thirds
from coopctx.game.episodes import Episodes
from coopctx.game.matrix import MatrixGame
from coopctx.game.memory_one import ExpectedPlay
from coopctx.runs.schema import KEYS

SCHEMA = pa.schema(
    {
        **KEYS,
        "preset": pa.string(),
        "learner": pa.int64(),
        "opponent": pa.string(),
        "player": pa.string(),
        "round": pa.int64(),
        "cooperation_rate": pa.float64(),
        "reward": pa.float64(),
        "episodes": pa.int64(),
        "best_response_reward": pa.float64(),
    }
)


@dataclass(frozen=True)
class Meeting:
    """The games of an agent (the ego) against one opponent, from both sides.

    best: exact play of the best response to each game's opponent, ``[games, rounds]``; None if it is not known. beliefs: those
    of the ego and of the opponent before every decision, ``[games, rounds, ...]``; None for a side that has no beliefs or was
    not watched.
    """

    opponent: str
    ego: Episodes
    co: Episodes
    best: ExpectedPlay | None
    beliefs: tuple[Beliefs | None, Beliefs | None] = (None, None)

    def measures(self) -> dict[str, float]:
        """Means over games and rounds; rewards and regrets are per round, in payoff units.

        reward, co_reward, cooperation, co_cooperation, and cooperation_early, _middle and _late (thirds of the episode). If the
        best response is known, also best_response_reward, best_response_cooperation, regret, regret_early, _middle and _late,
        and regret_error, the standard error of regret over games (nan for one game). Regret is the expected reward of the best
        response against the same opponents minus the agent's reward; by chance it may be negative.
        """
        thirds = episode_thirds(self.ego.rounds)
        cooperation = self.ego.cooperation_per_round().cpu().numpy()
        measured = {
            "reward": self.ego.reward(),
            "co_reward": self.co.reward(),
            "cooperation": self.ego.cooperation_rate(),
            "co_cooperation": self.co.cooperation_rate(),
            **{f"cooperation_{third}": _mean(cooperation, window) for third, window in thirds.items()},
        }
        return measured if self.best is None else measured | self._against_best(self.best, thirds)

    def _against_best(self, best: ExpectedPlay, thirds: dict[str, tuple[int, int]]) -> dict[str, float]:
        reached = self.ego.going_on().cpu().numpy()  # both are averaged over the rounds that the games reached
        best_reward, best_cooperation = (np.where(reached, values, np.nan) for values in (best.reward, best.cooperation))
        regret = best_reward - self.ego.rewards.double().cpu().numpy()
        games = len(regret)
        return {
            "best_response_reward": float(np.nanmean(best_reward)),
            "best_response_cooperation": float(np.nanmean(best_cooperation)),
            "regret": float(np.nanmean(regret)),
            "regret_error": float(np.nanmean(regret, 1).std(ddof=1)) / games**0.5 if games > 1 else float("nan"),
            **{f"regret_{third}": _mean(regret, window) for third, window in thirds.items()},
        }


@dataclass(frozen=True, repr=False)
class Evaluation:
    """The meetings of one player, in order; printed as a table with a row per opponent.

    player: its name. keys: agent, experiment, opponent_id, seed and preset of its run, and the number of the learner; None for
    a player that is no trained agent.
    """

    player: str
    keys: dict[str, Any]
    meetings: tuple[Meeting, ...]
    game: MatrixGame

    @property
    def table(self) -> pd.DataFrame:
        """A row per opponent, with the columns of `Meeting.measures`; nan if the best response is not known."""
        rows = {meeting.opponent: meeting.measures() for meeting in self.meetings}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("opponent")

    @property
    def curves(self) -> pd.DataFrame:
        """A row per opponent, player and round, with the columns of `SCHEMA`."""
        return curves(self).to_pandas()

    def __repr__(self) -> str:
        return f"{self._title}\n{self._overview.to_string(float_format='{:.3f}'.format)}"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self._title)}</p>{self._overview.to_html(float_format='{:.3f}'.format)}"

    @property
    def _title(self) -> str:
        games, rounds = self.meetings[0].ego.actions.shape
        return f"{self.player}: {games} games of {rounds} rounds; early, middle, late: its cooperation in thirds of the game"

    @property
    def _overview(self) -> pd.DataFrame:
        table = self.table
        return table[[name for name in _OVERVIEW if name in table]].rename(columns=_OVERVIEW)


def curves(evaluation: Evaluation) -> pa.Table:
    """A row per opponent, player (ego, co) and round, with the columns of `SCHEMA`; means over games.

    best_response_reward is the expected reward of the best response in that round, for the ego; null for the co-player, and if
    the best response is not known.
    """
    sides = [_rounds(meeting, player) for meeting in evaluation.meetings for player in ("ego", "co")]
    rows = pd.concat(sides).assign(**evaluation.keys)[SCHEMA.names]
    return pa.Table.from_pandas(rows, SCHEMA, preserve_index=False).replace_schema_metadata(None)


def _rounds(meeting: Meeting, player: str) -> pd.DataFrame:
    """A row per round that at least one game reached."""
    episodes, best = (meeting.ego, meeting.best) if player == "ego" else (meeting.co, None)
    rows = pd.DataFrame(
        {
            "opponent": meeting.opponent,
            "player": player,
            "round": range(1, episodes.rounds + 1),
            "cooperation_rate": episodes.cooperation_per_round().cpu().numpy(),
            "reward": episodes.reward_per_round().cpu().numpy(),
            "episodes": episodes.games_per_round().cpu().numpy(),
            "best_response_reward": np.nan if best is None else best.reward.mean(0),
        }
    )
    return rows[rows["episodes"] > 0]


def _mean(per_round: np.ndarray, window: tuple[int, int]) -> float:
    """Mean over the rounds of ``window`` (first and last, from 1) along the last axis; nan: no game reached the round."""
    within = per_round[..., window[0] - 1 : window[1]]
    return float(np.nanmean(within)) if not np.isnan(within).all() else float("nan")


# The columns that a printed evaluation shows, and their headings.
_OVERVIEW = {
    "cooperation": "cooperation",
    "cooperation_early": "early",
    "cooperation_middle": "middle",
    "cooperation_late": "late",
    "reward": "reward",
    "co_cooperation": "their coop.",
    "co_reward": "their reward",
    "regret": "regret",
}
