"""What the package says of itself agrees with what it holds."""

import tomllib
from pathlib import Path

import coopctx

ROOT = Path(__file__).parents[1]


def test_presets_kernels_and_data_are_package_data():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["coopctx"]
    shipped = {path for pattern in patterns for path in (ROOT / "coopctx").glob(pattern)}
    assert shipped == {path for path in (ROOT / "coopctx").rglob("*") if path.suffix in {".toml", ".c", ".h", ".csv", ".css"}}


def test_versions_agree():
    assert f"\nversion: {coopctx.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_every_dependency_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    needed = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    assert {name.split(">=")[0] for name in needed} <= pinned
