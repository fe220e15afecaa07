"""Named random streams: one seed per run, one independent generator per purpose.

A stream is addressed by what it is for (``stream(seed, "play", phase, "learner")``), never by how many draws came
before it. Adding a stream therefore moves no other, and a resumed run needs no saved random state.
"""

from __future__ import annotations

import hashlib

import torch


def stream(seed: int, *names: str | int) -> torch.Generator:
    """A CPU generator whose seed is the SHA-256 of ``seed`` and ``names``."""
    digest = hashlib.sha256("/".join(str(part) for part in (seed, *names)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
