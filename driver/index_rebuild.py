"""The job that builds the search index, also again while services write and search. It needs the client of Elasticsearch, an extra."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.storage import VisibilityTruth
from strongroom.storage.visibility_rows.builds import IndexBuilds
from strongroom.storage.visibility_rows.marks import IndexMarks

from .config import ConfigError

if TYPE_CHECKING:
    from strongroom.visibility.jobs.rebuild import IndexRebuild

    from .strongroom import Strongroom


def index_rebuild(strongroom: Strongroom, *, grace: float | None = None) -> IndexRebuild:
    """Return the job.

    Args:
        strongroom: The open cell.
        grace: Time for which the old index is kept for searches that have begun, in seconds; None for the default.

    Raises:
        ConfigError: There is no search index.
    """
    if strongroom.search_index is None:
        msg = "no search index is configured"
        raise ConfigError(msg)
    from strongroom.visibility.jobs.rebuild import IndexRebuild  # noqa: PLC0415 - an extra

    database = strongroom.database
    truth, builds, marks = VisibilityTruth(database), IndexBuilds(database), IndexMarks(database)
    return IndexRebuild(truth, strongroom.search_index, strongroom.outbox, builds, marks, grace=grace)
