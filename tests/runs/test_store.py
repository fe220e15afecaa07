"""A run's directory: atomic, exclusive, resumable, and refusing what no run wrote."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from coopctx.errors import RunError
from coopctx.experiments.configuration import to_dict
from coopctx.experiments.pools import RunSpec
from coopctx.experiments.presets import load_preset
from coopctx.runs.checkpoint import read_checkpoint, write_checkpoint
from coopctx.runs.files import write_atomically
from coopctx.runs.manifest import read_manifest
from coopctx.runs.read import Results, read_run_table
from coopctx.runs.run import Run
from coopctx.runs.schema import CHECKPOINT, KEYS, REPRODUCIBLE, SCHEMAS

CONFIG = to_dict(load_preset("smoke"))
OTHER_CONFIG = to_dict(load_preset("smoke", ["ppi.rollouts=7"]))
STATE = {"step": 3, "weights": {"a": torch.arange(4.0)}, "actions": [torch.zeros(2, 3, dtype=torch.int8)]}


def keys(seed=0):
    return {"agent": "ppi", "experiment": "mixed", "opponent_id": False, "seed": seed, "preset": "smoke"}


def directory(results: Path, seed=0) -> Path:
    return results / "smoke" / "ppi-mixed" / f"seed-{seed}"


def open_run(results: Path, seed=0, config=CONFIG, fresh=False, **noted) -> Run:
    return Run.open(directory(results, seed), keys(seed), config, "cpu", fresh, **noted)


def training_row(iteration: int, rate=0.5) -> dict:
    where = {"iteration": iteration, "learner": 1, "opponent": "learner", "player": "ego"}
    return {**where, "cooperation_rate": rate, "reward": 1, "episodes": 64}


def finish(results: Path, seed=0, rows=(training_row(1),)) -> Path:
    with open_run(results, seed) as run:
        run.record("training", rows)
        run.finish({"learner1.weight": torch.ones(2, 4)[:, :2]})  # not contiguous
    return directory(results, seed)


def checkpointed(results: Path) -> Path:
    with open_run(results) as run:
        run.record("training", [training_row(1), training_row(2)])
        run.checkpoint(STATE)
    return directory(results)


def refusal(call, *arguments, **options) -> str:
    with pytest.raises(RunError) as refused:
        call(*arguments, **options)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def damage(path: Path, how: str) -> None:
    contents = bytearray(path.read_bytes())
    if how == "truncated":
        contents = contents[: len(contents) // 2]
    elif how == "emptied":
        contents = bytearray()
    else:
        contents[len(contents) // 3] ^= 0x10
    path.write_bytes(contents)


# A run's life -----------------------------------------------------------------------------------------------------


def test_a_finished_run_has_its_files_and_nothing_else(tmp_path):
    folder = finish(tmp_path)
    assert names(folder) == {"run.json", "weights.safetensors", *(f"{table}.parquet" for table in SCHEMAS)}
    assert torch.equal(load_file(folder / "weights.safetensors")["learner1.weight"], torch.ones(2, 2))
    with open_run(tmp_path) as run:
        assert run.finished


def test_the_manifest_tells_how_the_run_was_made(tmp_path):
    with open_run(tmp_path, threads=3, command=["coopctx", "train", "--set", "a b"]) as run:
        assert read_manifest(run.directory)["state"] == "running"
        run.finish({})
    manifest = read_manifest(directory(tmp_path))
    assert manifest["command"] == "coopctx train --set 'a b'"
    assert (manifest["threads"], manifest["device"], manifest["state"]) == (3, "cpu", "finished")
    assert manifest["configuration"] == CONFIG
    assert {name: manifest[name] for name in keys()} == keys()
    assert {"coopctx", "torch", "python", "started", "finished", "wall_seconds", "sha256"} <= set(manifest)


def test_a_killed_run_resumes_from_its_last_checkpoint(tmp_path):
    with open_run(tmp_path) as run:
        assert run.state is None and run.iteration == 0
        run.record("training", [training_row(1)])
        run.checkpoint(STATE)
        run.record("training", [training_row(2)])  # never checkpointed: lost
    with open_run(tmp_path) as run:
        assert run.iteration == 1 and not run.finished
        assert run.state["step"] == 3
        assert torch.equal(run.state["weights"]["a"], STATE["weights"]["a"])
        assert run.state["actions"][0].dtype == torch.int8
        run.record("training", [training_row(2)])
        run.finish({})
    assert Results(tmp_path, "smoke").table("ppi-mixed", "training")["iteration"].tolist() == [1, 2]


def test_the_wall_time_adds_up_over_resumes(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("coopctx.runs.run.time.monotonic", lambda: now[0])
    with open_run(tmp_path) as run:
        now[0] += 10
        run.checkpoint({})
    now[0] += 1000
    with open_run(tmp_path) as run:
        now[0] += 5
        run.finish({})
    assert read_manifest(directory(tmp_path))["wall_seconds"] == 15


def test_a_failure_is_noted_and_stays_resumable(tmp_path):
    checkpointed(tmp_path)
    with pytest.raises(ZeroDivisionError), open_run(tmp_path):
        1 / 0  # noqa: B018
    manifest = read_manifest(directory(tmp_path))
    assert manifest["state"] == "failed" and "Traceback" in manifest["error"]
    with pytest.raises(RunError), open_run(tmp_path):
        raise RunError("no more disk")
    assert read_manifest(directory(tmp_path))["error"] == "no more disk"
    with open_run(tmp_path) as run:
        assert run.iteration == 2
        assert "error" not in read_manifest(run.directory)


def test_an_interruption_leaves_the_run_as_if_it_had_been_killed(tmp_path):
    with pytest.raises(KeyboardInterrupt), open_run(tmp_path) as run:
        run.checkpoint({"step": 1})
        raise KeyboardInterrupt
    assert read_manifest(directory(tmp_path))["state"] == "running"
    with open_run(tmp_path) as run:
        assert run.state == {"step": 1}


# Tables -----------------------------------------------------------------------------------------------------------


def test_tables_have_the_promised_columns_and_types():
    key_columns = ["agent", "experiment", "opponent_id", "seed", "iteration", "learner"]
    measured = ["cooperation_rate", "reward", "episodes"]
    assert SCHEMAS["training"].names == [*key_columns, "opponent", "player", *measured]
    assert SCHEMAS["episodes"].names == [*key_columns, "opponent", "player", "round", *measured]
    assert SCHEMAS["diagnostics"].names == [*key_columns, "quantity", "value"]
    assert SCHEMAS["timings"].names == [*key_columns[:-1], "part", "seconds"]
    assert [str(field.type) for field in SCHEMAS["diagnostics"]] == [
        "string",
        "string",
        "bool",
        *["int64"] * 3,
        "string",
        "double",
    ]


def test_rows_come_back_over_all_finished_seeds_in_order(tmp_path):
    for seed in (10, 2):
        finish(tmp_path, seed, [training_row(1, rate=seed / 100)])
    with open_run(tmp_path, 5) as run:
        run.record("training", [training_row(1)])
        run.checkpoint(STATE)
    assert Results(tmp_path, "smoke").seeds("ppi-mixed") == [2, 10]
    frame = Results(tmp_path, "smoke").table("ppi-mixed", "training")
    assert frame["seed"].tolist() == [2, 10] and frame["cooperation_rate"].tolist() == [0.02, 0.1]
    assert frame["opponent_id"].tolist() == [False, False] and frame["agent"].tolist() == ["ppi", "ppi"]


def test_no_runs_give_a_frame_with_columns_and_no_rows(tmp_path):
    frame = Results(tmp_path, "smoke").table("ppi-mixed", "episodes")
    assert len(frame) == 0 and list(frame.columns) == SCHEMAS["episodes"].names
    assert Results(tmp_path, "smoke").seeds("ppi-mixed") == []


def test_numbers_of_numpy_and_torch_may_be_recorded(tmp_path):
    row = {
        **training_row(1),
        "cooperation_rate": torch.tensor(0.25),
        "reward": np.float32(0.5),
        "episodes": np.int64(7),
    }
    finish(tmp_path, rows=[row])
    read = Results(tmp_path, "smoke").table("ppi-mixed", "training").iloc[0]
    assert (read.cooperation_rate, read.reward, read.episodes) == (0.25, 0.5, 7)


def test_a_row_with_other_columns_is_a_programming_error(tmp_path):
    with open_run(tmp_path) as run, pytest.raises(ValueError, match="training rows have the columns"):
        run.record("training", [{"iteration": 1}])


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 1)), max_size=20), st.integers(0, 20))
def test_equal_rows_give_equal_bytes_also_over_a_resume(tmp_path_factory, rows, split):
    whole, parted = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("parted")
    rows = [training_row(iteration, rate) for iteration, rate in rows]
    finish(whole, rows=rows)
    with open_run(parted) as run:
        run.record("training", rows[:split])
        run.checkpoint(STATE)
    finish(parted, rows=rows[split:])
    for table in REPRODUCIBLE:
        one, other = (directory(results) / f"{table}.parquet" for results in (whole, parted))
        assert one.read_bytes() == other.read_bytes()


# Refusals ---------------------------------------------------------------------------------------------------------


def test_another_configuration_is_refused_with_its_differing_keys(tmp_path):
    for folder in (checkpointed(tmp_path / "a"), finish(tmp_path / "b")):
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        message = refusal(Run.open, folder, keys(), OTHER_CONFIG, "cpu", False)
        assert str(folder) in message and "ppi.rollouts: 2 there, 7 here" in message and "--fresh" in message
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_another_run_in_the_directory_is_refused(tmp_path):
    folder = finish(tmp_path)
    assert "seed: 0 there, 1 here" in refusal(Run.open, folder, keys(1), CONFIG, "cpu", False)


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("file", ["thesis.txt", "run.json"])
def test_a_directory_that_holds_something_else_is_refused_and_left_alone(tmp_path, file, fresh):
    folder = directory(tmp_path)
    folder.mkdir(parents=True)
    (folder / file).write_text("[]")
    (folder / "thesis.tex").write_text("my life")
    message = refusal(open_run, tmp_path, fresh=fresh)
    assert str(folder) in message and "not a coopctx run" in message and "thesis" in message
    assert names(folder) == {file, "thesis.tex"}


def test_fresh_deletes_our_files_and_only_ours(tmp_path):
    folder = checkpointed(tmp_path)
    (folder / "notes.txt").write_text("keep me")
    (folder / "training.parquet.tmp").write_text("left by a killed process")
    with open_run(tmp_path, config=OTHER_CONFIG, fresh=True) as run:
        assert run.state is None and not run.finished
        assert names(folder) == {"run.json", "notes.txt", ".lock"}
    assert (folder / "notes.txt").read_text() == "keep me"


def test_fresh_is_the_way_out_of_a_damaged_run(tmp_path):
    folder = checkpointed(tmp_path)
    damage(folder / "checkpoint.pt", "truncated")
    damage(folder / "run.json", "truncated")
    with open_run(tmp_path, fresh=True) as run:
        assert run.state is None


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "results").write_text("")
    message = refusal(open_run, tmp_path / "results")
    assert "cannot write" in message and "a file is in the way" in message


def test_a_run_in_use_is_refused_even_from_another_process_and_free_afterwards(tmp_path):
    opening = (
        "import sys; from pathlib import Path; from coopctx.runs.lock import locked\n"
        f"with locked(Path({str(directory(tmp_path))!r})): print('held', flush=True); sys.stdin.read()"
    )
    directory(tmp_path).mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", opening], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        for fresh in (False, True):
            message = refusal(open_run, tmp_path, fresh=fresh)
            assert f"in use by another coopctx process (process {other.pid})" in message
        other.kill()
    with open_run(tmp_path):
        assert "in use" in refusal(open_run, tmp_path)
    assert ".lock" not in names(directory(tmp_path))


@pytest.mark.parametrize("how", ["truncated", "emptied", "bit flipped"])
def test_a_damaged_checkpoint_is_refused_by_name(tmp_path, how):
    path = checkpointed(tmp_path) / "checkpoint.pt"
    damage(path, how)
    message = refusal(open_run, tmp_path)
    assert str(path) in message and "damaged" in message and "--fresh" in message


@pytest.mark.parametrize("how", ["truncated", "emptied", "bit flipped"])
def test_a_damaged_checkpoint_falls_back_on_the_one_before_it_with_a_warning(tmp_path, how):
    with open_run(tmp_path) as run:
        for step in (1, 2):
            run.record("training", [training_row(step)])
            run.checkpoint({"step": step})
    newest, previous = (directory(tmp_path) / name for name in ("checkpoint.pt", "checkpoint.previous.pt"))
    damage(newest, how)
    with open_run(tmp_path) as run:
        assert run.state == {"step": 1} and run.iteration == 1
        assert run.warning == f"{newest} is damaged: going on from the checkpoint before it"
    damage(previous, how)
    assert str(newest) in refusal(open_run, tmp_path)


def test_a_checkpoint_of_an_earlier_version_is_refused_in_one_line(tmp_path):
    with pytest.raises(KeyboardInterrupt), open_run(tmp_path) as run:
        run.checkpoint({"iteration": 1})
        raise KeyboardInterrupt
    path = run.directory / CHECKPOINT
    contents = {name: part for name, part in read_checkpoint(path).items() if name != "parts"}
    write_checkpoint(path, None, contents)
    with pytest.raises(RunError, match="is of an earlier version of coopctx"), open_run(tmp_path):
        pass


def test_the_sound_checkpoint_is_kept_until_there_is_another_sound_one(tmp_path):
    with open_run(tmp_path) as run:
        for step in (1, 2):
            run.checkpoint({"step": step})
    newest = directory(tmp_path) / "checkpoint.pt"
    damage(newest, "truncated")
    with open_run(tmp_path) as run:
        run.checkpoint({"step": 2})
    damage(newest, "truncated")
    with open_run(tmp_path) as run:
        assert run.state == {"step": 1}
        run.checkpoint({"step": 2})
        run.checkpoint({"step": 3})
    damage(newest, "truncated")
    with open_run(tmp_path) as run:
        assert run.state == {"step": 2}


def test_a_process_killed_between_the_two_renames_of_a_checkpoint_loses_one_at_most(tmp_path):
    with open_run(tmp_path) as run:
        for step in (1, 2):
            run.checkpoint({"step": step})
    (directory(tmp_path) / "checkpoint.pt").unlink()
    with open_run(tmp_path) as run:
        assert (run.state, run.warning) == ({"step": 1}, "")
        run.checkpoint({"step": 2})
        run.finish({"learner1.weight": torch.ones(2, 4)[:, :2]})  # not contiguous
    assert not [name for name in names(directory(tmp_path)) if "checkpoint" in name]


# Data beside the checkpoint ---------------------------------------------------------------------------------------


def with_data(results: Path, iterations: int) -> Path:
    """A run that appended to two learners' data in every iteration."""
    with open_run(results) as run:
        for iteration in range(iterations):
            for learner in (1, 2):
                run.append(learner, iteration, {"actions": torch.full((3, 2), 10 * learner + iteration, dtype=torch.uint8)})
            run.checkpoint({"step": iteration})
    return directory(results)


