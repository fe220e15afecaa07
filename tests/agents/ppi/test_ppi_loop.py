"""The loop of a PPI run: what each phase plays, adds to the data, fits and measures, as recorded by the players."""

from dataclasses import replace

import pytest
import torch
from tiny_runs import config, open_run, spec, train

from coopctx.agents.ppi.learner import PPILearner
from coopctx.agents.ppi.planner import Planner
from coopctx.agents.ppi.player import PPIPlayer
from coopctx.agents.ppi.training import PPITraining
from coopctx.experiments.settings import Config, Member, PoolConfig
from coopctx.game.episodes import Episodes
from coopctx.game.matrix import PRISONERS_DILEMMA
from coopctx.game.streams import stream
from coopctx.game.tabular import TabularPlayer, named_strategy
from coopctx.runs.progress import SilentProgress
from coopctx.runs.read import Results, read_weights
from coopctx.runs.schema import SCHEMAS

CPU = torch.device("cpu")
FIELDS = ("observations", "actions", "rewards")


def settings_of(*overrides) -> Config:
    return config("measure.episode_phases=[3]", "ppi.episodes_per_phase=6", *overrides)


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    """Results with Steps 1 and 2 of seeds 0 and 1; Step 1 plans with settings of its own."""
    results = tmp_path_factory.mktemp("steps")
    for seed in (0, 1):
        train(results, spec("tabular", seed=seed), settings_of("ppi.inverse_temperature=3", "ppi.rollouts=3"))
        train(results, spec("extortion", seed=seed), settings_of())
    return results


def training(which, tmp_path, results=None, *overrides) -> PPITraining:
    """A run that has its initial data and is pre-trained."""
    settings = settings_of(*overrides)
    run = PPITraining(which, settings, open_run(tmp_path, which, settings), results or tmp_path, CPU, 1, SilentProgress())
    run._step(0)
    return run


def rows_of(run: PPITraining, table: str, iteration: int) -> list[dict]:
    """What is recorded so far of this phase."""
    rows = (dict(zip(SCHEMAS[table].names, row, strict=True)) for row in run._run.rows[table])
    return [row for row in rows if row["iteration"] == iteration]


def counts(which) -> dict[str, int]:
    """Episodes of a phase per kind of opponent, half and half of six in the mixed pool."""
    return {"mixed": {"learner": 3, "tabular": 3}, "tabular": {"tabular": 6}, "extortion": {"fixed-icl": 6}}.get(
        which.pool, {"learner": 6}
    )


RUNS = [spec(), spec(opponent_id=True), spec("tabular"), spec("learners"), spec("extortion"), spec("mutual-extortion")]


