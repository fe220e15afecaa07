"""Presets, overrides and their refusals."""

import dataclasses
import json
import tomllib
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coopctx.errors import UsageError
from coopctx.experiments.checks import LARGEST_INTEGER
from coopctx.experiments.configuration import comparable, differing_keys, digest, from_dict, to_dict
from coopctx.experiments.pools import COALA_POOLS, POOLS
from coopctx.experiments.presets import load_preset, preset_names
from coopctx.experiments.settings import SECTIONS, Config, GameConfig, ModelConfig

KEYS = [f"{section}.{field.name}" for section, kind in SECTIONS.items() for field in dataclasses.fields(kind)]


def test_the_presets_are_there_and_have_the_papers_numbers():
    assert preset_names() == ("smoke", "cpu", "paper")
    paper = load_preset("paper")
    assert (paper.ppi.phases, paper.ppi.initial_episodes, paper.ppi.episodes_per_phase) == (30, 200_000, 20_000)
    assert (paper.ppi.initial_epochs, paper.ppi.epochs, paper.ppi.batch_size) == (10, 10, 256)
    assert paper.ppi.learning_rate == paper.ppi.final_learning_rate == 1e-4
    assert paper.ppi.reinitialise == 1 and paper.ppi.horizon == 15 and paper.ppi.inverse_temperature == 100
    assert (paper.ppi.weight_decay, paper.ppi.beta1, paper.ppi.beta2, paper.ppi.max_grad_norm) == (1e-2, 0.9, 0.98, 1)
    assert (paper.model.hidden, paper.model.embedding, paper.game.rounds) == (128, 32, 100)
    assert paper.game.payoffs == ((1, -1), (2, 0))


@pytest.mark.parametrize(
    ("pool", "batch", "scale", "lam", "entropy", "rate", "normalise", "iterations"),
    [
        ("tabular", 2048, 0.2, 0.99, 0.001, 5e-3, "per-opponent", 50_000),
        ("extortion", 2048, 0.05, 1.0, 0.001, 5e-3, "off", 100_000),
        ("mutual-extortion", 4096, 0.02, 0.95, 0.001, 5e-4, "per-opponent", 10_000),
        ("mixed", 4096, 0.02, 1.0, 0.01, 1e-3, "per-opponent", 200_000),
        ("learners", 4096, 0.02, 1.0, 0.01, 1e-3, "per-opponent", 200_000),
    ],
)
def test_the_paper_preset_is_table_two(pool, batch, scale, lam, entropy, rate, normalise, iterations):
    a2c = load_preset("paper", pool=pool).a2c
    assert (a2c.batch_size, a2c.reward_scale, a2c.iterations) == (batch, scale, iterations)
    assert a2c.gae_lambda == a2c.td_lambda == lam and a2c.discount == 0.99
    assert a2c.entropy_weight == a2c.final_entropy_weight == entropy
    assert a2c.learning_rate == a2c.final_learning_rate == rate
    assert a2c.normalise_advantages == normalise
    assert a2c.initialisation == "flax" and a2c.zero_readouts and a2c.batch_growth == 1
    assert (a2c.value_weight, a2c.adam_epsilon, a2c.max_grad_norm) == (0.5, 1e-5, 1)


@pytest.mark.parametrize("preset", preset_names())
def test_a_pools_own_settings_come_before_the_presets_and_after_an_override(preset):
    overlays = tomllib.loads(resources.files("coopctx.experiments").joinpath("data", f"{preset}.toml").read_text())["pools"]
    assert set(overlays) <= {*POOLS, *COALA_POOLS}
    for pool, sections in overlays.items():
        config, general = to_dict(load_preset(preset, pool=pool)), to_dict(load_preset(preset))
        fixed = (setting.split("=") for setting in (POOLS | COALA_POOLS)[pool].settings)
        for section, values in sections.items():
            its_own = {key.removeprefix(f"{section}."): value for key, value in fixed if key.startswith(f"{section}.")}
            assert config[section] == general[section] | values | its_own
    assert load_preset(preset, ["a2c.iterations=3"], "tabular").a2c.iterations == 3
    assert load_preset(preset, pool="no such pool") == load_preset(preset)


@pytest.mark.parametrize("pool", COALA_POOLS)
@pytest.mark.parametrize("preset", preset_names())
def test_a_pool_differs_from_the_one_it_is_like_in_its_own_settings_alone(preset, pool):
    its = COALA_POOLS[pool]
    if its.like:
        there = [setting for setting in its.settings if setting not in COALA_POOLS[its.like].settings]
        assert load_preset(preset, pool=pool) == load_preset(preset, there, its.like)
    rule = "m-fos" if pool.endswith("m-fos") else "batch-unaware" if pool.endswith("unaware") else "coala"
    config = load_preset(preset, pool=pool).coala
    assert (config.rule, config.policy) == (rule, "five-logit" if pool.startswith("five-logit") else "recurrent")
    assert load_preset(preset, ["coala.rule=m-fos"], pool).coala.rule == "m-fos"


