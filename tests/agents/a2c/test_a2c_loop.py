"""The loop of an A2C run: what each iteration plays, learns from and measures, as recorded by the players."""

import pytest
import torch
from test_a2c_training import spec, train, training

from coopctx.agents.a2c.learner import A2CLearner
from coopctx.agents.policy import PolicyPlayer
from coopctx.game.matrix import PRISONERS_DILEMMA
from coopctx.runs.read import read_weights
from coopctx.runs.schema import SCHEMAS

RUNS = [spec(), spec(opponent_id=True), spec("tabular"), spec("learners"), spec("extortion"), spec("mutual-extortion")]


@pytest.fixture(autouse=True)
def seen_by_the_players_themselves(monkeypatch):
    """Every round goes through `act`; test_a2c compares the native kernel with it."""
    monkeypatch.setattr("coopctx.native.kernel_for", lambda *_: None)


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    """Results with Steps 1 and 2 of seeds 0 and 1."""
    results = tmp_path_factory.mktemp("steps")
    for pool in ("tabular", "extortion"):
        for seed in (0, 1):
            train(results, spec(pool, seed=seed))
    return results


@pytest.fixture
def updates(monkeypatch):
    """Every call of `A2CLearner.update`, with the weights before it."""
    calls, real = [], A2CLearner.update

    def watched(learner, episodes, kinds, iteration, threads):
        calls.append((learner, episodes, kinds, iteration, weights(learner.model)))
        return real(learner, episodes, kinds, iteration, threads)

    monkeypatch.setattr(A2CLearner, "update", watched)
    return calls


def weights(model) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("which", RUNS, ids=lambda which: which.name)
def test_an_iteration_learns_from_exactly_what_the_learner_itself_saw_and_did(which, steps, tmp_path, witness, updates):
    """Its own side of all its games of this iteration, played with the weights that the step then changes."""
    run = training(steps, which, tmp_path)
    for iteration in (1, 2):
        witness.forget()
        updates.clear()
        run._advance(iteration)
        assert [call[0] for call in updates] == run._learners
        for learner, episodes, _, number, before in updates:
            (player,) = witness.players_of(learner.model)
            seen, done = witness.played(player)
            assert number == iteration and len(episodes) == 10
            assert torch.equal(episodes.observations[:, :-1].long(), seen) and torch.equal(episodes.actions.long(), done)
            others = (episodes.observations[:, 1:].long() - 1) % 2
            assert torch.equal(episodes.rewards, PRISONERS_DILEMMA.reward(done, others))
            assert not torch.equal(weights(learner.model), before)


def test_the_kinds_of_games_that_a_learner_is_told_are_those_it_played(steps, tmp_path, witness, updates):
    """According to the records of the players on the other side of the same games."""
    for which in RUNS:
        run = training(steps, which, tmp_path, "a2c.batch_size=11", "pool.tabular_share=0.3")
        witness.forget()
        updates.clear()
        run._advance(1)
        for learner, episodes, kinds, _, _ in updates:
            own = torch.cat([episodes.actions[:, :-1].long(), torch.full((11, 1), -1)], 1)  # the last action is not seen in time
            others = (episodes.observations[:, 1:].long() - 1) % 2
            met = [{kind for kind, notes in who_noted(run, witness, learner).items() if row in notes} for row in rows(others, own)]
            expected = {"tabular": [("tabular", 11)], "extortion": [("frozen", 11)]}.get(which.pool, [("learner", 11)])
            if which.pool == "mixed":
                expected = [("tabular", 3), ("learner", 8)] if learner.number == 1 else [("learner", 8), ("tabular", 3)]
            assert met == [{kind} for kind, games in expected for _ in range(games)]
            assert kinds == [games for _, games in expected]


def rows(first, second) -> list[tuple[int, ...]]:
    return [tuple(row) for row in torch.cat([first, second], 1).tolist()]


