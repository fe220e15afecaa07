"""Is a player an extortioner? Press & Dyson's linear relation, and a memory-one picture of what the player does.

An extortioner's mean reward s_X and its co-player's s_Y obey s_X - P = chi (s_Y - P) with chi > 1, where P is what both
earn from mutual defection, *whatever* the co-player does (Press & Dyson, PNAS 109, 2012). So the test is to meet many
different co-players and see whether the points (s_Y - P, s_X - P) lie on one line through the origin, and how steep it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from coopctx.analysis.intervals import Estimate, estimate
from coopctx.game.matrix import COOPERATE, PRISONERS_DILEMMA
from coopctx.game.memory_one import ExpectedPlay, Floats, Payoffs, expected_play, long_run_payoffs

if TYPE_CHECKING:
    from coopctx.game.episodes import Episodes

OUTCOMES = ("start", "CC", "CD", "DC", "DD")  # what was last seen, own action first: the observation codes 0..4
_CORNERS = 2 ** len(OUTCOMES)  # deterministic memory-one strategies
LARGEST_RESIDUAL = 0.05  # payoff units per round: of points that are called on a line
LEAST_RISE = 2 * LARGEST_RESIDUAL  # of the player's reward along the line, over the spread of the co-players'
_ROUNDING = 1e-10  # a surplus no larger is none, nor is a slope so little above 1
_NORMAL_QUANTILE = 1.959963984540054  # of 0.975


@dataclass(frozen=True)
class ExtortionFit:
    """The line s_X - baseline = chi (s_Y - baseline) through the co-players met.

    chi         the slope. 1: the surplus is shared evenly (Tit-for-Tat); above 1: extortion; below 0: one's gain is the
                other's loss (Always-Defect: -T/S with P = 0)
    residual    root-mean-square distance of the player's reward from the line, payoff units per round
    spread      standard deviation of the co-players' rewards: with little of it, any player seems to be on a line
    co_players  how many were met
    """

    chi: Estimate
    residual: Estimate
    spread: float
    co_players: int

    @property
    def extorts(self) -> bool | None:
        """Whether the points are on a line steeper than 1: the interval of chi is above 1, and the residual at most
        `LARGEST_RESIDUAL`. None, cannot be told, where they are but the co-players' rewards vary so little that the line
        rises by less than `LEAST_RISE` over their standard deviation, or where there is no line at all."""
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

    Intervals are over seeds (`intervals.estimate`); the co-players are taken as given, so that they say nothing about
    others.

    Which way round: s_X is regressed on s_Y because the claim is about what a co-player's gain brings the player, and
    because the spread of co-players makes s_Y vary. That is right as long as s_Y is known well beside that spread. Sampling
    noise of s_Y pulls chi towards the slope that the games against one and the same co-player show among themselves (which
    is chi itself for a zero-determinant strategy, negative for a near-constant defector); its weight is the
    noise's share of the mean of (s_Y - baseline)^2, so average over enough games to make that share small. Noise also
    adds to the residual: of ZD-Extort-2 some 0.14 per square root of games of 100 rounds.

    A large residual means that there is no enforced line: what the player takes depends on who the co-player is, chi is the
    average rate of exchange over this spread of co-players and would be another over another spread, and "extortion" in
    Press & Dyson's sense is not what it does, however large chi is. Few rounds bend the line as well, even for an exact
    zero-determinant strategy (`zd_extortion` has the term), so compare with one played for as many rounds.

    Raises ValueError if a column is missing, a value not finite, fewer than two co-players were met, or none has any
    surplus.
    """
    own, co, present = _cells(table, baseline)
    per_seed = np.stack([present.sum(1), (co**2).sum(1), (own * co).sum(1), (own**2).sum(1)], -1)
    return ExtortionFit(
        estimate(per_seed, _slope),
        estimate(per_seed, _residual).within(0.0, np.inf),
        float((co.sum(0) / present.sum(0)).std(ddof=1)),
        own.shape[1],
    )


def in_a_word(extorts: object) -> str:
    """`ExtortionFit.extorts`, also as a parquet column has it: yes, no, cannot tell."""
    if not isinstance(extorts, bool | np.bool_):
        return "cannot tell"
    return "yes" if extorts else "no"


