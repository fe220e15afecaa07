"""How much can be had from a frozen agent? Recurrent PPO of Stable-Baselines3 learns a best response to it.

``python -m coopctx.examples.best_response ppi-mixed 30`` prints, after each update on 64 games, what the learner earned per
round. It needs ``pip install 'coopctx[envs,sb3]'``.
"""

from __future__ import annotations

import sys
from typing import Any

import torch

import coopctx

GAMES, ROUNDS = 64, 100


def learner_against(opponent: str, seed: int) -> Any:
    """A recurrent learner (LSTM of 32 units) whose only opponent is the frozen agent."""
    from sb3_contrib import RecurrentPPO

    return RecurrentPPO(
        "MlpLstmPolicy",
        coopctx.envs.sb3_vec_env(GAMES, opponent=opponent),
        n_steps=ROUNDS,
        batch_size=1600,
        n_epochs=6,
        learning_rate=3e-3,
        gamma=1.0,
        gae_lambda=0.95,
        ent_coef=0.01,
        policy_kwargs={"lstm_hidden_size": 32, "net_arch": []},
        seed=seed,
        device="cpu",
    )


def main(opponent: str = "ppi-mixed", updates: str = "30", seed: str = "20") -> None:
    """Learn for some updates; a line each, with the mean reward per round of the last 100 games."""
    torch.set_num_threads(1)
    learner = learner_against(opponent, int(seed))
    for update in range(1, int(updates) + 1):
        learner.learn(GAMES * ROUNDS, reset_num_timesteps=False)
        earned = [episode["r"] for episode in learner.ep_info_buffer]
        print(f"{opponent}: update {update}, {sum(earned) / len(earned) / ROUNDS:.3f} per round", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
