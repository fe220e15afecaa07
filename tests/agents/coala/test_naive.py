"""Naive learners against the same computation for one learner at a time, by PyTorch's own GRU, Adam and autograd."""

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from coopctx.agents.coala.naive import FiveLogitLearners, RecurrentLearners, naive_learners
from coopctx.experiments.settings import CoalaConfig

LEARNERS, GAMES, ROUNDS = 3, 4, 6
COALA = CoalaConfig(naive_hidden=8, naive_learning_rate=0.05, naive_max_grad_norm=0.05, naive_discount=0.9)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_rounds(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Observations, actions, rewards [learners * B, T]; every inner episode begins with code 0."""
    draw = generator(seed)
    observations = torch.randint(1, 5, (LEARNERS * GAMES, ROUNDS), generator=draw)
    observations[:, 0] = 0
    actions = torch.randint(0, 2, (LEARNERS * GAMES, ROUNDS), generator=draw)
    return observations, actions, torch.randn(LEARNERS * GAMES, ROUNDS, generator=draw)


def of(learner: int, rounds: Tensor) -> Tensor:
    return rounds[learner * GAMES : (learner + 1) * GAMES]


def returns(rewards: Tensor) -> Tensor:
    """Discounted, sum by sum."""
    every = [
        [sum(COALA.naive_discount ** (k - t) * game[k] for k in range(t, ROUNDS)) for t in range(ROUNDS)] for game in rewards
    ]
    return torch.tensor(every)


def normalised(x: Tensor) -> Tensor:
    return (x - x.mean()) / x.std(correction=0)


def follow(learners: object, observations: Tensor) -> None:
    """An inner episode of these observations; the actions drawn in it do not matter."""
    learners.begin_episode()
    for t in range(ROUNDS):
        learners.act(observations[:, t])


def test_five_logits_take_the_policy_gradients_steps() -> None:
    learners = FiveLogitLearners(LEARNERS, 2, COALA, generator())
    alone = [logits.clone().requires_grad_() for logits in learners.logits]
    optimizers = [torch.optim.Adam([logits], lr=COALA.naive_learning_rate) for logits in alone]
    for episode in range(3):
        observations, actions, rewards = some_rounds(episode)
        learners.learn(observations, actions, rewards)
        for n, (logits, optimizer) in enumerate(zip(alone, optimizers, strict=True)):
            chosen = torch.where(of(n, actions) == 0, 1.0, -1.0) * logits[of(n, observations)]
            loss = -(F.logsigmoid(chosen) * normalised(returns(of(n, rewards)))).mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_([logits], COALA.naive_max_grad_norm)
            optimizer.step()
    torch.testing.assert_close(learners.logits, torch.stack(alone).detach(), atol=1e-5, rtol=1e-4)


def test_recurrent_learners_take_a2cs_steps() -> None:
    learners = RecurrentLearners(LEARNERS, 2, COALA, generator())
    alone = [OneLearner(*(parameter[n].detach().clone() for parameter in learners.network)) for n in range(LEARNERS)]
    optimizers = [torch.optim.Adam(learner.parameters(), lr=COALA.naive_learning_rate) for learner in alone]
    for episode in range(3):
        observations, actions, rewards = some_rounds(episode)
        follow(learners, observations)
        learners.learn(observations, actions, rewards)
        for n, (learner, optimizer) in enumerate(zip(alone, optimizers, strict=True)):
            outputs = learner(of(n, observations))
            target = returns(COALA.naive_reward_scale * of(n, rewards))
            advantage = normalised(target - outputs[..., 2].detach())
            chosen = outputs[..., :2].log_softmax(-1).gather(2, of(n, actions)[..., None])[..., 0]
            loss = -(chosen * advantage).mean() + COALA.naive_value_weight * F.mse_loss(outputs[..., 2], target)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(learner.parameters(), COALA.naive_max_grad_norm)
            optimizer.step()
    for n, learner in enumerate(alone):
        for ours, theirs in zip(learners.network, learner.stacked(), strict=True):
            torch.testing.assert_close(ours[n].detach(), theirs, atol=2e-5, rtol=1e-3)


class OneLearner(torch.nn.Module):
    """`RecurrentLearners` for one of them, on PyTorch's GRU; parameters as in `_Network`, without the learner's dimension."""

    def __init__(self, inputs: Tensor, recurrent: Tensor, bias: Tensor, readout: Tensor, readout_bias: Tensor) -> None:
        super().__init__()
        self.gru = torch.nn.GRU(5, len(recurrent), batch_first=True)
        self.head = torch.nn.Linear(*readout.shape)
        with torch.no_grad():
            for parameter in self.gru.parameters():
                parameter.zero_()
            self.gru.weight_ih_l0.copy_(inputs.T)
            self.gru.weight_hh_l0.copy_(recurrent.T)
            self.gru.bias_hh_l0[2 * len(recurrent) :] = bias[0]
            self.head.weight.copy_(readout.T)
            self.head.bias.copy_(readout_bias[0])
        # Only the candidate has a bias of its own: that of the gates is in the input layer.
        self.gru.bias_ih_l0.requires_grad_(False)
        hidden = len(recurrent)
        self.gru.bias_hh_l0.register_hook(lambda d: torch.cat([torch.zeros(2 * hidden), d[2 * hidden :]]))

    def parameters(self, recurse: bool = True):
        return (parameter for parameter in super().parameters(recurse) if parameter.requires_grad)

    def forward(self, observations: Tensor) -> Tensor:
        return self.head(F.silu(self.gru(F.one_hot(observations, 5).float())[0]))

    def stacked(self) -> list[Tensor]:
        hidden = self.gru.hidden_size
        bias = self.gru.bias_hh_l0[None, 2 * hidden :]
        parts = self.gru.weight_ih_l0.T, self.gru.weight_hh_l0.T, bias, self.head.weight.T, self.head.bias[None]
        return [part.detach() for part in parts]


@pytest.mark.parametrize("kind", ["five-logit", "recurrent"])
def test_a_learner_learns_from_its_own_games_alone(kind: str) -> None:
    coala = dataclasses.replace(COALA, naive_policy=kind)
    observations, actions, rewards = some_rounds(0)
    other = rewards.clone()
    other[:GAMES] += torch.randn(GAMES, ROUNDS, generator=generator(9))
    chosen = []
    for seen in (rewards, other):
        learners = naive_learners(LEARNERS, 2, coala, generator())
        follow(learners, observations)
        learners.learn(observations, actions, seen)
        chosen.append(parameters(learners))
    assert any(not torch.equal(before[0], after[0]) for before, after in zip(*chosen, strict=True))
    assert all(torch.equal(before[1:], after[1:]) for before, after in zip(*chosen, strict=True))


def parameters(learners: object) -> list[Tensor]:
    found = [learners.logits] if isinstance(learners, FiveLogitLearners) else learners.network
    return [parameter.detach().clone() for parameter in found]


def test_recurrent_learners_begin_at_even_chances_and_forget_an_episode_but_not_what_they_learned() -> None:
    coala = dataclasses.replace(COALA, naive_policy="recurrent")
    learners = RecurrentLearners(LEARNERS, 2, coala, generator())
    observations, actions, rewards = some_rounds(0)
    follow(learners, observations)
    first = torch.stack(learners._outputs, 2)
    assert torch.equal(first, torch.zeros_like(first))
    learners.learn(observations, actions, rewards)
    outputs = []
    for before in (observations, some_rounds(5)[0]):  # whatever came before, the new episode is seen afresh
        follow(learners, before)
        follow(learners, observations)
        outputs.append(torch.stack(learners._outputs, 2).detach())
    assert torch.equal(*outputs)
    assert outputs[0].abs().max() > 0.01


@pytest.mark.parametrize("kind", ["five-logit", "recurrent"])
def test_actions_are_drawn_from_the_policy(kind: str) -> None:
    coala = dataclasses.replace(COALA, naive_policy=kind)
    learners = naive_learners(2, 2, coala, generator())
    if kind == "five-logit":
        learners.logits[:] = torch.tensor([[2.0, 0, 0, 0, 0], [-2.0, 0, 0, 0, 0]])
    else:
        with torch.no_grad():
            learners.network.readout_bias[:] = torch.tensor([[[2.0, 0, 5]], [[-2.0, 0, 5]]])
    learners.begin_episode()
    drawn = learners.act(torch.zeros(2 * 20_000, dtype=torch.long)).view(2, -1)
    chances = torch.sigmoid(torch.tensor([2.0, -2.0]))
    torch.testing.assert_close((drawn == 0).float().mean(1), chances, atol=0.01, rtol=0)


def test_learning_makes_them_defect_against_one_who_always_cooperates() -> None:
    """Five logits, twenty inner episodes; the pay-off for defecting there is 2, for cooperating 1."""
    coala = CoalaConfig(naive_policy="five-logit", naive_learning_rate=0.2)
    learners = FiveLogitLearners(16, 2, coala, generator())
    shares = []
    for _ in range(20):
        seen, log = torch.zeros(16 * 16, dtype=torch.long), []
        for _ in range(10):
            action = learners.act(seen)
            log.append((seen, action, 1.0 + action))
            seen = 1 + 2 * action
        learners.learn(*(torch.stack(part, 1) for part in zip(*log, strict=True)))
        shares.append(float(torch.stack([action for _, action, _ in log]).float().mean()))
    assert shares[0] < 0.65
    assert shares[-1] > 0.8
