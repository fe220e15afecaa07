"""Mistakes that users made on the command line, as they typed them, and the expected reactions."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import struck
import typer
from rich.console import Console

from coopctx.cli import app as cli
from coopctx.cli import show
from coopctx.runs.manifest import read_manifest

TINY = ["--set", "model.hidden=16", "--set", "game.rounds=8", "--set", "measure.episode_games=4"]
PPI = ["train", "--agent", "ppi", "--pool", "mixed", "--preset", "smoke", "--device", "cpu", *TINY]
PPI += ["--set", "ppi.initial_episodes=16", "--set", "ppi.phases=1", "--set", "ppi.initial_epochs=1"]
RUN = "results/smoke/ppi-mixed/seed-0"


@pytest.fixture
def finished(coopctx_main, undisturbed):
    """The folder that the command runs in, with finished runs of seed 0."""
    for results, _ in undisturbed.values():
        shutil.copytree(results, "results", dirs_exist_ok=True)
    run = struck.directory("ppi", Path("results"))
    assert read_manifest(run)["state"] == "finished"
    coopctx_main.run = str(run)
    return coopctx_main


def files(folder: str = ".") -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


# Files that are not ours ------------------------------------------------------------------------------------------


def test_out_is_no_way_to_lose_a_file(finished):
    Path("s1.py").write_text("print('mine')")
    Path("mine.csv").write_text("a,b\n1,2\n")
    Path("mine.parquet").write_text("not a table")
    before = files()
    evaluate = ["evaluate", finished.run, "--against", "tit-for-tat", "--games", "2"]
    for name, status, told in (
        ("s1.py", 2, "--out must end in .parquet or .csv, not 's1.py'"),
        ("table", 2, "--out must end in .parquet or .csv"),
        ("mine.csv", 1, "cannot write mine.csv: there is a file that --out did not write"),
        ("mine.parquet", 1, "cannot write mine.parquet: there is a file that --out did not write"),
    ):
        got, out, err = finished(*evaluate, "--out", name)
        assert (got, out) == (status, "") and told in err and err.count("\n") == 1
    assert files() == before


def test_out_is_parquet_or_csv_by_its_name_and_may_replace_its_own(finished):
    evaluate = ["evaluate", finished.run, "--against", "tit-for-tat"]
    for games in ("2", "3"):
        for name in ("curves.parquet", "curves.csv"):
            status, out, err = finished(*evaluate, "--games", games, "--out", name)
            assert (status, err) == (0, "") and f"{name}: written" in out
    parquet, csv = pd.read_parquet("curves.parquet"), pd.read_csv("curves.csv")
    assert list(csv) == list(parquet) and (csv["episodes"] == 3).all()
    assert csv["cooperation_rate"].tolist() == pytest.approx(parquet["cooperation_rate"].tolist())


def test_a_file_is_no_folder_for_figures_and_reports(finished, blank_figures):
    Path("figures.png").write_text("mine")
    for command in (["plot", "fig3", "--preset", "smoke"], ["report", "--preset", "smoke"]):
        status, _, err = finished(*command, "--out", "figures.png")
        assert status == 1 and "figures.png" in err and err.count("\n") == 1
    assert Path("figures.png").read_text() == "mine"


def test_figures_of_one_preset_are_not_replaced_by_another_presets(finished, blank_figures):
    Path("figures").mkdir()
    for name in ("fig3.png", "report.md", "report.html"):
        Path("figures", name).write_text("of preset cpu")
    before = files("figures")
    for command in (["plot", "fig3", "--format", "png"], ["report"]):
        assert finished(*command, "--preset", "smoke")[0] == 0
    assert files("figures") == before
    assert {path.name for path in Path("figures-smoke").iterdir()} == {"fig3.png", "report.md", "report.html"}


@pytest.mark.parametrize("option", ["--results", "--out"])
def test_an_empty_folder_is_not_the_current_one(finished, option):
    before = files()
    for text in ("", " "):
        commands = [["plot", "all"], ["report"], ["reproduce", "--preset", "smoke", "--seeds", "0"]]
        for command in commands + ([PPI] if option == "--results" else []):
            status, out, err = finished(*command, option, text)
            assert (status, out) == (2, "") and "a path must be given" in err and err.count("\n") == 1
    assert files() == before


# Odd folders and damaged tables -----------------------------------------------------------------------------------


def test_one_odd_folder_stops_no_figure(finished):
    folder = Path(finished.run).parent
    shutil.copytree(finished.run, folder / "seed-0 (copy)")
    (folder / "seed-8").mkdir()
    (folder / "seed-8/run.json").write_text("{")
    status, out, err = finished("plot", "fig3", "--preset", "smoke", "--format", "png")
    assert status == 1 and "figures-smoke/fig3.png" in out and Path("figures-smoke/fig3.png").stat().st_size > 1000
    assert f"{folder}/seed-0 (copy)/run.json belongs to seed 0, not to seed-0 (copy)" in err
    assert f"{folder}/seed-8/run.json is damaged" in err and "2 runs or files could not be read" in err


def test_folders_that_no_run_is_called_are_named(finished, blank_figures):
    odd = Path(finished.run).parents[1] / "ppi-mixd"
    (odd / "seed-0").mkdir(parents=True)
    for command in (["plot", "fig3", "--format", "png"], ["report"]):
        status, _, err = finished(*command, "--preset", "smoke")
        assert status == 0 and err == f"coopctx: left out, because no run has such a name: {odd}\n"


def test_one_damaged_table_stops_no_figure(finished):
    shutil.copytree(finished.run, Path(finished.run).parent / "seed-4")
    other = Path(finished.run).parent / "seed-4"
    manifest = json.loads((other / "run.json").read_text())
    manifest.pop("checksum")
    (other / "run.json").write_text(json.dumps({**manifest, "seed": 4}))
    for name in ("training", "episodes"):
        (other / f"{name}.parquet").write_bytes(b"PAR1")
    status, out, err = finished("plot", "all", "--preset", "smoke", "--format", "png")
    assert status == 1 and "figures-smoke/fig1.png" in out and "figures-smoke/fig3.png" in out
    assert f"{other}/training.parquet is damaged" in err and f"{other}/episodes.parquet is damaged" in err


def test_seeds_of_other_settings_are_left_out_by_name(finished):
    for seed in (5, 6):
        assert finished(*PPI, "--seed", str(seed), "--set", "ppi.rollouts=1")[0] == 0
    status, out, err = finished("plot", "fig1", "--preset", "smoke", "--format", "png")
    assert status == 1 and "figures-smoke/fig1.png" in out and "ppi.rollouts" in err and f"{finished.run} (here)" in err


# What nobody asked for ---------------------------------------------------------------------------------------------


def test_seeds_that_nobody_asked_for_are_not_missed(finished):
    out = finished("plot", "fig3", "--preset", "smoke", "--format", "png")[1]
    assert "no finished run" not in out and "seeds" not in out
    out = finished("plot", "fig3", "--preset", "smoke", "--format", "png", "--seeds", "0-2")[1]
    assert "ppi-mixed: no finished run of seeds 1-2 (coopctx train --agent ppi --pool mixed --preset smoke --seeds 0-2)" in out


def test_settings_that_change_nothing_are_refused(coopctx_main, no_short_runs):
    for words, told in (
        (["--agent", "a2c", "--pool", "mixed", "--set", "ppi.rollouts=4"], "ppi.rollouts: a run of a2c does not read it"),
        (["--agent", "ppi", "--pool", "mixed", "--set", "a2c.batch_size=4"], "a2c.batch_size: a run of ppi does not read it"),
        (["--agent", "ppi", "--pool", "tabular", "--set", "pool.tabular_share=0.2"], "--pool tabular does not read it"),
        (["--agent", "a2c", "--pool", "mixed", "--set", "measure.episode_phases=[1]"], "a2c.episode_iterations"),
    ):
        status, out, err = coopctx_main("train", "--preset", "smoke", *words)
        assert (status, out) == (2, "") and told in err and err.count("\n") == 1
    both = ["reproduce", "--preset", "smoke", "--figure", "fig3", "--seeds", "0", "--dry-run", "--set", "ppi.rollouts=4"]
    assert coopctx_main(*both)[0] == 0  # the PPI runs among them read it
    assert not Path("results").exists()


def test_a_run_that_failed_before_its_first_phase_blocks_nothing(coopctx_main):
    status, _, err = coopctx_main(*PPI, "--set", "ppi.learning_rate=1e30", "--set", "model.hidden=2000000000")
    assert status == 1 and err.count("\n") == 1
    assert read_manifest(Path(RUN))["state"] == "failed"
    status, out, err = coopctx_main(*PPI)  # other settings, and no --fresh
    assert (status, err) == (0, "") and f"{RUN}: written" in out


# Smoke says what it is ---------------------------------------------------------------------------------------------


def test_smoke_says_that_it_shows_nothing(finished):
    caveat = "which show nothing about the paper's claims"
    for command in (
        ["evaluate", finished.run, "--against", "tit-for-tat", "--games", "2"],
        ["report", "--preset", "smoke"],
        ["plot", "fig3", "--preset", "smoke", "--format", "svg"],
        [*struck.train("ppi", Path("results"))],
    ):
        status, out, _ = finished(*command)
        assert status == 0 and caveat in " ".join(out.split()), command
    assert caveat in Path("figures-smoke/fig3.svg").read_text()


# Help --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["", *typer.main.get_command(cli.app).commands])
def test_help_is_right_at_80_columns(coopctx_main, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    words = [command] if command else []
    status, out, err = coopctx_main(*words, "-h")
    assert (status, err) == (0, "") and out == coopctx_main(*words, "--help")[1]
    assert "<bool>" not in out and "<path>" not in out
    assert max(map(len, out.splitlines())) <= 80
    for choice in ("mutual-extortion", "rock-paper-scissors", "sensitivity"):
        fragment = choice[: len(choice) // 2]
        if f"{fragment}" in out:
            assert choice in out, f"{choice} is cut"


def test_hints_can_be_pasted(coopctx_main, monkeypatch):
    Path("my results").mkdir()
    err = coopctx_main("plot", "fig1", "--results", "my results", "--preset", "smoke")[2]
    assert "coopctx train --agent ppi --pool mixed --preset smoke --seeds 0-9 --results 'my results'" in err
    err = coopctx_main("report", "--results", "my results")[2]
    assert err.rstrip().endswith("coopctx reproduce --results 'my results'")
    err = coopctx_main("train", "--agent", "ppi", "--pool", "extortion", "--preset", "smoke", "--results", "my results")[2]
    assert "coopctx train --agent ppi --pool tabular --preset smoke --seed 0 --results 'my results'" in err
    for module in ("ray", "coopctx.launch.on_ray"):
        monkeypatch.setitem(sys.modules, module, None)
    err = coopctx_main(*PPI, "--engine", "ray")[2]
    assert "pip install '.[ray]'" in err and "coopctx[ray]" not in err


def test_every_command_ends_with_the_next_one(finished, no_short_runs, blank_figures):
    for command in (
        [*struck.train("ppi", Path("results"))],
        ["evaluate", finished.run, "--against", "tit-for-tat", "--games", "2"],
        ["plot", "fig3", "--preset", "smoke", "--format", "png"],
        ["report", "--preset", "smoke"],
        ["reproduce", "--preset", "smoke", "--seeds", "0", "--dry-run", "--results", "elsewhere"],
    ):
        status, out, err = finished(*command)
        assert (status, err) == (0, "")
        last = out.splitlines()[-1]
        assert last.startswith("next: coopctx ") or last == "next: the same command without --dry-run"


# Standard output ---------------------------------------------------------------------------------------------------


def shell(line: str, folder: Path) -> subprocess.CompletedProcess:
    command = line.replace("coopctx", f"{sys.executable} -m coopctx")
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])}
    return subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, env=environment, check=False)


def test_a_closed_standard_output_is_no_traceback(tmp_path):
    for line in ("coopctx --version >&-", "coopctx train -h >&-", "coopctx train --agent dqn --pool mixed >&-"):
        ended = shell(line, tmp_path)
        assert "Traceback" not in ended.stderr and ended.stderr.count("\n") <= 1
    assert shell("coopctx --version 2>&-", tmp_path).stdout.startswith("coopctx ")


def test_a_reader_that_has_seen_enough_is_no_error_message(tmp_path):
    ended = shell("(coopctx train -h; coopctx settings) | head -1", tmp_path)
    assert ended.stderr == ""


def test_read_only_says_so(finished, monkeypatch, blank_figures):
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK and real(path, mode))
    for command in (["plot", "fig3", "--preset", "smoke"], ["report", "--preset", "smoke"], PPI):
        status, _, err = finished(*command)
        assert status == 1 and "read-only" in err and err.count("\n") == 1, command


def test_tables_fit_80_columns(finished, monkeypatch, capsys, no_short_runs):
    for command in (
        [*struck.train("ppi", Path("results"))],
        ["evaluate", finished.run, "--games", "2"],
        ["reproduce", "--preset", "smoke", "--seeds", "0", "--dry-run", "--results", "elsewhere"],
    ):
        monkeypatch.setattr(show, "console", Console(width=80))
        assert cli.main(list(map(str, command))) == 0
        out = capsys.readouterr().out
        paths = ("results/", "next: ")  # these are never broken
        assert all(len(line) <= 80 or line.startswith(paths) for line in out.splitlines()) and "…" not in out, out
