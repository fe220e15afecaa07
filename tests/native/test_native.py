"""The native kernel against plain PyTorch written out here."""

import _thread
import functools
import shutil
import signal
import threading
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from coopctx import native
from coopctx.native.kernel import in_threads

if native._load("fp32") is None:
    pytest.skip("no C compiler that builds the native kernel", allow_module_level=True)

PRECISIONS = [p for p in native.PRECISIONS if native._load(p) is not None]
PROPERTY = settings(max_examples=25, deadline=None, derandomize=True)  # sampling near a threshold may round either way
NAMES = (*native.Gates._fields, "extra")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """The reference's operations are too small to gain from more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=PRECISIONS)
def kernel(request):
    return native._load(request.param)


def make(seed, hidden, actions, observations, rows=None):
    """Random weights in NAMES' order; extra has `rows` rows, or is None."""
    generator = torch.Generator().manual_seed(seed)
    draw = functools.partial(torch.randn, generator=generator)
    codes, outputs = observations * (actions + 1), actions * (1 + 2 * observations)
    scale = hidden**-0.5
    weights = [draw(codes, 3 * hidden), draw(3 * hidden), draw(hidden), draw(3 * hidden, hidden) * scale]
    weights += [draw(outputs, hidden) * 2 * scale, draw(outputs)]
    return [*weights, None if rows is None else draw(rows, 3 * hidden) * 0.5], generator


def reference_step(table, reward_gates, bias_hn, recurrent, extra, hidden, index, reward):
    gates = table[index.long()] + reward[:, None] * reward_gates + (0 if extra is None else extra)
    (i_r, i_z, i_n), (h_r, h_z, h_n) = gates.chunk(3, -1), (hidden @ recurrent.T).chunk(3, -1)
    r, z = torch.sigmoid(i_r + h_r), torch.sigmoid(i_z + h_z)
    n = torch.tanh(i_n + r * (h_n + bias_hn))
    return (1 - z) * n + z * hidden


def reference_forward(weights, index, reward):
    *cell, head_weight, head_bias, extra = weights
    hidden, out = torch.zeros(len(index), len(cell[2]), dtype=cell[2].dtype), []
    for t in range(index.shape[1]):
        hidden = reference_step(*cell, extra, hidden, index[:, t], reward[:, t])
        out.append(F.linear(F.silu(hidden), head_weight, head_bias))
    return torch.stack(out, 1)


def pick(probabilities, u):
    """Smallest index whose cumulative probability exceeds u, else the last."""
    beyond = probabilities.cumsum(-1) <= u[..., None]
    return beyond.sum(-1).clamp(max=probabilities.shape[-1] - 1)


def reference_rollouts(weights, hidden, uniforms, actions, observations, discount, expected):
    *cell, head_weight, head_bias, extra = weights
    games, _, repeats, horizon, _ = uniforms.shape
    shape, at = (games, actions, repeats), torch.arange(games * actions * repeats)

    def spread(x):  # [G, ...] -> [G * A * R, ...]
        return x[:, None, None].expand(*shape, *x.shape[1:]).reshape(-1, *x.shape[1:])

    h, extra = spread(hidden), None if extra is None else spread(extra)
    u = uniforms.expand(*shape, horizon, 2).reshape(-1, horizon, 2)
    first = torch.arange(actions)[None, :, None].expand(shape).reshape(-1)
    total = torch.zeros(len(h), dtype=h.dtype)
    history, distinct = torch.arange(games)[:, None, None].expand(shape).reshape(-1), 0
    for s in range(horizon):
        out = F.linear(F.silu(h), head_weight, head_bias)
        p_action = out[:, :actions].softmax(-1)
        logits, rewards = out[:, actions:].reshape(-1, 2, actions, observations).unbind(1)
        p_observation = logits.softmax(-1)
        action = first if s == 0 else pick(p_action, u[:, s, 0])
        observation = pick(p_observation[at, action], u[:, s, 1])
        reward = rewards[at, action, observation]
        mean = (p_observation * rewards).sum(-1)
        if not expected:
            gain = reward
        else:
            gain = mean[at, action] if s == 0 else (p_action * mean).sum(-1)
        total = total + discount**s * gain
        index = observation * (actions + 1) + action
        h = reference_step(*cell, extra, h, index, reward)
        history = history * observations * (actions + 1) + index
        distinct += len(history.unique()) if s + 1 < horizon else 0
    return total.reshape(shape).mean(-1), distinct


