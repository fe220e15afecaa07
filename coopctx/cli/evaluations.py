"""The tables of evaluations and of the formal test of extortion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from rich.console import Group

from coopctx.analysis.extortion import LARGEST_RESIDUAL, LEAST_RISE, OUTCOMES, episode_thirds, fit_cells
from coopctx.analysis.intervals import Floats, estimate
from coopctx.cli.show import table
from coopctx.evaluation.meetings import Evaluation
from coopctx.evaluation.slopes import Slopes

THIRDS = ("early", "middle", "late")
_PLAYED = ("reward", "co_reward", "cooperation", "co_cooperation", *(f"cooperation_{third}" for third in THIRDS))
_AGAINST_BEST = (
    *("best_response_reward", "best_response_cooperation", "regret", "regret_error"),
    *(f"regret_{third}" for third in THIRDS),
)


def evaluation_tables(evaluation: Evaluation) -> Group:
    """What happened against each opponent, and how far the agent's reward is from that of the best response."""
    games, rounds = evaluation.meetings[0].ego.actions.shape
    thirds = [f"{third}\n{first}-{last}" for third, (first, last) in episode_thirds(rounds).items()]
    measured = {meeting.opponent: meeting.measures() for meeting in evaluation.meetings}
    known = {opponent: measures for opponent, measures in measured.items() if "regret" in measures}

    def rows(measured: dict[str, dict[str, float]], names: Sequence[str]) -> list[list[str]]:
        return [[opponent, *(f"{measures[name]:z.3f}" for name in names)] for opponent, measures in measured.items()]

    title = f"{games} games of {rounds} rounds. Rewards are per round; early, middle, late: the agent's cooperation rate."
    headings = ("opponent", "reward", "opponent's\nreward", "coop.", "opponent's\ncoop.", *thirds)
    parts = [table(headings, rows(measured, _PLAYED), title)]
    if known:
        title = "\nThe exact best response to the same opponents. Regret: its reward per round minus the agent's."
        headings = ("opponent", "best\nreward", "best\ncoop.", "regret", "s.e.", *thirds)
        parts.append(table(headings, rows(known, _AGAINST_BEST), title))
    return Group(*parts)


def slopes_tables(slopes: Slopes) -> Group:
    """The slopes, and how often the agents cooperate after each outcome."""
    return Group(_slopes_table(slopes.fits), _memory_one_table(slopes.memory_one))


def _slopes_table(fits: pd.DataFrame) -> Group:
    title = (
        "\nSlope: a player's gain over mutual defection per unit of its co-player's.\n"
        "To extort, as Press and Dyson define it, is a slope above 1 with all co-\n"
        f"players on the line: a root-mean-square residual of at most {LARGEST_RESIDUAL}; cannot\n"
        f"be told where the line rises by less than {LEAST_RISE} over the s.d. of their rewards\n"
        "(spread). Exact: the endless game against the memory-one players."
    )
    rows = [(fit["player"], fit["met"], *fit_cells(fit)) for fit in fits.to_dict("records")]
    return table(("player", "co-players", "slope", "95 % interval", "residual", "spread", "extorts"), rows, title, left=2)


def _memory_one_table(rates: pd.DataFrame) -> Group:
    title = (
        "\nHow often the agents cooperate after each last outcome, own action first,\n"
        "in each third of the episode; below, 95 % intervals over seeds"
    )
    rows: list[list[str]] = []
    last = ""
    for (player, met, first), part in rates.groupby(["player", "met", "first_round"], sort=False):
        games = f"{player} vs\n{met}"
        cells = [_rate(part[part["outcome"] == outcome]) for outcome in OUTCOMES]
        rows.append(["" if games == last else games, f"{first}-{part['last_round'].iloc[0]}", *cells])
        last = games
    return table(("games", "rounds", *OUTCOMES), rows, title, left=2)


def _rate(rows: pd.DataFrame) -> str:
    """Cooperations per decision over all seeds, with the interval over seeds in a second line."""
    cooperations = rows["cooperation_rate"].fillna(0) * rows["count"]
    by_seed = pd.DataFrame({"seed": rows["seed"], "cooperations": cooperations, "count": rows["count"]}).groupby("seed").sum()

    def ratio(means: Floats) -> Floats:
        count = means[..., 1]
        return np.where(count > 0, means[..., 0] / np.where(count > 0, count, 1), np.nan)

    rate = estimate(by_seed.to_numpy(), ratio).within(0, 1)
    if np.isnan(rate.value):
        return "-"
    return f"{rate.value:.2f}" + ("" if np.isnan(rate.low) else f"\n{rate.low:.2f}-{rate.high:.2f}")
