"""Exact results for memory-one players of a repeated symmetric game with two actions.

A memory-one strategy is five probabilities of cooperating: in the first round and after CC, CD, DC, DD, own action first.
The two players name the same round differently: CD for one is DC for the other. Joint actions are always listed as CC, CD,
DC, DD of the first player, and R, S, T, P are its payoffs in them. Everything is float64 and works on any number of games
at once: leading dimensions broadcast.

noise: the probability that the other action is played than the chosen one, independently for each player and round.
Payoffs and later choices depend on the actions played. With noise e a player that chooses C with probability p plays it with
probability p (1 - 2 e) + e, which is again a memory-one strategy.
continuation: the probability that a round is followed by another one. The expected sum of rewards in such a game is the
discounted sum over all rounds, with this probability as the discount.

Sources: W. H. Press and F. J. Dyson, "Iterated Prisoner's Dilemma contains strategies that dominate any evolutionary
opponent", PNAS 109 (2012); A. J. Stewart and J. B. Plotkin, "From extortion to generosity, evolution in the Iterated
Prisoner's Dilemma", PNAS 110 (2013).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coopctx.game.matrix import PRISONERS_DILEMMA

Floats = NDArray[np.float64]
Payoffs = Sequence[Sequence[float]]

CC, CD, DC, DD = range(4)
SWAPPED = [CC, DC, CD, DD]  # the joint actions as the second player names them
AS_SEEN_BY_THE_OTHER = [0, 1, 3, 2, 4]  # start, CC, CD, DC, DD
_LIMIT_DOUBLINGS = 60  # the limit is taken after 2^60 rounds: chains that leave a state once in 10^15 rounds settle too
_ROUNDING = 1e-10  # values that differ by no more are equal


@dataclass(frozen=True)
class ExpectedPlay:
    """Expected values in each round of a finite game, float64 ``[..., rounds]``.

    cooperation, co_cooperation  probability that the player (its co-player) chooses to cooperate
    reward, co_reward            expected reward of the round, in the game's payoff units
    """

    cooperation: Floats
    co_cooperation: Floats
    reward: Floats
    co_reward: Floats


def transition_matrix(p: ArrayLike, q: ArrayLike, noise: float = 0.0) -> Floats:
    """The Markov chain over joint actions as played, float64 ``[..., 4, 4]`` from row to column (Press & Dyson 2012).

    p, q: strategies ``[..., 5]`` of the first and the second player, each in its own view; the chain is in the first's.
    Raises ValueError for anything but probabilities.
    """
    own, other = _pair(p, q)
    return np.stack(_joint(_played(own, noise)[..., 1:], _played(other, noise)[..., 1:]), -1)


def expected_play(
    p: ArrayLike, q: ArrayLike, rounds: int, payoffs: Payoffs = PRISONERS_DILEMMA.payoffs, noise: float = 0.0
) -> ExpectedPlay:
    """The exact finite game of ``rounds`` rounds between strategies p and q, ``[..., 5]``, each in its own view.

    With a random ending these are the expected values in a round, given that it is reached. Raises ValueError unless the
    strategies are probabilities, the game has two actions and there is at least one round.
    """
    _check_rounds(rounds)
    own, other = _pair(p, q)
    return _play(repeat(own, rounds), other, payoffs, noise)


def long_run_payoffs(
    p: ArrayLike, q: ArrayLike, payoffs: Payoffs = PRISONERS_DILEMMA.payoffs, noise: float = 0.0
) -> tuple[Floats, Floats]:
    """Mean rewards per round of both players in the infinite game, float64 ``[...]`` each.

    The limit of the mean over rounds 1..T. It exists for every pair of strategies. If play can settle in several ways, or
    cycles (two suspicious Tit-for-Tats), it is the mean over these, weighted by how likely play from the first round reaches
    each. Press & Dyson's determinants give the same if the stationary distribution is unique. Raises as `expected_play`.
    """
    own, other = (_played(strategy, noise)[..., 0] for strategy in _pair(p, q))
    opening = np.stack(_joint(own, other), -1)[..., None, :]  # the first round's distribution over joint actions
    settled = (opening @ _limit(transition_matrix(p, q, noise)))[..., 0, :]
    reward = payoff_vector(payoffs)
    return settled @ reward, settled @ reward[SWAPPED]


def best_response(
    opponents: ArrayLike,
    rounds: int,
    payoffs: Payoffs = PRISONERS_DILEMMA.payoffs,
    noise: float = 0.0,
    continuation: float = 1.0,
) -> ExpectedPlay:
    """The exact best response to known memory-one opponents in a game of at most ``rounds`` rounds.

    Backward induction over the last joint action, the only thing that such an opponent reacts to: no strategy of any kind
    has a larger expected sum of rewards. opponents: ``[..., 5]``, each in its own view. In the result the player is the best
    responder and the co-player the opponent. The value of the game is ``reward.sum(-1)``; with a random ending, the sum
    discounted by ``continuation``. If both actions are worth the same, it defects. Raises as `expected_play`.
    """
    _check_rounds(rounds)
    chosen = _strategy(opponents)[..., AS_SEEN_BY_THE_OTHER]
    other = _played(chosen, noise)
    reward = payoff_vector(payoffs)
    value = np.zeros_like(other)  # expected sum of the rewards still to come, after start, CC, CD, DC, DD
    decisions: list[NDArray[np.bool_]] = []
    for _ in range(rounds):
        total = (reward + continuation * value[..., 1:])[..., None, :]  # this round's reward and the rewards that follow
        playing_c = other * total[..., CC] + (1 - other) * total[..., CD]
        playing_d = other * total[..., DC] + (1 - other) * total[..., DD]
        cooperating, defecting = (1 - noise) * playing_c + noise * playing_d, (1 - noise) * playing_d + noise * playing_c
        decisions.append(cooperating > defecting + _ROUNDING)
        value = np.maximum(cooperating, defecting)
    return _play(reversed(decisions), chosen, payoffs, noise)


def expected_cooperation(observations: ArrayLike, cooperated: ArrayLike) -> Floats:
    """The posterior predictive probability that a memory-one player cooperates, float64 ``[games, T]``.

    observations: the codes that the player saw before each decision, 0 to 4 (start, CC, CD, DC, DD, its own action first),
    ``[games, T]``. cooperated: whether it then cooperated, ``[games, T]``, or ``[games, T - 1]`` if the last decision is
    unknown. The prior is the tabular pool: five independent probabilities, uniform on [0, 1]. After k times C in n decisions
    after the same observation the prediction is (k + 1) / (n + 2), Laplace's rule. Only earlier rounds of the same game count.
    """
    seen, did = np.asarray(observations, dtype=np.int64), np.asarray(cooperated, dtype=np.float64)
    games = np.arange(len(seen))
    times, cooperations = np.zeros((2, len(seen), 5))
    expected = np.empty(seen.shape)
    for t, situation in enumerate(seen.T):
        expected[:, t] = (cooperations[games, situation] + 1) / (times[games, situation] + 2)
        if t < did.shape[1]:
            times[games, situation] += 1
            cooperations[games, situation] += did[:, t]
    return expected


def zd_extortion(chi: float, phi: float | None = None, payoffs: Payoffs = PRISONERS_DILEMMA.payoffs) -> Floats:
    """Press & Dyson's extortionate zero-determinant strategy, float64 ``[5]``.

    Against every co-player the long-run payoffs obey s_X - P = chi (s_Y - P): the co-player can raise its own payoff over
    mutual defection only by raising the extortioner's chi times as much. From p~ = phi [(S_X - P) - chi (S_Y - P)]:

        p(C|CC) = 1 - phi (chi - 1)(R - P)           p(C|CD) = 1 - phi [(P - S) + chi (T - P)]
        p(C|DC) = phi [(T - P) + chi (P - S)]        p(C|DD) = 0

    (their phi is this one times P - S, which is 1 in the default game). chi >= 1; chi = 1 with the largest phi is
    Tit-for-Tat except for the opening: it opens as after mutual defection, with D.
    phi: 0 < phi <= the largest that keeps all four in [0, 1], in the default game 1 / (2 chi + 1); None takes the largest.
    In T rounds, s_X - P exceeds chi (s_Y - P) by exactly (x - x_1) / (phi T), where x_1 and x are its probabilities of
    cooperating in rounds 1 and T + 1 (the sum of p~ over the rounds telescopes): the largest phi enforces the relation
    soonest. Raises ValueError for a chi or phi out of range, and for a game in which no phi is possible.
    """
    return _linear_relation(chi, phi, payoff_vector(payoffs), DD)


def generous_zd(chi: float, phi: float | None = None, payoffs: Payoffs = PRISONERS_DILEMMA.payoffs) -> Floats:
    """Stewart & Plotkin's generous zero-determinant strategy, float64 ``[5]``.

    The long-run payoffs obey s_X - R = chi (s_Y - R): its own loss below mutual cooperation is chi times its co-player's
    loss. From p~ = phi [(S_X - R) - chi (S_Y - R)]:

        p(C|CC) = 1                                  p(C|CD) = 1 - phi [(R - S) + chi (T - R)]
        p(C|DC) = phi [(T - R) + chi (R - S)]        p(C|DD) = phi (chi - 1)(R - P)

    chi >= 1; chi = 1 with the largest phi is Tit-for-Tat. It opens as after mutual cooperation, with C. phi: see
    `zd_extortion`; in the default game at most 1 / (2 chi + 1) too. Raises as `zd_extortion`.
    """
    return _linear_relation(chi, phi, payoff_vector(payoffs), CC)


def payoff_vector(payoffs: Payoffs) -> Floats:
    """(R, S, T, P): the first player's payoffs in CC, CD, DC, DD. Raises ValueError unless the game has two actions."""
    table = np.asarray(payoffs, dtype=np.float64)
    if table.shape != (2, 2):
        raise ValueError("memory-one strategies are given for games of two actions")
    return table.ravel()


