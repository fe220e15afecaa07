"""Sampling from given uniform random numbers, and counter-based random numbers.

All players sample with the same functions. A counter-based random number is a hash of its position, so the native kernel and
PyTorch have the same ones.
"""

from __future__ import annotations

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_MULTIPLIERS = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_LARGEST_KEY = 2**63 - 1  # excluded
_AT_ONCE = 16  # numbers of a stream that are computed together


def choose(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """Draw from ``probabilities`` [rows, outcomes] by inverting their cumulative sum at ``uniform`` [rows]; long [rows]."""
    cumulative = probabilities[:, :-1].cumsum(1)
    return (uniform[:, None] >= cumulative).sum(1)


def sample(logits: Tensor, uniform: Tensor) -> Tensor:
    """Actions, long [rows], from ``logits`` [rows, A] and ``uniform`` random numbers [rows]."""
    # Along the first dimension: PyTorch's softmax over two neighbouring numbers is many times slower.
    return choose(logits.t().softmax(0).t(), uniform)


class Counted:
    """Counter-based uniform random numbers for many games, one stream per game.

    Stream g of key k begins at s = hash(k + (g + 1) c), and its number t is hash(s + (t + 1) c) / 2^64, cut to 24 bits, where c
    is SplitMix64's constant and hash its finaliser (G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number
    generators", OOPSLA 2014), all modulo 2^64. src/play.h of the native kernel has the same.
    """

    def __init__(self, generator: torch.Generator, games: int) -> None:
        """The key is drawn from ``generator``, so each new object has other numbers."""
        self.key = int(torch.randint(_LARGEST_KEY, (), generator=generator))
        self._games, self._drawn = games, 0
        self._streams: Tensor | None = None
        self._next: list[Tensor] = []  # the last one first

    def next(self) -> Tensor:
        """The next number of every game, float32 [games], a multiple of 2^-24 in [0, 1)."""
        if self._streams is None:
            self._streams = _hash(_signed(self.key) + (torch.arange(self._games) + 1) * _signed(_GOLDEN))
        if not self._next:
            steps = torch.tensor([_signed((self._drawn + n) * _GOLDEN) for n in range(_AT_ONCE, 0, -1)])
            self._next = list(_shifted(_hash(self._streams + steps[:, None]), 40).float() * 2**-24)
            self._drawn += _AT_ONCE
        return self._next.pop()


def _hash(z: Tensor) -> Tensor:
    for shift, multiplier in zip((30, 27), _MULTIPLIERS, strict=True):
        z = (z ^ _shifted(z, shift)) * _signed(multiplier)
    return z ^ _shifted(z, 31)


def _shifted(z: Tensor, places: int) -> Tensor:
    """Shifted to the right; zeros fill the left."""
    return (z >> places) & (2 ** (64 - places) - 1)


def _signed(number: int) -> int:
    """The signed 64-bit integer with the lowest 64 bits of ``number``; tensors have no unsigned ones, and wrap around."""
    return (number + 2**63) % 2**64 - 2**63
