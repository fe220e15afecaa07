"""Compiling the native kernel on first use, and caching the library.

The cache is $XDG_CACHE_HOME/coopctx (~/.cache/coopctx). A library's name depends on the source, the compiler, the flags and the
CPU.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("kernels.c")
COMPILERS = ("cc", "gcc", "clang")
# With -O3 or loop unswitching, the sums of a tile no longer stay in registers.
OPTIMISATION = ("-O2", "-fno-math-errno", "-fno-trapping-math", "-fno-unswitch-loops")
FLAGS = (*OPTIMISATION, "-std=gnu11", "-fvisibility=hidden", "-shared", "-fPIC")


def library(bf16: bool) -> ctypes.CDLL | None:
    """The kernel with bfloat16 operands or without; None if there is no compiler, an error, or the CPU lacks bfloat16."""
    for name in COMPILERS:
        for target in (("-march=native",), ()):
            try:
                built = ctypes.CDLL(str(compiled(name, (*FLAGS, *target, f"-DCOOPCTX_BF16={int(bf16)}"))))
            except (OSError, subprocess.SubprocessError):
                continue
            return built if built.coopctx_bf16() == bf16 else None
    return None


def compiled(compiler: str, flags: tuple[str, ...]) -> Path:
    """The path of the compiled library in the cache, compiled if it is missing. Raises OSError or SubprocessError."""
    path = shutil.which(compiler)
    if path is None:
        raise FileNotFoundError(compiler)
    version = subprocess.run([path, "--version"], capture_output=True, check=True, timeout=60).stdout
    sources = [source.read_bytes() for source in (SOURCE, *sorted(SOURCE.with_name("src").glob("*.h")))]
    key = hashlib.sha256(b"\0".join([*sources, version, " ".join(flags).encode(), _cpu()])).hexdigest()[:20]
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
