"""The page of HTML: what stands on it, that it needs nothing else, and how it reads in a real browser, wide and narrow."""

import base64
import io
import re
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from browsers import CONTRAST, SIZES
from matplotlib.figure import Figure
from PIL import Image

from coopctx.analysis.claims import Checked, check
from coopctx.analysis.verdict import NOT_REPRODUCED, REPRODUCED, Verdict
from coopctx.errors import RunError
from coopctx.experiments.agents import AGENTS
from coopctx.experiments.presets import caveat
from coopctx.report import page as page_module
from coopctx.report.extortion import extortion_tests
from coopctx.report.findings import ALONE, MIXED, STEP_3, findings
from coopctx.report.page import blocks, page, sections
from coopctx.report.pages import write_report
from coopctx.report.pictures import PagePanel, panels, plain
from coopctx.report.rows import where
from coopctx.report.watch import with_strangers
from coopctx.runs.read import Results

ROOT = Path(__file__).parents[2]
COMMITTED = Results(ROOT / "results", "cpu")


@pytest.fixture(scope="module", autouse=True)
def drawn_once():
    """Figures of the committed runs are drawn once for all tests of this module."""
    kept, real = {}, page_module.drawn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_module, "drawn", lambda name, runs: kept[name] if name in kept else kept.setdefault(name, real(name, runs)))
        yield


@pytest.fixture(scope="module")
def checked() -> Checked:
    return check(COMMITTED)


@pytest.fixture(scope="module")
def written(checked, tmp_path_factory) -> Path:
    """The page of the committed runs, with the page to play beside it."""
    out = tmp_path_factory.mktemp("page")
    (out / "play.html").write_text("<!DOCTYPE html><title>play</title>")
    return write_report(COMMITTED, out, checked)[1]


