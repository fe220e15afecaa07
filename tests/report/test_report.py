"""The report: what it reads from runs' files, and all forms in which it is written."""

import csv
import itertools
import math
import re
import shutil
import tomllib
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

import coopctx
from coopctx import _version
from coopctx.analysis import claims
from coopctx.analysis.claims import Checked, Claim, check
from coopctx.analysis.nulls import NULLS
from coopctx.analysis.paper import paper_targets
from coopctx.analysis.references import best_response_reward
from coopctx.analysis.verdict import NOT_REPRODUCED, NOT_RUN, OF_A_CLAIM, VERDICTS
from coopctx.report import markdown, pages, provenance, rows, terminal
from coopctx.report.pictures import drawn
from coopctx.runs.manifest import read_manifest
from coopctx.runs.read import Results
from coopctx.runs.run import Run

ROOT = Path(__file__).parents[2]
NAMED = ("tit-for-tat", "always-cooperate", "always-defect")
OPPONENTS = {
    "tabular": ("tabular", *NAMED),
    "extortion": ("fixed-icl",),
    "mutual-extortion": ("learner",),
    "mixed": ("learner", "tabular", *NAMED),
    "learners": ("learner",),
}
PHASES, ROUNDS, CURVES = 12, 20, (4, 12)
LATE, END = (11, 18), (18, 20)  # rounds that are late, and the last tenth, of 20
ALL = sorted({opponent for opponents in OPPONENTS.values() for opponent in opponents})


def rate(seed: int, iteration: int, opponent: str, player: str, learner: int = 1, at: int = 0) -> float:
    """A value that differs with everything that it should be told apart by."""
    kind = 0.02 * ALL.index(opponent) + 0.2 * (player == "co") + 0.05 * (learner == 2)
    return kind + 0.01 * iteration + 0.005 * at + 0.01 * seed


def reward(seed: int, iteration: int, opponent: str, player: str, learner: int = 1, at: int = 0) -> float:
    return 0.3 + 2 * rate(seed, iteration, opponent, player, learner, at)


def write_run(results: Path, pool: str, seed: int, agent="ppi", opponent_id=False, configuration=None) -> None:
    keys = {"agent": agent, "experiment": pool, "opponent_id": opponent_id, "seed": seed, "preset": "cpu"}
    name = f"{agent}-{pool}" + ("-opponent-id" if opponent_id else "")
    first = 0 if pool == "mutual-extortion" else 1
    with Run.open(results / "cpu" / name / f"seed-{seed}", keys, configuration or {}, "cpu") as run:
        for opponent, player in itertools.product(OPPONENTS[pool], ("ego", "co")):
            for iteration, learner in itertools.product(range(first, PHASES + 1), (1, 2)):
                where = {"iteration": iteration, "learner": learner, "opponent": opponent, "player": player}
                run.record("training", [{**where, **measured(seed, **where), "episodes": 8}])
            for iteration, t in itertools.product((*([0] if not first else []), *CURVES), range(1, ROUNDS + 1)):
                where = {"iteration": iteration, "learner": 1, "opponent": opponent, "player": player}
                run.record("episodes", [{**where, **measured(seed, **where, at=t), "round": t, "episodes": 8}])
        for iteration, (quantity, value) in itertools.product(
            range(1, PHASES + 1), (("nll_observation_tabular", 0.4), ("nll_bayes_tabular", 0.3))
        ):
            run.record(
                "diagnostics",
                [{"iteration": iteration, "learner": 1, "quantity": quantity, "value": value + 0.01 * iteration}],
            )
        run.finish({"weight": torch.zeros(1)})


def measured(seed: int, **where) -> dict[str, float]:
    return {"cooperation_rate": rate(seed, **where), "reward": reward(seed, **where)}


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """The tests here are about numbers and words; drawing takes seconds."""
    monkeypatch.setattr("coopctx.report.page.drawn", lambda name, runs: [])


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """Two seeds of everything for PPI, one of A2C's mixed pool."""
    folder = tmp_path_factory.mktemp("report") / "results"
    for pool, seed in itertools.product(OPPONENTS, (0, 2)):
        write_run(folder, pool, seed)
    for seed in (0, 2):
        write_run(folder, "mixed", seed, opponent_id=True)
    write_run(folder, "mixed", 0, agent="a2c")
    return folder


