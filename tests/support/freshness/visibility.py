"""Attacks on visibility records and on the documents of the search index."""

from __future__ import annotations

from strongroom.kms import IntegrityError

from .attacks import AttackList, Found, Refused

RECORDS, DOCUMENTS = AttackList("visibility"), AttackList("search index")
ATTACKS = (RECORDS, DOCUMENTS)
attack = RECORDS.attack
RECORD = Found("visibility_records")
LIST = Refused(lambda scene: scene.listed(), IntegrityError)
_OF_NAMESPACE = "namespace_id = $1"
_INTEGRITY = "tests/integration/test_visibility_integrity.py::"
_INDEX = "tests/integration/test_elasticsearch.py::"
_RECONCILER = "tests/integration/test_reconciler.py::"


@attack("delete a record", RECORD)
async def _(scene):
    await scene.show(scene.record())
    yield
    await scene.admin.delete("visibility_records", _OF_NAMESPACE, scene.namespace_id)
    yield
    await scene.show(scene.record(), version=2)


@attack("put an older record back", RECORD)
async def _(scene):
    await scene.show(scene.record())
    await scene.keep("older", "visibility_records", _OF_NAMESPACE, scene.namespace_id)
    await scene.show(scene.record(), version=2)
    yield
    await scene.admin.put_back("visibility_records", scene.kept["older"])
    yield
    await scene.show(scene.record(), version=3)


@attack("bring a deleted record back", RECORD)
async def _(scene):
    await scene.show(scene.record())
    await scene.keep("record", "visibility_records", _OF_NAMESPACE, scene.namespace_id)
    await scene.hide(scene.record(), 2)
    yield
    await scene.admin.put_back("visibility_records", scene.kept["record"])
    yield
    await scene.hide(scene.record(), 3)


@attack("delete a record that was written with a run", RECORD)
async def _(scene):
    snapshot = scene.workflow.snapshot()
    await scene.workflow.create(snapshot, visibility=[scene.workflow.record()])
    yield
    await scene.admin.delete("visibility_records", _OF_NAMESPACE, scene.namespace_id)
    yield


@attack("edit the start time, so that a count over StartTime is wrong", RECORD)
async def _(scene):
    await scene.show(scene.record(1), scene.record(2))
    yield
    await scene.admin.edit("visibility_records", "b2 = b2 - 1000", _OF_NAMESPACE, scene.namespace_id)
    yield


@attack("exchange the sealed values of two records", LIST)
async def _(scene):
    await scene.show(scene.record(1), scene.record(2))
    yield
    foreign = "s = (SELECT o.s FROM visibility_records o WHERE o.namespace_id = $1 AND o.id <> visibility_records.id)"
    await scene.admin.edit("visibility_records", foreign, _OF_NAMESPACE, scene.namespace_id)
    yield


def _edited_column(column, change):
    @attack(f"edit {column}, and list", LIST, RECORD)
    async def _(scene):
        await scene.show(scene.record())
        yield
        await scene.admin.edit("visibility_records", f"{column} = {change}", _OF_NAMESPACE, scene.namespace_id)
        yield


for _column, _change in {
    "b1": "b1 - 1",
    "b2": "b2 - 1",
    "version": "version + 1",
    "shard_id": "shard_id + 1000000",  # a shard of no other attack
    "id": "decode(md5(id::text), 'hex')",
}.items():
    _edited_column(_column, _change)

RECORDS.tested("edit the epoch, and list", _INTEGRITY + "test_an_edited_column_is_noticed")
RECORDS.tested("show a wrong run in a list", _INTEGRITY + "test_edited_tokens_never_give_a_wrong_row")
RECORDS.tested("move a record to another namespace", _INTEGRITY + "test_a_row_moved_to_another_namespace_does_not_open")
for _name in ("add a token", "remove a token", "exchange tokens", "edit a column of tokens"):
    RECORDS.tested(
        f"{_name}, so that a count is wrong", _RECONCILER + "test_edited_tokens_of_a_record_are_found_and_made_right"
    )

DOCUMENTS.tested("delete a document", _RECONCILER + "test_a_document_that_differs_is_found_and_made_right")
DOCUMENTS.tested("make up a document", _RECONCILER + "test_a_document_without_a_record_is_found_and_removed")
DOCUMENTS.tested("edit a document", _INDEX + "test_an_edited_document_is_refused")
DOCUMENTS.tested("edit the tokens of a document", _INDEX + "test_edited_tokens_never_give_a_wrong_run")
DOCUMENTS.tested(
    "put an older index back", "tests/integration/test_restored_copies.py::test_an_older_index_is_noticed_and_repaired"
)
