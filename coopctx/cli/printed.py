"""What commands print, as generated blocks of the documentation, beside the report's own (`coopctx.report.blocks`)."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from coopctx.analysis.summaries import LAST_MEASUREMENTS, run_summary
from coopctx.bench.markdown import stored
from coopctx.cli import show
from coopctx.report.blocks import Block, Sources


def _seed_0(sources: Sources) -> str:
    """The output of ``coopctx train --agent ppi --pool mixed`` for the finished run, as a block of a page."""
    directory = sources.runs.folder / sources.runs.preset / "ppi-mixed" / "seed-0"
    printed = io.StringIO()
    table = show.runs_table(f"mean of the last {LAST_MEASUREMENTS} measurements", {0: run_summary(directory)})
    Console(file=printed, width=80).print(table)
    lines = [line.rstrip() for line in printed.getvalue().splitlines()]
    where = Path("results", *directory.parts[-3:])  # as in a clone
    lines += [f"{where}: {show.ENDINGS['unchanged']}", f"next: coopctx evaluate {where}"]
    return "\n".join(["```", *lines, "```", ""])


# Blocks of pages beside those of the report; bench: the measurements of speed that are kept beside the results.
PRINTED: dict[str, Block] = {"seed-0": _seed_0, "bench": lambda sources: stored(sources.runs.folder)}
