"""Read mutable state and current runs. The reads of several callers share statements (`storage/engine/group_commit.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar
from uuid import UUID

from strongroom.kms.sealing.record_kinds import CURRENT_EXECUTION, EXECUTION, EXECUTION_MAP
from strongroom.storage.checks import check_id, check_uuid, open_keys
from strongroom.storage.engine.functions import load_functions
from strongroom.storage.engine.group_commit import GroupCommit
from strongroom.storage.errors import DataLoss, NotFound
from strongroom.storage.journal.images import tag
from strongroom.storage.sealing import open_rows

from . import checks
from .known_runs import is_older
from .maps import read_entries
from .packing import BINDING_BYTES, total_of, unpack_current, unpack_execution, workflow_token
from .requests import CurrentExecution, WorkflowMutableState
from .run_digest import ITEM_BYTES, STAMP_BYTES, stored_rows

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from strongroom.kms import Keyring, NamespaceKeys, RecordKey
    from strongroom.storage.engine.connection import Connection, Row
    from strongroom.storage.engine.database import Database
    from strongroom.storage.engine.functions import Function

    from .known_runs import KnownRuns, RunState
    from .requests import ExecutionState


class RunKey(NamedTuple):
    """The primary key of a run's row."""

    shard_id: int
    namespace_id: UUID
    workflow: bytes
    run_id: UUID

    @property
    def name(self) -> bytes:
        """The run in `KnownRuns`."""
        return self.workflow + self.run_id.bytes


class _CurrentKey(NamedTuple):
    shard_id: int
    namespace_id: UUID
    workflow: bytes
    archetype_id: int


_AnyKey = TypeVar("_AnyKey", RunKey, _CurrentKey)


class ExecutionReader:
    """Reads runs.

    Args:
        database: The connections, for look-ups by key.
        keyring: The unwrapped keys.
        known: Keeps the runs that are read.
        distributed: Whether the tables are spread over a Citus cluster.
    """

    def __init__(self, database: Database, keyring: Keyring, known: KnownRuns, *, distributed: bool) -> None:
        self._keyring = keyring
        self._known = known
        functions = load_functions(distributed=distributed)

        def coalesced(name: str) -> GroupCommit[_AnyKey, Row | None]:
            return GroupCommit(
                database,
                _batch(functions[name], timeout=database.answer_timeout),
                name=name,
                shard=(lambda key: key.shard_id) if distributed else None,
                idempotent=True,
            )

        self._runs: GroupCommit[RunKey, Row | None] = coalesced("get_executions")
        self._current: GroupCommit[_CurrentKey, Row | None] = coalesced("get_current_executions")

    async def run(self, namespace_id: UUID, workflow_id: str, run_id: UUID, *, shard_id: int) -> WorkflowMutableState:
        """Return a run's mutable state; see `ExecutionStore.get_workflow_execution`."""
        keys, key = await run_key(self._keyring, namespace_id, workflow_id, run_id, shard_id)
        opened = await self._open(key, keys)
        if opened is None:
            raise NotFound
        row, packed, items, values, _ = opened
        info, state = unpack_execution(packed, BINDING_BYTES)
        plaintexts = [value[STAMP_BYTES:] for value in values]
        return WorkflowMutableState(
            execution_info=info,
            execution_state=state,
            next_event_id=row["next_event_id"],
            last_write_version=row["last_write_version"],
            db_record_version=row["db_record_version"],
            **read_entries(row["maps"] or (), items, plaintexts),
        )

    async def state(self, key: RunKey, keys: NamespaceKeys) -> RunState | None:
        """Read what a write needs to know of a run.

        Returns:
            The state; None if the run does not exist.

        Raises:
            IntegrityError: A row of the run does not open, or its rows are of different states.
        """
        opened = await self._open(key, keys)
        return None if opened is None else self._known.get(key.name) or opened[-1]

    async def _open(
        self, key: RunKey, keys: NamespaceKeys
    ) -> tuple[Row, bytes, Sequence[bytes], Sequence[bytes], RunState] | None:
        """Read a run, check its digest, and keep its state.

        Returns:
            The row, its plaintext, the items of the map rows in 16 bytes, their plaintexts with the stamps, and the state; None if the
            run does not exist.

        Raises:
            IntegrityError: A row of the run does not open, or its rows are of different states.
            DataLoss: The row is older than the state that this process knew before it read the row.
        """
        run_bytes = key.run_id.bytes
        name = key.workflow + run_bytes
        before = self._known.get(name)
        row = await self._runs.submit(key)
        if row is None:
            if before is not None and self._known.get(name) is before:
                self._known.forget(name)
            return None
        data, maps, items, values = row["data"], row["maps"] or (), row["items"] or (), row["blobs"] or ()
        scope = (key.shard_id, key.workflow, run_bytes)
        execution = [((row["next_event_id"], row["last_write_version"], row["db_record_version"]), data)]
        padded = [item.rjust(ITEM_BYTES, b"\x00") for item in items]
        entries = list(zip(zip(maps, padded, strict=True), values, strict=True))
        stored_tag = tag(data)
        is_known = before is not None and before[0] == stored_tag
        known_rows = before[2] if before is not None and is_known else None

        def use(keys: NamespaceKeys) -> tuple[bytes, Sequence[bytes], bytes | None]:
            (packed,) = keys.open_many(EXECUTION, execution, scope=scope)
            opened = keys.open_many(EXECUTION_MAP, entries, scope=scope) if entries else ()
            if not (opened or known_rows) and is_known:
                return packed, opened, None
            total = total_of(packed)
            return packed, opened, stored_rows(keys, key.run_id, maps, padded, opened, known=known_rows, total=total)

        size = len(data) + sum(map(len, values))
        packed, opened, rows = await open_rows(self._keyring, key.namespace_id, size, use, keys=keys)
        if before is not None and is_known:
            if rows != known_rows and self._known.get(name) is before:
                self._known.put(name, (*before[:2], rows, *before[3:]))
            return row, packed, padded, opened, before
        binding, version = packed[:BINDING_BYTES], row["db_record_version"]
        if before is not None and is_older(version, binding, before):
            msg = (
                f"the row of run {key.run_id} has record version {version}, and this process has seen {before[4]}: an older row was "
                "put back; run 'strongroom verify' to find what else was changed. After a restore on purpose, restart this process"
            )
            raise DataLoss(msg)
        state = stored_tag, binding, rows, None, version
        if self._known.get(name) is before:  # if not, a write of this process was committed since
            self._known.put(name, state)
        return row, packed, padded, opened, state

    async def current(
        self, namespace_id: UUID, workflow_id: str, *, shard_id: int, archetype_id: int
    ) -> CurrentExecution:
        """Return a workflow's current run; see `ExecutionStore.get_current_execution`."""
        checks.check_fence(shard_id, 0, archetype_id)
        encoded = check_id("workflow_id", workflow_id)
        keys = await open_keys(self._keyring, namespace_id)
        key = _CurrentKey(shard_id, namespace_id, workflow_token(keys, encoded), archetype_id)
        row = await self._current.submit(key)
        if row is None:
            raise NotFound
        run_id, state = await open_current(self._keyring, keys, (shard_id, key.workflow, archetype_id), row)
        return CurrentExecution(run_id, state, row["last_write_version"])

    async def aclose(self) -> None:
        """Wait until no read is in flight."""
        await self._runs.aclose()
        await self._current.aclose()


