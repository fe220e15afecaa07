"""The presets, each a file data/NAME.toml, and overrides of their settings, ``section.key=value``."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from importlib import resources
from typing import Any

from coopctx.errors import UsageError, unknown
from coopctx.experiments.checks import described
from coopctx.experiments.configuration import from_dict, locate
from coopctx.experiments.pools import COALA_POOLS, Pool
from coopctx.experiments.settings import Config

PRESETS = resources.files("coopctx.experiments").joinpath("data")  # the folder of NAME.toml, one for each preset
OVERLAYS = "pools"  # the table of a preset with settings for single pools: [pools.tabular.a2c]
SEEN = "seen_seeds"  # the table of a preset with the seeds that its settings were chosen on: [seen_seeds.a2c]


def preset_names() -> tuple[str, ...]:
    """The presets that ship with the package, smallest first."""
    found = [entry.name.removesuffix(".toml") for entry in PRESETS.iterdir() if entry.name.endswith(".toml")]
    order = ("smoke", "cpu", "paper")
    return tuple(sorted(found, key=lambda name: (order.index(name) if name in order else len(order), name)))


def caveat(preset: str) -> str:
    """What a reader must know before looking at the numbers of a preset's runs; empty where that is nothing."""
    return "Preset smoke: runs of seconds, which show nothing about the paper's claims." if preset == "smoke" else ""


def check_preset(name: str) -> None:
    """UsageError unless there is a preset of this name."""
    if name not in preset_names():
        raise unknown("preset", name, preset_names())


def load_preset(name: str, overrides: Sequence[str] = (), pool: str | None = None) -> Config:
    """The configuration of a preset with ``overrides`` such as ``"ppi.rollouts=8"``; the last one for a key wins.

    pool: whose own settings of the preset (tables such as ``[pools.tabular.a2c]``) come before its general ones, and before
    both what sets this pool apart from another (`Pool.settings`).
    Raises UsageError naming the preset, key or value that is wrong and what is allowed.
    """
    check_preset(name)
    its = COALA_POOLS.get(pool or "", Pool(0, ()))
    settings = _preset(name, [each for each in (its.like, pool) if each])
    for override in (*its.settings, *overrides):
        key, equals, text = override.partition("=")
        if not equals:
            raise UsageError(f"--set {override!r} must have the form KEY=VALUE, such as ppi.rollouts=8")
        section, key_in_section = locate(key.strip())
        settings.setdefault(section, {})[key_in_section] = _parse(text.strip())
    return from_dict(settings)


def seen_seeds(preset: str, agent: str, run: str) -> frozenset[int]:
    """The seeds whose outcome was seen while the preset's settings were chosen. run: a folder's name without the agent.

    Raises UsageError where there is no such preset.
    """
    check_preset(preset)
    seen = _table(_read_preset(preset).get(SEEN, {}), f"preset {preset!r}: {SEEN}")
    return frozenset(_table(seen.get(agent, {}), f"preset {preset!r}: {SEEN}.{agent}").get(run, ()))


def _preset(name: str, pools: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The sections of a preset, the pools' own settings in their place; UsageError naming the preset where it has others."""
    settings = _read_preset(name)
    overlays = _table(settings.pop(OVERLAYS, {}), f"preset {name!r}: {OVERLAYS}")
    settings.pop(SEEN, None)
    for section, values in settings.items():
        _table(values, f"preset {name!r}: {section}")
    for pool in pools:
        own = _table(overlays.get(pool, {}), f"preset {name!r}: {OVERLAYS}.{pool}")
        for section, values in own.items():
            settings[section] = settings.get(section, {}) | _table(values, f"preset {name!r}: {OVERLAYS}.{pool}.{section}")
    return settings


def _read_preset(name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(PRESETS.joinpath(f"{name}.toml").read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"preset {name!r} is not a TOML file: {error}") from error


def _table(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{name} must be a section of settings, not {described(value)}")
    return value


def _parse(text: str) -> Any:
    """What is written after KEY=: a TOML value where it is one (also ``.5`` and ``5.``), otherwise the text itself."""
    try:
        parsed = tomllib.loads(f"value = {text}")
        if list(parsed) == ["value"]:  # a line break could smuggle in further keys
            return parsed["value"]
    except (ValueError, RecursionError):
        pass
    try:
        return float(text)
    except ValueError:
        return text
