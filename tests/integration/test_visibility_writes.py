"""Writing and reading visibility records: versions, and records that are refused."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import pytest

from strongroom.storage import Database, DatabaseUnavailable, DataBlob, NotFound, ShardInfo, VisibilityEpochs
from strongroom.storage.visibility_rows.records import delete_visibility_record
from strongroom.visibility import (
    InvalidRecord,
)
from strongroom.visibility.index.document import MAX_TOKENS, document_id, open_documents, seal_documents
from tests.support.lock_waits import until_waiting
from tests.support.visibility.namespace import populated, record_all, run, stored
from tests.support.visibility.records import OF_CLOSED_RUNS, changed, generated_record, generator, opened_again

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("price", [1.7976931348623157e308, -1.7976931348623157e308, 1e305, 1e18])
async def test_every_finite_double_is_stored_and_found(strongroom, price):
    """A Double of any finite size can be written, read and compared, also if its product with 10,000 is out of range."""
    rng = generator()
    record = changed(generated_record(rng), search_attributes=MappingProxyType({"Price": price}))
    searched = await populated(strongroom, "doubles", [], [record])
    for condition in ("= {}", "IN ({})", "IS NOT NULL", ">= {}", "<= {}", "BETWEEN {} AND {}"):
        query = f"Price {condition.format(price, price)}"
        assert await searched.listed(query, page_size=10) == searched.expected(query) == [record]
    for query in (f"Price < {price!r}", f"Price > {price!r}", f"Price BETWEEN 0 AND {price!r}"):
        assert await searched.listed(query, page_size=10) == searched.expected(query)


async def test_an_older_version_never_overwrites_a_newer_one(small):
    """Writes that come late, twice or out of order do not change the newest record or its tokens."""
    old = next(iter(small.records.values()))
    new = changed(old, search_attributes=MappingProxyType({"Customer": "the newest"}))
    write = (small.strongroom, small.namespace_id)
    assert await record_all(*write, [new], small.types, version=5) == 1
    for version in (1, 4, 5):
        assert await record_all(*write, [old], small.types, version=version) == 0
        assert await stored(small, old) == new
    assert new in await small.listed("Customer = 'the newest' AND TemporalNamespaceDivision IS NULL", page_size=100)
    assert await record_all(*write, [old], small.types, version=6) == 1
    assert await stored(small, old) == old
    assert await small.listed("Customer = 'the newest'", page_size=100) == []


async def test_of_many_versions_at_once_the_newest_stays(small):
    """The newest version stays when writers race, and when one write has several versions."""
    old = next(iter(small.records.values()))
    versions = {version: changed(old, memo=b"version %d" % version) for version in range(2, 22)}
    order = list(versions)
    generator().shuffle(order)
    await asyncio.gather(
        *(
            record_all(small.strongroom, small.namespace_id, [versions[version]], small.types, version=version)
            for version in order
        )
    )
    assert await stored(small, old) == versions[21]
    shard_id = await small.strongroom.shards.shard_of(small.namespace_id, old.workflow_id)
    several = [(shard_id, version, changed(old, memo=b"%d" % version)) for version in (30, 32, 31)]
    await small.strongroom.visibility.record_workflow_executions(small.namespace_id, several, small.types)
    assert (await stored(small, old)).memo == b"32"


async def test_a_write_without_an_outbox_is_one_statement(small, monkeypatch):
    """A write is committed without BEGIN and COMMIT. The control: a deletion begins a transaction."""

    def transaction(*_, **__):
        raise AssertionError

    monkeypatch.setattr(Database, "transaction", transaction)
    old = next(iter(small.records.values()))
    new = changed(old, memo=b"newer")
    assert await record_all(small.strongroom, small.namespace_id, [new], small.types, version=5) == 1
    assert await stored(small, old) == new
    with pytest.raises(AssertionError):
        await small.strongroom.visibility.delete_workflow_execution(
            small.namespace_id, shard_id=1, workflow_id=old.workflow_id, run_id=old.run_id, version=6
        )


async def test_a_run_without_a_record_is_not_found(small):
    """The record of another run is not returned instead."""
    record = next(iter(small.records.values()))
    for other in (changed(record, run_id=str(uuid4())), changed(record, workflow_id="nobody")):
        with pytest.raises(NotFound):
            await stored(small, other)


WRONG: dict[str, dict[str, Any]] = {
    "unregistered": {"Nobody": "x"},
    "reserved": {"NamespaceId": "x"},
    "system": {"WorkflowId": "x"},
    "number for a Keyword": {"Customer": 1},
    "list for a Keyword": {"Customer": ("x",)},
    "text for a KeywordList": {"Labels": "x"},
    "numbers in a KeywordList": {"Labels": (1,)},
    "number for a Text": {"Notes": 1},
    "text for an Int": {"Pieces": "1"},
    "Double for an Int": {"Pieces": 1.0},
    "Bool for an Int": {"Pieces": True},
    "Int beyond 64 bits": {"Pieces": 2**63},
    "Int below 64 bits": {"Pieces": -(2**63) - 1},
    "infinite Double": {"Price": float("inf")},
    "no number": {"Price": float("nan")},
    "Bool for a Double": {"Price": True},
    "number for a Bool": {"Paid": 1},
    "text for a Datetime": {"Due": "2026-11-23T00:00:00Z"},
    "Datetime beyond 64 bits": {"Due": 2**63},
    "nothing": {"Customer": None},
    "wrong predefined": {"BuildIds": "x"},
}


TOO_MANY = {
    "elements of a list": ("KeywordList", lambda: tuple(f"{number}" for number in range(MAX_TOKENS + 1))),
    "a hundred thousand elements": ("KeywordList", lambda: tuple(f"{number:06}" for number in range(100_000))),
    "words of a text": ("Text", lambda: " ".join(f"w{number}" for number in range(MAX_TOKENS + 1))),
    "parts together": ("KeywordList", lambda: tuple(f"{number}" for number in range(MAX_TOKENS))),
}


@pytest.mark.parametrize("case", TOO_MANY)
async def test_a_record_with_too_many_tokens_is_refused(small, case):
    """A record with more tokens than the limit is refused with the name of the attribute, and nothing of the call is written."""
    attribute_type, make = TOO_MANY[case]
    name = next(name for name, registered in small.types.items() if getattr(registered, "value", "") == attribute_type)
    good, bad = generated_record(generator()), generated_record(generator())
    bad = changed(bad, search_attributes=MappingProxyType({name: make()}))
    with pytest.raises(InvalidRecord, match=f"{MAX_TOKENS:,} tokens") as caught:
        await record_all(small.strongroom, small.namespace_id, [good, bad], small.types)
    assert caught.value.attribute == name
    assert name not in str(caught.value)
    for record in (good, bad):
        with pytest.raises(NotFound):
            await stored(small, record)


@pytest.mark.parametrize("separator", [" ", "-", "\n"])
async def test_a_record_of_temporals_largest_size_is_written(small, separator):
    """The limit is above what a Temporal server lets pass: 40 KiB of search attributes in a record."""
    name = next(name for name, registered in small.types.items() if getattr(registered, "value", "") == "Text")
    text = separator.join(chr(0x4E00 + number) for number in range(20_000))
    record = changed(generated_record(generator()), search_attributes=MappingProxyType({name: text}))
    await record_all(small.strongroom, small.namespace_id, [record], small.types)
    assert await stored(small, record)


async def test_a_closed_status_needs_a_close_time(small):
    """Searches for closed runs skip open ones, so a closed run without a close time would not be found."""
    bad = opened_again(generated_record(generator()))._replace(execution_status="Completed")
    with pytest.raises(InvalidRecord, match="needs a close_time"):
        await record_all(small.strongroom, small.namespace_id, [bad], small.types)
    assert (await small.count("")).count == len(small.expected(""))


@pytest.mark.parametrize("name", OF_CLOSED_RUNS[1:])
async def test_a_value_of_closed_runs_needs_a_close_time(small, name):
    """Searches for such a value skip open runs, so an open run with one would not be found."""
    bad = opened_again(generated_record(generator()))._replace(**{name: 5})
    with pytest.raises(InvalidRecord, match="without close_time"):
        await record_all(small.strongroom, small.namespace_id, [bad], small.types)
    assert (await small.count("")).count == len(small.expected(""))


@pytest.mark.parametrize("attributes", WRONG.values(), ids=WRONG.keys())
async def test_a_record_that_does_not_fit_is_refused(small, attributes):
    """A value of a wrong type or of an unregistered attribute is refused, with the whole write."""
    good, bad = generated_record(generator()), generated_record(generator())
    bad = changed(bad, search_attributes=MappingProxyType(attributes))
    with pytest.raises(InvalidRecord) as caught:
        await record_all(small.strongroom, small.namespace_id, [good, bad], small.types)
    assert not any(
        str(value) in str(caught.value) for value in attributes.values() if isinstance(value, str) and len(value) > 1
    )
    assert (await small.count("")).count == len(small.expected(""))
    with pytest.raises(NotFound):
        await stored(small, good)


@pytest.mark.parametrize("has_record", [True, False], ids=["with a record", "without a record"])
@pytest.mark.parametrize("first", ["the deletion", "the write"])
async def test_a_deletion_at_the_same_moment_wins(small, first, has_record):
    """A run stays deleted if its deletion and a write of an older version overlap, whichever began first."""
    strongroom, record = small.strongroom, next(iter(small.records.values()))
    record = record if has_record else changed(record, run_id=str(uuid4()))
    shard_id = await strongroom.shards.shard_of(small.namespace_id, record.workflow_id)
    await strongroom.shards.get_or_create_shard(shard_id, lambda: ShardInfo(shard_id, 1, DataBlob(b"shard")))
    keys = await strongroom.keyring.open(small.namespace_id)
    key = (small.namespace_id, shard_id, document_id(keys, record.workflow_id, record.run_id))
    visibility, journal, written = strongroom.visibility, strongroom.journal.journal, [(shard_id, 5, record)]

    async def delete():
        async with strongroom.database.transaction(small.namespace_id) as connection:
            assert await delete_visibility_record(connection, journal, key, version=9)

    async with strongroom.database.transaction(small.namespace_id) as connection:
        if first == "the deletion":
            assert await delete_visibility_record(connection, journal, key, version=9)
            second = asyncio.create_task(record_all(strongroom, small.namespace_id, [record], small.types, version=5))
        else:
            place = (small.namespace_id, written, small.types)
            assert await visibility.record_workflow_executions(*place, transaction=connection) == 1
            second = asyncio.create_task(delete())
        await until_waiting(strongroom)
    with suppress(DatabaseUnavailable):  # the write may be refused, and can be sent again
        await second
    with pytest.raises(NotFound):
        await stored(small, record)
    assert await record_all(strongroom, small.namespace_id, [record], small.types, version=5) == 0
    assert (await strongroom.journal.verify(shard_id)).ok


async def test_a_write_that_the_database_refused_delays_no_folding(small):
    """The outcome of a refused write is known, so the entries of later writes are folded at once."""
    strongroom, record = small.strongroom, next(iter(small.records.values()))
    shard_id = await strongroom.shards.shard_of(small.namespace_id, record.workflow_id)
    keys = await strongroom.keyring.open(small.namespace_id)
    key = (small.namespace_id, shard_id, document_id(keys, record.workflow_id, record.run_id))
    async with strongroom.database.transaction(small.namespace_id) as connection:
        assert await delete_visibility_record(connection, strongroom.journal.journal, key, version=9)
        write = asyncio.create_task(record_all(strongroom, small.namespace_id, [record], small.types, version=5))
        await until_waiting(strongroom)
    with pytest.raises(DatabaseUnavailable) as refused:
        await write
    assert not refused.value.may_have_been_committed
    assert await record_all(strongroom, small.namespace_id, [record], small.types, version=10) == 1
    assert await strongroom.journal.fold(shard_id) == []
    found = await strongroom.journal.verify(shard_id)
    assert (found.ok, found.pending) == (True, 0)


async def test_a_record_that_was_altered_is_not_rewritten(small):
    """A rotation replaces the version that it opened, and leaves a row that was altered since."""
    database, journal = small.strongroom.database, small.strongroom.journal.journal
    epochs = VisibilityEpochs(database, journal, outbox=False)
    rows = [row async for page in epochs.whole(small.namespace_id, piece=100) for row in page]
    keys = await small.strongroom.keyring.open(small.namespace_id)
    records = open_documents(keys, rows)
    places = [(row["shard_id"], row["version"], record) for row, record in zip(rows, records, strict=True)]
    sealed = seal_documents(keys, places, small.types)
    await run(small.strongroom, "UPDATE visibility_records SET b2 = b2 + 1 WHERE id = $1", rows[0]["id"])
    await run(small.strongroom, "UPDATE visibility_records SET s = s || $2 WHERE id = $1", rows[1]["id"], b"x")
    assert await epochs.rewrite(small.namespace_id, rows, sealed) == len(rows) - 2
