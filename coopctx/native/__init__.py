"""The optional native CPU kernel: the GRU trunk with its linear head, compiled from kernels.c on first use.

`load()` gives a `Kernel`, or None where there is none (no C compiler, the compilation failed, COOPCTX_NATIVE=0), so
that the caller falls back to PyTorch. The compiled library is kept in $XDG_CACHE_HOME/coopctx (~/.cache/coopctx),
under a name that depends on the source, the compiler, the flags and the CPU.

The model, in torch.nn.GRU's gate order r, z, n (the equations head kernels.c):

    gates = table[index] + reward_in * reward_gates + extra          # [3H]; holds b_ih, and b_hh of r and z
    h'    = GRU cell(gates, W_hh h, bias_hn)
    out   = head_W swish(h') + head_b

with table [K, 3H], reward_gates [3H], bias_hn [H], W_hh [3H, H], head_W [n_out, H], head_b [n_out], and extra None or
[rows, 3H]: one vector per row, constant in time. Arguments are contiguous float32 CPU tensors (index: int32);
anything else raises ValueError. Precision "bf16" rounds the operands of matrix products (and what is kept for the
backward pass) to bfloat16 and sums in float32; "fp32" rounds nothing.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

SOURCE = Path(__file__).with_name("kernels.c")
COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-O3", "-std=gnu11", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden", "-shared", "-fPIC")
PRECISIONS = ("bf16", "fp32")
BLOCK_ROWS = 64  # ROWS of kernels.c: games are shared out among threads in whole blocks


def supports(hidden: int) -> bool:
    """Whether the kernel can run a trunk of this hidden size."""
    return hidden > 0 and hidden % 16 == 0


def load(precision: str | None = None) -> "Kernel | None":
    """The kernel in "bf16" or "fp32", or None if it cannot be had; by default bf16 where the CPU has AVX512-BF16."""
    if precision not in (None, *PRECISIONS):
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
    if os.environ.get("COOPCTX_NATIVE") == "0":
        return None
    if precision is None:
        return _load("bf16") or _load("fp32")
    return _load(precision)


@functools.cache
def _load(precision: str) -> "Kernel | None":
    bf16 = precision == "bf16"
    for name in COMPILERS:
        for target in (("-march=native",), ()):
            try:
                library = ctypes.CDLL(str(_compile(name, (*FLAGS, *target, f"-DCOOPCTX_BF16={int(bf16)}"))))
            except (OSError, subprocess.SubprocessError):
                continue
            return Kernel(library, precision) if library.coopctx_bf16() == bf16 else None
    return None


def _compile(compiler: str, flags: tuple[str, ...]) -> Path:
    """Path of the compiled library, from the cache if it is there. Raises OSError or SubprocessError."""
    path = shutil.which(compiler)
    if path is None:
        raise FileNotFoundError(compiler)
    version = subprocess.run([path, "--version"], capture_output=True, check=True, timeout=60).stdout
    key = hashlib.sha256(b"\0".join([SOURCE.read_bytes(), version, " ".join(flags).encode(), _cpu()])).hexdigest()[:20]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "coopctx"
    library = cache / f"kernels-{key}.so"
    if not library.exists():
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:  # renamed when complete: processes may race
            built = Path(scratch) / library.name
            command = [path, *flags, str(SOURCE), "-o", str(built), "-lm"]
            subprocess.run(command, capture_output=True, check=True, timeout=300)
            os.replace(built, library)
    return library


def _cpu() -> bytes:
    """What -march=native depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    features = {line for line in lines if line.startswith(("flags", "Features", "model name"))}
    return "\n".join([platform.machine(), platform.processor(), *sorted(features)]).encode()


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="coopctx-native")


