"""Every instrument of the telemetry. Nothing else is emitted. docs/reference/metrics.md lists them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Instrument:
    """An instrument.

    Attributes:
        name: The name; from OpenTelemetry's semantic conventions for database clients if they have one. The name of a gauge of
            unit 1 ends in `_ratio`, because some exporters to Prometheus append that word and others do not.
        kind: The kind. An `observed` gauge and an `observed_counter` are read when metrics are collected.
        unit: The unit, in UCUM.
        description: A sentence.
        attributes: The attributes' names. `error.type` is set only if something failed, `strongroom.kms.type` only for a KMS.
    """

    name: str
    kind: Literal["counter", "histogram", "gauge", "observed", "observed_counter"]
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
            "Duration of a call of a store; for a session with authorisation and audit.",
            ("strongroom.store", "strongroom.operation", "strongroom.outcome", "error.type"),
        ),
        Instrument(
            "db.client.operation.duration",
            "histogram",
            "s",
            "Duration of a statement that several calls share.",
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
            "Time from a call to the sending of its statement.",
            ("db.operation.name",),
        ),
        Instrument(
            "db.client.connection.use_time",
            "histogram",
            "s",
            "Time that a connection was used, outside such statements.",
            ("db.client.connection.pool.name",),
        ),
        Instrument(
            "db.client.connection.count",
            "observed",
            "{connection}",
            "Connections in use, and idle ones.",
            ("db.client.connection.pool.name", "db.client.connection.state"),
        ),
        Instrument("strongroom.rows.sealed", "counter", "{row}", "Rows sealed.", ("strongroom.record.kind",)),
        Instrument("strongroom.rows.opened", "counter", "{row}", "Rows opened.", ("strongroom.record.kind",)),
        Instrument(
            "strongroom.rows.open_failures",
            "counter",
            "{batch}",
            "Batches of rows that did not open; IntegrityError means that rows were altered or moved.",
            ("strongroom.record.kind", "error.type"),
        ),
        Instrument(
            "strongroom.rows.damaged",
            "gauge",
            "{row}",
            "Rows of queues that did not open, and are kept for an operator.",
        ),
        Instrument(
            "strongroom.kms.call.duration",
            "histogram",
            "s",
            "Duration of a call of a KMS.",
            ("strongroom.kms.type", "strongroom.kms.operation", "error.type"),
        ),
        Instrument(
            "strongroom.key.changes",
            "counter",
            "{change}",
            "Changes of keys (creation, rotation, re-wrapping, destruction), and of namespaces by shredding.",
            ("strongroom.key.operation", "strongroom.outcome", "strongroom.kms.type", "error.type"),
        ),
        Instrument(
            "strongroom.key_cache.lookups",
            "counter",
            "{lookup}",
            "Lookups of a namespace's unwrapped keys.",
            ("strongroom.key_cache.result",),
        ),
        Instrument("strongroom.key_cache.in_use", "observed", "{namespace}", "Namespaces whose keys are in use."),
        Instrument(
            "strongroom.key_cache.oldest_age",
            "observed",
            "s",
            "Time since the oldest keys in use were unwrapped by a KMS.",
        ),
        Instrument(
            "strongroom.nonce.use_ratio",
            "gauge",
            "1",
            "Share of its limit of uses that the most used AES-256-GCM key has spent, in all processes.",
        ),
        Instrument(
            "strongroom.indexer.backlog", "gauge", "{run}", "Runs whose changes the search index has not received."
        ),
        Instrument(
            "strongroom.indexer.lag",
            "gauge",
            "s",
            "The longest time that a run can have waited for this process's indexer; 0 if none waits.",
        ),
        Instrument(
            "strongroom.indexer.failures",
            "observed",
            "{try}",
            "Failed attempts of this process's indexer since its last success.",
        ),
        Instrument(
            "strongroom.indexer.refused",
            "gauge",
            "{run}",
            "Runs whose document the search index refuses, so that searches miss them.",
        ),
        Instrument(
            "strongroom.background.failures",
            "observed",
            "{try}",
            "Failed attempts of this process's background work since its last success.",
            ("strongroom.background.work",),
        ),
        Instrument(
            "strongroom.journal.altered_shards",
            "observed",
            "{shard}",
            "Shards in which this process found rows that were put back, deleted or brought back.",
        ),
        Instrument(
            "strongroom.reconcile.drift",
            "counter",
            "{document}",
            "Documents and tokens that differ from the sealed records, found by a reconciliation.",
            ("strongroom.drift",),
        ),
        Instrument(
            "strongroom.audit.refusals",
            "counter",
            "{call}",
            "Calls refused because the audit log can't be written.",
            ("strongroom.store", "strongroom.operation"),
        ),
        Instrument("strongroom.audit.waiting", "observed", "{record}", "Audit records in memory that are not on disk."),
        Instrument("strongroom.audit.unsigned", "observed", "{record}", "Audit records since the last signature."),
        Instrument(
            "strongroom.alterations",
            "observed_counter",
            "{finding}",
            "Times that this process found the key registry, the access policy or the audit log altered or older than before.",
            ("strongroom.altered",),
        ),
        Instrument(
            "strongroom.anchor.age_ratio",
            "observed",
            "1",
            "Time since this process last wrote or confirmed the anchor in the object store, as a multiple of its interval.",
        ),
        Instrument("strongroom.serve.connections", "observed", "{connection}", "Open connections of this worker."),
        Instrument("strongroom.serve.in_flight", "observed", "{call}", "Calls that this worker has not answered."),
        Instrument("strongroom.serve.queued", "observed", "By", "Bytes of answers that wait for a client to read."),
        Instrument(
            "strongroom.serve.io",
            "observed_counter",
            "By",
            "Bytes of frames from clients and to clients.",
            ("network.io.direction",),
        ),
        Instrument(
            "strongroom.serve.refused",
            "observed_counter",
            "{refusal}",
            "Calls over the limit of their connection, and connections that were refused.",
        ),
        Instrument(
            "strongroom.serve.given_up",
            "observed_counter",
            "{call}",
            "Calls whose deadline passed, or whose caller cancelled them.",
        ),
        Instrument(
            "strongroom.serve.protocol_errors",
            "observed_counter",
            "{connection}",
            "Connections that were closed because the client did not keep to the protocol.",
        ),
        Instrument(
            "strongroom.serve.restarts",
            "observed",
            "{restart}",
            "Number of times that this worker was started again since its supervisor started.",
        ),
    )
}