def spread_of_opponents(n: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """``n`` different memory-one co-players, probabilities of cooperating after start, CC, CD, DC, DD: float64 ``[n, 5]``.

    The first half, up to all 32, are corners: deterministic strategies in random order, Always-Defect, Tit-for-Tat and
    their like among them. The rest are U(0, 1)^5, the paper's tabular pool. Raises ValueError for n < 1.
    """
    if n < 1:
        raise ValueError(f"a spread has at least one co-player, not {n}")
    chosen = generator.permutation(_CORNERS)[: n // 2]
    corners = (chosen[:, None] >> np.arange(len(OUTCOMES))) & 1
    return np.concatenate([corners.astype(np.float64), generator.random((n - len(corners), len(OUTCOMES)))])


def episodes_table(ego: Episodes, co: Episodes, opponents: Sequence[str | int]) -> pd.DataFrame:
    """Rows ``opponent, reward, co_reward`` for `extortion_fit` from played games, one per co-player.

    Game g was played against ``opponents[g mod len(opponents)]``, as `TabularSpread` deals them out. Raises ValueError
    unless each met as many games.
    """
    if not opponents or len(ego) % len(opponents):
        raise ValueError(f"{len(ego)} games cannot be shared evenly by {len(opponents)} opponents")
    mean = [side.rewards.double().mean(1).view(-1, len(opponents)).mean(0).cpu().numpy() for side in (ego, co)]
    return pd.DataFrame({"opponent": list(opponents), "reward": mean[0], "co_reward": mean[1]})


def memory_one_table(
    strategy: ArrayLike, opponents: ArrayLike, rounds: int | None, payoffs: Payoffs = PRISONERS_DILEMMA.payoffs
) -> pd.DataFrame:
    """The same rows for a memory-one strategy ``[5]`` against ``opponents`` ``[n, 5]``, exact; rounds None: without end.

    Opponents are named by their row. Raises ValueError as `expected_play`.
    """
    if rounds is not None:
        return expected_table(expected_play(strategy, opponents, rounds, payoffs))
    reward, co_reward = long_run_payoffs(strategy, opponents, payoffs)
    return pd.DataFrame({"opponent": np.arange(len(reward)), "reward": reward, "co_reward": co_reward})


def expected_table(play: ExpectedPlay) -> pd.DataFrame:
    """The same rows for expected play against n co-players ``[n, rounds]``, such as the exact `best_response`."""
    reward, co_reward = play.reward.mean(-1), play.co_reward.mean(-1)
    return pd.DataFrame({"opponent": np.arange(len(reward)), "reward": reward, "co_reward": co_reward})


def episode_thirds(rounds: int) -> dict[str, tuple[int, int]]:
    """Windows ``early``, ``middle``, ``late``: first and last round of each third, counted from 1. ValueError below 3."""
    if rounds < 3:
        raise ValueError(f"an episode of {rounds} rounds has no thirds")
    first, second = rounds // 3, rounds - rounds // 3
    return {"early": (1, first), "middle": (first + 1, second), "late": (second + 1, rounds)}


def memory_one_fit(episodes: Episodes, windows: Mapping[str, tuple[int, int]]) -> pd.DataFrame:
    """How often the player cooperates after each last outcome, in windows of the episode.

    windows: first and last round of each, counted from 1 and both included (`episode_thirds` for the usual ones).
    A row per window and outcome (start, CC, CD, DC, DD, own action first), with columns ``window``, ``first_round``,
    ``last_round``, ``outcome``, ``cooperation_rate``, ``low``, ``high`` (95 % Wilson interval) and ``count`` (decisions);
    after an outcome that never occurred the rate is nan and the interval (0, 1).

    For a player with a longer memory this is the average over the histories that end so, of the games played here, not a
    rule it follows; and the interval, which takes decisions for independent, is then too narrow, as the decisions of one
    game hang together. Raises ValueError for a window outside the episode and for a game of more than two actions.
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
    if count == 0:
        return 0.0, 1.0
    z, rate = _NORMAL_QUANTILE, successes / count
    centre = rate + z**2 / (2 * count)
    half = z * np.sqrt(rate * (1 - rate) / count + z**2 / (4 * count**2))
    scale = 1 + z**2 / count
    return max(0.0, min(rate, float(centre - half) / scale)), min(1.0, max(rate, float(centre + half) / scale))


def _cells(table: pd.DataFrame, baseline: float) -> tuple[Floats, Floats, Floats]:
    """Own surplus, co-player's surplus and whether they met, each ``[seeds, co-players]``; 0 where they did not."""
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
