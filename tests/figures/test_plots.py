"""Figures show the values of the parquet; gaps, errors, and reproducible files."""

import itertools
from pathlib import Path

import matplotlib.colors
import numpy as np
import pytest
import torch
from matplotlib.image import imread

from coopctx import figures as plots
from coopctx.errors import RunError, UsageError
from coopctx.figures import fig1, runs, style
from coopctx.runs.read import Results
from coopctx.runs.run import Run

PHASES = (1, 2, 3, 4)


def level(name: str, seed: int, phase: int, opponent: str, quantity: str) -> float:
    """A value that differs with everything it should be told apart by."""
    base = 0.1 * (1 + fig1_names("ppi").index(name.replace("a2c", "ppi"))) + (0.3 if opponent == "tabular" else 0.0)
    return base + 0.01 * phase + 0.02 * seed**2 + (0.25 if quantity == "reward" else 0.0)


def fig1_names(agent: str) -> list[str]:
    return [condition.runs(agent).name for condition in fig1.CONDITIONS]


def write_run(results: Path, name: str, seed: int, phases=PHASES, finish=True, opponents=("learner", "tabular"), shift=0.0) -> None:
    """A run whose values for learner 2 and for the co-player are far from learner 1's own, so that a mix-up shows."""
    agent, pool = name.split("-")[:2]
    keys = {"agent": agent, "experiment": pool, "opponent_id": name.endswith("opponent-id"), "seed": seed, "preset": "cpu"}
    with Run.open(results / "cpu" / name / f"seed-{seed}", keys, config={}, device="cpu", fresh=False) as run:
        for phase, learner, opponent, player in itertools.product(phases, (1, 2), opponents, ("ego", "co")):
            elsewhere = shift + 0.5 * (learner == 2) + 0.2 * (player == "co")
            row = {"iteration": phase, "learner": learner, "opponent": opponent, "player": player, "episodes": 8}
            for quantity in ("cooperation_rate", "reward"):
                row[quantity] = elsewhere + level(name, seed, phase, opponent, quantity)
            run.record("training", [row])
        if finish:
            run.finish({"weight": torch.zeros(1)})
        else:
            run.checkpoint({"phase": len(phases)})


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """Three seeds of every condition of panel A; the no-tabular runs hold measurements against tabular players too."""
    folder = tmp_path_factory.mktemp("plots") / "results"
    for name in fig1_names("ppi"):
        for seed in (0, 1, 3):
            write_run(folder, name, seed)
    return folder


def axes_by_label(figure) -> dict:
    return {axes.get_ylabel(): axes for axes in figure.get_axes()}


def mean_lines(axes) -> dict:
    return {line.get_gid(): line for line in axes.lines if line.get_gid()}


def caption(figure) -> str:
    return figure.subfigs[0].texts[-1].get_text()


def test_lines_are_means_and_bands_one_sample_sd(results):
    figure, _ = fig1.build(Results(results, "cpu"))
    for label, quantity in (("Avg. Reward", "reward"), ("Cooperation Rate", "cooperation_rate")):
        axes = axes_by_label(figure)[label]
        lines = mean_lines(axes)
        pairs = [f"{name}/{opponent}" for name in fig1_names("ppi") for opponent in ("learner", "tabular")]
        assert list(lines) == [pair for pair in pairs if pair != "ppi-learners/tabular"]
        bands = iter(axes.collections)
        for gid, line in lines.items():
            name, opponent = gid.split("/")
            values = np.array([[level(name, seed, phase, opponent, quantity) for phase in PHASES] for seed in (0, 1, 3)])
            np.testing.assert_array_equal(line.get_xdata(), PHASES)
            np.testing.assert_allclose(line.get_ydata(), values.mean(0), atol=1e-6)
            sd = values.std(0, ddof=1)
            corners = next(bands).get_paths()[0].vertices
            for phase, mean, spread in zip(PHASES, values.mean(0), sd, strict=True):
                at_phase = corners[corners[:, 0] == phase, 1]
                np.testing.assert_allclose([at_phase.min(), at_phase.max()], [mean - spread, mean + spread], atol=1e-6)