def split(weights):
    """Gates and extra, as the kernel takes them."""
    *gates, extra = weights
    return native.Gates(*gates), extra


def cosine(a, b):
    if not b.any():
        return float(not a.any())
    return F.cosine_similarity(a.flatten().double(), b.flatten().double(), dim=0).item()


sizes = dict(
    seed=st.integers(0, 999),
    hidden=st.sampled_from([16, 32, 48, 128]),
    game=st.sampled_from([(2, 5), (3, 10), (2, 2), (1, 1)]),
    with_extra=st.booleans(),
)


@pytest.mark.parametrize("precision", PRECISIONS)
@PROPERTY
@given(**sizes, batch=st.sampled_from([1, 3, 8, 63, 64, 70]), time=st.sampled_from([1, 2, 5, 9]))
def test_training_matches_pytorch(precision, seed, hidden, game, with_extra, batch, time):
    kernel = native._load(precision)
    weights, generator = make(seed, hidden, *game, batch if with_extra else None)
    index = torch.randint(len(weights[0]), (batch, time), generator=generator, dtype=torch.int32)
    reward = torch.randn(batch, time, generator=generator)
    exact = [None if w is None else w.double().requires_grad_() for w in weights]
    ours = [None if w is None else w.clone().requires_grad_() for w in weights]
    expected, out = reference_forward(exact, index, reward.double()), native.trunk(kernel, *split(ours), index, reward)
    if precision == "fp32":
        torch.testing.assert_close(out.double(), expected, atol=1e-4, rtol=1e-4)
    else:
        assert (out.softmax(-1) - expected.softmax(-1)).abs().max() < 1e-2
    d_out = torch.randn(out.shape, generator=generator)
    expected.backward(d_out.double())
    out.backward(d_out)
    for name, mine, theirs in zip(NAMES, ours, exact, strict=True):
        if theirs is None:
            continue
        if precision == "fp32":
            scale = theirs.grad.abs().max().item()
            torch.testing.assert_close(mine.grad.double(), theirs.grad, atol=1e-4 * scale, rtol=1e-4, msg=name)
        else:
            assert cosine(mine.grad, theirs.grad) > 0.999, name
    with torch.no_grad():  # saves nothing
        torch.testing.assert_close(native.trunk(kernel, *split(ours), index, reward), out, atol=1e-2, rtol=0)


def test_long_sequence(kernel):
    weights, generator = make(0, 64, 2, 5, None)
    index = torch.randint(15, (70, 100), generator=generator, dtype=torch.int32)
    reward = torch.randn(70, 100, generator=generator)
    exact = [None if w is None else w.double().requires_grad_() for w in weights]
    ours = [None if w is None else w.clone().requires_grad_() for w in weights]
    expected, out = reference_forward(exact, index, reward.double()), native.trunk(kernel, *split(ours), index, reward)
    d_out = torch.randn(out.shape, generator=generator)
    expected.backward(d_out.double())
    out.backward(d_out)
    assert (out.softmax(-1) - expected.softmax(-1)).abs().max() < (1e-4 if kernel.precision == "fp32" else 2e-2)
    for mine, theirs in zip(ours[:6], exact[:6], strict=True):
        assert cosine(mine.grad, theirs.grad) > (1 - 1e-8 if kernel.precision == "fp32" else 0.999)


