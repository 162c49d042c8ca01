"""Translate asyncpg's errors by SQLSTATE (PostgreSQL documentation, appendix A). asyncpg's errors never leave this package."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import asyncpg

from strongroom.storage.errors import (
    ConditionFailed,
    DatabaseAuthenticationError,
    DatabaseTimeout,
    DatabaseUnavailable,
    PoolingNotSupported,
    ResourceExhausted,
    SchemaMismatch,
    StorageError,
)

from .row_level_security import LOST_SESSION

if TYPE_CHECKING:
    from collections.abc import Iterator

# Lost connections, "completion unknown", and a server that stops: the transaction may have been committed.
_OPEN_OUTCOME = ("08", "40003", "57P")
# The server's own reason for the end of a session. Its text is not used, because it is in the server's language.
_ENDED = {
    "57P01": "the server ended the session: an administrator did it, or the server is stopping",
    "57P02": "another process of the server crashed",
    "57P03": "the server is starting or stopping",
    "57P05": "the session was idle for too long for the server",
    "25P03": "the transaction was idle for too long for the server",
    "25P04": "the transaction took too long for the server",
}
_STATEMENT_POOLING = "statement pooling"
"""A part of PgBouncer's refusal of a transaction."""
_LOST = "the connection to the database was lost"
# Rolled back because of another transaction.
_RACED = ("23502", "23505", "40001", "40P01")
_SHARED = (
    "a prepared statement is missing, or another client has one of the same name: a pooler in front of the database does not keep "
    "one session for each connection. Set its pooling to session mode, in PgBouncer with pool_mode = session; "
    "see docs/how-to/pgbouncer.md"
)
_TWICE = (
    "the database already has an object that the schema creates (a function, table or type); it was left by another version or by a "
    "migration that ran twice. Run `strongroom schema apply` once with this version, or `strongroom init` in an empty database"
)
# SQLSTATE, or its class of two characters -> error and message. Such an answer means that the transaction was rolled back.
_BY_STATE: dict[str, tuple[type[StorageError], str]] = {
    "23505": (ConditionFailed, "a row with this key exists already"),
    "23502": (DatabaseUnavailable, "another transaction wrote the same row first; try again"),
    "25006": (DatabaseUnavailable, "the database is read-only; is this a standby, or is its disk full?"),
    "26000": (PoolingNotSupported, _SHARED),
    "42P05": (PoolingNotSupported, _SHARED),
    "0A000": (
        StorageError,
        "the server does not support a statement (SQLSTATE 0A000); check that it is PostgreSQL 15 or newer, and restart the service",
    ),
    "28": (DatabaseAuthenticationError, "the database refuses this user; check the dsn"),
    "3D": (DatabaseUnavailable, "the database named in the dsn does not exist"),
    "3F": (SchemaMismatch, "the database holds no Strongroom schema; run `strongroom init`"),
    "40": (DatabaseUnavailable, "the database rolled the transaction back in favour of another one; try again"),
    "42501": (
        StorageError,
        "the connected role may not do this (SQLSTATE 42501); run `schema apply` as the owner, with --driver-role for the services",
    ),
    "42710": (SchemaMismatch, _TWICE),
    "42723": (SchemaMismatch, _TWICE),
    "42P06": (SchemaMismatch, _TWICE),
    "42P07": (SchemaMismatch, _TWICE),
    "3F000": (
        SchemaMismatch,
        "the schema is missing; run `strongroom init`, or `strongroom schema apply` to bring it up to date",
    ),
    "42P01": (SchemaMismatch, "a table is missing; run `strongroom schema apply` to bring it up to date"),
    "42703": (SchemaMismatch, "a column is missing; run `strongroom schema apply` to bring it up to date"),
    "42883": (SchemaMismatch, "a function is missing; run `strongroom schema apply` to bring the schema up to date"),
    "53100": (ResourceExhausted, "the database's disk is full; free space or extend it, then try again"),
    "53200": (ResourceExhausted, "the database's server has no memory left; lower its load or its memory settings"),
    "53300": (
        ResourceExhausted,
        "the database has no connection left; raise max_connections or the role's limit there, or lower database.connections",
    ),
    "54": (
        StorageError,
        "the statement is beyond a limit of the database (SQLSTATE class 54), for example in its size; send less in one call",
    ),
    "53": (ResourceExhausted, "the database is out of disk, memory or connections"),
    "55P03": (DatabaseTimeout, "another transaction held a lock for too long; try again"),
    "57014": (DatabaseTimeout, "the database stopped the statement at its time limit"),
    "58": (ResourceExhausted, "the database met an error of its file system"),
}


_DRIVER = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)


def to_storage_error(error: BaseException) -> StorageError | None:
    """Return the error of this package for an error of asyncpg or the network; None for any other error."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        if LOST_SESSION in str(error) or _STATEMENT_POOLING in str(error):
            return PoolingNotSupported()
        if state.startswith(_OPEN_OUTCOME):
            return DatabaseUnavailable(f"{_LOST}: {_why_lost(error)}", may_have_been_committed=True)
        for length in (5, 2):
            translation = _BY_STATE.get(state[:length])
            if translation is not None:
                error_type, message = translation
                ours = error_type(message)
                ours.raced = state.startswith(_RACED)
                return ours
        return StorageError(f"the database refused the statement (SQLSTATE {state})")
    if isinstance(error, TimeoutError):
        return DatabaseTimeout("the database did not answer in time", may_have_been_committed=True)
    # asyncpg raises an internal error if a connection is lost while a statement is prepared.
    if isinstance(error, (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)):
        return DatabaseUnavailable(f"{_LOST}: {_why_lost(error)}", may_have_been_committed=True)
    return None


def _why_lost(error: BaseException) -> str:
    """Return why a session ended: the server's last error, or the system's. asyncpg has it as the cause of its own."""
    for one in (error, error.__cause__, error.__context__):
        if isinstance(one, asyncpg.PostgresError) and one.sqlstate in _ENDED:
            return _ENDED[one.sqlstate]
        if isinstance(one, OSError) and one.strerror:
            return one.strerror
    return "it was closed without a reason; the server's log may have one"


@contextmanager
def translated() -> Iterator[None]:
    """Raise an error of this package in place of any of asyncpg's."""
    ours = None
    try:
        yield
    except _DRIVER as error:
        ours = to_storage_error(error)
    if ours is not None:
        try:
            raise ours
        except StorageError:
            # The caller's `with` is still handling asyncpg's error, so Python sets it as the context. It may quote a tenant's value.
            ours.__context__ = None
            raise