def appended(run: Run, learner: int) -> list[int]:
    return [int(part["actions"][0, 0]) for part in run.appended(learner)]


def part(learner: int, iteration: int) -> str:
    return f"data-{learner}-{iteration}.safetensors"


def test_appended_data_come_back_in_order_and_go_when_the_run_is_finished(tmp_path):
    folder = with_data(tmp_path, 12)
    with open_run(tmp_path) as run:
        assert appended(run, 1) == [*range(10, 22)] and appended(run, 2) == [*range(20, 32)]
        run.finish({"learner1.weight": torch.ones(2, 4)[:, :2]})  # not contiguous
    assert names(folder) == {"run.json", "weights.safetensors", *(f"{table}.parquet" for table in SCHEMAS)}


def test_data_appended_after_the_checkpoint_are_forgotten_with_what_came_after_it(tmp_path):
    folder = with_data(tmp_path, 2)
    with open_run(tmp_path) as run:
        run.append(1, 2, {"actions": torch.zeros(1, 1)})
    (folder / f"{part(2, 2)}.tmp").write_bytes(b"left by a killed process")
    with open_run(tmp_path) as run:
        assert names(folder) & {part(1, 2), f"{part(2, 2)}.tmp"} == set()
        assert appended(run, 1) == [10, 11] and run.warning == ""


