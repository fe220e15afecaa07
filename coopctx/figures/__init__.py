"""Parquet in, pictures out: the figures of the paper, that of the sweeps, cross-play.

May import analysis and all that it may; never agents.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from coopctx.errors import check_known
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
    """paths: the files written. missing: one line for each part of the figures whose runs are not all there."""

    paths: list[Path]
    missing: list[str]


def draw(figure: str, results: Results, out: Path, formats: Sequence[str]) -> Drawing:
    """Draw `figure` (such as "fig1", or "all" of them) from the finished runs into the folder `out`, once per format.

    Draws what there is when only some runs are finished or can be read, and says in the Drawing what is missing; what could
    not be used is in `Results.left_out`.
    Raises UsageError for an unknown figure or format; RunError when there is nothing to draw or a file cannot be written.
    """
    check_known("figure", figure, (*ALL, "all"))
    _check(formats, out)
    paths: list[Path] = []
    missing: list[str] = []
    absent: list[NothingToDraw] = []
    with rc_context(style.RC):
        for name in ALL if figure == "all" else [figure]:
            try:
                drawn, lacking = ALL[name](results)
            except NothingToDraw as error:
                absent.append(error)
            else:
                paths += _written(drawn, name, out, formats)
                missing += lacking
    if not paths:
        raise NothingToDraw("; ".join([str(absent[0]), *results.left_out]))
    return Drawing(paths, list(dict.fromkeys((*missing, *map(str, absent)))))  # figures 1 and 3 are of the same runs


def save(build: Callable[[], Figure], name: str, out: Path, formats: Sequence[str]) -> list[Path]:
    """Write the figure that ``build`` makes as ``name`` into the folder ``out``, once per format; the paths.

    Raises UsageError for an unknown format, RunError when a file cannot be written.
    """
    _check(formats, out)
    with rc_context(style.RC):
        return _written(build(), name, out, formats)


def _written(figure: Figure, name: str, out: Path, formats: Sequence[str]) -> list[Path]:
    paths = [out / f"{name}.{file_format}" for file_format in dict.fromkeys(formats)]
    for path in paths:
        style.save(figure, path, path.suffix.removeprefix("."))
    return paths


def _check(formats: Sequence[str], out: Path) -> None:
    for file_format in formats:
        check_known("format", file_format, style.FORMATS)
    check_folder(out)
