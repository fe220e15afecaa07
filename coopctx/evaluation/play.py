"""A trained agent against players of all kinds: named strategies, the tabular pool, other runs, the Axelrod library.

Against memory-one opponents the exact best response is the reference, computed for the very opponents that were met
(`coopctx.game.memory_one.best_response`). What it earns more per round is the agent's regret. It knows its opponent before
the first round, so an agent that has to find out whom it meets is not without regret early in the episode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from rich.console import Group
from rich.table import Table
from rich.text import Text

from coopctx import native
from coopctx.agents.trained import TrainedAgent
from coopctx.analysis.extortion import episode_thirds
from coopctx.errors import RunError, UsageError
from coopctx.experiments.settings import LARGEST_INTEGER, suggestion
from coopctx.game.arena import play
from coopctx.game.episodes import Episodes
from coopctx.game.matrix import COOPERATE, MatrixGame
from coopctx.game.memory_one import ExpectedPlay, best_response
from coopctx.game.player import Player
from coopctx.game.streams import stream
from coopctx.game.tabular import NAMED_STRATEGIES, RandomTabular, TabularPlayer, named_strategy
from coopctx.machine import available_cores, resolve_device
from coopctx.runs.files import check_ordinary, check_writable, write_parquet
from coopctx.runs.manifest import read_manifest
from coopctx.runs.schema import KEYS, MANIFEST, OWN_FILES

TABULAR = "tabular"
AXELROD = "axelrod:"
FEWEST_ROUNDS = 3  # an early, a middle and a late one
GAMES_AT_ONCE = 1024  # in one batch: bounds the planner's memory, however many games are asked for
SCHEMA = pa.schema(
    {
        **KEYS,
        "preset": pa.string(),
        "learner": pa.int64(),
        "opponent": pa.string(),
        "player": pa.string(),
        "round": pa.int64(),
        "cooperation_rate": pa.float64(),
        "reward": pa.float64(),
        "episodes": pa.int64(),
        "best_response_reward": pa.float64(),
    }
)


@dataclass(frozen=True)
class Meeting:
    """The games of an agent (the ego) against one opponent, from both sides.

    best: exact play of the best response to each game's opponent, ``[games, rounds]``; None where it is not known.
    """

    opponent: str
    ego: Episodes
    co: Episodes
    best: ExpectedPlay | None


@dataclass(frozen=True)
class Evaluation:
    """An agent's meetings. keys: agent, experiment, opponent_id, seed and preset of its run, and which learner it is."""

    keys: dict[str, Any]
    meetings: tuple[Meeting, ...]


def evaluate(
    directory: Path,
    against: Sequence[str] = (),
    *,
    learner: int = 1,
    games: int = 256,
    rounds: int | None = None,
    seed: int = 0,
    device: str = "auto",
    out: Path | None = None,
    report: Callable[[str, float], None] = lambda opponent, share: None,
) -> Evaluation:
    """Play ``games`` games of a finished run's learner against each opponent; write the `curves` to ``out``, if given.

    against: names of strategies (`NAMED_STRATEGIES`), ``tabular`` (a fresh random memory-one player in every game),
    directories of other runs, whose first learner it meets, or ``axelrod:`` and the name of a strategy of the Axelrod
    library. None given: all named strategies and tabular; tabular alone where the game has more than two actions.
    rounds: None for as many as the agent was trained with. seed: of these games, not of the run. report hears which
    opponent is being met and the share of its games that is played.

    Raises UsageError for a name or number that will not do, RunError where a directory holds no finished run, a run of
    another game or horizon is to be met, the library is missing, or ``out`` cannot be written.
    """
    for name, value, least in (("--games", games, 1), ("--rounds", rounds, FEWEST_ROUNDS), ("--seed", seed, 0)):
        check_number(least, name, value)
    place = torch.device(resolve_device(device))
    if out is not None:
        _check_out(out)
    agent = TrainedAgent.load(directory)
    if not 1 <= learner <= len(agent.weights):
        raise UsageError(f"--learner must be from 1 to {len(agent.weights)} for {directory}, not {learner}")
    host = _Host(agent, rounds or agent.config.game.rounds, place)
    met = {opponent.name: opponent for opponent in map(host.opponent, against or host.usual())}
    meetings = []
    with _torch_threads(host.torch_threads()):
        for opponent in met.values():
            ego, co = (stream(seed, "evaluate", opponent.stream, side) for side in ("ego", "co"))
            pair, chance = (host.seat(agent, ego, learner), opponent.player(co)), stream(seed, "chance", opponent.stream)
            meetings.append(meet(opponent.name, pair, host.game, host.rounds, games, place, report, chance))
    evaluation = Evaluation({**_run_keys(directory), "learner": learner}, tuple(meetings))
    if out is not None:
        write_parquet(out, curves(evaluation))
    return evaluation


