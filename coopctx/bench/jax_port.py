"""Planner and training step as a plain jitted JAX port, with which the benchmark compares ours.

Imported only where JAX is installed. Everything is float32, on the CPU, one thread per call (see `start`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple
from unittest.mock import patch

import jax
import jax.numpy as jnp
import torch
from jax import Array, lax

from coopctx.agents.ppi.model import SequenceModel
from coopctx.agents.ppi.planner import Planner
from coopctx.experiments.settings import PPIConfig
from coopctx.game.episodes import Episodes
from coopctx.native import Gates

Weights = dict[str, Array]


def start(threads: int) -> str:
    """Start JAX on the CPU: one thread per computation, ``threads`` computations at a time. Returns its version.

    The number of threads has no effect if the process has used JAX before.
    """
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false"
    with patch.dict(os.environ, XLA_FLAGS=flags, NPROC=str(threads), JAX_PLATFORMS="cpu"):
        jnp.zeros(1).block_until_ready()
    return jax.__version__


def to_jax(tensor: torch.Tensor) -> Array:
    return jnp.array(tensor.detach().numpy())


# Planner ---------------------------------------------------------------------------------------------------------


def action_values(planner: Planner, gates: Gates, n_actions: int, hidden: torch.Tensor) -> Callable[[], None]:
    """A call that computes Q [games, actions] as `Planner.action_values` does, random numbers drawn anew each time.

    The first actions share the random numbers; the gains are always expectations. There is no stratification, which costs time.
    """
    weights, state, key = transposed(gates), to_jax(hidden), jax.random.key(0)
    settings = n_actions, planner.rollouts, planner.horizon, planner.discount

    def call() -> None:
        nonlocal key
        key, values = _action_values(weights, state, key, *settings)
        values.block_until_ready()

    return call


def transposed(gates: Gates) -> Gates:
    """The same numbers as JAX arrays, the matrices transposed once instead of at every step."""
    arrays: Any = Gates(*(to_jax(tensor) for tensor in gates))
    return arrays._replace(weight_hh=arrays.weight_hh.T.copy(), head_weight=arrays.head_weight.T.copy())


@partial(jax.jit, static_argnums=(3, 4, 5, 6))
def _action_values(
    gates: Gates, hidden: Array, key: Array, n_actions: int, rollouts: int, horizon: int, discount: float
) -> tuple[Array, Array]:
    key, draw = jax.random.split(key)
    uniforms = jax.random.uniform(draw, (horizon, len(hidden), 1, rollouts, 2))
    return key, returns(gates, n_actions, hidden, uniforms, discount)


def returns(gates: Gates, n_actions: int, hidden: Array, uniforms: Array, discount: float) -> Array:
    """`coopctx.agents.ppi.planner.returns`, expected; uniforms [horizon, games, A or 1, rollouts, 2], the weights transposed."""
    horizon, games, _, rollouts, _ = uniforms.shape
    rows = games * n_actions * rollouts  # row order: game, first action, rollout
    uniforms = jnp.broadcast_to(uniforms, (horizon, games, n_actions, rollouts, 2)).reshape(horizon, rows, 2)
    first = jnp.tile(jnp.repeat(jnp.arange(n_actions), rollouts), games)
    hidden = jnp.repeat(hidden, n_actions * rollouts, 0)
    gain, inputs = _round(gates, hidden, uniforms[0], n_actions, first)

    def body(carry: tuple[Any, ...], now: tuple[Any, ...]) -> tuple[tuple[Any, ...], None]:
        hidden, inputs, total = carry
        uniform, weight = now
        hidden = step(gates, hidden, *inputs)
        gain, inputs = _round(gates, hidden, uniform, n_actions, None)
        return (hidden, inputs, total + weight * gain), None

    discounts = discount ** jnp.arange(1, horizon, dtype=jnp.float32)
    (_, _, total), _ = lax.scan(body, (hidden, inputs, gain), (uniforms[1:], discounts))
    return total.reshape(games, n_actions, rollouts).mean(2)


def _round(gates: Gates, hidden: Array, uniform: Array, n_actions: int, first: Array | None) -> tuple[Array, tuple[Array, Array]]:
    """Expected gain [rows] of one simulated round, and what the next GRU step reads: table index and reward, [rows]."""
    rows = jnp.arange(len(hidden))
    outputs = jax.nn.silu(hidden) @ gates.head_weight + gates.head_bias
    logits, rest = outputs[:, :n_actions], outputs[:, n_actions:]
    observation, reward = rest.reshape(len(hidden), 2, n_actions, -1).swapaxes(0, 1)  # [rows, A, O] each
    policy = jax.nn.softmax(logits) if first is None else jax.nn.one_hot(first, n_actions)
    action = choose(policy, uniform[:, 0]) if first is None else first
    following = jax.nn.softmax(observation)
    seen = choose(following[rows, action], uniform[:, 1])
    gain = (policy * (following * reward).sum(2)).sum(1)
    return gain, (seen * (n_actions + 1) + action, reward[rows, action, seen])


def choose(probabilities: Array, uniform: Array) -> Array:
    """An index [rows] drawn from each row of ``probabilities``, by inversion."""
    return (uniform[:, None] >= jnp.cumsum(probabilities[:, :-1], 1)).sum(1)


def step(gates: Gates, hidden: Array, index: Array, reward: Array) -> Array:
    """`coopctx.agents.trunk.step`, the weights transposed."""
    inputs = gates.table[index] + reward[:, None] * gates.reward_gates
    return _cell(inputs, hidden @ gates.weight_hh, gates.bias_hn, hidden)


def _cell(inputs: Array, recurrent: Array, bias_hn: Array, hidden: Array) -> Array:
    size = hidden.shape[1]
    reset, keep = jnp.split(jax.nn.sigmoid(inputs[:, : 2 * size] + recurrent[:, : 2 * size]), 2, 1)
    candidate = jnp.tanh(inputs[:, 2 * size :] + reset * (recurrent[:, 2 * size :] + bias_hn))
    return candidate + keep * (hidden - candidate)


# Training --------------------------------------------------------------------------------------------------------


class Batch(NamedTuple):
    """Played episodes, time first: the model's inputs and targets."""

    seen: Array  # [T + 1, games] observation codes
    actions: Array  # [T, games]
    rewards: Array  # [T, games]