def _pair(p: ArrayLike, q: ArrayLike) -> tuple[Floats, Floats]:
    """Both strategies ``[..., 5]`` in the first player's view, broadcast against each other."""
    own, other = np.broadcast_arrays(_strategy(p), _strategy(q)[..., AS_SEEN_BY_THE_OTHER])
    return own, other


def _played(chosen: NDArray[Any], noise: float) -> Floats:
    """Probabilities of playing C from those of choosing it."""
    if not 0 <= noise <= 1:
        raise ValueError(f"noise must be a probability, not {noise}")
    return chosen * (1 - 2 * noise) + noise


def _strategy(cooperation: ArrayLike) -> Floats:
    values = np.asarray(cooperation, dtype=np.float64)
    if values.shape[-1:] != (5,) or not ((values >= 0) & (values <= 1)).all():
        raise ValueError("a memory-one strategy is five probabilities: after start, CC, CD, DC, DD")
    return values


def _check_rounds(rounds: int) -> None:
    if rounds < 1:
        raise ValueError(f"a game has at least one round, not {rounds}")


def _joint(own: Floats, other: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Probabilities of CC, CD, DC, DD if both choose independently with these probabilities of cooperating."""
    return own * other, own * (1 - other), (1 - own) * other, (1 - own) * (1 - other)


def _play(policies: Iterable[NDArray[Any]], other: Floats, payoffs: Payoffs, noise: float) -> ExpectedPlay:
    """Play forward: policies, a round at a time, and ``other`` are ``[..., 5]`` after start, CC, CD, DC, DD (same view)."""
    after = np.zeros_like(other)  # distribution over the observation before the round
    after[..., 0] = 1
    others = _played(other, noise)
    rounds = []
    for own in policies:
        outcomes = [(after * part).sum(-1) for part in _joint(_played(own, noise), others)]
        rounds.append([*outcomes, (after * own).sum(-1), (after * other).sum(-1)])
        after = np.stack([np.zeros_like(outcomes[0]), *outcomes], -1)
    chances = np.moveaxis(np.array(rounds), (0, 1), (-2, -1))  # [..., rounds, 6]
    reward = payoff_vector(payoffs)
    played = chances[..., :4]
    return ExpectedPlay(
        cooperation=chances[..., 4],
        co_cooperation=chances[..., 5],
        reward=played @ reward,
        co_reward=played @ reward[SWAPPED],
    )


def _limit(chain: Floats) -> Floats:
    """Limit of the mean of the first n powers of ``chain``, ``[..., 4, 4]``.

    The mean of the chain and the identity has the same limit and no periods, so its powers converge.
    """
    power = np.eye(4) + chain  # twice the mean
    for _ in range(_LIMIT_DOUBLINGS):
        power = power @ power
        power /= power.sum(-1, keepdims=True)  # probabilities again: rounding errors would double with every squaring
    return power


def _linear_relation(chi: float, phi: float | None, reward: Floats, meeting: int) -> Floats:
    """The strategy that enforces a line of slope chi through the payoffs of the joint action ``meeting``; it opens as after it.

    p = (1, 1, 0, 0) + phi [(S_X - b) - chi (S_Y - b)] after CC, CD, DC, DD, where b is both players' payoff in ``meeting``.
    """
    if not 1 <= chi < np.inf:
        raise ValueError(f"chi must be at least 1, not {chi}")
    repeating = np.array([1.0, 1.0, 0.0, 0.0])
    direction = (reward - reward[meeting]) - chi * (reward[SWAPPED] - reward[meeting])
    room = np.where(direction > 0, 1 - repeating, repeating)
    moving = direction != 0
    largest = (room[moving] / np.abs(direction[moving])).min(initial=np.inf)
    if not 0 < largest < np.inf:
        raise ValueError(f"this game has no such zero-determinant strategy with chi = {chi:g}")
    scale = largest if phi is None else phi
    if not 0 < scale <= largest * (1 + _ROUNDING):
        raise ValueError(f"phi must be above 0 and at most {largest:.6g} for chi = {chi:g}, not {phi}")
    after = np.clip(repeating + scale * direction, 0, 1)
    return np.concatenate([after[[meeting]], after])


# Cooperation probabilities after (start, CC, CD, DC, DD), own action first. These three are the paper's (Fig. 2B, 3).
PAPER_STRATEGIES: dict[str, tuple[float, ...]] = {
    "tit-for-tat": (1, 1, 0, 1, 0),
    "always-cooperate": (1, 1, 1, 1, 1),
    "always-defect": (0, 0, 0, 0, 0),
}
# Where a strategy depends on the payoffs, it is given for the default game: R = 1, S = -1, T = 2, P = 0.
NAMED_STRATEGIES: dict[str, tuple[float, ...]] = PAPER_STRATEGIES | {
    "grim": (1, 1, 0, 0, 0),  # it sees its own defection, so one round of memory is enough
    "win-stay-lose-shift": (1, 1, 0, 0, 1),
    # Forgives with probability min(1 - (T - R) / (R - S), (R - P) / (T - P)) = min(1/2, 1/2).
    "generous-tit-for-tat": (1, 1, 0.5, 1, 0.5),
    "suspicious-tit-for-tat": (0, 1, 0, 1, 0),
    "random": (0.5, 0.5, 0.5, 0.5, 0.5),
    "zd-extort-2": tuple(zd_extortion(2).tolist()),  # (0, 4/5, 0, 4/5, 0)
    "zd-extort-4": tuple(zd_extortion(4).tolist()),  # (0, 2/3, 0, 2/3, 0)
    "zd-generous-2": tuple(generous_zd(2).tolist()),  # (1, 1, 1/5, 1, 1/5)
}
