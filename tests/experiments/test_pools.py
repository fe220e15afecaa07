"""The paper's runs as data: a learner's opponents, a run's folder, the runs that it needs."""

from pathlib import Path

import pytest

from coopctx.errors import UsageError
from coopctx.experiments.config_file import ConfigFile
from coopctx.experiments.pools import (
    COALA_POOLS,
    POOLS,
    Pool,
    RunSpec,
    check_members,
    check_read,
    options_for,
    partner,
    pools_of,
    run_name,
    run_names,
    weights,
    with_needs,
)
from coopctx.experiments.settings import Member, PoolConfig


def spec(pool="mixed", seed=3, opponent_id=False, agent="ppi") -> RunSpec:
    return RunSpec(agent, pool, opponent_id, seed, "cpu")


def test_the_pools_are_those_of_the_paper():
    """Sec. 4 and App. A.4.2: the number of learners, their opponents, D_0, and whether they start as agents of other runs."""
    assert {
        "mixed": Pool(2, ("learner", "tabular"), ("tabular",), False, True),
        "tabular": Pool(1, ("tabular",), ("tabular",), False, True),
        "learners": Pool(2, ("learner",), ("random",), False, True),
        "extortion": Pool(1, ("fixed-icl",), ("tabular",), False, False),
        "mutual-extortion": Pool(2, ("learner",), ("tabular", "play"), True, False),
    } == POOLS


def test_all_runs_by_name():
    ppi = {f"ppi-{pool}" for pool in ("mixed", "mixed-opponent-id", "tabular", "learners", "extortion", "mutual-extortion", "custom")}
    coala = {f"coala-{pool}" for pool in COALA_POOLS}
    assert run_names() == ppi | {name.replace("ppi", "a2c") for name in ppi} | coala


def test_a_command_names_the_folder_and_the_preset_that_are_not_the_usual_ones():
    assert options_for(Path("results"), "cpu") == options_for(Path("results")) == []
    assert options_for(Path("results"), "smoke") == ["--preset", "smoke"]
    assert options_for(Path("there"), ConfigFile("files/my.toml")) == ["--preset", "files/my.toml", "--results", "there"]


def test_each_kind_of_agent_has_its_own_pools():
    assert pools_of("ppi") is POOLS and pools_of("a2c") is POOLS and pools_of("coala") is COALA_POOLS
    assert spec("extortion").pool_with(PoolConfig()) == POOLS["extortion"]
    assert spec("naive", agent="coala").pool_with(PoolConfig()) == COALA_POOLS["naive"]


def test_a_run_has_its_name_its_place_its_columns_and_its_command():
    plain, told = spec("tabular", agent="a2c"), spec(opponent_id=True)
    assert (plain.name, told.name) == ("a2c-tabular", "ppi-mixed-opponent-id") == (run_name("a2c", "tabular"), run_name("ppi", "mixed", True))
    assert told.directory(Path("there")) == Path("there/cpu/ppi-mixed-opponent-id/seed-3")
    assert told.keys == {"agent": "ppi", "experiment": "mixed", "opponent_id": True, "seed": 3, "preset": "cpu"}
    words = "coopctx train --agent ppi --pool mixed --opponent-id --preset cpu --seed 3"
    assert " ".join(told.command) == words and " ".join(spec().command) == words.replace(" --opponent-id", "")


@pytest.mark.parametrize("agent", ["ppi", "a2c"])
def test_step_two_needs_its_own_step_one_and_step_three_two_of_step_two(agent):
    def run(pool, seed):
        return spec(pool, seed, agent=agent)

    assert run("extortion", 4).needs() == (run("tabular", 4),)
    assert run("mutual-extortion", 9).needs() == (run("extortion", 9), run("extortion", 0))
    assert all(run(pool, 4).needs() == () for pool in ("mixed", "tabular", "learners"))
    expected = [run("tabular", 9), run("extortion", 9), run("tabular", 0), run("extortion", 0)]
    assert with_needs(run("mutual-extortion", 9).needs()) == expected
    together = with_needs([run("mutual-extortion", 9), run("tabular", 0), run("mixed", 1)])
    assert together == [*expected, run("mutual-extortion", 9), run("mixed", 1)]


