"""Tabular players and the arena against the exact Markov chain of two memory-one players."""

import numpy as np
import pytest
import torch

from coopctx.errors import UsageError
from coopctx.game.arena import play
from coopctx.game.episodes import Episodes
from coopctx.game.matrix import COOPERATE, PRISONERS_DILEMMA
from coopctx.game.memory_one import NAMED_STRATEGIES
from coopctx.game.streams import stream
from coopctx.game.tabular import RandomTabular, TabularPlayer, named_strategy, uniform_player

P = np.array([0.3, 0.9, 0.2, 0.7, 0.4])  # cooperation after start, CC, CD, DC, DD
Q = np.array([0.6, 0.8, 0.1, 0.5, 0.3])
PAYOFF = np.array([1.0, -1.0, 2.0, 0.0])  # row player's reward in CC, CD, DC, DD


def player(cooperation, *names):
    policy = torch.tensor(np.stack([cooperation, 1 - np.asarray(cooperation)], 1), dtype=torch.float32)
    return TabularPlayer(policy, stream(0, *names))


def joint(p, q):
    """Distribution over CC, CD, DC, DD when the row player cooperates with p and the column player with q."""
    return np.array([p * q, p * (1 - q), (1 - p) * q, (1 - p) * (1 - q)])


def transitions(p, q):
    """4 x 4 chain over joint actions seen by the row player; the column player sees CD as DC."""
    return np.stack([joint(p[1 + s], q[1 + mirrored]) for s, mirrored in enumerate([0, 2, 1, 3])])


def test_play_follows_the_markov_chain_round_by_round_and_settles_in_its_stationary_distribution():
    games, rounds = 20_000, 30
    row, column = play(PRISONERS_DILEMMA, rounds, games, (player(P, "p"), player(Q, "q")))
    chain, state = transitions(P, Q), joint(P[0], Q[0])
    tolerance = 4.5 * 0.5 / np.sqrt(games)
    for t in range(rounds):
        assert row.cooperation_per_round()[t] == pytest.approx(state[0] + state[1], abs=tolerance)
        assert column.cooperation_per_round()[t] == pytest.approx(state[0] + state[2], abs=tolerance)
        assert row.reward_per_round()[t] == pytest.approx(state @ PAYOFF, abs=3 * tolerance)
        state = state @ chain
    values, vectors = np.linalg.eig(chain.T)
    stationary = np.real(vectors[:, np.argmax(np.real(values))])
    stationary /= stationary.sum()
    outcomes = np.bincount(row.observations[:, -1].numpy(), minlength=5)[1:] / games
    assert outcomes == pytest.approx(stationary, abs=tolerance)


def test_both_players_tell_the_same_story():
    row, column = play(PRISONERS_DILEMMA, 12, 50, (player(P, "p"), player(Q, "q")))
    swapped = torch.tensor([0, 1, 3, 2, 4])
    assert torch.equal(swapped[row.observations.long()], column.observations.long())
    assert torch.equal(row.observations[:, 1:], PRISONERS_DILEMMA.observe(row.actions, column.actions).byte())
    assert torch.equal(row.rewards, PRISONERS_DILEMMA.reward(row.actions, column.actions))
    assert (row.observations[:, 0] == 0).all()


def test_random_tabular_players_are_uniform_and_drawn_anew_for_every_episode():
    pool = RandomTabular(5, 2, stream(1))
    pool.begin(40_000)
    cooperation = pool.policies[..., COOPERATE].flatten()
    quantiles = torch.quantile(cooperation[:100_000], torch.tensor([0.1, 0.5, 0.9]))
    assert quantiles.tolist() == pytest.approx([0.1, 0.5, 0.9], abs=0.01)
    before = pool.policies
    pool.begin(40_000)
    assert not torch.equal(before, pool.policies)
    assert len(torch.unique(before[:, 0, 0])) > 39_000


def test_identity_is_the_flattened_log_policy_of_each_game_and_stays_finite():
    pool = RandomTabular(5, 2, stream(2))
    pool.begin(3)
    assert pool.identity().shape == (3, 10)
    assert torch.allclose(pool.identity().view(3, 5, 2).exp(), pool.policies, atol=2e-4)
    for name in NAMED_STRATEGIES:
        strategy = named_strategy(name, stream(3))
        strategy.begin(2)
        assert torch.isfinite(strategy.identity()).all()
        assert torch.allclose(strategy.identity().view(2, 5, 2).exp(), strategy.policies, atol=2e-4)


def test_named_strategies_do_what_their_names_say():
    opponent = uniform_player(5, 2, stream(4))
    for name, expected in {"always-cooperate": 1.0, "always-defect": 0.0}.items():
        ego, _ = play(PRISONERS_DILEMMA, 20, 30, (named_strategy(name, stream(5)), opponent))
        assert ego.cooperation_rate() == expected
    ego, co = play(PRISONERS_DILEMMA, 20, 30, (named_strategy("tit-for-tat", stream(6)), opponent))
    assert (ego.actions[:, 0] == COOPERATE).all()
    assert torch.equal(ego.actions[:, 1:], co.actions[:, :-1])


def test_an_unknown_strategy_is_refused_with_the_nearest_name():
    with pytest.raises(UsageError, match="unknown strategy 'tit-for-tot'; did you mean tit-for-tat"):
        named_strategy("tit-for-tot", stream(0))


@pytest.mark.parametrize("over", [None, 5])
def test_packed_episodes_come_back_bit_for_bit(over):
    """A zero's sign too; a reward takes a byte, not four."""
    rewards = torch.tensor([-1.0, 0.0, -0.0, 0.1, 2.0])[torch.randint(5, (9, 7), generator=stream(0, "rewards"))]
    codes = [torch.randint(5, (9, rounds), generator=stream(0, "codes"), dtype=torch.uint8) for rounds in (8, 7)]
    episodes = Episodes(*codes, rewards, torch.rand(9, 10, generator=stream(0, "identity")), over)
    packed = episodes.packed()
    assert {name: tensor.element_size() for name, tensor in packed.items() if len(tensor) == 9} == {
        "observations": 1,
        "actions": 1,
        "identity": 4,
        "reward_codes": 1,
    }
    back = Episodes.unpacked(packed, over)
    assert back.over == over
    for name, tensor in episodes.tensors().items():
        assert back.tensors()[name].numpy().tobytes() == tensor.numpy().tobytes(), name


def test_episodes_select_and_concatenate():
    first, second = play(PRISONERS_DILEMMA, 7, 6, (player(P, "a"), player(Q, "b")))
    both = Episodes.concatenate([first, second])
    assert (len(both), both.rounds) == (12, 7)
    assert torch.equal(both[6:].actions, second.actions)
    assert torch.equal(both[torch.tensor([7])].rewards, second.rewards[1:2])
    assert both.reward() == pytest.approx(both.reward_per_round().mean().item())
