"""The kinds of agents as data: their names and the units of their training. Their classes: `coopctx.agents`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AgentKind:
    """One kind of agent.

    name: on the command line, in tables and in folders; also the name of the section of settings that it alone reads. label:
    in figures and prose. unit: of the column ``iteration`` of its tables. late: the part of training over which late averages
    are taken, in words. late_iterations: the number of these iterations; None: the last tenth. keeps_history: it
    remembers earlier episodes against the same co-player. on_gpu: it can be trained on one.
    """

    name: str
    label: str
    unit: str
    late: str
    late_iterations: int | None = None
    keeps_history: bool = False
    on_gpu: bool = True

    def device(self, device: str) -> str:
        """Where it is trained if ``device``, cpu or cuda, is to be used."""
        return device if self.on_gpu else "cpu"

    def late_from(self, last: int) -> float:
        """The iteration after which late averages begin, in a run whose last iteration is ``last``."""
        return last - (last / 10 if self.late_iterations is None else self.late_iterations)


AGENTS = {
    kind.name: kind
    for kind in (
        AgentKind("ppi", "PPI", "phase", "the last 5 phases", late_iterations=5),
        AgentKind("a2c", "A2C", "iteration", "the last tenth of the iterations"),
        AgentKind("coala", "COALA", "iteration", "the last tenth of the iterations", keeps_history=True, on_gpu=False),
    )
}
