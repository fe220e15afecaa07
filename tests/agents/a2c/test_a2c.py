"""The A2C player and learner against slow references: sums written out, autograd through plain modules, differences."""

import copy
import dataclasses

import pytest
import torch
from torch.nn import functional as F

from coopctx import native
from coopctx.agents.a2c.learner import A2CLearner, discounted_sums, temporal_differences
from coopctx.agents.a2c.player import A2CPlayer
from coopctx.agents.trunk import ActorCritic
from coopctx.experiments.settings import A2CConfig, ModelConfig
from coopctx.game.arena import play, play_natively
from coopctx.game.matrix import PRISONERS_DILEMMA, MatrixGame
from coopctx.game.sampling import sample
from coopctx.game.seats import Seats
from coopctx.game.streams import stream
from coopctx.game.tabular import RandomTabular, TabularPlayer

CPU = torch.device("cpu")
PRECISIONS = [precision for precision in native.PRECISIONS if native._load(precision) is not None]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=[None, *PRECISIONS], ids=lambda precision: precision or "PyTorch")
def kernel(request, monkeypatch):
    """Everything in the test computes with this kernel; None: PyTorch."""
    used = native._load(request.param) if request.param else None
    monkeypatch.setattr("coopctx.native.kernel_for", lambda *_: used)
    return used


def tabular(*purpose):
    return RandomTabular(5, 2, stream(0, "tabular", *purpose))


def learner(number=1, identity_size=0, hidden=16, **settings):
    a2c = dataclasses.replace(A2CConfig(iterations=10, batch_size=8), **settings)
    return A2CLearner(number, PRISONERS_DILEMMA, ModelConfig(hidden=hidden, embedding=8), a2c, 0, identity_size, CPU)


def episodes_of(player, games=9, rounds=7, identity_size=0):
    return play(PRISONERS_DILEMMA, rounds, games, (player, tabular("co")), identity_size=identity_size)[0]


def played(one, games=9, rounds=7, identity_size=0):
    player = one.player("test", rounds=rounds)
    return episodes_of(player, games, rounds, identity_size), player.played


# Playing -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("identity_size", [0, 10])
def test_the_player_samples_from_the_policy_of_the_whole_sequence(kernel, identity_size):
    one = learner(identity_size=identity_size, hidden=32)
    episodes, kept = played(one, identity_size=identity_size)
    outputs = one.model(episodes)
    if kernel is not None:
        assert torch.equal(kept.outputs, outputs)
    policy = outputs[..., :-1].softmax(-1)
    generator = stream(0, "learner 1", "play", "test")
    for t in range(episodes.rounds):
        uniform = torch.rand(len(episodes), generator=generator)
        sure = (uniform - policy[:, t, 0]).abs() > 1e-5
        assert torch.equal((uniform >= policy[:, t, 0])[sure], episodes.actions[:, t].bool()[sure])


def test_nothing_is_kept_unless_asked_for_and_memory_is_used_again():
    one = learner(hidden=16)
    player = one.player("test")
    episodes_of(player)
    assert player.played is None
    episodes, kept = played(one)
    if kept is None:
        pytest.skip("no native kernel")
    one.update(episodes, [len(episodes)], kept, 1)
    player = one.player("next", rounds=7)
    episodes_of(player)
    assert player.played.saved is kept.saved


def test_playing_is_frequent_where_the_policy_is():
    model = ActorCritic(5, 2, 16, 8, 0, stream(0))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.head.bias[:2] = torch.tensor([0.25, 0.75]).log()
    episodes = episodes_of(A2CPlayer(model, stream(1)), games=500, rounds=20)
    assert episodes.cooperation_rate() == pytest.approx(0.25, abs=0.015)


def test_a_player_without_a_number_of_rounds_plays_on():
    player = A2CPlayer(ActorCritic(5, 2, 16, 8, 0, stream(0)), stream(1))
    player.begin(1)
    for _ in range(5):
        assert player.act(torch.zeros(1, dtype=torch.long), torch.zeros(1)).shape == (1,)


