"""Generated blocks: only the text between markers changes, and the committed pages agree with the committed results."""

from pathlib import Path

import pandas as pd
import pytest

from coopctx.analysis.paper import paper_targets
from coopctx.cli.printed import PRINTED
from coopctx.errors import RunError
from coopctx.report.blocks import BLOCKS, Sources
from coopctx.report.fill import MARKER, fill, filled
from coopctx.runs.read import Results

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOWHERE = Sources(Results(Path("nowhere"), "cpu"))
ALL = BLOCKS | PRINTED
SHORT = {"one": lambda sources: f"1 from {sources.runs.preset}\n", "two": lambda sources: "2\n"}


def test_only_what_stands_between_the_markers_changes():
    text = "a <!-- begin one -->\n<!-- begin one -->\nold\nolder\n<!-- end one -->\nb\n<!-- begin two -->\n<!-- end two -->"
    expected = "a <!-- begin one -->\n<!-- begin one -->\n1 from cpu\n<!-- end one -->\nb\n<!-- begin two -->\n2\n<!-- end two -->"
    assert filled(text, NOWHERE, SHORT) == expected
    assert filled(expected, NOWHERE, SHORT) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("none", "page.md has no block to fill"),
        ("<!-- begin one -->\n", "<!-- begin one --> has no <!-- end one --> after it"),
        ("<!-- end one -->\n", "<!-- end one --> has no <!-- begin one --> before it"),
        ("<!-- begin one -->\n<!-- end two -->\n", "<!-- end two --> has no <!-- begin two --> before it"),
        ("<!-- begin one -->\n<!-- begin two -->\n", "<!-- begin two --> is inside block one"),
        ("<!-- begin three -->\n<!-- end three -->\n", "no block is called 'three'; allowed: one, two"),
    ],
)
def test_a_page_with_wrong_markers_is_refused_and_stays_as_it_is(tmp_path, text, message):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(RunError, match="page.md") as refusal:
        fill(page, NOWHERE, SHORT)
    assert message in str(refusal.value) and page.read_text() == text


def test_a_page_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(RunError, match="cannot read .*absent"):
        fill(tmp_path / "absent.md", NOWHERE, SHORT)
    (tmp_path / "latin.md").write_bytes(b"\xe4")
    with pytest.raises(RunError, match="cannot read .*latin"):
        fill(tmp_path / "latin.md", NOWHERE, SHORT)


@pytest.fixture(scope="module")
def committed() -> Sources:
    return Sources(Results(ROOT / "results", "cpu"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_committed_pages_are_what_the_committed_results_give(page, committed):
    text = page.read_text()
    if MARKER.search(text):
        assert filled(text, committed, ALL) == text, "make figures"


@pytest.mark.parametrize("name", ALL)
def test_every_block_stands_in_a_page(name):
    assert any(f"<!-- begin {name} -->" in page.read_text() for page in PAGES)


# What the tables say, worked out anew with pandas from the committed parquet ----------------------------------------


def rows_of(name: str, committed: Sources) -> list[list[str]]:
    lines = [line for line in BLOCKS[name](committed).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def training(run: str, query: str) -> pd.DataFrame:
    parts = [pd.read_parquet(path) for path in sorted((ROOT / "results/cpu" / run).glob("seed-*/training.parquet"))]
    return pd.concat(parts).query(f"player == 'ego' and ({query})")


def test_the_course_is_that_of_learner_1_at_the_paper_s_phases(committed):
    headings, _, ours, theirs = rows_of("course-ppi", committed)
    mixed = training("ppi-mixed", "opponent == 'learner' and learner == 1")
    for phase, here, paper in zip(headings[1:], ours[1:], theirs[1:], strict=True):
        rates = mixed[mixed["iteration"] == int(phase)]["cooperation_rate"]
        assert here == f"{rates.mean():.2f} ± {rates.std(ddof=1):.2f}"
        assert float(paper) == paper_targets()["1", "A", "mixed: PPI1 vs PPI2", "cooperation_rate", int(phase)].value


def test_conditions_and_seeds_are_late_means_of_both_learners(committed):
    last = {agent: training(f"{agent}-mixed", "True")["iteration"].max() for agent in ("ppi", "a2c")}
    late = {"ppi": f"iteration > {last['ppi'] - 5}", "a2c": f"iteration > {last['a2c'] * 0.9}"}
    runs = {"mixed pool": "mixed", "told its opponent": "mixed-opponent-id", "no tabular opponents": "learners"}
    for agent, moment in late.items():
        numbers, _, *by_seed = rows_of(f"seeds-{agent}", committed)
        for line, of_seeds in zip(rows_of(f"conditions-{agent}", committed)[2:], by_seed, strict=True):
            rows = training(f"{agent}-{runs[line[0]]}", f"opponent == 'learner' and {moment}")
            means = rows.groupby("seed")["cooperation_rate"].mean()
            assert line[1:3] == [str(len(means)), f"{means.mean():.3f} ± {means.std(ddof=1):.3f}"]
            shown = {int(seed): cell for seed, cell in zip(numbers[1:], of_seeds[1:], strict=True) if cell != "–"}
            assert shown == {seed: f"{mean:.2f}" for seed, mean in means.items()}


def test_what_a_command_prints_is_what_the_page_shows(committed, coopctx_main):
    status, out, _ = coopctx_main("train", "--agent", "ppi", "--pool", "mixed", "--results", str(committed.runs.folder))
    shown = PRINTED["seed-0"](committed).splitlines()[1:-1]
    printed = out.replace(f" --results {committed.runs.folder}", "").replace(f"{ROOT}/", "")  # as in a clone
    assert status == 0 and shown == [line.rstrip() for line in printed.splitlines()]


def test_findings_are_rows_of_the_claims(committed):
    _, _, *lines = rows_of("findings", committed)
    assert len(lines) == 6
    mixed, told, *_ = committed.checked.claims
    assert lines[0][1:4] == [f"{mixed.rows[0].ours.value:.2f}", "0.89", str(mixed.verdict)]
    assert lines[1][1:4] == [f"{told.rows[0].ours.value:.2f}", "0.80", str(told.verdict)]


def test_sensitivity_has_every_variation_beside_the_preset(committed):
    _, _, *lines = rows_of("sensitivity", committed)
    a2c, (first, *others) = ([line for line in lines if line[0] == name] for name in ("a2c-mixed", "ppi-mixed"))
    assert first[1] == a2c[0][1] == "the preset's own" and all("=" in line[1] for line in (*a2c[1:], *others))
    swept = pd.read_parquet(ROOT / "results/sweep/cpu.parquet").query("iteration > 25 and opponent == 'learner' and player == 'ego'")
    four = swept[swept["ppi.rollouts"] == 4].groupby("seed")["cooperation_rate"].mean()
    (line,) = (line for line in others if line[1] == "ppi.rollouts=4")
    assert line[2:] == [str(len(four)), f"{four.mean():.2f} ± {four.std(ddof=1):.2f}"]
