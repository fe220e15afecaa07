"""The page in a real browser: its planner against Python's, keyboard and touch, and its layout at every width."""

import base64
import json
from pathlib import Path

import pytest
import torch
from browsers import CONTRAST, SIZES

import coopctx
from coopctx.agents.beliefs import replayed
from coopctx.agents.ppi.model import predict
from coopctx.agents.ppi.planner import Planner, returns, stratified_uniforms
from coopctx.agents.trained import TrainedAgent
from coopctx.agents.trunk import Gates, step
from coopctx.errors import RunError, UsageError
from coopctx.evaluation.person.page import page, specification, write_page
from coopctx.game.arena import play
from coopctx.game.episodes import Episodes
from coopctx.game.matrix import PRISONERS_DILEMMA
from coopctx.game.memory_one import expected_cooperation
from coopctx.game.streams import stream
from coopctx.game.tabular import RandomTabular

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The pages of two packaged agents, by name."""
    folder = tmp_path_factory.mktemp("pages")
    for name in ("ppi-mixed", "a2c-tabular"):
        write_page(TrainedAgent.load(name), folder / f"{name}.html")
    return folder


@pytest.fixture
def opened(browser, pages):
    """Open the page of an agent; whatever it asks for or complains of is in its ``trouble``."""
    contexts = []

    def open_page(agent="ppi-mixed", size="desktop", fragment="", **settings):
        context = browser.new_context(viewport=SIZES[size], has_touch=size == "phone", **settings)
        contexts.append(context)
        tab = context.new_page()
        tab.trouble = []
        address = (pages / f"{agent}.html").as_uri()
        tab.on("request", lambda asked: asked.url.split("#")[0] == address or tab.trouble.append(asked.url))
        tab.on("pageerror", lambda error: tab.trouble.append(str(error)))
        tab.on("console", lambda message: tab.trouble.append(message.text))
        tab.goto(f"{address}#{fragment}")
        return tab

    yield open_page
    for context in contexts:
        context.close()


def some_games(rounds=12, games=2):
    pool = [RandomTabular(5, 2, stream(0, side)) for side in ("ego", "co")]
    return play(PRISONERS_DILEMMA, rounds, games, tuple(pool))[0]


def moves(episodes: Episodes) -> list:
    """Per game, (own, other's) actions by round, read off the observations."""
    codes = episodes.observations[:, 1:].long() - 1
    return torch.stack([codes // 2, codes % 2], -1).tolist()


AGENT = "const spec = JSON.parse(document.getElementById('agent').textContent);"


# The planner in JavaScript ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ["expected", "sampled"])
@torch.no_grad()
def test_its_action_values_are_pythons_for_the_same_random_numbers(opened, estimator):
    agent, games = TrainedAgent.load("ppi-mixed"), some_games()
    model = agent.model()
    gates, hidden, differences = Gates(*model.gates()), torch.zeros(len(games), model.hidden), []
    planner = Planner(5, 15, 100.0, 0.9, estimator)
    uniforms = torch.stack([planner.uniforms(len(games), 2, stream(1, t)) for t in range(games.rounds)], 1)
    script = AGENT + """
        spec.planner = {...spec.planner, ...settings};
        return games.map((rounds, game) => {
            const agent = new Coopctx.Agent(spec);
            return rounds.map((round, t) => {
                const thought = agent.think(Float64Array.from(uniforms[game][t]));
                agent.observe(...round);
                return {values: [...thought.values], prior: [...thought.prior], policy: [...thought.policy]};
            });
        });"""
    asked = {
        "games": moves(games),
        "uniforms": uniforms.flatten(2).tolist(),
        "settings": {"rollouts": 5, "discount": 0.9, "estimator": estimator},
    }
    there = opened().evaluate(f"({{games, uniforms, settings}}) => {{ {script} }}", asked)
    previous, reward = torch.full((len(games),), 2), torch.zeros(len(games))
    for t in range(games.rounds):
        index = model.index(games.observations[:, t], previous)
        hidden = step(gates, hidden, index, reward, None)
        values = returns(gates, 2, hidden, None, uniforms[:, t], 0.9, estimator == "expected")
        prior = predict(gates, hidden, 2).action
        for game, decision in enumerate(rounds[t] for rounds in there):
            differences.append((torch.tensor(decision["values"]) - values[game]).abs().max().item())
            assert decision["prior"] == pytest.approx(prior[game].exp().tolist(), abs=1e-4)
            weighted = torch.tensor(decision["prior"]).log() + 100 * torch.tensor(decision["values"])
            assert decision["policy"] == pytest.approx(weighted.softmax(0).tolist(), abs=1e-4)
        previous, reward = games.actions[:, t].long(), games.rewards[:, t]
    assert max(differences) < 1e-4 and len(differences) == len(games) * games.rounds


def test_its_random_numbers_are_stratified_as_pythons_are(opened):
    uniforms = opened().evaluate("[...Coopctx.stratifiedUniforms(7, 3, Coopctx.seeded(5))]")
    numbers = torch.tensor(uniforms).view(7, 3, 2)
    assert torch.equal((numbers * 7).floor().sort(0).values, torch.arange(7.0)[:, None, None].expand(7, 3, 2))
    assert stratified_uniforms(1, 7, 3, stream(0))[0].shape == numbers.shape
    assert numbers.flatten(1).T.argsort(1).unique(dim=0).shape[0] > 3  # not one order for all


@torch.no_grad()
def test_it_predicts_the_co_player_as_python_does(opened):
    agent, games = coopctx.load("ppi-mixed"), some_games()
    script = AGENT + """
        return games.map((rounds) => {
            const agent = new Coopctx.Agent(spec), bayes = new Coopctx.Bayes();
            let situation = 0;
            return rounds.map(([own, other]) => {
                const thought = agent.think(), expected = bayes.predict(situation);
                bayes.observe(situation, other);
                situation = 1 + 2 * other + own;
                agent.observe(own, other);
                return [thought.move[0], thought.policy[0], expected];
            });
        });"""
    there = torch.tensor(opened().evaluate(f"(games) => {{ {script} }}", moves(games)))
    here = replayed(agent.player(stream(0)), games)
    sure = (here.policy[:, :-1, 0] - there[..., 1]).abs() < 0.01  # where chance in the planner has not turned the decision
    assert sure.float().mean() > 0.5
    assert torch.allclose(there[..., 0][sure], here.prediction[:, :-1, 0][sure], atol=0.02)
    observed = games.observations[:, :-1].long()
    theirs = torch.where(observed == 2, 3, torch.where(observed == 3, 2, observed))  # CD is DC on the other side
    others = (games.observations[:, 1:].long() - 1) % 2
    assert torch.allclose(there[..., 2].double(), torch.from_numpy(expected_cooperation(theirs, others == 0)), atol=1e-6)


def test_an_actor_critics_policy_and_value_are_pythons(opened, monkeypatch):
    games = some_games()
    script = AGENT + """
        return games.map((rounds) => {
            const agent = new Coopctx.Agent(spec);
            return rounds.map((round) => {
                const thought = agent.think();
                agent.observe(...round);
                return [...thought.policy, thought.value];
            });
        });"""
    there = torch.tensor(opened("a2c-tabular").evaluate(f"(games) => {{ {script} }}", moves(games)))
    monkeypatch.setattr("coopctx.native.kernel_for", lambda *_: None)  # single precision throughout
    here = replayed(TrainedAgent.load("a2c-tabular").player(stream(0)), games)
    assert torch.allclose(there[..., :2], here.policy[:, :-1], atol=1e-4)
    assert torch.allclose(there[..., 2], here.value[:, :-1], atol=1e-4)


# Playing ---------------------------------------------------------------------------------------------------------------------


def test_a_game_by_keyboard(opened):
    tab = opened(fragment="seed=1&rounds=6")
    for key in ("c", "ArrowRight", "D", "ArrowLeft", "x", "c"):
        tab.keyboard.press(key)
    assert tab.inner_text("#told").startswith("Round 5: you cooperate, it ")
    assert tab.inner_text("#round") == "6" and tab.is_hidden("#ending")
    tab.keyboard.press("d")
    assert tab.is_visible("#ending") and tab.is_hidden("#cooperate")
    tab.keyboard.press("c")  # there is nothing left to play
    rows = tab.eval_on_selector_all("#log tbody tr", "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))")
    assert [row[1] for row in rows] == list("CDDCCD") and len(rows) == 6
    assert "You cooperated in 3 of 6 rounds" in tab.inner_text("#outcome")
    reading = tab.eval_on_selector_all("#reading tbody tr", "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))")
    assert len(reading) == 5 and reading[0][:2] == ["in the first round", "1 of 1"] and reading[0][3] == "50%"
    assert sum(int(row[1].split(" of ")[1]) for row in reading if row[1] != "–") == 6
    pay = {"CC": (1, 1), "CD": (-1, 2), "DC": (2, -1), "DD": (0, 0)}
    totals = [sum(pay[row[1] + row[2]][side] for row in rows) for side in (0, 1)]
    shown = [int(tab.inner_text(name).replace("−", "-")) for name in ("#your-total", "#its-total")]
    assert shown == totals and "nats" in tab.inner_text("#surprise")
    tab.click("#again")
    assert tab.inner_text("#your-total") == "0" and tab.is_visible("#cooperate") and tab.is_hidden("#ending")
    assert tab.trouble == []


def test_a_game_by_thumb(opened):
    tab = opened(size="phone", fragment="seed=2&rounds=10")
    for name in ("#cooperate", "#defect"):
        box = tab.locator(name).bounding_box()
        assert box["height"] >= 64 and box["width"] >= 120 and box["y"] > 844 / 2 and box["y"] + box["height"] <= 844
    for _ in range(5):
        tab.tap("#cooperate")
        tab.tap("#defect")
    assert tab.is_visible("#ending") and "You cooperated in 5 of 10 rounds" in tab.inner_text("#outcome")
    assert tab.trouble == []


def test_the_same_seed_is_the_same_game(opened):
    def transcript(seed):
        tab = opened(fragment=f"seed={seed}&rounds=10")
        for key in "cdccdcddcc":
            tab.keyboard.press(key)
        return tab.inner_text("#thoughts"), tab.inner_text("#outcome")

    assert transcript(3) == transcript(3)


def test_thoughts_are_shown_after_or_before_the_move(opened):
    tab = opened(fragment="seed=1&rounds=10")
    assert tab.inner_text("#thought-round") == "" and "–" in tab.inner_text("#thoughts")
    tab.keyboard.press("c")
    assert tab.inner_text("#thought-round") == "before round 1"
    after = tab.inner_text("#thoughts")
    tab.select_option("#when", "before")
    assert tab.inner_text("#thought-round") == "before round 2" and tab.inner_text("#thoughts") != after
    assert all(name in after for name in ("expected you to cooperate", "Q(C)", "Q(D)", "prior", "policy", "exact Bayes"))
    tab.select_option("#rounds", "50")
    assert tab.inner_text("#of") == "of 50" and tab.inner_text("#round") == "1"
    tab.focus("#rounds")
    tab.keyboard.press("d")  # a letter is a move wherever the focus is; there the arrows choose
    assert tab.inner_text("#round") == "2" and tab.inner_text("#of") == "of 50"


def test_the_chart_follows_the_game(opened):
    tab = opened(fragment="seed=1&rounds=20")
    for key in "ccddccdd":
        tab.keyboard.press(key)
    assert len(tab.query_selector_all("#chart polyline")) == 3
    assert len(tab.query_selector_all("#chart rect")) == 16
    assert "over 8 rounds" in tab.get_attribute("#chart svg", "aria-label")
    assert len(opened("a2c-tabular").query_selector_all("#key li")) == 2


def test_an_actor_critic_is_played_too(opened):
    tab = opened("a2c-tabular", fragment="seed=1&rounds=3")
    for key in "ccd":
        tab.keyboard.press(key)
    assert "It expected" not in tab.inner_text("#reading") and "value V" in tab.inner_text("#thoughts")
    assert tab.trouble == []


# How it looks ------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_it_fits_the_window_and_every_text_can_be_read(opened, size, scheme):
    tab = opened(size=size, fragment="seed=1&rounds=100", color_scheme=scheme)
    for key in "ccd" * 30:
        tab.keyboard.press(key)
    tab.click("summary")
    for when in ("playing", "over"):
        assert tab.evaluate("document.documentElement.scrollWidth") <= SIZES[size]["width"], when
        ratios = tab.evaluate(CONTRAST)
        assert len(ratios) > 50 and min(ratios)[0] >= 4.5, min(ratios)
        for key in "c" * 10:
            tab.keyboard.press(key)
    assert tab.trouble == []


def test_those_who_do_not_see_it_are_told(opened):
    tab = opened(fragment="seed=1&rounds=10")
    assert tab.get_attribute("html", "lang") == "en" and tab.get_attribute("#told", "aria-live") == "polite"
    names = tab.eval_on_selector_all("button, select", "all => all.map(one => one.textContent || one.labels[0].textContent)")
    assert all(names) and len(names) == 5
    assert tab.get_attribute("#chart svg", "role") == "img"
    assert tab.eval_on_selector_all("h1, h2", "all => all.map(one => one.tagName)")[0] == "H1"
    assert tab.evaluate("[...document.querySelectorAll('th')].every((cell) => cell.scope)")
    for key in "c" * 10:
        tab.keyboard.press(key)
    assert tab.evaluate("document.activeElement.id") == "ending-title"


# The file ------------------------------------------------------------------------------------------------------------------------


def test_the_committed_page_is_what_the_command_writes(tmp_path):
    write_page(TrainedAgent.load("ppi-mixed"), tmp_path / "play.html")
    assert (tmp_path / "play.html").read_bytes() == (ROOT / "figures" / "play.html").read_bytes(), "make package-agents"


def test_the_page_holds_everything_and_asks_for_nothing():
    text = page(TrainedAgent.load("ppi-mixed"))
    assert "{{" not in text and len(text) < 200_000
    assert "src=" not in text and "url(" not in text and "import " not in text.split("<script>")[1]
    assert "default-src 'none'" in text


def test_the_weights_in_it_are_the_runs_to_the_bit():
    agent = TrainedAgent.load("ppi-mixed")
    for learner in (1, 2):
        weights = specification(agent, learner)["weights"]
        for name, tensor in agent.learner_weights(learner).items():
            assert base64.b64decode(weights[name]) == tensor.numpy().tobytes()


def test_a_hostile_name_stays_text(tmp_path, monkeypatch):
    monkeypatch.setattr(TrainedAgent, "name", "</script><b>{{ agent }}</b>")
    text = page(TrainedAgent.load("a2c-tabular"))
    assert "</script><b>" not in text.split('id="agent">')[1].split("</script>")[0]
    data = text.split('id="agent">')[1].split("</script>")[0]
    assert json.loads(data)["label"].startswith("</script><b>{{ agent }}</b>")


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("play.txt", UsageError, r"--html must name a file that ends in .html, not '.*play.txt'"),
        ("mine.html", RunError, "mine.html is not a page that coopctx play wrote: it is left alone"),
        ("folder.html", RunError, "cannot write .*folder.html: a directory is in the way"),
        ("mine.html/play.html", RunError, "a file is in the way where a directory should be"),
    ],
)
def test_what_the_page_does_not_replace(tmp_path, name, error, message):
    (tmp_path / "mine.html").write_text("<p>my own</p>")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(error, match=message):
        write_page(TrainedAgent.load("a2c-tabular"), tmp_path / name)
    assert (tmp_path / "mine.html").read_text() == "<p>my own</p>"


def test_a_page_replaces_a_page(tmp_path):
    for name in ("a2c-tabular", "ppi-tabular"):
        write_page(TrainedAgent.load(name), tmp_path / "play.html", rounds=30)
    assert "<title>Play against ppi-tabular seed 0</title>" in (tmp_path / "play.html").read_text()
