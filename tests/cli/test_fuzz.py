"""Random arguments and random preset files: carried out, or refused in one line; never a traceback."""

import os
import shutil
from pathlib import Path

import pytest
import typer.main
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from struck import directory

from coopctx import figures as plots
from coopctx.analysis import claims
from coopctx.bench import measure as bench
from coopctx.cli import app as cli
from coopctx.errors import RunError, UsageError
from coopctx.evaluation import arena as cross_play
from coopctx.evaluation import play as evaluation
from coopctx.experiments import presets as config
from coopctx.launch import job as job_module
from coopctx.launch import jobs
from coopctx.report import blocks, page
from coopctx.runs.progress import SilentProgress

COMMANDS = typer.main.get_command(cli.app).commands
OPTIONS = {
    name: sorted({option for part in command.params for option in part.opts if option.startswith("-")})
    for name, command in COMMANDS.items()
}

# Arguments cannot hold NUL; paths stay in the folder that the test is in; \\udcff is how Python has undecodable bytes.
TEXT = st.text(st.characters(exclude_characters="\0/"), max_size=12).filter(lambda text: text != "..") | st.just("\udcff")
NUMBERS = st.one_of(
    st.integers(-3, 3).map(str),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(["9" * 5000, "1e999", "٣", "2147483648"]),
)
KNOWN = st.sampled_from(
    [
        *["ppi", "a2c", "mixed", "tabular", "extortion", "smoke", "cpu", "fig1", "fig4", "all", "png", "auto", "cuda", "0-1", "2,0", "tit-for-tat"],
        *["axelrod:Defector", "axelrod:", "run", "results", "file", "file/x", "fifo", "no/such", "pool", ".", "--", "-", "[bold]", "[/]"],
        *("", " ", "x" * 300, "ppi.rollouts=3", "game.payoffs=[[3, 0], [5, 1]]", "ppi.phases=nan"),
    ]
)
VALUES = KNOWN | NUMBERS | TEXT


@st.composite
def command_lines(draw) -> list[str]:
    """Mostly what could be meant: a command, what it must be given, and options of its own with any value."""
    name = draw(st.sampled_from(sorted(COMMANDS)) if draw(st.integers(0, 9)) else VALUES)
    words = [name]
    if name in ("train", "extort-probe") and draw(st.integers(0, 9)):
        words += ["--agent", draw(st.sampled_from(["ppi", "a2c"]))]
        words += ["--pool", draw(st.sampled_from(["mixed", "tabular", "learners"]))] if name == "train" else []
    elif name in ("evaluate", "arena") and draw(st.integers(0, 9)):
        words += ["run"]
    elif name == "plot" and draw(st.integers(0, 9)):
        words += [draw(st.sampled_from(["fig1", "fig3", "all"]))]
    if draw(st.booleans()) and "--preset" in OPTIONS.get(name, ()):
        words += ["--preset", "smoke"]
    for _ in range(draw(st.integers(0, 4))):
        words += draw(st.lists(VALUES, max_size=1))
        if draw(st.integers(0, 3)) and name in OPTIONS:
            words += [draw(st.sampled_from(OPTIONS[name] or ["--help"])), draw(VALUES)]
    return words


@pytest.fixture
def sandbox(coopctx_main, monkeypatch, undisturbed):
    """The command line in a folder with a finished run, a file and a pipe; whatever takes long is cut short."""
    shutil.copytree(undisturbed["ppi"][0], "results")
    shutil.copytree(directory("ppi", undisturbed["ppi"][0]), "run")
    Path("file").write_text("mine")
    os.mkfifo("fifo")

    def enough(*arguments, **options):
        raise RunError("enough")

    real_meet, no_figure = evaluation.meet, lambda results: (Figure(), ["nothing is drawn here"])

    def one_by_one(todo, *rest, **more):
        return [job_module.run_one(job, SilentProgress()) for job in todo]

    def briefly(opponent, players, game, rounds, games, *rest):
        return real_meet(opponent, players, game, 3, 1, *rest)

    real_play, real_series = cross_play._play, cross_play.play_series

    def pair_briefly(host, one, other, episodes, games, *rest):
        return real_play(host, one, other, 1, 16, *rest)

    def series_briefly(game, rounds, *rest):
        return real_series(game, 3, *rest)

    monkeypatch.setattr(job_module, "execute", enough)
    monkeypatch.setattr(jobs, "run_side_by_side", one_by_one)
    monkeypatch.setattr("coopctx.experiments.seeds.MOST_SEEDS", 3)
    monkeypatch.setattr(bench, "measure_planner", enough)
    monkeypatch.setattr(evaluation, "meet", briefly)
    monkeypatch.setattr(cross_play, "_play", pair_briefly)
    monkeypatch.setattr(cross_play, "play_series", series_briefly)
    for name in ("PAPER_FIGURES", "ALL"):
        monkeypatch.setattr(plots, name, dict.fromkeys(getattr(plots, name), no_figure))
    for module in (claims, blocks):
        monkeypatch.setattr(module, "check", lambda runs: claims.Checked((), ()))
    monkeypatch.setattr(page, "drawn", lambda name, results: [])
    return coopctx_main


