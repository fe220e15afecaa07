"""The game in a terminal: on a screen of 80 by 24, or in plain lines if input or output is piped."""

from __future__ import annotations

import contextlib
import math
import os
import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from coopctx.evaluation.person.game import LETTERS, MOVES, PersonsGame, Round, Thought

QUIT = None  # in place of a move
STRIP = 50  # moves in a line
BAR = 24  # characters
STYLES = ("bold blue", "bold yellow")  # by action
_WORDS = {"cooperate": "c", "defect": "d", "quit": "q"}
_LETTERS = {"c": 0, "d": 1, "q": QUIT}
_KEYS = {b"c": 0, b"\x1b[D": 0, b"\x1bOD": 0, b"d": 1, b"\x1b[C": 1, b"\x1bOC": 1, b"q": QUIT, b"\x04": QUIT, b"": QUIT}
HELP = "c or ← cooperates, d or → defects, q ends the game"


def play(game: PersonsGame, console: Console, before: bool) -> None:
    """Play ``game`` with the user, then compare the agent's predictions with the user's moves.

    before: show the agent's beliefs before the move, not after it.

    Ctrl-C ends the game: the summary of the rounds so far is shown, and KeyboardInterrupt is raised.
    """
    has_keys = find_spec("termios") is not None  # absent on Windows
    on_screen = console.is_terminal and sys.stdin.isatty() and has_keys
    try:
        (_on_screen if on_screen else _in_lines)(game, console, before)
    finally:
        if game.log:
            console.print(ending(game), highlight=False)


# On a screen --------------------------------------------------------------------------------------------------------


def _on_screen(game: PersonsGame, console: Console, before: bool) -> None:
    with console.screen(hide_cursor=True) as screen, _single_keys() as keys:
        while not game.over:
            screen.update(picture(game, before))
            move = next(keys)
            if move is QUIT:
                return
            game.play(move)


def picture(game: PersonsGame, before: bool) -> Group:
    """The present state of the game, at most 23 lines of 78 characters."""
    yours, its = game.totals
    head = Text.assemble((game.title, "bold"), " " * 4, f"round {len(game.log) + 1} of {game.rounds}")
    score = Text.assemble("You ", (points(yours), "bold"), "    Agent ", (points(its), "bold"))
    number = len(game.log) + before  # of the round whose beliefs are shown
    shown = game.thought if before else game.log[-1].thought if game.log else None
    parts: list[RenderableType] = [head, score, Text(), _payoffs(game), Text(), *_strips(game.log)]
    parts += [Text(), Text(told(game.log[-1], len(game.log)) if game.log else "Both choose at the same time."), Text()]
    if shown:
        parts += [Text(f"What it thought before round {number}", "bold"), _thought_table(shown), Text()]
    return Group(*parts, Text(HELP, "dim"))


def _payoffs(game: PersonsGame) -> Table:
    headings = "you, agent earn", "it cooperates", "it defects"
    table = Table(*headings, box=None, padding=(0, 2), pad_edge=False, header_style="dim")
    for mine, move in enumerate(MOVES):
        cells = (f"{points(game.payoffs[mine][its])}, {points(game.payoffs[its][mine])}" for its in (0, 1))
        table.add_row(Text(f"you {move}", STYLES[mine]), *cells)
    return table


def _strips(log: list[Round]) -> Iterator[Text]:
    """Both players' moves so far, in pairs of lines."""
    for first in range(0, max(len(log), 1), STRIP):
        for name, whose in (("you  ", "yours"), ("agent", "its")):
            moves = [getattr(played, whose) for played in log[first : first + STRIP]]
            yield Text.assemble(f"{name}  ", *((LETTERS[move], STYLES[move]) for move in moves))


def _thought_table(thought: Thought) -> Table:
    table = Table(box=None, padding=(0, 2), pad_edge=False, show_header=False)
    for name, value, share in _told(thought):
        bar = "" if share is None else "█" * round(share * BAR) + "░" * (BAR - round(share * BAR))
        table.add_row(name, Text(value, justify="right"), bar)
    return table


@contextlib.contextmanager
def _single_keys() -> Iterator[Iterator[int | None]]:
    """Moves as they are typed, without Enter. The terminal is always restored."""
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    as_before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield _moves_of_keys(descriptor)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, as_before)


