"""Every relative link and anchor in the pages exists, and every page can be reached from README."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [path for name in ("*.md", "docs/*.md") for path in sorted(ROOT.glob(name))]
CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)


def links(page: Path) -> list[str]:
    """Targets of the page's links and images that are no web addresses."""
    return [target for target in LINK.findall(CODE.sub("", page.read_text())) if not re.match("[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the page's headings: lower case, no punctuation, hyphens for spaces."""
    headings = HEADING.findall(re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in links(page):
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists() and there.is_relative_to(ROOT), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(there), f"{page.name}: {target} is none of {sorted(anchors(there))}"


def test_every_page_is_reached_from_readme():
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in seen:
            seen.add(page)
            waiting += [
                there
                for target in links(page)
                if target.partition("#")[0].endswith(".md") and (there := (page.parent / target.partition("#")[0]).resolve())
            ]
    assert set(PAGES) - {ROOT / "figures/report.md"} <= seen


def test_a_wrong_anchor_would_be_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# What it's for: A & B\n```\n# no heading\n[code](nowhere)\n```\n[x](other.md#there), `[y](z)`, [w](http://w)\n")
    assert anchors(page) == {"what-its-for-a--b"} and links(page) == ["other.md#there"]
