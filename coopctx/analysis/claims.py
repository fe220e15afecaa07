"""The paper's claims as numbers: what of a run's tables measures each, what the paper shows, and on which side of a threshold.

A claim is made for PPI and for A2C where the paper shows it for both. Readings are from its figures (`paper`), or from
exact references (`references`). Which verdict a number earns is decided by one rule, `verdict`, for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from coopctx.analysis.intervals import Estimate, Floats, bootstrap_interval, the_mean
from coopctx.analysis.paper import Reading, Target, paper_target
from coopctx.analysis.references import always_defect_reward, bayes_nll, best_response_reward
from coopctx.analysis.summaries import late_rows, late_training
from coopctx.errors import RunError
from coopctx.experiments.pools import EARLY_ROUND, run_name
from coopctx.experiments.settings import with_defaults
from coopctx.game.matrix import PRISONERS_DILEMMA
from coopctx.runs.manifest import read_manifest
from coopctx.runs.read import finished_seeds, read_table

AGENTS = {"ppi": "PPI", "a2c": "A2C"}
Side = Literal["above", "below"]  # of a threshold
Verdict = Literal["reproduced", "partly", "not", "not run"]
PerSeed = pd.Series | pd.DataFrame  # indexed by seed; a column per quantity where there are several
PREDICTION_TOLERANCE = 0.03  # nats: what exact Bayes loses when the pool's members, not always-defect, meet each other
OPTIMUM_TOLERANCE = 0.01  # of reward per round


@dataclass(frozen=True)
class Measure:
    """What is read from the finished seeds of one run.

    read: from its ``table`` to what each seed measured; seeds that lack it are left out. of_means: from the means of the
    columns, ``[..., columns]``, to the number, ``[...]``.
    """

    pool: str
    table: str
    read: Callable[[pd.DataFrame], PerSeed]
    of_means: Callable[[Floats], Floats] = the_mean
    opponent_id: bool = False


@dataclass(frozen=True)
class Claim:
    """A number of one kind of agent that the paper, or an exact reference, says something about.

    target: from the rounds per episode to what it says. side, threshold: where the number must be for the claim to hold.
    """

    heading: str
    name: str
    measure: Measure
    target: Callable[[int], Target]
    side: Side
    threshold: float

    def holds(self, value: float) -> bool:
        return value > self.threshold if self.side == "above" else value < self.threshold


@dataclass(frozen=True)
class Row:
    """A claim beside what was measured; ours is None where no finished run measures it."""

    agent: str
    claim: Claim
    ours: Estimate | None
    target: Target
    verdict: Verdict


def check(results: Path, preset: str) -> list[Row]:
    """Every claim for PPI, then for A2C, on all finished seeds under results/preset.

    Raises RunError when there is no finished run, a table is missing or damaged, seeds were run with different settings, or
    the game is not the paper's.
    """
    if not any(_finished(results, preset, agent) for agent in AGENTS):
        raise RunError(f"nothing to report: no finished run under {results / preset}; make some with: coopctx reproduce")
    tables = _Tables(results, preset)
    return [_check(agent, claim, tables) for agent in AGENTS for claim in claims(agent)]


def verdict(claim: Claim, ours: Estimate | None, target: Target) -> Verdict:
    """The rule, the same for every row.

    not run: nothing measured. not: our mean is on the wrong side of the threshold. reproduced: it is on the right side and
    our interval overlaps the target's value ± tolerance. partly: only the former; one seed, having no interval, earns no more.
    """
    if ours is None:
        return "not run"
    if not claim.holds(ours.value):
        return "not"
    overlaps = ours.low <= target.value + target.tolerance and ours.high >= target.value - target.tolerance
    return "reproduced" if overlaps else "partly"


def claims(agent: str) -> list[Claim]:
    """All claims about this kind of agent, in the order of the paper's figures."""
    return [*_mixed(agent), *_step_1(agent), *_step_2(agent), *_step_3(agent), *_early(agent), *_exact(agent)]


# The claims, figure by figure --------------------------------------------------------------------------------------