def test_of_coala_the_exact_mutual_run_starts_from_two_extorters():
    mutual = spec("exact-mutual", 9, agent="coala")
    assert mutual.needs() == tuple(spec("exact-naive", seed, agent="coala") for seed in (9, 0))


def test_partners_form_circles_of_ten():
    assert [partner(seed) for seed in (0, 1, 8, 9, 10, 19, 25)] == [1, 2, 9, 0, 11, 10, 26]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (("dqn", "mixed", False, 0), "unknown agent 'dqn'; allowed: ppi, a2c"),
        (("ppi", "mixt", False, 0), "unknown pool 'mixt'; allowed: mixed, tabular, learners, extortion, mutual-extortion"),
        (("coala", "tabular", False, 0), "unknown pool 'tabular'; allowed: naive,"),
        (("ppi", "learners", True, 0), "it does not go with --pool learners"),
        (("coala", "mixed", True, 0), "--opponent-id is an ablation of the mixed pool"),
        (("ppi", "mixed", False, -1), "a seed must be an integer >= 0, not -1"),
    ],
)
def test_impossible_runs_are_refused(fields, message):
    with pytest.raises(UsageError) as refused:
        RunSpec(*fields, "cpu")
    assert message in str(refused.value)
    RunSpec("ppi", "mixed", True, 0, "cpu")


PPI, A2C, COALA, STEP_1 = spec(), spec(agent="a2c"), spec(agent="coala"), spec("tabular")


@pytest.mark.parametrize(
    ("name", "runs", "wrong"),
    [
        ("ppi.rollouts", [A2C, PPI], None),
        ("ppi.rollouts", [A2C], "ppi.rollouts: a run of a2c does not read it"),
        ("a2c.iterations", [PPI, COALA], "a2c.iterations: a run of coala or ppi does not read it"),
        ("model.hidden", [A2C], None),
        ("pool.tabular_share", [STEP_1, A2C], None),
        ("pool.tabular_share", [STEP_1], "pool.tabular_share: --pool tabular does not read it"),
        ("pool.tabular_share", [STEP_1, COALA], "pool.tabular_share: --pool mixed or tabular does not read it"),
        ("measure.episode_phases", [A2C, PPI], None),
        ("measure.episode_phases", [A2C], "measure.episode_phases: only a run of ppi reads it"),
        ("measure.episode_phases", [COALA], "measure.episode_phases: only a run of ppi reads it; others read coala.episode_iterations"),
        ("measure.episode_games", [A2C], None),
        ("measure.episode_games", [COALA], "measure.episode_games: a run of coala does not read it"),
        ("model.hidden", [COALA], "model.hidden: a run of coala does not read it"),
        ("model.embedding", [COALA], None),
    ],
)
def test_a_setting_that_no_run_reads_is_refused(name, runs, wrong):
    if wrong is None:
        check_read([name], runs)
    else:
        with pytest.raises(UsageError) as refused:
            check_read(["game.noise", name], runs)
        assert str(refused.value).startswith(wrong)


def test_members_belong_to_a_pool_of_ones_own_and_to_no_other():
    members = PoolConfig(members=(Member(opponent="tabular", share=1.0),))
    check_members(spec("custom"), members)
    check_members(PPI, PoolConfig())
    with pytest.raises(UsageError, match="^--pool custom needs pool.members"):
        check_members(spec("custom"), PoolConfig())
    with pytest.raises(UsageError, match="^pool.members: --pool mixed has opponents of its own"):
        check_members(PPI, members)


def test_a_command_to_type_names_the_results_folder_where_it_is_not_the_usual_one():
    assert PPI.typed(Path("results")) == " ".join(PPI.command)
    assert PPI.typed(Path("my results")) == " ".join(PPI.command) + " --results 'my results'"


def test_the_shares_of_a_pools_opponents_add_up_to_one():
    members = PoolConfig(members=(Member(opponent="tabular", share=0.25), Member(opponent="learner", share=0.75)))
    assert weights(POOLS["extortion"], PoolConfig(tabular_share=0.3)) == (1.0,)
    assert weights(POOLS["mixed"], PoolConfig(tabular_share=0.25)) == (0.75, 0.25)
    assert weights(POOLS["mixed"], members) == (0.25, 0.75)
