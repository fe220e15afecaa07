"""Every hyper-parameter in one place: frozen dataclasses, the presets that fill them, overrides ``section.key=value``.

An unknown key and a value of the wrong type or range are refused by name with a UsageError, wherever they come from:
a preset, ``--set`` on the command line, or a dataclass built in Python.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from coopctx.errors import UsageError, suggestion, unknown
from coopctx.experiments.agents import AGENTS
from coopctx.experiments.pools import COALA_POOLS, Pool
from coopctx.game.matrix import NAMED_GAMES, MatrixGame

Initialisation = Literal["uniform", "flax"]  # what `Trunk.initialise` draws weights from
LARGEST_INTEGER = 2**31 - 1  # what every tensor size and index type can hold
PRESETS = resources.files("coopctx.experiments").joinpath("data")  # the folder of NAME.toml, one for each preset


class Limit(NamedTuple):
    """A range of allowed values: its wording in messages and its test."""

    text: str
    holds: Callable[[Any], bool]


AT_LEAST_1 = Limit(">= 1", lambda value: value >= 1)
AT_LEAST_2 = Limit(">= 2", lambda value: value >= 2)
POSITIVE = Limit("> 0", lambda value: value > 0)
NOT_NEGATIVE = Limit(">= 0", lambda value: value >= 0)
BETWEEN_0_AND_1 = Limit("> 0 and < 1", lambda value: 0 < value < 1)
FROM_0_TO_BELOW_1 = Limit(">= 0 and < 1", lambda value: 0 <= value < 1)
FROM_0_TO_1 = Limit(">= 0 and <= 1", lambda value: 0 <= value <= 1)
ABOVE_0_TO_1 = Limit("> 0 and <= 1", lambda value: 0 < value <= 1)
SQUARE = Limit(
    "n rows of n payoffs, n >= 2",
    lambda rows: len(rows) >= 2 and all(len(row) == len(rows) for row in rows),
)
NONZERO = Limit("counted from 1, or from the last as -1, -2, …", lambda phases: 0 not in phases)


@dataclass(frozen=True)
class Section:
    """A group of settings. On construction every value is checked; whole numbers become floats where floats belong."""

    def __post_init__(self) -> None:
        prefix = type(self).__name__.removesuffix("Config").lower()
        for name, hint in get_type_hints(type(self), include_extras=True).items():
            object.__setattr__(self, name, _checked(f"{prefix}.{name}", hint, getattr(self, name)))


@dataclass(frozen=True, kw_only=True)
class GameConfig(Section):
    """The repeated matrix game (App. A.2)."""

    # own payoff [own action][other's action], or the name of a game such as "stag-hunt"; action 0 cooperates
    payoffs: Annotated[tuple[tuple[float, ...], ...], SQUARE] = ((1.0, -1.0), (2.0, 0.0))
    rounds: Annotated[int, AT_LEAST_1] = 100  # T, rounds per episode; under a random ending the most there can be
    noise: Annotated[float, FROM_0_TO_BELOW_1] = 0.0  # probability that an action chosen is played as another one
    # probability that another round follows a round; 1: every episode has all its rounds
    continuation: Annotated[float, ABOVE_0_TO_1] = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.payoffs, str):
            if self.payoffs not in NAMED_GAMES:
                raise UsageError(f"game.payoffs: {unknown('game', self.payoffs, NAMED_GAMES)}")
            object.__setattr__(self, "payoffs", NAMED_GAMES[self.payoffs])
        super().__post_init__()

    def matrix(self) -> MatrixGame:
        """The game with these payoffs, noise and ending."""
        return MatrixGame.of(self.payoffs, self.noise, self.continuation)


@dataclass(frozen=True, kw_only=True)
class PoolConfig(Section):
    """Whom an agent meets (Sec. 4)."""

    # share of an agent's episodes played against tabular players, where the pool has both kinds
    tabular_share: Annotated[float, BETWEEN_0_AND_1] = 0.5


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Section):
    """The sequence model (App. A.3)."""

    hidden: Annotated[int, AT_LEAST_1] = 128  # width of the GRU
    embedding: Annotated[int, AT_LEAST_1] = 32  # width of the shared embedding of observation, action and reward


@dataclass(frozen=True, kw_only=True)
class PPIConfig(Section):
    """Predictive Policy Improvement (Alg. 1)."""

    phases: Annotated[int, AT_LEAST_1]  # phases of fit -> collect -> measure
    initial_episodes: Annotated[int, AT_LEAST_1]  # episodes in D_0, the pre-training data; in Step 3 of each of its two kinds
    episodes_per_phase: Annotated[int, AT_LEAST_2]  # new episodes per phase and agent, over the whole pool
    # share of fresh weights mixed in before each phase's fit: 1 re-initialises (the paper), 0 goes on from the last ones
    reinitialise: Annotated[float, FROM_0_TO_1]
    initial_epochs: Annotated[float, POSITIVE]  # passes over D_0 in pre-training
    epochs: Annotated[float, POSITIVE]  # passes over all data so far in a phase's fit; 1.5 is allowed
    batch_size: Annotated[int, AT_LEAST_1]  # episodes per gradient step
    learning_rate: Annotated[float, POSITIVE]  # AdamW step size at the start of a fit
    final_learning_rate: Annotated[float, NOT_NEGATIVE]  # reached linearly at its end; equal: constant
    rollouts: Annotated[int, AT_LEAST_1]  # Monte-Carlo rollouts per first action
    # uniform: in +-1/sqrt(fan-in); flax: orthogonal recurrent matrices, LeCun-normal kernels, zero biases
    initialisation: Initialisation = "uniform"
    weight_decay: Annotated[float, NOT_NEGATIVE] = 1e-2  # AdamW
    beta1: Annotated[float, FROM_0_TO_BELOW_1] = 0.9  # AdamW
    beta2: Annotated[float, FROM_0_TO_BELOW_1] = 0.98  # AdamW
    max_grad_norm: Annotated[float, POSITIVE] = 1.0  # gradients are clipped to this norm
    observation_weight: Annotated[float, NOT_NEGATIVE] = 1.0  # lambda_obs of the loss
    action_weight: Annotated[float, NOT_NEGATIVE] = 1.0  # lambda_act of the loss
    reward_weight: Annotated[float, NOT_NEGATIVE] = 1.0  # lambda_rew of the loss
    horizon: Annotated[int, AT_LEAST_1] = 15  # rounds per rollout; rollouts do not stop at the episode's end
    # beta in pi ~ p exp(beta Q); the paper's 0.01 read as a temperature
    inverse_temperature: Annotated[float, POSITIVE] = 100.0
    discount: Annotated[float, ABOVE_0_TO_1] = 1.0  # of rewards within a rollout
    # a simulated step's reward: its expectation under the model's heads, or as sampled
    estimator: Literal["expected", "sampled"] = "expected"


@dataclass(frozen=True, kw_only=True)
class A2CConfig(Section):
    """Advantage actor-critic (App. A.3.2, Table 2). The defaults are the paper's for the mixed pool."""

    iterations: Annotated[int, AT_LEAST_1] = 200_000  # gradient steps, each on a fresh batch
    batch_size: Annotated[int, AT_LEAST_2] = 4096  # episodes per learner and iteration, over the whole pool
    # the last iteration's batch over the first one's, which it approaches geometrically; 1: constant
    batch_growth: Annotated[float, AT_LEAST_1] = 1.0
    # uniform: in +-1/sqrt(fan-in); flax: orthogonal recurrent matrices, LeCun-normal kernels, zero biases
    initialisation: Initialisation = "uniform"
    zero_readouts: bool = False  # policy logits and value start at zero (arXiv:2410.18636, App. B.3)
    learning_rate: Annotated[float, POSITIVE] = 1e-3  # Adam step size at the first iteration
    final_learning_rate: Annotated[float, NOT_NEGATIVE] = 1e-3  # reached linearly; equal: constant
    learning_rate_decay: Annotated[float, ABOVE_0_TO_1] = 1.0  # share of the iterations after which it is reached
    discount: Annotated[float, FROM_0_TO_1] = 0.99  # gamma
    gae_lambda: Annotated[float, FROM_0_TO_1] = 1.0  # lambda of the advantages
    td_lambda: Annotated[float, FROM_0_TO_1] = 1.0  # lambda of the value targets
    value_weight: Annotated[float, NOT_NEGATIVE] = 0.5  # c_v of the loss
    entropy_weight: Annotated[float, NOT_NEGATIVE] = 0.01  # c_e of the loss at the first iteration
    final_entropy_weight: Annotated[float, NOT_NEGATIVE] = 0.01  # reached linearly; equal: constant
    entropy_decay: Annotated[float, ABOVE_0_TO_1] = 1.0  # share of the iterations after which it is reached
    reward_scale: Annotated[float, POSITIVE] = 0.02  # rewards are multiplied by this before the agent learns from them
    # to mean 0 and standard deviation 1: over the whole batch, or within each kind of game (against learners, against others)
    normalise_advantages: Literal["off", "together", "per-opponent"] = "together"
    adam_epsilon: Annotated[float, POSITIVE] = 1e-5  # Adam
    max_grad_norm: Annotated[float, POSITIVE] = 1.0  # gradients are clipped to this norm
    measure_every: Annotated[int, AT_LEAST_1] = 1000  # iterations between measurements, which are checkpoints too
    # iterations with within-episode curves, measured wherever they lie; a negative one counts from the last (-1), one
    # beyond it is ignored
    episode_iterations: Annotated[tuple[int, ...], NONZERO] = (-1,)


