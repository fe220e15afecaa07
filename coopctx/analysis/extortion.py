"""Tests of extortion: Press & Dyson's linear relation, and cooperation rates by the last joint action.

The mean reward s_X of an extortioner and s_Y of its co-player obey s_X - P = chi (s_Y - P) with chi > 1 for *every* co-player,
where P is the payoff of mutual defection (Press & Dyson, PNAS 109, 2012). The test plays many different co-players and fits a
line through the origin to the points (s_Y - P, s_X - P): do they lie on it, and how steep is it?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from coopctx.analysis.intervals import Estimate, estimate, interval, number
from coopctx.game.matrix import COOPERATE, PRISONERS_DILEMMA
from coopctx.game.memory_one import Floats, Payoffs, long_run_payoffs

if TYPE_CHECKING:
    from coopctx.game.episodes import Episodes

OUTCOMES = ("start", "CC", "CD", "DC", "DD")  # what was last seen, own action first: the observation codes 0..4
_CORNERS = 2 ** len(OUTCOMES)  # deterministic memory-one strategies
LARGEST_RESIDUAL = 0.05  # payoff units per round: at most so much for points on a line
LEAST_RISE = 2 * LARGEST_RESIDUAL  # of the player's reward on the line, over one standard deviation of the co-players' rewards
_ROUNDING = 1e-10  # a surplus this small counts as 0, a slope this little above 1 as 1


@dataclass(frozen=True)
class ExtortionFit:
    """The line s_X - baseline = chi (s_Y - baseline) fitted to the co-players played.

    chi         the slope. 1: the surplus is shared evenly (Tit-for-Tat); above 1: extortion; below 0: one's gain is the
                other's loss (Always-Defect: -T/S with P = 0)
    residual    root-mean-square distance of the player's reward from the line, payoff units per round
    spread      standard deviation of the co-players' rewards; if it is small, any player seems to be on a line
    co_players  how many were played
    """

    chi: Estimate
    residual: Estimate
    spread: float
    co_players: int

    @property
    def extorts(self) -> bool | None:
        """Whether the points are on a line steeper than 1: the interval of chi is above 1, and the residual at most
        `LARGEST_RESIDUAL`. None (cannot tell) if they are, but the line rises by less than `LEAST_RISE` over the standard
        deviation of the co-players' rewards; None too if there is no line."""
        if np.isnan(self.chi.value):
            return None
        lowest = self.chi.value if np.isnan(self.chi.low) else self.chi.low
        if lowest <= 1 + _ROUNDING or self.residual.value > LARGEST_RESIDUAL:
            return False
        return True if self.chi.value * self.spread >= LEAST_RISE else None


def extortion_fit(table: pd.DataFrame, baseline: float = 0.0) -> ExtortionFit:
    """Regress the player's surplus over ``baseline`` on the co-player's, through the origin.

    table: a row per game or mean over games, with columns ``opponent`` (who the co-player was), ``reward`` and
    ``co_reward`` (mean per round, payoff units) and, where there are several runs, ``seed``. Rows of the same seed and
    opponent are averaged; then each pair counts once. baseline: P, the payoff of mutual defection, for extortion; R, that
    of mutual cooperation, for generosity (`generous_zd`).

    Intervals are over seeds (`intervals.estimate`). The co-players are taken as fixed: the intervals do not apply to others.

    s_X is regressed on s_Y because the claim is about the player's gain per unit of the co-player's gain, and because s_Y
    varies with the co-player. Sampling noise of s_Y biases chi towards the slope among games against the same co-player,
    which is chi itself for a zero-determinant strategy and negative for a near-constant defector. The weight of this slope is
    the noise's share of the mean of (s_Y - baseline)^2: average over enough games to make it small. Noise also adds to the
    residual; for ZD-Extort-2 about 0.14 / sqrt(games) with 100 rounds.

    A large residual means that the player enforces no line: its share depends on the co-player, chi is an average over these
    co-players that would differ for others, and the player does not extort in Press & Dyson's sense, however large chi is.
    With few rounds even an exact zero-determinant strategy deviates from its line (`zd_extortion` gives the term): compare
    with one that plays as many rounds.

    Raises ValueError if a column is missing, a value is not finite, there are fewer than two co-players, or none of them has
    a surplus.
    """
    own, co, present = _cells(table, baseline)
    per_seed = np.stack([present.sum(1), (co**2).sum(1), (own * co).sum(1), (own**2).sum(1)], -1)
    return ExtortionFit(
        estimate(per_seed, _slope),
        estimate(per_seed, _residual).within(0.0, np.inf),
        float((co.sum(0) / present.sum(0)).std(ddof=1)),
        own.shape[1],
    )


