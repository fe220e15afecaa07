"""Every hyper-parameter in one place: frozen dataclasses, a comment for each setting.

A value of the wrong type or range is refused by name with a UsageError (`coopctx.experiments.checks`), also where a dataclass
is built in Python.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_type_hints

from coopctx.errors import UsageError, unknown
from coopctx.experiments.agents import AGENTS
from coopctx.experiments.checks import (
    ABOVE_0_TO_1,
    AT_LEAST_1,
    AT_LEAST_2,
    BETWEEN_0_AND_1,
    FROM_0_TO_1,
    FROM_0_TO_BELOW_1,
    NONZERO,
    NOT_NEGATIVE,
    POSITIVE,
    SQUARE,
    Section,
    checked,
    shown,
)
from coopctx.game.matrix import NAMED_GAMES, MatrixGame

SHARES_WITHIN = 1e-3  # how far the sum of a pool's shares may be from 1: thirds are written as 0.333
MEMBER: dict[str, Any] = {"opponent": str, "share": Annotated[float, ABOVE_0_TO_1]}
Initialisation = Literal["uniform", "flax"]  # what `Trunk.initialise` draws weights from


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
class Member:
    """One kind of opponent in a user's own pool.

    opponent: ``learner`` (the other learner), ``tabular``, a named strategy such as ``tit-for-tat``, ``axelrod:NAME``, the
    directory of a finished run or a packaged agent's name, or ``package.module:Player``. share: of an agent's episodes.
    """

    opponent: str
    share: float


@dataclass(frozen=True, kw_only=True)
class PoolConfig(Section):
    """The pool of opponents (Sec. 4)."""

    # share of an agent's episodes played against tabular players, where the pool has both kinds
    tabular_share: Annotated[float, BETWEEN_0_AND_1] = 0.5
    # the opponents of --pool custom, a table [[pool.members]] each: opponent, and its share of an agent's episodes
    members: tuple[Member, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "members", _members(self.members))
        super().__post_init__()


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
    # share of the iterations before batch, learning rate and entropy weight begin to change
    hold: Annotated[float, FROM_0_TO_BELOW_1] = 0.0
    # uniform: in +-1/sqrt(fan-in); flax: orthogonal recurrent matrices, LeCun-normal kernels, zero biases
    initialisation: Initialisation = "uniform"
    zero_readouts: bool = False  # policy logits and value start at zero (arXiv:2410.18636, App. B.3)
    learning_rate: Annotated[float, POSITIVE] = 1e-3  # Adam step size at the first iteration
    final_learning_rate: Annotated[float, NOT_NEGATIVE] = 1e-3  # reached linearly; equal: constant
    learning_rate_decay: Annotated[float, ABOVE_0_TO_1] = 1.0  # share of the iterations after ``hold`` that this takes
    discount: Annotated[float, FROM_0_TO_1] = 0.99  # gamma
    gae_lambda: Annotated[float, FROM_0_TO_1] = 1.0  # lambda of the advantages
    td_lambda: Annotated[float, FROM_0_TO_1] = 1.0  # lambda of the value targets
    value_weight: Annotated[float, NOT_NEGATIVE] = 0.5  # c_v of the loss
    entropy_weight: Annotated[float, NOT_NEGATIVE] = 0.01  # c_e of the loss at the first iteration
    final_entropy_weight: Annotated[float, NOT_NEGATIVE] = 0.01  # reached linearly; equal: constant
    entropy_decay: Annotated[float, ABOVE_0_TO_1] = 1.0  # share of the iterations after ``hold`` that this takes
    reward_scale: Annotated[float, POSITIVE] = 0.02  # rewards are multiplied by this before the agent learns from them
    # to mean 0 and standard deviation 1: over the whole batch, or within each kind of game (against learners, against others)
    normalise_advantages: Literal["off", "together", "per-opponent"] = "together"
    # weight of the batches before in the moving average of the advantages' variance that normalises them; 0: this batch's alone
    variance_decay: Annotated[float, FROM_0_TO_BELOW_1] = 0.0
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
    final_learning_rate: Annotated[float, NOT_NEGATIVE] = 3e-4  # reached linearly; equal: constant
    learning_rate_decay: Annotated[float, ABOVE_0_TO_1] = 1.0  # share of the iterations within which the learning rate changes
    discount: Annotated[float, FROM_0_TO_1] = 1.0  # gamma; in the exact game per round of an endless game
    gae_lambda: Annotated[float, FROM_0_TO_1] = 1.0  # lambda of the advantages against naive learners
    meta_gae_lambda: Annotated[float, FROM_0_TO_1] = 1.0  # lambda of the advantages against other meta agents
    td_lambda: Annotated[float, FROM_0_TO_1] = 1.0  # lambda of the value targets
    value_weight: Annotated[float, NOT_NEGATIVE] = 0.5  # c_v of the loss
    entropy_weight: Annotated[float, NOT_NEGATIVE] = 0.0  # c_e of the loss at the first iteration
    final_entropy_weight: Annotated[float, NOT_NEGATIVE] = 0.0  # reached linearly; equal: constant
    entropy_decay: Annotated[float, ABOVE_0_TO_1] = 1.0  # share of the iterations within which the entropy's weight changes
    reward_scale: Annotated[float, POSITIVE] = 0.05  # rewards are multiplied by this before the agent learns from them
    # advantages as they are, to mean 0, or to mean 0 and standard deviation 1; apart for naive and for meta co-players
    advantages: Literal["as-is", "centred", "normalised"] = "centred"
    # weight of the batches before in the moving average of their variance, where they are normalised; 0: this batch's alone
    variance_decay: Annotated[float, FROM_0_TO_BELOW_1] = 0.0
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


def _members(given: Any) -> tuple[Member, ...]:
    """The members of a pool, checked: each opponent once, positive shares that add up to 1."""
    if not isinstance(given, list | tuple):
        raise UsageError(f"pool.members must be a list of tables [[pool.members]], not {shown(given)}")
    members = tuple(_member(f"pool.members[{number}]", each) for number, each in enumerate(given, start=1))
    names = [member.opponent for member in members]
    for number, name in enumerate(names, start=1):
        if name in names[: number - 1]:
            raise UsageError(f"pool.members[{number}].opponent: {name!r} is in the pool already")
    total = math.fsum(member.share for member in members)
    if members and abs(total - 1) > SHARES_WITHIN:
        raise UsageError(f"pool.members: the shares must add up to 1, not {total:g}")
    return members


def _member(name: str, given: Any) -> Member:
    values = vars(given) if isinstance(given, Member) else given
    if not isinstance(values, Mapping):
        raise UsageError(f"{name} must be a table with opponent and share, not {shown(given)}")
    for key in values:
        if key not in MEMBER:
            raise UsageError(f"unknown key {name}.{key}; allowed: {', '.join(MEMBER)}")
    for key in MEMBER:
        if key not in values:
            raise UsageError(f"no value for {name}.{key}")
    return Member(**{key: checked(f"{name}.{key}", hint, values[key]) for key, hint in MEMBER.items()})
