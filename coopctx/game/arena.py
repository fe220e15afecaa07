"""Playing a batch of games between two players, round by round or in the native kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from coopctx import native
from coopctx.game.episodes import Episodes
from coopctx.game.matrix import START, MatrixGame
from coopctx.game.player import NativePlayer, Player, checked_actions
from coopctx.game.threads import thread_pool


def play(
    game: MatrixGame,
    rounds: int,
    games: int,
    players: tuple[Player, Player],
    device: torch.device | None = None,
    identity_size: int = 0,
    on_round: Callable[[int], None] = lambda done: None,
    side_by_side: bool = False,
    chance: torch.Generator | None = None,
) -> tuple[Episodes, Episodes]:
    """Play ``games`` episodes of ``rounds`` simultaneous rounds; one `Episodes` per player, in order.

    rounds: in a game with a random ending, the most that are played. identity_size: the length of the co-player's identity
    in each `Episodes` (zeros for a learner), 0 for none. on_round: called after every round with the number of rounds
    played. side_by_side: both players decide at the same time, each in a thread; the result is the same. chance: the
    generator for noise and a random ending; ValueError where the game needs it and it is missing. UsageError if a player
    returns impossible actions.
    """
    if game.by_chance and chance is None:
        raise ValueError("a game with noise or a random ending needs a random generator of its own")
    identities = _introduce(players, games)
    going_on = torch.ones(games, dtype=torch.bool, device=device)
    observation = [torch.full((games,), START, device=device) for _ in players]
    reward = [torch.zeros(games, device=device) for _ in players]  # at first: of the round before the first
    # Per round, a tensor [games] for each of the two players, as small as in `Episodes`: many games have a lot of them.
    observations, actions, rewards = [_bytes(observation)], [], []
    with thread_pool(2) as pool:
        each = pool.map if side_by_side else map
        for t in range(rounds):
            moves = each(_act, players, observation, reward)
            chosen = [checked_actions(*move, games, game.n_actions) for move in zip(players, moves, strict=True)]
            reward, observation, going_on = _outcome(game, chosen, going_on, chance)
            actions.append(_bytes(chosen))
            rewards.append(reward)
            observations.append(_bytes(observation))
            on_round(t + 1)

    def seen_by(i: int) -> Episodes:
        return Episodes(
            torch.stack([pair[i] for pair in observations], 1),
            torch.stack([pair[i] for pair in actions], 1),
            torch.stack([pair[i] for pair in rewards], 1),
            _kept_identity(identities[1 - i], games, identity_size).to(observation[i].device),
            game.over,
        )

    return seen_by(0), seen_by(1)


def play_natively(
    kernel: native.Kernel,
    game: MatrixGame,
    rounds: int,
    games: int,
    players: tuple[NativePlayer, NativePlayer],
    identity_size: int = 0,
    threads: int = 1,
) -> tuple[Episodes, Episodes]:
    """`play` on the CPU, several times as fast, for players that ``kernel`` can step without them.

    Both functions use the same random numbers, so the games are the same unless a number lies within rounding of a
    threshold. Raises ValueError for a game with noise or a random ending.
    """
    if game.by_chance:
        raise ValueError("the native kernel plays no games with noise or a random ending")
    identities = _introduce(players, games)
    sides = [player.natively() for player in players]
    log = native.play(kernel, sides, torch.tensor(game.payoffs), games, rounds, threads)

    def seen_by(i: int) -> Episodes:
        observations, actions, rewards = (field[i] for field in log)
        return Episodes(observations, actions, rewards, _kept_identity(identities[1 - i], games, identity_size))

    return seen_by(0), seen_by(1)


def _introduce(players: Sequence[Player], games: int) -> list[Tensor | None]:
    """Begin the games and tell each player the other's identity. Returns the identities."""
    for player in players:
        player.begin(games)
    identities = [player.identity() for player in players]
    for player, other in zip(players, reversed(identities), strict=True):
        player.meet(other)
    return identities


def _outcome(
    game: MatrixGame, actions: Sequence[Tensor], going_on: Tensor, chance: torch.Generator | None
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Both players' rewards and next observations after a round, and which games go on, bool [games]."""
    played = _played(game, actions, chance)
    reward = [game.reward(played[i], played[1 - i]) for i in (0, 1)]
    observation = [game.observe(played[i], played[1 - i]) for i in (0, 1)]
    if game.over is not None and chance is not None:
        reward = [torch.where(going_on, gain, 0.0) for gain in reward]
        going_on = going_on & (torch.rand(len(going_on), generator=chance) < game.continuation).to(going_on.device)
        observation = [torch.where(going_on, seen, game.over) for seen in observation]
    return reward, observation, going_on


def _played(game: MatrixGame, chosen: Sequence[Tensor], chance: torch.Generator | None) -> list[Tensor]:
    """The actions that both players play: the chosen ones after the game's noise."""
    if game.noise == 0 or chance is None:
        return list(chosen)
    uniform = torch.rand(2, len(chosen[0]), generator=chance).to(chosen[0].device)
    return [game.played(*pair) for pair in zip(chosen, uniform, strict=True)]


def _bytes(codes: Sequence[Tensor]) -> list[Tensor]:
    return [each.to(torch.uint8) for each in codes]


def _act(player: Player, observation: Tensor, reward: Tensor) -> Tensor:
    return player.act(observation, reward)


def _kept_identity(identity: Tensor | None, games: int, size: int) -> Tensor:
    return torch.zeros(games, size) if identity is None or size == 0 else identity
