"""The paper's figures, drawn from the parquet of finished runs alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import rc_context

from coopctx.errors import UsageError
from coopctx.plots import fig1, style

FIGURES = {"fig1": fig1.build}


@dataclass(frozen=True)
class Drawing:
    """paths: the files written. missing: one line for each part of the figures whose runs are not all there."""

    paths: list[Path]
    missing: list[str]


def draw(figure: str, results: Path, preset: str, out: Path, formats: Sequence[str]) -> Drawing:
    """Draw `figure` ("fig1", or "all" of them) from the runs under results/preset into the folder `out`, once per format.

    Draws what there is when only some runs are finished, and says in the Drawing what is missing.
    Raises UsageError for an unknown figure or format; RunError when there is nothing to draw, a table is damaged or a file
    cannot be written.
    """
    if figure != "all" and figure not in FIGURES:
        raise UsageError(f"unknown figure {figure!r}; there is: {', '.join(FIGURES)}, all")
    for file_format in formats:
        if file_format not in style.FORMATS:
            raise UsageError(f"unknown format {file_format!r}; there is: {', '.join(style.FORMATS)}")
    drawing = Drawing([], [])
    for name in FIGURES if figure == "all" else [figure]:
        with rc_context(style.RC):
            drawn, missing = FIGURES[name](results, preset)
            for file_format in dict.fromkeys(formats):
                path = out / f"{name}.{file_format}"
                style.save(drawn, path, file_format)
                drawing.paths.append(path)
        drawing.missing.extend(missing)
    return drawing