@PROPERTY
@given(
    **sizes,
    games=st.sampled_from([1, 5, 90]),
    repeats=st.sampled_from([1, 3, 8]),
    horizon=st.sampled_from([1, 2, 6]),
    discount=st.sampled_from([1.0, 0.9]),
    expected=st.booleans(),
    own_uniforms=st.booleans(),
)
def test_rollouts_match_pytorch(seed, hidden, game, with_extra, games, repeats, horizon, discount, expected, own_uniforms):
    kernel = native._load("fp32")
    weights, generator = make(seed, hidden, *game, games if with_extra else None)
    state = torch.rand(games, hidden, generator=generator) * 2 - 1
    uniforms = torch.rand(games, game[0] if own_uniforms else 1, repeats, horizon, 2, generator=generator)
    q, steps = kernel.rollouts(*split(weights), state, uniforms, *game, discount, expected)
    reference, distinct = reference_rollouts(weights, state, uniforms, *game, discount, expected)
    torch.testing.assert_close(q, reference, atol=1e-4, rtol=1e-4)
    assert steps == distinct, "one step of the model per distinct history"


@pytest.mark.parametrize("expected", [True, False])
def test_rollouts_in_bf16(expected):
    kernel = native._load("bf16")
    if kernel is None:
        pytest.skip("this CPU has no AVX512-BF16")
    weights, generator = make(1, 64, 2, 5, 200)
    state = torch.rand(200, 64, generator=generator) * 2 - 1
    uniforms = torch.rand(200, 1, 8, 10, 2, generator=generator)
    one, many = uniforms[:, :, :, :1].contiguous(), uniforms
    difference = kernel.rollouts(*split(weights), state, one, 2, 5, 1.0, True)[0]
    difference -= reference_rollouts(weights, state, one, 2, 5, 1.0, True)[0]
    assert difference.abs().max() < 5e-2
    # Later a rounded threshold can send a single rollout elsewhere, so that only the whole is close.
    q, _ = kernel.rollouts(*split(weights), state, many, 2, 5, 1.0, expected)
    reference, _ = reference_rollouts(weights, state, many, 2, 5, 1.0, expected)
    assert cosine(q, reference) > 0.99 and (q - reference).mean().abs() < 0.1


@pytest.mark.parametrize("batch", [1, 8, 61, 70])
@pytest.mark.parametrize("with_extra", [True, False])
def test_advancing_round_by_round_saves_what_forward_saves(kernel, with_extra, batch):
    """Bit for bit the same outputs and gradients, also in memory that held another sequence before."""
    weights, generator = make(10, 48, 2, 5, batch if with_extra else None)
    index = torch.randint(15, (batch, 7), generator=generator, dtype=torch.int32)
    reward = torch.randn(batch, 7, generator=generator)
    out, saved = kernel.forward(*split(weights), index, reward)
    going = None
    for _ in range(2):
        before, going = going, native.Recurrence(kernel, *split(weights), batch, 7, going)
        for t in range(7):
            assert torch.equal(going.advance(index[:, t].contiguous(), reward[:, t].contiguous()), out[:, t])
        assert before is None or going.saved is before.saved
        assert torch.equal(going.outputs, out) and len(going.saved) == len(saved)
    ours = [None if w is None else w.clone().requires_grad_() for w in weights]
    theirs = [None if w is None else w.clone().requires_grad_() for w in weights]
    d_out = torch.randn(out.shape, generator=generator)
    native.recalled(going, *split(ours)).backward(d_out)
    native.trunk(kernel, *split(theirs), index, reward).backward(d_out)
    # Sums over the same numbers: which input of equal ones came first is all that can differ, in the table's gradients.
    for mine, other in zip(ours, theirs, strict=True):
        if mine is not None:
            torch.testing.assert_close(mine.grad, other.grad, atol=1e-5 * other.grad.abs().max().item(), rtol=1e-5)


