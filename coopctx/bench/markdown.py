"""The report as Markdown, as `docs/performance.md` has it from the measurements in results/bench/."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from coopctx.bench.race import IN_USE, PEER, REFERENCE
from coopctx.bench.rows import Growth, IterationRate, Rate, Report
from coopctx.bench.tables import ENOUGH, heading
from coopctx.errors import RunError
from coopctx.experiments.agents import AGENTS
from coopctx.report.markdown import markdown_table

FOLDER = "bench"  # of measurements, in a results folder
NONE = "No measurement is in results/bench/."


def stored(results: Path) -> str:
    """The Markdown of all measurements, ``bench/*.json`` in a results folder, by hidden size. RunError if one is damaged."""
    reports = [_read(path) for path in sorted((results / FOLDER).glob("*.json"))]
    reports.sort(key=lambda report: report.settings["model"]["hidden"])
    return "\n".join(map(markdown, reports)) if reports else f"{NONE}\n"


def _read(path: Path) -> Report:
    try:
        return Report.from_json(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: no measurement that can be read: {error}") from error


def markdown(report: Report) -> str:
    """The tables, each headed by what it shows; a line that says so comes first if the machine was busy."""
    settings, machine = report.settings, report.machine
    first, *rest = heading(report)
    title = f"### Preset {report.preset}, hidden {settings['model']['hidden']}"
    about = f"{first}: {'; '.join(rest if machine.granted > ENOUGH else rest[:-2])}."
    busy = [] if machine.granted > ENOUGH else [f"**{' '.join(rest[-2:])}**", ""]
    contestants = "in use", "reference", "JAX", "in use : reference", "in use : JAX", "of torch.mm"
    parts = [
        markdown_table(("", "threads", *contestants), _rates(report)),
        *(_growth([row for row in report.growth if row.agent == agent]) for agent in ("ppi", "a2c")),
        _estimator(report),
    ]
    return "\n".join([title, "", about, "", *busy, "\n".join(parts)])


def _rates(report: Report) -> Iterable[list[str]]:
    """A row per kind of work and number of threads: rates of all contestants."""
    agents = report.settings["a2c"]["batch_size"]
    for name, rates, unit in (
        ("planner, M simulated rounds/s", report.planner, 1e6),
        ("training, M tokens/s", report.training, 1e6),
        (f"an A2C iteration (2 × {agents} episodes), per s", report.iteration, 1.0),
    ):
        for threads in sorted({rate.threads for rate in rates}):
            yield _row(name, threads, rates, unit)
    used, reference = report.phase
    episodes = _number(used.per_second), _number(reference.per_second), "–", f"{used.ratio:.1f}", "–", "–"
    yield ["a whole phase of PPI, episodes/s", str(report.machine.threads), *episodes]


def _row(name: str, threads: int, rates: Sequence[Rate] | Sequence[IterationRate], unit: float) -> list[str]:
    found = {rate.name: rate for rate in rates if rate.threads == threads}
    used, reference, peer = found[IN_USE], found[REFERENCE], found.get(PEER)
    share = used.matmul_share if isinstance(used, Rate) else None
    return [
        name,
        str(threads),
        *("–" if rate is None else _number(rate.per_second / unit) for rate in (used, reference, peer)),
        f"{used.ratio:.1f}",
        "–" if peer is None else f"{used.per_second / peer.per_second:.1f}",
        "–" if share is None else f"{share:.0%}",
    ]


def _growth(rows: Sequence[Growth]) -> str:
    """What the parts of a phase or an iteration take, cost and reach, a row per change of the settings."""
    kind, names = AGENTS[rows[0].agent], [part.name for part in rows[0].parts]
    units = [f"{name}, {unit}" for unit in ("ms", "core s per 10⁶ agent-rounds", "of torch.mm") for name in names]
    cells = []
    for row in rows:
        shares = ["–" if part.matmul_share is None else f"{part.matmul_share:.0%}" for part in row.parts]
        numbers = [_number(part.seconds * 1e3) for part in row.parts] + [_number(part.per_million) for part in row.parts]
        cells.append([row.changed or "as they are", str(row.threads), *numbers, *shares])
    return markdown_table((f"{kind.label}, per {kind.unit}", "threads", *units), cells)


def _estimator(report: Report) -> str:
    rows = (
        [each.name, _number(each.variance), _number(each.seconds * 1e3), "–" if each.ratio is None else _number(each.ratio)]
        for each in report.estimator
    )
    return markdown_table(("estimator of Q", "variance", "ms a call", "variance × cost, sampled : this"), rows)


def _number(value: float) -> str:
    """Three digits that count, and no exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
