"""Runs that are killed, interrupted, out of disk, read-only, started twice or damaged: one clear line, no loss, equal files.

A few of each by default; ``make faults`` (pytest -m slow) does it at every change of a file and at many random moments.
"""

import io
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENOSPC
from itertools import product
from pathlib import Path

import pytest
import struck
from conftest import few_or_many
from struck import AGENTS, TINY, Struck, directory, train

from coopctx.errors import RunError
from coopctx.runs import files as run_files
from coopctx.runs.checkpoint import read_checkpoint
from coopctx.runs.manifest import read_manifest
from coopctx.runs.schema import CHECKPOINTS, MANIFEST, REPRODUCIBLE, TABLE_FILES, WEIGHTS

SAME = (*(f"{table}.parquet" for table in REPRODUCIBLE), WEIGHTS)  # files that must come out the same
UNITS = {"ppi": "phase", "a2c": "iteration"}

EACH = [(agent,) for agent in AGENTS]


def written(agent: str, results: Path) -> dict[str, bytes]:
    return {name: (directory(agent, results) / name).read_bytes() for name in SAME}


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def goes_on(agent: str, results: Path, log: Path, undisturbed) -> None:
    """The same command brings the run to the same end, and leaves nothing behind."""
    ended = struck.run(train(agent, results), results, log)
    assert (ended.status, ended.err) == (0, "")
    assert written(agent, results) == written(agent, undisturbed[agent][0])
    assert set(files(directory(agent, results))) == {MANIFEST, WEIGHTS, *TABLE_FILES.values()}


# Struck before a change of a file ---------------------------------------------------------------------------------