@pytest.mark.parametrize("how", ["truncated", "emptied", "bit flipped", "deleted"])
def test_the_newest_data_damaged_the_checkpoint_before_them_is_used(tmp_path, how):
    folder = with_data(tmp_path, 3)
    strike(folder / part(2, 2), how)
    with open_run(tmp_path) as run:
        assert run.state == {"step": 1} and appended(run, 2) == [20, 21]
        assert str(folder / part(2, 2)) in run.warning and "going on from the checkpoint before it" in run.warning
        run.append(2, 2, {"actions": torch.full((1, 1), 7)})
        run.checkpoint({"step": 2})
    with open_run(tmp_path) as run:
        assert run.state == {"step": 2} and appended(run, 2) == [20, 21, 7] and appended(run, 1) == [10, 11]


@pytest.mark.parametrize("how", ["truncated", "emptied", "bit flipped", "deleted"])
def test_earlier_data_damaged_are_refused_by_name(tmp_path, how):
    folder = with_data(tmp_path, 3)
    strike(folder / part(1, 1), how)
    before = names(folder)
    message = refusal(open_run, tmp_path)
    assert str(folder / part(1, 1)) in message and "--fresh" in message and names(folder) == before
    with open_run(tmp_path, fresh=True) as run:
        assert run.state is None and names(folder) == {"run.json", ".lock"}