class Scripted:
    """Notes what it is given; plays its own number."""

    def __init__(self, number, size=0):
        self.number, self.size, self.met = number, size, None

    def begin(self, games):
        self.games = games

    def identity(self):
        return torch.full((self.games, self.size), float(self.number)) if self.size else None

    def meet(self, identity):
        self.met = identity

    def act(self, observation, reward):
        assert len(observation) == len(reward) == self.games
        self.heard = reward
        return torch.full((self.games,), self.number)


def test_seats_hand_everyone_their_own_rows():
    first, second = Scripted(0), Scripted(1, size=3)
    seats = Seats([(first, 2), (second, 3)])
    seats.begin(5)
    assert (first.games, second.games) == (2, 3)
    assert torch.equal(seats.identity(), torch.tensor([0, 0, 1, 1, 1.0])[:, None].expand(5, 3))
    seats.meet(torch.arange(5.0)[:, None])
    assert first.met.flatten().tolist() == [0, 1] and second.met.flatten().tolist() == [2, 3, 4]
    assert seats.act(torch.zeros(5), torch.arange(5.0)).tolist() == [0, 0, 1, 1, 1]
    assert second.heard.tolist() == [2, 3, 4]
    seats.meet(None)
    assert first.met is None and second.met is None
    nobody = Seats([(Scripted(0), 1), (Scripted(1), 1)])
    nobody.begin(2)
    assert nobody.identity() is None
    with pytest.raises(ValueError, match="seats for 5 games, not 4"):
        seats.begin(4)


def test_players_in_one_batch_play_as_they_would_alone():
    """A composite changes nothing: fixed policies, each with its own stream."""
    always, never = (torch.tensor([[p, 1 - p]] * 5) for p in (1.0, 0.0))
    seats = Seats([(TabularPlayer(always, stream(0)), 2), (TabularPlayer(never, stream(1)), 3)])
    ego, co = play(PRISONERS_DILEMMA, 4, 5, (seats, tabular("co")), identity_size=10)
    assert ego.actions.tolist() == [[0] * 4] * 2 + [[1] * 4] * 3
    assert (co.identity[:2, 0] == 0).all() and (co.identity[2:, 1] == 0).all(), "log 1 where it is sure"


# Whole episodes in the kernel ----------------------------------------------------------------------------------------


def mixed_seats(game, apart, together, identity_size, rounds, named=False):
    """Two learners, a frozen one and tabular players as a mixed batch seats them; and the learners' players."""
    sizes = game.n_observations, game.n_actions
    models = [ActorCritic(*sizes, 32, 8, identity_size, stream(n, "weights")) for n in range(3)]
    for model in models:
        model.head.weight.data *= 8  # policies that are far from uniform, and from each other
    keeping = [A2CPlayer(model, stream(n, "a2c"), rounds) for n, model in enumerate(models[:2])]
    policy = torch.rand(*sizes, generator=stream(0, "policy")).softmax(1)
    others = TabularPlayer(policy, stream(0, "named")) if named else RandomTabular(*sizes, stream(0, "random"))
    first = Seats([(keeping[0], apart + together), (A2CPlayer(models[2], stream(2, "a2c")), apart)])
    return (first, Seats([(others, apart), (keeping[1], together + apart)])), keeping


def probed(used, player):
    """Some gradient that depends on all that the player has saved."""
    outputs = player.played.outputs
    d_outputs = torch.rand(outputs.shape, generator=stream(0, "probe"))
    nothing = torch.zeros(outputs.shape[:2])
    return used.backward(player.played.saved, d_outputs, *player.played.weights, nothing.int(), nothing)


