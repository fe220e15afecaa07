"""Meta-trajectories: who plays against whom, what each side sees, and that only naive learners restart with an inner episode."""

import pytest
import torch
from torch import Tensor

from coopctx.agents.coala.learner import RecurrentLearner
from coopctx.agents.coala.meta_games import Layout, play
from coopctx.agents.coala.naive import FiveLogitLearners
from coopctx.experiments.settings import CoalaConfig, ModelConfig
from coopctx.game.episodes import Episodes
from coopctx.game.matrix import PRISONERS_DILEMMA, START
from coopctx.native import kernel_for

LAYOUT = Layout(agents=3, naive=2, others=1, games=3, episodes=4, rounds=5)
CPU = torch.device("cpu")


class Scripted:
    """Plays at random and records what it sees."""

    recurrence = None

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self.seen: list[Tensor] = []
        self.earned: list[Tensor] = []
        self.begun = 0

    def begin(self, games: int) -> None:
        self.begun += 1

    def act(self, observation: Tensor, reward: Tensor) -> Tensor:
        self.seen.append(observation)
        self.earned.append(reward)
        return torch.randint(0, 2, observation.shape, generator=self._generator)


class Watching(FiveLogitLearners):
    """Naive learners that record what they see and learn from."""

    def __init__(self, seed: int) -> None:
        super().__init__(LAYOUT.naive, 2, CoalaConfig(), torch.Generator().manual_seed(seed))
        self.seen: list[Tensor] = []
        self.lessons: list[tuple[Tensor, Tensor, Tensor]] = []

    def act(self, observation: Tensor) -> Tensor:
        self.seen.append(observation)
        return super().act(observation)

    def learn(self, observations: Tensor, actions: Tensor, rewards: Tensor) -> None:
        self.lessons.append((observations, actions, rewards))
        super().learn(observations, actions, rewards)


@pytest.fixture(scope="module")
def meeting() -> tuple[list[Scripted], list[Watching], list[tuple[Episodes, Episodes]]]:
    agents, naive = [Scripted(n) for n in range(3)], [Watching(10 + n) for n in range(3)]
    return agents, naive, play(PRISONERS_DILEMMA, LAYOUT, agents, naive)


def expected_observations(own: Tensor, other: Tensor) -> Tensor:
    codes = 1 + 2 * own.long() + other.long()
    before = torch.cat([torch.full((len(codes), 1), START), codes], 1)
    before[:, : LAYOUT.episodes * LAYOUT.rounds : LAYOUT.rounds] = START
    return before


def test_both_sides_see_and_earn_what_was_played(meeting) -> None:
    payoffs = torch.tensor(PRISONERS_DILEMMA.payoffs)
    for ego, co in meeting[2]:
        assert ego.actions.shape == (LAYOUT.rows, 20)
        for side, other in ((ego, co), (co, ego)):
            assert torch.equal(side.rewards, payoffs[side.actions.long(), other.actions.long()])
            assert torch.equal(side.observations.long(), expected_observations(side.actions, other.actions))


def test_a_meta_agent_is_begun_once_and_sees_its_last_reward_across_the_boundary(meeting) -> None:
    for agent, (ego, _) in zip(meeting[0], meeting[2], strict=True):
        assert agent.begun == 1
        assert torch.equal(torch.stack(agent.seen, 1), ego.observations[:, :-1].long())
        assert torch.equal(torch.stack(agent.earned, 1), torch.nn.functional.pad(ego.rewards[:, :-1], (1, 0)))
        assert (torch.stack(agent.earned, 1)[:, LAYOUT.rounds] == ego.rewards[:, LAYOUT.rounds - 1]).all()


def test_naive_learners_see_one_episode_and_learn_from_it(meeting) -> None:
    rows = LAYOUT.naive_rows
    for naive, (_, co) in zip(meeting[1], meeting[2], strict=True):
        assert torch.equal(torch.stack(naive.seen, 1), co.observations[rows, :-1].long())
        assert len(naive.lessons) == LAYOUT.episodes
        for field, played in zip(zip(*naive.lessons, strict=True), (co.observations[:, :-1], co.actions, co.rewards), strict=True):
            assert torch.equal(torch.cat(field, 1).float(), played[rows].float())


def test_each_pair_of_meta_agents_plays_the_same_games(meeting) -> None:
    for first in range(3):
        for second in range(3):
            if first != second:
                ours, theirs = LAYOUT.against(first, second), LAYOUT.against(second, first)
                assert torch.equal(meeting[2][first][1].actions[ours], meeting[2][second][0].actions[theirs])


def test_rows_are_shared_out_completely() -> None:
    for agent in range(3):
        parts = [LAYOUT.naive_rows, *(LAYOUT.against(agent, other) for other in range(3) if other != agent)]
        assert [row for part in parts for row in range(LAYOUT.rows)[part]] == list(range(LAYOUT.rows))
        assert LAYOUT.meta_rows == slice(parts[0].stop, parts[-1].stop)


@pytest.mark.parametrize("hidden", [16, 12])  # with the native kernel, where there is one, and without
def test_the_recurrent_agents_history_is_never_reset(hidden: int) -> None:
    """Stepping through a meta-trajectory gives what one pass over all of its rounds gives, and the first episode matters."""
    coala = CoalaConfig(policy="recurrent", hidden=hidden, reward_scale=1.0)
    learner = RecurrentLearner(1, PRISONERS_DILEMMA, ModelConfig(embedding=8), coala, 0)
    with torch.no_grad():
        learner.model.head.weight.normal_(generator=torch.Generator().manual_seed(0))
    layout = Layout(agents=1, naive=2, others=0, games=4, episodes=3, rounds=5)
    player = learner.player("test", rounds=15)
    with torch.no_grad():
        ((ego, _),) = play(PRISONERS_DILEMMA, layout, [player], [Watching(0)])
        through = learner.model(ego)
        if kernel_for(CPU, hidden):
            assert torch.equal(player.recurrence.outputs, through)
        changed = Episodes(ego.observations.clone(), ego.actions, ego.rewards, ego.identity)
        changed.observations[:, 1] = 1 + changed.observations[:, 1] % 4  # in the first episode
        assert (learner.model(changed)[:, -1] - through[:, -1]).abs().max() > 1e-4


def test_naive_learners_restart_with_each_meta_trajectory() -> None:
    """The same streams give the same beginners, whatever an earlier meta-trajectory taught."""
    first = [Watching(n) for n in range(3)]
    untaught = [learners.logits.clone() for learners in first]
    play(PRISONERS_DILEMMA, LAYOUT, [Scripted(n) for n in range(3)], first)
    assert all(not torch.equal(learners.logits, logits) for learners, logits in zip(first, untaught, strict=True))
    again = [Watching(n) for n in range(3)]
    assert all(torch.equal(learners.logits, logits) for learners, logits in zip(again, untaught, strict=True))