def meet(
    opponent: str,
    players: tuple[Player, Player],
    game: MatrixGame,
    rounds: int,
    games: int,
    device: torch.device | None = None,
    report: Callable[[str, float], None] = lambda opponent, share: None,
    chance: torch.Generator | None = None,
) -> Meeting:
    """Play ``games`` games of the first player against the second, which is called ``opponent``; chance: as of `play`."""
    sides: tuple[list[Episodes], list[Episodes]] = [], []
    policies = []

    def heard(done: int) -> None:
        report(opponent, (sum(map(len, sides[0])) * rounds + done * batch) / (games * rounds))

    for first in range(0, games, GAMES_AT_ONCE):
        batch = min(GAMES_AT_ONCE, games - first)
        played = play(game, rounds, batch, players, device, on_round=heard, chance=chance)
        for side, episodes in zip(sides, played, strict=True):
            side.append(episodes)
        if isinstance(players[1], TabularPlayer) and game.n_actions == 2:
            policies.append(players[1].policies[..., COOPERATE].double().numpy())
    by_chance = game.noise, game.continuation
    best = best_response(np.concatenate(policies), rounds, game.payoffs, *by_chance) if policies else None
    return Meeting(opponent, Episodes.concatenate(sides[0]), Episodes.concatenate(sides[1]), best)


def summary(meeting: Meeting) -> dict[str, float]:
    """What a meeting came to; rewards and regrets per round, in payoff units.

    reward, co_reward, cooperation, co_cooperation; cooperation_early, _middle and _late (thirds of the episode). Where
    the best response is known, best_response_reward and best_response_cooperation, and regret, its standard error over
    games regret_error (nan for one game) and regret_early, _middle and _late. Regret is what the best response is
    expected to earn more against the same opponents; chance may make a game's regret negative.
    """
    ego, co, thirds = meeting.ego, meeting.co, episode_thirds(meeting.ego.rounds)
    cooperation = ego.cooperation_per_round().cpu().numpy()
    told = {
        "reward": ego.reward(),
        "co_reward": co.reward(),
        "cooperation": ego.cooperation_rate(),
        "co_cooperation": co.cooperation_rate(),
        **{f"cooperation_{third}": _mean(cooperation, window) for third, window in thirds.items()},
    }
    if meeting.best is None:
        return told
    played = ego.going_on().cpu().numpy()  # a round counts for both where it was reached
    best_reward, best_cooperation = (np.where(played, x, np.nan) for x in (meeting.best.reward, meeting.best.cooperation))
    regret = best_reward - ego.rewards.double().cpu().numpy()
    games = len(regret)
    return told | {
        "best_response_reward": float(np.nanmean(best_reward)),
        "best_response_cooperation": float(np.nanmean(best_cooperation)),
        "regret": float(np.nanmean(regret)),
        "regret_error": float(np.nanmean(regret, 1).std(ddof=1)) / games**0.5 if games > 1 else float("nan"),
        **{f"regret_{third}": _mean(regret, window) for third, window in thirds.items()},
    }


def curves(evaluation: Evaluation) -> pa.Table:
    """A row per opponent, player (ego, co) and round, with the columns of `SCHEMA`; means over games.

    best_response_reward is what the best response to the ego's opponents expects to earn in that round; null for the
    co-player and where it is not known.
    """
    rows = []
    for meeting in evaluation.meetings:
        best = None if meeting.best is None else meeting.best.reward.mean(0).tolist()
        for player, episodes, reference in (("ego", meeting.ego, best), ("co", meeting.co, None)):
            per_round = episodes.games_per_round(), episodes.cooperation_per_round(), episodes.reward_per_round()
            for t, (games, rate, reward) in enumerate(zip(*(values.tolist() for values in per_round), strict=True)):
                if not games:
                    continue
                rows.append(
                    {
                        **evaluation.keys,
                        "opponent": meeting.opponent,
                        "player": player,
                        "round": t + 1,
                        "cooperation_rate": rate,
                        "reward": reward,
                        "episodes": games,
                        "best_response_reward": None if reference is None else reference[t],
                    }
                )
    return pa.Table.from_pylist(rows, SCHEMA)


def tables(evaluation: Evaluation) -> Group:
    """The evaluation for a reader: what happened against each opponent, and how far it was from the best response."""
    games, rounds = evaluation.meetings[0].ego.actions.shape
    thirds = [f"{third}\n{first}-{last}" for third, (first, last) in episode_thirds(rounds).items()]
    measured = {meeting.opponent: summary(meeting) for meeting in evaluation.meetings}
    parts = [
        _table(
            f"{games} games of {rounds} rounds. Rewards are per round; early, middle, late: the agent's cooperation rate.",
            ("reward", "its\nreward", "coop.", "its\ncoop.", *thirds),
            ("reward", "co_reward", "cooperation", "co_cooperation", *(f"cooperation_{third}" for third in _THIRDS)),
            measured,
        )
    ]
    known = {opponent: told for opponent, told in measured.items() if "regret" in told}
    if known:
        parts.append(
            _table(
                "\nThe exact best response to the same opponents. Regret: how much less per round the agent earned.",
                ("best\nreward", "best\ncoop.", "regret", "s.e.", *thirds),
                (*_REFERENCE, *(f"regret_{third}" for third in _THIRDS)),
                known,
            )
        )
    return Group(*parts)


