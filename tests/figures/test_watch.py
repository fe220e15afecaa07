"""Figures of whole games and of cross-play: what stands in them, from files and from runs, and what is refused."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from matplotlib.colors import to_rgb
from tiny_runs import config, spec, train

from coopctx import figures
from coopctx.agents.trained import TrainedAgent
from coopctx.analysis.played import crossplay, games
from coopctx.errors import UsageError
from coopctx.figures import arena, episodes, style
from coopctx.game.streams import stream
from coopctx.report import watch as blocks
from coopctx.runs.read import Results

ROOT = Path(__file__).parents[2]
ROUNDS = 8


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Two seeds of a mixed run, Steps 1 and 2 of seed 0."""
    folder = tmp_path_factory.mktemp("results")
    for which in (spec("mixed"), spec("mixed", seed=1), spec("tabular"), spec("extortion")):
        train(folder, which, config("ppi.phases=1"))
    return folder


@pytest.fixture(scope="module")
def run(results):
    return str(spec("mixed").directory(results))


# Whole games ------------------------------------------------------------------------------------------------------


def scene(outcomes, **changes) -> games.Scene:
    codes = np.array([[games.OUTCOMES.index(name) if name else -1 for name in row] for row in outcomes])
    blank = np.full(codes.shape, np.nan)
    keys = {"agent": "ppi", "experiment": "mixed", "seed": 0, "preset": "cpu", "trained": True, "opponent": "grim"}
    return games.Scene(**{**keys, "outcomes": codes, "prediction": blank, "bayes": blank, "policy": blank, **changes})


def test_shares_and_hits_count_what_was_played():
    one = scene([["CC", "CD", "DC", ""], ["CC", "DD", "DD", "DD"]])
    assert one.shares(1, 2) == {"CC": 0.5, "CD": 0.25, "DC": 0, "DD": 0.25}
    assert one.shares(4, 4) == {"CC": 0, "CD": 0, "DC": 0, "DD": 1}
    assert one.hit(np.full((2, 4), 0.75)) == pytest.approx((3 * 0.75 + 4 * 0.25) / 7)  # cooperated three times, defected four
    assert np.isnan(one.shares(9, 9)["CC"])


def test_like_games_lie_side_by_side():
    rows = [["CC"] * 6, ["DD"] * 6, ["CC"] * 5 + ["CD"], ["DD"] * 5 + ["DC"], ["CC"] * 6, ["DD"] * 6]
    order = episodes.order(scene(rows).outcomes)
    kinds = [rows[game][0] for game in order]
    assert sorted(order) == list(range(6)) and len(list(itertools.groupby(kinds))) == 2
    assert episodes.order(scene(rows[:1]).outcomes).tolist() == [0]


def test_colours_and_greys_are_the_games():
    rows = [["CC", "CD", "DC", "DD"]]
    shown = scene(rows, prediction=np.array([[0.1, 0.2, 0.3, 0.4]]), policy=np.array([[0.9] * 4]))
    other = scene(rows, agent="a2c", policy=np.array([[0.6] * 4]))
    figure = episodes.figure([shown, other], "these")
    images = {axes.get_title(loc="left"): axes.images[0] for axes in figure.get_axes() if axes.images}
    drawn = images["A. Trained agent with grim"]
    colours = drawn.cmap(drawn.norm(drawn.get_array()))[0, :, :3]
    np.testing.assert_allclose(colours, [to_rgb(style.JOINT_ACTIONS[name]) for name in rows[0]], atol=0.01)
    assert images["it expects the other to cooperate"].get_array().tolist() == [[0.1, 0.2, 0.3, 0.4]]
    assert images["its policy: it cooperates"].get_array().tolist() == [[0.6] * 4]
    assert {text.get_text() for text in figure.texts} >= {"PPI, seed 0", "A2C, seed 0"}


