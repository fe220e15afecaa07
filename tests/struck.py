"""A command in a separate process with a fault at a chosen moment: before its n-th change of a file, or at any time.

The processes are forked from a server that has imported everything but computed nothing, so one starts in a moment.
"""

import errno
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

AGENTS = ("ppi", "a2c")
TINY = ("game.rounds=8", "ppi.initial_episodes=40", "ppi.episodes_per_phase=10", "measure.episode_games=4")
FAULTS: dict[str, Callable[[], None]] = {}


def fault(strike: Callable[[], None]) -> Callable[[], None]:
    FAULTS[strike.__name__] = strike
    return strike


@fault
def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@fault
def interrupted() -> None:
    signal.raise_signal(signal.SIGINT)  # in this very thread: on a busy machine another one may get a process's signal, later


@fault
def stopped() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


@fault
def disk_full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@dataclass(frozen=True)
class Ended:
    """How a command ended. status: minus the signal that ended it. changes: of files, made or tried; 0 where killed."""

    status: int
    out: str
    err: str
    changes: int


class Struck:
    """A running ``coopctx`` command.

    folder: the changes of files below it are counted, and before number ``nth`` (from 1) ``fault`` strikes.
    """

    def __init__(self, arguments: list[str], folder: Path, log: Path, fault: str = "", nth: int = 0) -> None:
        self._log = log
        log.mkdir(parents=True, exist_ok=True)
        self.process = SERVER.Process(target=_command, args=(arguments, str(folder), str(log), fault, nth))
        self.process.start()

    def end(self) -> Ended:
        """Wait for its end."""
        self.process.join()
        out, err, changes = ((self._log / name).read_text() for name in ("out", "err", "changes"))
        return Ended(self.process.exitcode, out, err, int(changes or 0))

    def wait_until_stopped(self) -> None:
        while Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            self.process.join(0.01)


def train(agent: str, results: Path, settings: tuple[str, ...] = TINY) -> list[str]:
    command = ["train", "--agent", agent, "--pool", "mixed", "--preset", "smoke", "--device", "cpu"]
    settings = tuple(setting for setting in settings if setting.partition(".")[0] not in {*AGENTS} - {agent})
    return [*command, *(word for setting in settings for word in ("--set", setting)), "--results", str(results)]


def directory(agent: str, results: Path) -> Path:
    return results / "smoke" / f"{agent}-mixed" / "seed-0"


def run(arguments: list[str], folder: Path, log: Path, fault: str = "", nth: int = 0) -> Ended:
    return Struck(arguments, folder, log, fault, nth).end()


def _command(arguments: list[str], folder: str, log: str, fault: str, nth: int) -> None:
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{log}/{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    Path(log, "changes").write_text("")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs the tests in the background has it ignored
    from coopctx.cli import main

    os.fsync = lambda descriptor: None  # as in conftest.py
    changes = 0

    def watch(event: str, details: tuple) -> None:
        nonlocal changes
        if _changes(event, details) and os.fsdecode(details[0]).startswith(folder):
            changes += 1
            if changes == nth:
                FAULTS[fault]()

    sys.addaudithook(watch)
    status = main(arguments)
    Path(log, "changes").write_text(str(changes))
    sys.stdout.flush()
    os._exit(status)


def _changes(event: str, details: tuple) -> bool:
    opened_for_writing = event == "open" and isinstance(details[0], (str, bytes)) and details[2] & (os.O_WRONLY | os.O_RDWR)
    return bool(opened_for_writing) or event in ("os.rename", "os.remove", "os.mkdir")


SERVER = multiprocessing.get_context("forkserver")
# torch.optim imports torch._dynamo with the first optimiser, which takes longer than a small run.
SERVER.set_forkserver_preload(["coopctx.agents.a2c.training", "coopctx.agents.ppi.training", "coopctx.cli", "coopctx.launch.jobs", "pyarrow.dataset", "pytest", "torch._dynamo"])