def test_colour_is_the_opponent_and_style_the_ablation(results):
    figure, _ = fig1.build(Results(results, "cpu"))
    lines = mean_lines(axes_by_label(figure)["Avg. Reward"])
    assert {gid: (line.get_color(), line.get_linestyle()) for gid, line in lines.items()} == {
        "ppi-mixed/learner": (style.COLOURS["learner"], "-"),
        "ppi-mixed/tabular": (style.COLOURS["tabular"], "-"),
        "ppi-mixed-opponent-id/learner": (style.COLOURS["learner"], "--"),
        "ppi-mixed-opponent-id/tabular": (style.COLOURS["tabular"], "--"),
        "ppi-learners/learner": (style.COLOURS["learner"], ":"),
    }
    colours, ablations = figure.subfigs[0].legends
    assert [text.get_text() for text in colours.get_texts()] == [
        r"$\mathit{PPI}^1$ vs. $\mathit{PPI}^2$",
        r"$\mathit{PPI}^1$ vs. $\mathit{Tabular}$",
    ]
    assert [text.get_text() for text in ablations.get_texts()] == ["Ablation", "None", "Opponent ID", "No Tabular Opp."]


def test_colours_differ_in_grey():
    def lightness(colour: str) -> float:
        """L* of CIELAB, 0 to 100."""
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in matplotlib.colors.to_rgb(colour)]
        luminance = float(np.dot(linear, (0.2126, 0.7152, 0.0722)))
        return 116 * luminance ** (1 / 3) - 16

    by_lightness = sorted(map(lightness, style.COLOURS.values()))
    assert min(np.diff(by_lightness)) > 10
    assert lightness(style.COLOURS["learner"]) - lightness(style.COLOURS["tabular"]) > 25


def test_limits_are_the_papers_and_widen_for_data_beyond(results, tmp_path):
    axes = axes_by_label(fig1.build(Results(results, "cpu"))[0])
    assert axes["Avg. Reward"].get_ylim() == (-0.1, 1.2)
    assert axes["Cooperation Rate"].get_ylim() == (-0.02, 1.02)
    assert axes["Avg. Reward"].get_xlim() == (0, PHASES[-1])
    for seed, shift in ((0, -1.5), (1, 2.0)):
        write_run(tmp_path, "ppi-mixed", seed, shift=shift)
    for wide in axes_by_label(fig1.build(Results(tmp_path, "cpu"))[0]).values():
        low, high = wide.get_ylim()
        for line in wide.lines:
            assert low < np.min(line.get_ydata()) and np.max(line.get_ydata()) < high


def test_caption_tells_seeds_and_preset(results):
    assert caption(fig1.build(Results(results, "cpu"))[0]) == (
        "Mean ± 1 s.d. over seeds. Preset cpu. Seeds: no ablation 0-1, 3; Opponent ID 0-1, 3; No Tabular Opp. 0-1, 3."
    )


def test_missing_runs_are_told_with_the_command_that_makes_them(tmp_path):
    results = tmp_path / "mine"
    write_run(results, "ppi-mixed", 0)
    write_run(results, "ppi-mixed", 1, finish=False)
    figure, missing = fig1.build(Results(results, "cpu", runs.SEEDS))
    train, where = "coopctx train --agent ppi --pool", f"--seeds 0-9 --results {results}"
    assert missing == [
        f"ppi-mixed: no finished run of seeds 1-9 ({train} mixed {where})",
        f"ppi-mixed-opponent-id: no finished run of seeds 0-9 ({train} mixed --opponent-id {where})",
        f"ppi-learners: no finished run of seeds 0-9 ({train} learners {where})",
    ]
    assert fig1.build(Results(results, "cpu"))[1] == [  # seeds that nobody asked for are not missing
        f"ppi-mixed-opponent-id: no finished run ({train} mixed --opponent-id {where})",
        f"ppi-learners: no finished run ({train} learners {where})",
    ]
    two = fig1.build(Results(results, "cpu", [0, 1]))[1]
    assert two[0] == f"ppi-mixed: no finished run of seeds 1 ({train} mixed --seeds 0-1 --results {results})"
    axes = axes_by_label(figure)["Avg. Reward"]
    assert list(mean_lines(axes)) == ["ppi-mixed/learner", "ppi-mixed/tabular"]
    assert not axes.collections
    assert "one seed: no band" in caption(figure)


