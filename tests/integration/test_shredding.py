from __future__ import annotations

import asyncio
import base64
import secrets
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from strongroom.driver.strongroom import Strongroom
from strongroom.kms import (
    KekRef,
    KeyClass,
    KeyDestroyed,
    KeyDisabled,
    KeyNotFound,
    begin_index_rotation,
    destroy_data_keys,
    rotate_data_key,
    verify_certificate,
)
from strongroom.storage import (
    EVERY_NAMESPACE,
    ConditionFailed,
    InvalidPersistenceRequest,
    NamespaceNotFound,
    NotFound,
)
from strongroom.visibility import new_layout
from strongroom.visibility.backends.elasticsearch.documents import namespace_text
from tests.support.registry import authenticate
from tests.support.search_cell import Cell as SearchCell
from tests.support.search_cell import new_cell, opened, record
from tests.support.shredding import NOW, RUNS, WEEK, count_runs, public_key, refused, request_and_finish

pytestmark = pytest.mark.integration


async def registry(strongroom, namespace_id):
    async with strongroom.database.connection(EVERY_NAMESPACE) as connection:
        rows = await connection.fetch(
            "SELECT * FROM data_keys WHERE namespace_id = $1 ORDER BY class, version", namespace_id
        )
    return [dict(row) for row in rows]


async def test_a_request_makes_unreadable_and_loses_nothing(strongroom, make_filled_namespace):
    """After a request no process opens a row, but all rows and wrapped keys are stored, and another namespace works."""
    gone, stays = await make_filled_namespace("gone"), await make_filled_namespace("stays")
    before = await registry(strongroom, gone.namespace_id)
    async with Strongroom.open(strongroom.config) as elsewhere:
        assert await count_runs(elsewhere, gone) == RUNS
        request = await strongroom.shredding().request(gone.namespace_id, grace=WEEK)
        assert request.due_at - request.requested_at == WEEK
        async with asyncio.timeout(60):  # it is notified long before its cached keys expire
            while not await refused(elsewhere, gone):  # noqa: ASYNC110 - a condition of another process
                await asyncio.sleep(0.05)
        for each in (strongroom, elsewhere):
            with pytest.raises(KeyDisabled, match=r"scheduled for shredding.*unshred NAMESPACE"):
                await each.namespaces.get("gone")
            with pytest.raises((KeyDisabled, KeyNotFound)):
                await count_runs(each, gone)
            assert await each.namespaces.find("gone") == gone.namespace_id
            assert await count_runs(each, stays) == RUNS
    [listed, other] = await strongroom.namespaces.list_namespaces()
    assert (listed.shred_due_at, other.shred_due_at) == (request.due_at, None)
    after = await registry(strongroom, gone.namespace_id)
    assert [row["wrapped"] for row in after] == [row["wrapped"] for row in before]
    rows = dict((await strongroom.shredding().loss(request)).rows)
    assert (rows["history_tree"], rows["visibility_records"]) == (RUNS, RUNS)
    assert rows["history_node"] > RUNS
    again = await strongroom.shredding().request(gone.namespace_id, grace=NOW, keep_kek=True)
    assert again == request, "a second request changes nothing of the first"


