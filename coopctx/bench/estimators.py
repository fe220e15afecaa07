"""Variance and cost of the estimators of Q."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from coopctx.agents.ppi.learner import PPILearner
from coopctx.agents.ppi.planner import ESTIMATORS, Planner
from coopctx.agents.trunk import step
from coopctx.bench.race import engines, on_engine, race, using
from coopctx.bench.rows import EstimatorCost, Sizes
from coopctx.bench.work import against_tabular, learner_with, tabular_episodes
from coopctx.experiments.settings import Config
from coopctx.game.streams import stream
from coopctx.native import Gates


@torch.no_grad()
def measure_estimators(config: Config, threads: int, repeats: int, sizes: Sizes) -> list[EstimatorCost]:
    """Variance and cost of both estimators of Q, on the engine in use, at states that a briefly trained agent visits."""
    engine = engines(config.model.hidden)[0]
    with using(engine, threads):
        learner = _briefly_trained(config, sizes)
        gates = learner.model.gates().contiguous()
        visited = _visited_states(config, learner, gates, sizes, threads)
        planners = {name: replace(learner.planner, estimator=name) for name in ESTIMATORS}
        variances = {
            name: _variance(planner, gates, learner.model.n_actions, visited, sizes.draws, threads)
            for name, planner in planners.items()
        }
    games = visited[torch.arange(sizes.games) % len(visited)].contiguous()
    generator = stream(0, "estimator cost")

    def decide(planner: Planner) -> Callable[[], Any]:
        return lambda: planner.action_values(gates, learner.model.n_actions, games, None, generator, threads)

    contestants = [on_engine(replace(engine, name=name), threads, decide(planner), 1) for name, planner in planners.items()]
    seconds = {rate.name: rate.seconds for rate in race(contestants, repeats, sizes.seconds)}
    costs = {name: variances[name] * seconds[name] for name in planners}
    return [
        EstimatorCost(name, variances[name], seconds[name], costs["sampled"] / cost if cost else None)
        for name, cost in costs.items()
    ]


def _briefly_trained(config: Config, sizes: Sizes) -> PPILearner:
    """A learner that is fitted to tabular play for seconds, with its own data and learning rate."""
    schedule: dict[str, Any] = {"initial_epochs": 1.0, "learning_rate": 3e-3, "final_learning_rate": 3e-4}
    ppi = replace(config.ppi, batch_size=sizes.estimator_batch, **schedule)
    data = tabular_episodes(config, sizes.estimator_steps * ppi.batch_size)
    learner = learner_with(replace(config, ppi=ppi), data)
    with torch.enable_grad():
        learner.fit(0)
    return learner


def _visited_states(config: Config, learner: PPILearner, gates: Gates, sizes: Sizes, threads: int) -> Tensor:
    """Hidden states ``[states, hidden]`` drawn from all rounds of the agent's games against tabular players."""
    model, games = learner.model, sizes.visiting_games
    episodes = against_tabular(config, games, learner.player("bench", threads=threads))
    hidden, states = torch.zeros(games, model.hidden), []
    action, reward = torch.full((games,), model.n_actions), torch.zeros(games)
    for t in range(episodes.rounds):
        hidden = step(gates, hidden, model.index(episodes.observations[:, t], action), reward, None)
        action, reward = episodes.actions[:, t], episodes.rewards[:, t]
        states.append(hidden)
    visited = torch.cat(states)
    return visited[torch.randperm(len(visited), generator=stream(0, "visited"))[: sizes.states]]


def _variance(planner: Planner, gates: Gates, n_actions: int, states: Tensor, draws: int, threads: int) -> float:
    """Variance over draws of Q(x, a) - Q(x, 0), mean over the states x and actions a > 0."""
    hidden = states.repeat_interleave(draws, 0)
    values = planner.action_values(gates, n_actions, hidden, None, stream(0, "estimator"), threads)
    differences = (values[:, 1:] - values[:, :1]).double().view(len(states), draws, -1)
    return float(differences.var(1).mean())