def _check(name: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> None:
    if tensor.device.type != "cpu" or tensor.dtype != dtype or not tensor.is_contiguous():
        raise ValueError(f"{name} must be a contiguous {dtype} CPU tensor, not {tensor.dtype} on {tensor.device}")
    if tensor.shape != shape:
        raise ValueError(f"{name} must have shape {list(shape)}, not {list(tensor.shape)}")


def _check_index(index: Tensor, shape: tuple[int, ...], rows: int) -> None:
    _check("index", index, shape, torch.int32)
    if index.numel():
        low, high = (int(x) for x in index.aminmax())
        if low < 0 or high >= rows:
            raise ValueError(f"index must lie in 0..{rows - 1}, not {low}..{high}")


def _check_cell(table: Tensor, reward_gates: Tensor, bias_hn: Tensor, recurrent: Tensor) -> int:
    """Check the weights of the cell; the hidden size."""
    hidden = bias_hn.numel()
    if not supports(hidden):
        raise ValueError(f"the hidden size must be a positive multiple of 16, not {hidden}")
    if table.ndim != 2 or not len(table):
        raise ValueError(f"table must have shape [K, {3 * hidden}], not {list(table.shape)}")
    _check("table", table, (len(table), 3 * hidden))
    _check("reward_gates", reward_gates, (3 * hidden,))
    _check("bias_hn", bias_hn, (hidden,))
    _check("W_hh", recurrent, (3 * hidden, hidden))
    return hidden


def _check_head(head_weight: Tensor, head_bias: Tensor, hidden: int) -> int:
    """Check the weights of the head; the number of outputs."""
    outputs = head_bias.numel()
    if not outputs:
        raise ValueError("the head must have at least one output")
    _check("head_W", head_weight, (outputs, hidden))
    _check("head_b", head_bias, (outputs,))
    return outputs


def _check_world(n_actions: int, n_observations: int, outputs: int, rows: int) -> None:
    """Check that head and table are those of a `coopctx.agents.trunk.SequenceModel`."""
    if n_actions < 1 or n_observations < 1:
        raise ValueError("n_actions and n_observations must be at least 1")
    expected = n_actions * (1 + 2 * n_observations), n_observations * (n_actions + 1)
    if (outputs, rows) != expected:
        raise ValueError(
            f"{n_actions} actions and {n_observations} observations need {expected[0]} outputs and a table of "
            f"{expected[1]} rows, not {outputs} and {rows}"
        )


def _long(*values: int) -> list[ctypes.c_long]:
    return [ctypes.c_long(value) for value in values]


def _pointers(*tensors: Tensor | None) -> list[ctypes.c_void_p]:
    return [ctypes.c_void_p(None if tensor is None else tensor.data_ptr()) for tensor in tensors]


def _call(function: Callable[..., int], *arguments: object) -> None:
    status = function(*arguments)
    if status == 1:
        raise MemoryError("the native kernel could not allocate its workspace")
    if status == 2:
        raise ValueError("games, actions or observations are out of range")


class Kernel:
    """One compiled precision of the kernel. Calls release the GIL and use the calling thread alone."""

    def __init__(self, library: ctypes.CDLL, precision: str) -> None:
        self.precision = precision
        self._library = library
        library.coopctx_saved_bytes.restype = ctypes.c_size_t
        library.coopctx_prediction_loss_bytes.restype = ctypes.c_size_t
        library.coopctx_advance_bytes.restype = ctypes.c_size_t
        library.coopctx_play_bytes.restype = ctypes.c_size_t
        self._own = threading.local()

    def forward(
        self,
        table: Tensor,
        reward_gates: Tensor,
        bias_hn: Tensor,
        recurrent: Tensor,
        head_weight: Tensor,
        head_bias: Tensor,
        extra: Tensor | None,
        index: Tensor,
        reward_in: Tensor,
        need_gradient: bool = True,
    ) -> tuple[Tensor, Tensor | None]:
        """Outputs [B, T, n_out] from h = 0, for index [B, T] and reward_in [B, T]; and what `backward` needs (opaque)."""
        hidden = _check_cell(table, reward_gates, bias_hn, recurrent)
        outputs = _check_head(head_weight, head_bias, hidden)
        if index.ndim != 2:
            raise ValueError(f"index must have shape [B, T], not {list(index.shape)}")
        batch, time = index.shape
        _check_index(index, (batch, time), len(table))
        _check("reward_in", reward_in, (batch, time))
        if extra is not None:
            _check("extra", extra, (batch, 3 * hidden))
        out = torch.empty(batch, time, outputs)
        sizes = _long(hidden, outputs, batch, time)
        saved = torch.empty(self._saved_bytes(hidden, batch, time), dtype=torch.uint8) if need_gradient else None
        weights = (table, reward_gates, bias_hn, recurrent, head_weight, head_bias)
        pointers = _pointers(*weights, extra, index, reward_in, out, saved)
        _call(self._library.coopctx_forward, *sizes, *pointers)
        return out, saved

    def backward(
        self,
        saved: Tensor,
        d_outputs: Tensor,
        table: Tensor,
        reward_gates: Tensor,
        bias_hn: Tensor,
        recurrent: Tensor,
        head_weight: Tensor,
        head_bias: Tensor,
        extra: Tensor | None,
        index: Tensor,
        reward_in: Tensor,
    ) -> tuple[Tensor | None, ...]:
        """Gradients of the seven float inputs of `forward`, in its order (extra's is None without extra)."""
        hidden = _check_cell(table, reward_gates, bias_hn, recurrent)
        outputs = _check_head(head_weight, head_bias, hidden)
        batch, time = index.shape
        _check_index(index, (batch, time), len(table))
        _check("reward_in", reward_in, (batch, time))
        _check("d_outputs", d_outputs, (batch, time, outputs))
        sizes = _long(hidden, outputs, batch, time)
        _check("saved", saved, (self._saved_bytes(hidden, batch, time),), torch.uint8)
        d_table, d_reward_gates, d_bias_hn = (torch.zeros_like(x) for x in (table, reward_gates, bias_hn))
        d_recurrent = torch.zeros(hidden, 3 * hidden)
        d_head = torch.zeros(hidden, -(-outputs // 16) * 16)
        d_extra = None if extra is None else torch.zeros_like(extra)
        pointers = _pointers(recurrent, head_weight, index, reward_in, saved, d_outputs)
        pointers += _pointers(d_table, d_reward_gates, d_bias_hn, d_recurrent, d_head, d_extra)
        _call(self._library.coopctx_backward, *sizes, *pointers)
        d_head = d_head[:, :outputs].t().contiguous()
        return d_table, d_reward_gates, d_bias_hn, d_recurrent.t().contiguous(), d_head, d_outputs.sum((0, 1)), d_extra

    def _saved_bytes(self, hidden: int, batch: int, time: int) -> int:
        return self._library.coopctx_saved_bytes(*_long(hidden, batch, time))

    def begin(
        self,
        table: Tensor,
        reward_gates: Tensor,
        bias_hn: Tensor,
        recurrent: Tensor,
        head_weight: Tensor,
        head_bias: Tensor,
        extra: Tensor | None,
        batch: int,
        rounds: int | None = None,
        saved: Tensor | None = None,
    ) -> "Recurrence":
        """``batch`` rows at h = 0, to be advanced round by round; weights and extra [B, 3H] must not change meanwhile.

        rounds: how many there will be, if `backward` is to follow the last one; None for any number, without a gradient.
        saved: what an earlier `Recurrence` of the same size has left, to be overwritten: fresh memory costs time.
        """
        weights = (table, reward_gates, bias_hn, recurrent, head_weight, head_bias, extra)
        hidden = _check_cell(*weights[:4])
        outputs = _check_head(head_weight, head_bias, hidden)
        if extra is not None:
            _check("extra", extra, (batch, 3 * hidden))
        size = 0 if rounds is None else self._saved_bytes(hidden, batch, rounds)
        if rounds is not None and (saved is None or len(saved) != size):
            saved = torch.empty(size, dtype=torch.uint8)
        scratch = torch.empty(self._library.coopctx_advance_bytes(*_long(hidden, outputs)), dtype=torch.uint8)
        state = torch.empty(batch, hidden)
        kept = None if rounds is None else torch.empty(batch, rounds, outputs)
        return Recurrence(self._library.coopctx_advance, weights, state, kept, None if rounds is None else saved, scratch)

    def play(
        self,
        seats: Sequence["Seat"],
        payoffs: Tensor,
        games: int,
        rounds: int,
        draw: Callable[[Tensor, Tensor], Tensor],
        threads: int = 1,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """All rounds of ``games`` games of the symmetric game with ``payoffs`` [A, A] between those who sit on its two sides.

        Gives observations uint8 [2, games, T + 1] (as `coopctx.game.matrix.MatrixGame` codes them), actions uint8 [2, games, T]
        and rewards [2, games, T], by side, and advances the trunks of ``seats`` to their last round. draw: actions [rows]
        from a trunk's logits [rows, A] and uniform numbers [rows]; it is asked wherever rounding could tip a draw, so that
        all of them are bit for bit its own. The number of threads does not change the result.
        """
        n_actions = len(payoffs)
        _check("payoffs", payoffs, (n_actions, n_actions))
        if 1 + n_actions**2 > 256:
            raise ValueError(f"payoffs must be of at most 15 actions, not {n_actions}")
        for side in (0, 1):
            taken = sorted((seat.begin, seat.rows) for seat in seats if seat.side == side)
            if [begin for begin, _ in taken] != [sum(rows for _, rows in taken[:i]) for i in range(len(taken))] or (
                sum(rows for _, rows in taken) != games
            ):
                raise ValueError(f"the seats on side {side} must be of {games} games one after the other, not {taken}")
        outputs = [seat.checked(n_actions, rounds) for seat in seats]
        observations = torch.empty(2, games, rounds + 1, dtype=torch.uint8)
        actions, rewards = torch.empty(2, games, rounds, dtype=torch.uint8), torch.empty(2, games, rounds)
        table = (_SeatTable * len(seats))(*(seat.entry(out) for seat, out in zip(seats, outputs, strict=True)))

        def run(begin: int, end: int) -> None:
            ranges = _long(begin, end, len(seats))
            size = self._library.coopctx_play_bytes(*_long(n_actions, rounds), *ranges, table)
            scratch, unsure = torch.empty(size, dtype=torch.uint8), torch.empty(max(end - begin, 1), dtype=torch.int32)
            pause = (ctypes.c_long * 3)()
            pointers = (*_pointers(payoffs, scratch), pause, *_pointers(unsure, observations, actions, rewards))
            arguments = (*_long(n_actions, rounds, games), *ranges, table, *pointers)
            while self._library.coopctx_play(*arguments) == 3:
                t, number, count = pause[0], pause[1] - 1, pause[2]
                seat, rows = seats[number], unsure[:count].long()
                drawn = draw(cast(Tensor, outputs[number])[:, t, :n_actions], seat.uniforms[t])
                actions[seat.side, seat.begin + rows, t] = drawn[rows].to(torch.uint8)

        bounds = _shared_out(seats, games, threads)
        if len(bounds) == 2:
            run(0, games)
        else:
            list(_pool(len(bounds) - 1).map(run, bounds[:-1], bounds[1:]))
        for seat in seats:
            if isinstance(seat.policy, Recurrence):
                seat.policy.finish()
        return observations, actions, rewards

    def prediction_loss(
        self,
        table: Tensor,
        reward_gates: Tensor,
        bias_hn: Tensor,
        recurrent: Tensor,
        head_weight: Tensor,
        head_bias: Tensor,
        extra: Tensor | None,
        observations: Tensor,
        actions: Tensor,
        rewards: Tensor,
        games: Tensor,
        n_actions: int,
        n_observations: int,
        weights: Sequence[float],
    ) -> tuple[Tensor, list[Tensor], Tensor | None]:
        """Losses [3] on the episodes numbered ``games`` (int64 [B]), and the gradients of their sum weighted by ``weights``.

        Outputs and table as in `rollouts`; observations uint8 [N, T + 1], actions uint8 [N, T], rewards [N, T], extra
        [B, 3H]. The losses are means over tokens: negative log-likelihood of the next observation given the action, of
        the action, and squared error of the reward predicted for both. Gradients of the first six arguments, in
        their order, and of extra.
        """
        hidden = _check_cell(table, reward_gates, bias_hn, recurrent)
        outputs = _check_head(head_weight, head_bias, hidden)
        _check_world(n_actions, n_observations, outputs, len(table))
        count, time = actions.shape
        _check("observations", observations, (count, time + 1), torch.uint8)
        _check("actions", actions, (count, time), torch.uint8)
        _check("rewards", rewards, (count, time))
        _check("games", games, games.shape[:1], torch.int64)
        batch = len(games)
        if extra is not None:
            _check("extra", extra, (batch, 3 * hidden))
        sizes = _long(hidden, n_actions, n_observations, batch, time)
        losses = torch.empty(3)
        d_table, d_reward_gates, d_bias_hn, d_head_bias = (
            torch.zeros_like(x) for x in (table, reward_gates, bias_hn, head_bias)
        )
        d_recurrent = torch.zeros(hidden, 3 * hidden)
        d_head = torch.zeros(hidden, -(-outputs // 16) * 16)
        d_extra = None if extra is None else torch.zeros_like(extra)
        pointers = _pointers(table, reward_gates, bias_hn, recurrent, head_weight, head_bias, extra)
        pointers += _pointers(observations, actions, rewards, games)
        scratch = self._scratch(self._library.coopctx_prediction_loss_bytes(*sizes))
        gradients = _pointers(d_table, d_reward_gates, d_bias_hn, d_recurrent, d_head, d_extra, d_head_bias)
        factors = (ctypes.c_float * 3)(*weights)
        arguments = (*sizes, *_long(count), *pointers, factors, *_pointers(scratch, losses), *gradients)
        _call(self._library.coopctx_prediction_loss, *arguments)
        d_head = d_head[:, :outputs].t().contiguous()
        d_recurrent = d_recurrent.t().contiguous()
        return losses, [d_table, d_reward_gates, d_bias_hn, d_recurrent, d_head, d_head_bias], d_extra

    def _scratch(self, size: int) -> Tensor:
        """At least ``size`` bytes that the calling thread alone uses until its next call, aligned to 64."""
        if len(getattr(self._own, "scratch", ())) < size:
            self._own.scratch = torch.empty(size, dtype=torch.uint8)
        return self._own.scratch

    def trunk(
        self,
        table: Tensor,
        reward_gates: Tensor,
        bias_hn: Tensor,
        recurrent: Tensor,
        head_weight: Tensor,
        head_bias: Tensor,
        extra: Tensor | None,
        index: Tensor,
        reward_in: Tensor,
    ) -> Tensor:
        """Outputs [B, T, n_out] as in `forward`, differentiable in the seven float inputs before index."""
        weights = (table, reward_gates, bias_hn, recurrent, head_weight, head_bias, extra)
        if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in weights):
            return GRUTrunk.apply(self, *weights, index, reward_in)
        return self.forward(*weights, index, reward_in, need_gradient=False)[0]

    def step(
        self,
        table: Tensor,
        reward_gates: Tensor,
        bias_hn: Tensor,
        recurrent: Tensor,
        extra: Tensor | None,
        hidden: Tensor,
        index: Tensor,
        reward_in: Tensor,
    ) -> Tensor:
        """The next hidden states [G, H] from hidden [G, H], index [G] and reward_in [G]; `rollouts`' arithmetic."""
        size = _check_cell(table, reward_gates, bias_hn, recurrent)
        games = len(hidden)
        _check("hidden", hidden, (games, size))
        _check_index(index, (games,), len(table))
        _check("reward_in", reward_in, (games,))
        if extra is not None:
            _check("extra", extra, (games, 3 * size))
        out = torch.empty(games, size)
        pointers = _pointers(table, reward_gates, bias_hn, recurrent, extra, hidden, index, reward_in, out)
        _call(self._library.coopctx_step, *_long(size, games), *pointers)
        return out

    def rollouts(
        self,
        table: Tensor,
        reward_gates: Tensor,
        bias_hn: Tensor,
        recurrent: Tensor,
        head_weight: Tensor,
        head_bias: Tensor,
        extra: Tensor | None,
        hidden: Tensor,
        uniforms: Tensor,
        n_actions: int,
        n_observations: int,
        discount: float,
        expected: bool,
        threads: int = 1,
    ) -> tuple[Tensor, int]:
        """Monte-Carlo action values q [G, A] of each own first action, from hidden states [G, H].

        Out of the head come A action logits, [A, O] logits of the next observation given the own action, and [A, O]
        predicted rewards (n_out = A + 2 A O); the table's index is o (A + 1) + action (K = O (A + 1)). Each of the R
        rollouts of S steps samples by inverse CDF from uniforms [G, A or 1, R, S, 2] (action, observation); with 1 in
        place of A all first actions share them. Its gain per step is the reward predicted for what was sampled or, if
        `expected`, the expected reward (over the observation at the first step, over action and observation later); q is
        the mean over R of sum_s discount^s gain_s. The number of threads does not change the result.

        Rollouts from the same state share a step of the model for as long as they have drawn the same; also returned is
        how many steps that left to take, of at most G A R (S - 1).
        """
        size = _check_cell(table, reward_gates, bias_hn, recurrent)
        outputs = _check_head(head_weight, head_bias, size)
        _check_world(n_actions, n_observations, outputs, len(table))
        if threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        games = len(hidden)
        _check("hidden", hidden, (games, size))
        if extra is not None:
            _check("extra", extra, (games, 3 * size))
        if uniforms.ndim != 5 or uniforms.shape[1] not in (1, n_actions) or 0 in uniforms.shape[2:4]:
            raise ValueError(f"uniforms must have shape [G, A or 1, R, S, 2], R, S >= 1, not {list(uniforms.shape)}")
        _check("uniforms", uniforms, (games, *uniforms.shape[1:4], 2))
        q = torch.empty(games, n_actions)
        weights = _pointers(table, reward_gates, bias_hn, recurrent, head_weight, head_bias)

        def run(begin: int, end: int) -> int:
            steps = ctypes.c_long()
            sizes = _long(size, end - begin, *uniforms.shape[2:4], n_actions, n_observations, uniforms.shape[1])
            part = _pointers(*(None if x is None else x[begin:end] for x in (extra, hidden, uniforms, q)))
            settings = (ctypes.c_float(discount), ctypes.c_int(bool(expected)))
            _call(self._library.coopctx_rollouts, *sizes, *settings, *weights, *part, ctypes.byref(steps))
            return steps.value

        threads = min(threads, games)
        if threads <= 1:
            return q, run(0, games)
        bounds = [games * i // threads for i in range(threads + 1)]
        return q, sum(_pool(threads).map(run, bounds[:-1], bounds[1:]))


class Recurrence:
    """Rows on their way through a trunk, a round per call; made by `Kernel.begin`.

    outputs: of all rounds so far, [B, T, n_out]; None where their number was not given. saved: for `Kernel.backward`
    after the last round, together with the indices and rewards; None likewise. hidden: the states now, [B, H], where it is
    advanced round by round. weights: the first seven arguments of `Kernel.begin`.
    """

    def __init__(
        self,
        function: Callable[..., int],
        weights: tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None],
        hidden: Tensor,
        outputs: Tensor | None,
        saved: Tensor | None,
        scratch: Tensor,
    ) -> None:
        self.hidden, self.outputs, self.saved = hidden, outputs, saved
        self._function, self.weights, self._scratch = function, weights, scratch
        self._pointers = _pointers(*weights), _pointers(saved, scratch)
        self._done = 0

    def advance(self, index: Tensor, reward_in: Tensor) -> Tensor:
        """Outputs [B, n_out] of the next round from index [B] and reward_in [B], bit for bit those of `Kernel.forward`."""
        batch, size = self.hidden.shape
        _check_index(index, (batch,), len(self.weights[0]))
        _check("reward_in", reward_in, (batch,))
        width, t = self.weights[5].numel(), self._done
        if self.outputs is None:
            rounds, at, out = 1, 0, torch.empty(batch, width)
        elif t < self.outputs.shape[1]:
            rounds, at, out = self.outputs.shape[1], t, self.outputs[:, t]
        else:
            raise ValueError(f"all {t} rounds are done")
        sizes = (*_long(size, width, batch, rounds, at), ctypes.c_int(t == 0))
        weights, (saved, scratch) = self._pointers
        arrays = _pointers(index, reward_in, self.hidden, out)
        _call(self._function, *sizes, *weights, *arrays, *_long(out.stride(0)), saved, scratch)
        self._done += 1
        return out

    def finish(self) -> None:
        """Count all rounds as done: `Kernel.play` has played them."""
        self._done = 0 if self.outputs is None else self.outputs.shape[1]


class _SeatTable(ctypes.Structure):
    """`Seat` of kernels.c."""

    _fields_ = (
        *((name, ctypes.c_long) for name in ("side", "begin", "count", "hidden")),
        *((name, ctypes.c_void_p) for name in ("uniforms", "sums", "table", "reward_gates", "bias_hn", "recurrent")),
        *((name, ctypes.c_void_p) for name in ("head_weight", "head_bias", "extra", "outputs", "saved")),
    )


@dataclass(frozen=True)
class Seat:
    """Who plays games ``begin`` to ``begin + rows - 1`` of a batch from one ``side``, 0 or 1; see `Kernel.play`.

    uniforms [T, rows]: a random number per draw. policy: a trunk that begins, whose first A of A + 1 outputs are logits; or
    for each game and observation the running sums of the action probabilities, without the last one, [rows, 1 + A^2, A - 1].
    """

    side: int
    begin: int
    rows: int
    uniforms: Tensor
    policy: Recurrence | Tensor

    def checked(self, n_actions: int, rounds: int) -> Tensor | None:
        """The memory for a trunk's outputs [rows, T, A + 1], after a check of all shapes."""
        _check("uniforms", self.uniforms, (rounds, self.rows))
        n_observations = 1 + n_actions**2
        if not isinstance(self.policy, Recurrence):
            _check("sums", self.policy, (self.rows, n_observations, n_actions - 1))
            return None
        shape = self.rows, rounds, n_actions + 1
        table, *_, head_bias, _extra = self.policy.weights
        if len(table) != n_observations * (n_actions + 1) or len(head_bias) != n_actions + 1:
            raise ValueError(f"a trunk that plays {n_actions} actions must have {n_actions + 1} outputs and see both actions")
        out = torch.empty(shape) if self.policy.outputs is None else self.policy.outputs
        _check("outputs", out, shape)
        return out

    def entry(self, outputs: Tensor | None) -> _SeatTable:
        numbers = self.side, self.begin, self.rows
        if not isinstance(self.policy, Recurrence):
            return _SeatTable(*numbers, 0, self.uniforms.data_ptr(), self.policy.data_ptr())
        tensors = (*self.policy.weights, outputs, self.policy.saved)
        hidden, addresses = self.policy.hidden.shape[1], (None if x is None else x.data_ptr() for x in tensors)
        return _SeatTable(*numbers, hidden, self.uniforms.data_ptr(), None, *addresses)


def _shared_out(seats: Sequence[Seat], games: int, threads: int) -> list[int]:
    """Bounds of up to ``threads`` ranges of games, of about the same size, that split no block of a trunk's rows."""
    trunks = [(seat.begin, seat.begin + seat.rows) for seat in seats if isinstance(seat.policy, Recurrence)]

    def whole(cut: int) -> bool:
        return all(not begin < cut < end or (cut - begin) % BLOCK_ROWS == 0 for begin, end in trunks)

    starts = {cut for begin, end in trunks for cut in (*range(begin, end, BLOCK_ROWS), end)} if threads > 1 else ()
    cuts = [cut for cut in starts if whole(cut)]
    nearest = {min(cuts, key=lambda cut: abs(cut - games * i // threads)) for i in range(1, threads)} if cuts else set()
    return sorted({0, games, *nearest})


class GRUTrunk(torch.autograd.Function):
    """`Kernel.forward` and `Kernel.backward` as one differentiable operation; see `Kernel.trunk`."""

    @staticmethod
    def forward(ctx: Any, kernel: Kernel, *inputs: Any) -> Tensor:
        out, saved = kernel.forward(*inputs)
        ctx.kernel = kernel
        ctx.save_for_backward(saved, *inputs)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_outputs: Tensor) -> tuple[Tensor | None, ...]:
        saved, *inputs = ctx.saved_tensors
        return (None, *ctx.kernel.backward(saved, d_outputs.contiguous(), *inputs), None, None)


class Recalled(torch.autograd.Function):
    """`Recurrence.outputs`, differentiable in the seven float inputs of `Kernel.forward` without computing them again.

    Call with (kernel, outputs, saved, the seven, index [B, T], reward_in [B, T]); all as they were in those rounds.
    """

    @staticmethod
    def forward(ctx: Any, kernel: Kernel, outputs: Tensor, saved: Tensor, *inputs: Any) -> Tensor:
        ctx.kernel = kernel
        ctx.save_for_backward(saved, *inputs)
        return outputs.detach()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_outputs: Tensor) -> tuple[Tensor | None, ...]:
        saved, *inputs = ctx.saved_tensors
        return (None, None, None, *ctx.kernel.backward(saved, d_outputs.contiguous(), *inputs), None, None)


def kernel_for(device: torch.device, hidden: int) -> Kernel | None:
    """The kernel, where it can serve tensors on ``device`` with this hidden size; None means: use PyTorch."""
    return load() if device.type == "cpu" and supports(hidden) else None
