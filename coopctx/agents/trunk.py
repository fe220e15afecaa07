"""The trunk of all models: embeddings -> GRU -> Swish -> one linear head (App. A.3); and the actor-critic on it.

One GRU step is one round. At round t the model reads o_t, a_{t-1} and r_{t-1}, each through its own linear layer into
a shared embedding (their sum). PPI's model on the trunk is `coopctx.agents.ppi.model`.

Observation and action are one-hot, so the GRU's input gates are a row of a small table plus the reward times one vector.
`coopctx.native.Gates` holds this folded form, which play, planner and the native kernel all read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from coopctx import native
from coopctx.experiments.settings import Config, Initialisation
from coopctx.game.episodes import Episodes
from coopctx.native import Gates

CUT_NORMAL_DEVIATION = 0.87962566103423978  # of a standard normal variable that is cut off at -2 and 2


class Trunk(nn.Module):
    """Embeddings, GRU, Swish and one linear head. Subclasses define how many outputs there are, and what they mean.

    identity_size: the length of the co-player's identity z (App. A.4.1), 0 without it. zero_readouts: the head starts at zero.
    """

    def __init__(
        self,
        n_observations: int,
        n_actions: int,
        hidden: int,
        embedding: int,
        identity_size: int,
        generator: torch.Generator,
        initialisation: Initialisation = "uniform",
        zero_readouts: bool = False,
    ) -> None:
        super().__init__()
        self.n_observations, self.n_actions = n_observations, n_actions
        self.hidden, self.identity_size = hidden, identity_size
        self.observation = nn.Linear(n_observations, embedding)
        self.action = nn.Linear(n_actions, embedding)
        self.reward = nn.Linear(1, embedding)
        # z is concatenated to the one-hot observation (App. A.4.1), which is one more linear map into the embedding.
        self.identity = nn.Linear(identity_size, embedding, bias=False) if identity_size else None
        self.gru = nn.GRU(embedding, hidden, batch_first=True)
        self.head = nn.Linear(hidden, self.n_outputs)
        self._draw = {"uniform": self._draw_uniform, "flax": self._draw_flax}[initialisation]
        self.initialise(generator)
        if zero_readouts:
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)

    @property
    def n_outputs(self) -> int:
        """The number of outputs of the head."""
        raise NotImplementedError

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights anew from ``generator``."""
        with torch.no_grad():
            self._draw(generator)

    def _draw_uniform(self, generator: torch.Generator) -> None:
        """PyTorch's initialisation: uniform in +-1/sqrt(fan-in) (for the GRU: hidden size), biases included."""
        for layer in self.children():
            fan_in = layer.hidden_size if isinstance(layer, nn.GRU) else cast(nn.Linear, layer).in_features
            bound = 1.0 / math.sqrt(fan_in)
            for parameter in layer.parameters():
                values = torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator)
                parameter.copy_(values)

    def _draw_flax(self, generator: torch.Generator) -> None:
        """Flax's initialisation: each gate's recurrent matrix orthogonal, other kernels LeCun-normal, biases zero."""
        for name, parameter in self.named_parameters():
            values = torch.zeros(parameter.shape)
            if name == "gru.weight_hh_l0":
                for gate in values.chunk(3):
                    nn.init.orthogonal_(gate, generator=generator)
            elif values.dim() == 2:  # [out, in]
                # A normal distribution cut off at two standard deviations, stretched to a variance of 1 / fan-in.
                deviation = 1.0 / (math.sqrt(values.shape[1]) * CUT_NORMAL_DEVIATION)
                nn.init.trunc_normal_(values, std=deviation, a=-2 * deviation, b=2 * deviation, generator=generator)
            parameter.copy_(values)

    def index(self, observation: Tensor, previous_action: Tensor) -> Tensor:
        """Row numbers of `Gates.table`, long, of the arguments' shape. The previous action ``n_actions`` means "none"."""
        return observation.long() * (self.n_actions + 1) + previous_action.long()

    def gates(self) -> Gates:
        """The folded weights, differentiable in the parameters."""
        weight_ih, weight_hh, bias_ih, bias_hh = self.gru.all_weights[0]
        bias = bias_ih + F.pad(bias_hh[: 2 * self.hidden], (0, self.hidden))
        return Gates(
            table=self._table_inputs() @ weight_ih.T + bias,
            reward_gates=weight_ih @ self.reward.weight[:, 0],
            bias_hn=bias_hh[2 * self.hidden :],
            weight_hh=weight_hh,
            head_weight=self.head.weight,
            head_bias=self.head.bias,
        )

    def identity_gates(self, identity: Tensor) -> Tensor | None:
        """What the co-player's identity [games, size] adds to the input gates, [games, 3 * hidden]; None without identities."""
        if self.identity is None:
            return None
        weight_ih = self.gru.all_weights[0][0]
        return self.identity(identity) @ weight_ih.T

    def _table_inputs(self) -> Tensor:
        """For every row of the table: the embedded observation and previous action plus the reward's bias, [K, E]."""
        none = self.action.weight.new_zeros(1, self.action.out_features)
        actions = torch.cat([self.action.weight.T, none]) + self.action.bias  # [A + 1, E]
        inputs = self.observation.weight.T[:, None] + actions  # [O, A + 1, E]
        return (inputs + self.observation.bias + self.reward.bias).flatten(0, 1)

    def unfold(self, d: Gates, d_extra: Tensor | None, identity: Tensor) -> list[Tensor]:
        """Gradients of `parameters`, in their order, from those of `gates` and of `identity_gates` of ``identity``.

        The same as autograd's, bit for bit, in a fraction of the time.
        """
        observations, weight = self.n_observations, self.gru.all_weights[0][0]
        d_inputs = (d.table @ weight).view(observations, -1, self.observation.out_features)  # [O, A + 1, E]
        d_actions = d_inputs.sum(0)
        d_bias_embedded, d_bias = d_inputs.sum((0, 1)), d.table.sum(0)
        d_weight = torch.outer(d.reward_gates, self.reward.weight[:, 0])
        d_identity = []
        if self.identity is not None and d_extra is not None:
            d_weight = d_extra.T @ self.identity(identity) + d_weight
            d_identity = [(d_extra @ weight).T @ identity]
        return [
            d_inputs.sum(1).T.contiguous(),
            d_bias_embedded,
            d_actions[:-1].T.contiguous(),
            d_actions.sum(0),
            (weight.T @ d.reward_gates)[:, None],
            d_bias_embedded,
            *d_identity,
            d_weight + d.table.T @ self._table_inputs(),
            d.weight_hh,
            d_bias,
            torch.cat([d_bias[: 2 * self.hidden], d.bias_hn]),
            d.head_weight,
            d.head_bias,
        ]

    def forward(self, episodes: Episodes) -> Tensor:
        """Head outputs for every round, float32 ``[games, rounds, outputs]``."""
        index, reward = self._inputs(episodes)
        kernel = native.kernel_for(reward.device, self.hidden)
        if kernel is not None:
            gates = Gates(*(tensor.contiguous() for tensor in self.gates()))
            return native.trunk(kernel, gates, self.identity_gates(episodes.identity), index.int(), reward)
        return self.head(F.silu(self.gru(self._embed(index, reward, episodes.identity))[0]))

    def recall(self, played: native.Recurrence, episodes: Episodes) -> Tensor:
        """`forward` of ``episodes``, read from ``played``, which computed it with these weights while they were played."""
        return native.recalled(played, self.gates(), self.identity_gates(episodes.identity))

    def _inputs(self, episodes: Episodes) -> tuple[Tensor, Tensor]:
        """Table index (long) and previous reward, both [games, rounds]."""
        before = F.pad(episodes.actions[:, :-1], (1, 0), value=self.n_actions)
        return self.index(episodes.observations[:, :-1], before), F.pad(episodes.rewards[:, :-1], (1, 0))

    def _embed(self, index: Tensor, reward: Tensor, identity: Tensor) -> Tensor:
        """Embedded inputs [games, rounds, embedding], computed without folding."""
        observation = F.one_hot(index // (self.n_actions + 1), self.n_observations).to(reward.dtype)
        action = F.one_hot(index % (self.n_actions + 1), self.n_actions + 1)[..., :-1].to(reward.dtype)
        embedded = self.observation(observation) + self.action(action) + self.reward(reward[..., None])
        return embedded if self.identity is None else embedded + self.identity(identity)[:, None]


def step(gates: Gates, hidden: Tensor, index: Tensor, reward: Tensor, extra: Tensor | None) -> Tensor:
    """Advance hidden states [rows, hidden] by one round read at table rows ``index`` with previous ``reward``."""
    inputs = torch.addcmul(gates.table[index], reward[:, None], gates.reward_gates)
    if extra is not None:
        inputs = inputs + extra
    in_rz, in_n = inputs.split([2 * hidden.shape[1], hidden.shape[1]], 1)
    hidden_rz, hidden_n = (hidden @ gates.weight_hh.T).split([2 * hidden.shape[1], hidden.shape[1]], 1)
    reset, keep = torch.sigmoid(in_rz + hidden_rz).chunk(2, 1)
    candidate = torch.tanh(in_n + reset * (hidden_n + gates.bias_hn))
    return torch.lerp(candidate, hidden, keep)


def on_one_vector(model: nn.Module) -> Tensor:
    """One vector of all parameters of ``model``, in their order. The parameters become parts of it: both change together."""
    vector = parameters_to_vector(model.parameters()).detach()
    vector_to_parameters(vector, model.parameters())
    return vector


class ActorCritic(Trunk):
    """The policy and the value of A2C on the same trunk (App. A.3.2).

    Of the A + 1 outputs the first A are the logits of pi(a_t | x_{<=t}), the last one is V(x_{<=t}), the return from round
    t on in the learner's rescaled and discounted units. With zero readouts the first policy is uniform.
    """

    @property
    def n_outputs(self) -> int:
        return self.n_actions + 1


AnyTrunk = TypeVar("AnyTrunk", bound=Trunk)


def sizes_of(config: Config, identity_size: int, hidden: int | None = None) -> tuple[int, int, int, int, int]:
    """The sizes of a model with these settings, in the order of its arguments; hidden: None for model.hidden."""
    game, width = config.game.matrix(), config.model.hidden if hidden is None else hidden
    return game.n_observations, game.n_actions, width, config.model.embedding, identity_size


def identity_size_of(weights: Mapping[str, Tensor]) -> int:
    """The length of the co-player's identity that a model with these weights is told; 0 for none."""
    return weights["identity.weight"].shape[1] if "identity.weight" in weights else 0


def rebuilt(
    kind: Callable[..., AnyTrunk], config: Config, weights: Mapping[str, Tensor], hidden: int | None = None
) -> AnyTrunk:
    """The model of class ``kind`` with the final ``weights`` of a run and its settings; hidden: None for model.hidden."""
    model = kind(*sizes_of(config, identity_size_of(weights), hidden), torch.Generator())  # every weight is replaced
    model.load_state_dict(weights)
    return model
