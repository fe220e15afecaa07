"""How every figure looks and how it is written to disk: one palette, one set of fonts, files that come out the same each time."""

import io
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.typing import RcKeyType

from coopctx.errors import RunError
from coopctx.runs.files import write_atomically

# By opponent: apart for colour-blind readers (no red against green) and in print without colour (each of another lightness).
COLOURS = {
    "tabular": "#0a3a7a",
    "tit-for-tat": "#5c5c5c",
    "learner": "#d9482b",
    "always-defect": "#4fa0d8",
    "always-cooperate": "#f0b49f",
}
SIDES = {"ego": COLOURS["learner"], "co": COLOURS["tabular"]}  # where a panel shows both players of the same games
# A round by what both chose, the agent first: apart by hue for the colour-blind, and each of another lightness in print.
JOINT_ACTIONS = {"CC": "#f6e3b4", "CD": "#4fa0d8", "DC": "#d9482b", "DD": "#0a3a7a"}
INK = "#262626"
GRID = "#cccccc"

RC: dict[RcKeyType, Any] = {
    "font.family": "DejaVu Sans",  # shipped with matplotlib, so that every machine draws the same letters
    "mathtext.fontset": "dejavusans",
    "font.size": 10.0,
    "axes.labelsize": 11.0,
    "xtick.labelsize": 10.0,
    "ytick.labelsize": 10.0,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.edgecolor": GRID,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "lines.linewidth": 1.9,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,  # letters stay text: searchable, and editable in a vector program
    "svg.fonttype": "none",  # likewise
    "svg.hashsalt": "coopctx",  # or the names of clip paths would differ from one drawing to the next
}

# Per format: what would otherwise make two drawings of the same data differ.
FORMATS = {"png": {"Software": None}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}


def encode(figure: Figure, file_format: str) -> bytes:
    """`figure` as the contents of a file; the same data give the same bytes."""
    image = io.BytesIO()
    figure.savefig(image, format=file_format, metadata=FORMATS[file_format])
    return image.getvalue()


def save(figure: Figure, path: Path, file_format: str) -> None:
    """Write `figure` to `path`, whole or not at all.

    Raises RunError, naming the path, if it cannot be written.
    """
    image = encode(figure, file_format)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}") from error
    write_atomically(path, lambda file: file.write(image))