@dataclass(frozen=True, kw_only=True)
class CoalaConfig(Section):
    """Learning-aware policy gradients (arXiv:2410.18636). The defaults are its mixed pool's (App. B, Tables 2-8)."""

    # which returns weigh an action: those of COALA-PG, of M-FOS, or of a gradient that knows of no games beside its own
    rule: Literal["coala", "m-fos", "batch-unaware"] = "coala"
    # how COALA-PG takes the games against another meta agent, which does not learn from them within the meta-trajectory: as B
    # games against one learner, or as independent ones, which is the same in expectation and less noisy
    meta_games: Literal["batched", "independent"] = "batched"
    policy: Literal["recurrent", "five-logit"] = "recurrent"  # of the meta agents
    hidden: Annotated[int, AT_LEAST_1] = 32  # width of a recurrent meta agent's GRU
    meta_agents: Annotated[int, AT_LEAST_2] = 4  # how many learn in a pool that has several
    naive_share: Annotated[float, FROM_0_TO_1] = 0.75  # p_naive, where the pool has both kinds of co-players
    meta_batch: Annotated[int, AT_LEAST_2] = 128  # co-players that each meta agent meets per iteration
    inner_batch: Annotated[int, AT_LEAST_1] = 16  # B, games against each of them at once
    inner_episodes: Annotated[int, AT_LEAST_1] = 20  # M, inner episodes per meta-trajectory
    inner_rounds: Annotated[int, AT_LEAST_1] = 10  # T, rounds per inner episode
    iterations: Annotated[int, AT_LEAST_1] = 3000  # batches of meta-trajectories
    learning_rate: Annotated[float, POSITIVE] = 3e-4  # Adam step size at the first iteration
    final_learning_rate: Annotated[float, NOT_NEGATIVE] = 3e-4  # reached linearly at the last one; equal: constant
    discount: Annotated[float, FROM_0_TO_1] = 1.0  # gamma; in the exact game per round of an endless game
    gae_lambda: Annotated[float, FROM_0_TO_1] = 1.0  # lambda of the advantages
    td_lambda: Annotated[float, FROM_0_TO_1] = 1.0  # lambda of the value targets
    value_weight: Annotated[float, NOT_NEGATIVE] = 0.5  # c_v of the loss
    entropy_weight: Annotated[float, NOT_NEGATIVE] = 0.0  # c_e of the loss at the first iteration
    final_entropy_weight: Annotated[float, NOT_NEGATIVE] = 0.0  # reached linearly at the last one; equal: constant
    reward_scale: Annotated[float, POSITIVE] = 0.05  # rewards are multiplied by this before the agent learns from them
    # advantages as they are, to mean 0, or to mean 0 and standard deviation 1; apart for naive and for meta co-players
    advantages: Literal["as-is", "centred", "normalised"] = "centred"
    epochs: Annotated[int, AT_LEAST_1] = 4  # passes over a batch; 1 pass in 1 minibatch is A2C
    minibatches: Annotated[int, AT_LEAST_1] = 2  # gradient steps per pass
    clip: Annotated[float, POSITIVE] = 0.2  # of the policy's ratio (PPO)
    adam_epsilon: Annotated[float, POSITIVE] = 1e-5  # Adam
    max_grad_norm: Annotated[float, POSITIVE] = 1.0  # gradients are clipped to this norm
    naive_policy: Literal["recurrent", "five-logit"] = "recurrent"  # of the naive learners
    naive_hidden: Annotated[int, AT_LEAST_1] = 32  # width of a recurrent naive learner's GRU
    naive_learning_rate: Annotated[float, POSITIVE] = 5e-3  # Adam; in the exact game the step on the return per round
    naive_discount: Annotated[float, FROM_0_TO_1] = 0.99  # gamma within the inner episode
    naive_value_weight: Annotated[float, NOT_NEGATIVE] = 0.5  # c_v of a recurrent naive learner's loss
    naive_reward_scale: Annotated[float, POSITIVE] = 0.05  # of its rewards
    naive_max_grad_norm: Annotated[float, POSITIVE] = 1.0  # each naive learner's gradient is clipped to this norm
    measure_every: Annotated[int, AT_LEAST_1] = 50  # iterations between measurements, which are checkpoints too
    # iterations with curves within the meta-trajectory, as of A2C
    episode_iterations: Annotated[tuple[int, ...], NONZERO] = (-1,)


