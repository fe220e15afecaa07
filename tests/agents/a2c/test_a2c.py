"""The A2C player and learner against slow references: sums written out, autograd through plain modules, differences."""

import copy
import dataclasses

import pytest
import torch
from torch.nn import functional as F

from coopctx import native
from coopctx.agents.a2c.learner import A2CLearner, discounted_sums, temporal_differences
from coopctx.agents.policy import PolicyPlayer
from coopctx.agents.trunk import ActorCritic
from coopctx.experiments.settings import A2CConfig, ModelConfig
from coopctx.game.arena import play, play_natively
from coopctx.game.matrix import PRISONERS_DILEMMA, MatrixGame
from coopctx.game.sampling import Counted
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
    """The whole test computes with this kernel; None: PyTorch."""
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
    return episodes_of(one.player("test"), games, rounds, identity_size)


# Playing -------------------------------------------------------------------------------------------------------------


def certain(uniform, cumulative):
    """Whether rounding cannot change each draw [...] by uniform numbers from running sums [..., A - 1]."""
    return ((uniform[..., None] - cumulative).abs() > 1e-5).all(-1)


def check_draws(episodes, outputs, draws):
    """All actions are those that uniform numbers draw from a policy with these ``outputs`` [games, rounds, A + 1]."""
    uniform = torch.stack([draws.next() for _ in range(episodes.rounds)], 1)
    cumulative = outputs[..., :-1].softmax(-1).cumsum(-1)[..., :-1]
    drawn = (uniform[..., None] >= cumulative).sum(-1)
    sure = certain(uniform, cumulative)
    assert sure.float().mean() > 0.99 and torch.equal(drawn[sure], episodes.actions.long()[sure])


@pytest.mark.parametrize("identity_size", [0, 10])
def test_the_player_samples_from_the_policy_of_the_whole_sequence(kernel, identity_size):
    one = learner(identity_size=identity_size, hidden=32)
    episodes = played(one, identity_size=identity_size)
    check_draws(episodes, one.model(episodes), Counted(stream(0, "learner 1", "play", "test"), len(episodes)))


def test_a_recurrence_is_kept_only_for_a_known_number_of_rounds_and_its_memory_is_used_again():
    model, before = ActorCritic(5, 2, 16, 8, 0, stream(0)), None
    for number, rounds in enumerate((None, 7, 7)):
        player = PolicyPlayer(model, stream(number), rounds=rounds, before=before)
        episodes = episodes_of(player)
        if player.recurrence is None:
            pytest.skip("no native kernel")
        if rounds is None:
            assert player.recurrence.outputs is None and player.recurrence.saved is None
        else:
            assert torch.equal(player.recurrence.outputs, model(episodes))
            assert before is None or player.recurrence.saved is before.saved
            before = player.recurrence


def test_playing_is_frequent_where_the_policy_is():
    model = ActorCritic(5, 2, 16, 8, 0, stream(0))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.head.bias[:2] = torch.tensor([0.25, 0.75]).log()
    episodes = episodes_of(PolicyPlayer(model, stream(1)), games=500, rounds=20)
    assert episodes.cooperation_rate() == pytest.approx(0.25, abs=0.015)


def test_a_player_without_a_number_of_rounds_plays_on():
    player = PolicyPlayer(ActorCritic(5, 2, 16, 8, 0, stream(0)), stream(1))
    player.begin(1)
    for _ in range(5):
        assert player.act(torch.zeros(1, dtype=torch.long), torch.zeros(1)).shape == (1,)


class Scripted:
    """Records what it is given; plays its own number."""

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
    """Playing several players as one changes nothing: fixed policies, each with its own stream."""
    always, never = (torch.tensor([[p, 1 - p]] * 5) for p in (1.0, 0.0))
    seats = Seats([(TabularPlayer(always, stream(0)), 2), (TabularPlayer(never, stream(1)), 3)])
    ego, co = play(PRISONERS_DILEMMA, 4, 5, (seats, tabular("co")), identity_size=10)
    assert ego.actions.tolist() == [[0] * 4] * 2 + [[1] * 4] * 3
    assert (co.identity[:2, 0] == 0).all() and (co.identity[2:, 1] == 0).all(), "log 1 where it is sure"


