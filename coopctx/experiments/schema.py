"""The meaning and the allowed values of each setting, from the dataclasses and the comments of their fields."""

from __future__ import annotations

import dataclasses
import inspect
import re
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from coopctx.experiments.agents import AGENTS
from coopctx.experiments.checks import LARGEST_INTEGER, NONZERO, Limit, shown
from coopctx.experiments.config_file import AGENT, BASE
from coopctx.experiments.configuration import flat, to_dict
from coopctx.experiments.pools import COALA_POOLS, CUSTOM, POOLS
from coopctx.experiments.presets import OVERLAYS, load_preset, preset_names
from coopctx.experiments.settings import MEMBER, SECTIONS, Member
from coopctx.game.matrix import NAMED_GAMES

_BOUNDS = {">=": "minimum", ">": "exclusiveMinimum", "<=": "maximum", "<": "exclusiveMaximum"}


class Setting(NamedTuple):
    """A setting: its name, its meaning, what it may be in the form of JSON Schema, and its default in words."""

    name: str
    meaning: str
    allowed: dict[str, Any]
    default: str


@cache
def all_settings() -> tuple[Setting, ...]:
    """Every setting, in the order of the sections."""
    found = []
    for section, kind in SECTIONS.items():
        meanings, hints = _meanings(kind), get_type_hints(kind, include_extras=True)
        for field in dataclasses.fields(kind):
            name = f"{section}.{field.name}"
            default = "none" if field.default is dataclasses.MISSING else _written(field.default)
            found.append(Setting(name, meanings[field.name], _allowed(name, hints[field.name]), default))
    return tuple(found)


def values_of(name: str, preset: str) -> dict[str, list[str]]:
    """The values of a setting in a preset, and the pools that have each; no pools for the value of all others."""
    pools = COALA_POOLS if name.startswith("coala.") else POOLS
    general, *values = (_written(_flat_preset(preset, pool)[name]) for pool in (None, *pools))
    found: dict[str, list[str]] = {general: []}
    for pool, value in zip(pools, values, strict=True):
        if value != general:
            found.setdefault(value, []).append(pool)
    return found


def json_schema() -> dict[str, Any]:
    """JSON Schema of a file for ``--config`` (`coopctx.experiments.config_file`)."""
    sections: dict[str, Any] = {}
    for section, kind in SECTIONS.items():
        own = {each.name.partition(".")[2]: each for each in all_settings() if each.name.startswith(f"{section}.")}
        properties = {key: {"description": each.meaning, **each.allowed} for key, each in own.items()}
        sections[section] = {"description": kind.__doc__, **_object(properties)}
    pools = list(dict.fromkeys((*POOLS, *COALA_POOLS, CUSTOM)))
    overlay = _object({section: {"$ref": f"#/properties/{section}"} for section in sections})
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A file for coopctx train --config",
        **_object(
            {
                BASE: {"description": "the preset that the file changes", "enum": list(preset_names()), "default": "cpu"},
                AGENT: {"description": "who learns", "enum": list(AGENTS)},
                **sections,
                OVERLAYS: {"description": "settings for single pools", **_object(dict.fromkeys(pools, overlay))},
            }
        ),
    }


def _meanings(kind: type) -> dict[str, str]:
    """The comment of each field: the lines above it and the comment on its own line."""
    found, above = {}, []
    for line in inspect.getsource(kind).splitlines():
        if comment := re.fullmatch(r"    # (.*)", line):
            above.append(comment[1])
            continue
        if field := re.match(r"    (\w+): [^#]*(?:  # (.*))?$", line):
            found[field[1]] = " ".join([*above, *([field[2]] if field[2] else [])])
        above = []
    return found


def _allowed(name: str, hint: Any) -> dict[str, Any]:
    limit: Limit | None = None
    if get_origin(hint) is Annotated:
        hint, limit = get_args(hint)
    bounds = {_BOUNDS[sign]: float(number) for sign, number in re.findall(r"([<>]=?) ([\d.]+)", limit.text)} if limit else {}
    allowed = {**_type(hint), **{key: int(value) if value.is_integer() else value for key, value in bounds.items()}}
    if name == "game.payoffs":
        return {"anyOf": [{"enum": list(NAMED_GAMES)}, {**_type(hint), "minItems": 2}]}
    if limit is NONZERO:
        allowed["items"] = {"type": "integer", "not": {"const": 0}}
    return allowed


def _type(hint: Any) -> dict[str, Any]:
    if hint is Member:
        properties = {key: _allowed(key, kind) for key, kind in MEMBER.items()}
        return {**_object(properties), "required": list(MEMBER), "description": inspect.getdoc(Member)}
    if get_origin(hint) is Literal:
        return {"enum": list(get_args(hint))}
    if get_origin(hint) is tuple:
        return {"type": "array", "items": _type(get_args(hint)[0])}
    if hint is int:
        return {"type": "integer", "maximum": LARGEST_INTEGER}
    return {"type": {float: "number", bool: "boolean", str: "string"}[hint]}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


@cache
def _flat_preset(preset: str, pool: str | None) -> dict[str, Any]:
    return flat(to_dict(load_preset(preset, (), pool)))


def _written(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_written, value))}]"
    return f"{value:g}" if isinstance(value, float) else shown(value).strip("'")
