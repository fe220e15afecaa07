"""The package's metadata agrees with its contents, and a wheel has all that an installation needs."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pandas as pd
import pytest

import coopctx
from coopctx.examples import change_one_thing
from coopctx.experiments.presets import preset_names
from coopctx.runs.manifest import read_manifest

ROOT = Path(__file__).parents[1]
DATA = {".toml", ".c", ".h", ".csv", ".css", ".html", ".js", ".json", ".safetensors", ".typed"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def package_files() -> set[str]:
    """What of the checkout belongs into a wheel, seen from the root."""
    files = (ROOT / "coopctx").rglob("*")
    return {str(path.relative_to(ROOT)) for path in files if path.suffix in {".py", *DATA}}


def test_versions_agree():
    assert f"\nversion: {coopctx.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {coopctx.__version__} " in (ROOT / "CHANGELOG.md").read_text()


def test_every_dependency_is_pinned():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    needed = [*PROJECT["dependencies"], *(name for extra in PROJECT["optional-dependencies"].values() for name in extra)]
    assert {name.split(">=")[0] for name in needed} <= pinned


def test_all_that_the_package_names_is_there():
    for name in coopctx.__all__:
        assert getattr(coopctx, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'cooperate'"):
        _ = coopctx.cooperate


def test_no_package_has_the_name_of_a_public_function():
    """Importing a package makes it an attribute of the one above it, which would hide the function."""
    assert not {entry.name.removesuffix(".py") for entry in Path(coopctx.__file__).parent.iterdir()} & set(coopctx.__all__)


@pytest.mark.parametrize("module", ["coopctx", "coopctx.cli", "coopctx.analysis.claims", "coopctx.runs.run", "coopctx.agents"])
def test_what_reads_results_loads_neither_torch_nor_matplotlib(module):
    check = f"import sys, {module}; sys.exit(not sys.modules.keys().isdisjoint({{'torch', 'matplotlib'}}))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_dir_lists_what_a_script_needs_and_nothing_else():
    assert dir(coopctx) == sorted([*coopctx.__all__, "__version__"])


# Outside the checkout ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from the package alone, without the network: by the setuptools that is installed."""
    if int(importlib.metadata.version("setuptools").split(".")[0]) < 77:
        pytest.skip("building a wheel without the network needs setuptools >= 77; the test extra installs it")
    source, out = (tmp_path_factory.mktemp(name) for name in ("source", "wheel"))
    shutil.copytree(ROOT / "coopctx", source / "coopctx", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip(["wheel", str(source), "--no-build-isolation", "--wheel-dir", str(out)])
    return next(out.glob("*.whl"))


def pip(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "pip", *arguments, "--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
    subprocess.run(command, check=True)


def test_a_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == package_files()


@pytest.mark.whole
def test_an_installed_wheel_works_without_the_checkout(wheel, tmp_path):
    """As a user would have it: the command's own script, in a directory with nothing in it."""
    home, work = tmp_path / "installed", tmp_path / "work"
    work.mkdir()
    pip(["install", str(wheel), "--target", str(home)])

    def run(*command: str) -> str:
        environment = os.environ | {"PYTHONPATH": str(home), "COLUMNS": "200"}
        finished = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    script = sys.executable, str(home / "bin" / "coopctx")
    assert run(*script, "--version") == f"coopctx {coopctx.__version__}\n"
    assert f"--preset {'|'.join(preset_names())}" in " ".join(run(*script, "train", "--help").split())
    toy = [f"--set=ppi.{key}={value}" for key, value in {"phases": 1, "initial_episodes": 8, "episodes_per_phase": 4}.items()]
    trained = run(*script, "train", "--agent", "ppi", "--pool", "tabular", "--preset", "smoke", *toy)
    assert "results/smoke/ppi-tabular/seed-0: written" in trained
    assert "figures-smoke/report.html: written" in run(*script, "report", "--preset", "smoke")
    assert (work / "figures-smoke" / "report.html").stat().st_size > 10_000
    where = run(sys.executable, "-c", "import coopctx; print(coopctx.__file__)").strip()
    assert where == str(home / "coopctx" / "__init__.py")


# The example ------------------------------------------------------------------------------------------------------


def test_the_example_does_what_it_says(tmp_path, capsys):
    change_one_thing.main(tmp_path)
    hunt, share, grudger, loop = capsys.readouterr().out.splitlines()
    assert all(re.search(r"\d+%", line) for line in (hunt, share, loop)) and re.search(r"0\.9\d|1\.0\d", grudger)
    stag_hunt, more_tabular = (tmp_path / name / "smoke/ppi-mixed/seed-0" for name in ("stag-hunt", "more-tabular"))
    assert read_manifest(stag_hunt)["configuration"]["game"]["payoffs"] == [[4, 0], [3, 2]]
    assert pd.read_parquet(stag_hunt / "training.parquet")["reward"].max() > 2  # more than this player could earn before
    episodes = pd.read_parquet(more_tabular / "training.parquet").groupby("opponent")["episodes"].first()
    assert episodes.to_dict() == {"learner": 6, "tabular": 58}


def test_the_grudger_cooperates_until_it_is_defected_upon():
    game, defect_once = coopctx.PRISONERS_DILEMMA, [0, 0, 1, 0, 0]
    ego, _ = coopctx.play(game, 5, 3, (change_one_thing.Grudger(), Scripted(defect_once)))
    assert ego.actions.tolist() == [[0, 0, 0, 1, 1]] * 3


class Scripted(coopctx.Player):
    """Plays these actions, whatever happens."""

    def __init__(self, actions: list[int]) -> None:
        self.actions = iter(actions)

    def act(self, observation, reward):
        return 0 * observation + next(self.actions)
