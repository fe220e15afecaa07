"""Bad input over the command line: each is refused in one line that names it, and not a file changes."""

import shutil
from pathlib import Path

import pytest
import struck
from conftest import optional

RUN = "results/smoke/ppi-mixed/seed-0"
TRAIN = ["train", "--agent", "ppi", "--pool", "mixed", "--preset", "smoke"]
NEW = [*TRAIN, "--results", "new"]
EVALUATE = ["evaluate", RUN, "--games", "2"]
SWEEP = ["sweep", "--preset", "smoke", "--seeds", "0", "--vary"]

# id: the words typed, and what the line must name
BAD: dict[str, tuple[list[str], str]] = {
    # commands and options
    "misspelt command": (["trian"], "No such command 'trian'"),
    "misspelt option": ([*NEW, "--seedz", "1"], "No such option: --seedz"),
    "option without its value": ([*NEW, "--seed"], "Option '--seed' requires an argument"),
    "word too many": ([*NEW, "seed-0"], "unexpected extra argument(s) (seed-0)"),
    # what is trained
    "preset in capitals": ([*NEW[:5], "--preset", "SMOKE"], "unknown preset 'SMOKE'; allowed: smoke, cpu, paper"),
    "misspelt pool": (["train", "--agent", "a2c", "--pool", "learner"], "unknown pool 'learner'; did you mean learners?"),
    "pool of another agent": (["train", "--agent", "coala", "--pool", "tabular"], "unknown pool 'tabular'"),
    "page of a seed": (["play", "--html", "p.html", "--seed", "1"], "--seed and --show-thoughts are for a game in the terminal"),
    "page with thoughts": (["play", "--html", "p.html", "--show-thoughts"], "they do not go with --html"),
    "file of measurements": (["train", "--agent", "a2c", "--pool", "mixed", "--config", "bench.toml"], "not bench or explored"),
    "negative seed": ([*NEW, "--seed", "-1"], "--seed must be a whole number >= 0, not '-1'"),
    "seed that is no whole number": ([*NEW, "--seed", "1.5"], "--seed must be a whole number >= 0, not '1.5'"),
    "seeds downwards": ([*NEW, "--seeds", "9-0"], "--seeds must be like 0-9 or 0,2,5-7"),
    "no seeds": ([*NEW, "--seeds", ""], "--seeds must be like 0-9 or 0,2,5-7"),
    "very many seeds": ([*NEW, "--seeds", "0-99999"], "--seeds allows 1000 seeds at most"),
    "seed and seeds": ([*NEW, "--seed", "1", "--seeds", "0-2"], "give --seed or --seeds, not both"),
    "no runs at a time": ([*NEW, "--jobs", "0"], "--jobs must be an integer >= 1, not 0"),
    "runs at a time as a word": ([*NEW, "--jobs", "all"], "Invalid value for '--jobs'"),
    "unknown device": ([*NEW, "--device", "tpu"], "'tpu'"),
    "unknown engine": ([*NEW, "--engine", "slurm"], "'slurm'"),
    "unknown game": ([*NEW, "--game", "stag-hunts"], "game.payoffs: unknown game 'stag-hunts'; did you mean stag-hunt?"),
    # settings
    "setting without a value": ([*NEW, "--set", "ppi.rollouts"], "--set 'ppi.rollouts' must have the form KEY=VALUE"),
    "half a setting": ([*NEW, "--set", "rollouts=4"], "unknown setting 'rollouts'; did you mean ppi.rollouts"),
    "fraction of a rollout": ([*NEW, "--set", "ppi.rollouts=1.5"], "ppi.rollouts must be an integer >= 1, not 1.5"),
    "huge number": ([*NEW, "--set", "ppi.rollouts=99999999999"], "ppi.rollouts must be an integer >= 1 and <= 2147483647"),
    "payoffs that are not square": ([*NEW, "--set", "game.payoffs=[[1,2],[3]]"], "game.payoffs must be a list of n rows of n payoffs"),
    "payoffs as words": ([*NEW, "--set", "game.payoffs=[['a','b'],['c','d']]"], "game.payoffs must be a list of n rows"),
    "nothing but noise": ([*NEW, "--set", "game.noise=1"], "game.noise must be a number >= 0 and < 1, not 1"),
    "no next round": ([*NEW, "--set", "game.continuation=0"], "game.continuation must be a number > 0 and <= 1, not 0"),
    "phase zero": ([*NEW, "--set", "measure.episode_phases=[0]"], "measure.episode_phases must be a list of integers counted from 1"),
    "not a number": ([*NEW, "--set", "ppi.learning_rate=nan"], "ppi.learning_rate must be a number > 0, not nan"),
    "yes for true": (["train", "--agent", "a2c", "--pool", "mixed", "--set", "a2c.zero_readouts=yes"], "a2c.zero_readouts must be true or false, not 'yes'"),
    "unknown choice": ([*NEW, "--set", "ppi.estimator=exact"], "ppi.estimator must be one of expected, sampled, not 'exact'"),
    "no file of settings": ([*NEW[:5], "--config", "none.toml"], "cannot read none.toml: No such file or directory"),
    "folder of settings": ([*NEW[:5], "--config", "folder.toml"], "cannot read folder.toml: Is a directory"),
    "empty name of a file": ([*NEW[:5], "--config", ""], "a path must be given"),
    # where runs are
    "results in a file": ([*TRAIN, "--results", "file"], "cannot write file: a file is in the way where a directory should be"),
    "results below a file": ([*TRAIN, "--results", "file/x"], "cannot write file/x: a file is in the way"),
    "run of other settings": ([*TRAIN, "--set", "ppi.rollouts=7"], "ppi.rollouts: 2 there, 7 here"),
    # evaluation
    "no such run": (["evaluate", "nowhere"], "nowhere is not a finished run; packaged agents: a2c-mixed"),
    "folder of runs": (["evaluate", "results"], "results is not a finished run"),
    "damaged weights": (["evaluate", "damaged", "--games", "2"], "damaged/weights.safetensors is damaged"),
    "third learner": ([*EVALUATE, "--learner", "3"], f"--learner must be from 1 to 2 for {RUN}, not 3"),
    "no games": (["evaluate", RUN, "--games", "0"], "--games must be an integer >= 1, not 0"),
    "too short": ([*EVALUATE, "--rounds", "2"], "--rounds must be an integer >= 3, not 2"),
    "negative seed of games": ([*EVALUATE, "--seed", "-1"], "--seed must be an integer >= 0, not -1"),
    "unknown opponent": ([*EVALUATE, "--against", "tit-for-tatt"], "unknown opponent 'tit-for-tatt'; did you mean tit-for-tat"),
    "nameless opponent": ([*EVALUATE, "--against", ""], "unknown opponent ''"),
    "unknown library strategy": ([*EVALUATE, "--against", "axelrod:Tit Fr Tat"], "the Axelrod library has no strategy 'Tit Fr Tat'"),
    "run of another length": ([*EVALUATE, "--against", "ppi-mixed"], "was trained with game.rounds = 100, not 8"),
    "spreadsheet": ([*EVALUATE, "--out", "curves.xlsx"], "--out must end in .parquet or .csv, not 'curves.xlsx'"),
    "table into a folder": ([*EVALUATE, "--out", "folder.toml"], "cannot write folder.toml: a directory is in the way"),
    "table over a run's own": ([*EVALUATE, "--out", f"{RUN}/training.parquet"], "it belongs to the run there"),
    # figures and reports
    "unknown figure": (["plot", "fig9", "--preset", "smoke"], "unknown figure 'fig9'"),
    "unknown format": (["plot", "fig1", "--preset", "smoke", "--format", "gif"], "unknown format 'gif'"),
    "figure of seeds that are not there": (["plot", "fig1", "--preset", "smoke", "--seeds", "7"], "no finished run for fig1 under results/smoke"),
    "figure of an empty folder": (["plot", "fig1", "--results", "nowhere"], "no finished run for fig1 under nowhere/cpu"),
    "report of nothing": (["report", "--results", "nowhere"], "nothing to report: no finished run under nowhere/cpu"),
    "reproduce an unknown figure": (["reproduce", "--figure", "fig9"], "unknown figure 'fig9'"),
    "reproduce an unknown agent": (["reproduce", "--agent", "dqn"], "unknown agent 'dqn'"),
    "reproduce a figure without the agent": (["reproduce", "--figure", "fig2", "--agent", "a2c"], "fig2: no run of a2c in it"),
    # sweeps, the probe, play
    "no values to vary": ([*SWEEP, "ppi.rollouts="], "--vary 'ppi.rollouts=' must have the form KEY=VALUE,VALUE"),
    "a range to vary": ([*SWEEP, "ppi.rollouts=1..3"], "ppi.rollouts must be an integer >= 1, not '1..3'"),
    "vary what is not read": ([*SWEEP, "a2c.batch_size=8,16"], "a2c.batch_size: a run of ppi does not read it"),
    "probe of COALA": (["extort-probe", "--agent", "coala"], "unknown agent 'coala'; allowed: ppi, a2c"),
    "probe of a noisy game": (["extort-probe", "--agent", "ppi", "--preset", "smoke", "--set", "game.noise=0.1"], "game.noise"),
    "play no rounds": (["play", "--rounds", "0"], "--rounds must be"),
    "play nobody": (["play", "nobody"], "nobody is not a finished run; packaged agents"),
    "page into a folder": (["play", "ppi-mixed", "--html", "folder.toml"], "folder.toml"),
    "bench on no thread": (["bench", "--threads", "0"], "--threads must be"),
    "unknown setting to list": (["settings", "rolouts"], "no setting has 'rolouts' in its name"),
    "runs in a file": (["runs", "--results", "file"], "file is not a folder of results"),
}


@pytest.fixture
def place(coopctx_main, undisturbed):
    """The command line in a folder with finished runs, a damaged one, a file, and a folder with a file's name."""
    shutil.copytree(undisturbed["ppi"][0], "results")
    run = struck.directory("ppi", Path("results"))
    assert str(run) == RUN
    shutil.copytree(run, "damaged")
    Path("damaged/weights.safetensors").write_bytes(b"x")
    Path("file").write_text("mine")
    Path("folder.toml").mkdir()
    return coopctx_main


def files() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path().rglob("*")) if path.is_file()}


@pytest.mark.parametrize(("words", "named"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line_that_names_it_and_changes_nothing(place, words, named):
    if "axelrod:" in " ".join(words):
        optional("axelrod")
    before = files()
    status, out, err = place(*words)
    assert status in (1, 2) and named in err and err.startswith("coopctx: ") and err.count("\n") == 1, (status, out, err)
    assert "Traceback" not in out + err and files() == before