def _moves_of_keys(descriptor: int) -> Iterator[int | None]:
    while True:
        for key in re.findall(rb"\x1b[\[O].|.|^$", os.read(descriptor, 64), re.DOTALL):  # several keys may arrive at once
            if (known := key.lower() if len(key) == 1 else key) in _KEYS:
                yield _KEYS[known]


# In lines -----------------------------------------------------------------------------------------------------------


def _in_lines(game: PersonsGame, console: Console, before: bool) -> None:
    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    say(f"{game.title}: {game.rounds} rounds; {HELP}")
    moves = _moves_of_lines(sys.stdin)
    while not game.over:
        if before:
            say(_in_a_line(game.thought))
        move = next(moves, QUIT)
        if move is QUIT:
            return
        say(told(game.play(move), len(game.log)))
        if not before:
            say(_in_a_line(game.log[-1].thought))


def _moves_of_lines(lines: TextIO) -> Iterator[int | None]:
    for line in lines:
        for word in line.split():
            letters = _WORDS.get(word.lower(), word.lower())
            if set(letters) <= _LETTERS.keys():
                yield from (_LETTERS[letter] for letter in letters)
            else:
                print(f"coopctx: {word!r} is no move: {HELP}", file=sys.stderr)


def _in_a_line(thought: Thought) -> str:
    return "   " + ", ".join(f"{name} {value}" for name, value, _ in _told(thought))


# In words -----------------------------------------------------------------------------------------------------------


def told(played: Round, number: int) -> str:
    """A round in one line of text."""
    moves = f"you {MOVES[played.yours]}, it {MOVES[played.its]}s"
    return f"Round {number}: {moves}. You {points(played.you_earn)}, it {points(played.it_earns)}."


def _told(thought: Thought) -> list[tuple[str, str, float | None]]:
    """Name, value and length of the bar (a share) of each belief."""
    held: list[tuple[str, str, float | None]] = []
    if thought.expected is not None:
        held.append(("it expected C", share(thought.expected), thought.expected))
    held.append(("Bayes expected C", share(thought.bayes), thought.bayes))
    if thought.values is not None:
        held += [(f"Q({letter})", f"{value:.1f}", None) for letter, value in zip(LETTERS, thought.values, strict=True)]
    if thought.prior is not None:
        held.append(("prior C", share(thought.prior), thought.prior))
    held.append(("policy C", share(thought.policy), thought.policy))
    if thought.value is not None:
        held.append(("value", f"{thought.value:.2f}", None))
    return held


def ending(game: PersonsGame) -> Group:
    """The summary of the rounds that were played: rewards, and the agent's predictions; at most 80 characters wide."""
    log, (yours, its) = game.log, game.totals
    n = len(log)
    counts = [sum(getattr(played, whose) == 0 for played in log) for whose in ("yours", "its")]
    outcome = (
        f"You cooperated in {counts[0]} of {n} rounds, the agent in {counts[1]}. "
        f"You earned {yours / n:.2f} a round, it {its / n:.2f}; "
        f"always cooperating earns both {game.payoffs[0][0]:.2f}, always defecting {game.payoffs[1][1]:.2f}."
    )
    agents, bayes = game.surprise()
    has_model = not math.isnan(agents)
    headings = "you cooperated", *(["it expected"] if has_model else []), "exact Bayes"
    columns = (Column(heading, justify="right") for heading in headings)
    table = Table("How it read you", *columns, box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    for reading in game.readings():
        expected = [reading.expected, reading.bayes] if has_model else [reading.bayes]
        cells = [f"{reading.cooperated} of {reading.times}", *map(share, expected)]
        table.add_row(reading.situation, *(cells if reading.times else ["–"] * len(cells)))
    told_by = f"the agent {agents:.2f}, " if has_model else ""
    surprise = f"Mean surprise at your moves, in nats: {told_by}exact Bayes {bayes:.2f}, a coin {math.log(2):.2f}."
    return Group(*_strips(log), Text(), Text(outcome), Text(), table, Text(), Text(surprise))


def share(probability: float) -> str:
    """A probability as a percentage."""
    return f"{100 * probability:.0f}%"


def points(value: float) -> str:
    """A payoff without trailing zeros."""
    return f"{value:.4g}"