def who_noted(run, witness, learner) -> dict[str, list]:
    """The games, (own actions, other's actions), that players of each kind except ``learner`` recorded."""
    found = {"tabular": [], "learner": [], "frozen": []}
    for player in witness.notes:
        model, (seen, done) = getattr(player, "_model", None), witness.played(player)
        if model is not learner.model:
            kind = "tabular" if model is None else "learner" if model in [x.model for x in run._learners] else "frozen"
            found[kind] += rows(done, torch.cat([(seen[:, 1:] - 1) % 2, torch.full((len(done), 1), -1)], 1))
    return found


def test_the_fixed_icl_plays_with_step_ones_very_weights_in_every_iteration(steps, tmp_path, witness):
    run = training(steps, spec("extortion"), tmp_path)
    expected = read_weights(spec("tabular").directory(steps))
    for iteration in (1, 2, 3):
        witness.forget()
        run._advance(iteration)
        run._measure(iteration, with_curves=False)
        frozen = [player for player in witness.notes if player._model is not run._learners[0].model]
        assert len(frozen) == 2
        for player in frozen:
            assert isinstance(player, PolicyPlayer)
            for name, tensor in player._model.state_dict().items():
                assert torch.equal(tensor, expected[f"learner1.{name}"])
            for folded, wanted in zip(player._gates, player._model.gates(), strict=True):
                assert torch.equal(folded, wanted), "what it steps with"


def test_the_learner_of_step_two_starts_afresh(steps, tmp_path):
    run = training(steps, spec("extortion"), tmp_path)
    frozen = run._others.player("fixed-icl", 1, "look")._model.state_dict()
    assert not any(torch.equal(tensor, frozen[name]) for name, tensor in run._learners[0].model.state_dict().items())


@pytest.mark.parametrize("which", [spec(), spec("tabular"), spec("mutual-extortion")], ids=lambda which: which.name)
def test_a_measurement_plays_games_of_its_own_and_changes_nothing(which, steps, tmp_path, witness, updates):
    """Of the agents after that many steps; the rows agree with the players' own records."""
    run = training(steps, which, tmp_path)
    run._advance(1)
    before = [weights(learner.model) for learner in run._learners]
    updates.clear()
    witness.forget()
    run._record(1)
    assert not updates and all(torch.equal(weights(x.model), old) for x, old in zip(run._learners, before, strict=True))
    rows = [dict(zip(SCHEMAS["training"].names, row, strict=True)) for row in run._run.rows["training"]]
    assert {row["iteration"] for row in rows} == {1}
    for learner in run._learners:
        (player,) = witness.players_of(learner.model)
        for folded, wanted in zip(player._gates, learner.model.gates(), strict=True):
            assert torch.equal(folded, wanted)
        _, done = witness.played(player)
        own = [row for row in rows if row["learner"] == learner.number and row["player"] == "ego"]
        assert sum(row["episodes"] for row in own) == len(done) == 10
        mean = sum(row["episodes"] * row["cooperation_rate"] for row in own) / 10
        assert mean == pytest.approx((done == 0).double().mean().item())


def test_diagnostics_are_means_over_the_steps_since_the_last_measurement(tmp_path, monkeypatch):
    run, told, real = training(tmp_path, spec(), tmp_path), [], A2CLearner.update

    def watched(learner, *arguments):
        update = real(learner, *arguments)
        told.append((learner.number, [term.item() for term in update]))
        return update

    monkeypatch.setattr(A2CLearner, "update", watched)
    run.run_all()
    names = ("loss_policy", "loss_value", "entropy", "gradient_norm")
    for iteration, since in {2: (1, 2), 3: (3,), 4: (4,), 6: (5, 6)}.items():
        for number in (1, 2):
            mine = [terms for n, terms in told if n == number]
            means = torch.tensor([mine[k - 1] for k in since]).mean(0).tolist()
            rows = [dict(zip(SCHEMAS["diagnostics"].names, row, strict=True)) for row in run._run.rows["diagnostics"]]
            found = {r["quantity"]: r["value"] for r in rows if (r["iteration"], r["learner"]) == (iteration, number)}
            assert [found[name] for name in names] == pytest.approx(means, rel=1e-5)