@dataclass(frozen=True, kw_only=True)
class MeasureConfig(Section):
    """What is measured beyond each phase's averages."""

    # phases with within-episode curves; a negative one counts from the last, one beyond the last is ignored
    episode_phases: Annotated[tuple[int, ...], NONZERO] = (8, -1)
    episode_games: Annotated[int, AT_LEAST_1] = 256  # games per opponent for those curves


@dataclass(frozen=True, kw_only=True)
class Config:
    """All settings of a run."""

    game: GameConfig
    pool: PoolConfig
    model: ModelConfig
    ppi: PPIConfig
    a2c: A2CConfig
    coala: CoalaConfig
    measure: MeasureConfig


SECTIONS: dict[str, type[Section]] = get_type_hints(Config)
LEARNERS = tuple(AGENTS)  # the sections that only one kind of agent reads: each is called as its agent
OVERLAYS = "pools"  # the table of a preset with settings for single pools: [pools.tabular.a2c]
SEEN = "seen_seeds"  # the table of a preset with the seeds that its settings were chosen on: [seen_seeds.a2c]


def preset_names() -> tuple[str, ...]:
    """The presets that ship with the package, smallest first."""
    found = [entry.name.removesuffix(".toml") for entry in PRESETS.iterdir() if entry.name.endswith(".toml")]
    order = ("smoke", "cpu", "paper")
    return tuple(sorted(found, key=lambda name: (order.index(name) if name in order else len(order), name)))