def check_number(least: int, name: str, value: int | None) -> None:
    """UsageError, naming the option, for a value below ``least`` or above `LARGEST_INTEGER`."""
    if value is not None and not least <= value <= LARGEST_INTEGER:
        above = f" and <= {LARGEST_INTEGER}" if value > LARGEST_INTEGER else ""
        raise UsageError(f"{name} must be an integer >= {least}{above}, not {value}")


def library() -> ModuleType:
    """`coopctx.evaluation.axelrod`; RunError where the Axelrod library that it needs is not installed."""
    try:
        return import_module("coopctx.evaluation.axelrod")
    except ImportError as error:
        raise RunError(f"this needs the Axelrod library ({error}); pip install 'coopctx[axelrod]'") from error


@dataclass(frozen=True)
class _Opponent:
    """name: as shown; stream: the name of its games' random streams; player: what it is when given a stream."""

    name: str
    stream: str
    player: Callable[[torch.Generator], Player]


class _Host:
    """Knows the game that is played and who can be asked to it."""

    def __init__(self, agent: TrainedAgent, rounds: int, device: torch.device) -> None:
        if rounds < FEWEST_ROUNDS:
            raise UsageError(f"{agent.directory} was trained with game.rounds = {rounds}; give --rounds {FEWEST_ROUNDS} or more")
        self.game, self.rounds = agent.config.game.matrix(), rounds
        self._agent, self._device, self._threads = agent, device, available_cores()

    def usual(self) -> tuple[str, ...]:
        return (*(NAMED_STRATEGIES if self.game.n_actions == 2 else ()), TABULAR)

    def torch_threads(self) -> int:
        """One where the native kernel is in use: torch's idle threads would take the cores from its own."""
        return 1 if native.kernel_for(self._device, self._agent.config.model.hidden) else self._threads

    def seat(self, agent: TrainedAgent, generator: torch.Generator, learner: int = 1) -> Player:
        return agent.player(generator, learner, self._device, self._threads)

    def opponent(self, name: str) -> _Opponent:
        if name == TABULAR:
            return _Opponent(name, name, partial(RandomTabular, self.game.n_outcomes, self.game.n_actions))
        if name in NAMED_STRATEGIES:
            self._check_two_actions(name)
            return _Opponent(name, name, partial(named_strategy, name))
        if name.startswith(AXELROD):
            return self._library_strategy(name)
        if "/" in name or (name and Path(name).is_dir()):
            return self._other_run(Path(name))
        near = suggestion(name, self.usual())
        raise UsageError(f"unknown opponent '{name}'; {near} (also: a run's directory, or {AXELROD}NAME)")

    def _library_strategy(self, name: str) -> _Opponent:
        self._check_two_actions(name)
        axelrod = library()
        strategy = axelrod.library_strategy(name.removeprefix(AXELROD))
        name = AXELROD + strategy.name
        return _Opponent(name, name, partial(axelrod.AxelrodPlayer, strategy, self.game, self.rounds))

    def _other_run(self, directory: Path) -> _Opponent:
        other = TrainedAgent.load(directory)
        other.check_game(self._agent.config)
        keys = "/".join(map(str, _run_keys(directory).values()))  # the same games, wherever the run is kept
        return _Opponent(str(directory), keys, partial(self.seat, other))

    def _check_two_actions(self, name: str) -> None:
        if self.game.n_actions != 2:
            played = f"{self._agent.directory} was trained with {self.game.n_actions}"
            raise UsageError(f"'{name}' plays games of two actions; {played}: it can meet {TABULAR} and other runs")


@contextmanager
def _torch_threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _run_keys(directory: Path) -> dict[str, Any]:
    manifest = read_manifest(directory)
    return {name: manifest[name] for name in (*KEYS, "preset")}


def _check_out(path: Path) -> None:
    """Before anything is played: `path` can be written, and is not one of a run's own files."""
    check_ordinary(path)
    if path.name in OWN_FILES and (path.parent / MANIFEST).exists():
        raise RunError(f"cannot write {path}: it belongs to the run there")
    check_writable(path.parent)


def _mean(per_round: np.ndarray, window: tuple[int, int]) -> float:
    """Mean over rounds ``window``, counted from 1 and both included, and not reached where nan; the last axis is the round."""
    within = per_round[..., window[0] - 1 : window[1]]
    return float(np.nanmean(within)) if not np.isnan(within).all() else float("nan")


_THIRDS = ("early", "middle", "late")
_REFERENCE = ("best_response_reward", "best_response_cooperation", "regret", "regret_error")


def _table(
    title: str, headings: Sequence[str], quantities: Sequence[str], measured: dict[str, dict[str, float]]
) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1), pad_edge=False)
    table.add_column("opponent", overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for opponent, told in measured.items():
        table.add_row(Text(opponent), *(f"{told[quantity]:z.3f}" for quantity in quantities))
    return table
