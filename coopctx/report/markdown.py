"""The report as a page of Markdown, and any table in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from coopctx.analysis.claims import Checked
from coopctx.experiments.agents import AGENTS
from coopctx.experiments.presets import caveat
from coopctx.report import rows


def markdown(checked: Checked, preset: str) -> str:
    """The whole page."""
    warning = f"**{caveat(preset)}**\n\n" if caveat(preset) else ""
    return f"# The paper's claims, preset {preset}\n\n{warning}{markdown_tables(checked)}"


def markdown_tables(checked: Checked) -> str:
    """A table per kind of agent with the number of each verdict, the exact references, and the notes.

    The claims of a paper other than the package's own follow a line that names it.
    """
    lines = []
    for paper, claims in rows.by_paper(checked.claims):
        lines += [] if paper is rows.PAPERS[0] else [f"**Claims of {paper.title}** ([{paper.name}]({paper.link}))", ""]
        for agent, theirs in rows.by_agent(claims):
            lines += [f"**{rows.headline(agent, theirs)}**", ""]
            between = len(rows.COLUMNS) - 1
            lines += ["| claim, and what measures it | " + " | ".join(rows.COLUMNS) + " |", "|---|" + "---:|" * between + "---|"]
            for claim in theirs:
                lines.append(f"| **{claim.title}** |" + " |" * between + f" **{rows.said_of(claim)}** |")
                lines += [f"| {rows.measure(row)} | {' | '.join(rows.cells(row))} |" for row in claim.rows]
            lines.append("")
    lines += ["**Exact references**, which are no claims of the paper", ""]
    columns = rows.REFERENCE_COLUMNS
    lines += ["| agent | measure | " + " | ".join(columns) + " |", "|---|---|" + "---:|" * len(columns)]
    for reference in checked.references:
        lines.append(f"| {AGENTS[reference.agent].label} | {reference.name} | {' | '.join(rows.reference_cells(reference))} |")
    lines += ["", *(f"{note}  " for note in rows.NOTES[:-1]), rows.NOTES[-1]]
    return "\n".join(lines) + "\n"


def markdown_table(headings: Sequence[str], lines: Iterable[Sequence[str]], left: int = 1) -> str:
    """A Markdown table, the first ``left`` columns aligned to the left and the others to the right."""
    ruler = [*["---"] * left, *["---:"] * (len(headings) - left)]
    return "".join(f"| {' | '.join(line)} |\n" for line in (headings, ruler, *lines))
