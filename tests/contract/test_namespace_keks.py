"""The KEK of a namespace for which its creator names none, as a Temporal server does."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest

from strongroom.driver.config import NamespacesConfig
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import KekRef, KeyNotFound
from strongroom.storage import NamespaceAlreadyExists
from strongroom.storage.errors import KekNotConfigured
from tests.support.fixtures.contract import KEK
from tests.support.fixtures.metadata import BLOB
from tests.support.fixtures.raw_rows import execute

pytestmark = pytest.mark.integration


def with_rule(cell, kek):
    """Open the cell with a rule for the KEKs of namespaces."""
    return Strongroom.open(replace(cell.config, namespaces=NamespacesConfig(kek=kek)))


async def keks_of(cell, namespace_id):
    """Return the KEKs that wrap the keys of a namespace."""
    return {str(KekRef(key.provider, key.kek_id)) for key in await cell.keyring.store.list_data_keys(namespace_id)}


async def test_a_template_gives_each_namespace_a_kek_of_its_own(own_cell):
    """The KEK is created, by both stores. A KEK that the request names is used instead, and no other is created."""
    async with with_rule(own_cell, "local:ns-{id}") as cell:
        ids = [uuid4() for _ in range(3)]
        await cell.metadata.create_namespace(ids[0], "first", data=BLOB)
        await cell.metadata.create_namespace(ids[1], "second", data=BLOB)
        await cell.metadata.create_namespace(ids[2], "named", data=BLOB, kek=KEK)
        third = (await cell.namespaces.create("third")).namespace_id
        assert [await keks_of(cell, each) for each in (*ids, third)] == [
            {f"local:ns-{ids[0]}"},
            {f"local:ns-{ids[1]}"},
            {str(KEK)},
            {f"local:ns-{third}"},
        ]
        assert (await cell.metadata.get_namespace(namespace_id=ids[0])).data == BLOB
        with pytest.raises(KeyNotFound):
            await cell.keyring.provider_of(KEK).describe(KekRef("local", f"ns-{ids[2]}"))


async def test_an_interrupted_creation_continues_with_the_same_kek(own_cell):
    """A second creation of the id uses the KEK and keys that the first one left, and only one of them succeeds."""
    async with with_rule(own_cell, "local:ns-{id}") as cell:
        namespace_id = uuid4()
        await cell.metadata.create_namespace(namespace_id, "name", data=BLOB)
        await execute(cell, "DELETE FROM namespaces WHERE namespace_id = $1", namespace_id)
        await cell.metadata.create_namespace(namespace_id, "name", data=BLOB)
        with pytest.raises(NamespaceAlreadyExists):
            await cell.metadata.create_namespace(namespace_id, "name", data=BLOB)
        assert await keks_of(cell, namespace_id) == {f"local:ns-{namespace_id}"}


async def test_a_kek_without_a_template_is_shared_and_must_exist(own_cell):
    """A missing KEK is an error and leaves nothing. Afterwards all namespaces use it."""
    async with with_rule(own_cell, "local:shared") as cell:
        ids = [uuid4(), uuid4()]
        with pytest.raises(KeyNotFound, match="shared"):
            await cell.metadata.create_namespace(ids[0], "first", data=BLOB)
        assert (await cell.metadata.list_namespaces(page_size=10)).namespaces == ()
        await cell.create_kek(KekRef("local", "shared"))
        for namespace_id in ids:
            await cell.metadata.create_namespace(namespace_id, str(namespace_id), data=BLOB)
            assert await keks_of(cell, namespace_id) == {"local:shared"}


async def test_without_a_rule_the_error_says_what_to_configure(own_cell):
    """The message names the section, the setting and the key in the namespace's data. Nothing is created."""
    with pytest.raises(KekNotConfigured) as error:
        await own_cell.metadata.create_namespace(uuid4(), "name", data=BLOB)
    for part in ("[namespaces]", "kek = ", "strongroom.kek"):
        assert part in str(error.value)
    assert not error.value.may_have_been_committed
    with pytest.raises(KekNotConfigured):
        await own_cell.namespaces.create("name")
    assert (await own_cell.metadata.list_namespaces(page_size=10)).namespaces == ()
