"""An iteration of A2C in the mixed pool as a plain jitted JAX port: one scan over rounds to play, one to learn.

Imported only where JAX is installed. Everything is float32, on the CPU, one thread per call (`jax_port.start`).
No noise, no random ending, no identities.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from torch import nn

from coopctx.agents.policy_gradient import SMALLEST_DEVIATION
from coopctx.bench.jax_port import Adam, Batch, State, Weights, choose, descend, initial_state, outputs, step
from coopctx.experiments.settings import A2CConfig, Config
from coopctx.native import Gates

BETAS = 0.9, 0.999  # of Adam, as PyTorch's defaults


class Tables(NamedTuple):
    """Memory-one players: action probabilities ``[games, observations, actions]`` of each learner's opponents."""

    of_first: Array
    of_second: Array


# Playing ---------------------------------------------------------------------------------------------------------


def fold(weights: Weights) -> Gates:
    """`Trunk.gates`, the matrices transposed."""
    size = weights["head.weight"].shape[1]
    none = jnp.zeros((1, weights["action.weight"].shape[0]))
    actions = jnp.concatenate([weights["action.weight"].T, none]) + weights["action.bias"]  # [A + 1, E]
    embedded = weights["observation.weight"].T[:, None] + actions + weights["observation.bias"] + weights["reward.bias"]
    inner, outer = weights["gru.weight_ih_l0"].T, weights["gru.bias_hh_l0"]
    bias = weights["gru.bias_ih_l0"] + jnp.pad(outer[: 2 * size], (0, size))
    arrays: Any = Gates(
        table=embedded.reshape(-1, embedded.shape[-1]) @ inner + bias,
        reward_gates=weights["reward.weight"][:, 0] @ inner,
        bias_hn=outer[2 * size :],
        weight_hh=weights["gru.weight_hh_l0"].T,
        head_weight=weights["head.weight"].T,
        head_bias=weights["head.bias"],
    )
    return arrays


@partial(jax.jit)
def play(weights: tuple[Weights, Weights], tables: Tables, uniforms: Array, payoffs: Array) -> tuple[Batch, Batch]:
    """The games of both learners, as `A2CTraining` seats them: each first against its tabular players, then with the other.

    uniforms: [T, 2, games]. Rows of the games: learner 1's with tabular players, those of both learners, learner 2's.
    """
    _, sides, rows = uniforms.shape
    apart, n_actions = len(tables.of_first), len(payoffs)
    gates = [fold(each) for each in weights]
    hidden = jnp.zeros((sides, rows - apart, weights[0]["head.weight"].shape[1]))
    seen = jnp.zeros((sides, rows), jnp.int32)
    before, paid = jnp.full((sides, rows), n_actions), jnp.zeros((sides, rows))
    own = slice(0, rows - apart), slice(apart, rows)  # of each learner, in the seat of its number
    others = slice(rows - apart, rows), slice(0, apart)

    def body(carry: tuple[Array, ...], uniform: Array) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        hidden, seen, before, paid = carry
        states, actions = [], []
        for seat, table in ((0, tables.of_second), (1, tables.of_first)):
            mine, theirs = own[seat], others[seat]
            index = seen[seat, mine] * (n_actions + 1) + before[seat, mine]
            state = step(gates[seat], hidden[seat], index, paid[seat, mine])
            logits = jax.nn.silu(state) @ gates[seat].head_weight[:, :-1] + gates[seat].head_bias[:-1]
            learned = choose(jax.nn.softmax(logits), uniform[seat, mine])
            tabular = choose(table[jnp.arange(apart), seen[seat, theirs]], uniform[seat, theirs])
            states.append(state)
            actions.append(jnp.concatenate([learned, tabular] if seat == 0 else [tabular, learned]))
        first, second = actions
        rewards = jnp.stack([payoffs[first, second], payoffs[second, first]])
        after = jnp.stack([1 + first * n_actions + second, 1 + second * n_actions + first])
        return (jnp.stack(states), after, jnp.stack(actions), rewards), (seen, jnp.stack(actions), rewards)

    (_, last, _, _), played = lax.scan(body, (hidden, seen, before, paid), uniforms)
    log = Batch(jnp.concatenate([played[0], last[None]]), *played[1:])
    first, second = (Batch(*(values[:, seat, own[seat]] for values in log)) for seat in (0, 1))
    return first, second


# Learning --------------------------------------------------------------------------------------------------------


class Learning(NamedTuple):
    """The state of a learner: of its training, and the moving average of its advantages' variances [kinds], at first None."""

    state: State
    variances: Array | None = None


@partial(jax.jit, static_argnums=(3, 4), donate_argnums=0)
def update(
    learning: Learning, batch: Batch, schedule: tuple[Array, Array], kinds: tuple[int, ...], a2c: A2CConfig
) -> tuple[Learning, Array]:
    """`A2CLearner.update`: the state after a gradient step, and the loss's terms [3].

    schedule: learning rate and entropy weight of this iteration. kinds: as for `A2CLearner.update`.
    """
    (state, before), (rate, entropy_weight) = learning, schedule
    loss = partial(_loss, kinds=kinds, a2c=a2c)
    gradient, (terms, variances) = jax.grad(loss, has_aux=True)(state.weights, batch, entropy_weight, before)
    state = descend(state, gradient, Adam(rate, *BETAS, a2c.adam_epsilon, 0.0, a2c.max_grad_norm))
    return Learning(state, variances), terms


