"""A configuration as nested dictionaries of plain values: read, written, hashed, compared with another one.

An unknown or missing key is refused by name with a UsageError.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from coopctx.errors import UsageError, suggestion
from coopctx.experiments.checks import shown
from coopctx.experiments.settings import LEARNERS, SECTIONS, Config


def from_dict(settings: Mapping[str, Mapping[str, Any]]) -> Config:
    """The inverse of `to_dict`; UsageError names an unknown or missing key or a bad value."""
    for section, values in settings.items():
        if not isinstance(values, Mapping):
            raise UsageError(f"{section} must be a section of settings, not {shown(values)}")
        for key in values:
            locate(f"{section}.{key}")
    for section, kind in SECTIONS.items():
        required = [field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING]
        missing = [f"{section}.{key}" for key in required if key not in settings.get(section, {})]
        if missing:
            raise UsageError(f"no value for {', '.join(missing)}")
    sections: dict[str, Any] = {section: kind(**settings.get(section, {})) for section, kind in SECTIONS.items()}
    return Config(**sections)


def to_dict(config: Config) -> dict[str, dict[str, Any]]:
    """The configuration as nested dictionaries of plain JSON values (tuples become lists)."""
    return {
        section: {key: _plain(value) for key, value in values.items()} for section, values in dataclasses.asdict(config).items()
    }


def digest(settings: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that two dictionaries of JSON values share only when all their values are equal."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def with_defaults(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """``settings`` in the `to_dict` form, completed by the default of every key that they lack and that has one.

    A run from before a setting existed has that setting's default. Old spellings of values are replaced.
    """
    return {
        section: {
            **{f.name: _plain(f.default) for f in dataclasses.fields(kind) if f.default is not dataclasses.MISSING},
            **_renamed(section, settings.get(section, {})),
        }
        for section, kind in SECTIONS.items()
    } | {section: dict(values) for section, values in settings.items() if section not in SECTIONS}


def _renamed(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """A section of an old manifest with today's spellings of its values."""
    old = {key: str(value) for key, value in values.items() if f"{section}.{key}" in _OLD_VALUES}
    return {**values, **{key: _OLD_VALUES[f"{section}.{key}"].get(text, values[key]) for key, text in old.items()}}


def comparable(settings: Mapping[str, Mapping[str, Any]], agent: str) -> dict[str, dict[str, Any]]:
    """`with_defaults`, without the sections that only other kinds of agents read: their settings change nothing."""
    others = {learner for learner in LEARNERS if learner != agent}
    return {section: values for section, values in with_defaults(settings).items() if section not in others}


def flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dictionaries as one with dotted keys."""
    leaves: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            leaves.update({f"{key}.{inner}": leaf for inner, leaf in flat(value).items()})
        else:
            leaves[key] = value
    return leaves


def differing_keys(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """The settings in which two `to_dict` configurations differ, each as ``"ppi.rollouts: 8 there, 4 here"``."""
    ours, theirs = _numbered(flat(here)), _numbered(flat(there))
    return [
        f"{key}: {_told(theirs, key)} there, {_told(ours, key)} here"
        for key in theirs | ours
        if theirs.get(key, _ABSENT) != ours.get(key, _ABSENT)
    ]


_ABSENT = object()
_OLD_VALUES = {"a2c.normalise_advantages": {"True": "together", "False": "off"}}  # in the oldest manifests


def _numbered(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """`flat` leaves, with the tables of a list numbered from 1: ``pool.members[1].share``."""
    found: dict[str, Any] = {}
    for key, value in leaves.items():
        if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            found.update(flat({f"{key}[{number}]": item for number, item in enumerate(value, start=1)}))
        else:
            found[key] = value
    return found


def _told(settings: Mapping[str, Any], key: str) -> str:
    return shown(settings[key]) if key in settings else "absent"


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def locate(key: str) -> tuple[str, str]:
    """Section and key of ``"ppi.rollouts"``; UsageError where there is no such setting."""
    known = {section: [field.name for field in dataclasses.fields(kind)] for section, kind in SECTIONS.items()}
    section, _, name = key.partition(".")
    if name in known.get(section, ()):
        return section, name
    names = [f"{near}.{name}" for near in ([section] if section in known else known) for name in known[near]]
    raise UsageError(f"unknown setting {shown(key)}; {suggestion(key, names)}")
