"""The work in the background of an open cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from strongroom.kms import Background
    from strongroom.storage import OutboxNotifier
    from strongroom.storage.journal.keeping import JournalKeeper
    from strongroom.visibility import Indexer

    from .anchor import Anchors
    from .audit import AuditLog
    from .deletions import Deletions


def background_work(
    key_notifications: Background,
    deletions: Deletions,
    journal: JournalKeeper,
    notifier: OutboxNotifier | None,
    indexer: Indexer | None,
    log: AuditLog | None,
    anchors: Anchors,
) -> tuple[Background, ...]:
    """Return the states of the loops that a cell may run, for health checks and metrics."""
    indexing = () if indexer is None else (indexer.draining, indexer.listening, indexer.forgetting)
    notifying = () if notifier is None else (notifier.background,)
    signing = () if log is None else (log.signing_work,)
    anchoring = () if anchors.bucket is None else (anchors.bucket.work,)
    return (
        key_notifications,
        deletions.background,
        journal.background,
        journal.verifying,
        *notifying,
        *indexing,
        *signing,
        anchors.reading,
        *anchoring,
    )
