"""One compiled precision of the kernel: sequences forward and backward, the model's losses, rollouts.

Arguments are contiguous float32 CPU tensors (index: int32); anything else raises ValueError. Precision "bf16" rounds the
operands of matrix products, and what is kept for the backward pass, to bfloat16 and sums in float32; "fp32" rounds nothing.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

import torch
from torch import Tensor

from coopctx.native.gates import Gates, address, check, check_optional, struct_of
from coopctx.native.signatures import EpisodesStruct, GradientStruct, declare

Result = TypeVar("Result")


@functools.cache
def pool(threads: int) -> ThreadPoolExecutor:
    """The kernel's own threads, which are kept between calls."""
    return ThreadPoolExecutor(threads, thread_name_prefix="coopctx-native")


def call(function: Callable[..., int], *arguments: object) -> None:
    """Call a function of the library. MemoryError for status 1, ValueError for 2 (see kernels.c)."""
    status = function(*arguments)
    if status == 1:
        raise MemoryError("the native kernel could not allocate its workspace")
    if status == 2:
        raise ValueError("games, actions or observations are out of range")


def in_turn(function: Callable[..., int], threads: int, tasks: int, *arguments: object) -> None:
    """Call ``function`` in up to ``threads`` threads; they take tasks from a common counter until none is left."""
    turn = ctypes.c_long()
    if threads <= 1 or tasks <= 1:
        call(function, *arguments, turn)
        return
    in_threads(threads, lambda _: call(function, *arguments, turn), range(min(threads, tasks)))


def in_threads(threads: int, function: Callable[..., Result], *arguments: Iterable[Any]) -> list[Result]:
    """``function`` of each of the zipped arguments, in the kernel's threads.

    All calls have ended when this returns or raises, after Ctrl-C too: they work on memory that the caller owns.
    """
    calls = [pool(threads).submit(function, *each) for each in zip(*arguments, strict=True)]
    try:
        return [each.result() for each in calls]
    finally:
        _wait_for(calls)


def _wait_for(calls: Sequence[Future[Any]]) -> None:
    try:
        wait(calls)
    except KeyboardInterrupt:  # a second one, while the first is on its way up
        _wait_for(calls)
        raise