def _loss(
    weights: Weights, batch: Batch, entropy_weight: Array, before: Array | None, kinds: tuple[int, ...], a2c: A2CConfig
) -> tuple[Array, tuple[Array, Array | None]]:
    """`A2CLearner.loss`, its terms [3], and the average of the variances, which those of these advantages have joined."""
    n_observations, n_actions = weights["observation.weight"].shape[1], weights["action.weight"].shape[1]
    out = outputs(weights, batch, (n_observations, n_actions))  # [T, games, A + 1]
    log_policy, values = jax.nn.log_softmax(out[..., :-1]), out[..., -1]
    fixed = lax.stop_gradient(values)
    delta = a2c.reward_scale * batch.rewards + a2c.discount * jnp.pad(fixed[1:], ((0, 1), (0, 0))) - fixed
    advantages = _discounted_sums(delta, a2c.discount * a2c.gae_lambda)
    targets = fixed + _discounted_sums(delta, a2c.discount * a2c.td_lambda)
    if a2c.normalise_advantages != "off":
        groups = kinds if a2c.normalise_advantages == "per-opponent" else (sum(kinds),)
        parts = jnp.split(advantages, np.cumsum(groups)[:-1].tolist(), 1)
        found = jnp.stack([part.var() for part in parts])
        before = found if before is None else before + (1 - a2c.variance_decay) * (found - before)
        divisors = jnp.sqrt(before) + SMALLEST_DEVIATION
        advantages = jnp.concatenate([(part - part.mean()) / by for part, by in zip(parts, divisors, strict=True)], 1)
    chosen = jnp.take_along_axis(log_policy, batch.actions[..., None].astype(int), 2)[..., 0]
    policy, value = -(chosen * advantages).mean(), jnp.square(values - targets).mean()
    entropy = -(jnp.exp(log_policy) * log_policy).sum(2).mean()
    return policy + a2c.value_weight * value - entropy_weight * entropy, (jnp.stack([policy, value, entropy]), before)


def _discounted_sums(x: Array, factor: float) -> Array:
    """sum_k factor^k x_{t+k}, [T, games]: one product with a triangular matrix."""
    ahead = np.arange(len(x)) - np.arange(len(x))[:, None]
    return jnp.asarray(np.where(ahead >= 0, factor ** np.maximum(ahead, 0), 0.0), jnp.float32) @ x


# The contestant --------------------------------------------------------------------------------------------------


@partial(jax.jit, static_argnums=(2, 3))
def _play_anew(
    weights: tuple[Weights, Weights], key: Array, sizes: tuple[int, int], rounds: int, payoffs: Array
) -> tuple[Batch, Batch]:
    """`play` with new random numbers and tabular players; sizes: games together, and of each learner apart."""
    together, apart = sizes
    chance, *tables = jax.random.split(key, 3)
    shape = apart, 1 + len(payoffs) ** 2, len(payoffs)
    drawn = (jax.random.exponential(each, shape) for each in tables)
    uniforms = jax.random.uniform(chance, (rounds, 2, together + 2 * apart))
    return play(weights, Tables(*(each / each.sum(2, keepdims=True) for each in drawn)), uniforms, payoffs)


@partial(jax.jit, static_argnums=1)
def _joined(parts: list[Batch], cuts: tuple[int, ...]) -> Batch:
    """The games of all parts, in the order of the kinds; cuts: where the second kind begins in each."""
    pieces = [[part[:, :cut] for part, cut in zip(field, cuts, strict=True)] for field in zip(*parts, strict=True)]
    rest = [[part[:, cut:] for part, cut in zip(field, cuts, strict=True)] for field in zip(*parts, strict=True)]
    return Batch(*(jnp.concatenate([*first, *second], 1) for first, second in zip(pieces, rest, strict=True)))


def iteration(
    config: Config, models: Sequence[nn.Module], together: int, apart: int, threads: int
) -> Callable[[], tuple[float, float]]:
    """A function that makes one iteration and returns its seconds of playing and of updating; random numbers are drawn anew.

    The games are divided among the threads, then the learners are.
    """
    a2c, rounds = config.a2c, config.game.rounds
    payoffs = jnp.array(config.game.matrix().payoffs)
    learners, key = [Learning(initial_state(model)) for model in models], jax.random.key(0)
    split = [[len(part) for part in np.array_split(range(games), threads)] for games in (together, apart)]
    shares = list(zip(*split, strict=True))
    schedule = jnp.float32(a2c.learning_rate), jnp.float32(a2c.entropy_weight)
    orders = (apart, together), (together, apart)
    pool = ThreadPoolExecutor(threads)

    def played(weights: tuple[Weights, Weights], share: tuple[int, int], key: Array) -> tuple[Batch, Batch]:
        found = _play_anew(weights, key, share, rounds, payoffs)
        return jax.block_until_ready(found)

    def learned(number: int, parts: list[Batch]) -> Learning:
        cuts = tuple(share[1 - number] for share in shares)
        learner, terms = update(learners[number], _joined(parts, cuts), schedule, orders[number], a2c)
        terms.block_until_ready()
        return learner

    def call() -> tuple[float, float]:
        nonlocal key
        start = time.perf_counter()
        key, *keys = jax.random.split(key, threads + 1)
        weights = learners[0].state.weights, learners[1].state.weights
        parts = list(pool.map(partial(played, weights), shares, keys))
        between = time.perf_counter()
        learners[:] = pool.map(learned, (0, 1), ([part[number] for part in parts] for number in (0, 1)))
        return between - start, time.perf_counter() - between

    return call
