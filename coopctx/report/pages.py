"""The paper's claims beside ours, for a terminal, as Markdown and as one HTML page. Only formats what `claims.check` found."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from itertools import groupby
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from coopctx.analysis.claims import OURS_ONLY, UNTOUCHED, Checked, Claim, Row, check, meanings
from coopctx.analysis.intervals import Estimate, interval, number
from coopctx.analysis.nulls import NULLS
from coopctx.analysis.references import Reference
from coopctx.analysis.summaries import LAST_MEASUREMENTS
from coopctx.analysis.tables import AGENTS
from coopctx.analysis.verdict import NOT_REPRODUCED, NOT_RUN, OF_A_CLAIM, PARTLY, REPRODUCED, VERDICTS, Verdict, counted
from coopctx.experiments.agents import AGENTS as KINDS
from coopctx.figures import FIGURES, image
from coopctx.figures.runs import NothingToDraw
from coopctx.runs.files import check_writable, write_atomically
from coopctx.runs.read import Results

COLUMNS = ("ours", "95 % interval", "n", "untouched", "paper", "null policies", "verdict")
IN_A_TERMINAL = (0, 1, 4, 6)  # of the columns: as many as 80 characters hold
REFERENCE_COLUMNS = ("ours", "95 % interval", "exact", "difference", "95 % interval")
STYLES = {REPRODUCED: "green", PARTLY: "yellow", NOT_REPRODUCED: "red", NOT_RUN: "dim", None: ""}
NO_VERDICT = "–"
NOTES = (
    "Verdict, one rule for all rows: " + " ".join(f"**{verdict}**: {verdict.means}" for verdict in VERDICTS) + " " + OF_A_CLAIM,
    "Thresholds, in brackets, and what they mean: "
    + "; ".join(f"{threshold}: {meaning}" for threshold, meaning in meanings().items())
    + ". A row without one is shown and has no verdict.",
    "Ours: the mean over all n finished seeds (of Step 3: pairs) with its 95 % interval, Student's t, for a difference between "
    "two runs Welch's; pairs that share a Step-2 agent are not taken for independent. How often these intervals cover the true "
    "value is in docs/intervals.md.",
    "Seen: seeds whose outcome was looked at while settings were chosen. Untouched: the mean over the others, and their number, "
    f"where there are at least {UNTOUCHED}.",
    "Paper: read off its figures, ± 0.02 for reading and 1.96 s.d. / √seeds for the paper's own seeds, or ± 0.05 where that "
    "s.d. could not be read off.",
    f"Null policies, which learn nothing: {', '.join(NULLS)} (PPI's is a random memory-one player, A2C's uniform), in this "
    "order; exact against memory-one players and each other, played against Fixed-ICL. No claim holds for any of them.",
    f"Where nothing else is said, PPI: means over the last {LAST_MEASUREMENTS} phases, A2C: over the last tenth of the "
    "iterations; “the learners” and “both” are means over the two. Elsewhere both sides are read at the same share of training. "
    "Early in training: after 27 % of it (PPI), 35 % (A2C).",
)


def write_report(results: Path, preset: str, out: Path) -> list[Path]:
    """Write ``report.md`` and ``report.html``, the figures inside, to the folder ``out``; the same bytes for the same parquet.

    Raises RunError as `claims.check`, and where ``out`` cannot be written.
    """
    checked = check(results, preset)
    texts = {"report.md": markdown(checked, preset), "report.html": html(checked, preset, _images(results, preset))}
    check_writable(out)
    for name, text in texts.items():
        _write_text(out / name, text)
    return [out / name for name in texts]


def markdown(checked: Checked, preset: str) -> str:
    """A page of Markdown."""
    return f"# The paper's claims, preset {preset}\n\n{markdown_tables(checked)}"


def markdown_tables(checked: Checked) -> str:
    """A table per kind of agent, how often each verdict was given, the exact references, and the notes."""
    lines = []
    for agent, theirs in _by_agent(checked.claims):
        lines += [f"**{headline(agent, theirs)}**", ""]
        between = len(COLUMNS) - 1
        lines += ["| claim, and what measures it | " + " | ".join(COLUMNS) + " |", "|---|" + "---:|" * between + "---|"]
        for claim in theirs:
            lines.append(f"| **{claim.title}** |" + " |" * between + f" **{said(verdict_of(claim))}** |")
            lines += [f"| {measure(row)} | {' | '.join(cells(row))} |" for row in claim.rows]
        lines.append("")
    lines += ["**Exact references**, which are no claims of the paper", ""]
    lines += ["| agent | measure | " + " | ".join(REFERENCE_COLUMNS) + " |", "|---|---|" + "---:|" * len(REFERENCE_COLUMNS)]
    for reference in checked.references:
        lines.append(f"| {AGENTS[reference.agent]} | {reference.name} | {' | '.join(reference_cells(reference))} |")
    lines += ["", *(f"{note}  " for note in NOTES[:-1]), NOTES[-1]]
    return "\n".join(lines) + "\n"


def terminal(checked: Checked, preset: str) -> Group:
    """Tables for a terminal of 80 columns or more; what does not fit is in the pages that `write_report` writes."""
    shown: list[RenderableType] = []
    for agent, theirs in _by_agent(checked.claims):
        shown.append(Text(f"{headline(agent, theirs)} (preset {preset})", style="bold underline"))
        for claim in theirs:
            verdict = Text(said(verdict_of(claim)), style=STYLES[verdict_of(claim)])
            shown.append(Text.assemble("\n", (claim.title, "bold"), ": ", verdict))
            table = _terminal_table(len(IN_A_TERMINAL))
            for row in claim.rows:
                *values, word = (cells(row)[i] for i in IN_A_TERMINAL)
                name = measure(row).replace("> ", ">\u00a0").replace("< ", "<\u00a0")
                table.add_row(Text(name), *values, Text(word, style=STYLES[row.verdict]))
            shown.append(table)
        shown.append(Text())
    shown.append(Text("Exact references: ours, exact, difference with its interval", style="bold underline"))
    table = _terminal_table(4)
    for reference in checked.references:
        values = reference_cells(reference)
        table.add_row(Text(f"{AGENTS[reference.agent]}, {reference.name}"), *(values[i] for i in (0, 2, 3, 4)))
    return Group(*shown, table, Text(), *(Text(note.replace("**", "")) for note in NOTES))


def html(checked: Checked, preset: str, images: dict[str, bytes]) -> str:
    """One page with the figures (PNG) in it and nothing outside it; it reads well on a phone and in print."""
    style = resources.files("coopctx.report").joinpath("data/report.css").read_text("utf-8")
    title = f"The paper's claims, preset {escape(preset)}"
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<h1>{title}</h1>",
        '<p>Reproduction of <a href="https://arxiv.org/abs/2602.16301">Multi-agent cooperation through in-context co-player '
        "inference</a>; every number is computed from the runs' tables.</p>",
    ]
    parts += [_html_table(agent, theirs) for agent, theirs in _by_agent(checked.claims)]
    parts.append(_html_references(checked.references))
    parts += [f"<p class=note>{_emphasised(note)}</p>" for note in NOTES]
    for name, contents in images.items():
        number_ = name.removeprefix("fig")
        data = base64.b64encode(contents).decode()
        parts.append(
            f'<figure><img alt="Our figure {number_}" style="--natural: {_css_width(contents)}px" '
            f'src="data:image/png;base64,{data}">'
            f"<figcaption>Our figure {number_}: the same quantities as in the paper's.</figcaption></figure>"
        )
    return "\n".join([*parts, "</body>\n</html>\n"])


def headline(agent: str, claims: Sequence[Claim]) -> str:
    """How often each verdict was given: ``PPI, 8 claims: 5 reproduced, 1 partly, 2 not reproduced``."""
    given = [verdict for claim in claims if (verdict := verdict_of(claim)) is not None]
    return f"{KINDS[agent].label}, {len(given)} claims: {counted(given)}" if given else f"{KINDS[agent].label}, {OURS_ONLY}"


def verdict_of(claim: Claim) -> Verdict | None:
    """None for a claim that is ours only: none of its rows has a verdict."""
    return claim.verdict if any(row.verdict is not None for row in claim.rows) else None


def said(verdict: Verdict | None) -> str:
    """A verdict in its column."""
    return NO_VERDICT if verdict is None else str(verdict)


def cells(row: Row) -> list[str]:
    """What stands in `COLUMNS`."""
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
    """What stands in `REFERENCE_COLUMNS`."""
    if reference.ours is None or reference.difference is None:
        return ["not run", "-", number(reference.exact), "-", "-"]
    difference = reference.difference
    return [
        *_shown(reference.ours),
        number(reference.exact),
        f"{difference.value:+z.4f}",
        "-" if difference.low != difference.low else f"{difference.low:+z.4f} to {difference.high:+z.4f}",
    ]


def papers_value(row: Row) -> str:
    """The paper's value and how far it may be off; what is in no paper is ours only."""
    target = row.spec.target
    return OURS_ONLY if target is None else f"{short(target.value)} ± {short(target.tolerance)}"


