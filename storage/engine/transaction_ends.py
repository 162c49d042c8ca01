"""Call functions at the end of the current transaction, which alone knows whether its statements were committed."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

End: TypeAlias = "Callable[[BaseException | None], None]"
"""Called with the error of a transaction, or with None after its commit."""

_current: ContextVar[list[End] | None] = ContextVar("_current", default=None)


def at_end(call: End) -> bool:
    """Call a function at the end of the transaction that this task is in. Return whether it is in one."""
    ends = _current.get()
    if ends is None:
        return False
    ends.append(call)
    return True


@contextmanager
def with_ends() -> Iterator[None]:
    """Call the functions of `at_end` when the block has ended. The block has the whole transaction, with its commit."""
    outer = _current.get()
    ends: list[End] = []
    _current.set(ends)
    try:
        yield
    except BaseException as error:
        for call in ends:
            call(error)
        raise
    else:
        for call in ends:
            call(None)
    finally:
        _current.set(outer)