# Whole episodes in the kernel ----------------------------------------------------------------------------------------


THREE_ACTIONS = MatrixGame.of([[1, -1, 0.3], [2, 0, 5], [0, -0.7, 1]])
BATCHES = [  # game, games apart and together, identity size, and by what the policies' logits are multiplied
    (PRISONERS_DILEMMA, 128, 128, 0, 4),
    (PRISONERS_DILEMMA, 5, 70, 10, 4),
    (PRISONERS_DILEMMA, 150, 300, 0, 30),  # policies that are nearly sure: most games stay alike for long
    (PRISONERS_DILEMMA, 0, 1, 0, 4),
    (THREE_ACTIONS, 33, 41, 0, 4),
    (THREE_ACTIONS, 64, 64, 30, 30),
]


class Batch:
    """Two learners, a frozen one and tabular players, seated as a mixed batch seats them."""

    def __init__(self, game, apart, together, identity_size, sharpness, named=False, hidden=48, **settings):
        sizes = game.n_observations, game.n_actions
        a2c = dataclasses.replace(A2CConfig(iterations=10, batch_size=8), reward_scale=0.2, **settings)
        model = ModelConfig(hidden=hidden, embedding=8)
        self.learners = [A2CLearner(number, game, model, a2c, 0, identity_size, CPU) for number in (1, 2)]
        frozen = ActorCritic(*sizes, hidden, 8, identity_size, stream(3, "weights"))
        for model in (*(one.model for one in self.learners), frozen):
            model.head.weight.data[:-1] *= sharpness
        first, second = (one.player("test", learning=True) for one in self.learners)
        policy = torch.rand(*sizes, generator=stream(0, "policy")).softmax(1)
        self.tabular = TabularPlayer(policy, stream(0, "named")) if named else RandomTabular(*sizes, stream(0, "random"))
        self.frozen = PolicyPlayer(frozen, stream(3, "a2c"))
        players = (
            Seats([(first, apart + together), (self.frozen, apart)]),
            Seats([(self.tabular, apart), (second, together + apart)]),
        )
        self.rows = [slice(0, apart + together), slice(apart, 2 * apart + together)]
        self.kinds = [[n for n in sizes if n] for sizes in ((apart, together), (together, apart))]
        self.games, self.players, self._game, self._size = 2 * apart + together, players, game, identity_size

    def natively(self, used, threads=1, rounds=23):
        return play_natively(used, self._game, rounds, self.games, self.players, self._size, threads)

    def in_arena(self, rounds=23):
        return play(self._game, rounds, self.games, self.players, identity_size=self._size)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("batch", BATCHES)
