"""Common settings and fixtures: the same random examples on every machine, and commands run as by a user."""

import importlib
import os
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, Phase, settings
from rich.console import Console

# No random seeds and no timed checks in the properties.
settings.register_profile("coopctx", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
# A mutant is killed by the first example that fails: nobody reads the smallest one.
settings.register_profile("mutants", settings.get_profile("coopctx"), phases=[Phase.explicit, Phase.generate])
settings.load_profile("coopctx")


def optional(module: str) -> ModuleType:
    """A module of an extra; where it is missing the test is skipped, and where all extras must be there (`.ci/run`) it fails."""
    if os.environ.get("COOPCTX_ALL_EXTRAS") == "1":
        return importlib.import_module(module)
    return pytest.importorskip(module)


# No test cuts the power, so none waits until the disk has written everything.
os.fsync = lambda descriptor: None

# Files of tests that take long in one process, longest first: the others fill up what is left of the time.
LONG = (
    "runs/test_faults.py",
    "cli/test_traps.py",
    "launch/test_reproduce.py",
    "docs/test_snippets.py",
    "test_packaging.py",
    "analysis/test_claims.py",
    "report/test_report_page.py",
    "report/test_report.py",
    "figures/test_watch.py",
    "evaluation/person/test_terminal.py",
)


def pytest_collection_modifyitems(items):
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path, len(LONG)))


# The same test twice: small in every run, at length in `make faults`.
def few_or_many(names: str, few: list[tuple], many: list[tuple]):
    """A decorator: cases of the parameters ``names`` with ``many`` False, and at length, slow, with ``many`` True."""
    short = [pytest.param(*case, False, id="-".join((*case, "few"))) for case in few]
    long = [pytest.param(*case, True, id="-".join((*case, "many")), marks=pytest.mark.slow) for case in many]
    return pytest.mark.parametrize((*names.split(), "many"), short + long)



TALLY: Counter[str] = Counter()


@pytest.fixture(scope="session")
def tally() -> Counter[str]:
    """What tests were put through, counted; told at the end."""
    return TALLY


def pytest_sessionfinish(session):
    """A worker process of pytest-xdist hands its counts over."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["tally"] = dict(TALLY)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    TALLY.update(getattr(node, "workeroutput", {}).get("tally", {}))


def pytest_terminal_summary(terminalreporter):
    if TALLY:
        terminalreporter.write_line("put through: " + ", ".join(f"{count} {what}" for what, count in sorted(TALLY.items())))


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """Per agent, the results folder of a small run that nothing happened to, and how often it changed a file."""
    import struck

    runs = {}
    for agent in struck.AGENTS:
        results = tmp_path_factory.mktemp(f"undisturbed-{agent}")
        ended = struck.run(struck.train(agent, results), results, tmp_path_factory.mktemp("log"))
        assert (ended.status, ended.err) == (0, "") and ended.changes > 50
        runs[agent] = results, ended.changes
    return runs


@pytest.fixture(scope="module")
def browser():
    """A real browser; see `browsers.opened_browser`."""
    from browsers import opened_browser

    yield from opened_browser()


@pytest.fixture
def coopctx_main(capsys, monkeypatch, tmp_path):
    """Run a command in an empty directory: exit status, standard output, standard error."""
    from coopctx.cli import app as cli  # only where a command is run
    from coopctx.cli import show

    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(show, "console", Console(width=100))
        status = cli.main(list(arguments))
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


@pytest.fixture
def no_short_runs(monkeypatch):
    """A dry run makes no short runs to estimate by: every run is said to take a minute."""
    from coopctx.launch.calibration import Calibration

    monkeypatch.setattr(Calibration, "seconds", lambda self, spec, config, done: 60.0)


@pytest.fixture
def witness(monkeypatch):
    """Of all games that are played from now on, but for those inside the native kernel."""
    from witness import Witness

    return Witness(monkeypatch)


@pytest.fixture
def quick_processes(monkeypatch):
    """Runs side by side start from a server that has torch imported already, not from nothing, which takes seconds each."""
    import struck

    monkeypatch.setattr("multiprocessing.get_context", lambda method: struck.SERVER)


@pytest.fixture
def runs_in_this_process(monkeypatch):
    """Runs follow one another in this process, each when what it needs is finished."""
    from coopctx.launch import job as job_module
    from coopctx.launch import jobs

    def one_by_one(todo, workers, new_progress, engine, overall):
        outcomes, waiting = {}, list(todo)
        while waiting:
            job = jobs._next_ready(waiting, [])
            waiting.remove(job)
            outcomes[job] = job_module.run_one(job, new_progress())
            waiting = jobs._without_unmet(waiting, outcomes)
        return [outcomes[job] for job in todo]

    monkeypatch.setattr(jobs, "run_side_by_side", one_by_one)


@pytest.fixture
def blank_figures(monkeypatch):
    """Figures are blank pages, where a test is about what is drawn when, not about how it looks."""
    from matplotlib.figure import Figure

    from coopctx import figures
    from coopctx.report import page

    for name in ("PAPER_FIGURES", "ALL"):
        monkeypatch.setattr(figures, name, dict.fromkeys(getattr(figures, name), lambda results: (Figure(), [])))
    monkeypatch.setattr(page, "drawn", lambda name, results: [])
