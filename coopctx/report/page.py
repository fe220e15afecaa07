"""The contents of the report as one HTML page that needs no other file; `templates/` has its layout and style."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from coopctx._version import __version__
from coopctx.analysis.claims import Checked, Claim
from coopctx.analysis.verdict import NOT_REPRODUCED, NOT_RUN, PARTLY, REPRODUCED
from coopctx.experiments.agents import AGENTS
from coopctx.experiments.presets import caveat
from coopctx.figures import ALL
from coopctx.figures.runs import NothingToDraw
from coopctx.report import rows
from coopctx.report.extortion import extortion_tests
from coopctx.report.findings import findings
from coopctx.report.pictures import PagePanel, drawn
from coopctx.report.provenance import provenance
from coopctx.report.rows import PAPERS, Paper, by_agent, by_paper
from coopctx.report.watch import with_strangers
from coopctx.runs.read import Results

TITLE = "Do selfish agents learn to cooperate?"
WORDS = {REPRODUCED: "reproduced", PARTLY: "partly reproduced", NOT_REPRODUCED: "not reproduced", NOT_RUN: "not run yet"}
MARKS = {REPRODUCED: "✓", PARTLY: "◐", NOT_REPRODUCED: "✗", NOT_RUN: "–"}
PLAY = "play.html"  # the page to play against an agent, if it is in the folder of the report


@dataclass(frozen=True)
class Block:
    """Claims, and the panels of the figure that show them."""

    claims: tuple[Claim, ...]
    panels: tuple[PagePanel, ...]


@dataclass(frozen=True)
class Section:
    """A section of sections.toml with its claims and panels.

    number: of the figure in the paper; paper: only if it is not the page's own paper, then with ``headlines``; captions: by the
    panels' letters; found: the result of our runs in a sentence, or empty.
    """

    name: str
    title: str
    text: str
    found: str
    number: str
    paper: Paper | None
    captions: Mapping[str, str]
    headlines: tuple[str, ...]
    blocks: tuple[Block, ...]


def page(checked: Checked, runs: Results, command: str, play: bool = False) -> str:
    """The page; the same runs give the same text. command: that which makes the page; play: whether `PLAY` is in its folder.

    A figure without a finished run is left out, and any figure that cannot be drawn if ``runs`` is tolerant; otherwise RunError.
    """
    names = {"labels": {name: kind.label for name, kind in AGENTS.items()}, "papers": PAPERS, "paper": PAPERS[0]}
    tools = {name: getattr(rows, name) for name in ("cells", "headline", "measure", "not_run", "verdict_of")}
    return _template().render(
        title=TITLE,
        preset=runs.preset,
        caveat=caveat(runs.preset),
        version=__version__,
        css=Markup(_text("templates/report.css")),  # it is ours
        seeds=_seeds(checked.claims),
        command=command,
        play=PLAY if play else "",
        findings=findings(checked),
        glossary=_data("glossary")["word"],
        sections=sections(checked, runs),
        extortion=extortion_tests(runs),
        tables=[(paper, by_agent(claims)) for paper, claims in by_paper(checked.claims)],
        columns=list(rows.COLUMNS),
        reference_columns=list(rows.REFERENCE_COLUMNS),
        references=[
            (f"{AGENTS[reference.agent].label}, {reference.name}", *rows.reference_cells(reference))
            for reference in checked.references
        ],
        notes=rows.NOTES,
        provenance=provenance(runs),
        left_out=runs.left_out,
        **names,
        **tools,
    )


def sections(checked: Checked, runs: Results) -> list[Section]:
    """The sections of sections.toml that have a claim or a figure."""
    found = []
    for data in _data("sections")["section"]:
        claims, panels = _claims(checked, data), _panels(data["figure"], runs)
        if claims or panels:
            paper = _paper(data)
            headlines = tuple(rows.headline(agent, theirs) for agent, theirs in by_agent(claims)) if paper else ()
            texts = {name: " ".join(data.get(name, "").split()) for name in ("name", "title", "text", "number")}
            beside = blocks(claims, panels)
            told = with_strangers(runs) if data["figure"] == "arena" else ""
            section = Section(**texts, found=told, paper=paper, captions=data["captions"], headlines=headlines, blocks=beside)
            found.append(section)
    return found


def blocks(claims: Sequence[Claim], panels: Sequence[PagePanel]) -> tuple[Block, ...]:
    """The claims in order, divided so that each panel stands beside the first claim that the paper shows in it.

    A panel that no claim names stands with the panel before it; panels without letters all stand in one block.
    """
    first: dict[str, int] = {}  # by a panel's letter, the first claim that names it
    for number, claim in enumerate(claims):
        for letter in rows.where(claim).panels:
            first.setdefault(letter, number)
    at = 0
    places: list[tuple[int, PagePanel]] = []
    for panel in panels:
        at = first.get(panel.letter, at)
        places.append((at, panel))
    starts = sorted({0, *(place for place, _ in places)}) if claims else [0]
    ends = [*starts[1:], max(len(claims), 1)]
    return tuple(
        Block(tuple(claims[start:end]), tuple(panel for place, panel in places if start <= place < end))
        for start, end in zip(starts, ends, strict=True)
    )


def _claims(checked: Checked, section: Mapping[str, Any]) -> list[Claim]:
    """The claims that a figure of the page's own paper shows, or all claims of another paper."""
    shown = [(claim, rows.where(claim)) for claim in checked.claims]
    if paper := _paper(section):
        return [claim for claim, where in shown if where.paper == paper]
    return [claim for claim, where in shown if where.paper == PAPERS[0] and where.figure == section.get("number", None)]


def _paper(section: Mapping[str, Any]) -> Paper | None:
    return next((paper for paper in PAPERS if paper.name == section.get("paper")), None)


def _panels(figure: str, runs: Results) -> list[PagePanel]:
    if figure in ALL:
        with runs.leaving_out_errors():
            try:
                return drawn(figure, runs)
            except NothingToDraw:
                return []
    return []


def _seeds(claims: Sequence[Claim]) -> str:
    """The numbers of seeds of each kind of agent: ``PPI 10, A2C 5 to 10``; empty if there are none."""
    found = []
    for agent, theirs in by_agent(claims):
        numbers = sorted({number for claim in theirs for row in claim.rows for number in row.seeds if number})
        if numbers:
            found.append(f"{AGENTS[agent].label} " + " to ".join(map(str, dict.fromkeys((numbers[0], numbers[-1])))))
    return ", ".join(found)


# The template ------------------------------------------------------------------------------------------------------


@cache
def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("coopctx.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"kind": lambda verdict: verdict.word.replace(" ", "-")}  # its class in the style sheet
    environment.filters |= {"mark": MARKS.__getitem__, "words": WORDS.__getitem__}
    environment.filters |= {"unbroken": rows.unbroken, "emphasised": _emphasised}
    return environment.get_template("report.html")


def _emphasised(note: str) -> Markup:
    """``**words**`` in bold."""
    parts = escape(note).split("**")
    return Markup("".join(f"<b>{part}</b>" if index % 2 else part for index, part in enumerate(parts)))


def _text(name: str) -> str:
    return resources.files("coopctx.report").joinpath(name).read_text("utf-8")


@cache
def _data(name: str) -> dict[str, Any]:
    return tomllib.loads(_text(f"data/{name}.toml"))