def test_the_kernel_draws_every_action_from_its_players_policies(precision, batch, monkeypatch):
    """By the random numbers of `Counted`, except where rounding can change a draw; all that it returns is consistent."""
    used = native._load(precision)
    monkeypatch.setattr("coopctx.native.kernel_for", lambda *_: used)
    for named in (False, True):
        one, game = Batch(*batch, named=named), batch[0]
        first, second = one.natively(used)
        for ego, co in ((first, second), (second, first)):
            assert torch.equal(ego.observations[:, 1:].long(), game.observe(ego.actions.long(), co.actions.long()))
            assert (ego.observations[:, 0] == 0).all() and torch.equal(ego.rewards, game.reward(ego.actions, co.actions))
        for side, learner, rows in zip((first, second), one.learners, one.rows, strict=True):
            draws = Counted(stream(0, f"learner {learner.number}", "play", "test"), len(side[rows]))
            check_draws(side[rows], learner.model(side[rows]), draws)
        if not batch[1]:
            continue
        frozen, tabular = first[one.rows[0].stop :], second[: one.rows[1].start]
        check_draws(frozen, one.frozen._model(frozen), Counted(stream(3, "a2c"), len(frozen)))
        sums = one.tabular.policies.cumsum(2)[torch.arange(len(tabular))[:, None], tabular.observations[:, :-1].long()]
        uniform = torch.stack([one.tabular._draws.next() for _ in range(tabular.rounds)], 1)
        assert torch.equal((uniform[..., None] >= sums[..., :-1]).sum(-1), tabular.actions.long())


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("batch", BATCHES)
def test_the_arena_plays_the_same_games_but_for_rounding(precision, batch, monkeypatch):
    used = native._load(precision)
    monkeypatch.setattr("coopctx.native.kernel_for", lambda *_: used)
    found, expected = Batch(*batch).natively(used), Batch(*batch).in_arena()
    for ours, theirs in zip(found, expected, strict=True):
        for name, field in theirs.tensors().items():
            assert ours.tensors()[name].dtype == field.dtype and ours.tensors()[name].shape == field.shape
        assert (ours.actions == theirs.actions).all(1).float().mean() > 0.98


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("batch", BATCHES)
def test_threads_change_neither_games_nor_gradients(precision, batch):
    used, found = native._load(precision), []
    for threads in (1, 2, 3, 7):
        one = Batch(*batch)
        episodes = one.natively(used, threads)
        learnt = [
            learner.gradient(side[rows], kinds, 1, threads)
            for learner, side, rows, kinds in zip(one.learners, episodes, one.rows, one.kinds, strict=True)
        ]
        fields = [field for side in episodes for field in side.tensors().values()]
        found.append([*fields, *(tensor for pair in learnt for tensor in pair)])
    for others in found[1:]:
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(found[0], others, strict=True))


def test_random_numbers_are_counted_as_written_down():
    """Against Python integers; two players that begin from one generator have different numbers."""
    generator = stream(0, "key")
    draws, others = Counted(generator, 3), Counted(generator, 3)
    mask, golden = 2**64 - 1, 0x9E3779B97F4A7C15

    def mixed(z):
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
        return z ^ z >> 31

    streams = [mixed(draws.key + (game + 1) * golden & mask) for game in range(3)]
    for t in range(4):
        expected = [(mixed(s + (t + 1) * golden & mask) >> 40) / 2**24 for s in streams]
        assert draws.next().tolist() == expected and others.next().tolist() != expected


def test_counted_random_numbers_are_uniform_and_independent():
    draws = Counted(stream(0, "uniform"), 2000)
    numbers = torch.stack([draws.next() for _ in range(100)]).double()  # [rounds, games]
    assert numbers.min() >= 0 and numbers.max() < 1
    counts = torch.histc(numbers.float(), 64, 0, 1).double()
    assert ((counts - 3125) ** 2 / 3125).sum() < 64 + 5 * 128**0.5
    centred = (numbers - 0.5) * 12**0.5
    for first, second in ((centred[1:], centred[:-1]), (centred[:, 1:], centred[:, :-1]), (centred[10:], centred[:-10])):
        assert (first * second).mean().abs() < 5 / first.numel() ** 0.5


def test_seats_that_do_not_fit_are_refused():
    used = native._load("fp32")
    if used is None:
        pytest.skip("no kernel here")
    payoffs = torch.tensor(PRISONERS_DILEMMA.payoffs)
    seat = native.Seat(4, 1, torch.ones(4, 5, 1))
    for sides, games, message in (
        (([seat], []), 4, "side 1 must be of 4 games"),
        (([seat], [seat]), 5, "side 0 must be of 5 games"),
        (([seat], [dataclasses.replace(seat, policy=torch.ones(3, 5, 1))]), 4, "sums must have shape"),
    ):
        with pytest.raises(ValueError, match=message):
            native.play(used, sides, payoffs, games, 3)
    trunk = dataclasses.replace(seat, policy=ActorCritic(10, 3, 16, 8, 0, stream(0, "weights")).gates().contiguous())
    with pytest.raises(ValueError, match="must have 3 outputs"):
        native.play(used, ([trunk], [seat]), payoffs, 4, 3)


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


