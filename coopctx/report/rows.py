"""Claims, their rows and the exact references as words and numbers, for all forms of the report."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from coopctx.analysis.claims import OURS_ONLY, UNTOUCHED, Claim, Row, meanings
from coopctx.analysis.intervals import Estimate, interval, number
from coopctx.analysis.nulls import NULLS
from coopctx.analysis.references import Reference
from coopctx.analysis.summaries import LAST_MEASUREMENTS
from coopctx.analysis.verdict import NOT_RUN, OF_A_CLAIM, VERDICTS, Verdict, counted
from coopctx.experiments.agents import AGENTS

COLUMNS = ("ours", "95 % interval", "n", "untouched", "paper", "null policies", "verdict")
REFERENCE_COLUMNS = ("ours", "95 % interval", "exact", "difference", "95 % interval")
NO_VERDICT = "–"
NOTES = (
    "Verdict, one rule for all rows: " + " ".join(f"**{verdict}**: {verdict.means}" for verdict in VERDICTS) + " " + OF_A_CLAIM,
    "In brackets after a measure stands its threshold, for which the claim holds. What the thresholds mean: "
    + "; ".join(f"{threshold}: {meaning}" for threshold, meaning in meanings().items())
    + ". A row without one is shown and has no verdict.",
    "Ours: the mean over all n finished seeds (of Step 3: pairs) with its 95 % interval, Student's t, for a difference between "
    "two runs Welch's; pairs that share a Step-2 agent are not taken for independent. How often these intervals cover the true "
    "value is in docs/intervals.md.",
    "Seen: seeds whose outcome was looked at while settings were chosen. Untouched: the mean over the others, and their number, "
    f"where there are at least {UNTOUCHED}.",
    "Paper: read off its figures, ± 0.02 for reading and 1.96 s.d. / √seeds for the paper's own seeds, or ± 0.05 where that "
    "s.d. could not be read off.",
    f"Null policies, which learn nothing: {', '.join(NULLS)} (PPI's is a random memory-one player, A2C's is taken as random), in "
    "this order; exact against memory-one players and each other, played against Fixed-ICL. No claim holds for any of them.",
    f"Where nothing else is said, PPI: means over the last {LAST_MEASUREMENTS} phases, A2C: over the last tenth of the "
    "iterations; “the learners” and “both” are means over the two. Elsewhere both sides are read at the same share of training. "
    "Early in training: after 27 % of it (PPI), 35 % (A2C).",
)


@dataclass(frozen=True)
class Paper:
    """A paper whose claims are checked. agents: the agents whose claims are from this paper if no row names another one."""

    name: str
    title: str
    agents: tuple[str, ...] = ()

    @property
    def link(self) -> str:
        return f"https://arxiv.org/abs/{self.name.removeprefix('arXiv:')}"


PAPERS = (
    Paper("arXiv:2602.16301", "Multi-agent cooperation through in-context co-player inference", ("ppi", "a2c")),
    Paper("arXiv:2410.18636", "Multi-agent cooperation through learning-aware policy gradients", ("coala",)),
)


@dataclass(frozen=True)
class Shown:
    """The place in a paper that shows a claim: the number of the figure and the letters of its panels, if they are known."""

    paper: Paper
    figure: str = ""
    panels: str = ""


def where(claim: Claim) -> Shown:
    """The place, from the sources of the claim's readings (``arXiv:2602.16301v1 Fig. 2A``); without any, its agent's paper."""
    sources = [row.spec.target.source for row in claim.rows if row.spec.target is not None]
    usual = next((paper for paper in PAPERS if claim.agent in paper.agents), PAPERS[0])
    paper = next((paper for paper in PAPERS if any(paper.name in source for source in sources)), usual)
    panels = [found.groups() for source in sources for found in re.finditer(r"Fig\. (\w*\d)([A-Z]?)", source)]
    figure = panels[0][0] if panels else ""
    return Shown(paper, figure, "".join(dict.fromkeys(letter for number, letter in panels if number == figure)))


def by_paper(claims: Iterable[Claim]) -> list[tuple[Paper, list[Claim]]]:
    """The claims of each paper, in the order of `PAPERS`."""
    found: dict[Paper, list[Claim]] = {}
    for claim in claims:
        found.setdefault(where(claim).paper, []).append(claim)
    return [(paper, found[paper]) for paper in PAPERS if paper in found]


def by_agent(claims: Iterable[Claim]) -> list[tuple[str, list[Claim]]]:
    """The claims about each kind of agent, in their order."""
    return [(agent, list(theirs)) for agent, theirs in groupby(claims, key=lambda claim: claim.agent)]


def verdict_of(claim: Claim) -> Verdict | None:
    """The claim's verdict; None for a claim that is ours only: none of its rows has a verdict."""
    return claim.verdict if any(row.verdict is not None for row in claim.rows) else None


def headline(agent: str, claims: Sequence[Claim]) -> str:
    """The number of each verdict: ``PPI, 8 claims: 5 reproduced, 1 partly, 2 not reproduced``."""
    given = [verdict for claim in claims if (verdict := verdict_of(claim)) is not None]
    if given:
        return f"{AGENTS[agent].label}, {len(given)} claims: {counted(given)}"
    lacking = sum(not_run(claim) == NOT_RUN.word for claim in claims)
    return f"{AGENTS[agent].label}, {OURS_ONLY}" + (f", {lacking} of {len(claims)} claims {NOT_RUN}" if lacking else "")


def strength(row: Row) -> tuple[int, float]:
    """The key that sorts rows from the weakest: the verdict, then the least distance of the interval from the threshold.

    ``row`` must be measured and have a verdict.
    """
    assert row.verdict is not None and row.ours is not None and row.spec.threshold is not None
    ends = row.ours.low, row.ours.high
    sign = 1 if row.spec.threshold.side == "above" else -1
    return row.verdict.rank, -math.inf if math.isnan(ends[0]) else min(sign * (end - row.spec.threshold.value) for end in ends)


def weakest_row(rows: Iterable[Row]) -> Row | None:
    """The weakest row among those that are measured and have a verdict; None if there is none."""
    return min((row for row in rows if row.ours is not None and row.verdict is not None), key=strength, default=None)


def not_run(claim: Claim) -> str:
    """``not run`` if no row of the claim is measured, ``partly not run`` if some are, empty if all are."""
    lacking = [row.ours is None for row in claim.rows]
    return NOT_RUN.word if all(lacking) else f"partly {NOT_RUN.word}" if any(lacking) else ""


def said_of(claim: Claim) -> str:
    """The text in a claim's column of verdicts; for a claim that is ours only, whether it was run."""
    verdict = verdict_of(claim)
    return (not_run(claim) or NO_VERDICT) if verdict is None else str(verdict)


def said(verdict: Verdict | None) -> str:
    """The text in a row's column of verdicts."""
    return NO_VERDICT if verdict is None else str(verdict)


def cells(row: Row) -> list[str]:
    """The cells of a row in `COLUMNS`."""
    ours, untouched = row.ours, row.untouched
    return [
        *_shown(ours),
        " and ".join(map(str, row.seeds)) + (f" ({row.seen} seen)" if row.seen else ""),
        "-" if untouched is None else f"{number(untouched.value)} ({untouched.seeds})",
        papers_value(row),
        " / ".join("-" if value != value else f"{value:z.2f}" for value in row.nulls.values()),
        said(row.verdict),
    ]


def reference_cells(reference: Reference) -> list[str]:
    """The cells of a reference in `REFERENCE_COLUMNS`."""
    if reference.ours is None or reference.difference is None:
        return ["not measured", "-", number(reference.exact), "-", "-"]
    difference = reference.difference
    return [
        *_shown(reference.ours),
        number(reference.exact),
        f"{difference.value:+z.4f}",
        "-" if difference.low != difference.low else f"{difference.low:+z.4f} to {difference.high:+z.4f}",
    ]


def papers_value(row: Row) -> str:
    """The paper's value and its tolerance; `OURS_ONLY` if the paper has none."""
    target = row.spec.target
    return OURS_ONLY if target is None else f"{short(target.value)} ± {short(target.tolerance)}"


def measure(row: Row) -> str:
    """The name of the measure, with the threshold."""
    return row.spec.name if row.spec.threshold is None else f"{row.spec.name} ({row.spec.threshold})"


def unbroken(text: object) -> str:
    """The text with its thresholds, such as ``> 0.5``, kept on one line."""
    return str(text).replace("< ", "<\u00a0").replace("> ", ">\u00a0")


def short(value: float) -> str:
    """Two decimals, or three if the third is not 0: ``0.50``, ``0.89``, ``0.045``."""
    return f"{value:z.3f}".removesuffix("0")


def _shown(estimate: Estimate | None) -> list[str]:
    return ["-", "-"] if estimate is None else [number(estimate.value), interval(estimate.low, estimate.high)]
