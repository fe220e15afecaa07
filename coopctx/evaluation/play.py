"""A trained agent against players of all kinds (`coopctx.evaluation.opponents`), and what came of it.

Against memory-one opponents the exact best response is the reference, computed for the very opponents that were met
(`coopctx.game.memory_one.best_response`). What it earns more per round is the agent's regret. It knows its opponent before
the first round, so an agent that has to find out about its opponent has some regret early in the episode.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from coopctx.agents.beliefs import Beliefs
from coopctx.analysis.extortion import episode_thirds
from coopctx.errors import UsageError
from coopctx.evaluation.opponents import FEWEST_ROUNDS, Contestant, Host, Opponent, agent_of, guests
from coopctx.evaluation.watched import Watched, watched
from coopctx.experiments.checks import LARGEST_INTEGER
from coopctx.game.arena import play
from coopctx.game.episodes import Episodes
from coopctx.game.matrix import COOPERATE, MatrixGame
from coopctx.game.memory_one import ExpectedPlay, best_response
from coopctx.game.player import Player
from coopctx.game.streams import stream
from coopctx.game.tabular import TabularPlayer
from coopctx.machine import resolve_device
from coopctx.runs.export import check_export, export
from coopctx.runs.schema import KEYS

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

    best: exact play of the best response to each game's opponent, ``[games, rounds]``; None where it is not known. beliefs: the
    ego's and the opponent's before every decision, ``[games, rounds, ...]``; None of a side that has none or was not watched.
    """

    opponent: str
    ego: Episodes
    co: Episodes
    best: ExpectedPlay | None
    beliefs: tuple[Beliefs | None, Beliefs | None] = (None, None)


@dataclass(frozen=True, repr=False)
class Evaluation:
    """A player's meetings, one after the other; printed as a table of them.

    player: how it is called. keys: agent, experiment, opponent_id, seed and preset of its run, and which learner it is; None
    where it is no trained agent. game: what was played.
    """

    player: str
    keys: dict[str, Any]
    meetings: tuple[Meeting, ...]
    game: MatrixGame

    @property
    def table(self) -> pd.DataFrame:
        """A row per opponent, with the columns of `summary`; missing where the best response is not known."""
        rows = {meeting.opponent: summary(meeting) for meeting in self.meetings}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("opponent")

    @property
    def rounds(self) -> pd.DataFrame:
        """A row per opponent, player and round, with the columns of `SCHEMA`."""
        return curves(self).to_pandas()

    def __repr__(self) -> str:
        return f"{self._title}\n{self._overview.to_string(float_format='{:.3f}'.format)}"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self._title)}</p>{self._overview.to_html(float_format='{:.3f}'.format)}"

    @property
    def _title(self) -> str:
        games, rounds = self.meetings[0].ego.actions.shape
        return f"{self.player}: {games} games of {rounds} rounds; early, middle, late: its cooperation in thirds of the game"

    @property
    def _overview(self) -> pd.DataFrame:
        table = self.table
        return table[[name for name in _OVERVIEW if name in table]].rename(columns=_OVERVIEW)


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
    report: Callable[[str, float], None] = lambda opponent, share: None,
) -> Evaluation:
    """Play ``games`` games of ``agent`` against each opponent; write the `curves` to ``out``, if given.

    agent: a finished run's directory, the name of a packaged agent, a `TrainedAgent`, of which learner ``learner`` plays, or
    whatever can be an opponent. against: one or several of these, trained agents playing with their first learner; names of
    strategies (`NAMED_STRATEGIES`); ``tabular``, a fresh random memory-one player in every game; ``axelrod:`` and the name
    of a strategy of the Axelrod library; or players of one's own. None given: all named strategies and tabular; tabular
    alone where the game has more than two actions. The game is that of the first trained agent, or the prisoner's dilemma.
    rounds: None for as many as that agent was trained with, or 100. seed: of these games, not of the run. watch: keep the
    beliefs of trained agents (`Meeting.beliefs`, `coopctx.evaluation.games`). report hears which opponent is being met and the
    share of its games that is played.

    Raises UsageError for a name, thing or number that will not do, RunError where a directory holds no finished run, a run
    of another game or horizon is to be met, the library is missing, or ``out`` cannot be written.
    """
    for name, value, least in (("--games", games, 1), ("--rounds", rounds, FEWEST_ROUNDS), ("--seed", seed, 0)):
        check_number(least, name, value)
    place = torch.device(resolve_device(device))
    if out is not None:
        check_out(Path(out))
    asked = guests(against)
    ego = agent_of(agent)
    host = Host(ego or next(filter(None, map(agent_of, asked)), None), rounds, place)
    if ego:
        ego.learner_weights(learner)
        keys = {**ego.keys, "learner": learner}
    else:
        keys = dict.fromkeys((*KEYS, "preset", "learner"))
    who = host.opponent(ego or agent)
    met = _named([host.opponent(guest) for guest in asked or host.usual()])
    meetings = []
    with torch_threads(host.torch_threads()):
        for name, opponent in met.items():
            own, other = (stream(seed, "evaluate", opponent.stream, side) for side in ("ego", "co"))
            pair = host.seat(ego, own, learner) if ego else who.player(own), opponent.player(other)
            if pair[0] is pair[1]:
                raise UsageError(f"a player cannot meet itself; make a second {who.name}")
            if watch:
                pair = watched(pair[0]), watched(pair[1])
            chance = stream(seed, "chance", opponent.stream)
            meetings.append(meet(name, pair, host.game, host.rounds, games, place, report, chance))
    called = f"{ego.name}, learner {learner}" if ego else who.name
    evaluation = Evaluation(called, keys, tuple(meetings), host.game)
    if out is not None:
        write_curves(Path(out), [evaluation])
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
    ego, co = map(Episodes.concatenate, sides)
    beliefs = [player.beliefs if isinstance(player, Watched) else None for player in players]
    return Meeting(opponent, ego, co, best, (beliefs[0], beliefs[1]))


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


