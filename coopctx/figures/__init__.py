"""Parquet in, pictures out: the figures of the paper, that of the sweeps, cross-play.

May import analysis and all that it may; never agents.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from coopctx.errors import unknown
from coopctx.figures import arena, coala, episodes, fig1, fig2, fig3, sensitivity, style
from coopctx.figures.runs import NothingToDraw
from coopctx.runs.files import check_folder
from coopctx.runs.read import Results

Build = Callable[[Results], tuple[Figure, list[str]]]
PAPER_FIGURES: dict[str, Build] = {
    "fig1": fig1.build,
    "fig2": fig2.build,
    "fig3": fig3.build,
    "fig4": partial(fig2.build, agent=fig2.A2C),
}
ALL: dict[str, Build] = {
    **PAPER_FIGURES,
    "coala": coala.build,
    "sensitivity": sensitivity.build,
    "episodes": episodes.build,
    "arena": arena.build,
}


@dataclass(frozen=True)
class Drawing:
    """paths: the files written. missing: one line for each part of the figures whose runs are not all there.

    left_out: one line for each folder or file that could not be used (`Results.left_out`).
    """

    paths: list[Path]
    missing: list[str]
    left_out: list[str]


def draw(figure: str, results: Results, out: Path, formats: Sequence[str]) -> Drawing:
    """Draw `figure` (such as "fig1", or "all" of them) from the finished runs into the folder `out`, once per format.

    Draws what there is when only some runs are finished or can be read, and says in the Drawing what is missing.
    Raises UsageError for an unknown figure or format; RunError when there is nothing to draw or a file cannot be written.
    """
    if figure != "all" and figure not in ALL:
        raise unknown("figure", figure, (*ALL, "all"))
    _check(formats, out)
    drawing = Drawing([], [], results.left_out)
    absent: list[NothingToDraw] = []
    for name in ALL if figure == "all" else [figure]:
        try:
            _draw(name, results, out, formats, drawing)
        except NothingToDraw as error:
            absent.append(error)
    if not drawing.paths:
        raise NothingToDraw("; ".join([str(absent[0]), *results.left_out]))
    lines = dict.fromkeys((*drawing.missing, *map(str, absent)))  # figures 1 and 3 are of the same runs
    return Drawing(drawing.paths, list(lines), results.left_out)


def save(drawn: Callable[[], Figure], name: str, out: Path, formats: Sequence[str]) -> list[Path]:
    """Write the figure that ``drawn`` makes as ``name`` into the folder ``out``, once per format; the paths.

    Raises UsageError for an unknown format, RunError when a file cannot be written.
    """
    _check(formats, out)
    paths = [out / f"{name}.{file_format}" for file_format in dict.fromkeys(formats)]
    with rc_context(style.RC):
        figure = drawn()
        for path in paths:
            style.save(figure, path, path.suffix.removeprefix("."))
    return paths


def _draw(name: str, results: Results, out: Path, formats: Sequence[str], drawing: Drawing) -> None:
    lacking: list[str] = []

    def drawn() -> Figure:
        figure, missing = ALL[name](results)
        lacking.extend(missing)
        return figure

    drawing.paths.extend(save(drawn, name, out, formats))
    drawing.missing.extend(lacking)


def _check(formats: Sequence[str], out: Path) -> None:
    for file_format in formats:
        if file_format not in style.FORMATS:
            raise unknown("format", file_format, style.FORMATS)
    check_folder(out)
