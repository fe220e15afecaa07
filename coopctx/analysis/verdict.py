"""The verdict rule and the sentences that explain it. No other module decides a verdict."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from coopctx.analysis.intervals import Estimate
from coopctx.analysis.paper import Target

Side = Literal["above", "below"]


@dataclass(frozen=True)
class Verdict:
    """The verdict of a row or claim. means: its meaning for a row, one sentence. rank: the lower, the weaker."""

    word: str
    means: str
    rank: int

    def __str__(self) -> str:
        return self.word


NOT_REPRODUCED = Verdict(
    "not reproduced",
    "some of our interval is on the other side of the threshold, or there are too few runs for an interval.",
    0,
)
NOT_RUN = Verdict("not run", "no finished run measures it.", 1)
PARTLY = Verdict(
    "partly",
    "all of our interval is on the threshold's side, but it misses the paper's value ± its tolerance.",
    2,
)
REPRODUCED = Verdict(
    "reproduced",
    "all of our interval is on the threshold's side, and it meets the paper's value ± its tolerance.",
    3,
)
VERDICTS = (REPRODUCED, PARTLY, NOT_REPRODUCED, NOT_RUN)  # in the order of the headline
OF_A_CLAIM = "A claim has the verdict of its weakest row (weakest first: not reproduced, not run, partly, reproduced)."


@dataclass(frozen=True)
class Threshold:
    """The values for which a claim holds: above or below ``value``."""

    side: Side
    value: float

    def holds(self, value: float) -> bool:
        """False for nan."""
        return value > self.value if self.side == "above" else value < self.value

    def __str__(self) -> str:
        return f"{'>' if self.side == 'above' else '<'} {self.value:.3g}"


def of_row(ours: Estimate | None, threshold: Threshold, target: Target) -> Verdict:
    """The verdict of a row; the rule is the same for all rows (docs/intervals.md)."""
    if ours is None:
        return NOT_RUN
    if math.isnan(ours.low) or not (threshold.holds(ours.low) and threshold.holds(ours.high)):
        return NOT_REPRODUCED
    meets = ours.low <= target.value + target.tolerance and ours.high >= target.value - target.tolerance
    return REPRODUCED if meets else PARTLY


def of_claim(rows: Iterable[Verdict]) -> Verdict:
    """The weakest of the rows' verdicts; ValueError without any row."""
    return min(rows, key=lambda verdict: verdict.rank)


def counted(verdicts: Iterable[Verdict]) -> str:
    """The number of each verdict, such as ``5 reproduced, 1 partly, 2 not reproduced``; verdicts never given are left out."""
    given = list(verdicts)
    return ", ".join(f"{given.count(verdict)} {verdict}" for verdict in VERDICTS if verdict in given)