@pytest.fixture(scope="module")
def checked(results) -> Checked:
    """As if seed 0 alone had been looked at before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claims, "seen_seeds", lambda preset, agent, run: frozenset({0} if preset == "cpu" else ()))
        return check(Results(results, "cpu"))


def of(function, iterations, *, opponent, player="ego", learners=(1,), rounds=(0, 0), seeds=(0, 2)) -> float:
    span = range(rounds[0], rounds[1] + 1)
    places = itertools.product(seeds, iterations, learners, span)
    return float(np.mean([function(seed, phase, opponent, player, learner, at) for seed, phase, learner, at in places]))


def test_claims_read_the_files_of_finished_runs(checked):
    last, both = range(PHASES - 4, PHASES + 1), {"learners": (1, 2)}
    mixed, *_ = [claim for claim in checked.claims if claim.agent == "ppi"]
    assert [row.ours.value for row in mixed.rows] == pytest.approx(
        [
            of(rate, last, opponent="learner", **both),
            of(reward, last, opponent="tabular", **both),
            of(rate, last, opponent="tabular", **both),
        ]
    )
    assert [row.ours.seeds for row in mixed.rows] == [2, 2, 2] and [row.seen for row in mixed.rows] == [1, 1, 1]
    means = [of(rate, last, opponent="learner", **both, seeds=(seed,)) for seed in (0, 2)]
    half = 12.7062 * abs(means[1] - means[0]) / 2  # t(1), tables
    assert mixed.rows[0].ours.low == pytest.approx(np.mean(means) - half)


def test_a2c_is_averaged_over_its_last_tenth_and_the_rest_is_not_run(checked):
    mixed, *others = [claim for claim in checked.claims if claim.agent == "a2c"]
    assert mixed.rows[0].ours.value == pytest.approx(of(rate, [11, 12], opponent="learner", learners=(1, 2), seeds=(0,)))
    assert mixed.rows[0].ours.seeds == 1 and mixed.verdict is NOT_REPRODUCED  # one seed has no interval
    early = others.pop()
    assert early.verdict is NOT_REPRODUCED and {claim.verdict for claim in others} == {NOT_RUN}
    assert all(row.ours is None for claim in others for row in claim.rows)


def test_references_stand_apart_from_the_claims(checked):
    prediction, defect, best, *a2c = checked.references
    assert prediction.ours.value == pytest.approx(0.4 + 0.01 * (PHASES - 2))
    assert prediction.difference.value == pytest.approx(0.1) and prediction.exact == pytest.approx(0.3 + 0.01 * (PHASES - 2))
    assert (defect.exact, best.exact) == (1.0, best_response_reward(100))  # the length that the runs' settings name
    assert [reference.ours for reference in a2c] == [None, None]
    assert not any("exact" in claim.title.lower() for claim in checked.claims)


def test_tolerances_follow_the_rule_that_the_notes_state():
    with resources.files("coopctx.analysis").joinpath("data/paper_targets.csv").open(encoding="utf-8") as file:
        targets = list(csv.DictReader(file))
    assert len(targets) > 40
    for row in targets:
        seeds = 5 if row["figure"] == "4" else 10
        stated = 0.02 + 1.96 * float(row["sd"]) / math.sqrt(seeds) if row["sd"] else 0.05
        assert float(row["tolerance"]) == pytest.approx(stated, abs=0.0051), row
        assert row["source"].startswith(f"arXiv:2602.16301v1 Fig. {row['figure']}{row['panel']}")
        reading = (row["figure"], row["panel"], row["series"], row["metric"], int(row["x"]))
        assert paper_targets()[reading].value == float(row["value"])


# Forms ------------------------------------------------------------------------------------------------------------


def printed(shown, width: int = 80) -> list[str]:
    """What a terminal of this width shows."""
    console = Console(width=width, record=True, file=open("/dev/null", "w"))
    console.print(shown)
    return console.export_text().splitlines()


def test_the_report_is_written_the_same_each_time(results, tmp_path, monkeypatch):
    monkeypatch.setattr("coopctx.report.page.drawn", lambda name, runs: drawn(name, runs) if name == "fig3" else [])
    written = [pages.write_report(Results(results, "cpu"), tmp_path / folder) for folder in "ab"]
    assert [path.name for path in written[0]] == ["report.md", "report.html"]
    for path, other in zip(*written, strict=True):
        assert path.read_bytes() == other.read_bytes()
    assert written[0][1].read_text().count("<img") == 4


def test_every_row_is_in_every_form(checked):
    page = markdown.markdown(checked, "cpu")
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    every = [row for claim in checked.claims for row in claim.rows]
    assert len(lines) == len(every) + len(checked.claims) + len(checked.references) + 3
    assert {line.count("|") for line in lines} == {9, 8}
    shown = printed(terminal.full(checked, "cpu"))
    text = "\n".join(shown)
    assert "…" not in text and text.count("not run") >= 6 and max(map(len, shown)) <= 80
    mixed, row = checked.claims[0], checked.claims[0].rows[0]
    assert lines[1] == f"| **{mixed.title}** |" + " |" * 6 + f" **{mixed.verdict}** |"
    assert rows.cells(row) == [
        *(f"{row.ours.value:.3f}", f"{row.ours.low:.3f} to {row.ours.high:.3f}", "2 (1 seen)", "-", "0.89 ± 0.11"),
        *("0.00 / 1.00 / 0.50 / 1.00 / 0.50", str(row.verdict)),
    ]
    told = checked.claims[1].rows[0]
    assert rows.cells(told)[2] == "2 and 2 (1 seen)" and rows.measure(told) == f"{told.spec.name} (> 0.4)"
    alone = next(claim for claim in checked.claims if claim.agent == "a2c").rows[0]
    assert rows.cells(alone)[1:3] == ["-", "1 (1 seen)"]
    unjudged = next(row for row in every if row.verdict is None)
    assert rows.cells(unjudged)[-1] == "–" and rows.measure(unjudged) == unjudged.spec.name
    assert rows.reference_cells(checked.references[-1]) == ["not measured", "-", "1.049", "-", "-"]
    assert "## " not in markdown.markdown_tables(checked)


def test_the_headline_counts_claims_not_rows(checked):
    ppi = [claim for claim in checked.claims if claim.agent == "ppi"]
    counts = [sum(claim.verdict is verdict for claim in ppi) for verdict in VERDICTS]
    said = ", ".join(f"{count} {verdict}" for count, verdict in zip(counts, VERDICTS, strict=True) if count)
    assert rows.headline("ppi", ppi) == f"PPI, 8 claims: {said}"
    assert f"**{rows.headline('ppi', ppi)}**" in markdown.markdown_tables(checked)


def test_every_verdict_threshold_and_null_policy_is_explained():
    notes = "\n".join(rows.NOTES)
    assert all(f"**{verdict}**: {verdict.means}" in notes for verdict in VERDICTS) and OF_A_CLAIM in notes
    data = tomllib.loads(resources.files("coopctx.analysis").joinpath("data/claims.toml").read_text("utf-8"))
    assert all(threshold["because"] in notes for threshold in data["threshold"].values())
    assert all(null in notes for null in NULLS)


def test_committed_report_is_what_the_committed_results_give():
    checked = check(Results(ROOT / "results", "cpu"))
    assert (ROOT / "figures" / "report.md").read_text() == markdown.markdown(checked, "cpu"), "make figures"


# In ten lines -----------------------------------------------------------------------------------------------------


def test_ten_lines_say_how_many_claims_hold_and_which_measures_are_weakest(coopctx_main, results):
    status, out, err = coopctx_main("report", "--results", str(results))
    lines = out.splitlines()
    assert (status, err) == (0, "") and len(lines) <= 10
    assert lines[0].startswith("PPI, 8 claims: ") and lines[1].startswith("A2C, 8 claims: ")
    assert lines[-1] == f"next: coopctx report --full --results {results}"
    full = coopctx_main("report", "--results", str(results), "--full")[1]
    assert "no finished run of" not in out + full, "nobody asked for seeds"
    assert re.search(r"reward of Fixed-ICL \(<\s0.5\)", full)
    assert len(full.splitlines()) > 60 and full.splitlines()[-1].startswith("next: coopctx reproduce --dry-run")


def test_the_weakest_measure_is_the_one_farthest_from_where_its_claim_holds(checked):
    lines = printed(terminal.brief(checked, "cpu"))
    assert max(map(len, lines)) <= 80 and len(lines) <= 7
    found = dict(terminal.weakest(checked))
    assert list(found) == ["a2c", "ppi"], "one seed has no interval, so that A2C's is the weaker"
    row = found["ppi"]
    short = [
        (min(sign * (end - other.spec.threshold.value) for end in (other.ours.low, other.ours.high)), other)
        for claim in checked.claims
        for other in claim.rows
        if claim.agent == "ppi" and other.verdict is NOT_REPRODUCED
        for sign in [1 if other.spec.threshold.side == "above" else -1]
    ]
    assert row is min(short, key=lambda each: each[0])[1]
    assert any(line == f"weakest, PPI: {row.spec.name}" for line in lines)
    assert any(f"{row.ours.value:.3f} (" in line and f"must be {row.spec.threshold}" in line for line in lines)


def test_other_papers_stand_apart_and_what_is_ours_only_is_never_counted(checked):
    claim = checked.claims[0]
    source = "arXiv:2410.18636v2 Fig. 4B"
    theirs = [
        replace(row, spec=replace(row.spec, target=replace(row.spec.target, source=source))) for row in claim.rows
    ]
    alone = replace(claim.rows[0], spec=replace(claim.rows[0].spec, target=None, threshold=None), verdict=None)
    others = (
        Claim("coala", "Shaping", (*theirs, alone)),
        Claim("coala", "An arena of our own", (alone,)),
    )
    both = Checked((*checked.claims, *others), checked.references)
    (first, ours), (second, found) = rows.by_paper(both.claims)
    assert (first.name, second.name) == ("arXiv:2602.16301", "arXiv:2410.18636")
    assert list(ours) == list(checked.claims) and found == list(others)
    assert rows.where(others[0]).figure == "4" and rows.where(others[0]).panels == "B"
    assert rows.headline("coala", found) == f"COALA, 1 claims: 1 {claim.verdict}"
    assert rows.headline("coala", found[1:]) == "COALA, ours only"
    page = markdown.markdown(both, "cpu")
    assert "learning-aware policy gradients** ([arXiv:2410.18636](https://arxiv.org/abs/2410.18636))" in page
    assert page.count("| ours only |") == 2 and f"| {alone.ours.value:.3f} | {alone.ours.low:.3f} to" in page
    full = " ".join(" ".join(printed(terminal.full(both, "cpu"))).split())
    assert "learning-aware policy gradients (arXiv:2410.18636)" in full and full.count("ours only") == 2


def test_provenance_is_what_the_manifests_say(results):
    made = {run.name: run for run in provenance.provenance(Results(results, "cpu"))}
    assert sorted(made) == sorted(path.name for path in (results / "cpu").iterdir())
    told = made["ppi-mixed-opponent-id"]
    assert told.seeds == "0, 2" and told.version == coopctx.__version__ and told.torch == torch.__version__
    assert told.command == f"coopctx train --agent ppi --pool mixed --opponent-id --results {results} --seeds 0,2"
    manifest = read_manifest(results / "cpu/ppi-mixed/seed-0")
    assert told.dates == manifest["started"][:10]
    commit = _version.commit()
    assert manifest["commit"] == commit and told.commit in (commit[:8] + "+" * commit.endswith("+"), provenance.NOT_RECORDED)


# From the command line, and what can be wrong ---------------------------------------------------------------------


def test_the_command_prints_and_writes(results, coopctx_main, tmp_path):
    pages = tmp_path / "README.md", tmp_path / "claims.md"
    for page in pages:
        page.write_text("<!-- begin claims -->\n<!-- end claims -->")
    status, out, err = coopctx_main("report", "--results", str(results), "--fill", "README.md", "--fill", "claims.md")
    assert (status, err) == (0, "")
    out = out.replace("\n", " ")
    assert "PPI, 8 claims:" in out and "figures/report.html: written" in out and "README.md: written" in out and "claims.md: written" in out
    assert (tmp_path / "figures/report.md").exists() and all("| verdict |" in page.read_text() for page in pages)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 1, "nothing to report: no finished run under results/cpu; make some with: coopctx reproduce"),
        (["--preset", "huge"], 2, "unknown preset 'huge'"),
        (["--results", "file"], 1, "nothing to report"),
        (["--colour"], 2, "No such option"),
    ],
)
def test_bad_input_is_refused_in_one_line(coopctx_main, arguments, status, message):
    Path("file").write_text("in the way")
    got, out, err = coopctx_main("report", *arguments)
    assert (got, out) == (status, "") and message in err and err.count("\n") == 1
    assert [entry.name for entry in Path().iterdir()] == ["file"]


def test_damage_and_other_games_are_told_by_name_and_the_rest_is_reported(coopctx_main, tmp_path):
    for seed in (0, 1, 2):
        write_run(tmp_path / "results", "extortion", seed)
    whole = markdown.markdown(check(Results(tmp_path / "results", "cpu")), "cpu")
    path = tmp_path / "results/cpu/ppi-extortion/seed-1/training.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    shutil.copytree(path.parent, path.parents[1] / "seed-1 (copy)")
    (tmp_path / "README.md").write_text("<!-- begin claims -->\n<!-- end claims -->")
    status, out, err = coopctx_main("report", "--fill", "README.md")
    told = err.splitlines()
    assert status == 1 and len(told) == 3 and told[-1] == "coopctx: 2 runs or files could not be read"
    assert "seed-1 (copy)/run.json belongs to seed 1" in err and "seed-1/training.parquet is damaged" in err
    assert "PPI, 8 claims:" in out and "figures/report.html: written" in out
    assert (tmp_path / "README.md").read_text() == "<!-- begin claims -->\n<!-- end claims -->", "filled from a part of the runs"
    page = (tmp_path / "figures/report.html").read_text()
    assert "seed-1/training.parquet is damaged" in page
    line = next(line for line in (tmp_path / "figures/report.md").read_text().splitlines() if line.startswith("| reward of the learner ("))
    assert "| 2 (" in line and "| 3 (" in next(line for line in whole.splitlines() if line.startswith("| reward of the learner ("))


def test_other_games_and_damaged_nulls_are_told_by_name(coopctx_main, tmp_path):
    write_run(tmp_path / "other", "tabular", 0)
    odd = (("extortion", "payoffs", [[3.0, 0.0], [5.0, 1.0]]), ("mixed", "noise", 0.1), ("learners", "continuation", 0.9))
    for pool, setting, value in odd:
        write_run(tmp_path / "other", pool, 0, configuration={"game": {setting: value}})
    (tmp_path / "other/cpu/nulls.parquet").write_text("damaged")
    (tmp_path / "other/cpu/ppi-extortion-slopes.parquet").write_text("damaged")
    status, out, err = coopctx_main("report", "--results", "other")
    assert status == 1 and err.count("\n") == 6 and "PPI, 8 claims:" in out
    for pool, setting, value in odd:
        told = f"the report is about the paper's game; other/cpu/ppi-{pool}/seed-0 was run with game.{setting} = {value}"
        assert told in err
    assert "cannot read other/cpu/ppi-extortion-slopes.parquet" in err
    assert "cpu/nulls.parquet is damaged; make it anew with: make nulls" in err


def test_only_the_seeds_that_were_asked_for_are_reported_and_missed(coopctx_main, results):
    status, out, _ = coopctx_main("report", "--results", str(results), "--seeds", "0-1")
    first = next(line for line in Path("figures/report.md").read_text().splitlines() if line.startswith("| cooperation of the learners ("))
    assert status == 0 and "| 1 (1 seen) |" in first
    assert "ppi-mixed: no finished run of seeds 1" in out and "a2c-tabular: no finished run of seeds 0-1" in out


def test_a_place_that_cannot_be_written_is_told(results, coopctx_main):
    Path("figures").write_text("in the way")
    status, _, err = coopctx_main("report", "--results", str(results))
    assert status == 1 and "cannot write figures: a file is in the way" in err