def fit_cells(fit: Mapping[Any, Any]) -> tuple[str, ...]:
    """Slope, its interval, residual, spread and verdict of a row of fits, as they are shown in tables."""
    slope = number(fit["chi"]), interval(fit["chi_low"], fit["chi_high"])
    return *slope, number(fit["residual"]), number(fit["spread"]), in_a_word(fit["extorts"])


def in_a_word(extorts: object) -> str:
    """`ExtortionFit.extorts`, or its value in a parquet column, in words: yes, no, cannot tell."""
    if not isinstance(extorts, bool | np.bool_):
        return "cannot tell"
    return "yes" if extorts else "no"


def spread_of_opponents(n: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """``n`` different memory-one co-players, probabilities of cooperating after start, CC, CD, DC, DD: float64 ``[n, 5]``.

    The first half (at most all 32) are deterministic strategies in random order, such as Always-Defect and Tit-for-Tat. The
    rest are drawn from U(0, 1)^5, the paper's tabular pool (App. A.2). Raises ValueError for n < 1.
    """
    if n < 1:
        raise ValueError(f"a spread has at least one co-player, not {n}")
    chosen = generator.permutation(_CORNERS)[: n // 2]
    corners = (chosen[:, None] >> np.arange(len(OUTCOMES))) & 1
    return np.concatenate([corners.astype(np.float64), generator.random((n - len(corners), len(OUTCOMES)))])


def episodes_table(ego: Episodes, co: Episodes, opponents: Sequence[str | int]) -> pd.DataFrame:
    """Rows ``opponent, reward, co_reward`` for `extortion_fit` from played games, one per co-player.

    Game g was played against ``opponents[g mod len(opponents)]``, see `TabularPlayer`. Raises ValueError unless all
    opponents played the same number of games.
    """
    if not opponents or len(ego) % len(opponents):
        raise ValueError(f"{len(ego)} games cannot be shared evenly by {len(opponents)} opponents")
    mean = [side.rewards.double().mean(1).view(-1, len(opponents)).mean(0).cpu().numpy() for side in (ego, co)]
    return pd.DataFrame({"opponent": list(opponents), "reward": mean[0], "co_reward": mean[1]})


def memory_one_table(strategy: ArrayLike, opponents: ArrayLike, payoffs: Payoffs = PRISONERS_DILEMMA.payoffs) -> pd.DataFrame:
    """The same rows for a memory-one strategy ``[5]`` against ``opponents`` ``[n, 5]`` in the infinite game, exact.

    Opponents are named by their row. Raises ValueError as `long_run_payoffs`.
    """
    reward, co_reward = long_run_payoffs(strategy, opponents, payoffs)
    return pd.DataFrame({"opponent": np.arange(len(reward)), "reward": reward, "co_reward": co_reward})


def episode_thirds(rounds: int) -> dict[str, tuple[int, int]]:
    """Windows ``early``, ``middle``, ``late``: first and last round of each third, counted from 1. ValueError below 3."""
    if rounds < 3:
        raise ValueError(f"an episode of {rounds} rounds has no thirds")
    first, second = rounds // 3, rounds - rounds // 3
    return {"early": (1, first), "middle": (first + 1, second), "late": (second + 1, rounds)}


def memory_one_fit(episodes: Episodes, windows: Mapping[str, tuple[int, int]]) -> pd.DataFrame:
    """The player's rate of cooperation after each joint action of the previous round, in windows of the episode.

    windows: first and last round of each, counted from 1 and both included, such as `episode_thirds`.
    A row per window and outcome (start, CC, CD, DC, DD, own action first), with columns ``window``, ``first_round``,
    ``last_round``, ``outcome``, ``cooperation_rate``, ``low``, ``high`` (95 % Wilson interval) and ``count`` (decisions);
    after an outcome that never occurred the rate is nan and the interval (0, 1).

    For a player with a longer memory the rate is an average over the histories of these games, not a rule that it follows. Its
    interval treats decisions as independent and is then too narrow, since the decisions of one game are correlated. Raises
    ValueError for a window outside the episode and for a game of more than two actions.
    """
    if int(episodes.observations.max()) >= len(OUTCOMES):
        raise ValueError("a memory-one fit is made for games of two actions")
    rows = []
    for name, (first, last) in windows.items():
        if not 1 <= first <= last <= episodes.rounds:
            raise ValueError(f"window {name!r}, rounds {first} to {last}, is not within rounds 1 to {episodes.rounds}")
        seen = episodes.observations[:, first - 1 : last].flatten().cpu().numpy()
        cooperated = (episodes.actions[:, first - 1 : last].flatten() == COOPERATE).cpu().numpy()
        counts = np.bincount(seen, minlength=len(OUTCOMES)).tolist()
        successes = np.bincount(seen[cooperated], minlength=len(OUTCOMES)).tolist()
        for outcome, count, cooperations in zip(OUTCOMES, counts, successes, strict=True):
            low, high = wilson_interval(cooperations, count)
            rate = cooperations / count if count else float("nan")
            rows.append((name, first, last, outcome, rate, low, high, count))
    columns = ["window", "first_round", "last_round", "outcome", "cooperation_rate", "low", "high", "count"]
    return pd.DataFrame(rows, columns=columns)


def wilson_interval(successes: int, count: int) -> tuple[float, float]:
    """95 % score interval for a probability (E. B. Wilson, JASA 22, 1927); (0, 1) without observations."""
    from scipy.stats import binomtest  # seconds

    found = binomtest(successes, count).proportion_ci(method="wilson") if count else (0.0, 1.0)
    return float(found[0]), float(found[1])


def _cells(table: pd.DataFrame, baseline: float) -> tuple[Floats, Floats, Floats]:
    """Own surplus, co-player's surplus and whether they played, each ``[seeds, co-players]``; 0 where they did not."""
    missing = {"opponent", "reward", "co_reward"} - set(table)
    if missing:
        raise ValueError(f"the table lacks {', '.join(sorted(missing))}")
    values = ["reward", "co_reward"]
    if not np.isfinite(table[values].to_numpy(dtype=np.float64)).all():
        raise ValueError("the table has rewards that are not finite")
    keyed = table if "seed" in table else table.assign(seed=0)
    surplus = (keyed.groupby(["seed", "opponent"])[values].mean() - baseline).unstack("opponent")
    present = np.asarray(surplus["reward"].notna(), dtype=np.float64)
    own, co = (surplus[name].fillna(0).to_numpy() for name in values)
    if present.shape[1] < 2:
        raise ValueError("a line needs at least two co-players")
    if np.abs(co).max() < _ROUNDING:
        raise ValueError("no co-player has any surplus, so there is no line to fit")
    return own, co, present


def _slope(means: Floats) -> Floats:
    """From means over seeds of the sums over co-players of 1, y^2, xy, x^2, ``[..., 4]``."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return means[..., 2] / means[..., 1]


def _residual(means: Floats) -> Floats:
    count, squares, products, own_squares = np.moveaxis(means, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt(np.maximum(own_squares - products**2 / squares, 0) / count)
