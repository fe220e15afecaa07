"""Play a trained agent, or any other player, against opponents of all kinds (`coopctx.evaluation.opponents`).

The reference against memory-one opponents is the exact best response to the opponents that were drawn
(`coopctx.game.memory_one.best_response`). The agent's regret is the reward of the best response minus the agent's reward. The
best response knows its opponent before the first round, so an agent that has to infer its opponent has some regret early in the
episode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from coopctx.agents.trained import TrainedAgent
from coopctx.errors import UsageError
from coopctx.evaluation.meetings import SCHEMA, Evaluation, Meeting, curves
from coopctx.evaluation.opponents import FEWEST_ROUNDS, Contestant, Host, Opponent, agent_of, first_agent, guests
from coopctx.evaluation.watched import Watched, watched
from coopctx.experiments.checks import check_number
from coopctx.game.arena import play
from coopctx.game.episodes import Episodes
from coopctx.game.matrix import COOPERATE, MatrixGame
from coopctx.game.memory_one import best_response
from coopctx.game.player import Player
from coopctx.game.streams import stream
from coopctx.game.tabular import TabularPlayer
from coopctx.game.threads import torch_threads
from coopctx.machine import resolve_device
from coopctx.runs.export import check_export, export
from coopctx.runs.schema import KEYS

GAMES_AT_ONCE = 1024  # in one batch: bounds the planner's memory
Report = Callable[[str, float], None]  # is called with the opponent's name and the share of its games that is played


def evaluate(
    agent: Contestant,
    against: Contestant | Iterable[Contestant] = (),
    *,
    learner: int = 1,
    games: int = 256,
    rounds: int | None = None,
    seed: int = 0,
    device: str = "auto",
    out: str | Path | None = None,
    watch: bool = False,
    report: Report = lambda opponent, share: None,
) -> Evaluation:
    """Play ``games`` games of ``agent`` against each opponent; write the `curves` to ``out``, if given.

    agent: the directory of a finished run, the name of a packaged agent, a `TrainedAgent` (learner ``learner`` plays), or
    anything that can be an opponent. against: one opponent or several: names of strategies (`NAMED_STRATEGIES`); ``tabular``,
    a new random memory-one player in every game; ``axelrod:`` and the name of a strategy of the Axelrod library; trained
    agents, whose first learner plays; or your own players. Default: all named strategies and tabular; only tabular if the game
    has more than two actions. The game is that of the first trained agent, or the prisoner's dilemma. rounds: None for as many
    as that agent was trained with, or 100. seed: of these games, not of the run. watch: keep the beliefs of trained agents
    (`Meeting.beliefs`, `coopctx.evaluation.games`).

    Raises UsageError for an unknown name, an object that is no player, or a number out of range; RunError if a directory has
    no finished run, a run is of another game or horizon, the library is missing, or ``out`` cannot be written.
    """
    check_games(games, rounds, seed)
    place = torch.device(resolve_device(device))
    if out is not None:
        check_export(Path(out), SCHEMA)
    asked, trained = list({id(guest): guest for guest in guests(against)}.values()), agent_of(agent)  # each object once
    host = Host(trained or first_agent(asked), rounds, place)
    ego, keys = _ego(host, agent, trained, learner)
    meetings = []
    with torch_threads(host.torch_threads()):
        for name, opponent in _named([host.opponent(guest) for guest in asked or host.usual()]).items():
            players = _seated(ego, opponent, seed, watch)
            chance = stream(seed, "chance", opponent.stream)
            meetings.append(meet(name, players, host.game, host.rounds, games, place, report, chance))
    evaluation = Evaluation(ego.name, keys, tuple(meetings), host.game)
    if out is not None:
        export(Path(out), curves(evaluation))
    return evaluation


def check_games(games: int, rounds: int | None, seed: int) -> None:
    """UsageError, naming the option, unless games of these numbers can be played."""
    check_number("--games", games, 1)
    check_number("--rounds", rounds, FEWEST_ROUNDS)
    check_number("--seed", seed, 0)


def meet(
    opponent: str,
    players: tuple[Player, Player],
    game: MatrixGame,
    rounds: int,
    games: int,
    device: torch.device | None = None,
    report: Report = lambda opponent, share: None,
    chance: torch.Generator | None = None,
) -> Meeting:
    """Play ``games`` games of the first player against the second, which is called ``opponent``; chance: as of `play`."""

    def play_batch(first: int) -> tuple[Episodes, Episodes]:
        batch = min(GAMES_AT_ONCE, games - first)

        def on_round(done: int) -> None:
            report(opponent, (first * rounds + done * batch) / (games * rounds))

        return play(game, rounds, batch, players, device, on_round=on_round, chance=chance)

    batches, strategies = [], []
    for first in range(0, games, GAMES_AT_ONCE):
        batches.append(play_batch(first))
        if isinstance(players[1], TabularPlayer) and game.n_actions == 2:
            strategies.append(players[1].policies[..., COOPERATE].double().numpy())  # of the games just played, [games, 5]
    by_chance = game.noise, game.continuation
    best = best_response(np.concatenate(strategies), rounds, game.payoffs, *by_chance) if strategies else None
    ego, co = map(Episodes.concatenate, zip(*batches, strict=True))
    beliefs = [player.beliefs if isinstance(player, Watched) else None for player in players]
    return Meeting(opponent, ego, co, best, (beliefs[0], beliefs[1]))


def _ego(host: Host, who: Contestant, trained: TrainedAgent | None, learner: int) -> tuple[Opponent, dict[str, Any]]:
    """The player that is evaluated, and `Evaluation.keys`; ``trained`` is the agent that ``who`` is or names.

    UsageError if it has no such learner.
    """
    if trained is None:
        return host.opponent(who), dict.fromkeys((*KEYS, "preset", "learner"))
    trained.learner_weights(learner)
    name, keys = f"{trained.name}, learner {learner}", {**trained.keys, "learner": learner}
    return Opponent(name, name, partial(host.seat, trained, learner=learner)), keys


def _seated(ego: Opponent, opponent: Opponent, seed: int, watch: bool) -> tuple[Player, Player]:
    """Both players of a meeting, each with its own random stream. UsageError if they are one object."""
    own = ego.player(stream(seed, "evaluate", opponent.stream, "ego"))
    other = opponent.player(stream(seed, "evaluate", opponent.stream, "co"))
    if own is other:
        raise UsageError(f"a player cannot meet itself; make a second {ego.name}")
    return (watched(own), watched(other)) if watch else (own, other)


def _named(opponents: Sequence[Opponent]) -> dict[str, Opponent]:
    """The opponents by name, each once; a number is added to the names of a user's players that have the same name."""
    named: dict[str, Opponent] = {}
    for opponent in opponents:
        name, number = opponent.name, 1
        while name in named and opponent.own:
            number += 1
            name = f"{opponent.name} ({number})"
        named[name] = opponent
    return named
