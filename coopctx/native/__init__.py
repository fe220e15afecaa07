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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

SOURCE = Path(__file__).with_name("kernels.c")
COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-O3", "-std=gnu11", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden", "-shared", "-fPIC")
PRECISIONS = ("bf16", "fp32")


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
            command = [path, *flags, str(SOURCE), "-o", str(built)]
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


def _long(*values: int) -> list[ctypes.c_long]:
    return [ctypes.c_long(value) for value in values]


def _pointers(*tensors: Tensor | None) -> list[ctypes.c_void_p]:
    return [ctypes.c_void_p(None if tensor is None else tensor.data_ptr()) for tensor in tensors]


def _call(function, *arguments) -> None:
    if function(*arguments):
        raise MemoryError("the native kernel could not allocate its workspace")


class Kernel:
    """One compiled precision of the kernel. Calls release the GIL and use the calling thread alone."""

    def __init__(self, library: ctypes.CDLL, precision: str) -> None:
        self.precision = precision
        self._library = library
        library.coopctx_saved_bytes.restype = ctypes.c_size_t

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
        saved = None
        sizes = _long(hidden, outputs, batch, time)
        if need_gradient:
            saved = torch.empty(self._library.coopctx_saved_bytes(sizes[0], *sizes[2:]), dtype=torch.uint8)
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
        _check("saved", saved, (self._library.coopctx_saved_bytes(sizes[0], *sizes[2:]),), torch.uint8)
        d_table, d_reward_gates, d_bias_hn = (torch.zeros_like(x) for x in (table, reward_gates, bias_hn))
        d_recurrent = torch.zeros(hidden, 3 * hidden)
        d_head = torch.zeros(hidden, -(-outputs // 16) * 16)
        d_extra = None if extra is None else torch.zeros_like(extra)
        pointers = _pointers(recurrent, head_weight, index, reward_in, saved, d_outputs)
        pointers += _pointers(d_table, d_reward_gates, d_bias_hn, d_recurrent, d_head, d_extra)
        _call(self._library.coopctx_backward, *sizes, *pointers)
        d_head = d_head[:, :outputs].t().contiguous()
        return d_table, d_reward_gates, d_bias_hn, d_recurrent.t().contiguous(), d_head, d_outputs.sum((0, 1)), d_extra

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
    ) -> Tensor:
        """Monte-Carlo action values q [G, A] of each own first action, from hidden states [G, H].

        Out of the head come A action logits, [A, O] logits of the next observation given the own action, and [A, O]
        predicted rewards (n_out = A + 2 A O); the table's index is o (A + 1) + action (K = O (A + 1)). Each of the R
        rollouts of S steps samples by inverse CDF from uniforms [G, A or 1, R, S, 2] (action, observation); with 1 in
        place of A all first actions share them. Its gain per step is the reward predicted for what was sampled or, if `expected`, the expected
        reward (over the observation at the first step, over action and observation later); q is the mean over R of
        sum_s discount^s gain_s. The number of threads does not change the result.
        """
        size = _check_cell(table, reward_gates, bias_hn, recurrent)
        outputs = _check_head(head_weight, head_bias, size)
        if n_actions < 1 or n_observations < 1 or threads < 1:
            raise ValueError("n_actions, n_observations and threads must be at least 1")
        if outputs != n_actions * (1 + 2 * n_observations) or len(table) != n_observations * (n_actions + 1):
            raise ValueError(
                f"{n_actions} actions and {n_observations} observations need {n_actions * (1 + 2 * n_observations)} "
                f"outputs and a table of {n_observations * (n_actions + 1)} rows, not {outputs} and {len(table)}"
            )
        games = len(hidden)
        _check("hidden", hidden, (games, size))
        if extra is not None:
            _check("extra", extra, (games, 3 * size))
        if uniforms.ndim != 5 or uniforms.shape[1] not in (1, n_actions) or 0 in uniforms.shape[2:4]:
            raise ValueError(f"uniforms must have shape [G, A or 1, R, S, 2], R, S >= 1, not {list(uniforms.shape)}")
        _check("uniforms", uniforms, (games, *uniforms.shape[1:4], 2))
        q = torch.empty(games, n_actions)
        weights = _pointers(table, reward_gates, bias_hn, recurrent, head_weight, head_bias)

        def run(begin: int, end: int) -> None:
            sizes = _long(size, end - begin, *uniforms.shape[2:4], n_actions, n_observations, uniforms.shape[1])
            part = _pointers(*(None if x is None else x[begin:end] for x in (extra, hidden, uniforms, q)))
            settings = (ctypes.c_float(discount), ctypes.c_int(bool(expected)))
            _call(self._library.coopctx_rollouts, *sizes, *settings, *weights, *part)

        threads = min(threads, games)
        if threads <= 1:
            run(0, games)
        else:
            bounds = [games * i // threads for i in range(threads + 1)]
            list(_pool(threads).map(run, bounds[:-1], bounds[1:]))
        return q


class GRUTrunk(torch.autograd.Function):
    """`Kernel.forward` and `Kernel.backward` as one differentiable operation; see `Kernel.trunk`."""

    @staticmethod
    def forward(ctx, kernel, *inputs):
        out, saved = kernel.forward(*inputs)
        ctx.kernel = kernel
        ctx.save_for_backward(saved, *inputs)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_outputs):
        saved, *inputs = ctx.saved_tensors
        return (None, *ctx.kernel.backward(saved, d_outputs.contiguous(), *inputs), None, None)


def kernel_for(device: torch.device, hidden: int) -> Kernel | None:
    """The kernel, where it can serve tensors on ``device`` with this hidden size; None means: use PyTorch."""
    return load() if device.type == "cpu" and supports(hidden) else None
