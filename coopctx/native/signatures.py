"""The types of the compiled library's functions and structures (kernels.c), for ctypes."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_float, c_int, c_long, c_size_t, c_uint64, c_void_p

from coopctx.native.gates import Gates, GatesStruct


class GradientStruct(ctypes.Structure):
    """`GateGradients` of src/sequences.h."""

    _fields_ = tuple((name, c_void_p) for name in Gates._fields)


class EpisodesStruct(ctypes.Structure):
    """`Episodes` of src/fit.h."""

    _fields_ = (
        *((name, c_long) for name in ("count", "n_actions", "n_observations", "rounds")),
        *((name, c_void_p) for name in ("observations", "actions", "rewards")),
    )


class SideStruct(ctypes.Structure):
    """`Side` of src/play.h."""

    _fields_ = (
        ("trunk", c_long),
        ("first", c_long),
        ("key", c_uint64),
        *((name, c_void_p) for name in ("extra", "sums", "record")),
    )


class PieceStruct(ctypes.Structure):
    """`Piece` of src/play.h."""

    _fields_ = (("begin", c_long), ("games", c_long), ("sides", SideStruct * 2))


class LogStruct(ctypes.Structure):
    """`Log` of src/play.h."""

    _fields_ = (
        *((name, c_long) for name in ("n_actions", "rounds", "games")),
        *((name, c_void_p) for name in ("payoffs", "observations", "actions", "rewards")),
    )


class ShareStruct(ctypes.Structure):
    """`Share` of src/actor_critic.h."""

    _fields_ = (
        *((name, c_long) for name in ("first", "games")),
        *((name, c_void_p) for name in ("record", "sums", "gradient", "terms")),
    )


class LossStruct(ctypes.Structure):
    """`Loss` of src/actor_critic.h."""

    _fields_ = (
        *((name, c_long) for name in ("n_actions", "rounds")),
        *((name, c_void_p) for name in ("actions", "rewards", "payoffs")),
        *((name, c_float) for name in ("reward_scale", "discount", "gae", "td")),
        *((name, c_void_p) for name in ("moments", "shift", "scale")),
        *((name, c_float) for name in ("value_weight", "entropy_weight", "token_weight")),
        ("d_extra", c_void_p),
    )


_GATES, _LONG = POINTER(GatesStruct), POINTER(c_long)
SIGNATURES = {
    "coopctx_saved_bytes": (c_size_t, [_GATES, c_long, c_long]),
    "coopctx_forward": (c_int, [_GATES, c_long, c_long, *[c_void_p] * 5]),
    "coopctx_advance_bytes": (c_size_t, [_GATES, c_long]),
    "coopctx_advance": (c_int, [_GATES, *[c_long] * 3, *[c_void_p] * 4, c_long, c_void_p, c_void_p]),
    "coopctx_backward": (c_int, [_GATES, c_long, c_long, c_void_p, c_void_p, POINTER(GradientStruct), c_void_p]),
    "coopctx_prediction_loss_bytes": (c_size_t, [_GATES, c_long, c_long]),
    "coopctx_prediction_loss": (
        c_int,
        [_GATES, POINTER(EpisodesStruct), c_long, *[c_void_p] * 5, POINTER(GradientStruct), c_void_p],
    ),
    "coopctx_rollouts": (c_int, [_GATES, *[c_long] * 6, c_float, c_int, *[c_void_p] * 4, _LONG]),
    "coopctx_record_bytes": (c_size_t, [c_long] * 4),
    "coopctx_play": (c_int, [POINTER(LogStruct), c_long, POINTER(PieceStruct), c_long, _GATES, _LONG]),
    "coopctx_actor_critic_advantages": (c_int, [_GATES, POINTER(LossStruct), c_long, POINTER(ShareStruct), _LONG]),
    "coopctx_actor_critic_gradient": (c_int, [_GATES, POINTER(LossStruct), c_long, POINTER(ShareStruct), _LONG]),
}


def declare(library: ctypes.CDLL) -> ctypes.CDLL:
    """``library`` with the types of its functions set."""
    for name, (result, arguments) in SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