def write_curves(out: Path, evaluations: Sequence[Evaluation]) -> None:
    """The `curves` of all ``evaluations`` as one table, Parquet or CSV by its name; RunError where it cannot be written."""
    export(out, pa.concat_tables([curves(evaluation) for evaluation in evaluations]))


def check_out(path: Path) -> None:
    """Before anything is played: as `check_export` for the table of `curves`."""
    check_export(path, SCHEMA)


def check_number(least: int, name: str, value: int | None) -> None:
    """UsageError, naming the option, for a value below ``least`` or above `LARGEST_INTEGER`."""
    whole = isinstance(value, int)
    if value is not None and not (whole and least <= value <= LARGEST_INTEGER):
        above = f" and <= {LARGEST_INTEGER}" if whole and value > LARGEST_INTEGER else ""
        raise UsageError(f"{name} must be an integer >= {least}{above}, not {value!r}")


def _named(opponents: Sequence[Opponent]) -> dict[str, Opponent]:
    """Each once by its name; players of one's own that share a name are numbered."""
    named: dict[str, Opponent] = {}
    for opponent in opponents:
        name, number = opponent.name, 1
        while name in named and named[name].player is not opponent.player and opponent.own:
            number += 1
            name = f"{opponent.name} ({number})"
        named[name] = opponent
    return named


@contextmanager
def torch_threads(n: int) -> Iterator[None]:
    """PyTorch uses ``n`` threads meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _mean(per_round: np.ndarray, window: tuple[int, int]) -> float:
    """Mean over rounds ``window``, counted from 1 and both included, and not reached where nan; the last axis is the round."""
    within = per_round[..., window[0] - 1 : window[1]]
    return float(np.nanmean(within)) if not np.isnan(within).all() else float("nan")


# The columns that an evaluation shows, and how it calls them.
_OVERVIEW = {
    "cooperation": "cooperation",
    "cooperation_early": "early",
    "cooperation_middle": "middle",
    "cooperation_late": "late",
    "reward": "reward",
    "co_cooperation": "their coop.",
    "co_reward": "their reward",
    "regret": "regret",
}
