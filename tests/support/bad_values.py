"""Valid arguments of a store's operation by its type hints, and the same arguments with one part replaced by a bad value."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import importlib
import inspect
import pkgutil
import types
import typing
from datetime import UTC, datetime, timedelta
from uuid import UUID

import strongroom.driver
import strongroom.kms
import strongroom.storage
import strongroom.visibility

MARK = "top secret"
TEXTS = (f"{MARK}\ud800", f"\udfff{MARK}", f"{MARK}\x00", MARK.encode(), None, 7)
NUMBERS = (
    2**64,
    -(2**64),
    2**63,
    2**63 - 1,
    -(2**63) - 1,
    -(2**63),
    10**400,
    True,
    float("nan"),
    float("inf"),
    MARK,
    None,
)
OTHERS = (f"{MARK}\ud800", 2**64, MARK.encode(), None, [MARK], {MARK: MARK})
LAST, FIRST = datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)
TIMES = (FIRST, LAST, FIRST.replace(tzinfo=None), LAST.replace(tzinfo=None), MARK, None, 7)
SPANS = (timedelta.max, timedelta.min, MARK, None, 7)
PLAIN = {
    str: "a",
    int: 1,
    bool: True,
    bytes: b"x",
    float: 1.0,
    UUID: UUID(int=7),
    timedelta: timedelta(minutes=1),
    datetime: datetime(2026, 1, 1, tzinfo=UTC),
    type(None): None,
}


def names():
    """Return every public name of the packages, because hints name types that their modules import for type checkers only."""
    found = {}
    for package in (strongroom.kms, strongroom.storage, strongroom.visibility, strongroom.driver):
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if "__main__" not in info.name:
                module = importlib.import_module(info.name)
                found |= {k: v for k, v in vars(module).items() if not k.startswith("_")}
    found |= {name: getattr(collections.abc, name) for name in collections.abc.__all__}
    storage = strongroom.storage
    tasks = collections.abc.Mapping[storage.TaskCategory, collections.abc.Sequence[storage.HistoryTask]]
    return found | {"Tasks": tasks, "UUID": UUID, "datetime": datetime, "timedelta": timedelta, "Any": typing.Any}


class Samples:
    """Builds valid values by type.

    Args:
        known: Values of fields and arguments by name, and of types by type. They take precedence.
    """

    def __init__(self, known):
        self.known = PLAIN | known
        self.names = names()

    def arguments(self, call):
        """Return a valid value of each argument of a call."""
        hints = typing.get_type_hints(call, localns=self.names)
        return {name: self.make(hints[name], name) for name in inspect.signature(call).parameters}

    def make(self, kind, name=""):  # noqa: C901 - one branch for each form of a type
        """Return a valid value of a type. Each collection has an element, and each optional field a value."""
        for key in (name, kind if isinstance(kind, collections.abc.Hashable) else None):
            if key in self.known:
                return self.known[key]
        origin, inner = typing.get_origin(kind), typing.get_args(kind)
        if origin in (typing.Union, types.UnionType):
            return self.make(next(one for one in inner if one is not type(None)), name)
        if origin is typing.Literal:
            return inner[0]
        if origin is collections.abc.Mapping or origin is dict:
            return {self.make(inner[0]): self.make(inner[1])}
        if origin is tuple:
            return tuple(self.make(one) for one in inner if one is not Ellipsis)
        if origin in (list, collections.abc.Sequence, collections.abc.Collection, collections.abc.Iterable):
            return [self.make(inner[0])]
        if origin in (set, frozenset, collections.abc.Set):
            return frozenset({self.make(inner[0])})
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            return next(member for member in kind if member.name != "UNSPECIFIED")  # a write needs a state
        if dataclasses.is_dataclass(kind) or hasattr(kind, "_fields"):
            fields = (
                kind._fields if hasattr(kind, "_fields") else [one.name for one in dataclasses.fields(kind) if one.init]
            )
            hints = typing.get_type_hints(kind, localns=self.names)
            return kind(**{field: self.make(hints[field], field) for field in fields})
        return None


def bad(value):
    """Return bad values in place of a valid one."""
    for kind, values in (
        (bool, OTHERS),
        (enum.Enum, OTHERS),
        (str, TEXTS),
        (int, NUMBERS),
        (datetime, TIMES),
        (timedelta, SPANS),
    ):
        if isinstance(value, kind):
            return values
    return OTHERS


def changes(value, path=""):
    """Yield (path, make) for each part of a value; `make` returns the value with a bad part, or raises its type's own error."""
    for one in bad(value):
        yield f"{path} = {one!a}"[:300], lambda one=one: one
    for place, held, replaced in parts(value):
        for inner, make in changes(held, path + place):
            yield inner, lambda make=make, replaced=replaced: replaced(make())


def parts(value):
    """Yield the place of each part of a value, the part, and a function that returns the value with another part there."""
    if dataclasses.is_dataclass(value):
        for name in [field.name for field in dataclasses.fields(value) if field.init]:
            yield f".{name}", getattr(value, name), lambda one, name=name: dataclasses.replace(value, **{name: one})
    elif hasattr(value, "_fields"):
        for name in value._fields:
            yield f".{name}", getattr(value, name), lambda one, name=name: value._replace(**{name: one})
    elif isinstance(value, dict):
        for key, held in value.items():
            yield "(key)", key, lambda one, held=held: _keyed(one, held)
            yield "[]", held, lambda one, key=key: {key: one}
    elif isinstance(value, list | tuple | frozenset):
        for index, held in enumerate(value):
            yield f"[{index}]", held, lambda one, index=index: _placed(value, index, one)


class NotPossible(Exception):  # noqa: N818 - no error
    """Python itself has no such value: an unhashable key."""


def _keyed(key, value):
    try:
        return {key: value}
    except TypeError:
        raise NotPossible from None


def _placed(values, index, one):
    changed = list(values)
    changed[index] = one
    try:
        return type(values)(changed)
    except TypeError:
        raise NotPossible from None