def test_settings_of_another_kind_of_agent_do_not_tell_runs_apart():
    one, other = (to_dict(load_preset("cpu", pool=pool)) for pool in ("tabular", "mixed"))
    assert comparable(one, "ppi") == comparable(other, "ppi")
    assert comparable(one, "a2c") != comparable(other, "a2c")
    before = {section: values for section, values in one.items() if section != "a2c"}
    assert comparable(before, "ppi") == comparable(one, "ppi"), "a run from before there were others"


@pytest.mark.parametrize("preset", preset_names())
def test_a_configuration_survives_the_way_through_json(preset):
    config = load_preset(preset)
    restored = from_dict(json.loads(json.dumps(to_dict(config))))
    assert restored == config
    assert digest(to_dict(restored)) == digest(to_dict(config))


def test_overrides_apply_and_the_last_one_wins():
    overrides = [
        "ppi.rollouts=3",
        "ppi.rollouts = 4",
        "ppi.epochs=.5",
        "ppi.estimator=sampled",
        "ppi.reinitialise=0.5",
    ]
    config = load_preset("cpu", [*overrides, "game.payoffs=[[3, 0], [5, 1]]", "measure.episode_phases=[]"])
    assert (config.ppi.rollouts, config.ppi.epochs, config.ppi.estimator) == (4, 0.5, "sampled")
    assert config.ppi.reinitialise == 0.5
    assert config.game.payoffs == ((3.0, 0.0), (5.0, 1.0)) and isinstance(config.game.payoffs[0][0], float)
    assert config.measure.episode_phases == ()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("ppi.rolouts=3", "unknown setting 'ppi.rolouts'; did you mean ppi.rollouts?"),
        ("rollouts=3", "unknown setting 'rollouts'; did you mean ppi.rollouts?"),
        ("zzz.zzz=3", "unknown setting 'zzz.zzz'; allowed: game.payoffs, "),
        ("ppi.rollouts", "--set 'ppi.rollouts' must have the form KEY=VALUE"),
        ("ppi.rollouts=0", "ppi.rollouts must be an integer >= 1, not 0"),
        ("ppi.rollouts=2.0", "ppi.rollouts must be an integer >= 1, not 2.0"),
        ("ppi.rollouts=true", "ppi.rollouts must be an integer >= 1, not true"),
        ("ppi.rollouts=many", "ppi.rollouts must be an integer >= 1, not 'many'"),
        ("ppi.rollouts=", "ppi.rollouts must be an integer >= 1, not ''"),
        ("ppi.rollouts=1\nx=2", "ppi.rollouts must be an integer >= 1, not '1\\nx=2'"),
        (f"ppi.rollouts={LARGEST_INTEGER + 1}", f"an integer >= 1 and <= {LARGEST_INTEGER}, not 2147483648"),
        ("ppi.horizon=0", "ppi.horizon must be an integer >= 1, not 0"),
        ("ppi.initial_episodes=0", "ppi.initial_episodes must be an integer >= 1, not 0"),
        ("ppi.episodes_per_phase=1", "ppi.episodes_per_phase must be an integer >= 2, not 1"),
        ("ppi.inverse_temperature=0", "ppi.inverse_temperature must be a number > 0, not 0"),
        ("ppi.inverse_temperature=-1", "ppi.inverse_temperature must be a number > 0, not -1"),
        ("ppi.inverse_temperature=inf", "ppi.inverse_temperature must be a number > 0, not inf"),
        ("ppi.learning_rate=nan", "ppi.learning_rate must be a number > 0, not nan"),
        ("ppi.learning_rate=true", "ppi.learning_rate must be a number > 0, not true"),
        ("ppi.discount=1.01", "ppi.discount must be a number > 0 and <= 1, not 1.01"),
        ("ppi.beta1=1", "ppi.beta1 must be a number >= 0 and < 1, not 1"),
        ("ppi.reinitialise=1.5", "ppi.reinitialise must be a number >= 0 and <= 1, not 1.5"),
        ("ppi.estimator=exact", "ppi.estimator must be one of expected, sampled, not 'exact'"),
        ("pool.tabular_share=1", "pool.tabular_share must be a number > 0 and < 1, not 1"),
        ("game.payoffs=[[1, 2]]", "game.payoffs must be a list of n rows of n payoffs, n >= 2, not [[1, 2]]"),
        ("game.payoffs=[[1, 2], [3]]", "game.payoffs must be a list of n rows"),
        ("measure.episode_phases=[0]", "measure.episode_phases must be a list of integers counted from 1"),
        ("a2c.batch_size=1", "a2c.batch_size must be an integer >= 2, not 1"),
        ("a2c.discount=1.5", "a2c.discount must be a number >= 0 and <= 1, not 1.5"),
        ("a2c.zero_readouts=1", "a2c.zero_readouts must be true or false, not 1"),
        (
            "a2c.normalise_advantages=true",
            "a2c.normalise_advantages must be one of off, together, per-opponent, not true",
        ),
        ("a2c.batch_growth=0.5", "a2c.batch_growth must be a number >= 1, not 0.5"),
        ("ppi.initialisation=jax", "ppi.initialisation must be one of uniform, flax, not 'jax'"),
        ("a2c.episode_iterations=[0]", "a2c.episode_iterations must be a list of integers counted from 1"),
        ("measure.episode_phases=8", "measure.episode_phases must be a list of integers counted from 1"),
    ],
)
def test_a_bad_override_is_refused_by_name_in_one_line(override, message):
    with pytest.raises(UsageError) as refused:
        load_preset("cpu", [override])
    assert str(refused.value).startswith(message) or message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_unknown_preset_is_refused_with_those_there_are():
    with pytest.raises(UsageError, match="unknown preset 'cpuu'; allowed: smoke, cpu, paper"):
        load_preset("cpuu")