async def test_taking_it_back_restores_every_state(strongroom, make_filled_namespace):
    """Cancelling restores the state of every key, and every row opens."""
    namespace = await make_filled_namespace("back")
    namespace_id = namespace.namespace_id
    await rotate_data_key(strongroom.keyring, namespace_id)
    await rotate_data_key(strongroom.keyring, namespace_id)
    await begin_index_rotation(strongroom.keyring, namespace_id, layout=str(new_layout("compatible")))
    await rotate_data_key(strongroom.keyring, namespace_id)
    async with strongroom.database.connection(EVERY_NAMESPACE) as connection:
        for version, state in ((2, "disabled"), (3, "destroyed")):
            await connection.execute(
                "UPDATE data_keys SET state = $3, wrapped = CASE WHEN $3 = 'destroyed' THEN NULL ELSE wrapped END "
                "WHERE namespace_id = $1 AND class = 'data' AND version = $2",
                namespace_id,
                version,
                state,
            )
    await authenticate(strongroom)
    before = await registry(strongroom, namespace_id)
    assert {row["state"] for row in before} == {"active", "decrypt_only", "pending", "disabled", "destroyed"}
    shredding = strongroom.shredding()
    first = await shredding.request(namespace_id, grace=WEEK)
    assert {row["state"] for row in await registry(strongroom, namespace_id)} == {"disabled", "destroyed"}
    await shredding.store.cancel(namespace_id)
    assert await registry(strongroom, namespace_id) == before
    assert await strongroom.namespaces.get("back") == namespace
    assert await count_runs(strongroom, namespace) == RUNS
    with pytest.raises(ConditionFailed):
        await shredding.store.cancel(namespace_id)
    second = await shredding.request(namespace_id, grace=NOW)
    assert second.code != first.code, "the code of a request that was taken back confirms no other"
    with pytest.raises(InvalidPersistenceRequest):
        await shredding.finish(namespace_id, first.code)


async def test_too_early_or_with_another_code_nothing_happens(strongroom, make_filled_namespace):
    """A confirmation that is early, or has a wrong code, or no request, is refused, and the shredding can still be cancelled."""
    namespace, other = await make_filled_namespace("kept"), await make_filled_namespace("other")
    shredding = strongroom.shredding()
    request = await shredding.request(namespace.namespace_id, grace=WEEK)
    code_of_other = (await shredding.request(other.namespace_id, grace=NOW)).code
    with pytest.raises(ConditionFailed, match=f"grace period lasts until {request.due_at:%Y-%m-%d %H:%M}"):
        await shredding.finish(namespace.namespace_id, request.code)
    for code in ("", "0000000000", request.code[:-1], code_of_other):
        with pytest.raises(InvalidPersistenceRequest):
            await shredding.finish(namespace.namespace_id, code)
    with pytest.raises(ConditionFailed):
        await shredding.finish(uuid4(), request.code)
    for wrong, error in ((strongroom.keyring.cell_id, InvalidPersistenceRequest), (uuid4(), NamespaceNotFound)):
        with pytest.raises(error):
            await shredding.request(wrong, grace=NOW)
    with pytest.raises(NotFound):
        await shredding.store.certificate(namespace.namespace_id)
    with pytest.raises(ConditionFailed):
        await shredding.store.complete(namespace.namespace_id, eviction_seconds=1)
    for each in (namespace, other):
        await shredding.store.cancel(each.namespace_id)
        assert await count_runs(strongroom, each) == RUNS


async def test_the_whole_walk_leaves_a_certificate_and_a_neighbour(strongroom, make_filled_namespace):
    """Roots, KEK, rows and name are deleted, the certificate lists them exactly, and other namespaces work."""
    gone, stays = await make_filled_namespace("gone"), await make_filled_namespace("stays")
    await rotate_data_key(strongroom.keyring, gone.namespace_id)
    kept = await registry(strongroom, stays.namespace_id)
    had = await registry(strongroom, gone.namespace_id)
    shredding = strongroom.shredding()
    request = await shredding.request(gone.namespace_id, grace=NOW)
    loss = await shredding.loss(request)
    [kek] = loss.keks
    assert (kek.disposal, loss.documents) == ("delete", None)
    told = []
    signed = await shredding.finish(gone.namespace_id, request.code, progress=lambda *step: told.append(step))
    said = verify_certificate(signed, public_key=await public_key(strongroom))
    assert (said.cell_id, said.namespace_id) == (strongroom.keyring.cell_id, gone.namespace_id)
    assert said.requested_at == request.requested_at <= said.confirmed_at <= said.completed_at
    assert dict(said.rows_deleted) == dict(loss.rows)
    assert {(key.key_class.value, key.version, key.commitment) for key in said.keys} == {
        (row["class"], row["version"], bytes(row["commitment"])) for row in had
    }
    assert {key.destroyed_at for key in said.keys} == {said.confirmed_at}
    assert [(each.kek, each.disposal, each.state) for each in said.keks] == [(kek.kek, "delete", "destroyed")]
    assert (said.eviction_seconds, said.documents_deleted) == (1000, None)
    assert [step for step, _ in told if step != "rows"] == ["roots", "keks", "documents", "certificate"]
    assert await shredding.store.certificate(gone.namespace_id) == signed
    assert await shredding.finish(gone.namespace_id, request.code) == signed, "run again it is the same one"
    assert all(row["wrapped"] is None for row in await registry(strongroom, gone.namespace_id))
    assert not await shredding.store.rows(gone.namespace_id)
    with pytest.raises(KeyNotFound):
        await strongroom.keyring.provider("local").describe(kek.kek)
    with pytest.raises(NamespaceNotFound):
        await strongroom.namespaces.find("gone")
    with pytest.raises(ConditionFailed, match="can't be restored"):
        await shredding.store.cancel(gone.namespace_id)
    assert await registry(strongroom, stays.namespace_id) == kept
    assert await count_runs(strongroom, stays) == RUNS
    assert (await make_filled_namespace("gone")).namespace_id != gone.namespace_id, "the name is free"