class State(NamedTuple):
    """The state of the training: the weights, AdamW's two moments, and the number of steps taken."""

    weights: Weights
    mean: Weights
    square: Weights
    steps: Array


def to_batch(data: Episodes) -> Batch:
    """All of ``data`` as JAX arrays."""
    return Batch(*(to_jax(x).T for x in (data.observations.int(), data.actions.int(), data.rewards)))


def initial_state(model: torch.nn.Module) -> State:
    """The weights of ``model`` (without identities) and a new optimiser."""
    weights = {name: to_jax(tensor) for name, tensor in model.state_dict().items()}
    first, second = (jax.tree.map(jnp.zeros_like, weights) for _ in range(2))
    return State(weights, first, second, jnp.zeros((), jnp.float32))


def trainer(model: SequenceModel, ppi: PPIConfig, data: Episodes) -> Callable[[], None]:
    """A function that makes one pass over ``data`` in minibatches; each call continues from the weights of the last."""
    state = initial_state(model)
    whole = to_batch(data)
    batches = [jnp.arange(i, i + ppi.batch_size) % len(data) for i in range(0, len(data), ppi.batch_size)]
    sizes = model.n_observations, model.n_actions

    def call() -> None:
        nonlocal state
        for batch in batches:
            state, losses = gradient_step(state, whole, batch, sizes, ppi)
        losses.block_until_ready()

    return call


@partial(jax.jit, static_argnums=(3, 4), donate_argnums=0)
def gradient_step(state: State, data: Batch, games: Array, sizes: tuple[int, int], ppi: PPIConfig) -> tuple[State, Array]:
    """Forward, backward, clipping and AdamW on these games. Returns the new state and the losses [3] before the step."""
    batch = Batch(*(values[:, games] for values in data))
    gradient, losses = jax.grad(partial(_loss, sizes=sizes, ppi=ppi), has_aux=True)(state.weights, batch)
    rule = Adam(ppi.learning_rate, ppi.beta1, ppi.beta2, 1e-8, ppi.weight_decay, ppi.max_grad_norm)
    return descend(state, gradient, rule), losses


