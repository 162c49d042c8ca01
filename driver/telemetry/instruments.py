"""Every instrument of the telemetry: what is not here is not emitted. telemetry.md shows the same table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Instrument:
    """An instrument.

    Attributes:
        name: of OpenTelemetry's semantic conventions for database clients where they have one.
        kind: `observed` gauges are read when somebody collects.
        unit: in UCUM.
        description: a sentence.
        attributes: keys that it has; `error.type` only where something failed, `strongroom.kms.type` only where a KMS is meant.
    """

    name: str
    kind: Literal["counter", "histogram", "gauge", "observed"]
    unit: str
    description: str
    attributes: tuple[str, ...] = ()


INSTRUMENTS: Mapping[str, Instrument] = {
    instrument.name: instrument
    for instrument in (
        Instrument(
            "strongroom.call.duration",
            "histogram",
            "s",
            "Time of a call of a store; through a session with authorisation and audit.",
            ("strongroom.store", "strongroom.operation", "strongroom.outcome", "error.type"),
        ),
        Instrument(
            "db.client.operation.duration",
            "histogram",
            "s",
            "Time of a statement that calls of several callers go in.",
            ("db.system.name", "db.operation.name", "error.type"),
        ),
        Instrument(
            "strongroom.batch.size",
            "histogram",
            "{call}",
            "Calls in one such statement.",
            ("db.operation.name",),
        ),
        Instrument(
            "strongroom.batch.wait",
            "histogram",
            "s",
            "Time that a call waited until its statement was sent.",
            ("db.operation.name",),
        ),
        Instrument(
            "db.client.connection.use_time",
            "histogram",
            "s",
            "Time that a connection was lent, outside such statements.",
            ("db.client.connection.pool.name",),
        ),
        Instrument(
            "db.client.connection.count",
            "observed",
            "{connection}",
            "Connections that are in use, and that could be.",
            ("db.client.connection.pool.name", "db.client.connection.state"),
        ),
        Instrument("strongroom.rows.sealed", "counter", "{row}", "Rows that were sealed.", ("strongroom.record.kind",)),
        Instrument("strongroom.rows.opened", "counter", "{row}", "Rows that were opened.", ("strongroom.record.kind",)),
        Instrument(
            "strongroom.rows.open_failures",
            "counter",
            "{batch}",
            "Batches of rows that did not open; IntegrityError is for rows that were altered or moved.",
            ("strongroom.record.kind", "error.type"),
        ),
        Instrument(
            "strongroom.kms.call.duration",
            "histogram",
            "s",
            "Time of a call of a KMS.",
            ("strongroom.kms.type", "strongroom.kms.operation", "error.type"),
        ),
        Instrument(
            "strongroom.key.changes",
            "counter",
            "{change}",
            "Changes of keys: made, rotated, re-wrapped, destroyed; and of namespaces by shredding.",
            ("strongroom.key.operation", "strongroom.outcome", "strongroom.kms.type", "error.type"),
        ),
        Instrument(
            "strongroom.key_cache.lookups",
            "counter",
            "{lookup}",
            "Looks for a namespace's unwrapped keys.",
            ("strongroom.key_cache.result",),
        ),
        Instrument("strongroom.key_cache.in_use", "observed", "{namespace}", "Namespaces whose keys are in use."),
        Instrument(
            "strongroom.key_cache.oldest_age",
            "observed",
            "s",
            "Time since a KMS was asked for the oldest keys that are in use.",
        ),
        Instrument(
            "strongroom.nonce.use",
            "gauge",
            "1",
            "Share of its uses that the most used AES-256-GCM key has spent, in all processes.",
        ),
        Instrument("strongroom.indexer.backlog", "gauge", "{run}", "Runs that the search index is yet to hear of."),
        Instrument(
            "strongroom.indexer.lag",
            "gauge",
            "s",
            "The longest that a run can have waited for this process's indexer; 0 where none waits.",
        ),
        Instrument(
            "strongroom.indexer.failures",
            "observed",
            "{try}",
            "Tries of this process's indexer that failed since the last that did not.",
        ),
        Instrument(
            "strongroom.reconcile.drift",
            "counter",
            "{document}",
            "Documents and tokens that a reconciliation found to differ from the sealed records.",
            ("strongroom.drift",),
        ),
        Instrument(
            "strongroom.audit.refusals",
            "counter",
            "{call}",
            "Calls that were refused because the audit log can't be written.",
            ("strongroom.store", "strongroom.operation"),
        ),
        Instrument("strongroom.audit.waiting", "observed", "{record}", "Audit records in memory that are not on disk."),
        Instrument("strongroom.audit.unsigned", "observed", "{record}", "Audit records since the last signature."),
    )
}
