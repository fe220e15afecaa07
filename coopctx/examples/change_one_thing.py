"""Another game, another pool, another agent, another training loop: a few lines each, to be copied and changed.

``python -m coopctx.examples.change_one_thing`` runs all four, in seconds and at toy scale (preset ``smoke``), and leaves two
runs under ``results-example/``. With ``"cpu"`` instead of ``"smoke"`` they are experiments that take minutes each.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

import coopctx
from coopctx import COOPERATE, DEFECT, PRISONERS_DILEMMA, START
from coopctx.launch.job import Outcome

PRESET = "smoke"


def another_game(results: Path) -> float:
    """How often do the learners cooperate in a stag hunt, where hunting together is an equilibrium too?"""
    payoffs = "game.payoffs=[[4, 0], [3, 2]]"  # [own action][other's action]; action 0, to hunt, counts as cooperation
    (run,) = coopctx.train(agent="ppi", pool="mixed", preset=PRESET, overrides=[payoffs], results=results / "stag-hunt")
    return cooperation_of_learners(run)


def another_pool(results: Path) -> float:
    """How often do the learners cooperate with each other if nine in ten games, not one in two, are against tabular players?"""
    share = "pool.tabular_share=0.9"
    (run,) = coopctx.train(agent="ppi", pool="mixed", preset=PRESET, overrides=[share], results=results / "more-tabular")
    return cooperation_of_learners(run)


def cooperation_of_learners(run: Outcome) -> float:
    """The learners' cooperation rate with each other in the last phase."""
    rows = run.table("training").query("opponent == 'learner' and player == 'ego'")
    return float(rows[rows["iteration"] == rows["iteration"].max()]["cooperation_rate"].mean())


class Grudger(coopctx.Player):
    """An agent of your own: it cooperates until the opponent defects, then never again. It plays a batch of games at once."""

    def begin(self, games: int) -> None:
        self.angry = torch.zeros(games, dtype=torch.bool)

    def act(self, observation: Tensor, reward: Tensor) -> Tensor:
        self.angry |= (observation != START) & ((observation - 1) % PRISONERS_DILEMMA.n_actions == DEFECT)
        return torch.where(self.angry, DEFECT, COOPERATE)


def another_agent() -> float:
    """The `Grudger`'s reward per round against random memory-one players, a fresh one in each of 1000 games."""
    game = PRISONERS_DILEMMA
    pool = coopctx.RandomTabular(game.n_observations, game.n_actions, coopctx.stream(0, "pool"))
    ego, _ = coopctx.play(game, rounds=100, games=1000, players=(Grudger(), pool))
    return ego.reward()


def another_loop() -> float:
    """How often does a PPI learner cooperate after training against the `Grudger` alone? The training loop is written out."""
    game, config = PRISONERS_DILEMMA, coopctx.load_preset(PRESET)
    first, second = (coopctx.RandomTabular(game.n_observations, game.n_actions, coopctx.stream(0, side)) for side in (1, 2))
    learner = coopctx.PPILearner(1, game, config.model, config.ppi, seed=0)
    learner.data, _ = coopctx.play(game, config.game.rounds, config.ppi.initial_episodes, (first, second))
    for phase in range(config.ppi.phases + 1):
        learner.fit(phase)
        ego, _ = coopctx.play(game, config.game.rounds, config.ppi.episodes_per_phase, (learner.player(phase), Grudger()))
        learner.data = coopctx.Episodes.concatenate([learner.data, ego])
    return ego.cooperation_rate()


def main(results: Path = Path("results-example")) -> None:
    """Run all four and print a line each."""
    print(f"stag hunt: the learners hunt together in {another_game(results):.0%} of the rounds")
    print(f"nine in ten games against tabular players: the learners cooperate in {another_pool(results):.0%}")
    print(f"the Grudger earns {another_agent():.2f} per round against tabular players")
    print(f"PPI against the Grudger alone cooperates in {another_loop():.0%} of the rounds")


if __name__ == "__main__":
    main()
