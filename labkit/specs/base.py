"""What all specs share: frozen dataclasses whose fields are checked when they are made, with a stable hash.

A field at its default does not count in the hash, so a field added later leaves old hashes as they are.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import Field, field, fields, is_dataclass
from functools import partial
from typing import Any, Self, TypeVar

import yaml

from labkit.ground.lists import optional
from labkit.ground.names import Check, choose, nearest, shown

S = TypeVar("S")


def to_dict(spec: Any) -> dict[str, Any]:
    """The fields of a spec that differ from their default, nested, as plain values."""
    values: dict[str, Any] = {}
    for entry in fields(spec):
        value = getattr(spec, entry.name)
        if value == entry.default:
            continue
        if is_dataclass(value):
            if nested := to_dict(value):
                values[entry.name] = nested
        elif value not in ((), {}):
            values[entry.name] = list(value) if isinstance(value, tuple) else value
    return values


def from_dict(kind: type[S], values: Mapping[str, Any], path: str = "") -> S:
    """Build a spec from plain values.

    Args:
        kind: of spec.
        values: field -> value.
        path: where in another spec it stands, for messages: "train".

    Raises:
        ValueError: for an unknown field (with the nearest right one) or a value out of range.
    """
    if not isinstance(values, Mapping):
        raise ValueError(
            f"{path or kind.__name__} is {shown(values)}: write a mapping of the fields of {kind.__name__}"
        )
    at = f"{path}." if path else ""
    found = {name: (_field(kind, name, value, path), value) for name, value in values.items()}
    return kind(**{name: entry.metadata["check"](f"{at}{name}", value) for name, (entry, value) in found.items()})


def digest(values: Any) -> str:
    """Sixteen hexadecimal digits that name plain values: SHA-256 of their canonical JSON."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def to_yaml(spec: Any) -> str:
    """The spec's non-default fields as YAML."""
    return yaml.safe_dump(to_dict(spec), sort_keys=False)


def checked(default: Any, check: Check, **bounds: Any) -> Any:
    """A field of a spec, with its check: `lr: float = checked(0.1, number, most=1000)`.

    Args:
        default: of the field; None is right where it is the default.
        check: of a value, as `labkit.ground.names` has them.
        bounds: keyword arguments of the check.
    """
    test = partial(check, **bounds)
    metadata = {"check": partial(optional, of=test) if default is None else test}
    return (
        field(default_factory=dict, metadata=metadata) if default == {} else field(default=default, metadata=metadata)
    )


def nested(what: str, value: object, *, kind: type[S], shorthand: str = "") -> S:
    """Return a spec that stands in another one, given as such, as a mapping, or as its field `shorthand`.

    Raises:
        ValueError: for anything else, or a wrong field.
    """
    if isinstance(value, kind):
        return value
    if shorthand and isinstance(value, str):
        value = {shorthand: value}
    if isinstance(value, Mapping):
        return from_dict(kind, value, what)
    ways = [f"a {kind.__name__}", "a mapping of its fields", *([f"just its {shorthand}"] if shorthand else [])]
    raise ValueError(f"{what} is {shown(value)}: it must be {' or '.join(ways)}")


def by_key(spec: Any, kind: type) -> tuple[bool, Mapping[Any, Any]]:
    """Whether several specs were given, and a mapping of them; one spec, or its fields, has the key None.

    Raises:
        ValueError: for an empty mapping.
    """
    if isinstance(spec, Mapping) and not spec:
        raise ValueError(f"spec is empty: it must be a {kind.__name__}, a mapping of its fields, or one of several")
    several = isinstance(spec, Mapping) and all(isinstance(one, kind) for one in spec.values())
    return several, spec if several else {None: spec}


def _field(kind: type, name: object, value: object, path: str = "") -> Field[Any]:
    """A field of a spec by name; for an unknown one a ValueError with the nearest, which says where that belongs."""
    own = {entry.name: entry for entry in fields(kind)}
    if isinstance(name, str) and name in own:
        return own[name]
    inner = [entry for entry in own.values() if isinstance(entry.default, Spec)]
    homes = {deeper.name: entry for entry in reversed(inner) for deeper in fields(entry.default)}
    place = f"field of {path} ({kind.__name__})" if path else f"field of {kind.__name__}"
    near = nearest(str(name), [*own, *homes], alike=0.6)[:1]
    if near and near[0] not in own:
        entry, home = homes[near[0]], type(homes[near[0]].default).__name__
        write = f"{entry.name}={home}({near[0]}={shown(value)})"
        raise ValueError(f"unknown {place} {name!r}: {near[0]!r} is a field of {home}, write {write}")
    choose(place, name, own)
    raise AssertionError("choose refuses what is unknown")


class Spec:
    """What all specs share: fields that are checked when a spec is made, a hash of them, and how they are shown.

    Each field has its check (see `checked`); what fields must be together, a spec says in its `__post_init__`, after
    `super().__post_init__()`.
    """

    def __new__(cls, *values: object, **named: object) -> Self:
        """Refuse a name that is no field, and say which is meant."""
        for name, value in named.items():
            _field(cls, name, value)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for entry in fields(self):  # type: ignore[arg-type]  # specs are dataclasses
            object.__setattr__(self, entry.name, entry.metadata["check"](entry.name, getattr(self, entry.name)))

    def __hash__(self) -> int:  # for those whose fields hold dicts
        return hash(digest(to_dict(self)))

    def _repr_html_(self) -> str:
        return f"<b>{type(self).__name__}</b><pre style='margin:0'>{to_yaml(self)}</pre>"
