"""A figure in parts for a page: a picture per plot, titles and legends as text, and a description of each plot in words."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure, SubFigure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox
from numpy.typing import NDArray
from PIL import Image

from coopctx.figures import ALL, style
from coopctx.runs.read import Results

DPI = 200  # two dots for each pixel of the page
COLOURS = 64  # of a picture: lines, bands and letters need no more, and a page stays small
MARGIN = 4  # dots around a plot
DASHES = {"-": "", "--": "7 3", ":": "2 3"}  # of a line in a legend, as SVG has them
INK = to_hex(style.INK)


@dataclass(frozen=True)
class Picture:
    """A plot as PNG. alt: its description in words; width and height in pixels of the page."""

    png: bytes
    alt: str
    width: int
    height: int

    @property
    def source(self) -> str:
        """The picture as a data URL."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


@dataclass(frozen=True)
class Key:
    """An entry of a legend: the line's colour (#rrggbb; empty for a heading), its dashes as SVG has them, and its label."""

    label: str
    colour: str
    dashes: str


@dataclass(frozen=True)
class PagePanel:
    """The plots of one panel. letter: that of the paper's panel, if it has one; notes: the text below the plots in the figure."""

    letter: str
    title: str
    keys: tuple[Key, ...]
    pictures: tuple[Picture, ...]
    notes: str


def panels(figure: Figure) -> list[PagePanel]:
    """The panels of a figure as `coopctx.figures` builds it; the same figure gives the same bytes."""
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    dots = np.asarray(canvas.buffer_rgba())[..., :3]
    notes = plain(" ".join(text.get_text() for text in figure.texts[-1:]))
    holders: list[Figure | SubFigure] = [part for part in figure.subfigs if part.get_axes()] or [figure]
    return [_panel(holder, holder is figure, dots, canvas, notes) for holder in holders]


def drawn(name: str, results: Results) -> list[PagePanel]:
    """The panels of the figure ``name`` (`coopctx.figures.ALL`). Raises NothingToDraw if it has no finished run."""
    with matplotlib.rc_context(style.RC):
        figure, _ = ALL[name](results)
        return panels(figure)


def plain(text: str) -> str:
    """Text without mathematical signs: ``$\\mathit{PPI}^1_{extort}$`` becomes ``PPI 1 (extorter)``."""

    def words(found: re.Match[str]) -> str:
        name, number, kind = found.groups()
        return name + (f" {number}" if number else "") + (" (extorter)" if kind else "")

    return " ".join(re.sub(r"\$\\mathit\{([^}]*)\}(?:\^(\d))?(_\{\w+\})?\$", words, text).split())


def _panel(holder: Figure | SubFigure, whole: bool, dots: NDArray[np.uint8], canvas: FigureCanvasAgg, notes: str) -> PagePanel:
    texts = [] if whole else [plain(text.get_text()) for text in holder.texts]
    title = texts[0] if texts else ""
    letter = re.search(r"\b([A-Z])\. ", title)
    keys = tuple(key for legend in holder.legends for key in _keys(legend))
    pictures = []
    bars = [bar for axes in holder.get_axes() for bar in _bars(axes)]
    plots = [axes for axes in holder.get_axes() if axes not in bars]
    for axes, box in zip(plots, _boxes(plots, canvas), strict=True):
        own = axes.get_legend()
        known = keys or tuple(_keys(own) if own is not None else ())
        top, bottom = len(dots) - int(box.y1) - MARGIN, len(dots) - int(box.y0) + MARGIN
        cut = dots[max(top, 0) : bottom, max(int(box.x0) - MARGIN, 0) : int(box.x1) + MARGIN]
        pictures.append(_picture(cut, _words(axes, title, known)))
    name = title.partition(f"{letter.group(1)}. ")[2] if letter else title
    return PagePanel(letter.group(1) if letter else "", name, keys, tuple(pictures), texts[1] if len(texts) > 1 else notes)