def test_advancing_without_a_gradient_knows_no_end(kernel):
    weights, generator = make(11, 32, 2, 5, 9)
    index = torch.randint(15, (9, 6), generator=generator, dtype=torch.int32)
    reward = torch.randn(9, 6, generator=generator)
    out, _ = kernel.forward(*split(weights), index, reward, need_gradient=False)
    going = native.Recurrence(kernel, *split(weights), 9)
    for t in range(6):
        assert torch.equal(going.advance(index[:, t].contiguous(), reward[:, t].contiguous()), out[:, t])
    assert going.outputs is None and going.saved is None


def test_bad_rounds_are_refused(kernel):
    weights, _ = make(12, 16, 2, 2, 4)
    index, reward = torch.zeros(4, dtype=torch.int32), torch.zeros(4)
    with pytest.raises(ValueError, match="extra"):
        native.Recurrence(kernel, *split(weights), 5)
    going = native.Recurrence(kernel, *split(weights), 4, 1)
    for change in ((index.long(), reward), (index + 6, reward), (index[:3], reward), (index, reward[:3])):
        with pytest.raises(ValueError, match="index|reward_in"):
            going.advance(*change)
    going.advance(index, reward)
    with pytest.raises(ValueError, match="all 1 rounds are done"):
        going.advance(index, reward)


def test_many_different_rewards_are_as_good_as_few(kernel):
    """Rewards that never repeat: each is an input of its own; and the same with every reward said twice."""
    weights, generator = make(13, 32, 2, 5, None)
    index = torch.randint(15, (40, 9), generator=generator, dtype=torch.int32)
    reward = torch.randn(40, 9, generator=generator)
    gates, _ = split(weights)
    out, saved = kernel.forward(gates, None, index, reward)
    d_out = torch.randn(out.shape, generator=generator)
    gradient, _ = kernel.backward(gates, saved, d_out, False)
    twice, saved = kernel.forward(gates, None, index.repeat(2, 1), reward.repeat(2, 1))
    assert torch.equal(twice, out.repeat(2, 1, 1))
    double, _ = kernel.backward(gates, saved, d_out.repeat(2, 1, 1), False)
    for one, two in zip(gradient, double, strict=True):
        torch.testing.assert_close(two, 2 * one, atol=1e-3 * one.abs().max().item(), rtol=1e-3)


@pytest.mark.parametrize("with_extra", [True, False])
def test_rollouts_do_not_depend_on_threads(kernel, with_extra):
    weights, generator = make(4, 48, 2, 5, 37 if with_extra else None)
    state = torch.rand(37, 48, generator=generator) * 2 - 1
    uniforms = torch.rand(37, 1, 3, 7, 2, generator=generator)
    (one, steps), *others = (kernel.rollouts(*split(weights), state, uniforms, 2, 5, 1.0, True, threads=n) for n in (1, 2, 3, 64))
    assert all(torch.equal(one, other) and steps == taken for other, taken in others)


def test_rollouts_do_not_depend_on_how_many_share_a_chunk(kernel):
    """A game's values are the same alone, among many, and with more rollouts than a chunk holds."""
    weights, generator = make(9, 32, 2, 5)
    state = torch.rand(130, 32, generator=generator) * 2 - 1
    uniforms = torch.rand(130, 1, 12, 6, 2, generator=generator)
    q, _ = kernel.rollouts(*split(weights), state, uniforms, 2, 5, 1.0, True)
    alone, _ = kernel.rollouts(*split(weights), state[100:101], uniforms[100:101], 2, 5, 1.0, True)
    assert torch.equal(q[100:101], alone)
    many = uniforms[:1].repeat(1, 1, 60, 1, 1)
    repeated, _ = kernel.rollouts(*split(weights), state[:1], many, 2, 5, 1.0, True)
    torch.testing.assert_close(repeated, q[:1], atol=1e-4, rtol=0)


