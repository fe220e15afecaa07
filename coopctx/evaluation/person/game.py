"""A person's game against a trained agent: the rounds, the agent's beliefs before each, and its predictions of the person."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter

import torch

from coopctx.agents.beliefs import Beliefs
from coopctx.agents.trained import TrainedAgent
from coopctx.errors import UsageError
from coopctx.game.matrix import COOPERATE, START
from coopctx.game.streams import stream

MOST_ROUNDS = 100
USUAL_ROUNDS = 20
MOVES = ("cooperate", "defect")  # by action
LETTERS = "CD"
_bayes = attrgetter("bayes")  # of a `Thought`
# By the person's own observation code.
SITUATIONS = (
    "in the first round",
    "after both cooperated",
    "after you cooperated, it defected",
    "after you defected, it cooperated",
    "after both defected",
)


@dataclass(frozen=True)
class Thought:
    """The agent's beliefs before a round; None where its kind of agent has none.

    expected, bayes: the probability that the person cooperates, as predicted by the agent (PPI) and by an exact Bayesian
    observer with a uniform prior over memory-one players. prior, policy: the probability that the agent cooperates, as
    predicted by PPI's model and as played. values: Q(C) and Q(D), PPI. value: V, A2C.
    """

    policy: float
    bayes: float
    expected: float | None = None
    prior: float | None = None
    values: tuple[float, float] | None = None
    value: float | None = None


@dataclass(frozen=True)
class Round:
    """A round that was played: actions and rewards of the person and of the agent, and the person's observation before it."""

    yours: int
    its: int
    you_earn: float
    it_earns: float
    situation: int
    thought: Thought


@dataclass(frozen=True)
class Reading:
    """How often a situation occurred, how often the person then cooperated, and the mean predictions there (nan if never)."""

    situation: str
    times: int
    cooperated: int
    expected: float
    bayes: float


class PersonsGame:
    """A game in progress. The agent decides before the person's move is known.

    seed: of the agent's random numbers; None: a new one every time. Raises UsageError as `check_for_person`.
    """

    def __init__(self, agent: TrainedAgent, rounds: int, learner: int = 1, seed: int | None = None) -> None:
        check_for_person(agent)
        seed = secrets.randbelow(2**31) if seed is None else seed
        self.payoffs, self.rounds, self.log = agent.config.game.payoffs, rounds, list[Round]()
        self.title = f"{agent.name}, learner {learner}"
        self._game = agent.config.game.matrix()
        self._player = agent.player(stream(seed, "person"), learner)
        self._player.begin(1)
        self._player.meet(None)
        self._situation = START
        self._counts = [[0, 0] for _ in SITUATIONS]  # of the person's cooperations and decisions
        self._decide(torch.tensor([START]), torch.zeros(1))

    @property
    def over(self) -> bool:
        return len(self.log) == self.rounds

    @property
    def totals(self) -> tuple[float, float]:
        """The sums of the person's and the agent's rewards so far."""
        return sum(played.you_earn for played in self.log), sum(played.it_earns for played in self.log)

    def play(self, yours: int) -> Round:
        """Play a round with the person's action."""
        its, own, other = self._choice, torch.tensor([self._choice]), torch.tensor([yours])
        earned = self.payoffs[yours][its], self.payoffs[its][yours]
        played = Round(yours, its, *earned, self._situation, self.thought)
        self.log.append(played)
        counts = self._counts[self._situation]
        counts[0] += yours == COOPERATE
        counts[1] += 1
        self._situation = int(self._game.observe(other, own))
        if not self.over:
            self._decide(self._game.observe(own, other), self._game.reward(own, other))
        return played

    def readings(self) -> list[Reading]:
        """The agent's predictions in each of the five situations, and what the person did."""
        readings = []
        for situation, name in enumerate(SITUATIONS):
            met = [played for played in self.log if played.situation == situation]
            cooperated = sum(played.yours == COOPERATE for played in met)
            means = (_mean([held(played.thought) for played in met]) for held in (_expected, _bayes))
            readings.append(Reading(name, len(met), cooperated, *means))
        return readings

    def surprise(self) -> tuple[float, float]:
        """Mean negative log-probability of the person's moves, in nats: the agent's (nan without a model) and exact Bayes's."""
        return self._surprise(_expected), self._surprise(_bayes)

    def _surprise(self, held: Callable[[Thought], float]) -> float:
        chances = ((held(played.thought), played.yours) for played in self.log)
        return _mean([-math.log(max(chance if move == COOPERATE else 1 - chance, 1e-300)) for chance, move in chances])

    def _decide(self, observation: torch.Tensor, reward: torch.Tensor) -> None:
        self._choice = int(self._player.act(observation, reward))
        cooperated, times = self._counts[self._situation]
        self.thought = _thought(self._player.beliefs, (cooperated + 1) / (times + 2))


def check_for_person(agent: TrainedAgent) -> None:
    """UsageError unless the agent's game is one that a person can play: two actions, no noise, no random ending."""
    game = agent.config.game.matrix()
    if game.n_actions != 2 or game.by_chance:
        kind = f"{game.n_actions} actions" if game.n_actions != 2 else "noise or a random ending"
        raise UsageError(f"a person plays games of two actions, without noise; {agent.directory} was trained with {kind}")


def check_rounds(rounds: int) -> None:
    """UsageError unless the number of rounds is from 1 to `MOST_ROUNDS`."""
    if not (isinstance(rounds, int) and 1 <= rounds <= MOST_ROUNDS):
        raise UsageError(f"--rounds must be from 1 to {MOST_ROUNDS}, not {rounds}")


def _thought(beliefs: Beliefs, bayes: float) -> Thought:
    def cooperates(probabilities: torch.Tensor | None) -> float | None:
        return None if probabilities is None else float(probabilities[0, COOPERATE])

    values = None if beliefs.values is None else (float(beliefs.values[0, 0]), float(beliefs.values[0, 1]))
    value = None if beliefs.value is None else float(beliefs.value[0])
    policy = float(beliefs.policy[0, COOPERATE])
    return Thought(policy, bayes, cooperates(beliefs.prediction), cooperates(beliefs.prior), values, value)


def _expected(thought: Thought) -> float:
    return math.nan if thought.expected is None else thought.expected


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan
