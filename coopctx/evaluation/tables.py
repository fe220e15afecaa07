"""An evaluation as tables for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from coopctx.analysis.extortion import episode_thirds
from coopctx.evaluation.play import Evaluation, summary

_THIRDS = ("early", "middle", "late")
_REFERENCE = ("best_response_reward", "best_response_cooperation", "regret", "regret_error")


def tables(evaluation: Evaluation) -> Group:
    """The evaluation for a reader: what happened against each opponent, and how far it was from the best response."""
    games, rounds = evaluation.meetings[0].ego.actions.shape
    thirds = [f"{third}\n{first}-{last}" for third, (first, last) in episode_thirds(rounds).items()]
    measured = {meeting.opponent: summary(meeting) for meeting in evaluation.meetings}
    parts = [
        _table(
            f"{games} games of {rounds} rounds. Rewards are per round; early, middle, late: the agent's cooperation rate.",
            ("reward", "opponent's\nreward", "coop.", "opponent's\ncoop.", *thirds),
            ("reward", "co_reward", "cooperation", "co_cooperation", *(f"cooperation_{third}" for third in _THIRDS)),
            measured,
        )
    ]
    known = {opponent: told for opponent, told in measured.items() if "regret" in told}
    if known:
        parts.append(
            _table(
                "\nThe exact best response to the same opponents. Regret: its reward per round minus the agent's.",
                ("best\nreward", "best\ncoop.", "regret", "s.e.", *thirds),
                (*_REFERENCE, *(f"regret_{third}" for third in _THIRDS)),
                known,
            )
        )
    return Group(*parts)


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
