"""The paper's claims beside ours, for a terminal, as Markdown and as one HTML page; every cell from parquet (`claims`)."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Literal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from coopctx.analysis.claims import AGENTS, Claim, Row, check
from coopctx.analysis.intervals import interval, number
from coopctx.analysis.summaries import LAST_MEASUREMENTS
from coopctx.figures import FIGURES, image
from coopctx.figures.runs import NothingToDraw
from coopctx.runs.files import check_writable, write_atomically
from coopctx.runs.read import Results

COLUMNS = ("ours", "95 % interval", "n", "paper", "difference", "verdict")
STYLES = {"reproduced": "green", "partly": "yellow", "not": "red", "not run": "dim"}
NOTES = (
    "Ours: the mean over n seeds, all that are finished, and the 95 % bootstrap interval of that mean (seeds drawn anew with "
    "replacement, 10 000 times).",
    "Paper: read off its figures, ± 0.02 for reading and 1.96 s.d. / √seeds for the paper's own seeds, or ± 0.05 where that "
    "s.d. could not be read off. In the rows of exact references that column holds what is computed, not the paper's value.",
    "Verdict, one rule for all rows: **reproduced** if our mean is on the side of the threshold given in brackets and our "
    "interval overlaps the paper's value ± its tolerance; **partly** if our mean is on that side but the interval does not "
    "overlap, or there is only one seed; **not** if our mean is on the other side; **not run** if no finished run measures it.",
    f"Where nothing else is said, PPI: means over the last {LAST_MEASUREMENTS} phases, A2C: over the last tenth of the measured "
    "iterations; “the learners” are both of them. Late in the episode: its second half without the last tenth (rounds 51 to "
    "90 of 100). Early in training: the first within-episode curves (PPI: phase 8). Best in the first half: of whoever of the "
    "two cooperates less.",
)


def write_report(results: Path, preset: str, out: Path) -> list[Path]:
    """Write ``report.md`` and ``report.html``, the figures inside, to the folder ``out``; the same bytes for the same parquet.

    Raises RunError as `claims.check`, and where ``out`` cannot be written.
    """
    rows = check(results, preset)
    texts = {"report.md": markdown(rows, preset), "report.html": html(rows, preset, _images(results, preset))}
    check_writable(out)
    for name, text in texts.items():
        _write_text(out / name, text)
    return [out / name for name in texts]


def markdown(rows: Sequence[Row], preset: str) -> str:
    """A page of Markdown."""
    return f"# The paper's claims, preset {preset}\n\n{markdown_tables(rows)}"


def markdown_tables(rows: Sequence[Row]) -> str:
    """A table per kind of agent, how often each verdict was given, and the notes."""
    lines = []
    for agent, theirs in groupby(rows, key=lambda row: row.agent):
        listed = list(theirs)
        lines += [f"**{AGENTS[agent]}** ({counted(listed)})", ""]
        lines += ["| claim | measure | " + " | ".join(COLUMNS) + " |", "|---|---|" + "---:|" * 5 + "---|"]
        for heading, group in groupby(listed, key=lambda row: row.claim.heading):
            for index, row in enumerate(group):
                lines.append(f"| {'' if index else heading} | {measure(row.claim)} | {' | '.join(cells(row))} |")
        lines.append("")
    lines += [f"{note}  " for note in NOTES[:-1]] + [NOTES[-1]]
    return "\n".join(lines) + "\n"


def terminal(rows: Sequence[Row], preset: str) -> Group:
    """Tables for a terminal of 80 columns or more."""
    shown: list[RenderableType] = []
    for agent, theirs in groupby(rows, key=lambda row: row.agent):
        listed = list(theirs)
        title = f"{AGENTS[agent]}, preset {preset}: {counted(listed)}"
        table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
        table.add_column("claim", overflow="fold")
        for heading in COLUMNS:
            justify: Literal["left", "right"] = "left" if heading == "verdict" else "right"
            table.add_column(heading.replace("difference", "diff."), justify=justify, no_wrap=True)
        for heading, group in groupby(listed, key=lambda row: row.claim.heading):
            table.add_row(Text(heading, style="bold"))
            for row in group:
                *values, said = cells(row)
                table.add_row(Text(f"  {measure(row.claim)}"), *values, Text(said, style=STYLES[said]))
        shown += [table, Text()]
    return Group(*shown, *(Text(note.replace("**", "")) for note in NOTES))


def html(rows: Sequence[Row], preset: str, images: dict[str, bytes]) -> str:
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
    for agent, theirs in groupby(rows, key=lambda row: row.agent):
        parts.append(_html_table(AGENTS[agent], list(theirs)))
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


def cells(row: Row) -> list[str]:
    """What stands in `COLUMNS`."""
    paper = f"{short(row.target.value)} ± {short(row.target.tolerance)}"
    if row.ours is None:
        return ["-", "-", "0", paper, "-", row.verdict]
    ours, difference = row.ours, f"{row.ours.value - row.target.value:+z.3f}"
    return [number(ours.value), interval(ours.low, ours.high), str(ours.seeds), paper, difference, row.verdict]


def short(value: float) -> str:
    """Two decimals, three where it has them: ``0.50``, ``0.89``, ``0.045``."""
    return f"{value:z.3f}".removesuffix("0")


def measure(claim: Claim) -> str:
    """What is measured, with the threshold."""
    return f"{claim.name} ({'>' if claim.side == 'above' else '<'} {claim.threshold:.3g})"


def counted(rows: Sequence[Row]) -> str:
    """How often each verdict was given: ``12 reproduced, 3 partly, 1 not``."""
    verdicts = [row.verdict for row in rows]
    return ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in STYLES if verdict in verdicts)


def _html_table(agent: str, rows: Sequence[Row]) -> str:
    headings = ("measure", *COLUMNS)
    lines = [f"<h2>{agent}: {counted(rows)}</h2>\n<table>\n<thead><tr>"]
    lines += [f"<th>{heading}</th>" for heading in headings]
    lines.append("</tr></thead>")
    for heading, group in groupby(rows, key=lambda row: row.claim.heading):
        lines.append(f'<tbody>\n<tr><th colspan="{len(headings)}" scope="rowgroup">{escape(heading)}</th></tr>')
        for row in group:
            kind = row.verdict.replace(" ", "-")
            values = zip(headings, (measure(row.claim), *cells(row)), strict=True)
            filled = "".join(f'<td data-label="{label}">{_unbroken(value)}</td>' for label, value in values)
            lines.append(f'<tr class="{kind}">{filled}</tr>')
        lines.append("</tbody>")
    return "\n".join([*lines, "</table>"])


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