async def run_key(
    keyring: Keyring, namespace_id: UUID, workflow_id: str, run_id: UUID, shard_id: int
) -> tuple[NamespaceKeys, RunKey]:
    """Check the ids of a run. Return the namespace's keys and the key of the run's row.

    Raises:
        InvalidPersistenceRequest: An id is not valid.
        NamespaceNotFound: The namespace does not exist.
        KmsError: The namespace's keys are not available.
    """
    checks.check_fence(shard_id, 0)
    check_uuid("run_id", run_id)
    encoded = check_id("workflow_id", workflow_id)
    keys = await open_keys(keyring, namespace_id)
    return keys, RunKey(shard_id, namespace_id, workflow_token(keys, encoded), run_id)


async def open_current(
    keyring: Keyring, keys: NamespaceKeys, scope: RecordKey, row: Row
) -> tuple[UUID, ExecutionState]:
    """Open a row of `current_executions`. Return the run and its state.

    Args:
        keyring: The unwrapped keys. It loads a key version that another process has created since.
        keys: The keys that this request has opened.
        scope: The shard, workflow token and archetype.
        row: The columns of the row.

    Raises:
        IntegrityError: The row does not open.
    """
    run_id = UUID(bytes=row["run_id"].bytes)
    key = (*scope, run_id.bytes, row["state"], row["last_write_version"])
    packed = await keyring.with_keys(
        keys.namespace_id, lambda keys: keys.open(CURRENT_EXECUTION, key, row["data"]), keys=keys
    )
    return run_id, unpack_current(packed)


def _batch(
    function: Function, *, timeout: float
) -> Callable[[Connection, Sequence[_AnyKey]], Awaitable[Sequence[Row | None]]]:
    """Return a function that reads the rows of several keys in one statement. It returns None for a key without a row."""

    async def read(connection: Connection, keys: Sequence[_AnyKey]) -> Sequence[Row | None]:
        columns = zip(*keys, strict=True)
        rows = await function.call(connection, keys[0].shard_id, *columns, timeout=timeout)
        answers: list[Row | None] = [None] * len(keys)
        for row in rows:
            answers[row["number"] - 1] = row
        return answers

    return read
