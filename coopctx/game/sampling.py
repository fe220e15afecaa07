"""Drawing actions and observations from given uniform random numbers, so that every player draws in the same way."""

from __future__ import annotations

from torch import Tensor


def choose(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """Draw from ``probabilities`` [rows, outcomes] by inverting their cumulative sum at ``uniform`` [rows]; long [rows]."""
    cumulative = probabilities[:, :-1].cumsum(1)
    return (uniform[:, None] >= cumulative).sum(1)


def sample(logits: Tensor, uniform: Tensor) -> Tensor:
    """Actions, long [rows], from ``logits`` [rows, A] and ``uniform`` random numbers [rows]."""
    # Along the first dimension: PyTorch's softmax over two neighbouring numbers is many times slower.
    return choose(logits.t().softmax(0).t(), uniform)
