"""Visibility records that someone changed in the database, and what records share."""

from __future__ import annotations

from types import MappingProxyType

import pytest

from strongroom.kms import IntegrityError, KeyClass
from strongroom.storage import EVERY_NAMESPACE
from strongroom.storage.visibility_rows.records import all_tokens
from strongroom.visibility.index.document import document_id
from strongroom.visibility.index.tokens import Tokenizer
from strongroom.visibility.search.compiler import compile_filter
from tests.support.visibility.filters import condition, random_filter
from tests.support.visibility.namespace import populated, run, stored, wrong_sides
from tests.support.visibility.records import changed, generated_record, generator

pytestmark = pytest.mark.integration


async def test_edited_tokens_never_give_a_wrong_row(small):
    """Edited tokens can hide a row from a list, but never bring in one that does not match."""
    edits = {
        "those of all others": "UPDATE visibility_records SET t = (SELECT array_agg(DISTINCT x) "
        "FROM visibility_records o, unnest(o.t) x)",
        "none": "UPDATE visibility_records SET t = '{}'",
        "one for all": "UPDATE visibility_records SET t = (SELECT t FROM visibility_records ORDER BY id LIMIT 1)",
        "one type and status for all": "UPDATE visibility_records SET (h_type, h_status, h_workflow) = "
        "(SELECT h_type, h_status, h_workflow FROM visibility_records ORDER BY id LIMIT 1)",
        "divisions for all": "UPDATE visibility_records SET h_division = 5 WHERE b2 % 2 = 0",
        "no columns": "UPDATE visibility_records SET (h_workflow, h_run, h_type, h_status, h_queue, h_division) = "
        "(NULL, NULL, NULL, NULL, NULL, NULL)",
    }
    rng = generator()
    queries = [*(random_filter(rng) for _ in range(40)), *(condition(rng) for _ in range(60))]
    brought_in = 0
    for edit in edits.values():
        await run(small.strongroom, edit)
        for query in queries:
            expected = small.expected(query)
            listed = await small.listed(query, page_size=7)
            assert [record for record in expected if record in listed] == listed, query
            candidates = await wrong_sides(small, query, compile_filter, edited=True)
            brought_in += bool(candidates)
    assert brought_in > 0, "control: the edited index gives wrong answers"


EDITS = {
    "b1": "b1 = b1 - 1",
    "b2": "b2 = b2 - 1",
    "k": "k = k + 1",
    "version": "version = version + 1",
    "id": "id = decode(md5(id::text), 'hex')",
    "shard_id": "shard_id = shard_id + 1",
    "s": "s = set_bit(s, 500, 1 - get_bit(s, 500))",
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
@pytest.mark.parametrize("which", ["open", "closed"])
async def test_an_edited_column_is_noticed(small, edit, which):
    """The clear columns of a sealed record can't be changed: a list that meets the row is refused."""
    query = "CloseTime IS NULL OR CloseTime IS NOT NULL"
    side = "=" if which == "open" else "<>"
    victim = f"(SELECT id FROM visibility_records WHERE b1 {side} {2**62} ORDER BY id LIMIT 1)"  # noqa: S608
    # without divisions every row is possible
    await run(small.strongroom, "UPDATE visibility_records SET t = '{}', h_division = NULL")
    assert await small.listed(query, page_size=5) == small.expected(query)
    assert await run(small.strongroom, f"UPDATE visibility_records SET {edit} WHERE id = {victim}") == "UPDATE 1"  # noqa: S608
    with pytest.raises(IntegrityError):
        await small.listed(query, page_size=1000)


async def test_swapped_records_do_not_open(small):
    """Two swapped sealed records open in neither place."""
    left, right = list(small.records.values())[:2]
    keys = await small.strongroom.keyring.open(small.namespace_id)
    ids = [document_id(keys, record.workflow_id, record.run_id) for record in (left, right)]
    swap = (
        "UPDATE visibility_records a SET s = b.s FROM visibility_records b "
        "WHERE (a.id, b.id) IN (($1::bytea, $2::bytea), ($2, $1))"
    )
    assert await run(small.strongroom, swap, *ids) == "UPDATE 2"
    for record in (left, right):
        with pytest.raises(IntegrityError):
            await stored(small, record)
    await run(small.strongroom, swap, *ids)
    assert [await stored(small, record) for record in (left, right)] == [left, right]


async def test_a_row_moved_to_another_namespace_does_not_open(strongroom, small):
    """A record is bound to its namespace, also if the id and the tokens of the row are moved with it."""
    other = await populated(strongroom, "other", [], [])
    assert other.namespace_id != small.namespace_id
    await run(
        strongroom, "UPDATE visibility_records SET namespace_id = $1, t = '{}', h_division = NULL", other.namespace_id
    )
    with pytest.raises(IntegrityError):
        await other.listed("", page_size=10)


async def test_namespaces_share_no_token_and_no_answer(strongroom):
    """Equal records in two namespaces share no token, and each is found in its own namespace only."""
    rng = generator()
    records = [generated_record(rng) for _ in range(20)]
    left = await populated(strongroom, "left", [], records)
    right = await populated(strongroom, "right", [], [changed(record, memo=b"right") for record in records])
    held = []
    async with strongroom.database.connection(EVERY_NAMESPACE) as connection:
        for each in (left, right):
            rows = await connection.fetch("SELECT * FROM visibility_records WHERE namespace_id = $1", each.namespace_id)
            assert len(rows) == len(records)
            held.append(({row["id"] for row in rows}, {token for row in rows for token in all_tokens(row)}))
    (left_ids, left_tokens), (right_ids, right_tokens) = held
    assert left_ids.isdisjoint(right_ids)
    assert len(left_tokens) == len(right_tokens) > 0
    assert left_tokens.isdisjoint(right_tokens)
    for query in ("", *(random_filter(rng) for _ in range(30))):
        for each in (left, right):
            assert await each.listed(query, page_size=50) == each.expected(query), query
            assert (await each.count(query)).count == len(each.expected(query)), query


async def test_attributes_of_one_value_share_no_token(strongroom):
    """A value has different tokens in different attributes, so the index does not show that they are equal."""
    record = changed(
        generated_record(generator()),
        workflow_type="the same value",
        task_queue="the same value",
        search_attributes=MappingProxyType({"Customer": "the same value", "Größe": "the same value"}),
    )
    searched = await populated(strongroom, "values", [], [record])
    keys = await strongroom.keyring.open(searched.namespace_id)
    tokenizer = Tokenizer(keys, epoch=keys.active_version(KeyClass.INDEX))
    tokens = [
        tokenizer.query(name, [b"=the same value"]) for name in ("WorkflowType", "TaskQueue", "Customer", "Größe")
    ]
    assert len(frozenset().union(*tokens)) == 4
    async with strongroom.database.connection(EVERY_NAMESPACE) as connection:
        row = await connection.fetchrow("SELECT * FROM visibility_records")
    assert frozenset().union(*tokens) <= set(all_tokens(row))
    assert row["t"] == sorted(row["t"])
    assert all_tokens(row) == sorted(all_tokens(row))
