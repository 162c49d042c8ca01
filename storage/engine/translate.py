"""Translate asyncpg's errors by SQLSTATE (PostgreSQL documentation, appendix A). asyncpg's errors never leave this package."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING

import asyncpg

from strongroom.storage.errors import (
    ConditionFailed,
    DatabaseAuthenticationError,
    DatabaseTimeout,
    DatabaseUnavailable,
    ResourceExhausted,
    SchemaMismatch,
    StorageError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

# Lost connections, "completion unknown", and a server that stops: the transaction may have been committed.
_OPEN_OUTCOME = ("08", "40003", "57P")
# Rolled back because of another transaction.
_RACED = ("23505", "40001", "40P01")
# SQLSTATE, or its class of two characters -> error and message. Such an answer means that the transaction was rolled back.
_BY_STATE: dict[str, tuple[type[StorageError], str]] = {
    "23505": (ConditionFailed, "a row with this key exists already"),
    "25006": (DatabaseUnavailable, "the database is read-only; is this a standby, or is its disk full?"),
    "28": (DatabaseAuthenticationError, "the database refuses this user; check the dsn"),
    "3D": (DatabaseUnavailable, "the database named in the dsn does not exist"),
    "3F": (SchemaMismatch, "the database holds no Strongroom schema; run `strongroom init`"),
    "40": (DatabaseUnavailable, "the database rolled the transaction back in favour of another one; try again"),
    "42501": (
        StorageError,
        "the connected role may not do this (SQLSTATE 42501); run `schema apply` as the owner, with --driver-role for the services",
    ),
    "42P01": (SchemaMismatch, "a table is missing; run `strongroom schema apply` to bring it up to date"),
    "42703": (SchemaMismatch, "a column is missing; run `strongroom schema apply` to bring it up to date"),
    "42883": (SchemaMismatch, "a function is missing; run `strongroom schema apply` to bring the schema up to date"),
    "53": (ResourceExhausted, "the database is out of disk, memory or connections"),
    "55P03": (DatabaseTimeout, "another transaction held a lock for too long; try again"),
    "57014": (DatabaseTimeout, "the database stopped the statement at its time limit"),
    "58": (ResourceExhausted, "the database met an error of its file system"),
}


_DRIVER = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
_DSN = "the dsn is not valid: write postgresql://user@host/database"


def to_storage_error(error: BaseException) -> StorageError | None:
    """Return the error of this package for an error of asyncpg or the network; None for any other error."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        if state.startswith(_OPEN_OUTCOME):
            message = "the connection to the database was lost, or its server is starting or stopping"
            return DatabaseUnavailable(message, may_have_been_committed=True)
        for length in (5, 2):
            translation = _BY_STATE.get(state[:length])
            if translation is not None:
                error_type, message = translation
                ours = error_type(message)
                ours.raced = state.startswith(_RACED)
                return ours
        return StorageError(f"the database refused the statement (SQLSTATE {state})")
    if isinstance(error, asyncpg.ClientConfigurationError):
        return DatabaseUnavailable(_DSN)
    refused = _transport(error)
    if refused is not None:
        return DatabaseUnavailable(refused, may_have_been_committed=True)
    if isinstance(error, TimeoutError):
        return DatabaseTimeout("the database did not answer in time", may_have_been_committed=True)
    # asyncpg raises an internal error if a connection is lost while a statement is prepared.
    if isinstance(error, (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)):
        return DatabaseUnavailable(
            "the database can't be reached, or the connection to it was lost", may_have_been_committed=True
        )
    return None


def _transport(error: BaseException) -> str | None:
    """Return why TLS with the server failed; None for another error."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the database's certificate is not accepted: {error.verify_message} "
            "(an authority to trust is named in [database.tls] as ca_certs)"
        )
    if isinstance(error, ssl.SSLError):
        return (
            f"TLS 1.3 with the database failed ({error.reason}); has its server TLS 1.3, and this client's certificate?"
        )
    if isinstance(error, ConnectionError) and "rejected SSL upgrade" in str(error):  # asyncpg's text
        return "the database's server has no TLS; switch it on there (ssl = on), nothing is sent in clear"
    return None


@contextmanager
def translated(*, connecting: bool = False) -> Iterator[None]:
    """Raise an error of this package in place of any of asyncpg's.

    Args:
        connecting: Whether a connection is made. No statement was sent then, so nothing was committed. A plain ValueError is
            then about the dsn, and may quote its password.
    """
    ours = None
    try:
        yield
    except (*_DRIVER, ValueError) as error:
        if connecting:
            ours = to_storage_error(error) or DatabaseUnavailable(_DSN)
            ours.may_have_been_committed = False
        elif not isinstance(error, _DRIVER):
            raise
        else:
            ours = to_storage_error(error)
    if ours is not None:
        try:
            raise ours
        except StorageError:
            # The caller's `with` is still handling asyncpg's error, so Python sets it as the context. It may quote a tenant's value.
            ours.__context__ = None
            raise
