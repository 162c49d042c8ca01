"""Keys that seal nothing have everything else of the real keys, so that a benchmark without sealing runs the same code."""

from __future__ import annotations

import inspect

import pytest

from benchmarks.persistence.pass_through import PassThroughKeys
from strongroom.kms import NamespaceKeys

REPLACED = {"seal", "seal_many", "seal_groups", "open", "open_many"}
PUBLIC = {name for name in dir(NamespaceKeys) if not name.startswith("_")}


class Real:
    """Stands for the real keys: it returns the name of each attribute that it is asked for."""

    def __getattr__(self, name):
        """Return the name."""
        return name


def test_what_is_not_replaced_is_delegated():
    """The audit key was missing once, and a benchmark ended after six minutes."""
    keys = PassThroughKeys(Real())
    assert {name for name in PUBLIC if getattr(keys, name) == name} == PUBLIC - REPLACED


@pytest.mark.parametrize("name", sorted(REPLACED))
def test_a_replaced_method_takes_the_arguments_of_the_real_one(name):
    """A new argument of the real method is a failure here, not in a benchmark."""
    real, replaced = (inspect.signature(getattr(each, name)) for each in (NamespaceKeys, PassThroughKeys))
    assert len(replaced.parameters) == len(real.parameters)
    assert [each.kind for each in replaced.parameters.values()] == [each.kind for each in real.parameters.values()]
