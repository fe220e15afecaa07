"""A run's progress as event files of TensorBoard (the extra ``tensorboard``), for onlookers: nothing is read from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from coopctx.errors import UsageError, check_known
from coopctx.runs.progress import Progress

LOGS = ("tensorboard",)  # the values of ``--log``
FOLDER = "tensorboard"  # in the results: ``tensorboard --logdir`` shows the runs of all presets in it


def check_log(name: str) -> None:
    """UsageError if there is no such log, or the package that writes it is not installed."""
    check_known("log", name, LOGS)
    _writer()


class TrackedProgress:
    """A progress that passes everything on to ``inner`` and writes the averages of each iteration as scalars.

    directory: of the run's event files. Scalars are named after the summary of `Progress.iteration`: ``cooperation/learner``,
    ``reward/tabular``, ``training/loss_policy``. A run that is resumed begins another file, which replaces what an earlier one
    has of later iterations.
    """

    def __init__(self, inner: Progress, directory: Path) -> None:
        self._inner, self._directory = inner, directory
        self._file: Any = None
        self.activity, self.note = inner.activity, inner.note

    def begin(self, title: str, total: int, done: int, unit: str = "phase") -> None:
        self._file = _writer()(str(self._directory), purge_step=done + 1)
        self._inner.begin(title, total, done, unit)

    def iteration(self, iteration: int, summary: dict[str, float]) -> None:
        for name, value in summary.items():
            self._file.add_scalar(_scalar(name), value, iteration)
        self._file.flush()
        self._inner.iteration(iteration, summary)

    def end(self) -> None:
        self.close()
        self._inner.end()

    def close(self) -> None:
        """Close the file; more than once does no harm."""
        if self._file is not None:
            self._file.close()


def _scalar(name: str) -> str:
    """``cooperation_fixed-icl`` becomes ``cooperation/fixed-icl``, and what is no such measure ``training/NAME``."""
    measure, _, opponent = name.partition("_")
    return f"{measure}/{opponent}" if measure in ("cooperation", "reward") else f"training/{name}"


def _writer() -> Any:
    """The class that writes event files. UsageError if TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError("--log tensorboard needs TensorBoard: pip install '.[tensorboard]'") from error
    return SummaryWriter
