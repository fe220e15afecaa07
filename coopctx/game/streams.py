"""Named random streams: one seed per run, one independent generator per purpose.

A stream is named after its purpose (``stream(seed, "play", phase, "learner")``); it does not depend on how many draws came
before it. A new stream therefore changes no other one, and a resumed run needs no saved random state.
"""

from __future__ import annotations

import hashlib

import torch


def stream(seed: int, *names: str | int) -> torch.Generator:
    """A CPU generator whose seed is the SHA-256 of ``seed`` and ``names``."""
    digest = hashlib.sha256("/".join(str(part) for part in (seed, *names)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
