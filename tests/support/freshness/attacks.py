"""What an attack on the database is: its steps, and what must be seen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from .scene import Scene

Steps: TypeAlias = Callable[["Scene"], AsyncIterator[None]]
"""Yields once when honest stores have prepared the state, and once when the administrator has changed it. What follows then is what
the service writes afterwards, which must not hide the attack."""
Call: TypeAlias = Callable[["Scene"], Awaitable[object]]


@dataclass(frozen=True)
class Refused:
    """A call that raises an error after the attack, and succeeds before it.

    Attributes:
        call: The call.
        error: The error, or several that may be raised.
        writes: Whether the call writes. The control then calls it on a state of its own that nobody attacked.
    """

    call: Call
    error: type[Exception] | tuple[type[Exception], ...]
    writes: bool = False


@dataclass(frozen=True)
class Found:
    """A row that the next verification names.

    Attributes:
        table: The table that it names.
    """

    table: str


@dataclass(frozen=True)
class Attack:
    """An attack.

    Attributes:
        name: What the administrator does.
        kind: What is attacked, one of `KINDS`.
        verdicts: What must be seen.
        steps: The attack; None if other tests are the attack.
        tests: The other tests, each as path and name.
    """

    name: str
    kind: str
    verdicts: tuple[Refused | Found, ...] = ()
    steps: Steps | None = None
    tests: tuple[str, ...] = ()

    @property
    def refusals(self) -> list[Refused]:
        """The calls that are refused."""
        return [verdict for verdict in self.verdicts if isinstance(verdict, Refused)]

    @property
    def findings(self) -> list[Found]:
        """The rows that a verification names."""
        return [verdict for verdict in self.verdicts if isinstance(verdict, Found)]

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}"


class AttackList(list[Attack]):
    """A list of attacks of one kind."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def attack(self, name: str, *verdicts: Refused | Found) -> Callable[[Steps], Steps]:
        """Add the attack that the decorated generator makes."""

        def add(steps: Steps) -> Steps:
            self.append(Attack(name, self.kind, verdicts, steps))
            return steps

        return add

    def tested(self, name: str, *tests: str) -> None:
        """Add an attack that other tests make."""
        self.append(Attack(name, self.kind, tests=tests))

    def tested_in(self, path: str, tests: Mapping[str, str]) -> None:
        """Add attacks that the tests of a file make: the name of each attack, and of its test."""
        for name, test in tests.items():
            self.tested(name, f"{path}::{test}")
