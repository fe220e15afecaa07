"""The gradient of A2C's loss on games that the kernel has just played."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from coopctx.native.gates import Gates, address, check, struct_of
from coopctx.native.kernel import in_turn
from coopctx.native.play import Played
from coopctx.native.signatures import LossStruct, ShareStruct


@dataclass(frozen=True)
class ActorCriticLoss:
    """The settings of A2C's loss (App. A.3.2), which is written out in `coopctx.agents.a2c.learner`.

    gae, td: discount times the lambda of advantages and of value targets. kinds: the numbers of consecutive games whose
    advantages are normalised together, to mean 0 and by what ``divisors`` makes of their variances, both [kinds]; None: no
    normalisation.
    """

    reward_scale: float
    discount: float
    gae: float
    td: float
    value_weight: float
    entropy_weight: float
    kinds: Sequence[int] | None
    divisors: Callable[[Tensor], Tensor]


def actor_critic_gradient(
    played: Played, actions: Tensor, rewards: Tensor, payoffs: Tensor, loss: ActorCriticLoss, threads: int = 1
) -> tuple[Tensor, Gates, Tensor | None]:
    """The loss's terms [3] (policy, value, entropy) on the games just ``played``, and the loss's gradients.

    actions uint8 [games, T], rewards [games, T], payoffs [A, A]. The gradients are those of the gates and, where the player had
    them, of each game's extra vector [games, 3 * hidden]. The number of threads does not change the result.
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
    factors = loss.reward_scale, loss.discount, loss.gae, loss.td
    pointers = (tensor.data_ptr() for tensor in (moments, shift, scale))
    weights = loss.value_weight / tokens, loss.entropy_weight / tokens, 1 / tokens
    given = LossStruct(n_actions, rounds, *arrays, *factors, *pointers, *weights, address(d_extra))
    arguments = struct_of(gates), given, len(shares), structs
    in_turn(kernel.library.coopctx_actor_critic_advantages, threads, len(shares), *arguments)
    if loss.kinds is not None:
        per_kind = (moments / rounds).split(list(loss.kinds))  # each game's means of advantages and of their squares
        means, squares = torch.stack([part.mean(0) for part in per_kind]).unbind(1)
        divisors, counts = loss.divisors((squares - means.square()).clamp(min=0.0)), torch.tensor(loss.kinds)
        shift.copy_(means.repeat_interleave(counts))
        scale.copy_((1 / divisors).repeat_interleave(counts))
    in_turn(kernel.library.coopctx_actor_critic_gradient, threads, len(shares), *arguments)
    parts = (part.view_as(tensor) for part, tensor in zip(gradients.sum(0).split(sizes), gates, strict=True))
    return terms.sum(0).float() / tokens, Gates(*parts), d_extra
