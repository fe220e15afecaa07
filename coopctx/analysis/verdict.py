"""The verdict rule: the only place that decides what a measurement earns, and the sentences that explain it."""

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
    """What a row, or a claim, has earned. means: of a row, in one sentence. rank: the weakest row of a claim has the lowest."""

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
    """Where a number must be for its claim to hold, and what the number on the border means."""

    side: Side
    value: float
    because: str

    def holds(self, value: float) -> bool:
        """False for nan."""
        return value > self.value if self.side == "above" else value < self.value

    def __str__(self) -> str:
        return f"{'>' if self.side == 'above' else '<'} {self.value:.3g}"


def of_row(ours: Estimate | None, threshold: Threshold, target: Target) -> Verdict:
    """The rule, the same for every row."""
    if ours is None:
        return NOT_RUN
    if math.isnan(ours.low) or not (threshold.holds(ours.low) and threshold.holds(ours.high)):
        return NOT_REPRODUCED
    meets = ours.low <= target.value + target.tolerance and ours.high >= target.value - target.tolerance
    return REPRODUCED if meets else PARTLY


def of_claim(rows: Iterable[Verdict]) -> Verdict:
    """The weakest; ValueError without any."""
    return min(rows, key=lambda verdict: verdict.rank)


def counted(verdicts: Iterable[Verdict]) -> str:
    """How often each was given: ``5 reproduced, 1 partly, 2 not reproduced``; those given never are left out."""
    given = list(verdicts)
    return ", ".join(f"{given.count(verdict)} {verdict}" for verdict in VERDICTS if verdict in given)