def caveat(preset: str) -> str:
    """What a reader must know before looking at the numbers of a preset's runs; empty where that is nothing."""
    return "Preset smoke: runs of seconds, which show nothing about the paper's claims." if preset == "smoke" else ""


def check_preset(name: str) -> None:
    """UsageError unless there is a preset of this name."""
    if name not in preset_names():
        raise unknown("preset", name, preset_names())


def load_preset(name: str, overrides: Sequence[str] = (), pool: str | None = None) -> Config:
    """The configuration of a preset with ``overrides`` such as ``"ppi.rollouts=8"``; the last one for a key wins.

    pool: whose own settings of the preset (tables such as ``[pools.tabular.a2c]``) come before its general ones, and before
    both what sets this pool apart from another (`Pool.settings`).
    Raises UsageError naming the preset, key or value that is wrong and what is allowed.
    """
    check_preset(name)
    its = COALA_POOLS.get(pool or "", Pool(0, ()))
    settings = _preset(name, [each for each in (its.like, pool) if each])
    for override in (*its.settings, *overrides):
        key, equals, text = override.partition("=")
        if not equals:
            raise UsageError(f"--set {override!r} must have the form KEY=VALUE, such as ppi.rollouts=8")
        section, key_in_section = _locate(key.strip())
        settings.setdefault(section, {})[key_in_section] = _parse(text.strip())
    return from_dict(settings)


