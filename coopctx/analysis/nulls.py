"""Null policies: players that do not learn, and the tables that their runs would have.

A claim that a null policy fulfils is no evidence of learning. Each null policy therefore goes through the same reducers as the
runs. Its play against memory-one players and against itself is exact (`memory_one.expected_play`); its games against the
Fixed-ICL of Step 2, and all that it plays in the place of one of COALA's agents, have been played before (`make nulls`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from coopctx.analysis.references import pool_members
from coopctx.errors import RunError
from coopctx.experiments.pools import POOLS
from coopctx.game.matrix import PRISONERS_DILEMMA
from coopctx.game.memory_one import NAMED_STRATEGIES, Floats, expected_play, payoff_vector

PRIOR = "untrained prior"
STRATEGIES = {name: NAMED_STRATEGIES[name] for name in ("always-defect", "always-cooperate", "random", "tit-for-tat")}
NULLS = (*STRATEGIES, PRIOR)
FILE = "nulls.parquet"  # beside the runs of a preset: the games of their Step-1 agents against the null policies
LEARNING_AWARE_FILE = "coala-nulls.parquet"  # beside it: the null policies in the place of COALA's meta agents
_POINTS = 512  # members that stand for the pool: the error of expected play against it is below 0.0005
ITERATIONS = 30  # iterations in its tables, all with the same values
_MEASURED = ("cooperation_rate", "reward")
_CURVES_AT = (0, 8, 10, 30)  # steps with within-episode curves: before training, early, at the end


def policy(null: str, agent: str) -> Floats:
    """The memory-one strategies from which the null policy draws one per episode, ``[members, 5]``.

    The untrained prior samples from an agent's own predictions before any training. PPI's model is fitted to games of random
    memory-one players; sampling from exact predictions of such a player is playing as such a player. A2C's readouts start
    at zero: both actions have the same probability.
    """
    if null == PRIOR:
        return pool_members(_POINTS) if agent == "ppi" else np.array([STRATEGIES["random"]])
    return np.array([STRATEGIES[null]])


def tables(agent: str, run: str, rounds: int, played: pd.DataFrame | None) -> dict[str, pd.DataFrame]:
    """``training`` and ``episodes`` of runs of the null policies, as the reducers read them: expected values, with the name of
    the null policy as the seed.

    run: a folder's name without the agent, such as ``mixed-opponent-id``. played: the result of `games_against`, for runs
    against a Fixed-ICL and all of COALA's; None if these games have not been played: then the tables of such runs are empty.
    """
    if agent == "coala":
        return _with_training(_in_place_of_coala(run, played))
    pool = POOLS[run.removesuffix("-opponent-id")]
    named = ("tit-for-tat", "always-cooperate", "always-defect") if pool.probed else ()
    opponents = (*pool.opponents, *named)
    if "fixed-icl" in opponents:
        return _with_training(_against_fixed_icl(agent, rounds, played))
    return _expected_tables(agent, opponents, rounds)


def _with_training(within: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Both tables from the rows of a meta-trajectory or an episode, a row per round."""
    if within.empty:
        return dict.fromkeys(("training", "episodes"), pd.DataFrame())
    means = within.groupby(["seed", "learner", "opponent", "player"], as_index=False)[list(_MEASURED)].mean()
    return {"training": _at(means, range(ITERATIONS + 1)), "episodes": _at(within, _CURVES_AT)}


def games_against(results: Path, preset: str, agent: str) -> pd.DataFrame | None:
    """The rows of `FILE` about the null policies' games against this kind of Step-1 agent, all of `LEARNING_AWARE_FILE` for
    COALA; None if there is no file.

    Raises RunError naming the file if it is damaged.
    """
    path = results / preset / (LEARNING_AWARE_FILE if agent == "coala" else FILE)
    if not path.exists():
        return None
    try:
        rows = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is damaged; make it anew with: make nulls") from error
    return rows if agent == "coala" else rows[(rows["agent"] == agent) & (rows["experiment"] == "tabular")]


def _at(rows: pd.DataFrame, steps: Iterable[int]) -> pd.DataFrame:
    """The same rows at each of these steps of the training."""
    return pd.concat([rows.assign(iteration=step) for step in steps], ignore_index=True)


@cache
def _expected_tables(agent: str, opponents: Sequence[str], rounds: int) -> dict[str, pd.DataFrame]:
    """Both tables from the expected cooperation and reward per round of every null policy (ego) and of each opponent (co)."""
    rows = [
        _rows(null, opponent, player, curve)
        for null in NULLS
        for opponent in opponents
        for player, curve in zip(("ego", "co"), _expected(null, agent, opponent, rounds), strict=True)
    ]
    return _with_training(pd.concat(rows, ignore_index=True))


def _rows(null: str, opponent: str, player: str, curve: Floats) -> pd.DataFrame:
    """A row per round from cooperation and reward, ``[2, rounds]``."""
    keys = {"seed": null, "learner": 1, "opponent": opponent, "player": player, "round": np.arange(1, curve.shape[1] + 1)}
    return pd.DataFrame(keys | dict(zip(_MEASURED, curve, strict=True)))


@cache
def _expected(null: str, agent: str, opponent: str, rounds: int) -> tuple[Floats, Floats]:
    own = policy(null, agent)
    others = {"learner": own, "tabular": pool_members(_POINTS)}
    other = others[opponent] if opponent in others else np.array([STRATEGIES[opponent]])
    if len(own) > 1 and len(other) > 1:  # exchanging C and D of either side maps the pool onto itself
        half = np.full(rounds, 0.5), np.full(rounds, float(payoff_vector(PRISONERS_DILEMMA.payoffs).mean()))
        return np.stack(half), np.stack(half)
    play = expected_play(own, other, rounds)
    return (
        np.stack([play.cooperation.mean(0), play.reward.mean(0)]),
        np.stack([play.co_cooperation.mean(0), play.co_reward.mean(0)]),
    )


def _against_fixed_icl(agent: str, rounds: int, played: pd.DataFrame | None) -> pd.DataFrame:
    """Means over the Step-1 agents, which are the ego in the rows of ``played``."""
    if played is None:
        return pd.DataFrame()
    prior = {"ppi": "tabular"}.get(agent, "random")
    found = []
    for null in NULLS:
        rows = played[(played["opponent"] == (prior if null == PRIOR else null)) & (played["round"] <= rounds)]
        for player, theirs in (("ego", "co"), ("co", "ego")):
            means = rows[rows["player"] == theirs].groupby("round")[list(_MEASURED)].mean()
            found.append(_rows(null, "fixed-icl", player, means.to_numpy().T))
    return pd.concat(found, ignore_index=True)


def _in_place_of_coala(run: str, played: pd.DataFrame | None) -> pd.DataFrame:
    """Rows against the naive learners of this run, and of copies; the untrained agent's readouts are 0, so it is random."""
    if played is None:
        return pd.DataFrame()
    pool = "exact-naive" if run.startswith("exact-") else "five-logit" if run.startswith("five-logit") else "naive"
    rows = played[played["pool"] == pool].rename(columns={"null": "seed"}).assign(learner=1)
    return pd.concat([rows, rows[rows["seed"] == "random"].assign(seed=PRIOR)], ignore_index=True)
