"""The report in five sentences: each says for which agents a statement of the paper is confirmed, by its claims' verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from coopctx.analysis.claims import Checked, Claim, Row
from coopctx.analysis.verdict import NOT_REPRODUCED, NOT_RUN, PARTLY, REPRODUCED, Verdict, counted
from coopctx.experiments.agents import AGENTS
from coopctx.report.rows import PAPERS, by_agent, by_paper, verdict_of

# A claim of claims.toml by its title, and the measure of it that is shown.
MIXED = ("Mixed pool: cooperation with learners, best response to the others", "cooperation of the learners")
TOLD = ("Told their opponent, the learners do not cooperate", "cooperation of the learners, mixed pool minus told")
ALONE = (
    "Without tabular opponents the learners do not cooperate",
    "cooperation of the learners, mixed pool minus learners alone",
)
STEP_1 = ("Step 1: in-context best response", "cooperation vs Tit-for-Tat, rounds 51-89")
STEP_2 = ("Step 2: Fixed-ICL is extorted", "reward of the learner")
STEP_3 = ("Step 3: mutual extortion turns into cooperation", "cooperation of both, late in training")
CONFIRMED = {  # how a verdict is said of some agents
    REPRODUCED: "confirmed for {}",
    PARTLY: "confirmed for {} (though some numbers differ from the paper's)",
    NOT_REPRODUCED: "not confirmed for {}",
    NOT_RUN: "not run yet for {}",
}


@dataclass(frozen=True)
class Statement:
    """What the paper says, in plain words. measure: the claim that decides and its measure; shown: the measure in plain words."""

    text: str
    measure: tuple[str, str]
    shown: str


@dataclass(frozen=True)
class Finding:
    """A sentence that answers a question. evidence: a line per measure; verdicts: of the claims, with the agents' names."""

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
            "Cooperation fails if the agents are told whom they meet",
            TOLD,
            "cooperation rate lost when told",
        ),
        Statement(
            "it fails if there are no simple players to learn from",
            ALONE,
            "cooperation rate lost without simple players",
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
    """Five sentences about the paper that this package is about, for whichever of its agents there are claims."""
    claims = dict(by_paper(checked.claims)).get(PAPERS[0], [])
    return [_overall(claims), *(_answer(question, claims) for question in QUESTIONS)] if claims else []


def _overall(claims: Sequence[Claim]) -> Finding:
    """Whether the main result holds, and how many claims are reproduced."""
    main = [(AGENTS[claim.agent].label, claim.verdict) for claim in claims if claim.title == MIXED[0]]
    counts = []
    for agent, theirs in by_agent(claims):
        given = [verdict for claim in theirs if (verdict := verdict_of(claim)) is not None]
        counts.append(f"{AGENTS[agent].label}, {len(given)} claims: {counted(given)}")
    result = "that selfish agents come to cooperate if they meet a mix of opponents"
    sentence = f"The paper's main result, {result}, is {_confirmed(main)}."
    return Finding("Does the paper hold up?", sentence, tuple(counts), ())


def _answer(question: str, claims: Sequence[Claim]) -> Finding:
    told, evidence = [], []
    verdicts: list[tuple[str, Verdict]] = []
    for statement in QUESTIONS[question]:
        title, measure = statement.measure
        theirs = [claim for claim in claims if claim.title == title]
        given = [(AGENTS[claim.agent].label, claim.verdict) for claim in theirs]
        told.append(f"{statement.text}: {_confirmed(given)}")
        rows = [(claim.agent, row) for claim in theirs for row in claim.rows if row.spec.name == measure]
        if not rows:
            raise KeyError(f"no claim {title!r} with the measure {measure!r}")  # as claims.toml has it
        evidence.append(f"{statement.shown}: {'; '.join(_measured(agent, row) for agent, row in rows)}")
        verdicts += given
    once = tuple(verdicts) if len(told) == 1 else ()  # where two claims decide, the sentence has to do
    return Finding(question, f"{'. And '.join(told)}.", tuple(evidence), once)


def _confirmed(verdicts: Iterable[tuple[str, Verdict]]) -> str:
    """``confirmed for PPI and not confirmed for A2C``."""
    names: dict[Verdict, list[str]] = {}
    for name, verdict in verdicts:
        names.setdefault(verdict, []).append(name)
    said = []
    for verdict, of in names.items():
        both = " or " if verdict in (NOT_REPRODUCED, NOT_RUN) else " and "
        said.append(CONFIRMED[verdict].format(both.join(of)))
    return ", and ".join(said) or NOT_RUN.word


def _measured(agent: str, row: Row) -> str:
    """Ours with its interval and the paper's value: ``PPI 0.84 (0.73 to 0.95), paper 0.89``."""
    name, ours, target = AGENTS[agent].label, row.ours, row.spec.target
    if ours is None:
        return f"{name} not run yet"
    interval = "one seed" if ours.low != ours.low else f"{ours.low:z.2f} to {ours.high:z.2f}"
    return f"{name} {ours.value:z.2f} ({interval})" + ("" if target is None else f", paper {target.value:z.2f}")
