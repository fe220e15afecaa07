"""Cross-play: every trained agent with every other one, with a copy of itself, and with strategies and naive learners.

Each pair plays once and gives a row from each side. In several episodes the partner stays the same
(`coopctx.evaluation.series`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from coopctx.agents.others import TABULAR
from coopctx.agents.trained import TrainedAgent
from coopctx.analysis.played.crossplay import NAIVE, SCHEMA
from coopctx.errors import UsageError
from coopctx.evaluation.opponents import Host
from coopctx.evaluation.play import GAMES_AT_ONCE, check_games
from coopctx.evaluation.series import Anew, Lasting, Naive, Seat, play_series
from coopctx.experiments.agents import AGENTS
from coopctx.experiments.checks import check_number
from coopctx.experiments.pools import run_name
from coopctx.experiments.presets import load_preset, preset_names
from coopctx.game.episodes import Episodes
from coopctx.game.matrix import COOPERATE, DEFECT
from coopctx.game.streams import stream
from coopctx.game.threads import torch_threads
from coopctx.machine import resolve_device


@dataclass(frozen=True)
class Entrant:
    """A participant.

    kind: the name of its run or strategy. seat: makes its player from a random stream. seed, learner, agent: of a trained agent.
    games: the number of games that one naive learner plays at once; the number of all games must be a multiple of it.
    """

    kind: str
    seat: Callable[[torch.Generator], Seat]
    seed: int | None = None
    learner: int | None = None
    agent: TrainedAgent | None = None
    games: int = 1

    @property
    def name(self) -> str:
        """Such as ``ppi-mixed seed 0, learner 2``; a strategy's own name."""
        return self.kind if self.seed is None else f"{self.kind} seed {self.seed}, learner {self.learner}"


def arena(
    runs: Sequence[str | Path],
    against: Sequence[str | Path] = (),
    *,
    episodes: int = 1,
    games: int = 32,
    rounds: int | None = None,
    seed: int = 0,
    device: str = "auto",
    report: Callable[[str, float], None] = lambda pair, share: None,
) -> pa.Table:
    """Cross-play of all learners of ``runs``, with each other, with copies of themselves and with ``against``.

    against: names of strategies, ``tabular``, ``naive`` (naive learners of arXiv:2410.18636, App. B, with the settings of the
    first run's preset, or of the run itself if that is a file), ``axelrod:NAME``, or further runs; these do not meet each other.
    Empty: all named strategies and tabular, with several episodes also naive. episodes: with the same partner, in a row. games:
    of each pair, side by side. rounds: of an episode; None for as many as the first run was trained with. report is called with
    the names of the next pair and the share of all pairs that have played. Returns a table with the columns of
    `coopctx.analysis.played.crossplay.SCHEMA`.

    Raises UsageError for an unknown name or a number out of range; RunError for a directory without a finished run, or a run
    of another game.
    """
    check_number("--episodes", episodes, 1)
    check_games(games, rounds, seed)
    if not runs:
        raise UsageError("an arena needs a run: give directories of finished runs, or packaged agents")
    place = torch.device(resolve_device(device))
    first = TrainedAgent.load(runs[0])
    host = Host(first, rounds, place)
    if host.game.n_actions != 2:
        raise UsageError(f"an arena is for games of two actions; {first.directory} was trained with {host.game.n_actions}")
    usual = (*host.usual(), *((NAIVE,) if episodes > 1 and host.game.over is None else ()))
    insiders = _distinct([entrant for run in runs for entrant in _learners(host, TrainedAgent.load(run))])
    everyone = _distinct([*insiders, *(entrant for name in against or usual for entrant in _entrants(host, str(name), first))])
    outsiders = everyone[len(insiders) :]
    for entrant in outsiders:
        if games % entrant.games:
            raise UsageError(f"--games must be a multiple of {entrant.games}, which a naive learner plays at once, not {games}")
    pairs = [(one, other) for number, one in enumerate(insiders) for other in (*insiders[number:], *outsiders)]  # each once
    rows: list[dict[str, Any]] = []
    with torch_threads(host.torch_threads()):
        for number, (one, other) in enumerate(pairs):
            report(f"{one.name} and {other.name}", number / len(pairs))
            sides = _play(host, one, other, episodes, games, seed, place)
            rows += _rows(host, one, other, sides)
    return pa.Table.from_pylist(rows, SCHEMA)


