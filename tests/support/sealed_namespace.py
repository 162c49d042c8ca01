"""A sealed namespace with the operations of the plaintext copy, on either search index."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace

from strongroom.driver.config import ElasticsearchConfig, load_config
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import KekRef
from strongroom.visibility import attribute_types
from tests.support.plaintext_copy import CUSTOM
from tests.support.plaintext_copy.records import record_of


class Sealed:
    """A sealed namespace that is asked like the plaintext copy.

    Attributes:
        strongroom: The cell.
        visibility: The searches that are asked; those of the cell unless a test sets others.
        namespace_id: The namespace.
        types: Its search attributes.
    """

    def __init__(self, strongroom, namespace):
        self.strongroom = strongroom
        self.visibility = strongroom.visibility
        self.namespace_id = namespace.namespace_id
        self.types = attribute_types(namespace)

    async def write(self, documents, *, version=1, settled=True):
        """Write documents as records. If `settled`, wait until the search index shows them."""
        records = [record_of(document) for document in documents]
        rows = [
            (await self.strongroom.shards.shard_of(self.namespace_id, record.workflow_id), version, record)
            for record in records
        ]
        await self.strongroom.visibility.record_workflow_executions(self.namespace_id, rows, self.types)
        if settled and self.strongroom.search_index is not None:
            await self.strongroom.indexer.drain()
            await self.strongroom.search_index.refresh()

    async def pages(self, text, size):
        """Return the run ids of each page of a list."""
        found, token = [], None
        while True:
            page = await self.visibility.list_workflow_executions(
                self.namespace_id, text, self.types, page_size=size, page_token=token
            )
            found.append([record.run_id for record in page.executions])
            token = page.next_page_token
            if token is None:
                return found

    async def count(self, text):
        """Return the count, and the groups."""
        found = await self.visibility.count_workflow_executions(self.namespace_id, text, self.types)
        return found.count, dict(found.groups)


@asynccontextmanager
async def sealed(config_path, elasticsearch, kind, *, index_layout=None, attributes=CUSTOM, **changes):
    """Open a cell with a search index of a kind, and an empty namespace. The default layout is that of new namespaces."""
    config = replace(load_config(config_path), **changes)
    if kind == "Elasticsearch":
        cluster = ElasticsearchConfig(elasticsearch.url, index=f"{elasticsearch.prefix}sealed", insecure=True)
        config = replace(config, elasticsearch=cluster)
    await Strongroom.init(config)
    async with Strongroom.open(config) as strongroom:
        if strongroom.search_index is not None:
            await strongroom.search_index.create()
        kek = KekRef.parse("local:sealed")
        await strongroom.create_kek(kek)
        namespace = await strongroom.namespaces.create(
            "sealed", kek=kek, search_attributes=attributes, index_layout=index_layout
        )
        yield Sealed(strongroom, namespace)