def lightness(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 116 * float(np.dot(linear, (0.2126, 0.7152, 0.0722))) ** (1 / 3) - 16


def test_joint_actions_differ_in_print_without_colour():
    assert min(np.diff(sorted(map(lightness, style.JOINT_ACTIONS.values())))) > 10


def test_a_run_is_watched_before_and_after_training_and_with_its_own_kind(coopctx_main, results, run):
    words = ["plot", "episodes", run, "--games", "3", "--format", "png", "--episodes", "games.parquet"]
    status, out, err = coopctx_main(*words)
    assert (status, err) == (0, "") and "figures-smoke/episodes-ppi-mixed-seed-0.png" in out and "games.parquet: written" in out
    found = games.scenes(games.read("games.parquet"))
    assert [episodes.title(each) for each in found] == [
        "Untrained agent with its untrained partner",
        "Trained agent with its training partner",
        "Trained agent with a copy of itself",
        "Trained agent with a stranger, seed 1",
        "Trained agent with tabular",
        "Extorter with Fixed-ICL",
    ]
    assert all(each.outcomes.shape == (3, ROUNDS) for each in found) and found[-1].experiment == "extortion"
    status, out, err = coopctx_main("plot", "episodes", "games.parquet", "--format", "png")  # the same picture from the file
    assert (status, err) == (0, "") and "figures-smoke/episodes-games.png" in out
    assert open("figures-smoke/episodes-games.png", "rb").read() == open("figures-smoke/episodes-ppi-mixed-seed-0.png", "rb").read()


def test_against_names_whom_it_meets(coopctx_main, run):
    status, out, err = coopctx_main("plot", "episodes", run, "--against", "grim", "--games", "2", "--format", "svg", "--episodes", "g.parquet")
    assert (status, err) == (0, "") and "episodes-ppi-mixed-seed-0.svg" in out
    assert [(each.trained, each.opponent) for each in games.scenes(games.read("g.parquet"))] == [(False, "grim"), (True, "grim")]


@pytest.mark.parametrize("against", [(), ("--against", "grim")])
def test_agents_that_began_as_those_of_other_runs_are_not_shown_untrained(coopctx_main, tmp_path, against):
    for which in (spec("tabular"), spec("tabular", seed=1), spec("extortion"), spec("extortion", seed=1), spec("mutual-extortion")):
        train(tmp_path, which, config("ppi.phases=1"))
    run = which.directory(tmp_path)
    words = ["plot", "episodes", str(run), *against, "--games", "2", "--format", "svg", "--episodes", "g.parquet"]
    status, _, err = coopctx_main(*words)
    found = games.scenes(games.read("g.parquet"))
    assert (status, err) == (0, "") and found and all(each.trained for each in found)
    with pytest.raises(UsageError, match="it has no untrained agents"):
        TrainedAgent.load(run).untrained()


# Cross-play -------------------------------------------------------------------------------------------------------


def write(path, kinds=("a", "b"), seeds=(0, 1, 2), episodes_=1, naive=False) -> None:
    """A cross-play table of agents whose reward is 0.1 times their kind's place less that of the opponent's."""
    who = [(kind, seed) for kind in kinds for seed in seeds] + ([("naive", None)] if naive else [])
    rows = []
    for (one, s), (other, t), episode in itertools.product(who, who, range(1, episodes_ + 1)):
        if s is None and t is None:
            continue
        row = dict.fromkeys(crossplay.SCHEMA.names, 0.0) | {"episodes": episodes_, "rounds": 10, "games": 4, "episode": episode}
        for side, kind, seed in (("player", one, s), ("opponent", other, t)):
            name = kind if seed is None else f"{kind} seed {seed}"
            row |= {side: name, f"{side}_kind": kind, f"{side}_seed": seed, f"{side}_learner": None if seed is None else 1}
        place = {kind: 0.1 * number for number, kind in enumerate((*kinds, "naive"))}
        row |= {"reward": place[one] - place[other] + 0.01 * episode, "co_reward": place[other] - place[one], "mutual_cooperation": 0.5 + 0.5 * (one == other)}
        rows.append(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, crossplay.SCHEMA), path)


def test_heat_maps_have_the_tables_numbers(tmp_path):
    write(tmp_path / "cpu" / crossplay.FILE)
    write(tmp_path / "cpu" / crossplay.SERIES_FILE, episodes_=3, naive=True)
    figure, missing = arena.build(Results(tmp_path, "cpu"))
    assert missing == []
    maps = {axes.images[0].get_gid(): axes.images[0].get_array() for axes in figure.get_axes()[::-1] if axes.images}
    expected = np.where(np.kron(np.eye(2), np.ones((3, 3))), 1.0, 0.5)
    np.testing.assert_array_equal(maps["agents"], expected)
    np.testing.assert_allclose(maps["kinds"], [[0.01, -0.09], [0.11, 0.01]])  # of the first panel
    lines = {line.get_gid(): line for axes in figure.get_axes() for line in axes.lines if line.get_gid()}
    np.testing.assert_allclose(lines["a/naive/reward"].get_ydata(), [-0.19, -0.18, -0.17])
    np.testing.assert_allclose(lines["b/naive/co_reward"].get_ydata(), [0.1] * 3)
    texts = [text.get_text() for axes in figure.get_axes() for text in axes.texts]
    assert "0.11\nx" in texts and "-0.09\n−x" in texts and "0.01\n=" not in texts
    limits = {axes.get_ylim() for axes in figure.get_axes() if axes.get_title() in ("a", "b")}
    assert len(limits) == 1


def test_plot_all_draws_what_there_is_and_the_same_bytes(coopctx_main, tmp_path):
    write(tmp_path / "results/cpu" / crossplay.FILE)
    status, out, err = coopctx_main("plot", "all", "--format", "png")
    assert (status, err) == (0, "") and "figures/arena.png" in out and "make games" in out
    first = (tmp_path / "figures/arena.png").read_bytes()
    assert coopctx_main("plot", "arena", "--format", "png")[0] == 0
    assert (tmp_path / "figures/arena.png").read_bytes() == first