class Read(HTMLParser):
    """Tags that are open, headings, pictures, links, and whatever would be fetched."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[int] = []
        self.fetched: list[str] = []
        self.images: list[dict] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag not in ("meta", "img", "link"):
            self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        self.images += [given] if tag == "img" else []
        self.links += [given["href"]] if tag == "a" else []
        self.ids += [given["id"]] if "id" in given else []
        self.fetched += [value for name, value in attributes if name in ("src", "srcset") and not value.startswith("data:")]
        self.fetched += [tag] if tag in ("script", "iframe") or (tag == "link" and given["href"] != "data:,") else []

    def handle_startendtag(self, tag, attributes):
        assert tag == "line"

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


# What stands on it -------------------------------------------------------------------------------------------------


def test_the_page_is_one_small_file_and_every_link_leads_somewhere(written):
    text = written.read_text()
    read = Read(text)
    assert (read.open, read.fetched) == ([], []) and "@import" not in text and "url(" not in text
    assert written.stat().st_size < 3_000_000
    assert len(read.ids) == len(set(read.ids))
    inside = [link for link in read.links if link.startswith("#")]
    assert len(inside) >= 8 and {link[1:] for link in inside} <= set(read.ids)
    outside = {link for link in read.links if not link.startswith("#")}
    assert {"https://arxiv.org/abs/2602.16301", "play.html"} <= outside <= {"https://arxiv.org/abs/2602.16301", "https://arxiv.org/abs/2410.18636", "play.html"}


def test_headings_are_in_order_and_every_picture_is_told_in_words(written):
    read = Read(written.read_text())
    assert read.headings[0] == 1 and read.headings.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(read.headings, read.headings[1:], strict=False))
    told = [re.search(r"(reward|rate|vs learner) against \w.*from -?\d\.\d\d at ", image["alt"]) for image in read.images]
    assert sum(map(bool, told)) >= 4 + 12 + 4 + 12  # plots of Figures 1 to 4
    for image in read.images:
        assert len(image["alt"]) > 20
        size = Image.open(io.BytesIO(base64.b64decode(image["src"].removeprefix("data:image/png;base64,")))).size
        assert (int(image["width"]), int(image["height"])) == (size[0] // 2, size[1] // 2)


def test_five_sentences_say_for_whom_each_statement_is_confirmed(checked):
    found = findings(checked)
    assert len(found) == 5 and all(finding.sentence.endswith(".") for finding in found)
    shown = [line for finding in found[1:] for line in finding.evidence if not line.startswith("what decides")]
    assert len(shown) == 5 and all(re.search(r": PPI -?\d.*; A2C -?\d.* paper -?\d", line) for line in shown)
    mixed = {claim.agent: claim for claim in checked.claims if claim.title.startswith("Mixed pool: ")}
    for agent, label in (("ppi", "PPI"), ("a2c", "A2C")):
        row = mixed[agent].rows[0]
        assert f"{label} {row.ours.value:.2f} ({row.ours.low:.2f} to {row.ours.high:.2f}), paper {row.spec.target.value:.2f}" in found[1].evidence[0]
        assert (label, mixed[agent].verdict) in found[1].verdicts


@pytest.mark.parametrize(
    ("verdict", "said"),
    [(REPRODUCED, "confirmed for PPI and A2C."), (NOT_REPRODUCED, "confirmed for PPI, and not confirmed for A2C.")],
)
def test_agents_of_one_verdict_are_named_together(checked, verdict, said):
    found = findings(changed(changed(checked, "ppi", MIXED[0], 0.8, 0.9, REPRODUCED), "a2c", MIXED[0], 0.4, 0.9, verdict))
    assert f" is {said}" in found[0].sentence and f": {said}" in found[1].sentence


def test_findings_change_with_the_verdicts():
    def confirmed(results: Results) -> list[str]:
        return [finding.sentence for finding in findings(check(results))]

    empty = Results(ROOT / "results", "cpu", asked=[0], only=True)
    alone = confirmed(empty)
    assert alone != confirmed(COMMITTED) and all("not confirmed for PPI or A2C" in alone[number] for number in (0, 1, 3, 4))
    assert alone[2].count("cannot be judged for PPI or A2C") == 2, "without an interval nothing says that the baseline cooperates"


def changed(checked: Checked, agent: str, title: str, low: float, high: float, verdict: Verdict) -> Checked:
    """The first row of a claim has this interval and verdict."""

    def other(claim):
        if (claim.agent, claim.title) != (agent, title):
            return claim
        ours = replace(claim.rows[0].ours, value=(low + high) / 2, low=low, high=high)
        return replace(claim, rows=(replace(claim.rows[0], ours=ours, verdict=verdict), *claim.rows[1:]))

    return replace(checked, claims=tuple(map(other, checked.claims)))


@pytest.mark.parametrize(
    ("baseline", "low", "high", "verdict", "said"),
    [
        (REPRODUCED, 0.6, 0.8, REPRODUCED, "confirmed for PPI"),
        (REPRODUCED, 0.2, 0.6, NOT_REPRODUCED, "weaker than in the paper for PPI (cooperation drops by 0.40, interval 0.20 to 0.60, in the paper by 0.74; "),
        (REPRODUCED, -0.1, 0.6, NOT_REPRODUCED, "not confirmed for PPI"),
        (NOT_REPRODUCED, 0.2, 0.6, NOT_REPRODUCED, "cannot be judged for PPI, because these agents do not reach cooperation in the baseline"),
    ],
)
def test_an_ablation_is_judged_by_its_drop_and_only_where_the_baseline_cooperates(checked, baseline, low, high, verdict, said):
    found = changed(changed(checked, "ppi", MIXED[0], 0.4, 0.9, baseline), "ppi", ALONE[0], low, high, verdict)
    found = changed(changed(found, "a2c", MIXED[0], 0.4, 0.9, REPRODUCED), "a2c", ALONE[0], 0.6, 0.8, REPRODUCED)
    sentence = findings(found)[2].sentence.split("never meet simple players")[1]
    assert f": {said}" in sentence or f"and {said}" in sentence


def test_a_finding_shows_the_row_that_decides(checked):
    found = changed(changed(checked, "ppi", STEP_3[0], 0.3, 0.4, NOT_REPRODUCED), "a2c", MIXED[0], 0.1, 0.2, NOT_REPRODUCED)
    first = next(claim for claim in found.claims if (claim.agent, claim.title) == ("ppi", STEP_3[0])).rows[0]
    lines = findings(found)[4].evidence
    assert any(line.startswith(f"what decides for PPI: {first.spec.name} 0.35 (0.30 to 0.40), must be < 0.25") for line in lines)
    assert not any("what decides for A2C" in line for line in findings(found)[1].evidence), "the row that is shown decides"


def test_claims_that_were_not_run_say_so_in_their_heading(checked, monkeypatch):
    monkeypatch.setattr(page_module, "drawn", lambda name, given: [])
    text = page(checked, COMMITTED, "coopctx report")
    for claim in checked.claims:
        heading = re.search(rf"<h3>{AGENTS[claim.agent].label}, claim: {re.escape(escape(claim.title))}(.*?)</h3>", text).group(1)
        lacking = [row.ours is None for row in claim.rows]
        if claim.agent == "coala":
            assert re.sub("<.*?>", "", heading).strip() == ("not run" if all(lacking) else "partly not run" if any(lacking) else "")
    lacking = sum(all(row.ours is None for row in claim.rows) for claim in checked.claims if claim.agent == "coala")
    assert f"COALA, ours only, {lacking} of 6 claims not run" in text or not lacking


def test_every_word_of_the_glossary_is_used_on_the_page(written):
    before, glossary, after = re.split('<section id="words">|<section id="mixed-pool">', written.read_text())
    used = f"{before}{after}{re.sub('<dt>.*?</dt>', '', glossary)}".lower().replace("&nbsp;", " ")
    for word in re.findall("<dt>(.*?)</dt>", glossary):
        assert all(part in used for part in word.lower().removeprefix("the ").split(", ")), word


def test_cross_play_says_how_training_partners_and_strangers_cooperate():
    table = pd.read_parquet(ROOT / "results/cpu/arena.parquet").query("player_kind == 'ppi-mixed' and opponent_kind == 'ppi-mixed'")
    same = table["player_seed"] == table["opponent_seed"]
    partners = table[same & (table["player_learner"] != table["opponent_learner"])]["mutual_cooperation"].mean()
    strangers = table[~same]["mutual_cooperation"].mean()
    told = with_strangers(COMMITTED)
    assert f"trained together both cooperate in {partners:.0%} of the rounds; with PPI agents of other runs they do so in {strangers:.0%}" in told
    assert with_strangers(Results(Path("nowhere"), "cpu")) == ""


def test_every_claim_stands_in_a_section_beside_the_panels_that_show_it(checked):
    found = sections(checked, COMMITTED)
    shown = [claim for section in found for block in section.blocks for claim in block.claims]
    assert sorted(map(id, shown)) == sorted(map(id, checked.claims))
    for section in found:
        if section.number:
            for block in section.blocks:
                letters = {panel.letter for panel in block.panels}
                first = next(iter(block.claims))
                assert where(first).figure == section.number and set(where(first).panels) & letters
                assert all(section.captions[letter] for letter in letters), "a caption that can stand alone"
    assert [section.name for section in found][:4] == ["mixed-pool", "steps-ppi", "early", "steps-a2c"], "Figures 1, 2, 3, 4"


def test_a_panel_that_no_claim_names_follows_the_one_before(checked):
    claims = [claim for claim in checked.claims if claim.agent == "ppi" and where(claim).figure == "2"]
    drawn = [PagePanel(letter, "", (), (), "") for letter in "ABCDEF"]
    beside = [("".join(panel.letter for panel in block.panels), [claim.title.split(":")[0] for claim in block.claims]) for block in blocks(claims, drawn)]
    assert beside == [("AB", ["Step 1"]), ("CD", ["Step 2"]), ("EF", ["Step 3", "Step 3 before training"])]
    assert [(len(block.claims), len(block.panels)) for block in blocks((), drawn)] == [(0, 6)]
    assert [(len(block.claims), len(block.panels)) for block in blocks(claims, ())] == [(4, 0)]


def test_extortion_references_and_provenance_are_there(written, checked):
    text = " ".join(written.read_text().split())
    tests = extortion_tests(COMMITTED)
    assert [test.agent for test in tests][:2] == ["ppi", "a2c"]
    for test in tests:
        fits = pd.read_parquet(ROOT / f"results/cpu/{test.agent}-extortion-slopes.parquet").query("met == 'all' and player == 'Step 2'")
        assert f"<h3>{AGENTS[test.agent].label}: {test.answer}</h3>" in text and f"<td>{fits['chi'].item():.3f}</td>" in text
        assert ("not strict" in test.answer) == (fits["extorts"].item() is False)
    assert all(reference.name.replace("'", "&#39;") in text for reference in checked.references)
    assert "coopctx train --agent a2c --pool mixed --opponent-id --results" in text
    assert text.count("<dt>") >= 10 and all(f"<dt>{word}</dt>" in text for word in ("PPI", "A2C", "Tabular", "Fixed-ICL"))


def test_smoke_says_that_it_is_smoke_wherever_numbers_stand(checked, tmp_path, monkeypatch):
    told = caveat("smoke")
    monkeypatch.setattr(page_module, "drawn", lambda name, given: [])
    text = page(checked, Results(tmp_path, "smoke"), "coopctx report --preset smoke")
    tables = re.findall(r"<caption.*?</caption>", text, re.DOTALL)
    escaped = told.replace("'", "&#39;")
    assert len(tables) > 15 and all(escaped in caption for caption in tables)
    assert escaped in text.split('id="findings"')[1].split("</section>")[0]


def test_a_figure_that_cannot_be_drawn_is_named_and_the_rest_is_there(checked, monkeypatch):
    runs = Results(ROOT / "results", "cpu", tolerant=True)
    real = page_module.drawn

    def broken(name, given):
        if name == "fig3":
            raise RunError("seeds do not share every round")
        return real(name, COMMITTED) if name == "sensitivity" else []

    monkeypatch.setattr(page_module, "drawn", broken)
    text = page(checked, runs, "coopctx report")
    assert "<li>seeds do not share every round</li>" in text and text.count("<img") == sum(len(panel.pictures) for panel in real("sensitivity", COMMITTED))
    assert runs.left_out == ["seeds do not share every round"]


def test_words_of_others_stay_text(checked, monkeypatch):
    runs = Results(ROOT / "results", "cpu", tolerant=True)
    runs.left_out.append("<script>alert(1)</script>")
    monkeypatch.setattr(page_module, "drawn", lambda name, given: [])
    text = page(checked, runs, "coopctx report --results '<b>'")
    assert "<script" not in text and "<b>&#39;" not in text and "&lt;script&gt;" in text


# Pictures ----------------------------------------------------------------------------------------------------------


def test_a_figure_is_taken_apart_into_its_plots():
    figure = Figure(figsize=(6, 3))
    left, right = figure.subfigures(1, 2)
    for letter, part in zip("AB", (left, right), strict=True):
        part.text(0, 1, rf"{letter}. Training of $\mathit{{PPI}}^1_{{extort}}$")
        part.text(0, 0, f"Seeds of {letter}.")
        for axes in part.subplots(1, 2):
            axes.plot([1, 2], [0.25, 0.75], color="#ff0000", gid="line")
            axes.set(xlabel="Round", ylabel="Avg. Reward")
        part.legend(handles=axes.lines, labels=[r"$\mathit{PPI}^1$"])
    first, second = panels(figure)
    assert (first.letter, first.title, first.notes) == ("A", "Training of PPI 1 (extorter)", "Seeds of A.")
    assert [key.label for key in second.keys] == ["PPI 1"] and second.keys[0].colour == "#ff0000"
    assert len(first.pictures) == 2 and first.pictures[0].height == first.pictures[1].height
    assert first.pictures[0].alt == (
        "A. Training of PPI 1 (extorter): avg. reward against round. PPI 1: from 0.25 at 1 to 0.75 at 2."
    )


def test_a_heat_map_is_a_picture_with_its_bar_and_its_values_in_words():
    figure = Figure(figsize=(6, 3))
    left, right = figure.subplots(1, 2)
    shades = left.imshow([[0, 1], [0.5, float("nan")]])
    bar = figure.colorbar(shades, ax=left)
    left.set_title("A. Cross-play", loc="left")
    left.set_xticks([0, 1], ["PPI", "A2C"])
    left.set_yticks([0, 1], ["PPI", "random"])
    right.plot([1, 2], [0, 1], gid="line")
    figure.text(0, 0, "Means over 64 games.")
    (panel,) = panels(figure)
    map_, line = panel.pictures
    assert map_.alt == "A. Cross-play. PPI, PPI: 0.00. PPI, A2C: 1.00. random, PPI: 0.50." and "from 0.00" in line.alt
    box = bar.ax.get_tightbbox()
    assert map_.width * 2 >= box.x1 - left.get_tightbbox().x0 and panel.notes == "Means over 64 games."


def test_signs_become_words():
    assert plain(r"$\mathit{PPI}^1$ vs. $\mathit{Tabular}$") == "PPI 1 vs. Tabular"


# In a browser ------------------------------------------------------------------------------------------------------


@pytest.fixture
def opened(browser, written):
    """Open the page in a window of a size; whatever it asks for or complains of is in its ``trouble``."""
    contexts = []

    def open_page(size="desktop"):
        context = browser.new_context(viewport=SIZES[size])
        contexts.append(context)
        tab = context.new_page()
        tab.trouble = []
        tab.on("request", lambda asked: asked.url.split("#")[0] == written.as_uri() or asked.url.startswith("data:") or tab.trouble.append(asked.url))
        tab.on("pageerror", lambda error: tab.trouble.append(str(error)))
        tab.on("console", lambda message: tab.trouble.append(message.text))
        tab.goto(written.as_uri())
        return tab

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("size", SIZES)
def test_it_fits_the_window_and_every_text_can_be_read(opened, size):
    tab = opened(size)
    tab.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert tab.evaluate("document.documentElement.scrollWidth") <= SIZES[size]["width"]
    ratios = tab.evaluate(CONTRAST)
    assert len(ratios) > 300 and min(ratios)[0] >= 4.5, min(ratios)
    assert tab.trouble == []


def test_on_a_phone_plots_stand_below_each_other_and_beside_their_claims_on_a_desktop(opened):
    boxes = "[...document.querySelectorAll(selector)].slice(0, 2).map((each) => each.getBoundingClientRect().toJSON())"
    for size in SIZES:
        tab = opened(size)
        first, second = tab.evaluate(boxes.replace("selector", "'#mixed-pool img'"))
        claims, plots = (tab.evaluate(boxes.replace("selector", f"'#mixed-pool .{name}'"))[0] for name in ("claims", "figures"))
        if size == "phone":
            assert second["top"] >= first["bottom"] and plots["top"] >= claims["bottom"]
            assert first["width"] > 250
        else:
            assert second["left"] >= first["right"] and abs(second["top"] - first["top"]) < 3
            assert plots["left"] >= claims["right"] and abs(plots["top"] - claims["top"]) < 40


def test_the_findings_come_first_and_the_keyboard_reaches_all(opened):
    tab = opened()
    assert tab.get_attribute("html", "lang") == "en" and tab.title().startswith("Do selfish agents learn to cooperate?")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "Skip to the findings"
    tab.keyboard.press("Enter")
    top = tab.evaluate("document.querySelector('#findings h2').getBoundingClientRect().top")
    assert 0 <= top < 200
    seen = set()
    for _ in range(60):
        tab.keyboard.press("Tab")
        seen.add(tab.evaluate("document.activeElement.tagName + ' ' + document.activeElement.className"))
    assert {"SUMMARY ", "DIV wide"} <= seen
    assert tab.evaluate("[...document.querySelectorAll('th')].every((cell) => cell.scope)")
