"""A finished run's agent, ready to play: its models as they ended, PPI's planner as it was configured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from coopctx.agents import model_class, player_of
from coopctx.agents.trunk import Trunk
from coopctx.errors import RunError
from coopctx.experiments.pools import POOLS, RunSpec
from coopctx.experiments.settings import Config, from_dict, with_defaults
from coopctx.game.player import Player
from coopctx.game.streams import stream
from coopctx.runs.manifest import read_manifest
from coopctx.runs.read import read_weights


@dataclass(frozen=True)
class TrainedAgent:
    """The learners of a finished run: one model each (state dictionaries), and the run's settings.

    kind: of agent, a name in `coopctx.experiments.agents.AGENTS`, which tells the class of the models.
    """

    directory: Path
    config: Config
    weights: tuple[dict[str, Tensor], ...]
    kind: str

    @classmethod
    def load(cls, directory: Path, command: str = "") -> TrainedAgent:
        """Read the run in ``directory``; RunError if it is not a finished run (naming ``command``, which makes it) or damaged."""
        if not (directory / "run.json").exists() or (manifest := read_manifest(directory))["state"] != "finished":
            hint = f"; make it with: {command}" if command else ""
            raise RunError(f"{directory} is not a finished run{hint}")
        named: dict[str, dict[str, Tensor]] = {}
        for name, tensor in read_weights(directory).items():
            learner, parameter = name.split(".", 1)
            named.setdefault(learner, {})[parameter] = tensor
        models = tuple(named[learner] for learner in sorted(named))
        return cls(directory, from_dict(with_defaults(manifest["configuration"])), models, manifest["agent"])

    def check_game(self, config: Config) -> None:
        """RunError, naming the difference, unless this agent was trained in the game and horizon of ``config``."""
        for name in ("payoffs", "rounds", "noise", "continuation"):
            ours, theirs = getattr(self.config.game, name), getattr(config.game, name)
            if ours != theirs:
                raise RunError(f"{self.directory} was trained with game.{name} = {_plain(ours)}, not {_plain(theirs)}")

    def model(self, learner: int = 1, device: torch.device | None = None) -> Trunk:
        """The model of learner ``learner`` (from 1), one's own copy."""
        game, weights = self.config.game.matrix(), self.weights[learner - 1]
        identity = weights["identity.weight"].shape[1] if "identity.weight" in weights else 0
        sizes = game.n_observations, game.n_actions, self.config.model.hidden, self.config.model.embedding, identity
        model = model_class(self.kind)(*sizes, stream(0))  # every weight is replaced
        model.load_state_dict(weights)
        return model.to(device)

    def player(
        self, generator: torch.Generator, learner: int = 1, device: torch.device | None = None, threads: int = 1
    ) -> Player:
        """Learner ``learner`` (from 1) as a player that no longer learns."""
        return player_of(self.kind, self.model(learner, device), self.config, generator, threads)


def needed_agents(spec: RunSpec, config: Config, results: Path) -> list[TrainedAgent]:
    """The agents under ``results`` that ``spec`` starts from or plays against (`RunSpec.needs`).

    RunError where one is missing (naming the command that makes it), damaged, of another game, or of another size than
    the model that is to start from it.
    """
    agents = []
    for needed in spec.needs():
        agent = TrainedAgent.load(needed.directory(results), " ".join(needed.command))
        agent.check_game(config)
        if POOLS[spec.pool].pretrained and agent.config.model != config.model:
            raise RunError(f"{agent.directory} has {agent.config.model}, not {config.model} as asked for here")
        agents.append(agent)
    return agents


def _plain(value: object) -> str:
    return str(value).replace("(", "[").replace(")", "]")
