"""The report in five sentences: for which agents the verdicts of the claims confirm each statement of the paper."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from coopctx.analysis.claims import Checked, Claim, Row
from coopctx.analysis.verdict import NOT_REPRODUCED, NOT_RUN, PARTLY, REPRODUCED, Verdict
from coopctx.experiments.agents import AGENTS
from coopctx.report.rows import PAPERS, by_agent, by_paper, headline, weakest_row

# A claim of claims.toml by its title, and the measure that is shown.
MIXED = ("Mixed pool: cooperation with learners, best response to the others", "cooperation of the learners")
TOLD = ("Told their opponent, the learners do not cooperate", "cooperation of the learners, mixed pool minus told")
ALONE = (
    "Without tabular opponents the learners do not cooperate",
    "cooperation of the learners, mixed pool minus learners alone",
)
STEP_1 = ("Step 1: in-context best response", "cooperation vs Tit-for-Tat, rounds 51-89")
STEP_2 = ("Step 2: Fixed-ICL is extorted", "reward of the learner")
STEP_3 = ("Step 3: mutual extortion turns into cooperation", "cooperation of both, late in training")
CONFIRMED = {  # a verdict about some agents in words
    REPRODUCED: "confirmed for {}",
    PARTLY: "confirmed for {} (though some numbers differ from the paper's)",
    NOT_REPRODUCED: "not confirmed for {}",
    NOT_RUN: "not run yet for {}",
}
CANNOT_TELL = "cannot be judged for {}, because these agents do not reach cooperation in the baseline, the mixed pool"
WEAKER = "weaker than in the paper for {}"
JOINED_BY_OR = (CONFIRMED[NOT_REPRODUCED], CONFIRMED[NOT_RUN], CANNOT_TELL)  # negated sentences: for PPI or A2C


@dataclass(frozen=True)
class Statement:
    """A statement of the paper in plain words.

    measure: the title of the claim that decides, and its measure; shown: the measure in plain words. baseline: for an ablation,
    whose measure is a drop in cooperation: the claim and the measure from which cooperation drops.
    """

    text: str
    measure: tuple[str, str]
    shown: str
    baseline: tuple[str, str] | None = None


@dataclass(frozen=True)
class Finding:
    """A question and the sentence that answers it. evidence: a line per measure; verdicts: of claims, with the agents' names."""

    question: str
    sentence: str
    evidence: tuple[str, ...]
    verdicts: tuple[tuple[str, Verdict], ...]


QUESTIONS: dict[str, tuple[Statement, ...]] = {
    "Do selfish agents come to cooperate?": (
        Statement(
            "Agents that learn against each other and against random simple players come to cooperate with each other, and "
            "still exploit the simple players",
            MIXED,
            "cooperation rate of the two learners with each other",
        ),
    ),
    "What does cooperation need?": (
        Statement(
            "Agents that are told who their opponent is do not come to cooperate",
            TOLD,
            "drop in cooperation when agents are told who their opponent is",
            baseline=MIXED,
        ),
        Statement(
            "Agents that never meet simple players do not come to cooperate",
            ALONE,
            "drop in cooperation when agents never meet simple players",
            baseline=MIXED,
        ),
    ),
    "Can an agent that adapts be exploited?": (
        Statement(
            "An agent that has learned to adapt to simple players is extorted by one that learns against it",
            STEP_2,
            "points per round of the extorter (both would get 1 by cooperating)",
        ),
    ),
    "What happens when two extorters meet?": (
        Statement(
            "Two extorters that learn against each other teach each other to cooperate",
            STEP_3,
            "cooperation rate of both at the end",
        ),
    ),
}


def findings(checked: Checked) -> list[Finding]:
    """The five sentences, about those agents of the package's own paper that have claims."""
    claims = dict(by_paper(checked.claims)).get(PAPERS[0], [])
    return [_overall(claims), *(_answer(question, claims) for question in QUESTIONS)] if claims else []


def _overall(claims: Sequence[Claim]) -> Finding:
    """Whether the main result holds, and how many claims are reproduced."""
    main = _joined((AGENTS[claim.agent].label, CONFIRMED[claim.verdict]) for claim in claims if claim.title == MIXED[0])
    sentence = f"The paper's main result, that selfish agents come to cooperate in a mix of opponents, is {main}."
    counts = tuple(headline(agent, theirs) for agent, theirs in by_agent(claims))
    return Finding("Does the paper hold up?", sentence, counts, ())


