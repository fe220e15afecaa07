"""Tabular players, several of them in one batch, and named random streams: each by a definition written out here."""

import hashlib
import re

import pytest
import torch

from coopctx.errors import UsageError
from coopctx.game.arena import play
from coopctx.game.matrix import PRISONERS_DILEMMA
from coopctx.game.memory_one import NAMED_STRATEGIES
from coopctx.game.player import can_play_natively, checked_actions
from coopctx.game.sampling import Counted, choose, sample
from coopctx.game.seats import Seats
from coopctx.game.streams import stream
from coopctx.game.tabular import RandomTabular, TabularPlayer, memory_one_policy, named_strategy, uniform_player

POLICY = memory_one_policy([0.9, 0.1, 0.6, 0.3, 0.5])


def test_a_stream_is_addressed_by_the_hash_of_seed_and_names():
    """SHA-256 of "7/play/3/learner", its first 8 bytes as a number, without the last bit."""
    digest = hashlib.sha256(b"7/play/3/learner").digest()
    expected = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") // 2)
    assert torch.equal(torch.rand(5, generator=stream(7, "play", 3, "learner")), torch.rand(5, generator=expected))
    others = [stream(7), stream(8, "play", 3, "learner"), stream(7, "play", 31, "learner"), stream(7, "learner", 3, "play")]
    assert len({each.initial_seed() for each in (expected, *others)}) == 5


def test_an_action_is_the_one_whose_stretch_holds_the_random_number():
    probabilities = torch.tensor([[0.5, 0.25, 0.25]]).expand(6, -1)
    uniform = torch.tensor([0.0, 0.49, 0.5, 0.74, 0.75, 0.999])
    assert choose(probabilities, uniform).tolist() == [0, 0, 1, 1, 2, 2]
    assert sample(probabilities.log() + 3, uniform).tolist() == [0, 0, 1, 1, 2, 2]


def test_a_tabular_player_draws_from_the_row_of_what_it_sees():
    player = TabularPlayer(POLICY, stream(1))
    observation = torch.tensor([0, 1, 2, 3, 4, 4, 0])
    player.begin(7)
    draws = Counted(stream(1), 7)
    for _ in range(3):
        uniform = draws.next()
        expected = [int(u >= POLICY[o, 0]) for u, o in zip(uniform, observation, strict=True)]
        assert player.act(observation, torch.zeros(7)).tolist() == expected


def test_players_who_begin_again_have_other_random_numbers():
    player = TabularPlayer(POLICY, stream(1))
    keys = []
    for _ in range(2):
        player.begin(3)
        keys.append(player._draws.key)
    assert keys[0] != keys[1]


def test_random_tabular_players_are_normalised_exponentials():
    """Uniform on the simplex: -log u over their sum."""
    player = RandomTabular(5, 3, stream(2))
    player.begin(4)
    weights = -torch.rand(4, 5, 3, generator=stream(2)).log()
    assert torch.allclose(player.policies, weights / weights.sum(2, keepdim=True))
    assert RandomTabular(5, 2, stream(2)).policies.tolist() == [[[0.5, 0.5]] * 5]


def test_a_spread_of_players_repeats_over_the_games():
    policies = torch.stack([memory_one_policy([p] * 5) for p in (0.0, 0.5, 1.0)])
    TabularPlayer(policies[:1], stream(3)).begin(2)  # one will do
    spread = TabularPlayer(policies, stream(3))
    spread.begin(7)
    assert torch.equal(spread.policies, policies[torch.tensor([0, 1, 2, 0, 1, 2, 0])])
    assert spread.identity().shape == (7, 10) and spread._generator.initial_seed() == stream(3).initial_seed()
    assert (spread.act(torch.zeros(7, dtype=torch.long), torch.zeros(7))[[0, 3, 6, 2, 5]].tolist()) == [1, 1, 1, 0, 0]


def test_the_identity_is_the_log_of_probabilities_no_smaller_than_a_ten_thousandth():
    player = TabularPlayer(memory_one_policy([1, 0, 0.25, 0.5, 1]), stream(4))
    player.begin(2)
    floor = torch.tensor(1e-4).log().item()
    expected = torch.tensor([[1, 1], [1, 1], [0.25, 0.75], [0.5, 0.5], [1, 1]]).log()
    expected[0, 1] = expected[1, 0] = expected[4, 1] = floor
    assert torch.allclose(player.identity(), expected.flatten().expand(2, -1))


