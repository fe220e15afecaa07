"""The report for a terminal of 80 columns or more, in brief and in full."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from coopctx.analysis.claims import Checked, Claim, Row
from coopctx.analysis.intervals import interval, number
from coopctx.analysis.verdict import NOT_REPRODUCED, NOT_RUN, PARTLY, REPRODUCED
from coopctx.experiments.agents import AGENTS
from coopctx.experiments.presets import caveat
from coopctx.report import rows

LINES = 10  # of the brief report, with the lines of the files written and of the next command
OTHERS = 3  # of these: the two files, and the next command
IN_A_TERMINAL = (0, 1, 4, 6)  # indices of the columns that fit 80 characters
STYLES = {REPRODUCED: "green", PARTLY: "yellow", NOT_REPRODUCED: "red", NOT_RUN: "dim", None: ""}


def brief(checked: Checked, preset: str) -> Group:
    """The number of each verdict by agent, and as many of the weakest measures as `LINES` lines hold."""
    agents = [(agent, theirs) for _, claims in rows.by_paper(checked.claims) for agent, theirs in rows.by_agent(claims)]
    shown = [Text(rows.headline(agent, theirs), style="bold") for agent, theirs in agents]
    room = (LINES - OTHERS - len(shown) - bool(caveat(preset))) // 2
    for agent, row in weakest(checked)[: max(room, 0)]:
        verdict = rows.said(row.verdict)
        ours = "" if row.ours is None else f"{number(row.ours.value)} ({interval(row.ours.low, row.ours.high)}), "
        wanted = "" if row.spec.threshold is None else f"must be {row.spec.threshold}, "
        told = Text(f"  {ours}{wanted}paper {rows.papers_value(row)}: ").append(verdict, style=STYLES[row.verdict])
        shown += [Text(f"weakest, {AGENTS[agent].label}: {row.spec.name}"), told]
    return Group(*shown)


def weakest(checked: Checked) -> list[tuple[str, Row]]:
    """The weakest row of each kind of agent (`strength`), weakest first; rows without a measure or threshold do not count."""
    found = {
        agent: row
        for agent, theirs in rows.by_agent(checked.claims)
        if (row := rows.weakest_row(row for claim in theirs for row in claim.rows))
    }
    return sorted(found.items(), key=lambda each: rows.strength(each[1]))


def full(checked: Checked, preset: str) -> Group:
    """All tables and notes, with the columns that fit; the pages of `write_report` have all columns."""
    shown: list[RenderableType] = []
    for paper, claims in rows.by_paper(checked.claims):
        if paper is not rows.PAPERS[0]:
            shown += [Text(f"Claims of {paper.title} ({paper.name})", style="bold"), Text()]
        for agent, theirs in rows.by_agent(claims):
            shown.append(Text(f"{rows.headline(agent, theirs)} (preset {preset})", style="bold underline"))
            for claim in theirs:
                shown += _claim(claim)
            shown.append(Text())
    shown.append(Text("Exact references: ours, exact, difference with its interval", style="bold underline"))
    table = _table(4)
    for reference in checked.references:
        values = rows.reference_cells(reference)
        table.add_row(Text(f"{AGENTS[reference.agent].label}, {reference.name}"), *(values[i] for i in (0, 2, 3, 4)))
    return Group(*shown, table, Text(), *(Text(note.replace("**", "")) for note in rows.NOTES))


def _claim(claim: Claim) -> Sequence[RenderableType]:
    table = _table(len(IN_A_TERMINAL))
    for row in claim.rows:
        *values, word = (rows.cells(row)[i] for i in IN_A_TERMINAL)
        table.add_row(Text(rows.unbroken(rows.measure(row))), *values, Text(word, style=STYLES[row.verdict]))
    verdict = Text(rows.said_of(claim), style=STYLES[rows.verdict_of(claim)])
    return Text.assemble("\n", (claim.title, "bold"), ": ", verdict), table


def _table(numbers: int) -> Table:
    columns = (Column(justify="right", no_wrap=True) for _ in range(numbers))
    return Table.grid(Column(overflow="fold", ratio=1), *columns, padding=(0, 1, 0, 0), pad_edge=True, expand=True)