class Kernel:
    """A compiled library. Calls release the GIL and use the calling thread alone, unless they have a ``threads`` argument."""

    def __init__(self, library: ctypes.CDLL, precision: str) -> None:
        self.precision = precision
        self.library = declare(library)
        self._own = threading.local()

    def forward(
        self, gates: Gates, extra: Tensor | None, index: Tensor, reward_in: Tensor, need_gradient: bool = True
    ) -> tuple[Tensor, Tensor | None]:
        """Outputs [B, T, n_out] from h = 0 for index [B, T] and reward_in [B, T]; and what `backward` reads, or None."""
        given = struct_of(gates)
        batch, time = _check_sequences(gates, extra, index, reward_in)
        out = torch.empty(batch, time, gates.outputs)
        size = self.library.coopctx_saved_bytes(given, batch, time) if need_gradient else 0
        saved = torch.empty(size, dtype=torch.uint8) if need_gradient else None
        pointers = map(address, (extra, index, reward_in, out, saved))
        call(self.library.coopctx_forward, given, batch, time, *pointers)
        return out, saved

    def backward(self, gates: Gates, saved: Tensor, d_outputs: Tensor, with_extra: bool) -> tuple[Gates, Tensor | None]:
        """Gradients of `forward`'s gates, and of extra or None, from those of its outputs [B, T, n_out]."""
        given = struct_of(gates)
        batch, time, _ = d_outputs.shape
        check("d_outputs", d_outputs, (batch, time, gates.outputs))
        check("saved", saved, (self.library.coopctx_saved_bytes(given, batch, time),), torch.uint8)
        gradient = Gates(*map(torch.zeros_like, gates))
        d_extra = torch.zeros(batch, 3 * gates.hidden) if with_extra else None
        pointers = saved.data_ptr(), d_outputs.data_ptr(), GradientStruct(*map(address, gradient)), address(d_extra)
        call(self.library.coopctx_backward, given, batch, time, *pointers)
        return gradient, d_extra

    def prediction_loss(
        self,
        gates: Gates,
        extra: Tensor | None,
        observations: Tensor,
        actions: Tensor,
        rewards: Tensor,
        games: Tensor,
        n_actions: int,
        n_observations: int,
        weights: Sequence[float],
    ) -> tuple[Tensor, Gates, Tensor | None]:
        """Losses [3] on the episodes numbered ``games`` (int64 [B]), and the gradients of their sum weighted by ``weights``.

        Outputs and table as in `rollouts`; observations uint8 [N, T + 1], actions uint8 [N, T], rewards [N, T], extra
        [B, 3 * hidden]. The losses are means over tokens: negative log-likelihood of the next observation given the
        action, of the action, and squared error of the reward predicted for both. Gradients of gates and of extra.
        """
        given = struct_of(gates)
        _check_world(gates, n_actions, n_observations)
        count, time = actions.shape
        check("observations", observations, (count, time + 1), torch.uint8)
        check("actions", actions, (count, time), torch.uint8)
        check("rewards", rewards, (count, time))
        check("games", games, games.shape[:1], torch.int64)
        batch = len(games)
        check_optional("extra", extra, (batch, 3 * gates.hidden))
        losses, gradient = torch.empty(3), Gates(*map(torch.zeros_like, gates))
        d_extra = None if extra is None else torch.zeros_like(extra)
        scratch = self._scratch(self.library.coopctx_prediction_loss_bytes(given, batch, time))
        arrays = (tensor.data_ptr() for tensor in (observations, actions, rewards))
        episodes = EpisodesStruct(count, n_actions, n_observations, time, *arrays)
        factors = (ctypes.c_float * 3)(*weights)
        pointers = games.data_ptr(), address(extra), factors, scratch.data_ptr(), losses.data_ptr()
        results = GradientStruct(*map(address, gradient)), address(d_extra)
        call(self.library.coopctx_prediction_loss, given, episodes, batch, *pointers, *results)
        return losses, gradient, d_extra

    def _scratch(self, size: int) -> Tensor:
        """At least ``size`` bytes that the calling thread alone uses until its next call, aligned to 64."""
        if len(getattr(self._own, "scratch", ())) < size:
            self._own.scratch = torch.empty(size, dtype=torch.uint8)
        return self._own.scratch

    def rollouts(
        self,
        gates: Gates,
        extra: Tensor | None,
        hidden: Tensor,
        uniforms: Tensor,
        n_actions: int,
        n_observations: int,
        discount: float,
        expected: bool,
        threads: int = 1,
    ) -> tuple[Tensor, int]:
        """Monte-Carlo action values q [G, A] of each own first action, from hidden states [G, H] within +-1.

        The outputs are A action logits, [A, O] logits of the next observation given the own action, and [A, O] predicted
        rewards (n_out = A + 2 A O); the table's index is o (A + 1) + action (K = O (A + 1)). Each of the R rollouts of S
        steps samples by inverse CDF from uniforms [G, A or 1, R, S, 2] (action, observation); with 1 in place of A all first
        actions share them. The gain of a step is the reward predicted for the sampled action and observation or, if
        `expected`, the expected reward: over the observation at the first step, over action and observation later. q is the
        mean over R of sum_s discount^s gain_s. The number of threads does not change the result.

        Rollouts from the same state share the model's steps as long as they have drawn the same actions and observations. Also
        returns the number of steps computed, at most G A R (S - 1).
        """
        given = struct_of(gates)
        _check_world(gates, n_actions, n_observations)
        if threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        games = len(hidden)
        check("hidden", hidden, (games, gates.hidden))
        check_optional("extra", extra, (games, 3 * gates.hidden))
        if uniforms.ndim != 5 or uniforms.shape[1] not in (1, n_actions) or 0 in uniforms.shape[2:4]:
            raise ValueError(f"uniforms must have shape [G, A or 1, R, S, 2], R, S >= 1, not {list(uniforms.shape)}")
        check("uniforms", uniforms, (games, *uniforms.shape[1:4], 2))
        q = torch.empty(games, n_actions)

        def run(begin: int, end: int) -> int:
            steps = ctypes.c_long()
            sizes = end - begin, *uniforms.shape[2:4], n_actions, n_observations, uniforms.shape[1]
            part = (None if x is None else x[begin:end].data_ptr() for x in (extra, hidden, uniforms, q))
            call(self.library.coopctx_rollouts, given, *sizes, discount, bool(expected), *part, ctypes.byref(steps))
            return steps.value

        threads = min(threads, games)
        if threads <= 1:
            return q, run(0, games)
        bounds = [games * i // threads for i in range(threads + 1)]
        return q, sum(in_threads(threads, run, bounds[:-1], bounds[1:]))


def check_index(index: Tensor, shape: tuple[int, ...], rows: int) -> None:
    """ValueError unless ``index`` is of this shape and picks rows of a table of ``rows``."""
    check("index", index, shape, torch.int32)
    if index.numel():
        low, high = (int(x) for x in index.aminmax())
        if low < 0 or high >= rows:
            raise ValueError(f"index must lie in 0..{rows - 1}, not {low}..{high}")


def _check_sequences(gates: Gates, extra: Tensor | None, index: Tensor, reward_in: Tensor) -> tuple[int, int]:
    """Check the inputs of a forward pass; their shape [B, T]."""
    if index.ndim != 2:
        raise ValueError(f"index must have shape [B, T], not {list(index.shape)}")
    batch, time = index.shape
    check_index(index, (batch, time), len(gates.table))
    check("reward_in", reward_in, (batch, time))
    check_optional("extra", extra, (batch, 3 * gates.hidden))
    return batch, time


def _check_world(gates: Gates, n_actions: int, n_observations: int) -> None:
    """Check that head and table are those of a `coopctx.agents.ppi.model.SequenceModel`."""
    if n_actions < 1 or n_observations < 1:
        raise ValueError("n_actions and n_observations must be at least 1")
    expected = n_actions * (1 + 2 * n_observations), n_observations * (n_actions + 1)
    if (gates.outputs, len(gates.table)) != expected:
        raise ValueError(
            f"{n_actions} actions and {n_observations} observations need {expected[0]} outputs and a table of "
            f"{expected[1]} rows, not {gates.outputs} and {len(gates.table)}"
        )