def seen_seeds(preset: str, agent: str, run: str) -> frozenset[int]:
    """The seeds whose outcome was seen while the preset's settings were chosen. run: a folder's name without the agent.

    Raises UsageError where there is no such preset.
    """
    check_preset(preset)
    seen = _table(_read_preset(preset).get(SEEN, {}), f"preset {preset!r}: {SEEN}")
    return frozenset(_table(seen.get(agent, {}), f"preset {preset!r}: {SEEN}.{agent}").get(run, ()))


def _preset(name: str, pools: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The sections of a preset, the pools' own settings in their place; UsageError naming the preset where it has others."""
    settings = _read_preset(name)
    overlays = _table(settings.pop(OVERLAYS, {}), f"preset {name!r}: {OVERLAYS}")
    settings.pop(SEEN, None)
    for section, values in settings.items():
        _table(values, f"preset {name!r}: {section}")
    for pool in pools:
        own = _table(overlays.get(pool, {}), f"preset {name!r}: {OVERLAYS}.{pool}")
        for section, values in own.items():
            settings[section] = settings.get(section, {}) | _table(values, f"preset {name!r}: {OVERLAYS}.{pool}.{section}")
    return settings


def _read_preset(name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(PRESETS.joinpath(f"{name}.toml").read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"preset {name!r} is not a TOML file: {error}") from error


def _table(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{name} must be a section of settings, not {_describe(value)}")
    return value


def from_dict(settings: Mapping[str, Mapping[str, Any]]) -> Config:
    """The inverse of `to_dict`; UsageError names an unknown or missing key or a bad value."""
    for section, values in settings.items():
        if not isinstance(values, Mapping):
            raise UsageError(f"{section} must be a section of settings, not {_describe(values)}")
        for key in values:
            _locate(f"{section}.{key}")
    for section, kind in SECTIONS.items():
        required = [field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING]
        missing = [f"{section}.{key}" for key in required if key not in settings.get(section, {})]
        if missing:
            raise UsageError(f"no value for {', '.join(missing)}")
    sections: dict[str, Any] = {section: kind(**settings.get(section, {})) for section, kind in SECTIONS.items()}
    return Config(**sections)


def to_dict(config: Config) -> dict[str, dict[str, Any]]:
    """The configuration as nested dictionaries of plain JSON values (tuples become lists)."""
    return {
        section: {key: _plain(value) for key, value in values.items()}
        for section, values in dataclasses.asdict(config).items()
    }


def config_hash(config: Config) -> str:
    """16 hexadecimal digits that two configurations share only when all their values are equal."""
    return digest(to_dict(config))


def digest(settings: Mapping[str, Any]) -> str:
    """`config_hash` of a configuration that is already in the form of `to_dict`."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def with_defaults(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """``settings`` in the `to_dict` form, completed by the default of every key that they lack and that has one.

    A run made before a setting existed is a run at that setting's default, and an old spelling of a value is today's.
    """
    return {
        section: {
            **{f.name: _plain(f.default) for f in dataclasses.fields(kind) if f.default is not dataclasses.MISSING},
            **_renamed(section, settings.get(section, {})),
        }
        for section, kind in SECTIONS.items()
    } | {section: dict(values) for section, values in settings.items() if section not in SECTIONS}


def _renamed(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """A section of an old manifest with its values as they are written today."""
    old = {key: str(value) for key, value in values.items() if f"{section}.{key}" in _OLD_VALUES}
    return {**values, **{key: _OLD_VALUES[f"{section}.{key}"].get(text, values[key]) for key, text in old.items()}}


def comparable(settings: Mapping[str, Mapping[str, Any]], agent: str) -> dict[str, dict[str, Any]]:
    """`with_defaults`, without the sections that only other kinds of agents read: their settings change nothing."""
    others = {learner for learner in LEARNERS if learner != agent}
    return {section: values for section, values in with_defaults(settings).items() if section not in others}


def flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dictionaries as one with dotted keys."""
    leaves: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            leaves.update({f"{key}.{inner}": leaf for inner, leaf in flat(value).items()})
        else:
            leaves[key] = value
    return leaves


def differing_keys(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """The settings in which two `to_dict` configurations differ, each as ``"ppi.rollouts: 8 there, 4 here"``."""
    ours, theirs = flat(here), flat(there)
    keys = list(theirs) + [key for key in ours if key not in theirs]
    return [
        f"{key}: {_shown(theirs.get(key, _ABSENT))} there, {_shown(ours.get(key, _ABSENT))} here"
        for key in keys
        if theirs.get(key, _ABSENT) != ours.get(key, _ABSENT)
    ]


_ABSENT = object()
_OLD_VALUES = {"a2c.normalise_advantages": {"True": "together", "False": "off"}}  # in manifests of version 0.1.0


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _shown(value: Any) -> str:
    """A value as it appears in a message: short, on one line, spelled as in TOML."""
    if value is _ABSENT:
        return "absent"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value) if isinstance(value, str) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:59]}…"


def _locate(key: str) -> tuple[str, str]:
    """Section and key of ``"ppi.rollouts"``; UsageError where there is no such setting."""
    known = {section: [field.name for field in dataclasses.fields(kind)] for section, kind in SECTIONS.items()}
    section, _, name = key.partition(".")
    if name in known.get(section, ()):
        return section, name
    nearby = known.get(section)
    names = (
        [f"{section}.{name}" for name in nearby]
        if nearby
        else [f"{section}.{name}" for section in known for name in known[section]]
    )
    raise UsageError(f"unknown setting {_shown(key)}; {suggestion(key, names)}")


def _parse(text: str) -> Any:
    """What is written after KEY=: a TOML value where it is one (also ``.5`` and ``5.``), otherwise the text itself."""
    try:
        parsed = tomllib.loads(f"value = {text}")
        if list(parsed) == ["value"]:  # a line break could smuggle in further keys
            return parsed["value"]
    except (ValueError, RecursionError):
        pass
    try:
        return float(text)
    except ValueError:
        return text


def _checked(name: str, hint: Any, value: Any) -> Any:
    """`value` as the annotated type of setting `name`, or UsageError saying what is allowed."""
    limit: Limit | None = None
    if get_origin(hint) is Annotated:
        hint, limit = get_args(hint)
    try:
        typed = _typed(hint, value)
        if limit is None or limit.holds(typed):
            return typed
    except (TypeError, ValueError, OverflowError):
        pass
    kind = _KINDS.get(hint) or f"one of {', '.join(get_args(hint))}"
    wanted = f"{kind} {limit.text}" if limit else kind
    too_large = isinstance(value, int) and abs(value) > LARGEST_INTEGER and hint is int
    raise UsageError(
        f"{name} must be {wanted}{f' and <= {LARGEST_INTEGER}' if too_large else ''}, not {_describe(value)}"
    )


_KINDS = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    tuple[int, ...]: "a list of integers",
    tuple[tuple[float, ...], ...]: "a list of",
}


def _describe(value: Any) -> str:
    try:
        return _shown(value)
    except ValueError:  # an integer of more digits than Python prints
        return "a number that large"


def _typed(hint: Any, value: Any) -> Any:
    """`value` as type `hint`, with no conversion that could hide a mistake; raises TypeError or ValueError."""
    if get_origin(hint) is tuple:
        if not isinstance(value, (list, tuple)):
            raise TypeError
        return tuple(_typed(get_args(hint)[0], item) for item in value)
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise ValueError
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if (
        type(value) is not hint
        or (hint is float and not math.isfinite(value))
        or (hint is int and abs(value) > LARGEST_INTEGER)
    ):
        raise TypeError
    return value + 0.0 if hint is float else value  # -0.0 becomes 0.0, so that equal settings have equal hashes
