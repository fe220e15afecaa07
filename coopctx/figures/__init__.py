"""Parquet in, pictures out: the figures of the paper and that of the sweeps.

May import analysis and all that it may; never agents.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from coopctx.errors import UsageError
from coopctx.figures import fig1, fig2, fig3, sensitivity, style
from coopctx.figures.runs import NothingToDraw

Build = Callable[[Path, str], tuple[Figure, list[str]]]
FIGURES: dict[str, Build] = {
    "fig1": fig1.build,
    "fig2": fig2.build,
    "fig3": fig3.build,
    "fig4": partial(fig2.build, agent=fig2.A2C),
}
ALL: dict[str, Build] = {**FIGURES, "sensitivity": sensitivity.build}


@dataclass(frozen=True)
class Drawing:
    """paths: the files written. missing: one line for each part of the figures whose runs are not all there."""

    paths: list[Path]
    missing: list[str]


def draw(figure: str, results: Path, preset: str, out: Path, formats: Sequence[str]) -> Drawing:
    """Draw `figure` (such as "fig1", or "all" of them) from the runs under results/preset into the folder `out`, once per format.

    Draws what there is when only some runs are finished, and says in the Drawing what is missing.
    Raises UsageError for an unknown figure or format; RunError when there is nothing to draw, a table is damaged or a file
    cannot be written.
    """
    if figure != "all" and figure not in ALL:
        raise UsageError(f"unknown figure {figure!r}; there is: {', '.join(ALL)}, all")
    for file_format in formats:
        if file_format not in style.FORMATS:
            raise UsageError(f"unknown format {file_format!r}; there is: {', '.join(style.FORMATS)}")
    drawing = Drawing([], [])
    absent: list[NothingToDraw] = []
    for name in ALL if figure == "all" else [figure]:
        try:
            _draw(name, results, preset, out, formats, drawing)
        except NothingToDraw as error:
            absent.append(error)
    if not drawing.paths:
        raise absent[0]
    lines = dict.fromkeys((*drawing.missing, *map(str, absent)))  # figures 1 and 3 are of the same runs
    return Drawing(drawing.paths, list(lines))


def image(figure: str, results: Path, preset: str) -> bytes:
    """A figure of the paper such as "fig1" as the contents of a PNG file, the same for the same runs.

    Raises NothingToDraw where there is no finished run of it, RunError where a table is damaged.
    """
    with rc_context(style.RC):
        drawn, _ = FIGURES[figure](results, preset)
        return style.encode(drawn, "png")


def _draw(name: str, results: Path, preset: str, out: Path, formats: Sequence[str], drawing: Drawing) -> None:
    with rc_context(style.RC):
        drawn, missing = ALL[name](results, preset)
        for file_format in dict.fromkeys(formats):
            path = out / f"{name}.{file_format}"
            style.save(drawn, path, file_format)
            drawing.paths.append(path)
    drawing.missing.extend(missing)
