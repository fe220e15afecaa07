"""Training from a script, as a user would write it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import TINY

import coopctx
from coopctx.errors import UsageError
from coopctx.experiments.presets import load_preset
from coopctx.launch import scripting
from coopctx.runs.manifest import read_manifest

ROOT = Path(__file__).parents[2]


def run_script(tmp_path, text):
    script = tmp_path / "mine.py"
    script.write_text(text)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, script.name], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.whole
def test_a_script_that_trains_several_seeds_needs_no_guard(tmp_path):
    settings = (*TINY, "ppi.phases=1")
    done = run_script(
        tmp_path,
        f"""
import coopctx
print("once")
runs = coopctx.train(agent="ppi", pool="tabular", preset="smoke", seeds=(0, 1), overrides={settings}, results="here")
print([(run.seed, run.state) for run in runs], __file__, __spec__)
""",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "once" and done.stdout.count("once") == 1
    assert done.stdout.splitlines()[1].startswith("[(0, 'finished'), (1, 'finished')] ")
    assert done.stdout.rstrip().endswith("mine.py None")


@pytest.fixture
def asked(monkeypatch):
    """What would be trained: the seeds and settings of `coopctx.train`, called with ``options``."""
    seen = []
    monkeypatch.setattr(scripting, "train_all", lambda specs, options: seen.append((specs, options)))

    def ask(**options):
        coopctx.train(agent="ppi", pool="mixed", preset="smoke", **options)
        specs, told = seen[-1]
        return [spec.seed for spec in specs], load_preset("smoke", told.overrides)

    return ask


@pytest.mark.parametrize(
    ("seeds", "listed"),
    [(3, [3]), ("3", [3]), ("0-2,7", [0, 1, 2, 7]), ((4, 1), [4, 1]), (range(2), [0, 1]), ([1, 1], [1])],
)
def test_seeds_in_every_notation(asked, seeds, listed):
    assert asked(seeds=seeds)[0] == listed


def test_overrides_in_every_notation(asked):
    expected = load_preset("smoke", ["ppi.rollouts=8", "game.payoffs=[[4, 0], [3, 2]]", "ppi.estimator=sampled"])
    payoffs = ((4, 0), (3, 2))
    for overrides in (
        ["ppi.rollouts=8", "game.payoffs=[[4, 0], [3, 2]]", "ppi.estimator=sampled"],
        {"ppi.rollouts": 8, "game.payoffs": payoffs, "ppi.estimator": "sampled"},
        {"ppi": {"rollouts": np.int64(8), "estimator": "sampled"}, "game": {"payoffs": np.array(payoffs)}},
    ):
        assert asked(overrides=overrides)[1] == expected
    assert asked(overrides="ppi.rollouts=8")[1] == load_preset("smoke", ["ppi.rollouts=8"])


def test_a_run_made_from_a_dictionary_names_a_command_that_makes_it(tmp_path):
    overrides = {"game.rounds": 8, "a2c.iterations": 1, "a2c.batch_size": 4, "measure.episode_games": 2, "model.hidden": 16}
    (run,) = coopctx.train(agent="a2c", pool="tabular", preset="smoke", seeds=3, overrides=overrides, results=tmp_path)
    assert run.state == "finished", run.message
    command = read_manifest(run.directory)["command"]
    assert "--seed 3 --set game.rounds=8 --set a2c.iterations=1" in command


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": "0-"}, "--seeds must be like 0-9 or 0,2,5-7"),
        ({"seeds": -1}, "seeds must be whole numbers >= 0, or a text such as '0-9', not -1"),
        ({"seeds": ()}, r"seeds must be whole numbers >= 0, or a text such as '0-9', not \(\)"),
        ({"seeds": 1.5}, "seeds must be whole numbers >= 0, .* not 1.5"),
        ({"seeds": [0, "1"]}, "seeds must be whole numbers >= 0"),
        ({"seeds": None}, "seeds must be whole numbers >= 0, .* not None"),
        ({"overrides": {"ppi.rolouts": 8}}, "unknown setting .*ppi.rolouts.*did you mean ppi.rollouts"),
        ({"overrides": {"ppi.rollouts": 8.5}}, "ppi.rollouts must be an integer >= 1, not 8.5"),
        ({"overrides": {"ppi.rollouts": None}}, "ppi.rollouts must be an integer >= 1"),
        ({"overrides": {"ppi.discount": float("nan")}}, "ppi.discount must be a number, a text, true or false, or a list of these, not nan"),
        ({"overrides": {"ppi.rollouts": object()}}, "ppi.rollouts must be a number, a text"),
        ({"overrides": [8]}, r"overrides must be texts such as 'ppi.rollouts=8', or a dictionary, not \[8\]"),
    ],
)
def test_what_cannot_be_trained_is_told_in_one_line(asked, options, message):
    with pytest.raises(UsageError, match=message) as caught:
        asked(**options)
    assert "\n" not in str(caught.value)
