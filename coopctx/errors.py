"""The errors a user meets. Each message is one clear line; the command line prints it without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable


class CoopctxError(Exception):
    """An error with a message that can be shown to the user as it is; the base of all others."""

    exit_status = 1


class UsageError(CoopctxError):
    """The request is wrong (an unknown name, an impossible value): exit status 2."""

    exit_status = 2


class RunError(CoopctxError):
    """The request could not be carried out (disk, damaged file, device): exit status 1."""


class Interrupted(CoopctxError):
    """The user pressed Ctrl-C: exit status 130, the convention of shells."""

    exit_status = 130


def suggestion(name: str, allowed: Iterable[str], near: float = 0.7) -> str:
    """How to end the message about an unknown name: the nearest allowed names, or all of them if none is near.

    near: how alike a name must be to be suggested, from 0 to 1; 1 is the same.
    """
    names = tuple(allowed)
    by_letters = {name.casefold(): name for name in reversed(names)}
    alike = difflib.get_close_matches(name.casefold(), by_letters, n=3, cutoff=near) if len(names) > 4 else []
    return f"did you mean {' or '.join(by_letters[found] for found in alike)}?" if alike else f"allowed: {', '.join(names)}"


def unknown(kind: str, name: str, allowed: Iterable[str]) -> UsageError:
    """The refusal of a ``kind`` (agent, pool, figure) that is called ``name``, which is not one of ``allowed``."""
    return UsageError(f"unknown {kind} {name!r}; {suggestion(name, allowed)}")


def check_known(kind: str, name: str, allowed: Collection[str]) -> None:
    """Raises `unknown` unless ``name`` is one of ``allowed``."""
    if name not in allowed:
        raise unknown(kind, name, allowed)
