"""The untrained models, learners and episodes that are timed, of the settings' sizes."""

from __future__ import annotations

from coopctx.agents.ppi.learner import PPILearner
from coopctx.agents.ppi.model import SequenceModel
from coopctx.agents.ppi.player import untrained
from coopctx.bench.race import CPU
from coopctx.experiments.settings import Config
from coopctx.game.arena import play
from coopctx.game.episodes import Episodes
from coopctx.game.player import Player
from coopctx.game.streams import stream
from coopctx.game.tabular import RandomTabular


def untrained_model(config: Config) -> SequenceModel:
    return untrained(config, 0, stream(0, "model"))


def learner_with(config: Config, data: Episodes, number: int = 1) -> PPILearner:
    learner = PPILearner(number, config.game.matrix(), config.model, config.ppi, seed=0, identity_size=0, device=CPU)
    learner.data = data
    return learner


def tabular_episodes(config: Config, games: int) -> Episodes:
    """Episodes of fresh memory-one players against each other, as in D_0."""
    return against_tabular(config, games, _random_tabular(config, "ego"))


def against_tabular(config: Config, games: int, player: Player) -> Episodes:
    """Episodes of ``player`` against fresh memory-one players, from its side."""
    players = player, _random_tabular(config, "co", games)
    return play(config.game.matrix(), config.game.rounds, games, players, CPU, chance=stream(0, "chance"))[0]


def _random_tabular(config: Config, *purpose: str | int) -> RandomTabular:
    game = config.game.matrix()
    return RandomTabular(game.n_outcomes, game.n_actions, stream(0, "tabular", *purpose))
