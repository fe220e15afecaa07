"""The exact Bayesian observer, against posterior predictives computed by hand and against the expectation over the pool."""

import math

import pytest
import torch

from coopctx.agents.beliefs import bayes_nll
from coopctx.game.arena import play
from coopctx.game.episodes import Episodes
from coopctx.game.matrix import PRISONERS_DILEMMA
from coopctx.game.streams import stream
from coopctx.game.tabular import RandomTabular, named_strategy

C, D = 0, 1


def episode(own, co):
    """One game, both sides' actions given."""
    game = PRISONERS_DILEMMA
    own, co = torch.tensor([own]), torch.tensor([co])
    observations = torch.cat([torch.zeros(1, 1, dtype=torch.long), game.observe(own, co)], 1)
    return Episodes(observations.to(torch.uint8), own.to(torch.uint8), game.reward(own, co), torch.zeros(1, 0))


def test_counts_are_kept_for_each_last_outcome():
    # Co-player: C at the start (1/2), then after CC: C (1/2), D (1/3); after CD: D (1/2), C (1/3); after CC again: D (2/4).
    found = bayes_nll(PRISONERS_DILEMMA, episode([C] * 6, [C, C, D, D, C, D]))
    assert found == pytest.approx(-math.log(1 / 2 * 1 / 2 * 1 / 3 * 1 / 2 * 1 / 3 * 2 / 4) / 6)


def test_own_actions_tell_situations_apart():
    # After CC: C (1/2); after DC: D (1/2); after CD: D (1/2); after DD: C (1/2): every situation once.
    assert bayes_nll(PRISONERS_DILEMMA, episode([C, D, C, D, C], [C, C, D, D, C])) == pytest.approx(math.log(2))


def test_games_are_averaged():
    both = Episodes.concatenate([episode([C] * 3, [C, C, C]), episode([C] * 3, [D, C, D])])
    assert bayes_nll(PRISONERS_DILEMMA, both) == pytest.approx(-math.log(1 / 2 * 1 / 2 * 2 / 3 * 1 / 2 * 1 / 2 * 1 / 2) / 6)


def test_in_the_mean_over_the_pool_it_is_the_entropy_of_what_is_not_known_yet():
    """Against always-defect two situations recur; the expected loss over all courses of play of six rounds, enumerated."""
    pool = RandomTabular(5, 2, stream(0, "pool"))
    ego, _ = play(PRISONERS_DILEMMA, 6, 20_000, (named_strategy("always-defect", stream(0, "ego")), pool))
    assert bayes_nll(PRISONERS_DILEMMA, ego) == pytest.approx(enumerated(6), abs=0.004)


def enumerated(rounds: int) -> float:
    total = 0.0
    for code in range(2**rounds):
        counts = {situation: [1, 1] for situation in ("start", 0, 1)}
        probability, surprise, situation = 1.0, 0.0, "start"
        for action in (code >> t & 1 for t in range(rounds)):
            expected = counts[situation][action] / sum(counts[situation])
            probability *= expected
            surprise -= math.log(expected)
            counts[situation][action] += 1
            situation = action  # its co-player defects, so its own action tells the rounds apart
        total += probability * surprise
    return total / rounds
