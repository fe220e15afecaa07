"""Checks of settings: types and ranges; a bad value is refused by the setting's name with a UsageError."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from coopctx.errors import UsageError

LARGEST_INTEGER = 2**31 - 1  # what every tensor size and index type can hold


class Limit(NamedTuple):
    """A range of allowed values: its wording in messages and its test."""

    text: str
    holds: Callable[[Any], bool]


AT_LEAST_1 = Limit(">= 1", lambda value: value >= 1)
AT_LEAST_2 = Limit(">= 2", lambda value: value >= 2)
POSITIVE = Limit("> 0", lambda value: value > 0)
NOT_NEGATIVE = Limit(">= 0", lambda value: value >= 0)
BETWEEN_0_AND_1 = Limit("> 0 and < 1", lambda value: 0 < value < 1)
FROM_0_TO_BELOW_1 = Limit(">= 0 and < 1", lambda value: 0 <= value < 1)
FROM_0_TO_1 = Limit(">= 0 and <= 1", lambda value: 0 <= value <= 1)
ABOVE_0_TO_1 = Limit("> 0 and <= 1", lambda value: 0 < value <= 1)
SQUARE = Limit(
    "n rows of n payoffs, n >= 2",
    lambda rows: len(rows) >= 2 and all(len(row) == len(rows) for row in rows),
)
NONZERO = Limit("counted from 1, or from the last as -1, -2, …", lambda phases: 0 not in phases)


@dataclass(frozen=True)
class Section:
    """A group of settings. On construction every value is checked; whole numbers become floats where floats belong."""

    def __post_init__(self) -> None:
        prefix = type(self).__name__.removesuffix("Config").lower()
        for name, hint in get_type_hints(type(self), include_extras=True).items():
            object.__setattr__(self, name, checked(f"{prefix}.{name}", hint, getattr(self, name)))


def shown(value: Any) -> str:
    """A value as it appears in a message: short, on one line; true and false as in TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    try:
        text = repr(value) if isinstance(value, str) else str(value)
    except ValueError:  # an integer of more digits than Python prints
        return "a number that large"
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:59]}…"


def checked(name: str, hint: Any, value: Any) -> Any:
    """`value` as the annotated type of setting `name`, or UsageError saying what is allowed."""
    limit: Limit | None = None
    if get_origin(hint) is Annotated:
        hint, limit = get_args(hint)
    try:
        typed = _typed(hint, value)
        if limit is None or limit.holds(typed):
            return typed
    except (TypeError, ValueError, OverflowError):
        pass
    kind = _KINDS.get(hint) or f"one of {', '.join(get_args(hint))}"
    wanted = f"{kind} {limit.text}" if limit else kind
    too_large = isinstance(value, int) and abs(value) > LARGEST_INTEGER and hint is int
    raise UsageError(f"{name} must be {wanted}{f' and <= {LARGEST_INTEGER}' if too_large else ''}, not {shown(value)}")


def check_number(name: str, value: int | None, least: int) -> None:
    """UsageError, naming the option or argument, unless the value is None or an integer from ``least`` to `LARGEST_INTEGER`."""
    if value is not None:
        checked(name, Annotated[int, Limit(f">= {least}", lambda number: number >= least)], value)


_KINDS = {
    int: "an integer",
    float: "a number",
    str: "a text",
    bool: "true or false",
    tuple[int, ...]: "a list of integers",
    tuple[tuple[float, ...], ...]: "a list of",
}


def _typed(hint: Any, value: Any) -> Any:
    """`value` as type `hint`, with no conversion that could hide a mistake; raises TypeError or ValueError."""
    if get_origin(hint) is tuple:
        if not isinstance(value, (list, tuple)):
            raise TypeError
        return tuple(_typed(get_args(hint)[0], item) for item in value)
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise ValueError
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not hint or (hint is float and not math.isfinite(value)) or (hint is int and abs(value) > LARGEST_INTEGER):
        raise TypeError
    return value + 0.0 if hint is float else value  # -0.0 becomes 0.0, so that equal settings have equal hashes
