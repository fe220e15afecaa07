"""Named games, noise in actions and random endings, against enumeration and exact values."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coopctx.errors import UsageError
from coopctx.experiments.presets import load_preset
from coopctx.game.arena import play, play_natively
from coopctx.game.matrix import NAMED_GAMES, PRISONERS_DILEMMA, MatrixGame
from coopctx.game.memory_one import best_response, expected_play, long_run_payoffs
from coopctx.game.streams import stream
from coopctx.game.tabular import RandomTabular, TabularPlayer, memory_one_policy, named_strategy

strategies = st.lists(st.floats(0, 1), min_size=5, max_size=5).map(np.array)
OUTCOME = {(0, 0): 1, (0, 1): 2, (1, 0): 3, (1, 1): 4}  # (own action, other's) -> place in a strategy
PD = PRISONERS_DILEMMA.payoffs
P = np.array([0.3, 0.9, 0.2, 0.7, 0.4])
Q = np.array([0.6, 0.8, 0.1, 0.5, 0.3])


def player(strategy, *names):
    return TabularPlayer(memory_one_policy(strategy), stream(0, *names))


def enumerated(p, q, rounds, noise):
    """(choosing C, other choosing C, reward, other's reward) per round, summed over all choices and all slips."""
    figures = np.zeros((rounds, 4))

    def follow(t, chance, own_view, other_view):
        if t == rounds or chance == 0:
            return
        for own, other, slip, other_slip in product((0, 1), repeat=4):
            weight = chance * (1 - p[own_view] if own else p[own_view]) * (1 - q[other_view] if other else q[other_view])
            weight *= (noise if slip else 1 - noise) * (noise if other_slip else 1 - noise)
            a, b = own ^ slip, other ^ other_slip
            figures[t] += weight * np.array([1 - own, 1 - other, PD[a][b], PD[b][a]])
            follow(t + 1, weight, OUTCOME[a, b], OUTCOME[b, a])

    follow(0, 1.0, 0, 0)
    return figures


@given(p=strategies, q=strategies, noise=st.floats(0, 0.5))
@settings(max_examples=10)
def test_expected_play_under_noise_is_the_sum_over_all_choices_and_slips(p, q, noise):
    expected = expected_play(p, q, 3, noise=noise)
    figures = np.stack([expected.cooperation, expected.co_cooperation, expected.reward, expected.co_reward], -1)
    assert figures == pytest.approx(enumerated(p, q, 3, noise))


TWO_ACTIONS = [payoffs for payoffs in NAMED_GAMES.values() if len(payoffs) == 2]


@given(payoffs=st.sampled_from(TWO_ACTIONS), q=strategies, noise=st.floats(0, 0.4), continuation=st.floats(0.1, 1))
@settings(max_examples=20)
def test_no_plan_earns_more_than_the_best_response(payoffs, q, noise, continuation):
    """All plans of three rounds that decide by the last outcome, the most that such a co-player's next move depends on."""
    discount = continuation ** np.arange(3)

    def value(plan):
        after, total = {0: 1.0}, 0.0
        for t in range(3):
            following = dict.fromkeys(range(1, 5), 0.0)
            for seen, chance in after.items():
                own = plan[0] if t == 0 else plan[4 * t - 4 + seen]
                other_seen = {0: 0, 1: 1, 2: 3, 3: 2, 4: 4}[seen]
                cooperates = q[other_seen] * (1 - noise) + (1 - q[other_seen]) * noise
                for slip, b in product((0, 1), repeat=2):
                    weight = chance * (noise if slip else 1 - noise) * (1 - cooperates if b else cooperates)
                    total += discount[t] * weight * payoffs[own ^ slip][b]
                    following[OUTCOME[own ^ slip, b]] += weight
            after = following
        return total

    best = best_response(q, 3, payoffs, noise, continuation)
    assert best.reward @ discount == pytest.approx(max(map(value, product((0, 1), repeat=9))))


def test_noise_makes_tit_for_tat_end_up_anywhere():
    reward, other = long_run_payoffs([1, 1, 0, 1, 0], [1, 1, 0, 1, 0], noise=0.01)
    assert (reward, other) == pytest.approx((0.5, 0.5))  # a quarter of the rounds in each joint action


@pytest.mark.parametrize("bad", [{"noise": -0.1}, {"noise": 1.5}])
def test_noise_that_is_no_probability_is_refused(bad):
    with pytest.raises(ValueError, match="noise must be a probability"):
        expected_play(P, Q, 3, **bad)


# The arena ---------------------------------------------------------------------------------------------------------


def test_play_under_noise_follows_the_exact_values_round_by_round():
    games, noise = 20_000, 0.15
    game = MatrixGame.of(PD, noise=noise)
    ego, co = play(game, 8, games, (player(P, "p"), player(Q, "q")), chance=stream(0, "chance"))
    exact, tolerance = expected_play(P, Q, 8, noise=noise), 4.5 * 0.5 / np.sqrt(games)
    assert ego.cooperation_per_round().numpy() == pytest.approx(exact.cooperation, abs=tolerance)
    assert co.cooperation_per_round().numpy() == pytest.approx(exact.co_cooperation, abs=tolerance)
    assert ego.reward_per_round().numpy() == pytest.approx(exact.reward, abs=3 * tolerance)
    assert co.reward_per_round().numpy() == pytest.approx(exact.co_reward, abs=3 * tolerance)
    own_played = (ego.observations[:, 1:] - 1) // 2
    assert (own_played != ego.actions).double().mean().item() == pytest.approx(noise, abs=tolerance)
    assert torch.equal(own_played, (co.observations[:, 1:] - 1) % 2)  # both see the same round


def test_a_slip_is_to_one_of_the_next_actions_in_turn_if_the_random_number_is_below_the_noise():
    game = MatrixGame.of(NAMED_GAMES["rock-paper-scissors"], noise=0.5)
    chosen, uniform = torch.tensor([0, 0, 2, 2, 1, 1]), torch.tensor([0.0, 0.25, 0.2, 0.49, 0.5, 0.9])
    assert game.played(chosen, uniform).tolist() == [1, 2, 0, 1, 1, 1]


def test_noise_in_a_larger_game_spreads_over_the_other_actions():
    game = MatrixGame.of(NAMED_GAMES["rock-paper-scissors"], noise=0.3)
    chosen = torch.full((60_000,), 2)
    played = game.played(chosen, torch.rand(60_000, generator=stream(0, "noise")))
    assert (torch.bincount(played) / 60_000).tolist() == pytest.approx([0.15, 0.15, 0.7], abs=0.01)


def test_chance_is_drawn_from_its_own_stream_and_from_nothing_else():
    game = MatrixGame.of(PD, noise=0.2, continuation=0.9)

    def actions_and_ends(name):
        torch.rand(7)  # the generator that everybody shares goes on
        ego, co = play(game, 12, 40, (player(P, "p"), player(Q, "q")), chance=stream(0, name))
        return ego.observations, co.observations

    first, again, other = map(actions_and_ends, ("chance", "chance", "other"))
    assert all(map(torch.equal, first, again)) and not any(map(torch.equal, first, other))


def test_games_end_at_random_and_nothing_counts_after_the_end():
    games, continuation = 20_000, 0.8
    game = MatrixGame.of(PD, continuation=continuation)
    ego, co = play(game, 60, games, (player(P, "p"), player(Q, "q")), chance=stream(0, "chance"))
    tolerance = 4.5 * 0.5 / np.sqrt(games)
    lengths = ego.going_on().sum(1)
    assert (ego.games_per_round() / games).numpy() == pytest.approx(continuation ** np.arange(60), abs=tolerance)
    assert lengths.double().mean().item() == pytest.approx(1 / (1 - continuation), abs=0.15)
    assert torch.equal(ego.going_on(), co.going_on())
    assert (ego.going_on()[:, 1:] <= ego.going_on()[:, :-1]).all()  # a game that is over stays so
    assert (ego.rewards[~ego.going_on()] == 0).all() and (ego.observations[:, 1:][~ego.going_on()] == game.over).all()
    sums = ego.rewards.sum(1).double(), co.rewards.sum(1).double()
    expected, discount = expected_play(P, Q, 60), continuation ** np.arange(60)  # round t is reached with this probability
    for total, rewards in zip(sums, (expected.reward, expected.co_reward), strict=True):
        assert total.mean().item() == pytest.approx(float(rewards @ discount), abs=4.5 * float(total.std()) / games**0.5)
    assert ego.reward() == pytest.approx(float(sums[0].sum() / lengths.sum()))
    exact = expected_play(P, Q, 5)
    assert ego.cooperation_per_round()[:5].numpy() == pytest.approx(exact.cooperation, abs=2 * tolerance)
    assert ego.reward_per_round()[:5].numpy() == pytest.approx(exact.reward, abs=6 * tolerance)
    played = ego.going_on()
    assert ego.cooperation_rate() == pytest.approx(float((ego.actions == 0)[played].double().mean()))


def test_without_noise_the_end_alone_is_drawn():
    ego, _ = play(MatrixGame.of(PD, continuation=0.7), 9, 50, (player(P, "p"), player(Q, "q")), chance=stream(0, "chance"))
    draws = stream(0, "chance")
    ends = torch.stack([torch.rand(50, generator=draws) < 0.7 for _ in range(8)], 1).int().cumprod(1).bool()
    assert torch.equal(ego.going_on()[:, 1:], ends)


def test_a_part_and_the_whole_of_episodes_know_their_end():
    game = MatrixGame.of(PD, continuation=0.5)
    ego, _ = play(game, 6, 40, (player(P, "p"), player(Q, "q")), chance=stream(0, "chance"))
    parts = type(ego).concatenate([ego[:10], ego[10:]])
    assert torch.equal(parts.going_on(), ego.going_on()) and parts.over == game.over == 5
    assert parts.to(torch.device("cpu")).reward() == ego.reward()


def test_chance_needs_a_generator_and_the_native_kernel_refuses_it():
    players = player(P, "p"), player(Q, "q")
    for game in (MatrixGame.of(PD, noise=0.1), MatrixGame.of(PD, continuation=0.9)):
        assert game.by_chance
        with pytest.raises(ValueError, match="random generator"):
            play(game, 3, 4, players)
        with pytest.raises(ValueError, match="no games with noise"):
            play_natively(None, game, 3, 4, players)
    assert not PRISONERS_DILEMMA.by_chance


def test_without_chance_every_game_is_as_before():
    quiet = play(PRISONERS_DILEMMA, 9, 30, (player(P, "p"), player(Q, "q")))[0]
    same = play(MatrixGame.of(PD), 9, 30, (player(P, "p"), player(Q, "q")), chance=stream(1, "chance"))[0]
    assert torch.equal(quiet.observations, same.observations) and quiet.over is None and quiet.going_on().dtype == torch.bool and bool(quiet.going_on().all())


# Named games --------------------------------------------------------------------------------------------------------


def ordered(name):
    (r, s), (t, p) = NAMED_GAMES[name]
    return "".join(letter for _, letter in sorted(zip((r, s, t, p), "RSTP", strict=True), reverse=True))


def test_named_games_have_the_payoffs_that_their_names_stand_for():
    assert NAMED_GAMES["prisoners-dilemma"] == ((1, -1), (2, 0))  # the paper's
    assert ordered("prisoners-dilemma") == "TRPS" and ordered("chicken") == "TRSP"
    assert ordered("stag-hunt") == "RTPS" and ordered("deadlock") == "TPRS"
    (r, s), (t, p) = NAMED_GAMES["harmony"]
    assert r > t and s > p
    for name in ("coordination", "anti-coordination"):
        (r, s), (t, p) = NAMED_GAMES[name]
        assert (r, s) == (p, t) and (r > s) == (name == "coordination")
    rps = np.array(NAMED_GAMES["rock-paper-scissors"])
    assert (rps == -rps.T).all() and (rps.sum(1) == 0).all()


def test_a_game_is_set_by_its_name():
    game = load_preset("smoke", ["game.payoffs=stag-hunt", "game.noise=0.05", "game.continuation=0.9"]).game
    assert game.payoffs == ((4.0, 0.0), (3.0, 2.0))
    assert game == load_preset("smoke", ["game.payoffs=[[4, 0], [3, 2]]", "game.noise=0.05", "game.continuation=0.9"]).game
    assert (game.matrix().noise, game.matrix().continuation, game.matrix().n_observations) == (0.05, 0.9, 6)
    with pytest.raises(UsageError, match="unknown game 'stag-hnt'; did you mean stag-hunt?"):
        load_preset("smoke", ["game.payoffs=stag-hnt"])
    for setting, allowed in (("noise=1", "game.noise must be a number >= 0 and < 1"), ("continuation=0", "> 0 and <= 1")):
        with pytest.raises(UsageError, match=allowed):
            load_preset("smoke", [f"game.{setting}"])


def test_named_strategies_and_identities_do_not_mind_a_random_ending():
    game = MatrixGame.of(PD, noise=0.1, continuation=0.5)
    tabular = RandomTabular(game.n_outcomes, game.n_actions, stream(0, "tabular"))
    ego, _ = play(game, 10, 16, (named_strategy("grim", stream(0)), tabular), chance=stream(0, "chance"), identity_size=10)
    assert ego.identity.shape == (16, 10)