def _mixed(agent: str) -> list[Claim]:
    panel, x = {"ppi": ("A", 30), "a2c": ("B", 200_000)}[agent]
    pair = f"{AGENTS[agent]}1 vs {AGENTS[agent]}2"
    late = partial(late_training, agent, "cooperation_rate", "learner")
    name = "cooperation of the learners"

    def told(condition: str) -> Callable[[int], Target]:
        return _read_off("1", panel, f"{condition}: {pair}", "cooperation_rate", x)

    return [
        Claim("Mixed pool → cooperation", name, Measure("mixed", "training", late), told("mixed"), "above", 0.5),
        Claim(
            "Told its opponent → defection",
            name,
            Measure("mixed", "training", late, opponent_id=True),
            told("opponent-id"),
            "below",
            0.5,
        ),
        Claim(
            "No tabular opponents → defection",
            name,
            Measure("learners", "training", late),
            told("no-tabular"),
            "below",
            0.5,
        ),
    ]


def _step_1(agent: str) -> list[Claim]:
    heading, symbol = "Step 1: in-context best response", AGENTS[agent]
    figure, x = {"ppi": ("2", 30), "a2c": ("4", 50_000)}[agent]
    rounds = {"ppi": (75, 50, 100), "a2c": (50, 99, 60)}[agent]  # where the paper's curves were read off
    sides: tuple[Side, ...] = ("above", "below", "below")
    named = zip(("Tit-for-Tat", "Always-Cooperate", "AlwaysDefect"), rounds, sides, strict=True)

    def training(quantity: str) -> Measure:
        return Measure("tabular", "training", partial(late_training, agent, quantity, "tabular"))

    return [
        Claim(
            heading, "reward vs tabular", training("reward"), _read_off(figure, "A", symbol, "reward", x), "above", 0.5
        ),
        Claim(
            heading,
            "cooperation vs tabular",
            training("cooperation_rate"),
            _read_off(figure, "A", symbol, "cooperation_rate", x),
            "below",
            0.5,
        ),
        *(
            Claim(
                heading,
                f"late cooperation vs {_spelt(name)}",
                Measure("tabular", "episodes", partial(_late_rounds, _last, _key(name))),
                _read_off(figure, "B", f"{symbol} vs {name}", "cooperation_rate", at),
                side,
                0.5,
            )
            for name, at, side in named
        ),
    ]


def _step_2(agent: str) -> list[Claim]:
    heading = "Step 2: Fixed-ICL is extorted"
    figure, x = {"ppi": ("2", 30), "a2c": ("4", 100_000)}[agent]
    both = partial(_late_rewards_of_both, agent)
    learner, fixed = ((figure, "C", who, "reward", x) for who in (AGENTS[agent], "Fixed-ICL"))

    def reward(
        name: str, of_means: Callable[[Floats], Floats], target: Callable[[int], Target], side: Side, threshold: float
    ) -> Claim:
        measure = Measure("extortion", "training", both, of_means)
        return Claim(heading, f"reward of {name}", measure, target, side, threshold)

    difference = _read_off_difference(learner, fixed)
    return [
        reward("the learner", the_mean, _read_off(*learner), "above", 0.5),
        reward("Fixed-ICL", _second, _read_off(*fixed), "below", 0.5),
        reward("the learner, less Fixed-ICL's", _difference, difference, "above", 0.0),
    ]


def _step_3(agent: str) -> list[Claim]:
    training, before = "Step 3: mutual extortion → cooperation", "Step 3, before training: extortion within the episode"
    series = f"{AGENTS[agent]}1 extort"
    figure, last, best, end = {"ppi": ("2", 30, 10, 95), "a2c": ("4", 10_000, 5_000, 99)}[agent]
    late = partial(late_training, agent, "cooperation_rate", "learner")
    first_round, last_rounds = ((figure, "F", series, "cooperation_rate", x) for x in (EARLY_ROUND, end))

    def told(x: int) -> Callable[[int], Target]:
        return _read_off(figure, "E", series, "cooperation_rate", x)

    def untrained(of_means: Callable[[Floats], Floats]) -> Measure:
        return Measure("mutual-extortion", "episodes", _untrained, of_means)

    return [
        Claim(
            training,
            "cooperation of both, best in the first half",
            Measure("mutual-extortion", "training", _first_half, _best_of_lower),
            told(best),
            "above",
            0.5,
        ),
        Claim(
            training,
            "cooperation of both",
            Measure("mutual-extortion", "training", late),
            told(last),
            "above",
            0.5,
        ),
        Claim(before, f"cooperation in round {EARLY_ROUND}", untrained(_second), _read_off(*first_round), "below", 0.5),
        Claim(before, "cooperation in the last tenth", untrained(the_mean), _read_off(*last_rounds), "below", 0.5),
        Claim(
            before,
            "rise between the two",
            untrained(_difference),
            _read_off_difference(last_rounds, first_round),
            "above",
            0.0,
        ),
    ]


