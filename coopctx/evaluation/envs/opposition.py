"""Many games at once between an outside player and one of our players, for all environments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from coopctx.agents.others import TABULAR
from coopctx.errors import UsageError, unknown
from coopctx.evaluation.opponents import Contestant, Host, first_agent, guests
from coopctx.experiments.checks import check_number
from coopctx.game.matrix import NAMED_GAMES, START, MatrixGame
from coopctx.game.player import Player, checked_actions
from coopctx.game.seats import Seats
from coopctx.game.streams import stream

Codes: TypeAlias = NDArray[np.int64]
Game: TypeAlias = MatrixGame | str | Sequence[Sequence[float]]  # or a game's name, or payoffs[own][other]
ANSI = "ansi"  # the only render mode: a text
_CPU = torch.device("cpu")


def as_game(game: Game) -> MatrixGame:
    """The game itself, or the game with this name or these payoffs; UsageError for anything else."""
    if isinstance(game, str) and game not in NAMED_GAMES:
        raise unknown("game", game, NAMED_GAMES)
    try:
        return game if isinstance(game, MatrixGame) else MatrixGame.of(NAMED_GAMES[game] if isinstance(game, str) else game)
    except (TypeError, ValueError):
        raise UsageError(f"game must be a MatrixGame, a name or n rows of n payoffs, n >= 2, not {game!r}") from None


def known_mode(render_mode: str | None) -> str | None:
    """``render_mode``; UsageError unless it is None or `ANSI`."""
    if render_mode not in (None, ANSI):
        raise UsageError(f"render_mode must be None or {ANSI!r}, not {render_mode!r}")
    return render_mode


class Opposition:
    """``games`` games at once of an outside player against ``opponent``; all games begin and end together.

    opponent: any opponent of `coopctx.evaluate`, or several: each game then draws one of them, all equally likely. rounds,
    game: None for those of the first trained agent among the opponents, or 100 rounds of the prisoner's dilemma. The outside
    player sees the observation codes of `MatrixGame` and its own rewards. Opponents with opponent ID take it for a learner
    (App. A.4.1: z = 0). With a random ending one game is played at a time, at most ``rounds`` rounds.
    """

    def __init__(
        self,
        games: int,
        opponent: Contestant | Iterable[Contestant] = TABULAR,
        rounds: int | None = None,
        game: Game | None = None,
    ) -> None:
        check_number("num_envs", games, 1)
        check_number("rounds", rounds, 1)
        asked = guests(opponent)
        if not asked:
            raise UsageError("there must be an opponent")
        host = Host(first_agent(asked), rounds, _CPU, None if game is None else as_game(game))
        self.game, self.rounds, self.games = host.game, host.rounds, games
        if self.game.over is not None and games > 1:
            raise UsageError(f"a game with a random ending is played by itself, not {games} at once")
        self._opponents = [host.opponent(guest) for guest in asked]
        self._players: list[Player] = []

    def begin(self, seed: int | None) -> Codes:
        """Begin new games; returns the first observations. seed: of the opponents' random numbers; None: continue these."""
        if seed is not None or not self._players:
            seed = int(np.random.default_rng().integers(2**31)) if seed is None else seed
            names = [f"{number} {opponent.stream}" for number, opponent in enumerate(self._opponents)]
            self._players = [
                opponent.player(stream(seed, "environment", name)) for opponent, name in zip(self._opponents, names, strict=True)
            ]
            self._chance = np.random.default_rng(seed)
        self._opponent = self._seated()
        self._opponent.begin(self.games)
        self._opponent.meet(None)
        self._observation = torch.full((self.games,), START)
        self._reward = torch.zeros(self.games)
        self.played: list[tuple[int, int]] = []  # the first game's actions so far
        self._over = False
        return self._codes(self._observation)

    def play(self, actions: ArrayLike) -> tuple[Codes, NDArray[np.float64], bool]:
        """Play a round with these actions [games]; returns observations, rewards, and whether it was the last round."""
        if not self._players or self._over:
            raise UsageError("the game has not begun, or is over: call reset() first")
        own = self._checked(actions)
        with torch.no_grad():
            chosen = self._opponent.act(self._observation, self._reward)
        other = checked_actions(self._opponent, chosen, self.games, self.game.n_actions)
        own, other = (self.game.played(each, torch.from_numpy(self._chance.random(self.games))) for each in (own, other))
        self._observation, self._reward = self.game.observe(other, own), self.game.reward(other, own)
        self.played.append((int(own[0]), int(other[0])))
        ended = self.game.over is not None and self._chance.random() >= self.game.continuation
        self._over = ended or len(self.played) == self.rounds
        observation = torch.full_like(own, cast(int, self.game.over)) if ended else self.game.observe(own, other)
        return self._codes(observation), self.game.reward(own, other).double().numpy(), self._over

    def transcript(self) -> str:
        """The first game so far, a line per player; actions are C and D if there are two."""
        letters = "CD" if self.game.n_actions == 2 else "0123456789"
        lines = zip(("agent   ", "opponent"), zip(*self.played, strict=True) if self.played else ((), ()), strict=True)
        return "\n".join(f"{name} {''.join(letters[action] for action in actions)}" for name, actions in lines)

    def _seated(self) -> Player:
        """One player for all games: the opponents, with a random number of games for each."""
        if len(self._players) == 1:
            return self._players[0]
        shares = self._chance.multinomial(self.games, np.full(len(self._players), 1 / len(self._players)))
        return Seats([(player, rows) for player, rows in zip(self._players, shares.tolist(), strict=True) if rows])

    def _checked(self, actions: ArrayLike) -> Tensor:
        values: NDArray[Any] = np.asarray(actions)
        n = self.game.n_actions
        if values.shape != (self.games,) or values.dtype.kind not in "iu" or not ((values >= 0) & (values < n)).all():
            raise UsageError(f"actions must be {self.games} integers from 0 to {n - 1}, not {actions!r}")
        return torch.from_numpy(values.astype(np.int64))

    @staticmethod
    def _codes(observation: Tensor) -> Codes:
        return observation.numpy().astype(np.int64)
