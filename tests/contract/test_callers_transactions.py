"""Writes in a transaction of the caller: its end decides about them, and the journal agrees with it whatever the caller does."""

from __future__ import annotations

import asyncpg
import pytest

from strongroom.storage import EVERY_NAMESPACE, NO_NAMESPACE, Database, StorageError
from strongroom.storage.errors import NotCommitted
from strongroom.storage.journal.folding import UNKNOWN_AFTER
from strongroom.storage.journal.keeping import JournalKeeper
from strongroom.storage.journal.writer import Journal
from tests.support.fixtures.driver_role import owner_dsn
from tests.support.fixtures.history import node

pytestmark = pytest.mark.integration

FIRST = node(1, 7, 0)
# The shard's own row is entry 1 of its writer, so the first write of a test is entry 2.


async def append(histories, connection):
    """Append the first node of a new history in a transaction; return the branch."""
    branch = histories.branch()
    await histories.append(branch, FIRST, transaction=connection)
    return branch


async def check(histories, *, refused=(), unknown=()):
    """Compare the noted outcomes with the expected ones; verify in this process and in a new one, and again after a later write."""
    cell, shard_id = histories.cell, histories.shard_id
    outcomes = cell.journal.journal.outcomes(shard_id)
    assert (list(outcomes.refused), list(outcomes.unknown)) == (list(refused), list(unknown))
    other = JournalKeeper(cell.database, cell.keyring, Journal(cell.keyring))
    assert (await other.verify(shard_id)).ok
    assert (await cell.journal.verify(shard_id)).ok
    await histories.append(histories.branch(), FIRST)
    assert (await other.verify(shard_id)).ok
    assert await cell.journal.fold(shard_id) == []
    found = await cell.journal.verify(shard_id)
    assert found.ok, found
    assert found.pending == (1 if unknown else 0), found


async def swallow(connection, statement="SELECT 1 / 0"):
    """Run a statement that fails, and handle its error as a caller might."""
    with pytest.raises(asyncpg.DivisionByZeroError):
        await connection.execute(statement)


async def test_a_transaction_with_a_swallowed_error_is_not_committed(histories):
    """The caller gets an error at the end, and the write counts as refused."""
    branch = histories.branch()

    async def write():
        async with histories.cell.database.transaction(EVERY_NAMESPACE) as connection:
            await histories.append(branch, FIRST, transaction=connection)
            await swallow(connection)

    with pytest.raises(NotCommitted) as caught:
        await write()
    assert not caught.value.may_have_been_committed
    assert await histories.rows(branch) == []
    await check(histories, refused=[2])


async def test_an_error_before_the_write_is_refused_too(histories):
    """The write itself then fails, and its error may be swallowed too."""

    async def write():
        async with histories.cell.database.transaction(EVERY_NAMESPACE) as connection:
            await swallow(connection)
            with pytest.raises(StorageError, match="25P02"):
                await append(histories, connection)

    with pytest.raises(NotCommitted):
        await write()
    await check(histories, refused=[2])


async def test_a_dedicated_transaction_with_a_swallowed_error_is_not_committed(histories):
    """The same holds for a transaction on a connection of its own."""

    async def write():
        async with histories.cell.database.dedicated_transaction() as connection:
            await swallow(connection)

    with pytest.raises(NotCommitted):
        await write()


async def test_an_error_of_the_caller_refuses_the_write(histories):
    """A block that raises any error never commits, so the outcome is known at once."""

    async def write():
        async with histories.cell.database.transaction(EVERY_NAMESPACE) as connection:
            await append(histories, connection)
            raise KeyError

    with pytest.raises(KeyError):
        await write()
    await check(histories, refused=[2])


async def test_a_failed_statement_in_a_savepoint_leaves_the_rest(histories):
    """A caller that rolls back to a savepoint may go on, and the writes before and after it are committed."""
    async with histories.cell.database.transaction(EVERY_NAMESPACE) as connection:
        before = await append(histories, connection)
        await connection.execute("SAVEPOINT mine")
        await swallow(connection)
        await connection.execute("rollback to savepoint mine")
        after = await append(histories, connection)
    assert await histories.read(before) == await histories.read(after) == [FIRST]
    outcomes = histories.cell.journal.journal.outcomes(histories.shard_id)
    assert list(outcomes.unknown) == [2]
    assert (await histories.cell.journal.verify(histories.shard_id)).ok


@pytest.mark.parametrize("by", ["a statement", "the driver"])
async def test_a_write_that_a_savepoint_undoes_raises_no_alarm(histories, by):
    """An entry that was rolled back to a savepoint is missing, and its outcome counts as unknown."""
    async with histories.cell.database.transaction(EVERY_NAMESPACE) as connection:
        if by == "a statement":
            await connection.execute("SAVEPOINT mine")
            await append(histories, connection)
            await connection.execute("ROLLBACK TO mine")
        else:
            savepoint = connection.transaction()
            await savepoint.start()
            await append(histories, connection)
            await savepoint.rollback()
    await check(histories, unknown=[2])