def _early(agent: str) -> list[Claim]:
    """Fig. 3; its panel B, A2C's, has no named strategies."""
    heading, symbol = "Mixed pool, early: within the episode", AGENTS[agent]
    panel, tabular, x = {"ppi": ("A", "Avg. Tabular", 100), "a2c": ("B", "Tabular", 50)}[agent]
    against: list[tuple[str, int, Side]] = [(tabular, x, "below")]
    if agent == "ppi":
        against += [("Tit-for-Tat", 100, "above"), ("Always-Cooperate", 100, "below"), ("AlwaysDefect", 100, "below")]
    late, early = ((("3", panel, f"{symbol}1 vs {symbol}2", "cooperation_rate", at)) for at in (100, EARLY_ROUND))
    return [
        *(
            Claim(
                heading,
                f"late cooperation vs {_spelt(name)}",
                Measure("mixed", "episodes", partial(_late_rounds, _first, _key(name))),
                _read_off("3", panel, f"{symbol}1 vs {name}", "cooperation_rate", at),
                side,
                0.5,
            )
            for name, at, side in against
        ),
        Claim(
            heading,
            f"cooperation vs learner, late less round {EARLY_ROUND}",
            Measure("mixed", "episodes", _rise, _difference),
            _read_off_difference(late, early),
            "above",
            0.0,
        ),
    ]


def _exact(agent: str) -> list[Claim]:
    """No claim of the paper: what its Step 1 comes to beside what is best possible. A2C predicts nothing."""
    heading = "Step 1, exact references"
    prediction = Claim(
        heading,
        "held-out NLL of tabular's actions, nats, beside exact Bayes",
        Measure("tabular", "diagnostics", _late_prediction),
        lambda rounds: Target(bayes_nll(rounds), PREDICTION_TOLERANCE, "exact"),
        "below",
        math.log(2),  # of whoever expects either action half the time
    )
    reward = Claim(
        heading,
        "reward vs tabular, beside the exact best response",
        Measure("tabular", "training", partial(late_training, agent, "reward", "tabular")),
        lambda rounds: Target(best_response_reward(rounds), OPTIMUM_TOLERANCE, "exact"),
        "above",
        always_defect_reward(),
    )
    return [prediction, reward] if agent == "ppi" else [reward]


def _read_off(*reading: Any) -> Callable[[int], Target]:
    return lambda rounds: paper_target(reading)


def _read_off_difference(first: Reading, second: Reading) -> Callable[[int], Target]:
    """The first less the second; their errors are independent."""
    one, other = paper_target(first), paper_target(second)
    target = Target(
        one.value - other.value,
        round(math.hypot(one.tolerance, other.tolerance), 2),
        f"{one.source}, {other.source}",
    )
    return lambda rounds: target


def _spelt(strategy: str) -> str:
    """A strategy as we write it; in the paper's figures one lacks its hyphen."""
    return {"AlwaysDefect": "Always-Defect", "Avg. Tabular": "tabular", "Tabular": "tabular"}.get(strategy, strategy)


def _key(strategy: str) -> str:
    """A strategy as the tables name it."""
    return _spelt(strategy).lower()


# What is read from the tables --------------------------------------------------------------------------------------


def _late_rewards_of_both(agent: str, training: pd.DataFrame) -> pd.DataFrame:
    """Reward of the learner, then of the Fixed-ICL, late in training."""
    rows = late_rows(agent, training)
    return rows.pivot_table(index="seed", columns="player", values="reward")[["ego", "co"]]


def _late_prediction(diagnostics: pd.DataFrame) -> pd.Series:
    rows = late_rows("ppi", diagnostics)
    return rows[rows["quantity"] == "nll_observation_tabular"].groupby("seed")["value"].mean()


def _first_half(training: pd.DataFrame) -> pd.DataFrame:
    """Cooperation of both learners at each iteration of the first half: learner 1, learner 2, learner 1, …"""
    rows = training[training["iteration"].between(1, training["iteration"].max() / 2) & (training["player"] == "ego")]
    return rows.pivot(index="seed", columns=["iteration", "learner"], values="cooperation_rate").sort_index(axis=1)


