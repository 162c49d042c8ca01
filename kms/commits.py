"""Calls that commit more than once: their errors have `may_have_been_committed` once the first commit has happened."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from .errors import StrongroomError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator
    from typing import Any

_Parameters = ParamSpec("_Parameters")
_Answer = TypeVar("_Answer")


@dataclass(slots=True)
class Commits:
    """The commits of a call.

    Attributes:
        happened: Whether there was one.
    """

    happened: bool = False


_CURRENT: ContextVar[Commits | None] = ContextVar("_CURRENT", default=None)


def current_commits() -> Commits | None:
    """Return the commits of the call that runs; None if it commits once. A database notes its commits there."""
    return _CURRENT.get()


@contextmanager
def counting_commits() -> Iterator[None]:
    """Set `may_have_been_committed` of an error that leaves the block after a commit. An outer block counts for an inner one too."""
    outer = _CURRENT.get()
    commits = Commits() if outer is None else outer
    token = _CURRENT.set(commits)
    try:
        yield
    except StrongroomError as error:
        if commits.happened:
            error.may_have_been_committed = True
        raise
    finally:
        _CURRENT.reset(token)


@contextmanager
def not_counted() -> Iterator[None]:
    """Don't count the commits of a block, because they are bookkeeping and no effect of the call."""
    token = _CURRENT.set(None)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def commits_several_times(
    call: Callable[_Parameters, Awaitable[_Answer]],
) -> Callable[_Parameters, Coroutine[Any, Any, _Answer]]:
    """Mark a public call with more than one transaction or store; see `counting_commits`. The call can be repeated safely."""

    @wraps(call)
    async def counted(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Answer:
        with counting_commits():
            return await call(*args, **kwargs)

    return counted
