"""Write the report: a page of Markdown and one of HTML."""

from __future__ import annotations

import shlex
from operator import methodcaller
from pathlib import Path

from coopctx.analysis.claims import Checked, check
from coopctx.analysis.tables import PAPER_AGENTS, RUNS
from coopctx.experiments.pools import options_for
from coopctx.figures.runs import Runs, missing
from coopctx.report.markdown import markdown
from coopctx.report.page import PLAY, page
from coopctx.runs.files import check_writable, write_atomically
from coopctx.runs.read import Results


def write_report(runs: Results, out: Path, checked: Checked | None = None) -> list[Path]:
    """Write ``report.md`` and ``report.html``, which contains the figures, to the folder ``out``; same runs, same bytes.

    checked: the result of `claims.check` for ``runs``, if it is known already. Raises RunError as `claims.check`, and if ``out``
    cannot be written.
    """
    found = check(runs) if checked is None else checked
    command = shlex.join(["coopctx", "report", *options_for(runs.folder, runs.preset)])
    texts = {
        "report.md": markdown(found, runs.preset),
        "report.html": page(found, runs, command, play=(out / PLAY).is_file()),
    }
    check_writable(out)
    for name, text in texts.items():
        write_atomically(out / name, methodcaller("write", text.encode()))
    return [out / name for name in texts]


def lacking(runs: Results) -> list[str]:
    """A line for each run that lacks seeds that were asked for, with the command that trains them."""
    if runs.asked is None:
        return []
    wanted = [
        Runs(agent, run.removesuffix("-opponent-id"), run.endswith("-opponent-id")) for agent in PAPER_AGENTS for run in RUNS
    ]
    return [line for each in wanted for line in missing(each, runs)]
