"""Progress displays of runs."""

import io

import pytest
from rich.console import Console

from coopctx.launch.display import (
    Clock,
    Counts,
    PipeProgress,
    PlainProgress,
    RichOverall,
    RichProgress,
    describe,
    duration,
    new_display,
)
from coopctx.runs.progress import SilentProgress

SUMMARY = {"cooperation_learner": 0.812, "cooperation_tabular": 0.07, "reward_learner": 0.88, "reward_tabular": 0.994}


def run_through(progress, done=0) -> None:
    progress.begin("ppi-mixed seed 0", 3, done)
    if not done:
        progress.activity(0, "pre-training", 0.5)
    for phase in range(done + 1, 4):
        progress.activity(phase, "fitting", 0.5)
        progress.iteration(phase, SUMMARY)
    progress.note("mind this")
    progress.end()


def test_plain_progress_is_a_line_per_phase():
    lines: list[str] = []
    run_through(PlainProgress(lines.append))
    assert lines[0] == "ppi-mixed seed 0: starting, 3 phases"
    told = "cooperation 0.81 vs learner, 0.07 vs tabular; reward 0.88, 0.99"
    assert lines[1] == f"ppi-mixed seed 0: phase 1/3; {told}; 0:00 left"
    assert lines[3:] == [f"ppi-mixed seed 0: phase 3/3; {told}", "mind this"]


def test_a_resumed_run_says_where_it_goes_on():
    lines: list[str] = []
    run_through(PlainProgress(lines.append), done=2)
    assert lines[0] == "ppi-mixed seed 0: resuming, 2 of 3 phases are done"
    assert lines[2:] == ["mind this"]


@pytest.mark.parametrize("done", [0, 2, 3])
def test_rich_progress_shows_each_run_and_leaves_a_line(done):
    screen = io.StringIO()
    with new_display(Console(file=screen, force_terminal=True, width=100)) as display:
        run_through(RichProgress(display), done)
        other = RichProgress(display)
        other.begin("ppi-mixed seed 1", 3, 0)
        other.activity(0, "pre-training", 0.5)
        display.refresh()
    shown = screen.getvalue()
    assert "ppi-mixed seed 0: phase 3/3" in shown and "ppi-mixed seed 1" in shown and "pre-training 50%" in shown
    assert ("resuming" in shown) == (done > 0)


def test_rich_progress_may_end_before_it_began_and_twice():
    with new_display(Console(file=io.StringIO())) as display:
        progress = RichProgress(display)
        progress.end()
        run_through(progress)
        progress.end()


def test_all_runs_together_have_a_line_of_their_own():
    screen = io.StringIO()
    with new_display(Console(file=screen, force_terminal=True, width=100)) as display:
        overall = RichOverall(display)
        for counts in (Counts(0, 2, 0, 12), Counts(3, 2, 1, 8)):
            overall.tell(counts)
        display.refresh()
    shown = screen.getvalue()
    for words in ("all 14 runs", "3/14", "2 running, 1 failed", "left"):
        assert words in shown


def test_messages_through_a_pipe_show_the_same_with_fewer_activities():
    messages, direct, relayed = [], [], []
    sender, receiver = PipeProgress(messages.append), PlainProgress(relayed.append)
    run_through(PlainProgress(direct.append))
    run_through(sender)
    for method, arguments in messages:
        getattr(receiver, method)(*arguments)
    assert relayed == direct
    assert sum(method == "activity" for method, _ in messages) == 1  # the others came within the shortest interval


def test_silent_progress_is_silent(capsys):
    run_through(SilentProgress())
    assert capsys.readouterr().out == ""


def test_time_left_follows_the_pace_of_the_phases_and_not_of_pre_training():
    now = [0.0]
    clock = Clock(lambda: now[0])
    clock.start(10)
    assert clock.left(30) == ""
    now[0] = 500.0  # pre-training, or reading the checkpoint
    clock.advance(10)
    now[0] = 520.0
    clock.advance(12)
    assert clock.left(30) == "3:00 left"
    clock.advance(30)
    assert clock.left(30) == ""


def test_descriptions_leave_out_what_the_pool_does_not_have():
    assert describe({}) == []
    assert describe({"cooperation_learner": 0.5, "reward_learner": 0.25}) == [
        "cooperation 0.50 vs learner",
        "reward 0.25",
    ]
    assert describe({"cooperation_fixed-icl": 0.5, "reward_fixed-icl": 0.25})[0] == "cooperation 0.50 vs fixed-icl"


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (67, "1:07"), (754.6, "12:35"), (3723, "1:02:03")])
def test_durations(seconds, text):
    assert duration(seconds) == text
