"""Lists of seeds as text: ``0-9`` or ``0,2,5-7``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from coopctx.errors import UsageError

MOST_SEEDS = 1000  # more than that in one command is a slip


def seeds_of(text: str) -> list[int]:
    """The seeds of ``"0,2,5-7"``, each once; UsageError naming the allowed form."""
    chosen: dict[int, None] = {}
    for part in text.split(","):
        match = re.fullmatch("([0-9]{1,9})(?:-([0-9]{1,9}))?", part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if last < first:
            raise UsageError(f"--seeds must be like 0-9 or 0,2,5-7 (whole numbers >= 0, ranges upwards), not {text!r}")
        if last - first + 1 + len(chosen) > MOST_SEEDS:
            raise UsageError(f"--seeds allows {MOST_SEEDS} seeds at most, {text!r} has more")
        chosen.update(dict.fromkeys(range(first, last + 1)))
    return list(chosen)


def seed_ranges(seeds: Sequence[int]) -> str:
    """[0, 1, 2, 5] -> "0-2, 5"."""
    ranges: list[list[int]] = []
    for seed in seeds:
        if ranges and seed == ranges[-1][1] + 1:
            ranges[-1][1] = seed
        else:
            ranges.append([seed, seed])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
