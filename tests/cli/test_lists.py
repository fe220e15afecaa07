"""`coopctx settings` and `coopctx runs`: what they list is what is there."""

import json
import shutil
import tomllib
from importlib import resources
from pathlib import Path

import jsonschema
import pytest
import struck

from coopctx.experiments.schema import all_settings, json_schema
from coopctx.experiments.settings import SECTIONS
from coopctx.runs.listing import listed
from coopctx.runs.lock import locked

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "docs" / "config.schema.json"


def test_every_setting_has_a_meaning_and_a_value_in_each_preset(coopctx_main):
    status, out, err = coopctx_main("settings")
    assert (status, err) == (0, "") and max(map(len, out.splitlines()[:-1])) <= 80
    lines = out.splitlines()
    assert len(all_settings()) == sum(len(kind.__dataclass_fields__) for kind in SECTIONS.values())
    for each in all_settings():
        assert each.meaning and each.name in lines, each.name
    at = lines.index("ppi.rollouts")
    assert lines[at + 1 : at + 3] == ["    Monte-Carlo rollouts per first action", "    default none; smoke 2; cpu 24, 4 (extortion); paper 16"]


def test_a_word_narrows_the_list_and_an_unknown_one_is_refused(coopctx_main):
    status, out, _ = coopctx_main("settings", "noise")
    assert status == 0 and [line for line in out.splitlines() if not line.startswith(" ")][:-1] == ["game.noise"]
    status, out, err = coopctx_main("settings", "rolouts")
    assert (status, out) == (2, "") and "no setting has 'rolouts' in its name; did you mean ppi.rollouts" in err


def test_the_committed_schema_is_up_to_date(coopctx_main):
    status, out, _ = coopctx_main("settings", "--schema")
    assert status == 0 and json.loads(out) == json_schema()
    assert SCHEMA.read_text() == out, f"coopctx settings --schema > {SCHEMA.relative_to(ROOT)}"


def test_the_schema_takes_what_is_right_and_refuses_what_is_wrong():
    validator = jsonschema.Draft7Validator(json_schema())
    for preset in ("smoke", "cpu", "paper"):
        contents = tomllib.loads(resources.files("coopctx.experiments").joinpath("data", f"{preset}.toml").read_text())
        contents.pop("seen_seeds", None)
        assert not list(validator.iter_errors(contents)), preset
    own = {"agent": "ppi", "preset": "smoke", "pool": {"members": [{"opponent": "tabular", "share": 1.0}]}, "game": {"payoffs": "chicken"}}
    assert not list(validator.iter_errors(own))
    for wrong in (
        {"ppi": {"rolouts": 3}},
        {"ppi": {"rollouts": 0}},
        {"ppi": {"rollouts": 1.5}},
        {"game": {"payoffs": "no such game"}},
        {"game": {"noise": 1}},
        {"pool": {"members": [{"opponent": "tabular", "share": -1}]}},
        {"pool": {"members": [{"opponent": "tabular"}]}},
        {"pools": {"tabula": {}}},
        {"a2c": {"normalise_advantages": "on"}},
        {"agent": "dqn"},
    ):
        assert list(validator.iter_errors(wrong)), wrong


def changed(directory: Path, **entries: object) -> None:
    manifest = json.loads((directory / "run.json").read_text())
    manifest.pop("checksum", None)
    (directory / "run.json").write_text(json.dumps({**manifest, **entries}))


def test_runs_are_listed_with_their_state_and_the_next_command(coopctx_main, undisturbed):
    shutil.copytree(undisturbed["ppi"][0], "results")
    first = struck.directory("ppi", Path("results"))
    seeds = {}
    for seed in (1, 2, 3, 4, 10):
        seeds[seed] = first.with_name(f"seed-{seed}")
        shutil.copytree(first, seeds[seed])
        changed(seeds[seed], seed=seed)
    command = "coopctx train --agent ppi --pool mixed --preset smoke --seed"
    changed(seeds[2], seed=2, state="running", iteration=2, command=f"{command} 2")
    (seeds[2] / "checkpoint.pt").touch()
    changed(seeds[3], seed=3, state="failed", iteration=0, command=f"{command} 3", error="Traceback\nValueError: no")
    (seeds[4] / "run.json").write_text("{")
    before = {path: path.read_bytes() for path in Path("results").rglob("*") if path.is_file()}
    status, out, err = coopctx_main("runs")
    name = str(first.parent.relative_to("results"))
    assert (status, err) == (0, "") and [" ".join(line.split()) for line in out.splitlines() if line.startswith(name)] == [
        f"{name} 0-1 finished",
        f"{name} 2 interrupted after phase 2",
        f"{name} 3 failed before the first checkpoint: ValueError: no",
        f"{name} 4 damaged: run.json cannot be read; its command with --fresh starts over",
        f"{name} 10 finished",
    ]
    assert out.splitlines()[-2:] == [f"next: {command} 2", f"next: {command} 3"]
    with locked(seeds[2]):
        assert listed(Path("results"))[2].state == "running, phase 2"
    assert {path: path.read_bytes() for path in Path("results").rglob("*") if path.is_file()} == before


def test_runs_of_a_finished_folder_end_with_an_evaluation_and_no_folder_is_refused(coopctx_main, undisturbed):
    shutil.copytree(undisturbed["a2c"][0], "there")
    out = coopctx_main("runs", "--results", "there")[1]
    assert out.splitlines()[-1].startswith("next: coopctx evaluate there/")
    status, out, err = coopctx_main("runs", "--results", "nowhere")
    assert (status, out) == (1, "") and "nowhere is not a folder of results" in err


@pytest.mark.parametrize("hidden", ["sweep/ppi.rollouts=1/smoke/ppi-mixed/seed-0", "my/ppi-custom/seed-3"])
def test_runs_of_sweeps_and_files_are_listed_too(undisturbed, tmp_path, hidden):
    shutil.copytree(struck.directory("ppi", undisturbed["ppi"][0]), tmp_path / hidden)
    assert [str(run.directory.relative_to(tmp_path)) for run in listed(tmp_path)] == [hidden]
