"""The games of null policies: what always cooperating and always defecting must come to, and naive learners step by step."""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from coopctx.agents.coala import exact
from coopctx.analysis.nulls import STRATEGIES
from coopctx.evaluation import coala_nulls as nulls
from coopctx.game.streams import stream

PD = torch.tensor([1.0, -1.0, 2.0, 0.0], dtype=torch.float64)


@cache
def games() -> pd.DataFrame:
    return nulls.table("smoke").to_pandas()


def curves(**where: str) -> pd.DataFrame:
    found = games()
    for column, value in where.items():
        found = found[found[column] == value]
    return found.sort_values("round").set_index("round")[["cooperation_rate", "reward"]]


def test_each_meets_both_kinds_in_each_pool():
    counted = games().groupby(["pool", "null", "opponent", "player"]).size()
    assert len(counted) == 3 * 4 * 2 * 2
    assert {pool: set(counted[pool]) for pool in nulls.POOLS} == {"exact-naive": {3}, "five-logit": {15}, "naive": {15}}


@pytest.mark.parametrize("pool", nulls.POOLS)
def test_rewards_follow_from_what_both_sides_do(pool):
    for null, own in (("always-cooperate", 1), ("always-defect", 0)):
        ego, co = (curves(pool=pool, null=null, opponent="naive", player=player) for player in ("ego", "co"))
        np.testing.assert_allclose(ego["cooperation_rate"], own, atol=1e-9)
        assert co["cooperation_rate"].between(0.02, 0.98).all()
        theirs = co["cooperation_rate"]
        np.testing.assert_allclose(ego["reward"], theirs * (1 if own else 2) - (1 - theirs) * own, atol=1e-6)
        np.testing.assert_allclose(co["reward"], own * (theirs + 2 * (1 - theirs)) - (1 - own) * theirs, atol=1e-6)
        copies = curves(pool=pool, null=null, opponent="learner", player="ego")
        np.testing.assert_allclose(copies, own, atol=1e-9)


def test_against_a_cooperator_naive_learners_come_to_defect():
    curve = curves(pool="five-logit", null="always-cooperate", opponent="naive", player="co")["cooperation_rate"]
    assert curve.iloc[-5:].mean() < curve.iloc[:5].mean()


def test_exact_naive_learners_take_steps_on_their_own_return():
    """Tit-for-Tat, and each learner's step by automatic differentiation."""
    own = torch.tensor([1.0, 1, 0, 1, 0], dtype=torch.float64).logit()
    phi = torch.randn(nulls.LEARNERS, 5, dtype=torch.float64, generator=stream(0, "null policies"))
    rewards = []
    for _ in range(3):
        phi.requires_grad_()
        rewards.append((exact.play(own, phi, PD, 0.95).visits @ PD).mean().item())
        (ascent,) = torch.autograd.grad((exact.play(phi, own, PD, 0.95).visits @ PD).sum(), phi)
        phi = (phi + 5.0 * ascent).detach()
    found = curves(pool="exact-naive", null="tit-for-tat", opponent="naive", player="ego")["reward"]
    np.testing.assert_allclose(found, rewards, atol=1e-6)


def test_the_committed_games_are_these_policies():
    committed = pd.read_parquet(Path(__file__).parents[2] / "results/cpu/coala-nulls.parquet")
    assert set(committed["null"]) == set(STRATEGIES) and set(committed["pool"]) == set(nulls.POOLS)
    assert committed["round"].max() == 200