def _distinct(entrants: Sequence[Entrant]) -> list[Entrant]:
    """Each entrant once; UsageError if two different agents have the same name."""
    named: dict[str, Entrant] = {}
    for entrant in entrants:
        known = named.setdefault(entrant.name, entrant)
        if known.agent and entrant.agent and not _alike(known.agent, entrant.agent):
            both = f"{known.agent.directory} and {entrant.agent.directory}"
            raise UsageError(f"{both} are both {entrant.agent.name} and have different weights; give one of them")
    return list(named.values())


def _alike(one: TrainedAgent, other: TrainedAgent) -> bool:
    """Whether two agents are the same run, or copies of it."""
    same = zip(one.weights, other.weights, strict=False)
    return one.directory == other.directory or all(
        ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours) for ours, theirs in same
    )


def _learners(host: Host, agent: TrainedAgent) -> list[Entrant]:
    host.check_game(agent)
    keys = agent.keys
    lasting = AGENTS[agent.kind].keeps_history

    def seat(learner: int, generator: torch.Generator) -> Seat:
        player = host.seat(agent, generator, learner)
        return Lasting(player) if lasting else Anew(player)

    kind = run_name(keys["agent"], keys["experiment"], keys["opponent_id"])
    numbers = range(1, len(agent.weights) + 1)
    return [Entrant(kind, partial(seat, learner), keys["seed"], learner, agent) for learner in numbers]


def _entrants(host: Host, name: str, first: TrainedAgent) -> list[Entrant]:
    """The entrants that one value of ``--against`` names."""
    if name == NAIVE:
        if host.game.over is not None:
            raise UsageError(f"{NAIVE} learners learn from episodes of a fixed number of rounds; here the ending is random")
        preset = first.keys["preset"]  # a run of a user's file has its settings itself
        coala = (load_preset(preset, (), NAIVE) if preset in preset_names() else first.config).coala
        return [Entrant(NAIVE, lambda generator: Naive(host.game, coala, generator), games=coala.inner_batch)]
    opponent = host.opponent(name)
    if opponent.agent:
        return _learners(host, opponent.agent)
    same = Lasting if name == TABULAR else Anew  # a partner that is drawn stays the same in all episodes
    return [Entrant(opponent.name, lambda generator: same(opponent.player(generator)))]


def _play(
    host: Host, one: Entrant, other: Entrant, episodes: int, games: int, seed: int, device: torch.device
) -> list[tuple[Episodes, Episodes]]:
    """Both sides of every episode; games in batches that bound the planner's memory."""
    at_once = max(GAMES_AT_ONCE // other.games, 1) * other.games
    batches = []
    for start in range(0, games, at_once):
        ego, co, chance = (stream(seed, "arena", one.name, other.name, side, start) for side in ("ego", "co", "chance"))
        batch = min(at_once, games - start)
        seats = one.seat(ego), other.seat(co)
        batches.append(play_series(host.game, host.rounds, episodes, batch, seats, device, chance))
    return [
        (Episodes.concatenate([ego for ego, _ in parts]), Episodes.concatenate([co for _, co in parts]))
        for parts in zip(*batches, strict=True)
    ]


def _rows(host: Host, one: Entrant, other: Entrant, sides: Sequence[tuple[Episodes, Episodes]]) -> list[dict[str, Any]]:
    """A row per episode from the first side, and from the second one unless that is a copy of the first."""
    rows = []
    for number, (ego, co) in enumerate(sides, start=1):
        for (own, us), (met, them) in (((one, ego), (other, co)), ((other, co), (one, ego))):
            rows.append(
                {
                    **_named("player", own),
                    **_named("opponent", met),
                    "episodes": len(sides), "rounds": host.rounds, "games": len(ego), "episode": number,
                    "reward": us.reward(), "co_reward": them.reward(),
                    "cooperation_rate": us.cooperation_rate(), "co_cooperation_rate": them.cooperation_rate(),
                    "mutual_cooperation": _both(us, them, COOPERATE), "mutual_defection": _both(us, them, DEFECT),
                    "baseline": float(host.game.payoffs[DEFECT][DEFECT]),
                }
            )
            if one is other:
                break
    return rows


def _named(side: str, who: Entrant) -> dict[str, Any]:
    return {side: who.name, f"{side}_kind": who.kind, f"{side}_seed": who.seed, f"{side}_learner": who.learner}


def _both(one: Episodes, other: Episodes, action: int) -> float:
    """Share of the rounds played in which both chose ``action``."""
    return float(((one.actions == action) & (other.actions == action))[one.going_on()].double().mean())
