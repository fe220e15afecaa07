"""A trunk stepped one round per call, for players whose next input depends on the last output."""

from __future__ import annotations

import torch
from torch import Tensor

from coopctx.native.gates import Gates, address, check, check_optional, struct_of
from coopctx.native.kernel import Kernel, call, check_index


class Recurrence:
    """``batch`` rows that start at h = 0; gates and extra [B, 3 * hidden] must not change until the last round.

    rounds: their number, if `Kernel.backward` follows the last one; None for any number of rounds without a gradient.
    before: an earlier recurrence of the same size, whose memory is reused: new memory costs time.
    outputs: of all rounds so far, [B, T, n_out]; saved: for `Kernel.backward` after the last round; both None without rounds.
    """

    def __init__(
        self,
        kernel: Kernel,
        gates: Gates,
        extra: Tensor | None,
        batch: int,
        rounds: int | None = None,
        before: Recurrence | None = None,
    ) -> None:
        self.kernel, self.gates, self.extra = kernel, gates, extra
        self._given = struct_of(gates)
        check_optional("extra", extra, (batch, 3 * gates.hidden))
        library = kernel.library
        self._batch, self._rounds, self._done = batch, rounds, 0
        self.outputs = None if rounds is None else torch.empty(batch, rounds, gates.outputs)
        self.saved: Tensor | None = None
        if rounds is not None:
            size = library.coopctx_saved_bytes(self._given, batch, rounds)
            memory = None if before is None else before.saved
            self.saved = memory if memory is not None and len(memory) == size else torch.empty(size, dtype=torch.uint8)
        self._scratch = torch.empty(library.coopctx_advance_bytes(self._given, batch), dtype=torch.uint8)

    def advance(self, index: Tensor, reward_in: Tensor) -> Tensor:
        """Outputs [B, n_out] of the next round from index [B] and reward_in [B]. ValueError after the last of ``rounds``."""
        check_index(index, (self._batch,), len(self.gates.table))
        check("reward_in", reward_in, (self._batch,))
        t = self._done
        if self.outputs is None:
            out = torch.empty(self._batch, self.gates.outputs)
        elif t < self.outputs.shape[1]:
            out = self.outputs[:, t]
        else:
            raise ValueError(f"all {t} rounds are done")
        given, saved, scratch = map(address, (self.extra, index, reward_in, out)), address(self.saved), address(self._scratch)
        sizes = self._batch, self._rounds or 1, t
        call(self.kernel.library.coopctx_advance, self._given, *sizes, *given, out.stride(0), saved, scratch)
        self._done += 1
        return out
