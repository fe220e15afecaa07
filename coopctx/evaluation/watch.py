"""The games that the figure ``episodes`` shows: an agent before and after training, with its own kind and with others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import torch

from coopctx.agents.others import TABULAR
from coopctx.agents.trained import TrainedAgent
from coopctx.errors import RunError
from coopctx.evaluation.games import games_table
from coopctx.evaluation.meetings import Evaluation
from coopctx.evaluation.opponents import Host
from coopctx.evaluation.play import meet
from coopctx.evaluation.watched import watched
from coopctx.experiments.checks import check_number
from coopctx.experiments.pools import RunSpec
from coopctx.game.player import Player
from coopctx.game.streams import stream
from coopctx.game.threads import torch_threads
from coopctx.machine import resolve_device

PARTNER, UNTRAINED_PARTNER = "its training partner", "its untrained partner"
COPY, FIXED_ICL = "a copy of itself", "Fixed-ICL"


@dataclass(frozen=True)
class Pairing:
    """An agent and the opponent of its first learner. player: makes the opponent from a random stream."""

    agent: TrainedAgent
    trained: bool
    opponent: str
    player: Callable[[torch.Generator], Player]


def watch(
    run: str | Path,
    against: Sequence[str] = (),
    *,
    games: int = 32,
    report: Callable[[str, float], None] = lambda opponent, share: None,
) -> pa.Table:
    """Games of learner 1 of ``run`` with the columns of `coopctx.analysis.played.games.SCHEMA`.

    against: its opponents, each met before and after training. Empty: before training its untrained partner; after training its
    training partner, a copy of itself, a stranger (the same run's next seed, if it is in the same results folder) and tabular
    players; and the Step-2 agent of its kind and seed against its Fixed-ICL, if both are in this folder. Raises as `evaluate`.
    """
    check_number("--games", games, 1)
    agent, place = TrainedAgent.load(run), torch.device(resolve_device("auto"))
    host = Host(agent, None, place)
    tables = []
    with torch_threads(host.torch_threads()):
        for pairing in _against(host, agent, against) if against else _usual(host, agent):
            name = f"{'trained' if pairing.trained else 'untrained'}/{pairing.opponent}"
            own, other, chance = (stream(0, "watch", name, side) for side in ("ego", "co", "chance"))
            pair = watched(host.seat(pairing.agent, own)), watched(pairing.player(other))
            met = meet(pairing.opponent, pair, host.game, host.rounds, games, place, report, chance)
            keys = {**pairing.agent.keys, "learner": 1}
            tables.append(games_table(Evaluation(pairing.agent.name, keys, (met,), host.game), pairing.trained))
    return pa.concat_tables(tables)


def _against(host: Host, agent: TrainedAgent, against: Sequence[str]) -> Iterator[Pairing]:
    for name in against:
        opponent = host.opponent(name)
        if agent.has_untrained:
            yield Pairing(agent.untrained(), False, opponent.name, opponent.player)
        yield Pairing(agent, True, opponent.name, opponent.player)


def _usual(host: Host, agent: TrainedAgent) -> Iterator[Pairing]:
    has_partner = len(agent.weights) > 1
    if agent.has_untrained:
        fresh = agent.untrained()
        partner = UNTRAINED_PARTNER, partial(host.seat, fresh, learner=2)
        yield Pairing(fresh, False, *(partner if has_partner else (TABULAR, host.opponent(TABULAR).player)))
    if has_partner:
        yield Pairing(agent, True, PARTNER, partial(host.seat, agent, learner=2))
    yield Pairing(agent, True, COPY, partial(host.seat, agent))
    if stranger := _beside(host, agent, agent.keys["experiment"], agent.keys["seed"] + 1):
        yield Pairing(agent, True, f"a stranger, seed {stranger.keys['seed']}", partial(host.seat, stranger))
    yield Pairing(agent, True, TABULAR, host.opponent(TABULAR).player)
    extorter, fixed = (_beside(host, agent, pool, agent.keys["seed"]) for pool in ("extortion", "tabular"))
    if extorter and fixed:
        yield Pairing(extorter, True, FIXED_ICL, partial(host.seat, fixed))


def _beside(host: Host, agent: TrainedAgent, pool: str, seed: int) -> TrainedAgent | None:
    """The finished run of the same kind, preset, opponent ID and results folder; None if there is none."""
    told = agent.keys["opponent_id"] and pool == agent.keys["experiment"]
    spec = RunSpec(agent.kind, pool, told, seed, agent.keys["preset"])
    try:
        found = TrainedAgent.load(spec.directory(agent.directory.absolute().parents[2]))
        host.check_game(found)
    except RunError:
        return None
    return found
