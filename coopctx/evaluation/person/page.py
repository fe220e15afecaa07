"""A trained agent as one HTML page: its weights, the planner in plain JavaScript and the game. It needs no server.

The same agent gives the same page, byte for byte, on every machine: the page has the weights of ``weights.safetensors`` and
folds them itself.
"""

from __future__ import annotations

import base64
import html
import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

from coopctx.agents.trained import TrainedAgent
from coopctx.errors import RunError, UsageError
from coopctx.evaluation.person.game import USUAL_ROUNDS, check_for_person, check_rounds
from coopctx.runs.files import check_ordinary, check_writable, write_atomically

PARTS = resources.files("coopctx.evaluation.person")
MARK = "coopctx play"  # marks a page that may be replaced
_GLOSSARY = {
    "ppi": {
        "Q(C), Q(D)": "what the agent expects to earn over the next {horizon} rounds if it cooperates or defects now: the mean "
        "of {rollouts} continuations of each, played inside its model.",
        "Prior": "what its model predicts that it will do itself, from its own past games.",
        "Policy": "what it does: the prior, weighted by exp({beta:g} Q).",
    },
    "a2c": {
        "Policy": "how probably it cooperates; it has learned this directly.",
        "Value": "what it expects to earn from here on, in the rescaled and discounted units that it was trained in.",
    },
}
_BAYES = (
    "the best possible prediction of a player whose probabilities of cooperating depend on the last round alone and were drawn "
    "at random: (times you cooperated + 1) / (times + 2) in each situation."
)


def write_page(agent: TrainedAgent, path: Path, learner: int = 1, rounds: int = USUAL_ROUNDS) -> None:
    """Write `page` to ``path``, which may only replace another such page.

    Raises the errors of `page`; UsageError for a name that does not end in .html; RunError if ``path`` cannot be written or
    is another file.
    """
    if path.suffix not in (".html", ".htm"):
        raise UsageError(f"--html must name a file that ends in .html, not {str(path)!r}")
    text = page(agent, learner, rounds)
    check_ordinary(path)
    check_writable(path.parent)
    if path.exists() and MARK.encode() not in path.read_bytes()[:2000]:
        raise RunError(f"{path} is not a page that coopctx play wrote: it is left alone; choose another name")
    write_atomically(path, lambda file: file.write(text.encode()))


def page(agent: TrainedAgent, learner: int = 1, rounds: int = USUAL_ROUNDS) -> str:
    """The page of a game against learner ``learner`` (from 1) of ``agent``; the user can change the number of ``rounds`` there.

    Raises UsageError for an agent that is neither PPI nor A2C, or whose game a person cannot play.
    """
    check_rounds(rounds)
    spec = specification(agent, learner) | {"rounds": rounds}
    ppi = agent.config.ppi
    words = {
        term: text.format(horizon=ppi.horizon, rollouts=ppi.rollouts, beta=ppi.inverse_temperature)
        for term, text in _GLOSSARY[agent.kind].items()
    } | {"Exact Bayes": _BAYES}
    parts = {
        "title": html.escape(agent.name),
        "mark": MARK,
        "style": _part("page.css"),
        "glossary": "".join(f"<dt>{html.escape(term)}</dt><dd>{html.escape(text)}</dd>" for term, text in words.items()),
        "agent": json.dumps(spec).replace("<", "\\u003c"),
        "engine": _part("engine.js"),
        "script": _part("page.js"),
    }
    return re.sub(r"\{\{ (\w+) \}\}", lambda place: parts[place[1]], _part("page.html"))


def specification(agent: TrainedAgent, learner: int = 1) -> dict[str, Any]:
    """The data of an agent for `engine.js`: kind, label, payoffs, planner and weights (base64 of little-endian float32)."""
    check_for_person(agent)
    if agent.kind not in _GLOSSARY:
        raise UsageError(f"the page plays agents of the kinds {' and '.join(_GLOSSARY)}, not {agent.kind}")
    ppi = agent.config.ppi
    planner = {
        "rollouts": ppi.rollouts,
        "horizon": ppi.horizon,
        "inverseTemperature": ppi.inverse_temperature,
        "discount": ppi.discount,
        "estimator": ppi.estimator,
    }
    weights = {
        name: base64.b64encode(tensor.numpy().astype("<f4").tobytes()).decode("ascii")
        for name, tensor in sorted(agent.learner_weights(learner).items())
        if name != "identity.weight"  # an agent with opponent ID takes a person for a learner (z = 0)
    }
    return {
        "kind": agent.kind,
        "label": f"{agent.name}, learner {learner}",
        "payoffs": agent.config.game.payoffs,
        **({"planner": planner} if agent.kind == "ppi" else {}),
        "weights": weights,
    }


def _part(name: str) -> str:
    return PARTS.joinpath(name).read_text("utf-8")
