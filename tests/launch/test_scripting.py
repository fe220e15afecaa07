"""Training from a script, as a user would write it."""

import os
import subprocess
import sys
from pathlib import Path

from tiny_runs import TINY

ROOT = Path(__file__).parents[2]


def run_script(tmp_path, text):
    script = tmp_path / "mine.py"
    script.write_text(text)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, script.name], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)


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
