"""Whole episodes in the kernel, between policies that sample without planning."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple, cast

import torch
from torch import Tensor

from coopctx.native.gates import Gates, GatesStruct, address, check, check_optional, struct_of
from coopctx.native.kernel import Kernel, in_turn
from coopctx.native.signatures import LogStruct, PieceStruct, SideStruct

PIECE = 128  # as in src/play.h: the most games of a piece


class Share(NamedTuple):
    """Consecutive games of a seat that were played as one piece; record: where theirs begins in `Played.memory`."""

    first: int
    games: int
    record: int


class Played:
    """What a trunk computed in its last games, for `actor_critic_gradient`; empty before the first. Its memory is reused."""

    kernel: Kernel
    gates: Gates
    with_extra: bool

    def __init__(self) -> None:
        self.memory = torch.empty(0, dtype=torch.uint8)
        self.shares: list[Share] = []

    def begin(self, kernel: Kernel, seat: Seat, n_actions: int, rounds: int, pieces: Sequence[tuple[int, int]]) -> None:
        """Provide memory for the games of ``seat``, played in pieces (first game, games)."""
        self.kernel, self.gates, self.with_extra = kernel, cast(Gates, seat.policy), seat.extra is not None
        at = 0
        self.shares = []
        for first, games in pieces:
            self.shares.append(Share(first, games, at))
            at += kernel.library.coopctx_record_bytes(self.gates.hidden, n_actions, rounds, games)
        if len(self.memory) < at:  # new memory costs time
            self.memory = torch.empty(at + at // 8, dtype=torch.uint8)


@dataclass(frozen=True)
class Seat:
    """A policy that plays ``rows`` consecutive games on one side; see `play`.

    key: of its random streams, one per game. policy: a trunk whose first A of A + 1 outputs are logits, with extra
    [rows, 3 * hidden] or None; or a tabular policy: for each game and observation the cumulative action probabilities without
    the last one, [rows, 1 + A^2, A - 1]. played: keeps what a trunk computes, or None.
    """

    rows: int
    key: int
    policy: Gates | Tensor
    extra: Tensor | None = None
    played: Played | None = None


def play(
    kernel: Kernel, sides: Sequence[Sequence[Seat]], payoffs: Tensor, games: int, rounds: int, threads: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """Play ``games`` games of all rounds of the symmetric game with ``payoffs`` [A, A] between the seats of its two sides.

    Returns observations uint8 [2, games, T + 1] (as `coopctx.game.matrix.MatrixGame` codes them), actions uint8 [2, games, T]
    and rewards [2, games, T], by side. The number of threads does not change the result. Games with the same history so
    far share a trunk's step. ValueError if the seats do not fit the game.
    """
    n_actions = len(payoffs)
    _check(sides, payoffs, games)
    placed = [_placed(seats) for seats in sides]
    pieces = _pieces({start.first for starts in placed for start in starts} | {games})
    for start in (start for starts in placed for start in starts):
        if start.seat.played is not None:
            own = [(begin - start.first, count) for begin, count in pieces if 0 <= begin - start.first < start.seat.rows]
            start.seat.played.begin(kernel, start.seat, n_actions, rounds, own)
    trunks = list({id(seat.policy): seat.policy for seats in sides for seat in seats if isinstance(seat.policy, Gates)}.values())
    table = _table_of(pieces, placed, trunks)
    observations = torch.empty(2, games, rounds + 1, dtype=torch.uint8)
    actions, rewards = torch.empty(2, games, rounds, dtype=torch.uint8), torch.empty(2, games, rounds)
    arrays = (tensor.data_ptr() for tensor in (payoffs, observations, actions, rewards))
    log = LogStruct(n_actions, rounds, games, *arrays)
    gates = (GatesStruct * max(len(trunks), 1))(*map(struct_of, trunks))
    in_turn(kernel.library.coopctx_play, threads, len(table), log, len(table), table, len(trunks), gates)
    return observations, actions, rewards


def _check(sides: Sequence[Sequence[Seat]], payoffs: Tensor, games: int) -> None:
    """ValueError unless the seats of each side have ``games`` games and fit the game."""
    n_actions = len(payoffs)
    check("payoffs", payoffs, (n_actions, n_actions))
    if 1 + n_actions**2 > 256:
        raise ValueError(f"payoffs must be of at most 15 actions, not {n_actions}")
    for side, seats in enumerate(sides):
        if (taken := sum(seat.rows for seat in seats)) != games:
            raise ValueError(f"the seats on side {side} must be of {games} games, not {taken}")
        for seat in seats:
            _check_seat(seat, n_actions)


def _check_seat(seat: Seat, n_actions: int) -> None:
    n_observations = 1 + n_actions**2
    if not isinstance(seat.policy, Gates):
        check("sums", seat.policy, (seat.rows, n_observations, n_actions - 1))
        return
    if len(seat.policy.table) != n_observations * (n_actions + 1) or seat.policy.outputs != n_actions + 1:
        raise ValueError(f"a trunk that plays {n_actions} actions must have {n_actions + 1} outputs and see both actions")
    check_optional("extra", seat.extra, (seat.rows, 3 * seat.policy.hidden))


class _Placed(NamedTuple):
    """A seat and the number of its first game among all games."""

    first: int
    seat: Seat


def _placed(seats: Sequence[Seat]) -> list[_Placed]:
    ends = accumulate(seat.rows for seat in seats)
    return [_Placed(end - seat.rows, seat) for end, seat in zip(ends, seats, strict=True) if seat.rows]


def _seated(starts: Sequence[_Placed], game: int) -> _Placed:
    """The seat that plays a game."""
    return next(start for start in starts if start.first <= game < start.first + start.seat.rows)


def _pieces(cuts: set[int]) -> list[tuple[int, int]]:
    """First game and number of games of every piece. No piece crosses a cut; pieces between two cuts have about one size."""
    pieces = []
    for begin, end in pairwise(sorted(cuts)):
        number = -(-(end - begin) // PIECE)
        size = min(-(-(end - begin) // number // 16) * 16, PIECE)
        pieces += [(first, min(size, end - first)) for first in range(begin, end, size)]
    return pieces


def _table_of(
    pieces: Sequence[tuple[int, int]], placed: Sequence[Sequence[_Placed]], trunks: Sequence[Gates]
) -> ctypes.Array[PieceStruct]:
    """The pieces for the kernel. Those with the most trunks come first, so that no thread waits long for another at the end."""
    tasks = [(begin, count, tuple(_seated(starts, begin) for starts in placed)) for begin, count in pieces]
    tasks.sort(key=lambda task: -sum(isinstance(start.seat.policy, Gates) for start in task[2]))
    numbers = {id(gates): number for number, gates in enumerate(trunks)}
    table = (PieceStruct * len(tasks))()
    for entry, (begin, count, seated) in zip(table, tasks, strict=True):
        entry.begin, entry.games = begin, count
        entry.sides[:] = [_side(start.seat, begin - start.first, numbers) for start in seated]
    return table


def _side(seat: Seat, first: int, numbers: dict[int, int]) -> SideStruct:
    if not isinstance(seat.policy, Gates):
        return SideStruct(-1, first, seat.key, None, seat.policy.data_ptr(), None)
    record = None
    if seat.played is not None:
        share = next(share for share in seat.played.shares if share.first == first)
        record = seat.played.memory.data_ptr() + share.record
    return SideStruct(numbers[id(seat.policy)], first, seat.key, address(seat.extra), None, record)
