"""The version, and the commit of the checkout that is running."""

import subprocess
from functools import cache
from pathlib import Path

__version__ = "0.1.0"


@cache
def commit() -> str:
    """The checkout's commit, followed by ``+`` if files of the package differ from it; empty for an installed package."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return ""
    try:
        head = _git(root, "rev-parse", "HEAD").strip()
        changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", "coopctx")
    except (OSError, subprocess.SubprocessError):  # no git, or not a checkout that it reads
        return ""
    return head + ("+" if changed else "")


def _git(root: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True, timeout=10).stdout
