"""The game in a terminal: as lines, on a screen of 80 by 24 behind a pseudo-terminal, and errors."""

import fcntl
import io
import math
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

import pytest
from rich.console import Console
from struck import SERVER
from tiny_runs import config, spec, train

from coopctx.agents.trained import TrainedAgent
from coopctx.errors import UsageError
from coopctx.evaluation.person.game import PersonsGame
from coopctx.evaluation.person.terminal import ending, picture

PPI, A2C = "ppi-mixed", "a2c-tabular"


@pytest.fixture(scope="module")
def agents():
    return {name: TrainedAgent.load(name) for name in (PPI, A2C)}


@pytest.fixture
def command(coopctx_main, monkeypatch):
    """Play with these lines on standard input: exit status, standard output, standard error."""

    def run(typed, *arguments):
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        return coopctx_main("play", *arguments)

    return run


def written(renderable, width=80) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(renderable)
    return out.getvalue().splitlines()


# The game ---------------------------------------------------------------------------------------------------------------


def test_the_agent_decides_before_it_knows_the_move(agents):
    first, second = (PersonsGame(agents[PPI], 10, seed=1) for _ in range(2))
    for yours in (0, 1, 1, 0):
        first.play(yours)
    for yours in (0, 1, 1, 1):
        second.play(yours)
    assert [played.its for played in first.log] == [played.its for played in second.log]
    assert first.thought != second.thought


def test_rewards_and_readings_by_hand(agents):
    game = PersonsGame(agents[A2C], 5, seed=0)
    for yours in (0, 1, 1, 1, 0):
        game.play(yours)
    assert game.over
    for played in game.log:
        earned = {(0, 0): (1, 1), (0, 1): (-1, 2), (1, 0): (2, -1), (1, 1): (0, 0)}[played.yours, played.its]
        assert (played.you_earn, played.it_earns) == earned
    readings = game.readings()
    assert sum(reading.times for reading in readings) == 5 and readings[0].cooperated == readings[0].times == 1
    assert readings[0].bayes == 0.5 and math.isnan(readings[0].expected)
    situations = [0, *(1 + 2 * played.yours + played.its for played in game.log)][:5]
    assert [played.situation for played in game.log] == situations
    counts, surprises = {}, []
    for situation, yours in zip(situations, (0, 1, 1, 1, 0), strict=True):
        c, n = counts.get(situation, (0, 0))
        surprises.append(-math.log((c + 1) / (n + 2) if yours == 0 else 1 - (c + 1) / (n + 2)))
        counts[situation] = c + (yours == 0), n + 1
    assert game.surprise()[1] == pytest.approx(sum(surprises) / 5) and math.isnan(game.surprise()[0])


def test_a_seed_repeats_the_agent_and_without_one_it_varies(agents):
    def values(seed):
        return PersonsGame(agents[PPI], 10, seed=seed).thought.values

    assert values(1) == values(1) != values(2) and values(None) != values(None)


# On a screen of 80 by 24 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("name", [PPI, A2C])
def test_the_whole_game_fits_a_small_terminal(agents, name, before):
    game = PersonsGame(agents[name], 100, seed=0)
    while not game.over:
        if len(game.log) in (0, 1, 50, 99):
            lines = written(picture(game, before))
            assert len(lines) <= 23 and max(map(len, lines)) <= 79
            assert (f"What it thought before round {len(game.log) + before}" in lines) == (before or bool(game.log))
        game.play(len(game.log) % 2)
    lines = written(ending(game))
    assert len(lines) <= 23 and max(map(len, lines)) <= 80
    assert any(line.startswith("after both defected") for line in lines)


def play_at(terminal, arguments):
    """`coopctx play` in a process of which ``terminal``, a device, is the own terminal, so that Ctrl-C comes through it."""
    os.setsid()
    opened = os.open(terminal, os.O_RDWR)  # a session's first terminal becomes its own
    for standard in (0, 1, 2):
        os.dup2(opened, standard)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell starts in the background
    os.environ["TERM"] = "xterm"
    sys.stdin, sys.stdout, sys.stderr = (open(descriptor, mode) for descriptor, mode in ((0, "r"), (1, "w"), (2, "w")))
    from coopctx.cli import main

    sys.exit(main(["play", A2C, *arguments]))


class Terminal:
    """`coopctx play` behind a pseudo-terminal of 80 by 24."""

    def __init__(self, *arguments):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.slave, self.before, self.seen = slave, termios.tcgetattr(slave), ""
        self.process = SERVER.Process(target=play_at, args=(os.ttyname(slave), arguments))
        self.process.start()

    def until(self, text, limit=120):
        """Read until ``text`` has come since the last call."""
        end, came = time.monotonic() + limit, ""
        while text not in came:
            assert time.monotonic() < end, self.seen
            if select.select([self.master], [], [], 1)[0]:
                part = os.read(self.master, 65536).decode(errors="replace")
                came, self.seen = came + part, self.seen + part
        return came

    def press(self, keys):
        os.write(self.master, keys)

    def ended(self):
        self.process.join(120)
        while select.select([self.master], [], [], 0)[0]:
            self.seen += os.read(self.master, 65536).decode(errors="replace")
        restored = termios.tcgetattr(self.slave) == self.before
        os.close(self.master)
        os.close(self.slave)
        return self.process.exitcode, restored, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.seen.split("\x1b[?1049l")[-1])


