"""The folded weights of a trunk, which play, planner, training and the native kernel read."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor


class Gates(NamedTuple):
    """A trunk folded for stepping: input layers as a table, recurrent and head weights as they are.

    table         [n_observations * (n_actions + 1), 3 * hidden]  input gates of (observation, previous action)
    reward_gates  [3 * hidden]                                    ... per unit of the previous reward
    bias_hn       [hidden]                                        recurrent bias inside the candidate
    weight_hh     [3 * hidden, hidden]
    head_weight   [outputs, hidden]
    head_bias     [outputs]

    The gate order is torch.nn.GRU's: r, z, n. The table includes its input bias, and its recurrent bias of r and z:

        gates = table[index] + reward * reward_gates + extra          # [3 * hidden]
        h'    = GRU cell(gates, weight_hh h, bias_hn)
        out   = head_weight swish(h') + head_bias

    where extra is None or [rows, 3 * hidden]: one vector per row, constant in time.
    """

    table: Tensor
    reward_gates: Tensor
    bias_hn: Tensor
    weight_hh: Tensor
    head_weight: Tensor
    head_bias: Tensor

    @property
    def hidden(self) -> int:
        return self.bias_hn.numel()

    @property
    def outputs(self) -> int:
        return self.head_bias.numel()

    def contiguous(self) -> Gates:
        """The same, without a gradient and laid out as the native kernel reads them."""
        return Gates(*(tensor.detach().contiguous() for tensor in self))


def supports(hidden: int) -> bool:
    """Whether the kernel can run a trunk of this hidden size."""
    return hidden > 0 and hidden % 16 == 0


class GatesStruct(ctypes.Structure):
    """`Gates` of src/cell.h. It holds addresses only: the caller must keep the tensors."""

    _fields_ = (
        *((name, ctypes.c_long) for name in ("hidden", "outputs", "inputs")),
        *((name, ctypes.c_void_p) for name in Gates._fields),
    )


def struct_of(gates: Gates) -> GatesStruct:
    """``gates`` for a call of the kernel. ValueError unless all are contiguous float32 CPU tensors of matching shapes."""
    hidden, outputs = gates.hidden, gates.outputs
    if not supports(hidden):
        raise ValueError(f"the hidden size must be a positive multiple of 16, not {hidden}")
    if not outputs:
        raise ValueError("head_bias: the head must have at least one output")
    if gates.table.ndim != 2 or not len(gates.table):
        raise ValueError(f"table must have shape [K, {3 * hidden}], not {list(gates.table.shape)}")
    shapes = (len(gates.table), 3 * hidden), (3 * hidden,), (hidden,), (3 * hidden, hidden), (outputs, hidden), (outputs,)
    for name, tensor, shape in zip(Gates._fields, gates, shapes, strict=True):
        check(name, tensor, shape)
    return GatesStruct(hidden, outputs, len(gates.table), *(tensor.data_ptr() for tensor in gates))


def check(name: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> None:
    """ValueError naming the tensor unless it is a contiguous CPU tensor of this type and shape."""
    if tensor.device.type != "cpu" or tensor.dtype != dtype or not tensor.is_contiguous():
        raise ValueError(f"{name} must be a contiguous {dtype} CPU tensor, not {tensor.dtype} on {tensor.device}")
    if tensor.shape != shape:
        raise ValueError(f"{name} must have shape {list(shape)}, not {list(tensor.shape)}")


def check_optional(name: str, tensor: Tensor | None, shape: tuple[int, ...]) -> None:
    """`check`, where there is a tensor."""
    if tensor is not None:
        check(name, tensor, shape)


def address(tensor: Tensor | None) -> int | None:
    """The address of a tensor's numbers, or None."""
    return None if tensor is None else tensor.data_ptr()
