"""docs/data-format.md names every file, column, quantity and code that there is."""

import re
from pathlib import Path

import pandas as pd
import pytest

import coopctx
from coopctx.analysis.played.crossplay import SCHEMA as ARENA
from coopctx.analysis.played.games import SCHEMA as GAMES
from coopctx.experiments.agents import AGENTS
from coopctx.experiments.pools import COALA_POOLS, POOLS
from coopctx.runs.schema import FILES, KEYS, LOCK, SCHEMAS, WHEN

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/data-format.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """Cells of the tables below a heading, up to the next one."""
    section = TEXT.split(f"\n{heading}\n")[1].split("\n#")[0]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in section.splitlines() if line.startswith("| `")]


def columns(heading: str) -> dict[str, str]:
    return {row[0].strip("` "): row[1] for row in rows(heading) if row[1] in ("string", "bool", "int64", "float64")}


@pytest.mark.parametrize("table", SCHEMAS)
def test_every_column_is_explained_with_its_type(table):
    types = {field.name: str(field.type).replace("double", "float64") for field in SCHEMAS[table]}
    shared = columns("### training.parquet") if table == "episodes" else {}
    if table in ("diagnostics", "timings"):  # they name their time and learner as training.parquet does
        shared = {name: kind for name, kind in columns("### training.parquet").items() if name in WHEN and name in types}
    explained = {**columns("### Keys of every table"), **shared, **columns(f"### {table}.parquet")}
    assert {name: explained[name] for name in types} == types
    assert set(columns(f"### {table}.parquet")) <= set(types)


@pytest.mark.parametrize(("table", "schema"), [("games", GAMES), ("arena", ARENA)])
def test_every_column_of_games_and_cross_play_is_explained_with_its_type(table, schema):
    explained = columns("### Keys of every table") if table == "games" else {}
    for names, kind, *_ in rows(f"### {table}.parquet"):
        explained |= dict.fromkeys((name.strip("` ") for name in names.split(", ")), kind)
    kinds = {"double": "float64", "float": "float32"}
    assert explained == {field.name: kinds.get(str(field.type), str(field.type)) for field in schema}


def test_every_file_of_a_run_and_every_pool_is_named():
    assert {name for name in (*FILES, LOCK) if f"`{name}`" not in TEXT} == set()
    named = [name.strip("` ") for row in rows("## Folders") for name in row[0].split(", ")]
    rules = [name.replace("<rule>", rule) for name in named for rule in ("m-fos", "batch-unaware")]
    assert set(rules) >= {*POOLS, *COALA_POOLS}
    assert set(columns("### Keys of every table")) == set(KEYS)


def test_every_quantity_and_part_in_the_committed_tables_is_explained():
    named = {name for row in rows("### diagnostics.parquet") for name in re.findall("`([a-z_<>]+)`", row[0])}
    opponents = re.compile("_(learner|tabular|fixed-icl)$")
    for agent in AGENTS:
        for path in (ROOT / "results/cpu").glob(f"{agent}-*/seed-0/diagnostics.parquet"):
            found = {opponents.sub("_<opponent>", name) for name in pd.read_parquet(path)["quantity"].unique()}
            assert found <= named, path
        parts = {part for path in path.parent.glob("timings.parquet") for part in pd.read_parquet(path)["part"].unique()}
        assert all(f"`{part}`" in TEXT.split("### timings.parquet")[1] for part in parts)


def test_codes_are_the_games():
    game = coopctx.PRISONERS_DILEMMA
    assert [list(row) for row in game.payoffs] == [[1, -1], [2, 0]] and "`[[1, -1], [2, 0]]`" in TEXT
    assert "| observation 1, 2, 3, 4 | the last round was CC, CD, DC, DD, own action first |" in TEXT
    assert (coopctx.COOPERATE, coopctx.DEFECT, coopctx.START, game.n_observations) == (0, 1, 0, 5)