def test_a_damaged_file_of_games_stops_no_other_figure(coopctx_main, tmp_path):
    write(tmp_path / "results/cpu" / crossplay.FILE)
    (tmp_path / "results/cpu" / games.FILE).write_text("PAR1")
    status, out, err = coopctx_main("plot", "all", "--format", "png")
    assert status == 1 and "figures/arena.png" in out and "games.parquet is not a Parquet file" in err


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["arena"], 1, "no cross-play in results/cpu/arena.parquet (make games, or coopctx arena RUN... --out"),
        (["episodes"], 1, "no games in results/cpu/games.parquet (make games, or coopctx plot episodes RUN --episodes"),
        (["fig1", "pairs.parquet"], 2, "plot fig1 takes no RUN, FILE, --against, --games or --episodes"),
        (["fig1", "--games", "3"], 2, "plot fig1 takes no RUN"),
        (["episodes", "--games", "3"], 2, "need a RUN that plays: coopctx plot episodes RUN"),
        (["arena", "pairs.parquet", "pairs.parquet"], 2, "plot arena takes one FILE.parquet"),
        (["arena", "ppi-mixed"], 2, "plot arena takes one FILE.parquet"),
        (["arena", "no.parquet"], 1, "cannot read no.parquet"),
        (["episodes", "pairs.parquet"], 1, "pairs.parquet does not have the columns of whole games"),
        (["episodes", "pairs.parquet", "--games", "3"], 2, "a FILE.parquet is drawn alone"),
        (["episodes", "nowhere"], 1, "nowhere is not a finished run"),
        (["episodes", "ppi-mixed", "--games", "0"], 2, "--games must be an integer >= 1, not 0"),
        (["fig1", "--games", "0"], 2, "plot fig1 takes no RUN"),
        (["episodes", "ppi-mixed", "--seeds", "0-2"], 2, "--results and --seeds choose among a preset's runs"),
        (["episodes", "ppi-mixed", "--results", "elsewhere"], 2, "--results and --seeds choose among a preset's runs"),
        (["episodes", "ppi-mixed", "--against", "tit-for-tot", "--games", "1"], 2, "unknown opponent 'tit-for-tot'"),
        (["episodes", "ppi-mixed", "--episodes", "mine.csv"], 2, "--episodes must end in .parquet, not 'mine.csv'"),
        (["episodes", "ppi-mixed", "--episodes", "pairs.parquet"], 1, "there is a file that --episodes did not write"),
        (["arena", "pairs.parquet", "--format", "gif"], 2, "unknown format 'gif'"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_line(coopctx_main, tmp_path, words, status, message):
    write(tmp_path / "pairs.parquet")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    got, out, err = coopctx_main("plot", *words)
    assert (got, out) == (status, "") and message in err and err.count("\n") == 1
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


# The blocks of the pages ------------------------------------------------------------------------------------------


def test_blocks_state_the_tables_numbers(tmp_path):
    write(tmp_path / "cpu" / crossplay.FILE)
    write(tmp_path / "cpu" / crossplay.SERIES_FILE, episodes_=3, naive=True)
    text = blocks.arena(Results(tmp_path, "cpu"))
    assert "| `a` | strangers of its kind | 1.00 | 1.000 to 1.000 | 3 |" in text
    assert "Over 3 episodes of 10 rounds with the same partner: `a` is exploited by `b` (difference in reward -0.18, -0.180 to -0.180)" in text
    assert "`b` is exploited by naive learners" in text
    assert blocks.episodes(Results(tmp_path, "cpu")) == blocks.NOT_PLAYED


def test_the_block_of_whole_games_counts_outcomes(coopctx_main, run, tmp_path):
    (tmp_path / "smoke").mkdir()
    coopctx_main("plot", "episodes", run, "--games", "4", "--format", "png", "--episodes", "smoke/games.parquet")
    table = pd.read_parquet("smoke/games.parquet").query("player == 'ego' and experiment == 'extortion' and round > 4")
    share = (table["own"] + table["other"] == "DC").mean()
    text = blocks.episodes(Results(tmp_path, "smoke"))
    assert f"only the extorter defects in {share:.0%}" in text and "PPI with a copy of itself in" in text


@pytest.mark.parametrize("name", ["episodes", "arena"])
def test_the_committed_figures_are_those_of_the_committed_tables(tmp_path, name):
    (drawn,) = figures.draw(name, Results(ROOT / "results", "cpu"), tmp_path, ["pdf"]).paths
    assert drawn.read_bytes() == (ROOT / f"figures/{name}.pdf").read_bytes(), "make figures"


def test_the_committed_games_are_those_of_the_committed_agents():
    """What each agent holds before the first round of its games is what its committed weights give."""
    table = games.read(ROOT / "results/cpu" / games.FILE).query("player == 'ego' and trained and round == 1")
    for (agent, pool, seed), rows in table.groupby(["agent", "experiment", "seed"]):
        player = TrainedAgent.load(ROOT / f"results/cpu/{agent}-{pool}/seed-{seed}").player(stream(0))
        player.begin(1)
        player.act(torch.zeros(1, dtype=torch.long), torch.zeros(1))
        beliefs = player.beliefs
        held, column = (beliefs.policy, "policy") if beliefs.prior is None else (beliefs.prior, "prior")
        assert rows[column].tolist() == pytest.approx([float(held[0, 0])] * len(rows), abs=1e-4), "make games"
