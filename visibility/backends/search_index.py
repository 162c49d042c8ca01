"""The protocol of a search index. `PostgresIndex` and `ElasticsearchIndex` implement it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeVar

from strongroom.visibility.errors import SearchSnapshotExpired

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from uuid import UUID

    from strongroom.storage import Row, RunKey

    from .drift import Difference, DocumentCopy, SealedCopy
    from .token_query import TokenQuery


CHUNK = 200
"""Number of documents that a reader fetches at a time, unless the caller knows how many it needs."""
LARGE_CHUNK = 1000
"""Number of documents that a reader fetches at a time after the second page, because then the caller reads many."""
FEW = 100
"""Number of documents that a reader returns with a count at the lowest cost."""
_SNAPSHOTS = 4
"""Number of snapshots that a search tries. One is lost when a node ends that has a part of it."""

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class IndexOrder:
    """An order of documents: by two buckets and then by id, all in the same direction.

    Attributes:
        columns: The columns of the buckets.
        descending: Whether higher buckets come first.
    """

    columns: tuple[Literal["b1", "b2"], Literal["b1", "b2"]] = ("b1", "b2")
    descending: bool = True


LIST_ORDER = IndexOrder()
"""The order of a list: open runs first, then by the bucket of the close time."""


@dataclass(frozen=True, slots=True)
class IndexPosition:
    """A position in an order of documents.

    Attributes:
        buckets: The first bucket of the position, or both.
        after: The id of the last document before the position. None: the position is before all documents with these buckets.
    """

    buckets: tuple[int, ...]
    after: bytes | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a search index did not take a document.

    Attributes:
        reason: The reason, without a value of a tenant.
        passing: Whether the index is overloaded, so that the same document is probably accepted later.
    """

    reason: str
    passing: bool


class GroupCounts(NamedTuple):
    """Numbers of documents: of all, and by group token. A document without a group token is in no group."""

    documents: int
    tokens: Mapping[int, int]


class IndexReader(Protocol):
    """Answers the token queries of one search in one namespace."""

    async def count(self, query: TokenQuery) -> int:
        """Return the number of documents that satisfy a token query."""

    async def counts(self, within: TokenQuery, parts: Sequence[TokenQuery]) -> list[int]:
        """Return, for each of several queries, the number of documents that satisfy it and `within`, all at one moment."""

    async def groups(self, query: TokenQuery, first: int, *, having: TokenQuery, most: int) -> GroupCounts:
        """Count the documents of a query, and those of each of their group tokens of one attribute, all at one moment.

        Args:
            query: The query that the documents satisfy.
            first: The lowest group token of the attribute.
            having: A query that all documents with a value satisfy. An index may look for group tokens in these only.
            most: Maximum number of groups.

        Returns:
            The groups; one more than `most` if there are more. A group of a token of another attribute may be among them.
        """

    async def of_groups(self, query: TokenQuery, first: int, tokens: Collection[int]) -> Mapping[int, Row]:
        """Return one document of each of some groups, as rows like those of `pages`.

        Args:
            query: The query that the documents satisfy.
            first: The lowest group token of the attribute.
            tokens: The group tokens, which `groups` returned for the same query.

        Returns:
            The row for each token. A group without a document is left out.
        """

    async def count_and_first(
        self, counted: TokenQuery, listed: TokenQuery, *, limit: int
    ) -> tuple[int, Sequence[Row]]:
        """Return how many documents satisfy one query, and the first documents that satisfy another, both at one moment.

        Args:
            counted: The query whose documents are counted.
            listed: The query whose documents are returned, as rows like those of `pages`.
            limit: Maximum number of rows.
        """

    async def rows(self, keys: Sequence[tuple[int, bytes]]) -> Sequence[Row]:
        """Return documents by shard and id, as rows like those of `pages`, in any order. A missing document is left out."""

    def pages(
        self,
        query: TokenQuery,
        *,
        order: IndexOrder = LIST_ORDER,
        start: IndexPosition | None = None,
        chunk: int = CHUNK,
    ) -> AsyncIterator[Sequence[Row]]:
        """Yield sealed documents in an order. A document that changes meanwhile can come twice.

        Args:
            query: The query that the documents satisfy.
            order: The order of the documents.
            start: The position to start at; None for the beginning.
            chunk: Maximum number of documents in the first page. The second page has at most as many, or `CHUNK` if that is more;
                later ones `LARGE_CHUNK`.

        Yields:
            Rows with the columns `shard_id`, `id`, `version`, `k`, `b1`, `b2` and `s` of `visibility_records`.
        """