def measure(row: Row) -> str:
    """What is measured, with the threshold."""
    return row.spec.name if row.spec.threshold is None else f"{row.spec.name} ({row.spec.threshold})"


def short(value: float) -> str:
    """Two decimals, three where it has them: ``0.50``, ``0.89``, ``0.045``."""
    return f"{value:z.3f}".removesuffix("0")


def _by_agent(claims: Iterable[Claim]) -> list[tuple[str, list[Claim]]]:
    return [(agent, list(theirs)) for agent, theirs in groupby(claims, key=lambda claim: claim.agent)]


def _shown(estimate: Estimate | None) -> list[str]:
    return ["-", "-"] if estimate is None else [number(estimate.value), interval(estimate.low, estimate.high)]


def _terminal_table(numbers: int) -> Table:
    table = Table.grid(padding=(0, 1, 0, 0), pad_edge=True)
    table.add_column(overflow="fold", ratio=1)
    for _ in range(numbers):
        table.add_column(justify="right", no_wrap=True)
    table.expand = True
    return table


def _html_table(agent: str, claims: Sequence[Claim]) -> str:
    headings = ("measure", *COLUMNS)
    lines = [f"<h2>{headline(agent, claims)}</h2>\n<table>\n<thead><tr>"]
    lines += [f"<th>{heading}</th>" for heading in headings]
    lines.append("</tr></thead>")
    for claim in claims:
        title = f'<th colspan="{len(headings) - 1}" scope="rowgroup">{escape(claim.title)}</th>'
        lines.append(f'<tbody>\n<tr class="claim {_css_class(verdict_of(claim))}">{title}<th>{said(verdict_of(claim))}</th></tr>')
        lines += [_html_row(_css_class(row.verdict), measure(row), cells(row)) for row in claim.rows]
        lines.append("</tbody>")
    return "\n".join([*lines, "</table>"])