def test_data_without_a_manifest_are_not_taken_for_an_empty_directory(tmp_path):
    folder = with_data(tmp_path, 1)
    for path in folder.iterdir():
        if not path.name.startswith("data-"):
            path.unlink()
    message = refusal(open_run, tmp_path)
    assert "has no run.json" in message and part(1, 0) in message and names(folder) == {part(1, 0), part(2, 0)}


def strike(path: Path, how: str) -> None:
    if how == "deleted":
        path.unlink()
    else:
        damage(path, how)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_no_flipped_bit_of_a_checkpoint_goes_unnoticed(tmp_path_factory, data):
    path = checkpointed(tmp_path_factory.mktemp("run")) / "checkpoint.pt"
    contents = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(contents) - 1))
    contents[position] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(contents)
    assert str(path) in refusal(Run.open, path.parent, keys(), CONFIG, "cpu", False)


@pytest.mark.parametrize("how", ["truncated", "emptied"])
def test_a_damaged_manifest_is_refused_by_name(tmp_path, how):
    path = finish(tmp_path) / "run.json"
    damage(path, how)
    for call in (lambda: open_run(tmp_path), lambda: Results(tmp_path, "smoke").seeds("ppi-mixed")):
        message = refusal(call)
        assert str(path) in message and "damaged" in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("configuration", {}),
        ("configuration_hash", "0"),
        ("state", "fine"),
        ("seed", "0"),
        ("seed", None),
        ("configuration", 3),
        ("agent", "qpi"),
        ("iteration", None),
        ("wall_seconds", "long"),
        ("sha256", 3),
    ],
)
def test_an_inconsistent_manifest_is_refused_by_name(tmp_path, key, value):
    path = finish(tmp_path) / "run.json"
    manifest = json.loads(path.read_text())
    del manifest["checksum"]  # a run from before there was one is told by what its manifest says
    path.write_text(json.dumps(manifest))
    assert read_manifest(path.parent) == manifest
    path.write_text(json.dumps({**manifest, key: value}))
    assert str(path) in refusal(open_run, tmp_path)


