"""The opponents of an evaluation: named strategies, the tabular pool, trained agents, the Axelrod library, your own players."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, cast

import torch

from coopctx import native
from coopctx.agents.others import AXELROD, TABULAR, names_a_run, scripted
from coopctx.agents.trained import PACKAGED, TrainedAgent, packaged_agents
from coopctx.errors import UsageError, suggestion
from coopctx.game.matrix import PRISONERS_DILEMMA, MatrixGame
from coopctx.game.memory_one import NAMED_STRATEGIES
from coopctx.game.player import Player, check_player_class
from coopctx.machine import available_cores

# A strategy's name, ``tabular``, ``axelrod:NAME``, a packaged agent's name, a run's directory, an agent, or a player.
Contestant: TypeAlias = str | Path | TrainedAgent | Player

FEWEST_ROUNDS = 3  # an early, a middle and a late one
USUAL_ROUNDS = 100  # if no trained agent takes part


@dataclass(frozen=True)
class Opponent:
    """name: for tables; stream: the name of its games' random streams; player: makes the player from a stream; own: whether it
    is a user's player; agent: the trained agent, if it is one."""

    name: str
    stream: str
    player: Callable[[torch.Generator], Player]
    own: bool = False
    agent: TrainedAgent | None = None


class Host:
    """The game that is played, and the opponents that can take part in it.

    agent: the agent whose game is played; None: ``game`` is played. rounds: None for the number that the agent was trained
    with. Raises UsageError for too few rounds, and if ``game`` is not the agent's.
    """

    def __init__(
        self, agent: TrainedAgent | None, rounds: int | None, device: torch.device, game: MatrixGame | None = None
    ) -> None:
        if not rounds and agent and agent.rounds < FEWEST_ROUNDS:
            trained = f"{agent.directory} was trained in episodes of {agent.rounds} rounds"
            raise UsageError(f"{trained}; give --rounds {FEWEST_ROUNDS} or more")
        self.game = agent.config.game.matrix() if agent else game or PRISONERS_DILEMMA
        if agent and game not in (None, self.game):
            raise UsageError(f"{agent.directory} was trained in another game: {agent.config.game}")
        self.rounds = rounds or (agent.rounds if agent else USUAL_ROUNDS)
        self._agent, self._device, self._threads = agent, device, available_cores()

    def usual(self) -> tuple[str, ...]:
        """All named strategies and the tabular pool; only the pool if the game has more than two actions."""
        return (*(NAMED_STRATEGIES if self.game.n_actions == 2 else ()), TABULAR)

    def torch_threads(self) -> int:
        """One if the native kernel is in use: torch's idle threads would take the cores from the kernel's threads."""
        hidden = self._agent.config.model.hidden if self._agent else 0
        return 1 if native.kernel_for(self._device, hidden) else self._threads

    def check_game(self, agent: TrainedAgent) -> None:
        """RunError, naming the difference, unless ``agent`` was trained in the game that is played here."""
        if self._agent:
            agent.check_game(self._agent.config)

    def seat(self, agent: TrainedAgent, generator: torch.Generator, learner: int = 1) -> Player:
        """A learner of a trained agent as a player on this host's device."""
        return agent.player(generator, learner, self._device, self._threads)

    def opponent(self, who: Contestant) -> Opponent:
        """The opponent that ``who`` is or names.

        Raises UsageError for an unknown name or an object that is no player; RunError if a directory has no finished run, a
        run has another game or horizon, or the Axelrod library is not installed.
        """
        if isinstance(who, TrainedAgent):
            return self._trained(who)
        if not isinstance(who, str | Path):
            return self._own(who)
        name = str(who)
        if found := scripted(name, self.game, self.rounds):
            return Opponent(found[0], *found)
        if agent := agent_of(who):
            return self._trained(agent)
        near = suggestion(name, (*self.usual(), *packaged_agents()))
        raise UsageError(f"unknown opponent '{name}'; {near} (also: a run's directory, or {AXELROD}NAME)")

    def _trained(self, agent: TrainedAgent) -> Opponent:
        self.check_game(agent)
        name = agent.directory.name if agent.directory.parent == PACKAGED else str(agent.directory)
        keys = "/".join(map(str, agent.keys.values()))  # the same games, wherever the run is kept
        return Opponent(name, keys, partial(self.seat, agent), agent=agent)

    def _own(self, who: Any) -> Opponent:
        kind = who if isinstance(who, type) else type(who)
        check_player_class(kind)
        if isinstance(who, type):
            raise UsageError(f"give a player, not its class: {kind.__name__}(...)")
        return Opponent(kind.__name__, kind.__name__, lambda generator: cast(Player, who), own=True)


def agent_of(who: Contestant) -> TrainedAgent | None:
    """The trained agent that ``who`` is or names (a packaged agent's name, or a run's directory); None if it is none."""
    if isinstance(who, TrainedAgent):
        return who
    if isinstance(who, Path):
        return TrainedAgent.load(who)
    if not isinstance(who, str) or who in (TABULAR, *NAMED_STRATEGIES) or who.startswith(AXELROD):
        return None
    return TrainedAgent.load(who) if names_a_run(who) else None


def first_agent(contestants: Iterable[Contestant]) -> TrainedAgent | None:
    """The first trained agent among ``contestants``, whose game is played; None if there is none."""
    return next(filter(None, map(agent_of, contestants)), None)


def guests(against: Contestant | Iterable[Contestant]) -> list[Contestant]:
    """One contestant or several as a list."""
    one = isinstance(against, str | Path | TrainedAgent | type) or callable(getattr(against, "act", None))
    if not one and not isinstance(against, Iterable):
        raise UsageError(f"opponents are names, directories, agents or players, not {against!r}")
    return [cast(Contestant, against)] if one else list(cast(Iterable[Contestant], against))