def test_arrows_and_letters_in_a_real_terminal():
    terminal = Terminal("--rounds", "4", "--seed", "1")
    terminal.until("round 1 of 4")
    terminal.press(b"\x1b[D")
    terminal.until("round 2 of 4")
    terminal.press(b"\x1bOC")
    terminal.until("round 3 of 4")
    terminal.press(b"x")
    terminal.press(b"D")
    terminal.until("round 4 of 4")
    terminal.press(b"c")
    status, restored, account = terminal.ended()
    assert (status, restored) == (0, True)
    assert "you    CDDC" in account and "You cooperated in 2 of 4 rounds" in account and "How it read you" in account


def test_ctrl_c_leaves_the_terminal_as_it_was_and_tells_what_was_played():
    terminal = Terminal("--rounds", "50")
    terminal.until("round 1 of 50")
    terminal.press(b"cc")
    terminal.until("round 3 of 50")
    terminal.press(b"\x03")
    status, restored, account = terminal.ended()
    assert (status, restored) == (130, True)
    assert "You cooperated in 2 of 2 rounds" in account and account.rstrip().endswith("coopctx: interrupted")
    assert "Traceback" not in terminal.seen


def test_a_game_can_be_left_early():
    terminal = Terminal("--rounds", "50", "--show-thoughts")
    terminal.until("What it thought before round 1")
    terminal.press(b"q")
    assert terminal.ended()[:2] == (0, True)


# In lines ---------------------------------------------------------------------------------------------------------------


def test_moves_are_read_from_a_pipe(command):
    status, out, err = command("c\nD cooperate\n\nddq\n", A2C, "--rounds", "10", "--seed", "1")
    assert (status, err) == (0, "")
    moves = re.findall(r"Round \d+: you (cooperate|defect), it (?:cooperate|defect)s\. You -?\d, it -?\d\.", out)
    assert [move[0] for move in moves] == list("cdcdd")
    assert out.count("policy C") == 5 and "You cooperated in 2 of 5 rounds" in out


def test_the_game_ends_after_its_rounds_whatever_follows(command):
    status, out, _ = command("cdcdcdcd", A2C, "--rounds", "3", "--show-thoughts")
    assert status == 0 and len(re.findall("^Round", out, re.MULTILINE)) == 3
    assert out.splitlines()[1].startswith("   Bayes expected C 50%")  # before the first move


def test_ppi_tells_all_that_it_holds(command):
    _, out, _ = command("c", PPI, "--rounds", "1")
    assert re.search(
        r"it expected C \d+%, Bayes expected C 50%, Q\(C\) -?\d+\.\d, Q\(D\) -?\d+\.\d, prior C \d+%, policy C \d+%", out
    )
    assert "Mean surprise at your moves, in nats: the agent" in out


def test_what_is_no_move_is_told_and_passed_over(command):
    status, out, err = command("x c\ncd?\nd\n", A2C, "--rounds", "2")
    assert status == 0 and len(re.findall("^Round", out, re.MULTILINE)) == 2
    assert err.splitlines()[0].startswith("coopctx: 'x' is no move: c or") and len(err.splitlines()) == 2


def test_nothing_at_all_is_no_game(command):
    status, out, err = command("", A2C)
    assert (status, err) == (0, "") and len(out.splitlines()) == 1


def test_an_interruption_between_lines(agents, monkeypatch, coopctx_main):
    def interrupted(lines):
        yield 0
        raise KeyboardInterrupt

    monkeypatch.setattr("coopctx.evaluation.person.terminal._moves_of_lines", interrupted)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    status, out, err = coopctx_main("play", A2C)
    assert (status, err) == (130, "coopctx: interrupted\n") and "You cooperated in 1 of 1 rounds" in out


# Wrong ways -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["nobody"], 1, "nobody is not a finished run; packaged agents: a2c-mixed, a2c-tabular"),
        ([""], 2, "a run is named by its directory or a packaged agent's name, not by ''"),
        ([A2C, "--rounds", "0"], 2, "--rounds must be from 1 to 100, not 0"),
        ([A2C, "--rounds", "101"], 2, "--rounds must be from 1 to 100, not 101"),
        ([A2C, "--rounds", "ten"], 2, "--rounds"),
        ([A2C, "--learner", "2"], 2, "--learner must be from 1 to 1 for "),
        ([A2C, "--seed", "-1"], 2, "--seed must be an integer >= 0, not -1"),
        ([A2C, "--html", "play.pdf"], 2, "--html must name a file that ends in .html, not 'play.pdf'"),
        ([A2C, "--html", "play.html", "--rounds", "500"], 2, "--rounds must be from 1 to 100, not 500"),
        ([A2C, "extra"], 2, "extra"),
    ],
)
def test_bad_input_is_refused_in_one_line(command, arguments, status, message):
    got, out, err = command("c", *arguments)
    assert (got, out) == (status, "") and message in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["game.payoffs=[[2, 0, 1], [3, 1, 0], [0, 2, 1]]"], "was trained with 3 actions"),
        (["game.noise=0.1"], "was trained with noise or a random ending"),
        (["game.continuation=0.9"], "was trained with noise or a random ending"),
    ],
)
def test_games_that_a_person_cannot_play_are_refused(tmp_path, settings, message):
    from coopctx.evaluation.person.page import page

    train(tmp_path, spec("tabular"), config("ppi.phases=1", *settings))
    agent = TrainedAgent.load(spec("tabular").directory(tmp_path))
    for play in (lambda: PersonsGame(agent, 10), lambda: page(agent)):
        with pytest.raises(UsageError, match=message):
            play()


def test_the_page_is_written_where_it_is_asked_for(command, tmp_path):
    status, out, err = command("", A2C, "--html", "deeper/play.html", "--rounds", "30")
    assert (status, err) == (0, "") and out.startswith("deeper/play.html: written; open it in a browser")
    assert '"rounds": 30' in (tmp_path / "deeper" / "play.html").read_text()


