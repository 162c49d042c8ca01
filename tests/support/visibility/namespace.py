"""A namespace whose records the test also has in plaintext."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.driver.importing.importer import import_executions
from strongroom.kms import KekRef, KeyClass
from strongroom.storage import EVERY_NAMESPACE
from strongroom.visibility import (
    AttributeType,
    VisibilityRecord,
    attribute_types,
    matches,
    parse_filter,
)
from strongroom.visibility.backends.postgres import PostgresIndex
from strongroom.visibility.backends.token_query import all_of, any_of, none_of
from strongroom.visibility.filter.tree import And, Not, Or
from strongroom.visibility.index.document import document_id
from strongroom.visibility.index.tokens import Tokenizer
from strongroom.visibility.search.approximation import Approximation
from strongroom.visibility.search.compiler import compile_filter
from tests.support.visibility.records import CUSTOM

if TYPE_CHECKING:
    from uuid import UUID

    from strongroom.driver.strongroom import Strongroom


@dataclass(frozen=True)
class Searched:
    """A namespace, with its records in plaintext."""

    strongroom: Strongroom
    namespace_id: UUID
    types: dict[str, AttributeType]
    records: dict[str, VisibilityRecord]

    def expected(self, query):
        """Return the records that a list must return, in order: open runs first, then by close time, start time and run id."""
        where = parse_filter(query, self.types).where
        found = [record for record in self.records.values() if matches(where, record.attributes())]
        return sorted(
            found,
            key=lambda record: (
                record.close_time is None,
                record.close_time if record.close_time is not None else 0,
                record.start_time,
                record.run_id,
            ),
            reverse=True,
        )

    async def listed(self, query, rng=None, *, page_size=None):
        """Return all runs of a list, page by page."""
        found, token = [], None
        while True:
            size = page_size or rng.choice((rng.randint(20, 90), 200, 1000, 1000))
            page = await self.strongroom.visibility.list_workflow_executions(
                self.namespace_id, query, self.types, page_size=size, page_token=token
            )
            found += page.executions
            token = page.next_page_token
            if token is None:
                return found
            # A page of a list whose runs are opened to sort them has no more runs than a token carries.
            assert len(page.executions) == size or "ORDER BY" in query

    async def count(self, query):
        """Return the result of a count."""
        return await self.strongroom.visibility.count_workflow_executions(self.namespace_id, query, self.types)


async def record_all(strongroom, namespace_id, records, types, *, version=1):
    """Write records to their shards; return how many were written."""
    rows = [(await strongroom.shards.shard_of(namespace_id, record.workflow_id), version, record) for record in records]
    return await strongroom.visibility.record_workflow_executions(namespace_id, rows, types)


async def populated(strongroom, name, executions, records, *, custom=CUSTOM):
    """Create a namespace, import executions and write records."""
    kek = KekRef.parse(f"local:{name}")
    await strongroom.create_kek(kek)
    registered = {attribute: kind.value for attribute, kind in custom.items()}
    namespace = await strongroom.namespaces.create(name, kek=kek, search_attributes=registered)
    if executions:
        await import_executions(strongroom, namespace, executions)
    namespace = await strongroom.namespaces.get(name)
    types = attribute_types(namespace)
    assert await record_all(strongroom, namespace.namespace_id, records, types) == len(records)
    everything = {record.run_id: record for record in (*(each.record for each in executions), *records)}
    return Searched(strongroom, namespace.namespace_id, types, everything)


async def run(strongroom, statement, *arguments):
    """Run a statement like a person with the database and without keys; return its command tag."""
    async with strongroom.database.connection(EVERY_NAMESPACE) as connection:
        return await connection.execute(statement, *arguments)


async def stored(searched, record):
    """Return the stored record of a run."""
    return await searched.strongroom.visibility.get_workflow_execution(
        searched.namespace_id,
        shard_id=await searched.strongroom.shards.shard_of(searched.namespace_id, record.workflow_id),
        workflow_id=record.workflow_id,
        run_id=record.run_id,
    )


async def wrong_sides(searched, query, compiler, *, edited=False):
    """Ask for both sides of a compiled filter; return the ids for which one of them breaks its promise.

    If tokens were edited, a count may differ from a list: it leaves out the bucket ranges that genuine tokens imply.
    """
    keys = await searched.strongroom.keyring.open(searched.namespace_id)
    tokenizer = Tokenizer(keys, epoch=keys.active_version(KeyClass.INDEX))
    compiled = compiler(parse_filter(query, searched.types).where, tokenizer)
    matching = {document_id(keys, record.workflow_id, record.run_id) for record in searched.expected(query)}
    sides = []
    index = searched.strongroom.search_index or PostgresIndex(searched.strongroom.database)
    async with index.reading(searched.namespace_id, snapshot=True) as reader:
        for side in (compiled.sure, compiled.possible):
            sides.append({row["id"] async for rows in reader.pages(side) for row in rows})
            assert edited or await reader.count(side) == len(sides[-1])
    sure, possible = sides
    return (sure - matching) | (matching - possible)


def one_sided(node, tokenizer):
    """Compile a filter, but negate each side by itself. This is the mistake that loses rows silently."""
    match node:
        case Not(item):
            inner = one_sided(item, tokenizer)
            return Approximation(none_of(inner.sure), none_of(inner.possible))
        case And(items) | Or(items):
            parts = [one_sided(item, tokenizer) for item in items]
            join = all_of if isinstance(node, And) else any_of
            return Approximation(join(*(part.sure for part in parts)), join(*(part.possible for part in parts)))
    return compile_filter(node, tokenizer)