def _html_row(kind: str, name: str, values: Sequence[str]) -> str:
    labelled = zip(("measure", *COLUMNS), (name, *values), strict=True)
    filled = "".join(f'<td data-label="{label}">{_unbroken(value)}</td>' for label, value in labelled)
    return f'<tr class="{kind}">{filled}</tr>'


def _html_references(references: Sequence[Reference]) -> str:
    headings = ("measure", *REFERENCE_COLUMNS)
    lines = ["<h2>Exact references, which are no claims of the paper</h2>\n<table class=references>\n<thead><tr>"]
    lines += [f"<th>{heading}</th>" for heading in headings]
    lines.append("</tr></thead>\n<tbody>")
    for reference in references:
        values = (f"{AGENTS[reference.agent]}, {reference.name}", *reference_cells(reference))
        filled = "".join(f'<td data-label="{label}">{escape(value)}</td>' for label, value in zip(headings, values, strict=True))
        lines.append(f"<tr>{filled}</tr>")
    return "\n".join([*lines, "</tbody>\n</table>"])


def _css_class(verdict: Verdict | None) -> str:
    return "no-verdict" if verdict is None else verdict.word.replace(" ", "-")


def _unbroken(text: str) -> str:
    """Escaped, and a threshold such as ``> 0.5`` stays on one line."""
    return escape(text).replace("&lt; ", "&lt;&nbsp;").replace("&gt; ", "&gt;&nbsp;")


def _emphasised(note: str) -> str:
    parts = escape(note).split("**")
    return "".join(f"<b>{part}</b>" if index % 2 else part for index, part in enumerate(parts))


def _images(results: Path, preset: str) -> dict[str, bytes]:
    """The figures that there are runs for."""
    found = {}
    for name in FIGURES:
        try:
            found[name] = image(name, Results(results, preset))
        except NothingToDraw:
            continue
    return found


def _write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda file: file.write(text.encode()))


def _css_width(png: bytes) -> int:
    """How wide a figure is meant to be, in CSS pixels: it has two of its own for each. The width stands in the header."""
    return int.from_bytes(png[16:20], "big") // 2
