"""Fill the generated blocks of Markdown files: the text between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from coopctx.errors import RunError, suggestion
from coopctx.report.blocks import BLOCKS, Block, Sources
from coopctx.runs.files import check_ordinary, write_atomically

MARKER = re.compile(r"^<!-- (begin|end) ([a-z0-9-]+) -->(?:\n|\Z)", re.MULTILINE)


def fill(path: Path, sources: Sources, blocks: Mapping[str, Block] = BLOCKS) -> None:
    """Make the contents of every block of the Markdown file ``path`` anew from the runs in ``sources``.

    Raises RunError if the file cannot be read or written or has no block, or a block is unknown or not closed.
    """
    check_ordinary(path)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"cannot read {path}: {error}") from error
    contents = filled(text, sources, blocks, str(path)).encode()
    write_atomically(path, lambda file: file.write(contents))


def filled(text: str, sources: Sources, blocks: Mapping[str, Block] = BLOCKS, name: str = "the text") -> str:
    """``text`` with every block filled and the rest unchanged. RunError as `fill`, naming the text ``name``."""
    parts: list[str] = []
    position = 0  # of the first character that has not been copied yet
    opened = ""
    for marker in MARKER.finditer(text):
        kind, block = marker.groups()
        if block not in blocks:
            raise RunError(f"{name}: no block is called {block!r}; {suggestion(block, blocks)}")
        if kind == "begin":
            if opened:
                raise RunError(f"{name}: <!-- begin {block} --> is inside block {opened}")
            opened = block
            parts += [text[position : marker.end()], blocks[block](sources)]
        else:
            if opened != block:
                raise RunError(f"{name}: <!-- end {block} --> has no <!-- begin {block} --> before it")
            opened = ""
        position = marker.start() if kind == "end" else marker.end()
    if opened:
        raise RunError(f"{name}: <!-- begin {opened} --> has no <!-- end {opened} --> after it")
    if not parts:
        raise RunError(f"{name} has no block to fill; a block is <!-- begin NAME --> and <!-- end NAME --> on lines of their own")
    return "".join([*parts, text[position:]])
