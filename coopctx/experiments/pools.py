"""The paper's runs as data: learners, their opponents and their initial weights (Sec. 4, App. A.4)."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from coopctx.errors import UsageError, check_known, unknown
from coopctx.experiments.agents import AGENTS
from coopctx.experiments.config_file import ConfigFile
from coopctx.experiments.settings import PoolConfig

CUSTOM = "custom"  # the pool that pool.members lists
LEARNER = "learner"
EXACT = "exact-"  # begins the names of COALA's pools in which payoffs are computed, not sampled
DECADE = 10  # Step 3 pairs the Step-2 runs of ten seeds in a circle: 0 with 1, ..., 8 with 9, 9 with 0


@dataclass(frozen=True)
class Pool:
    """The opponents of a run's learners, and what the learners start from.

    learners: the number of learners.
    opponents: the kinds of opponents in training: ``learner`` (the other learner), ``tabular`` (random memory-one
        players), ``fixed-icl`` (the frozen agent of the Step-1 run with the same seed), ``naive`` (players that learn between
        the inner episodes of a meta-trajectory).
    initial_data: the kinds of episodes in PPI's D_0, the same number of each: ``tabular`` players against each other,
        ``random`` actions (App. A.4.2), ``play`` of the agent that the learner starts from against its own Fixed-ICL.
    pretrained: the learners start as agents of other runs (`RunSpec.needs`), not as fresh models (PPI: fitted to D_0).
    probed: within-episode curves are also recorded against the named strategies.
    like: a pool whose own settings in a preset also apply to this one; empty if there is none.
    settings: the differences from that pool, as ``KEY=VALUE``.
    """

    learners: int
    opponents: tuple[str, ...]
    initial_data: tuple[str, ...] = ("tabular",)
    pretrained: bool = False
    probed: bool = True
    like: str = ""
    settings: tuple[str, ...] = ()


POOLS: dict[str, Pool] = {
    "mixed": Pool(learners=2, opponents=("learner", "tabular")),  # Step 4, Fig. 1
    "tabular": Pool(learners=1, opponents=("tabular",)),  # Step 1
    "learners": Pool(learners=2, opponents=("learner",), initial_data=("random",)),  # App. A.4.2
    "extortion": Pool(learners=1, opponents=("fixed-icl",), probed=False),  # Step 2
    # Step 3. D_0 has the two kinds of episodes that a Step-2 agent was trained on: its own D_0 and its play.
    "mutual-extortion": Pool(
        learners=2, opponents=("learner",), initial_data=("tabular", "play"), pretrained=True, probed=False
    ),
}
# The runs of arXiv:2410.18636. How many meta agents the pools with several of them have is a setting, coala.meta_agents.
_NAIVE, _BOTH, _METAS = ("naive",), ("learner", "naive"), ("learner",)
_M_FOS, _UNAWARE, _FIVE_LOGIT = "coala.rule=m-fos", "coala.rule=batch-unaware", "coala.policy=five-logit"
COALA_POOLS: dict[str, Pool] = {
    "naive": Pool(1, _NAIVE),  # pure shaping
    "naive-m-fos": Pool(1, _NAIVE, like="naive", settings=(_M_FOS,)),
    "naive-batch-unaware": Pool(1, _NAIVE, like="naive", settings=(_UNAWARE,)),
    "five-logit": Pool(1, _NAIVE, settings=(_FIVE_LOGIT,)),  # pure shaping with a memory-one policy
    "five-logit-m-fos": Pool(1, _NAIVE, like="five-logit", settings=(_FIVE_LOGIT, _M_FOS)),
    "five-logit-batch-unaware": Pool(1, _NAIVE, like="five-logit", settings=(_FIVE_LOGIT, _UNAWARE)),
    "mixed": Pool(2, _BOTH),  # naive learners and other meta agents
    "mixed-m-fos": Pool(2, _BOTH, like="mixed", settings=(_M_FOS,)),
    "meta": Pool(2, _METAS, like="mixed"),  # the ablation without naive learners
    "exact-naive": Pool(1, _NAIVE),  # Sec. 4: an extorter of naive learners,
    "exact-mutual": Pool(2, _METAS, pretrained=True),  # two of them who meet each other,
    "exact-mixed": Pool(2, _BOTH),  # and agents from anywhere that meet both kinds
    "exact-meta": Pool(2, _METAS, like="exact-mixed"),  # or one another alone
}
OF_PPI_AND_A2C = "game.rounds", "measure.episode_games", "model.hidden"  # settings for which COALA has its own
EARLY_ROUND = 5  # a round early in the episode, before the paper's curves rise (Figs. 2F, 3, 4F)


@dataclass(frozen=True)
class RunSpec:
    """One run: an agent, a pool, an ablation, a seed and the preset that its settings are based on."""

    agent: str
    pool: str
    opponent_id: bool
    seed: int
    preset: str

    def __post_init__(self) -> None:
        check_known("agent", self.agent, AGENTS)
        if self.pool == CUSTOM and self.agent == "coala":
            raise UsageError("coala has pools of its own; --pool custom and pool.members go with ppi and a2c")
        if self.pool != CUSTOM and self.pool not in pools_of(self.agent):
            raise unknown("pool", self.pool, [*pools_of(self.agent), *([CUSTOM] if self.agent != "coala" else [])])
        if self.opponent_id and (self.agent == "coala" or self.pool != "mixed"):
            raise UsageError(f"--opponent-id is an ablation of the mixed pool; it does not go with --pool {self.pool}")
        if self.seed < 0:
            raise UsageError(f"a seed must be an integer >= 0, not {self.seed}")

    def pool_with(self, settings: PoolConfig) -> Pool:
        """The pool of this name; that of the settings' members where it is `CUSTOM`."""
        if self.pool != CUSTOM:
            return pools_of(self.agent)[self.pool]
        opponents = tuple(member.opponent for member in settings.members)
        return Pool(learners=2 if LEARNER in opponents else 1, opponents=opponents)

    @property
    def name(self) -> str:
        return run_name(self.agent, self.pool, self.opponent_id)

    @property
    def keys(self) -> dict[str, str | bool | int]:
        """The columns that every row of the run's tables has, and the preset."""
        return {
            "agent": self.agent,
            "experiment": self.pool,
            "opponent_id": self.opponent_id,
            "seed": self.seed,
            "preset": self.preset,
        }

    def directory(self, results: Path) -> Path:
        return results / self.preset / self.name / f"seed-{self.seed}"

    @property
    def command(self) -> tuple[str, ...]:
        """The words of the command that makes this run, without changed settings."""
        preset = self.preset
        settings = ("--config", str(preset.path)) if isinstance(preset, ConfigFile) else ("--preset", preset)
        return (*train_words(self.agent, self.pool, self.opponent_id), *settings, "--seed", str(self.seed))

    def typed(self, results: Path) -> str:
        """`command` for a shell, with the results folder."""
        return shlex.join([*self.command, *options_for(results)])

    def needs(self) -> tuple[RunSpec, ...]:
        """The finished runs that this run starts from or plays against, in the order of its learners."""
        if self.pool == "extortion":
            return (replace(self, pool="tabular"),)
        before = {"mutual-extortion": "extortion", "exact-mutual": "exact-naive"}
        if self.pool in before:
            return tuple(replace(self, pool=before[self.pool], seed=seed) for seed in (self.seed, partner(self.seed)))
        return ()


