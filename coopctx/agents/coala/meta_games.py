"""Meta-trajectories: M inner episodes in a row against the same co-player, which learns between them if it is naive.

A meta agent's rows are games: first those against naive learners, then those against each other meta agent, in the order of
their numbers; each co-player has B consecutive rows. A meta agent's history continues over inner episodes: at the start of one
it sees the code of the start, its last action and its last reward. Naive learners see the present inner episode only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from coopctx.agents.coala.naive import NaiveLearners
from coopctx.agents.coala.player import MetaPlayer
from coopctx.game.episodes import Episodes
from coopctx.game.matrix import START, MatrixGame


@dataclass(frozen=True)
class Layout:
    """How many co-players of each kind every meta agent has, and how many games with each.

    agents: the number of meta agents. naive: naive learners per meta agent. others: for each pair of meta agents, the number of
    groups of B games. games: B. episodes: M. rounds: T.
    """

    agents: int
    naive: int
    others: int
    games: int
    episodes: int
    rounds: int

    @property
    def naive_rows(self) -> slice:
        return slice(0, self.naive * self.games)

    @property
    def meta_rows(self) -> slice:
        return slice(self.naive * self.games, self.rows)

    @property
    def rows(self) -> int:
        return (self.naive + (self.agents - 1) * self.others) * self.games

    def against(self, agent: int, other: int) -> slice:
        """Rows of ``agent`` (from 0) against meta agent ``other``."""
        start = self.naive + (other - (other > agent)) * self.others
        return slice(start * self.games, (start + self.others) * self.games)

    def by_co_player(self, rows: Tensor) -> Tensor:
        """[rows, M T] as [co-players, B, M T]."""
        return rows.view(-1, self.games, rows.shape[-1])


def play(
    game: MatrixGame, layout: Layout, agents: Sequence[MetaPlayer], naive: Sequence[NaiveLearners]
) -> list[tuple[Episodes, Episodes]]:
    """Every meta agent's games, from its own side and from its co-players', as episodes of M T rounds.

    naive: the naive learners of each meta agent; empty if ``layout`` has none.
    """
    met = [*naive, *[None] * (len(agents) - len(naive))]
    tables = [_Table(agent, game, layout, learners) for agent, learners in zip(agents, met, strict=True)]
    for _ in range(layout.episodes):
        for table in tables:
            table.begin_episode()
        for _ in range(layout.rounds):
            actions = [table.act() for table in tables]
            for number, table in enumerate(tables):
                others = [actions[other][layout.against(other, number)] for other in range(len(tables)) if other != number]
                table.reveal(actions[number], others)
        for table in tables:
            table.end_episode()
    return [table.episodes() for table in tables]


class _Table:
    """One meta agent's games. A round is stored as the observation code that follows it, from the meta agent's side."""

    def __init__(self, agent: MetaPlayer, game: MatrixGame, layout: Layout, naive: NaiveLearners | None) -> None:
        self._agent, self._game, self._layout, self._naive = agent, game, layout, naive
        own, co = torch.cartesian_prod(*[torch.arange(game.n_actions)] * 2).unbind(1)
        self._earned = F.pad(game.reward(own, co), (1, 0))  # by the code that follows
        self._mirrored = F.pad(game.observe(co, own), (1, 0), value=START)  # the same round from the other side
        self._codes: list[Tensor] = []
        self._reward = torch.zeros(layout.rows)
        agent.begin(layout.rows)

    def begin_episode(self) -> None:
        self._seen = torch.full((self._layout.rows,), START)
        if self._naive is not None:
            self._naive.begin_episode()

    def act(self) -> Tensor:
        return self._agent.act(self._seen, self._reward)

    def reveal(self, own: Tensor, others: Sequence[Tensor]) -> None:
        """Play a round: actions of the meta agent and of the other meta agents; the naive learners choose theirs here."""
        naive = [] if self._naive is None else [self._naive.act(self._mirrored[self._seen[self._layout.naive_rows]])]
        self._seen = self._game.observe(own, torch.cat([*naive, *others]))
        self._reward = self._earned[self._seen]
        self._codes.append(self._seen)

    def end_episode(self) -> None:
        if self._naive is not None:
            rows, codes = self._layout.naive_rows, self._codes[-self._layout.rounds :]
            self._naive.learn(*self._rounds(self._mirrored[torch.stack([code[rows] for code in codes], 1)]))

    def episodes(self) -> tuple[Episodes, Episodes]:
        """All games so far, from the meta agent's side and from the other side."""
        codes = torch.stack(self._codes, 1)
        return self._seen_as(codes), self._seen_as(self._mirrored[codes])

    def _seen_as(self, codes: Tensor) -> Episodes:
        observed, acted, earned = self._rounds(codes)
        observed = torch.cat([observed, codes[:, -1:]], 1)
        return Episodes(observed.to(torch.uint8), acted.to(torch.uint8), earned, torch.zeros(len(codes), 0))

    def _rounds(self, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Observations before each round, actions and rewards [rows, rounds], of the side whose ``codes`` these are."""
        before = F.pad(codes[:, :-1], (1, 0), value=START)
        before[:, :: self._layout.rounds] = START
        return before, (codes - 1) // self._game.n_actions, self._earned[codes]