def _answer(question: str, claims: Sequence[Claim]) -> Finding:
    told: list[str] = []
    evidence: list[str] = []
    verdicts: list[tuple[str, Verdict]] = []
    for statement in QUESTIONS[question]:
        title, measure = statement.measure
        theirs = [claim for claim in claims if claim.title == title]
        given = [(AGENTS[claim.agent].label, claim.verdict) for claim in theirs]
        judged = _joined((AGENTS[claim.agent].label, _said(claim, statement, claims)) for claim in theirs)
        told.append(f"{statement.text}: {judged}")
        rows = [(claim.agent, row) for claim in theirs for row in claim.rows if row.spec.name == measure]
        if not rows:
            raise KeyError(f"no claim {title!r} with the measure {measure!r}")  # as claims.toml has it
        evidence.append(f"{statement.shown}: {'; '.join(_measured(agent, row) for agent, row in rows)}")
        evidence += _deciding(theirs, measure)
        verdicts += given
    once = tuple(verdicts) if len(told) == 1 else ()  # if two claims decide, the sentence says it all
    return Finding(question, f"{'. '.join(told)}.", tuple(evidence), once)


def _said(claim: Claim, statement: Statement, claims: Sequence[Claim]) -> str:
    """The judgement of a statement for the claim's agent; an ablation may also be weaker, or impossible to judge."""
    if claim.verdict is not NOT_REPRODUCED or statement.baseline is None:
        return CONFIRMED[claim.verdict]
    if _row(claims, claim.agent, statement.baseline).verdict is NOT_REPRODUCED:
        return CANNOT_TELL
    row = _row(claims, claim.agent, statement.measure)
    ours, target, threshold = row.ours, row.spec.target, row.spec.threshold
    if ours is None or target is None or threshold is None or not ours.low > 0:  # nan: one seed
        return CONFIRMED[NOT_REPRODUCED]
    return (
        f"{WEAKER} (cooperation drops by {ours.value:z.2f}, interval {ours.low:z.2f} to {ours.high:z.2f}, in the paper by "
        f"{target.value:z.2f}; to count as reproduced, all of the interval must be above {threshold.value:.2f}, half of the "
        "paper's drop)"
    )


def _row(claims: Sequence[Claim], agent: str, measure: tuple[str, str]) -> Row:
    title, name = measure
    return next(
        row for claim in claims if (claim.agent, claim.title) == (agent, title) for row in claim.rows if row.spec.name == name
    )


def _deciding(claims: Sequence[Claim], measure: str) -> list[str]:
    """The row that decides the verdict, for each claim whose shown row does not decide it."""
    lines = []
    for claim in claims:
        row = weakest_row(claim.rows)
        shown = next((each for each in claim.rows if each.spec.name == measure), None)
        if row is None or row.verdict != claim.verdict or (shown is not None and shown.verdict == claim.verdict):
            continue
        numbers = f"{_value(row)}, must be {row.spec.threshold}{_papers(row)}"
        lines.append(f"what decides for {AGENTS[claim.agent].label}: {row.spec.name} {numbers}: {row.verdict}")
    return lines


def _joined(judged: Iterable[tuple[str, str]]) -> str:
    """The judgements, each with the agents that it is about: ``confirmed for PPI, and not confirmed for A2C``."""
    names: dict[str, list[str]] = {}
    for name, words in judged:
        names.setdefault(words, []).append(name)
    said = [words.format((" or " if words in JOINED_BY_OR else " and ").join(of)) for words, of in names.items()]
    return ", and ".join(said) or NOT_RUN.word


def _measured(agent: str, row: Row) -> str:
    """Ours with its interval and the paper's value: ``PPI 0.84 (0.73 to 0.95), paper 0.89``."""
    return f"{AGENTS[agent].label} {_value(row)}{_papers(row)}" if row.ours else f"{AGENTS[agent].label} not run yet"


def _value(row: Row) -> str:
    assert row.ours is not None
    low, high = row.ours.low, row.ours.high
    return f"{row.ours.value:z.2f} ({'one seed' if low != low else f'{low:z.2f} to {high:z.2f}'})"


def _papers(row: Row) -> str:
    return "" if row.spec.target is None else f", paper {row.spec.target.value:z.2f}"