def _boxes(plots: Sequence[Axes], canvas: FigureCanvasAgg) -> list[Bbox]:
    """The box of each plot with its labels, in dots from below; plots in one row have the same height."""
    tight = [_box(axes, canvas) for axes in plots]
    rows = [round(axes.get_position().y0, 3) for axes in plots]
    found = []
    for box, row in zip(tight, rows, strict=True):
        beside = [other for other, at in zip(tight, rows, strict=True) if at == row]
        found.append(Bbox.from_extents(box.x0, min(b.y0 for b in beside), box.x1, max(b.y1 for b in beside)))
    return found


def _box(axes: Axes, canvas: FigureCanvasAgg) -> Bbox:
    """The box of a plot with its labels and its colour bar, if it has one."""
    boxes = [each.get_tightbbox(canvas.get_renderer()) for each in (axes, *_bars(axes))]
    return Bbox.union([box for box in boxes if box is not None])


def _bars(axes: Axes) -> list[Axes]:
    """The axes of a plot's colour bars."""
    return [image.colorbar.ax for image in axes.images if image.colorbar is not None]


def _picture(dots: NDArray[np.uint8], alt: str) -> Picture:
    image, file = Image.fromarray(np.ascontiguousarray(dots)), io.BytesIO()
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(file, "png", optimize=True)
    return Picture(file.getvalue(), alt, image.width // 2, image.height // 2)


def _keys(legend: Legend) -> Iterable[Key]:
    for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
        label = plain(text.get_text())
        if isinstance(handle, Line2D) and handle.get_linestyle() != "None":
            yield Key(label, to_hex(handle.get_color()), DASHES.get(str(handle.get_linestyle()), ""))
        else:
            yield Key(label, "", "")


def _words(axes: Axes, title: str, keys: Sequence[Key]) -> str:
    """The description of a plot: its axes, and the first and last point of each line."""
    what = f"{plain(axes.get_ylabel())} against {plain(axes.get_xlabel())}".lower()
    name = ", ".join(text for text in (plain(axes.get_title("left") or axes.get_title()), title) if text)
    means = {line.get_gid(): line for line in reversed(axes.lines)}  # of an error bar the line comes first, its caps after it
    drawn = [means[gid] for gid in dict.fromkeys(line.get_gid() for line in axes.lines) if gid and _a_mean(gid)]
    lines = [_course(line, keys) for line in drawn if len(np.atleast_1d(line.get_xdata())) > 1]
    if axes.images:
        return " ".join([f"{name}.", *_shades(axes)])
    return f"{name + ': ' if name else ''}{what}. {' '.join(lines)}".strip()


def _shades(axes: Axes) -> list[str]:
    """The values of a heat map, such as ``PPI, A2C: 0.52.``; only the names if a row or column has none."""
    rows, columns = ([text.get_text() for text in axis.get_ticklabels()] for axis in (axes.yaxis, axes.xaxis))
    values: NDArray[np.float64] = np.ma.filled(np.ma.asarray(axes.images[0].get_array(), dtype=float), np.nan)
    if values.shape != (len(rows), len(columns)):
        return [f"Rows: {', '.join(rows)}.", f"Columns: {', '.join(columns)}."]
    named = [(row, column, values[i, j]) for i, row in enumerate(rows) for j, column in enumerate(columns)]
    return [f"{row}, {column}: {value:z.2f}." for row, column, value in named if not np.isnan(value)]


def _a_mean(gid: str) -> bool:
    """Whether a line is a mean, and not the dots of seeds or the mark of the preset's own value."""
    return gid != "own" and not gid.endswith("/seeds")


def _course(line: Line2D, keys: Sequence[Key]) -> str:
    x, y = np.asarray(line.get_xdata(), dtype=float), np.asarray(line.get_ydata(), dtype=float)
    colour, dashes = to_hex(line.get_color()), DASHES.get(str(line.get_linestyle()), "")
    same = [key for key in keys if key.colour == colour and key.dashes == dashes]
    alike = same or [key for key in keys if key.colour == colour]
    marked = [key for key in keys if key.colour == INK and key.dashes == dashes and key not in alike]
    label = ", ".join(key.label for key in [*alike[:1], *marked[:1]] if key.label != "None")
    return f"{label or 'Mean'}: from {y[0]:z.2f} at {x[0]:g} to {y[-1]:z.2f} at {x[-1]:g}."