THREE_ACTIONS = MatrixGame.of([[1, -1, 0.3], [2, 0, 5], [0, -0.7, 1]])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    ("game", "apart", "together", "identity_size", "named"),
    [
        (PRISONERS_DILEMMA, 128, 128, 0, False),
        (PRISONERS_DILEMMA, 5, 70, 10, True),
        (PRISONERS_DILEMMA, 64, 7, 0, False),
        (THREE_ACTIONS, 33, 41, 0, False),
        (THREE_ACTIONS, 64, 64, 30, True),
    ],
)
def test_the_kernel_plays_whole_episodes_as_the_arena_does(
    precision, game, apart, together, identity_size, named, monkeypatch
):
    used = native._load(precision)
    monkeypatch.setattr("coopctx.native.kernel_for", lambda *_: used)
    sizes, batch = (23, 2 * apart + together), (game, apart, together, identity_size, 23, named)
    players, keeping = mixed_seats(*batch)
    expected = play(game, *sizes, players, identity_size=identity_size)
    for threads in (1, 3):
        players, kept = mixed_seats(*batch)
        found = play_natively(used, game, *sizes, players, identity_size, threads)
        for ours, theirs in zip(found, expected, strict=True):
            for name, field in theirs.tensors().items():
                assert field.dtype == ours.tensors()[name].dtype and torch.equal(field, ours.tensors()[name]), name
        for ours, theirs in zip(kept, keeping, strict=True):
            assert torch.equal(ours.played.outputs, theirs.played.outputs)
            for found_gradient, gradient_of_arena in zip(probed(used, ours), probed(used, theirs), strict=True):
                assert found_gradient is None or torch.equal(found_gradient, gradient_of_arena)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_draws_that_rounding_could_tip_are_those_of_the_arena(precision):
    """Uniform numbers at the very probability of the first action, and one float below and above."""
    used = native._load(precision)
    model = ActorCritic(5, 2, 16, 8, 0, stream(0, "weights"))
    gates = [gate.detach().contiguous() for gate in model.gates()]
    games = 90
    going = used.begin(*gates, None, games)
    logits = going.advance(torch.full((games,), 2, dtype=torch.int32), torch.zeros(games))[:, :-1]
    p = logits.t().softmax(0)[0]
    for uniform, action in ((p, 1), (p.nextafter(torch.ones(())), 1), (p.nextafter(torch.zeros(())), 0)):
        seats = [
            native.Seat(0, 0, games, uniform[None].contiguous(), used.begin(*gates, None, games)),
            native.Seat(1, 0, games, torch.rand(1, games), torch.ones(games, 5, 1)),
        ]
        _, actions, _ = used.play(seats, torch.tensor(PRISONERS_DILEMMA.payoffs), games, 1, sample)
        assert (actions[0] == action).all() and (actions[1] == 0).all()


def test_seats_that_do_not_fit_are_refused():
    used = native._load("fp32")
    if used is None:
        pytest.skip("no kernel here")
    payoffs, sums = torch.tensor(PRISONERS_DILEMMA.payoffs), torch.ones(4, 5, 1)
    sides = [native.Seat(side, 0, 4, torch.rand(3, 4), sums) for side in (0, 1)]
    for seats, games, rounds, message in (
        (sides[:1], 4, 3, "side 1 must be of 4 games"),
        (sides, 5, 3, "side 0 must be of 5 games"),
        (sides, 4, 2, "uniforms must have shape"),
        ([sides[0], dataclasses.replace(sides[1], policy=sums[:3])], 4, 3, "sums must have shape"),
    ):
        with pytest.raises(ValueError, match=message):
            used.play(seats, payoffs, games, rounds, sample)
    model = ActorCritic(10, 3, 16, 8, 0, stream(0, "weights"))
    going = used.begin(*(gate.detach().contiguous() for gate in model.gates()), None, 4)
    with pytest.raises(ValueError, match="must have 3 outputs"):
        used.play([dataclasses.replace(sides[0], policy=going), sides[1]], payoffs, 4, 3, sample)


