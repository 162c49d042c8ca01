"""The anchors of a configuration. The client of an object store is in an extra, and is imported only if one is configured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.driver.audit.positions import LogPosition
from strongroom.driver.config import ConfigError
from strongroom.kms import client_context

from .anchors import Anchors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from strongroom.driver.audit import AuditLog
    from strongroom.driver.config import AnchorConfig, StrongroomConfig
    from strongroom.storage.cell.positions import PositionSource

    from .bucket import AnchorBucket


def configured_anchors(config: StrongroomConfig, sources: Sequence[PositionSource], log: AuditLog | None) -> Anchors:
    """Return the anchors of a cell. The audit log states the positions of the sources from now on.

    Args:
        config: The cell's configuration.
        sources: The parts of the cell that have positions.
        log: The audit log; None for none.

    Raises:
        ConfigError: The client of the object store is not installed.
        InvalidRequest: A file can't be used.
    """
    anchors = Anchors(config.audit_folder, bucket=_bucket(config.anchor, config.cell.cell_id))
    anchors.sources += sources
    if log is not None:
        log.positions, anchors.of_the_log = anchors.present, LogPosition(log)
    return anchors


def _bucket(config: AnchorConfig | None, cell_id: UUID) -> AnchorBucket | None:
    if config is None:
        return None
    try:
        import boto3  # noqa: PLC0415 - an extra

        from .bucket import AnchorBucket  # noqa: PLC0415 - needs it
        from .s3 import Bucket  # noqa: PLC0415 - needs it
    except ModuleNotFoundError:
        msg = "[anchor] needs the client of S3: pip install 'strongroom[aws]'"
        raise ConfigError(msg) from None
    bucket = Bucket(
        config.bucket,
        region=config.region,
        endpoint=config.endpoint,
        session=boto3.Session(profile_name=config.profile) if config.profile else None,
        tls=client_context(ca_certs=config.ca_certs),
    )
    return AnchorBucket(bucket, cell_id, config)
