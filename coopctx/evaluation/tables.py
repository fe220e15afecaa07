"""Evaluations and slopes as tables for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from rich.console import Group
from rich.table import Table
from rich.text import Text

from coopctx.analysis.extortion import LARGEST_RESIDUAL, LEAST_RISE, OUTCOMES, episode_thirds, in_a_word
from coopctx.analysis.intervals import Floats, estimate, interval, number
from coopctx.evaluation.meetings import Evaluation
from coopctx.evaluation.slopes import Slopes

_THIRDS = ("early", "middle", "late")
_REFERENCE = ("best_response_reward", "best_response_cooperation", "regret", "regret_error")


def tables(evaluation: Evaluation) -> Group:
    """What happened against each opponent, and how far the agent's reward is from that of the best response."""
    games, rounds = evaluation.meetings[0].ego.actions.shape
    thirds = [f"{third}\n{first}-{last}" for third, (first, last) in episode_thirds(rounds).items()]
    measured = {meeting.opponent: meeting.measures() for meeting in evaluation.meetings}
    parts = [
        _measures_table(
            f"{games} games of {rounds} rounds. Rewards are per round; early, middle, late: the agent's cooperation rate.",
            ("reward", "opponent's\nreward", "coop.", "opponent's\ncoop.", *thirds),
            ("reward", "co_reward", "cooperation", "co_cooperation", *(f"cooperation_{third}" for third in _THIRDS)),
            measured,
        )
    ]
    known = {opponent: measures for opponent, measures in measured.items() if "regret" in measures}
    if known:
        parts.append(
            _measures_table(
                "\nThe exact best response to the same opponents. Regret: its reward per round minus the agent's.",
                ("best\nreward", "best\ncoop.", "regret", "s.e.", *thirds),
                (*_REFERENCE, *(f"regret_{third}" for third in _THIRDS)),
                known,
            )
        )
    return Group(*parts)


def slopes_tables(slopes: Slopes) -> Group:
    """The slopes, and how often the agents cooperate after each outcome."""
    return Group(_slopes_table(slopes.fits), _memory_one_table(slopes.memory_one))


def _measures_table(
    title: str, headings: Sequence[str], quantities: Sequence[str], measured: dict[str, dict[str, float]]
) -> Table:
    table = _table(title, ("opponent",), headings)
    for opponent, measures in measured.items():
        table.add_row(Text(opponent), *(f"{measures[quantity]:z.3f}" for quantity in quantities))
    return table


def _slopes_table(fits: pd.DataFrame) -> Table:
    table = _table(
        "\nSlope: a player's gain over mutual defection per unit of its co-player's.\n"
        "To extort, as Press and Dyson define it, is a slope above 1 with all co-\n"
        f"players on the line: a root-mean-square residual of at most {LARGEST_RESIDUAL}; cannot\n"
        f"be told where the line rises by less than {LEAST_RISE} over the s.d. of their rewards\n"
        "(spread). Exact: the endless game against the memory-one players.",
        ("player", "co-players"),
        ("slope", "95 % interval", "residual", "spread", "extorts"),
    )
    for fit in fits.to_dict("records"):
        line = number(fit["chi"]), interval(fit["chi_low"], fit["chi_high"]), number(fit["residual"]), number(fit["spread"])
        table.add_row(fit["player"], fit["met"], *line, in_a_word(fit["extorts"]))
    return table


def _memory_one_table(rates: pd.DataFrame) -> Table:
    table = _table(
        "\nHow often the agents cooperate after each last outcome, own action first,\n"
        "in each third of the episode; below, 95 % intervals over seeds",
        ("games", "rounds"),
        OUTCOMES,
    )
    last = ""
    for (player, met, first), part in rates.groupby(["player", "met", "first_round"], sort=False):
        cells = [_rate(part[part["outcome"] == outcome]) for outcome in OUTCOMES]
        title = f"{player} vs\n{met}"
        table.add_row("" if title == last else title, f"{first}-{part['last_round'].iloc[0]}", *cells)
        last = title
    return table


def _table(title: str, left: Sequence[str], right: Sequence[str]) -> Table:
    """An empty table: columns of text, which may be folded, and columns of numbers, which may not."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1), pad_edge=False)
    for heading in left:
        table.add_column(heading, overflow="fold")
    for heading in right:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


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