def test_advantages_that_do_not_differ_count_for_nothing():
    one = learner(discount=0.0, reward_scale=0.5, normalise_advantages="together")
    episodes = played(one)
    episodes.rewards[:] = 1.0
    _, terms = one.loss(torch.zeros(len(episodes), episodes.rounds, 3), episodes, [len(episodes)], 1)
    assert terms[0].item() == 0


@pytest.mark.parametrize("normalise", ["off", "together", "per-opponent"])
def test_the_loss_is_the_one_that_is_written_down(normalise):
    settings = {"discount": 0.9, "gae_lambda": 0.8, "td_lambda": 0.5, "value_weight": 0.3, "reward_scale": 0.2}
    one = learner(normalise_advantages=normalise, entropy_weight=0.4, final_entropy_weight=0.04, **settings)
    episodes = played(one, games=3, rounds=4)
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


@pytest.mark.parametrize(
    ("hold", "rates", "weights"),
    [
        (0.0, [3, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1], [5, 4, 3, 2, 1, 0, 0, 0, 0, 0, 0]),
        (0.6, [3, 3, 3, 3, 3, 3, 3, 1, 1, 1, 1], [5, 5, 5, 5, 5, 5, 5, 2.5, 0, 0, 0]),
    ],
)
def test_settings_reach_their_last_value_at_the_stated_share_of_the_iterations_and_stay(hold, rates, weights):
    """11 iterations; after those that are held the learning rate falls from 3 to 1 in the first fifth or, of four iterations, in
    the first one, and the entropy weight from 5 to 0 in the first half."""
    one = learner(
        iterations=11, hold=hold, learning_rate=3.0, final_learning_rate=1.0, learning_rate_decay=0.2,
        entropy_weight=5.0, final_entropy_weight=0.0, entropy_decay=0.5, value_weight=0.0, normalise_advantages="together",
    )  # fmt: skip
    episodes = played(one)
    seen_rates, seen_weights = [], []
    for iteration in range(1, 12):
        outputs = torch.zeros(len(episodes), episodes.rounds, 3)
        loss, (policy, _, entropy) = one.loss(outputs, episodes, [len(episodes)], iteration)
        seen_weights.append(((policy - loss) / entropy).item())
        one.update(episodes, [len(episodes)], iteration)
        seen_rates.append(one._optimizer.param_groups[0]["lr"])
    assert seen_rates == pytest.approx(rates)
    assert seen_weights == pytest.approx(weights, abs=1e-5)


# Gradients -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalise", ["off", "together", "per-opponent"])
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_gradient_of_what_was_played_is_that_of_the_plain_modules(precision, batch, normalise, monkeypatch):
    """For both learners of a mixed batch, and so are the loss's terms. The advantages of earlier batches have other variances."""
    settings = {"entropy_weight": 0.1, "gae_lambda": 0.9, "td_lambda": 0.7, "discount": 0.95, "variance_decay": 0.7}
    one = Batch(*batch, normalise_advantages=normalise, **settings)
    episodes = one.natively(native._load(precision))
    own = [side[rows] for side, rows in zip(episodes, one.rows, strict=True)]
    earlier = [{"variances": torch.tensor([0.3, 0.9][: 1 if normalise == "together" else len(kinds)])} for kinds in one.kinds]
    for learner, variances in zip(one.learners, earlier, strict=True):
        learner.restore(copy.deepcopy(learner.state()) | variances)
    ours = [learner.gradient(part, kinds, 1) for learner, part, kinds in zip(one.learners, own, one.kinds, strict=True)]
    monkeypatch.setattr("coopctx.native.kernel_for", lambda *_: None)
    tolerance = 1e-4 if precision == "fp32" else 1e-2 if batch[4] < 10 else 5e-2  # sharp policies magnify what is rounded
    for learner, part, kinds, (gradient, terms) in zip(one.learners, own, one.kinds, ours, strict=True):
        learner.player("next", learning=True)  # what was kept is forgotten
        learner.restore(copy.deepcopy(learner.state()) | earlier[learner.number - 1])
        expected, expected_terms = learner.gradient(part, kinds, 1)
        assert (gradient - expected).norm() < tolerance * expected.norm()
        torch.testing.assert_close(terms, expected_terms, atol=tolerance, rtol=tolerance)


