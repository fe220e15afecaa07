"""The table of whole games: both sides' actions and the beliefs of trained agents, a row per game, round and player."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from coopctx.agents.beliefs import Beliefs, beliefs_table
from coopctx.analysis.played.games import SCHEMA
from coopctx.errors import UsageError
from coopctx.evaluation.meetings import Evaluation, Meeting
from coopctx.game.matrix import MatrixGame
from coopctx.runs.export import check_export

OPTION = "--episodes"


def games_table(evaluation: Evaluation, trained: bool = True) -> pa.Table:
    """The games of a watched evaluation with the columns of `coopctx.analysis.played.games.SCHEMA`, meeting by meeting.

    trained: the value of the column of this name for the ego. Raises UsageError if the game has more than two actions.
    """
    if evaluation.game.n_actions != 2:
        raise UsageError(f"{OPTION} keeps games of two actions; {evaluation.player} plays one of {evaluation.game.n_actions}")
    parts = [
        _rows(evaluation.game, meeting, player, {**evaluation.keys, "trained": trained})
        for meeting in evaluation.meetings
        for player in ("ego", "co")
    ]
    return pa.concat_tables(parts)


def check_path(path: Path) -> None:
    """Check before any game that a table of games can be written to ``path``; raises as `check_export`."""
    check_export(path, SCHEMA, OPTION, (".parquet",))


def _rows(game: MatrixGame, meeting: Meeting, player: str, keys: Mapping[str, Any]) -> pa.Table:
    first = player == "ego"
    (episodes, other), beliefs = (meeting.ego, meeting.co)[:: 1 if first else -1], meeting.beliefs[0 if first else 1]
    none = Beliefs(torch.full((*episodes.actions.shape, 2), float("nan")))  # of a player that has no beliefs
    frame = beliefs_table(game, episodes, beliefs or none)
    # The chosen actions: with noise, the observations that the beliefs are about show the played ones.
    frame["own"], frame["other"] = (["CD"[action] for action in side.actions.flatten().tolist()] for side in (episodes, other))
    frame["reward"] = episodes.rewards.flatten().tolist()
    frame = frame[episodes.going_on().flatten().tolist()].assign(**keys, opponent=meeting.opponent, player=player)
    return pa.Table.from_pandas(frame[SCHEMA.names], SCHEMA, preserve_index=False).replace_schema_metadata(None)
