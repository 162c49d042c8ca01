from __future__ import annotations

import gc
import weakref

import pytest

from strongroom.driver.serve.garbage import exempt_existing_objects


class Node:
    """An object that can refer to itself."""


def ring():
    """Return a weak reference to an object that only the collector can free."""
    node = Node()
    node.own = node
    return weakref.ref(node)


@pytest.fixture
def unfrozen():
    """Restore the collector afterwards."""
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("unfrozen")
def test_existing_objects_are_exempt_and_later_garbage_is_freed():
    """A worker's collections skip its modules. Garbage of the start is freed, and so are objects of later calls."""
    first = ring()
    exempt_existing_objects()
    assert first() is None
    assert gc.get_freeze_count() > 10_000
    later = ring()
    assert later() is not None
    gc.collect()
    assert later() is None
