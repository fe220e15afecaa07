"""A round robin of trained agents and the Axelrod library's strategies, run and scored by the library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coopctx.agents.others import AXELROD, library
from coopctx.agents.trained import TrainedAgent
from coopctx.errors import UsageError
from coopctx.evaluation.play import check_number


@dataclass(frozen=True)
class Standing:
    """A player's result, in the library's own measures. Games against a copy of itself do not count.

    score: mean reward per round, the median over repetitions; cooperation: cooperation rate; wins: opponents outscored,
    the median over repetitions.
    """

    name: str
    score: float
    cooperation: float
    wins: float


def tournament(
    directories: Sequence[Path],
    opponents: Sequence[str] = (),
    *,
    turns: int | None = None,
    repetitions: int = 10,
    seed: int = 0,
    progress_bar: bool = False,
) -> list[Standing]:
    """The final standings, best first, of the runs' first learners and ``opponents`` (``axelrod:NAME``).

    Without ``opponents`` the library's strategies of Axelrod's first tournament take part. turns: rounds per match, None for
    the number that the first run was trained with. The payoffs are those of the runs.

    Raises UsageError for an unknown name or an impossible number; RunError if the library is missing, a directory has no
    finished run, or the runs were trained in different games or horizons.
    """
    for name, value, least in (("--turns", turns, 1), ("--repetitions", repetitions, 1), ("--seed", seed, 0)):
        check_number(least, name, value)
    agents = {str(directory): TrainedAgent.load(directory) for directory in directories}
    first = next(iter(agents.values()))
    for agent in agents.values():
        agent.check_game(first.config)
    game = first.config.game.matrix()
    if game.n_actions != 2:
        raise UsageError(f"a tournament is a game of two actions; {first.directory} was trained with {game.n_actions}")
    axelrod = library()
    strategies = [axelrod.library_strategy(_bare(name)) for name in dict.fromkeys(opponents)]
    strategies = strategies or axelrod.axl.axelrod_first_strategies
    players = [axelrod.AgentPlayer(agent, game, label) for label, agent in agents.items()]
    players += [strategy() for strategy in strategies]
    if len(players) < 2:
        raise UsageError("a tournament needs at least two players")
    results = axelrod.axl.Tournament(
        players,
        game=axelrod.library_game(game),
        turns=turns or first.config.game.rounds,
        prob_end=1 - game.continuation if game.over is not None else None,
        noise=game.noise,
        repetitions=repetitions,
        seed=seed,
    ).play(progress_bar=progress_bar)
    return [
        Standing(row.Name, float(row.Median_score), float(row.Cooperation_rating), float(row.Wins))
        for row in results.summarise()
    ]


def _bare(name: str) -> str:
    if not name.startswith(AXELROD):
        raise UsageError(f"a tournament's opponents are the library's, such as axelrod:'Tit For Tat', not '{name}'")
    return name.removeprefix(AXELROD)