def test_bad_values_are_refused_in_python_too_and_a_missing_one_is_named():
    with pytest.raises(UsageError, match="model.hidden must be an integer >= 1, not 0"):
        ModelConfig(hidden=0)
    with pytest.raises(UsageError, match="game.rounds"):
        dataclasses.replace(load_preset("cpu").game, rounds=1.5)
    with pytest.raises(UsageError, match="no value for ppi.phases, ppi.initial_episodes"):
        from_dict({})
    with pytest.raises(UsageError, match="game must be a section of settings, not 3"):
        from_dict({"game": 3})


VALUES = st.one_of(
    st.text(),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(
        ["true", "[[1]]", "[" * 5000, "9" * 5000, "1979-05-27", "{a=1}", "'''", "1e999", "[[1, 2], [3, inf]]"]
    ),
    st.lists(st.lists(st.floats() | st.integers())).map(str),
)


@given(st.sampled_from(KEYS), VALUES)
def test_any_value_is_either_taken_or_refused_with_a_line(key, value):
    try:
        config = load_preset("cpu", [f"{key}={value}"])
    except UsageError as error:
        assert "\n" not in str(error) and key in str(error)
    else:
        assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


@given(st.text())
def test_any_text_as_override_is_either_taken_or_refused(text):
    try:
        load_preset("smoke", [text])
    except UsageError as error:
        assert "\n" not in str(error)


positive = st.floats(min_value=1e-6, max_value=1e6)
counts = st.integers(min_value=2, max_value=LARGEST_INTEGER)


@st.composite
def configurations(draw) -> Config:
    config = load_preset("smoke")
    n = draw(st.integers(2, 4))
    payoff = st.floats(allow_nan=False, allow_infinity=False)
    row = st.tuples(*[payoff] * n)
    ppi = dataclasses.replace(
        config.ppi,
        phases=draw(counts),
        episodes_per_phase=draw(counts),
        learning_rate=draw(positive),
        reinitialise=draw(st.floats(0, 1)),
        estimator=draw(st.sampled_from(["expected", "sampled"])),
    )
    return dataclasses.replace(
        config, game=GameConfig(payoffs=draw(st.tuples(*[row] * n)), rounds=draw(counts)), ppi=ppi
    )


@given(configurations(), configurations())
def test_equal_settings_have_equal_hashes_and_no_differing_keys(one, other):
    restored = from_dict(json.loads(json.dumps(to_dict(one))))
    assert restored == one and differing_keys(to_dict(one), to_dict(restored)) == []
    assert (
        (digest(to_dict(one)) == digest(to_dict(other))) == (one == other) == (not differing_keys(to_dict(one), to_dict(other)))
    )


def test_differing_keys_say_what_is_where():
    there = to_dict(load_preset("cpu", ["ppi.rollouts=8"]))
    here = to_dict(load_preset("cpu", ["ppi.rollouts=4", "ppi.reinitialise=1"]))
    assert differing_keys(there, here) == ["ppi.reinitialise: 0.0 there, 1.0 here", "ppi.rollouts: 8 there, 4 here"]
    assert differing_keys({"a": {"b": 1}}, {}) == ["a.b: 1 there, absent here"]
    assert differing_keys({}, {"a": {"b": 1}}) == ["a.b: absent there, 1 here"]


def test_step_two_has_settings_of_its_own_which_the_command_line_overrides():
    assert load_preset("cpu", pool="extortion").ppi.rollouts < load_preset("cpu", pool="mixed").ppi.rollouts
    assert load_preset("cpu", ["ppi.rollouts=7"], pool="extortion").ppi.rollouts == 7
