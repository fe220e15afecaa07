"""Null policies: players that learn nothing, and the tables that their runs would have.

A claim that one of them fulfils says nothing about learning. So each is put through the same reducers as the runs: against
memory-one players, and against itself, with its exact expected play (`memory_one.expected_play`); against the Fixed-ICL of
Step 2 with games that `coopctx evaluate` has played (`make nulls`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from coopctx.analysis.references import pool_members
from coopctx.errors import RunError
from coopctx.experiments.pools import POOLS
from coopctx.game.matrix import PRISONERS_DILEMMA
from coopctx.game.memory_one import Floats, expected_play, payoff_vector

PRIOR = "untrained prior"
# Probabilities of cooperating after start, CC, CD, DC, DD, own action first.
STRATEGIES: Mapping[str, tuple[float, ...]] = {
    "always-defect": (0, 0, 0, 0, 0),
    "always-cooperate": (1, 1, 1, 1, 1),
    "random": (0.5, 0.5, 0.5, 0.5, 0.5),
    "tit-for-tat": (1, 1, 0, 1, 0),
}
NULLS = (*STRATEGIES, PRIOR)
FILE = "nulls.parquet"  # beside the runs of a preset: the games of their Step-1 agents against the null policies
_POINTS = 512  # of the pool: expected play against it is good to 0.0005
STEPS = 30  # of a null's training, at each of which it is the same
_CURVES_AT = (0, 8, 10, 30)  # steps with within-episode curves: before training, early, at the end


def policy(null: str, agent: str) -> Floats:
    """Members of the memory-one strategies that the null policy draws from, one for each episode: ``[members, 5]``.

    The untrained prior is what an agent plays that samples from its own predictions before any training. PPI's is fitted
    to games of random memory-one players, and exact predictions of such a player, sampled, are such a player; A2C's
    readouts start at zero, which is to play both actions alike.
    """
    if null == PRIOR:
        return pool_members(_POINTS) if agent == "ppi" else np.array([STRATEGIES["random"]])
    return np.array([STRATEGIES[null]])


def tables(agent: str, run: str, rounds: int, played: pd.DataFrame | None) -> dict[str, pd.DataFrame]:
    """``training`` and ``episodes`` of runs of the null policies, as the reducers read them: expected values, and in place
    of the seed the name of the null policy.

    run: a folder's name without the agent, such as ``mixed-opponent-id``. played: what `games_against` gives, for runs
    against a Fixed-ICL; None where it has not been played, and then the tables lack them.
    """
    pool = POOLS[run.removesuffix("-opponent-id")]
    named = ("tit-for-tat", "always-cooperate", "always-defect") if pool.probed else ()
    opponents = (*pool.opponents, *named)
    fixed = "fixed-icl" in opponents
    within = _against_fixed_icl(agent, rounds, played) if fixed else _expected_rows(agent, opponents, rounds)
    if within.empty:
        return dict.fromkeys(("training", "episodes"), pd.DataFrame())
    means = within.groupby(["seed", "learner", "opponent", "player"], as_index=False)[list(_MEASURED)].mean()
    return {"training": _at(means, range(STEPS + 1)), "episodes": _at(within, _CURVES_AT)}


def games_against(results: Path, preset: str, agent: str) -> pd.DataFrame | None:
    """What the null policies' games against this agent's Step-1 agents came to: rows of `FILE`; None where there are none.

    Raises RunError naming the file where it is damaged.
    """
    path = results / preset / FILE
    if not path.exists():
        return None
    try:
        rows = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is damaged; make it anew with: make nulls") from error
    return rows[(rows["agent"] == agent) & (rows["experiment"] == "tabular")]


_MEASURED = ("cooperation_rate", "reward")


def _at(rows: pd.DataFrame, steps: Iterable[int]) -> pd.DataFrame:
    """The same rows at each of these steps of the training."""
    return pd.concat([rows.assign(iteration=step) for step in steps], ignore_index=True)


@cache
def _expected_rows(agent: str, opponents: Sequence[str], rounds: int) -> pd.DataFrame:
    """Expected cooperation and reward per round of every null policy (ego) and of each opponent (co)."""
    return pd.concat(
        [
            _rows(null, opponent, player, curve)
            for null in NULLS
            for opponent in opponents
            for player, curve in zip(("ego", "co"), _expected(null, agent, opponent, rounds), strict=True)
        ],
        ignore_index=True,
    )


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
    """Means over the Step-1 agents; in their games it is they who are the ego."""
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