@pytest.mark.parametrize("with_extra", [True, False])
def test_games_in_the_same_state_share_their_steps(kernel, with_extra):
    """Whether they know the same of their co-player counts too, and it changes no value."""
    weights, generator = make(5, 48, 2, 5, 3 if with_extra else None)
    states = torch.rand(3, 48, generator=generator) * 2 - 1
    states[2] = states[1]  # but for what they know
    games = torch.randint(3, (70,), generator=generator)
    uniforms = torch.rand(70, 1, 3, 7, 2, generator=generator)
    *rest, extra = weights
    several = (*rest, None if extra is None else extra[games])
    q, steps = kernel.rollouts(*split(several), states[games], uniforms, 2, 5, 1.0, True)
    alone = 0
    for game, which in enumerate(games.tolist()):
        one = (*rest, None if extra is None else extra[which : which + 1])
        expected, taken = kernel.rollouts(*split(one), states[which : which + 1], uniforms[game : game + 1], 2, 5, 1.0, True)
        assert torch.equal(q[game : game + 1], expected)
        alone += taken
    assert steps < 0.9 * alone


def test_saturated_gates_stay_exact(kernel):
    """Arguments far outside the exponential's range saturate; NaN is not hidden."""
    weights, _ = make(5, 16, 2, 2, None)
    weights[0] = weights[0] * 1e4
    index, reward = torch.arange(6, dtype=torch.int32)[:, None], torch.zeros(6, 1)
    tolerance = 1e-4 if kernel.precision == "fp32" else 3e-2
    out = native.trunk(kernel, *split(weights), index, reward)
    torch.testing.assert_close(out, reference_forward(weights, index, reward), atol=tolerance, rtol=tolerance)
    weights[0][0] = float("nan")
    assert native.trunk(kernel, *split(weights), index, reward)[0].isnan().all()


def test_empty_batch(kernel):
    weights, _ = make(6, 16, 2, 2, None)
    out = native.trunk(kernel, *split(weights), torch.zeros(0, 5, dtype=torch.int32), torch.zeros(0, 5))
    assert out.shape == (0, 5, 10)
    q, steps = kernel.rollouts(*split(weights), torch.zeros(0, 16), torch.zeros(0, 1, 2, 3, 2), 2, 2, 1.0, True)
    assert q.shape == (0, 2) and steps == 0