class SearchIndex(Protocol):
    """A search index of the sealed documents of all namespaces.

    Operations that ask a server outside the database raise `SearchIndexUnavailable` or `ResourceExhausted` if that server fails,
    and `SearchIndexMismatch` if it refuses the request permanently. Searches see a write within a second, or after `refresh`.

    Attributes:
        is_copy: Whether the documents are copies of the records. Copies are written by an `Indexer`, from the outbox.
        concurrent_searches: Number of searches that this process runs at once.
    """

    @property
    def is_copy(self) -> bool:
        """See the class."""

    @property
    def concurrent_searches(self) -> int:
        """See the class."""

    def reading(self, namespace_id: UUID, *, snapshot: bool) -> AbstractAsyncContextManager[IndexReader]:
        """Begin a search.

        Args:
            namespace_id: The namespace to search.
            snapshot: Whether all queries of the search must see the same documents. Counts that are added up need this.
        """

    async def refresh(self) -> None:
        """Make earlier writes visible to searches."""

    async def write(
        self,
        rows: Sequence[tuple[UUID, Row]],
        deleted: Sequence[tuple[RunKey, int | None]] = (),
        *,
        mark: tuple[UUID, int] | None = None,
        also: str | None = None,
    ) -> dict[bytes, Refusal]:
        """Write and delete documents. A document is replaced unless it has a newer version.

        Args:
            rows: Namespace id and row of `visibility_records`, with tokens, of each document to write.
            deleted: Key and last version of each run whose document is to be deleted. The index refuses late writes of this version,
                or of an older one, until `forget`. Without a version, the present document is deleted.
            mark: A writer and the value of its counter, which the index keeps; None for none.
            also: The name of a second index of the same server, which is being built and gets the same; None for none. An index of
                another alias is ignored.

        Returns:
            The ids that the server did not accept, each with the reason. All others are written.

        Raises:
            SearchIndexUnavailable, ResourceExhausted: It is unknown what was written. Write everything again.
            SearchIndexMismatch: The server refuses all writes permanently.
        """

    async def lacks(self, index: str) -> bool:
        """Return whether a second index, as in `write`, does not exist."""

    async def forget(self, deleted: Sequence[tuple[RunKey, int]]) -> None:
        """Forget deletions, so that a late write of the same version is accepted again.

        Args:
            deleted: Key and last version of each run. If a run has a document of the next version, it must be written again.
        """

    async def delete_namespace(self, namespace_id: UUID) -> int:
        """Delete all documents of a namespace; return how many."""

    async def epochs(self, namespace_id: UUID) -> Mapping[int, int]:
        """Return the number of documents of each epoch of a namespace, as of now."""

    async def differences(self, rows: Sequence[Row]) -> dict[RunKey, Difference]:
        """Compare documents with their records.

        Args:
            rows: Rows of `visibility_records`, with tokens.

        Returns:
            The differences. A record whose document is as it should be is left out.
        """

    def copies(
        self, namespace_id: UUID | None, known: Iterable[UUID], *, chunk: int
    ) -> AsyncIterator[list[DocumentCopy]]:
        """Yield all documents of a namespace, as they were at one moment.

        Args:
            namespace_id: The namespace; None for the documents that are in none of the `known` namespaces.
            known: The ids of all namespaces.
            chunk: Maximum number of documents to yield at a time.
        """

    def sealed_copies(self, namespace_id: UUID, *, chunk: int) -> AsyncIterator[list[SealedCopy]]:
        """Yield the data keys of all documents of a namespace, as they were at one moment.

        Args:
            namespace_id: The namespace.
            chunk: Maximum number of documents to yield at a time.
        """

    async def unchanged(self, copies: Sequence[DocumentCopy]) -> list[DocumentCopy]:
        """Return the documents that still exist and have not changed."""

    async def remove(self, copies: Sequence[DocumentCopy]) -> None:
        """Delete documents, each unless it has a newer version.

        Raises:
            ResourceExhausted: The server did not accept some deletions because it is overloaded.
        """

    def accepting_older_versions(self) -> AbstractAsyncContextManager[None]:
        """Accept any version of a document that was deleted. Otherwise a server remembers its last version for a while."""


async def with_new_snapshots(search: Callable[[], Awaitable[Answer]]) -> Answer:
    """Return the answer of a search. It begins again if its snapshot is lost, for example with a node."""
    for _ in range(_SNAPSHOTS - 1):
        with suppress(SearchSnapshotExpired):
            return await search()
    return await search()
