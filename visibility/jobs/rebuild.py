"""Build the search index, also in place of the present one while services write and search (DESIGN.md, "Elasticsearch").

The new index is filled from the records. Meanwhile every indexer writes to both indices, see `storage/visibility_rows/builds.py`. The
alias is moved when the new index was compared with all records. An interrupted build continues where it was. Without an index behind
the alias, searches fail until then, and what the indexers could not write waits in the outbox.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from strongroom.kms import commits_several_times
from strongroom.storage import BEFORE_ALL, visibility_key
from strongroom.visibility.backends.elasticsearch.administration import (
    all_indices,
    delete_index,
    leads_to,
    move_alias,
    new_index,
)
from strongroom.visibility.backends.elasticsearch.writing import write_documents
from strongroom.visibility.errors import SearchIndexMismatch

from .indexer import Indexer
from .reconciler import CHUNK, CHUNK_BYTES, Reconciler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.storage import Row, RunKey, VisibilityOutbox, VisibilityTruth
    from strongroom.storage.visibility_rows.builds import IndexBuild, IndexBuilds
    from strongroom.storage.visibility_rows.marks import IndexMarks
    from strongroom.visibility.backends.elasticsearch import ElasticsearchIndex, IndexSettings

_PAUSE = 1.0
"""Time before documents are sent again that an overloaded cluster did not take, in seconds."""
_ATTEMPTS = 60
"""Number of times that documents are sent to an overloaded cluster before they are left to the indexers."""
_NAMES = 3
"""Number of names that are tried for a new index. Another process may create an index of the same name at the same time."""
_ENDED = "another process ended the build of the search index; the present index is unchanged"

Progress: TypeAlias = Callable[[str, int], None]
"""Called with what is done, for example "records written", and the number so far."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The result of a build.

    Attributes:
        before: The name of the index that was replaced; None for none.
        after: The name of the new index.
        written: The number of records that this run wrote to it.
        resumed: Whether it continued an interrupted build.
    """

    before: str | None
    after: str
    written: int
    resumed: bool


class IndexRebuild:
    """Builds a new index and moves the alias to it.

    Args:
        truth: The records.
        index: The search index.
        outbox: The outbox of the index.
        builds: The build that all indexers know.
        marks: The counters of the indexers.
        grace: Time for which the old index is kept for searches that have begun, in seconds; None for the client's deadline.
    """

    def __init__(
        self,
        truth: VisibilityTruth,
        index: ElasticsearchIndex,
        outbox: VisibilityOutbox,
        builds: IndexBuilds,
        marks: IndexMarks,
        *,
        grace: float | None = None,
    ) -> None:
        self._truth = truth
        self._index = index
        self._outbox = outbox
        self._builds = builds
        self._marks = marks
        self._grace = index.client.deadline if grace is None else grace

    @commits_several_times
    async def run(self, settings: IndexSettings, *, progress: Progress | None = None) -> Rebuilt:
        """Build the index, or continue the build that was interrupted.

        Args:
            settings: The settings of the new index.
            progress: Called after each chunk.

        Raises:
            SearchIndexMismatch: The index can't be used, the new one differs from the records, or another process ended the build.
            StorageError, VisibilityError: The database or the index failed.
        """
        before = await self._index.client.find()
        build, resumed = await self._begin(settings)
        target = self._index.at(build.target)
        written = 0
        if not build.moving:  # otherwise the build was interrupted when its index was complete
            written = await self._fill(build, target, progress)
        if await self._is_open(build):
            await self._copy_deletions(target)
            await self._compare(target, progress, first=before is None)
            await self._copy_marks(target)
        await self._complete(build)
        return Rebuilt(None if before is None else before.index, build.target, written, resumed)

    async def current(self) -> IndexBuild | None:
        """Return the build of this index; None for none.

        Raises:
            StorageError: The database does not answer.
        """
        build = await self._builds.current()
        return build if build is not None and self._index.owns(build.target) else None

    async def stop(self) -> bool:
        """End a build that was interrupted, and delete its index; return whether there was one.

        A build whose index is complete is not ended. It is completed instead.

        Raises:
            StorageError, VisibilityError: The database or the index failed.
        """
        build = await self.current()
        if build is not None and await self._builds.stop(build.build):
            await delete_index(self._index.client, build.target)
            return True
        if build is not None:
            await self._complete(build)
        return False

    async def _begin(self, settings: IndexSettings) -> tuple[IndexBuild, bool]:
        """Return the build, and whether it was interrupted before."""
        old = await self._builds.current()
        if old is not None and not self._index.owns(old.target):
            await self._builds.end(old.build)  # of the cell whose database was restored here
            old = None
        if old is not None:
            found = await self._index.at(old.target).client.find()
            if found is not None and settings.shards in (None, found.shards):
                return old, True
            if found is None:
                await self._builds.end(old.build)
            elif not await self._builds.stop(old.build):
                await self._complete(old)
                old = None
        # The new index is made before the other one is deleted, because it must have another name.
        name = None
        for _ in range(_NAMES):
            name = name or await new_index(self._index.client, settings, aliases={})
        build = None if name is None else await self._builds.begin(name)
        if old is not None:
            await delete_index(self._index.client, old.target)
        if build is None:
            if name is not None:
                await delete_index(self._index.client, name)
            raise SearchIndexMismatch("another build of the search index has begun; wait until it ends")
        return build, False

    async def _fill(self, build: IndexBuild, target: ElasticsearchIndex, progress: Progress | None) -> int:
        """Write all records to the new index; return how many. The next chunk is read while one is written."""
        after, written = build.after, 0
        writing: asyncio.Task[None] | None = None
        try:
            while rows := await self._truth.page(after, runs=CHUNK, size=CHUNK_BYTES):
                if writing is not None:
                    await writing
                    if not await self._builds.progress(build.build, after):
                        break
                writing = asyncio.create_task(self._write(target, rows))
                after, written = visibility_key(rows[-1]), written + len(rows)
                if progress is not None:
                    progress("records written", written)
            if writing is not None:
                await writing
        finally:
            if writing is not None:
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)  # no write may come after the error of this call
        return written

    async def _write(
        self, target: ElasticsearchIndex, rows: Sequence[Row], deleted: Sequence[tuple[RunKey, int]] = ()
    ) -> None:
        """Write records and deletions. The indexers try those again that the index refuses by themselves."""
        for _ in range(_ATTEMPTS):
            pairs = [(row["namespace_id"], row) for row in rows]
            # A document of the same version was written by an indexer or by a faster process, from a later state of the row.
            refused = await write_documents([target.client], pairs, deleted, None, only_newer=True)
            keys = [*map(visibility_key, rows), *(key for key, _ in deleted)]
            if faulty := [key for key in keys if key[2] in refused and not refused[key[2]].passing]:
                await self._truth.add_to_outbox(faulty)
            again = {identifier for identifier, refusal in refused.items() if refusal.passing}
            rows = [row for row in rows if row["id"] in again]
            deleted = [each for each in deleted if each[0][2] in again]
            if not again:
                return
            await asyncio.sleep(_PAUSE)
        await self._truth.add_to_outbox([*map(visibility_key, rows), *(key for key, _ in deleted)])

    async def _copy_deletions(self, target: ElasticsearchIndex) -> None:
        """Let the new index refuse late writes of deleted runs too."""
        after = BEFORE_ALL
        while found := await self._truth.deletions(after, runs=CHUNK):
            await self._write(target, [], found)
            after = found[-1][0]

    async def _compare(self, target: ElasticsearchIndex, progress: Progress | None, *, first: bool) -> None:
        """Compare the new index with all records, so that it never answers a search with less.

        Args:
            target: The new index.
            progress: As in `run`.
            first: Whether it replaces no index. Then the outbox is written to it alone, and a run that it refuses is found in none.

        Raises:
            SearchIndexMismatch: Differences are left.
        """
        await target.refresh()
        shown = None if progress is None else lambda what, count: progress(f"{what} compared", count)
        indexer = Indexer(self._outbox, target if first else self._index, marks=self._marks)
        found = await Reconciler(self._truth, target, indexer).run(progress=shown)
        if found.refused and not first:
            msg = (
                f"the cluster refuses the documents of {found.refused} runs, so the new search index {target.name} is not used; "
                "see the reasons with: strongroom index status. Then run the build again"
            )
            raise SearchIndexMismatch(msg)
        if found.left:
            msg = f"the new search index {target.name} differs from {found.left} records, so it is not used; run the build again"
            raise SearchIndexMismatch(msg)

    async def _copy_marks(self, target: ElasticsearchIndex) -> None:
        """Give the new index the counters of all indexers: what they wrote before the build is in the records that it read."""
        for writer, mark in (await self._marks.all()).items():
            await target.write([], mark=(writer, mark.number))

    async def _is_open(self, build: IndexBuild) -> bool:
        """Return whether the index of a build is not complete yet. Another process may complete it, or end the build."""
        current = await self._builds.current()
        return current is not None and current.build == build.build and not current.moving

    async def _complete(self, build: IndexBuild) -> None:
        """Move the alias, and delete the indices that the new one replaces. Another process may do the same.

        The build ends last, so that it can be continued until nothing is left of the older indices. A newer index belongs to the next
        build.

        Raises:
            SearchIndexMismatch: The build was ended before.
        """
        client = self._index.client
        target = self._index.at(build.target)
        if await self._builds.move(build.build):  # from now on nobody stops the build
            present = await client.find()
            if present is None or present.index != build.target:
                await target.refresh()  # searches saw the same runs in the present index
                await move_alias(client, present, build.target)
                await target.refresh()  # what was written in between
        elif not await leads_to(client, build.target):
            raise SearchIndexMismatch(_ENDED)
        if older := [name for name in await all_indices(client) if name < build.target]:
            await asyncio.sleep(self._grace)
        for name in older:
            await delete_index(client, name)
        await self._builds.end(build.build)