async def test_two_at_once_make_one_certificate(strongroom, make_filled_namespace):
    """Concurrent requests and confirmations make one request and one certificate, which counts each row once."""
    namespace = await make_filled_namespace("gone", runs=40)
    async with Strongroom.open(strongroom.config) as elsewhere:
        sides = [strongroom.shredding(), elsewhere.shredding()] * 2
        requests = await asyncio.gather(*(each.request(namespace.namespace_id, grace=NOW) for each in sides))
        assert len({request.code for request in requests}) == 1
        loss = await sides[0].loss(requests[0])
        made = await asyncio.gather(*(each.finish(namespace.namespace_id, requests[0].code) for each in sides))
    assert len(set(made)) == 1
    said = verify_certificate(made[0])
    assert dict(said.rows_deleted) == dict(loss.rows)
    assert said.keks[0].state == "destroyed"


async def test_taking_back_and_confirming_at_once_have_one_winner(strongroom, make_filled_namespace):
    """Of a concurrent cancellation and confirmation one succeeds, completely."""
    for number in range(6):
        namespace = await make_filled_namespace(f"race {number}", runs=2)
        shredding = strongroom.shredding()
        request = await shredding.request(namespace.namespace_id, grace=NOW)
        calls = [shredding.finish(namespace.namespace_id, request.code), shredding.store.cancel(namespace.namespace_id)]
        finished, cancelled = await asyncio.gather(*(calls if number % 2 else calls[::-1]), return_exceptions=True)
        if not number % 2:
            finished, cancelled = cancelled, finished
        if cancelled is None:
            assert isinstance(finished, ConditionFailed)
            assert await count_runs(strongroom, namespace) == 2
        else:
            assert isinstance(cancelled, ConditionFailed)
            assert verify_certificate(finished).namespace_id == namespace.namespace_id


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from uuid import UUID
from strongroom.driver.config import load_config
from strongroom.driver.strongroom import Strongroom
from strongroom.storage.namespaces import purge

