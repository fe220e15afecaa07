"""Figures 2 and 3 show the right rows of the tables; missing steps and curves are reported."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from coopctx import figures as plots
from coopctx.errors import RunError
from coopctx.figures import curves, fig2, fig3, style
from coopctx.figures.runs import SEEDS, NothingToDraw
from coopctx.runs.read import Results
from coopctx.runs.run import Run

NAMED = ("tit-for-tat", "always-cooperate", "always-defect")
OPPONENTS = {
    "tabular": ("tabular", *NAMED),
    "extortion": ("fixed-icl",),
    "mutual-extortion": ("learner",),
    "mixed": ("learner", "tabular", *NAMED),
}
ALL = sorted({opponent for opponents in OPPONENTS.values() for opponent in opponents})
FIRST_CURVES = {"mutual-extortion": 0}  # elsewhere the first ones are of phase 2
PHASES, ROUNDS = (1, 2, 3, 4), range(1, 9)


def level(seed: int, iteration: int, learner: int, opponent: str, player: str, quantity: str, at: int = 0) -> float:
    """A value that differs with everything it should be told apart by."""
    kind = 0.01 * ALL.index(opponent) + 0.1 * (player == "co") + 0.2 * (learner == 2) + 0.4 * (quantity == "reward")
    return kind + 0.001 * iteration + 0.0001 * at + 0.003 * seed**2


def write_run(results: Path, pool: str, seed: int, curves: tuple[int, ...] = (2, 4), opponents=None, agent="ppi") -> None:
    keys = {"agent": agent, "experiment": pool, "opponent_id": False, "seed": seed, "preset": "cpu"}
    first = FIRST_CURVES.get(pool)
    with Run.open(results / "cpu" / f"{agent}-{pool}" / f"seed-{seed}", keys, config={}, device="cpu") as run:
        for opponent, player in itertools.product(opponents or OPPONENTS[pool], ("ego", "co")):
            for iteration, learner in itertools.product(PHASES if first is None else (first, *PHASES), (1, 2)):
                row = {"iteration": iteration, "learner": learner, "opponent": opponent, "player": player}
                run.record("training", [{**row, **measured(seed, **row), "episodes": 8}])
            for iteration, t in itertools.product(curves if first is None else (first, *curves), ROUNDS):
                row = {"iteration": iteration, "learner": 1, "opponent": opponent, "player": player}
                run.record("episodes", [{**row, **measured(seed, **row, at=t), "round": t, "episodes": 8}])
        run.finish({"weight": torch.zeros(1)})


def measured(seed: int, **where) -> dict[str, float]:
    return {quantity: level(seed, quantity=quantity, **where) for quantity in ("cooperation_rate", "reward")}


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("fig23") / "results"
    for pool, seed in itertools.product(OPPONENTS, (0, 1, 3)):
        write_run(folder, pool, seed)
    return folder


def panels(figure) -> dict:
    """The axes of each panel, by its letter: reward, then cooperation."""
    found = {}
    for part in figure.subfigs:
        if part.get_axes():
            title = part.texts[0].get_text()
            found[title.split(".")[0][-1]] = (title, part.get_axes())
    return found


def lines(axes) -> dict:
    return {line.get_gid(): line for line in axes.lines if line.get_gid()}


EXPECTED = {  # panel: title; iteration of its curves, None for training; learner, opponent, player, colour of each line
    "A": ("Step 1) A. Training Progress", None, [(1, "tabular", "ego", "learner"), (1, "tabular", "co", "tabular")]),
    "B": (
        "B. Episode after convergence (Phase=4)",
        4,
        [(1, opponent, "ego", opponent) for opponent in ("tit-for-tat", "always-defect", "always-cooperate", "tabular")],
    ),
    "C": ("Step 2) C. Training Progress", None, [(1, "fixed-icl", "ego", "learner"), (1, "fixed-icl", "co", "tabular")]),
    "D": (
        "D. Episode after convergence (Phase=4)",
        4,
        [(1, "fixed-icl", "ego", "learner"), (1, "fixed-icl", "co", "tabular")],
    ),
    "E": ("Step 3) E. Training Progress", None, [(1, "learner", "ego", "learner"), (2, "learner", "ego", "tabular")]),
    "F": ("F. Episode prior to training", 0, [(1, "learner", "ego", "learner"), (1, "learner", "co", "tabular")]),
}


def check(panel, expected, name: str) -> None:
    title, axes = panel
    expected_title, iteration, series = expected
    assert title == expected_title
    for quantity, part in zip(("reward", "cooperation_rate"), axes, strict=True):
        drawn = lines(part)
        assert list(drawn) == [f"{name}/{learner}/{opponent}/{player}" for learner, opponent, player, _ in series]
        for line, (learner, opponent, player, colour) in zip(drawn.values(), series, strict=True):
            assert line.get_color() == style.COLOURS[colour]
            where = {"learner": learner, "opponent": opponent, "player": player, "quantity": quantity}
            if iteration is None:
                x = PHASES if name != "ppi-mutual-extortion" else (0, *PHASES)
                values = [[level(seed, phase, **where) for phase in x] for seed in (0, 1, 3)]
            else:
                x, values = ROUNDS, [[level(seed, iteration, at=t, **where) for t in ROUNDS] for seed in (0, 1, 3)]
            np.testing.assert_array_equal(line.get_xdata(), x)
            np.testing.assert_allclose(line.get_ydata(), np.mean(values, 0), atol=1e-9)


def test_figure_two_shows_the_three_steps(results):
    figure, _ = fig2.build(Results(results, "cpu"))
    drawn = panels(figure)
    assert list(drawn) == list(EXPECTED)
    for letter, expected in EXPECTED.items():
        name = f"ppi-{('tabular', 'extortion', 'mutual-extortion')['ABCDEF'.index(letter) // 2]}"
        check(drawn[letter], expected, name)
    assert [axes.get_xlabel() for _, (axes, _) in drawn.values()] == ["Training Phase", "Round"] * 3
    assert figure.texts[-1].get_text() == "Mean ± 1 s.d. over seeds. Preset cpu. Seeds: Step 1 0-1, 3; Step 2 0-1, 3; Step 3 0-1, 3."


def test_figure_three_shows_the_first_curves_of_mixed_training(results):
    figure, _ = fig3.build(Results(results, "cpu"))
    opponents = ("learner", "tabular", "always-cooperate", "always-defect", "tit-for-tat")
    series = [(1, opponent, "ego", opponent) for opponent in opponents]
    check(panels(figure)["A"], ("A. PPI - Episode early in training (Phase=2)", 2, series), "ppi-mixed")
    (part,) = figure.subfigs
    assert [text.get_text() for text in part.legends[0].get_texts()][-1] == r"$\mathit{PPI}^1$ vs. Tit-for-Tat"
    assert part.texts[-1].get_text() == "Mean ± 1 s.d. over seeds. Preset cpu. Seeds: 0-1, 3."


def test_bands_are_one_sample_sd_and_axes_the_papers(results):
    axes = panels(fig2.build(Results(results, "cpu"))[0])["D"][1]
    corners = axes[0].collections[0].get_paths()[0].vertices
    values = [level(seed, 4, 1, "fixed-icl", "ego", "reward", at=5) for seed in (0, 1, 3)]
    at_round = corners[corners[:, 0] == 5, 1]
    expected = np.mean(values) + np.std(values, ddof=1) * np.array([-1, 1])
    np.testing.assert_allclose([at_round.min(), at_round.max()], expected, atol=1e-9)
    assert (axes[0].get_ylim(), axes[1].get_ylim()) == ((-1.0, 1.5), (-0.02, 1.02))
    assert axes[0].get_xlim() == (0, 8)


def test_steps_that_are_not_there_are_left_out_and_told(tmp_path):
    results = tmp_path / "mine"
    for seed in SEEDS:
        write_run(results, "tabular", seed)
    write_run(results, "extortion", 4, curves=())
    figure, missing = fig2.build(Results(results, "cpu", SEEDS))
    assert list(panels(figure)) == ["A", "B", "C"]
    command = f"(coopctx extort-probe --agent ppi --seeds 0-9 --results {results})"
    unasked = fig2.build(Results(results, "cpu"))[1]
    assert unasked == ["ppi-extortion: its runs recorded no within-episode curves", f"ppi-mutual-extortion: no finished run {command}"]
    assert missing == [
        f"ppi-extortion: no finished run of seeds 0-3, 5-9 {command}",
        "ppi-extortion: its runs recorded no within-episode curves",
        f"ppi-mutual-extortion: no finished run of seeds 0-9 {command}",
    ]
    assert figure.texts[-1].get_text().endswith("(one seed: no band). Preset cpu. Seeds: Step 1 0-9; Step 2 4.")
    assert fig3_missing(results) == f"coopctx train --agent ppi --pool mixed --seeds 0-9 --results {results}"


def fig3_missing(results: Path) -> str:
    with pytest.raises(NothingToDraw, match="no finished ppi-mixed run with within-episode curves") as refusal:
        fig3.build(Results(results, "cpu"))
    return str(refusal.value).split("make some with: ")[1]


def test_nothing_at_all_is_one_line_with_the_command(tmp_path):
    with pytest.raises(RunError, match="no finished run for fig2 under .*smoke; .*coopctx extort-probe --agent ppi --preset smoke"):
        plots.draw("fig2", Results(tmp_path, "smoke"), tmp_path / "figures", ["png"])
    with pytest.raises(RunError, match="no finished run for fig1"):
        plots.draw("all", Results(tmp_path, "smoke"), tmp_path / "figures", ["png"])
    assert not (tmp_path / "figures").exists()


def test_seeds_with_curves_of_different_phases_are_refused_by_name(tmp_path):
    write_run(tmp_path, "mixed", 0)
    write_run(tmp_path, "mixed", 2, curves=(3, 4))
    with pytest.raises(RunError, match="ppi-mixed: seeds do not share the first iteration .*: seed 0 has 2, seed 2 has 3"):
        fig3.build(Results(tmp_path, "cpu"))


def test_curves_missing_from_a_table_are_named(tmp_path):
    write_run(tmp_path, "mixed", 0, opponents=("learner", "tabular"))
    with pytest.raises(RunError, match="ppi-mixed/1/always-cooperate/ego"):
        fig3.build(Results(tmp_path, "cpu"))


def test_the_same_layout_serves_another_kind_of_agent(tmp_path):
    write_run(tmp_path, "extortion", 0, agent="a2c")
    figure, missing = plots.PAPER_FIGURES["fig4"](Results(tmp_path, "cpu"))
    _, (axes, _) = panels(figure)["C"]
    assert list(lines(axes)) == ["a2c-extortion/1/fixed-icl/ego", "a2c-extortion/1/fixed-icl/co"]
    assert axes.get_xlabel() == "Gradient Steps"
    assert panels(figure)["D"][0] == "D. Episode after convergence (Step=4)"
    assert panels(figure)["D"][1][0].get_ylim() == (-1.4, 2.4)
    assert "extort-probe --agent a2c --seeds 0-9" in missing[0]
    with pytest.raises(NothingToDraw, match="no finished run for fig4"):
        plots.PAPER_FIGURES["fig4"](Results(tmp_path, "smoke"))


def test_figure_three_has_a_panel_for_each_kind_of_agent(results, tmp_path):
    write_run(tmp_path, "mixed", 0, agent="a2c")
    figure, _ = fig3.build(Results(tmp_path, "cpu"))
    assert list(panels(figure)) == ["B"]
    title, (axes, _) = panels(figure)["B"]
    assert title == "B. A2C - Episode early in training (Iteration=2)"
    assert list(lines(axes)) == ["a2c-mixed/1/learner/ego", "a2c-mixed/1/tabular/ego"]


@pytest.mark.parametrize(("number", "text"), [(0, "0"), (30, "30"), (2500, "2.5k"), (70_000, "70k"), (1234, "1234")])
def test_iterations_are_written_as_in_the_paper(number, text):
    assert curves.shortened(number) == text


def test_all_draws_what_there_is_the_same_each_time(results, tmp_path):
    drawings = [plots.draw("all", Results(results, "cpu"), tmp_path / folder, ["png"]) for folder in "ab"]
    assert [path.name for path in drawings[0].paths] == ["fig1.png", "fig2.png", "fig3.png"]
    for path, other in zip(*(drawing.paths for drawing in drawings), strict=True):
        assert path.read_bytes() == other.read_bytes()
    assert len(drawings[0].missing) == len(set(drawings[0].missing))
