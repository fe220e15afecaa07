"""Payoffs and first-person observation codes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coopctx.game.matrix import COOPERATE, DEFECT, PRISONERS_DILEMMA, START, MatrixGame


@pytest.mark.parametrize(
    ("own", "other", "rewards", "codes"),
    [
        (COOPERATE, COOPERATE, (1, 1), (1, 1)),
        (COOPERATE, DEFECT, (-1, 2), (2, 3)),
        (DEFECT, COOPERATE, (2, -1), (3, 2)),
        (DEFECT, DEFECT, (0, 0), (4, 4)),
    ],
)
def test_prisoners_dilemma_pays_and_shows_both_players_their_own_side(own, other, rewards, codes):
    a, b = torch.tensor([own]), torch.tensor([other])
    game = PRISONERS_DILEMMA
    assert (game.reward(a, b).item(), game.reward(b, a).item()) == rewards
    assert (game.observe(a, b).item(), game.observe(b, a).item()) == codes


@given(st.integers(2, 5))
def test_observations_of_any_game_are_distinct_and_leave_the_start_code_free(n):
    game = MatrixGame.of([[float(i * n + j) for j in range(n)] for i in range(n)])
    own, other = torch.arange(n).repeat_interleave(n), torch.arange(n).repeat(n)
    codes = game.observe(own, other).tolist()
    assert sorted(codes) == list(range(1, game.n_observations))
    assert START not in codes
    assert game.reward(own, other).tolist() == [float(i) for i in range(n * n)]


@pytest.mark.parametrize("payoffs", [[[1.0]], [[1.0, 2.0]], [[1.0, 2.0], [3.0]]])
def test_a_matrix_that_is_no_game_is_refused(payoffs):
    with pytest.raises(ValueError, match="square"):
        MatrixGame.of(payoffs)


@pytest.mark.parametrize("bad", [{"noise": 1.0}, {"noise": -0.1}, {"continuation": 0.0}, {"continuation": 1.5}])
def test_chances_that_a_game_cannot_have_are_refused(bad):
    MatrixGame.of(PRISONERS_DILEMMA.payoffs, noise=0.0, continuation=1.0)
    with pytest.raises(ValueError, match=next(iter(bad))):
        MatrixGame.of(PRISONERS_DILEMMA.payoffs, **bad)