@pytest.mark.parametrize(
    "change",
    [
        {"table": torch.zeros(6, 47)},
        {"table": torch.zeros(0, 48)},
        {"reward_gates": torch.zeros(48, dtype=torch.float64)},
        {"bias_hn": torch.zeros(24)},
        {"weight_hh": torch.zeros(16, 48).t()},
        {"head_weight": torch.zeros(10, 15)},
        {"head_bias": torch.zeros(0)},
        {"extra": torch.zeros(3, 48)},
        {"index": torch.zeros(4, 3, dtype=torch.int64)},
        {"index": torch.full((4, 3), 6, dtype=torch.int32)},
        {"index": torch.full((4, 3), -1, dtype=torch.int32)},
        {"index": torch.zeros(4, dtype=torch.int32)},
        {"reward_in": torch.zeros(4, 2)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_bad_training_input_is_refused(kernel, change):
    weights, _ = make(7, 16, 2, 2, 4)
    given = dict(zip(NAMES, weights, strict=True), index=torch.zeros(4, 3, dtype=torch.int32), reward_in=torch.zeros(4, 3))

    def trunk(*weights_and_inputs):
        *weights, index, reward = weights_and_inputs
        return native.trunk(kernel, *split(weights), index, reward)

    trunk(*given.values())
    with pytest.raises(ValueError, match="|".join([*change, "hidden size", "at least one output"])):
        trunk(*(given | change).values())


@pytest.mark.parametrize(
    "change",
    [
        {"hidden": torch.zeros(4, 32)},
        {"uniforms": torch.zeros(4, 2, 3, 2)},
        {"uniforms": torch.zeros(3, 1, 2, 3, 2)},
        {"uniforms": torch.zeros(4, 3, 2, 3, 2)},
        {"uniforms": torch.zeros(4, 1, 0, 3, 2)},
        {"extra": torch.zeros(5, 48)},
        {"n_actions": 3},
        {"n_observations": 0},
        {"threads": 0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_bad_rollouts_are_refused(kernel, change):
    weights, _ = make(8, 16, 2, 2, 4)
    given = dict(zip(NAMES, weights, strict=True), hidden=torch.zeros(4, 16), uniforms=torch.zeros(4, 1, 2, 3, 2))
    given |= dict(n_actions=2, n_observations=2, discount=1.0, expected=True, threads=1)

    def rollouts(*arguments):
        return kernel.rollouts(*split(arguments[:7]), *arguments[7:])

    rollouts(*given.values())
    with pytest.raises(ValueError):
        rollouts(*(given | change).values())


def test_supports():
    assert [h for h in range(-16, 50) if native.supports(h)] == [16, 32, 48]


def test_switched_off(monkeypatch):
    monkeypatch.setenv("COOPCTX_NATIVE", "0")
    assert native.load() is None and native.load("fp32") is None


def test_unknown_precision():
    with pytest.raises(ValueError, match="bf16, fp32"):
        native.load("fp16")


def test_no_compiler(monkeypatch):
    monkeypatch.setattr(native.compile, "COMPILERS", ("a-compiler-that-does-not-exist",))
    assert native._load.__wrapped__("fp32") is None


def test_compiled_once_per_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiler = next(name for name in native.compile.COMPILERS if shutil.which(name))
    flags = ("-O0", *native.compile.FLAGS[1:], "-DCOOPCTX_BF16=0")
    first = native.compile.compiled(compiler, flags)
    built = first.stat().st_mtime_ns
    assert native.compile.compiled(compiler, flags) == first and first.stat().st_mtime_ns == built
    assert list((tmp_path / "coopctx").iterdir()) == [first]


def prediction_inputs(**change):
    weights, generator = make(10, 16, 2, 2, 3)
    given = dict(
        zip(NAMES, weights, strict=True),
        observations=torch.randint(2, (5, 4), generator=generator, dtype=torch.uint8),
        actions=torch.randint(2, (5, 3), generator=generator, dtype=torch.uint8),
        rewards=torch.randn(5, 3, generator=generator),
        games=torch.tensor([4, 0, 4]),
        n_actions=2,
        n_observations=2,
        weights=(1.0, 1.0, 1.0),
    )
    values = list((given | change).values())
    return (*split(values[:7]), *values[7:])


@pytest.mark.parametrize(
    "change",
    [
        {"observations": torch.zeros(5, 3, dtype=torch.uint8)},
        {"observations": torch.full((5, 4), 2, dtype=torch.uint8)},
        {"actions": torch.full((5, 3), 2, dtype=torch.uint8)},
        {"actions": torch.zeros(5, 3, dtype=torch.int64)},
        {"rewards": torch.zeros(4, 3)},
        {"games": torch.tensor([0, 1, 5])},
        {"games": torch.tensor([0, 1, -1])},
        {"games": torch.tensor([0, 1])},
        {"n_actions": 3},
        {"head_bias": torch.zeros(9)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_bad_episodes_are_refused(kernel, change):
    kernel.prediction_loss(*prediction_inputs())
    with pytest.raises(ValueError):
        kernel.prediction_loss(*prediction_inputs(**change))


@pytest.mark.parametrize("how", ["an error", "Ctrl-C"])
def test_no_call_goes_on_in_memory_that_its_caller_has_given_up(how):
    """The caller frees what its threads work on as soon as it is left."""
    interruption, ended = threading.Event(), []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started us with it ignored

    def part(number: int) -> None:
        if number == 0:
            interruption.wait()
            if how == "an error":
                raise MemoryError
            _thread.interrupt_main()
        interruption.set()
        time.sleep(0.2)
        ended.append(number)

    try:
        with pytest.raises(MemoryError if how == "an error" else KeyboardInterrupt):
            in_threads(2, part, range(2))
    finally:
        signal.signal(signal.SIGINT, before)
    assert sorted(ended) == ([1] if how == "an error" else [0, 1])