@pytest.mark.parametrize("which", RUNS, ids=lambda which: which.name)
def test_a_phase_adds_exactly_what_the_learner_itself_saw_and_did(which, steps, tmp_path, witness):
    """Its own side of every game, in order, after all that was there before; nothing of its opponents' side."""
    run = training(which, tmp_path, steps)
    for phase in (1, 2):
        before = [learner.data for learner in run._learners]
        witness.forget()
        run._step(phase)
        for learner, old in zip(run._learners, before, strict=True):
            new = learner.data
            assert len(new) == len(old) + 6
            for name in (*FIELDS, "identity"):
                assert torch.equal(getattr(new, name)[: len(old)], getattr(old, name))
            seen, done = (torch.cat(parts) for parts in zip(*map(witness.played, witness.players_of(learner.model)), strict=True))
            added = new[len(old) :]
            assert torch.equal(added.observations[:, :-1].long(), seen) and torch.equal(added.actions.long(), done)
            others = (added.observations[:, 1:].long() - 1) % 2
            assert torch.equal((added.observations[:, 1:].long() - 1) // 2, done), "own action first"
            assert torch.equal(added.rewards, PRISONERS_DILEMMA.reward(done, others))


@pytest.mark.parametrize("which", RUNS, ids=lambda which: which.name)
def test_learners_plan_against_as_many_of_each_opponent_as_the_pool_says(which, steps, tmp_path, witness):
    run = training(which, tmp_path, steps)
    witness.forget()
    matches = run._collect(1)
    expected = [(n, opponent) for opponent in counts(which) for n in range(1, len(run._learners) + 1)]
    assert [(match.learner, match.opponent) for match in matches] == expected
    for match in matches:
        model = run._learners[match.learner - 1].model
        assert len(match.ego) == len(match.co) == counts(which)[match.opponent]
        ego = witness.players_of(model)[list(counts(which)).index(match.opponent)]
        assert torch.equal(witness.played(ego)[1], match.ego.actions.long())
        assert ego._planner == Planner(2, 3, 100.0) == run._learners[match.learner - 1].planner
        assert match.divergence == ego.mean_divergence() > 0.01, "what it plays is not its prior"
        co = [p for p in witness.notes if torch.equal(witness.played(p)[1], match.co.actions.long())]
        kinds = {"tabular": TabularPlayer, "learner": PPIPlayer, "fixed-icl": PPIPlayer}
        assert any(isinstance(player, kinds[match.opponent]) and player is not ego for player in co)
        if match.opponent == "learner":
            assert any(player in witness.players_of(run._learners[2 - match.learner].model) for player in co)


# What is learned from -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", [spec(), spec(opponent_id=True), spec("learners"), spec("mutual-extortion")], ids=lambda w: w.name)
def test_a_phase_fits_to_the_data_of_the_phases_before_and_then_plays_with_that_fit(which, steps, tmp_path, monkeypatch):
    """Alg. 1: phi_k is trained on D_{k-1} before episodes are collected with the improved policy of phi_k."""
    order, fit, player = [], PPILearner.fit, PPILearner.player

    def watched_fit(learner, phase, *rest):
        order.append(("fit", learner.number, phase, len(learner.data)))
        return fit(learner, phase, *rest)

    def watched_player(learner, phase, *rest, **options):
        order.append(("play", learner.number, phase, len(learner.data)))
        return player(learner, phase, *rest, **options)

    monkeypatch.setattr(PPILearner, "fit", watched_fit)
    monkeypatch.setattr(PPILearner, "player", watched_player)
    run = training(which, tmp_path, steps)
    games = 80 if which.pool == "mutual-extortion" else 40
    pretrained = which.pool == "mutual-extortion"
    assert [entry for entry in order if entry[0] == "fit"] == ([] if pretrained else [("fit", 1, 0, 40), ("fit", 2, 0, 40)])
    for phase in (1, 2):
        order.clear()
        run._step(phase)
        data = games + 6 * (phase - 1)
        assert order[:2] == [("fit", 1, phase, data), ("fit", 2, phase, data)]
        assert set(order[2:]) == {("play", 1, phase, data), ("play", 2, phase, data)}


@pytest.mark.parametrize(
    ("which", "expected"),
    [(spec(), "tabular"), (spec("tabular"), "tabular"), (spec("extortion"), "tabular"), (spec("learners"), "random")],
    ids=lambda value: getattr(value, "name", value),
)
def test_the_first_data_are_games_of_two_players_that_do_not_learn(which, expected, steps, tmp_path, witness):
    """D_0: two random tabular players, fresh in every game, or uniformly random actions (App. A.4.2); seen by the first."""
    run = training(which, tmp_path, steps, "ppi.initial_epochs=0.1")
    players = [player for player in witness.notes if isinstance(player, TabularPlayer)][: 2 * len(run._learners)]
    assert len({player._generator.initial_seed() for player in players}) == 2 * len(run._learners)
    for learner, first, second in zip(run._learners, players[::2], players[1::2], strict=True):
        seen, done = witness.played(first)
        assert torch.equal(learner.data.observations[:, :-1].long(), seen) and torch.equal(learner.data.actions.long(), done)
        assert torch.equal((learner.data.observations[:, 1:].long() - 1) % 2, witness.played(second)[1])
        for player in (first, second):
            assert len(player.policies) == 40
            if expected == "random":
                assert (player.policies == 0.5).all()
            else:
                assert len(player.policies.unique(dim=0)) == 40 and player.policies.std() > 0.2


def test_step_three_begins_with_games_that_its_earlier_agents_play(steps, tmp_path, monkeypatch):
    run = training(spec("mutual-extortion"), tmp_path, steps)
    players = [named_strategy(f"always-{word}", stream(0, word)) for word in ("cooperate", "defect")]
    monkeypatch.setattr(run, "_earlier_players", lambda learner: tuple(players))
    played = run._initial_episodes(1, "play")
    assert len(played) == 40 and (played.actions == 0).all() and (played.rewards == -1).all()


def test_the_opponents_of_a_pool_of_ones_own_are_met_in_its_order(tmp_path):
    games = {"tabular": 1, "always-defect": 2, "learner": 3}
    members = tuple(Member(opponent=opponent, share=number / 6) for opponent, number in games.items())
    which, settings = spec("custom"), replace(settings_of(), pool=PoolConfig(members=members))
    run = PPITraining(which, settings, open_run(tmp_path, which, settings), tmp_path, CPU, 1, SilentProgress())
    run._step(0)
    assert [(match.learner, match.opponent, len(match.ego)) for match in run._collect(1)] == [
        (learner, opponent, number) for opponent, number in games.items() for learner in (1, 2)
    ]


# The frozen agent -----------------------------------------------------------------------------------------------------


def test_the_fixed_icl_plays_with_step_ones_very_weights_and_planner_in_every_phase(steps, tmp_path, witness):
    """Bit for bit, from the first phase to the last; its random numbers are others in each."""
    run = training(spec("extortion"), tmp_path, steps)
    weights = read_weights(spec("tabular").directory(steps))
    streams = set()
    for phase in (1, 2, 3):
        witness.forget()
        run._step(phase)
        (frozen,) = [p for p in witness.notes if isinstance(p, PPIPlayer) and p._model is not run._learners[0].model][:1]
        assert frozen._planner == Planner(3, 3, 3.0)
        found = frozen._model.state_dict()
        assert {f"learner1.{name}" for name in found} == set(weights)
        assert all(torch.equal(tensor, weights[f"learner1.{name}"]) for name, tensor in found.items())
        for folded, expected in zip(frozen._gates, frozen._model.gates(), strict=True):
            assert torch.equal(folded, expected), "what it steps with"
        streams.add(frozen._generator.initial_seed())
    assert len(streams) == 3
    after = run._needed[0].weights[0]
    assert all(torch.equal(tensor, weights[f"learner1.{name}"]) for name, tensor in after.items())


def test_the_learner_of_step_two_starts_afresh_and_learns(steps, tmp_path):
    run = training(spec("extortion"), tmp_path, steps)
    frozen, own = run._needed[0].weights[0], run._learners[0].model.state_dict()
    assert not any(torch.equal(tensor, frozen[name]) for name, tensor in own.items())
    before = own["head.weight"].clone()
    run._step(1)
    assert not torch.equal(run._learners[0].model.state_dict()["head.weight"], before)


# What is measured -----------------------------------------------------------------------------------------------------


def test_held_out_losses_are_taken_after_the_fit_on_games_that_it_has_not_seen(tmp_path, monkeypatch, witness):
    """On the ego's episodes of each match, by the very model that played them, before they join the data."""
    run, seen = training(spec(), tmp_path), []
    witness.forget()
    evaluate = PPILearner.evaluate

    def watched(learner, episodes: Episodes):
        losses = evaluate(learner, episodes)
        seen.append((learner.number, len(learner.data), episodes, losses))
        return losses

    monkeypatch.setattr(PPILearner, "evaluate", watched)
    run._step(1)
    assert [(number, size) for number, size, _, _ in seen] == [(1, 40), (2, 40), (1, 40), (2, 40)]
    rows = {(row["learner"], row["quantity"]): row["value"] for row in rows_of(run, "diagnostics", 1)}
    for (number, _, episodes, losses), opponent in zip(seen, ["learner", "learner", "tabular", "tabular"], strict=True):
        learner = run._learners[number - 1]
        added = learner.data[40:43] if opponent == "learner" else learner.data[43:46]
        assert torch.equal(episodes.actions, added.actions)
        assert rows[number, f"nll_observation_{opponent}"] == losses.observation
        assert rows[number, f"nll_action_{opponent}"] == losses.action
        assert rows[number, f"squared_error_reward_{opponent}"] == losses.reward
        ego = witness.players_of(learner.model)[["learner", "tabular"].index(opponent)]
        assert rows[number, f"kl_{opponent}"] == ego.mean_divergence()


def test_curves_against_named_strategies_are_games_of_learner_one(tmp_path, witness):
    run = training(spec(), tmp_path)
    run._step(1)
    run._step(2)
    witness.forget()
    run._step(3)
    players = list(witness.notes)
    for name, policy in (("tit-for-tat", [1, 1, 0, 1, 0]), ("always-cooperate", [1] * 5), ("always-defect", [0] * 5)):
        (strategy,) = [p for p in players if type(p) is TabularPlayer and p.policies[0, :, 0].tolist() == policy]
        ego = players[players.index(strategy) - 1]  # who acts first in the same game
        assert ego._model is run._learners[0].model
        for player, side in ((ego, "ego"), (strategy, "co")):
            _, done = witness.played(player)
            curve = [row for row in rows_of(run, "episodes", 3) if (row["opponent"], row["player"]) == (name, side)]
            assert [row["cooperation_rate"] for row in curve] == pytest.approx((done == 0).double().mean(0).tolist())
            assert {row["episodes"] for row in curve} == {6} == {len(done)}


def test_the_weights_that_are_kept_are_those_after_the_last_fit(tmp_path, monkeypatch):
    kept, run_all = [], PPITraining.run_all
    monkeypatch.setattr(PPITraining, "run_all", lambda run: (kept.append(run), run_all(run)))
    train(tmp_path, spec(), settings_of("ppi.phases=2"))
    weights = read_weights(spec().directory(tmp_path))
    assert len(weights) == 2 * len(kept[0]._learners[0].model.state_dict())
    for learner in kept[0]._learners:
        for name, tensor in learner.model.state_dict().items():
            assert torch.equal(weights[f"learner{learner.number}.{name}"], tensor)
    assert set(Results(tmp_path, "smoke").table("ppi-mixed", "training").iteration) == {1, 2}
