"""The presets (data/NAME.toml), a user's files in their place, and overrides ``section.key=value``."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import resources
from typing import Any

from coopctx.errors import UsageError, check_known, unknown
from coopctx.experiments.agents import AGENTS
from coopctx.experiments.checks import shown
from coopctx.experiments.config_file import AGENT, BASE, ENDING, ConfigFile
from coopctx.experiments.configuration import from_dict, locate
from coopctx.experiments.pools import COALA_POOLS, CUSTOM, POOLS, Pool
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
    """A warning about the numbers of a preset's runs; empty if there is none."""
    base = _base(preset) if isinstance(preset, ConfigFile) else preset
    return "Preset smoke: runs of seconds, which show nothing about the paper's claims." if base == "smoke" else ""


def preset_called(name: str) -> str:
    """The preset of this name, or the `ConfigFile` if it ends in .toml; UsageError or RunError if it cannot be used."""
    preset = ConfigFile(name) if name.endswith(ENDING) else name
    check_preset(preset)
    return preset


def check_preset(name: str) -> None:
    """UsageError unless there is a preset of this name, or it is a file whose stem is not a preset's name."""
    if isinstance(name, ConfigFile):
        if name in preset_names():
            raise UsageError(f"--config {str(name.path)!r}: {name} is a preset's name and its folder; rename the file")
        _base(name)
    else:
        check_known("preset", name, preset_names())


def experiment_in(file: ConfigFile) -> tuple[str | None, str | None]:
    """The kind of agent that a file names, and `CUSTOM` if it lists members of a pool; None where it leaves that open.

    UsageError for an unknown agent.
    """
    contents = file.read()
    agent = _one_of(AGENTS, contents[AGENT], AGENT, file) if AGENT in contents else None
    listed = _table(contents.get("pool", {}), f"{file.path}: pool").get("members")
    return agent, CUSTOM if listed else None


def load_preset(name: str, overrides: Sequence[str] = (), pool: str | None = None) -> Config:
    """The configuration of a preset with ``overrides`` such as ``"ppi.rollouts=8"``; the last one for a key wins.

    pool: its own settings in the preset (tables such as ``[pools.tabular.a2c]``) replace the general ones, and `Pool.settings`
    replace both.
    Raises UsageError naming the preset, key or value that is wrong and what is allowed.
    """
    check_preset(name)
    its = COALA_POOLS.get(pool or "", Pool(0, ()))
    settings = _settings(name, [each for each in (its.like, pool) if each])
    for override in (*its.settings, *overrides):
        key, equals, text = override.partition("=")
        if not equals:
            raise UsageError(f"--set {override!r} must have the form KEY=VALUE, such as ppi.rollouts=8")
        section, key_in_section = locate(key.strip())
        settings.setdefault(section, {})[key_in_section] = _parse(text.strip())
    return from_dict(settings)


def seen_seeds(preset: str, agent: str, run: str) -> frozenset[int]:
    """The seeds whose outcome was seen while the preset's settings were chosen. run: a folder's name without the agent.

    Raises UsageError if there is no such preset.
    """
    check_preset(preset)
    where = _name(preset)
    seen = _table(_read(preset).get(SEEN, {}), f"{where}: {SEEN}")
    return frozenset(_table(seen.get(agent, {}), f"{where}: {SEEN}.{agent}").get(run, ()))


def _settings(name: str, pools: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The sections of a preset after the pools' own settings; a file's replace those of the preset that it names."""
    if not isinstance(name, ConfigFile):
        return _sections(name, pools)
    settings = _sections(_base(name), pools)
    for section, values in _sections(name, pools).items():
        settings[section] = settings.get(section, {}) | values
    try:
        from_dict(settings)
    except UsageError as error:
        raise UsageError(f"{name.path}: {error}") from error
    return settings


def _sections(name: str, pools: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The sections of one preset or file; UsageError naming it if it contains anything else."""
    settings, where = _read(name), _name(name)
    overlays = _table(settings.pop(OVERLAYS, {}), f"{where}: {OVERLAYS}")
    for pool in overlays if isinstance(name, ConfigFile) else ():
        if pool not in (known := [*dict.fromkeys((*POOLS, *COALA_POOLS, CUSTOM))]):
            raise UsageError(f"{where}: {OVERLAYS}.{pool}: {unknown('pool', pool, known)}")
    for other in (SEEN, *((BASE, AGENT) if isinstance(name, ConfigFile) else ())):
        settings.pop(other, None)
    for section, values in settings.items():
        _table(values, f"{where}: {section}")
    for pool in pools:
        own = _table(overlays.get(pool, {}), f"{where}: {OVERLAYS}.{pool}")
        for section, values in own.items():
            settings[section] = settings.get(section, {}) | _table(values, f"{where}: {OVERLAYS}.{pool}.{section}")
    return settings


def _base(file: ConfigFile) -> str:
    """The preset whose settings a file changes."""
    return _one_of(preset_names(), file.read().get(BASE, "cpu"), BASE, file)


def _one_of(allowed: Iterable[str], value: Any, key: str, file: ConfigFile) -> str:
    """The value of a top-level key of a file; UsageError unless it is one of the allowed texts."""
    if isinstance(value, str) and value in allowed:
        return value
    raise UsageError(f"{file.path}: {unknown(key, value, allowed)}")


def _name(preset: str) -> str:
    return str(preset.path) if isinstance(preset, ConfigFile) else f"preset {preset!r}"


def _read(name: str) -> dict[str, Any]:
    if isinstance(name, ConfigFile):
        return name.read()
    try:
        return copy.deepcopy(_parsed(PRESETS.joinpath(f"{name}.toml").read_text("utf-8")))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"preset {name!r} is not a TOML file: {error}") from error


_parsed = cache(tomllib.loads)


def _table(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{name} must be a section of settings, not {shown(value)}")
    return value


def _parse(text: str) -> Any:
    """The value of the text after KEY=: TOML if it is TOML (also ``.5`` and ``5.``), otherwise the text itself."""
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
