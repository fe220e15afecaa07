"""The trained agents of finished runs: their models, settings and players.

Seed 0 of five runs is packaged with the weights and the manifest of results/ (`packaged_agents`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from coopctx.agents import model_of, player_of, untrained_of
from coopctx.agents.beliefs import Believer
from coopctx.agents.trunk import identity_size_of
from coopctx.errors import RunError, UsageError
from coopctx.experiments.configuration import from_dict, with_defaults
from coopctx.experiments.pools import CUSTOM, EXACT, RunSpec, pools_of, run_name
from coopctx.experiments.settings import Config
from coopctx.game.streams import stream
from coopctx.runs.manifest import read_manifest
from coopctx.runs.read import read_weights
from coopctx.runs.schema import KEYS, MANIFEST

PACKAGED = Path(__file__).with_name("data")  # a folder per packaged agent, with a run's manifest and weights


@dataclass(frozen=True)
class TrainedAgent:
    """The learners of a finished run: one model each (state dictionaries), and the run's settings.

    keys: agent, experiment, opponent_id, seed and preset of the run.
    """

    directory: Path
    config: Config
    weights: tuple[dict[str, Tensor], ...]
    keys: Mapping[str, Any]

    @classmethod
    def load(cls, run: str | Path, command: str = "") -> Self:
        """Read the run in the directory ``run``, or the packaged agent of that name.

        Raises RunError, naming the ``command`` that makes the run, if it is neither of them or not finished; RunError too if
        it is damaged.
        """
        directory = find_run(run)
        if not (directory / MANIFEST).exists() or (manifest := read_manifest(directory))["state"] != "finished":
            hint = f"make it with: {command}" if command else f"packaged agents: {', '.join(packaged_agents())}"
            raise RunError(f"{directory} is not a finished run; {hint}")
        named: dict[str, dict[str, Tensor]] = {}
        for name, tensor in read_weights(directory).items():
            learner, parameter = name.split(".", 1)
            named.setdefault(learner, {})[parameter] = tensor
        models = tuple(named[learner] for learner in sorted(named))
        keys = {name: manifest[name] for name in (*KEYS, "preset")}
        return cls(directory, from_dict(with_defaults(manifest["configuration"])), models, keys)

    @property
    def kind(self) -> str:
        """The kind of agent: ``ppi``, ``a2c`` or ``coala``."""
        return str(self.keys["agent"])

    @property
    def name(self) -> str:
        """Run and seed, such as ``ppi-mixed seed 0``."""
        keys = self.keys
        return f"{run_name(keys['agent'], keys['experiment'], keys['opponent_id'])} seed {keys['seed']}"

    def check_game(self, config: Config) -> None:
        """RunError, naming the difference, unless this agent was trained in the game of ``config``, of as many rounds."""
        for name in ("payoffs", "rounds", "noise", "continuation"):
            ours, theirs = getattr(self.config.game, name), getattr(config.game, name)
            if ours != theirs:
                raise RunError(f"{self.directory} was trained with game.{name} = {json.dumps(ours)}, not {json.dumps(theirs)}")

    def learner_weights(self, learner: int) -> dict[str, Tensor]:
        """The state dictionary of learner ``learner`` (from 1); UsageError where there is no such learner."""
        if not (isinstance(learner, int) and 1 <= learner <= len(self.weights)):
            raise UsageError(f"--learner must be from 1 to {len(self.weights)} for {self.directory}, not {learner}")
        return self.weights[learner - 1]

    def model(self, learner: int = 1, device: torch.device | None = None) -> nn.Module:
        """A new copy of the model of learner ``learner`` (from 1). Raises as `learner_weights`."""
        return model_of(self.kind, self.config, self.learner_weights(learner)).to(device)

    @property
    def rounds(self) -> int:
        """The rounds of an episode in training; of COALA's exact game, which has no end, ``game.rounds``."""
        sampled = self.kind == "coala" and not self.keys["experiment"].startswith(EXACT)
        return self.config.coala.inner_rounds if sampled else self.config.game.rounds

    @property
    def has_untrained(self) -> bool:
        """Whether `untrained` can make the first weights: not those of Step 3 and of the exact games."""
        pool = self.keys["experiment"]
        return pool == CUSTOM or not (pools_of(self.kind)[pool].pretrained or pool.startswith(EXACT))

    def untrained(self) -> Self:
        """The same learners with their initial weights; UsageError where there are none to make (`has_untrained`)."""
        if not self.has_untrained:
            raise UsageError(f"{self.directory} began as other runs' agents or is an exact game: it has no untrained agents")
        seed = int(self.keys["seed"])
        streams = [stream(seed, f"learner {number}", "initialise", 0) for number in range(1, len(self.weights) + 1)]
        fresh = (
            untrained_of(self.kind, self.config, identity_size_of(weights), generator).state_dict()
            for weights, generator in zip(self.weights, streams, strict=True)
        )
        return replace(self, weights=tuple(fresh))

    def player(
        self, generator: torch.Generator, learner: int = 1, device: torch.device | None = None, threads: int = 1
    ) -> Believer:
        """Learner ``learner`` (from 1) as a player that no longer learns. Raises as `learner_weights`."""
        return player_of(self.kind, self.model(learner, device), self.config, generator, threads)


@cache
def packaged_agents() -> tuple[str, ...]:
    """The names of the agents that ship with the package, such as ``ppi-mixed``."""
    return tuple(sorted(path.name for path in PACKAGED.iterdir() if (path / MANIFEST).exists()))


def find_run(run: str | Path) -> Path:
    """The directory of a run: of the packaged agent of that name, otherwise ``run`` itself. UsageError if ``run`` is empty."""
    if not isinstance(run, str | Path) or not str(run):
        raise UsageError(f"a run is named by its directory or a packaged agent's name, not by {run!r}")
    return PACKAGED / run if str(run) in packaged_agents() else Path(run)


def needed_agents(spec: RunSpec, config: Config, results: Path) -> list[TrainedAgent]:
    """The agents under ``results`` that ``spec`` starts from or plays against (`RunSpec.needs`).

    Raises RunError if one is missing (naming the command that makes it), damaged, trained in another game, or of another size
    than the model that is to start from its weights.
    """
    agents = []
    for needed in spec.needs():
        agent = TrainedAgent.load(needed.directory(results), needed.typed(results))
        agent.check_game(config)
        if spec.pool_with(config.pool).pretrained and agent.config.model != config.model:
            raise RunError(f"{agent.directory} has {agent.config.model}, not {config.model} as asked for here")
        agents.append(agent)
    return agents