def test_a_manifest_of_another_schema_version_is_refused(tmp_path):
    path = finish(tmp_path) / "run.json"
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 99'))
    assert "schema version 99, not 1" in refusal(open_run, tmp_path)


@pytest.mark.parametrize("how", ["truncated", "emptied", "bit flipped"])
def test_a_damaged_table_is_refused_by_name(tmp_path, how):
    path = finish(tmp_path) / "training.parquet"
    damage(path, how)
    message = refusal(Results(tmp_path, "smoke").table, "ppi-mixed", "training")
    assert str(path) in message and "damaged" in message


def test_a_missing_table_is_refused_by_name(tmp_path):
    path = finish(tmp_path) / "episodes.parquet"
    path.unlink()
    assert str(path) in refusal(read_run_table, path.parent, "episodes")
    assert str(path) in refusal(open_run, tmp_path)


def test_a_run_copied_under_another_seed_is_refused(tmp_path):
    finish(tmp_path).rename(directory(tmp_path, 1))
    assert "belongs to seed 0, not to seed-1" in refusal(Results(tmp_path, "smoke").table, "ppi-mixed", "training")


def test_a_checkpoint_without_its_manifest_is_refused(tmp_path):
    (checkpointed(tmp_path) / "run.json").unlink()
    message = refusal(open_run, tmp_path)
    assert "has no run.json" in message and "--fresh" in message


