"""An index of plaintext documents on a real node, with Temporal's mapping and queries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.elasticsearch_node import ElasticsearchAnswer

from .elastic import temporal_query
from .generate import NAMESPACE
from .mapping import document_id, index_body, source_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tests.support.elasticsearch_node import Client

    from .attributes import Attributes

_PAGE = 1000


class PlaintextCopy:
    """One index, for one namespace unless a call names another.

    Attributes:
        scaled_float: Whether the node has the type that Temporal maps Doubles to.
    """

    def __init__(self, client: Client, index: str, attributes: Attributes, *, scaled_float: bool):
        self.client = client
        self.index = index
        self.attributes = attributes
        self.scaled_float = scaled_float

    @classmethod
    def create(cls, client: Client, index: str, attributes: Attributes) -> PlaintextCopy:
        """Create the index."""
        try:
            client.request("PUT", f"/{index}", index_body(attributes, scaled_float=True))
        except ElasticsearchAnswer as refused:
            if "scaled_float" not in str(refused):
                raise
            client.request("PUT", f"/{index}", index_body(attributes, scaled_float=False))
            return cls(client, index, attributes, scaled_float=False)
        return cls(client, index, attributes, scaled_float=True)

    def source(self, document: Mapping[str, Any], *, namespace_id: str = NAMESPACE) -> dict[str, Any]:
        """Return the source of a document in the index."""
        return source_of(document, self.attributes, namespace_id=namespace_id, scaled_float=self.scaled_float)

    def write(self, documents: Iterable[Mapping[str, Any]], *, namespace_id: str = NAMESPACE) -> None:
        """Index documents, which replace older documents of the same runs, and refresh."""
        rows = ((document_id(each), self.source(each, namespace_id=namespace_id)) for each in documents)
        self.client.bulk(self.index, rows)

    def query(self, text: str, *, namespace_id: str = NAMESPACE, faithful: bool = False) -> dict[str, Any]:
        """Return the body of a search for a filter.

        Raises:
            InvalidFilter: Temporal refuses the filter.
        """
        return temporal_query(
            text, self.attributes, namespace_id=namespace_id, scaled_float=self.scaled_float, faithful=faithful
        )

    def pages(
        self, text: str, *, size: int = _PAGE, namespace_id: str = NAMESPACE, faithful: bool = False
    ) -> Iterator[list[str]]:
        """Yield the run ids of each page of a list."""
        body = self.query(text, namespace_id=namespace_id, faithful=faithful) | {
            "size": size,
            "_source": ["RunId"],
            "track_total_hits": False,
        }
        while hits := self.client.request("POST", f"/{self.index}/_search", body)["hits"]["hits"]:
            yield [hit["_source"]["RunId"] for hit in hits]
            if len(hits) < size:
                return
            body["search_after"] = hits[-1]["sort"]

    def run_ids(self, text: str, *, namespace_id: str = NAMESPACE, faithful: bool = False) -> list[str]:
        """Return the run ids of a list, in order."""
        pages = self.pages(text, namespace_id=namespace_id, faithful=faithful)
        return [run_id for page in pages for run_id in page]

    def count(self, text: str, *, namespace_id: str = NAMESPACE, faithful: bool = False) -> int:
        """Return the number of runs that match."""
        query = self.query(text, namespace_id=namespace_id, faithful=faithful)["query"]
        count: int = self.client.request("POST", f"/{self.index}/_count", {"query": query})["count"]
        return count

    def groups(self, text: str, *, namespace_id: str = NAMESPACE, faithful: bool = False) -> dict[str, int]:
        """Return the number of runs by value, for a filter with GROUP BY. "" is for runs without a value."""
        body = self.query(text, namespace_id=namespace_id, faithful=faithful)
        answer = self.client.request("POST", f"/{self.index}/_search", body)
        return {bucket["key"]: bucket["doc_count"] for bucket in answer["aggregations"]["groups"]["buckets"]}
