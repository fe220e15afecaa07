"""The opponents in a run that do not learn: tabular players, named strategies, frozen agents, a user's players."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import cast

import torch

from coopctx.agents import player_of
from coopctx.agents.trained import TrainedAgent, packaged_agents
from coopctx.errors import CoopctxError, RunError, UsageError, suggestion
from coopctx.experiments.pools import CUSTOM, LEARNER, RunSpec, check_members
from coopctx.experiments.settings import Config
from coopctx.game.matrix import MatrixGame
from coopctx.game.memory_one import NAMED_STRATEGIES
from coopctx.game.player import Player, check_player_class
from coopctx.game.streams import stream
from coopctx.game.tabular import RandomTabular, named_strategy

TABULAR = "tabular"
FIXED_ICL = "fixed-icl"
AXELROD = "axelrod:"
Maker = Callable[[torch.Generator, int], Player]  # of a player, from its random numbers and the threads that it may use


class Others:
    """Makes the opponents of a run's pool that do not learn: a new player for each batch of games.

    Raises UsageError or RunError, naming the setting, for one that cannot be made.
    """

    def __init__(self, spec: RunSpec, config: Config, device: torch.device, fixed_icl: TrainedAgent | None = None) -> None:
        self._seed = spec.seed
        if spec.pool == CUSTOM:
            numbered = enumerate((member.opponent for member in config.pool.members), start=1)
            self.makers = {name: _member(n, name, config, device) for n, name in numbered if name != LEARNER}
        else:
            self.makers = {TABULAR: _maker(TABULAR, config, device)}
        if fixed_icl is not None:
            self.makers[FIXED_ICL] = _frozen(fixed_icl, device)

    def player(self, opponent: str, learner: int, *purpose: str | int, threads: int = 1) -> Player:
        """The opponent of this name against a learner (1 or 2); ``purpose`` names its random numbers.

        The first words of a stream's name differ by kind, as they do in the committed runs.
        """
        names: tuple[str | int, ...] = opponent, *purpose, learner
        if opponent == TABULAR:
            names = "tabular pool", *purpose, learner
        elif opponent == FIXED_ICL:  # of runs with one learner
            names = opponent, *purpose
        return self.makers[opponent](stream(self._seed, *names), threads)


def check_pool(spec: RunSpec, config: Config) -> None:
    """UsageError or RunError, naming the setting, if a run's custom pool cannot be played."""
    check_members(spec, config.pool)
    if spec.pool != CUSTOM:
        return
    name = {"ppi": "ppi.episodes_per_phase", "a2c": "a2c.batch_size"}[spec.agent]
    section, key = name.split(".")
    episodes, kinds = getattr(getattr(config, section), key), len(config.pool.members)
    if episodes < kinds:
        raise UsageError(f"{name} must be >= {kinds}, one episode for each of pool.members, not {episodes}")
    Others(spec, config, torch.device("cpu"))


def names_a_run(name: str) -> bool:
    """Whether an opponent's name is that of a packaged agent or a directory."""
    return name in packaged_agents() or "/" in name or (bool(name) and Path(name).is_dir())


def scripted(name: str, game: MatrixGame, rounds: int) -> tuple[str, Callable[[torch.Generator], Player]] | None:
    """The full name of a player that is no agent, and what makes it; None for another name.

    Such players are ``tabular``, the named strategies and those of the Axelrod library. Raises UsageError for an unknown one of
    the library and for a strategy in a game of more than two actions, RunError if the library is not installed.
    """
    if name == TABULAR:
        return name, partial(RandomTabular, game.n_outcomes, game.n_actions)
    if name not in NAMED_STRATEGIES and not name.startswith(AXELROD):
        return None
    if game.n_actions != 2:
        raise UsageError(f"'{name}' plays games of two actions, not of {game.n_actions}; {TABULAR} and runs can play any game")
    if name in NAMED_STRATEGIES:
        return name, partial(named_strategy, name)
    strategy = library().library_strategy(name.removeprefix(AXELROD))
    return AXELROD + strategy.name, partial(library().AxelrodPlayer, strategy, game, rounds)


def library() -> ModuleType:
    """`coopctx.game.axelrod`; RunError if the Axelrod library, which it needs, is not installed."""
    try:
        return import_module("coopctx.game.axelrod")
    except ImportError as error:
        raise RunError(f"this needs the Axelrod library ({error}); in a clone: pip install '.[axelrod]'") from error


def _member(number: int, opponent: str, config: Config, device: torch.device) -> Maker:
    try:
        return _maker(opponent, config, device)
    except CoopctxError as error:
        raise type(error)(f"pool.members[{number}].opponent: {error}") from error


def _maker(opponent: str, config: Config, device: torch.device) -> Maker:
    """How to make the player that ``opponent`` names (`settings.Member`)."""
    if found := scripted(opponent, config.game.matrix(), config.game.rounds):
        make = found[1]
        return lambda generator, threads: make(generator)
    if names_a_run(opponent):
        agent = TrainedAgent.load(opponent)
        agent.check_game(config)
        return _frozen(agent, device)
    module, colon, name = opponent.partition(":")
    if colon and name.isidentifier() and all(part.isidentifier() for part in module.split(".")):
        return _own(module, name)
    near = suggestion(opponent, (LEARNER, TABULAR, *NAMED_STRATEGIES, *packaged_agents()))
    raise UsageError(f"unknown opponent {opponent!r}; {near} (also: a run's directory, {AXELROD}NAME, package.module:Player)")


def _frozen(agent: TrainedAgent, device: torch.device) -> Maker:
    model = agent.model(device=device)
    return lambda generator, threads: player_of(agent.kind, model, agent.config, generator, threads)


def _own(module: str, name: str) -> Maker:
    """An object of the user's class, whose module may be in the current folder; it gets ``generator`` if it takes one."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        kind = getattr(import_module(module), name)
    except Exception as error:  # whatever the user's module raises
        raise UsageError(f"cannot import {module}:{name} ({type(error).__name__}: {error})") from error
    if not isinstance(kind, type):
        raise UsageError(f"{module}:{name} must be a class of players, not {type(kind).__name__}")
    check_player_class(kind)
    takes = "generator" in signature(kind).parameters

    def make(generator: torch.Generator, threads: int) -> Player:
        return cast(Player, kind(generator=generator) if takes else kind())

    try:
        make(stream(0), 1)
    except Exception as error:
        raise UsageError(f"cannot make a {module}:{name} ({type(error).__name__}: {error})") from error
    return make