def done_or_refused(run, words: list[str]) -> None:
    status, out, err = run(*words)
    assert status in (0, 1, 2) and "Traceback" not in out + err, (status, out, err)
    assert all(line.startswith("coopctx: ") for line in err.splitlines()), err
    assert bool(err) == bool(status), (status, err)
    assert Path("file").read_text() == "mine" and Path("fifo").is_fifo(), "what is not ours was written over"


in_sandbox = HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much


@settings(max_examples=30, suppress_health_check=in_sandbox)
@given(command_lines())
@example(["evaluate", "run", "--against", "\udcff/"])
@example(["evaluate", "run", "--out", "fifo"])
@example(["report", "--preset", "smoke", "--fill", "fifo"])
@example(["evaluate", "run", "--games", "9" * 30])
@example(["plot", "fig1", "--preset", "smoke", "--out", "\udcff"])
def test_any_arguments_are_carried_out_or_refused(sandbox, tally, words):
    tally["command lines"] += 1
    done_or_refused(sandbox, words)


@pytest.mark.slow
@settings(max_examples=1000, suppress_health_check=in_sandbox)
@given(command_lines())
def test_many_arguments_are_carried_out_or_refused(sandbox, tally, words):
    tally["command lines"] += 1
    done_or_refused(sandbox, words)


# Preset files -----------------------------------------------------------------------------------------------------

SHIPPED = [path.read_bytes() for path in sorted(Path(config.__file__).parent.glob("data/*.toml"))]
NAMES = st.sampled_from(["ppi", "a2c", "game", "model", "pools", "rounds", "phases", "mixed", "payoffs", "rollouts", "\"\""])
LEAVES = st.sampled_from(
    ["1", "-1", "nan", "1e9", "true", "[]", "{}", "[[1, 2], [3, 4]]", '"x"', "1979-05-27", "9" * 5000, "[" * 3000]
)
HEADINGS = st.lists(NAMES, min_size=1, max_size=3).map(".".join)
LINES = st.builds("[{}]".format, HEADINGS) | st.builds("{} = {}".format, NAMES, LEAVES)


@st.composite
def presets(draw) -> bytes:
    """One that ships, with a part replaced by random bytes or lines; or nothing but such lines."""
    shipped = draw(st.sampled_from(SHIPPED))
    start, length = draw(st.integers(0, len(shipped))), draw(st.integers(0, 60))
    lines = "\n".join(draw(st.lists(LINES, max_size=6))).encode()
    middle = draw(st.binary(max_size=8) | st.just(b"\n" + lines + b"\n"))
    return draw(st.sampled_from([shipped[:start] + middle + shipped[start + length :], lines]))


def taken_or_refused(sandbox, contents: bytes) -> None:
    Path("presets").mkdir(exist_ok=True)
    Path("presets/mine.toml").write_bytes(contents)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "PRESETS", Path("presets"))
        done_or_refused(sandbox, ["train", "--agent", "ppi", "--pool", "mixed", "--preset", "mine", "--fresh"])


@settings(max_examples=20, suppress_health_check=in_sandbox)
@given(presets())
@example(b"pools = 3")
@example(b"[pools]\nmixed = 3")
@example(b"[pools.mixed]\nppi = 3")
@example(b"ppi = 3\n[pools.mixed.ppi]\nphases = 3")
@example(b"\xff")
@example(b"[ppi")
def test_any_preset_file_is_taken_or_refused(sandbox, tally, contents):
    tally["preset files"] += 1
    taken_or_refused(sandbox, contents)


@pytest.mark.slow
@settings(max_examples=1000, suppress_health_check=in_sandbox)
@given(presets())
def test_many_preset_files_are_taken_or_refused(sandbox, tally, contents):
    tally["preset files"] += 1
    taken_or_refused(sandbox, contents)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"[ppi", "preset 'mine' is not a TOML file"),
        (b"\xff", "preset 'mine' is not a TOML file"),
        (b"pools = 3", "preset 'mine': pools must be a section of settings, not 3"),
        (b"[pools]\nmixed = 3", "preset 'mine': pools.mixed must be a section of settings, not 3"),
        (b"[pools.mixed]\nppi = 3", "preset 'mine': pools.mixed.ppi must be a section of settings, not 3"),
        (b"ppi = 3", "preset 'mine': ppi must be a section of settings, not 3"),
        (b"[game]\nround = 3", "unknown setting 'game.round'"),
    ],
)
def test_what_is_wrong_with_a_preset_file_is_named(tmp_path, monkeypatch, contents, message):
    (tmp_path / "mine.toml").write_bytes(contents)
    monkeypatch.setattr(config, "PRESETS", tmp_path)
    with pytest.raises(UsageError) as refused:
        config.load_preset("mine", pool="mixed")
    assert message in str(refused.value)