def test_a_uniform_player_has_the_same_probability_for_every_action():
    assert uniform_player(10, 4, stream(5)).policies.tolist() == [[[0.25] * 4] * 10]


def test_policies_of_memory_one_strategies_have_cooperation_first():
    assert memory_one_policy([[1, 0.25, 0, 0, 0]]).tolist() == [[[1, 0], [0.25, 0.75], [0, 1], [0, 1], [0, 1]]]
    for cooperation in NAMED_STRATEGIES.values():
        assert len(cooperation) == 5 and all(0 <= p <= 1 for p in cooperation)


class Marked:
    """Plays its number; notes what it is told."""

    def __init__(self, number: int, identity: torch.Tensor | None = None) -> None:
        self.number, self._identity = number, identity

    def begin(self, games):
        self.games = games

    def identity(self):
        return self._identity

    def meet(self, identity):
        self.met = identity

    def act(self, observation, reward):
        self.saw = observation, reward
        return torch.full((self.games,), self.number)


@pytest.mark.parametrize("known", [0, 1, 2])
def test_seats_give_every_player_its_rows_and_nothing_else(known):
    """known: which of the three has an identity."""
    told = torch.arange(6.0).view(3, 2) + 1
    players = [Marked(n, told[: n + 1] if n == known else None) for n in range(3)]
    seats = Seats([(player, n + 1) for n, player in enumerate(players)])
    seats.begin(6)
    assert [player.games for player in players] == [1, 2, 3]
    identity = torch.zeros(6, 2)
    first = [0, 1, 3][known]
    identity[first : first + known + 1] = told[: known + 1]
    assert torch.equal(seats.identity(), identity)
    seats.meet(identity)
    assert torch.equal(torch.cat([player.met for player in players]), identity)
    observation, reward = torch.arange(6), torch.arange(6.0) / 2
    assert seats.act(observation, reward).tolist() == [0, 1, 1, 2, 2, 2]
    for each, whole in ((0, observation), (1, reward)):
        assert torch.equal(torch.cat([player.saw[each] for player in players]), whole)
        assert [len(player.saw[each]) for player in players] == [1, 2, 3]


def test_what_is_kept_of_the_co_player_is_its_identity_or_zeros():
    tabular, plain = TabularPlayer(POLICY, stream(6)), Marked(0)
    ego, co = play(PRISONERS_DILEMMA, 2, 3, (plain, tabular), identity_size=10)
    assert torch.equal(ego.identity, tabular.identity()) and (co.identity == 0).all() and co.identity.shape == (3, 10)
    assert torch.equal(plain.met, tabular.identity())
    for episodes in play(PRISONERS_DILEMMA, 2, 3, (plain, tabular)):
        assert episodes.identity.shape == (3, 0)


def test_the_kernel_plays_for_players_that_have_seats_unless_they_say_that_they_are_not_supported():
    class Nobody:
        natively = None

    class Somebody:
        def natively(self):
            return []

    class Sometimes(Somebody):
        def __init__(self, supported):
            self.supported = supported

    players = (object(), Nobody(), Somebody(), Sometimes(True), Sometimes(False))
    assert [can_play_natively(player) for player in players] == [False, False, True, True, False]


def test_a_named_strategy_draws_from_its_own_stream():
    def actions(seed):
        players = named_strategy("random", stream(seed, "a")), named_strategy("random", stream(seed, "b"))
        return torch.cat([side.actions for side in play(PRISONERS_DILEMMA, 20, 10, players)])

    torch.manual_seed(0)
    first = actions(1)
    assert torch.equal(actions(1), first) and not torch.equal(actions(2), first)


@pytest.mark.parametrize(("actions", "got"), [([0, 7], "7"), ([-3, 7], "-3"), ([0, 1, 1], "torch.int64 of shape [3]")])
def test_a_wrong_action_is_named(actions, got):
    with pytest.raises(UsageError, match=re.escape(f"a tensor of 2 integers from 0 to 1, not {got}") + "$"):
        checked_actions(named_strategy("grim", stream(0)), torch.tensor(actions), 2, 2)