# Advantages and targets ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("discount", [0.0, 0.9, 1.0])
@pytest.mark.parametrize("decay", [0.0, 0.7, 1.0])
def test_advantages_and_targets_are_the_explicit_double_sums(discount, decay):
    generator = stream(0, "sums")
    rewards, values = (torch.randn(3, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    advantages = discounted_sums(temporal_differences(rewards, values, discount), discount * decay)
    for game in range(3):
        for t in range(6):
            gae = 0.0
            for k in range(6 - t):
                following = values[game, t + k + 1].item() if t + k + 1 < 6 else 0.0
                delta = rewards[game, t + k].item() + discount * following - values[game, t + k].item()
                gae += (discount * decay) ** k * delta
            assert advantages[game, t].item() == pytest.approx(gae, abs=1e-12)
            # TD(lambda) from its definition: a mixture of n-step returns, the last one with all the weight that is left
            mixture = 0.0
            for n in range(1, 7 - t):
                weight = (1 - decay) * decay ** (n - 1) if n < 6 - t else decay ** (n - 1)
                tail = discount**n * values[game, t + n].item() if t + n < 6 else 0.0
                mixture += weight * (sum(discount**k * rewards[game, t + k].item() for k in range(n)) + tail)
            assert values[game, t].item() + gae == pytest.approx(mixture, abs=1e-12)


@pytest.mark.parametrize("normalise", ["off", "together", "per-opponent"])
def test_the_loss_is_the_one_that_is_written_down(normalise):
    settings = {"discount": 0.9, "gae_lambda": 0.8, "td_lambda": 0.5, "value_weight": 0.3, "reward_scale": 0.2}
    one = learner(normalise_advantages=normalise, entropy_weight=0.4, final_entropy_weight=0.04, **settings)
    episodes, _ = played(one, games=3, rounds=4)
    outputs = torch.randn(3, 4, 3, generator=stream(0, "outputs"))
    values, policy = outputs[..., 2], outputs[..., :2].softmax(-1)
    delta = 0.2 * episodes.rewards + 0.9 * torch.cat([values[:, 1:], torch.zeros(3, 1)], 1) - values
    gae = torch.stack([sum((0.9 * 0.8) ** k * delta[:, t + k] for k in range(4 - t)) for t in range(4)], 1)
    target = values + torch.stack([sum((0.9 * 0.5) ** k * delta[:, t + k] for k in range(4 - t)) for t in range(4)], 1)
    for rows in {"off": [], "together": [[0, 1, 2]], "per-opponent": [[0], [1, 2]]}[normalise]:
        gae[rows] = (gae[rows] - gae[rows].mean()) / gae[rows].std(correction=0)
    terms = []
    for game in range(3):
        for t in range(4):
            p = policy[game, t]
            entropy = -(p * p.log()).sum()
            chosen = p[int(episodes.actions[game, t])].log()
            terms.append(-chosen * gae[game, t] + 0.3 * (values[game, t] - target[game, t]) ** 2 - 0.22 * entropy)
    loss, _ = one.loss(outputs, episodes, [1, 2], iteration=5.5)  # half-way from the first to the tenth
    assert loss.item() == pytest.approx(torch.stack(terms).mean().item(), abs=1e-5)


def test_settings_reach_their_last_value_at_the_stated_share_of_the_iterations_and_stay():
    """11 iterations, learning rate from 3 to 1 in the first fifth, entropy weight from 5 to 0 in the first half."""
    one = learner(
        iterations=11, learning_rate=3.0, final_learning_rate=1.0, learning_rate_decay=0.2,
        entropy_weight=5.0, final_entropy_weight=0.0, entropy_decay=0.5, value_weight=0.0, normalise_advantages="together",
    )  # fmt: skip
    episodes, _ = played(one)
    rates, weights = [], []
    for iteration in range(1, 12):
        outputs = torch.zeros(len(episodes), episodes.rounds, 3)
        loss, (policy, _, entropy) = one.loss(outputs, episodes, [len(episodes)], iteration)
        weights.append(((policy - loss) / entropy).item())
        one.update(episodes, [len(episodes)], None, iteration)
        rates.append(one._optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([3, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1])
    assert weights == pytest.approx([5, 4, 3, 2, 1, 0, 0, 0, 0, 0, 0], abs=1e-5)


# Gradients -----------------------------------------------------------------------------------------------------------


def gradient(one, episodes, kept):
    loss, _ = one.loss(one._outputs(episodes, kept), episodes, [len(episodes)], 1)
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(one.model.parameters()))])


@pytest.mark.parametrize("identity_size", [0, 10])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_gradient_of_what_was_played_is_that_of_the_plain_modules(precision, identity_size, monkeypatch):
    used = native._load(precision)
    monkeypatch.setattr("coopctx.native.kernel_for", lambda *_: used)
    one = learner(identity_size=identity_size, hidden=48, reward_scale=0.2)
    episodes, kept = played(one, games=70, rounds=11, identity_size=identity_size)
    ours = gradient(one, episodes, kept)
    monkeypatch.setattr("coopctx.native.kernel_for", lambda *_: None)
    reference = gradient(one, episodes, None)
    assert (ours - reference).norm() < (1e-4 if precision == "fp32" else 3e-2) * reference.norm()