def _late_rounds(moment: Callable[[pd.DataFrame], pd.DataFrame], opponent: str, episodes: pd.DataFrame) -> pd.Series:
    """Cooperation of the learner in the second half of the episode, without its last tenth, where ends have effects."""
    rows = moment(episodes)
    rows = rows[(rows["opponent"] == opponent) & (rows["player"] == "ego")]
    rounds = episodes["round"].max()
    return rows[rows["round"].between(rounds // 2 + 1, rounds * 9 // 10)].groupby("seed")["cooperation_rate"].mean()


def _rise(episodes: pd.DataFrame) -> pd.DataFrame:
    """Cooperation between learners early in training: late in the episode, then in an early round."""
    rows = _first(episodes)
    early = rows[(rows["opponent"] == "learner") & (rows["player"] == "ego") & (rows["round"] == EARLY_ROUND)]
    return _together(_late_rounds(_first, "learner", episodes), early.groupby("seed")["cooperation_rate"].mean())


def _untrained(episodes: pd.DataFrame) -> pd.DataFrame:
    """Cooperation of both players before any training: in the episode's last tenth, then in an early round."""
    rows = episodes[episodes["iteration"] == 0]
    end = rows[rows["round"] >= episodes["round"].max() * 9 // 10]
    early = rows[rows["round"] == EARLY_ROUND]
    return _together(*(part.groupby("seed")["cooperation_rate"].mean() for part in (end, early)))


def _together(first: pd.Series, second: pd.Series) -> pd.DataFrame:
    return pd.concat([first, second], axis=1)


def _first(episodes: pd.DataFrame) -> pd.DataFrame:
    """The curves of the earliest iteration after training began."""
    trained = episodes[episodes["iteration"] > 0]
    return trained[trained["iteration"] == trained["iteration"].min()]


def _last(episodes: pd.DataFrame) -> pd.DataFrame:
    return episodes[episodes["iteration"] == episodes["iteration"].max()]


def _second(means: Floats) -> Floats:
    return means[..., 1]


def _difference(means: Floats) -> Floats:
    return means[..., 0] - means[..., 1]


def _best_of_lower(means: Floats) -> Floats:
    """Of pairs, ``[..., pairs * 2]``, the highest lower one: the best iteration of whoever cooperates less at it."""
    return means.reshape(*means.shape[:-1], -1, 2).min(-1).max(-1)


# Carrying it out ---------------------------------------------------------------------------------------------------


def _check(agent: str, claim: Claim, tables: _Tables) -> Row:
    name = run_name(agent, claim.measure.pool, claim.measure.opponent_id)
    table = tables.read(name, claim.measure.table)
    ours = None if table.empty else _estimate(claim.measure, table)
    target = claim.target(tables.rounds(name))
    return Row(agent, claim, ours, target, verdict(claim, ours, target))


def _estimate(measure: Measure, table: pd.DataFrame) -> Estimate | None:
    values = measure.read(table).dropna().to_numpy()
    generator = np.random.default_rng(0)  # its own for each row, so that one more moves no other
    return bootstrap_interval(values, generator, measure.of_means) if values.size else None


class _Tables:
    """The tables under results/preset, each read once."""

    def __init__(self, results: Path, preset: str) -> None:
        self._results, self._preset = results, preset
        self._read: dict[tuple[str, str], pd.DataFrame] = {}
        self._games: dict[str, Mapping[str, Any]] = {}

    def read(self, name: str, table: str) -> pd.DataFrame:
        if (name, table) not in self._read:
            self._read[name, table] = read_table(self._results, self._preset, name, table)
        return self._read[name, table]

    def rounds(self, name: str) -> int:
        """Per episode; the paper's 100 where no seed is finished. RunError where its game is not the paper's."""
        if name not in self._games:
            self._games[name] = _game(self._results / self._preset / name, finished_seeds(self._results, self._preset, name))
        return self._games[name]["rounds"]


def _game(directory: Path, seeds: Iterable[int]) -> Mapping[str, Any]:
    for seed in seeds:  # all have the same settings
        run = directory / f"seed-{seed}"
        game = with_defaults(read_manifest(run)["configuration"])["game"]
        if game["payoffs"] != [list(row) for row in PRISONERS_DILEMMA.payoffs]:
            raise RunError(f"the report is about the paper's game; {run} was run with game.payoffs = {game['payoffs']}")
        return game
    return with_defaults({})["game"]


def _finished(results: Path, preset: str, agent: str) -> bool:
    return any(finished_seeds(results, preset, path.name) for path in (results / preset).glob(f"{agent}-*"))
