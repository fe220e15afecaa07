"""The progress that a run reports; `coopctx.launch.display` shows it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """The calls by which a run reports its progress; by default they do nothing. Iteration 0 is PPI's pre-training."""

    def begin(self, title: str, total: int, done: int, unit: str = "phase") -> None:
        """A run of `total` iterations starts; `done` of them were completed earlier. `unit` is the word for an iteration."""
        return

    def activity(self, iteration: int, what: str, fraction: float) -> None:
        """Within an iteration: `what` is being done, `fraction` (0 to 1) of the iteration has passed."""
        return

    def iteration(self, iteration: int, summary: dict[str, float]) -> None:
        """An iteration is complete.

        summary: cooperation_<opponent> and reward_<opponent> for each opponent in the pool, and the iteration's diagnostics by
        the names that they have in that table, such as loss_policy; means over the learners.
        """
        return

    def note(self, line: str) -> None:
        """A line that the user should read."""
        return

    def end(self) -> None:
        """The run has stopped, finished or not."""
        return


class SilentProgress(Progress):
    """Reports nothing."""
