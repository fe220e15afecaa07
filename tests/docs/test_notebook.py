"""The tour of docs/ runs from top to bottom, in a kernel of its own, with the outputs that it shows."""

import re

import pytest
from conftest import optional
from tour import TOUR, executed

NUMBERS = re.compile(r"-?\d+\.\d+")


@pytest.fixture(scope="module")
def tour():
    """The notebook as it is committed and as it comes out of a run."""
    for name in ("ipykernel", "sb3_contrib", "gymnasium", "nbclient"):
        optional(name)
    return optional("nbformat").read(TOUR, as_version=4), executed()


def text(cell) -> str:
    """What a cell prints and shows, as text; without numbers, whose last digits are a machine's own."""
    shown = [output.get("text", output.get("data", {}).get("text/plain", "")) for output in cell.get("outputs", [])]
    return re.sub(r"\s+", " ", NUMBERS.sub("#", " ".join(shown))).strip()


def test_it_has_ten_short_cells_and_shows_what_a_run_shows(tour):
    committed, run = ([cell for cell in notebook.cells if cell.cell_type == "code"] for notebook in tour)
    assert len(run) == 10 and all(cell.source.count("\n") < 12 for cell in run)
    for shown, ran in zip(committed, run, strict=True):
        assert text(shown) == text(ran), ran.source


def test_the_outside_library_learns_a_response(tour):
    last = tour[1].cells[-1].outputs[0]["text"]
    rewards = [float(found) for found in re.findall(r"(-?\d\.\d\d) per round", last)]
    assert len(rewards) == 8 and rewards[-1] > 0 > rewards[0]