def test_the_gradient_is_that_of_finite_differences(monkeypatch):
    """Advantages and targets held fixed, as the loss's gradient takes them; in double precision."""
    monkeypatch.setattr("coopctx.native.kernel_for", lambda *_: None)
    one = learner(hidden=16, reward_scale=0.5, entropy_weight=0.1, identity_size=10)
    episodes, _ = played(one, games=4, rounds=5, identity_size=10)
    one.model.double()
    episodes = dataclasses.replace(episodes, rewards=episodes.rewards.double(), identity=episodes.identity.double())
    ours = gradient(one, episodes, None)
    a2c = one._a2c
    with torch.no_grad():
        values = one.model(episodes)[..., -1]
        delta = temporal_differences(a2c.reward_scale * episodes.rewards, values, a2c.discount)
        advantages = discounted_sums(delta, a2c.discount * a2c.gae_lambda)
        targets = values + discounted_sums(delta, a2c.discount * a2c.td_lambda)
        advantages = (advantages - advantages.mean()) / advantages.std(correction=0)

    @torch.no_grad()
    def surrogate():
        outputs = one.model(episodes)
        log_policy = outputs[..., :-1].log_softmax(-1)
        chosen = log_policy.gather(-1, episodes.actions.long()[..., None])[..., 0]
        entropy = -(log_policy.exp() * log_policy).sum(-1).mean()
        value = F.mse_loss(outputs[..., -1], targets)
        return (-(chosen * advantages).mean() + a2c.value_weight * value - a2c.entropy_weight * entropy).item()

    done, step = 0, 1e-5
    for parameter in one.model.parameters():
        flat = parameter.data.view(-1)
        for i in range(0, len(flat), max(1, len(flat) // 7)):
            before = flat[i].item()
            flat[i] = before + step
            above = surrogate()
            flat[i] = before - step
            below = surrogate()
            flat[i] = before
            assert ours[done + i].item() == pytest.approx((above - below) / (2 * step), abs=1e-7)
        done += len(flat)


# Learning ------------------------------------------------------------------------------------------------------------


def test_settings_go_linearly_from_their_first_to_their_last_value():
    one = learner(learning_rate=1e-2, final_learning_rate=1e-3)
    episodes, _ = played(one)
    rates = []
    for iteration in (1, 4, 10):
        one.update(episodes, [len(episodes)], None, iteration)
        rates.append(one._optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1e-2, 7e-3, 1e-3])


def test_the_gradient_is_clipped_and_its_norm_told():
    """Adam's first step does not depend on the gradient's length unless epsilon is large: then clipping shows."""
    sizes = {}
    for limit in (1e-3, 1e6):
        one = learner(max_grad_norm=limit, adam_epsilon=10.0, reward_scale=5.0)
        episodes, _ = played(one)
        before = one.model.head.weight.clone()
        told = one.update(episodes, [len(episodes)], None, 1)
        sizes[limit] = (one.model.head.weight - before).norm().item()
    assert sizes[1e-3] < 0.1 * sizes[1e6]
    assert told.gradient_norm > 1e-3 and told.entropy <= 0.6932


def test_a_restored_learner_goes_on_as_if_nothing_had_happened(kernel):
    one, other = learner(), learner()
    episodes, kept = played(one)
    one.update(episodes, [len(episodes)], kept, 1)
    other.restore(copy.deepcopy(one.state()))
    for each in (one, other):
        episodes, kept = played(each)
        each.update(episodes, [len(episodes)], kept, 2)
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True))


def test_it_learns_to_defect_against_random_players(kernel):
    one = learner(hidden=16, learning_rate=0.02, final_learning_rate=0.02, reward_scale=0.3, discount=0.5)
    for iteration in range(1, 26):
        player = one.player(iteration, rounds=10)
        episodes = play(PRISONERS_DILEMMA, 10, 64, (player, tabular(iteration)))[0]
        one.update(episodes, [len(episodes)], player.played, iteration)
    assert episodes.cooperation_rate() < 0.15