def test_nothing_missing_when_every_seed_is_there(tmp_path):
    for name in fig1_names("ppi"):
        for seed in runs.SEEDS:
            write_run(tmp_path, name, seed, phases=(1,))
    assert fig1.build(Results(tmp_path, "cpu", runs.SEEDS))[1] == []


def test_panel_b_joins_once_a2c_has_runs(results, tmp_path):
    assert len(fig1.build(Results(results, "cpu"))[0].subfigs) == 1
    for name in ("ppi-mixed", "a2c-mixed"):
        write_run(tmp_path, name, 0)
    figure, _ = fig1.build(Results(tmp_path, "cpu"))
    assert [part.texts[0].get_text() for part in figure.subfigs] == ["A. PPI - Training Progress", "B. A2C - Training Progress"]
    assert [axes.get_xlabel() for axes in figure.subfigs[1].get_axes()] == ["Training Iteration"] * 2


def test_no_results_is_one_line_with_the_command(tmp_path):
    with pytest.raises(RunError, match="no finished run for fig1 under .*smoke; .*coopctx train .*--pool mixed --preset smoke"):
        plots.draw("fig1", Results(tmp_path, "smoke"), tmp_path / "figures", ["png"])
    assert not (tmp_path / "figures").exists()


def test_seeds_of_unequal_length_are_refused_by_name(tmp_path):
    write_run(tmp_path, "ppi-mixed", 0)
    write_run(tmp_path, "ppi-mixed", 1, phases=PHASES[:2])
    with pytest.raises(RunError, match=r"ppi-mixed/learner: .*seed 1 lacks iteration 3"):
        fig1.build(Results(tmp_path, "cpu"))


def test_measurements_missing_from_a_table_are_named(tmp_path):
    write_run(tmp_path, "ppi-mixed", 0, opponents=("learner",))
    with pytest.raises(RunError, match="ppi-mixed/tabular"):
        fig1.build(Results(tmp_path, "cpu"))


@pytest.mark.parametrize(("figure", "file_format", "named"), [("fig9", "png", "unknown figure 'fig9'; did you mean fig"), ("fig1", "gif", "gif.*png, pdf, svg")])
def test_unknown_names_are_refused_with_the_known_ones(results, tmp_path, figure, file_format, named):
    with pytest.raises(UsageError, match=named):
        plots.draw(figure, Results(results, "cpu"), tmp_path, ["png", file_format])
    assert not list(tmp_path.iterdir())


def test_output_that_cannot_be_written_is_named(results, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(RunError, match=r"cannot write .*file"):
        plots.draw("fig1", Results(results, "cpu"), tmp_path / "file", ["png"])


def test_files_are_complete_and_the_same_each_time(results, tmp_path):
    first = plots.draw("all", Results(results, "cpu"), tmp_path / "a", ["png", "pdf", "png"])
    again = plots.draw("fig1", Results(results, "cpu"), tmp_path / "b", ["png", "pdf"])
    assert first.paths == [tmp_path / "a" / "fig1.png", tmp_path / "a" / "fig1.pdf"]
    assert set((tmp_path / "a").iterdir()) == set(first.paths)
    for path, other in zip(first.paths, again.paths, strict=True):
        assert path.read_bytes() == other.read_bytes()
    assert b"CreationDate" not in first.paths[1].read_bytes()
    assert imread(first.paths[0])[..., :3].std() > 0.05