async def main(path, namespace_id, code, step):
    purge.purge_namespace.__wrapped__.__kwdefaults__["chunk"] = 5
    def die():
        os.kill(os.getpid(), signal.SIGKILL)
    def progress(done, count):
        if done == step or (step == "some rows" and done == "rows" and count >= 10):
            die()
    async with Strongroom.open(load_config(Path(path))) as strongroom:
        provider = strongroom.keyring.provider("local")
        delete = provider.delete_kek
        async def deleted(kek):
            await delete(kek)
            if step == "kek without an answer":
                die()
            return await strongroom.keyring.provider("local").describe(kek)
        if step == "kek without an answer":
            provider.delete_kek = deleted
        await strongroom.shredding().finish(UUID(namespace_id), code, progress=progress)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize(
    "step", ["roots", "kek without an answer", "keks", "some rows", "rows", "documents", "certificate"]
)
async def test_killed_after_any_step_it_is_finished_by_running_it_again(
    strongroom, config_path, make_filled_namespace, step
):
    """After a SIGKILL at any step the next run completes it, with one certificate that counts every row once."""
    gone, stays = await make_filled_namespace("gone", runs=20), await make_filled_namespace("stays")
    shredding = strongroom.shredding()
    request = await shredding.request(gone.namespace_id, grace=NOW)
    loss = await shredding.loss(request)
    arguments = [sys.executable, "-c", KILLED, str(config_path), str(gone.namespace_id), request.code, step]
    killed = await asyncio.to_thread(
        subprocess.run, arguments, capture_output=True, text=True, timeout=120, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with pytest.raises(ConditionFailed):
        await shredding.store.cancel(gone.namespace_id)
    with pytest.raises(KeyDestroyed):
        (await strongroom.keyring.open(gone.namespace_id)).active_version(KeyClass.DATA)
    left = await shredding.store.rows(gone.namespace_id)
    if step == "some rows":
        assert 0 < sum(left.values()) < sum(loss.rows.values())
    assert await count_runs(strongroom, stays) == RUNS
    signed = await shredding.finish(gone.namespace_id, request.code)
    said = verify_certificate(signed, public_key=await public_key(strongroom))
    assert dict(said.rows_deleted) == dict(loss.rows)
    assert [kek.state for kek in said.keks] == ["not_found" if step == "kek without an answer" else "destroyed"]
    assert await shredding.store.certificate(gone.namespace_id) == signed
    async with strongroom.database.connection(EVERY_NAMESPACE) as connection:
        [row] = await connection.fetch("SELECT count(*) AS certificates FROM erasure_certificates")
    assert row["certificates"] == 1
    assert not await shredding.store.rows(gone.namespace_id)
    assert await count_runs(strongroom, stays) == RUNS


async def test_the_certificate_tells_nothing_of_a_tenant(strongroom, make_filled_namespace, sample):
    """The certificate and the request's row have no name, workflow id, value or key. The control finds each of them."""
    name = f"tenant-{secrets.token_hex(8)}"
    namespace = await make_filled_namespace(name)
    records = await strongroom.keyring.store.list_data_keys(namespace.namespace_id)
    roots = [root.reveal() for root in await strongroom.keyring.unwrap(records)]
    cell = await strongroom.keyring.store.list_data_keys(strongroom.keyring.cell_id)
    roots += [root.reveal() for root in await strongroom.keyring.unwrap(cell)]
    keks = [
        key.reveal()
        for kek in (await strongroom.keyring.provider("local").inner.file.current()).keks.values()
        for key in kek.versions.values()
    ]
    values = {str(value) for each in sample[:RUNS] for value in each.record.search_attributes.values()}
    texts = {
        name,
        *(each.record.workflow_id for each in sample[:RUNS]),
        *(each.record.workflow_type for each in sample[:RUNS]),
    }
    texts |= {value for value in values if len(value) > 6}
    secret = [text.encode() for text in texts] + roots + keks + [record.wrapped for record in records]

    def found(content):
        lowered = content.lower()
        forms = [
            form
            for each in secret
            for form in (each, each.hex().encode(), base64.b64encode(each).rstrip(b"="), each[:12].hex().encode())
        ]
        return [form for form in forms if form in content or form.lower() in lowered]

    signed = await request_and_finish(strongroom, namespace.namespace_id)
    assert not found(signed)
    assert len(texts) > RUNS
    async with strongroom.database.connection(EVERY_NAMESPACE) as connection:
        for table in ("shreddings", "shredded_keks", "erasure_certificates"):
            [row] = await connection.fetch(f"SELECT t::text FROM {table} AS t")  # noqa: S608
            assert not found(row["t"].encode())
    for each in secret:
        assert found(signed + each)
        assert found(signed + each.hex().encode())


async def test_a_namespace_whose_keys_are_gone_already_is_shredded_by_its_id(strongroom, make_filled_namespace):
    """If the keys were destroyed outside of the shredding, it still deletes the rows and ends with a certificate."""
    namespace = await make_filled_namespace("gone")
    request = await strongroom.shredding().request(namespace.namespace_id, grace=NOW)
    assert len(await destroy_data_keys(strongroom.keyring, namespace.namespace_id)) == 3
    said = verify_certificate(await strongroom.shredding().finish(namespace.namespace_id, request.code))
    assert len(said.keys) == 3
    assert said.rows_deleted
    assert all(key.destroyed_at < said.confirmed_at for key in said.keys)
    with pytest.raises(NamespaceNotFound):
        await strongroom.shredding().request(uuid4(), grace=NOW)


async def test_other_processes_are_told(strongroom, make_filled_namespace):
    """A request, a cancellation and a destruction each notify with the namespace's id, in their own transaction."""
    namespace = await make_filled_namespace("told")
    heard = asyncio.Queue()
    connection = await asyncpg.connect(strongroom.config.dsn)
    try:
        await connection.add_listener("strongroom_keys", lambda *call: heard.put_nowait(call[3]))
        shredding = strongroom.shredding()
        await shredding.request(namespace.namespace_id, grace=NOW)
        await shredding.store.cancel(namespace.namespace_id)
        request = await shredding.request(namespace.namespace_id, grace=NOW)
        await shredding.store.confirm(namespace.namespace_id, request.code)
        for _ in range(4):
            assert UUID(await asyncio.wait_for(heard.get(), 60)) == namespace.namespace_id
    finally:
        await connection.close()


async def test_the_servers_clock_decides(strongroom, make_filled_namespace):
    """The database server's clock decides whether a request is due, and the certificate has its times."""
    namespace = await make_filled_namespace("due")
    early = await strongroom.shredding().request(namespace.namespace_id, grace=timedelta(minutes=1))
    with pytest.raises(ConditionFailed):
        await strongroom.shredding().finish(namespace.namespace_id, early.code)
    await strongroom.shredding().cancel(namespace.namespace_id)
    request = await strongroom.shredding().request(namespace.namespace_id, grace=NOW)
    said = verify_certificate(await strongroom.shredding().finish(namespace.namespace_id, request.code))
    assert said.requested_at < said.confirmed_at <= said.completed_at <= datetime.now(UTC)


async def test_documents_go_too_and_are_counted_once(config_path, elasticsearch):
    """Only the namespace's documents are deleted, and those that an interrupted run deleted are counted too."""
    async with opened(config_path, elasticsearch) as strongroom:
        await strongroom.search_index.create()
        gone = await new_cell(strongroom)
        kek = KekRef.parse("local:stays")
        await strongroom.create_kek(kek)
        neighbour = await strongroom.namespaces.create("stays", kek=kek, search_attributes={"Customer": "Keyword"})
        stays = SearchCell(strongroom, neighbour.namespace_id)
        for cell in (gone, stays):
            await cell.write(*(record(number) for number in range(25)))
        await gone.settle()
        shredding = strongroom.shredding()
        request = await shredding.request(gone.namespace_id, grace=NOW)
        assert (await shredding.loss(request)).documents == 25
        await shredding.store.record_documents(gone.namespace_id, 25)  # as an interrupted run leaves it
        name, behind = strongroom.search_index.name, {"term": {"n": namespace_text(gone.namespace_id)}}
        found = elasticsearch.client.request("POST", f"/{name}/_search", {"query": behind, "size": 10})
        for hit in found["hits"]["hits"]:
            elasticsearch.client.request("DELETE", f"/{name}/_doc/{hit['_id']}?refresh=true")
        assert sum((await strongroom.search_index.epochs(gone.namespace_id)).values()) == 15
        said = verify_certificate(await shredding.finish(gone.namespace_id, request.code))
        assert said.documents_deleted == 25
        assert any("segments of the search index" in sentence for sentence in said.does_not_cover)
        assert await strongroom.search_index.epochs(gone.namespace_id) == {}
        assert sum((await strongroom.search_index.epochs(stays.namespace_id)).values()) == 25