# Atomic writes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("bug")])
def test_a_failing_write_leaves_the_old_file_and_no_rubbish(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(file) -> None:
        file.write(b"half of the ne")
        raise error

    with pytest.raises(RunError if isinstance(error, OSError) else type(error)) as raised:
        write_atomically(path, fail)
    if isinstance(error, OSError):
        assert str(raised.value) == f"cannot write {path}: No space left on device"
    assert path.read_bytes() == b"old" and names(tmp_path) == {"file"}


def test_a_full_disk_in_the_middle_of_a_checkpoint_keeps_the_last_one(tmp_path, monkeypatch):
    checkpointed(tmp_path)
    with open_run(tmp_path) as run:
        monkeypatch.setattr(
            "coopctx.runs.files.os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        )
        message = refusal(run.checkpoint, {"step": 4})
        monkeypatch.undo()
    assert "checkpoint.pt: No space left on device" in message
    with open_run(tmp_path) as run:
        assert run.state["step"] == 3


def test_the_tables_are_readable_by_anyone(tmp_path):
    table = pq.read_table(finish(tmp_path) / "training.parquet")
    assert table.schema.equals(SCHEMAS["training"]) and table.num_rows == 1


def test_seeds_of_different_settings_are_not_averaged(tmp_path):
    finish(tmp_path, seed=0)
    with open_run(tmp_path, seed=1, config=OTHER_CONFIG) as run:
        run.finish({"learner1.weight": torch.ones(2, 4)[:, :2]})  # not contiguous
    message = refusal(Results(tmp_path, "smoke").table, "ppi-mixed", "training")
    assert "cannot be averaged: ppi.rollouts: 2 there, 7 here" in message


def test_a_run_from_before_a_setting_existed_counts_as_one_at_its_default(tmp_path):
    earlier = {section: {k: v for k, v in values.items() if k != "horizon"} for section, values in CONFIG.items()}
    with open_run(tmp_path, config=earlier) as run:
        run.checkpoint(STATE)
    at_default = to_dict(load_preset("smoke", ["ppi.horizon=15"]))
    with open_run(tmp_path, config=at_default) as run:
        assert run.state["step"] == 3
    assert "ppi.horizon: 15 there, 5 here" in refusal(open_run, tmp_path)


def test_committed_runs_are_still_finished_ones(tmp_path):
    """Settings of agents that came later, or are changed later, do not make them runs of another configuration."""
    committed = sorted((Path(__file__).parents[2] / "results" / "cpu").glob("ppi-mixed/seed-*/run.json"))
    if not committed:
        pytest.skip("no committed runs beside these tests")
    here = tmp_path / "run"
    shutil.copytree(committed[0].parent, here)
    its = {name: read_manifest(here)[name] for name in (*KEYS, "preset")}
    for changed in ([], ["a2c.iterations=7"]):
        with Run.open(here, its, to_dict(load_preset("cpu", changed, its["experiment"])), "cpu") as run:
            assert run.finished
    assert "ppi.rollouts: 24 there, 7 here" in refusal(
        Run.open, here, its, to_dict(load_preset("cpu", ["ppi.rollouts=7"])), "cpu"
    )


def test_manifests_of_the_first_version_say_true_where_today_s_say_together(tmp_path):
    """They are read as they are, and count as runs at today's value."""
    for old, new, other in ((True, "together", "off"), (False, "off", "together")):
        earlier = {section: dict(values) for section, values in CONFIG.items()}
        earlier["a2c"]["normalise_advantages"] = old
        its = RunSpec("a2c", "mixed", False, 0, "smoke").keys
        with Run.open(tmp_path / str(old), its, earlier, "cpu") as run:
            run.checkpoint(STATE)
        today = to_dict(load_preset("smoke", [f"a2c.normalise_advantages={new}"]))
        with Run.open(tmp_path / str(old), its, today, "cpu") as run:
            assert run.state["step"] == 3
        changed = to_dict(load_preset("smoke", [f"a2c.normalise_advantages={other}"]))
        message = refusal(Run.open, tmp_path / str(old), its, changed, "cpu")
        assert f"a2c.normalise_advantages: {new!r} there, {other!r} here" in message


def test_each_manifest_is_read_once(tmp_path, monkeypatch):
    for seed in (0, 1, 2):
        finish(tmp_path, seed=seed)
    read = []
    monkeypatch.setattr("coopctx.runs.read.read_manifest", lambda path: read.append(path) or read_manifest(path))
    results = Results(tmp_path, "smoke")
    assert results.seeds("ppi-mixed") == [0, 1, 2]
    for table in REPRODUCIBLE:
        assert results.table("ppi-mixed", table).equals(Results(tmp_path, "smoke").table("ppi-mixed", table))
    assert len(read) == 3 + 3 * len(REPRODUCIBLE), "once for the results, and once more by each comparison"