def test_the_gradient_is_that_of_finite_differences(monkeypatch):
    """Advantages and targets held fixed, as the loss's gradient takes them; in double precision."""
    monkeypatch.setattr("coopctx.native.kernel_for", lambda *_: None)
    one = learner(hidden=16, reward_scale=0.5, entropy_weight=0.1, identity_size=10)
    episodes = played(one, games=4, rounds=5, identity_size=10)
    one.model.double()
    episodes = dataclasses.replace(episodes, rewards=episodes.rewards.double(), identity=episodes.identity.double())
    ours, _ = one.gradient(episodes, [len(episodes)], 1)
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
    episodes = played(one)
    rates = []
    for iteration in (1, 4, 10):
        one.update(episodes, [len(episodes)], iteration)
        rates.append(one._optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1e-2, 7e-3, 1e-3])


def test_the_gradient_is_clipped_and_its_norm_told():
    """Adam's first step does not depend on the gradient's length unless epsilon is large: then clipping shows."""
    sizes = {}
    for limit in (1e-3, 1e6):
        one = learner(max_grad_norm=limit, adam_epsilon=10.0, reward_scale=5.0)
        episodes = played(one)
        before = one.model.head.weight.clone()
        told = one.update(episodes, [len(episodes)], 1)
        sizes[limit] = (one.model.head.weight - before).norm().item()
        assert one._weights.grad.norm().item() == pytest.approx(min(limit, told.gradient_norm.item()), rel=1e-2)
    assert sizes[1e-3] < 0.1 * sizes[1e6]
    assert told.gradient_norm > 1e-3 and told.entropy <= 0.6932


def natively_played(one, used, *purpose, games=9, rounds=7):
    """Games against random players, in the kernel where there is one."""
    players = one.player(*purpose, learning=True), tabular(*purpose)
    if used is None:
        return play(PRISONERS_DILEMMA, rounds, games, players)[0]
    return play_natively(used, PRISONERS_DILEMMA, rounds, games, players)[0]


def test_episodes_have_no_identity_unless_its_size_is_given(kernel):
    assert natively_played(learner(), kernel).identity.shape == (9, 0)


def test_a_restored_learner_goes_on_as_if_nothing_had_happened(kernel):
    one, other = (learner(variance_decay=0.9, normalise_advantages="together") for _ in range(2))
    one.update(natively_played(one, kernel), [9], 1)
    other.restore(copy.deepcopy(one.state()))
    for each in (one, other):
        each.update(natively_played(each, kernel), [9], 2)
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True))


def test_a_learner_resumes_from_a_state_without_variances_as_earlier_versions_wrote_it(kernel):
    one, other = (learner(normalise_advantages="together") for _ in range(2))
    one.update(natively_played(one, kernel), [9], 1)
    other.restore({key: copy.deepcopy(one.state()[key]) for key in ("model", "optimizer")})
    for each in (one, other):
        each.update(natively_played(each, kernel), [9], 2)
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True))


def test_it_learns_to_defect_against_random_players(kernel):
    one = learner(hidden=16, learning_rate=0.02, final_learning_rate=0.02, reward_scale=0.3, discount=0.5)
    for iteration in range(1, 26):
        episodes = natively_played(one, kernel, iteration, games=64, rounds=10)
        one.update(episodes, [64], iteration)
    assert episodes.cooperation_rate() < 0.15