def train_words(agent: str, pool: str, opponent_id: bool) -> list[str]:
    """The words of a command that trains such an agent, without preset, seeds and folder."""
    return ["coopctx", "train", "--agent", agent, "--pool", pool, *(["--opponent-id"] if opponent_id else [])]


def pools_of(agent: str) -> dict[str, Pool]:
    """The pools that this kind of agent can be trained in, by name."""
    return COALA_POOLS if agent == "coala" else POOLS


def agents_of(pool: str) -> tuple[str, ...]:
    """The kinds of agents that can be trained in this pool."""
    return tuple(agent for agent in AGENTS if pool in pools_of(agent))


def options_for(results: Path, preset: str = "cpu") -> list[str]:
    """The options that select a results folder and a preset in a command; none for the defaults."""
    words = ["--preset", str(preset.path) if isinstance(preset, ConfigFile) else preset] if preset != "cpu" else []
    return words + (["--results", str(results)] if results != Path("results") else [])


def check_read(names: Iterable[str], specs: Iterable[RunSpec]) -> None:
    """UsageError for a setting, such as ``ppi.rollouts``, that none of these runs reads: it would change nothing."""
    runs = list(specs)
    agents, pools = ({spec.agent for spec in runs}, {spec.pool for spec in runs})
    for name in names:
        section = name.partition(".")[0]
        if (section in AGENTS and section not in agents) or (name in OF_PPI_AND_A2C and agents == {"coala"}):
            raise UsageError(f"{name}: a run of {' or '.join(sorted(agents))} does not read it")
        if name == "pool.tabular_share" and not any(spec.pool == "mixed" and spec.agent != "coala" for spec in runs):
            raise UsageError(f"{name}: --pool {' or '.join(sorted(pools))} does not read it, only the mixed pool of ppi and a2c")
        if name == "measure.episode_phases" and "ppi" not in agents:
            raise UsageError(f"{name}: only a run of ppi reads it; others read {' or '.join(sorted(agents))}.episode_iterations")


def check_members(spec: RunSpec, settings: PoolConfig) -> None:
    """UsageError if the pool is `CUSTOM` and lists no members, or is another one and lists members."""
    if spec.pool == CUSTOM and not settings.members:
        raise UsageError("--pool custom needs pool.members: tables [[pool.members]] in a file for --config")
    if spec.pool != CUSTOM and settings.members:
        raise UsageError(f"pool.members: --pool {spec.pool} has opponents of its own; with members the pool is {CUSTOM}")


def weights(pool: Pool, settings: PoolConfig) -> tuple[float, ...]:
    """Each opponent's share of an agent's episodes, in the order of `Pool.opponents`."""
    if settings.members:
        return tuple(member.share for member in settings.members)
    return (1.0,) if len(pool.opponents) == 1 else (1 - settings.tabular_share, settings.tabular_share)


def run_name(agent: str, pool: str, opponent_id: bool = False) -> str:
    """The folder that holds all seeds of a run, such as ``ppi-mixed-opponent-id``."""
    return f"{agent}-{pool}" + ("-opponent-id" if opponent_id else "")


def run_names() -> set[str]:
    """The names of all runs that there can be."""
    names = {run_name(agent, pool) for agent in AGENTS for pool in pools_of(agent)}
    others = AGENTS.keys() - {"coala"}
    return names | {run_name(agent, *rest) for agent in others for rest in ((CUSTOM, False), ("mixed", True))}


def with_needs(specs: Iterable[RunSpec]) -> list[RunSpec]:
    """``specs`` and all runs that they need: each once, and after the runs that it needs itself."""
    ordered: dict[RunSpec, None] = {}
    for spec in specs:
        ordered.update(dict.fromkeys((*with_needs(spec.needs()), spec)))
    return list(ordered)


def partner(seed: int) -> int:
    """The Step-2 seed whose agent is the opponent of this seed's agent in Step 3: the next in a circle of ten."""
    return seed - seed % DECADE + (seed + 1) % DECADE
