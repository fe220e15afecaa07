"""Whole episodes in the kernel, and what an actor-critic learns from them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple, cast

import torch
from torch import Tensor

from coopctx.native.gates import Gates, GatesStruct, address, check, struct_of
from coopctx.native.kernel import Kernel, call, pool
from coopctx.native.signatures import LessonStruct, LogStruct, PieceStruct, ShareStruct, SideStruct

PIECE = 128  # PIECE of src/play.h: most games that are played, and learned from, as one


class Share(NamedTuple):
    """Consecutive games of a seat that were played as one piece, and where their record begins in `Played.memory`."""

    first: int
    games: int
    record: int


class Played:
    """What a trunk has computed in its last games, for `improve`; empty before. Used again, it needs no fresh memory."""

    kernel: Kernel
    gates: Gates
    with_extra: bool

    def __init__(self) -> None:
        self.memory = torch.empty(0, dtype=torch.uint8)
        self.shares: list[Share] = []

    def begin(self, kernel: Kernel, seat: Seat, n_actions: int, rounds: int, pieces: Sequence[tuple[int, int]]) -> None:
        """Find room for the games of ``seat``, played in pieces (first game, games)."""
        self.kernel, self.gates, self.with_extra = kernel, cast(Gates, seat.policy), seat.extra is not None
        at = 0
        self.shares = []
        for first, games in pieces:
            self.shares.append(Share(first, games, at))
            at += kernel.library.coopctx_record_bytes(self.gates.hidden, n_actions, rounds, games)
        if len(self.memory) < at:  # fresh memory costs time
            self.memory = torch.empty(at + at // 8, dtype=torch.uint8)


@dataclass(frozen=True)
class Seat:
    """Who plays ``rows`` consecutive games from one side; see `play`.

    key: of its random streams, one for each game. policy: a trunk that begins, whose first A of A + 1 outputs are logits,
    with extra [rows, 3 * hidden] or None; or for each game and observation the running sums of the action probabilities,
    without the last one, [rows, 1 + A^2, A - 1]. played: where to keep what a trunk computes.
    """

    rows: int
    key: int
    policy: Gates | Tensor
    extra: Tensor | None = None
    played: Played | None = None


def play(
    kernel: Kernel, sides: Sequence[Sequence[Seat]], payoffs: Tensor, games: int, rounds: int, threads: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """All rounds of ``games`` games of the symmetric game with ``payoffs`` [A, A] between those who sit on its two sides.

    Gives observations uint8 [2, games, T + 1] (as `coopctx.game.matrix.MatrixGame` codes them), actions uint8 [2, games, T]
    and rewards [2, games, T], by side. The number of threads does not change the result. Games with the same history so
    far share a step of a trunk.
    """
    n_actions = len(payoffs)
    _check(sides, payoffs, games)
    trunks = list({id(seat.policy): seat.policy for seats in sides for seat in seats if isinstance(seat.policy, Gates)}.values())
    placed = [_placed(seats) for seats in sides]
    pieces = _pieces({start.first for starts in placed for start in starts} | {games})
    for start in (start for starts in placed for start in starts):
        if start.seat.played is not None:
            own = [(begin - start.first, count) for begin, count in pieces if 0 <= begin - start.first < start.seat.rows]
            start.seat.played.begin(kernel, start.seat, n_actions, rounds, own)
    tasks = [(begin, count, tuple(_seated(starts, begin) for starts in placed)) for begin, count in pieces]
    # What takes longest comes first, so that no thread waits long for another at the end.
    tasks.sort(key=lambda task: -sum(isinstance(start.seat.policy, Gates) for start in task[2]))
    numbers = {id(gates): number for number, gates in enumerate(trunks)}
    table = (PieceStruct * len(tasks))()
    for entry, (begin, count, seated) in zip(table, tasks, strict=True):
        entry.begin, entry.games = begin, count
        entry.sides[:] = [_side(start.seat, begin - start.first, numbers) for start in seated]
    observations = torch.empty(2, games, rounds + 1, dtype=torch.uint8)
    actions, rewards = torch.empty(2, games, rounds, dtype=torch.uint8), torch.empty(2, games, rounds)
    arrays = (tensor.data_ptr() for tensor in (payoffs, observations, actions, rewards))
    log = LogStruct(n_actions, rounds, games, *arrays)
    gates = (GatesStruct * max(len(trunks), 1))(*map(struct_of, trunks))
    _in_turn(kernel.library.coopctx_play, threads, len(tasks), log, len(tasks), table, len(trunks), gates)
    return observations, actions, rewards


def _in_turn(function: Callable[..., int], threads: int, tasks: int, *arguments: object) -> None:
    """Have threads take tasks in turn until none is left."""
    turn = ctypes.c_long()
    if threads <= 1 or tasks <= 1:
        call(function, *arguments, turn)
        return
    for done in [pool(threads).submit(call, function, *arguments, turn) for _ in range(min(threads, tasks))]:
        done.result()


def _check(sides: Sequence[Sequence[Seat]], payoffs: Tensor, games: int) -> None:
    """ValueError unless the seats are of ``games`` games on both sides and fit the game."""
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
    if seat.extra is not None:
        check("extra", seat.extra, (seat.rows, 3 * seat.policy.hidden))


class _Placed(NamedTuple):
    """A seat and the first of its games among all."""

    first: int
    seat: Seat


def _placed(seats: Sequence[Seat]) -> list[_Placed]:
    ends = accumulate(seat.rows for seat in seats)
    return [_Placed(end - seat.rows, seat) for end, seat in zip(ends, seats, strict=True) if seat.rows]


def _seated(starts: Sequence[_Placed], game: int) -> _Placed:
    """Who plays a game."""
    return next(start for start in starts if start.first <= game < start.first + start.seat.rows)


def _pieces(cuts: set[int]) -> list[tuple[int, int]]:
    """First game and number of games of every piece: none reaches over a cut, and all between two are of about one size."""
    pieces = []
    for begin, end in pairwise(sorted(cuts)):
        number = -(-(end - begin) // PIECE)
        size = min(-(-(end - begin) // number // 16) * 16, PIECE)
        pieces += [(first, min(size, end - first)) for first in range(begin, end, size)]
    return pieces


def _side(seat: Seat, first: int, numbers: dict[int, int]) -> SideStruct:
    if not isinstance(seat.policy, Gates):
        return SideStruct(-1, first, seat.key, None, seat.policy.data_ptr(), None)
    record = None
    if seat.played is not None:
        share = next(share for share in seat.played.shares if share.first == first)
        record = seat.played.memory.data_ptr() + share.record
    return SideStruct(numbers[id(seat.policy)], first, seat.key, address(seat.extra), None, record)


@dataclass(frozen=True)
class Lesson:
    """What an actor-critic learns by (App. A.3.2); gae and td: discount times lambda. kinds: how many consecutive games'
    advantages are made to have mean 0 and standard deviation 1 together; None: they stay as they are."""

    reward_scale: float
    discount: float
    gae: float
    td: float
    value_weight: float
    entropy_weight: float
    kinds: Sequence[int] | None
    smallest_deviation: float


def improve(
    played: Played, actions: Tensor, rewards: Tensor, payoffs: Tensor, lesson: Lesson, threads: int = 1
) -> tuple[Tensor, Gates, Tensor | None]:
    """The loss's terms [3] (policy, value, entropy) on the games just ``played``, and the loss's gradients.

    actions uint8 [games, T], rewards [games, T]. Gradients of the gates and, if it had some, of each game's extra vector.
    The number of threads does not change the result.
    """
    kernel, gates = played.kernel, played.gates
    games, rounds = actions.shape
    n_actions, tokens = len(payoffs), games * rounds
    check("actions", actions, (games, rounds), torch.uint8)
    check("rewards", rewards, (games, rounds))
    shares = played.shares
    sizes = [tensor.numel() for tensor in gates]
    gradients, terms = torch.empty(len(shares), sum(sizes)), torch.empty(len(shares), 3, dtype=torch.float64)
    sums, moments = torch.empty(2 * tokens), torch.empty(games, 2, dtype=torch.float64)
    d_extra = torch.zeros(games, 3 * gates.hidden) if played.with_extra else None
    structs = (ShareStruct * len(shares))(
        *(
            ShareStruct(
                share.first,
                share.games,
                played.memory.data_ptr() + share.record,
                sums[2 * rounds * share.first :].data_ptr(),
                gradients[number].data_ptr(),
                terms[number].data_ptr(),
            )
            for number, share in enumerate(shares)
        )
    )
    shift, scale = torch.zeros(games), torch.ones(games)
    arrays = (tensor.data_ptr() for tensor in (actions, rewards, payoffs))
    factors = lesson.reward_scale, lesson.discount, lesson.gae, lesson.td
    pointers = (tensor.data_ptr() for tensor in (moments, shift, scale))
    weights = lesson.value_weight / tokens, lesson.entropy_weight / tokens, 1 / tokens
    given = LessonStruct(n_actions, rounds, *arrays, *factors, *pointers, *weights, address(d_extra))
    arguments = struct_of(gates), given, len(shares), structs
    _in_turn(kernel.library.coopctx_advantages, threads, len(shares), *arguments)
    if lesson.kinds is not None:
        _normalise(moments / rounds, lesson.kinds, lesson.smallest_deviation, shift, scale)
    _in_turn(kernel.library.coopctx_improve, threads, len(shares), *arguments)
    parts = (part.view_as(tensor) for part, tensor in zip(gradients.sum(0).split(sizes), gates, strict=True))
    return terms.sum(0).float() / tokens, Gates(*parts), d_extra


def _normalise(moments: Tensor, kinds: Sequence[int], smallest: float, shift: Tensor, scale: Tensor) -> None:
    """Set shift and scale [games] of each kind of game from the means [games, 2] of its advantages and of their squares."""
    begin = 0
    for games in kinds:
        mean, square = moments[begin : begin + games].mean(0).tolist()
        shift[begin : begin + games] = mean
        scale[begin : begin + games] = 1 / (max(square - mean * mean, 0.0) ** 0.5 + smallest)
        begin += games