class Adam(NamedTuple):
    """The settings of a step of AdamW; without weight_decay it is Adam's."""

    learning_rate: float | Array
    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float
    max_grad_norm: float


def descend(state: State, gradient: Weights, rule: Adam) -> State:
    """The state after a step along ``gradient``, clipped to `Adam.max_grad_norm`."""
    norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in jax.tree.leaves(gradient)))
    scale = jnp.minimum(1.0, rule.max_grad_norm / (norm + 1e-6))
    gradient = jax.tree.map(lambda g: g * scale, gradient)
    mean = jax.tree.map(lambda m, g: rule.beta1 * m + (1 - rule.beta1) * g, state.mean, gradient)
    square = jax.tree.map(lambda v, g: rule.beta2 * v + (1 - rule.beta2) * g * g, state.square, gradient)
    steps, rate = state.steps + 1, rule.learning_rate

    def update(w: Array, m: Array, v: Array) -> Array:
        m, v = m / (1 - rule.beta1**steps), v / (1 - rule.beta2**steps)
        return w * (1 - rate * rule.weight_decay) - rate * m / (jnp.sqrt(v) + rule.epsilon)

    return State(jax.tree.map(update, state.weights, mean, square), mean, square, steps)


def _loss(weights: Weights, batch: Batch, sizes: tuple[int, int], ppi: PPIConfig) -> tuple[Array, Array]:
    """The weighted sum of `SequenceModel.losses` as in training, and the three losses [3]."""
    n_observations, n_actions = sizes
    found = outputs(weights, batch, sizes)
    logits, rest = found[..., :n_actions], found[..., n_actions:]
    heads = rest.reshape(*found.shape[:2], 2, n_actions, n_observations)
    taken = jax.nn.one_hot(batch.actions, n_actions)  # [T, games, A]
    following = jax.nn.one_hot(batch.seen[1:], n_observations)  # [T, games, O]
    observation, reward = jnp.moveaxis((heads * taken[:, :, None, :, None]).sum(3), 2, 0)  # [T, games, O]
    losses = jnp.stack(
        [
            -(jax.nn.log_softmax(observation) * following).sum(-1).mean(),
            -(jax.nn.log_softmax(logits) * taken).sum(-1).mean(),
            jnp.square((reward * following).sum(-1) - batch.rewards).mean(),
        ]
    )
    return losses @ jnp.array([ppi.observation_weight, ppi.action_weight, ppi.reward_weight]), losses


def outputs(weights: Weights, batch: Batch, sizes: tuple[int, int]) -> Array:
    """Head outputs [T, games, outputs]; the input projections of all rounds in one product, then a scan over rounds."""
    w = weights
    size = w["head.weight"].shape[1]
    before = jax.nn.one_hot(batch.actions[:-1], sizes[1])
    before = jnp.pad(before, ((1, 0), (0, 0), (0, 0)))  # [T, games, A]; nothing before the first round
    paid = jnp.pad(batch.rewards[:-1], ((1, 0), (0, 0)))[..., None]
    embedded = linear(w, "observation", jax.nn.one_hot(batch.seen[:-1], sizes[0]))
    embedded = embedded + linear(w, "action", before) + linear(w, "reward", paid)
    bias = w["gru.bias_ih_l0"] + w["gru.bias_hh_l0"].at[2 * size :].set(0)
    inputs = embedded @ w["gru.weight_ih_l0"].T + bias  # [T, games, 3H]
    recurrent, bias_hn = w["gru.weight_hh_l0"].T, w["gru.bias_hh_l0"][2 * size :]

    def body(hidden: Array, now: Array) -> tuple[Array, Array]:
        hidden = _cell(now, hidden @ recurrent, bias_hn, hidden)
        return hidden, hidden

    _, states = lax.scan(body, jnp.zeros((inputs.shape[1], size)), inputs, unroll=2)
    return linear(w, "head", jax.nn.silu(states))


def linear(weights: Weights, layer: str, inputs: Array) -> Array:
    return inputs @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"]