@few_or_many(
    "fault agent",
    few=[("killed", "ppi"), ("killed", "a2c"), ("interrupted", "a2c")],
    many=list(product(("killed", "interrupted", "disk_full"), AGENTS)),
)
def test_struck_before_a_change_of_a_file(tmp_path, undisturbed, tally, fault, agent, many):
    changes = undisturbed[agent][1]
    for nth in range(1, changes + 1, 2 if fault == "killed" else 8) if many else (changes // 2,):
        results, log = tmp_path / f"results-{nth}", tmp_path / "log"
        ended = struck.run(train(agent, results), results, log, fault, nth)
        tally[fault] += 1
        if fault == "killed":
            assert (ended.status, ended.err) == (-9, ""), nth
        elif fault == "interrupted":
            assert ended.status == 130, nth
            assert ended.err.startswith("coopctx: interrupted") and ended.err.count("\n") == 1, nth
        elif ended.status:  # tidying up may fail without harm
            assert ended.status == 1 and "No space left on device" in ended.err and ended.err.count("\n") == 1, nth
        goes_on(agent, results, log, undisturbed)
        shutil.rmtree(results)


@few_or_many("fault", few=[("killed",)], many=[("killed",), ("disk_full",)])
def test_struck_while_starting_over(tmp_path, undisturbed, tally, fault, many):
    """--fresh over a finished run with other settings: either the old run is left, or the new one goes on."""
    earlier, log = tmp_path / "earlier", tmp_path / "log"
    struck.run(train("ppi", earlier, (*TINY, "ppi.phases=1")), earlier, log)
    (directory("ppi", earlier) / "notes.txt").write_text("mine")
    for nth in range(5, 25) if many else (12,):
        results = tmp_path / f"results-{nth}"
        shutil.copytree(earlier, results)
        fresh = [*train("ppi", results), "--fresh"]
        assert struck.run(fresh, results, log, fault, nth).status == {"killed": -9}.get(fault, 1)
        tally[fault] += 1
        ended = struck.run(train("ppi", results), results, log)
        if ended.status:
            assert "another configuration" in ended.err and "--fresh" in ended.err and ended.err.count("\n") == 1
            ended = struck.run(fresh, results, log)
        assert (ended.status, ended.err) == (0, "")
        assert written("ppi", results) == written("ppi", undisturbed["ppi"][0])
        assert (directory("ppi", results) / "notes.txt").read_text() == "mine"


# Killed at any moment ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("agent", AGENTS)
def test_killed_at_random_moments_again_and_again(tmp_path, tally, agent):
    """Each process goes on with what the last one left; a run that got to its end is followed by the next one."""
    settings, kills = (), 30  # the preset as it is
    moments = random.Random(agent)
    whole, log = tmp_path / "whole", tmp_path / "log"
    begun = time.monotonic()
    assert struck.run(train(agent, whole, settings), whole, log).status == 0
    lasted = time.monotonic() - begun
    expected, killed, runs = written(agent, whole), 0, 0
    while killed < kills:
        results = tmp_path / f"results-{runs}"
        status = -9
        while status == -9:
            command = Struck(train(agent, results, settings), results, log)
            if killed < kills:
                command.process.join(moments.uniform(0, lasted))
                command.process.kill()
            status = command.end().status
            killed += status == -9
        assert status == 0 and written(agent, results) == expected
        runs += 1
    tally["killed"] += killed


# Full disk --------------------------------------------------------------------------------------------------------


@contextmanager
def disk(monkeypatch, free: int) -> Iterator[None]:
    """A disk that takes ``free`` bytes more, then is full."""

    class Raw(io.FileIO):
        def write(self, data) -> int:
            nonlocal free
            taken = min(len(memoryview(data).cast("B")), free)
            if taken == 0:
                raise OSError(ENOSPC, os.strerror(ENOSPC))
            free -= taken
            return super().write(memoryview(data).cast("B")[:taken])

    def opened(path, mode):
        return io.BufferedWriter(Raw(path, mode)) if mode == "wb" else open(path, mode)

    with monkeypatch.context() as patch:
        patch.setattr(run_files, "open", opened, raising=False)
        yield


@few_or_many("agent", few=EACH, many=EACH)
def test_the_disk_fills_up_in_the_middle_of_a_write(coopctx_main, monkeypatch, undisturbed, tally, agent, many):
    room = random.Random(agent)
    for attempt in range(25 if many else 1):
        results = Path(f"results-{attempt}").absolute()
        with disk(monkeypatch, room.randrange(400_000)):
            status, out, err = coopctx_main(*train(agent, results))
        tally["disk_full"] += 1
        assert status == 1 and "No space left on device" in err and str(results) in err and err.count("\n") == 1
        completed = out.count(f": {UNITS[agent]} ")
        status, out, err = coopctx_main(*train(agent, results))
        assert (status, err) == (0, "") and written(agent, results) == written(agent, undisturbed[agent][0])
        assert out.count(f": {UNITS[agent]} ") <= 3 - completed, "nothing is computed twice"


@pytest.mark.slow
@pytest.mark.parametrize("agent", AGENTS)
def test_a_real_disk_that_is_full(tmp_path, undisturbed, tally, agent):
    sizes = random.Random(agent)
    for attempt in range(10):
        place = tmp_path / f"disk-{attempt}"
        with mounted(place, "-t", "tmpfs", "-o", f"size={sizes.randrange(8, 300) * 1024}", "tmpfs"):
            ended = struck.run(train(agent, place / "results"), place, tmp_path / "log")
            tally["disk_full"] += 1
            assert ended.status == 1 and "No space left on device" in ended.err and ended.err.count("\n") == 1
            subprocess.run(["mount", "-o", "remount,size=8m", place], check=True)
            goes_on(agent, place / "results", tmp_path / "log", undisturbed)


@contextmanager
def mounted(place: Path, *arguments: str) -> Iterator[None]:
    """Something mounted at ``place``; the test is skipped where that is not allowed."""
    place.mkdir(exist_ok=True)
    if shutil.which("mount") is None or subprocess.run(["mount", *arguments, place], capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


# Read-only results ------------------------------------------------------------------------------------------------


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    everything = [folder, *folder.rglob("*")]
    for path in everything:
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        if not os.access(folder, os.W_OK):
            yield
        else:  # the superuser may write all the same
            with mounted(folder, "--bind", "-o", "ro", str(folder)):
                subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
                yield
    finally:
        for path in everything:
            path.chmod(path.stat().st_mode | 0o200)


def test_read_only_results_can_be_read_and_are_not_written(coopctx_main, undisturbed, tmp_path):
    results, run = tmp_path / "results", directory("ppi", tmp_path / "results")
    shutil.copytree(undisturbed["ppi"][0], results)
    before = files(run)
    with read_only(results):
        for arguments in (train("ppi", results), [*train("ppi", results), "--fresh"], train("a2c", results)):
            status, _, err = coopctx_main(*arguments)
            assert status == 1 and err.startswith(f"coopctx: cannot write {results}") and err.count("\n") == 1
        for arguments in readers(results)[:3]:
            assert coopctx_main(*arguments)[::2] == (0, "")
        status, _, err = coopctx_main(*readers(results)[2], "--out", str(results / "figures"))
        assert status == 1 and err.startswith("coopctx: cannot write") and err.count("\n") == 1
    assert files(run) == before


# Two at once ------------------------------------------------------------------------------------------------------


def test_a_second_process_is_refused_and_a_stale_lock_is_not_minded(coopctx_main, undisturbed, tmp_path):
    results, log = tmp_path / "results", tmp_path / "log"
    for last in (True, False):  # the first process goes on in the end, or is killed
        first = Struck(train("ppi", results), results, log, "stopped", undisturbed["ppi"][1] // 2)
        first.wait_until_stopped()
        before = files(directory("ppi", results))
        for arguments in (train("ppi", results), [*train("ppi", results), "--fresh"]):
            status, _, err = coopctx_main(*arguments)
            used = f"in use by another coopctx process (process {first.process.pid})"
            assert status == 1 and used in err and err.count("\n") == 1
        assert files(directory("ppi", results)) == before
        if last:
            os.kill(first.process.pid, 18)
            assert first.end().status == 0 and written("ppi", results) == written("ppi", undisturbed["ppi"][0])
            shutil.rmtree(results)
        else:
            first.process.kill()
            assert first.end().status == -9 and ".lock" in files(directory("ppi", results))
            goes_on("ppi", results, log, undisturbed)


# Damage -----------------------------------------------------------------------------------------------------------


def damaged(contents: bytes, chance: random.Random) -> bytes:
    """Cut off somewhere, or with a flipped bit."""
    place = chance.randrange(len(contents))
    if chance.random() < 0.25:
        return contents[:place]
    return contents[:place] + bytes([contents[place] ^ 1 << chance.randrange(8)]) + contents[place + 1 :]


def readers(results: Path) -> list[list[str]]:
    """Commands that read finished runs; together every file of theirs."""
    where = ["--preset", "smoke", "--results", str(results)]
    run = str(directory("ppi", results))
    return [
        ["evaluate", run, "--against", "tit-for-tat", "--games", "2", "--device", "cpu"],
        ["reproduce", "--dry-run", "--figure", "fig3", "--seeds", "0", *where, *(w for s in TINY for w in ("--set", s))],
        ["plot", "fig1", "--format", "png", *where],
        ["report", *where],
    ]


def same_or_told(coopctx_main, arguments: list[str], expected, path: Path) -> None:
    """The command is unaffected by what happened to ``path``, or refuses in a line that names it."""
    got = coopctx_main(*arguments)
    if got != expected:
        status, _, err = got
        assert status == 1 and str(path) in err, (arguments, got)
        assert all(line.startswith("coopctx: ") for line in err.splitlines()) and err.count("\n") <= 2, err


@few_or_many("", few=[()], many=[()])
def test_a_damaged_file_of_a_finished_run_is_named_by_whatever_reads_it(
    coopctx_main, undisturbed, no_short_runs, tmp_path, tally, many
):
    results, chance = tmp_path / "results", random.Random(0)
    shutil.copytree(undisturbed["ppi"][0], results)
    cheap, drawing = [train("ppi", results), *readers(results)[:2]], readers(results)[2:]
    expected = {tuple(arguments): coopctx_main(*arguments) for arguments in cheap + (drawing if many else [])}
    assert {status for status, _, _ in expected.values()} == {0}
    for path in sorted(directory("ppi", results).iterdir()):
        sound = path.read_bytes()
        for attempt in range(40 if many else 1):
            path.write_bytes(damaged(sound, chance))
            tally["damaged files"] += 1
            for arguments in cheap + (drawing if many and attempt < 4 else []):
                same_or_told(coopctx_main, arguments, expected[tuple(arguments)], path)
        path.write_bytes(sound)


@few_or_many("agent", few=[("ppi",)], many=EACH)
def test_a_damaged_file_of_an_unfinished_run_is_named_or_passed_over(
    coopctx_main, undisturbed, tmp_path, tally, agent, many
):
    half, chance = tmp_path / "half", random.Random(1)
    struck.run(train(agent, half), half, tmp_path / "log", "killed", undisturbed[agent][1] * 3 // 4)
    there = files(directory(agent, half)).keys()
    assert set(CHECKPOINTS) <= there
    newest, lost = (read_checkpoint(directory(agent, half) / name)["parts"].keys() for name in CHECKPOINTS)
    passed_over = newest - lost  # data without which the checkpoint before still resumes
    assert newest <= there and (len(passed_over), bool(lost)) == ((2, True) if agent == "ppi" else (0, False))
    for name in sorted(files(directory(agent, half)).keys() - {".lock"}):
        for _ in range(6 if many else 1):
            results = tmp_path / "results"
            shutil.copytree(half, results)
            path = directory(agent, results) / name
            path.write_bytes(damaged(path.read_bytes(), chance))
            tally["damaged files"] += 1
            status, out, err = coopctx_main(*train(agent, results))
            if status:
                assert name == MANIFEST or name in lost
                assert status == 1 and str(path) in err and err.count("\n") == 1
                fresh = [*train(agent, results), "--fresh"]
                assert coopctx_main(*fresh)[::2] == (0, "") and written(agent, results) == written(agent, undisturbed[agent][0])
            else:
                assert name not in lost
                assert err == "" and written(agent, results) == written(agent, undisturbed[agent][0])
                assert (f"{path} is damaged" in out) == (name == CHECKPOINTS[0] or name in passed_over)
            shutil.rmtree(results)


@few_or_many("", few=[()], many=[()])
def test_no_flipped_bit_of_a_manifest_goes_unnoticed(undisturbed, tmp_path, tally, many):
    shutil.copytree(directory("ppi", undisturbed["ppi"][0]), tmp_path / "run")
    path = tmp_path / "run" / MANIFEST
    sound, entries = path.read_bytes(), read_manifest(path.parent)
    for position in range(0, len(sound), 1 if many else 41):
        for bit in range(8):
            path.write_bytes(sound[:position] + bytes([sound[position] ^ 1 << bit]) + sound[position + 1 :])
            tally["damaged files"] += 1
            try:
                found = read_manifest(path.parent)
            except RunError as error:
                assert str(path) in str(error)
            else:  # the name of the checksum's entry was hit, which says nothing about the run
                assert {name: found.get(name) for name in entries} == entries, (position, bit)