@pytest.mark.parametrize(
    "end", ["COMMIT", "ROLLBACK", "/* mine */ END", "ABORT; BEGIN", "SELECT 'a--b'; ROLLBACK; BEGIN"]
)
async def test_a_transaction_that_the_caller_ends_raises_no_alarm(histories, end):
    """A caller that ends the transaction by a statement leaves the outcome of its writes unknown."""
    if histories.cell.config.cell.distributed and end.endswith("BEGIN"):
        pytest.skip("on Citus the nodes know the namespaces of the transaction that Database began, and of no other")
    async with histories.cell.database.transaction(EVERY_NAMESPACE) as connection:
        first = await append(histories, connection)
        await connection.execute(end)
        second = await append(histories, connection)
    stored = [await histories.rows(branch) for branch in (first, second)]
    assert [len(rows) for rows in stored] == [1 if end.endswith(("COMMIT", "END")) else 0, 1]
    outcomes = histories.cell.journal.journal.outcomes(histories.shard_id)
    assert list(outcomes.unknown) == [2, 3]
    assert (await histories.cell.journal.verify(histories.shard_id)).ok


class Interrupted:
    """A connection whose next query ends with an error of the caller, before or after the server has executed it."""

    def __init__(self, lent, *, is_sent):
        self.lent = lent
        self.is_sent = is_sent

    async def fetch(self, query, *args, **options):
        """Run a query, or not, and raise the error."""
        if self.is_sent:
            await self.lent.fetch(query, *args, **options)
        raise TimeoutError


@pytest.mark.parametrize("is_sent", [False, True])
async def test_an_error_that_the_caller_handles_raises_no_alarm(histories, is_sent):
    """The transaction is committed, and the writer does not know whether the statement was executed, or what it replaced."""
    branch, cell, shard_id = histories.branch(), histories.cell, histories.shard_id
    await histories.append(branch, FIRST)
    async with cell.database.transaction(EVERY_NAMESPACE) as connection:
        with pytest.raises((TimeoutError, StorageError)):
            await histories.append(branch, FIRST, transaction=Interrupted(connection, is_sent=is_sent))
    assert list(cell.journal.journal.outcomes(shard_id).unknown) == [3]
    await histories.append(histories.branch(), FIRST)
    other = JournalKeeper(cell.database, cell.keyring, Journal(cell.keyring))
    for keeper in (other, cell.journal):
        found = await keeper.verify(shard_id)
        assert found.ok, found


async def test_the_transaction_of_a_write_decides_and_not_the_innermost_one(histories):
    """A write in the outer of two transactions is refused with it, although the inner one was committed meanwhile."""
    database = histories.cell.database

    async def write():
        async with database.transaction(EVERY_NAMESPACE) as outer:
            async with database.transaction(NO_NAMESPACE):
                await append(histories, outer)
            raise KeyError

    with pytest.raises(KeyError):
        await write()
    await check(histories, refused=[2])


async def test_an_inner_transaction_of_another_database_decides_nothing(histories):
    """A write is in the transaction of its connection, whichever transaction of the task began last."""
    other = Database(histories.cell.config.dsn, distributed=histories.cell.config.cell.distributed, insecure=True)

    async def write():
        async with histories.cell.database.transaction(EVERY_NAMESPACE) as outer:
            async with other.transaction(NO_NAMESPACE):
                await append(histories, outer)
            raise KeyError

    with pytest.raises(KeyError):
        await write()
    await other.aclose()
    await check(histories, refused=[2])


async def own_connection(histories):
    """Return a connection that no `Database` has made. On a cluster its policies let only the owner of the tables write with one."""
    config = histories.cell.config
    dsn = owner_dsn(config) if config.cell.distributed else config.dsn
    return await asyncpg.connect(dsn, server_settings={"search_path": "strongroom"})


async def test_a_connection_of_the_caller_is_in_no_transaction_of_ours(histories):
    """The end of a transaction that surrounds the write, but is not its own, does not decide about it."""
    own = await own_connection(histories)
    async with histories.cell.database.transaction(NO_NAMESPACE):
        transaction = own.transaction()
        await transaction.start()
        await append(histories, own)
    await transaction.rollback()
    await own.close()
    await check(histories, unknown=[2])


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_a_transaction_that_is_open_for_long_raises_no_alarm(histories, end):
    """A write in a transaction of another connection is not passed over while that transaction is open, however long it takes."""
    cell, shard_id, time = histories.cell, histories.shard_id, [0.0]
    own = await own_connection(histories)
    transaction = own.transaction()
    await transaction.start()
    branch = await append(histories, own)
    await histories.append(histories.branch(), FIRST)
    keeper = JournalKeeper(cell.database, cell.keyring, cell.journal.journal, clock=lambda: time[0])
    for _ in range(3):
        assert await keeper.fold(shard_id) == []
        time[0] += 10 * UNKNOWN_AFTER
    assert (await keeper.verify(shard_id)).pending == 1
    await getattr(transaction, end)()
    await own.close()
    assert await keeper.fold(shard_id) == []
    found = await keeper.verify(shard_id)
    assert (found.ok, found.pending) == (True, 0), found
    assert len(await histories.rows(branch)) == (1 if end == "commit" else 0)
